//! Stories of pods at the door, each a row: what somebody tries, and what the answer is.
#![allow(clippy::needless_pass_by_value, reason = "rows of a table are values")]

mod audit;
mod isolated;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::Time};
use kube::ResourceExt as _;
use serde_json::{Value, json};
use test_case::test_case;

use super::*;
use crate::{
    api::{
        GOVERNED_LABEL,
        v1alpha1::{ServingModel, ServingTemplate, UnmanagedPods, ViolationAction},
    },
    evidence::{Digest, SignerIdentity},
    policy::{
        Exemption, NetworkRule, Verifications,
        samples::{fingerprint, key, rules, signer},
    },
    workload::{
        RunningModel,
        samples::{self, REPLICASET_CONTROLLER, running, settings},
    },
};

const GOOD: Digest = Digest::from_bytes([0xaa; 32]);
const NEXT: Digest = Digest::from_bytes([0xbb; 32]);
const TOOL: Digest = Digest::from_bytes([0x70; 32]);
const DAEMONS: &str = "system:serviceaccount:kube-system:daemon-set-controller";
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// A governed namespace, a policy, a model that asks for [`GOOD`], and what was found about it.
struct Door {
    world: World,
    model: ModelDeployment,
    verifications: Vec<ArtifactVerification>,
    now: Timestamp,
}

impl Door {
    fn new() -> Self {
        let mut door = Self {
            world: World {
                rules: vec![rules(vec![signer("release", &[1])])],
                namespaces: [(
                    "bank".to_owned(),
                    [(GOVERNED_LABEL.to_owned(), "true".to_owned())].into(),
                )]
                .into(),
                ..World::default()
            },
            model: samples::model(GOOD),
            verifications: Vec::new(),
            now: Timestamp::from_second(1_700_000_000).unwrap(),
        };
        door.found(
            GOOD,
            json!({"verdict": "Verified", "signers": [identity(1)], "files": 3, "size": 604_211}),
        );
        door
    }

    /// A verification of this content ended so.
    fn found(&mut self, digest: Digest, status: Value) {
        let wanted = Verifications::of(&self.model, &self.world, &running(digest));
        let mut verification = wanted.required.unwrap();
        verification.status = Some(serde_json::from_value(status).unwrap());
        self.verifications
            .retain(|there| there.name_any() != verification.name_any());
        self.verifications.push(verification);
    }

    /// [`GOOD`] serves, as the model asks for it now.
    fn serves(&mut self) {
        let serving = ServingModel {
            digest: GOOD,
            version: "1".into(),
            reference: running(GOOD).reference.to_string(),
            since: Time(self.now),
            size: 604_211,
            files: 3,
            signers: Vec::new(),
            signed_by: "release".into(),
            verification: String::new(),
            template: Some(ServingTemplate {
                server: self.model.spec.server.clone().unwrap(),
                mount_path: None,
                pull_secret: None,
            }),
            egress: self.model.spec.egress.clone(),
            unproven_since: None,
            response: None,
        };
        self.model.status.get_or_insert_default().serving = Some(serving);
    }

    fn unproven_since(&mut self, since: Timestamp) {
        let serving = self.model.status.as_mut().unwrap().serving.as_mut().unwrap();
        serving.unproven_since = Some(Time(since));
    }

    /// The model asks for this instead.
    fn asks(&mut self, digest: Digest) {
        self.model.spec = samples::model(digest).spec;
    }

    fn planned(&self, runs: &RunningModel) -> Pod {
        samples::created(&self.model, runs)
    }

    fn ask(&self, pod: &Pod, requester: &str) -> Decision {
        let request = PodRequest {
            namespace: "bank",
            requester,
            pod,
            spec: &serde_json::to_value(&pod.spec).unwrap(),
            old: None,
            owners: &[],
        };
        let recorded = Recorded {
            model: Some(&self.model).filter(|model| request.model() == Some(&model.name_any())),
            verifications: &self.verifications,
        };
        judge(&request, recorded, &self.world, &Plans::new(settings()), self.now)
    }

