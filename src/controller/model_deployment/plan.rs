//! What should be for one model: which digest runs, and every object that makes it so.
//! Pure: the same snapshot, world and time give the same plan.

use jiff::Timestamp;
use kube::ResourceExt as _;

use crate::{
    api::v1alpha1::{ArtifactVerification, ModelDeployment, OciSource, Server, ServingTemplate},
    cluster::is_controlled_by,
    evidence::{Digest, Reference, Verdict},
    policy::{
        Decision, Evidence, Request, ServerFacts, Verification, Verifications, World, as_it_serves, evaluate,
        foregone,
    },
    workload::{PodSettings, RunningModel, Served, Workload, workload},
};

use super::{
    gather::Snapshot,
    serving::{Rollout, rollout},
};

/// The bytes that a model may have when nothing is known of it: more than any has, and yet a limit.
pub(super) const UNMEASURED: u64 = 1 << 40;

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

/// The objects that should be.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Desired {
    /// Verdicts that are needed.
    pub verifications: Vec<ArtifactVerification>,
    /// Verdicts nobody needs any more.
    pub obsolete: Vec<ArtifactVerification>,
    /// What should run; none: what there is stays as it is.
    pub workload: Option<Workload>,
    /// What its pods are built from, besides the content.
    pub template: Option<ServingTemplate>,
}

/// The plan for one look.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// What was asked for.
    pub request: Request,
    /// What is decided about it without knowing it, when nothing could change that.
    pub foregone: Option<Decision>,
    /// What is decided about it, once it is known.
    pub requested: Option<Judgement>,
    /// What is decided about what serves, when that is something else, or runs in a server that policy sees otherwise.
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
    settings: &PodSettings,
    now: Timestamp,
) -> Plan {
    let uid = model.uid().unwrap_or_default();
    let ours = snapshot
        .deployment
        .as_ref()
        .filter(|deployment| is_controlled_by(*deployment, &uid));
    let rollout = rollout(ours, &snapshot.pods);
    let request = Request::of(model);
    let foregone = unlooked(model, &request, world, now);
    let source = model.spec.model.source.oci.as_ref();
    let (Request::Known { .. } | Request::Unresolved { .. }, Some(source)) = (&request, source) else {
        // Nothing to judge and nothing to build from: what runs goes on as it is.
        return Plan {
            request,
            foregone,
            requested: None,
            serving: None,
            rollout,
            desired: Desired::default(),
        };
    };
    let asked = request.content(source);
    let server = model.spec.server.as_ref();
    let as_asked = |runs: &RunningModel| judge(model, snapshot, world, runs, server, now);
    // What serves runs in the server that it began to serve in, whatever is asked for now.
    let as_serving = |runs: &RunningModel| {
        let frozen = as_it_serves(model, runs.digest).and_then(|frozen| frozen.spec.server);
        judge(model, snapshot, world, runs, frozen.as_ref().or(server), now)
    };
    let is_asked = |runs: &RunningModel| asked.as_ref().is_some_and(|asked| asked.digest == runs.digest);
    let judge = |runs: &RunningModel| {
        if is_asked(runs) {
            as_asked(runs)
        } else {
            as_serving(runs)
        }
    };
    let passes = |runs: &RunningModel| judge(runs).0.decision.verdict == Verdict::Pass;

    let (requested, requested_wanted) = asked.as_ref().map(judge).unzip();
    let good = last_good(model, &rollout, source, ours.is_some(), asked.as_ref(), passes);
    let (serving, serving_wanted) = good
        .as_ref()
        .filter(|good| !is_asked(good) || serves_otherwise(model, good.digest))
        .map(as_serving)
        .unzip();

    let verdict = requested
        .as_ref()
        .map_or(Verdict::Wait, |judged: &Judgement| judged.decision.verdict);
    let replicas = model.spec.server.as_ref().and_then(|server| server.replicas);
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
    // While what serves is not admitted as it is asked for, it goes on as it is: a changed server would be a new rollout of it.
    let admitted = |runs: &RunningModel| {
        let mut judged = requested.iter().chain(&serving);
        judged
            .find(|judged| judged.subject == runs.digest)
            .is_some_and(|judged| judged.decision.admits())
    };
    let (workload, template) = runs
        .and_then(|runs| {
            let frozen = as_it_serves(model, runs.digest).filter(|_| !admitted(&runs));
            let model = frozen.as_ref().unwrap_or(model);
            let served = Served::of(model)?;
            let template = template(&served, &runs);
            Some((workload(model, &served, &runs, settings, replicas), template))
        })
        .unzip();
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
        template,
    };
    Plan {
        request,
        foregone,
        requested,
        serving,
        rollout,
        desired,
    }
}

/// Why a reference is not looked up: policy refuses it whatever it names.
fn unlooked(model: &ModelDeployment, request: &Request, world: &World, now: Timestamp) -> Option<Decision> {
    let namespace = model.namespace().unwrap_or_default();
    match request {
        Request::Unresolved { reference, .. } => foregone(
            world,
            &namespace,
            &reference.clone().into(),
            None,
            Some(&model.spec),
            now,
        ),
        Request::Refused(_) | Request::Known { .. } => None,
    }
}

/// Whether the server in which this content began to serve looks another to policy than the one that is asked for.
fn serves_otherwise(model: &ModelDeployment, digest: Digest) -> bool {
    let seen = |model: &ModelDeployment| model.spec.server.as_ref().map(ServerFacts::of);
    as_it_serves(model, digest).is_some_and(|frozen| seen(&frozen) != seen(model))
}

/// What is decided about this content in this server, and the verifications that it rests on.
fn judge(
    model: &ModelDeployment,
    snapshot: &Snapshot,
    world: &World,
    runs: &RunningModel,
    server: Option<&Server>,
    now: Timestamp,
) -> (Judgement, Vec<ArtifactVerification>) {
    let wanted = Verifications::of(model, world, runs);
    let there = &snapshot.verifications;
    let facts = wanted.facts(model, world, runs, server, there);
    let judgement = Judgement {
        subject: runs.digest,
        decision: evaluate(&facts, world, now),
        evidence: wanted.evidence(there, runs),
        verification: wanted.shown().map(kube::ResourceExt::name_any),
        required: wanted.required.is_some(),
    };
    (judgement, wanted.into_all())
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

fn template(served: &Served<'_>, runs: &RunningModel) -> ServingTemplate {
    ServingTemplate {
        server: Server {
            replicas: None,
            ..served.server.clone()
        },
        mount_path: served.mount_path.map(ToOwned::to_owned),
        pull_secret: runs.pull_secret.clone(),
    }
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
        (_, Some(running)) => running.size,
        (_, None) => UNMEASURED,
    }
}

#[cfg(test)]
mod tests;
