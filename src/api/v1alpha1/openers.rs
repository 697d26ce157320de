//! `status.networkPolicies` of a policy: what opens that is to be closed.
//! Shapes only; bounded, however many there are.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// The network policies of others that allow traffic of models beside what is declared, whoever made them and when.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AuditedNetworkPolicies {
    /// How many there are.
    pub opening: i32,
    /// Some of them, by kind, namespace and name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(max = 10))]
    pub examples: Option<Vec<AuditedNetworkPolicy>>,
}

/// A network policy that opens what is to be closed.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AuditedNetworkPolicy {
    /// Its kind: `NetworkPolicy`, `CiliumNetworkPolicy`, `ClusterNetworkPolicy` or `CiliumClusterwideNetworkPolicy`.
    #[schemars(length(max = 63))]
    pub kind: String,
    /// Its namespace; of one of the whole cluster, that of the pods.
    #[schemars(length(max = 63))]
    pub namespace: String,
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// The model whose pods it means; absent: of any that may come.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub model: Option<String>,
    /// The fields that allow it.
    #[schemars(length(max = 512))]
    pub allows: String,
}
