//! Workloads as people apply them, and what is said of the pods they would make.
#![allow(clippy::needless_pass_by_value, reason = "rows of a table are values")]

use serde_json::{Value, json};
use test_case::test_case;

use super::*;
use crate::{
    api::{GOVERNED_LABEL, v1alpha1::UnmanagedPods},
    evidence::{Digest, Effect, Reason, Verdict},
    policy::{
        Exemption,
        samples::{at, isolated, rules, signer},
    },
    workload::samples::settings,
};

const TOOL: Digest = Digest::from_bytes([0x70; 32]);

fn world() -> World {
    let mut rules = rules(vec![signer("release", &[1])]);
    // A key that can be handed to a verifier.
    rules.signers[0].keys[0].public_key = PEM.into();
    World {
        rules: vec![rules],
        namespaces: [(
            "bank".to_owned(),
            [(GOVERNED_LABEL.to_owned(), "true".to_owned())].into(),
        )]
        .into(),
        ..World::default()
    }
}

const PEM: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEJlow8f7azEi7yRIQ/awfMNv/rT1O
hdOMYDnatrV2FtOyl+euxDhNJ4/9/JmlxdLkqIAuY691VrquPdcKLBfBFw==
-----END PUBLIC KEY-----
";

/// A server that reads its model from a claim.
fn template() -> Value {
    json!({
        "metadata": {"labels": {"app": "digits"}},
        "spec": {
            "containers": [{"name": "server", "image": format!("registry.example/server@{TOOL}"), "volumeMounts": [
                {"name": "models", "mountPath": "/mnt/models"}
            ]}],
            "volumes": [{"name": "models", "persistentVolumeClaim": {"claimName": "models"}}]
        }
    })
}

fn workload(version: &str, kind: &str) -> Value {
    let spec = if kind == "CronJob" {
        json!({"jobTemplate": {"spec": {"template": template()}}})
    } else {
        json!({"template": template()})
    };
    json!({"apiVersion": version, "kind": kind, "metadata": {"name": "digits", "namespace": "bank"}, "spec": spec})
}

fn deployment() -> Value {
    workload("apps/v1", "Deployment")
}

/// The same, controlled by this.
fn owned(mut workload: Value, version: &str, kind: &str) -> Value {
    workload["metadata"]["ownerReferences"] =
        json!([{"apiVersion": version, "kind": kind, "name": "above", "uid": "a", "controller": true}]);
    workload
}

/// A model that governs this workload, whose files lie on the claim that its pods mount.
fn governs_it(version: &str, kind: &str, name: &str) -> ModelDeployment {
    serde_json::from_value(json!({
        "apiVersion": "probity.dev/v1alpha1", "kind": "ModelDeployment",
        "metadata": {"name": "numbers", "namespace": "bank"},
        "spec": {
            "model": {"source": {"mounted": {}}},
            "workloadRef": {"apiVersion": version, "kind": kind, "name": name}
        }
    }))
    .unwrap()
}

fn said(workload: &Value, model: Option<&ModelDeployment>, world: &World) -> Option<Decision> {
    let template = Template::read(workload)?;
    let recorded = Recorded {
        model: model.filter(|model| template.model().is_some() || governs(model, template.owners())),
        verifications: &[],
    };
    template.judge("bank", recorded, world, &Plans::new(settings()), at(0))
}

fn reason(workload: &Value, model: Option<&ModelDeployment>, world: &World) -> Option<Reason> {
    said(workload, model, world).unwrap().reason()
}

const REPLICAS: &str = "system:serviceaccount:kube-system:replicaset-controller";
const JOBS: &str = "system:serviceaccount:kube-system:job-controller";

#[test_case("apps/v1", "Deployment", REPLICAS, &["ReplicaSet", "Deployment"]; "deployment")]
#[test_case("apps/v1", "ReplicaSet", REPLICAS, &["ReplicaSet"]; "replica set")]
#[test_case("apps/v1", "StatefulSet", "system:serviceaccount:kube-system:statefulset-controller", &["StatefulSet"]; "stateful set")]
#[test_case("apps/v1", "DaemonSet", "system:serviceaccount:kube-system:daemon-set-controller", &["DaemonSet"]; "daemon set")]
#[test_case("batch/v1", "Job", JOBS, &["Job"]; "job")]
#[test_case("batch/v1", "CronJob", JOBS, &["Job", "CronJob"]; "cron job")]
fn the_pod_is_that_of_its_controller(version: &str, kind: &str, maker: &str, owners: &[&str]) {
    let workload = workload(version, kind);
    let template = Template::read(&workload).unwrap();
    assert_eq!(template.requester, maker);
    let kinds: Vec<_> = template.owners.iter().map(|owner| owner.kind.as_str()).collect();
    assert_eq!(kinds, owners);
    assert_eq!(template.owners.last().unwrap().name, "digits");
    assert_eq!(
        template.pod.metadata.owner_references.as_ref().unwrap()[0].kind,
        owners[0]
    );
    assert_eq!(reason(&workload, None, &world()), Some(Reason::UnmanagedPod));
    // An exemption names the account that makes the pods.
    let mut exempting = world();
    exempting.rules[0].exempt = vec![Exemption {
        image_digests: [TOOL].into(),
        requester: maker.into(),
    }];
    assert!(said(&workload, None, &exempting).unwrap().admits());
}

