//! The table of the standard: a pod that lacks nothing, and for each control pods that violate it. For tests only.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use serde::Deserialize;
use serde_json::{Value, json};

/// The table, which the tests against a real API server read as well.
#[derive(Deserialize)]
pub(crate) struct Standard {
    pub sound: Value,
    pub rows: Vec<Row>,
}

/// One way to violate one control.
#[derive(Deserialize)]
pub(crate) struct Row {
    pub control: String,
    pub what: String,
    /// The field that is told.
    pub field: String,
    /// What the sound pod is changed to: fields by their JSON pointer, `null` takes one away.
    pub set: BTreeMap<String, Value>,
}

pub(crate) fn standard() -> Standard {
    serde_json::from_str(include_str!("standard.json")).unwrap()
}

/// The pod with these fields changed.
pub(crate) fn changed(pod: &Value, set: &BTreeMap<String, Value>) -> Pod {
    let mut pod = pod.clone();
    for (pointer, value) in set {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        match pod.pointer_mut(parent).unwrap() {
            Value::Array(items) => items.push(value.clone()),
            fields if *value == json!(null) => drop(fields.as_object_mut().unwrap().remove(key)),
            fields => fields[key] = value.clone(),
        }
    }
    serde_json::from_value(pod).unwrap()
}
