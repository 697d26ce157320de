#![allow(clippy::needless_pass_by_value, reason = "rows of a table are values")]

use serde_json::{Value, json};
use test_case::test_case;

use super::{
    super::samples::{CONTENT, Scene, pod},
    *,
};

const OTHER: Digest = Digest::from_bytes([0xbb; 32]);

/// How the one pod stands, in a word.
fn word(scene: &Scene, value: Value) -> String {
    match scene.standing(&[pod(value)]).remove(0).stand {
        Stand::Proven { .. } => "Proven".into(),
        Stand::Pending(_) => "Pending".into(),
        Stand::Unproven {
            reason, replacement, ..
        } => {
            let when = match replacement {
                Replacement::Futile => "",
                Replacement::OnceFound => ", to be replaced once another is proven",
                Replacement::Better => ", to be replaced",
            };
            format!("{reason}{when}")
        }
    }
}

#[test]
fn a_pod_that_verified_the_model_is_proven() {
    let scene = Scene::new();
    let found = scene.standing(&[pod(scene.verified("a", CONTENT, 1))]).remove(0);
    let Stand::Proven { found, decision } = found.stand else {
        panic!("{found:?}")
    };
    assert_eq!((found.digest, found.files, found.size), (CONTENT, 3, 9));
    assert_eq!(decision.signers[0].name, "release");
}

#[test]
fn one_that_is_still_at_it_is_on_its_way() {
    let scene = Scene::new();
    assert_eq!(word(&scene, scene.fitted("a")), "Pending");
}

#[test]
fn one_from_before_is_to_be_replaced() {
    assert_eq!(
        word(&Scene::new(), Scene::bare("a")),
        "NotVerified, to be replaced"
    );
}

#[test]
fn one_whose_replacement_would_be_refused_stays() {
    let mut bare = Scene::bare("a");
    bare["spec"]["hostNetwork"] = json!(true);
    assert_eq!(word(&Scene::new(), bare), "NotVerified");
}

/// What a pod's author may try so that its word is taken for it.
#[test_case("/spec/initContainers/0/image", json!("evil@sha256:00") => "PodNotAsPlanned, to be replaced"; "another verifier")]
#[test_case("/spec/initContainers/0/command", json!(["sh", "-c", "echo"]) => "PodNotAsPlanned, to be replaced"; "another command")]
#[test_case("/spec/initContainers/0/env", json!([{"name": "A", "value": "b"}]) => "PodNotAsPlanned, to be replaced"; "variables")]
#[test_case("/spec/initContainers/0/volumeMounts/0/subPath", json!("digits/2") => "PodNotAsPlanned, to be replaced"; "a part of the claim")]
#[test_case("/spec/initContainers/0/args/2", json!("/source/digits/2") => "PodNotAsPlanned, to be replaced once another is proven"; "another folder")]
#[test_case("/spec/containers/0/volumeMounts/0/readOnly", json!(false) => "PodNotAsPlanned, to be replaced"; "the model writable")]
#[test_case("/metadata/labels/probity.dev~1model", json!("other") => "PodNotAsPlanned, to be replaced"; "another model's label")]
#[test_case("/status/initContainerStatuses/0/state/terminated/message", json!("") => "Internal, to be replaced"; "no report")]
#[test_case("/status/initContainerStatuses/0/state/terminated/message", json!("{\"digest\": 1}") => "Internal, to be replaced"; "no such report")]
#[test_case("/status/initContainerStatuses/0/state/terminated/message", json!("x".repeat(5000)) => "Internal, to be replaced"; "a long report")]
fn a_report_is_believed_only_from_the_planned_pod(pointer: &str, value: Value) -> String {
    let scene = Scene::new();
    let mut changed = scene.verified("a", CONTENT, 1);
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    match changed.pointer_mut(parent).unwrap() {
        Value::Array(list) => list[field.parse::<usize>().unwrap()] = value,
        object => object[field.replace("~1", "/")] = value,
    }
    word(&scene, changed)
}

