//! `Evaluation`: one run of a policy's measurements on one content, and what came of it.
//! Whoever makes one only asks for it; what counts is in the status, which the operator alone writes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    robustness::{Gate, Measurement, Suite},
    rules,
};
use crate::evidence::{Decimal, Digest};

/// One run: made by the operator when one is due, or by a person who wants one now. It never changes.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "probity.dev",
    version = "v1alpha1",
    kind = "Evaluation",
    namespaced,
    status = "EvaluationStatus",
    shortname = "eval",
    category = "probity",
    derive = "PartialEq",
    doc = "One run of a RobustnessPolicy's measurements on one content, and its verdict.",
    printcolumn(name = "Model", type_ = "string", json_path = ".spec.model"),
    printcolumn(name = "Verdict", type_ = "string", json_path = ".status.verdict"),
    printcolumn(name = "Result", type_ = "string", json_path = ".status.summary"),
    printcolumn(name = "Policy", type_ = "string", json_path = ".spec.policy"),
    printcolumn(name = "Digest", type_ = "string", json_path = ".status.run.subject", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = rules::evaluation_stays()
)]
#[serde(rename_all = "camelCase")]
pub struct EvaluationSpec {
    /// The `ModelDeployment`, by name.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::object_name())]
    pub model: String,
    /// The `RobustnessPolicy` of the same namespace that says what is measured.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name())]
    pub policy: String,
    /// Which content of the model: what it serves, or asks for. Left out: what it asks for when the run begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// What a run concluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum EvaluationVerdict {
    /// Every gate is shown to hold.
    Passed,
    /// A gate is shown not to hold. No other run on the same content makes that good.
    Failed,
    /// Neither could be shown: the intervals are too wide for it.
    Inconclusive,
    /// The run did not come to numbers, or to numbers that mean anything.
    Error,
}

impl EvaluationVerdict {
    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "Passed",
            Self::Failed => "Failed",
            Self::Inconclusive => "Inconclusive",
            Self::Error => "Error",
        }
    }
}

/// How the run went.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct EvaluationStatus {
    /// What is run: fixed when the run begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<EvaluationRun>,
    /// What runs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<EvaluationJob>,
    /// The conclusion; absent while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::value::<EvaluationVerdict>")]
    pub verdict: Option<EvaluationVerdict>,
    /// The sentence that goes with it: numbers, or what went wrong and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
    /// The numbers that gates speak of, for a column.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub summary: Option<String>,
    /// The numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(max = 64))]
    pub measurements: Option<Vec<Measurement>>,
    /// When the run ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished: Option<Time>,
    /// `Complete`: False `Running` or `Waiting`; True with the verdict as its reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Option<Vec<Condition>>,
}

/// What is run, in full: the verdict holds for this, and for nothing else.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct EvaluationRun {
    /// The content that is measured.
    pub subject: Digest,
    /// Its repository.
    #[schemars(length(max = 1024))]
    pub repository: String,
    /// The data set that it is measured on.
    pub dataset: Digest,
    /// The least that an input's numbers can be.
    pub minimum: Decimal,
    /// The most.
    pub maximum: Decimal,
    /// Hash of what the policy asked for when the run began; a policy that asks for something else needs another run.
    pub policy: Digest,
    /// What decides which samples are drawn and what the attacks try: chosen when the run begins, by the operator.
    pub seed: i64,
    /// How sure each interval is, such as `0.975`: the error that a run may make is shared among its gates, and what is left of
    /// it among further runs on the same content.
    pub confidence: Decimal,
    /// How many samples are measured.
    pub samples: u32,
    /// What is measured.
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(max = 6))]
    pub suites: Vec<Suite>,
    /// What must come of it.
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(max = 16))]
    pub gates: Vec<Gate>,
    /// When it began.
    pub started: Time,
}

/// The Job that runs an evaluation, in the operator's namespace for that. A result is believed of no other.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct EvaluationJob {
    /// Its name.
    #[schemars(length(max = 63))]
    pub name: String,
    /// Its uid.
    #[schemars(length(max = 64))]
    pub uid: String,
}
