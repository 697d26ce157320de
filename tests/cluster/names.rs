//! What is not a model's stays as it is, and what is a model's goes with it.
//! Both need the controllers of a real cluster: pods under a foreign Deployment, and garbage collection.

use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::{Pod, Service, ServiceAccount},
};
use kube::{Api, ResourceExt as _, api::DeleteParams};
use probity::api::v1alpha1::{ArtifactVerification, ModelDeployment};
use serde_json::json;

use crate::{
    bed::Bed,
    models::models,
    space::{Space, eventually, gone, is_ready, serving, uids},
};

pub async fn a_foreign_deployment_of_the_same_name_is_left_alone(bed: &'static Bed) {
    let space = Space::ungoverned(bed, "foreign").await;
    let label = json!({"app": "thesis"});
    space
        .create::<Deployment>(json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "thesis"},
            "spec": {
                "selector": {"matchLabels": label},
                "template": {
                    "metadata": {"labels": label},
                    "spec": {
                        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
                        "containers": [{"name": "x", "image": bed.light, "args": ["sleep", "1h"],
                            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}],
                    },
                },
            },
        }))
        .await;
    let available = |deployment: &Deployment| {
        let status = deployment.status.as_ref();
        let seen = status.and_then(|status| status.observed_generation) == deployment.metadata.generation;
        seen && status.and_then(|status| status.available_replicas) == Some(1)
    };
    let before: Deployment = space.until("thesis", "to be available", available).await;
    let pods = uids(&space.list::<Pod>("app=thesis").await);
    // Its pods were there before any policy applied, and stay.
    space.govern().await;

    let pushed = models()
        .small
        .push(&bed.node.registry, "models/foreign", "1")
        .await;
    space.model("thesis", &pushed.tagged).await;
    let (model, message) = space.is_not_ready("thesis", "NameTaken").await;
    assert!(message.contains("Deployment thesis"), "{message}");
    assert_eq!(serving(&model), None);
    let after: Deployment = space.api().get("thesis").await.unwrap();
    assert_eq!(after, before, "untouched to the last field");
    let there = space.list::<Pod>("app=thesis").await;
    assert!(
        uids(&there) == pods && there.iter().all(is_ready),
        "its pods run on"
    );
    assert!(space.pods("thesis").await.is_empty());
    space.done().await;
}

pub async fn everything_of_a_deleted_model_goes(bed: &'static Bed) {
    let space = Space::new(bed, "deleted").await;
    let pushed = models()
        .small
        .push(&bed.node.registry, "models/deleted", "1")
        .await;
    space.model("gone", &pushed.tagged).await;
    space.serves("gone", &pushed.digest).await;
    let verification = space.verifications("gone").await.remove(0).name_any();
    let replica_set = space.list::<ReplicaSet>("").await.remove(0).name_any();
    let pod = space.only_pod("gone").await.name_any();

    // As `kubectl delete` does it.
    let models: Api<ModelDeployment> = space.api();
    models.delete("gone", &DeleteParams::background()).await.unwrap();
    gone(&models, "gone").await;
    gone(&space.api::<Deployment>(), "gone").await;
    gone(&space.api::<ReplicaSet>(), &replica_set).await;
    gone(&space.api::<Service>(), "gone").await;
    gone(&space.api::<ServiceAccount>(), "gone").await;
    gone(&space.api::<ArtifactVerification>(), &verification).await;
    gone(&space.api::<Pod>(), &pod).await;
    // And nothing came back while the rest went.
    eventually("the namespace to be empty", async || {
        let empty = space.list::<Deployment>("").await.is_empty()
            && space.list::<Pod>("").await.is_empty()
            && space.list::<Service>("").await.is_empty()
            && space.list::<ArtifactVerification>("").await.is_empty();
        empty.then_some(())
    })
    .await;
}
