//! KServe's webhook for pods, as far as it is about models: written from what its code does, and asked by the API server like
//! the real one. Whether the model's place is taken it tells by the names of volumes, and that is what matters here.
//!
//! Read in KServe 0.19, `pkg/webhook/admission/pod/{mutator,storage_initializer_injector}.go` and `pkg/utils/storage.go`;
//! `oci+native://` in its main branch after that, where it is no release yet.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use kube::Client;
use probity::admission::{
    AdmissionRequest, Answer, Judge, Limits, Metrics,
    certificates::{Certificates, Serving},
    serve,
};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{door::certificate, renewal::apply};

pub const SERVICE_LABEL: &str = "serving.kserve.io/inferenceservice";
pub const SOURCE: &str = "internal.serving.kserve.io/storage-initializer-sourceuri";
const PLACE: &str = "/mnt/models";
const SERVER: &str = "kserve-container";

/// The webhook's server, for as long as the test's runtime lives.
pub struct KServe {
    address: SocketAddr,
    authority: String,
    asked: Arc<Mutex<BTreeSet<String>>>,
}

impl KServe {
    pub async fn start() -> Self {
        let (authority, key) = certificate();
        let metrics = Metrics::register(&mut Registry::default());
        let certificates = Certificates::new(metrics.clone());
        certificates.serve(Serving::read(authority.as_bytes(), key.as_bytes()).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tls = certificates.server_config().unwrap();
        let asked = Arc::default();
        let mutator = Mutator(Arc::clone(&asked));
        tokio::spawn(serve(
            listener,
            tls,
            mutator,
            metrics,
            Limits::default(),
            std::future::pending(),
        ));
        Self {
            address,
            authority,
            asked,
        }
    }

    /// Has it asked about the pods of this namespace, under this name: webhooks are asked in the order of their names.
    /// KServe's own speaks v1beta1 of the question, which says the same.
    pub async fn install(&self, admin: &Client, name: &str, namespace: &str) {
        use base64::Engine as _;
        let bundle = base64::engine::general_purpose::STANDARD.encode(&self.authority);
        let configuration = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": [{
                "name": "inferenceservice.kserve-webhook-server.pod-mutator",
                "clientConfig": {"url": format!("https://{}/mutate", self.address), "caBundle": bundle},
                "failurePolicy": "Fail", "sideEffects": "None", "reinvocationPolicy": "IfNeeded",
                "admissionReviewVersions": ["v1"],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "objectSelector": {"matchExpressions": [{"key": SERVICE_LABEL, "operator": "Exists"}]},
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]
            }]
        });
        apply(admin, configuration).await;
    }

    /// Whether it was asked about a pod of this namespace.
    pub fn was_asked(&self, namespace: &str) -> bool {
        self.asked.lock().unwrap().contains(namespace)
    }
}

struct Mutator(Arc<Mutex<BTreeSet<String>>>);

impl Judge for Mutator {
    async fn validate(&self, _: &AdmissionRequest) -> Answer {
        Answer::deny(404, "KServe validates no pods")
    }

    async fn mutate(&self, request: &AdmissionRequest) -> Answer {
        self.0.lock().unwrap().insert(request.namespace.clone());
        let mut pod: Value = request.object().unwrap().unwrap();
        let before = pod["spec"].clone();
        match bring(&mut pod) {
            Err(problem) => Answer::deny(500, problem),
            Ok(()) if pod["spec"] == before => Answer::allow(),
            Ok(()) => Answer {
                patch: Some(json!([{"op": "replace", "path": "/spec", "value": pod["spec"]}])),
                ..Answer::allow()
            },
        }
    }
}

