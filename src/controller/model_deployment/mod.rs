//! One model: gather what is, evaluate what policy says, plan what should be, apply it, write the status.
//! The decision is [`policy::evaluate`]; here it is only asked and carried out.

#![expect(
    clippy::disallowed_types,
    reason = "the edge: here the client is made, gathered with, and handed to cluster"
)]

mod gates;
mod gather;
mod looks;
mod plan;
#[cfg(test)]
mod scene;
mod serving;
mod status;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Pod, Service, ServiceAccount},
    networking::v1::NetworkPolicy,
};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    runtime::{controller::Action, reflector::ObjectRef, watcher},
};

use crate::{
    api::{
        FIELD_MANAGER, MODEL_LABEL,
        v1alpha1::{ArtifactVerification, ModelDeployment, ModelDeploymentStatus, WorkloadRef},
    },
    cluster::{Applied, patch_status},
    policy::{World, waived_until},
    workload::{Workload, own_pods},
};

use super::{
    Context, Error, adoption, controller,
    excess::rights,
    gates::set_gates,
    isolation::{cluster::release, isolate},
    next_look, readable,
    world::Guarded,
};
pub use super::{gates::Gate, held::Held};
pub use gather::Snapshot;
use gather::gather;
use looks::Begun;
pub(super) use looks::Looks;
pub use plan::{Desired, Judgement, Plan, plan};
pub(in crate::controller) use serving::server_failure;
pub use serving::{PodFailure, Rollout, rollout};
pub use status::{Outcome, status};

/// Runs until `stop` resolves.
pub async fn run(
    client: Client,
    context: Arc<Context>,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) {
    let ours = || watcher::Config::default().labels(MODEL_LABEL);
    let (controller, observer) = controller::<ModelDeployment>(client.clone(), &context);
    let controller = controller
        .watches(
            Api::<Deployment>::all(client.clone()),
            ours(),
            owned(&context.looks),
        )
        .watches(Api::<Service>::all(client.clone()), ours(), owned(&context.looks))
        .watches(
            Api::<ServiceAccount>::all(client.clone()),
            ours(),
            owned(&context.looks),
        )
        .watches(
            Api::<NetworkPolicy>::all(client.clone()),
            ours(),
            owned(&context.looks),
        )
        .watches(
            Api::<Guarded<ArtifactVerification>>::all(client.clone()),
            watcher::Config::default(),
            owned(&context.looks),
        )
        .watches(Api::<Pod>::all(client), ours(), {
            let looks = context.looks.clone();
            move |pod: Pod| looks.labelled(&pod).map(guarded)
        })
        .reconcile_all_on(context.world.changes())
        .reconcile_all_on(context.probes.changes())
        .reconcile_all_on(context.excesses.changes());
    observer.run(controller, reconcile, context, stop).await;
}

/// The model that an object belongs to, which is to be looked at.
fn owned<K: Resource>(
    looks: &Arc<Looks>,
) -> impl Fn(K) -> Option<ObjectRef<Guarded<ModelDeployment>>> + Send + Sync + 'static {
    let looks = looks.clone();
    move |object| looks.owned(&object).map(guarded)
}

/// The same model as its controller has it.
fn guarded(model: ObjectRef<ModelDeployment>) -> ObjectRef<Guarded<ModelDeployment>> {
    model.into_kind_unchecked(())
}

/// How soon a name that somebody else has is looked at again: the object that has it is not watched, for it is not ours.
const NAME_TAKEN_PAUSE: Duration = Duration::from_secs(15);

/// Timers cannot be set for any time, and one look a day costs nothing.
const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 60 * 60);

