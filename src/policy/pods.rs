//! May this pod run? One of a model must be exactly the planned pod, for content that policy admits; any other needs an
//! exemption. Pure: the pod, its model and the recorded verdicts come in as values, so that every door answers the same.

mod adopted;
mod audit;
mod change;
mod grace;
mod isolated;
mod managed;
mod pending;
mod response;
#[cfg(test)]
pub(crate) mod samples;
mod standing;
mod template;
#[cfg(test)]
mod tests;
mod unmanaged;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use serde_json::Value;

pub use adopted::{Way, fits_pods, governing, governs, promised, ways};
pub use audit::{Audited, PodThere, Said, audit};
pub use isolated::fills_in;
pub use response::{Response, may_quarantine, response};
pub use standing::{PodStanding, Replacement, Stand, Standing, next_to_evict, pin};
pub use template::Template;

use super::{
    Decision, Rules, Verifications, World,
    decision::{no_policy, pass},
    opening, selecting, waiver,
};
use crate::{
    api::{
        GROUP, MODEL_LABEL,
        v1alpha1::{ArtifactVerification, ModelDeployment, WorkloadRef},
    },
    evidence::{Effect, Finding, Reason, RuleId, Verdict},
    workload::{Plans, PodSettings, RunningModel, awaits_kserve},
};

/// A pod that somebody wants to create or to change.
#[derive(Debug, Clone, Copy)]
pub struct PodRequest<'a> {
    /// The namespace the request is for; the pod itself may not say it yet.
    pub namespace: &'a str,
    /// The user's name as the API server authenticated it: what a pod says of its maker is not believed.
    pub requester: &'a str,
    /// The pod as it would be stored; without its `spec` when [`is_made_by_kubernetes`], for that is judged as it was sent.
    pub pod: &'a Pod,
    /// Its `spec` as it was sent, with what this version has no name for.
    pub spec: &'a Value,
    /// The pod as it is stored, when it is changed.
    pub old: Option<&'a Pod>,
    /// The controllers it goes back to, the nearest first: the one the pod names, and those that this one goes back to as the
    /// API server has it.
    pub owners: &'a [WorkloadRef],
}

impl PodRequest<'_> {
    /// The model the pod says it belongs to, which is only where to look.
    pub fn model(&self) -> Option<&str> {
        model(self.pod)
    }
}

/// The model that this pod says it belongs to.
pub fn model(pod: &Pod) -> Option<&str> {
    pod.labels().get(MODEL_LABEL).map(String::as_str)
}

/// What is recorded about the model that the pod names.
#[derive(Debug, Clone, Copy, Default)]
pub struct Recorded<'a> {
    /// The model; none when there is none of that name in the namespace.
    pub model: Option<&'a ModelDeployment>,
    /// The verifications it owns.
    pub verifications: &'a [ArtifactVerification],
}

/// Judges one pod.
///
/// `now` is for what expires. What is not in the world is not admitted: a namespace that the API server calls governed and
/// the world does not know yet is refused as [`Reason::NotReadYet`], and whoever makes pods tries again.
pub fn judge(
    request: &PodRequest<'_>,
    recorded: Recorded<'_>,
    world: &World,
    plans: &Plans,
    now: Timestamp,
) -> Decision {
    if let Some(old) = request.old {
        let closed = opening::spoken_of(request.namespace, world)
            .iter()
            .any(|rules| rules.effect_of(RuleId::IsolationNetwork) == Effect::Enforce);
        return Decision::of(change::judge(old, request.pod, closed));
    }
    let rules = match applying(request.namespace, world) {
        Ok(rules) => rules,
        Err(finding) => return Decision::of(vec![*finding]),
    };
    match (request.model(), recorded.model) {
        (_, Some(model)) if model.spec.workload_ref.is_some() => {
            let judged = adopted::judge(model, request, recorded, world, plans.settings(), now);
            let mut isolation = isolated::findings(request, fits_pods(model, world), &rules);
            let until = waiver::apply(&mut isolation, &waiver::Subject::whole(model), world, now);
            judged.with(isolation).until(until)
        }
        // Is exactly the planned pod, and what of it is anybody's choice is a question about the model.
        (Some(name), _) => managed::judge(name, request, recorded, world, plans, now),
        (None, _) => unmanaged::judge(request, &rules).with(isolated::findings(request, false, &rules)),
    }
}

