//! Objects of a model's name that belong to somebody else: left as they are, to the byte, and named in the status.
//! The model goes on by itself once the name is free.

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Service, ServiceAccount},
};
use kube::{
    Resource,
    api::{DeleteParams, PostParams},
    core::NamespaceResourceScope,
};
use probity::api::v1alpha1::{ArtifactVerification, ModelDeployment};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    artifacts::Model,
    stage::{Stage, condition},
};

async fn taken<K>(object: Value)
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + DeserializeOwned
        + Serialize
        + std::fmt::Debug
        + Send
        + 'static,
{
    let stage = Stage::new().await;
    let reference = Model::signed().push(&format!("names/{}", stage.namespace));
    let theirs: K = stage.create(object).await;
    stage.model("digits", &reference.to_string()).await;

    let message = stage.reason("digits", "NameTaken").await;
    assert!(message.contains(&format!("{} digits", K::kind(&()))), "{message}");
    let model: ModelDeployment = stage.api().get("digits").await.unwrap();
    assert_eq!(condition(&model, "Accepted").unwrap().reason, "NameTaken");
    assert!(condition(&model, "Stalled").is_some());
    let now: K = stage.api().get("digits").await.unwrap();
    assert_eq!(
        serde_json::to_string(&now).unwrap(),
        serde_json::to_string(&theirs).unwrap(),
        "to the byte"
    );

    stage
        .api::<K>()
        .delete("digits", &DeleteParams::default())
        .await
        .unwrap();
    stage.roll_out("digits", reference.digest().unwrap()).await;
    stage.reason("digits", "Serving").await;
}

fn pods() -> Value {
    json!({
        "selector": {"matchLabels": {"app": "theirs"}},
        "template": {
            "metadata": {"labels": {"app": "theirs"}},
            "spec": {"containers": [{"name": "theirs", "image": "registry.example/theirs:1"}]}
        }
    })
}

#[tokio::test]
async fn a_deployment_of_somebody_else() {
    taken::<Deployment>(json!({"metadata": {"name": "digits"}, "spec": pods()})).await;
}

/// A label or a field manager like ours makes nothing ours.
#[tokio::test]
async fn a_deployment_that_only_looks_like_ours() {
    let labels = json!({"probity.dev/model": "digits", "app.kubernetes.io/managed-by": "probity"});
    let owner = json!({
        "apiVersion": "probity.dev/v1alpha1", "kind": "ModelDeployment", "name": "digits", "controller": true,
        "uid": "00000000-0000-4000-8000-000000000000"
    });
    let metadata = json!({"name": "digits", "labels": labels, "ownerReferences": [owner]});
    taken::<Deployment>(json!({"metadata": metadata, "spec": pods()})).await;
}

#[tokio::test]
async fn a_service_of_somebody_else() {
    let spec = json!({"selector": {"app": "theirs"}, "ports": [{"port": 80}]});
    taken::<Service>(json!({"metadata": {"name": "digits"}, "spec": spec})).await;
}

/// Pods must never run under an account that somebody else gave rights to.
#[tokio::test]
async fn a_service_account_of_somebody_else() {
    taken::<ServiceAccount>(json!({"metadata": {"name": "digits"}})).await;
}

#[tokio::test]
async fn a_verification_of_somebody_else_is_not_believed() {
    let stage = Stage::new().await;
    let signed = Model::signed().push(&format!("names/{}", stage.namespace));
    stage.model("first", &signed.to_string()).await;
    stage.deployed("first", signed.digest().unwrap()).await;
    let genuine = stage.verifications().await.remove(0);

    // Somebody knows the name the next one will have, and makes it first, with a verdict.
    let name = genuine.metadata.name.clone().unwrap().replace("first", "second");
    let mut forged: ArtifactVerification = genuine.clone();
    forged.metadata = serde_json::from_value(json!({"name": name})).unwrap();
    stage.api().create(&PostParams::default(), &forged).await.unwrap();
    stage.model("second", &signed.to_string()).await;
    let message = stage.reason("second", "NameTaken").await;
    assert!(
        message.contains(&format!("ArtifactVerification {name}")),
        "{message}"
    );
    assert!(!stage.names::<Deployment>().await.contains(&"second".to_owned()));
}
