//! Pull secrets: absent, of the wrong type, with the wrong password, right.
//! The operator reads one by the name a model gives, in the model's namespace, and no other.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::api::core::v1::Secret;
use kube::api::DeleteParams;
use probity::evidence::Reference;
use serde_json::json;
use test_case::test_case;

use crate::{
    artifacts::Model,
    stage::{Stage, apply, guarded_registry, until},
};

pub const USER: &str = "puller";
pub const PASSWORD: &str = "s3cret-pass";
/// Made with `perl -e 'print crypt("s3cret-pass", q($2b$05$abcdefghijklmnopqrstuu))'`.
pub const HTPASSWD: &str = "puller:$2b$05$abcdefghijklmnopqrstuuV7fpPozvyqJfnY19y0802WTlXUm6Rjy\n";

/// Pushes to the registry that wants a password; pinned.
pub fn push(model: &Model, name: &str) -> Reference {
    model.push_with(
        guarded_registry(),
        name,
        &["--username", USER, "--password", PASSWORD],
    )
}

/// Applies a pull secret as `kubectl create secret docker-registry` makes it.
pub async fn pull_secret(stage: &Stage, name: &str, host: &str, password: &str) {
    let auth = STANDARD.encode(format!("{USER}:{password}"));
    let config = json!({"auths": {host: {"auth": auth}}}).to_string();
    secret(
        stage,
        name,
        "kubernetes.io/dockerconfigjson",
        ".dockerconfigjson",
        &config,
    )
    .await;
}

async fn secret(stage: &Stage, name: &str, kind: &str, key: &str, content: &str) {
    apply(
        &stage.client,
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": kind,
            "metadata": {"name": name, "namespace": stage.namespace},
            "stringData": {key: content}
        }),
    )
    .await;
}

/// What is wrong with the secret at first.
enum Wrong {
    Absent,
    Type,
    Content,
    Password,
    Host,
}

#[test_case(Wrong::Absent, "CredentialsMissing", "kubectl create secret docker-registry regcred"; "absent")]
#[test_case(Wrong::Type, "MalformedCredentials", "kubernetes.io/dockerconfigjson"; "of the wrong type")]
#[test_case(Wrong::Content, "MalformedCredentials", ""; "with credentials that are none")]
#[test_case(Wrong::Password, "RegistryDenied", "correct the pull secret"; "with the wrong password")]
#[test_case(Wrong::Host, "RegistryDenied", ""; "for another host")]
#[tokio::test]
async fn a_pull_secret_that_is(wrong: Wrong, reason: &str, says: &str) {
    let stage = Stage::new().await;
    let reference = push(&Model::signed(), &format!("secrets/{}", stage.namespace));
    match wrong {
        Wrong::Absent => {}
        Wrong::Type => secret(&stage, "regcred", "Opaque", ".dockerconfigjson", "{}").await,
        // The API server itself wants a JSON object under this key.
        Wrong::Content => {
            let content = json!({"auths": {guarded_registry(): {"auth": "!"}}}).to_string();
            secret(
                &stage,
                "regcred",
                "kubernetes.io/dockerconfigjson",
                ".dockerconfigjson",
                &content,
            )
            .await;
        }
        Wrong::Password => pull_secret(&stage, "regcred", guarded_registry(), "wrong").await,
        Wrong::Host => pull_secret(&stage, "regcred", "other.example", PASSWORD).await,
    }
    stage
        .model_with("digits", &reference.to_string(), json!({"pullSecret": "regcred"}))
        .await;
    let message = stage.reason("digits", reason).await;
    assert!(message.contains(says), "{message}");
    for secret in [PASSWORD, "wrong", &STANDARD.encode(format!("{USER}:{PASSWORD}"))] {
        let status = serde_json::to_string(
            &stage
                .api::<probity::api::v1alpha1::ModelDeployment>()
                .get("digits")
                .await
                .unwrap()
                .status,
        )
        .unwrap();
        assert!(
            !status.contains(&format!("\"{secret}\"")) && !message.contains(PASSWORD),
            "{status}"
        );
    }

    let _ = stage
        .api::<Secret>()
        .delete("regcred", &DeleteParams::default())
        .await;
    pull_secret(&stage, "regcred", guarded_registry(), PASSWORD).await;
    stage.roll_out("digits", reference.digest().unwrap()).await;
    stage.reason("digits", "Serving").await;
}

#[tokio::test]
async fn no_pull_secret_where_one_is_needed() {
    let stage = Stage::new().await;
    let reference = push(&Model::signed(), &format!("secrets/{}", stage.namespace));
    stage.model("digits", &reference.to_string()).await;
    let message = stage.reason("digits", "RegistryDenied").await;
    assert!(message.contains("name a pull secret"), "{message}");
}

/// A secret of another namespace is nobody's here.
#[tokio::test]
async fn a_pull_secret_of_another_namespace_is_not_read() {
    let (stage, other) = (Stage::new().await, Stage::bare().await);
    pull_secret(&other, "regcred", guarded_registry(), PASSWORD).await;
    let reference = push(&Model::signed(), &format!("secrets/{}", stage.namespace));
    stage
        .model_with("digits", &reference.to_string(), json!({"pullSecret": "regcred"}))
        .await;
    stage.reason("digits", "CredentialsMissing").await;
}

/// The secret is mounted where the model is fetched and nowhere else.
#[tokio::test]
async fn the_server_does_not_get_the_credentials() {
    let stage = Stage::new().await;
    pull_secret(&stage, "regcred", guarded_registry(), PASSWORD).await;
    let reference = push(&Model::signed(), &format!("secrets/{}", stage.namespace));
    stage
        .model_with("digits", &reference.to_string(), json!({"pullSecret": "regcred"}))
        .await;
    let deployment = stage.deployed("digits", reference.digest().unwrap()).await;
    let pod = deployment.spec.unwrap().template.spec.unwrap();
    let mounts = |container: &k8s_openapi::api::core::v1::Container| {
        container
            .volume_mounts
            .iter()
            .flatten()
            .any(|mount| mount.name == "probity-credentials")
    };
    assert!(mounts(&pod.init_containers.unwrap()[0]));
    assert!(!pod.containers.iter().any(mounts));
    // Another secret makes another verification: a verdict is never shared across credentials.
    let before = stage.verifications().await;
    pull_secret(&stage, "other", guarded_registry(), PASSWORD).await;
    stage
        .change(
            "digits",
            json!({"model": {"source": {"oci": {"pullSecret": "other"}}}}),
        )
        .await;
    until(
        &stage.api::<k8s_openapi::api::apps::v1::Deployment>(),
        "digits",
        "it mounts the other secret",
        |deployment| {
            serde_json::to_string(&deployment.spec)
                .unwrap()
                .contains("\"secretName\":\"other\"")
        },
    )
    .await;
    assert_ne!(
        stage.verifications().await[0].metadata.name,
        before[0].metadata.name
    );
}
