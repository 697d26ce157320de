//! How far the pods of an adopted workload are shown to run the verified model. A pod's report is believed only when the pod is
//! one that admission would have made with what its verifier says it was told; what it reports is judged by today's policies.
//! Pure.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodSpec};
use kube::ResourceExt as _;

use super::{Recorded, Way, isolated, pending::pending};
use crate::{
    api::{MODEL_LABEL, v1alpha1::ModelDeployment},
    evidence::{CopyReport, Digest, Failure, Origin, Reason},
    policy::{Decision, Declared, Evidence, Facts, Verification, World, evaluate, pinned},
    workload::{
        AdoptedSource, Adoption, PodSettings, Terms, VERIFY_CONTAINER, claimed, copied_from, fit, odd, terms,
        unfit, verifier,
    },
};

/// The stable code where a policy does not say which of its own.
pub(super) const NOT_SATISFIED: &str = "PolicyNotSatisfied";

/// What is known of one pod.
#[derive(Debug, Clone, PartialEq)]
pub enum Stand {
    /// It runs the verified model.
    Proven {
        /// What it found.
        found: Verification,
        /// What today's policies say of that.
        decision: Decision,
    },
    /// It is on its way.
    Pending(String),
    /// It does not, or nobody knows.
    Unproven {
        /// The stable code.
        reason: String,
        /// One sentence: what is wrong and what to do.
        message: String,
        /// Whether a pod that its controller made in its place would be better.
        replacement: Replacement,
        /// What today's policies say of it, when it is they who refuse it.
        refused: Option<Decision>,
    },
}

/// Whether a pod that is not proven is better replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replacement {
    /// Another one would be refused, or would find the same.
    Futile,
    /// It verified something that is not the model any more. Another one is better if it finds the model, which is known once one
    /// did: a wrong path must not cost the pods that serve.
    OnceFound,
    /// Another one would be let in, and would verify the model before it serves.
    Better,
}

/// One pod of the workload.
#[derive(Debug, Clone, PartialEq)]
pub struct PodStanding {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Whether it is ready to be asked.
    pub ready: bool,
    /// When its verifier was done; none when it has not said.
    pub verified_at: Option<Timestamp>,
    /// What is known of it.
    pub stand: Stand,
}

/// The content to pin when none is: what the pod found that was done first.
pub fn pin(standing: &[PodStanding]) -> Option<Digest> {
    let proven = standing.iter().filter_map(|pod| match &pod.stand {
        Stand::Proven { found, .. } => Some((pod.verified_at?, &pod.name, found.digest)),
        Stand::Pending(_) | Stand::Unproven { .. } => None,
    });
    proven.min().map(|(_, _, digest)| digest)
}

/// The pod to evict next: the first that is better replaced, while every other is ready. None when nobody's turn it is.
pub fn next_to_evict(standing: &[PodStanding]) -> Option<&PodStanding> {
    let found = standing
        .iter()
        .any(|pod| matches!(pod.stand, Stand::Proven { .. }));
    let better = |pod: &&PodStanding| match pod.stand {
        Stand::Unproven { replacement, .. } => match replacement {
            Replacement::Better => true,
            Replacement::OnceFound => found,
            Replacement::Futile => false,
        },
        Stand::Proven { .. } | Stand::Pending(_) => false,
    };
    let next = standing.iter().find(better)?;
    standing
        .iter()
        .all(|pod| pod.ready || pod.uid == next.uid)
        .then_some(next)
}

/// What is needed to say how pods of one model stand.
pub struct Standing<'a> {
    /// The model.
    pub model: &'a ModelDeployment,
    /// Where it comes from.
    pub origin: &'a Origin,
    /// What is decided against.
    pub world: &'a World,
    /// What pods are built with.
    pub settings: &'a PodSettings,
    /// When.
    pub now: Timestamp,
    /// The [`ways`](super::ways) in which its pods may run.
    pub ways: &'a [Way],
    /// What is recorded of it.
    pub recorded: Recorded<'a>,
}

