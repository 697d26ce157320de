//! The whole status in each situation a person may find a model in, and the Events between two of them.
#![allow(clippy::needless_pass_by_value, reason = "rows of a table are values")]

use insta::assert_yaml_snapshot;
use serde_json::json;
use test_case::test_case;

use super::super::{Outcome, rollout, scene::*};

fn refused() -> Scene {
    let mut scene = Scene::serving();
    scene.ask(NEXT);
    scene.step();
    scene.refused(NEXT);
    scene.step();
    scene
}

fn rolling() -> Scene {
    let mut scene = Scene::serving();
    scene.ask(NEXT);
    scene.step();
    scene.verified(NEXT);
    scene.step();
    scene.set_rollout(3, 1, 2);
    scene.step();
    scene
}

#[test_case("verifying", |_| {}; "verifying")]
#[test_case("refused_and_nothing_serves", |scene| scene.refused(GOOD); "refused and nothing serves")]
#[test_case("unreadable", |scene| scene.unreadable(GOOD); "unreadable")]
#[test_case("rolling_out_at_first", |scene| { scene.verified(GOOD); scene.step(); }; "rolling out at first")]
#[test_case("unsigned", |scene| scene.looked_at(GOOD, &json!({"verdict": "Refused", "reason": "Unsigned", "message": "no model.sig", "files": 3, "size": 9})); "unsigned")]
#[test_case("resolving", |scene| scene.ask_for_tag("1", json!(null)); "resolving")]
#[test_case("not_found", |scene| scene.ask_for_tag("1", json!({"reason": "NotFound", "message": "registry.example has no models/digits:1: push it, or correct the reference"})); "not found")]
#[test_case("host_not_allowed", |scene| scene.ask_for_tag("1", json!({"reason": "HostNotAllowed", "message": "registry.example redirects to cdn.example: allow it with --allow-host cdn.example"})); "host not allowed")]
#[test_case("no_policy", |scene| scene.govern(false); "no policy")]
#[test_case("spec_invalid", |scene| scene.edit("/server/image", json!("registry.example/servers/onnx:1")); "spec invalid")]
fn at_first(name: &str, happens: fn(&mut Scene)) {
    let mut scene = Scene::new();
    scene.step();
    happens(&mut scene);
    scene.step();
    look(&format!("status_first_{name}"), &scene);
}

#[test_case("serving", Scene::serving(); "serving")]
#[test_case("candidate_refused", refused(); "candidate refused")]
#[test_case("candidate_rolling_out", rolling(); "candidate rolling out")]
#[test_case("candidate_unreadable", { let mut scene = Scene::serving(); scene.ask(NEXT); scene.step(); scene.unreadable(NEXT); scene.step(); scene }; "candidate unreadable")]
#[test_case("revoked", { let mut scene = Scene::serving(); scene.policy(1, &json!({"revoked": [{"digest": GOOD, "reason": "poisoned"}]})); scene.step(); scene }; "revoked while it serves")]
#[test_case("both_refused", { let mut scene = refused(); scene.policy(1, &json!({"repositories": ["elsewhere.example/**"]})); scene.step(); scene }; "neither satisfies the policy")]
#[test_case("scaled_to_zero", { let mut scene = Scene::serving(); scene.edit("/server/replicas", json!(0)); scene.step(); scene.set_rollout(0, 0, 0); scene.step(); scene }; "scaled to zero")]
#[test_case("pods_lost", { let mut scene = Scene::serving(); scene.set_rollout(2, 2, 0); scene.step(); scene }; "its pods are lost")]
#[test_case("tag_cannot_be_looked_at", { let mut scene = Scene::serving(); scene.ask_for_tag("1", json!({"digest": GOOD, "reason": "Timeout", "message": "registry.example is slow"})); scene.step(); scene }; "the followed tag cannot be looked at")]
fn later(name: &str, scene: Scene) {
    look(&format!("status_later_{name}"), &scene);
}

#[test]
fn a_name_that_is_taken() {
    let mut scene = Scene::new();
    scene.step();
    scene.verified(GOOD);
    let plan = scene.plan();
    scene.write_status(
        &plan,
        &Outcome {
            name_taken: Some("Deployment digits".into()),
            rollout: rollout(None, &[]),
            ..Outcome::default()
        },
    );
    look("status_name_taken", &scene);
}

#[test]
fn a_fetch_that_fails() {
    let mut scene = rolling();
    let report = r#"{"reason":"DigestMismatch","message":"what registry.example sends is not model.onnx: look at the registry"}"#;
    let state = json!({"terminated": {"exitCode": 20, "message": report}});
    let status = json!({"name": "probity-fetch", "image": "", "imageID": "", "ready": false, "restartCount": 1, "state": state});
    let pod = scene.pod("digits-2", json!({"initContainerStatuses": [status]}));
    scene.snapshot.pods = vec![pod];
    scene.step();
    look("status_fetch_failed", &scene);
}

