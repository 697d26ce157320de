//! Looks at one artifact under one set of keys and writes the verdict, once; what could not be read is tried again.
//! All slow work about artifacts is here, so that nothing that decides ever waits for a registry.

#![expect(
    clippy::disallowed_types,
    reason = "the edge: here the client is made, gathered with, and handed to cluster"
)]

mod status;

use std::{sync::Arc, time::Instant};

use kube::{Api, Client, ResourceExt as _, runtime::controller::Action};

use crate::{
    api::{
        FIELD_MANAGER,
        v1alpha1::{ArtifactVerification, ArtifactVerificationSpec, VerificationVerdict},
    },
    artifact::{
        oci::{RegistryError, verify_oci},
        signature::KeyRing,
    },
    cluster::patch_status,
    evidence::{ArtifactReport, Failure, Reason, Reference},
};

use super::{Context, Error, controller, readable, world::Guarded};
pub use status::status;

/// Runs until `stop` resolves.
pub async fn run(
    client: Client,
    context: Arc<Context>,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) {
    let (controller, observer) = controller::<ArtifactVerification>(client, &context);
    observer.run(controller, reconcile, context, stop).await;
}

async fn reconcile(
    verification: Arc<Guarded<ArtifactVerification>>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    let verification = readable(&verification)?;
    let uid = verification.uid().unwrap_or_default();
    let old = verification.status.as_ref();
    if old.is_some_and(|old| {
        matches!(
            old.verdict,
            Some(VerificationVerdict::Verified | VerificationVerdict::Refused)
        )
    }) {
        // Content and keys are in the immutable specification: the verdict cannot change.
        return Ok(Action::await_change());
    }
    let key = format!("verification/{uid}");
    if let Some(left) = context.retry.left(&key) {
        return Ok(Action::requeue(left));
    }
    let namespace = verification.namespace().unwrap_or_default();
    let started = Instant::now();
    let answer = look(&context, &namespace, &verification.spec).await;
    let new = status(old, &answer, verification.metadata.generation, context.now());
    context.metrics.verified(
        new.verdict.map_or("", VerificationVerdict::as_str),
        new.reason.map_or("", Reason::as_str),
        started.elapsed(),
    );
    // The pause is set before the write: the status wakes this very reconciler, and that is no reason to ask again.
    let pause = answer
        .as_ref()
        .err()
        .map(|error| context.retry.failed(&key, error.retry_after));
    let api: Api<ArtifactVerification> = context.api(&namespace);
    patch_status(&api, verification, FIELD_MANAGER, old, &new).await?;
    context.succeeded(verification);
    Ok(pause.map_or_else(Action::await_change, Action::requeue))
}

async fn look(
    context: &Context,
    namespace: &str,
    spec: &ArtifactVerificationSpec,
) -> Result<ArtifactReport, RegistryError> {
    let malformed = |message: String| RegistryError::from(Failure::new(Reason::Internal, message));
    let source = spec
        .source
        .oci
        .as_ref()
        .ok_or_else(|| malformed("spec.source.oci is missing".into()))?;
    let reference: Reference = format!("{}@{}", source.repository, source.digest)
        .parse()
        .map_err(|error| malformed(format!("spec.source.oci.repository: {error}")))?;
    let keys = KeyRing::from_pems(
        spec.keys
            .iter()
            .map(|key| (key.name.as_str(), key.public_key.as_str())),
    )?;
    let registry = context.registry(namespace, source.pull_secret.as_deref()).await?;
    verify_oci(&registry, &reference, &keys).await
}
