//! What tests here have in common: a governed namespace `bank` with the model `digits`, and words for roles and bindings.

use std::collections::BTreeMap;

use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, PolicyRule, RoleBinding};
use serde_json::{Value, json};

use super::{Account, Accounts, Binding};
use crate::{
    api::{GOVERNED_LABEL, v1alpha1::ClusterDeploymentPolicy},
    policy::{Rules, World, compile, trust::TrustRoots},
};

/// A policy of this name for all namespaces, with this section `isolation`.
pub fn policy(name: &str, isolation: &Value) -> Rules {
    let policy: ClusterDeploymentPolicy = serde_json::from_value(json!({
        "apiVersion": "probity.dev/v1alpha1", "kind": "ClusterDeploymentPolicy", "metadata": {"name": name},
        "spec": {
            "namespaceSelector": {},
            "signers": [{"name": "release", "key": {"trustRoot": "bank", "keys": ["release"]}}],
            "model": {"signers": ["release"]},
            "isolation": isolation
        }
    }))
    .unwrap();
    compile(&policy, &TrustRoots::new())
}

/// Two governed namespaces, `bank` and `shop`, and `wild`, which is not.
pub fn world(rules: Vec<Rules>) -> World {
    let labels = |governed: &str| BTreeMap::from([(GOVERNED_LABEL.to_owned(), governed.to_owned())]);
    let namespaces = [("bank", "true"), ("shop", "true"), ("wild", "false")];
    World {
        rules,
        namespaces: namespaces
            .iter()
            .map(|(name, governed)| ((*name).to_owned(), labels(governed)))
            .collect(),
        ..World::default()
    }
}

pub fn account(namespace: &str, name: &str) -> Account {
    Account {
        namespace: namespace.into(),
        name: name.into(),
    }
}

/// `bank/digits`, under which `digits` runs.
pub fn accounts() -> Accounts {
    [(account("bank", "digits"), "digits".to_owned())].into()
}

pub fn rules(rules: &Value) -> Vec<PolicyRule> {
    serde_json::from_value(rules.clone()).unwrap()
}

/// A rule of the core group.
pub fn rule(resource: &str, verb: &str) -> Value {
    json!([{"apiGroups": [""], "resources": [resource], "verbs": [verb]}])
}

pub fn role_binding(kind: &str, role: &str, subjects: &Value) -> Binding {
    let binding: RoleBinding = serde_json::from_value(json!({
        "metadata": {"name": "gives", "namespace": "bank"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
        "subjects": subjects
    }))
    .unwrap();
    binding.into()
}

pub fn cluster_role_binding(name: &str, role: &str, subjects: &Value) -> Binding {
    let binding: ClusterRoleBinding = serde_json::from_value(json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": subjects
    }))
    .unwrap();
    binding.into()
}

/// The account of `digits`, as a subject.
pub fn digits() -> Value {
    json!([{"kind": "ServiceAccount", "name": "digits", "namespace": "bank"}])
}
