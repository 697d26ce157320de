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
            ArtifactSource, ArtifactVerification, ArtifactVerificationSpec, ModelDeployment, OciSource,
            PinnedOciSource, TrustedKey,
        },
    },
    cluster::is_controlled_by,
    evidence::{Digest, Failure, Reason, Reference, Verdict},
    policy::{
        Decision, Evidence, Facts, Problem, Verification, World, accept, accept::accept_name, evaluate,
        observed_keys, required_keys,
    },
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

/// The bytes that a model may have when nothing is known of it: more than any has, and yet a limit.
pub(super) const UNMEASURED: u64 = 1 << 40;

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
    /// Whether an enforced policy asks for it, so that nothing is admitted without it.
    pub required: bool,
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

impl Plan {
    /// When the clock alone may change what was decided.
    pub fn until(&self) -> Option<Timestamp> {
        let judged = self.requested.iter().chain(&self.serving);
        judged.filter_map(|judged| judged.decision.until).min()
    }
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
    let ours = snapshot
        .deployment
        .as_ref()
        .filter(|deployment| is_controlled_by(*deployment, &uid));
    let rollout = rollout(ours, &snapshot.pods);
    let request = request(model);
    let source = model.spec.model.source.oci.as_ref();
    let (Request::Known { .. } | Request::Unresolved { .. }, Some(source)) = (&request, source) else {
        // Nothing to judge and nothing to build from: what runs goes on as it is.
        return Plan {
            request,
            requested: None,
            serving: None,
            rollout,
            desired: Desired::default(),
        };
    };
    let judge = |runs: &RunningModel| judge(model, snapshot, world, runs, now);
    let passes = |runs: &RunningModel| judge(runs).0.decision.verdict == Verdict::Pass;

    let asked = asked(&request, source);
    let (requested, requested_wanted) = asked.as_ref().map(judge).unzip();
    let good = last_good(model, &rollout, source, ours.is_some(), asked.as_ref(), passes);
    let (serving, serving_wanted) = good
        .as_ref()
        .filter(|good| Some(good.digest) != asked.as_ref().map(|asked| asked.digest))
        .map(judge)
        .unzip();

    let verdict = requested
        .as_ref()
        .map_or(Verdict::Wait, |judged: &Judgement| judged.decision.verdict);
    let replicas = model.spec.server.replicas;
    let (runs, replicas) = match verdict {
        Verdict::Pass => {
            let size = requested.as_ref().map_or(0, |judged| size(judged, &rollout));
            (asked.map(|asked| RunningModel { size, ..asked }), replicas)
        }
        // What was good once goes on: a refusal is about what was asked for.
        Verdict::Fail if good.is_some() => (good, replicas),
        // Never shown to be good and refused now: what is there of it stops.
        Verdict::Fail => (rollout.template.clone(), Some(0)),
        Verdict::Wait | Verdict::Unknown => {
            let runs = standing(
                &rollout,
                good,
                requested.as_ref().map(|judged| judged.subject),
                passes,
            );
            // Not knowing is no reason to change what runs, and none to start what was stopped.
            let stopped = rollout.template.is_some() && rollout.wanted == 0;
            (runs, if stopped { Some(0) } else { replicas })
        }
    };
    let workload = runs.map(|runs| workload(model, &runs, settings, replicas));
    let mut wanted: Vec<ArtifactVerification> = Vec::new();
    for verification in requested_wanted.into_iter().chain(serving_wanted).flatten() {
        if wanted
            .iter()
            .all(|known| known.name_any() != verification.name_any())
        {
            wanted.push(verification);
        }
    }
    // One with the right name and other content is nobody's answer, and in the way of the one that is needed.
    let obsolete = snapshot
        .verifications
        .iter()
        .filter(|there| {
            wanted
                .iter()
                .all(|wanted| wanted.name_any() != there.name_any() || wanted.spec != there.spec)
        })
        .cloned()
        .collect();
    let desired = Desired {
        verifications: wanted,
        obsolete,
        workload,
    };
    Plan {
        request,
        requested,
        serving,
        rollout,
        desired,
    }
}

/// What is decided about this content, and the verifications that it rests on: one under the keys that enforced policies
/// name, and one under the others', where those are not among them. So a policy that only warns holds up nothing.
fn judge(
    model: &ModelDeployment,
    snapshot: &Snapshot,
    world: &World,
    runs: &RunningModel,
    now: Timestamp,
) -> (Judgement, Vec<ArtifactVerification>) {
    let namespace = model.namespace().unwrap_or_default();
    let required = verification(model, runs, required_keys(world, &namespace));
    let observed = observed_keys(world, &namespace).and_then(|keys| verification(model, runs, keys));
    let found = |wanted| evidence(wanted, &snapshot.verifications, runs.digest);
    let facts = Facts {
        observed: observed.as_ref().map(|wanted| found(Some(wanted))),
        ..Facts::about(
            world,
            &namespace,
            runs.reference.clone(),
            Some(runs.digest),
            found(required.as_ref()),
        )
    };
    // Where no enforced policy asks, what the others found is all there is to show.
    let shown = required.as_ref().or(observed.as_ref());
    let judgement = Judgement {
        subject: runs.digest,
        decision: evaluate(&facts, world, now),
        evidence: found(shown),
        verification: shown.map(kube::ResourceExt::name_any),
        required: required.is_some(),
    };
    (judgement, required.into_iter().chain(observed).collect())
}

