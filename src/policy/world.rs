//! What is decided against: every policy ready to be applied, and the labels of every namespace.
//! Plain data; the operator fills it from its stores, `probity check` from files, so that they agree by construction.

use std::collections::BTreeMap;

use super::{
    Rules, WaiverRule,
    robustness::{GateRule, Measured},
    selecting,
};
use crate::api::GOVERNED_LABEL;

/// What is decided against.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct World {
    /// Every policy, whichever namespaces it selects.
    pub rules: Vec<Rules>,
    /// The labels of every namespace, by its name.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// Every waiver that somebody approved, over or not, whichever model it is for.
    pub waivers: Vec<WaiverRule>,
    /// What namespaces want measured of their models.
    pub gates: Vec<GateRule>,
    /// Every run that has ended, whatever it was about, by its namespace.
    pub measured: BTreeMap<String, Vec<Measured>>,
}

impl World {
    /// Whether the namespace is known and labelled as governed.
    pub fn governs(&self, namespace: &str) -> bool {
        self.namespaces.get(namespace).is_some_and(governed)
    }

    /// The policies that have a say in this namespace; none where nobody governs it.
    pub fn policies_of<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Rules> {
        let labels = self.namespaces.get(namespace).filter(|labels| governed(labels));
        labels
            .into_iter()
            .flat_map(move |labels| selecting(&self.rules, namespace, labels))
    }

    /// What this namespace wants measured of its models.
    pub fn gates_of(&self, namespace: &str) -> impl Iterator<Item = &GateRule> {
        self.gates.iter().filter(move |rule| rule.namespace == namespace)
    }

    /// The runs of this namespace that have ended.
    pub fn measured_in(&self, namespace: &str) -> impl Iterator<Item = &Measured> {
        self.measured.get(namespace).into_iter().flatten()
    }

    /// The waivers of this namespace.
    pub fn waivers_of(&self, namespace: &str) -> impl Iterator<Item = &WaiverRule> {
        self.waivers
            .iter()
            .filter(move |waiver| waiver.namespace == namespace)
    }
}

/// Whether a namespace with these labels is governed: exactly `true`, nothing that merely looks like it.
pub(super) fn governed(labels: &BTreeMap<String, String>) -> bool {
    labels.get(GOVERNED_LABEL).is_some_and(|value| value == "true")
}
