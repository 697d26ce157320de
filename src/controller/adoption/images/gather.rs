//! Reads which images the template of a workload names, and with which secrets they are pulled. Reads only.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::PodSpec;
use serde_json::Value;

use super::super::{
    super::{Context, Error},
    gather::{gather, makers, read},
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
    let makers = makers(context, namespace, workload, &object).await?;
    let pods: Vec<PodSpec> = makers.iter().filter_map(of).collect();
    Ok(Some(joined(&pods)))
}

/// The pod that this is to make, as far as this version can read it.
fn of(maker: &Value) -> Option<PodSpec> {
    let pod = maker.pointer("/spec/template/spec")?.clone();
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
    use serde_json::json;

    use super::*;

    #[test]
    fn a_template_names_images_and_secrets() {
        let maker = json!({"spec": {"template": {"spec": {
            "imagePullSecrets": [{"name": "one"}, {}, {"name": "two"}, {"name": "one"}],
            "containers": [{"name": "server", "image": "server"}]
        }}}});
        let template = joined(&of(&maker).into_iter().collect::<Vec<_>>());
        assert_eq!(template.secrets, ["one", "two"]);
        assert_eq!(
            template.images,
            ["docker.io/library/server:latest".to_owned()].into()
        );
    }

    #[test]
    fn what_has_no_template_names_nothing() {
        for maker in [json!({}), json!({"spec": {"template": {"spec": "odd"}}})] {
            assert_eq!(of(&maker), None);
        }
        assert_eq!(joined(&[]), Template::default());
    }
}