fn look(name: &str, scene: &Scene) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| assert_yaml_snapshot!(name, scene.model.status));
    holds_together(scene);
}

/// What every status must be, whatever it says.
fn holds_together(scene: &Scene) {
    let status = scene.model.status.clone().unwrap();
    let conditions = status.conditions.unwrap();
    let kinds: Vec<_> = conditions
        .iter()
        .map(|condition| condition.type_.as_str())
        .collect();
    assert_eq!(
        kinds[..5],
        [
            "Accepted",
            "ArtifactVerified",
            "PolicySatisfied",
            "Available",
            "Ready"
        ]
    );
    let ready = conditions
        .iter()
        .find(|condition| condition.type_ == "Ready")
        .unwrap();
    // kstatus: what is not ready either goes on by itself or waits for somebody.
    let kstatus = &kinds[5..];
    match ready.status.as_str() {
        "True" => assert!(kstatus.is_empty(), "{kinds:?}"),
        _ => assert!(kstatus == ["Reconciling"] || kstatus == ["Stalled"], "{kinds:?}"),
    }
    for condition in &conditions {
        assert!(!condition.reason.is_empty() && condition.reason.bytes().all(|b| b.is_ascii_alphanumeric()));
        assert!(!condition.message.is_empty(), "{}", condition.type_);
        assert_eq!(condition.observed_generation, scene.model.metadata.generation);
    }
    assert!(
        status
            .candidate
            .is_none_or(|candidate| candidate.reason == ready.reason)
    );
}

#[test]
fn the_time_since_it_serves_is_kept() {
    let mut scene = Scene::serving();
    let since = scene.model.status.clone().unwrap().serving.unwrap().since;
    scene.clock += 3600;
    scene.edit("/server/port", json!(9000));
    scene.step();
    scene.roll_out();
    scene.step();
    assert_eq!(
        scene.model.status.clone().unwrap().serving.unwrap().since,
        since,
        "the same content"
    );
    scene.ask(NEXT);
    scene.step();
    scene.verified(NEXT);
    scene.step();
    scene.roll_out();
    scene.step();
    assert!(scene.model.status.unwrap().serving.unwrap().since.0 > since.0);
}

#[test]
fn a_status_never_grows_without_bound() {
    let mut scene = Scene::serving();
    let rules = scene.world.rules[0].clone();
    scene.world.rules = (0..500)
        .map(|n| crate::policy::Rules {
            policy: format!("ClusterDeploymentPolicy/{}-{n:03}", "p".repeat(240)),
            ..rules.clone()
        })
        .collect();
    scene.settle();
    let status = scene.model.status.unwrap();
    assert_eq!(status.findings.as_ref().unwrap().len(), 64);
    assert!(serde_json::to_vec(&status).unwrap().len() < 128 << 10);
}

#[test]
fn nothing_new_is_the_same_status() {
    for make in [Scene::serving, refused, rolling] as [fn() -> Scene; 3] {
        let mut scene = make();
        let before = scene.model.status.clone();
        scene.clock += 3600;
        scene.step();
        assert_eq!(scene.model.status, before, "no time of day is in it");
        assert_eq!(scene.notes, []);
    }
}

fn told(scene: &Scene) -> Vec<(bool, &str)> {
    scene
        .notes
        .iter()
        .map(|note| (note.warning, note.reason.as_str()))
        .collect()
}

#[test]
fn events_tell_what_changed() {
    let mut scene = Scene::new();
    scene.step();
    assert_eq!(told(&scene), [], "verifying is no news");
    scene.verified(GOOD);
    scene.step();
    assert_eq!(told(&scene), [(false, "RollingOut")]);
    scene.set_rollout(2, 2, 1);
    scene.step();
    assert_eq!(told(&scene), [], "progress is no news");
    scene.roll_out();
    scene.step();
    assert_eq!(told(&scene), [(false, "Serving")]);
    assert!(scene.notes[0].message.contains("release"), "{:?}", scene.notes);
    scene.ask(NEXT);
    scene.step();
    scene.refused(NEXT);
    scene.step();
    assert_eq!(told(&scene), [(true, "DigestMismatch")]);
    assert!(scene.notes[0].message.contains("model.onnx"), "{:?}", scene.notes);
    scene.step();
    assert_eq!(told(&scene), []);
    scene.policy(1, &json!({"revoked": [{"digest": NEXT, "reason": "poisoned"}]}));
    scene.step();
    assert_eq!(told(&scene), [(true, "Revoked")], "another reason is news");
}

#[test]
fn a_registry_that_does_not_answer_is_one_event_and_not_one_each_time() {
    let mut scene = Scene::new();
    scene.step();
    scene.unreadable(GOOD);
    scene.step();
    assert_eq!(told(&scene), [(true, "RegistryUnavailable")]);
    for _ in 0..3 {
        scene.unreadable(GOOD);
        scene.step();
        assert_eq!(told(&scene), []);
    }
}