#[test]
fn what_the_verifier_said_calls_the_model_as_its_specification_does() {
    let scene = Scene::new();
    let mut pod = scene.verified("a", CONTENT, 1);
    let said = json!({"reason": "Io", "message": "there is no folder /source/digits/1: correct the path"});
    pod["status"]["initContainerStatuses"][0]["state"] =
        json!({"terminated": {"exitCode": 60, "message": said.to_string()}});
    let stand = scene.standing(&[super::super::samples::pod(pod)]).remove(0).stand;
    let Stand::Unproven { reason, message, .. } = stand else {
        panic!("{stand:?}")
    };
    assert_eq!(
        (reason.as_str(), message.as_str()),
        (
            "Io",
            "there is no folder volume:models/digits/1: correct the path"
        )
    );
}

#[test]
fn what_was_signed_by_a_key_that_is_trusted_no_more_is_proven_no_more() {
    let mut scene = Scene::new();
    let before = scene.verified("a", CONTENT, 1);
    assert_eq!(word(&scene, before.clone()), "Proven");
    scene.policy(2, &json!({}));
    assert_eq!(
        word(&scene, before),
        "SignerMismatch, to be replaced once another is proven",
        "and what it was told does not hide that"
    );
}

#[test]
fn what_is_revoked_is_proven_no_more() {
    let mut scene = Scene::new();
    let before = scene.verified("a", CONTENT, 1);
    scene.policy(
        1,
        &json!({"revoked": [{"digest": CONTENT, "reason": "poisoned"}]}),
    );
    assert_eq!(
        word(&scene, before),
        "Revoked, to be replaced once another is proven"
    );
}

#[test]
fn another_policy_makes_no_pod_unproven_that_satisfies_it() {
    let mut scene = Scene::new();
    let before = scene.verified("a", CONTENT, 1);
    scene.policy(1, &json!({"revoked": [{"digest": OTHER, "reason": "poisoned"}]}));
    assert_eq!(word(&scene, before), "Proven");
}

#[test]
fn a_pod_of_an_earlier_release_is_believed_when_that_release_is_named() {
    let mut scene = Scene::new();
    let before = scene.verified("a", CONTENT, 1);
    let image = std::mem::replace(
        &mut scene.settings.fetch_image,
        "registry.example/probity@sha256:new".into(),
    );
    assert_eq!(word(&scene, before.clone()), "PodNotAsPlanned, to be replaced");
    scene.settings.previous_images = vec![image];
    assert_eq!(word(&scene, before), "Proven");
}

#[test]
fn a_verifier_that_refused_says_why_and_nothing_is_gained_by_another_pod() {
    let scene = Scene::new();
    let says = json!({"reason": "DigestMismatch", "message": "`model.onnx`: is not what was signed"});
    let pods = scene.standing(&[pod(scene.ended("a", 20, &says.to_string()))]);
    assert_eq!(
        pods[0].stand,
        Stand::Unproven {
            reason: "DigestMismatch".into(),
            message: "`model.onnx`: is not what was signed".into(),
            replacement: Replacement::Futile,
            refused: None,
        }
    );
    assert_eq!(word(&scene, scene.ended("a", 137, "")), "Internal");
}

#[test]
fn content_is_pinned_once_and_other_content_is_not_the_model() {
    let mut scene = Scene::new();
    let pods = [
        pod(scene.verified("b", OTHER, 1)),
        pod(scene.verified("a", CONTENT, 1)),
    ];
    assert_eq!(
        pin(&scene.standing(&pods)),
        Some(CONTENT),
        "of two that were done at once, the first by name"
    );
    let source = crate::policy::folder_hash(&scene.model.spec);
    let status = json!({"resolved": {"source": source, "digest": CONTENT}});
    scene.model.status = Some(serde_json::from_value(status).unwrap());
    let words: Vec<_> = pods
        .iter()
        .map(|pod| word(&scene, serde_json::to_value(pod).unwrap()))
        .collect();
    assert_eq!(
        words,
        ["DigestMismatch, to be replaced once another is proven", "Proven"]
    );
    let told = scene.fitted("c");
    let args = told["spec"]["initContainers"][0]["args"].as_array().unwrap();
    assert!(
        args.contains(&json!(CONTENT)),
        "and pods that start now are told: {args:?}"
    );
}

