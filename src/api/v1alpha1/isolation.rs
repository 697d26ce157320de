//! `spec.isolation` of a policy, and the network part of a model: who may talk to whom, on which port.
//! Shapes only; ports are numbers, for a name can come to mean another port.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{rights::RbacRequirements, rules};
use crate::evidence::Effect;

/// How far models are shut off from what they do not need.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::isolation_asks_for_something(), validation = rules::ceiling_needs_network(), validation = rules::monitoring_needs_network())]
pub struct Isolation {
    /// What happens when something in this section does not hold. Left out: what the policy's own `effect` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::value::<Effect>")]
    pub effect: Option<Effect>,
    /// `DefaultDeny`: each model gets a NetworkPolicy that lets in its declared `clients` and this policy's `monitoring`, and
    /// lets out name look-ups, the fetching of the model and its declared `egress` as far as it is below `egressCeiling`.
    /// Made only where the section is enforced. Left out: this policy asks for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::value::<NetworkIsolation>")]
    pub network: Option<NetworkIsolation>,
    /// What models may declare as `egress`: each peer and port of theirs must lie within one rule of this list. Left out:
    /// nothing. Of several policies each must allow it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(max = 32))]
    pub egress_ceiling: Option<Vec<EgressRule>>,
    /// Who may reach every model on its port beside its `clients`, such as what collects metrics. Left out: nobody. Of
    /// several policies each must name it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(max = 16))]
    pub monitoring: Option<Vec<PodPeer>>,
    /// Which rights the accounts of models may hold. Left out: this policy does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rbac: Option<RbacRequirements>,
    /// `Restricted`: every pod is what Pod Security's `restricted` asks for, and besides has a read-only root, a memory
    /// limit for each container and images by digest. What can be added to a pod without harm, admission adds while this is
    /// enforced; the rest is for its author. Pods that are exempt from having a model are not exempt from this. Left out:
    /// nothing of this is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::value::<Hardening>")]
    pub hardening: Option<Hardening>,
    /// The RuntimeClasses that pods may ask for: each must ask for one of them. Left out: any, or none. That a pod runs in
    /// what it asked for is the node's word; nothing attests it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Set, validation = rules::object_names())]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 253)))]
    pub runtime_classes: Option<Vec<String>>,
}

/// What pods must do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum Hardening {
    /// All that a server of models does not need.
    Restricted,
}

/// How models are shut off on the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum NetworkIsolation {
    /// Whatever is not declared is closed, in both directions.
    DefaultDeny,
}

/// Who may call a model.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Client {
    /// The pods.
    pub from: PodPeer,
    /// The port they reach. Left out: that of `server`. With `workloadRef` it is asked for, since nothing else says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
}

/// Pods, by the labels of their namespace, their own, or both.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::peer_has_a_selector())]
pub struct PodPeer {
    /// The namespaces they are in; `{}` is every namespace. Left out: the model's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::peer_selector")]
    pub namespace_selector: Option<LabelSelector>,
    /// Their labels. Left out, or `{}`: any pod there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::peer_selector")]
    pub pod_selector: Option<LabelSelector>,
}

/// What may be reached: every port of the list, at every peer of the list.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct EgressRule {
    /// Whom: pods by labels, or addresses.
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(min = 1, max = 16))]
    pub to: Vec<EgressPeer>,
    /// On which ports, by number.
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(min = 1, max = 16))]
    pub ports: Vec<EgressPort>,
}

/// One whom: pods by labels, or addresses.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::pods_or_addresses())]
pub struct EgressPeer {
    /// The namespaces they are in; `{}` is every namespace. Left out: the model's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::peer_selector")]
    pub namespace_selector: Option<LabelSelector>,
    /// Their labels. Left out, or `{}`: any pod there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::peer_selector")]
    pub pod_selector: Option<LabelSelector>,
    /// Addresses, instead of pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_block: Option<IpBlock>,
}

/// A range of addresses. The cloud's metadata addresses are never part of one.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::except_within_cidr())]
pub struct IpBlock {
    /// The range, as in `192.0.2.0/24` or `2001:db8::/64`.
    #[schemars(length(min = 4, max = 43))]
    #[x_kube(validation = rules::cidr_grammar(), validation = rules::cidr_is_not_metadata())]
    pub cidr: String,
    /// Ranges within it that are left out of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(max = 16), inner(length(min = 4, max = 43)))]
    pub except: Option<Vec<String>>,
}

/// Ports, by number.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::end_port_after_port())]
pub struct EgressPort {
    /// The port, or the first of a range.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// The last port of the range. Left out: `port` alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub end_port: Option<u16>,
    /// Left out: `TCP`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::value::<Transport>")]
    pub protocol: Option<Transport>,
}

/// A protocol with ports.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema,
)]
#[schemars(inline)]
pub enum Transport {
    /// TCP.
    #[default]
    #[serde(rename = "TCP")]
    Tcp,
    /// UDP.
    #[serde(rename = "UDP")]
    Udp,
    /// SCTP.
    #[serde(rename = "SCTP")]
    Sctp,
}

impl Transport {
    /// As the API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }
}
