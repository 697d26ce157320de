//! Tables of what Deployments and pods may look like, also when nobody sane wrote them.
#![allow(clippy::needless_pass_by_value, reason = "rows of a table are values")]

use serde_json::{Value, json};
use test_case::test_case;

use super::{
    super::scene::{GOOD, NEXT, Scene, reference},
    *,
};

/// Two wanted replicas of generation 3, with this status.
fn deployment(status: Value) -> Deployment {
    let mut scene = Scene::serving();
    let deployment = scene.snapshot.deployment.as_mut().unwrap();
    deployment.metadata.generation = Some(3);
    deployment.status = serde_json::from_value(status).unwrap();
    deployment.clone()
}

#[test_case(json!({"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}) => true; "all of it")]
#[test_case(json!({"observedGeneration": 4, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}) => true; "a later generation seen")]
#[test_case(json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}) => false; "the status is of an earlier template")]
#[test_case(json!({"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}) => false; "no generation seen")]
#[test_case(json!({"observedGeneration": 3, "replicas": 3, "updatedReplicas": 2, "availableReplicas": 3}) => false; "an old pod is left")]
#[test_case(json!({"observedGeneration": 3, "replicas": 2, "updatedReplicas": 1, "availableReplicas": 2}) => false; "one is not updated")]
#[test_case(json!({"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 1}) => false; "one is not available")]
#[test_case(json!({"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2}) => false; "none is available")]
#[test_case(json!({"observedGeneration": 3}) => false; "no pods")]
#[test_case(json!({"observedGeneration": 3, "replicas": -2, "updatedReplicas": -2, "availableReplicas": -2}) => false; "numbers that make no sense")]
#[test_case(json!({}) => false; "an empty status")]
#[test_case(json!(null) => false; "no status")]
fn is_complete(status: Value) -> bool {
    rollout(Some(&deployment(status)), &[]).complete
}

#[test]
fn no_replicas_wanted_is_never_complete() {
    let mut deployment = deployment(json!({"observedGeneration": 3}));
    deployment.spec.as_mut().unwrap().replicas = Some(0);
    let rollout = rollout(Some(&deployment), &[]);
    assert_eq!((rollout.complete, rollout.wanted), (false, 0));
    assert_eq!(rollout.template.unwrap().digest, GOOD);
}

#[test]
fn replicas_that_nobody_wrote_are_one() {
    let mut deployment = deployment(
        json!({"observedGeneration": 3, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}),
    );
    deployment.spec.as_mut().unwrap().replicas = None;
    assert!(rollout(Some(&deployment), &[]).complete);
}

#[test]
fn nothing_there_is_nothing() {
    assert_eq!(rollout(None, &[]), Rollout::default());
    let empty: Deployment = serde_json::from_value(json!({"metadata": {}})).unwrap();
    assert_eq!(rollout(Some(&empty), &[]).template, None);
}

#[test]
fn the_template_is_read_as_it_was_written() {
    let mut scene = Scene::new();
    scene.edit("/model/source/oci/pullSecret", json!("regcred"));
    scene.step();
    scene.verified(GOOD);
    scene.step();
    let template = rollout(scene.snapshot.deployment.as_ref(), &[]).template.unwrap();
    let expected = RunningModel {
        reference: reference(GOOD),
        digest: GOOD,
        size: 604_211,
        pull_secret: Some("regcred".into()),
    };
    assert_eq!(template, expected);
}

