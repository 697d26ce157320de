//! What should be for one model: which digest runs, and every object that makes it so.
//! Pure: the same snapshot, world and time give the same plan.

use aws_lc_rs::digest::{SHA256, digest as sha256};
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{Service, ServiceAccount},
    },
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{Resource as _, ResourceExt as _, core::ObjectMeta};

use crate::{
    api::{
        MODEL_LABEL,
        v1alpha1::{
            ArtifactSource, ArtifactVerification, ArtifactVerificationSpec, ModelDeployment, OciSource, PinnedOciSource,
        },
    },
    cluster::is_controlled_by,
    evidence::{Digest, Failure, Reason, Reference, Verdict},
    policy::{Decision, Evidence, Facts, Problem, Verification, World, accept, accept::accept_name, evaluate, required_keys},
};

use super::{
    super::{Settings, source::source_hash},
    gather::Snapshot,
    serving::{Rollout, RunningModel, rollout},
    workload::workload,
};

/// The init container that fetches the model. The name means nothing to anybody but this operator's own templates.
pub(super) const FETCH_CONTAINER: &str = "probity-fetch";
/// The volume with the pull secret, mounted into the fetch container only.
pub(super) const CREDENTIALS_VOLUME: &str = "probity-credentials";

/// What was asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// The specification cannot be carried out.
    Refused(Problem),
    /// The reference is not resolved yet, or could not be.
    Unresolved {
        /// What was asked for.
        reference: Reference,
        /// Why the last look failed; none while it is looked at for the first time.
        failure: Option<Failure>,
    },
    /// This content.
    Known {
        /// What was asked for.
        reference: Reference,
        /// What it names.
        digest: Digest,
    },
}

/// What is decided about one digest, and what it rests on.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// The content it is about.
    pub subject: Digest,
    /// The decision.
    pub decision: Decision,
    /// What was found about the artifact.
    pub evidence: Evidence<Verification>,
    /// The verification that found it; none when no policy names a key.
    pub verification: Option<String>,
}

/// Everything that makes a model serve.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// Its identity.
    pub service_account: ServiceAccount,
    /// How it is reached.
    pub service: Service,
    /// What runs.
    pub deployment: Deployment,
}

/// The objects that should be.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Desired {
    /// Verdicts that are needed.
    pub verifications: Vec<ArtifactVerification>,
    /// Verdicts nobody needs any more.
    pub obsolete: Vec<ArtifactVerification>,
    /// What should run; none: what there is stays as it is.
    pub workload: Option<Workload>,
}

/// The plan for one look.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// What was asked for.
    pub request: Request,
    /// What is decided about it, once it is known.
    pub requested: Option<Judgement>,
    /// What is decided about what serves, when that is something else.
    pub serving: Option<Judgement>,
    /// How far the Deployment was when it was looked at.
    pub rollout: Rollout,
    /// The objects that should be.
    pub desired: Desired,
}

/// Plans one look at a model.
pub fn plan(
    model: &ModelDeployment,
    snapshot: &Snapshot,
    world: &World,
    settings: &Settings,
    now: Timestamp,
) -> Plan {
    let uid = model.uid().unwrap_or_default();
    let ours = snapshot.deployment.as_ref().filter(|deployment| is_controlled_by(*deployment, &uid));
    let rollout = rollout(ours, &snapshot.pods);
    let request = request(model);
    let source = model.spec.model.source.oci.as_ref();
    let (Request::Known { reference, digest }, Some(source)) = (&request, source) else {
        // Nothing to judge: what runs goes on as it is.
        return Plan { request, requested: None, serving: None, rollout, desired: Desired::default() };
    };

    let mut wanted = Vec::new();
    let mut judge = |reference: &Reference, digest: Digest, pull_secret: Option<&String>| {
        let verification = verification(model, world, reference, digest, pull_secret);
        let evidence = evidence(verification.as_ref(), &snapshot.verifications, digest);
        let facts = Facts::about(world, &model.namespace().unwrap_or_default(), reference.clone(), Some(digest), evidence.clone());
        let name = verification.as_ref().map(kube::ResourceExt::name_any);
        wanted.extend(verification);
        Judgement { subject: digest, decision: evaluate(&facts, world, now), evidence, verification: name }
    };
    let requested = judge(&reference.pinned(*digest), *digest, source.pull_secret.as_ref());
    let last_good = last_good(model, &rollout, source);
    let serving = last_good
        .as_ref()
        .filter(|good| good.digest != *digest)
        .map(|good| judge(&good.reference, good.digest, good.pull_secret.as_ref()));

    let runs = match requested.decision.verdict {
        Verdict::Pass => Some(RunningModel {
            reference: reference.pinned(*digest),
            digest: *digest,
            size: size(&requested.evidence),
            pull_secret: source.pull_secret.clone(),
        }),
        // What was good once goes on: a refusal is about what was asked for.
        Verdict::Fail => last_good,
        // Not knowing is no reason to change what runs, and none to start anything.
        Verdict::Wait | Verdict::Unknown => rollout.template.clone(),
    };
    let workload = match runs {
        Some(runs) => Some(workload(model, &runs, settings, model.spec.server.replicas)),
        // Never shown to be good and refused now: what is there of it stops.
        None => rollout.template.clone().map(|refused| workload(model, &refused, settings, Some(0))),
    };
    wanted.dedup_by_key(|verification| verification.name_any());
    let obsolete = snapshot
        .verifications
        .iter()
        .filter(|there| wanted.iter().all(|wanted| wanted.name_any() != there.name_any()))
        .cloned()
        .collect();
    let desired = Desired { verifications: wanted, obsolete, workload };
    Plan { requested: Some(requested), serving, rollout, desired, request }
}