    fn ask_planned(&self, digest: Digest) -> Decision {
        self.ask(&self.planned(&running(digest)), REPLICASET_CONTROLLER)
    }
}

fn identity(n: u8) -> SignerIdentity {
    SignerIdentity {
        key: key(n).name,
        fingerprint: fingerprint(n),
    }
}

#[test]
fn the_planned_pod_of_an_admitted_model_runs() {
    let decision = Door::new().ask_planned(GOOD);
    assert!(decision.admits(), "{decision:?}");
    assert!(decision.findings.iter().any(|one| one.rule == RuleId::PodPlan));
}

/// What a tenant, or anybody who is not the `ReplicaSet` controller, tries with a pod that looks just like a model's.
#[test_case("alice"; "a person")]
#[test_case("system:serviceaccount:bank:default"; "an account of the namespace")]
#[test_case("system:serviceaccount:kube-system:job-controller"; "another controller")]
#[test_case("system:serviceaccount:kube-system:cronjob-controller"; "a CronJob")]
#[test_case("system:serviceaccount:bank:replicaset-controller"; "an account that is only named like the controller")]
#[test_case("system:node:node-1"; "a kubelet with a static pod")]
#[test_case(""; "nobody")]
fn a_pod_that_claims_a_controller_is_believed_only_from_that_controller(requester: &str) {
    let door = Door::new();
    let decision = door.ask(&door.planned(&running(GOOD)), requester);
    assert_eq!(decision.reason(), Some(Reason::ForgedOwner));
    assert!(!decision.admits());
}

#[test_case(json!([]); "no owner")]
#[test_case(json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "a", "uid": "a"}]); "one that does not control it")]
#[test_case(json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "a", "uid": "a", "controller": true}]); "another kind")]
#[test_case(json!([{"apiVersion": "evil/v1", "kind": "ReplicaSet", "name": "a", "uid": "a", "controller": true}]); "another group")]
fn a_pod_without_its_replica_set_is_refused(owners: Value) {
    let door = Door::new();
    let mut pod = door.planned(&running(GOOD));
    pod.metadata.owner_references = serde_json::from_value(owners).unwrap();
    assert_eq!(
        door.ask(&pod, REPLICASET_CONTROLLER).reason(),
        Some(Reason::ForgedOwner)
    );
}

/// Holes of others, tried on a pod that is otherwise as planned.
#[test_case("/metadata/annotations", json!({"probity.dev/ignore-paths": "/model"}), Reason::ForgedOwner; "an annotation that weakens the check")]
#[test_case("/metadata/labels/probity.dev~1ignore", json!("true"), Reason::ForgedOwner; "a label that switches it off")]
#[test_case("/spec/initContainers", json!([{"name": "probity-fetch", "image": "busybox"}]), Reason::PodNotAsPlanned; "an init container of the right name that does nothing")]
#[test_case("/spec/initContainers", json!([]), Reason::PodNotAsPlanned; "no init container")]
#[test_case("/spec/initContainers/0/restartPolicy", json!("Always"), Reason::PodNotAsPlanned; "a check that does not hold up the start")]
#[test_case("/spec/containers/0/volumeMounts/0/readOnly", json!(false), Reason::PodNotAsPlanned; "the model writable where it serves")]
#[test_case("/spec/containers/0/volumeMounts/0/name", json!("probity-tmp"), Reason::PodNotAsPlanned; "another volume at the model's path")]
#[test_case("/spec/volumes/0", json!({"name": "probity-model", "persistentVolumeClaim": {"claimName": "mine"}}), Reason::PodNotAsPlanned; "another volume under the model's name")]
#[test_case("/spec/volumes/0", json!({"name": "probity-model", "hostPath": {"path": "/models"}}), Reason::PodNotAsPlanned; "a folder of the node under the model's name")]
#[test_case("/spec/shareProcessNamespace", json!(true), Reason::PodNotAsPlanned; "processes that see each other")]
#[test_case("/spec/hostNetwork", json!(true), Reason::PodNotAsPlanned; "the host's network")]
#[test_case("/spec/serviceAccountName", json!("admin"), Reason::PodNotAsPlanned; "another account")]
#[test_case("/spec/containers/0/image", json!("evil@sha256:00"), Reason::PodNotAsPlanned; "another image")]
fn a_pod_that_is_not_as_planned_is_refused(pointer: &str, value: Value, reason: Reason) {
    let door = Door::new();
    let mut pod = serde_json::to_value(door.planned(&running(GOOD))).unwrap();
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    let parent = pod.pointer_mut(parent).unwrap();
    match field.parse::<usize>() {
        Ok(at) if parent.is_array() => parent[at] = value,
        _ => parent[field.replace("~1", "/")] = value,
    }
    let decision = door.ask(&serde_json::from_value(pod).unwrap(), REPLICASET_CONTROLLER);
    assert_eq!(decision.reason(), Some(reason), "{decision:?}");
    assert!(!decision.admits());
}