impl Standing<'_> {
    /// How each of these pods stands, in the order of their names; those that are ending, or failed and are kept for somebody to
    /// look at, are left out.
    pub fn of(&self, pods: &[Pod]) -> Vec<PodStanding> {
        let there = pods
            .iter()
            .filter(|pod| pod.metadata.deletion_timestamp.is_none() && !has_phase(pod, "Failed"));
        let mut standing: Vec<PodStanding> = there
            .map(|pod| PodStanding {
                name: pod.name_any(),
                uid: pod.uid().unwrap_or_default(),
                ready: is_ready(pod) || has_phase(pod, "Succeeded"),
                verified_at: verified_at(pod),
                stand: self.stand(pod),
            })
            .collect();
        standing.sort_by(|a, b| a.name.cmp(&b.name));
        standing
    }

    /// How this one stands.
    pub(super) fn stand(&self, pod: &Pod) -> Stand {
        let Some(spec) = &pod.spec else {
            return self.unproven(pod, Reason::PodNotAsPlanned.as_str(), "spec: is missing".into());
        };
        let Some(verifier) = verifier(spec) else {
            let message = "nothing verified the model in this pod: it is older than the ModelDeployment or than the policy that has models verified: have it made anew";
            return self.unproven(pod, "NotVerified", message.into());
        };
        let image = verifier.image.as_deref().unwrap_or_default();
        if !self.settings.is_ours(image) {
            let message = format!(
                "its {VERIFY_CONTAINER} runs {image}, which is no image of this operator: have the pod made anew"
            );
            return self.unproven(pod, Reason::PodNotAsPlanned.as_str(), message);
        }
        if pod.labels().get(MODEL_LABEL) != Some(&self.model.name_any()) {
            let message =
                format!("metadata.labels[{MODEL_LABEL}]: does not name this model: have the pod made anew");
            return self.unproven(pod, Reason::PodNotAsPlanned.as_str(), message);
        }
        let raw = serde_json::to_value(spec).unwrap_or_default();
        let mut closest: Option<Vec<String>> = None;
        // One that is asked for and refused is no reason against one that serves, though the pod is the same in both.
        let (admitted, refused): (Vec<_>, Vec<_>) = self.ways.iter().partition(|way| way.decision.admits());
        for way in admitted.into_iter().chain(refused) {
            let Some(adoption) = &way.adoption else { continue };
            let settings = PodSettings {
                fetch_image: image.to_owned(),
                ..self.settings.clone()
            };
            let differences = unfit(spec, &raw, &as_claimed(adoption, spec), &settings);
            if differences.is_empty() {
                return self.found(pod, way, adoption);
            }
            let former = from_where_it_says(adoption, spec);
            if former.is_some_and(|former| unfit(spec, &raw, &former, &settings).is_empty()) {
                let message = "it verified what spec.model.source named before: restart the workload, so that its pods verify what it names now";
                return once_found(self.unproven(pod, Reason::PodNotAsPlanned.as_str(), message.into()));
            }
            closest.get_or_insert(differences);
        }
        match closest {
            Some(differences) => self.unproven(pod, Reason::PodNotAsPlanned.as_str(), differences.join("; ")),
            None => {
                let decision = self.ways.first().map(|way| way.decision.clone());
                self.refused(pod, decision.unwrap_or_else(|| Decision::of(Vec::new())))
            }
        }
    }

    /// The pod brings the verifier it should: what did that find?
    fn found(&self, pod: &Pod, way: &Way, adoption: &Adoption) -> Stand {
        let line = match verifier_status(pod).map(outcome) {
            None | Some(Outcome::Running) => {
                return Stand::Pending(pending(pod, verifier_status(pod)));
            }
            Some(Outcome::Failed(failure)) => {
                let message = self.in_its_words(pod, failure.message);
                return self.unproven(pod, failure.reason.as_str(), message);
            }
            Some(Outcome::Succeeded(line)) => line,
        };
        if let AdoptedSource::Registry(runs) = &adoption.source {
            let decision = way.decision.clone();
            if !decision.admits() {
                return self.refused(pod, decision);
            }
            return Stand::Proven {
                found: self.recorded_of(runs.digest, runs.size),
                decision,
            };
        }
        let report = match CopyReport::read(line.trim()) {
            Ok(report) => report,
            Err(failure) => {
                return self.unproven(pod, failure.reason.as_str(), failure.message);
            }
        };
        if let Some(pinned) = pinned(self.model).filter(|pinned| *pinned != report.digest) {
            let message = format!(
                "it found sha256:{}… and the model is sha256:{}…: have the pod made anew, or give the new content a folder or a ModelDeployment of its own",
                report.digest.short(),
                pinned.short()
            );
            return once_found(self.unproven(pod, Reason::DigestMismatch.as_str(), message));
        }
        let found = Verification {
            digest: report.digest,
            failure: None,
            signers: report.signers,
            differences: Vec::new(),
            differing: 0,
            files: usize::try_from(report.files).unwrap_or(usize::MAX),
            size: report.size,
        };
        let namespace = self.model.namespace().unwrap_or_default();
        let known = Evidence::Known(found.clone());
        let facts = Facts::about(
            self.world,
            &namespace,
            &self.model.name_any(),
            self.origin.clone(),
            Some(found.digest),
            known,
        )
        .declared(Declared {
            server: None,
            egress: way.egress.clone(),
        });
        let decision = evaluate(&facts, self.world, self.now);
        if decision.admits() {
            return Stand::Proven { found, decision };
        }
        once_found(self.refused(pod, decision))
    }

    /// What the verifier said, with the model called as its specification does: where a container sees it means nothing outside.
    fn in_its_words(&self, pod: &Pod, message: String) -> String {
        let verifier = pod.spec.as_ref().and_then(verifier);
        let called = match self.origin {
            Origin::Mounted => "what the pod mounts".to_owned(),
            Origin::Registry(_) | Origin::Volume { .. } => self.origin.to_string(),
        };
        match verifier.and_then(copied_from) {
            Some(from) => message.replace(from, &called),
            None => message,
        }
    }

    /// What the operator's own verification found of content from a registry.
    fn recorded_of(&self, digest: Digest, size: u64) -> Verification {
        let there = self.recorded.verifications.iter().find_map(|there| {
            match Verification::recorded(digest, &there.spec, there.status.as_ref()) {
                Evidence::Known(found) => Some(found),
                Evidence::Wait(_) | Evidence::Unknown(_) | Evidence::Owed(_) => None,
            }
        });
        there.unwrap_or(Verification {
            digest,
            failure: None,
            signers: Vec::new(),
            differences: Vec::new(),
            differing: 0,
            files: 0,
            size,
        })
    }

    fn unproven(&self, pod: &Pod, reason: &str, message: String) -> Stand {
        Stand::Unproven {
            reason: reason.to_owned(),
            message: Failure::new(Reason::Internal, message).message,
            replacement: self.replacement(pod),
            refused: None,
        }
    }

    fn refused(&self, pod: &Pod, decision: Decision) -> Stand {
        Stand::Unproven {
            reason: reason_of(&decision).to_owned(),
            message: Failure::new(Reason::Internal, decision.sentence()).message,
            replacement: self.replacement(pod),
            refused: Some(decision),
        }
    }

    /// Whether another pod from the same template would be let in. What a former admission put into this one is not in the
    /// template, so only what was never fitted is fitted to see.
    fn replacement(&self, pod: &Pod) -> Replacement {
        let Some(spec) = &pod.spec else {
            return Replacement::Futile;
        };
        let fitted = verifier(spec).is_some();
        let lets = |way: &Way| {
            way.decision.admits()
                && way.adoption.as_ref().is_some_and(|adoption| {
                    // What names an image that nobody knows is refused until somebody does.
                    adoption.images.unknown(spec).is_empty()
                        && odd(spec).is_empty()
                        && (fitted || fit(spec, adoption, self.settings).is_ok())
                })
        };
        let let_in =
            self.ways.iter().any(lets) && isolated::replaceable(pod, self.model, self.world, self.now);
        if let_in && !verifier_failed(pod) {
            Replacement::Better
        } else {
            Replacement::Futile
        }
    }
}

