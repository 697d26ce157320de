//! Stories of a model that turns bad while it serves: who loses traffic when, what stays, and how it comes back.
#![allow(clippy::needless_pass_by_value, reason = "rows of a table are values")]

use jiff::SignedDuration;
use serde_json::{Value, json};
use test_case::test_case;

use super::super::{Outcome, scene::*};
use crate::{
    api::{
        CUT_OFF_LABEL, SERVING_GATE,
        v1alpha1::{ViolationAction, ViolationResponse},
    },
    controller::condition::{State, Wanted},
    evidence::Digest,
    policy::NetworkRule,
};

/// The policy does this when what serves turns bad, and gives so many seconds.
fn on_violation(scene: &mut Scene, action: ViolationAction, seconds: i64) {
    for rules in &mut scene.world.rules {
        rules.on_violation = action;
        rules.grace_period = SignedDuration::from_secs(seconds);
    }
}

/// A model serves with two pods that take traffic, under such a policy.
fn serving(action: ViolationAction, seconds: i64) -> Scene {
    let mut scene = Scene::serving();
    on_violation(&mut scene, action, seconds);
    scene.snapshot.pods = vec![scene.pod("digits-1", json!({})), scene.pod("digits-2", json!({}))];
    scene.settle();
    assert_eq!(open(&scene), [Some(true), Some(true)]);
    scene
}

fn revoke(scene: &mut Scene, digest: Digest) {
    scene.world.rules[0].revoked.insert(digest, "poisoned".into());
}

/// How the gate of each pod stands.
fn open(scene: &Scene) -> Vec<Option<bool>> {
    let gate = |pod: &k8s_openapi::api::core::v1::Pod| {
        let conditions = pod.status.as_ref()?.conditions.as_ref()?;
        let gate = conditions
            .iter()
            .find(|condition| condition.type_ == SERVING_GATE)?;
        Some(gate.status == "True")
    };
    scene.snapshot.pods.iter().map(gate).collect()
}

/// Whether the Service selects the model's pods.
fn reached(scene: &Scene) -> bool {
    let service = scene.snapshot.service.as_ref().unwrap().spec.as_ref().unwrap();
    !service.selector.as_ref().unwrap().contains_key(CUT_OFF_LABEL)
}

fn told(scene: &Scene) -> Vec<&str> {
    scene.notes.iter().map(|note| note.reason.as_str()).collect()
}

fn remembered(scene: &Scene) -> Option<ViolationResponse> {
    let status = scene.model.status.as_ref().unwrap();
    status.serving.as_ref().unwrap().response
}

#[test]
fn quarantine_cuts_the_traffic_and_keeps_the_pods() {
    let mut scene = serving(ViolationAction::Quarantine, 3600);
    let template = scene.snapshot.deployment.clone().unwrap().spec.unwrap();
    revoke(&mut scene, GOOD);
    scene.step();
    assert_eq!(
        (open(&scene), reached(&scene)),
        (vec![Some(false); 2], false),
        "in one look"
    );
    assert_eq!(scene.ready(), ("False".into(), "QuarantinePartial".into()));
    assert_eq!(told(&scene), ["QuarantinePartial"]);
    let available = scene.condition("Available");
    assert_eq!(
        (available.0.as_str(), available.1.as_str()),
        ("False", "QuarantinePartial")
    );
    assert_eq!(
        scene.snapshot.deployment.clone().unwrap().spec.unwrap(),
        template,
        "nothing is made anew"
    );
    scene.set_rollout(2, 2, 0);
    scene.settle();
    assert_eq!(scene.says().0, Some(GOOD), "its pods are there");
    assert_eq!(scene.notes, [], "it is told once");
}

/// Only a NetworkPolicy that was seen to be enforced cuts what is open already.
#[test]
fn it_is_in_part_until_its_network_was_seen_to_be_shut() {
    let mut scene = serving(ViolationAction::Quarantine, 3600);
    revoke(&mut scene, GOOD);
    let plan = scene.step();
    assert!(plan.cut, "and its network is shut");
    for (state, reason) in [
        (State::Unknown, "QuarantinePartial"),
        (State::True, "Quarantined"),
        (State::False, "QuarantinePartial"),
    ] {
        let outcome = Outcome {
            rollout: plan.rollout.clone(),
            isolated: Some(Wanted::new("Isolated", state, "Whatever", "what was seen of it")),
            ..Outcome::default()
        };
        scene.write_status(&plan, &outcome);
        assert_eq!(scene.ready(), ("False".into(), reason.into()));
        assert_eq!(told(&scene), [reason], "people are told when that changes");
    }
    assert!(scene.condition("Ready").2.contains("what was seen of it"));
}

