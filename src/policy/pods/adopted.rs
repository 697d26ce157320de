//! May this pod of a workload that somebody else runs run? It must be made by the workload's own controller, bring exactly the
//! planned verifier, and let nobody read the model but as the verifier left it. What the verifier will find is owed; a pod
//! without it never starts its server.

use std::iter;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use kube::ResourceExt as _;
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::{
    PodRequest, Recorded, bounded, is_ours, managed, not_yet, pass, refused, response::may_quarantine,
};
use crate::{
    api::{
        MODEL_LABEL, SERVING_GATE,
        v1alpha1::{EgressRule, ModelDeployment, TrustedKey, WorkloadRef},
    },
    evidence::{Digest, Effect, KeyArgument, Origin, Reason, RuleId},
    policy::{
        Decision, Declared, Evidence, Facts, World, accept, evaluate, pinned, required_keys, selecting,
        sufficient_keys,
    },
    workload::{
        AdoptedSource, Adoption, DEFAULT_MOUNT_PATH, KSERVE_SOURCE, Pins, PodSettings, Terms, add_gate,
        awaits_kserve, fit, is_gated, kserve_would_repeat, odd, unfit,
    },
};

/// Whose account makes the pods of these kinds. No tenant can be one of these users.
const MAKERS: [(&str, &str, &str); 4] = [
    ("apps/v1", "ReplicaSet", managed::MAKER),
    (
        "apps/v1",
        "StatefulSet",
        "system:serviceaccount:kube-system:statefulset-controller",
    ),
    (
        "apps/v1",
        "DaemonSet",
        "system:serviceaccount:kube-system:daemon-set-controller",
    ),
    (
        "batch/v1",
        "Job",
        "system:serviceaccount:kube-system:job-controller",
    ),
];

/// The account that makes pods for controllers of this kind; none when Kubernetes knows no such kind.
pub(super) fn maker(api_version: &str, kind: &str) -> Option<&'static str> {
    let of = |(version, of, _): &&(&str, &str, &str)| *version == api_version && *of == kind;
    MAKERS.iter().find(of).map(|(_, _, maker)| *maker)
}

/// Whether this account makes pods for controllers of Kubernetes.
pub(super) fn is_maker(account: &str) -> bool {
    MAKERS.iter().any(|(_, _, maker)| *maker == account)
}

/// One way in which a pod may serve the model of an adopted workload.
#[derive(Debug, Clone, PartialEq)]
pub struct Way {
    /// What the pod has to bring; none: no policy that is enforced asks for anything, and the pod stays as it is.
    pub adoption: Option<Adoption>,
    /// Whom its pods are to reach, as was declared.
    pub egress: Vec<EgressRule>,
    /// What policy says of what is known of the content.
    pub decision: Decision,
}

/// The ways in which pods of this model's workload may run, what is asked for first and what serves last; those that policy
/// refuses as well.
pub fn ways(
    model: &ModelDeployment,
    recorded: Recorded<'_>,
    world: &World,
    settings: &PodSettings,
    now: Timestamp,
) -> Vec<Way> {
    let origin = match accept(&model.spec) {
        Ok(origin) => origin,
        Err(problem) => {
            let decision = refused(RuleId::PodPlan, problem.reason, problem.to_string());
            return vec![Way {
                adoption: None,
                egress: Vec::new(),
                decision,
            }];
        }
    };
    let mount_path = model.spec.model.mount_path.clone();
    let mount_path = mount_path.unwrap_or_else(|| DEFAULT_MOUNT_PATH.to_owned());
    let namespace = model.namespace().unwrap_or_default();
    let keys = sufficient_keys(world, &namespace, pinned(model), now);
    let source = match origin {
        Origin::Registry(_) => return fetched(model, &mount_path, recorded, world, now),
        Origin::Volume { ref claim, ref path } => AdoptedSource::Claim {
            claim: claim.clone(),
            path: path.clone(),
            terms: terms(model, &keys, world, settings),
        },
        Origin::Mounted => AdoptedSource::Mounted {
            terms: terms(model, &keys, world, settings),
        },
    };
    let asked = !required_keys(world, &namespace).is_empty();
    let facts = facts(model, &namespace, origin, world, &keys, asked);
    let way = |declared: Declared| {
        let egress = declared.egress.clone();
        Way {
            adoption: asked.then(|| Adoption {
                mount_path: mount_path.clone(),
                source: source.clone(),
                images: images(model),
            }),
            egress,
            decision: evaluate(&facts.clone().declared(declared), world, now),
        }
    };
    let as_asked = Declared::by(&model.spec);
    let as_it_serves = serves_with(model).filter(|serves| *serves != as_asked);
    iter::once(as_asked).chain(as_it_serves).map(way).collect()
}