#[test_case(&[("old", "True"), ("proven", "True")] => Some("old".to_owned()); "one at a time")]
#[test_case(&[("old", "True"), ("older", "True")] => Some("old".to_owned()); "the first of two")]
#[test_case(&[("old", "False")] => Some("old".to_owned()); "the only one, though it is not ready")]
#[test_case(&[("old", "True"), ("proven", "False")] => None; "not while another is not ready")]
#[test_case(&[("proven", "True")] => None; "nobody without a reason")]
#[test_case(&[("stale", "True")] => None; "not what serves, before anybody found what the model is now")]
#[test_case(&[("stale", "True"), ("proven", "True")] => Some("stale".to_owned()); "what serves, once somebody did")]
fn who_is_evicted_next(pods: &[(&str, &str)]) -> Option<String> {
    let scene = Scene::new();
    let made = pods.iter().map(|(name, ready)| {
        let mut value = match *name {
            "proven" => scene.verified(name, CONTENT, 1),
            "stale" => {
                let mut before = Scene::new();
                before.model.spec.model.source.volume.as_mut().unwrap().path = Some("digits/0".into());
                before.verified(name, CONTENT, 1)
            }
            _ => Scene::bare(name),
        };
        value["status"]["conditions"][0]["status"] = json!(ready);
        pod(value)
    });
    next_to_evict(&scene.standing(&made.collect::<Vec<_>>())).map(|pod| pod.name.clone())
}

#[test]
fn a_pod_that_ends_is_not_counted() {
    let mut ending = Scene::bare("a");
    ending["metadata"]["deletionTimestamp"] = json!("2023-11-14T22:13:20Z");
    assert_eq!(Scene::new().standing(&[pod(ending)]), []);
}

#[test]
fn a_pod_that_failed_is_not_counted_and_one_that_is_done_holds_nobody_up() {
    let scene = Scene::new();
    let with = |mut pod: Value, phase: &str| {
        pod["status"]["phase"] = json!(phase);
        pod["status"]["conditions"][0]["status"] = json!("False");
        pod
    };
    let failed = with(scene.verified("failed", CONTENT, 1), "Failed");
    let done = with(scene.verified("done", CONTENT, 1), "Succeeded");
    let standing = scene.standing(&[pod(failed), pod(done), pod(Scene::bare("old"))]);
    let names: Vec<_> = standing.iter().map(|pod| pod.name.as_str()).collect();
    assert_eq!(names, ["done", "old"]);
    assert_eq!(next_to_evict(&standing).map(|pod| pod.name.as_str()), Some("old"));
}

/// The server by a tag, after this of its image was written down.
fn tagged(written: Value) -> (Scene, Value) {
    let mut scene = Scene::new();
    scene.images(&written);
    let mut bare = Scene::bare("a");
    bare["spec"]["containers"][0]["image"] = json!("registry.example/server:1");
    (scene, bare)
}

fn server(n: u8) -> Value {
    json!({"image": "registry.example/server:1", "digest": Digest::from_bytes([n; 32])})
}

#[test_case(json!([]) => "NotVerified"; "not known yet")]
#[test_case(json!([{"image": "registry.example/server:1", "reason": "NotFound", "message": "push it"}]) => "NotVerified"; "not found")]
#[test_case(json!([server(1)]) => "NotVerified, to be replaced"; "known")]
fn a_pod_is_not_replaced_before_its_images_are_known(written: Value) -> String {
    let (scene, bare) = tagged(written);
    word(&scene, bare)
}

/// A tag that moved changes nothing about a pod that is pinned; one that is not pinned may run anything.
#[test_case("registry.example/server:1", json!([server(1)]) => "PodNotAsPlanned, to be replaced"; "by the tag")]
#[test_case("registry.example/server:1", json!([]) => "Proven"; "by the tag, and nobody knows what it is")]
#[test_case("registry.example/server:1@1", json!([server(1)]) => "Proven"; "pinned")]
#[test_case("registry.example/server:1@2", json!([server(1)]) => "Proven"; "pinned to what it was before")]
#[test_case("registry.example/server@2", json!([server(1)]) => "Proven"; "by its digest alone")]
fn a_verified_pod_is_pinned_too(image: &str, written: Value) -> String {
    let (scene, _) = tagged(written);
    let image = match image.split_once('@') {
        Some((name, n)) => format!("{name}@{}", Digest::from_bytes([n.parse().unwrap(); 32])),
        None => image.to_owned(),
    };
    let mut pod = Scene::new().verified("a", CONTENT, 1);
    pod["spec"]["containers"][0]["image"] = json!(image);
    word(&scene, pod)
}
