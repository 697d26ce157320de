use serde_json::{Value, json};
use test_case::test_case;

use super::{super::super::condition::find, *};
use crate::policy::{
    NetworkRule, Problem,
    pods::samples::{CONTENT, Scene, pod},
};

/// The status of a model whose workload has these pods.
fn told(scene: &Scene, pods: &[Value], found: &Found) -> ModelDeploymentStatus {
    refused(scene, pods, found, None)
}

/// The same, while further pods are refused.
fn refused(scene: &Scene, pods: &[Value], found: &Found, refusal: Option<&str>) -> ModelDeploymentStatus {
    let origin = scene.origin();
    let ways = scene.ways();
    let pods: Vec<_> = pods.iter().map(|value| pod(value.clone())).collect();
    let seen = Seen {
        workload: scene.model.spec.workload_ref.as_ref().unwrap(),
        origin: Ok(&origin),
        found,
        refusal: refusal.map(ToOwned::to_owned),
        ways: &ways,
        pods: &scene.standing(&pods),
        held_up: false,
        isolated: None,
        rights: Rights::default(),
        held: None,
        cut_off: None,
    };
    status(&scene.model, &seen, scene.now)
}

fn there() -> Found {
    Found {
        exists: true,
        ..Found::default()
    }
}

fn ready(status: &ModelDeploymentStatus) -> (String, String, String) {
    let ready = find(status.conditions.as_deref(), "Ready").unwrap();
    (ready.status.clone(), ready.reason.clone(), ready.message.clone())
}

#[test]
fn a_workload_whose_pods_are_all_proven_serves() {
    let scene = Scene::new();
    let status = told(
        &scene,
        &[scene.verified("a", CONTENT, 1), scene.verified("b", CONTENT, 1)],
        &there(),
    );
    assert_eq!(
        ready(&status),
        (
            "True".into(),
            "Serving".into(),
            "volume:models/digits/1 (sha256:aaaaaaaaaaaa…) serves in 2 of 2 pods of Deployment server, signed by release".into()
        )
    );
    let serving = status.serving.unwrap();
    assert_eq!(
        (serving.digest, serving.signed_by.as_str(), serving.files),
        (CONTENT, "release", 3)
    );
    assert_eq!(status.candidate, None);
    let workload = status.workload.unwrap();
    assert_eq!((workload.pods, workload.proven, workload.unproven), (2, 2, None));
}

#[test]
fn one_unproven_pod_among_many_is_named() {
    let scene = Scene::new();
    let status = told(
        &scene,
        &[scene.verified("a", CONTENT, 1), Scene::bare("b")],
        &there(),
    );
    let (state, reason, message) = ready(&status);
    assert_eq!((state.as_str(), reason.as_str()), ("False", "PodsUnproven"));
    assert!(
        message.starts_with(
            "1 of 2 pods of Deployment server are not shown to run the verified model: b: nothing verified"
        ),
        "{message}"
    );
    let unproven = status.workload.unwrap().unproven.unwrap();
    assert_eq!(
        (unproven[0].name.as_str(), unproven[0].reason.as_str()),
        ("b", "NotVerified")
    );
    assert_eq!(status.serving.unwrap().digest, CONTENT);
}

/// Whatever their names are: the newest says what is wrong now.
#[test]
fn a_pod_that_does_not_come_up_is_told_before_those_that_serve() {
    let scene = Scene::new();
    let mut fails = scene.ended(
        "z",
        60,
        r#"{"reason": "Io", "message": "there is no folder /source/digits/1"}"#,
    );
    fails["status"]["conditions"] = json!([{"type": "Ready", "status": "False"}]);
    let mut waits = scene.fitted("y");
    waits["status"] = json!({"conditions": [
        {"type": "PodScheduled", "status": "False", "message": "no claim"}
    ]});
    let status = told(&scene, &[Scene::bare("a"), waits, fails], &there());
    let (_, reason, message) = ready(&status);
    assert_eq!(reason, "PodsUnproven");
    assert!(
        message.ends_with(": z: there is no folder volume:models/digits/1; y: it is not scheduled: no claim"),
        "{message}"
    );
    let verified = find(status.conditions.as_deref(), "ArtifactVerified").unwrap();
    assert_eq!(verified.reason, "Io");
}

#[test]
fn many_pods_make_no_long_status() {
    let scene = Scene::new();
    let pods: Vec<_> = (0..100).map(|n| Scene::bare(&format!("pod-{n}"))).collect();
    let workload = told(&scene, &pods, &there()).workload.unwrap();
    assert_eq!((workload.pods, workload.unproven.unwrap().len()), (100, MOST));
}

