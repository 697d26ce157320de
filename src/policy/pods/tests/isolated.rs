//! Stories of pods where policies ask for hardening: what admission adds, what it leaves to the author, and what is said.

use proptest::{collection::vec, prelude::*, sample::select};
use test_case::test_case;

use super::*;
use crate::policy::{
    WaiverRule,
    hardening::samples::{changed, standard},
    pods::samples::{Scene, pod as typed, with_additions},
    samples::isolated,
};

/// A namespace where hardening is asked for with this effect, and where pods without a model may run.
fn hardened(effect: Effect) -> Door {
    let mut door = Door::new();
    door.world.rules[0] = Rules {
        unmanaged_pods: UnmanagedPods::Allow,
        ..isolated(effect, true, &[])
    };
    door
}

/// As its author wrote it, but for what only an author can know.
fn careful() -> Value {
    let mut pod = serde_json::to_value(bare()).unwrap();
    pod["spec"]["securityContext"] = json!({"runAsUser": 1000});
    pod["spec"]["containers"][0]["resources"] = json!({"limits": {"memory": "64Mi"}});
    pod["spec"]["containers"][0]["securityContext"] = json!({"readOnlyRootFilesystem": true});
    pod
}

/// The pod after admission added what it adds.
fn added(door: &Door, pod: &Value) -> Option<Value> {
    let patch = additions(
        None,
        "bank",
        &typed(pod.clone()),
        Recorded::default(),
        &door.world,
        &settings(),
        door.now,
    );
    patch.map(|patch| with_additions(pod.clone(), &patch))
}

#[test_case(Effect::Enforce => (false, Some(Reason::NotHardened)); "refused")]
#[test_case(Effect::Warn => (true, None); "told")]
#[test_case(Effect::Audit => (true, None); "on record")]
fn a_pod_that_is_not_hardened(effect: Effect) -> (bool, Option<Reason>) {
    let decision = hardened(effect).ask(&bare(), "alice");
    let found = decision
        .findings
        .iter()
        .find(|one| one.rule == RuleId::IsolationHardening)
        .unwrap();
    assert_eq!((found.verdict, found.effect), (Verdict::Fail, effect));
    (decision.admits(), decision.reason())
}

#[test]
fn the_refusal_names_every_field() {
    insta::assert_snapshot!(hardened(Effect::Enforce).ask(&bare(), "alice").message());
}

#[test]
fn what_is_safe_is_added_and_the_pod_is_let_in() {
    let door = hardened(Effect::Enforce);
    assert!(
        !door.ask(&typed(careful()), "alice").admits(),
        "as it was written"
    );
    let pod = added(&door, &careful()).unwrap();
    let decision = door.ask(&typed(pod.clone()), "alice");
    assert!(decision.admits(), "{decision:?}");
    assert_eq!(added(&door, &pod), None, "and once is enough");
}

#[test_case(Effect::Warn)]
#[test_case(Effect::Audit)]
fn where_nothing_is_enforced_nothing_is_added(effect: Effect) {
    assert_eq!(added(&hardened(effect), &careful()), None);
}

/// Exempt from having a model, and from nothing else.
#[test]
fn a_pod_that_is_exempt_is_asked_the_same() {
    let mut door = hardened(Effect::Enforce);
    door.world.rules[0].unmanaged_pods = UnmanagedPods::Deny;
    exempting(&mut door);
    assert_eq!(door.ask(&bare(), DAEMONS).reason(), Some(Reason::NotHardened));
    let pod = added(&door, &careful()).unwrap();
    assert!(door.ask(&typed(pod), DAEMONS).admits());
}

#[test]
fn an_image_by_tag_is_named() {
    let door = hardened(Effect::Enforce);
    let mut pod = added(&door, &careful()).unwrap();
    pod["spec"]["containers"][0]["image"] = json!("registry.example/tool:1");
    let decision = door.ask(&typed(pod), "alice");
    assert!(
        decision.message().contains("spec.containers[tool].image"),
        "{decision:?}"
    );
}

