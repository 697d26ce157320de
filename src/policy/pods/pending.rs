//! What a pod waits for whose verifier has not ended, as far as its status says. Pure.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt as _;

use crate::workload::VERIFY_CONTAINER;

/// One sentence, without the pod's name at its beginning.
pub(super) fn pending(pod: &Pod, verifier: Option<&ContainerStatus>) -> String {
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let mut conditions = conditions.filter(|one| one.type_ == "PodScheduled" && one.status == "False");
    if let Some(message) = conditions.find_map(|one| one.message.as_deref()) {
        return format!("it is not scheduled: {message}");
    }
    let state = verifier.and_then(|status| status.state.as_ref());
    if state.is_some_and(|state| state.running.is_some()) {
        return format!("{VERIFY_CONTAINER} has not ended yet");
    }
    let waiting = state.and_then(|state| state.waiting.as_ref());
    let usual = |reason: &str| matches!(reason, "PodInitializing" | "ContainerCreating");
    let reason = waiting.and_then(|waiting| waiting.reason.as_deref());
    match reason.filter(|reason| !usual(reason)) {
        Some(reason) => {
            let message = waiting.and_then(|waiting| waiting.message.as_deref());
            let more = message.map_or(String::new(), |message| format!(": {message}"));
            format!("{VERIFY_CONTAINER} does not start: {reason}{more}")
        }
        None => format!(
            "{VERIFY_CONTAINER} has not started yet; `kubectl describe pod {}` says what it waits for",
            pod.name_any()
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use test_case::test_case;

    use super::*;

    fn scheduled() -> Value {
        json!([{"type": "PodScheduled", "status": "True"}])
    }

    #[test_case(&json!([{"type": "PodScheduled", "status": "False", "message": "persistentvolumeclaim \"models\" not found"}]), &json!(null)
        => "it is not scheduled: persistentvolumeclaim \"models\" not found"; "no claim")]
    #[test_case(&scheduled(), &json!({"running": {}}) => "probity-verify has not ended yet"; "at work")]
    #[test_case(&scheduled(), &json!({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}})
        => "probity-verify does not start: ImagePullBackOff: no such image"; "no image")]
    #[test_case(&scheduled(), &json!({"waiting": {"reason": "CreateContainerConfigError"}})
        => "probity-verify does not start: CreateContainerConfigError"; "without a message")]
    #[test_case(&scheduled(), &json!({"waiting": {"reason": "PodInitializing"}})
        => "probity-verify has not started yet; `kubectl describe pod a` says what it waits for"; "being made")]
    #[test_case(&json!([]), &json!(null)
        => "probity-verify has not started yet; `kubectl describe pod a` says what it waits for"; "nobody has looked at it")]
    fn waits(conditions: &Value, state: &Value) -> String {
        let pod = json!({"metadata": {"name": "a"}, "status": {"conditions": conditions}});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let status: Option<ContainerStatus> = (!state.is_null()).then(|| {
            let status = json!({
                "name": "probity-verify", "ready": false, "restartCount": 0, "image": "", "imageID": "", "state": state
            });
            serde_json::from_value(status).unwrap()
        });
        pending(&pod, status.as_ref())
    }
}
