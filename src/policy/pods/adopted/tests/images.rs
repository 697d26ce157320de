//! Images by tag at the door: what is known of them is in the status of the model, and nobody is asked.

use serde_json::{Value, json};
use test_case::test_case;

use super::super::*;
use crate::{
    api::GOVERNED_LABEL,
    evidence::Verdict,
    policy::{pods::judge as door, samples::rules, samples::signer},
    workload::{Plans, samples},
};

const IMAGE: &str = "registry.example/server:1";
const SERVER: Digest = Digest::from_bytes([0x5e; 32]);

/// A Deployment whose model lies on a claim, and its model, of whose images this is written down.
fn model(images: &Value) -> ModelDeployment {
    serde_json::from_value(json!({
        "apiVersion": "probity.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "digits", "namespace": "bank", "uid": "md"},
        "spec": {
            "model": {"source": {"volume": {"claimName": "models"}}},
            "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "server"}
        },
        "status": {"workload": {"pods": 0, "proven": 0, "images": images}}
    }))
    .unwrap()
}

fn world() -> World {
    World {
        rules: vec![rules(vec![signer("release", &[1])])],
        namespaces: [(
            "bank".to_owned(),
            [(GOVERNED_LABEL.to_owned(), "true".to_owned())].into(),
        )]
        .into(),
        ..World::default()
    }
}

/// The pod as its controller makes it from a template with these containers.
fn pod(containers: &Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "server-a", "namespace": "bank", "labels": {MODEL_LABEL: "digits"}, "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "server-1", "uid": "rs", "controller": true}
        ]},
        "spec": {"containers": containers}
    }))
    .unwrap()
}

/// What the door says of the pod after it was given what it lacks.
fn asked(images: &Value, containers: &Value) -> Decision {
    let (model, world, mut pod) = (model(images), world(), pod(containers));
    let now = Timestamp::UNIX_EPOCH;
    let recorded = Recorded {
        model: Some(&model),
        verifications: &[],
    };
    let settings = samples::settings();
    let way = ways(&model, recorded, &world, &settings, now).remove(0);
    pod.spec = Some(fit(pod.spec.as_ref().unwrap(), &way.adoption.unwrap(), &settings).unwrap());
    let owners = ["ReplicaSet", "Deployment"].map(|kind| WorkloadRef {
        api_version: "apps/v1".into(),
        kind: kind.into(),
        name: if kind == "Deployment" {
            "server"
        } else {
            "server-1"
        }
        .into(),
    });
    let request = PodRequest {
        namespace: "bank",
        requester: managed::MAKER,
        pod: &pod,
        spec: &serde_json::to_value(&pod.spec).unwrap(),
        old: None,
        owners: &owners,
    };
    door(&request, recorded, &world, &Plans::new(settings), now)
}

fn one(image: &str) -> Value {
    json!([{"name": "server", "image": image}])
}

#[test_case(json!([]), IMAGE => (Some(Reason::NotYetResolved), Verdict::Unknown); "a tag nobody knows")]
#[test_case(json!([{"image": IMAGE, "reason": "NotFound", "message": "push it"}]), IMAGE => (Some(Reason::NotYetResolved), Verdict::Unknown); "a tag that could not be resolved")]
#[test_case(json!([{"image": IMAGE, "digest": SERVER}]), IMAGE => (None, Verdict::Pass); "a tag that is known")]
#[test_case(json!([{"image": IMAGE, "digest": SERVER, "retained": true}]), IMAGE => (None, Verdict::Pass); "a tag of an earlier template")]
#[test_case(json!([]), &format!("registry.example/server@{SERVER}") => (None, Verdict::Pass); "a digest")]
#[test_case(json!([{"image": IMAGE, "digest": SERVER}]), &format!("{IMAGE}@{}", Digest::from_bytes([1; 32])) => (Some(Reason::PodNotAsPlanned), Verdict::Fail); "pinned by somebody else to another")]
#[test_case(json!([]), "registry.example/Server" => (Some(Reason::PodNotAsPlanned), Verdict::Fail); "no name of an image")]
#[allow(clippy::needless_pass_by_value, reason = "rows of a table are values")]
fn an_image(written: Value, image: &str) -> (Option<Reason>, Verdict) {
    let decision = asked(&written, &one(image));
    assert_eq!(decision.admits(), decision.verdict == Verdict::Pass);
    (decision.reason(), decision.verdict)
}

#[test]
fn the_refusal_names_image_and_container_and_why() {
    let failed = json!([{"image": IMAGE, "reason": "NotFound", "message": "the registry does not have it"}]);
    let containers =
        json!([{"name": "server", "image": IMAGE}, {"name": "agent", "image": "istio/proxyv2:1.26"}]);
    let decision = asked(&failed, &containers);
    let message = decision.message();
    for part in [
        "spec.containers[server].image: registry.example/server:1 ",
        "the registry does not have it",
        "spec.containers[agent].image: istio/proxyv2:1.26 ",
        "pinned by digest where it is configured",
    ] {
        assert!(message.contains(part), "{part} is not in: {message}");
    }
}

#[test]
fn what_is_wrong_with_the_pod_comes_before_what_is_not_known_yet() {
    let mut world = world();
    assert!(fits_pods(&model(&json!([])), &world));
    world.rules.clear();
    assert!(!fits_pods(&model(&json!([])), &world), "nobody asks for anything");
    let containers = json!([{"name": "server", "image": IMAGE}, {"name": "odd", "image": "Odd"}]);
    assert_eq!(
        asked(&json!([]), &containers).reason(),
        Some(Reason::PodNotAsPlanned)
    );
}