#[test_case(there(), &[] => "NoPods"; "no pods")]
#[test_case(Found::default(), &[] => "WorkloadNotFound"; "no workload")]
#[test_case(Found { taken_by: Some("other".into()), ..there() }, &[] => "WorkloadTaken"; "another model's workload")]
#[test_case(there(), &["fitted"] => "RollingOut"; "on its way")]
#[test_case(there(), &["bare"] => "PodsUnproven"; "from before")]
#[allow(clippy::needless_pass_by_value, reason = "rows of a table are values")]
fn reasons(found: Found, pods: &[&str]) -> String {
    let scene = Scene::new();
    let pods = pods.iter().map(|kind| match *kind {
        "fitted" => scene.fitted("a"),
        _ => Scene::bare("a"),
    });
    ready(&told(&scene, &pods.collect::<Vec<_>>(), &found)).1
}

#[test_case(&[] => ("PodsRefused".to_owned(), "Deployment server has no pods, for they are refused: why".to_owned()); "none")]
#[test_case(&["verified"] => ("Serving".to_owned(), "signed by release; further pods are refused: why".to_owned()); "all that are there serve")]
#[test_case(&["bare"] => ("PodsUnproven".to_owned(), "; further pods are refused: why".to_owned()); "those from before")]
fn what_refuses_further_pods_is_repeated(pods: &[&str]) -> (String, String) {
    let scene = Scene::new();
    let pods = pods.iter().map(|kind| match *kind {
        "verified" => scene.verified("a", CONTENT, 1),
        _ => Scene::bare("a"),
    });
    let status = refused(&scene, &pods.collect::<Vec<_>>(), &there(), Some("why"));
    let (_, reason, message) = ready(&status);
    let from = ["signed by", "; further", "Deployment"];
    let from = from.iter().find_map(|from| message.find(from));
    (reason, message[from.unwrap_or_default()..].to_owned())
}

#[test]
fn a_pod_on_its_way_says_what_it_waits_for() {
    let scene = Scene::new();
    let mut waits = scene.fitted("a");
    waits["status"] = json!({"conditions": [
        {"type": "PodScheduled", "status": "False", "message": "persistentvolumeclaim \"models\" not found"}
    ]});
    let (_, _, message) = ready(&told(&scene, &[waits], &there()));
    assert_eq!(
        message,
        "0 of 1 pods of Deployment server verified the model, 0 are ready; a: it is not scheduled: persistentvolumeclaim \"models\" not found"
    );
}

#[test]
fn a_server_that_does_not_come_up_says_why() {
    let scene = Scene::new();
    let mut fails = scene.verified("a", CONTENT, 1);
    fails["status"]["conditions"] = json!([{"type": "Ready", "status": "False"}]);
    fails["status"]["containerStatuses"] = json!([{
        "name": "server", "ready": false, "restartCount": 3, "image": "", "imageID": "",
        "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"exitCode": 3, "reason": "Error"}}
    }]);
    let found = Found {
        pods: vec![pod(fails.clone())],
        ..there()
    };
    let (_, reason, message) = ready(&told(&scene, &[fails], &found));
    assert_eq!(reason, "RollingOut");
    assert!(
        message.ends_with("0 are ready; a: the server ended with exit code 3 and is started again"),
        "{message}"
    );
}

#[test]
fn without_a_policy_nothing_serves_and_what_is_there_is_told() {
    let mut scene = Scene::new();
    scene.world.rules.clear();
    let (_, reason, message) = ready(&told(&scene, &[Scene::bare("a")], &there()));
    assert_eq!(reason, "NoPolicy");
    assert!(message.ends_with("the 1 pods there are go on"), "{message}");
}

#[test]
fn what_served_is_remembered_as_unproven_since_then() {
    let mut scene = Scene::new();
    let pods = [scene.verified("a", CONTENT, 1)];
    scene.model.status = Some(told(&scene, &pods, &there()));
    scene.policy(2, &json!({}));
    let after = told(&scene, &pods, &there());
    let serving = after.serving.clone().unwrap();
    assert_eq!(
        (serving.digest, serving.unproven_since),
        (CONTENT, Some(Time(scene.now)))
    );
    scene.model.status = Some(after.clone());
    assert_eq!(
        told(&scene, &pods, &there()),
        after,
        "a second look writes nothing"
    );
}