/// What this pod lacks, as a JSON Patch of additions to it; none when it lacks nothing, when adding cannot mend it, or when
/// others have yet to bring what is verified: admission is asked again after them.
///
/// A pod of the workload that `model` governs gets what verifies its model. Any pod gets what is safe to add, where a policy
/// that asks for hardening is enforced. One thing is taken away: what tells KServe's webhook to bring the model, once it did,
/// because asked again it would put the same over the verified copy.
pub fn additions(
    model: Option<&ModelDeployment>,
    namespace: &str,
    pod: &Pod,
    recorded: Recorded<'_>,
    world: &World,
    settings: &PodSettings,
    now: Timestamp,
) -> Option<Value> {
    let spec = pod.spec.as_ref()?;
    if model.is_some() && awaits_kserve(pod, spec) {
        return None;
    }
    let fitted = model.and_then(|model| adopted::fitted(model, spec, recorded, world, settings, now));
    let adopted = fitted.is_some();
    let mended = isolated::filled(fitted.as_ref().unwrap_or(spec), namespace, world);
    let (before, after) = (
        serde_json::to_value(spec).ok()?,
        serde_json::to_value(&*mended).ok()?,
    );
    let mut patch = crate::workload::additions(&before, &after, "/spec");
    if let Some(model) = model.filter(|_| adopted) {
        patch.extend(adopted::claims(model, pod, spec));
    }
    (!patch.is_empty()).then_some(Value::Array(patch))
}

/// The policies that have a say in this governed namespace, or why nothing runs there.
fn applying<'a>(namespace: &'a str, world: &'a World) -> Result<Vec<&'a Rules>, Box<Finding>> {
    let labels = world.namespaces.get(namespace);
    let Some(labels) = labels.filter(|_| world.governs(namespace)) else {
        let message =
            format!("this operator has not read yet that the namespace {namespace} is governed: try again");
        return Err(Box::new(fail(RuleId::Policy, Reason::NotReadYet, message)));
    };
    let rules: Vec<&Rules> = selecting(&world.rules, namespace, labels).collect();
    match no_policy(namespace, true, &rules) {
        Some(finding) => Err(Box::new(finding)),
        None => Ok(rules),
    }
}

/// The names of the verifications that a pod of this model can rest on.
pub fn needed(model: &ModelDeployment, world: &World) -> Vec<String> {
    let contents: Vec<_> = managed::contents(model).map(|content| content.runs).collect();
    let same = |one: &RunningModel, other: &RunningModel| {
        one.reference == other.reference && one.pull_secret == other.pull_secret
    };
    // What is asked for serves already, as a rule.
    let different = contents
        .iter()
        .enumerate()
        .filter(|(at, one)| !contents[..*at].iter().any(|other| same(one, other)));
    different
        .flat_map(|(_, runs)| Verifications::of(model, world, runs).into_all())
        .map(|verification| verification.name_any())
        .collect()
}

/// Whether the pod was made by one of Kubernetes' own controllers. What it says may still be wrong; it is worth a look at
/// what is recorded about models.
pub fn is_made_by_kubernetes(requester: &str) -> bool {
    adopted::is_maker(requester)
}

fn refused(rule: RuleId, reason: Reason, message: impl Into<String>) -> Decision {
    Decision::of(vec![fail(rule, reason, message)])
}

/// A refusal for now: what is missing comes without anybody changing the pod, so whoever makes it tries again.
fn not_yet(rule: RuleId, reason: Reason, missing: &[String]) -> Decision {
    Decision::of(vec![Finding {
        verdict: Verdict::Unknown,
        ..fail(rule, reason, missing.join("; "))
    }])
}

/// A refusal that no policy can soften: without it, nothing that policies say of pods would hold.
fn fail(rule: RuleId, reason: Reason, message: impl Into<String>) -> Finding {
    Finding {
        rule,
        policy: None,
        effect: Effect::Enforce,
        verdict: Verdict::Fail,
        reason: Some(reason),
        message: bounded(message.into()),
        waived_by: None,
    }
}

/// What tenants write is quoted, and must not make a sentence long.
fn bounded(message: String) -> String {
    crate::evidence::Failure::new(Reason::Internal, message).message
}

/// Whether a label or annotation is the operator's to write.
fn is_ours(key: &str) -> bool {
    key.split_once('/').is_some_and(|(prefix, _)| prefix == GROUP)
}
