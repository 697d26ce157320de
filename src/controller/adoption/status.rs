//! The truth about an adopted workload, as the model's status says it. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;

use super::{
    super::{
        condition::{State, Summary, Wanted, conditions},
        excess::{Rights, findings},
        held::Held,
        model_deployment::server_failure,
        satisfied::satisfied,
    },
    gather::Found,
};
use crate::{
    api::{
        MODEL_LABEL,
        v1alpha1::{
            CandidateModel, ModelDeployment, ModelDeploymentStatus, ResolvedImage, ServingModel, UnprovenPod,
            ViolationAction, WorkloadRef, WorkloadStatus,
        },
    },
    evidence::{Digest, Origin, Reason, Verdict},
    policy::{
        Decision, Problem, Verification, World, pinned,
        pods::{PodStanding, Stand, Way, response},
    },
};

/// At most this many pods are listed.
const MOST: usize = 16;

/// Everything a status is made from.
pub(super) struct Seen<'a> {
    pub workload: &'a WorkloadRef,
    /// Where the model comes from, if the specification makes sense.
    pub origin: Result<&'a Origin, &'a Problem>,
    pub found: &'a Found,
    /// Why its further pods are refused, if they are.
    pub refusal: Option<String>,
    pub ways: &'a [Way],
    pub pods: &'a [PodStanding],
    /// A disruption budget forbids to replace the next pod.
    pub held_up: bool,
    /// What is known of its network, where anybody asks for isolation.
    pub isolated: Option<Wanted>,
    /// What is said of the rights of the accounts that its pods run under.
    pub rights: Rights,
    /// What serves, and what is done about it.
    pub held: Option<&'a Held>,
    /// Reason and sentence, while all of it is cut off.
    pub cut_off: Option<(&'static str, String)>,
}

pub(super) fn status(model: &ModelDeployment, seen: &Seen<'_>, now: Timestamp) -> ModelDeploymentStatus {
    let old = model.status.as_ref();
    let proven: Vec<_> = proven(seen.pods).collect();
    let serving = serving(model, seen, &proven, now);
    let summary = summary(model, seen, &proven);
    let decision = decision(seen, &proven);
    let generation = model.metadata.generation;
    let wanted = wanted(seen, &proven, decision, &summary);
    let unproven: Vec<UnprovenPod> = all_unproven(seen.pods).take(MOST).collect();
    ModelDeploymentStatus {
        observed_generation: generation,
        resolved: None,
        workload: Some(WorkloadStatus {
            pods: count(seen.pods.len()),
            proven: count(proven.len()),
            unproven: (!unproven.is_empty()).then_some(unproven),
            // Another manager's part of the status.
            images: None,
        }),
        candidate: serving.is_none().then(|| CandidateModel {
            digest: pinned(model),
            version: pinned(model).map(|digest| digest.short()),
            reference: seen.origin.map(ToString::to_string).unwrap_or_default(),
            reason: summary.reason.clone(),
        }),
        serving,
        replicas: Some(count(seen.pods.len())),
        selector: Some(format!("{MODEL_LABEL}={}", model.name_any())),
        conditions: Some(conditions(
            old.and_then(|old| old.conditions.as_deref()),
            wanted,
            generation,
            now,
        )),
        findings: findings(decision, &seen.rights),
    }
}

/// The pods that are to be deleted because policy has what served stopped; none while it does not. Those that were never
/// shown to run the model go as well: in the workload of a model that is refused they run nothing that was admitted.
pub(super) fn to_stop<'a>(
    model: &ModelDeployment,
    world: &World,
    ways: &[Way],
    pods: &'a [PodStanding],
    now: Timestamp,
) -> Option<Vec<&'a PodStanding>> {
    let serving = model.status.as_ref()?.serving.as_ref();
    let serving = serving.filter(|serving| serving.unproven_since.is_some())?;
    let refused = ways
        .first()
        .filter(|_| !ways.iter().any(|way| way.decision.admits()))?;
    let namespace = model.namespace().unwrap_or_default();
    let response = response(&refused.decision, Some(serving), world, &namespace, now);
    if response.action != ViolationAction::Stop {
        return None;
    }
    let unproven = |pod: &&PodStanding| matches!(pod.stand, Stand::Unproven { .. });
    Some(pods.iter().filter(unproven).collect())
}

fn count(many: usize) -> i32 {
    i32::try_from(many).unwrap_or(i32::MAX)
}

fn proven(pods: &[PodStanding]) -> impl Iterator<Item = (&Verification, &Decision)> {
    pods.iter().filter_map(|pod| match &pod.stand {
        Stand::Proven { found, decision } => Some((found, decision)),
        Stand::Pending(_) | Stand::Unproven { .. } => None,
    })
}

/// The pods that are not proven, those that are not ready first: they are the newest as a rule, and say what is wrong now.
fn all_unproven(pods: &[PodStanding]) -> impl Iterator<Item = UnprovenPod> {
    let of = |ready: bool| pods.iter().filter(move |pod| pod.ready == ready);
    of(false).chain(of(true)).filter_map(unproven)
}

