//! What serves, or did until it was cut off: what is done about it, and how that is told, whoever runs its pods.
//! Pure; the decision is [`crate::policy`]'s, and somebody else carries it out.

use jiff::Timestamp;
use kube::ResourceExt as _;

use super::{
    condition::{State, Wanted},
    notes::{QUARANTINE_PARTIAL, QUARANTINED, STOPPED},
};
use crate::{
    api::v1alpha1::{ModelDeployment, ViolationAction},
    evidence::Digest,
    policy::{
        Decision, World,
        pods::{Response, response},
    },
};

/// What serves, or did until it was cut off: what policy says of it, and what is done about that.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    /// The content.
    pub digest: Digest,
    /// The decision.
    pub decision: Decision,
    /// What is done.
    pub response: Response,
}

impl Held {
    /// What is done about this content of the model, of which policy says this.
    pub(super) fn of(
        model: &ModelDeployment,
        digest: Digest,
        decision: Decision,
        world: &World,
        now: Timestamp,
    ) -> Self {
        let serving = model.status.as_ref().and_then(|status| status.serving.as_ref());
        let remembered = serving.filter(|serving| serving.digest == digest);
        let namespace = model.namespace().unwrap_or_default();
        let response = response(&decision, remembered, world, &namespace, now);
        Self {
            digest,
            decision,
            response,
        }
    }

    /// Whether its server is stopped.
    pub(super) fn stops(&self) -> bool {
        self.response.action == ViolationAction::Stop
    }

    /// Reason and sentence while its pods take no traffic, and nothing takes its place. `isolated` is what is known of its
    /// network: a NetworkPolicy that nobody saw enforced cuts nothing for sure. `pods` is what its pods do meanwhile, and
    /// `stopped` what becomes of it when it is stopped.
    pub(super) fn told(
        &self,
        isolated: Option<&Wanted>,
        pods: &str,
        stopped: &str,
    ) -> Option<(&'static str, String)> {
        let response = &self.response;
        let shut = isolated.is_some_and(|isolated| isolated.state == State::True);
        let (reason, what) = match response.action {
            ViolationAction::Alert => return None,
            ViolationAction::Quarantine if shut => (
                QUARANTINED,
                "is quarantined: nothing comes to its pods or goes out of them, and they stay to be looked at"
                    .to_owned(),
            ),
            ViolationAction::Quarantine => {
                let known = isolated.map_or("no NetworkPolicy is applied", |isolated| &isolated.message);
                let what = format!(
                    "is quarantined in part: {pods}, and whether those that are open, and their own way out, are cut is not known ({known})"
                );
                (QUARANTINE_PARTIAL, what)
            }
            ViolationAction::Stop => (STOPPED, format!("is stopped: {stopped}")),
        };
        let by = response
            .policy
            .as_ref()
            .map_or_else(String::new, |policy| format!(" (spec.onViolation of {policy})"));
        let stops = response
            .stops
            .map_or_else(String::new, |stops| format!("; it is stopped at {stops}"));
        // The reason first: a sentence is cut at its end.
        let message = format!(
            "{}: sha256:{}… {what}{by}{stops}",
            self.decision.sentence(),
            self.digest.short()
        );
        Some((reason, message))
    }
}