#[test_case(json!("kata") => None; "one that is allowed")]
#[test_case(json!("runc") => Some(Reason::RuntimeClassNotAllowed); "another")]
#[test_case(json!(null) => Some(Reason::RuntimeClassNotAllowed); "none")]
fn a_pod_asks_for_a_runtime(class: Value) -> Option<Reason> {
    let mut door = hardened(Effect::Enforce);
    door.world.rules[0].isolation = isolated(Effect::Enforce, false, &["kata"]).isolation;
    let mut pod = careful();
    pod["spec"]["runtimeClassName"] = class;
    door.ask(&typed(pod), "alice").reason()
}

// Pods that Probity plans.

#[test]
fn the_planned_pod_lacks_nothing_and_gets_nothing() {
    let planned = samples::pod();
    let lacks = crate::policy::hardening::lacks(&planned, &std::collections::BTreeMap::new());
    assert_eq!(lacks, []);
    assert_eq!(crate::policy::hardening::unpinned(&planned), []);
    assert_eq!(crate::policy::hardening::with_defaults(&planned), planned);
}

#[test]
fn a_server_without_a_limit_is_refused_as_its_model_is() {
    let mut door = Door::new();
    door.world.rules = vec![isolated(Effect::Enforce, true, &[])];
    assert!(door.ask_planned(GOOD).admits());
    door.model.spec.server.as_mut().unwrap().resources = None;
    let decision = door.ask_planned(GOOD);
    assert_eq!(decision.reason(), Some(Reason::NotHardened));
    assert!(
        decision
            .message()
            .starts_with("spec.server.resources.limits.memory"),
        "{decision:?}"
    );
}

/// What serves was good, and somebody asks for it in a way that is not.
#[test]
fn what_serves_is_replaced_though_it_is_asked_for_without_a_limit() {
    let mut door = Door::new();
    door.world.rules = vec![isolated(Effect::Enforce, true, &[])];
    door.serves();
    let old = door.planned(&running(GOOD));
    door.model.spec.server.as_mut().unwrap().resources = None;
    assert!(door.ask(&old, REPLICASET_CONTROLLER).admits());
    assert!(!door.ask_planned(GOOD).admits());
}

#[test]
fn the_runtime_of_a_server_is_that_of_its_pods() {
    let mut door = Door::new();
    door.world.rules = vec![isolated(Effect::Enforce, false, &["kata"])];
    assert_eq!(
        door.ask_planned(GOOD).reason(),
        Some(Reason::RuntimeClassNotAllowed)
    );
    door.model.spec.server.as_mut().unwrap().runtime_class_name = Some("kata".into());
    let pod = door.planned(&running(GOOD));
    assert_eq!(
        pod.spec.as_ref().unwrap().runtime_class_name.as_deref(),
        Some("kata")
    );
    let decision = door.ask(&pod, REPLICASET_CONTROLLER);
    assert!(decision.admits(), "{decision:?}");
    let said = decision
        .findings
        .iter()
        .find(|one| one.rule == RuleId::IsolationRuntimeClasses);
    assert!(said.unwrap().message.contains("requested, not attested"));
}

// Pods of workloads that a model governs.

/// A scene where hardening is enforced.
fn adopting() -> Scene {
    let mut scene = Scene::new();
    scene.world.rules[0].isolation = isolated(Effect::Enforce, true, &[]).isolation;
    scene
}

