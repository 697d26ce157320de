//! Reads the network policies of a namespace that are not the operator's, and says which open what is to be closed.
//! Reads only.

use kube::{
    Api,
    api::{ApiResource, DynamicObject, ListParams, ObjectList},
    core::GroupVersionKind,
};

use super::super::{Context, Error, pages::next_page};
use crate::{
    api::v1alpha1::ModelDeployment,
    policy::opening::{Foreign, ModelPods, Opener, openers},
    workload::{controller, network_policy_name},
};

/// How many policies are read at once.
const PAGE: u32 = 500;
/// What Kubernetes' kind and Cilium's are called.
const KINDS: [(&str, &str, &str, &str); 2] = [
    ("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
    ("cilium.io", "v2", "CiliumNetworkPolicy", "ciliumnetworkpolicies"),
];

/// The kind that the operator makes.
const OWN: &str = "NetworkPolicy";

/// Those that open something to or from models of the namespace. `pods` are the pods of these `models` that are there.
pub(super) async fn networks(
    context: &Context,
    namespace: &str,
    models: &[&ModelDeployment],
    pods: &ModelPods,
) -> Result<Vec<Opener>, Error> {
    let mut foreign = Vec::new();
    for (group, version, kind, plural) in KINDS {
        let gvk = GroupVersionKind::gvk(group, version, kind);
        let resource = ApiResource::from_gvk_with_plural(&gvk, plural);
        let api: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), namespace, &resource);
        let mut params = ListParams::default().limit(PAGE);
        while let Some(page) = page(&api, &params).await? {
            for object in &page.items {
                if kind != OWN || !is_a_models(object, models) {
                    let name = object.metadata.name.as_deref().unwrap_or_default();
                    foreign.push(Foreign::read(kind, namespace, name, &object.data));
                }
            }
            match next_page(params, &page.metadata) {
                Some(next) => params = next,
                None => break,
            }
        }
    }
    Ok(openers(&foreign, pods))
}

/// One page; none when there is no such kind.
async fn page(
    api: &Api<DynamicObject>,
    params: &ListParams,
) -> Result<Option<ObjectList<DynamicObject>>, Error> {
    match api.list(params).await {
        Ok(page) => Ok(Some(page)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(source) => Err(Error::Gather {
            what: "the namespace's network policies",
            source,
        }),
    }
}

/// Whether it is the one that the operator keeps for a model: what it allows is brought back to what is declared. To be owned
/// by a model is not enough, for anybody can write that.
fn is_a_models(object: &DynamicObject, models: &[&ModelDeployment]) -> bool {
    let owner = controller(object.metadata.owner_references.as_deref().unwrap_or_default());
    let of = |model: &&ModelDeployment| {
        owner.is_some_and(|owner| Some(&owner.uid) == model.metadata.uid.as_ref())
            && object.metadata.name.as_deref() == Some(&network_policy_name(model))
    };
    models.iter().any(of)
}
