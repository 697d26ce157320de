//! What an artifact can be other than the model that somebody trusted signed: refused for good, with the reason.
//! The last good model, where there is one, is served on.

use k8s_openapi::api::apps::v1::Deployment;
use serde_json::json;
use test_case::test_case;

use crate::{
    artifacts::{Model, WEIGHTS, run},
    stage::{Stage, candidate, condition, serves},
    testbed,
};

#[test_case(|| Model::signed().altered(WEIGHTS), "DigestMismatch", WEIGHTS; "altered weights")]
#[test_case(Model::plain, "Unsigned", "release"; "no signature")]
#[test_case(Model::signed_by_stranger, "SignerMismatch", "release"; "signed by a stranger")]
#[test_case(|| Model::signed().with("extra.py", "import os"), "UnsignedFile", "extra.py"; "a file the signature does not list")]
#[test_case(|| Model::signed().without("labels/classes.txt"), "MissingFile", "labels/classes.txt"; "a file of the signature is missing")]
#[test_case(|| Model::signed().at_path("config.json", "../config.json"), "MalformedPath", "config.json"; "a path that climbs out")]
#[test_case(|| Model::signed().layered_as(WEIGHTS, "application/vnd.cncf.model.weight.v1.tar"), "UnsupportedMediaType", "tar"; "a layer that is an archive")]
#[test_case(|| Model::plain().of_type("application/vnd.example.sbom.v1"), "NotAModel", ""; "an artifact that is no model")]
#[test_case(|| Model::plain().with("model.sig", "{\"mediaType\":"), "MalformedBundle", ""; "a bundle cut in half")]
#[test_case(|| Model::plain().with("model.sig", vec![b' '; 33 << 20]), "LimitExceeded", ""; "a bundle over the cap")]
#[tokio::test]
async fn is_refused(artifact: fn() -> Model, reason: &str, says: &str) {
    let stage = Stage::new().await;
    let good = Model::signed().push(&format!("content/{}-good", stage.namespace));
    stage.serve("digits", &good).await;
    let bad = artifact().push(&format!("content/{}-bad", stage.namespace));
    stage.ask("digits", &bad.to_string()).await;

    let message = stage.reason("digits", reason).await;
    assert!(message.contains(says), "{message}");
    assert!(message.contains("serves on"), "{message}");
    let model = stage.api().get("digits").await.unwrap();
    assert_eq!((serves(&model), candidate(&model)), (good.digest(), bad.digest()));
    assert_eq!(condition(&model, "PolicySatisfied").unwrap().status, "False");
    assert_eq!(condition(&model, "Available").unwrap().status, "True");
    assert!(condition(&model, "Stalled").is_some());
    stage.deployed("digits", good.digest().unwrap()).await;
    let event = stage.event("digits", reason).await;
    assert_eq!(event.type_.as_deref(), Some("Warning"));
    assert!(event.note.unwrap().contains(says));
}

#[tokio::test]
async fn refused_from_the_beginning_nothing_runs() {
    let stage = Stage::new().await;
    let bad = Model::signed()
        .altered(WEIGHTS)
        .push(&format!("content/{}", stage.namespace));
    stage.model("digits", &bad.to_string()).await;
    let message = stage.reason("digits", "DigestMismatch").await;
    assert!(
        message.contains("release") && message.contains("sign the new version or roll back"),
        "{message}"
    );
    assert_eq!(stage.names::<Deployment>().await, [] as [&str; 0]);
}

#[tokio::test]
async fn a_signed_model_from_another_repository_is_refused() {
    let stage = Stage::new().await;
    stage
        .policy(json!({"repositories": [format!("{}/content/allowed/*", testbed::registry())]}))
        .await;
    let elsewhere = Model::signed().push(&format!("content/elsewhere/{}", stage.namespace));
    stage.model("digits", &elsewhere.to_string()).await;
    let message = stage.reason("digits", "RepositoryNotAllowed").await;
    assert!(message.contains("content/elsewhere"), "{message}");
    let allowed = Model::signed().push(&format!("content/allowed/{}", stage.namespace));
    stage.ask("digits", &allowed.to_string()).await;
    stage.roll_out("digits", allowed.digest().unwrap()).await;
    stage.reason("digits", "Serving").await;
}

#[tokio::test]
async fn a_revoked_candidate_is_refused_and_what_is_revoked_while_it_serves_says_so() {
    let stage = Stage::new().await;
    let first = Model::signed().push(&format!("content/{}-a", stage.namespace));
    let second = Model::signed()
        .layered_as("labels/classes.txt", "application/vnd.cncf.model.doc.v1.raw")
        .push(&format!("content/{}-b", stage.namespace));
    assert_ne!(first.digest(), second.digest());
    stage.serve("digits", &first).await;
    let revoked = |digests: &[_]| {
        let list: Vec<_> = digests
            .iter()
            .map(|digest| json!({"digest": digest, "reason": "poisoned"}))
            .collect();
        json!({"revoked": list})
    };
    stage.policy(revoked(&[second.digest()])).await;
    stage.ask("digits", &second.to_string()).await;
    let message = stage.reason("digits", "Revoked").await;
    assert!(
        message.contains("poisoned") && message.contains("serves on"),
        "{message}"
    );
    stage.ask("digits", &first.to_string()).await;
    stage.reason("digits", "Serving").await;

    stage.policy(revoked(&[first.digest()])).await;
    let message = stage.reason("digits", "Revoked").await;
    assert!(message.contains("goes on serving"), "{message}");
    let model = stage.api().get("digits").await.unwrap();
    assert_eq!((serves(&model), candidate(&model)), (first.digest(), None));
    let deployment = stage.deployed("digits", first.digest().unwrap()).await;
    assert_eq!(deployment.spec.unwrap().replicas, Some(1));
    stage.event("digits", "Revoked").await;
    stage.policy(json!({})).await;
    stage.reason("digits", "Serving").await;
}

#[tokio::test]
async fn a_tag_that_names_an_image_index_is_no_model() {
    let stage = Stage::new().await;
    let name = format!("content/{}", stage.namespace);
    Model::signed().push(&name);
    let repository = format!("{}/{name}", testbed::registry());
    run(testbed::tool("oras", &["oras"])
        .args(["manifest", "index", "create", "--plain-http"])
        .args([format!("{repository}:index"), "1".into()]));
    stage.model("digits", &format!("{repository}:index")).await;
    let ready = stage
        .until("digits", "it is refused", |model| {
            condition(model, "Ready")
                .is_some_and(|ready| ["NotAModel", "UnsupportedMediaType"].contains(&ready.reason.as_str()))
        })
        .await;
    assert!(condition(&ready, "Stalled").is_some());
}
