//! May this pod of a model run? It must be made by Kubernetes from the operator's own template, be the planned pod to the
//! last field, and bring content that policy admits; what serves already is replaced for a while after it turned bad.

use std::iter;

use jiff::Timestamp;
use kube::ResourceExt as _;

use super::{PodRequest, Recorded, grace::Grace, is_ours, pass, refused, response};
use crate::{
    api::{
        MODEL_LABEL,
        v1alpha1::{EgressRule, ModelDeployment, ServingModel, ViolationAction},
    },
    evidence::{Finding, Reason, Reference, RuleId, Verdict},
    policy::{Decision, Declared, Evidence, Request, ServerFacts, Verifications, World, evaluate},
    workload::{Plans, RunningModel, Served, running_model_as_sent},
};

/// Who makes the pods of a Deployment. No tenant can be this user.
pub(super) const MAKER: &str = "system:serviceaccount:kube-system:replicaset-controller";

/// Content that this model may run, and how.
pub(super) struct Content<'a> {
    model: &'a ModelDeployment,
    /// What the pods that run this content are built from.
    served: Option<Served<'a>>,
    /// Whom they are to reach.
    pub egress: &'a [EgressRule],
    /// What they run.
    pub runs: RunningModel,
    /// Whether it serves already.
    serves: bool,
}

/// Content, and what policy says of it.
pub(super) struct Candidate<'a> {
    pub content: Content<'a>,
    pub decision: Decision,
}

/// Judges a pod that names the model `name`.
pub(super) fn judge(
    name: &str,
    request: &PodRequest<'_>,
    recorded: Recorded<'_>,
    world: &World,
    plans: &Plans,
    now: Timestamp,
) -> Decision {
    if let Some(forged) = forged(request) {
        return refused(RuleId::PodManaged, Reason::ForgedOwner, forged);
    }
    let Some(model) = recorded.model else {
        let message = format!(
            "metadata.labels[{MODEL_LABEL}]: there is no ModelDeployment {name} in {}: apply one, and let it make its pods",
            request.namespace
        );
        return refused(RuleId::PodManaged, Reason::UnmanagedPod, message);
    };
    let Some(claimed) = running_model_as_sent(request.spec) else {
        let message = format!(
            "spec.initContainers: the container that fetches and verifies the model is missing or altered: delete the Deployment {name} or undo the change to it"
        );
        return refused(RuleId::PodPlan, Reason::PodNotAsPlanned, message);
    };
    let candidates = contents(model)
        .filter(|content| content.runs.reference == claimed.reference)
        .map(|content| candidate(content, claimed.size, recorded, world, now));
    let mut closest: Option<(Candidate<'_>, Vec<String>)> = None;
    // As a rule the first one is it, and then nobody has to judge the others.
    for candidate in candidates {
        let Content { served, runs, .. } = &candidate.content;
        let found = match served {
            Some(served) => plans.differences(served, runs, request.spec),
            None => vec!["spec: is the pod of a server, and the model has none".to_owned()],
        };
        if found.is_empty() {
            return answer(&candidate, world, request.namespace, now);
        }
        if closest
            .as_ref()
            .is_none_or(|(_, least)| found.len() < least.len())
        {
            closest = Some((candidate, found));
        }
    }
    match closest {
        // The content is refused or not known yet, and that says more than how the pod looks.
        Some((candidate, _)) if !candidate.decision.admits() => candidate.decision,
        Some((_, found)) => {
            let message = format!(
                "the pod is not as planned: {}; undo the change, or change spec.server of ModelDeployment {name}",
                found.join("; ")
            );
            refused(RuleId::PodPlan, Reason::PodNotAsPlanned, message)
        }
        None => {
            let message = format!(
                "the pod runs {}, which ModelDeployment {name} neither serves nor asks for: it is replaced by itself once the Deployment is as planned",
                claimed.reference
            );
            refused(RuleId::PodPlan, Reason::PodNotAsPlanned, message)
        }
    }
}

/// Why the pod is not one that Kubernetes made from a template. Labels and owner references are the author's to choose.
fn forged(request: &PodRequest<'_>) -> Option<String> {
    if request.requester != MAKER {
        return Some(format!(
            "metadata.labels[{MODEL_LABEL}]: {} made this pod, and pods of a model are made by its Deployment: apply a ModelDeployment instead",
            request.requester
        ));
    }
    let owned = request.pod.owner_references().iter().any(|owner| {
        owner.controller == Some(true) && owner.api_version == "apps/v1" && owner.kind == "ReplicaSet"
    });
    if !owned {
        return Some("metadata.ownerReferences: no ReplicaSet controls this pod".into());
    }
    let labels = request.pod.labels().keys().filter(|key| *key != MODEL_LABEL);
    let ours = labels
        .chain(request.pod.annotations().keys())
        .find(|key| is_ours(key))?;
    Some(format!("metadata: {ours} belongs to the operator: take it away"))
}

/// What the model serves, as it was when it began to, and what it asks for: the specification may have changed since.
pub(super) fn contents(model: &ModelDeployment) -> impl Iterator<Item = Content<'_>> {
    let asked = move || {
        let source = model.spec.model.source.oci.as_ref()?;
        Some(Content {
            model,
            served: Served::of(model),
            egress: model.spec.egress.as_deref().unwrap_or_default(),
            runs: Request::of(model).content(source)?,
            serves: false,
        })
    };
    let serving = model.status.as_ref().and_then(|status| status.serving.as_ref());
    let serving = serving.and_then(|serving| as_serving(model, serving));
    serving.into_iter().chain(iter::once_with(asked).flatten())
}