/// One look at one model. Reads, decides, writes, reports.
async fn reconcile(seen: Arc<Guarded<ModelDeployment>>, context: Arc<Context>) -> Result<Action, Error> {
    let seen = readable(&seen)?;
    let now = context.now();
    let (world, epoch) = context.world.about(&seen.namespace().unwrap_or_default());
    let excesses = context
        .excesses
        .epoch(&seen.namespace().unwrap_or_default(), &seen.name_any());
    // This number falls when a model is audited no more: it must not make up for another one that rose.
    let epoch = epoch
        .wrapping_add(context.probes.epoch())
        .wrapping_add(excesses << 32);
    // Of the models that a new world wakes, only those whose namespace it changes are looked at.
    let basis = match context.looks.begin(seen, epoch, now) {
        Begun::Look(basis) => basis,
        Begun::Settled(until) => return Ok(next_look(until, now, LONGEST_PAUSE)),
    };
    let Some((model, snapshot)) = gather(&context, seen).await? else {
        context.looks.forget(seen);
        release(&context, seen).await?;
        context.touched.touch(&seen.namespace().unwrap_or_default());
        return Ok(Action::await_change());
    };
    if let Some(workload) = &model.spec.workload_ref {
        let until = Box::pin(adopted(&context, &model, workload, &snapshot, &world, now)).await?;
        context.looks.settle(&model, &basis, Some(until));
        return Ok(next_look(Some(until), now, LONGEST_PAUSE));
    }
    let plan = plan(&model, &snapshot, &world, &context.settings.pods(), now);
    // Before all else: what must take no traffic takes it until then.
    set_gates(&context, &model, &plan.desired.gates).await?;
    // Before anything runs: what is to be closed must not be open for a moment.
    let isolation = isolate(
        &context,
        &model,
        (&world, now),
        Some(own_pods(&model)),
        &snapshot.pods,
        plan.cut,
    )
    .await?;
    let outcome = match isolation.name_taken {
        // Whoever takes the name must not keep up what is to be cut off.
        taken if taken.is_none() || plan.cut => {
            let outcome = Box::pin(carry_out(&context, &model, &snapshot, &plan)).await?;
            Outcome {
                name_taken: taken.or(outcome.name_taken.clone()),
                ..outcome
            }
        }
        taken => Outcome {
            name_taken: taken,
            rollout: plan.rollout.clone(),
            ..Outcome::default()
        },
    };
    let namespace = model.namespace().unwrap_or_default();
    let found = context.excesses.of(&namespace, &model.name_any());
    let found = found.as_ref().map(|found| found.as_slice());
    let outcome = Outcome {
        isolated: isolation.condition,
        rights: rights(&world, &namespace, found, model.status.as_ref()),
        ..outcome
    };
    let new = status(&model, &plan, &outcome, now);
    // What the tag was resolved to is another manager's part of the status.
    let old = model.status.clone().map(|old| ModelDeploymentStatus {
        resolved: None,
        ..old
    });
    let api: Api<ModelDeployment> = context.api(&namespace);
    if patch_status(&api, &model, FIELD_MANAGER, old.as_ref(), &new).await? {
        context.tell(&model, old.as_ref(), &new, found).await;
    }
    context.succeeded(&model);
    if outcome.name_taken.is_some() {
        return Ok(Action::requeue(NAME_TAKEN_PAUSE));
    }
    let until = plan
        .until()
        .into_iter()
        .chain(waived_until(&model, &world, now))
        .min();
    context.looks.settle(&model, &basis, until);
    Ok(next_look(until, now, LONGEST_PAUSE))
}

/// One look at a model whose server somebody else runs; when the next one is due.
async fn adopted(
    context: &Context,
    model: &ModelDeployment,
    workload: &WorkloadRef,
    snapshot: &Snapshot,
    world: &World,
    now: Timestamp,
) -> Result<Timestamp, Error> {
    // Content from a registry is verified here, whoever serves it.
    if model.spec.model.source.oci.is_some() {
        let plan = plan(model, snapshot, world, &context.settings.pods(), now);
        Box::pin(carry_out(context, model, snapshot, &plan)).await?;
    }
    let next = adoption::reconcile(context, model, workload, &snapshot.verifications, world, now).await?;
    context.succeeded(model);
    Ok(next)
}

/// Brings the objects to the plan. The account comes first: pods must never run under somebody else's.
async fn carry_out(
    context: &Context,
    model: &ModelDeployment,
    snapshot: &Snapshot,
    plan: &Plan,
) -> Result<Outcome, Error> {
    let (uid, namespace) = (
        model.uid().unwrap_or_default(),
        model.namespace().unwrap_or_default(),
    );
    let Desired {
        verifications,
        obsolete,
        workload,
        template: _,
        gates: _,
    } = plan.desired.clone();
    let api = context.api::<ArtifactVerification>(&namespace);
    for verification in verifications {
        let there = snapshot
            .verifications
            .iter()
            .find(|there| there.name_any() == verification.name_any());
        // The specification is immutable and names itself by its hash: what is there is as planned.
        if there.is_none() {
            let name = verification.name_any();
            let foreign = context.applier.read(&api, &name).await?;
            if context
                .applier
                .apply(&api, foreign.as_ref(), &uid, verification)
                .await?
                == Applied::NameTaken
            {
                let name_taken = Some(format!("ArtifactVerification {name}"));
                return Ok(Outcome {
                    name_taken,
                    rollout: plan.rollout.clone(),
                    ..Outcome::default()
                });
            }
        }
    }
    for verification in obsolete {
        context.applier.delete(&api, &verification).await?;
    }
    let Some(Workload {
        service_account,
        service,
        deployment,
    }) = workload
    else {
        return Ok(Outcome {
            rollout: plan.rollout.clone(),
            ..Outcome::default()
        });
    };
    let taken = |kind: &str| Outcome {
        name_taken: Some(format!("{kind} {}", model.name_any())),
        rollout: plan.rollout.clone(),
        ..Outcome::default()
    };
    let accounts = context.api::<ServiceAccount>(&namespace);
    if let Applied::NameTaken = context
        .applier
        .apply(
            &accounts,
            snapshot.service_account.as_ref(),
            &uid,
            service_account,
        )
        .await?
    {
        return Ok(taken("ServiceAccount"));
    }
    let services = context.api::<Service>(&namespace);
    if let Applied::NameTaken = context
        .applier
        .apply(&services, snapshot.service.as_ref(), &uid, service)
        .await?
    {
        return Ok(taken("Service"));
    }
    let deployments = context.api::<Deployment>(&namespace);
    let applied = context
        .applier
        .apply(&deployments, snapshot.deployment.as_ref(), &uid, deployment)
        .await?;
    let Applied::Done(deployment) = applied else {
        return Ok(taken("Deployment"));
    };
    Ok(Outcome {
        rollout: rollout(Some(&deployment), &snapshot.pods),
        ..Outcome::default()
    })
}