/// What was declared of the workload when what serves was admitted; none when nothing of the kind is remembered, or other
/// content is asked for since.
fn serves_with(model: &ModelDeployment) -> Option<Declared> {
    let serving = model.status.as_ref()?.serving.as_ref();
    let serving = serving.filter(|serving| Some(serving.digest) == pinned(model))?;
    Some(Declared {
        server: None,
        egress: serving.egress.clone().unwrap_or_default(),
    })
}

/// What is known of content that lies in a volume before a pod has looked: what its verifier will see to.
pub fn promised(
    model: &ModelDeployment,
    namespace: &str,
    origin: Origin,
    world: &World,
    now: Timestamp,
) -> Facts {
    let keys = sufficient_keys(world, namespace, pinned(model), now);
    let asked = !required_keys(world, namespace).is_empty();
    facts(model, namespace, origin, world, &keys, asked)
}

/// The same, with the keys of which its verifier looks for one, and whether any policy asks for that.
fn facts(
    model: &ModelDeployment,
    namespace: &str,
    origin: Origin,
    world: &World,
    keys: &[TrustedKey],
    asked: bool,
) -> Facts {
    let owed = Evidence::Owed(keys.iter().map(|key| key.fingerprint).collect());
    // Where no policy that is enforced asks for signatures, nothing is put into pods, and the others are told so.
    let nobody_looks = "its pods are not verified while no policy that asks for signatures is enforced";
    Facts {
        observed: (!asked).then(|| Evidence::Wait(nobody_looks.to_owned())),
        ..Facts::about(world, namespace, &model.name_any(), origin, pinned(model), owed)
            .declared(Declared::by(&model.spec))
    }
}

/// Content of a registry: what is asked for, and what serves already.
fn fetched(
    model: &ModelDeployment,
    mount_path: &str,
    recorded: Recorded<'_>,
    world: &World,
    now: Timestamp,
) -> Vec<Way> {
    let ways = managed::contents(model).map(|content| {
        let candidate = managed::candidate(content, 0, recorded, world, now);
        let egress = candidate.content.egress.to_vec();
        let (runs, decision) = (candidate.content.runs, candidate.decision);
        Way {
            adoption: Some(Adoption {
                mount_path: mount_path.to_owned(),
                source: AdoptedSource::Registry(runs),
                images: images(model),
            }),
            egress,
            decision,
        }
    });
    let mut ways: Vec<Way> = ways.collect();
    // What is asked for comes last among the contents, and is wanted first.
    ways.reverse();
    if ways.is_empty() {
        let message = "what the model's reference names is not known yet: its status says why";
        let decision = refused(RuleId::ModelSignature, Reason::NotReadYet, message);
        ways.push(Way {
            adoption: None,
            egress: Vec::new(),
            decision,
        });
    }
    ways
}

/// What the tags of the workload's images were resolved to.
fn images(model: &ModelDeployment) -> Pins {
    let status = model.status.as_ref().and_then(|status| status.workload.as_ref());
    let images = status.and_then(|workload| workload.images.as_ref());
    images.into_iter().flatten().cloned().collect()
}

/// Whether anything is put into pods of this model's workload, so that what their images are is worth knowing.
pub fn fits_pods(model: &ModelDeployment, world: &World) -> bool {
    let namespace = model.namespace().unwrap_or_default();
    let comes_by_itself = matches!(accept(&model.spec), Ok(Origin::Registry(_)));
    model.spec.workload_ref.is_some()
        && world.governs(&namespace)
        && (comes_by_itself || !required_keys(world, &namespace).is_empty())
}

