//! What of a model could be measured. Pure.
//! What policy refuses for another reason is not run, not even to be measured, and its registry is not asked.

use std::collections::BTreeSet;

use crate::{
    api::v1alpha1::ModelDeployment,
    evidence::{Digest, Effect, RuleId, Verdict},
};

/// What of a model could be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::controller) struct Contents {
    /// What is asked for, or serves when that is the same.
    pub wanted: Option<Digest>,
    /// Whether nothing else stands in its way.
    pub admissible: bool,
    /// What serves.
    pub serving: Option<Digest>,
}

impl Contents {
    /// Those that may be measured.
    pub fn to_measure(self) -> BTreeSet<Digest> {
        let wanted = self.wanted.filter(|_| self.admissible);
        [wanted, self.serving].into_iter().flatten().collect()
    }
}

/// Reads it from the model's status.
pub(in crate::controller) fn contents(model: &ModelDeployment) -> Contents {
    let status = model.status.as_ref();
    let serving = status
        .and_then(|status| status.serving.as_ref())
        .map(|serving| serving.digest);
    let candidate = status
        .and_then(|status| status.candidate.as_ref())
        .and_then(|candidate| candidate.digest);
    let findings = status
        .and_then(|status| status.findings.as_deref())
        .unwrap_or_default();
    let others = findings.iter().filter(|finding| {
        finding.effect == Effect::Enforce
            && !matches!(finding.rule, RuleId::RobustnessGates | RuleId::RobustnessRequire)
    });
    let mut others = others.peekable();
    Contents {
        wanted: candidate.or(serving),
        admissible: others.peek().is_some() && others.all(|finding| finding.verdict == Verdict::Pass),
        serving,
    }
}