#[test]
fn content_the_model_neither_serves_nor_asks_for_is_refused_even_when_it_is_signed() {
    let mut door = Door::new();
    door.found(
        NEXT,
        json!({"verdict": "Verified", "signers": [identity(1)], "size": 604_211}),
    );
    assert_eq!(door.ask_planned(NEXT).reason(), Some(Reason::PodNotAsPlanned));
}

#[test]
fn the_same_content_from_elsewhere_is_refused() {
    let door = Door::new();
    let runs = RunningModel {
        reference: format!("registry.example/copies/digits@{GOOD}").parse().unwrap(),
        ..running(GOOD)
    };
    let decision = door.ask(&door.planned(&runs), REPLICASET_CONTROLLER);
    assert_eq!(decision.reason(), Some(Reason::PodNotAsPlanned));
}

#[test_case(json!({"verdict": "Refused", "reason": "Unsigned", "message": "no signature"}), Some(Reason::Unsigned); "unsigned")]
#[test_case(json!({"verdict": "Unknown", "reason": "Timeout", "message": "too slow"}), Some(Reason::Timeout); "not readable")]
#[test_case(json!({}), None; "being verified")]
#[test_case(json!({"verdict": "Verified", "signers": [identity(2)], "size": 604_211}), Some(Reason::SignerMismatch); "signed by a stranger")]
fn content_that_policy_does_not_admit_does_not_run(status: Value, reason: Option<Reason>) {
    let mut door = Door::new();
    door.found(GOOD, status);
    let decision = door.ask_planned(GOOD);
    assert!(!decision.admits());
    assert_eq!(decision.reason(), reason, "{decision:?}");
    assert!(!decision.message().is_empty());
}

#[test]
fn a_verification_that_is_not_there_is_not_one_that_passed() {
    let mut door = Door::new();
    door.verifications.clear();
    assert!(!door.ask_planned(GOOD).admits());
}

#[test]
fn a_label_of_a_model_that_is_not_there_is_refused() {
    let mut door = Door::new();
    let pod = door.planned(&running(GOOD));
    door.model.metadata.name = Some("other".into());
    assert_eq!(
        door.ask(&pod, REPLICASET_CONTROLLER).reason(),
        Some(Reason::UnmanagedPod)
    );
}

#[test]
fn a_namespace_that_is_not_read_yet_is_asked_for_again() {
    let mut door = Door::new();
    door.world.namespaces.clear();
    assert_eq!(door.ask_planned(GOOD).reason(), Some(Reason::NotReadYet));
}

