//! Stories of pods that are there already, each a row: what somebody did while nobody looked, and what the audit says.

use test_case::test_case;

use super::*;
use crate::policy::pods::samples::{CONTENT, Scene, pod as typed};

/// What is said of the pod, were it made now by the controller that it names.
fn look(door: &Door, pod: &Pod) -> Audited {
    let recorded = Recorded {
        model: Some(&door.model).filter(|model| model_of(pod) == Some(&model.name_any())),
        verifications: &door.verifications,
    };
    let there = PodThere {
        namespace: "bank",
        pod,
        spec: &serde_json::to_value(&pod.spec).unwrap(),
        owners: &[],
    };
    super::super::audit(&there, recorded, &door.world, &Plans::new(settings()), door.now)
}

fn model_of(pod: &Pod) -> Option<&str> {
    super::super::model(pod)
}

/// The verdict, and what the one policy says against the pod.
fn says(door: &Door, pod: &Pod) -> (Verdict, Option<String>) {
    let audited = look(door, pod);
    let by = audited.by(&door.world.rules[0].policy);
    (audited.verdict, by.map(|said| said.reason.clone()))
}

fn refused_as(reason: &str) -> (Verdict, Option<String>) {
    (Verdict::Fail, Some(reason.to_owned()))
}

fn controlled(mut pod: Pod, version: &str, kind: &str) -> Pod {
    let owner = json!({"apiVersion": version, "kind": kind, "name": "it", "uid": "1", "controller": true});
    pod.metadata.owner_references = Some(vec![serde_json::from_value(owner).unwrap()]);
    pod
}

/// As the API server has it a while later: bound to a node.
fn bound(mut pod: Pod) -> Pod {
    pod.spec.as_mut().unwrap().node_name = Some("node-1".into());
    pod
}

fn mirror(pod: Pod) -> Pod {
    let mut pod = controlled(bound(pod), "v1", "Node");
    pod.annotations_mut()
        .insert("kubernetes.io/config.mirror".into(), "d8a0".into());
    pod
}

#[test]
fn a_models_pod_that_runs_as_planned_is_admitted() {
    let door = Door::new();
    let pod = bound(door.planned(&running(GOOD)));
    assert_eq!(says(&door, &pod), (Verdict::Pass, None));
}

#[test]
fn a_models_pod_whose_image_was_changed_is_refused() {
    let door = Door::new();
    let mut pod = bound(door.planned(&running(GOOD)));
    pod.spec.as_mut().unwrap().containers[0].image = Some("evil:1".into());
    assert_eq!(says(&door, &pod), refused_as("PodNotAsPlanned"));
}

#[test]
fn a_models_pod_with_what_this_version_has_no_name_for_is_refused() {
    let door = Door::new();
    let pod = door.planned(&running(GOOD));
    let mut spec = serde_json::to_value(&pod.spec).unwrap();
    spec["newAndUnknown"] = json!({"anything": true});
    let there = PodThere {
        namespace: "bank",
        pod: &pod,
        spec: &spec,
        owners: &[],
    };
    let recorded = Recorded {
        model: Some(&door.model),
        verifications: &door.verifications,
    };
    let plans = Plans::new(settings());
    let audited = super::super::audit(&there, recorded, &door.world, &plans, door.now);
    assert_eq!(audited.verdict, Verdict::Fail);
}

#[test]
fn a_pod_that_only_says_it_is_a_models_is_refused() {
    let door = Door::new();
    let mut pod = door.planned(&running(GOOD));
    pod.metadata.owner_references = None;
    assert_eq!(says(&door, &pod), refused_as("ForgedOwner"));
}

#[test]
fn a_pod_of_a_model_that_is_gone_is_refused() {
    let mut door = Door::new();
    let pod = door.planned(&running(GOOD));
    door.model.metadata.name = Some("other".into());
    assert_eq!(says(&door, &pod), refused_as("UnmanagedPod"));
}

#[test]
fn a_policy_that_changed_speaks_of_pods_from_before() {
    let mut door = Door::new();
    let pod = bound(door.planned(&running(GOOD)));
    door.world.rules[0].revoked.insert(GOOD, "poisoned".into());
    assert_eq!(says(&door, &pod), refused_as("Revoked"));
}

/// Alert and its grace period are about replacing pods; what runs meanwhile is as admission would answer.
#[test]
fn what_serves_and_turned_bad_is_told_as_admission_tells_it() {
    let mut door = Door::new();
    door.serves();
    let pod = bound(door.planned(&running(GOOD)));
    door.world.rules.push(rules(vec![signer("release", &[2])]));
    door.unproven_since(door.now);
    assert_eq!(look(&door, &pod).verdict, Verdict::Pass);
    door.unproven_since(door.now - DAY - DAY);
    assert_ne!(look(&door, &pod).verdict, Verdict::Pass);
}

#[test]
fn evidence_that_is_awaited_refuses_nothing_yet() {
    let mut door = Door::new();
    door.verifications.clear();
    let pod = door.planned(&running(GOOD));
    assert_eq!(says(&door, &pod), (Verdict::Wait, None));
}

#[test_case(UnmanagedPods::Deny => (Verdict::Fail, Some(Effect::Enforce)); "denied")]
#[test_case(UnmanagedPods::Warn => (Verdict::Pass, Some(Effect::Warn)); "told")]
#[test_case(UnmanagedPods::Allow => (Verdict::Pass, None); "allowed")]
fn a_bare_pod_from_before(unmanaged: UnmanagedPods) -> (Verdict, Option<Effect>) {
    let mut door = Door::new();
    door.world.rules[0].unmanaged_pods = unmanaged;
    let audited = look(&door, &bare());
    let by = audited.by(&door.world.rules[0].policy);
    (audited.verdict, by.map(|said| said.effect))
}

