//! Reads which images the template of a workload names, and with which secrets they are pulled. Reads only.

use std::collections::BTreeSet;

use k8s_openapi::api::{apps::v1::Deployment, core::v1::PodSpec};
use kube::{
    Api, ResourceExt as _,
    api::{DynamicObject, ListParams},
};

use super::super::{
    super::{Context, Error},
    gather::{KSERVE_LABEL, gather, read},
};
use crate::{
    api::v1alpha1::{ModelDeployment, WorkloadRef},
    workload::{tagged, tags},
};

/// At most this many pull secrets are tried for an image.
const MOST_SECRETS: usize = 8;

/// What of a workload's template matters for its images.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Template {
    /// The images that it names by a tag alone, in full.
    pub images: BTreeSet<String>,
    /// The pull secrets that it names.
    pub secrets: Vec<String>,
}

/// The template of the workload; none when the workload is not there.
pub(super) async fn template(
    context: &Context,
    namespace: &str,
    workload: &WorkloadRef,
) -> Result<Option<Template>, Error> {
    let Some(object) = read(context, namespace, workload).await? else {
        return Ok(None);
    };
    let pods = if workload.kind == "InferenceService" {
        kserves(context, namespace, &object).await?
    } else {
        of(&object).into_iter().collect()
    };
    Ok(Some(joined(&pods)))
}

/// The pods that the Deployments of an `InferenceService` are to make. A label is anybody's to write; the controller is who
/// has the uid.
async fn kserves(context: &Context, namespace: &str, service: &DynamicObject) -> Result<Vec<PodSpec>, Error> {
    let api: Api<Deployment> = context.api(namespace);
    let labelled = ListParams::default().labels(&format!("{KSERVE_LABEL}={}", service.name_any()));
    let listed = api.list(&labelled).await.map_err(|source| Error::Gather {
        what: "the InferenceService's Deployments",
        source,
    })?;
    let its = |deployment: &Deployment| {
        deployment.owner_references().iter().any(|owner| {
            owner.controller == Some(true)
                && owner.kind == "InferenceService"
                && Some(&owner.uid) == service.metadata.uid.as_ref()
        })
    };
    let templates = listed
        .items
        .into_iter()
        .filter(its)
        .filter_map(|one| one.spec?.template.spec);
    Ok(templates.collect())
}

/// The pod that the workload is to make, as far as this version can read it.
fn of(object: &DynamicObject) -> Option<PodSpec> {
    let pod = object.data.pointer("/spec/template/spec")?.clone();
    serde_json::from_value(pod).ok()
}

fn joined(pods: &[PodSpec]) -> Template {
    let mut secrets: Vec<String> = Vec::new();
    let named = pods
        .iter()
        .flat_map(|pod| pod.image_pull_secrets.iter().flatten());
    for secret in named.map(|secret| &secret.name).filter(|name| !name.is_empty()) {
        if !secrets.contains(secret) {
            secrets.push(secret.clone());
        }
    }
    secrets.truncate(MOST_SECRETS);
    Template {
        images: pods.iter().flat_map(tagged).collect(),
        secrets,
    }
}

/// The images by a tag that pods of the workload run, pinned as a rule.
pub(super) async fn of_pods(
    context: &Context,
    model: &ModelDeployment,
    workload: &WorkloadRef,
) -> Result<BTreeSet<String>, Error> {
    let found = gather(context, model, workload).await?;
    let specs = found.pods.iter().filter_map(|pod| pod.spec.as_ref());
    Ok(specs.flat_map(tags).collect())
}

#[cfg(test)]
mod tests {
    use kube::api::ApiResource;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_template_names_images_and_secrets() {
        let mut object = DynamicObject::new("server", &ApiResource::erase::<Deployment>(&()));
        object.data = json!({"spec": {"template": {"spec": {
            "imagePullSecrets": [{"name": "one"}, {}, {"name": "two"}, {"name": "one"}],
            "containers": [{"name": "server", "image": "server"}]
        }}}});
        let template = joined(&of(&object).into_iter().collect::<Vec<_>>());
        assert_eq!(template.secrets, ["one", "two"]);
        assert_eq!(
            template.images,
            ["docker.io/library/server:latest".to_owned()].into()
        );
    }

    #[test]
    fn what_has_no_template_names_nothing() {
        let mut object = DynamicObject::new("server", &ApiResource::erase::<Deployment>(&()));
        for data in [json!({}), json!({"spec": {"template": {"spec": "odd"}}})] {
            object.data = data;
            assert_eq!(of(&object), None);
        }
        assert_eq!(joined(&[]), Template::default());
    }
}