#[test]
fn a_governed_namespace_without_a_policy_runs_nothing() {
    let mut door = Door::new();
    door.world.rules.clear();
    assert_eq!(door.ask_planned(GOOD).reason(), Some(Reason::NoPolicy));
    assert_eq!(door.ask(&bare(), "alice").reason(), Some(Reason::NoPolicy));
}

// What serves.

#[test]
fn what_serves_is_replaced_while_something_else_is_asked_for() {
    let mut door = Door::new();
    door.serves();
    let pod = door.planned(&running(GOOD));
    door.asks(NEXT);
    assert!(door.ask(&pod, REPLICASET_CONTROLLER).admits());
}

#[test]
fn what_serves_is_replaced_as_it_serves_while_its_specification_changed() {
    let mut door = Door::new();
    door.serves();
    let (old, runs) = (door.planned(&running(GOOD)), running(GOOD));
    door.model.spec.server.as_mut().unwrap().args = Some(vec!["--broken".into()]);
    assert!(
        door.ask(&old, REPLICASET_CONTROLLER).admits(),
        "the pods that serve"
    );
    assert!(
        door.ask(&door.planned(&runs), REPLICASET_CONTROLLER).admits(),
        "the pods of the rollout"
    );
}

#[test_case(json!([]) => true; "none when it began to")]
#[test_case(json!([{"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}], "ports": [{"port": 443}]}]) => false; "as much, and the ceiling sank")]
fn what_serves_is_judged_by_the_egress_it_serves_with(served_with: Value) -> bool {
    let mut door = Door::new();
    door.model.spec.egress = serde_json::from_value(served_with).unwrap();
    door.serves();
    door.world.rules[0].isolation.network = Some(NetworkRule::default());
    door.world.rules[0].on_violation = ViolationAction::Quarantine;
    let wide = json!([{"to": [{"ipBlock": {"cidr": "192.0.0.0/16"}}], "ports": [{"port": 443}]}]);
    door.model.spec.egress = serde_json::from_value(wide).unwrap();
    let decision = door.ask_planned(GOOD);
    if !decision.admits() {
        assert_eq!(decision.reason(), Some(Reason::EgressAboveCeiling));
    }
    decision.admits()
}

#[test]
fn when_the_key_is_withdrawn_what_serves_is_replaced_until_the_grace_period_ends() {
    let mut door = Door::new();
    door.serves();
    door.world.rules = vec![rules(vec![signer("release", &[2])])];
    door.found(
        GOOD,
        json!({"verdict": "Refused", "reason": "SignerMismatch", "message": "by none of the trusted keys"}),
    );
    assert!(door.ask_planned(GOOD).admits(), "it turned bad just now");
    let bad_since = door.now;
    door.unproven_since(bad_since);
    door.now = bad_since + DAY - SignedDuration::from_secs(1);
    let decision = door.ask_planned(GOOD);
    assert!(
        decision.admits() && decision.message().contains("not proven any more"),
        "{decision:?}"
    );
    door.now = bad_since + DAY;
    let decision = door.ask_planned(GOOD);
    assert_eq!(decision.reason(), Some(Reason::SignerMismatch));
    let ended = (bad_since + DAY).to_string();
    assert!(decision.message().contains(&ended), "{decision:?}");
}

#[test]
fn grace_is_for_exactly_what_served() {
    let mut door = Door::new();
    door.serves();
    door.world.rules = vec![rules(vec![signer("release", &[2])])];
    door.found(
        GOOD,
        json!({"verdict": "Refused", "reason": "SignerMismatch", "message": "by none of the trusted keys"}),
    );
    door.model.spec.server.as_mut().unwrap().args = Some(vec!["--other".into()]);
    assert!(
        !door.ask_planned(GOOD).admits(),
        "the same content, served in another way"
    );
    let mut fresh = Door::new();
    fresh.world = door.world.clone();
    fresh.verifications = door.verifications.clone();
    assert!(!fresh.ask_planned(GOOD).admits(), "content that never served");
}

