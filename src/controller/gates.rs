//! Which pods of a model may take traffic: the readiness gate, and how it should stand, whoever runs the pods.
//! A gate that stands as it should is not written again; what a pod may is for others to say.

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Pod, PodCondition},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::ResourceExt as _;

use super::{Context, Error, Note};
use crate::{
    api::{SERVING_GATE, v1alpha1::ModelDeployment},
    cluster::set_gate,
    workload::is_gated,
};

/// At most this many pods are named in an Event.
const MOST_NAMED: usize = 8;

/// A gate that is to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct Gate {
    /// The pod's name.
    pub pod: String,
    /// The pod's uid: a namesake that took its place is another pod.
    pub uid: String,
    /// Whether it stood otherwise before; else nobody had looked at the pod yet.
    pub turned: bool,
    /// The condition as it should be.
    pub condition: PodCondition,
}

/// The gates that do not stand as they should. `open` says of each pod whether it takes traffic; while that is not known, its
/// gate stays. Pods that are ending, and those without a gate, are left out.
pub(super) fn gates(pods: &[Pod], mut open: impl FnMut(&Pod) -> Option<bool>, now: Timestamp) -> Vec<Gate> {
    let gated = pods
        .iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none() && pod.spec.as_ref().is_some_and(is_gated));
    gated.filter_map(|pod| gate(pod, open(pod)?, now)).collect()
}

fn gate(pod: &Pod, open: bool, now: Timestamp) -> Option<Gate> {
    let status = if open { "True" } else { "False" };
    let mut conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let there = conditions.find(|condition| condition.type_ == SERVING_GATE);
    if there.is_some_and(|there| there.status == status) {
        return None;
    }
    let (reason, message) = if open {
        ("Admitted", "policy admits what the pod runs")
    } else {
        (
            "Quarantined",
            "policy no longer admits what the pod runs: see its ModelDeployment",
        )
    };
    Some(Gate {
        pod: pod.name_any(),
        uid: pod.uid().unwrap_or_default(),
        turned: there.is_some(),
        condition: PodCondition {
            type_: SERVING_GATE.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_transition_time: Some(Time(now)),
            ..PodCondition::default()
        },
    })
}

/// Sets gates as planned, and tells of those that turned.
pub(super) async fn set_gates(
    context: &Context,
    model: &ModelDeployment,
    gates: &[Gate],
) -> Result<(), Error> {
    let namespace = model.namespace().unwrap_or_default();
    let pods = context.api::<Pod>(&namespace);
    for gate in gates {
        let set = set_gate(&pods, &gate.pod, &gate.uid, &gate.condition).await?;
        tracing::info!(%namespace, pod = gate.pod, open = gate.condition.status, gone = !set, "set the readiness gate of a pod");
    }
    for note in turned(gates) {
        context.publish(model, note).await;
    }
    Ok(())
}

/// What is told of pods that lost their traffic, and of those that have it again.
fn turned(gates: &[Gate]) -> Vec<Note> {
    let of = |status: &str| -> Vec<&str> {
        let turned = gates
            .iter()
            .filter(|gate| gate.turned && gate.condition.status == status);
        turned.map(|gate| gate.pod.as_str()).collect()
    };
    let (shut, opened) = (of("False"), of("True"));
    let shut = (!shut.is_empty()).then(|| Note {
        warning: true,
        reason: "TrafficCut".into(),
        action: "Quarantine",
        message: format!(
            "{} no longer counts as ready: policy no longer admits what it runs",
            named(&shut)
        ),
    });
    let opened = (!opened.is_empty()).then(|| Note {
        warning: false,
        reason: "TrafficBack".into(),
        action: "Release",
        message: format!(
            "{} may count as ready again: policy admits what it runs",
            named(&opened)
        ),
    });
    shut.into_iter().chain(opened).collect()
}

fn named(pods: &[&str]) -> String {
    let more = pods.len().saturating_sub(MOST_NAMED);
    let first = pods[..pods.len() - more].join(", ");
    match more {
        0 => first,
        more => format!("{first} and {more} more pods"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use test_case::test_case;

    use super::*;

    fn pod(gated: bool, stands: Option<&str>) -> Pod {
        let gates = if gated {
            json!([{"conditionType": SERVING_GATE}])
        } else {
            json!([])
        };
        let conditions: Vec<Value> = stands
            .map(|status| json!({"type": SERVING_GATE, "status": status}))
            .into_iter()
            .collect();
        serde_json::from_value(json!({
            "metadata": {"name": "digits-1"},
            "spec": {"containers": [], "readinessGates": gates},
            "status": {"conditions": conditions}
        }))
        .unwrap()
    }

    #[test_case(&pod(true, None), Some(true) => Some(("True".into(), false)); "a new one")]
    #[test_case(&pod(true, Some("True")), Some(true) => None; "as it should be")]
    #[test_case(&pod(true, Some("True")), Some(false) => Some(("False".into(), true)); "cut off")]
    #[test_case(&pod(true, Some("False")), Some(true) => Some(("True".into(), true)); "released")]
    #[test_case(&pod(true, None), None => None; "nothing is known of it")]
    #[test_case(&pod(false, None), Some(true) => None; "one without a gate")]
    fn written(pod: &Pod, open: Option<bool>) -> Option<(String, bool)> {
        let found = gates(std::slice::from_ref(pod), |_| open, Timestamp::UNIX_EPOCH);
        found
            .first()
            .map(|gate| (gate.condition.status.clone(), gate.turned))
    }

    #[test]
    fn what_turned_is_told_at_once_and_what_is_new_is_not() {
        let shut = |name: usize, turned| Gate {
            pod: format!("digits-{name}"),
            turned,
            ..gates(&[pod(true, None)], |_| Some(false), Timestamp::UNIX_EPOCH).remove(0)
        };
        assert_eq!(turned(&[shut(1, false)]), []);
        let many: Vec<Gate> = (0..10).map(|name| shut(name, true)).collect();
        let told = turned(&many);
        assert_eq!((told.len(), told[0].reason.as_str()), (1, "TrafficCut"));
        assert!(
            told[0].message.starts_with("digits-0, digits-1, "),
            "{}",
            told[0].message
        );
        assert!(
            told[0].message.contains("digits-7 and 2 more pods"),
            "{}",
            told[0].message
        );
    }
}
