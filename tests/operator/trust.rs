//! Policies, trust roots and namespaces change, and every model they concern is looked at again without being touched.
//! What is wrong with one of them harms only those who rest on it, and says so.

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Namespace};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use probity::api::{
    GOVERNED_LABEL,
    v1alpha1::{ClusterDeploymentPolicy, ModelDeployment, TrustRoot},
};
use serde_json::{Value, json};
use test_case::test_case;

use crate::{
    artifacts::{Model, release_pem, run, stranger_pem},
    stage::{Stage, apply, condition, policy, serves, until},
};

fn rsa() -> String {
    let temp = tempfile::tempdir().unwrap();
    let at = |name: &str| temp.path().join(name).display().to_string();
    let openssl = || std::process::Command::new("openssl");
    run(openssl().args([
        "genpkey",
        "-algorithm",
        "RSA",
        "-pkeyopt",
        "rsa_keygen_bits:2048",
        "-out",
        &at("key"),
    ]));
    run(openssl().args(["pkey", "-in", &at("key"), "-pubout"]))
}

fn no_key() -> String {
    "-----BEGIN PUBLIC KEY-----\nbm90IGEga2V5\n-----END PUBLIC KEY-----\n".into()
}

/// A trust root that holds no usable key: the policy, the trust root and the model say so, and the good key helps.
#[test_case(|| None, "TrustRootMissing"; "is absent")]
#[test_case(|| Some(("release".into(), no_key())), "TrustRootInvalid"; "has a PEM that is no key")]
#[test_case(|| Some(("release".into(), rsa())), "TrustRootInvalid"; "has an RSA key")]
#[test_case(|| Some(("another".into(), release_pem().into())), "TrustRootInvalid"; "does not have the key that is named")]
#[tokio::test]
async fn a_trust_root_that(key: fn() -> Option<(String, String)>, reason: &str) {
    let stage = Stage::bare().await;
    let key = key();
    if let Some((name, pem)) = &key {
        stage.trust(&[(name, pem)]).await;
    }
    stage.policy(json!({})).await;
    let reference = Model::signed().push(&format!("trust/{}", stage.namespace));
    stage.model("digits", &reference.to_string()).await;

    let message = stage.reason("digits", reason).await;
    assert!(message.contains(&stage.namespace), "which one: {message}");
    assert_eq!(stage.names::<Deployment>().await, [] as [&str; 0]);
    let ready = |wanted: &'static str| {
        move |policy: &ClusterDeploymentPolicy| {
            let conditions = policy
                .status
                .as_ref()
                .and_then(|status| status.conditions.as_ref());
            let ready = conditions
                .into_iter()
                .flatten()
                .find(|condition| condition.type_ == "Ready");
            ready.is_some_and(|ready| ready.reason == wanted)
        }
    };
    let missing = if reason == "TrustRootMissing" {
        "TrustRootMissing"
    } else {
        "TrustRootInvalid"
    };
    until(&stage.policies(), &stage.namespace, reason, ready(missing)).await;
    if key.is_some_and(|(name, _)| name == "release") {
        until(
            &stage.trust_roots(),
            &stage.namespace,
            reason,
            |root: &TrustRoot| root.status.as_ref().is_some_and(|status| status.keys == Some(0)),
        )
        .await;
    }

    stage.trust(&[("release", release_pem())]).await;
    stage.roll_out("digits", reference.digest().unwrap()).await;
    stage.reason("digits", "Serving").await;
    until(
        &stage.policies(),
        &stage.namespace,
        "it is applied",
        ready("Applied"),
    )
    .await;
}

/// A name of a signer that the schema lets through: the API server refuses the typing error itself.
#[tokio::test]
async fn a_policy_that_names_a_signer_that_does_not_exist_is_refused_by_the_api_server() {
    let stage = Stage::bare().await;
    let policy: ClusterDeploymentPolicy = serde_json::from_value(policy(
        &stage.namespace,
        &stage.namespace,
        json!({"signers": ["relaese"]}),
    ))
    .unwrap();
    let error = stage
        .policies()
        .create(&kube::api::PostParams::default(), &policy)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("names relaese, which spec.signers does not define"),
        "{error}"
    );
}

