//! Sets a readiness gate of a pod: one condition in its status, and nothing else of it.

use k8s_openapi::api::core::v1::{Pod, PodCondition};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::api::GATE_FIELD_MANAGER;

/// Setting a pod's readiness gate failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot set the readiness gate of the pod {name}")]
pub struct GateError {
    name: String,
    #[source]
    source: kube::Error,
}

impl GateError {
    /// The API server's answer.
    pub fn cause(&self) -> &kube::Error {
        &self.source
    }
}

/// Writes this condition into the status of the pod of this name, if it still is the one with this uid. Returns whether it is.
///
/// Conditions are merged by their type, so that those of the kubelet and of others stay as they are.
pub async fn set_gate(
    api: &Api<Pod>,
    name: &str,
    uid: &str,
    condition: &PodCondition,
) -> Result<bool, GateError> {
    let patch = json!({"metadata": {"uid": uid}, "status": {"conditions": [condition]}});
    let params = PatchParams {
        field_manager: Some(GATE_FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    match api.patch_status(name, &params, &Patch::Strategic(patch)).await {
        Ok(_) => Ok(true),
        // Gone, or another by that name.
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(false),
        Err(source) => Err(GateError {
            name: name.to_owned(),
            source,
        }),
    }
}