fn governed(scene: &Scene, pod: &Value) -> Decision {
    let mut pod = pod.clone();
    pod["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "server-1", "uid": "rs", "controller": true}]);
    let owner = |kind: &str, name: &str| WorkloadRef {
        api_version: "apps/v1".into(),
        kind: kind.into(),
        name: name.into(),
    };
    let request = PodRequest {
        namespace: "bank",
        requester: REPLICASET_CONTROLLER,
        spec: &pod["spec"].clone(),
        pod: &typed(pod),
        old: None,
        owners: &[owner("ReplicaSet", "server-1"), owner("Deployment", "server")],
    };
    let plans = Plans::new(scene.settings.clone());
    judge(&request, scene.recorded(), &scene.world, &plans, scene.now)
}

#[test]
fn a_pod_of_a_governed_workload_gets_both_and_once() {
    let scene = adopting();
    let once = scene.fitted("server-1");
    let decision = governed(&scene, &once);
    assert_eq!(decision.reason(), Some(Reason::NotHardened), "{decision:?}");
    let mut mended = once;
    mended["spec"]["securityContext"]["runAsUser"] = json!(1000);
    mended["spec"]["containers"][0]["resources"] = json!({"limits": {"memory": "64Mi"}});
    mended["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"] = json!(true);
    let again = |pod: &Value| {
        additions(
            Some(&scene.model),
            "bank",
            &typed(pod.clone()),
            scene.recorded(),
            &scene.world,
            &scene.settings,
            scene.now,
        )
    };
    let mended = with_additions(mended.clone(), &again(&mended).unwrap());
    let decision = governed(&scene, &mended);
    assert!(decision.admits(), "{decision:?}");
    assert_eq!(again(&mended), None, "and once is enough");
}

#[test]
fn a_pod_that_its_model_lets_in_as_it_is_names_its_images_by_digest() {
    let mut scene = adopting();
    scene.world.rules[0].model_effect = Effect::Warn;
    scene.images(&json!([{"image": "registry.example/server:1", "digest": GOOD}]));
    let mut pod = Scene::bare("server-1");
    pod["spec"]["containers"][0]["image"] = json!("registry.example/server:1");
    let decision = governed(&scene, &pod);
    assert!(
        decision.message().contains("spec.containers[server].image"),
        "{decision:?}"
    );
}

#[test]
fn the_audit_says_so_of_pods_that_are_there() {
    let mut scene = adopting();
    scene.world.rules[0].isolation.effect = Effect::Warn;
    let mut pod = typed(scene.verified("server-1", crate::policy::pods::samples::CONTENT, 1));
    let owner = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "server-1", "uid": "rs", "controller": true});
    pod.metadata.owner_references = Some(vec![serde_json::from_value(owner).unwrap()]);
    let owner = |kind: &str, name: &str| WorkloadRef {
        api_version: "apps/v1".into(),
        kind: kind.into(),
        name: name.into(),
    };
    let there = PodThere {
        namespace: "bank",
        pod: &pod,
        spec: &serde_json::to_value(&pod.spec).unwrap(),
        owners: &[owner("ReplicaSet", "server-1"), owner("Deployment", "server")],
    };
    let plans = Plans::new(scene.settings.clone());
    let look = |world: &World| super::super::audit(&there, scene.recorded(), world, &plans, scene.now);
    let said = |audited: &Audited| {
        audited
            .said
            .iter()
            .map(|one| (one.effect, one.reason.clone()))
            .collect::<Vec<_>>()
    };
    let audited = look(&scene.world);
    assert_eq!(audited.verdict, Verdict::Pass);
    assert_eq!(said(&audited), [(Effect::Warn, "NotHardened".to_owned())]);
    let mut strict = scene.world.clone();
    strict.rules[0].isolation.effect = Effect::Enforce;
    assert_eq!(look(&strict).verdict, Verdict::Fail);
    let mut waived = scene.clone();
    waived.world = strict;
    waiving(
        &mut waived,
        "digits",
        &[RuleId::IsolationHardening],
        scene.now + SignedDuration::from_hours(1),
    );
    assert_eq!(look(&waived.world).verdict, Verdict::Pass);
}

/// A waiver for the model `digits`, or another, of these rules, until a time.
fn waiving(scene: &mut Scene, model: &str, rules: &[RuleId], until: Timestamp) {
    scene.world.waivers = vec![WaiverRule {
        namespace: "bank".into(),
        name: "until-mended".into(),
        rules: rules.iter().copied().collect(),
        model: model.into(),
        digest: None,
        policies: None,
        until,
        approved_by: "ada@bank.example".into(),
    }];
}

