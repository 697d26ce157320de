//! The readiness gate by which the operator lets traffic to a pod, and takes it away.
//! Pure: which pods have it, and putting it into those that lack it.

use k8s_openapi::api::core::v1::{PodReadinessGate, PodSpec};

use crate::api::SERVING_GATE;

/// Whether the pod waits for the operator before it takes traffic.
pub fn is_gated(pod: &PodSpec) -> bool {
    let mut gates = pod.readiness_gates.iter().flatten();
    gates.any(|gate| gate.condition_type == SERVING_GATE)
}

/// Has the pod wait for the operator, behind whatever else it waits for.
pub fn add_gate(pod: &mut PodSpec) {
    if !is_gated(pod) {
        pod.readiness_gates
            .get_or_insert_default()
            .push(PodReadinessGate {
                condition_type: SERVING_GATE.to_owned(),
            });
    }
}