pub(super) fn candidate<'a>(
    mut content: Content<'a>,
    claimed: u64,
    recorded: Recorded<'_>,
    world: &World,
    now: Timestamp,
) -> Candidate<'a> {
    let Content {
        model,
        served,
        egress,
        runs,
        serves,
    } = &mut content;
    let wanted = Verifications::of(model, world, runs);
    // What nobody measured, as may be where nothing is enforced, is as large as the pod says.
    runs.size = match wanted.evidence(recorded.verifications, runs) {
        Evidence::Known(found) if found.size > 0 => found.size,
        _ if *serves && runs.size > 0 => runs.size,
        _ => claimed,
    };
    let declared = Declared {
        server: served.map(|served| ServerFacts::of(served.server)),
        egress: egress.to_vec(),
    };
    let facts = wanted.facts(model, world, runs, declared, recorded.verifications);
    let decision = evaluate(&facts, world, now);
    Candidate { content, decision }
}

/// The model as it was when this began to serve, and the content.
fn as_serving<'a>(model: &'a ModelDeployment, serving: &'a ServingModel) -> Option<Content<'a>> {
    let reference: Reference = serving.reference.parse().ok()?;
    let template = serving.template.as_ref();
    let source = model.spec.model.source.oci.as_ref();
    let pull_secret = source.and_then(|source| {
        let secret = template.map_or(&source.pull_secret, |template| &template.pull_secret);
        secret.clone()
    });
    let served = Served::of(model).map(|asked| {
        template.map_or(asked, |template| Served {
            server: &template.server,
            mount_path: template.mount_path.as_deref(),
            ..asked
        })
    });
    let runs = RunningModel {
        reference: reference.pinned(serving.digest),
        digest: serving.digest,
        size: u64::try_from(serving.size).ok()?,
        pull_secret,
    };
    Some(Content {
        model,
        served,
        egress: serving.egress.as_deref().unwrap_or_default(),
        runs,
        serves: true,
    })
}

/// The pod is as planned: now its content decides.
fn answer(candidate: &Candidate<'_>, world: &World, namespace: &str, now: Timestamp) -> Decision {
    let decision = &candidate.decision;
    let planned = |message: &str| pass(RuleId::PodPlan, message);
    let mut findings = decision.findings.clone();
    if decision.admits() {
        findings.push(planned("the pod is as planned"));
    } else if let Some(cut) = cut_off(candidate, world, namespace, now) {
        findings.push(Finding {
            verdict: decision.verdict,
            reason: decision.reason(),
            ..planned(&format!("{cut}: {}", decision.sentence()))
        });
    } else if let Some(grace) = grace(candidate, world, namespace, now) {
        if let Some(until) = grace.lasts(now) {
            // What serves is not proven any more. It is alerted about; that nodes come and go must not end it before time.
            let message = format!(
                "the pod replaces one of what serves; it is not proven any more ({}), and is replaced until {until}",
                decision.sentence()
            );
            let alert = Finding {
                reason: decision.reason(),
                ..planned(&message)
            };
            return with_signers(Decision::of(vec![alert]), candidate);
        }
        // It is refused for what was wrong all the time; why only now is part of it.
        findings.push(Finding {
            verdict: decision.verdict,
            reason: decision.reason(),
            ..planned(&format!("{}: {}", grace.over(), decision.sentence()))
        });
    }
    with_signers(Decision::of(findings), candidate)
}

fn with_signers(decision: Decision, candidate: &Candidate<'_>) -> Decision {
    Decision {
        signers: candidate.decision.signers.clone(),
        approved_by: candidate.decision.approved_by.clone(),
        ..decision
    }
}

/// Why no pod of what serves is made again; nothing when policy does no more than alert about it.
fn cut_off(candidate: &Candidate<'_>, world: &World, namespace: &str, now: Timestamp) -> Option<String> {
    let status = candidate.content.model.status.as_ref()?;
    let serving = status.serving.as_ref().filter(|_| candidate.content.serves)?;
    let response = response(&candidate.decision, Some(serving), world, namespace, now);
    let what = match (response.action, response.asked) {
        (_, ViolationAction::Alert) => return None,
        (ViolationAction::Alert, _) => "is to be stopped",
        (ViolationAction::Quarantine, _) => "is quarantined",
        (ViolationAction::Stop, _) => "is stopped",
    };
    let by = response
        .policy
        .map_or_else(String::new, |policy| format!(" (spec.onViolation of {policy})"));
    Some(format!("what serves {what}{by}, and no pod of it is made again"))
}

/// The grace for pods of what serves although policy no longer admits it; none for anything else.
fn grace<'a>(
    candidate: &Candidate<'_>,
    world: &'a World,
    namespace: &'a str,
    now: Timestamp,
) -> Option<Grace<'a>> {
    let failing = || {
        candidate
            .decision
            .findings
            .iter()
            .filter(|one| one.counts_as() != Verdict::Pass)
    };
    // Content that is known to be bad never starts again.
    if !candidate.content.serves || failing().any(|one| one.reason == Some(Reason::Revoked)) {
        return None;
    }
    let serving = candidate.content.model.status.as_ref()?.serving.as_ref()?;
    let since = serving.unproven_since.as_ref().map(|since| since.0);
    let labels = world.namespaces.get(namespace)?;
    Grace::of(super::selecting(&world.rules, namespace, labels), since, now)
}