/// As KServe's controller writes it: its webhook brings the model to each pod, and nobody knows before how.
#[test]
fn what_kserve_will_bring_is_not_judged_before() {
    let mut workload = owned(deployment(), "serving.kserve.io/v1beta1", "InferenceService");
    workload["spec"]["template"] = json!({
        "metadata": {
            "labels": {"serving.kserve.io/inferenceservice": "above"},
            "annotations": {"internal.serving.kserve.io/storage-initializer-sourceuri": "s3://models/digits"}
        },
        "spec": {"containers": [{"name": "kserve-container", "image": "registry.example/server:1"}]}
    });
    let model = governs_it("serving.kserve.io/v1beta1", "InferenceService", "above");
    assert_eq!(said(&workload, Some(&model), &world()), None);
    assert_eq!(reason(&workload, None, &world()), Some(Reason::UnmanagedPod));
    let metadata = &mut workload["spec"]["template"]["metadata"];
    metadata["annotations"] = json!({});
    assert_eq!(
        reason(&workload, Some(&model), &world()),
        Some(Reason::PodNotAsPlanned)
    );
}

#[test_case(owned(workload("apps/v1", "ReplicaSet"), "apps/v1", "Deployment"); "a replica set of a deployment")]
#[test_case(owned(workload("batch/v1", "Job"), "batch/v1", "CronJob"); "a job of a cron job")]
#[test_case(owned(deployment(), "probity.dev/v1alpha1", "ModelDeployment"); "what the operator makes")]
#[test_case(workload("example/v1", "Deployment"); "another group")]
#[test_case(json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {}}); "no template")]
#[test_case(json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"template": {"spec": 7}}}); "one that cannot be read")]
#[test_case(json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "spec": {"template": {"spec": 7}, "volumeClaimTemplates": [{"metadata": {"name": "a"}}]}}); "one that cannot be read, with claims")]
#[test_case(json!(null); "nothing")]
fn is_not_judged(workload: Value) {
    assert_eq!(Template::read(&workload), None);
}

#[test_case(owned(workload("apps/v1", "ReplicaSet"), "argoproj.io/v1alpha1", "Rollout"); "of another's replica set")]
#[test_case(owned(workload("batch/v1", "Job"), "example/v1", "CronJob"); "of another's job")]
#[test_case(owned(deployment(), "example/v1", "ModelDeployment"); "of another group's model")]
fn what_nobody_was_asked_about_is_judged(workload: Value) {
    assert_eq!(reason(&workload, None, &world()), Some(Reason::UnmanagedPod));
}

#[test]
fn nothing_is_said_where_nobody_governs() {
    let mut world = world();
    world.namespaces.clear();
    assert_eq!(said(&deployment(), None, &world), None);
    let labels = [(GOVERNED_LABEL.to_owned(), "false".to_owned())].into();
    world.namespaces = [("bank".to_owned(), labels)].into();
    assert_eq!(said(&deployment(), None, &world), None);
}

#[test]
fn a_policy_that_only_warns_warns() {
    let mut world = world();
    world.rules[0].unmanaged_pods = UnmanagedPods::Warn;
    let decision = said(&deployment(), None, &world).unwrap();
    assert!(decision.admits());
    let finding = &decision.findings[0];
    assert_eq!((finding.effect, finding.verdict), (Effect::Warn, Verdict::Fail));
}

#[test]
fn a_namespace_without_a_policy_runs_no_pods() {
    let mut world = world();
    world.rules.clear();
    assert_eq!(reason(&deployment(), None, &world), Some(Reason::NoPolicy));
}

/// What admission will put into the pods is not missing in the template.
#[test_case(deployment(), governs_it("apps/v1", "Deployment", "digits"); "a deployment")]
#[test_case(workload("apps/v1", "StatefulSet"), governs_it("apps/v1", "StatefulSet", "digits"); "a stateful set")]
#[test_case(workload("batch/v1", "Job"), governs_it("batch/v1", "Job", "digits"); "a job")]
#[test_case(owned(deployment(), "serving.kserve.io/v1beta1", "InferenceService"), governs_it("serving.kserve.io/v1beta1", "InferenceService", "above"); "of an inference service")]
fn a_governed_template_is_mended_before_it_is_judged(workload: Value, model: ModelDeployment) {
    let decision = said(&workload, Some(&model), &world()).unwrap();
    assert!(decision.admits(), "{decision:?}");
}