/// What a verifier of this model is told to trust.
fn terms(model: &ModelDeployment, keys: &[TrustedKey], world: &World, settings: &PodSettings) -> Terms {
    let namespace = model.namespace().unwrap_or_default();
    let labels = world.namespaces.get(&namespace).cloned().unwrap_or_default();
    let revoked = selecting(&world.rules, &namespace, &labels)
        .filter(|rules| rules.effect_of(RuleId::ModelRevoked) == Effect::Enforce)
        .flat_map(|rules| rules.revoked.keys().copied());
    let mut refuse: Vec<Digest> = revoked.collect();
    refuse.sort_unstable();
    refuse.dedup();
    Terms {
        image: settings.fetch_image.clone(),
        keys: keys.iter().filter_map(argument).collect(),
        digest: pinned(model),
        refuse,
    }
}

/// The key as `probity copy --key` reads it. One that cannot be read was left out when the policy was compiled.
fn argument(key: &TrustedKey) -> Option<String> {
    let argument = KeyArgument::from_pem(&key.name, &key.public_key).ok()?;
    Some(argument.to_string())
}

/// Whether the model governs one of these controllers, the nearest to the pod first. A Deployment's pods go back to it through
/// a `ReplicaSet`, an `InferenceService`'s through both, those of every other kind directly: what claims another way was not made by
/// the workload's own controller. The chain may begin anywhere, for a template is judged without the pod.
pub fn governs(model: &ModelDeployment, owners: &[WorkloadRef]) -> bool {
    let Some(workload) = &model.spec.workload_ref else {
        return false;
    };
    let Some(at) = owners.iter().position(|owner| owner == workload) else {
        return false;
    };
    let through: &[&str] = match workload.kind.as_str() {
        "Deployment" => &["ReplicaSet"],
        "InferenceService" => &["ReplicaSet", "Deployment"],
        _ => &[],
    };
    let way: Vec<&str> = owners[..at].iter().map(|owner| owner.kind.as_str()).collect();
    through.ends_with(&way)
}

/// Which of these models governs one of the controllers: of several, the oldest.
pub fn governing<'a>(
    models: impl IntoIterator<Item = &'a ModelDeployment>,
    owners: &[WorkloadRef],
) -> Option<&'a ModelDeployment> {
    let governing = models.into_iter().filter(|model| governs(model, owners));
    governing.min_by_key(|model| {
        (
            model.metadata.creation_timestamp.clone().map(|time| time.0),
            model.name_any(),
        )
    })
}

/// The pod of the model's workload with what it lacks; none when nothing is to be put into it, or when adding cannot mend it.
pub(super) fn fitted(
    model: &ModelDeployment,
    pod: &PodSpec,
    recorded: Recorded<'_>,
    world: &World,
    settings: &PodSettings,
    now: Timestamp,
) -> Option<PodSpec> {
    let way = ways(model, recorded, world, settings, now)
        .into_iter()
        .find(|way| way.decision.admits())?;
    let mut fitted = fit(pod, &way.adoption?, settings).ok()?;
    if is_to_be_gated(model, world) {
        add_gate(&mut fitted);
    }
    Some(fitted)
}

/// Whether pods of the model's workload must have the gate by which their traffic can be cut. A pod's gates stay as they are
/// made: it is asked for when the pod is, or never.
fn is_to_be_gated(model: &ModelDeployment, world: &World) -> bool {
    may_quarantine(world, &model.namespace().unwrap_or_default())
}

/// The changes by which a pod that was fitted is the model's: its label, and nothing that would bring the model once more.
pub(super) fn claims(model: &ModelDeployment, pod: &Pod, spec: &PodSpec) -> Vec<Value> {
    let mut patch = Vec::new();
    let name = json!(model.name_any());
    let label = format!("/metadata/labels/{}", MODEL_LABEL.replace('/', "~1"));
    if kserve_would_repeat(pod, spec) {
        let annotation = format!("/metadata/annotations/{}", KSERVE_SOURCE.replace('/', "~1"));
        patch.push(json!({"op": "remove", "path": annotation}));
    }
    match &pod.metadata.labels {
        None => patch.push(json!({"op": "add", "path": "/metadata/labels", "value": {MODEL_LABEL: name}})),
        Some(labels) if labels.contains_key(MODEL_LABEL) => {}
        Some(_) => patch.push(json!({"op": "add", "path": label, "value": name})),
    }
    patch
}

