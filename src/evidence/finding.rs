//! What one check says about one subject under one policy.
//! The same value is shown in a status, in a denial and on the command line.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Reason;

/// What a check concluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum Verdict {
    /// It holds.
    Pass,
    /// Somebody else must act first: a verification is under way.
    Wait,
    /// A fact could not be read. Under Enforce that is never an admission.
    Unknown,
    /// It does not hold.
    Fail,
}

/// What a policy does with a failed check, the strictest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum Effect {
    /// The model does not serve.
    Enforce,
    /// The model serves, and people are told.
    Warn,
    /// The model serves, and it is on record.
    Audit,
}

/// Which rule a finding is about. The string is API, written as the path of the field in the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum RuleId {
    /// A policy selects the namespace and can be applied.
    #[serde(rename = "policy")]
    Policy,
    /// `model.signers` and `model.threshold`.
    #[serde(rename = "model.signature")]
    ModelSignature,
    /// `model.repositories`.
    #[serde(rename = "model.repositories")]
    ModelRepositories,
    /// `model.revoked`.
    #[serde(rename = "model.revoked")]
    ModelRevoked,
    /// `isolation.network`: nothing but what is declared reaches a model, or is reached by it.
    #[serde(rename = "isolation.network")]
    IsolationNetwork,
    /// `isolation.rbac`: the accounts of models hold no right beyond the ceiling.
    #[serde(rename = "isolation.rbac")]
    IsolationRbac,
    /// `isolation.hardening`: the pod, or the server, does without what it does not need.
    #[serde(rename = "isolation.hardening")]
    IsolationHardening,
    /// `isolation.runtimeClasses`: it asks for a runtime that is allowed.
    #[serde(rename = "isolation.runtimeClasses")]
    IsolationRuntimeClasses,
    /// `robustness.require`: the model was measured to be as robust as the policy asks.
    #[serde(rename = "robustness.require")]
    RobustnessRequire,
    /// `gates` of a `RobustnessPolicy`: what was measured of the model is what that asks for.
    #[serde(rename = "robustness.gates")]
    RobustnessGates,
    /// `unmanagedPods` and `exempt`: a model answers for the pod, or it is exempt.
    #[serde(rename = "pods.managed")]
    PodManaged,
    /// The pod of a model is exactly the planned one.
    #[serde(rename = "pods.plan")]
    PodPlan,
    /// What was judged about a pod stays as it was.
    #[serde(rename = "pods.change")]
    PodChange,
}

impl Finding {
    /// What it adds to a decision: its verdict under `Enforce`, and nothing otherwise.
    pub fn counts_as(&self) -> Verdict {
        match self.effect {
            Effect::Enforce => self.verdict,
            Effect::Warn | Effect::Audit => Verdict::Pass,
        }
    }
}

impl RuleId {
    /// Whether somebody may take it upon themselves that it does not hold. Revocation always wins, what cannot be applied says
    /// nothing that could be waived, what an account may do is no model's to choose, and without those about pods none of the
    /// others would hold.
    pub const fn is_waivable(self) -> bool {
        matches!(
            self,
            Self::ModelSignature
                | Self::ModelRepositories
                | Self::IsolationNetwork
                | Self::IsolationHardening
                | Self::IsolationRuntimeClasses
        )
    }

    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::ModelSignature => "model.signature",
            Self::ModelRepositories => "model.repositories",
            Self::ModelRevoked => "model.revoked",
            Self::IsolationNetwork => "isolation.network",
            Self::IsolationRbac => "isolation.rbac",
            Self::IsolationHardening => "isolation.hardening",
            Self::IsolationRuntimeClasses => "isolation.runtimeClasses",
            Self::RobustnessRequire => "robustness.require",
            Self::RobustnessGates => "robustness.gates",
            Self::PodManaged => "pods.managed",
            Self::PodPlan => "pods.plan",
            Self::PodChange => "pods.change",
        }
    }
}

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One finding: which rule of which policy says what, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The rule.
    pub rule: RuleId,
    /// The policy, as `Kind/name` or `Kind/namespace/name`; absent when no policy is involved.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 384))]
    pub policy: Option<String>,
    /// What the policy does with a failure.
    pub effect: Effect,
    /// The conclusion.
    pub verdict: Verdict,
    /// The stable code; absent when it passed or only waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// One sentence for people: what was found and what to do.
    #[schemars(length(max = 1024))]
    pub message: String,
    /// Who took it upon themselves, when it would have failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "value::<WaivedBy>")]
    pub waived_by: Option<WaivedBy>,
}

/// The exception that lets a finding pass.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
#[serde(rename_all = "camelCase")]
pub struct WaivedBy {
    /// The `Waiver`, by name.
    #[schemars(length(max = 253))]
    pub waiver: String,
    /// Who made it.
    #[schemars(length(max = 512))]
    pub approved_by: String,
    /// From when on it no longer counts.
    #[schemars(length(max = 64))]
    pub until: String,
}

/// The type's own schema: an optional field is left out, and never `null`.
fn value<T: JsonSchema>(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    T::json_schema(generator)
}