#[test_case(ViolationAction::Quarantine, 3600 => "what serves is quarantined"; "cut off")]
#[test_case(ViolationAction::Stop, 3600 => "what serves is to be stopped"; "going on until it is stopped")]
#[test_case(ViolationAction::Stop, 0 => "what serves is stopped"; "stopped")]
fn what_is_cut_off_is_not_replaced(action: ViolationAction, seconds: i64) -> String {
    let mut door = Door::new();
    door.serves();
    let mut strict = rules(vec![signer("release", &[2])]);
    strict.on_violation = action;
    strict.grace_period = SignedDuration::from_secs(seconds);
    door.world.rules = vec![strict];
    door.found(
        GOOD,
        json!({"verdict": "Refused", "reason": "SignerMismatch", "message": "by none of the trusted keys"}),
    );
    let decision = door.ask_planned(GOOD);
    assert_eq!(decision.reason(), Some(Reason::SignerMismatch), "{decision:?}");
    let plan = decision
        .findings
        .iter()
        .find(|finding| finding.rule == RuleId::PodPlan)
        .unwrap();
    let (what, rest) = plan.message.split_once(" (spec.onViolation of ").unwrap();
    assert!(rest.contains("no pod of it is made again"), "{rest}");
    what.to_owned()
}

#[test]
fn what_is_revoked_is_not_replaced() {
    let mut door = Door::new();
    door.serves();
    door.world.rules[0].revoked.insert(GOOD, "poisoned".into());
    assert_eq!(door.ask_planned(GOOD).reason(), Some(Reason::Revoked));
}

#[test]
fn the_shortest_grace_period_counts() {
    let mut door = Door::new();
    door.serves();
    let mut strict = rules(vec![signer("release", &[2])]);
    strict.grace_period = SignedDuration::ZERO;
    door.world.rules.push(strict);
    assert!(!door.ask_planned(GOOD).admits(), "it turned bad just now");
    let now = door.now;
    door.unproven_since(now);
    assert!(!door.ask_planned(GOOD).admits());
}

#[test]
fn a_policy_that_only_looks_does_not_shorten_the_grace_period() {
    let mut door = Door::new();
    door.serves();
    door.world.rules.push(rules(vec![signer("release", &[2])]));
    let mut looks = rules(vec![signer("release", &[2])]);
    (looks.effect, looks.model_effect, looks.isolation.effect) =
        (Effect::Audit, Effect::Audit, Effect::Audit);
    looks.grace_period = SignedDuration::ZERO;
    door.world.rules.push(looks);
    let now = door.now;
    door.unproven_since(now);
    assert!(door.ask_planned(GOOD).admits());
}

// Pods no model answers for.

fn bare() -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "tool", "namespace": "bank"},
        "spec": {"containers": [{"name": "tool", "image": format!("registry.example/tool@{TOOL}")}]}
    }))
    .unwrap()
}

fn exempting(door: &mut Door) {
    door.world.rules[0].exempt = vec![Exemption {
        image_digests: [TOOL].into(),
        requester: DAEMONS.into(),
    }];
}

#[test_case(UnmanagedPods::Deny => (false, 1); "denied")]
#[test_case(UnmanagedPods::Warn => (true, 1); "told")]
#[test_case(UnmanagedPods::Allow => (true, 0); "allowed")]
fn a_bare_pod(unmanaged: UnmanagedPods) -> (bool, usize) {
    let mut door = Door::new();
    door.world.rules[0].unmanaged_pods = unmanaged;
    let decision = door.ask(&bare(), "alice");
    let failed = decision
        .findings
        .iter()
        .filter(|one| one.verdict == Verdict::Fail);
    (decision.admits(), failed.count())
}