/// The pod's verifier did its work, and what it found is the fault: another pod may find the same, and would not start.
fn once_found(mut stand: Stand) -> Stand {
    if let Stand::Unproven { replacement, .. } = &mut stand
        && *replacement == Replacement::Better
    {
        *replacement = Replacement::OnceFound;
    }
    stand
}

/// The stable code of what refuses it.
fn reason_of(decision: &Decision) -> &'static str {
    decision.reason().map_or(NOT_SATISFIED, Reason::as_str)
}

/// The adoption with what the pod's own verifier was told: it may have been made under other policies.
fn as_claimed(adoption: &Adoption, spec: &PodSpec) -> Adoption {
    let claimed = |wanted: &Terms| terms(spec).unwrap_or_else(|| wanted.clone());
    let source = match &adoption.source {
        AdoptedSource::Registry(runs) => AdoptedSource::Registry(runs.clone()),
        AdoptedSource::Claim { claim, path, terms } => AdoptedSource::Claim {
            claim: claim.clone(),
            path: path.clone(),
            terms: claimed(terms),
        },
        AdoptedSource::Mounted { terms } => AdoptedSource::Mounted {
            terms: claimed(terms),
        },
    };
    Adoption {
        mount_path: adoption.mount_path.clone(),
        source,
        images: adoption.images.clone(),
    }
}

