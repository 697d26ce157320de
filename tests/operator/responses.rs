//! What is done about a model that turns bad while it serves: its pods lose traffic, or are stopped, and come back by
//! themselves. There is no node here, so what a test sees is what the operator wrote.

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Pod, Service},
    networking::v1::NetworkPolicy,
};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    runtime::wait::await_condition,
};
use probity::{
    api::{
        CUT_OFF_LABEL, SERVING_GATE, cluster_network_policy::ClusterNetworkPolicy, v1alpha1::ModelDeployment,
    },
    artifact::signature::PublicKey,
    evidence::{CopyReport, Digest, SignerIdentity},
    workload::quarantine_name,
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    artifacts::{Model, release_pem},
    images::{asked_until, door, model, workload},
    stage::{PATIENCE, Stage, condition, until},
    testbed::apply,
};

/// What the policy does about what turned bad.
pub async fn on_violation(stage: &Stage, action: &str, seconds: u32) {
    let spec = json!({"spec": {"onViolation": {"action": action, "gracePeriodSeconds": seconds}}});
    stage.change_policy(spec).await;
}

async fn revoked(stage: &Stage, revoked: Value) {
    let spec = json!({"spec": {"model": {"revoked": revoked}}});
    stage.change_policy(spec).await;
}

/// Plays the `ReplicaSet` controller: a pod of the model's Deployment.
pub async fn pod(stage: &Stage, model: &str, name: &str) {
    let deployment: Deployment = stage.api().get(model).await.unwrap();
    let template = deployment.spec.unwrap().template;
    let labels = template.metadata.unwrap().labels;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "spec": template.spec,
        "metadata": {"name": name, "namespace": stage.namespace, "labels": labels}
    });
    apply(&stage.client, pod).await;
}

/// Waits until the pod's readiness gate is open, or shut.
pub async fn gate(stage: &Stage, name: &str, open: bool) {
    let wanted = if open { "True" } else { "False" };
    let stands = |pod: &Pod| {
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
        let mut conditions = conditions.into_iter().flatten();
        conditions.any(|condition| condition.type_ == SERVING_GATE && condition.status == wanted)
    };
    until(
        &stage.api::<Pod>(),
        name,
        &format!("the gate is {wanted}"),
        stands,
    )
    .await;
}

fn denials(stage: &Stage) -> Api<ClusterNetworkPolicy> {
    Api::all(stage.client.clone())
}

/// What denies all traffic of a model, whatever NetworkPolicies allow.
async fn denial(stage: &Stage, model: &str) -> ClusterNetworkPolicy {
    let name = quarantine_name(&stage.namespace, model);
    until(&denials(stage), &name, "it is made", |_| true).await
}

/// The namespace and the pods that it means.
fn subject(policy: &ClusterNetworkPolicy) -> (String, Value) {
    let pods = policy.spec.subject.pods.as_ref().unwrap();
    let term = &pods.namespace_selector.match_expressions.as_ref().unwrap()[0];
    let namespace = term.values.as_ref().unwrap()[0].clone();
    (namespace, serde_json::to_value(&pods.pod_selector).unwrap())
}

async fn no_denial(stage: &Stage, model: &str) {
    let name = quarantine_name(&stage.namespace, model);
    let gone = await_condition(denials(stage), &name, |found: Option<&ClusterNetworkPolicy>| {
        found.is_none()
    });
    timeout(PATIENCE, gone)
        .await
        .expect("it was never taken away")
        .unwrap();
}

/// Whether the Service selects the model's pods.
pub async fn reached(stage: &Stage, name: &str) -> bool {
    let service: Service = stage.api().get(name).await.unwrap();
    !service
        .spec
        .unwrap()
        .selector
        .unwrap()
        .contains_key(CUT_OFF_LABEL)
}

async fn replicas(stage: &Stage, name: &str, wanted: i32) -> Deployment {
    let scaled = |deployment: &Deployment| deployment.spec.as_ref().unwrap().replicas == Some(wanted);
    until(
        &stage.api::<Deployment>(),
        name,
        &format!("{wanted} replicas are wanted"),
        scaled,
    )
    .await
}

