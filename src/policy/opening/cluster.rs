//! What a ClusterNetworkPolicy accepts before any NetworkPolicy is asked. Pure; what cannot be read is taken to accept.
//! Its order is not looked at: something that it denies before may be accepted all the same by the next edit.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Part, PodLabels, may_select};

/// What it does with traffic that opens nothing: to pass it on leaves it to the NetworkPolicies.
const OPENS_NOTHING: [&str; 2] = ["Deny", "Pass"];

/// What it accepts of pods in a namespace with these labels; none where it means no pod of it, or is asked after the
/// NetworkPolicies, which then have decided.
pub(super) fn part(spec: &Value, namespace: &BTreeMap<String, String>) -> Option<Part> {
    if spec.get("tier").and_then(Value::as_str) == Some("Baseline") {
        return None;
    }
    let subject = spec.get("subject")?;
    let pods = subject.get("pods");
    let namespaces = pods
        .and_then(|pods| pods.get("namespaceSelector"))
        .or_else(|| subject.get("namespaces"));
    let known = PodLabels::of(namespace);
    if namespaces.is_some_and(|selector| !may_select(selector, &known)) {
        return None;
    }
    let mut allows = BTreeMap::new();
    for field in ["ingress", "egress"] {
        let rules = spec.get(field).and_then(Value::as_array);
        for (nth, rule) in rules.into_iter().flatten().enumerate() {
            let action = rule.get("action").and_then(Value::as_str).unwrap_or_default();
            if !OPENS_NOTHING.contains(&action) {
                allows.insert(format!("spec.{field}[{nth}]"), rule.clone());
            }
        }
    }
    let selector = pods.and_then(|pods| pods.get("podSelector")).cloned();
    Some(Part {
        selector: selector.unwrap_or_else(|| json!({})),
        allows,
    })
}
