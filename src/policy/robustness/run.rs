//! One run as it counts: what was measured, of what, and what came of it.
//! It is read from a status that only the operator writes; what contradicts itself there says nothing.

use jiff::Timestamp;
use kube::ResourceExt as _;

use super::GateRule;
use crate::{
    api::v1alpha1::{Evaluation, EvaluationVerdict, Measurement, Suite},
    evidence::Digest,
};

/// A run that has come to an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    /// The `Evaluation`.
    pub name: String,
    /// The `RobustnessPolicy` that it was made for.
    pub policy: String,
    /// Hash of what that policy asked for then.
    pub asked: Digest,
    /// The content that was measured.
    pub subject: Digest,
    /// What it was measured on.
    pub dataset: Digest,
    /// What was measured.
    pub suites: Vec<Suite>,
    /// The numbers.
    pub numbers: Vec<Measurement>,
    /// What its gates made of them.
    pub verdict: EvaluationVerdict,
    /// The sentence that goes with it.
    pub message: String,
    /// When it ended.
    pub finished: Timestamp,
}

impl Measured {
    /// The run as it counts; none while it has no end, or when its status is not one that the operator writes.
    pub fn of(evaluation: &Evaluation) -> Option<Self> {
        let status = evaluation.status.as_ref()?;
        let run = status.run.as_ref()?;
        let verdict = status.verdict?;
        let numbers = status.measurements.clone().unwrap_or_default();
        let sane = |one: &Measurement| one.lower <= one.value && one.value <= one.upper;
        if !numbers.iter().all(sane) {
            return None;
        }
        Some(Self {
            name: evaluation.name_any(),
            policy: evaluation.spec.policy.clone(),
            asked: run.policy,
            subject: run.subject,
            dataset: run.dataset,
            suites: run.suites.clone(),
            // A run without an outcome has no numbers that count.
            numbers: if verdict == EvaluationVerdict::Error {
                Vec::new()
            } else {
                numbers
            },
            verdict,
            message: status.message.clone().unwrap_or_default(),
            finished: status.finished.as_ref()?.0,
        })
    }

    /// Whether it is about this content, and answers just what this rule asks.
    pub fn answers(&self, rule: &GateRule, subject: Digest) -> bool {
        self.subject == subject && self.policy == rule.name && self.asked == rule.asks
    }

    /// The suite of this name.
    pub(super) fn suite(&self, name: &str) -> Option<&Suite> {
        self.suites.iter().find(|suite| suite.name == name)
    }
}