fn unproven(pod: &PodStanding) -> Option<UnprovenPod> {
    match &pod.stand {
        Stand::Unproven { reason, message, .. } => Some(UnprovenPod {
            name: pod.name.clone(),
            reason: reason.clone(),
            message: message.clone(),
        }),
        Stand::Proven { .. } | Stand::Pending(_) => None,
    }
}

/// What policy says: of what is asked for, when it refuses that; else of what was found, or is known before anything was.
fn decision<'a>(seen: &'a Seen<'_>, proven: &[(&Verification, &'a Decision)]) -> Option<&'a Decision> {
    let asked = seen.ways.first();
    let of_pods = proven.first().map(|(_, decision)| *decision);
    let refused = asked.filter(|way| is_refused(way)).map(|way| &way.decision);
    refused.or(of_pods).or_else(|| asked.map(|way| &way.decision))
}

fn is_refused(way: &Way) -> bool {
    way.decision.verdict == Verdict::Fail
}

fn serving(
    model: &ModelDeployment,
    seen: &Seen<'_>,
    proven: &[(&Verification, &Decision)],
    now: Timestamp,
) -> Option<ServingModel> {
    let old = model.status.as_ref().and_then(|status| status.serving.as_ref());
    let Some((found, decision)) = proven.first() else {
        // What served goes on being what served, while pods of it are there, also when nothing shows it any more.
        let old = old.filter(|_| !seen.pods.is_empty())?;
        let held = seen.held.filter(|held| held.digest == old.digest);
        return Some(ServingModel {
            response: held.map_or(old.response, |held| held.response.remembered()),
            unproven_since: old.unproven_since.clone().or(Some(Time(now))),
            ..old.clone()
        });
    };
    let old = old.filter(|old| old.digest == found.digest);
    let origin = seen.origin.ok()?;
    let signers: Vec<_> = decision
        .signers
        .iter()
        .map(|signer| signer.name.clone())
        .collect();
    Some(ServingModel {
        digest: found.digest,
        version: version(origin, found.digest),
        reference: origin.to_string(),
        since: old.map_or(Time(now), |old| old.since.clone()),
        size: i64::try_from(found.size).unwrap_or(i64::MAX),
        files: count(found.files),
        signers: decision.signers.clone(),
        signed_by: signers.join(", "),
        verification: String::new(),
        template: None,
        // What is asked for counts from when it is admitted.
        egress: if seen.ways.first().is_some_and(|way| way.decision.admits()) {
            model.spec.egress.clone()
        } else {
            old.and_then(|old| old.egress.clone())
        },
        unproven_since: None,
        response: None,
    })
}

fn version(origin: &Origin, digest: Digest) -> String {
    match origin.reference().and_then(|reference| reference.tag()) {
        Some(tag) => format!("{tag}@{}", digest.short()),
        None => digest.short(),
    }
}

fn summary(model: &ModelDeployment, seen: &Seen<'_>, proven: &[(&Verification, &Decision)]) -> Summary {
    let no = |reason: &str, message: String, stalled: bool| Summary {
        state: State::False,
        reason: reason.to_owned(),
        message,
        stalled,
    };
    let origin = match seen.origin {
        Ok(origin) => origin,
        Err(problem) => return no(problem.reason.as_str(), problem.to_string(), true),
    };
    let WorkloadRef { kind, name, .. } = seen.workload;
    if let Some((reason, message)) = &seen.cut_off {
        return no(reason, message.clone(), true);
    }
    if let Some(other) = &seen.found.taken_by {
        let message =
            format!("{kind} {name} is governed by ModelDeployment {other} already: delete one of the two");
        return no("WorkloadTaken", message, true);
    }
    if !seen.found.exists {
        let message =
            format!("there is no {kind} {name} in the namespace: create it, or correct spec.workloadRef");
        return no("WorkloadNotFound", message, false);
    }
    let admits = seen.ways.iter().any(|way| way.decision.admits());
    if let Some(way) = seen.ways.first().filter(|way| !admits || is_refused(way)) {
        let reason = way.decision.code();
        let stalled = way.decision.verdict == Verdict::Fail;
        let goes_on = if seen.pods.is_empty() {
            String::new()
        } else {
            format!("; the {} pods there are go on", seen.pods.len())
        };
        return no(reason, format!("{}{goes_on}", way.decision.sentence()), stalled);
    }
    let all = seen.pods.len();
    // Pods that serve go on; what would take their place, or come beside them, is refused.
    if (proven.len() < all || all == 0)
        && let Some(image) = unresolved(model)
    {
        let message = format!(
            "{} of the template of {kind} {name} is not resolved to a digest, and its pods wait for that: {}",
            image.image,
            image.message.as_deref().unwrap_or_default()
        );
        return no(Reason::NotYetResolved.as_str(), message, false);
    }
    if all == 0 {
        return match &seen.refusal {
            Some(why) => no(
                "PodsRefused",
                format!("{kind} {name} has no pods, for they are refused: {why}"),
                false,
            ),
            None => no("NoPods", format!("{kind} {name} has no pods"), false),
        };
    }
    let further = seen.refusal.as_ref();
    let further = further.map_or(String::new(), |why| format!("; further pods are refused: {why}"));
    let unready = seen.pods.iter().filter(|pod| !pod.ready).count();
    if let Some(first) = all_unproven(seen.pods).next() {
        let held_up = if seen.held_up {
            "; a disruption budget forbids to replace it just now"
        } else {
            ""
        };
        let message = format!(
            "{} of {all} pods of {kind} {name} are not shown to run the verified model: {}: {}{}{held_up}{further}",
            all_unproven(seen.pods).count(),
            first.name,
            first.message,
            waiting(seen).map_or(String::new(), |why| format!("; {why}"))
        );
        return no("PodsUnproven", message, true);
    }
    if proven.len() < all || unready > 0 {
        let message = format!(
            "{} of {all} pods of {kind} {name} verified the model, {} are ready{}{further}",
            proven.len(),
            all - unready,
            waiting(seen).map_or(String::new(), |why| format!("; {why}"))
        );
        return no("RollingOut", message, false);
    }
    let by = proven
        .first()
        .map(|(_, decision)| names(decision))
        .unwrap_or_default();
    let digest = proven.first().map(|(found, _)| found.digest).or(pinned(model));
    Summary {
        state: State::True,
        reason: "Serving".into(),
        message: format!(
            "{origin} (sha256:{}…) serves in {all} of {all} pods of {kind} {name}, signed by {by}{further}",
            digest.map(|digest| digest.short()).unwrap_or_default()
        ),
        stalled: false,
    }
}

