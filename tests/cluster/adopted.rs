//! Workloads that somebody else made: found, told about, repaired, and from then on let in only with the verified model.
//! The pods are made by the real controllers, their models lie on real claims, and what serves is read where it is served.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment, StatefulSet},
    batch::v1::Job,
    core::v1::{Event, PersistentVolume, PersistentVolumeClaim, Pod},
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use probity::{
    api::v1alpha1::{DeploymentPolicy, ModelDeployment},
    workload::{MODEL_VOLUME, VERIFY_CONTAINER},
};
use serde_json::{Value, json};

use crate::{
    bed::Bed,
    models::{Model, WEIGHTS, models, scratch},
    space::{PORT, Space, eventually, is_ready, ready},
};

/// A claim in the space, bound to a folder of the node.
pub struct Volume {
    folder: PathBuf,
}

impl Volume {
    pub async fn new(space: &Space) -> Self {
        let folder = scratch().join("volumes").join(&space.namespace);
        // What an earlier run left was signed with another key.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        open_up(&folder);
        let name = format!("volume-{}", space.namespace);
        let volume: PersistentVolume = serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": {
                "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany"], "storageClassName": "",
                "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": folder},
            },
        }))
        .unwrap();
        Api::all(space.bed.client.clone())
            .create(&PostParams::default(), &volume)
            .await
            .unwrap();
        space
            .create::<PersistentVolumeClaim>(json!({
                "metadata": {"name": "models"},
                "spec": {
                    "accessModes": ["ReadWriteMany"], "storageClassName": "", "volumeName": name,
                    "resources": {"requests": {"storage": "1Gi"}},
                },
            }))
            .await;
        Self { folder }
    }

    /// Puts a model there, as whoever owns the volume does.
    pub fn put(&self, model: &Model, at: &str) -> PathBuf {
        let to = self.folder.join(at);
        model.copy_to(&to);
        to
    }
}

/// Readable by whoever the pods run as.
fn open_up(folder: &std::path::Path) {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A template of pods as people write it: the model is read from the claim.
fn template(bed: &Bed, app: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": app}},
        "spec": {
            "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "server", "image": bed.light, "args": ["serve", format!(":{PORT}"), "light"],
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
                "volumeMounts": [{"name": "models", "mountPath": "/mnt/models", "subPath": "digits/1"}],
            }],
            "volumes": [{"name": "models", "persistentVolumeClaim": {"claimName": "models"}}],
        },
    })
}

pub fn deployment(bed: &Bed, name: &str, replicas: i32) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template(bed, name),
        },
    })
}

pub fn governing(name: &str, api_version: &str, kind: &str, workload: &str) -> Value {
    json!({
        "apiVersion": "probity.dev/v1alpha1", "kind": "ModelDeployment", "metadata": {"name": name},
        "spec": {
            "model": {"source": {"volume": {"claimName": "models", "path": "digits/1"}}},
            "workloadRef": {"apiVersion": api_version, "kind": kind, "name": workload},
        },
    })
}

/// Where the node keeps what the server of this pod finds as its model.
fn verified(bed: &Bed, pod: &Pod) -> PathBuf {
    let volumes = format!("pods/{}/volumes/kubernetes.io~empty-dir", pod.uid().unwrap());
    bed.node
        .directory
        .join("kubelet")
        .join(volumes)
        .join(MODEL_VOLUME)
}

async fn pods(space: &Space, app: &str) -> Vec<Pod> {
    space.list(&format!("app={app}")).await
}

pub async fn ready_pods(space: &Space, app: &str, count: usize) -> Vec<Pod> {
    eventually(
        &format!("{app} to have {count} ready pods and no other"),
        async || {
            let pods = pods(space, app).await;
            (pods.len() == count && pods.iter().all(is_ready)).then_some(pods)
        },
    )
    .await
}

fn unproven(model: &ModelDeployment) -> Vec<(String, String)> {
    let workload = model.status.iter().filter_map(|status| status.workload.as_ref());
    let unproven = workload.flat_map(|workload| workload.unproven.iter().flatten());
    unproven
        .map(|pod| (pod.reason.clone(), pod.message.clone()))
        .collect()
}

/// The policy of the namespace's own that wants unproven pods replaced.
fn evicting() -> Value {
    json!({
        "apiVersion": "probity.dev/v1alpha1", "kind": "DeploymentPolicy", "metadata": {"name": "replace"},
        "spec": {
            "signers": [{"name": "release", "key": {"trustRoot": "cluster-tests", "keys": ["release"]}}],
            "model": {"signers": ["release"]},
            "unprovenPods": "Evict",
        },
    })
}

