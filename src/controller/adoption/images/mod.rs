//! What the images are that a workload's template names by a tag: looked up once, and written down before its pods ask to be
//! let in. Registries are slow, so this is a controller of its own; nothing waits for it but pods with a tag that is new.

#![expect(
    clippy::disallowed_types,
    reason = "the edge: here the client is made, gathered with, and handed to cluster"
)]

mod gather;
mod plan;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};
use kube::{Api, Client, ResourceExt as _, runtime::controller::Action};
use serde::Serialize;

use super::super::{Context, Error, controller, readable, world::Guarded};
use crate::{
    api::{
        IMAGES_FIELD_MANAGER,
        v1alpha1::{ModelDeployment, ResolvedImage},
    },
    artifact::oci::RegistryError,
    cluster::patch_status,
    evidence::{Digest, Failure, Reason, Reference},
    policy::pods::fits_pods,
};
use gather::{of_pods, template};
use plan::{has_others, kept, looked, written};

/// How soon a template is looked at again that names images by tags: the next may be a new one, and its pods wait for it.
/// Templates are not watched, for most are nobody's of ours.
const WITH_TAGS: Duration = Duration::from_secs(15);
/// How soon one that names none.
const WITHOUT_TAGS: Duration = Duration::from_secs(60);
/// How many images of a workload are looked up at once.
const AT_ONCE: usize = 4;

/// The part of a model's status that is written here.
#[derive(Debug, PartialEq, Serialize)]
struct Part {
    workload: Images,
}

#[derive(Debug, PartialEq, Serialize)]
struct Images {
    #[serde(skip_serializing_if = "Option::is_none")]
    images: Option<Vec<ResolvedImage>>,
}

impl Part {
    fn of(images: Option<Vec<ResolvedImage>>) -> Self {
        Self {
            workload: Images { images },
        }
    }
}

/// Runs until `stop` resolves.
pub(in super::super) async fn run(
    client: Client,
    context: Arc<Context>,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) {
    let (controller, observer) = controller::<ModelDeployment>(client, &context);
    let controller = controller.reconcile_all_on(context.world.changes());
    observer.run(controller, reconcile, context, stop).await;
}

/// One look at the template of one model's workload.
async fn reconcile(model: Arc<Guarded<ModelDeployment>>, context: Arc<Context>) -> Result<Action, Error> {
    let model = readable(&model)?;
    let namespace = model.namespace().unwrap_or_default();
    let Some(workload) = &model.spec.workload_ref else {
        return Ok(Action::await_change());
    };
    // The rest of the workload's status comes first, and wakes this reconciler; so does a world in which pods are fitted.
    let Some(status) = model.status.as_ref().and_then(|status| status.workload.as_ref()) else {
        return Ok(Action::await_change());
    };
    if !fits_pods(model, &context.world.current()) {
        return Ok(Action::await_change());
    }
    // A workload that is made anew is the same one as far as its tags go.
    let Some(template) = template(&context, &namespace, workload).await? else {
        return Ok(Action::requeue(WITH_TAGS));
    };
    let old = status.images.as_deref().unwrap_or_default();
    let pods = if has_others(old, &template.images) {
        of_pods(&context, model, workload).await?
    } else {
        BTreeSet::new()
    };
    let images = kept(old, &template.images, &pods);
    let images = look(&context, model, images, &template.secrets).await;
    let new = Part::of(written(images));
    let old = Part::of(status.images.clone());
    let api: Api<ModelDeployment> = context.api(&namespace);
    patch_status(&api, model, IMAGES_FIELD_MANAGER, Some(&old), &new).await?;
    context.metrics.succeeded("Images");
    Ok(Action::requeue(if template.images.is_empty() {
        WITHOUT_TAGS
    } else {
        next_look(&context, model, &new)
    }))
}

/// Where the pauses of an image are kept.
fn key(model: &ModelDeployment, image: &str) -> String {
    format!("image/{}/{image}", model.uid().unwrap_or_default())
}

/// When the next image that is not known has its turn, or the template has.
fn next_look(context: &Context, model: &ModelDeployment, part: &Part) -> Duration {
    let images = part.workload.images.iter().flatten();
    let pauses = images
        .filter(|image| image.digest.is_none())
        .filter_map(|image| context.retry.left(&key(model, &image.image)));
    pauses.min().unwrap_or(WITH_TAGS).min(WITH_TAGS)
}

/// Looks up what is not known, as far as its pause is over.
async fn look(
    context: &Context,
    model: &ModelDeployment,
    images: Vec<ResolvedImage>,
    secrets: &[String],
) -> Vec<ResolvedImage> {
    let namespace = model.namespace().unwrap_or_default();
    let looks = images.into_iter().map(|image| {
        let (key, namespace) = (key(model, &image.image), namespace.clone());
        async move {
            if image.digest.is_some() || context.retry.left(&key).is_some() {
                return image;
            }
            // Pauses are set before the write: the status wakes this very reconciler, and that is no reason to ask again.
            match ask(context, &namespace, secrets, &image.image).await {
                Ok(digest) => {
                    context.retry.forget(&key);
                    looked(&image, Ok(digest))
                }
                Err(error) => {
                    let pause = context.retry.failed(&key, error.retry_after);
                    tracing::info!(%namespace, image = image.image, reason = %error.failure.reason, ?pause, "cannot resolve an image of a workload");
                    looked(&image, Err(&error.failure))
                }
            }
        }
    });
    stream::iter(looks).buffered(AT_ONCE).collect().await
}

/// Asks what the image is, as a node would: with each of the pull secrets until one will do, without any where there is none.
async fn ask(
    context: &Context,
    namespace: &str,
    secrets: &[String],
    image: &str,
) -> Result<Digest, RegistryError> {
    let reference: Reference = image
        .parse()
        .map_err(|error| Failure::new(Reason::MalformedReference, format!("{error}")))?;
    let with = async |secret: Option<&str>| {
        let registry = context.registry(namespace, secret).await?;
        registry.resolve_image(&reference).await
    };
    let mut last = None;
    for secret in secrets {
        match with(Some(secret)).await {
            Ok(digest) => return Ok(digest),
            // Another secret may be the one for this registry.
            Err(error) if may_be_anothers(error.failure.reason) => last = Some(error),
            Err(error) => return Err(error),
        }
    }
    match (with(None).await, last) {
        (Err(error), Some(last)) if may_be_anothers(error.failure.reason) => Err(last),
        (answer, _) => answer,
    }
}

/// Whether an answer may be another with other credentials.
fn may_be_anothers(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::RegistryDenied | Reason::NotFound | Reason::CredentialsMissing | Reason::MalformedCredentials
    )
}
