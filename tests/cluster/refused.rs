//! What is refused from the beginning never has a pod: every event about pods is watched from before the model exists.
//! That nothing came is shown by what came next, not by waiting a while.

use futures::StreamExt as _;
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::{Pod, Service},
};
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, WatchEvent, WatchParams},
};
use probity::api::MODEL_LABEL;
use serde_json::json;
use tokio::time::timeout;

use crate::{
    bed::Bed,
    models::{Model, models},
    space::{PATIENCE, Space, candidate, serving},
};

pub async fn an_unsigned_model_never_has_a_pod(bed: &'static Bed) {
    never_has_a_pod(bed, "unsigned", &models().unsigned, "Unsigned", "model.sig").await;
}

pub async fn a_model_signed_by_a_stranger_never_has_a_pod(bed: &'static Bed) {
    never_has_a_pod(bed, "strange", &models().strange, "SignerMismatch", "release").await;
}

async fn never_has_a_pod(bed: &'static Bed, name: &str, model: &'static Model, reason: &str, says: &str) {
    let space = Space::new(bed, name).await;
    let pods: Api<Pod> = space.api();
    let before = pods
        .list(&ListParams::default())
        .await
        .unwrap()
        .metadata
        .resource_version
        .unwrap();
    let events = pods
        .watch(&WatchParams::default().timeout(290), &before)
        .await
        .unwrap()
        .boxed();

    let pushed = model
        .push(&bed.node.registry, &format!("models/{name}"), "1")
        .await;
    space.model(name, &pushed.tagged).await;
    let (refused, message) = space.is_not_ready(name, reason).await;
    assert!(message.contains(says), "{message}");
    assert_eq!(
        (candidate(&refused), serving(&refused)),
        (Some((reason.into(), Some(pushed.digest))), None)
    );
    // It is looked at again, and the answer stays the same.
    space.edit(name, json!({"server": {"replicas": 2}})).await;
    space.is_not_ready(name, reason).await;

    assert!(space.list::<Deployment>("").await.is_empty());
    assert!(space.list::<ReplicaSet>("").await.is_empty());
    assert!(space.list::<Service>("").await.is_empty());
    // A good model's pod is the next one there is.
    let good = models()
        .small
        .push(&bed.node.registry, &format!("models/{name}-good"), "1")
        .await;
    space.model("marker", &good.tagged).await;
    let first = events.filter_map(async |event| match event {
        Ok(WatchEvent::Added(pod) | WatchEvent::Modified(pod) | WatchEvent::Deleted(pod)) => {
            Some(pod.labels().get(MODEL_LABEL).cloned())
        }
        Ok(WatchEvent::Bookmark(_)) => None,
        Ok(WatchEvent::Error(error)) => panic!("{error:?}"),
        Err(error) => panic!("{error}"),
    });
    let first = timeout(PATIENCE, std::pin::pin!(first).next())
        .await
        .expect("the marker is seen");
    assert_eq!(
        first.flatten().as_deref(),
        Some("marker"),
        "the first pod of this namespace is the good model's"
    );
    space.done().await;
}