#[tokio::test]
async fn a_revoked_model_is_quarantined_and_released() {
    let stage = Stage::new().await;
    let reference = Model::signed().push("quarantined/digits");
    let digest = reference.digest().unwrap();
    stage.serve("digits", &reference).await;
    pod(&stage, "digits", "digits-1").await;
    gate(&stage, "digits-1", true).await;
    on_violation(&stage, "Quarantine", 3600).await;

    revoked(&stage, json!([{"digest": digest, "reason": "poisoned"}])).await;
    gate(&stage, "digits-1", false).await;
    let message = stage.reason("digits", "QuarantinePartial").await;
    assert!(
        message.contains("poisoned") && message.contains("spec.onViolation of"),
        "{message}"
    );
    assert!(!reached(&stage, "digits").await);
    let shut: NetworkPolicy = stage.api().get("probity-digits").await.unwrap();
    let spec = shut.spec.unwrap();
    assert_eq!(spec.policy_types.unwrap_or_default(), ["Ingress", "Egress"]);
    let open = (spec.ingress.unwrap_or_default(), spec.egress.unwrap_or_default());
    assert_eq!(open, (Vec::new(), Vec::new()), "nothing in or out");
    stage.event("digits", "QuarantinePartial").await;
    let shut = denial(&stage, "digits").await;
    let own = json!({"matchLabels": {"probity.dev/model": "digits"}});
    assert_eq!(subject(&shut), (stage.namespace.clone(), own));
    assert_eq!((shut.spec.ingress.len(), shut.spec.egress.len()), (1, 1));
    stage.event("digits", "NetworkShut").await;
    let deployment = replicas(&stage, "digits", 1).await;
    // Its controller counts the pods that are not ready any more.
    stage.set_rollout(&deployment, 1, 1, 0).await;
    let model = stage.until("digits", "it remembers", |model| {
        let serving = model.status.as_ref().and_then(|status| status.serving.as_ref());
        serving.is_some_and(|serving| serving.response.is_some())
    });
    let model = model.await;
    assert_eq!(
        condition(&model, "Available").unwrap().reason,
        "QuarantinePartial"
    );

    revoked(&stage, json!([])).await;
    gate(&stage, "digits-1", true).await;
    stage.event("digits", "Released").await;
    assert!(reached(&stage, "digits").await);
    no_denial(&stage, "digits").await;
    let left = stage.names::<NetworkPolicy>().await;
    assert!(left.is_empty(), "nobody asked for isolation: {left:?}");
    let deployment = stage.deployed("digits", digest).await;
    stage.set_rollout(&deployment, 1, 1, 1).await;
    stage.reason("digits", "Serving").await;
}

/// What the model's author asks for is the candidate's: what serves is not cut off for it.
#[tokio::test]
async fn egress_above_the_ceiling_cuts_off_nothing_that_serves() {
    let stage = Stage::new().await;
    let range = |cidr: &str| json!([{"to": [{"ipBlock": {"cidr": cidr}}], "ports": [{"port": 443}]}]);
    let isolation =
        json!({"spec": {"isolation": {"network": "DefaultDeny", "egressCeiling": range("192.0.2.0/24")}}});
    stage.change_policy(isolation).await;
    let reference = Model::signed().push("declared/digits");
    stage.serve("digits", &reference).await;
    pod(&stage, "digits", "digits-1").await;
    gate(&stage, "digits-1", true).await;
    stage
        .change("digits", json!({"egress": range("192.0.2.128/25")}))
        .await;
    stage
        .until("digits", "it serves with that", |model| {
            let serving = model.status.as_ref().and_then(|status| status.serving.as_ref());
            serving.is_some_and(|serving| json!(serving.egress) == range("192.0.2.128/25"))
        })
        .await;
    on_violation(&stage, "Quarantine", 3600).await;

    stage
        .change("digits", json!({"egress": range("192.0.0.0/16")}))
        .await;
    let message = stage.reason("digits", "EgressAboveCeiling").await;
    assert!(message.contains("goes on serving"), "{message}");
    gate(&stage, "digits-1", true).await;
    assert!(reached(&stage, "digits").await);

    // A ceiling that sinks below what serves is another matter.
    let sunk = json!({"spec": {"isolation": {"egressCeiling": []}}});
    stage.change_policy(sunk).await;
    gate(&stage, "digits-1", false).await;
    stage.reason("digits", "QuarantinePartial").await;
}

/// It can be owned by nothing that is in a namespace, and goes all the same.
#[tokio::test]
async fn what_denies_all_traffic_goes_with_its_model() {
    let stage = Stage::new().await;
    let reference = Model::signed().push("quarantined/gone");
    stage.serve("digits", &reference).await;
    on_violation(&stage, "Quarantine", 3600).await;
    revoked(
        &stage,
        json!([{"digest": reference.digest().unwrap(), "reason": "poisoned"}]),
    )
    .await;
    let shut = denial(&stage, "digits").await;
    // By hand it is made weaker, and brought back.
    let weaker = json!({"metadata": {"managedFields": null}, "spec": {"ingress": null}});
    denials(&stage)
        .patch(&shut.name_any(), &PatchParams::default(), &Patch::Merge(weaker))
        .await
        .unwrap();
    stage.change("digits", json!({"clients": []})).await;
    until(&denials(&stage), &shut.name_any(), "it is as planned", |shut| {
        shut.spec.ingress.len() == 1
    })
    .await;
    stage
        .api::<ModelDeployment>()
        .delete("digits", &DeleteParams::default())
        .await
        .unwrap();
    no_denial(&stage, "digits").await;
}

