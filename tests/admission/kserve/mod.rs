//! `InferenceService`s of KServe's own definition, governed by models: the chain from a pod back to them, and the pods as KServe's
//! controller and webhook make them, through the operator's real webhooks, whichever of the two is asked first.

mod webhook;

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, PostParams},
    core::GroupVersionKind,
};
use probity::{
    api::{MODEL_LABEL, v1alpha1::ModelDeployment},
    workload::{MODEL_VOLUME, VERIFY_CONTAINER},
};
use serde_json::{Value, json};

use self::webhook::{KServe, SERVICE_LABEL, SOURCE};
use crate::{
    faults::bed::Bed,
    renewal::{apply, eventually},
    testbed,
};

/// Who makes the pods of `ReplicaSet`s, and its groups.
const MAKER: &str = "system:serviceaccount:kube-system:replicaset-controller";
const GROUPS: [&str; 3] = [
    "system:serviceaccounts",
    "system:serviceaccounts:kube-system",
    "system:authenticated",
];
/// KServe's own name, which comes before ours, and one that comes after it.
const FIRST: &str = "inferenceservice.serving.kserve.io";
const LAST: &str = "zz-inferenceservice.serving.kserve.io";

/// An object that others name as their owner.
#[derive(Debug, Clone)]
struct Owner {
    api_version: &'static str,
    kind: &'static str,
    name: String,
    uid: String,
}

impl Owner {
    fn reference(&self) -> Value {
        json!({
            "apiVersion": self.api_version, "kind": self.kind, "name": self.name, "uid": self.uid,
            "controller": true, "blockOwnerDeletion": true
        })
    }
}

/// A governed namespace whose pods KServe's webhook is asked about.
struct Space {
    admin: Client,
    maker: Client,
    namespace: String,
}

impl Space {
    async fn new(bed: &Bed, kserve: &KServe, configuration: &str) -> Self {
        let admin = bed.client().await;
        let namespace = bed.governed(&admin, "Deny").await;
        let config = testbed::config_as(bed.kubeconfig(), MAKER, &GROUPS).await;
        let space = Self {
            maker: Client::try_from(config).unwrap(),
            admin,
            namespace,
        };
        kserve
            .install(&space.admin, configuration, &space.namespace)
            .await;
        let nobodys = space.replica_set("nobodys", &[]).await;
        eventually("KServe's webhook is asked", async || {
            let _ = space
                .pod("nobodys", "s3://models/digits", &nobodys, &space.maker)
                .await;
            kserve.was_asked(&space.namespace).then_some(())
        })
        .await;
        space
    }

    async fn create(
        &self,
        api_version: &'static str,
        kind: &'static str,
        name: &str,
        owners: &[&Owner],
        spec: Value,
    ) -> Owner {
        let (group, version) = api_version.split_once('/').unwrap();
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let api: Api<DynamicObject> = Api::namespaced_with(self.admin.clone(), &self.namespace, &resource);
        let owners: Vec<_> = owners.iter().map(|owner| owner.reference()).collect();
        let object = json!({
            "apiVersion": api_version, "kind": kind,
            "metadata": {"name": name, "ownerReferences": owners}, "spec": spec
        });
        let object = serde_json::from_value(object).unwrap();
        let made = api
            .create(&PostParams::default(), &object)
            .await
            .unwrap_or_else(|error| panic!("{kind} {name}: {error}"));
        Owner {
            api_version,
            kind,
            name: name.to_owned(),
            uid: made.metadata.uid.unwrap(),
        }
    }

    async fn replica_set(&self, name: &str, owners: &[&Owner]) -> Owner {
        let spec =
            json!({"replicas": 0, "selector": {"matchLabels": {"app": name}}, "template": plain(name)});
        self.create("apps/v1", "ReplicaSet", name, owners, spec).await
    }

    /// What KServe and Kubernetes make of an `InferenceService`: itself, its Deployment and that one's `ReplicaSet`.
    async fn service(&self, name: &str, uri: &str) -> [Owner; 3] {
        let spec = json!({"predictor": {"model": {"modelFormat": {"name": "onnx"}, "storageUri": uri}}});
        let service = self
            .create("serving.kserve.io/v1beta1", "InferenceService", name, &[], spec)
            .await;
        let predictor = format!("{name}-predictor");
        let spec = json!({"selector": {"matchLabels": {"app": predictor}}, "template": plain(&predictor)});
        let deployment = self
            .create("apps/v1", "Deployment", &predictor, &[&service], spec)
            .await;
        let set = self
            .replica_set(&format!("{predictor}-7d4b9c6f5"), &[&deployment])
            .await;
        [service, deployment, set]
    }