#[test]
fn what_is_admitted_again_takes_traffic_again() {
    let mut scene = serving(ViolationAction::Quarantine, 3600);
    revoke(&mut scene, GOOD);
    scene.step();
    scene.set_rollout(2, 2, 0);
    scene.settle();
    scene.world.rules[0].revoked.clear();
    scene.step();
    assert_eq!((open(&scene), reached(&scene)), (vec![Some(true); 2], true));
    assert!(told(&scene).contains(&"Released"), "{:?}", scene.notes);
    scene.roll_out();
    scene.settle();
    assert_eq!(scene.ready(), ("True".into(), "Serving".into()));
    assert_eq!(remembered(&scene), None);
}

#[test]
fn what_is_alerted_about_goes_on_until_it_is_stopped_on_time() {
    let mut scene = serving(ViolationAction::Stop, 60);
    revoke(&mut scene, GOOD);
    let plan = scene.step();
    assert_eq!((open(&scene), reached(&scene)), (vec![Some(true); 2], true));
    let stops = scene.now() + SignedDuration::from_secs(60);
    assert_eq!(plan.until(), Some(stops), "it is looked at again by itself");
    assert!(
        scene
            .condition("Ready")
            .2
            .contains(&format!("until it is stopped at {stops}"))
    );
    scene.clock += 58;
    scene.step();
    assert_eq!(scene.runs(), Some((GOOD, 2)));
    scene.step();
    assert_eq!(scene.runs(), Some((GOOD, 0)), "no disruption budget is asked");
    assert_eq!(scene.ready(), ("False".into(), "Stopped".into()));
    assert_eq!(told(&scene), ["Stopped"]);
    scene.set_rollout(0, 0, 0);
    scene.snapshot.pods.clear();
    scene.settle();
    assert_eq!(remembered(&scene), Some(ViolationResponse::Stopped));
    scene.world.rules[0].revoked.clear();
    scene.step();
    assert_eq!(scene.runs(), Some((GOOD, 2)), "and comes back by itself");
    assert!(told(&scene).contains(&"Released"), "{:?}", scene.notes);
}

#[test]
fn it_is_cut_off_until_it_is_stopped() {
    let mut scene = serving(ViolationAction::Quarantine, 3600);
    scene.another_policy(1, "Enforce");
    scene.world.rules[1].on_violation = ViolationAction::Stop;
    scene.world.rules[1].grace_period = SignedDuration::from_secs(60);
    scene.settle();
    revoke(&mut scene, GOOD);
    scene.step();
    assert_eq!(open(&scene), [Some(false), Some(false)]);
    assert!(scene.condition("Ready").2.contains("it is stopped at"));
    scene.clock += 60;
    scene.step();
    assert_eq!(scene.runs(), Some((GOOD, 0)));
}

#[test_case(json!({"reference": "not a reference!"}); "a specification that makes no sense")]
#[test_case(json!({"reference": "registry.example/models/digits:2"}); "a tag that is not looked up yet")]
#[test_case(json!({"reference": format!("{REPOSITORY}@{NEXT}")}); "content that is not verified yet")]
fn asking_for_something_else_does_not_bring_it_back(oci: Value) {
    let mut scene = serving(ViolationAction::Quarantine, 3600);
    revoke(&mut scene, GOOD);
    scene.step();
    scene.set_rollout(2, 2, 0);
    scene.edit("/model/source/oci", oci);
    scene.settle();
    assert_eq!((open(&scene), reached(&scene)), (vec![Some(false); 2], false));
    assert_eq!(scene.ready(), ("False".into(), "QuarantinePartial".into()));
    assert_eq!(scene.runs(), Some((GOOD, 2)));
}

#[test]
fn a_specification_that_makes_no_sense_does_not_keep_it_from_being_cut_off() {
    let mut scene = serving(ViolationAction::Stop, 0);
    scene.edit("/model/source/oci/reference", json!("not a reference!"));
    scene.settle();
    assert_eq!(open(&scene), [Some(true), Some(true)]);
    revoke(&mut scene, GOOD);
    scene.settle();
    assert_eq!(scene.runs(), Some((GOOD, 0)));
    assert_eq!(scene.ready(), ("False".into(), "Stopped".into()));
}

#[test]
fn what_is_admitted_instead_takes_its_place() {
    let mut scene = serving(ViolationAction::Quarantine, 3600);
    revoke(&mut scene, GOOD);
    scene.step();
    scene.set_rollout(2, 2, 0);
    scene.ask(NEXT);
    scene.step();
    scene.verified(NEXT);
    scene.step();
    let next = scene.pod("digits-3", json!({}));
    scene.snapshot.pods.push(next);
    scene.set_rollout(3, 1, 0);
    scene.settle();
    assert_eq!(
        open(&scene),
        [Some(false), Some(false), Some(true)],
        "each by its own content"
    );
    assert!(reached(&scene));
    assert_eq!(scene.ready(), ("False".into(), "RollingOut".into()));
    scene.snapshot.pods.drain(..2);
    scene.roll_out();
    scene.settle();
    assert_eq!(scene.ready(), ("True".into(), "Serving".into()));
    assert_eq!(remembered(&scene), None);
}