/// Judges a pod of this model's workload.
pub(super) fn judge(
    model: &ModelDeployment,
    request: &PodRequest<'_>,
    recorded: Recorded<'_>,
    world: &World,
    settings: &PodSettings,
    now: Timestamp,
) -> Decision {
    if let Some(forged) = forged(model, request) {
        return refused(RuleId::PodManaged, Reason::ForgedOwner, forged);
    }
    let Ok(spec) = PodSpec::deserialize(request.spec) else {
        return refused(RuleId::PodPlan, Reason::PodNotAsPlanned, "spec: cannot be read");
    };
    let mut closest: Option<Decision> = None;
    for way in ways(model, recorded, world, settings, now) {
        let Some(adoption) = way.adoption.filter(|_| way.decision.admits()) else {
            if way.decision.admits() {
                return way.decision;
            }
            closest.get_or_insert(way.decision);
            continue;
        };
        let mut found = unfit(&spec, request.spec, &adoption, settings);
        found.extend(odd(&spec));
        found.extend(adoption.images.moved(&spec));
        // Admission labels what it could fit: only of that is the missing label worth a word.
        if found.is_empty() && request.model().is_none() {
            found.push(format!(
                "metadata.labels[{MODEL_LABEL}]: is missing, admission puts it there"
            ));
        }
        if is_to_be_gated(model, world) && !is_gated(&spec) {
            found.push(format!(
                "spec.readinessGates: {SERVING_GATE} is missing, admission puts it there"
            ));
        }
        if found.is_empty() {
            let unknown = adoption.images.unknown(&spec);
            if !unknown.is_empty() {
                return not_yet(RuleId::PodPlan, Reason::NotYetResolved, &unknown);
            }
            let mut decision = way.decision;
            decision
                .findings
                .push(pass(RuleId::PodPlan, "the pod brings the planned verifier"));
            return decision;
        }
        if awaits_kserve(request.pod, &spec) {
            found.insert(0, format!(
                "metadata.annotations[{KSERVE_SOURCE}]: KServe's webhook did not bring what it names: see that KServe runs and its webhook selects this namespace"
            ));
        }
        let message = bounded(format!("the pod is not as planned: {}", found.join("; ")));
        closest = Some(refused(RuleId::PodPlan, Reason::PodNotAsPlanned, message));
    }
    closest.unwrap_or_else(|| {
        refused(
            RuleId::PodPlan,
            Reason::Internal,
            "there is no way to run this pod",
        )
    })
}

/// Why the pod is not one of the model's workload. Labels and owner references are the author's to choose.
pub(super) fn forged(model: &ModelDeployment, request: &PodRequest<'_>) -> Option<String> {
    let name = model.name_any();
    let workload = model.spec.workload_ref.as_ref()?;
    if let Some(other) = request.model().filter(|other| *other != name) {
        return Some(format!(
            "metadata.labels[{MODEL_LABEL}]: names {other}, and the pod is of {name}"
        ));
    }
    let owner = request.owners.first();
    let made = owner.is_some_and(|owner| maker(&owner.api_version, &owner.kind) == Some(request.requester));
    if !made {
        return Some(format!(
            "metadata.ownerReferences: {} made this pod, and pods of {} {} are made by its own controller",
            request.requester, workload.kind, workload.name
        ));
    }
    if !governs(model, request.owners) {
        return Some(format!(
            "metadata.ownerReferences: the pod does not go back to {} {}, which ModelDeployment {name} governs",
            workload.kind, workload.name
        ));
    }
    let labels = request.pod.labels().keys().filter(|key| *key != MODEL_LABEL);
    let ours = labels
        .chain(request.pod.annotations().keys())
        .find(|key| is_ours(key))?;
    Some(format!("metadata: {ours} belongs to the operator: take it away"))
}

#[cfg(test)]
mod tests;
