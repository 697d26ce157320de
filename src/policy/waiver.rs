//! Exceptions: a finding that somebody took upon themselves, for a time, does not deny. Pure.
//! What is known to be bad is beyond it: revoked content, content that is not what was signed, and what cannot be judged.

use std::{collections::BTreeSet, iter};

use jiff::{SignedDuration, Timestamp};

use kube::ResourceExt as _;

use super::{Evidence, Facts, Problem, Request, World, pinned};
use crate::{
    api::v1alpha1::{MAX_WAIVER_DAYS, ModelDeployment, Waiver},
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

    /// Whether it is for this model, whenever.
    fn is_for(&self, namespace: &str, model: &str) -> bool {
        self.namespace == namespace && self.model == model
    }

    /// Whether it speaks of all that this model may run, as far as that is known, whenever.
    fn speaks_of(&self, subject: &Subject<'_>) -> bool {
        let content = |digest| subject.contents.iter().all(|one| *one == Some(digest));
        self.is_for(subject.namespace, subject.model) && self.digest.is_none_or(content)
    }

    /// Whether it is for this rule of this policy.
    fn names(&self, rule: RuleId, policy: &str) -> bool {
        let policies = self.policies.as_ref();
        self.rules.contains(&rule) && policies.is_none_or(|policies| policies.contains(policy))
    }

    fn waives(&self, finding: &Finding) -> bool {
        // What somebody wants may be waived. What is broken or altered is no wish, and what is not known yet may be that.
        let wish = finding
            .reason
            .is_some_and(|reason| reason.class() == Class::Policy);
        let policy = finding.policy.as_deref();
        finding.verdict == Verdict::Fail
            && wish
            && policy.is_some_and(|policy| self.names(finding.rule, policy))
    }
}

/// The model that is judged, for whoever looks for its waivers.
#[derive(Debug, Clone)]
pub(super) struct Subject<'a> {
    namespace: &'a str,
    model: &'a str,
    /// Everything that its pods may run: at least one, and none where that is not known. A waiver for one content must not let
    /// another one in.
    contents: Vec<Option<Digest>>,
    /// Whether a verifier in its pods looks for signatures: it knows keys, and no waiver.
    owed: bool,
}

impl<'a> Subject<'a> {
    /// The model that these facts are about.
    pub(super) fn of(facts: &'a Facts) -> Self {
        Self {
            namespace: &facts.namespace,
            model: &facts.model,
            contents: vec![facts.digest],
            owed: matches!(facts.verification, Evidence::Owed(_)),
        }
    }

    /// This model, whichever of its pods is looked at.
    pub(super) fn whole(model: &'a ModelDeployment) -> Self {
        let asked = match Request::of(model) {
            Request::Known { digest, .. } => Some(digest),
            Request::Refused(_) | Request::Unresolved { .. } => pinned(model),
        };
        let serving = model.status.as_ref().and_then(|status| status.serving.as_ref());
        Self {
            namespace: model.metadata.namespace.as_deref().unwrap_or_default(),
            model: model.metadata.name.as_deref().unwrap_or_default(),
            contents: iter::once(asked)
                .chain(serving.map(|serving| Some(serving.digest)))
                .collect(),
            owed: false,
        }
    }
}

/// Lets pass what is waived of these findings, and says by whom; until when that holds, if anything was. What was waived and is
/// no more says that.
pub(super) fn apply(
    findings: &mut [Finding],
    subject: &Subject<'_>,
    world: &World,
    now: Timestamp,
) -> Option<Timestamp> {
    let speaking: Vec<_> = world
        .waivers
        .iter()
        .filter(|waiver| waiver.speaks_of(subject))
        .collect();
    let mut until: Option<Timestamp> = None;
    for finding in findings {
        if subject.owed && finding.rule == RuleId::ModelSignature {
            continue;
        }
        // Of several the one that lasts longest: when it ends, so does the exception.
        let waiving = speaking.iter().filter(|waiver| waiver.waives(finding));
        let Some(waiver) = waiving.max_by_key(|waiver| (waiver.until, &waiver.name)) else {
            continue;
        };
        if waiver.until <= now {
            finding.message = bounded(format!(
                "{} (the Waiver {} by {} was over at {}: have it mended, or another one made)",
                finding.message, waiver.name, waiver.approved_by, waiver.until
            ));
            continue;
        }
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

/// Whether somebody took this rule of this policy upon themselves for whatever the model runs.
pub(super) fn stands(
    rule: RuleId,
    policy: &str,
    subject: &Subject<'_>,
    world: &World,
    now: Timestamp,
) -> bool {
    world
        .waivers
        .iter()
        .any(|waiver| waiver.speaks_of(subject) && waiver.names(rule, policy) && now < waiver.until)
}

/// When the first of the waivers for this model ends that are not over; none when there is none.
pub fn waived_until(model: &ModelDeployment, world: &World, now: Timestamp) -> Option<Timestamp> {
    let (namespace, name) = (model.namespace().unwrap_or_default(), model.name_any());
    let its = world
        .waivers
        .iter()
        .filter(|waiver| waiver.is_for(&namespace, &name));
    its.map(|waiver| waiver.until).filter(|until| now < *until).min()
}

/// Whether somebody waived this rule for this model, whatever its content and whenever.
pub(super) fn is_waived(rule: RuleId, policy: &str, namespace: &str, model: &str, world: &World) -> bool {
    let mut its = world
        .waivers
        .iter()
        .filter(|waiver| waiver.is_for(namespace, model));
    its.any(|waiver| waiver.names(rule, policy))
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
