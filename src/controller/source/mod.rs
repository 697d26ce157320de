//! Resolves what a model's reference names and pins it in the status; with `Follow` it looks again every interval.
//! Registries are slow, so this is a controller of its own: the model's reconciler only ever waits for what it writes.

#![expect(
    clippy::disallowed_types,
    reason = "the edge: here the client is made, gathered with, and handed to cluster"
)]

mod plan;

use std::sync::Arc;

use kube::{Api, Client, ResourceExt as _, runtime::controller::Action};

use crate::{
    api::{
        RESOLVER_FIELD_MANAGER,
        v1alpha1::{ModelDeployment, ModelDeploymentStatus, OciSource, ResolvedSource},
    },
    artifact::oci::RegistryError,
    cluster::patch_status,
    evidence::{Digest, Origin, Reference},
    policy::{accept, foregone, source_hash},
};

use super::{Context, Error, controller, readable, world::Guarded};
use plan::{Look, interval, look, resolved};

/// Runs until `stop` resolves.
pub async fn run(
    client: Client,
    context: Arc<Context>,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) {
    let (controller, observer) = controller::<ModelDeployment>(client, &context);
    let controller = controller.reconcile_all_on(context.world.changes());
    observer.run(controller, reconcile, context, stop).await;
}

async fn reconcile(model: Arc<Guarded<ModelDeployment>>, context: Arc<Context>) -> Result<Action, Error> {
    let model = readable(&model)?;
    let (uid, namespace) = (
        model.uid().unwrap_or_default(),
        model.namespace().unwrap_or_default(),
    );
    // What is not accepted, or names its digest itself, needs no registry.
    let (Ok(Origin::Registry(reference)), Some(source)) = (accept(&model.spec), &model.spec.model.source.oci)
    else {
        return Ok(Action::await_change());
    };
    if reference.digest().is_some() {
        return Ok(Action::await_change());
    }
    // A world in which it is not refused wakes this reconciler.
    if foregone(
        &context.world.current(),
        &namespace,
        &model.name_any(),
        &reference.clone().into(),
        None,
        Some(&model.spec),
        context.now(),
    )
    .is_some()
    {
        return Ok(Action::await_change());
    }
    let hash = source_hash(source);
    let key = format!("source/{uid}/{hash}");
    let old = model.status.as_ref().and_then(|status| status.resolved.as_ref());
    match look(source, hash, old, context.retry.left(&key)) {
        Look::Never => return Ok(Action::await_change()),
        Look::In(pause) => {
            // Else every look at the clock would find the old pause again.
            context.retry.shorten(&key, pause);
            return Ok(Action::requeue(pause));
        }
        Look::Now => {}
    }
    let answer = ask(&context, &namespace, source, &reference).await;
    let new = resolved(
        hash,
        old,
        answer.as_ref().copied().map_err(|error| &error.failure),
    );
    // Pauses are set before the write: the status wakes this very reconciler, and that is no reason to ask again.
    let pause = match &answer {
        Ok(_) => {
            context.retry.succeeded(&key, interval(source));
            interval(source)
        }
        Err(error) => {
            let pause = context.retry.failed(&key, error.retry_after);
            tracing::info!(%namespace, model = model.name_any(), reason = %error.failure.reason, ?pause, "cannot resolve the reference");
            pause
        }
    };
    let of = |resolved: Option<&ResolvedSource>| ModelDeploymentStatus {
        resolved: resolved.cloned(),
        ..Default::default()
    };
    let api: Api<ModelDeployment> = context.api(&namespace);
    patch_status(
        &api,
        model,
        RESOLVER_FIELD_MANAGER,
        Some(&of(old)),
        &of(Some(&new)),
    )
    .await?;
    context.metrics.succeeded("Source");
    Ok(match look(source, hash, Some(&new), Some(pause)) {
        Look::In(pause) => Action::requeue(pause),
        Look::Never | Look::Now => Action::await_change(),
    })
}

async fn ask(
    context: &Context,
    namespace: &str,
    source: &OciSource,
    reference: &Reference,
) -> Result<Digest, RegistryError> {
    let registry = context
        .registry(namespace, source.pull_secret.as_deref())
        .await
        .map_err(RegistryError::from)?;
    registry.resolve(reference).await
}