/// `InjectStorageInitializer`, then `InjectModelcar`.
fn bring(pod: &mut Value) -> Result<(), String> {
    let Some(uri) = pod["metadata"]["annotations"][SOURCE]
        .as_str()
        .map(ToOwned::to_owned)
    else {
        return Ok(());
    };
    let spec = &mut pod["spec"];
    if let Some(image) = uri.strip_prefix("oci+native://") {
        return native(spec, image);
    }
    if let Some(image) = uri.strip_prefix("oci://") {
        modelcar(spec, image);
        return Ok(());
    }
    if find(spec, "initContainers", "storage-initializer").is_some() {
        return Ok(());
    }
    if let Some(claim) = uri.strip_prefix("pvc://") {
        let (claim, path) = claim.split_once('/').unwrap_or((claim, ""));
        let mount =
            json!({"name": "kserve-pvc-source", "mountPath": PLACE, "subPath": path, "readOnly": true});
        let volume = json!({"persistentVolumeClaim": {"claimName": claim}});
        add_mount(find(spec, "containers", SERVER).unwrap(), &mount);
        add_volume(spec, "kserve-pvc-source", volume);
        return Ok(());
    }
    let mut mount = json!({"name": "kserve-provision-location", "mountPath": PLACE, "readOnly": true});
    add_mount(find(spec, "containers", SERVER).unwrap(), &mount);
    mount["readOnly"] = json!(false);
    let download = json!({
        "name": "storage-initializer", "image": format!("kserve/storage-initializer:v0.19.0@sha256:{}", "5e".repeat(32)), "args": [uri, PLACE],
        "terminationMessagePolicy": "FallbackToLogsOnError", "volumeMounts": [mount],
        "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "100m", "memory": "100Mi"}}
    });
    push(spec, "initContainers", download);
    add_volume(spec, "kserve-provision-location", json!({"emptyDir": {}}));
    Ok(())
}

/// `ConfigureModelcarToContainer`. What its shell does there, to link the folder out of its own process, is left out.
fn modelcar(spec: &mut Value, image: &str) {
    let mount = json!({"name": "kserve-provision-location", "mountPath": "/mnt"});
    add_mount(find(spec, "containers", SERVER).unwrap(), &mount);
    add_volume(spec, "kserve-provision-location", json!({"emptyDir": {}}));
    spec["shareProcessNamespace"] = json!(true);
    if find(spec, "containers", "modelcar").is_some() {
        return;
    }
    push(
        spec,
        "containers",
        json!({"name": "modelcar", "image": image, "args": ["sh", "-c", "sleep infinity"], "volumeMounts": [mount]}),
    );
    push(
        spec,
        "initContainers",
        json!({"name": "modelcar-init", "image": image, "args": ["sh", "-c", "[ -d /models ]"]}),
    );
}

/// `ConfigureOciNativeToContainer`.
fn native(spec: &mut Value, image: &str) -> Result<(), String> {
    let server = find(spec, "containers", SERVER).unwrap();
    let there = server["volumeMounts"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|mount| mount["mountPath"] == PLACE && mount["name"] != "mnt-models");
    if let Some(there) = there {
        return Err(format!(
            "mountPath {PLACE} is already used by volume {}",
            there["name"]
        ));
    }
    let mount = json!({"name": "mnt-models", "mountPath": PLACE, "subPath": "models", "readOnly": true});
    add_mount(server, &mount);
    add_volume(spec, "mnt-models", json!({"image": {"reference": image}}));
    Ok(())
}

fn find<'a>(spec: &'a mut Value, list: &str, name: &str) -> Option<&'a mut Value> {
    let items = spec.get_mut(list)?.as_array_mut()?;
    items.iter_mut().find(|one| one["name"] == name)
}

fn push(object: &mut Value, list: &str, item: Value) {
    let list = &mut object[list];
    match list.as_array_mut() {
        Some(items) => items.push(item),
        None => *list = json!([item]),
    }
}

/// `addVolumeMountToContainer`: by the volume's name, whatever is at the path.
fn add_mount(container: &mut Value, mount: &Value) {
    let mounts = container["volumeMounts"].as_array();
    if mounts
        .into_iter()
        .flatten()
        .all(|there| there["name"] != mount["name"])
    {
        push(container, "volumeMounts", mount.clone());
    }
}

fn add_volume(spec: &mut Value, name: &str, mut volume: Value) {
    if find(spec, "volumes", name).is_none() {
        volume["name"] = json!(name);
        push(spec, "volumes", volume);
    }
}