pub async fn an_existing_deployment_is_found_told_about_and_repaired(bed: &'static Bed) {
    let space = Space::ungoverned(bed, "adopted").await;
    let volume = Volume::new(&space).await;
    volume.put(&models().small, "digits/1");
    space.create::<Deployment>(deployment(bed, "server", 2)).await;
    let before = ready_pods(&space, "server", 2).await;

    space.govern().await;
    space
        .create::<ModelDeployment>(governing("digits", "apps/v1", "Deployment", "server"))
        .await;
    let (model, message) = space.is_not_ready("digits", "PodsUnproven").await;
    assert!(
        message.starts_with("2 of 2 pods of Deployment server"),
        "{message}"
    );
    assert!(
        unproven(&model).iter().all(|(reason, _)| reason == "NotVerified"),
        "{model:?}"
    );
    assert_eq!(
        ready_pods(&space, "server", 2)
            .await
            .iter()
            .map(ResourceExt::uid)
            .collect::<Vec<_>>(),
        before.iter().map(ResourceExt::uid).collect::<Vec<_>>(),
        "they are told about, and go on"
    );

    space.create::<DeploymentPolicy>(evicting()).await;
    let model = space
        .until("digits", "to serve in every pod", |model: &ModelDeployment| {
            ready(model).0 == "True"
        })
        .await;
    let serving = model.status.as_ref().unwrap().serving.clone().unwrap();
    assert_eq!((serving.signed_by.as_str(), serving.files), ("release", 3));
    let after = ready_pods(&space, "server", 2).await;
    for pod in &after {
        assert!(
            before.iter().all(|old| old.uid() != pod.uid()),
            "{} is one of the old ones",
            pod.name_any()
        );
        let copy = verified(bed, pod);
        assert_eq!(
            fs::read(copy.join(WEIGHTS)).unwrap(),
            models().small.content(WEIGHTS)
        );
        let spec = pod.spec.as_ref().unwrap();
        assert_eq!(spec.init_containers.as_ref().unwrap()[0].name, VERIFY_CONTAINER);
        let mount = &spec.containers[0].volume_mounts.as_ref().unwrap()[0];
        assert_eq!((mount.name.as_str(), mount.read_only), (MODEL_VOLUME, Some(true)));
    }
    let events: Api<Event> = space.api();
    let told = events.list(&ListParams::default()).await.unwrap();
    assert!(
        told.iter()
            .any(|event| event.reason.as_deref() == Some("PodEvicted"))
    );
    let deployment: Deployment = space.api().get("server").await.unwrap();
    let wanted = serde_json::to_value(deployment.spec.unwrap().template.spec.unwrap()).unwrap();
    assert!(
        !wanted.to_string().contains("probity"),
        "nobody's object was edited: {wanted}"
    );

    altered(&space, &volume, &serving.version, &after).await;
    misspelt(&space, &volume).await;
    space.done().await;
}

/// Somebody who can write to the volume does: what serves is a copy, and what starts looks first.
async fn altered(space: &Space, volume: &Volume, pinned: &str, before: &[Pod]) {
    let folder = volume.folder.join("digits/1");
    let mut weights = fs::read(folder.join(WEIGHTS)).unwrap();
    weights[0] ^= 0xff;
    fs::write(folder.join(WEIGHTS), weights).unwrap();
    let lost = &before[0];
    space
        .api::<Pod>()
        .delete(&lost.name_any(), &DeleteParams::default())
        .await
        .unwrap();
    let model = space
        .until("digits", "to name the altered file", |model: &ModelDeployment| {
            unproven(model)
                .iter()
                .any(|(reason, _)| reason == "DigestMismatch")
        })
        .await;
    assert!(unproven(&model)[0].1.contains(WEIGHTS), "{:?}", unproven(&model));
    let there = pods(space, "server").await;
    assert_eq!(
        there.iter().filter(|pod| is_ready(pod)).count(),
        1,
        "the other goes on, this one never starts"
    );
    assert_eq!(
        fs::read(verified(space.bed, &before[1]).join(WEIGHTS)).unwrap(),
        models().small.content(WEIGHTS)
    );

    // Another signed model in its place is not the one that was pinned.
    fs::remove_dir_all(&folder).unwrap();
    volume.put(&models().small_next, "digits/1");
    space
        .until(
            "digits",
            "to insist on what it pinned",
            |model: &ModelDeployment| {
                unproven(model)
                    .iter()
                    .any(|(_, message)| message.contains(pinned))
            },
        )
        .await;
    fs::remove_dir_all(&folder).unwrap();
    volume.put(&models().small, "digits/1");
    space
        .until(
            "digits",
            "to serve in every pod again",
            |model: &ModelDeployment| ready(model).0 == "True",
        )
        .await;
}

