//! A workload that somebody else made and a model governs: find its pods, see how each stands, pin the content, say so, and
//! replace, cut off or stop what is not proven where policy wants it. Nothing of the workload itself is ever written.

mod cut;
mod gather;
pub(super) mod images;
mod refusal;
mod status;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt as _, core::ObjectMeta};
use serde_json::Value;

use super::{
    Context, Error, Note,
    excess::rights,
    gates::{gates, set_gates},
    isolation::isolate,
};
use crate::{
    api::{
        FIELD_MANAGER, RESOLVER_FIELD_MANAGER,
        v1alpha1::{
            ArtifactVerification, ModelDeployment, ModelDeploymentStatus, ResolvedSource, UnprovenPods,
            WorkloadRef, WorkloadStatus,
        },
    },
    cluster::{Evicted, evict, patch_status},
    evidence::Origin,
    policy::{
        World, accept,
        accept::accept_name,
        folder_hash, is_enforced, pinned,
        pods::{PodStanding, Recorded, Stand, Standing, Way, next_to_evict, pin, ways},
        selecting, waived_until,
    },
    workload::Plans,
};
use cut::{Cut, meanwhile};
use gather::gather;
use refusal::refusal;
use status::{Seen, status, to_stop};

/// How soon a workload is looked at again while not all of it is proven: pods that were never fitted have no label by which
/// they could be watched.
const UNSETTLED: Duration = Duration::from_secs(15);
/// How soon otherwise.
const SETTLED: Duration = Duration::from_secs(60);

/// One look at the workload of a model; when the next one is due. `verifications` are those the model owns.
pub(super) async fn reconcile(
    context: &Context,
    model: &ModelDeployment,
    workload: &WorkloadRef,
    verifications: &[ArtifactVerification],
    world: &World,
    now: Timestamp,
) -> Result<Timestamp, Error> {
    let namespace = model.namespace().unwrap_or_default();
    let found = gather(context, model, workload).await?;
    let recorded = Recorded {
        model: Some(model),
        verifications,
    };
    let settings = context.settings.pods();
    let ways = ways(model, recorded, world, &settings, now);
    let origin = accept_name(&model.name_any()).and_then(|()| accept(&model.spec));
    let pods = match (&origin, &found.taken_by) {
        (Ok(origin), None) => {
            let standing = Standing {
                model,
                origin,
                world,
                settings: &settings,
                now,
                ways: &ways,
                recorded,
            };
            standing.of(&found.pods)
        }
        _ => Vec::new(),
    };
    let cut = Cut {
        model,
        ways: &ways,
        pods: &pods,
        world,
        now,
    };
    // A workload that another model governs is that one's to isolate, and to cut off.
    let held = cut.held().filter(|_| found.taken_by.is_none());
    let whole = cut.is_whole(held.as_ref());
    if found.taken_by.is_none() {
        let gates = gates(&found.pods, |pod| cut.open(pod, whole), now);
        set_gates(context, model, &gates).await?;
    }
    let selector = found.selector.clone().filter(|_| found.taken_by.is_none());
    let isolation = isolate(context, model, (world, now), selector, &found.pods, whole).await?;
    let cut_off = held.as_ref().filter(|_| whole).and_then(|held| {
        let stopped = "its pods are deleted, and no others are let in";
        held.told(isolation.condition.as_ref(), &meanwhile(&found.pods), stopped)
    });
    let api: Api<ModelDeployment> = context.api(&namespace);
    pin_content(&api, model, origin.as_ref().ok(), &pods).await?;
    let stopped = stop(context, model, world, &ways, &pods, now).await?;
    let held_up = !stopped && replace(context, model, world, &pods).await?;
    let plans = Plans::new(settings.clone());
    let refusal = refusal(&found.makers, &namespace, recorded, world, &plans, now);
    let refused = refusal.is_some();
    let exceeding = context.excesses.of(&namespace, &model.name_any());
    let exceeding = exceeding.as_ref().map(|exceeding| exceeding.as_slice());
    let new = status(
        model,
        &Seen {
            workload,
            origin: origin.as_ref(),
            found: &found,
            refusal,
            ways: &ways,
            pods: &pods,
            held_up,
            isolated: isolation.condition,
            rights: rights(world, &namespace, exceeding, model.status.as_ref()),
            held: held.as_ref(),
            cut_off,
        },
        now,
    );
    // What the tag, and what images were resolved to is other managers' part of the status.
    let old = model.status.clone().map(|old| ModelDeploymentStatus {
        resolved: None,
        workload: old.workload.map(|workload| WorkloadStatus {
            images: None,
            ..workload
        }),
        ..old
    });
    if patch_status(&api, model, FIELD_MANAGER, old.as_ref(), &new).await? {
        context.tell(model, old.as_ref(), &new, exceeding).await;
    }
    let workload = new.workload.unwrap_or_default();
    let all = workload.pods > 0 && workload.proven == workload.pods;
    let pause = if all && !refused && wanted(&found.makers) <= i64::from(workload.pods) {
        SETTLED
    } else {
        UNSETTLED
    };
    let next = now.checked_add(pause).unwrap_or(now);
    let ends = ends(&ways, &pods).chain(waived_until(model, world, now));
    Ok(ends.fold(next, Timestamp::min))
}