/// The adoption of a pod that was made before the model's source was changed: with the claim and the folder that its verifier reads.
/// None of one that reads no claim of its own.
fn from_where_it_says(adoption: &Adoption, spec: &PodSpec) -> Option<Adoption> {
    let (claim, path) = claimed(spec)?;
    Some(Adoption {
        mount_path: adoption.mount_path.clone(),
        source: AdoptedSource::Claim {
            claim,
            path,
            terms: terms(spec)?,
        },
        images: adoption.images.clone(),
    })
}

enum Outcome {
    Running,
    Succeeded(String),
    Failed(Failure),
}

/// How the verifier ended.
fn outcome(status: &ContainerStatus) -> Outcome {
    let ended = |state: &Option<k8s_openapi::api::core::v1::ContainerState>| {
        state.as_ref().and_then(|state| state.terminated.clone())
    };
    let now = ended(&status.state);
    if let Some(ended) = now.as_ref().filter(|ended| ended.exit_code == 0) {
        return Outcome::Succeeded(ended.message.clone().unwrap_or_default());
    }
    let Some(ended) = now.or_else(|| ended(&status.last_state)) else {
        return Outcome::Running;
    };
    let said = ended.message.as_deref().unwrap_or_default();
    let failure: Option<Failure> = serde_json::from_str(said.trim()).ok();
    Outcome::Failed(failure.unwrap_or_else(|| {
        let message = format!(
            "{VERIFY_CONTAINER} ended with exit code {}: see its log",
            ended.exit_code
        );
        Failure::new(Reason::Internal, message)
    }))
}

/// Whether this pod's verifier found something wrong: what takes its place would find the same.
fn verifier_failed(pod: &Pod) -> bool {
    verifier_status(pod).is_some_and(|status| matches!(outcome(status), Outcome::Failed(_)))
}

/// What the node says of this pod's verifier.
fn verifier_status(pod: &Pod) -> Option<&ContainerStatus> {
    let statuses = pod.status.as_ref()?.init_container_statuses.as_ref()?;
    statuses.iter().find(|status| status.name == VERIFY_CONTAINER)
}

fn has_phase(pod: &Pod, phase: &str) -> bool {
    let status = pod.status.as_ref();
    status.and_then(|status| status.phase.as_deref()) == Some(phase)
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let mut conditions = conditions.filter(|condition| condition.type_ == "Ready");
    conditions.any(|condition| condition.status == "True")
}

fn verified_at(pod: &Pod) -> Option<Timestamp> {
    let ended = verifier_status(pod)?.state.as_ref()?.terminated.as_ref()?;
    ended.finished_at.as_ref().map(|time| time.0)
}

#[cfg(test)]
mod tests;
