//! What should be for one model: which digest runs, and every object that makes it so.
//! Pure: the same snapshot, world and time give the same plan.

use jiff::Timestamp;
use kube::ResourceExt as _;

use crate::{
    api::v1alpha1::{
        ArtifactVerification, ModelDeployment, ModelDeploymentSpec, OciSource, Server, ServingModel,
        ServingTemplate,
    },
    cluster::is_controlled_by,
    evidence::{Digest, Reference, Verdict},
    policy::{
        Decision, Declared, Evidence, Request, Verification, Verifications, World, as_it_serves, evaluate,
        foregone,
    },
    workload::{PodSettings, RunningModel, Served, Workload, cut_off, workload},
};

use super::{
    super::{
        gates::{Gate, gates},
        held::Held,
    },
    gates::open,
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
    /// Readiness gates that do not stand as they should.
    pub gates: Vec<Gate>,
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
    /// What is decided about what serves, when that is something else, or began to serve as policy sees it otherwise.
    pub serving: Option<Judgement>,
    /// What serves, whatever was asked for; none when nothing does.
    pub held: Option<Held>,
    /// Whether what serves takes no traffic, and nothing that is admitted takes its place.
    pub cut: bool,
    /// How far the Deployment was when it was looked at.
    pub rollout: Rollout,
    /// The objects that should be.
    pub desired: Desired,
}

impl Plan {
    /// When the clock alone may change what was decided.
    pub fn until(&self) -> Option<Timestamp> {
        let judged = self.requested.iter().chain(&self.serving);
        let held = self.held.iter();
        let stops = held.clone().filter_map(|held| held.response.stops);
        let ends = held.filter_map(|held| held.decision.until);
        let judged = judged.filter_map(|judged| judged.decision.until);
        judged.chain(stops).chain(ends).min()
    }
}

/// What one look at a model rests on.
struct Look<'a> {
    model: &'a ModelDeployment,
    snapshot: &'a Snapshot,
    world: &'a World,
    now: Timestamp,
    /// What is asked for, once it is known.
    asked: Option<RunningModel>,
}

impl Look<'_> {
    /// What is decided about this content as it is asked for, and the verifications that it rests on.
    fn as_asked(&self, runs: &RunningModel) -> (Judgement, Vec<ArtifactVerification>) {
        self.judge_as(runs, &self.model.spec)
    }

    /// The same of what serves: it runs in the server that it began to serve in, and reaches whom it did then, whatever is asked
    /// for now.
    fn as_serving(&self, runs: &RunningModel) -> (Judgement, Vec<ArtifactVerification>) {
        let frozen = as_it_serves(self.model, runs.digest);
        self.judge_as(runs, &frozen.as_ref().unwrap_or(self.model).spec)
    }

    fn judge_as(
        &self,
        runs: &RunningModel,
        spec: &ModelDeploymentSpec,
    ) -> (Judgement, Vec<ArtifactVerification>) {
        let declared = Declared::by(spec);
        judge(self.model, self.snapshot, self.world, runs, declared, self.now)
    }

    fn is_asked(&self, runs: &RunningModel) -> bool {
        self.asked
            .as_ref()
            .is_some_and(|asked| asked.digest == runs.digest)
    }

    fn judge(&self, runs: &RunningModel) -> (Judgement, Vec<ArtifactVerification>) {
        if self.is_asked(runs) {
            self.as_asked(runs)
        } else {
            self.as_serving(runs)
        }
    }

    fn passes(&self, runs: &RunningModel) -> bool {
        self.judge(runs).0.decision.verdict == Verdict::Pass
    }

    /// What serves, and what is done about what is decided about it.
    fn hold(&self, runs: &RunningModel, decision: Decision) -> Held {
        Held::of(self.model, runs.digest, decision, self.world, self.now)
    }

    fn gates(&self, held: Option<&Held>, cut: bool) -> Vec<Gate> {
        let decide = |runs: &RunningModel| self.judge(runs).0.decision;
        let open = open(held.map(|held| held.digest), cut, decide);
        gates(&self.snapshot.pods, open, self.now)
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
    let source = model.spec.model.source.oci.as_ref();
    let look = Look {
        model,
        snapshot,
        world,
        now,
        asked: source.and_then(|source| request.content(source)),
    };
    let plan = Plan {
        foregone: unlooked(model, &request, world, now),
        request,
        requested: None,
        serving: None,
        held: None,
        cut: false,
        rollout,
        desired: Desired::default(),
    };
    let good = |asked: Option<&RunningModel>| {
        let passes = |runs: &RunningModel| look.passes(runs);
        source.and_then(|source| last_good(model, &plan.rollout, source, ours.is_some(), asked, passes))
    };
    if source.is_none() || matches!(plan.request, Request::Refused(_)) {
        let good = good(None);
        return unasked(&look, good, plan, settings);
    }
    let good = good(look.asked.as_ref());
    asked(&look, good, plan, settings)
}