#[test_case("/spec/template/spec", json!(null); "no pod")]
#[test_case("/spec/template/spec/initContainers", json!(null); "no init containers")]
#[test_case("/spec/template/spec/initContainers/0/name", json!("init"); "another name")]
#[test_case("/spec/template/spec/initContainers/0/args", json!(null); "no arguments")]
#[test_case("/spec/template/spec/initContainers/0/args", json!([]); "no argument")]
#[test_case("/spec/template/spec/initContainers/0/args", json!(["fetch", "--reference"]); "a flag without its value")]
#[test_case("/spec/template/spec/initContainers/0/args/2", json!("registry.example/digits:1"); "a tag")]
#[test_case("/spec/template/spec/initContainers/0/args/2", json!("--dir"); "a flag for a value")]
#[test_case("/spec/template/spec/initContainers/0/args/2", json!("\u{0}\u{202e}"); "rubbish")]
#[test_case("/spec/template/spec/initContainers/0/args/6", json!("-1"); "a negative size")]
#[test_case("/spec/template/spec/initContainers/0/args/6", json!("99999999999999999999999"); "a size beyond all bounds")]
fn a_template_that_is_not_ours_runs_nothing_we_know(pointer: &str, value: Value) {
    let mut scene = Scene::serving();
    let mut json = serde_json::to_value(scene.snapshot.deployment.take().unwrap()).unwrap();
    *json.pointer_mut(pointer).unwrap() = value;
    let deployment: Deployment = serde_json::from_value(json).unwrap();
    assert_eq!(rollout(Some(&deployment), &[]).template, None);
}

/// A pod of a Deployment that is not up yet, with this status: what the rollout says of it.
fn failing(status: Value) -> Option<(String, String)> {
    let mut scene = Scene::serving();
    scene.set_rollout(2, 2, 0);
    let pod = scene.pod("digits-1", status);
    let failure = rollout(scene.snapshot.deployment.as_ref(), &[pod]).failure?;
    Some((failure.reason, failure.message))
}

fn fetch(state: Value) -> Value {
    json!({"initContainerStatuses": [{"name": "probity-fetch", "image": "", "imageID": "", "ready": false, "restartCount": 1, "state": state}]})
}

fn server(state: Value) -> Value {
    json!({"containerStatuses": [{"name": "server", "image": "", "imageID": "", "ready": false, "restartCount": 1, "state": state}]})
}

fn ended(code: i32, message: &str) -> Value {
    json!({"terminated": {"exitCode": code, "message": message}})
}

#[test_case(json!({}) => None; "just created")]
#[test_case(fetch(json!({"waiting": {"reason": "PodInitializing"}})) => None; "being created")]
#[test_case(fetch(json!({"running": {}})) => None; "fetching")]
#[test_case(fetch(json!(null)) => None; "no state")]
#[test_case(fetch(ended(20, r#"{"reason":"DigestMismatch","message":"model.onnx differs"}"#)) => Some(("DigestMismatch".into(), "model.onnx differs".into())); "what fetch reported")]
#[test_case(fetch(ended(137, "")) => Some(("FetchFailed".into(), "fetching the model ended with exit code 137; it is tried again".into())); "killed")]
#[test_case(fetch(ended(1, "panicked at")) => Some(("FetchFailed".into(), "fetching the model ended with exit code 1; it is tried again".into())); "a report that is none")]
#[test_case(fetch(ended(1, r#"{"reason":"Say hello","message":"x"}"#)) => Some(("FetchFailed".into(), "fetching the model ended with exit code 1; it is tried again".into())); "a reason that is none")]
#[test_case(fetch(ended(1, r#"{"reason":"Timeout","reason":"Unsigned","message":"x"}"#)) => Some(("FetchFailed".into(), "fetching the model ended with exit code 1; it is tried again".into())); "a reason given twice")]
#[test_case(fetch(ended(0, "")) => None; "fetched")]
#[test_case(fetch(json!({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}})) => Some(("FetchFailed".into(), "fetching the model cannot start: ImagePullBackOff: no such image".into())); "our image cannot be pulled")]
#[test_case(server(json!({"waiting": {"reason": "PodInitializing"}})) => None; "the server waits for the model")]
#[test_case(server(json!({"waiting": {}})) => None; "the server waits for no reason")]
#[test_case(server(json!({"waiting": {"reason": "CrashLoopBackOff"}})) => Some(("ServerFailed".into(), "the server does not start: CrashLoopBackOff; see `kubectl logs` and `kubectl describe` of pod digits-1".into())); "the server crashes")]
#[test_case(server(ended(1, "x")) => Some(("ServerFailed".into(), "the server ended with exit code 1 and is started again; see `kubectl logs` and `kubectl describe` of pod digits-1".into())); "the server ended")]
#[test_case(server(json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}})) => Some(("ServerFailed".into(), "the server ended with exit code 137 (OOMKilled) and is started again; see `kubectl logs` and `kubectl describe` of pod digits-1".into())); "the server needs more memory")]
fn why_a_pod_does_not_come_up(status: Value) -> Option<(String, String)> {
    failing(status)
}

