//! May this selector mean a pod of which only some labels are known? What is not known may be anything, and what cannot be
//! read is taken to mean it.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::api::MODEL_LABEL;

/// What controllers add to the labels of their pods. Nobody can say beforehand what is in them.
const ADDED: [&str; 7] = [
    "pod-template-hash",
    "controller-revision-hash",
    "pod-template-generation",
    "statefulset.kubernetes.io/pod-name",
    "apps.kubernetes.io/pod-index",
    "job-name",
    "controller-uid",
];
/// The same, by the start of the label.
const ADDED_UNDER: [&str; 3] = ["batch.kubernetes.io/", "io.kubernetes.", "io.cilium."];
/// How Cilium says where a label is from: these two mean the labels of the pod.
const SOURCES: [&str; 2] = ["k8s", "any"];
/// How Cilium tells the namespace of a pod, and the labels of that, among the labels of the pod.
const NAMESPACE: &str = "io.kubernetes.pod.namespace";
const OF_NAMESPACE: &str = "io.cilium.k8s.namespace.labels.";

/// The labels of a pod; none for a value that may be any.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodLabels(BTreeMap<String, Option<String>>);

impl PodLabels {
    /// A pod of a model that may come.
    pub fn of_any_model() -> Self {
        Self([(MODEL_LABEL.to_owned(), None)].into())
    }

    /// A pod that is there.
    pub fn of(labels: &BTreeMap<String, String>) -> Self {
        Self(
            labels
                .iter()
                .map(|(key, value)| (key.clone(), Some(value.clone())))
                .collect(),
        )
    }

    /// The same pod, as who asks about the whole cluster sees it: with its namespace and the labels of that.
    #[must_use]
    pub fn within(&self, namespace: &str, labels: &BTreeMap<String, String>) -> Self {
        let around = labels
            .iter()
            .map(|(key, value)| (format!("{OF_NAMESPACE}{key}"), Some(value.clone())));
        let name = [(NAMESPACE.to_owned(), Some(namespace.to_owned()))];
        Self(self.0.clone().into_iter().chain(around).chain(name).collect())
    }

    fn holds(&self, key: &str, must: &Must<'_>) -> bool {
        // Where the namespace is told, nothing else is added under these.
        let told = self.0.contains_key(NAMESPACE) && (key == NAMESPACE || key.starts_with(OF_NAMESPACE));
        let added = ADDED.contains(&key) || ADDED_UNDER.iter().any(|start| key.starts_with(start));
        if added && !told {
            return true;
        }
        match (must, self.0.get(key)) {
            (Must::BeIn(_) | Must::NotBeIn(_) | Must::Exist, Some(None))
            | (Must::Exist, Some(_))
            | (Must::NotBeIn(_) | Must::NotExist, None) => true,
            (Must::BeIn(values), Some(Some(value))) => values.contains(&value.as_str()),
            (Must::NotBeIn(values), Some(Some(value))) => !values.contains(&value.as_str()),
            (Must::BeIn(_) | Must::Exist, None) | (Must::NotExist, Some(_)) => false,
        }
    }
}

enum Must<'a> {
    BeIn(Vec<&'a str>),
    NotBeIn(Vec<&'a str>),
    Exist,
    NotExist,
}

/// Whether the selector, as it was sent, may mean a pod with these labels. One that is not there means every pod.
pub fn may_select(selector: &Value, pod: &PodLabels) -> bool {
    let labels = selector.get("matchLabels").and_then(Value::as_object);
    let labels = labels.into_iter().flatten().all(|(key, value)| {
        let Some((key, value)) = label(key).zip(value.as_str()) else {
            return true;
        };
        pod.holds(key, &Must::BeIn(vec![value]))
    });
    let expressions = selector.get("matchExpressions").and_then(Value::as_array);
    labels
        && expressions
            .into_iter()
            .flatten()
            .all(|one| expression(one).is_none_or(|(key, must)| pod.holds(key, &must)))
}

/// The label that is meant; none when it is not one of the pod.
fn label(key: &str) -> Option<&str> {
    match key.split_once(':') {
        None => Some(key),
        Some((source, key)) => SOURCES.contains(&source).then_some(key),
    }
}

/// One term; none when it cannot be read.
fn expression(value: &Value) -> Option<(&str, Must<'_>)> {
    let key = label(value.get("key")?.as_str()?)?;
    let values = || -> Option<Vec<&str>> {
        let values = value.get("values")?.as_array()?;
        values.iter().map(Value::as_str).collect()
    };
    let must = match value.get("operator")?.as_str()? {
        "In" => Must::BeIn(values()?),
        "NotIn" => Must::NotBeIn(values()?),
        "Exists" => Must::Exist,
        "DoesNotExist" => Must::NotExist,
        _ => return None,
    };
    Some((key, must))
}
