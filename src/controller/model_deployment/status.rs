//! The truth about a model, as its status says it: what serves, what was asked for, and the one sentence that matters.
//! Pure: computed from the plan and from what was applied.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;

use crate::{
    api::{
        MODEL_LABEL,
        v1alpha1::{CandidateModel, ModelDeployment, ModelDeploymentStatus, ServingModel, UpdateMode},
    },
    evidence::{Digest, Reason, Reference, Verdict},
    policy::{Decision, Evidence, Request, Verification},
    workload::RunningModel,
};

use super::{
    super::{
        condition::{State, Summary, Wanted, conditions},
        excess::{Rights, findings},
        notes::signed,
        satisfied::satisfied,
    },
    plan::{Judgement, Plan, UNMEASURED},
    serving::Rollout,
};

/// What became of the planned objects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The first object whose name somebody else has, as `Kind name`.
    pub name_taken: Option<String>,
    /// How far the Deployment is after applying.
    pub rollout: Rollout,
    /// What is known of its network, where anybody asks for isolation.
    pub isolated: Option<Wanted>,
    /// What is said of the rights of its account.
    pub rights: Rights,
}

/// The status after one look.
pub fn status(
    model: &ModelDeployment,
    plan: &Plan,
    outcome: &Outcome,
    now: Timestamp,
) -> ModelDeploymentStatus {
    let old = model.status.as_ref();
    let serving = serving(model, plan, outcome, now);
    let summary = summary(model, plan, outcome, serving.as_ref());
    let cut = cut_off(plan, outcome.isolated.as_ref());
    let generation = model.metadata.generation;
    let wanted = wanted_conditions(plan, outcome, &summary, cut.as_ref());
    ModelDeploymentStatus {
        observed_generation: generation,
        resolved: None,
        workload: None,
        candidate: candidate(model, plan, serving.as_ref(), &summary),
        serving,
        replicas: Some(outcome.rollout.replicas),
        selector: Some(format!("{MODEL_LABEL}={}", model.name_any())),
        conditions: Some(conditions(
            old.and_then(|old| old.conditions.as_deref()),
            wanted,
            generation,
            now,
        )),
        findings: {
            let decision = plan.requested.as_ref().map(|judged| &judged.decision);
            findings(decision.or(plan.foregone.as_ref()), &outcome.rights)
        },
    }
}

/// What is said while the pods of what serves take no traffic, and nothing takes its place.
fn cut_off(plan: &Plan, isolated: Option<&Wanted>) -> Option<Summary> {
    let held = plan.held.as_ref().filter(|_| plan.cut)?;
    let pods = "its pods take no new connections and stay to be looked at";
    let (reason, message) = held.told(isolated, pods, "its server is scaled to zero")?;
    Some(Summary::no(reason, message))
}

/// What serves: the digest whose rollout completed last. Whether its pods are available just now is another condition.
/// What serves, and since when policy does not admit it any more.
fn serving(model: &ModelDeployment, plan: &Plan, outcome: &Outcome, now: Timestamp) -> Option<ServingModel> {
    let old = model.status.as_ref().and_then(|status| status.serving.as_ref());
    // Without a Deployment of ours nothing serves, whatever the status remembers.
    let running = outcome.rollout.template.as_ref()?;
    let serving = if outcome.rollout.complete {
        rolled_out_now(model, plan, running, old, now)
    } else {
        old.cloned()?
    };
    // Where both speak of this content, what is asked for runs in another server than what served: by now it is what serves, if
    // it was admitted, for a rollout completes to that.
    let is_it = |judged: &&Judgement| judged.subject == serving.digest;
    let rolled_out = plan
        .requested
        .as_ref()
        .filter(|judged| outcome.rollout.complete && judged.decision.admits());
    let verdict = rolled_out
        .into_iter()
        .chain(&plan.serving)
        .chain(&plan.requested)
        .find(is_it)
        .map(|judged| judged.decision.verdict);
    let unproven_since = match verdict {
        Some(Verdict::Pass) => None,
        Some(Verdict::Fail | Verdict::Unknown) => serving.unproven_since.clone().or(Some(Time(now))),
        Some(Verdict::Wait) | None => serving.unproven_since.clone(),
    };
    let held = plan.held.as_ref().filter(|held| held.digest == serving.digest);
    let response = held.map_or(serving.response, |held| held.response.remembered());
    Some(ServingModel {
        unproven_since,
        response,
        ..serving
    })
}

