//! Exceptions: a finding that somebody took upon themselves, for a time, does not deny. Pure.
//! What is known to be bad is beyond it: revoked content, content that is not what was signed, and what cannot be judged.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::{Facts, Problem, World};
use crate::{
    api::v1alpha1::{MAX_WAIVER_DAYS, Waiver},
    evidence::{Class, Digest, Finding, Reason, RuleId, Verdict, WaivedBy},
};

/// The longest that a waiver lasts.
const LONGEST: SignedDuration = SignedDuration::from_hours(24 * MAX_WAIVER_DAYS);

/// A waiver ready to be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaiverRule {
    /// Its namespace, and the only one that it has a say in.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The rules; those that cannot be waived are not among them.
    pub rules: BTreeSet<RuleId>,
    /// The model, by name.
    pub model: String,
    /// The only content; absent when it is any.
    pub digest: Option<Digest>,
    /// The only policies; absent when it is any.
    pub policies: Option<BTreeSet<String>>,
    /// From when on it no longer counts.
    pub until: Timestamp,
    /// Who took it upon themselves.
    pub approved_by: String,
}

impl WaiverRule {
    /// The waiver as it counts; none when nobody approved it. It lasts no longer than ninety days after it was made: `made`
    /// is for one that is not stored yet.
    pub fn of(waiver: &Waiver, made: Timestamp) -> Option<Self> {
        let meta = &waiver.metadata;
        let spec = &waiver.spec;
        let made = meta.creation_timestamp.as_ref().map_or(made, |time| time.0);
        Some(Self {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            rules: spec
                .rules
                .iter()
                .copied()
                .filter(|rule| rule.is_waivable())
                .collect(),
            model: spec.subject.model_deployment.clone(),
            digest: spec.subject.digest,
            policies: spec
                .policies
                .as_ref()
                .map(|policies| policies.iter().cloned().collect()),
            until: spec.expires.0.min(made.checked_add(LONGEST).ok()?),
            approved_by: spec.approved_by.clone()?,
        })
    }

    /// Whether it speaks of this model, as far as that is known, and is not over.
    fn covers(&self, facts: &Facts, now: Timestamp) -> bool {
        let content = self.digest.is_none_or(|digest| facts.digest == Some(digest));
        self.namespace == facts.namespace && self.model == facts.model && content && now < self.until
    }

    fn waives(&self, finding: &Finding) -> bool {
        let named = |policy: &String| {
            self.policies
                .as_ref()
                .is_none_or(|policies| policies.contains(policy))
        };
        // What somebody wants may be waived. What is broken or altered is no wish, and what is not known yet may be that.
        let wish = finding
            .reason
            .is_some_and(|reason| reason.class() == Class::Policy);
        finding.verdict == Verdict::Fail
            && wish
            && self.rules.contains(&finding.rule)
            && finding.policy.as_ref().is_some_and(named)
    }
}

/// Lets pass what is waived of these findings, and says by whom; until when that holds, if anything was.
pub(super) fn apply(
    findings: &mut [Finding],
    facts: &Facts,
    world: &World,
    now: Timestamp,
) -> Option<Timestamp> {
    let covering: Vec<_> = world
        .waivers
        .iter()
        .filter(|waiver| waiver.covers(facts, now))
        .collect();
    let mut until: Option<Timestamp> = None;
    for finding in findings {
        // Of several the one that lasts longest: when it ends, so does the exception.
        let waiving = covering.iter().filter(|waiver| waiver.waives(finding));
        let Some(waiver) = waiving.max_by_key(|waiver| (waiver.until, &waiver.name)) else {
            continue;
        };
        finding.verdict = Verdict::Pass;
        finding.message = bounded(format!(
            "{} (waived until {} by {}: Waiver {})",
            finding.message, waiver.until, waiver.approved_by, waiver.name
        ));
        finding.waived_by = Some(WaivedBy {
            waiver: waiver.name.clone(),
            approved_by: waiver.approved_by.clone(),
            until: waiver.until.to_string(),
        });
        until = Some(until.map_or(waiver.until, |until| until.min(waiver.until)));
    }
    until
}

/// Whether somebody waived this rule for this model, whatever its content and whenever.
pub(super) fn is_waived(rule: RuleId, policy: &str, namespace: &str, model: &str, world: &World) -> bool {
    world.waivers.iter().any(|waiver| {
        waiver.namespace == namespace
            && waiver.model == model
            && waiver.rules.contains(&rule)
            && waiver
                .policies
                .as_ref()
                .is_none_or(|policies| policies.contains(policy))
    })
}

/// What is wrong with a waiver that somebody makes now.
pub(super) fn problems(waiver: &Waiver, now: Timestamp) -> Vec<Problem> {
    let problem = |field: &str, message: String| Problem::new(Reason::SpecInvalid, field, message);
    let spec = &waiver.spec;
    let mut found = Vec::new();
    if spec.expires.0 <= now {
        found.push(problem(
            "spec.expires",
            "is over already: write a time to come".into(),
        ));
    } else if now.checked_add(LONGEST).is_ok_and(|last| spec.expires.0 > last) {
        let message = format!("is more than {MAX_WAIVER_DAYS} days ahead: write an earlier time");
        found.push(problem("spec.expires", message));
    }
    if let Some(rule) = spec.rules.iter().find(|rule| !rule.is_waivable()) {
        found.push(problem(
            "spec.rules",
            format!("{rule} cannot be waived: leave it out"),
        ));
    }
    if spec.reason.trim().is_empty() {
        found.push(problem(
            "spec.reason",
            "nobody will know why: write the reason".into(),
        ));
    }
    found
}

fn bounded(message: String) -> String {
    crate::evidence::Failure::new(Reason::Internal, message).message
}

#[cfg(test)]
mod tests;
