//! Pods of somebody else's workload at the door, each a row: what somebody tries, and what the answer is.
#![allow(clippy::needless_pass_by_value, reason = "rows of a table are values")]

mod images;

use serde_json::json;
use test_case::test_case;

use super::*;
use crate::{
    api::{
        GOVERNED_LABEL,
        v1alpha1::{UnmanagedPods, ViolationAction},
    },
    policy::{
        Rules,
        pods::{additions, judge as at_the_door, samples::with_additions},
        samples::{rules, signer},
    },
    workload::{Plans, samples},
};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;
const STATEFUL: &str = "system:serviceaccount:kube-system:statefulset-controller";

/// What the server runs from.
const SERVER: Digest = Digest::from_bytes([0x5e; 32]);

struct Door {
    world: World,
    model: ModelDeployment,
}

impl Door {
    fn new(kind: &str) -> Self {
        let mut trusted = rules(vec![signer("release", &[1])]);
        trusted.signers[0].keys[0].public_key =
            "-----BEGIN PUBLIC KEY-----\nMAMCAQA=\n-----END PUBLIC KEY-----\n".into();
        let labels = [(GOVERNED_LABEL.to_owned(), "true".to_owned())].into();
        let model = json!({
            "apiVersion": "probity.dev/v1alpha1", "kind": "ModelDeployment",
            "metadata": {"name": "digits", "namespace": "bank", "uid": "md"},
            "spec": {
                "model": {"source": {"volume": {"claimName": "models"}}},
                "workloadRef": {"apiVersion": "apps/v1", "kind": kind, "name": "server"}
            }
        });
        Self {
            world: World {
                rules: vec![trusted],
                namespaces: [("bank".to_owned(), labels)].into(),
                ..World::default()
            },
            model: serde_json::from_value(model).unwrap(),
        }
    }

    fn recorded(&self) -> Recorded<'_> {
        Recorded {
            model: Some(&self.model),
            verifications: &[],
        }
    }

    /// The pod as admission makes it from what its author wrote, before anything else happens to it.
    fn fitted(&self) -> Value {
        self.fit(bare())
    }

    fn fit(&self, pod: Value) -> Value {
        let typed: Pod = serde_json::from_value(pod.clone()).unwrap();
        let patch = additions(
            Some(&self.model),
            "bank",
            &typed,
            self.recorded(),
            &self.world,
            &samples::settings(),
            NOW,
        );
        patch.map_or(pod.clone(), |patch| with_additions(pod, &patch))
    }

    fn ask(&self, pod: &Value, requester: &str, owners: &[(&str, &str)]) -> Decision {
        let typed: Pod = serde_json::from_value(pod.clone()).unwrap();
        let owners: Vec<_> = owners.iter().map(|(kind, name)| owner(kind, name)).collect();
        let request = PodRequest {
            namespace: "bank",
            requester,
            pod: &typed,
            spec: &pod["spec"],
            old: None,
            owners: &owners,
        };
        at_the_door(
            &request,
            self.recorded(),
            &self.world,
            &Plans::new(samples::settings()),
            NOW,
        )
    }
}

fn owner(kind: &str, name: &str) -> WorkloadRef {
    WorkloadRef {
        api_version: "apps/v1".into(),
        kind: kind.into(),
        name: name.into(),
    }
}

fn bare() -> Value {
    json!({
        "metadata": {"name": "server-1", "namespace": "bank", "labels": {"app": "server"}},
        "spec": {
            "containers": [{"name": "server", "image": format!("registry.example/server@{SERVER}"), "volumeMounts": [{"name": "models", "mountPath": "/mnt/models"}]}],
            "volumes": [{"name": "models", "persistentVolumeClaim": {"claimName": "models"}}]
        }
    })
}

const CHAIN: &[(&str, &str)] = &[("ReplicaSet", "server-7d"), ("Deployment", "server")];

#[test]
fn a_pod_that_brings_the_planned_verifier_runs_and_what_that_finds_is_owed() {
    let door = Door::new("Deployment");
    let decision = door.ask(&door.fitted(), managed::MAKER, CHAIN);
    assert!(decision.admits(), "{decision:?}");
    assert!(decision.findings.iter().any(|one| one.rule == RuleId::PodPlan));
}

