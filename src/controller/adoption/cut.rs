//! What is done about an adopted workload whose model policy no longer admits: which of its pods take traffic, and whether its
//! network is shut. Pure; the gates, the NetworkPolicy and the words are those of every model.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use super::super::held::Held;
use crate::{
    api::v1alpha1::ModelDeployment,
    evidence::{Digest, Verdict},
    policy::{
        Decision, World,
        pods::{PodStanding, Stand, Way, response},
    },
    workload::{AdoptedSource, is_gated},
};

/// What is known of a workload when it is asked whether it is to be cut off.
pub(super) struct Cut<'a> {
    /// The model that governs it.
    pub model: &'a ModelDeployment,
    /// In which ways its pods may run, what is asked for first.
    pub ways: &'a [Way],
    /// How its pods stand.
    pub pods: &'a [PodStanding],
    pub world: &'a World,
    pub now: Timestamp,
}

impl Cut<'_> {
    /// What serves, and what is done about it; none when nothing does.
    pub fn held(&self) -> Option<Held> {
        // Without a pod nothing serves, whatever the status remembers.
        let serving = self.model.status.as_ref()?.serving.as_ref();
        let serving = serving.filter(|_| !self.pods.is_empty())?;
        let decision = self.decision(serving.digest)?;
        Some(Held::of(
            self.model,
            serving.digest,
            decision,
            self.world,
            self.now,
        ))
    }

    /// Whether nothing of it takes traffic: what serves is cut off, and nothing that is asked for is admitted in its place.
    pub fn is_whole(&self, held: Option<&Held>) -> bool {
        let admits = self.ways.iter().any(|way| way.decision.admits());
        !admits && held.is_some_and(|held| held.response.cuts())
    }

    /// Whether this pod takes traffic; none while that is not known, and of what was never shown to run the model.
    pub fn open(&self, pod: &Pod, whole: bool) -> Option<bool> {
        if whole {
            return Some(false);
        }
        let uid = pod.uid().unwrap_or_default();
        match &self.pods.iter().find(|known| known.uid == uid)?.stand {
            Stand::Proven { .. } => Some(true),
            Stand::Unproven {
                refused: Some(decision),
                ..
            } => self.of_refused(decision),
            Stand::Pending(_) | Stand::Unproven { .. } => None,
        }
    }

    /// Whether a pod takes traffic of which policy says this.
    fn of_refused(&self, decision: &Decision) -> Option<bool> {
        let serving = self
            .model
            .status
            .as_ref()
            .and_then(|status| status.serving.as_ref());
        let namespace = self.model.namespace().unwrap_or_default();
        let response = response(decision, serving, self.world, &namespace, self.now);
        match decision.verdict {
            _ if response.cuts() => Some(false),
            // It is people who are told, or the time to stop it that has not come.
            Verdict::Fail => Some(serving.is_some()),
            Verdict::Pass | Verdict::Wait | Verdict::Unknown => None,
        }
    }

    /// What policy says of the content that serves: of what its pods found, or of what is recorded.
    fn decision(&self, digest: Digest) -> Option<Decision> {
        let proven = self.pods.iter().find_map(|pod| match &pod.stand {
            Stand::Proven { found, decision } if found.digest == digest => Some(decision),
            Stand::Proven { .. } | Stand::Pending(_) | Stand::Unproven { .. } => None,
        });
        let recorded = || {
            let mut ways = self.ways.iter().rev();
            ways.find(|way| matches!(&way.adoption, Some(adoption) if matches!(&adoption.source, AdoptedSource::Registry(runs) if runs.digest == digest)))
        };
        let refused = || {
            self.pods.iter().find_map(|pod| match &pod.stand {
                Stand::Unproven { refused, .. } => refused.as_ref(),
                Stand::Proven { .. } | Stand::Pending(_) => None,
            })
        };
        let decision = proven
            .or_else(|| recorded().map(|way| &way.decision))
            .or_else(refused)
            .or_else(|| self.ways.last().map(|way| &way.decision));
        decision.cloned()
    }
}

/// What the pods of a workload do while it is cut off.
pub(super) fn meanwhile(pods: &[Pod]) -> String {
    let there = pods
        .iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none());
    let ungated = there
        .filter(|pod| !pod.spec.as_ref().is_some_and(is_gated))
        .count();
    match ungated {
        0 => "its pods take no new connections and stay to be looked at".to_owned(),
        ungated => format!(
            "{ungated} of its pods are older than the policy's onViolation, so that they have no readiness gate and Services go on sending them traffic, the others take no new connections"
        ),
    }
}

#[cfg(test)]
mod tests;