    async fn model(&self, service: &str, source: Value) {
        let model = json!({
            "apiVersion": "probity.dev/v1alpha1", "kind": "ModelDeployment",
            "metadata": {"name": service, "namespace": self.namespace},
            "spec": {
                "model": {"source": source},
                "workloadRef": {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "name": service}
            }
        });
        apply(&self.admin, model).await;
    }

    /// Makes a pod of an `InferenceService` as its `ReplicaSet` does: what is stored, or why it was refused.
    async fn pod(&self, service: &str, uri: &str, set: &Owner, by: &Client) -> Result<Pod, String> {
        let mut pod = predictor(service, uri);
        pod["metadata"]["ownerReferences"] = json!([set.reference()]);
        let pods: Api<Pod> = Api::namespaced(by.clone(), &self.namespace);
        let pod = serde_json::from_value(pod).unwrap();
        pods.create(&PostParams::default(), &pod)
            .await
            .map_err(|error| error.to_string())
    }

    /// The same, once the operator has heard of the model.
    async fn stored(&self, service: &str, uri: &str, set: &Owner) -> Pod {
        let mut last = String::new();
        eventually(&format!("a pod of {service}"), async || {
            match self.pod(service, uri, set, &self.maker).await {
                Ok(pod) => Some(pod),
                Err(error) => {
                    if error != last {
                        eprintln!("{service}: {error}");
                        last = error;
                    }
                    None
                }
            }
        })
        .await
    }

    async fn refused(&self, service: &str, uri: &str, set: &Owner, words: &str) -> String {
        let mut last = String::new();
        eventually(&format!("{service} is refused with {words:?}"), async || {
            let error = self.pod(service, uri, set, &self.maker).await.expect_err("never");
            if error != last {
                eprintln!("{service}: {error}");
                last.clone_from(&error);
            }
            error.contains(words).then_some(error)
        })
        .await
    }
}

fn plain(app: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": app}},
        "spec": {"containers": [{"name": "kserve-container", "image": "registry.example/server@sha256:5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e"}]}
    })
}

/// A pod of the predictor as KServe's controller writes it into the Deployment (in its mode `Standard`, once `RawDeployment`):
/// `components/predictor.go` and `reconcilers/deployment/deployment_reconciler.go` of KServe 0.19.
fn predictor(service: &str, uri: &str) -> Value {
    let name = format!("{service}-predictor");
    json!({
        "metadata": {
            "generateName": format!("{name}-7d4b9c6f5-"),
            "labels": {
                "app": format!("isvc.{name}"), "component": "predictor", SERVICE_LABEL: service,
                "pod-template-hash": "7d4b9c6f5"
            },
            "annotations": {
                SOURCE: uri, "serving.kserve.io/deploymentMode": "Standard",
                "prometheus.kserve.io/port": "8080"
            }
        },
        "spec": {
            "containers": [{
                "name": "kserve-container", "image": "registry.example/server@sha256:5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e", "imagePullPolicy": "IfNotPresent",
                "args": [format!("--model_name={service}"), "--model_dir=/mnt/models", "--http_port=8080"],
                "resources": {"limits": {"cpu": "1", "memory": "2Gi"}, "requests": {"cpu": "1", "memory": "2Gi"}},
                "readinessProbe": {"tcpSocket": {"port": 8080}, "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3},
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "privileged": false, "runAsNonRoot": true},
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"
            }],
            "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
            "schedulerName": "default-scheduler", "securityContext": {}
        }
    })
}

/// The init containers by name, what the verifier reads, and what the server finds at the model's place.
fn seen(pod: &Pod) -> (Vec<&str>, Value, Value) {
    let spec = pod.spec.as_ref().unwrap();
    let init = spec.init_containers.as_ref().unwrap();
    let at = |mounts: Option<&Vec<k8s_openapi::api::core::v1::VolumeMount>>, path: &str| {
        let found: Vec<_> = mounts
            .into_iter()
            .flatten()
            .filter(|mount| mount.mount_path == path)
            .map(|mount| {
                let part = mount.sub_path.as_deref().unwrap_or_default();
                json!([mount.name, part, mount.read_only == Some(true)])
            })
            .collect();
        assert_eq!(found.len(), 1, "{path}: {found:?}");
        found[0].clone()
    };
    let verifier = init.iter().find(|one| one.name == VERIFY_CONTAINER).unwrap();
    let server = &spec.containers[0];
    (
        init.iter().map(|one| one.name.as_str()).collect(),
        at(verifier.volume_mounts.as_ref(), "/source"),
        at(server.volume_mounts.as_ref(), "/mnt/models"),
    )
}