/// With a disruption budget that would not let one pod go: nobody asks it.
#[tokio::test]
async fn what_is_to_be_stopped_is_stopped_when_its_time_has_come() {
    let stage = Stage::new().await;
    let reference = Model::signed().push("stopped/digits");
    stage.serve("digits", &reference).await;
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": {"name": "none-may-go", "namespace": stage.namespace},
        "spec": {"maxUnavailable": 0, "selector": {"matchLabels": {"probity.dev/model": "digits"}}}
    });
    apply(&stage.client, budget).await;
    on_violation(&stage, "Stop", 5).await;
    revoked(
        &stage,
        json!([{"digest": reference.digest().unwrap(), "reason": "poisoned"}]),
    )
    .await;
    let message = stage.reason("digits", "Revoked").await;
    assert!(message.contains("until it is stopped at"), "{message}");
    let deployment = replicas(&stage, "digits", 0).await;
    stage.reason("digits", "Stopped").await;
    stage.event("digits", "Stopped").await;
    stage.set_rollout(&deployment, 0, 0, 0).await;

    revoked(&stage, json!([])).await;
    let deployment = replicas(&stage, "digits", 1).await;
    stage.event("digits", "Released").await;
    stage.set_rollout(&deployment, 1, 1, 1).await;
    stage.reason("digits", "Serving").await;
}

/// A pod of somebody else's Deployment as admission lets it in, whose verifier found this to be signed by `release`.
async fn verified(stage: &Stage, name: &str, content: Digest) {
    let door = door(stage).await;
    let (mut made, _) = asked_until(&door, stage, |answer| answer.allowed).await;
    assert_eq!(
        made["spec"]["readinessGates"],
        json!([{"conditionType": SERVING_GATE}]),
        "its traffic can be cut"
    );
    made["metadata"]["name"] = json!(name);
    let api = stage.api::<Pod>();
    let made: Pod = serde_json::from_value(made).unwrap();
    api.create(&PostParams::default(), &made).await.unwrap();
    let signer = SignerIdentity {
        key: format!("{}/release", stage.namespace),
        fingerprint: PublicKey::parse("release", release_pem()).unwrap().fingerprint(),
    };
    let report = CopyReport {
        digest: content,
        size: 9,
        files: 3,
        signers: vec![signer],
    };
    let ended = json!({"status": {"initContainerStatuses": [{
        "name": "probity-verify", "image": "", "imageID": "", "ready": true, "restartCount": 0,
        "state": {"terminated": {"exitCode": 0, "message": report.line().unwrap(), "finishedAt": "2026-11-14T22:13:20Z"}}
    }]}});
    api.patch_status(name, &PatchParams::default(), &Patch::Strategic(ended))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_workload_of_somebody_elses_is_quarantined_and_released() {
    let stage = Stage::new().await;
    on_violation(&stage, "Quarantine", 3600).await;
    let content = Digest::from_bytes([0xc0; 32]);
    let image = format!("registry.example/server@sha256:{}", "5e".repeat(32));
    workload(
        &stage,
        json!({"containers": [{"name": "server", "image": image}]}),
    )
    .await;
    model(&stage).await;
    // Nobody makes it here, and no pod is let in without one.
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": stage.namespace}
    });
    apply(&stage.client, account).await;
    verified(&stage, "server-1-a", content).await;
    gate(&stage, "server-1-a", true).await;
    stage
        .until("digits", "it is what serves", |model| {
            let serving = model.status.as_ref().and_then(|status| status.serving.as_ref());
            serving.is_some_and(|serving| serving.digest == content)
        })
        .await;

    revoked(&stage, json!([{"digest": content, "reason": "poisoned"}])).await;
    gate(&stage, "server-1-a", false).await;
    let message = stage.reason("digits", "QuarantinePartial").await;
    assert!(
        message.contains("poisoned") && message.contains("spec.onViolation of"),
        "{message}"
    );
    let shut: NetworkPolicy = stage.api().get("probity-digits").await.unwrap();
    let spec = shut.spec.unwrap();
    let selected = serde_json::to_value(spec.pod_selector.unwrap_or_default()).unwrap();
    assert_eq!(
        selected,
        json!({"matchLabels": {"app": "server"}}),
        "all of its pods"
    );
    assert_eq!(
        subject(&denial(&stage, "digits").await),
        (stage.namespace.clone(), selected)
    );
    assert_eq!(spec.policy_types.unwrap_or_default(), ["Ingress", "Egress"]);
    let open = (spec.ingress.unwrap_or_default(), spec.egress.unwrap_or_default());
    assert_eq!(open, (Vec::new(), Vec::new()), "nothing in or out");
    for told in ["TrafficCut", "QuarantinePartial"] {
        stage.event("digits", told).await;
    }
    let there = stage.api::<Pod>().get("server-1-a").await.unwrap();
    assert_eq!(
        there.metadata.deletion_timestamp, None,
        "it stays to be looked at"
    );

    revoked(&stage, json!([])).await;
    gate(&stage, "server-1-a", true).await;
    for told in ["TrafficBack", "Released"] {
        stage.event("digits", told).await;
    }
    let left = stage.names::<NetworkPolicy>().await;
    assert!(left.is_empty(), "nobody asked for isolation: {left:?}");
    no_denial(&stage, "digits").await;
}
