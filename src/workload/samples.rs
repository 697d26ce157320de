//! A model, its pod, and that pod as an API server stores it.
//! For tests only.

use k8s_openapi::api::core::v1::{Pod, PodSpec};
use serde_json::{Value, json};

use super::{PodSettings, RelaySettings, RunningModel, Served, child_meta, pod as build};
use crate::{
    api::v1alpha1::ModelDeployment,
    evidence::{Digest, Reference},
};

/// The repository of the model.
pub const REPOSITORY: &str = "registry.example/models/digits";
/// Whose account makes pods from `ReplicaSets`.
pub const REPLICASET_CONTROLLER: &str = "system:serviceaccount:kube-system:replicaset-controller";

/// A model in the namespace `bank` that asks for this content by its digest.
pub fn model(digest: Digest) -> ModelDeployment {
    serde_json::from_value(json!({
        "apiVersion": "probity.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "digits", "namespace": "bank", "uid": "5a3cbb0e-0000-4000-8000-000000000001", "generation": 1},
        "spec": {
            "model": {"source": {"oci": {"reference": format!("{REPOSITORY}@{digest}")}}},
            "server": {
                "image": format!("registry.example/servers/onnx@{}", Digest::from_bytes([0x5e; 32])),
                "args": ["--model_dir", "/mnt/models"],
                "protocol": "OpenInference",
                "port": 8080,
                "resources": {"limits": {"memory": "1Gi"}}
            }
        }
    }))
    .unwrap()
}

/// What the pods are built with.
pub fn settings() -> PodSettings {
    PodSettings {
        fetch_image: format!("registry.example/probity@{}", Digest::from_bytes([0xfe; 32])),
        previous_images: Vec::new(),
        host_arguments: vec!["--allow-host".into(), "auth.example".into()],
        relay: None,
    }
}

/// The same where pods ask a relay.
pub fn relayed() -> PodSettings {
    PodSettings {
        relay: Some(RelaySettings {
            url: "https://probity-relay.probity-system.svc:8443".into(),
            key: Digest::from_bytes([0x77; 32]),
        }),
        ..settings()
    }
}

/// The planned pod of [`model`], which asks a relay.
pub fn relayed_pod(runs: &RunningModel) -> PodSpec {
    build(&Served::of(&model(runs.digest)).unwrap(), runs, &relayed())
}

/// This content, with a pull secret.
pub fn running(digest: Digest) -> RunningModel {
    let reference: Reference = format!("{REPOSITORY}@{digest}").parse().unwrap();
    RunningModel {
        reference,
        digest,
        size: 604_211,
        pull_secret: None,
    }
}

/// The planned pod of [`model`], with a pull secret so that every volume is there.
pub fn pod() -> PodSpec {
    let digest = Digest::from_bytes([0xaa; 32]);
    let runs = RunningModel {
        pull_secret: Some("regcred".into()),
        ..running(digest)
    };
    build(&Served::of(&model(digest)).unwrap(), &runs, &settings())
}

/// The pod as the `ReplicaSet` controller asks for it, with what the API server fills in.
pub fn created(model: &ModelDeployment, runs: &RunningModel) -> Pod {
    let mut metadata = child_meta(model);
    metadata.name = None;
    metadata.generate_name = Some("digits-7d4b9c-".into());
    metadata.owner_references = serde_json::from_value(json!([{
        "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "digits-7d4b9c", "uid": "rs", "controller": true, "blockOwnerDeletion": true
    }]))
    .unwrap();
    Pod {
        metadata,
        spec: Some(as_stored(&build(&Served::of(model).unwrap(), runs, &settings()))),
        status: None,
    }
}

/// The pod with all that an API server fills in.
pub fn as_stored(pod: &PodSpec) -> PodSpec {
    let mut pod = serde_json::to_value(pod).unwrap();
    let fill = |object: &mut Value, fields: Value| {
        for (key, value) in fields.as_object().unwrap() {
            object
                .as_object_mut()
                .unwrap()
                .entry(key)
                .or_insert(value.clone());
        }
    };
    let account = pod["serviceAccountName"].clone();
    fill(
        &mut pod,
        json!({
            "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler",
            "terminationGracePeriodSeconds": 30, "serviceAccount": account, "priority": 0,
            "preemptionPolicy": "PreemptLowerPriority",
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}]
        }),
    );
    for list in ["initContainers", "containers"] {
        for container in pod[list].as_array_mut().unwrap() {
            fill(
                container,
                json!({
                    "imagePullPolicy": "IfNotPresent", "terminationMessagePath": "/dev/termination-log",
                    "terminationMessagePolicy": "File", "resources": {}
                }),
            );
            if let Some(limits) = container["resources"].get("limits").cloned() {
                fill(&mut container["resources"], json!({"requests": limits}));
            }
            if container.get("readinessProbe").is_some() {
                fill(&mut container["readinessProbe"], json!({"successThreshold": 1}));
                if container["readinessProbe"].get("httpGet").is_some() {
                    fill(
                        &mut container["readinessProbe"]["httpGet"],
                        json!({"scheme": "HTTP"}),
                    );
                }
            }
        }
    }
    for volume in pod["volumes"].as_array_mut().unwrap() {
        if volume.get("secret").is_some() {
            fill(&mut volume["secret"], json!({"defaultMode": 420}));
        }
    }
    serde_json::from_value(pod).unwrap()
}