/// Nothing to judge and nothing to build from: what runs goes on as it is. What policy does about that does not wait for a
/// specification that makes sense.
fn unasked(look: &Look<'_>, good: Option<RunningModel>, plan: Plan, settings: &PodSettings) -> Plan {
    let held = good
        .as_ref()
        .map(|runs| look.hold(runs, look.as_serving(runs).0.decision));
    let cut = held.as_ref().is_some_and(|held| held.response.cuts());
    let workload = good.zip(held.as_ref().filter(|_| cut)).and_then(|(runs, held)| {
        let replicas = if held.stops() { 0 } else { plan.rollout.wanted };
        let model = as_it_serves(look.model, runs.digest)?;
        let served = Served::of(&model)?;
        Some(cut_off(workload(
            &model,
            &served,
            &runs,
            settings,
            Some(replicas),
        )))
    });
    Plan {
        desired: Desired {
            gates: look.gates(held.as_ref(), cut),
            workload,
            ..Desired::default()
        },
        held,
        cut,
        ..plan
    }
}

/// What is asked for can be carried out, as far as policy lets it.
fn asked(look: &Look<'_>, good: Option<RunningModel>, plan: Plan, settings: &PodSettings) -> Plan {
    let Look { model, asked, .. } = look;
    let (requested, requested_wanted) = asked.as_ref().map(|asked| look.judge(asked)).unzip();
    let (serving, serving_wanted) = good
        .as_ref()
        .filter(|good| !look.is_asked(good) || serves_otherwise(model, good.digest))
        .map(|good| look.as_serving(good))
        .unzip();
    let held = good.as_ref().and_then(|good| {
        // Of what it is asked for in another server, what serves is judged in its own.
        let mut judged = serving.iter().chain(&requested);
        let judged = judged.find(|judged| judged.subject == good.digest)?;
        Some(look.hold(good, judged.decision.clone()))
    });
    let (runs, replicas) = chosen(look, good, requested.as_ref(), &plan.rollout);
    let passed = requested
        .as_ref()
        .is_some_and(|judged| judged.decision.verdict == Verdict::Pass);
    // What is asked for and admitted takes its place: that may be the same content in another server.
    let same = asked.as_ref().map(|asked| asked.digest) == held.as_ref().map(|held| held.digest);
    let cut = held.as_ref().filter(|held| held.response.cuts());
    let cut_off_now = cut.is_some() && !(same && passed);
    let cut = cut.filter(|held| !passed && runs.as_ref().is_some_and(|runs| runs.digest == held.digest));
    let replicas = if cut.is_some_and(Held::stops) {
        Some(0)
    } else {
        replicas
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
            let workload = workload(model, &served, &runs, settings, replicas);
            let workload = if cut.is_some() {
                cut_off(workload)
            } else {
                workload
            };
            Some((workload, template))
        })
        .unzip();
    let (verifications, obsolete) =
        verdicts(look.snapshot, requested_wanted.into_iter().chain(serving_wanted));
    let cut = cut.is_some();
    let desired = Desired {
        verifications,
        obsolete,
        workload,
        template,
        gates: look.gates(held.as_ref(), cut_off_now),
    };
    Plan {
        requested,
        serving,
        held,
        cut,
        desired,
        ..plan
    }
}