/// What serves when a rollout is complete.
fn rolled_out_now(
    model: &ModelDeployment,
    plan: &Plan,
    running: &RunningModel,
    old: Option<&ServingModel>,
    now: Timestamp,
) -> ServingModel {
    // A rollout completes to what was planned; without a plan the template is still that of before.
    let template = plan.desired.template.clone();
    let template = template.or_else(|| old.and_then(|old| old.template.clone()));
    let old = old.filter(|old| old.digest == running.digest);
    // What was asked for says more than the pinned reference in the template: it has the tag.
    let asked = match &plan.request {
        Request::Known { reference, digest } if *digest == running.digest => Some(reference),
        _ => None,
    };
    // What is asked for counts from when it is admitted.
    let admitted = plan
        .requested
        .as_ref()
        .is_some_and(|judged| judged.subject == running.digest && judged.decision.admits());
    let egress = if admitted {
        model.spec.egress.clone()
    } else {
        old.and_then(|old| old.egress.clone())
    };
    let remembered = || old.and_then(|old| old.reference.parse().ok());
    let reference = asked
        .cloned()
        .or_else(remembered)
        .unwrap_or_else(|| running.reference.clone());
    let base = ServingModel {
        digest: running.digest,
        version: version(&reference, running.digest),
        reference: reference.to_string(),
        since: old.map_or(Time(now), |old| old.since.clone()),
        // Not known yet is not as many as there may be.
        size: i64::try_from(running.size % UNMEASURED).unwrap_or(i64::MAX),
        files: old.map_or(0, |old| old.files),
        signers: old.map_or(Vec::new(), |old| old.signers.clone()),
        signed_by: old.map_or(String::new(), |old| old.signed_by.clone()),
        verification: old.map_or(String::new(), |old| old.verification.clone()),
        template,
        egress,
        unproven_since: old.and_then(|old| old.unproven_since.clone()),
        response: old.and_then(|old| old.response),
    };
    let judged = plan
        .requested
        .iter()
        .chain(&plan.serving)
        .find(|judged| judged.subject == running.digest);
    let Some((judged, Evidence::Known(found))) = judged.map(|judged| (judged, &judged.evidence)) else {
        // It serves, and what was found when it was admitted cannot be looked up just now: keep what is remembered.
        return base;
    };
    // What was refused since then may not have been counted again, and it is still what serves.
    let counted = found.size > 0;
    ServingModel {
        size: if counted {
            i64::try_from(found.size).unwrap_or(i64::MAX)
        } else {
            base.size
        },
        files: if counted {
            i32::try_from(found.files).unwrap_or(i32::MAX)
        } else {
            base.files
        },
        signers: judged.decision.signers.clone(),
        signed_by: names(&judged.decision),
        verification: judged.verification.clone().unwrap_or_default(),
        ..base
    }
}

/// Who signed, and who vouches for it beside or instead of them.
fn names(decision: &Decision) -> String {
    let signers = decision.signers.iter().map(|signer| signer.name.clone());
    let approvals = decision.approved_by.iter().map(|by| format!("{by} (approval)"));
    signers.chain(approvals).collect::<Vec<_>>().join(", ")
}

/// The tag and the first digits of the digest.
fn version(reference: &Reference, digest: Digest) -> String {
    match reference.tag() {
        Some(tag) => format!("{tag}@{}", digest.short()),
        None => digest.short(),
    }
}

/// What was asked for, unless it is what serves.
fn candidate(
    model: &ModelDeployment,
    plan: &Plan,
    serving: Option<&ServingModel>,
    summary: &Summary,
) -> Option<CandidateModel> {
    let asked = model
        .spec
        .model
        .source
        .oci
        .as_ref()
        .map(|oci| oci.reference.clone())
        .unwrap_or_default();
    let (digest, version) = match &plan.request {
        Request::Known { digest, reference } => (Some(*digest), Some(version(reference, *digest))),
        Request::Refused(_) | Request::Unresolved { .. } => (None, None),
    };
    if digest.is_some() && digest == serving.map(|serving| serving.digest) {
        return None;
    }
    Some(CandidateModel {
        digest,
        version,
        reference: asked,
        reason: summary.reason.clone(),
    })
}