/// What others look at to leave a namespace alone.
#[test_case("control-plane", "controller-manager")]
#[test_case("probity.dev/ignore", "true")]
#[test_case("admission.gatekeeper.sh/ignore", "true")]
#[test_case("policy.sigstore.dev/exclude", "true")]
#[test_case("pod-security.kubernetes.io/enforce", "privileged")]
fn no_other_label_of_a_namespace_switches_anything_off(key: &str, value: &str) {
    let mut door = Door::new();
    let labels = door.world.namespaces.get_mut("bank").unwrap();
    labels.insert(key.to_owned(), value.to_owned());
    assert_eq!(door.ask(&bare(), "alice").reason(), Some(Reason::UnmanagedPod));
    door.verifications.clear();
    assert!(!door.ask_planned(GOOD).admits());
}

/// Whoever can write into a kubelet's folder has the node; that the pod is no object is all there is to do.
#[test]
fn the_mirror_of_a_static_pod_is_a_pod_like_any_other() {
    let mut door = Door::new();
    exempting(&mut door);
    let mut mirror = bare();
    mirror.annotations_mut().insert(
        "kubernetes.io/config.mirror".into(),
        "d8a0dd4ad6e4a5a8b2cf4a3c5d4e6f70".into(),
    );
    assert_eq!(
        door.ask(&mirror, "system:node:node-1").reason(),
        Some(Reason::UnmanagedPod)
    );
}

#[test]
fn one_policy_that_allows_bare_pods_does_not_speak_for_another() {
    let mut door = Door::new();
    let mut lax = rules(vec![signer("release", &[1])]);
    lax.unmanaged_pods = UnmanagedPods::Allow;
    door.world.rules.push(lax);
    assert!(!door.ask(&bare(), "alice").admits());
}

#[test]
fn an_exempt_image_made_by_its_maker_runs() {
    let mut door = Door::new();
    exempting(&mut door);
    assert!(door.ask(&bare(), DAEMONS).admits());
}

#[test_case("alice", json!({}); "by somebody else")]
#[test_case(DAEMONS, json!({"spec": {"containers": [{"name": "tool", "image": "registry.example/tool:latest"}]}}); "by a tag")]
#[test_case(DAEMONS, json!({"spec": {"containers": [{"name": "tool", "image": format!("evil@{NEXT}")}]}}); "another image")]
#[test_case(DAEMONS, json!({"spec": {"initContainers": [{"name": "a", "image": format!("evil@{NEXT}")}]}}); "another image beside it, at the start")]
#[test_case(DAEMONS, json!({"spec": {"ephemeralContainers": [{"name": "a", "image": "evil"}]}}); "an ephemeral one")]
#[test_case(DAEMONS, json!({"spec": {"volumes": [{"name": "a", "image": {"reference": "evil:1"}}]}}); "an image volume")]
#[test_case(DAEMONS, json!({"spec": {"containers": [{"name": "tool"}]}}); "no image at all")]
#[test_case(DAEMONS, json!({"metadata": {"annotations": {"probity.dev/exempt": "true"}}}); "with an annotation of ours")]
#[test_case(DAEMONS, json!({"spec": {"initContainers": [{"name": "probity-fetch", "image": format!("registry.example/tool@{TOOL}")}]}}); "with a container named like ours")]
#[test_case(DAEMONS, json!({"spec": {"volumes": [{"name": "probity-model", "emptyDir": {}}]}}); "with a volume named like ours")]
fn an_exemption_is_for_just_these_images_by_just_this_maker(requester: &str, change: Value) {
    let mut door = Door::new();
    exempting(&mut door);
    let mut pod = serde_json::to_value(bare()).unwrap();
    for (section, fields) in change.as_object().unwrap() {
        for (field, value) in fields.as_object().unwrap() {
            pod[section][field] = value.clone();
        }
    }
    let decision = door.ask(&serde_json::from_value(pod).unwrap(), requester);
    assert!(!decision.admits(), "{decision:?}");
    assert_eq!(decision.reason(), Some(Reason::UnmanagedPod));
}
