//! `ClusterNetworkPolicy` of `policy.networking.k8s.io/v1alpha2`, as far as it is written here: what no NetworkPolicy opens again.
//! Shapes only; the definition is the network policy API's, and is installed by whoever has a network that enforces it.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{
    Resource,
    core::{ClusterResourceScope, ObjectMeta, TypeMeta},
};
use serde::{Deserialize, Serialize};

/// The API group.
pub const GROUP: &str = "policy.networking.k8s.io";
/// The version of it that is written.
pub const VERSION: &str = "v1alpha2";
/// The kind.
pub const KIND: &str = "ClusterNetworkPolicy";
/// What it is asked for by.
pub const PLURAL: &str = "clusternetworkpolicies";

/// What is denied to pods before any NetworkPolicy is asked.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct ClusterNetworkPolicy {
    /// Kind and version.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub types: Option<TypeMeta>,
    /// Name and labels.
    pub metadata: ObjectMeta,
    /// What it says.
    pub spec: ClusterNetworkPolicySpec,
}

/// What it says.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct ClusterNetworkPolicySpec {
    /// `Admin` comes before every NetworkPolicy, `Baseline` after.
    pub tier: String,
    /// The lower, the earlier it is asked, of those of its tier.
    pub priority: i32,
    /// Whose traffic it is about.
    pub subject: Subject,
    /// What comes in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ingress: Vec<IngressRule>,
    /// What goes out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub egress: Vec<OutRule>,
}

/// Pods: exactly one of the fields is set.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct Subject {
    /// All of these namespaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<LabelSelector>,
    /// Some of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<NamespacedPods>,
}

/// Pods of namespaces.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct NamespacedPods {
    /// The namespaces; empty: all.
    pub namespace_selector: LabelSelector,
    /// The pods; empty: all.
    pub pod_selector: LabelSelector,
}

/// What is done with traffic from these.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct IngressRule {
    /// What it is called where it is told of.
    #[serde(default)]
    pub name: String,
    /// `Accept`, `Deny` or `Pass`.
    pub action: String,
    /// From whom.
    pub from: Vec<Subject>,
}

/// What is done with traffic to these.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct OutRule {
    /// What it is called where it is told of.
    #[serde(default)]
    pub name: String,
    /// `Accept`, `Deny` or `Pass`.
    pub action: String,
    /// To whom.
    pub to: Vec<Destination>,
}

/// Pods or addresses: exactly one of the fields is set.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct Destination {
    /// All pods of these namespaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<LabelSelector>,
    /// Ranges of addresses, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<String>,
}

impl Resource for ClusterNetworkPolicy {
    type DynamicType = ();
    type Scope = ClusterResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        KIND.into()
    }

    fn group((): &()) -> Cow<'_, str> {
        GROUP.into()
    }

    fn version((): &()) -> Cow<'_, str> {
        VERSION.into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        PLURAL.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
