//! Why a workload's further pods are not made: what admission says of its template, or what its controller was told when it
//! last tried. Pure.

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    evidence::{Failure, Reason},
    policy::{
        World,
        pods::{Recorded, Template},
    },
    workload::Plans,
};

/// One sentence; none while nothing speaks against them.
pub(super) fn refusal(
    makers: &[Value],
    namespace: &str,
    recorded: Recorded<'_>,
    world: &World,
    plans: &Plans,
    now: Timestamp,
) -> Option<String> {
    let judged = |maker: &Value| {
        let decision = Template::read(maker)?.judge(namespace, recorded, world, plans, now)?;
        (!decision.admits()).then(|| decision.sentence())
    };
    let why = makers
        .iter()
        .find_map(judged)
        .or_else(|| makers.iter().find_map(failed));
    // A sentence from elsewhere, no longer than our own.
    why.map(|why| Failure::new(Reason::Internal, why).message)
}

/// What a Deployment's controller was told, by a quota for instance. It tries again, with growing pauses.
fn failed(maker: &Value) -> Option<String> {
    let conditions = maker.pointer("/status/conditions")?.as_array()?;
    let failure = conditions
        .iter()
        .find(|condition| condition["type"] == "ReplicaFailure" && condition["status"] == "True")?;
    failure["message"].as_str().map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use test_case::test_case;

    use super::*;
    use crate::policy::pods::samples::Scene;

    /// The Deployment of the scene with this pod and these conditions.
    fn deployment(pod: &Value, conditions: &Value) -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "server"},
            "spec": {"template": {"spec": pod}}, "status": {"conditions": conditions},
        })
    }

    fn told(scene: &Scene, maker: &Value) -> Option<String> {
        let plans = Plans::new(scene.settings.clone());
        refusal(
            std::slice::from_ref(maker),
            "bank",
            scene.recorded(),
            &scene.world,
            &plans,
            scene.now,
        )
    }

    fn good() -> Value {
        Scene::bare("a")["spec"].clone()
    }

    fn on_the_host() -> Value {
        let mut pod = good();
        pod["hostNetwork"] = json!(true);
        pod
    }

    const QUOTA: &str = "pods \"server-x\" is forbidden: exceeded quota: few";

    fn quota(state: &str) -> Value {
        json!([{"type": "Available", "status": "False", "message": "not this"},
               {"type": "ReplicaFailure", "status": state, "message": QUOTA}])
    }

    #[test_case(&good(), &json!([]) => None; "none")]
    #[test_case(&good(), &quota("True") => Some(QUOTA.to_owned()); "a quota")]
    #[test_case(&good(), &quota("False") => None; "a quota that is over")]
    #[test_case(&on_the_host(), &quota("True") => Some("the pod is not as planned: spec.hostNetwork: a pod that serves a model shares nothing with the node, and its containers no processes: leave it out".to_owned()); "admission")]
    fn why(pod: &Value, conditions: &Value) -> Option<String> {
        told(&Scene::new(), &deployment(pod, conditions))
    }

    #[test]
    fn what_cannot_be_read_says_nothing() {
        for maker in [json!(null), json!({}), json!({"status": {"conditions": [{}, 1]}})] {
            assert_eq!(told(&Scene::new(), &maker), None);
        }
    }
}