/// A pod's gates stay as it was made with: one that comes without could never be cut off.
#[test]
fn where_a_policy_quarantines_a_pod_has_the_gate() {
    let mut door = Door::new("Deployment");
    let ungated = door.fitted();
    assert_eq!(ungated["spec"].get("readinessGates"), None);
    door.world.rules[0].on_violation = ViolationAction::Quarantine;
    let mut own = bare();
    own["spec"]["readinessGates"] = json!([{"conditionType": "example.com/ready"}]);
    let pod = door.fit(own);
    assert_eq!(
        pod["spec"]["readinessGates"],
        json!([{"conditionType": "example.com/ready"}, {"conditionType": SERVING_GATE}]),
        "behind its own"
    );
    assert!(door.ask(&pod, managed::MAKER, CHAIN).admits());
    assert_eq!(door.fit(pod.clone()), pod, "asked again, nothing is added");
    let decision = door.ask(&ungated, managed::MAKER, CHAIN);
    assert_eq!(decision.reason(), Some(Reason::PodNotAsPlanned));
    assert!(decision.message().contains("spec.readinessGates"), "{decision:?}");
    door.world.rules[0].on_violation = ViolationAction::Alert;
    assert!(
        door.ask(&pod, managed::MAKER, CHAIN).admits(),
        "one that has it anyway"
    );
}

#[test]
fn one_without_it_does_not() {
    let door = Door::new("Deployment");
    let decision = door.ask(&bare(), managed::MAKER, CHAIN);
    assert_eq!(decision.reason(), Some(Reason::PodNotAsPlanned));
}

/// Who says that a pod is of the workload, and is not believed.
#[test_case("alice", CHAIN; "a person")]
#[test_case("system:serviceaccount:bank:default", CHAIN; "an account of the namespace")]
#[test_case("system:node:node-1", CHAIN; "a kubelet with a static pod")]
#[test_case(STATEFUL, CHAIN; "another controller than the owner's")]
#[test_case(managed::MAKER, &[]; "no owner")]
#[test_case(managed::MAKER, &[("ReplicaSet", "server-7d")]; "a ReplicaSet that goes back to nothing")]
#[test_case(managed::MAKER, &[("ReplicaSet", "server-7d"), ("Deployment", "other")]; "another Deployment")]
#[test_case(managed::MAKER, &[("ReplicaSet", "server-7d"), ("StatefulSet", "server")]; "another kind of that name")]
#[test_case(managed::MAKER, &[("Deployment", "server")]; "a Deployment that makes pods itself")]
fn a_pod_is_the_workloads_only_if_its_controllers_made_it(requester: &str, owners: &[(&str, &str)]) {
    let door = Door::new("Deployment");
    let decision = door.ask(&door.fitted(), requester, owners);
    assert_eq!(decision.reason(), Some(Reason::ForgedOwner), "{decision:?}");
    assert!(!decision.admits());
}

#[test]
fn each_kind_has_a_maker_of_its_own() {
    let door = Door::new("StatefulSet");
    let owners = &[("StatefulSet", "server")];
    assert!(door.ask(&door.fitted(), STATEFUL, owners).admits());
    assert!(!door.ask(&door.fitted(), managed::MAKER, owners).admits());
}

#[test_case("/metadata/labels/probity.dev~1ignore", json!("true"), Reason::ForgedOwner; "a label of ours")]
#[test_case("/metadata/annotations", json!({"probity.dev/ignore": "x"}), Reason::ForgedOwner; "an annotation of ours")]
#[test_case("/metadata/labels/probity.dev~1model", json!("other"), Reason::ForgedOwner; "another model's name")]
#[test_case("/spec/hostNetwork", json!(true), Reason::PodNotAsPlanned; "the host's network")]
#[test_case("/spec/shareProcessNamespace", json!(true), Reason::PodNotAsPlanned; "processes that see each other")]
#[test_case("/spec/initContainers/0/args", json!(["copy", "--from", "/source", "--dir", "/model", "--key", "evil/key=MAMCAQA="]), Reason::PodNotAsPlanned; "another key to trust")]
#[test_case("/spec/initContainers/0/image", json!("evil@sha256:00"), Reason::PodNotAsPlanned; "another verifier")]
fn a_changed_pod_is_refused(pointer: &str, value: Value, reason: Reason) {
    let door = Door::new("Deployment");
    let mut pod = door.fitted();
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    pod.pointer_mut(parent).unwrap()[field.replace("~1", "/")] = value;
    let decision = door.ask(&pod, managed::MAKER, CHAIN);
    assert_eq!(decision.reason(), Some(reason), "{decision:?}");
    assert!(!decision.admits());
}

