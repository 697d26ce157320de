//! What KServe's own admission does to the pods of an `InferenceService`, as far as ours has to go along with it. Pure.
//!
//! Read in KServe 0.19: `pkg/webhook/admission/pod/storage_initializer_injector.go` and `pkg/utils/storage.go`. Nothing here
//! lets a pod in: all of it can be written by a tenant, and the pod is judged as it is in the end.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use kube::ResourceExt as _;

use super::mounts;

/// The label by which KServe's webhook is asked about a pod.
const SERVICE_LABEL: &str = "serving.kserve.io/inferenceservice";
/// Where KServe's controller tells its webhook which model the pod gets.
pub const KSERVE_SOURCE: &str = "internal.serving.kserve.io/storage-initializer-sourceuri";
/// With it, KServe's agent pulls models and its webhook brings none.
const AGENT: &str = "internal.serving.kserve.io/agent";
/// The init container that downloads the model. KServe's webhook does nothing about the model of a pod that has it.
const DOWNLOAD: &str = "storage-initializer";
/// The container whose files the server reads through its processes.
const MODELCAR: &str = "modelcar";
/// Where KServe puts every model.
const PLACE: &str = "/mnt/models";

/// Whether KServe's webhook has yet to bring the model: it is asked after ours, and ours once more after that.
/// `spec` is the pod's.
pub fn awaits_kserve(pod: &Pod, spec: &PodSpec) -> bool {
    is_told(pod) && !brought(spec)
}

/// Whether KServe's webhook, asked once more, would bring the model a second time. It looks for a mount by its volume's name, and
/// the server's has another one when it is the verified copy: a second mount in the same place, or an error of KServe's.
/// `spec` is the pod's.
pub fn kserve_would_repeat(pod: &Pod, spec: &PodSpec) -> bool {
    let mut before = spec.init_containers.iter().flatten();
    is_told(pod) && brought(spec) && !before.any(|one| one.name == DOWNLOAD)
}

fn is_told(pod: &Pod) -> bool {
    let annotations = pod.annotations();
    pod.labels().contains_key(SERVICE_LABEL)
        && annotations.contains_key(KSERVE_SOURCE)
        && !annotations.contains_key(AGENT)
}

fn brought(spec: &PodSpec) -> bool {
    let mut containers = mounts::all(spec).map(|(_, one)| one);
    containers.any(|one| one.name == MODELCAR || mounts::is_mounted_at(one, PLACE))
}

/// The container that serves the model through its own processes, which nobody can verify before the server reads it.
pub(super) fn modelcar(container: &Container) -> Option<String> {
    (container.name == MODELCAR).then(|| {
        "spec.containers[modelcar]: KServe lets the server read this container's files through its processes, and nothing is verified there: use a storageUri that KServe downloads (s3://, https://, hf://) or mounts (pvc://), or leave storageUri out and name a signed artifact in the ModelDeployment's spec.model.source.oci".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use test_case::test_case;

    use super::*;

    /// As KServe's controller makes it, with this in place of what it says.
    fn pod(change: (&str, Value)) -> Pod {
        let mut pod = json!({
            "metadata": {"labels": {SERVICE_LABEL: "digits"}, "annotations": {KSERVE_SOURCE: "s3://models/digits"}},
            "spec": {"containers": [{"name": "kserve-container", "image": "x", "volumeMounts": []}], "initContainers": []}
        });
        *pod.pointer_mut(change.0).unwrap() = change.1;
        serde_json::from_value(pod).unwrap()
    }

    fn mount(name: &str, path: &str) -> Value {
        json!([{"name": name, "mountPath": path}])
    }

    const MOUNTS: &str = "/spec/containers/0/volumeMounts";

    #[test_case(MOUNTS, json!([]) => (true, false); "not brought yet")]
    #[test_case(MOUNTS, mount("tmp", "/tmp") => (true, false); "something else is mounted")]
    #[test_case(MOUNTS, mount("kserve-pvc-source", "/mnt/models") => (false, true); "a claim, which is mounted again")]
    #[test_case(MOUNTS, mount("probity-model", "/mnt/models/") => (false, true); "ours, in whose place it would be mounted")]
    #[test_case("/spec/initContainers", json!([{"name": DOWNLOAD, "volumeMounts": mount("kserve-provision-location", "/mnt/models")}]) => (false, false); "a download, which KServe knows again")]
    #[test_case("/spec/initContainers", json!([{"name": "mine", "volumeMounts": mount("kserve-provision-location", "/mnt/models")}]) => (false, true); "a download by another name")]
    #[test_case("/spec/containers", json!([{"name": "kserve-container"}, {"name": MODELCAR}]) => (false, true); "a modelcar")]
    #[test_case("/metadata/labels", json!({}) => (false, false); "KServe is not asked")]
    #[test_case("/metadata/annotations", json!({}) => (false, false); "KServe brings nothing")]
    #[test_case("/metadata/annotations", json!({KSERVE_SOURCE: "s3://m", AGENT: "true"}) => (false, false); "KServe's agent pulls models")]
    #[allow(clippy::needless_pass_by_value, reason = "rows of a table are values")]
    fn asked(at: &str, value: Value) -> (bool, bool) {
        let pod = pod((at, value));
        let spec = pod.spec.as_ref().unwrap();
        (awaits_kserve(&pod, spec), kserve_would_repeat(&pod, spec))
    }
}