async fn in_this_order(bed: &Bed, kserve: &KServe, configuration: &str) {
    let space = Space::new(bed, kserve, configuration).await;
    let verified = json!([MODEL_VOLUME, "", true]);

    // A download into a volume of the pod's own.
    let uri = "s3://models/digits";
    let [_, _, set] = space.service("downloads", uri).await;
    space.model("downloads", json!({"mounted": {}})).await;
    let pod = space.stored("downloads", uri, &set).await;
    assert_eq!(
        seen(&pod),
        (
            vec!["storage-initializer", VERIFY_CONTAINER],
            json!(["kserve-provision-location", "", true]),
            verified.clone()
        )
    );
    let labels = pod.metadata.labels.as_ref().unwrap();
    assert_eq!(labels[MODEL_LABEL], "downloads");
    let download = &pod.spec.as_ref().unwrap().init_containers.as_ref().unwrap()[0];
    let writes = &download.volume_mounts.as_ref().unwrap()[0];
    assert_eq!(
        (writes.mount_path.as_str(), writes.read_only),
        ("/mnt/models", None)
    );

    // A claim, both ways in which a model can say where it comes from.
    let uri = "pvc://models/digits/1";
    for (name, source, reads) in [
        (
            "claims",
            json!({"mounted": {}}),
            json!(["kserve-pvc-source", "digits/1", true]),
        ),
        (
            "volumes",
            json!({"volume": {"claimName": "models", "path": "digits/1"}}),
            json!(["probity-source", "", true]),
        ),
    ] {
        let [_, _, set] = space.service(name, uri).await;
        space.model(name, source).await;
        let pod = space.stored(name, uri, &set).await;
        let (init, source, server) = seen(&pod);
        assert_eq!(
            (init, server),
            (vec![VERIFY_CONTAINER], verified.clone()),
            "{name}"
        );
        if name == "claims" {
            assert_eq!(source, reads);
        }
    }

    // An image as a volume.
    let uri = "oci+native://registry.example/models/digits@sha256:5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e";
    let [_, _, set] = space.service("images", uri).await;
    space.model("images", json!({"mounted": {}})).await;
    let pod = space.stored("images", uri, &set).await;
    assert_eq!(
        seen(&pod),
        (
            vec![VERIFY_CONTAINER],
            json!(["mnt-models", "models", true]),
            verified
        )
    );

    // A modelcar is a way around every mount.
    let uri = "oci://registry.example/models/digits:1";
    let [_, _, set] = space.service("modelcars", uri).await;
    space.model("modelcars", json!({"mounted": {}})).await;
    let said = space
        .refused("modelcars", uri, &set, "spec.containers[modelcar]")
        .await;
    assert!(said.contains("use a storageUri that KServe downloads"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pods_of_an_inference_service_bring_the_verifier() {
    let bed = Bed::mutating().await;
    testbed::install_kserve(&bed.client().await, bed.kubeconfig()).await;
    let operator = bed.operator("only");
    bed.ready(&[&operator]).await;
    let kserve = KServe::start().await;
    in_this_order(&bed, &kserve, FIRST).await;
    in_this_order(&bed, &kserve, LAST).await;

    let space = Space::new(&bed, &kserve, "inferenceservice.serving.kserve.io-chain").await;
    what_goes_back_to_a_governed_service_alone_is_believed(&space).await;
}

async fn what_goes_back_to_a_governed_service_alone_is_believed(space: &Space) {
    let uri = "s3://models/digits";
    let [service, deployment, set] = space.service("digits", uri).await;
    space.model("digits", json!({"mounted": {}})).await;
    space.stored("digits", uri, &set).await;

    let [_, _, strangers] = space.service("strangers", uri).await;
    let orphan = space.replica_set("digits-predictor-orphan", &[]).await;
    let elsewhere = Owner {
        uid: "00000000-0000-4000-8000-000000000000".into(),
        ..deployment
    };
    let forged = space.replica_set("digits-predictor-forged", &[&elsewhere]).await;
    let gone = Owner {
        uid: elsewhere.uid.clone(),
        ..set.clone()
    };
    for (what, owner) in [
        ("of a service that no model governs", &strangers),
        ("of a set that nobody owns", &orphan),
        ("of a set that names a Deployment that was there before", &forged),
        ("that names a set that was there before", &gone),
    ] {
        // All of them carry the governed service's label.
        let answer = space.pod("digits", uri, owner, &space.maker).await;
        let error = answer.expect_err(what);
        assert!(error.contains("UnmanagedPod"), "{what}: {error}");
    }
    let answer = space.pod("digits", uri, &set, &space.admin).await;
    let error = answer.expect_err("made by somebody else than its controller");
    assert!(error.contains("UnmanagedPod"), "{error}");

    // The controller finds the service and its pods as well.
    let models: Api<ModelDeployment> = Api::namespaced(space.admin.clone(), &space.namespace);
    let status = eventually("the model's pods are counted", async || {
        let workload = models.get("digits").await.unwrap().status?.workload?;
        (workload.pods > 0).then_some(workload)
    })
    .await;
    assert_eq!(
        (status.pods, status.proven),
        (1, 0),
        "{}: {status:?}",
        service.name
    );
}
