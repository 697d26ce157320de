//! Which pods of a model may take traffic: the readiness gate that each of them carries, and how it should stand.
//! Pure; a gate that stands as it should is not written again.

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Pod, PodCondition},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::ResourceExt as _;

use crate::{
    api::SERVING_GATE,
    evidence::{Digest, Verdict},
    policy::Decision,
    workload::{RunningModel, running_model},
};

/// A gate that is to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct Gate {
    /// The pod's name.
    pub pod: String,
    /// The pod's uid: a namesake that took its place is another pod.
    pub uid: String,
    /// The condition as it should be.
    pub condition: PodCondition,
}

/// The gates that do not stand as they should.
///
/// `serves` is the content that serves, or did before it was cut off, and `cut` whether its pods take no traffic. Other
/// content takes traffic once it is admitted, and none when it is refused; while nothing is known of it, its gate stays.
pub(super) fn gates(
    pods: &[Pod],
    serves: Option<Digest>,
    cut: bool,
    decide: impl Fn(&RunningModel) -> Decision,
    now: Timestamp,
) -> Vec<Gate> {
    let mut decided: Vec<(RunningModel, Verdict)> = Vec::new();
    let mut verdict = |runs: RunningModel| match decided.iter().find(|(known, _)| *known == runs) {
        Some((_, verdict)) => *verdict,
        None => {
            let verdict = decide(&runs).verdict;
            decided.push((runs, verdict));
            verdict
        }
    };
    let open = |pod: &Pod| {
        let spec = pod
            .spec
            .as_ref()
            .filter(|_| pod.metadata.deletion_timestamp.is_none())?;
        let mut gates = spec.readiness_gates.iter().flatten();
        let runs = running_model(spec).filter(|_| gates.any(|gate| gate.condition_type == SERVING_GATE))?;
        if Some(runs.digest) == serves {
            return Some(!cut);
        }
        match verdict(runs) {
            Verdict::Pass => Some(true),
            Verdict::Fail => Some(false),
            Verdict::Wait | Verdict::Unknown => None,
        }
    };
    let mut open = open;
    pods.iter().filter_map(|pod| gate(pod, open(pod)?, now)).collect()
}

fn gate(pod: &Pod, open: bool, now: Timestamp) -> Option<Gate> {
    let status = if open { "True" } else { "False" };
    let mut conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let there = conditions.find(|condition| condition.type_ == SERVING_GATE);
    if there.is_some_and(|there| there.status == status) {
        return None;
    }
    let (reason, message) = if open {
        ("Admitted", "policy admits what the pod runs")
    } else {
        (
            "Quarantined",
            "policy no longer admits what the pod runs: see its ModelDeployment",
        )
    };
    Some(Gate {
        pod: pod.name_any(),
        uid: pod.uid().unwrap_or_default(),
        condition: PodCondition {
            type_: SERVING_GATE.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_transition_time: Some(Time(now)),
            ..PodCondition::default()
        },
    })
}

#[cfg(test)]
mod tests;