#[test]
fn a_fetch_that_failed_before_it_succeeded_is_forgotten() {
    let mut status = fetch(ended(0, ""));
    status["initContainerStatuses"][0]["lastState"] = ended(60, r#"{"reason":"Timeout","message":"slow"}"#);
    assert_eq!(failing(status), None);
}

#[test]
fn a_fetch_that_is_tried_again_says_why() {
    let mut status = fetch(json!({"running": {}}));
    status["initContainerStatuses"][0]["lastState"] = ended(60, r#"{"reason":"Timeout","message":"slow"}"#);
    assert_eq!(failing(status), Some(("Timeout".into(), "slow".into())));
}

#[test]
fn a_server_that_ends_again_and_again_is_told_the_same_all_the_time() {
    let told = [
        json!({"running": {}}),
        json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 20s"}}),
        ended(1, ""),
    ]
    .map(|state| {
        let mut status = server(state);
        status["containerStatuses"][0]["lastState"] = ended(1, "");
        failing(status)
    });
    assert!(
        told[0].is_some() && told.iter().all(|one| *one == told[0]),
        "{told:?}"
    );
}

#[test]
fn what_a_container_says_of_itself_is_bounded() {
    let flood = "x".repeat(4000);
    let report = json!({"reason": "Timeout", "message": flood}).to_string();
    for status in [
        fetch(ended(1, &report)),
        fetch(json!({"waiting": {"reason": "ErrImagePull", "message": flood}})),
        server(json!({"waiting": {"reason": flood}})),
    ] {
        assert!(failing(status).unwrap().1.chars().count() < 1200);
    }
}

#[test]
fn only_pods_of_the_template_say_why_and_the_newest_first() {
    let mut scene = Scene::serving();
    scene.set_rollout(2, 2, 0);
    let older = scene.pod(
        "older",
        fetch(ended(60, r#"{"reason":"Timeout","message":"older"}"#)),
    );
    scene.clock += 10;
    let newer = scene.pod(
        "newer",
        fetch(ended(60, r#"{"reason":"Timeout","message":"newer"}"#)),
    );
    let good = scene.snapshot.deployment.clone();
    scene.clock += 10;
    scene.tamper(
        "/spec/template/spec/initContainers/0/args/2",
        json!(reference(NEXT)),
    );
    let foreign = scene.pod(
        "foreign",
        fetch(ended(20, r#"{"reason":"DigestMismatch","message":"foreign"}"#)),
    );
    let mut bare = foreign.clone();
    bare.spec = None;
    let rollout = rollout(good.as_ref(), &[older, foreign, newer, bare]);
    assert_eq!(
        rollout.failure.map(|failure| failure.message),
        Some("newer".into())
    );
}

#[test]
fn what_is_complete_has_not_failed() {
    let scene = Scene::serving();
    let pod = scene.pod(
        "digits-1",
        server(json!({"waiting": {"reason": "CrashLoopBackOff"}})),
    );
    assert_eq!(rollout(scene.snapshot.deployment.as_ref(), &[pod]).failure, None);
}

#[test]
fn pods_that_are_refused_say_why() {
    let refusal = "admission webhook \"pods.probity.dev\" denied the request";
    let status = |state: &str| {
        json!({"observedGeneration": 3, "conditions": [
            {"type": "ReplicaFailure", "status": state, "reason": "FailedCreate", "message": refusal}
        ]})
    };
    let failure = rollout(Some(&deployment(status("True"))), &[]).failure.unwrap();
    assert_eq!(failure.reason, "PodsRefused");
    assert!(failure.message.contains(refusal), "{}", failure.message);
    assert_eq!(rollout(Some(&deployment(status("False"))), &[]).failure, None);
}