fn request(model: &ModelDeployment) -> Request {
    let reference = match accept_name(&model.name_any()).and_then(|()| accept(&model.spec)) {
        Ok(reference) => reference,
        Err(problem) => return Request::Refused(problem),
    };
    if let Some(digest) = reference.digest() {
        return Request::Known { reference, digest };
    }
    let resolved = model
        .status
        .as_ref()
        .and_then(|status| status.resolved.as_ref())
        .filter(|resolved| model.spec.model.source.oci.as_ref().map(source_hash) == Some(resolved.source));
    match resolved {
        Some(resolved) => match (resolved.digest, resolved.reason) {
            (Some(digest), _) => Request::Known { reference, digest },
            (None, reason) => Request::Unresolved {
                reference,
                failure: reason
                    .map(|reason| Failure::new(reason, resolved.message.clone().unwrap_or_default())),
            },
        },
        None => Request::Unresolved { reference, failure: None },
    }
}

/// The last model whose rollout completed: what goes on serving when something else is refused.
fn last_good(model: &ModelDeployment, rollout: &Rollout, source: &OciSource) -> Option<RunningModel> {
    if rollout.complete {
        return rollout.template.clone();
    }
    let serving = model.status.as_ref()?.serving.as_ref()?;
    // Without a Deployment of ours nothing serves, whatever the status remembers.
    let template = rollout.template.as_ref()?;
    if template.digest == serving.digest {
        return Some(template.clone());
    }
    let reference: Reference = serving.reference.parse().ok()?;
    Some(RunningModel {
        reference: reference.pinned(serving.digest),
        digest: serving.digest,
        size: u64::try_from(serving.size).ok()?,
        pull_secret: source.pull_secret.clone(),
    })
}

/// The verification that would show this content, under the keys that the namespace's policies name. None when they name none.
fn verification(
    model: &ModelDeployment,
    world: &World,
    reference: &Reference,
    digest: Digest,
    pull_secret: Option<&String>,
) -> Option<ArtifactVerification> {
    let keys = required_keys(world, &model.namespace().unwrap_or_default());
    if keys.is_empty() {
        return None;
    }
    let source = PinnedOciSource { repository: reference.name(), digest, pull_secret: pull_secret.cloned() };
    let spec = ArtifactVerificationSpec { source: ArtifactSource { oci: Some(source) }, keys };
    let name = verification_name(&model.name_any(), &spec);
    Some(ArtifactVerification {
        metadata: ObjectMeta { name: Some(name), ..child_meta(model) },
        spec,
        status: None,
    })
}

/// The name of the verification with this specification: the model's name and a hash of everything the verdict rests on.
pub fn verification_name(model: &str, spec: &ArtifactVerificationSpec) -> String {
    let text = serde_json::to_string(spec).unwrap_or_default();
    let hash = hex::encode(&sha256(&SHA256, text.as_bytes()).as_ref()[..5]);
    format!("{model}-{hash}")
}

/// What the verification's status says, if it is exactly the planned one.
fn evidence(
    wanted: Option<&ArtifactVerification>,
    there: &[ArtifactVerification],
    digest: Digest,
) -> Evidence<Verification> {
    let Some(wanted) = wanted else {
        let message = "no policy names a key that can be used, so nothing can be verified";
        return Evidence::Unknown(Failure::new(Reason::TrustRootMissing, message));
    };
    let found = there.iter().find(|there| there.name_any() == wanted.name_any() && there.spec == wanted.spec);
    found.map_or_else(
        || Evidence::Wait("the artifact is about to be verified".into()),
        |found| Verification::recorded(digest, &found.spec, found.status.as_ref()),
    )
}

fn size(evidence: &Evidence<Verification>) -> u64 {
    match evidence {
        Evidence::Known(found) => found.size,
        Evidence::Wait(_) | Evidence::Unknown(_) => 0,
    }
}

/// Name, namespace, labels and owner of what is made for a model.
pub(super) fn child_meta(model: &ModelDeployment) -> ObjectMeta {
    let name = model.name_any();
    let labels = [
        ("app.kubernetes.io/name", name.as_str()),
        ("app.kubernetes.io/managed-by", "probity"),
        (MODEL_LABEL, name.as_str()),
    ];
    ObjectMeta {
        name: Some(name.clone()),
        namespace: model.namespace(),
        labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
        // Not `blockOwnerDeletion`: clusters that enforce it would want rights over finalizers, which we do not need.
        owner_references: Some(vec![OwnerReference {
            api_version: ModelDeployment::api_version(&()).into_owned(),
            kind: ModelDeployment::kind(&()).into_owned(),
            name,
            uid: model.uid().unwrap_or_default(),
            controller: Some(true),
            block_owner_deletion: None,
        }]),
        ..ObjectMeta::default()
    }
}