#[tokio::test]
async fn a_namespace_without_a_policy_serves_nothing_until_one_comes_and_goes_on_when_it_goes() {
    let stage = Stage::bare().await;
    stage.trust(&[("release", release_pem())]).await;
    let reference = Model::signed().push(&format!("trust/{}", stage.namespace));
    stage.model("digits", &reference.to_string()).await;
    let message = stage.reason("digits", "NoPolicy").await;
    assert!(message.contains("ClusterDeploymentPolicy"), "{message}");
    stage.policy(json!({})).await;
    stage.roll_out("digits", reference.digest().unwrap()).await;
    stage.reason("digits", "Serving").await;
    stage
        .policies()
        .delete(&stage.namespace, &DeleteParams::default())
        .await
        .unwrap();
    stage.reason("digits", "NoPolicy").await;
    let model = stage.api().get("digits").await.unwrap();
    assert_eq!(serves(&model), reference.digest(), "what serves goes on");
    assert_eq!(
        model.status.unwrap().serving.unwrap().signers[0].name,
        "release",
        "and who signed it is known"
    );
}

#[tokio::test]
async fn a_namespace_that_loses_its_label_and_gets_it_back() {
    let stage = Stage::new().await;
    let reference = Model::signed().push(&format!("trust/{}", stage.namespace));
    stage.serve("digits", &reference).await;
    let touched = stage
        .api::<ModelDeployment>()
        .get("digits")
        .await
        .unwrap()
        .metadata
        .generation;
    let namespaces: Api<Namespace> = Api::all(stage.client.clone());
    let label = async |value: Value| {
        let patch = json!({"metadata": {"labels": {GOVERNED_LABEL: value}}});
        namespaces
            .patch(&stage.namespace, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
    };
    label(Value::Null).await;
    let message = stage.reason("digits", "NoPolicy").await;
    assert!(message.contains(GOVERNED_LABEL), "{message}");
    label(json!("True")).await;
    label(json!("true")).await;
    stage.reason("digits", "Serving").await;
    assert_eq!(
        stage
            .api::<ModelDeployment>()
            .get("digits")
            .await
            .unwrap()
            .metadata
            .generation,
        touched
    );
}

#[tokio::test]
async fn a_key_that_is_replaced_is_looked_for_at_once() {
    let stage = Stage::new().await;
    let by_stranger = Model::signed_by_stranger().push(&format!("trust/{}", stage.namespace));
    stage.model("digits", &by_stranger.to_string()).await;
    stage.reason("digits", "SignerMismatch").await;
    stage.trust(&[("release", stranger_pem())]).await;
    stage.roll_out("digits", by_stranger.digest().unwrap()).await;
    stage.reason("digits", "Serving").await;
    stage.trust(&[("release", release_pem())]).await;
    let message = stage.reason("digits", "SignerMismatch").await;
    assert!(message.contains("goes on serving"), "{message}");
    let verifications = stage.verifications().await;
    assert_eq!(
        verifications.len(),
        1,
        "verdicts under keys that nobody asks for are cleared away"
    );
}

#[tokio::test]
async fn two_policies_must_both_be_satisfied() {
    let stage = Stage::new().await;
    let reference = Model::signed().push(&format!("trust/{}", stage.namespace));
    stage.serve("digits", &reference).await;
    let other = format!("{}-strict", stage.namespace);
    apply(
        &stage.client,
        crate::stage::trust_root(&other, &[("release", stranger_pem())]),
    )
    .await;
    apply(&stage.client, policy(&other, &stage.namespace, json!({}))).await;
    stage.reason("digits", "SignerMismatch").await;
    let model = stage.api::<ModelDeployment>().get("digits").await.unwrap();
    let findings = model.status.clone().unwrap().findings.unwrap();
    assert_eq!(findings.len(), 2);
    assert_eq!(
        findings[0].policy.as_deref(),
        Some(format!("ClusterDeploymentPolicy/{other}").as_str())
    );
    assert_eq!(
        condition(&model, "ArtifactVerified").unwrap().status,
        "True",
        "it is what release signed"
    );
    stage
        .policies()
        .delete(&other, &DeleteParams::default())
        .await
        .unwrap();
    stage.reason("digits", "Serving").await;
}

/// A policy that cannot be applied denies where it selects, and nowhere else.
#[tokio::test]
async fn a_broken_policy_harms_only_those_it_selects() {
    let (broken, fine) = (Stage::new().await, Stage::new().await);
    broken
        .policy(json!({"repositories": ["registry.example/models**"]}))
        .await;
    let reference = Model::signed().push(&format!("trust/{}", fine.namespace));
    broken.model("digits", &reference.to_string()).await;
    let message = broken.reason("digits", "PolicyInvalid").await;
    assert!(message.contains("spec.model.repositories[0]"), "{message}");
    fine.serve("digits", &reference).await;
}
