//! Policies of a namespace, policies that only warn, approvals that end: what they do to a model while nobody touches it,
//! and what the policies' own statuses count.

use jiff::Timestamp;
use kube::api::DeleteParams;
use probity::api::v1alpha1::{DeploymentPolicy, ModelDeployment, PolicyStatus};
use serde_json::{Value, json};

use crate::{
    artifacts::Model,
    stage::{Stage, apply, condition, until},
};

/// A policy of the stage's namespace, satisfied by `release` and by what lies in this repository.
pub fn own(stage: &Stage, effect: &str, repository: &str) -> Value {
    json!({
        "apiVersion": "probity.dev/v1alpha1",
        "kind": "DeploymentPolicy",
        "metadata": {"name": "own", "namespace": stage.namespace},
        "spec": {
            "effect": effect,
            "signers": [{"name": "release", "key": {"trustRoot": stage.namespace, "keys": ["release"]}}],
            "model": {"signers": ["release"], "repositories": [repository]}
        }
    })
}

fn counts(status: Option<&PolicyStatus>) -> Option<(i32, i32)> {
    status.and_then(|status| Some((status.denies?, status.would_deny?)))
}

async fn counted(stage: &Stage, denies: i32, would_deny: i32) {
    let what = format!("denies {denies}, would deny {would_deny}");
    until(&stage.api::<DeploymentPolicy>(), "own", &what, |policy| {
        counts(policy.status.as_ref()) == Some((denies, would_deny))
    })
    .await;
}

#[tokio::test]
async fn a_namespaces_own_policy_is_first_looked_at_and_then_obeyed() {
    let stage = Stage::new().await;
    apply(&stage.client, own(&stage, "Warn", "registry.example/elsewhere/*")).await;
    let reference = Model::signed().push(&format!("policies/{}", stage.namespace));
    stage.serve("digits", &reference).await;
    counted(&stage, 0, 1).await;
    stage
        .until("digits", "PolicySatisfied tells of it", |model| {
            condition(model, "PolicySatisfied")
                .is_some_and(|satisfied| satisfied.status == "True" && satisfied.reason == "WouldDeny")
        })
        .await;
    stage.event("digits", "WouldDeny").await;

    apply(
        &stage.client,
        own(&stage, "Enforce", "registry.example/elsewhere/*"),
    )
    .await;
    stage.reason("digits", "RepositoryNotAllowed").await;
    counted(&stage, 1, 0).await;

    apply(&stage.client, own(&stage, "Enforce", "**")).await;
    stage.reason("digits", "Serving").await;
    counted(&stage, 0, 0).await;
}

#[tokio::test]
async fn what_is_gone_counts_no_more() {
    let stage = Stage::new().await;
    apply(
        &stage.client,
        own(&stage, "Audit", "registry.example/elsewhere/*"),
    )
    .await;
    let reference = Model::signed().push(&format!("policies/{}", stage.namespace));
    stage.serve("digits", &reference).await;
    counted(&stage, 0, 1).await;
    stage
        .api::<ModelDeployment>()
        .delete("digits", &DeleteParams::default())
        .await
        .unwrap();
    counted(&stage, 0, 0).await;
}

#[tokio::test]
async fn a_namespaces_own_policy_alone_lets_nothing_serve() {
    let stage = Stage::bare().await;
    stage.trust(&[("release", crate::artifacts::release_pem())]).await;
    apply(&stage.client, own(&stage, "Audit", "**")).await;
    let reference = Model::signed().push(&format!("policies/{}", stage.namespace));
    stage.model("digits", &reference.to_string()).await;
    let message = stage.reason("digits", "NoPolicy").await;
    assert!(message.contains("can only deny more"), "{message}");
}

/// Nothing but the clock moves: the operator wakes by itself.
#[tokio::test]
async fn an_approval_is_over_when_it_says() {
    let stage = Stage::new().await;
    let reference = Model::plain().push(&format!("policies/{}", stage.namespace));
    let digest = reference.digest().unwrap();
    let expires = Timestamp::from_second(Timestamp::now().as_second() + 15).unwrap();
    stage
        .policy(json!({"approved": [{"digest": digest, "by": "Ada", "expires": expires}]}))
        .await;
    stage.model("digits", &reference.to_string()).await;
    stage.deployed("digits", digest).await;
    stage.roll_out("digits", digest).await;
    let message = stage.reason("digits", "Serving").await;
    assert!(message.ends_with("signed by Ada (approval)"), "{message}");
    let message = stage.reason("digits", "Unsigned").await;
    assert!(message.contains("the approval by Ada expired at"), "{message}");
    assert!(Timestamp::now() >= expires);
    stage.deployed("digits", digest).await;
}