#[test_case(workload("batch/v1", "CronJob"), governs_it("batch/v1", "Job", "digits"); "a cron job of the job's name")]
#[test_case(deployment(), governs_it("apps/v1", "StatefulSet", "digits"); "another kind")]
#[test_case(deployment(), governs_it("apps/v1", "Deployment", "letters"); "another name")]
fn another_workloads_model_does_not_answer_for_it(workload: Value, model: ModelDeployment) {
    assert_eq!(
        reason(&workload, Some(&model), &world()),
        Some(Reason::UnmanagedPod)
    );
}

#[test_case("/spec/template/spec/hostPID", json!(true), "hostPID"; "the node's processes")]
#[test_case("/spec/template/spec/containers/0/volumeMounts", json!([]), "mounts anything at /mnt/models"; "nothing mounted where the model should be")]
#[test_case("/spec/template/spec/initContainers", json!([{"name": "probity-verify", "image": "busybox"}]), "Probity's own"; "a verifier of its own")]
fn what_cannot_be_mended_is_told(pointer: &str, value: Value, words: &str) {
    let mut workload = deployment();
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    workload.pointer_mut(parent).unwrap()[field] = value;
    let model = governs_it("apps/v1", "Deployment", "digits");
    let decision = said(&workload, Some(&model), &world()).unwrap();
    assert_eq!(decision.reason(), Some(Reason::PodNotAsPlanned), "{decision:?}");
    assert!(decision.message().contains(words), "{}", decision.message());
}

/// The volumes of a `StatefulSet`'s claims are put in by its controller.
#[test]
fn a_claim_of_a_stateful_set_can_bring_the_model() {
    let mut set = workload("apps/v1", "StatefulSet");
    set["spec"]["template"]["spec"]["volumes"] = json!([{"name": "models", "emptyDir": {}}]);
    set["spec"]["volumeClaimTemplates"] = json!([{"metadata": {"name": "models"}}]);
    let volumes = |set: &Value| Template::read(set).unwrap().spec["volumes"].clone();
    let claim = json!([{"name": "models", "persistentVolumeClaim": {"claimName": "models-digits-0"}}]);
    assert_eq!(volumes(&set), claim);
    set["spec"]["template"]["spec"]
        .as_object_mut()
        .unwrap()
        .remove("volumes");
    assert_eq!(volumes(&set), claim);
    let model = governs_it("apps/v1", "StatefulSet", "digits");
    assert!(said(&set, Some(&model), &world()).unwrap().admits());
}

#[test]
fn a_template_that_says_it_is_a_models_is_told_so() {
    let mut workload = deployment();
    workload["spec"]["template"]["metadata"]["labels"] = json!({MODEL_LABEL: "letters"});
    let template = Template::read(&workload).unwrap();
    assert_eq!(template.model(), Some("letters"));
    assert_eq!(reason(&workload, None, &world()), Some(Reason::UnmanagedPod));
}

#[test]
fn only_what_its_pods_would_be_is_compared() {
    let template = |workload: &Value| Template::read(workload).unwrap();
    let (old, mut new) = (deployment(), deployment());
    new["spec"]["replicas"] = json!(3);
    new["metadata"]["labels"] = json!({"a": "b"});
    new["status"] = json!({"replicas": 1});
    assert_eq!(template(&old), template(&new));
    new["spec"]["template"]["metadata"]["annotations"] = json!({"a": "b"});
    assert_ne!(template(&old), template(&new));
}

/// What admission would add is no reason to warn; what is for the author to write, is.
#[test_case(json!({"readOnlyRootFilesystem": true, "runAsUser": 1000}), json!({"limits": {"memory": "1Gi"}}) => None; "all that cannot be added is there")]
#[test_case(json!({"runAsUser": 1000}), json!({"limits": {"memory": "1Gi"}}) => Some(Reason::NotHardened); "a root that can be written")]
#[test_case(json!({"readOnlyRootFilesystem": true, "runAsUser": 1000}), json!({}) => Some(Reason::NotHardened); "no limit")]
fn of_hardening_only_what_is_for_the_author_is_told(context: Value, resources: Value) -> Option<Reason> {
    let mut world = world();
    world.rules[0].unmanaged_pods = UnmanagedPods::Allow;
    world.rules[0].isolation = isolated(Effect::Enforce, true, &[]).isolation;
    let mut workload = deployment();
    let server = &mut workload["spec"]["template"]["spec"]["containers"][0];
    server["securityContext"] = context;
    server["resources"] = resources;
    reason(&workload, None, &world)
}
