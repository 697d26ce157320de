//! A waiver that ends while what it is for serves, with nobody there: nothing but the clock moves. What is done then is what
//! policy has done about anything that it no longer admits.

use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api, Client, ResourceExt as _,
    api::{Patch, PatchParams},
};
use probity::{api::v1alpha1::ModelDeployment, evidence::Digest};
use serde_json::{Value, json};

use crate::{
    artifacts::{Model, release_pem},
    responses::{gate, on_violation, pod, reached},
    stage::{
        Operator, Stage, admin, apply, bank, condition, grant, model, policy, runs, shared_hosts, trust_root,
        until,
    },
    testbed::{self, Server},
};

/// At most so long after a waiver is over its model says so.
const SOON: SignedDuration = SignedDuration::from_secs(5);

/// So many seconds from now, as Kubernetes keeps time.
fn seconds(ahead: i64) -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second() + ahead).unwrap()
}

/// Nobody admits here, so that it says itself who made it.
fn waiver(namespace: &str, name: &str, expires: Timestamp) -> Value {
    json!({
        "apiVersion": "probity.dev/v1alpha1", "kind": "Waiver", "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "rules": ["model.signature"], "subject": {"modelDeployment": "digits"}, "expires": expires,
            "reason": "the vendor signs from next week on", "approvedBy": "ada@bank.example"
        }
    })
}

fn says(model: &ModelDeployment, kind: &str, reason: &str) -> bool {
    condition(model, kind).is_some_and(|condition| condition.reason == reason)
}

fn message(model: &ModelDeployment, kind: &str) -> String {
    condition(model, kind).map_or_else(String::new, |condition| condition.message.clone())
}

fn waived(model: &ModelDeployment) -> bool {
    says(model, "Ready", "Serving") && says(model, "PolicySatisfied", "Waived")
}

/// It was said in time, and by whom the waiver was. Returns how long it took.
fn turned(model: &ModelDeployment, expires: Timestamp) -> SignedDuration {
    let late = Timestamp::now().duration_since(expires);
    assert!(!late.is_negative() && late < SOON, "{late:#}");
    assert!(says(model, "PolicySatisfied", "Unsigned"), "{model:?}");
    for kind in ["Ready", "PolicySatisfied"] {
        let message = message(model, kind);
        assert!(
            message.contains("by ada@bank.example was over at"),
            "{kind}: {message}"
        );
    }
    let findings = model.status.as_ref().unwrap().findings.as_ref().unwrap();
    assert!(findings.iter().all(|finding| finding.waived_by.is_none()));
    late
}

#[tokio::test]
async fn what_serves_under_a_waiver_turns_when_it_is_over_by_itself() {
    let stage = Stage::new().await;
    on_violation(&stage, "Quarantine", 3600).await;
    let reference = Model::plain().push(&format!("waivers/{}", stage.namespace));
    let digest = reference.digest().unwrap();
    for name in ["digits", "letters"] {
        stage.model(name, &reference.to_string()).await;
        stage.reason(name, "Unsigned").await;
    }
    let expires = seconds(20);
    apply(&stage.client, waiver(&stage.namespace, "until-signed", expires)).await;
    stage.roll_out("digits", digest).await;
    let serving = stage.until("digits", "it serves, waived", waived).await;
    let satisfied = message(&serving, "PolicySatisfied");
    for words in ["ada@bank.example", &expires.to_string(), "Waiver until-signed"] {
        assert!(satisfied.contains(words), "{words}: {satisfied}");
    }
    let event = stage.event("digits", "Waived").await;
    assert!(event.note.unwrap().contains("ada@bank.example"));
    pod(&stage, "digits", "digits-1").await;
    gate(&stage, "digits-1", true).await;
    assert!(reached(&stage, "digits").await);
    let other = stage.api::<ModelDeployment>().get("letters").await.unwrap();
    assert!(says(&other, "Ready", "Unsigned"), "{other:?}");
    assert!(
        Timestamp::now() < expires,
        "the machine is too slow for this test"
    );

    let model = stage.until("digits", "it is quarantined", |model| {
        says(model, "Ready", "QuarantinePartial")
    });
    let late = turned(&model.await, expires);
    println!("said {late:#} after it was over");
    gate(&stage, "digits-1", false).await;
    assert!(!reached(&stage, "digits").await);
    let event = stage.event("digits", "QuarantinePartial").await;
    assert!(event.note.unwrap().contains("was over at"));

    // Whoever takes it upon themselves again makes another one.
    apply(
        &stage.client,
        waiver(&stage.namespace, "once-more", seconds(3600)),
    )
    .await;
    gate(&stage, "digits-1", true).await;
    stage.event("digits", "Released").await;
    stage.until("digits", "it serves, waived again", waived).await;
    assert!(reached(&stage, "digits").await);
}

/// Plays the Deployment controller on an API server of the test's own.
async fn rolls_out(client: &Client, digest: Digest) {
    let api: Api<Deployment> = Api::namespaced(client.clone(), "bank");
    let deployment = until(&api, "digits", "it runs the model", |deployment| {
        runs(deployment) == Some(digest)
    })
    .await;
    let status = json!({"status": {
        "observedGeneration": deployment.metadata.generation,
        "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1, "readyReplicas": 1
    }});
    api.patch_status(
        &deployment.name_any(),
        &PatchParams::default(),
        &Patch::Merge(status),
    )
    .await
    .unwrap();
}

/// Ended before, started after it: what the one said last, the next one takes back.
#[tokio::test]
async fn an_operator_that_starts_after_the_end_of_a_waiver_says_so_at_once() {
    let server = Server::start("apiserver", &[], &[]).unwrap();
    let kubeconfig: PathBuf = server.ready.clone().into();
    let client = admin(&kubeconfig).await;
    grant(&client).await;
    testbed::install(&client).await;
    apply(&client, bank(true)).await;
    apply(&client, trust_root("platform", &[("release", release_pem())])).await;
    let mut platform = policy("platform", "bank", json!({}));
    platform["spec"]["onViolation"] = json!({"action": "Stop", "gracePeriodSeconds": 0});
    apply(&client, platform).await;
    let reference = Model::plain().push("waivers/restarted");
    apply(
        &client,
        model("bank", "digits", &reference.to_string(), json!({})),
    )
    .await;
    let models: Api<ModelDeployment> = Api::namespaced(client.clone(), "bank");
    let first = Operator::start(&kubeconfig, shared_hosts());
    until(&models, "digits", "it is refused", |model| {
        says(model, "Ready", "Unsigned")
    })
    .await;
    let expires = seconds(15);
    apply(&client, waiver("bank", "until-signed", expires)).await;
    rolls_out(&client, reference.digest().unwrap()).await;
    until(&models, "digits", "it serves, waived", waived).await;
    first.end();
    assert!(
        Timestamp::now() < expires,
        "the machine is too slow for this test"
    );
    let left = expires.duration_since(Timestamp::now());
    tokio::time::sleep(left.try_into().unwrap()).await;
    let before = models.get("digits").await.unwrap();
    assert!(waived(&before), "nobody was there to say anything else");

    let second = Operator::start(&kubeconfig, shared_hosts());
    second.answers("/readyz", 200).await;
    let began = Timestamp::now();
    let after = until(&models, "digits", "it is stopped", |model| {
        says(model, "Ready", "Stopped")
    })
    .await;
    let late = turned(&after, began.max(expires));
    println!("said {late:#} after the next operator was ready");
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "bank");
    until(&deployments, "digits", "nothing of it is wanted", |deployment| {
        deployment.spec.as_ref().unwrap().replicas == Some(0)
    })
    .await;
    second.end();
}