/// The content that was asked for, once it is known; its size is known when it is verified.
fn asked(request: &Request, source: &OciSource) -> Option<RunningModel> {
    let Request::Known { reference, digest } = request else {
        return None;
    };
    let (reference, pull_secret) = (reference.pinned(*digest), source.pull_secret.clone());
    Some(RunningModel {
        reference,
        digest: *digest,
        size: 0,
        pull_secret,
    })
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
        None => Request::Unresolved {
            reference,
            failure: None,
        },
    }
}

/// The last model whose rollout completed: what goes on serving when something else is refused.
///
/// The status remembers it. What completed meanwhile counts instead only if it would be admitted by itself: else somebody
/// other than this operator put it there. Without a status to remember, what completed is all there is to go by.
fn last_good(
    model: &ModelDeployment,
    rollout: &Rollout,
    source: &OciSource,
    deployed: bool,
    asked: Option<&RunningModel>,
    passes: impl Fn(&RunningModel) -> bool,
) -> Option<RunningModel> {
    let completed = rollout.template.as_ref().filter(|_| rollout.complete);
    let Some(good) = remembered(model, rollout, source) else {
        return completed.cloned();
    };
    if !deployed {
        // Starting it again is an admission like any other.
        return Some(good).filter(passes);
    }
    let replaced = completed.filter(|done| {
        done.digest != good.digest && Some(done.digest) != asked.map(|asked| asked.digest) && passes(done)
    });
    Some(replaced.cloned().unwrap_or(good))
}

fn remembered(model: &ModelDeployment, rollout: &Rollout, source: &OciSource) -> Option<RunningModel> {
    let serving = model.status.as_ref()?.serving.as_ref()?;
    if let Some(template) = rollout
        .template
        .as_ref()
        .filter(|template| template.digest == serving.digest)
    {
        return Some(template.clone());
    }
    let reference: Reference = serving.reference.parse().ok()?;
    Some(RunningModel {
        reference: reference.pinned(serving.digest),
        digest: serving.digest,
        size: u64::try_from(serving.size)
            .ok()
            .filter(|size| *size > 0)
            .unwrap_or(UNMEASURED),
        pull_secret: source.pull_secret.clone(),
    })
}

/// What runs while nothing new is known: the template there is, unless it is none that this operator would have made.
fn standing(
    rollout: &Rollout,
    good: Option<RunningModel>,
    asked: Option<Digest>,
    passes: impl Fn(&RunningModel) -> bool,
) -> Option<RunningModel> {
    let Some(good) = good else {
        return rollout.template.clone();
    };
    let template = rollout.template.as_ref();
    let known = template.filter(|template| {
        template.digest == good.digest || Some(template.digest) == asked || passes(template)
    });
    Some(known.cloned().unwrap_or(good))
}

/// The verification that would show this content under these keys. None when there are none.
fn verification(
    model: &ModelDeployment,
    runs: &RunningModel,
    keys: Vec<TrustedKey>,
) -> Option<ArtifactVerification> {
    if keys.is_empty() {
        return None;
    }
    let source = PinnedOciSource {
        repository: runs.reference.name(),
        digest: runs.digest,
        pull_secret: runs.pull_secret.clone(),
    };
    let spec = ArtifactVerificationSpec {
        source: ArtifactSource { oci: Some(source) },
        keys,
    };
    let name = verification_name(&model.name_any(), &spec);
    Some(ArtifactVerification {
        metadata: ObjectMeta {
            name: Some(name),
            ..child_meta(model)
        },
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
    let found = there
        .iter()
        .find(|there| there.name_any() == wanted.name_any() && there.spec == wanted.spec);
    found.map_or_else(
        || Evidence::Wait("the artifact is about to be verified".into()),
        |found| Verification::recorded(digest, &found.spec, found.status.as_ref()),
    )
}

/// The bytes that a volume is made for. What is admitted though nothing was found about it yet, because nothing is enforced,
/// gets as many as any model may have, and keeps them: to find out later is no reason to start its pods anew.
fn size(judged: &Judgement, rollout: &Rollout) -> u64 {
    let running = rollout
        .template
        .as_ref()
        .filter(|template| template.digest == judged.subject);
    match (&judged.evidence, running) {
        (_, Some(running)) if !judged.required && running.size == UNMEASURED => UNMEASURED,
        (Evidence::Known(found), _) => found.size,
        (Evidence::Wait(_) | Evidence::Unknown(_), Some(running)) => running.size,
        (Evidence::Wait(_) | Evidence::Unknown(_), None) => UNMEASURED,
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
        labels: Some(
            labels
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
        ),
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

#[cfg(test)]
mod tests;
