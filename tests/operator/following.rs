//! Tags that move: a pinned one means what it meant, a followed one makes a candidate, and what served serves on.

use k8s_openapi::api::apps::v1::Deployment;
use serde_json::json;

use crate::{
    artifacts::{Model, WEIGHTS, through},
    fault_proxy::{Fault, any, path},
    stage::{Stage, candidate, condition, proxy, serves, until},
};

const INTERVAL: u64 = 5;

#[tokio::test]
async fn a_followed_tag_that_moves_makes_a_candidate() {
    let stage = Stage::new().await;
    let name = format!("following/{}", stage.namespace);
    let first = Model::signed().push(&name);
    let tag = format!("{}:1", first.name());
    stage
        .model_with(
            "digits",
            &tag,
            json!({"update": "Follow", "intervalSeconds": INTERVAL}),
        )
        .await;
    stage.roll_out("digits", first.digest().unwrap()).await;
    stage.reason("digits", "Serving").await;

    let altered = Model::signed().altered(WEIGHTS).push(&name);
    let message = stage.reason("digits", "DigestMismatch").await;
    assert!(
        message.contains(WEIGHTS) && message.contains("release"),
        "{message}"
    );
    let model = stage.api().get("digits").await.unwrap();
    assert_eq!(
        (serves(&model), candidate(&model)),
        (first.digest(), altered.digest())
    );
    assert_eq!(condition(&model, "Available").unwrap().status, "True");
    stage.deployed("digits", first.digest().unwrap()).await;

    let good = Model::signed()
        .layered_as("labels/classes.txt", "application/vnd.cncf.model.doc.v1.raw")
        .push(&name);
    let deployment = stage.deployed("digits", good.digest().unwrap()).await;
    // One pod of the new one is there, and not ready: the old one is what serves.
    stage.set_rollout(&deployment, 2, 1, 1).await;
    let message = stage.reason("digits", "RollingOut").await;
    assert!(message.contains("serves until then"), "{message}");
    let model = stage.api().get("digits").await.unwrap();
    assert_eq!(
        (serves(&model), candidate(&model)),
        (first.digest(), good.digest())
    );
    stage.roll_out("digits", good.digest().unwrap()).await;
    stage.reason("digits", "Serving").await;
    let model = stage.api().get("digits").await.unwrap();
    assert_eq!((serves(&model), candidate(&model)), (good.digest(), None));
}

#[tokio::test]
async fn a_candidate_that_is_revoked_half_way_is_rolled_back() {
    let stage = Stage::new().await;
    let first = Model::signed().push(&format!("following/{}-a", stage.namespace));
    let second = Model::signed()
        .layered_as("labels/classes.txt", "application/vnd.cncf.model.doc.v1.raw")
        .push(&format!("following/{}-b", stage.namespace));
    stage.serve("digits", &first).await;
    stage.ask("digits", &second.to_string()).await;
    let deployment = stage.deployed("digits", second.digest().unwrap()).await;
    stage.set_rollout(&deployment, 2, 1, 1).await;
    stage
        .policy(json!({"revoked": [{"digest": second.digest(), "reason": "poisoned"}]}))
        .await;
    stage.deployed("digits", first.digest().unwrap()).await;
    let message = stage.reason("digits", "Revoked").await;
    assert!(message.contains("serves on"), "{message}");
}

#[tokio::test]
async fn a_pinned_tag_that_moves_changes_nothing() {
    let stage = Stage::new().await;
    let proxy = proxy();
    let name = format!("following/{}", stage.namespace);
    let first = through(&proxy, &Model::signed().push(&name));
    stage.model("digits", &format!("{}:1", first.name())).await;
    stage.roll_out("digits", first.digest().unwrap()).await;
    stage.reason("digits", "Serving").await;
    let asked = proxy.count(path("/manifests/1"));
    Model::signed().altered(WEIGHTS).push(&name);
    stage.change("digits", json!({"server": {"port": 9000}})).await;
    let deployment = until(
        &stage.api::<Deployment>(),
        "digits",
        "it has the new port",
        |deployment| serde_json::to_string(&deployment.spec).unwrap().contains("9000"),
    )
    .await;
    stage.set_rollout(&deployment, 1, 1, 1).await;
    stage.reason("digits", "Serving").await;
    let model = stage.api().get("digits").await.unwrap();
    assert_eq!((serves(&model), candidate(&model)), (first.digest(), None));
    assert_eq!(
        proxy.count(path("/manifests/1")),
        asked,
        "the tag is not even looked at"
    );
}

#[tokio::test]
async fn a_followed_tag_that_cannot_be_looked_at_leaves_what_serves_and_says_so() {
    let stage = Stage::new().await;
    let proxy = proxy();
    let first = through(
        &proxy,
        &Model::signed().push(&format!("following/{}", stage.namespace)),
    );
    let follow = json!({"update": "Follow", "intervalSeconds": INTERVAL});
    stage
        .model_with("digits", &format!("{}:1", first.name()), follow)
        .await;
    stage.roll_out("digits", first.digest().unwrap()).await;
    stage.reason("digits", "Serving").await;
    proxy.on(any, Fault::status(500));
    stage
        .until("digits", "it says that the tag cannot be looked at", |model| {
            condition(model, "Ready").is_some_and(|ready| {
                ready.status == "True" && ready.message.contains("could not be looked at again")
            })
        })
        .await;
    proxy.heal();
    stage
        .until("digits", "it no longer says so", |model| {
            condition(model, "Ready")
                .is_some_and(|ready| ready.status == "True" && !ready.message.contains("looked at"))
        })
        .await;
}