fn to(cidr: &str) -> Value {
    json!([{"to": [{"ipBlock": {"cidr": cidr}}], "ports": [{"port": 443}]}])
}

/// The policy isolates models, and lets them declare no more egress than this.
fn ceiling(scene: &mut Scene, ceiling: Value) {
    scene.world.rules[0].isolation.network = Some(NetworkRule {
        ceiling: serde_json::from_value(ceiling).unwrap(),
        monitoring: Vec::new(),
    });
}

fn serves_to(scene: &Scene) -> Value {
    let status = scene.model.status.as_ref().unwrap();
    json!(status.serving.as_ref().unwrap().egress)
}

#[test_case(ViolationAction::Quarantine, false; "with the same content")]
#[test_case(ViolationAction::Stop, false; "which would be stopped at once")]
#[test_case(ViolationAction::Quarantine, true; "with other content")]
fn egress_that_is_asked_for_and_refused_cuts_nobody_off(action: ViolationAction, other: bool) {
    let mut scene = serving(action, 0);
    ceiling(&mut scene, to("192.0.2.0/24"));
    scene.edit("/egress", to("192.0.2.128/25"));
    scene.settle();
    assert_eq!(serves_to(&scene), to("192.0.2.128/25"));
    scene.edit("/egress", to("192.0.0.0/16"));
    if other {
        scene.ask(NEXT);
        scene.step();
        scene.verified(NEXT);
    }
    scene.settle();
    assert_eq!((open(&scene), reached(&scene)), (vec![Some(true); 2], true));
    assert_eq!(scene.runs(), Some((GOOD, 2)));
    assert_eq!(scene.ready(), ("False".into(), "EgressAboveCeiling".into()));
    assert_eq!(
        serves_to(&scene),
        to("192.0.2.128/25"),
        "it serves with what was admitted"
    );
    assert_eq!(remembered(&scene), None);
    assert_eq!(
        scene
            .model
            .status
            .as_ref()
            .unwrap()
            .serving
            .as_ref()
            .unwrap()
            .unproven_since,
        None
    );
}

#[test]
fn a_ceiling_that_sinks_below_what_serves_does() {
    let mut scene = serving(ViolationAction::Quarantine, 0);
    ceiling(&mut scene, to("192.0.2.0/24"));
    scene.edit("/egress", to("192.0.2.128/25"));
    scene.settle();
    ceiling(&mut scene, json!([]));
    scene.step();
    assert_eq!(open(&scene), [Some(false), Some(false)]);
    // What is asked for instead is admitted, and takes its place.
    scene.edit("/egress", json!([]));
    scene.step();
    assert_eq!((open(&scene), reached(&scene)), (vec![Some(true); 2], true));
    scene.roll_out();
    scene.settle();
    assert_eq!(serves_to(&scene), json!([]));
    assert_eq!(scene.ready(), ("True".into(), "Serving".into()));
}

#[test]
fn while_nobody_can_say_nothing_changes() {
    let mut scene = serving(ViolationAction::Quarantine, 3600);
    scene.unreadable(GOOD);
    scene.step();
    assert_eq!(
        (open(&scene), reached(&scene)),
        (vec![Some(true); 2], true),
        "a registry that is away"
    );
    scene.refused(GOOD);
    scene.step();
    scene.set_rollout(2, 2, 0);
    assert_eq!(open(&scene), [Some(false), Some(false)]);
    scene.unreadable(GOOD);
    scene.step();
    assert_eq!(
        (open(&scene), reached(&scene)),
        (vec![Some(false); 2], false),
        "and one that is not known to be good"
    );
    scene.verified(GOOD);
    scene.step();
    assert_eq!((open(&scene), reached(&scene)), (vec![Some(true); 2], true));
}

#[test]
fn a_pod_takes_traffic_only_once_its_content_is_admitted() {
    let mut scene = Scene::serving();
    let (known, mut stranger) = (scene.pod("digits-1", json!({})), scene.pod("digits-2", json!({})));
    stranger.spec.as_mut().unwrap().readiness_gates = None;
    scene.tamper(
        "/spec/template/spec/initContainers/0/args/2",
        json!(format!("{REPOSITORY}@{OTHER}")),
    );
    scene.snapshot.pods = vec![known, stranger, scene.pod("digits-3", json!({}))];
    scene.step();
    assert_eq!(
        open(&scene),
        [Some(true), None, None],
        "none without the gate, and none that nobody verified"
    );
}
