//! Stories of an adopted workload whose model turns bad: which pods lose traffic, and when all of it is shut.
#![allow(clippy::needless_pass_by_value, reason = "rows of a table are values")]

use serde_json::{Value, json};
use test_case::test_case;

use super::*;
use crate::{
    api::{
        SERVING_GATE,
        v1alpha1::{ModelDeploymentStatus, ViolationAction, ViolationResponse},
    },
    policy::pods::samples::{CONTENT, Scene, pod},
};

/// What serves is this content, as the status remembers it.
fn serves(scene: &mut Scene, response: Option<ViolationResponse>) {
    let serving = json!({
        "digest": CONTENT, "version": "1", "reference": "volume:models/digits/1", "since": scene.now,
        "size": 1, "files": 1, "signers": [], "signedBy": "release", "verification": "", "response": response
    });
    scene.model.status = Some(ModelDeploymentStatus {
        serving: Some(serde_json::from_value(serving).unwrap()),
        ..ModelDeploymentStatus::default()
    });
}

/// Whether the network is shut, and whether each pod takes traffic.
fn cut(scene: &Scene, pods: &[Value]) -> (bool, Vec<Option<bool>>) {
    let pods: Vec<Pod> = pods.iter().map(|value| pod(value.clone())).collect();
    let ways = scene.ways();
    let cut = Cut {
        model: &scene.model,
        ways: &ways,
        pods: &scene.standing(&pods),
        world: &scene.world,
        now: scene.now,
    };
    let whole = cut.is_whole(cut.held().as_ref());
    (whole, pods.iter().map(|pod| cut.open(pod, whole)).collect())
}

fn on_violation(scene: &mut Scene, action: ViolationAction) {
    scene.world.rules[0].on_violation = action;
}

/// The content is pinned, and revoked.
fn revoke(scene: &mut Scene) {
    let pinned = json!({"claimName": "models", "path": "digits/1", "digest": CONTENT});
    scene.model.spec.model.source.volume = serde_json::from_value(pinned).unwrap();
    scene.world.rules[0].revoked.insert(CONTENT, "poisoned".into());
}

#[test_case(ViolationAction::Quarantine, true => (true, vec![Some(false), Some(false)]); "cut off, and what is older than the gate with it")]
#[test_case(ViolationAction::Alert, true => (false, vec![Some(true), None]); "people are told")]
#[test_case(ViolationAction::Stop, true => (false, vec![Some(true), None]); "until it is stopped")]
#[test_case(ViolationAction::Quarantine, false => (false, vec![Some(false), None]); "what never served takes none, and there is nothing to shut")]
fn what_is_revoked(action: ViolationAction, served: bool) -> (bool, Vec<Option<bool>>) {
    let mut scene = Scene::new();
    let pods = [scene.verified("a", CONTENT, 1), Scene::bare("b")];
    if served {
        serves(&mut scene, None);
    }
    on_violation(&mut scene, action);
    revoke(&mut scene);
    cut(&scene, &pods)
}

#[test_case(None; "as it began")]
#[test_case(Some(ViolationResponse::Quarantined); "released")]
fn what_is_admitted_takes_traffic(response: Option<ViolationResponse>) {
    let mut scene = Scene::new();
    let pods = [
        scene.verified("a", CONTENT, 1),
        scene.fitted("b"),
        Scene::bare("c"),
    ];
    serves(&mut scene, response);
    on_violation(&mut scene, ViolationAction::Quarantine);
    assert_eq!(cut(&scene, &pods), (false, vec![Some(true), None, None]));
}

/// Pods that are made anew are verified with the new key: they must be able to come up.
#[test]
fn a_withdrawn_key_cuts_off_what_it_signed_and_not_what_comes() {
    let mut scene = Scene::new();
    let old = scene.verified("a", CONTENT, 1);
    serves(&mut scene, None);
    scene.policy(2, &json!({}));
    on_violation(&mut scene, ViolationAction::Quarantine);
    let new = scene.verified("b", CONTENT, 2);
    assert_eq!(
        cut(&scene, std::slice::from_ref(&old)),
        (false, vec![Some(false)])
    );
    assert_eq!(cut(&scene, &[old, new]), (false, vec![Some(false), Some(true)]));
}

#[test]
fn pods_that_can_still_be_reached_are_counted() {
    let mut scene = Scene::new();
    on_violation(&mut scene, ViolationAction::Quarantine);
    let gated = scene.fitted("a");
    assert_eq!(gated["spec"]["readinessGates"][0]["conditionType"], SERVING_GATE);
    let pods = |values: &[&Value]| -> Vec<Pod> { values.iter().map(|value| pod((*value).clone())).collect() };
    assert!(meanwhile(&pods(&[&gated])).starts_with("its pods take no new connections"));
    assert!(meanwhile(&pods(&[&gated, &Scene::bare("b")])).starts_with("1 of its pods are older"));
}
