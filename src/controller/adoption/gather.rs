//! Reads the workload that a model governs and the pods that go back to it, live. Reads only.

use k8s_openapi::{
    api::{apps::v1::Deployment, core::v1::Pod},
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use kube::{
    Api, ResourceExt as _,
    api::{ApiResource, DynamicObject, ListParams},
    core::{DeserializeGuard, GroupVersionKind, Selector, TypeMeta},
};
use serde_json::Value;

use super::super::{Context, Error};
use crate::{
    api::v1alpha1::{ModelDeployment, WorkloadRef},
    policy::pods::{governing, governs},
    workload::controller,
};

/// The label of `KServe`'s pods that names their `InferenceService`.
const KSERVE_LABEL: &str = "serving.kserve.io/inferenceservice";

/// What there is of a workload.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    /// Whether the workload is there.
    pub exists: bool,
    /// The model that governs it, when that is another.
    pub taken_by: Option<String>,
    /// Selects its pods, and by accident perhaps others.
    pub selector: Option<LabelSelector>,
    /// What makes its pods: itself, or the Deployments that it has made.
    pub makers: Vec<Value>,
    /// Its pods.
    pub pods: Vec<Pod>,
}

pub(super) async fn gather(
    context: &Context,
    model: &ModelDeployment,
    workload: &WorkloadRef,
) -> Result<Found, Error> {
    let namespace = model.namespace().unwrap_or_default();
    let taken_by = taken_by(context, model, workload).await?;
    let Some(object) = read(context, &namespace, workload).await? else {
        return Ok(Found {
            taken_by,
            ..Found::default()
        });
    };
    let mut found = Found {
        exists: true,
        taken_by,
        selector: selector(&object, workload),
        makers: makers(context, &namespace, workload, &object).await?,
        pods: Vec::new(),
    };
    let Some(params) = found.selector.clone().and_then(searching) else {
        return Ok(found);
    };
    let pods: Api<Pod> = context.api(&namespace);
    let listed = pods.list(&params).await.map_err(|source| Error::Gather {
        what: "the workload's Pods",
        source,
    })?;
    for pod in listed.items {
        let Some(direct) = controller(pod.owner_references()) else {
            continue;
        };
        let known = |owners: &[WorkloadRef]| owners.contains(workload);
        let owners = context
            .owners
            .chain(&context.client, &namespace, direct, known)
            .await?;
        // A workload of the same name that is gone leaves pods behind that are nobody's.
        let is_its = owners.len() > 1 || object.uid().as_ref() == Some(&direct.uid);
        if governs(model, &owners) && is_its {
            found.pods.push(pod);
        }
    }
    Ok(found)
}

/// What makes the workload's pods, as the API server has it.
pub(super) async fn makers(
    context: &Context,
    namespace: &str,
    workload: &WorkloadRef,
    object: &DynamicObject,
) -> Result<Vec<Value>, Error> {
    if workload.kind == "InferenceService" {
        return kserves(context, namespace, object).await;
    }
    Ok(serde_json::to_value(object).into_iter().collect())
}

/// The Deployments of an `InferenceService`. A label is anybody's to write; the controller is who has the uid.
async fn kserves(context: &Context, namespace: &str, service: &DynamicObject) -> Result<Vec<Value>, Error> {
    let resource = ApiResource::erase::<Deployment>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), namespace, &resource);
    let labelled = ListParams::default().labels(&format!("{KSERVE_LABEL}={}", service.name_any()));
    let listed = api.list(&labelled).await.map_err(|source| Error::Gather {
        what: "the InferenceService's Deployments",
        source,
    })?;
    let its = |deployment: &DynamicObject| {
        deployment.owner_references().iter().any(|owner| {
            owner.controller == Some(true)
                && owner.kind == "InferenceService"
                && Some(&owner.uid) == service.metadata.uid.as_ref()
        })
    };
    // What is listed does not say by itself what it is.
    let typed = |mut one: DynamicObject| {
        one.types = Some(TypeMeta {
            api_version: resource.api_version.clone(),
            kind: resource.kind.clone(),
        });
        serde_json::to_value(&one).ok()
    };
    Ok(listed.items.into_iter().filter(its).filter_map(typed).collect())
}

/// The model that governs the workload instead of this one.
async fn taken_by(
    context: &Context,
    model: &ModelDeployment,
    workload: &WorkloadRef,
) -> Result<Option<String>, Error> {
    let models: Api<DeserializeGuard<ModelDeployment>> = context.api(&model.namespace().unwrap_or_default());
    let listed = models
        .list(&ListParams::default())
        .await
        .map_err(|source| Error::Gather {
            what: "the namespace's ModelDeployments",
            source,
        })?;
    let others = listed.items.iter().filter_map(|model| model.0.as_ref().ok());
    let first = governing(others, std::slice::from_ref(workload));
    Ok(first
        .map(kube::ResourceExt::name_any)
        .filter(|name| *name != model.name_any()))
}

/// The workload, as it is now; none when it is not there.
pub(super) async fn read(
    context: &Context,
    namespace: &str,
    workload: &WorkloadRef,
) -> Result<Option<DynamicObject>, Error> {
    let (group, version) = workload
        .api_version
        .split_once('/')
        .unwrap_or(("", &workload.api_version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &workload.kind));
    let api: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), namespace, &resource);
    match api.get_opt(&workload.name).await {
        Ok(object) => Ok(object),
        // Without KServe there is no such kind either.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(source) => Err(Error::Gather {
            what: "the workload",
            source,
        }),
    }
}

/// Which pods may be the workload's: labels only narrow the search. None when it does not say, or says all of them.
fn selector(object: &DynamicObject, workload: &WorkloadRef) -> Option<LabelSelector> {
    if workload.kind == "InferenceService" {
        return Some(LabelSelector {
            match_labels: Some([(KSERVE_LABEL.to_owned(), workload.name.clone())].into()),
            match_expressions: None,
        });
    }
    let selector = object.data.get("spec")?.get("selector")?.clone();
    let selector: LabelSelector = serde_json::from_value(selector).ok()?;
    let says = selector
        .match_labels
        .as_ref()
        .is_some_and(|labels| !labels.is_empty())
        || selector
            .match_expressions
            .as_ref()
            .is_some_and(|terms| !terms.is_empty());
    says.then_some(selector)
}

fn searching(selector: LabelSelector) -> Option<ListParams> {
    let selector = Selector::try_from(selector).ok()?;
    Some(ListParams::default().labels_from(&selector))
}