#[test]
fn policies_are_asked_before_the_pod_is_looked_at() {
    let mut door = Door::new("Deployment");
    let pod = door.fitted();
    door.world.rules.clear();
    assert_eq!(
        door.ask(&pod, managed::MAKER, CHAIN).reason(),
        Some(Reason::NoPolicy)
    );
}

/// The verifier looks for one signature and asks no policy: so each key that it is told has to be enough for all of them.
#[test]
fn a_policy_with_other_keys_and_one_that_asks_for_two_signatures_refuse() {
    let signed_by = |name: &str, keys: &[u8]| {
        let mut rules = rules(vec![signer(name, keys)]);
        for key in &mut rules.signers[0].keys {
            key.public_key = "-----BEGIN PUBLIC KEY-----\nMAMCAQA=\n-----END PUBLIC KEY-----\n".into();
        }
        rules
    };
    let told = |door: &Door| {
        let pod = door.fitted();
        let args = pod["spec"]["initContainers"][0]["args"].to_string();
        ["root/key-1=", "root/key-2=", "root/key-3="].map(|key| args.contains(key))
    };
    let mut door = Door::new("Deployment");
    door.world.rules = vec![signed_by("release", &[1, 2]), signed_by("bank", &[2, 3])];
    assert_eq!(told(&door), [false, true, false], "what both accept");

    door.world.rules = vec![signed_by("release", &[1]), signed_by("bank", &[3])];
    let pod = Door::new("Deployment").fitted();
    let decision = door.ask(&pod, managed::MAKER, CHAIN);
    assert!(!decision.admits());
    assert!(decision.message().contains("no key is enough"), "{decision:?}");

    let mut two = signed_by("release", &[1]);
    two.signers.push(signer("bank", &[2]));
    two.threshold = 2;
    door.world.rules = vec![two];
    let decision = door.ask(&pod, managed::MAKER, CHAIN);
    assert!(!decision.admits());
    assert!(decision.message().contains("asks for 2 of"), "{decision:?}");
}

/// What made the pod is as its kind makes pods: a `ReplicaSet` that says it is a `StatefulSet`'s was not made by that one's controller.
#[test_case("StatefulSet", &[("ReplicaSet", "x"), ("StatefulSet", "server")]; "a set behind a replica set")]
#[test_case("DaemonSet", &[("ReplicaSet", "x"), ("DaemonSet", "server")]; "a daemon set behind a replica set")]
#[test_case("Deployment", &[("StatefulSet", "x"), ("Deployment", "server")]; "a deployment behind another kind")]
fn a_chain_that_no_controller_makes_is_not_believed(kind: &str, owners: &[(&str, &str)]) {
    let door = Door::new(kind);
    let decision = door.ask(&door.fitted(), managed::MAKER, owners);
    assert!(!decision.admits(), "{decision:?}");
}

/// A policy that only warns must not stop a workload that nobody verified before: nothing is put into its pods.
#[test]
fn where_nothing_is_enforced_pods_stay_as_they_are() {
    let mut door = Door::new("Deployment");
    let warning = Rules {
        model_effect: Effect::Warn,
        unmanaged_pods: UnmanagedPods::Deny,
        ..door.world.rules.remove(0)
    };
    door.world.rules = vec![warning];
    let typed: Pod = serde_json::from_value(bare()).unwrap();
    assert_eq!(
        additions(
            Some(&door.model),
            "bank",
            &typed,
            door.recorded(),
            &door.world,
            &samples::settings(),
            NOW
        ),
        None
    );
    assert!(door.ask(&bare(), managed::MAKER, CHAIN).admits());
}

#[test]
fn of_two_models_that_govern_one_workload_the_older_does() {
    let (mut old, mut new) = (Door::new("Deployment").model, Door::new("Deployment").model);
    let time = |second| {
        k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::from_second(second).unwrap())
    };
    old.metadata.creation_timestamp = Some(time(1));
    old.metadata.name = Some("z-old".into());
    new.metadata.creation_timestamp = Some(time(2));
    let owners = [owner("Deployment", "server")];
    assert_eq!(
        governing([&new, &old], &owners).map(kube::ResourceExt::name_any),
        Some("z-old".into())
    );
    assert_eq!(governing([&new, &old], &[owner("Deployment", "other")]), None);
}
