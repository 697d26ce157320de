//! Reads the network policies that are not the operator's, of a namespace and of the whole cluster, and says which open what is to be closed.
//! Reads only.

use kube::{
    Api,
    api::{ApiResource, DynamicObject, ListParams},
    core::GroupVersionKind,
};

use super::super::{Context, Error, pages::all};
use crate::{
    api::{cluster_network_policy, v1alpha1::ModelDeployment},
    policy::{
        World,
        opening::{CLUSTER_KINDS, Foreign, ModelPods, Opener, openers},
    },
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

/// Those of the whole cluster, each by its kind.
pub(super) type ClusterWide = Vec<(&'static str, DynamicObject)>;

/// Reads those of the whole cluster. Each of the kinds is there or not.
pub(super) async fn cluster_wide(context: &Context) -> Result<ClusterWide, Error> {
    let kinds = [
        (
            cluster_network_policy::GROUP,
            cluster_network_policy::VERSION,
            cluster_network_policy::PLURAL,
        ),
        ("cilium.io", "v2", "ciliumclusterwidenetworkpolicies"),
    ];
    let mut found = ClusterWide::new();
    for (kind, (group, version, plural)) in CLUSTER_KINDS.into_iter().zip(kinds) {
        let gvk = GroupVersionKind::gvk(group, version, kind);
        let resource = ApiResource::from_gvk_with_plural(&gvk, plural);
        let api: Api<DynamicObject> = Api::all_with(context.client.clone(), &resource);
        found.extend(listed(&api).await?.into_iter().map(|object| (kind, object)));
    }
    Ok(found)
}

/// Those that open something to or from models of the namespace. `pods` are the pods of these `models` that are there, and `wide`
/// the policies of the whole cluster.
pub(super) async fn networks(
    context: &Context,
    namespace: &str,
    models: &[&ModelDeployment],
    pods: &ModelPods,
    wide: &ClusterWide,
    world: &World,
) -> Result<Vec<Opener>, Error> {
    let labels = world.namespaces.get(namespace).cloned().unwrap_or_default();
    let of_cluster = wide.iter().map(|(kind, object)| {
        let name = object.metadata.name.as_deref().unwrap_or_default();
        Foreign::of_cluster(kind, name, &object.data, namespace, &labels)
    });
    let mut foreign: Vec<Foreign> = of_cluster.collect();
    for (group, version, kind, plural) in KINDS {
        let gvk = GroupVersionKind::gvk(group, version, kind);
        let resource = ApiResource::from_gvk_with_plural(&gvk, plural);
        let api: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), namespace, &resource);
        for object in listed(&api).await? {
            if kind != OWN || !is_a_models(&object, models) {
                let name = object.metadata.name.as_deref().unwrap_or_default();
                foreign.push(Foreign::read(kind, namespace, name, &object.data));
            }
        }
    }
    Ok(openers(&foreign, pods))
}

/// All of them; none when there is no such kind.
async fn listed(api: &Api<DynamicObject>) -> Result<Vec<DynamicObject>, Error> {
    match all(api, "network policies", ListParams::default().limit(PAGE)).await {
        Err(Error::Gather {
            source: kube::Error::Api(status),
            ..
        }) if status.code == 404 => Ok(Vec::new()),
        listed => listed,
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
