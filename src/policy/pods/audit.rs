//! What would be said of a pod that is there already, were it made now? For those that no admission has seen: from before their
//! namespace was governed or a policy changed, from while admission was away, and static ones.
//!
//! Nobody writes down who made a pod. Here its own claim is taken for it: the controller it names, or that it is the mirror of
//! a static pod. A forged claim can hide a pod from the audit's count, as far as policies exempt what that controller makes;
//! it lets nothing in, for admission believes none.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use serde_json::Value;

use super::{
    PodRequest, Recorded, Stand, adopted, applying, isolated, judge,
    standing::{NOT_SATISFIED, Standing},
};
use crate::{
    api::v1alpha1::{ModelDeployment, WorkloadRef},
    evidence::{Effect, Reason, RuleId, Verdict},
    policy::{Decision, World, accept, accept::accept_name, waiver},
    workload::{Plans, controller},
};

/// The annotation by which a node shows a static pod, one that it runs without having asked.
const MIRROR: &str = "kubernetes.io/config.mirror";
/// The stable code of a static pod that is refused: no deletion helps, only taking its manifest off the node.
const STATIC: &str = "StaticPod";
/// Whose account makes the pods of a `ReplicationController`, which no model governs.
const REPLICATION: &str = "system:serviceaccount:kube-system:replication-controller";

/// A pod that is there.
#[derive(Debug, Clone, Copy)]
pub struct PodThere<'a> {
    /// Where.
    pub namespace: &'a str,
    /// The pod; without `spec` and `status` it is enough where a model serves it, which is judged by `spec` below.
    pub pod: &'a Pod,
    /// Its `spec` as the API server has it, with what this version has no name for.
    pub spec: &'a Value,
    /// The controllers it goes back to, the nearest first, where models govern workloads.
    pub owners: &'a [WorkloadRef],
}

/// What a policy says against a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The policy; none when no policy can soften it, and then every one that has a say in the namespace says it.
    pub policy: Option<String>,
    /// Whether it is refused, or would be.
    pub effect: Effect,
    /// The stable code.
    pub reason: String,
}

/// What is said of a pod that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audited {
    /// Whether it would be let in.
    pub verdict: Verdict,
    /// What is said against it, the worst first; nothing when only the lack of a policy is.
    pub said: Vec<Said>,
}

impl Audited {
    /// What this policy, which selects the namespace, says against the pod: the worst of it.
    pub fn by(&self, policy: &str) -> Option<&Said> {
        let its = |said: &&Said| said.policy.as_deref().is_none_or(|of| of == policy);
        self.said.iter().filter(its).min_by_key(|said| said.effect)
    }

    /// With what else is said against it.
    fn and(mut self, other: Self) -> Self {
        self.said.extend(other.said);
        Self {
            verdict: self.verdict.max(other.verdict),
            ..self
        }
    }

    fn of(decision: &Decision) -> Self {
        let fails = decision.findings.iter().filter(|one| {
            // That there is no policy is no policy's word.
            one.verdict == Verdict::Fail && (one.policy.is_some() || one.rule != RuleId::Policy)
        });
        let said = fails.map(|one| Said {
            policy: one.policy.clone(),
            effect: one.effect,
            reason: one.reason.map_or(NOT_SATISFIED, Reason::as_str).to_owned(),
        });
        Self {
            verdict: decision.verdict,
            said: said.collect(),
        }
    }
}

/// Judges a pod as if the controller that it names made it now.
///
/// `recorded` is what there is of the model that the pod names or whose workload it is of. One of a workload that a model
/// governs is judged by what its verifier was told and found; a static one by what its node may make; one that names no
/// controller was made by nobody, whom no policy exempts.
pub fn audit(
    there: &PodThere<'_>,
    recorded: Recorded<'_>,
    world: &World,
    plans: &Plans,
    now: Timestamp,
) -> Audited {
    let is_static = there.pod.annotations().contains_key(MIRROR);
    let maker = if is_static { node(there) } else { maker(there.pod) };
    let request = PodRequest {
        namespace: there.namespace,
        requester: &maker,
        pod: there.pod,
        spec: there.spec,
        old: None,
        owners: there.owners,
    };
    let adopting = recorded.model.filter(|model| model.spec.workload_ref.is_some());
    let adopted = adopting.and_then(|model| {
        let stands = stands(model, &request, recorded, world, plans, now)?;
        Some(stands.and(isolation(model, &request, world, now)))
    });
    let mut audited = adopted.unwrap_or_else(|| Audited::of(&judge(&request, recorded, world, plans, now)));
    if is_static {
        for said in &mut audited.said {
            STATIC.clone_into(&mut said.reason);
        }
    }
    audited
}

/// How a pod of the model's workload stands; none where admission's own judgement is all there is to say.
fn stands(
    model: &ModelDeployment,
    request: &PodRequest<'_>,
    recorded: Recorded<'_>,
    world: &World,
    plans: &Plans,
    now: Timestamp,
) -> Option<Audited> {
    applying(request.namespace, world).ok()?;
    if adopted::forged(model, request).is_some() {
        return None;
    }
    let origin = accept_name(&model.name_any())
        .and_then(|()| accept(&model.spec))
        .ok()?;
    let ways = adopted::ways(model, recorded, world, plans.settings(), now);
    // No policy that is enforced asks for a verifier, and the pod need not bring one.
    if ways.iter().any(|way| way.adoption.is_none()) {
        return None;
    }
    let standing = Standing {
        model,
        origin: &origin,
        world,
        settings: plans.settings(),
        now,
        ways: &ways,
        recorded,
    };
    Some(match standing.stand(request.pod) {
        Stand::Proven { decision, .. }
        | Stand::Unproven {
            refused: Some(decision),
            ..
        } => Audited::of(&decision),
        Stand::Pending(_) => Audited {
            verdict: Verdict::Wait,
            said: Vec::new(),
        },
        Stand::Unproven { reason, .. } => Audited {
            verdict: Verdict::Fail,
            said: vec![Said {
                policy: None,
                effect: Effect::Enforce,
                reason,
            }],
        },
    })
}

/// What is said of its isolation, where how it stands with its model is judged by itself.
fn isolation(model: &ModelDeployment, request: &PodRequest<'_>, world: &World, now: Timestamp) -> Audited {
    let rules = applying(request.namespace, world).unwrap_or_default();
    let mut found = isolated::findings(request, true, &rules);
    waiver::apply(&mut found, &waiver::Subject::whole(model), world, now);
    if found.is_empty() {
        return Audited {
            verdict: Verdict::Pass,
            said: Vec::new(),
        };
    }
    Audited::of(&Decision::of(found))
}

/// The account of the node that shows the pod.
fn node(there: &PodThere<'_>) -> String {
    let name = there.spec.get("nodeName").and_then(Value::as_str);
    format!("system:node:{}", name.unwrap_or_default())
}

/// The account of the controller that the pod names; empty, and so no account at all, when it names none that is known.
fn maker(pod: &Pod) -> String {
    let account = controller(pod.owner_references()).and_then(|owner| {
        match (owner.api_version.as_str(), owner.kind.as_str()) {
            ("v1", "ReplicationController") => Some(REPLICATION),
            (version, kind) => adopted::maker(version, kind),
        }
    });
    account.unwrap_or_default().to_owned()
}