#[test]
fn a_waiver_lets_in_the_pods_of_its_model_for_a_time_and_nobody_elses() {
    let mut scene = adopting();
    scene.world.rules[0].isolation.runtime_classes = ["kata".to_owned()].into();
    let (pod, later) = (
        scene.fitted("server-1"),
        scene.now + SignedDuration::from_hours(1),
    );
    let both = [RuleId::IsolationHardening, RuleId::IsolationRuntimeClasses];
    assert_eq!(governed(&scene, &pod).verdict, Verdict::Fail);
    waiving(&mut scene, "letters", &both, later);
    assert_eq!(governed(&scene, &pod).verdict, Verdict::Fail, "of another model");
    waiving(&mut scene, "digits", &both[..1], later);
    assert_eq!(
        governed(&scene, &pod).reason(),
        Some(Reason::RuntimeClassNotAllowed),
        "of one rule"
    );
    waiving(&mut scene, "digits", &both, later);
    let decision = governed(&scene, &pod);
    assert!(decision.admits(), "{decision:?}");
    assert_eq!((decision.waived().count(), decision.until), (2, Some(later)));
    let now = scene.now;
    waiving(&mut scene, "digits", &both, now);
    assert_eq!(governed(&scene, &pod).verdict, Verdict::Fail, "that is over");
    // What no policy can soften is not waived along with it.
    waiving(&mut scene, "digits", &both, later);
    let mut without = pod;
    without["spec"]["initContainers"] = json!([]);
    assert_eq!(governed(&scene, &without).reason(), Some(Reason::PodNotAsPlanned));
    let mut alone = scene.clone();
    alone.world.rules[0].unmanaged_pods = UnmanagedPods::Allow;
    let door = Door {
        world: alone.world,
        ..Door::new()
    };
    assert_eq!(
        door.ask(&bare(), "alice").verdict,
        Verdict::Fail,
        "a pod beside it is nobody's"
    );
}

/// Evicted for want of proof, and then refused: that would be an outage.
#[test]
fn a_pod_whose_replacement_would_not_be_hardened_is_not_evicted() {
    let replaceable = |scene: &Scene| {
        let standing = scene.standing(&[typed(Scene::bare("server-1"))]);
        next_to_evict(&standing).is_some()
    };
    assert!(replaceable(&Scene::new()));
    assert!(!replaceable(&adopting()));
    let mut waived = adopting();
    let later = waived.now + SignedDuration::from_hours(1);
    waiving(&mut waived, "digits", &[RuleId::IsolationHardening], later);
    assert!(replaceable(&waived));
}

fn some_rules() -> impl Strategy<Value = Rules> {
    let effect = || select(vec![Effect::Enforce, Effect::Warn, Effect::Audit]);
    let classes = select(vec![&[][..], &["kata"], &["kata", "runc"]]);
    let unmanaged = select(vec![
        UnmanagedPods::Allow,
        UnmanagedPods::Warn,
        UnmanagedPods::Deny,
    ]);
    (effect(), any::<bool>(), any::<bool>(), classes, unmanaged).prop_map(
        |(effect, written, hardening, classes, unmanaged_pods)| {
            let rules = isolated(effect, hardening, classes);
            Rules {
                isolation: if written {
                    rules.isolation
                } else {
                    crate::policy::IsolationRules::none(effect)
                },
                unmanaged_pods,
                ..rules
            }
        },
    )
}

proptest! {
    #[test]
    fn a_further_policy_never_lets_in_a_pod(
        mut rules in vec(some_rules(), 1..4), further in some_rules(), row in any::<prop::sample::Index>(), class in select(vec![json!(null), json!("kata")]),
    ) {
        let table = standard();
        let mut pod = changed(&table.sound, &table.rows[row.index(table.rows.len())].set);
        pod.spec.as_mut().unwrap().runtime_class_name = class.as_str().map(ToOwned::to_owned);
        let mut door = Door::new();
        door.world.rules = rules.clone();
        let before = door.ask(&pod, "alice").verdict;
        rules.push(further);
        door.world.rules = rules;
        prop_assert!(door.ask(&pod, "alice").verdict >= before);
    }
}