/// A path that leads nowhere is told as one, costs no pod that serves, and leaves nothing on the claim.
async fn misspelt(space: &Space, volume: &Volume) {
    let api: Api<ModelDeployment> = space.api();
    let patch = json!({"spec": {"model": {"source": {"volume": {"path": "digits/9"}}}}});
    api.patch("digits", &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .unwrap();
    let pod = ready_pods(space, "server", 2).await.remove(0);
    space
        .api::<Pod>()
        .delete(&pod.name_any(), &DeleteParams::default())
        .await
        .unwrap();
    let words = "there is no folder volume:models/digits/9: correct the path";
    space
        .until(
            "digits",
            "to say that there is no such folder",
            |model: &ModelDeployment| {
                unproven(model)
                    .iter()
                    .any(|(reason, message)| reason == "Io" && message.starts_with(words))
            },
        )
        .await;
    assert!(!volume.folder.join("digits/9").exists(), "nobody made the folder");
    let there = pods(space, "server").await;
    assert_eq!(
        there.iter().filter(|pod| is_ready(pod)).count(),
        1,
        "the other goes on"
    );
}

pub async fn every_kind_of_workload_is_let_in_with_the_verified_model_alone(bed: &'static Bed) {
    let space = Space::new(bed, "kinds").await;
    let volume = Volume::new(&space).await;
    volume.put(&models().small, "digits/1");
    for (kind, version) in [
        ("StatefulSet", "apps/v1"),
        ("DaemonSet", "apps/v1"),
        ("Job", "batch/v1"),
    ] {
        let name = kind.to_lowercase();
        space
            .create::<ModelDeployment>(governing(&name, version, kind, &name))
            .await;
        let template = template(bed, &name);
        let selected = json!({"matchLabels": {"app": name}});
        match kind {
            "StatefulSet" => {
                let spec =
                    json!({"serviceName": name, "replicas": 1, "selector": selected, "template": template});
                space
                    .create::<StatefulSet>(json!({"metadata": {"name": name}, "spec": spec}))
                    .await;
            }
            "DaemonSet" => {
                let spec = json!({"selector": selected, "template": template});
                space
                    .create::<DaemonSet>(json!({"metadata": {"name": name}, "spec": spec}))
                    .await;
            }
            _ => {
                let mut template = template;
                template["spec"]["restartPolicy"] = json!("OnFailure");
                let spec = json!({"template": template});
                space
                    .create::<Job>(json!({"metadata": {"name": name}, "spec": spec}))
                    .await;
            }
        }
    }
    for name in ["statefulset", "daemonset", "job"] {
        space
            .until(name, "to serve", |model: &ModelDeployment| {
                ready(model).0 == "True"
            })
            .await;
        for pod in ready_pods(&space, name, 1).await {
            assert_eq!(
                fs::read(verified(bed, &pod).join(WEIGHTS)).unwrap(),
                models().small.content(WEIGHTS)
            );
        }
    }
    // One that no model governs is nobody's, whatever it mounts.
    space.create::<Deployment>(deployment(bed, "stray", 1)).await;
    let refused = eventually("the stray Deployment to be told", async || {
        let deployment: Deployment = space.api().get("stray").await.unwrap();
        let conditions = deployment.status?.conditions?;
        let failed = conditions
            .into_iter()
            .find(|condition| condition.type_ == "ReplicaFailure")?;
        failed.message
    })
    .await;
    assert!(refused.contains("UnmanagedPod"), "{refused}");
    for name in ["statefulset", "daemonset"] {
        let _ = space
            .api::<StatefulSet>()
            .delete(name, &DeleteParams::background())
            .await;
        let _ = space
            .api::<DaemonSet>()
            .delete(name, &DeleteParams::background())
            .await;
    }
    let _ = space
        .api::<Job>()
        .delete("job", &DeleteParams::background())
        .await;
    space.done().await;
}