#[test]
fn each_policy_answers_for_itself() {
    let mut door = Door::new();
    let mut lax = rules(vec![signer("release", &[1])]);
    lax.policy = "ClusterDeploymentPolicy/lax".into();
    lax.unmanaged_pods = UnmanagedPods::Allow;
    door.world.rules.push(lax);
    let audited = look(&door, &bare());
    assert_eq!(audited.verdict, Verdict::Fail);
    assert!(audited.by(&door.world.rules[0].policy).is_some());
    assert_eq!(audited.by("ClusterDeploymentPolicy/lax"), None);
    let mut pod = door.planned(&running(GOOD));
    pod.metadata.owner_references = None;
    let forged = look(&door, &pod);
    assert!(
        forged.by("ClusterDeploymentPolicy/lax").is_some(),
        "what no policy can soften, each of them says"
    );
}

#[test]
fn that_there_is_no_policy_is_no_policys_word() {
    let mut door = Door::new();
    door.world.rules.clear();
    let audited = look(&door, &bare());
    assert_eq!((audited.verdict, audited.said.len()), (Verdict::Fail, 0));
}

#[test_case("apps/v1", "DaemonSet" => (Verdict::Pass, None); "the maker that is exempt")]
#[test_case("apps/v1", "ReplicaSet" => refused_as("UnmanagedPod"); "another maker")]
#[test_case("v1", "ReplicationController" => refused_as("UnmanagedPod"); "a maker of old")]
#[test_case("example.org/v1", "DaemonSet" => refused_as("UnmanagedPod"); "a namesake of another group")]
#[test_case("v1", "Node" => refused_as("UnmanagedPod"); "a node, without being its mirror")]
fn the_controller_that_a_pod_names_is_taken_for_its_maker(
    version: &str,
    kind: &str,
) -> (Verdict, Option<String>) {
    let mut door = Door::new();
    exempting(&mut door);
    says(&door, &controlled(bare(), version, kind))
}

/// Whom nobody made is not whoever is exempt.
#[test]
fn a_pod_without_a_controller_is_nobodys() {
    let mut door = Door::new();
    exempting(&mut door);
    assert_eq!(says(&door, &bare()), refused_as("UnmanagedPod"));
}

#[test]
fn a_static_pod_is_made_by_its_node_and_told_as_such() {
    let mut door = Door::new();
    exempting(&mut door);
    assert_eq!(says(&door, &mirror(bare())), refused_as("StaticPod"));
    door.world.rules[0].exempt[0].requester = "system:node:node-1".into();
    assert_eq!(says(&door, &mirror(bare())), (Verdict::Pass, None));
    door.world.rules[0].exempt[0].requester = "system:node:node-2".into();
    assert_eq!(says(&door, &mirror(bare())), refused_as("StaticPod"));
}

#[test]
fn a_static_pod_of_a_models_looks_is_no_pod_of_the_model() {
    let door = Door::new();
    let pod = mirror(door.planned(&running(GOOD)));
    assert_eq!(says(&door, &pod), refused_as("StaticPod"));
}

// Pods of workloads that somebody else made.

fn look_at(scene: &Scene, value: Value) -> (Verdict, Option<String>) {
    let mut pod = controlled(typed(value), "apps/v1", "ReplicaSet");
    pod.spec.as_mut().unwrap().node_name = Some("node-1".into());
    let owner = |kind: &str, name: &str| WorkloadRef {
        api_version: "apps/v1".into(),
        kind: kind.into(),
        name: name.into(),
    };
    let there = PodThere {
        namespace: "bank",
        pod: &pod,
        spec: &serde_json::to_value(&pod.spec).unwrap(),
        owners: &[owner("ReplicaSet", "it"), owner("Deployment", "server")],
    };
    let plans = Plans::new(scene.settings.clone());
    let audited = super::super::audit(&there, scene.recorded(), &scene.world, &plans, scene.now);
    let by = audited.by("ClusterDeploymentPolicy/baseline");
    (audited.verdict, by.map(|said| said.reason.clone()))
}

#[test]
fn a_pod_that_nobody_fitted_is_refused() {
    let scene = Scene::new();
    assert_eq!(look_at(&scene, Scene::bare("a")), refused_as("NotVerified"));
}

#[test]
fn a_pod_whose_verifier_found_what_policy_wants_is_admitted() {
    let scene = Scene::new();
    assert_eq!(
        look_at(&scene, scene.verified("a", CONTENT, 1)),
        (Verdict::Pass, None)
    );
    assert_eq!(
        look_at(&scene, scene.fitted("a")),
        (Verdict::Wait, None),
        "not yet"
    );
}

/// Its verifier was told the keys of then, which is no fault of the pod's; what it found is judged by today's.
#[test]
fn a_pod_of_other_keys_is_judged_by_what_it_found() {
    let mut scene = Scene::new();
    let verified = scene.verified("a", CONTENT, 1);
    scene.policy(2, &json!({}));
    assert_eq!(look_at(&scene, verified.clone()), refused_as("SignerMismatch"));
    scene.policy(
        1,
        &json!({"revoked": [{"digest": CONTENT, "reason": "poisoned"}]}),
    );
    assert_eq!(look_at(&scene, verified), refused_as("Revoked"));
}

#[test]
fn where_no_policy_asks_for_signatures_a_pod_needs_no_verifier() {
    let mut scene = Scene::new();
    scene.policy(1, &json!({}));
    for rules in &mut scene.world.rules {
        (rules.effect, rules.model_effect) = (Effect::Audit, Effect::Audit);
    }
    assert_eq!(look_at(&scene, Scene::bare("a")), (Verdict::Pass, None));
}