fn summary(
    model: &ModelDeployment,
    plan: &Plan,
    outcome: &Outcome,
    serving: Option<&ServingModel>,
) -> Summary {
    let cut = plan.held.as_ref().is_some_and(|held| held.response.cuts());
    let stops = plan.held.as_ref().and_then(|held| held.response.stops);
    let stops = stops.map_or_else(String::new, |stops| format!(" until it is stopped at {stops}"));
    let goes_on = |digest: Option<Digest>, message: &str| match serving.filter(|_| !cut) {
        Some(serving) if Some(serving.digest) == digest => {
            format!("{message}; it serves already and goes on serving{stops}")
        }
        Some(serving) => format!("{message}; sha256:{}… serves on{stops}", serving.digest.short()),
        None => message.to_owned(),
    };
    if let Some(refused) = &plan.foregone {
        let reason = refused.reason().map_or("PolicyNotSatisfied", Reason::as_str);
        return Summary::no(reason, goes_on(None, &refused.sentence()));
    }
    let (reference, digest) = match &plan.request {
        Request::Refused(problem) => {
            return Summary::no(problem.reason.as_str(), goes_on(None, &problem.to_string()));
        }
        Request::Unresolved {
            reference,
            failure: None,
        } => {
            return Summary::not_yet(
                "Resolving",
                goes_on(None, &format!("{reference} is being looked up")),
            );
        }
        Request::Unresolved {
            failure: Some(failure),
            ..
        } => {
            let message = goes_on(None, &failure.message);
            return Summary {
                stalled: !failure.is_transient(),
                ..Summary::no(failure.reason.as_str(), message)
            };
        }
        Request::Known { reference, digest } => (reference, *digest),
    };
    if let Some(name) = &outcome.name_taken {
        let message = format!("{name} exists and is not this model's: rename the model, or remove it");
        return Summary::no("NameTaken", message);
    }
    let Some(judged) = &plan.requested else {
        return Summary::not_yet("Resolving", "waiting");
    };
    let decision = &judged.decision;
    let reason = decision.code();
    match decision.verdict {
        Verdict::Fail => {
            let serves = serving.is_some_and(|serving| serving.digest == digest);
            let pinned = pinned(model, reference, digest)
                .filter(|_| !serves)
                .unwrap_or_default();
            let message = goes_on(Some(digest), &decision.sentence());
            Summary::no(reason, format!("{message}{pinned}"))
        }
        Verdict::Unknown | Verdict::Wait => {
            Summary::not_yet(reason, goes_on(Some(digest), &decision.sentence()))
        }
        Verdict::Pass => rolled_out(
            model,
            reference,
            digest,
            judged,
            outcome,
            serving.filter(|_| !cut),
        ),
    }
}

/// The request was admitted: how far is it?
fn rolled_out(
    model: &ModelDeployment,
    reference: &Reference,
    digest: Digest,
    judged: &Judgement,
    outcome: &Outcome,
    serving: Option<&ServingModel>,
) -> Summary {
    let rollout = &outcome.rollout;
    let signed = signed(&names(&judged.decision));
    let what = match reference.digest() {
        Some(_) => reference.to_string(),
        None => format!("{reference} (sha256:{}…)", digest.short()),
    };
    if rollout.complete
        && rollout
            .template
            .as_ref()
            .is_some_and(|template| template.digest == digest)
    {
        let message = format!("{what} serves, {signed}");
        // A followed tag that cannot be looked at says so here: what serves is right, and may be old.
        let stale = model
            .status
            .as_ref()
            .and_then(|status| status.resolved.as_ref())
            .and_then(|resolved| resolved.message.as_ref());
        let message = stale.map_or(message.clone(), |stale| {
            format!("{message}; the tag could not be looked at again: {stale}")
        });
        return Summary {
            state: State::True,
            reason: "Serving".into(),
            message,
            stalled: false,
        };
    }
    if rollout.wanted == 0 && rollout.template.is_some() {
        return Summary::not_yet(
            "ScaledToZero",
            format!("{what} may serve, and no replicas are wanted"),
        );
    }
    let before = serving
        .filter(|serving| serving.digest != digest)
        .map_or(String::new(), |serving| {
            format!("; sha256:{}… serves until then", serving.digest.short())
        });
    if let Some(failure) = &rollout.failure {
        return Summary::not_yet(failure.reason.clone(), format!("{}{before}", failure.message));
    }
    let progress = format!("{} of {} pods are available", rollout.available, rollout.wanted);
    Summary::not_yet(
        "RollingOut",
        format!("{what}, {signed}, is rolling out: {progress}{before}"),
    )
}

/// What mending takes besides, when a tag was resolved once and for all.
fn pinned(model: &ModelDeployment, reference: &Reference, digest: Digest) -> Option<String> {
    let source = model.spec.model.source.oci.as_ref()?;
    let tag = reference.tag().filter(|_| reference.digest().is_none())?;
    (source.update.unwrap_or_default() == UpdateMode::Pinned).then(|| {
        format!(
            "; the tag {tag} is pinned to sha256:{}…: what is pushed under it later needs another reference, or update: Follow",
            digest.short()
        )
    })
}

