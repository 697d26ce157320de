//! A policy ready to be applied: names resolved to keys, globs and selectors compiled, problems kept.
//! Plain data; made by `compile` only.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use jiff::{SignedDuration, Timestamp};

use super::{
    IsolationRules, checks::repositories::Repositories, robustness::Floor, select::NamespaceSelector,
};
use crate::{
    api::v1alpha1::{TrustedKey, UnmanagedPods, UnprovenPods, ViolationAction},
    evidence::{Digest, Effect, Failure, Finding, Reason, RuleId, Verdict},
};

/// Something in an object that keeps it from meaning what was meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The stable code.
    pub reason: Reason,
    /// The path of the field, as in `spec.signers[vault].key.trustRoot`.
    pub field: String,
    /// What is wrong with it and what to do.
    pub message: String,
}

impl Problem {
    /// A problem with this field.
    pub fn new(reason: Reason, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            reason,
            field: field.into(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

impl std::error::Error for Problem {}

/// A signer the policy accepts, resolved to key material.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignerRule {
    /// The policy's name for the signer.
    pub name: String,
    /// Its usable keys. Without any it cannot sign.
    pub keys: Vec<TrustedKey>,
    /// Why other keys of it, or all of them, cannot be used.
    pub problems: Vec<Problem>,
}

impl SignerRule {
    /// Whether a signature by the key with this fingerprint is one by this signer.
    pub fn holds(&self, fingerprint: Digest) -> bool {
        self.keys.iter().any(|key| key.fingerprint == fingerprint)
    }
}

/// A person who vouches for some content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalRule {
    /// Who.
    pub by: String,
    /// From when on it no longer counts; absent when it always does.
    pub expires: Option<Timestamp>,
}

/// Pods that run though no `ModelDeployment` answers for them, as far as this policy is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exemption {
    /// Every container of the pod must run one of these images.
    pub image_digests: BTreeSet<Digest>,
    /// The account that must have made the pod, compared as it is.
    pub requester: String,
}

/// A policy ready to be applied.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// The policy, as `ClusterDeploymentPolicy/name` or `DeploymentPolicy/namespace/name`.
    pub policy: String,
    /// Its uid, when it is from a cluster.
    pub uid: Option<String>,
    /// The generation these rules speak of, when it is from a cluster.
    pub generation: Option<i64>,
    /// Which governed namespaces it selects.
    pub namespaces: NamespaceSelector,
    /// What happens when something does not hold that is in no section with an effect of its own.
    pub effect: Effect,
    /// What happens when something in `model` does not hold.
    pub model_effect: Effect,
    /// The signers of `model.signers`, in the policy's order.
    pub signers: Vec<SignerRule>,
    /// How many of them must have signed.
    pub threshold: usize,
    /// Where models may come from; absent when the policy does not say.
    pub repositories: Option<Repositories>,
    /// Who vouches for which content: each name once.
    pub approved: BTreeMap<Digest, Vec<ApprovalRule>>,
    /// Digests that must never serve, and why.
    pub revoked: BTreeMap<Digest, String>,
    /// How far models are shut off.
    pub isolation: IsolationRules,
    /// What must have been measured of models.
    pub robustness: Vec<Floor>,
    /// What happens when that was not shown.
    pub robustness_effect: Effect,
    /// What happens to pods that no `ModelDeployment` answers for.
    pub unmanaged_pods: UnmanagedPods,
    /// Which of those pods this policy lets run. Another policy that does not still refuses them.
    pub exempt: Vec<Exemption>,
    /// Whether pods that are not shown to run the verified model are replaced.
    pub unproven_pods: UnprovenPods,
    /// What is done about what serves once it turned bad.
    pub on_violation: ViolationAction,
    /// For how long pods of what serves are replaced after it turned bad, and when it is stopped if it is.
    pub grace_period: SignedDuration,
    /// What keeps the policy as a whole from being applied. While there is one, the policy denies wherever it selects, as far
    /// as it is enforced.
    pub problems: Vec<Problem>,
}

impl Rules {
    /// What happens when this rule does not hold.
    pub fn effect_of(&self, rule: RuleId) -> Effect {
        match rule {
            // A policy that cannot be applied harms all its sections, so the strictest of them says what that means.
            RuleId::Policy => {
                let isolation = self.isolation.asks().then_some(self.isolation.effect);
                let robustness = (!self.robustness.is_empty()).then_some(self.robustness_effect);
                let others = self.effect.min(self.model_effect);
                isolation.into_iter().chain(robustness).fold(others, Effect::min)
            }
            RuleId::ModelSignature | RuleId::ModelRepositories | RuleId::ModelRevoked => self.model_effect,
            RuleId::IsolationNetwork
            | RuleId::IsolationRbac
            | RuleId::IsolationHardening
            | RuleId::IsolationRuntimeClasses => self.isolation.effect,
            RuleId::RobustnessRequire => self.robustness_effect,
            RuleId::PodManaged => match self.unmanaged_pods {
                UnmanagedPods::Deny => Effect::Enforce,
                UnmanagedPods::Warn => Effect::Warn,
                UnmanagedPods::Allow => Effect::Audit,
            },
            // Those of gates are of a kind of its own, which says its effect itself; the others are no policy's own: without
            // them, nothing that policies say of pods would hold.
            RuleId::PodPlan | RuleId::PodChange | RuleId::RobustnessGates => Effect::Enforce,
        }
    }

    /// What this policy says by this rule.
    pub(super) fn finding(
        &self,
        rule: RuleId,
        verdict: Verdict,
        reason: Option<Reason>,
        message: String,
    ) -> Finding {
        Finding {
            rule,
            policy: Some(self.policy.clone()),
            effect: self.effect_of(rule),
            verdict,
            reason,
            // Bounded like every sentence that quotes input: a status must not grow with what it speaks of.
            message: Failure::new(Reason::Internal, message).message,
            waived_by: None,
        }
    }

    /// Whether anything in the policy can deny.
    pub fn enforces(&self) -> bool {
        self.effect_of(RuleId::Policy) == Effect::Enforce
    }

    /// The names of the policy's signers, joined for a sentence.
    pub fn signer_names(&self) -> String {
        self.signers
            .iter()
            .map(|signer| signer.name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// Why the policy denies wherever it selects, whatever the model is: its own problems, or no signer that can sign.
    pub fn blocking(&self) -> Vec<&Problem> {
        let usable = self.signers.iter().any(|signer| !signer.keys.is_empty());
        let signers = if usable { &[][..] } else { &self.signers[..] };
        self.problems
            .iter()
            .chain(signers.iter().flat_map(|signer| &signer.problems))
            .collect()
    }

    /// Everything that is wrong with the policy, also what does not keep it from being applied.
    pub fn all_problems(&self) -> impl Iterator<Item = &Problem> {
        self.problems
            .iter()
            .chain(self.signers.iter().flat_map(|signer| &signer.problems))
    }

    /// Whether the policy can be applied just as it is written: what its `Ready` condition says.
    ///
    /// # Errors
    /// The first problem's reason, and all problems in one sentence each.
    pub fn ready(&self) -> Result<(), Failure> {
        let problems: Vec<_> = self.all_problems().collect();
        match problems.first() {
            None => Ok(()),
            Some(first) => {
                let text = problems
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join("; ");
                Err(Failure::new(first.reason, text))
            }
        }
    }
}
