//! Would this network policy open what a model's own closes? Such policies are added up: whatever one of them allows is
//! open. Pure; Kubernetes' kind and Cilium's are read alike, and what cannot be read is taken to open.

mod cluster;
mod judge;
mod selector;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

pub use judge::{CLUSTER_KINDS, Opener, judge, openers, spoken_of};
pub use selector::PodLabels;

use crate::api::cluster_network_policy;
use selector::may_select;

/// The labels of the pods of each model, by its name.
pub type ModelPods = BTreeSet<(String, PodLabels)>;

/// A network policy that somebody else than the operator made.
#[derive(Debug, Clone, PartialEq)]
pub struct Foreign {
    /// `NetworkPolicy`, `CiliumNetworkPolicy`, or one of the whole cluster.
    pub kind: String,
    /// Where it is; of one of the whole cluster, the namespace of the pods that are asked about.
    pub namespace: String,
    /// What it is called.
    pub name: String,
    /// The labels of its namespace, where it is one of the whole cluster: it may mean pods by them.
    around: Option<BTreeMap<String, String>>,
    parts: Vec<Part>,
}

/// Which pods are meant, and what is allowed to or from them.
#[derive(Debug, Clone, PartialEq)]
struct Part {
    selector: Value,
    /// Each thing that is allowed, by its field.
    allows: BTreeMap<String, Value>,
}

impl Foreign {
    /// Reads one. `spec` and `specs` are as they were sent.
    pub fn read(kind: &str, namespace: &str, name: &str, object: &Value) -> Self {
        // Cilium's have one specification, or several.
        let one = object.get("spec").filter(|spec| !spec.is_null());
        let several = object.get("specs").and_then(Value::as_array);
        let one = one.map(|spec| ("spec".to_owned(), spec));
        let several = several.into_iter().flatten().enumerate();
        let several = several.map(|(at, spec)| (format!("specs[{at}]"), spec));
        Self {
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            around: None,
            parts: one
                .into_iter()
                .chain(several)
                .map(|(at, spec)| part(&at, spec))
                .collect(),
        }
    }

    /// Reads one of the whole cluster, as far as it means pods of this namespace.
    pub fn of_cluster(
        kind: &str,
        name: &str,
        object: &Value,
        namespace: &str,
        labels: &BTreeMap<String, String>,
    ) -> Self {
        let around = Some(labels.clone());
        if kind == cluster_network_policy::KIND {
            let spec = object.get("spec").cloned().unwrap_or_default();
            return Self {
                kind: kind.to_owned(),
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                around,
                parts: cluster::part(&spec, labels).into_iter().collect(),
            };
        }
        Self {
            around,
            ..Self::read(kind, namespace, name, object)
        }
    }

    /// What it allows to or from pods with these labels, by the fields.
    fn opens(&self, pods: &PodLabels) -> Vec<&str> {
        let around = self
            .around
            .as_ref()
            .map(|labels| pods.within(&self.namespace, labels));
        let pods = around.as_ref().unwrap_or(pods);
        let parts = self.parts.iter().filter(|part| may_select(&part.selector, pods));
        parts
            .flat_map(|part| part.allows.keys().map(String::as_str))
            .collect()
    }

    /// Whether it allows nothing to or from any pod.
    pub fn allows_nothing(&self) -> bool {
        self.parts.iter().all(|part| part.allows.is_empty())
    }

    /// As far as it allows something that the old one does not.
    #[must_use]
    pub fn beyond(mut self, old: Option<&Self>) -> Self {
        let Some(old) = old else { return self };
        for part in &mut self.parts {
            let same = |known: &&Part| known.selector == part.selector;
            let known: Vec<&Value> = old
                .parts
                .iter()
                .filter(same)
                .flat_map(|known| known.allows.values())
                .collect();
            part.allows.retain(|_, allowed| !known.contains(&&*allowed));
        }
        self
    }
}

fn part(at: &str, spec: &Value) -> Part {
    // Cilium's, about the node's own network: no pod is meant.
    if spec
        .get("nodeSelector")
        .is_some_and(|selector| !selector.is_null())
    {
        return Part {
            selector: Value::Null,
            allows: BTreeMap::new(),
        };
    }
    let selector = ["podSelector", "endpointSelector"]
        .into_iter()
        .find_map(|field| spec.get(field));
    let mut allows = BTreeMap::new();
    for field in ["ingress", "egress"] {
        let Some(rules) = spec.get(field).filter(|rules| !rules.is_null()) else {
            continue;
        };
        match rules.as_array() {
            Some(rules) => {
                let cilium = spec.get("endpointSelector").is_some();
                for (nth, rule) in rules.iter().enumerate() {
                    // For Kubernetes an empty rule allows everything, for Cilium nothing.
                    if !(cilium && rule.as_object().is_some_and(serde_json::Map::is_empty)) {
                        allows.insert(format!("{at}.{field}[{nth}]"), rule.clone());
                    }
                }
            }
            None => {
                allows.insert(format!("{at}.{field}"), rules.clone());
            }
        }
    }
    Part {
        selector: selector.cloned().unwrap_or_default(),
        allows,
    }
}

#[cfg(test)]
mod tests;
