//! `spec.isolation.rbac` of a policy: which rights the accounts of models may hold.
//! Shapes only; there is no `*` in them, so that nothing is allowed that nobody named.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::rules;

/// Which rights the accounts of models may hold: of models that Probity runs, those of their names; of workloads that
/// exist, whichever their pods run under.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RbacRequirements {
    /// The rights that may be given, and no others; `[]`: none. What Kubernetes gives to everybody, such as reading the
    /// list of its APIs, is not counted.
    ///
    /// A binding in a governed namespace that gives such an account more is refused; what gives it more in other ways, such
    /// as a `ClusterRoleBinding`, is shown in the policy's status.
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(max = 64))]
    pub ceiling: Vec<AllowedRight>,
}

/// Rights that may be given, in the words of a role: each group with each resource, and each verb for it. There is no `*`
/// here: whatever may be given is named.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AllowedRight {
    /// The API groups; `""` is the core group.
    #[x_kube(merge_strategy = ListMerge::Set, validation = rules::no_wildcards())]
    #[schemars(length(min = 1, max = 16), inner(length(max = 253)))]
    pub api_groups: Vec<String>,
    /// The resources, in the plural, with the part after a slash where only that is meant: `pods/log`.
    #[x_kube(merge_strategy = ListMerge::Set, validation = rules::no_wildcards())]
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 128)))]
    pub resources: Vec<String>,
    /// The only names it may be given for. Left out: it may be given for all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Set, validation = rules::no_wildcards())]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 253)))]
    pub resource_names: Option<Vec<String>>,
    /// The verbs, as in a role.
    #[x_kube(merge_strategy = ListMerge::Set, validation = rules::no_wildcards())]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 63)))]
    pub verbs: Vec<String>,
}

/// What the accounts of models hold beyond a policy's ceiling, whoever gave it to them and when.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AuditedRights {
    /// How many accounts were looked at.
    pub judged: i32,
    /// How many of them hold more.
    pub exceeding: i32,
    /// Some of these, by namespace and name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(max = 10))]
    pub examples: Option<Vec<AuditedAccount>>,
}

/// An account that holds more than a policy allows.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
pub struct AuditedAccount {
    /// Its namespace.
    #[schemars(length(max = 63))]
    pub namespace: String,
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// A model that runs under it.
    #[schemars(length(max = 253))]
    pub model: String,
    /// What it holds beyond the ceiling, the most dangerous first.
    #[schemars(length(max = 512))]
    pub rights: String,
    /// What gives it: the binding, the role, and by what name the binding means the account.
    #[schemars(length(max = 1024))]
    pub chain: String,
    /// How many bindings give it something beyond the ceiling.
    pub bindings: i32,
}