/// `cut` is what is said, above all else, while what serves takes no traffic.
fn wanted_conditions(
    plan: &Plan,
    outcome: &Outcome,
    summary: &Summary,
    cut: Option<&Summary>,
) -> Vec<Wanted> {
    let accepted = match (&plan.request, &outcome.name_taken) {
        (Request::Refused(problem), _) => Wanted::new(
            "Accepted",
            State::False,
            problem.reason.as_str(),
            problem.to_string(),
        ),
        (_, Some(_)) => Wanted::new("Accepted", State::False, "NameTaken", &summary.message),
        _ => Wanted::new(
            "Accepted",
            State::True,
            "Accepted",
            "the specification can be carried out",
        ),
    };
    let (verified, satisfied) = (artifact_verified(plan, summary), policy_satisfied(plan));
    let available = match cut {
        Some(cut) => Wanted::new("Available", State::False, &cut.reason, &cut.message),
        None => available(&outcome.rollout),
    };
    let summary = cut.unwrap_or(summary);
    let mut wanted = vec![accepted, verified, satisfied, available];
    wanted.extend(outcome.isolated.clone());
    wanted.extend(outcome.rights.condition.clone());
    wanted.extend(summary.conditions());
    wanted
}

fn artifact_verified(plan: &Plan, summary: &Summary) -> Wanted {
    const KIND: &str = "ArtifactVerified";
    let Some(judged) = &plan.requested else {
        return Wanted::new(KIND, State::Unknown, &summary.reason, &summary.message);
    };
    match &judged.evidence {
        Evidence::Wait(message) => Wanted::new(KIND, State::Unknown, "Verifying", message),
        Evidence::Owed(_) => Wanted::new(
            KIND,
            State::Unknown,
            "Verifying",
            "its pods verify it before they serve",
        ),
        Evidence::Unknown(failure) => {
            Wanted::new(KIND, State::Unknown, failure.reason.as_str(), &failure.message)
        }
        Evidence::Known(Verification {
            failure: Some(failure),
            ..
        }) => {
            // The policy's finding names the signer as the policy does; the verification only knows the key.
            let of_policy = judged
                .decision
                .findings
                .iter()
                .find(|finding| finding.reason == Some(failure.reason));
            let message = of_policy.map_or(&failure.message, |finding| &finding.message);
            Wanted::new(KIND, State::False, failure.reason.as_str(), message)
        }
        Evidence::Known(found) => {
            let keys: Vec<_> = found.signers.iter().map(|signer| signer.key.as_str()).collect();
            let message = format!("all {} files are what {} signed", found.files, keys.join(", "));
            Wanted::new(KIND, State::True, "Verified", message)
        }
    }
}

fn policy_satisfied(plan: &Plan) -> Wanted {
    const KIND: &str = "PolicySatisfied";
    let Some(judged) = &plan.requested else {
        return match &plan.foregone {
            Some(refused) => {
                let reason = refused.reason().map_or("PolicyNotSatisfied", Reason::as_str);
                Wanted::new(KIND, State::False, reason, refused.sentence())
            }
            None => Wanted::new(
                KIND,
                State::Unknown,
                "Resolving",
                "what the reference names is not known yet",
            ),
        };
    };
    let decision = &judged.decision;
    let reason = decision.reason().map(Reason::as_str);
    let serving = plan
        .serving
        .as_ref()
        .filter(|serving| serving.decision.verdict == Verdict::Fail);
    let message = match serving {
        Some(serving) => format!(
            "{}; what serves does not satisfy it either: {}",
            decision.sentence(),
            serving.decision.sentence()
        ),
        None => decision.sentence(),
    };
    match decision.verdict {
        Verdict::Pass => satisfied(decision, "every policy that selects the namespace is satisfied"),
        Verdict::Fail => Wanted::new(
            KIND,
            State::False,
            reason.unwrap_or("PolicyNotSatisfied"),
            message,
        ),
        Verdict::Wait => Wanted::new(KIND, State::Unknown, decision.code(), message),
        Verdict::Unknown => Wanted::new(KIND, State::Unknown, reason.unwrap_or("Unknown"), message),
    }
}

fn available(rollout: &Rollout) -> Wanted {
    const KIND: &str = "Available";
    let message = format!("{} of {} pods are available", rollout.available, rollout.wanted);
    match (&rollout.template, rollout.available) {
        (None, _) => Wanted::new(
            KIND,
            State::False,
            "NotDeployed",
            "nothing was admitted yet, so nothing runs",
        ),
        (Some(_), 0) => Wanted::new(KIND, State::False, "NoPods", message),
        (Some(_), _) => Wanted::new(KIND, State::True, "PodsAvailable", message),
    }
}

#[cfg(test)]
mod tests;
