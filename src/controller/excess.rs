//! What a model's status says of the rights its account holds beyond policies' ceilings, as the audit found them. Pure.
//! It is told and stops nothing; what nobody has looked at since this operator began stays as it was told last.

use std::fmt::Write as _;

use k8s_openapi::api::core::v1::ObjectReference;

use super::{
    Note,
    audit::Beyond,
    condition::{State, Wanted, find},
};
use crate::{
    api::v1alpha1::ModelDeploymentStatus,
    evidence::{Finding, Reason, RuleId},
    policy::{Decision, World},
};

/// The condition's type.
pub(super) const RIGHTS: &str = "RightsWithinCeiling";
/// At most so many bindings are named in the condition; the findings have more.
const NAMED: usize = 2;

/// What a status says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rights {
    /// The condition; none where no policy has a ceiling.
    pub condition: Option<Wanted>,
    /// One finding for each policy and binding.
    pub findings: Vec<Finding>,
}

/// What is said of a model of this namespace, of which the audit found this, if it has looked.
pub(super) fn rights(
    world: &World,
    namespace: &str,
    found: Option<&[Beyond]>,
    old: Option<&ModelDeploymentStatus>,
) -> Rights {
    let mut policies = world.policies_of(namespace);
    if !policies.any(|rules| rules.isolation.ceiling.is_some()) {
        return Rights::default();
    }
    let Some(found) = found else {
        return as_told(old);
    };
    let findings: Vec<Finding> = found.iter().map(|one| one.finding.clone()).collect();
    let condition = match findings.as_slice() {
        [] => Wanted::new(
            RIGHTS,
            State::True,
            "WithinCeiling",
            "its account holds nothing beyond isolation.rbac.ceiling",
        ),
        [first, ..] => {
            let named = findings.iter().take(NAMED).map(|one| one.message.as_str());
            let mut message = named.collect::<Vec<_>>().join("; ");
            if let Some(more) = findings.len().checked_sub(NAMED).filter(|more| *more > 0) {
                let _ = write!(message, " (and {more} more: see the findings)");
            }
            let reason = first.reason.unwrap_or(Reason::RightsExceeded);
            Wanted::new(RIGHTS, State::False, reason.as_str(), message)
        }
    };
    Rights {
        condition: Some(condition),
        findings,
    }
}

/// What was told last: by whoever audited before, or that nobody has.
fn as_told(old: Option<&ModelDeploymentStatus>) -> Rights {
    let there = find(old.and_then(|old| old.conditions.as_deref()), RIGHTS);
    let condition = there.map_or_else(
        || {
            let message = "what its account may do has not been looked at yet: the audit comes by itself";
            Wanted::new(RIGHTS, State::Unknown, "NotAudited", message)
        },
        |there| {
            let states = [State::True, State::False];
            let state = states.into_iter().find(|state| state.as_str() == there.status);
            let state = state.unwrap_or(State::Unknown);
            Wanted::new(RIGHTS, state, &there.reason, &there.message)
        },
    );
    Rights {
        condition: Some(condition),
        findings: told(old).cloned().collect(),
    }
}

/// The findings of a status: what is decided, if anything is, and what is told of rights.
pub(super) fn findings(decision: Option<&Decision>, rights: &Rights) -> Option<Vec<Finding>> {
    match decision {
        Some(decision) => Some(decision.shown_with(&rights.findings)),
        None => (!rights.findings.is_empty()).then(|| rights.findings.clone()),
    }
}

/// The findings of this kind in a status.
fn told(status: Option<&ModelDeploymentStatus>) -> impl Iterator<Item = &Finding> {
    let findings = status
        .into_iter()
        .flat_map(|status| status.findings.iter().flatten());
    findings.filter(|finding| finding.rule == RuleId::IsolationRbac)
}

/// The Events that tell what was found and not told yet: one for each binding, which it names, so that none of them is taken
/// for another one once more.
pub(super) fn news(
    found: Option<&[Beyond]>,
    old: Option<&ModelDeploymentStatus>,
) -> Vec<(Note, ObjectReference)> {
    let known = |one: &&Beyond| told(old).any(|finding| *finding == one.finding);
    let new = found.into_iter().flatten().filter(|one| !known(one));
    new.map(|Beyond { finding, binding }| {
        let note = Note {
            warning: true,
            reason: Reason::RightsExceeded.to_string(),
            action: "Audit",
            message: finding.message.clone(),
        };
        (note, binding.clone())
    })
    .collect()
}

#[cfg(test)]
mod tests;