/// What should run, and how many: by what is decided about what is asked for.
fn chosen(
    look: &Look<'_>,
    good: Option<RunningModel>,
    requested: Option<&Judgement>,
    rollout: &Rollout,
) -> (Option<RunningModel>, Option<i32>) {
    let server = look.model.spec.server.as_ref();
    let replicas = server.and_then(|server| server.replicas);
    match requested.map_or(Verdict::Wait, |judged| judged.decision.verdict) {
        Verdict::Pass => {
            let size = requested.map_or(0, |judged| size(judged, rollout));
            let asked = look.asked.clone();
            (asked.map(|asked| RunningModel { size, ..asked }), replicas)
        }
        // What was good once goes on: a refusal is about what was asked for.
        Verdict::Fail if good.is_some() => (good, replicas),
        // Never shown to be good and refused now: what is there of it stops.
        Verdict::Fail => (rollout.template.clone(), Some(0)),
        Verdict::Wait | Verdict::Unknown => {
            let subject = requested.map(|judged| judged.subject);
            let runs = standing(rollout, good, subject, |runs| look.passes(runs));
            // Not knowing is no reason to change what runs, and none to start what was stopped.
            let stopped = rollout.template.is_some() && rollout.wanted == 0;
            (runs, if stopped { Some(0) } else { replicas })
        }
    }
}

/// The verdicts that are needed, each once, and those that nobody needs any more.
fn verdicts(
    snapshot: &Snapshot,
    needed: impl Iterator<Item = Vec<ArtifactVerification>>,
) -> (Vec<ArtifactVerification>, Vec<ArtifactVerification>) {
    let mut wanted: Vec<ArtifactVerification> = Vec::new();
    for verification in needed.flatten() {
        if wanted
            .iter()
            .all(|known| known.name_any() != verification.name_any())
        {
            wanted.push(verification);
        }
    }
    // One with the right name and other content is nobody's answer, and in the way of the one that is needed.
    let obsolete = snapshot.verifications.iter().filter(|there| {
        wanted
            .iter()
            .all(|wanted| wanted.name_any() != there.name_any() || wanted.spec != there.spec)
    });
    let obsolete = obsolete.cloned().collect();
    (wanted, obsolete)
}

/// Why a reference is not looked up: policy refuses it whatever it names.
fn unlooked(model: &ModelDeployment, request: &Request, world: &World, now: Timestamp) -> Option<Decision> {
    let (namespace, name) = (model.namespace().unwrap_or_default(), model.name_any());
    match request {
        Request::Unresolved { reference, .. } => foregone(
            world,
            &namespace,
            &name,
            &reference.clone().into(),
            None,
            Some(&model.spec),
            now,
        ),
        Request::Refused(_) | Request::Known { .. } => None,
    }
}

/// Whether policy sees this content, as it began to serve, otherwise than as it is asked for.
fn serves_otherwise(model: &ModelDeployment, digest: Digest) -> bool {
    let asked = Declared::by(&model.spec);
    as_it_serves(model, digest).is_some_and(|frozen| Declared::by(&frozen.spec) != asked)
}

/// What is decided about this content with what is declared of it, and the verifications that it rests on.
fn judge(
    model: &ModelDeployment,
    snapshot: &Snapshot,
    world: &World,
    runs: &RunningModel,
    declared: Declared,
    now: Timestamp,
) -> (Judgement, Vec<ArtifactVerification>) {
    let wanted = Verifications::of(model, world, runs);
    let there = &snapshot.verifications;
    let facts = wanted.facts(model, world, runs, declared, there);
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

/// What the status says serves.
fn remembers(model: &ModelDeployment) -> Option<&ServingModel> {
    model.status.as_ref()?.serving.as_ref()
}

fn remembered(model: &ModelDeployment, rollout: &Rollout, source: &OciSource) -> Option<RunningModel> {
    let serving = remembers(model)?;
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
