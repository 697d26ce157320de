//! One policy: has its models measured when that is due, and says in its status what came of it.
//! What is due is decided by [`policy::robustness`](crate::policy::robustness); here it is only asked for, by an `Evaluation`.

#![expect(
    clippy::disallowed_types,
    reason = "the edge: here the client is made, gathered with, and handed to cluster"
)]

pub(super) mod contents;
mod plan;
mod status;

use std::{sync::Arc, time::Duration};

use kube::{
    Api, Client, ResourceExt as _,
    api::ListParams,
    core::DeserializeGuard,
    runtime::{controller::Action, reflector::ObjectRef, watcher},
};

use crate::{
    api::{
        FIELD_MANAGER,
        v1alpha1::{Evaluation, ModelDeployment, RobustnessPolicy},
    },
    cluster::{create, patch_status},
};

use super::{Context, Error, controller, next_look, pages::all, readable, world::Guarded};
pub use plan::{Plan, plan};
pub use status::status;

/// So many objects are read at a time.
const PAGE: u32 = 250;
/// At the latest a policy is looked at again after this long.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// Runs until `stop` resolves.
pub async fn run(
    client: Client,
    context: Arc<Context>,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) {
    let (controller, observer) = controller::<RobustnessPolicy>(client.clone(), &context);
    let policies = controller.store();
    // A model says nothing of the policies that are for it: those of its namespace are looked at.
    let of_namespace = move |model: Guarded<ModelDeployment>| {
        let namespace = model.namespace();
        let here = policies
            .state()
            .into_iter()
            .filter(move |policy| policy.namespace() == namespace);
        here.map(|policy| ObjectRef::from_obj(&*policy))
            .collect::<Vec<_>>()
    };
    let controller = controller
        .watches(
            Api::<Guarded<ModelDeployment>>::all(client.clone()),
            watcher::Config::default(),
            of_namespace,
        )
        .watches(
            Api::<Guarded<Evaluation>>::all(client),
            watcher::Config::default(),
            |evaluation: Guarded<Evaluation>| {
                let namespace = evaluation.namespace()?;
                let policy = evaluation.0.ok()?.spec.policy;
                Some(ObjectRef::new(&policy).within(&namespace))
            },
        );
    observer.run(controller, reconcile, context, stop).await;
}

async fn reconcile(policy: Arc<Guarded<RobustnessPolicy>>, context: Arc<Context>) -> Result<Action, Error> {
    let policy = readable(&policy)?;
    if policy.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let namespace = policy.namespace().unwrap_or_default();
    let now = context.now();
    let governed = context.world.current().governs(&namespace);
    let (models, evaluations) = gather(&context, &namespace).await?;
    let plan = plan(
        policy,
        &models,
        &evaluations,
        governed && context.settings.evaluations.is_some(),
        now,
    );
    let api: Api<Evaluation> = context.api(&namespace);
    for evaluation in &plan.evaluations {
        // One of this name was asked for already, here or by another replica.
        let _ = create(&api, evaluation).await?;
    }
    let new = status(policy, &plan, context.settings.evaluations.is_some(), now);
    let api: Api<RobustnessPolicy> = context.api(&namespace);
    patch_status(&api, policy, FIELD_MANAGER, policy.status.as_ref(), &new).await?;
    context.succeeded(policy);
    Ok(next_look(plan.until, now, LONGEST_PAUSE))
}

/// What there is in the policy's namespace. What cannot be read is said by its own reconciler.
async fn gather(
    context: &Context,
    namespace: &str,
) -> Result<(Vec<ModelDeployment>, Vec<Evaluation>), Error> {
    let models: Api<DeserializeGuard<ModelDeployment>> = context.api(namespace);
    let models = all(&models, "the models", ListParams::default().limit(PAGE)).await?;
    let evaluations: Api<DeserializeGuard<Evaluation>> = context.api(namespace);
    let evaluations = all(&evaluations, "the evaluations", ListParams::default().limit(PAGE)).await?;
    Ok((
        models.into_iter().filter_map(|model| model.0.ok()).collect(),
        evaluations
            .into_iter()
            .filter_map(|evaluation| evaluation.0.ok())
            .collect(),
    ))
}