/// How many pods these want to have, as far as they say.
fn wanted(makers: &[Value]) -> i64 {
    let replicas = |maker: &Value| maker.pointer("/spec/replicas").and_then(Value::as_i64);
    makers.iter().filter_map(replicas).sum()
}

/// When the clock alone may change what was decided.
fn ends(ways: &[Way], pods: &[PodStanding]) -> impl Iterator<Item = Timestamp> {
    let of_pods = pods.iter().filter_map(|pod| match &pod.stand {
        Stand::Proven { decision, .. } => decision.until,
        Stand::Pending(_) | Stand::Unproven { .. } => None,
    });
    ways.iter().filter_map(|way| way.decision.until).chain(of_pods)
}

/// Deletes the pods that are not proven, all at once and whatever disruption budgets say, once policy has what serves stopped.
/// Their controller makes others, which are refused. Returns whether it is stopped.
async fn stop(
    context: &Context,
    model: &ModelDeployment,
    world: &World,
    ways: &[Way],
    pods: &[PodStanding],
    now: Timestamp,
) -> Result<bool, Error> {
    let namespace = model.namespace().unwrap_or_default();
    let Some(pods) = to_stop(model, world, ways, pods, now) else {
        return Ok(false);
    };
    let api: Api<Pod> = context.api(&namespace);
    for pod in &pods {
        let named = Pod {
            metadata: ObjectMeta {
                name: Some(pod.name.clone()),
                uid: Some(pod.uid.clone()),
                ..ObjectMeta::default()
            },
            ..Pod::default()
        };
        context.applier.delete(&api, &named).await?;
        let note = Note {
            warning: true,
            reason: "Stopped".into(),
            action: "Stop",
            message: format!("{} was deleted: policy no longer admits what it runs", pod.name),
        };
        context.publish(model, note).await;
    }
    Ok(true)
}

/// Writes down which content the model is, once a pod has found it, so that no other content takes its place in silence.
async fn pin_content(
    api: &Api<ModelDeployment>,
    model: &ModelDeployment,
    origin: Option<&Origin>,
    pods: &[PodStanding],
) -> Result<(), Error> {
    if origin.is_none_or(|origin| origin.reference().is_some()) || pinned(model).is_some() {
        return Ok(());
    }
    let Some(digest) = pin(pods) else { return Ok(()) };
    let of = |resolved: Option<ResolvedSource>| ModelDeploymentStatus {
        resolved,
        ..ModelDeploymentStatus::default()
    };
    let old = model.status.as_ref().and_then(|status| status.resolved.clone());
    let new = ResolvedSource {
        source: folder_hash(&model.spec),
        digest: Some(digest),
        reason: None,
        message: None,
    };
    patch_status(api, model, RESOLVER_FIELD_MANAGER, Some(&of(old)), &of(Some(new))).await?;
    Ok(())
}

/// Evicts the next pod that is better replaced, where policy wants it. Whether a disruption budget forbids it.
async fn replace(
    context: &Context,
    model: &ModelDeployment,
    world: &World,
    pods: &[PodStanding],
) -> Result<bool, Error> {
    let namespace = model.namespace().unwrap_or_default();
    let labels = world.namespaces.get(&namespace).cloned().unwrap_or_default();
    let wanted = selecting(&world.rules, &namespace, &labels)
        .any(|rules| is_enforced(rules) && rules.unproven_pods == UnprovenPods::Evict);
    // What a Job has done is lost with its pod.
    let may = wanted
        && model
            .spec
            .workload_ref
            .as_ref()
            .is_some_and(|workload| workload.kind != "Job");
    let Some(pod) = next_to_evict(pods).filter(|_| may) else {
        return Ok(false);
    };
    let api: Api<Pod> = context.api(&namespace);
    match evict(&api, &pod.name, &pod.uid).await? {
        Evicted::Done => {
            let message = format!(
                "{} was evicted: what takes its place verifies the model first",
                pod.name
            );
            let note = Note {
                warning: false,
                reason: "PodEvicted".into(),
                action: "Evict",
                message,
            };
            context.publish(model, note).await;
            Ok(false)
        }
        Evicted::Gone => Ok(false),
        Evicted::HeldUp => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use serde_json::json;

    use super::*;
    use crate::policy::pods::samples::{CONTENT, Scene, pod};

    /// Not at the next round, which may be minutes later.
    #[test]
    fn a_workload_is_looked_at_when_what_lets_it_serve_is_over() {
        let mut scene = Scene::new();
        let expires = scene.now + SignedDuration::from_secs(7);
        let approved = json!({"approved": [{"digest": CONTENT, "by": "Ada", "expires": expires}]});
        scene.policy(1, &approved);
        let ends = |scene: &Scene| {
            let ways = scene.ways();
            let there = scene.standing(&[pod(scene.verified("a", CONTENT, 1))]);
            ends(&ways, &there).min()
        };
        scene.model.spec.model.source.volume.as_mut().unwrap().digest = Some(CONTENT);
        assert_eq!(ends(&scene), Some(expires));
        scene.policy(1, &json!({}));
        assert_eq!(ends(&scene), None, "nothing limits it");
    }
}