/// What the first pod waits for that is on its way.
fn waiting(seen: &Seen<'_>) -> Option<String> {
    let of = |pod: &PodStanding| match &pod.stand {
        Stand::Pending(why) => Some(why.clone()),
        Stand::Proven { .. } if !pod.ready => {
            let there = seen
                .found
                .pods
                .iter()
                .find(|there| there.name_any() == pod.name)?;
            let statuses = there.status.as_ref()?.container_statuses.as_ref()?;
            statuses.iter().find_map(server_failure)
        }
        Stand::Proven { .. } | Stand::Unproven { .. } => None,
    };
    seen.pods
        .iter()
        .find_map(|pod| Some(format!("{}: {}", pod.name, of(pod)?)))
}

/// The first image of the workload's template of which nobody knows what it is.
fn unresolved(model: &ModelDeployment) -> Option<&ResolvedImage> {
    let workload = model.status.as_ref()?.workload.as_ref()?;
    let mut images = workload.images.iter().flatten();
    images.find(|image| image.digest.is_none())
}

fn names(decision: &Decision) -> String {
    let signers = decision.signers.iter().map(|signer| signer.name.clone());
    let approvals = decision.approved_by.iter().map(|by| format!("{by} (approval)"));
    signers.chain(approvals).collect::<Vec<_>>().join(", ")
}

fn wanted(
    seen: &Seen<'_>,
    proven: &[(&Verification, &Decision)],
    decision: Option<&Decision>,
    summary: &Summary,
) -> Vec<Wanted> {
    let refused = seen.origin.is_err() || seen.found.taken_by.is_some() || !seen.found.exists;
    let accepted = if refused {
        Wanted::new("Accepted", State::False, &summary.reason, &summary.message)
    } else {
        let message = "the specification can be carried out";
        Wanted::new("Accepted", State::True, "Accepted", message)
    };
    let verified = match (proven.len(), all_unproven(seen.pods).next()) {
        (0, None) => Wanted::new(
            "ArtifactVerified",
            State::Unknown,
            "Verifying",
            "no pod has verified it yet",
        ),
        (_, Some(pod)) => Wanted::new(
            "ArtifactVerified",
            State::False,
            pod.reason,
            format!("{}: {}", pod.name, pod.message),
        ),
        (some, None) => {
            let message = format!("{some} pods found every file to be what was signed");
            Wanted::new("ArtifactVerified", State::True, "Verified", message)
        }
    };
    let satisfied = match decision {
        Some(decision) if decision.admits() => satisfied(decision, decision.sentence()),
        Some(decision) => {
            let reason = decision.reason().map_or("PolicyNotSatisfied", Reason::as_str);
            Wanted::new("PolicySatisfied", State::False, reason, decision.sentence())
        }
        None => Wanted::new(
            "PolicySatisfied",
            State::Unknown,
            &summary.reason,
            &summary.message,
        ),
    };
    let ready = seen.pods.iter().filter(|pod| pod.ready).count();
    let message = format!("{ready} of {} pods are available", seen.pods.len());
    let available = if let Some((reason, message)) = &seen.cut_off {
        Wanted::new("Available", State::False, *reason, message)
    } else if ready > 0 {
        Wanted::new("Available", State::True, "PodsAvailable", message)
    } else {
        Wanted::new("Available", State::False, "NoPods", message)
    };
    let mut wanted = vec![accepted, verified, satisfied, available];
    wanted.extend(seen.isolated.clone());
    wanted.extend(seen.rights.condition.clone());
    wanted.extend(summary.conditions());
    wanted
}

#[cfg(test)]
mod tests;