/// What its author asks for and policy refuses is told, and changes nothing for what serves.
#[test]
fn egress_that_is_asked_for_and_refused_is_told_and_what_serves_goes_on() {
    let mut scene = Scene::new();
    let pods = [scene.verified("a", CONTENT, 1)];
    let pinned = json!({"claimName": "models", "path": "digits/1", "digest": CONTENT});
    scene.model.spec.model.source.volume = serde_json::from_value(pinned).unwrap();
    scene.model.status = Some(told(&scene, &pods, &there()));
    let rules = &mut scene.world.rules[0];
    rules.isolation.network = Some(NetworkRule::default());
    rules.on_violation = ViolationAction::Stop;
    rules.grace_period = jiff::SignedDuration::ZERO;
    let wide = json!([{"to": [{"ipBlock": {"cidr": "192.0.0.0/16"}}], "ports": [{"port": 443}]}]);
    scene.model.spec.egress = serde_json::from_value(wide).unwrap();
    let after = told(&scene, &pods, &there());
    let (state, reason, message) = ready(&after);
    assert_eq!((state.as_str(), reason.as_str()), ("False", "EgressAboveCeiling"));
    assert!(message.ends_with("the 1 pods there are go on"), "{message}");
    let serving = after.serving.clone().unwrap();
    assert_eq!((serving.egress, serving.unproven_since), (None, None));
    scene.model.status = Some(after);
    assert_eq!(stopped(&scene, &pods), None);
}

#[test]
fn a_specification_that_makes_no_sense_is_told() {
    let scene = Scene::new();
    let problem = Problem::new(
        Reason::SpecInvalid,
        "spec.model.source",
        "needs exactly one source",
    );
    let seen = Seen {
        workload: scene.model.spec.workload_ref.as_ref().unwrap(),
        origin: Err(&problem),
        found: &there(),
        refusal: None,
        ways: &[],
        pods: &[],
        held_up: false,
        isolated: None,
        rights: Rights::default(),
        held: None,
        cut_off: None,
    };
    let status = status(&scene.model, &seen, scene.now);
    assert_eq!(ready(&status).1, "SpecInvalid");
}

#[test_case(&[] => "NotYetResolved"; "no pods, for they are refused")]
#[test_case(&["bare"] => "NotYetResolved"; "pods from before, which cannot be replaced")]
#[test_case(&["verified"] => "Serving"; "pods that serve")]
fn an_image_that_cannot_be_resolved(pods: &[&str]) -> String {
    let mut scene = Scene::new();
    let failed = json!({"image": "registry.example/server:2", "reason": "NotFound", "message": "push it"});
    scene.images(&json!([failed]));
    let pods = pods.iter().map(|kind| match *kind {
        "verified" => scene.verified("a", CONTENT, 1),
        _ => Scene::bare("a"),
    });
    let status = told(&scene, &pods.collect::<Vec<_>>(), &there());
    let (_, reason, message) = ready(&status);
    if reason == "NotYetResolved" {
        assert!(
            message.starts_with("registry.example/server:2 of the template of Deployment server ")
                && message.ends_with(": push it"),
            "{message}"
        );
    }
    assert_eq!(status.workload.unwrap().images, None, "another manager's part");
    reason
}

#[test_case(ViolationAction::Stop, 0, true => Some(2); "stopped at once")]
#[test_case(ViolationAction::Stop, 3600, true => None; "not yet")]
#[test_case(ViolationAction::Quarantine, 0, true => None; "its pods have no gate of ours")]
#[test_case(ViolationAction::Alert, 0, true => None; "alerted about")]
#[test_case(ViolationAction::Stop, 0, false => None; "what never served")]
fn what_is_revoked_is_stopped(action: ViolationAction, seconds: i64, served: bool) -> Option<usize> {
    let mut scene = Scene::new();
    let pods = [scene.verified("a", CONTENT, 1), scene.verified("b", CONTENT, 1)];
    if served {
        scene.model.status = Some(told(&scene, &pods, &there()));
    }
    let rules = &mut scene.world.rules[0];
    rules.on_violation = action;
    rules.grace_period = jiff::SignedDuration::from_secs(seconds);
    rules.revoked.insert(CONTENT, "poisoned".into());
    // One look writes down since when, and the next one acts.
    let pinned = serde_json::json!({"claimName": "models", "path": "digits/1", "digest": CONTENT});
    scene.model.spec.model.source.volume = serde_json::from_value(pinned).unwrap();
    let status = told(&scene, &pods, &there());
    if served {
        scene.model.status = Some(status);
    }
    stopped(&scene, &pods)
}

/// How many pods are deleted.
fn stopped(scene: &Scene, pods: &[Value]) -> Option<usize> {
    let ways = scene.ways();
    let pods: Vec<_> = pods.iter().map(|value| pod(value.clone())).collect();
    let standing = scene.standing(&pods);
    to_stop(&scene.model, &scene.world, &ways, &standing, scene.now).map(|pods| pods.len())
}
