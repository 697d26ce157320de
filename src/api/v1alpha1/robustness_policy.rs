//! `RobustnessPolicy`: which models are measured, by what, and what must come of it.
//! It can only ever deny more: what a platform insists on is in a `ClusterDeploymentPolicy`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::{
    robustness::{Dataset, Gate, Suite},
    rules,
};
use crate::evidence::Effect;

/// Which models of its namespace are measured, by what, and what must come of it before a model serves.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "probity.dev",
    version = "v1alpha1",
    kind = "RobustnessPolicy",
    plural = "robustnesspolicies",
    namespaced,
    status = "RobustnessPolicyStatus",
    shortname = "rp",
    category = "probity",
    derive = "PartialEq",
    doc = "Which models are measured, by what, and what must come of it.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Effect", type_ = "string", json_path = ".spec.effect"),
    printcolumn(name = "Passed", type_ = "integer", json_path = ".status.passed"),
    printcolumn(name = "Held", type_ = "integer", json_path = ".status.held"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = rules::gates_name_suites()
)]
#[serde(rename_all = "camelCase")]
pub struct RobustnessPolicySpec {
    /// The models, by name, each a `ModelDeployment` of the policy's own namespace. Left out: all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Set, validation = rules::object_names())]
    #[schemars(length(min = 1, max = 256), inner(length(min = 1, max = 63)))]
    pub models: Option<Vec<String>>,
    /// What happens when something does not hold. `Enforce` (left out): the model does not serve. `Warn`: it serves, and its
    /// conditions and Events say what would deny it. `Audit`: it serves, and its findings say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::value::<Effect>")]
    pub effect: Option<Effect>,
    /// What the models are measured on.
    pub dataset: Dataset,
    /// How many of its samples are measured, drawn by the run's seed. More samples make narrower intervals.
    #[schemars(range(min = 10, max = 1_000_000))]
    pub samples: u32,
    /// What is measured.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(min = 1, max = 6))]
    pub suites: Vec<Suite>,
    /// What must come of it: all of them must hold.
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(min = 1, max = 16))]
    pub gates: Vec<Gate>,
    /// For how long a run counts, in seconds; a model is measured again, with fresh seeds, when half of it is over. Left out:
    /// for ever, and a model is measured again only when its content or this policy changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 60, max = 31_536_000))]
    pub max_age_seconds: Option<u32>,
    /// How long a run may take, in seconds. Left out: 3600.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 86_400))]
    pub deadline_seconds: Option<u32>,
    /// No new run is begun while this is true. Left out: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

/// Whether the policy can be applied, and what it comes to.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RobustnessPolicyStatus {
    /// The generation this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Models whose content passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passed: Option<i32>,
    /// Models whose content failed, or has not passed yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<i32>,
    /// `Ready`: True `Applied`; False `PolicyInvalid`, the message names the field and what would do.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Option<Vec<Condition>>,
}
