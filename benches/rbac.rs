//! Times the audit of rights on bindings that are made up, and says how much memory it took: the decision alone, without the
//! API server that sends them. `make bench-rbac` runs it and keeps its one line of JSON.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a benchmark looks at the clock, and says what it saw"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, PolicyRule, RoleBinding};
use probity::{
    api::v1alpha1::ClusterDeploymentPolicy,
    policy::{
        World, compile,
        rbac::{Account, Accounts, Binding, RoleName, audit, means_any},
    },
};
use serde_json::{Value, json};

const BINDINGS: usize = 5_000;
const NAMESPACES: usize = 50;
const MODELS: usize = 500;
const ROLES: usize = 500;

fn main() {
    let world = world();
    let accounts: Accounts = (0..MODELS)
        .map(|n| {
            let account = Account {
                namespace: format!("team-{}", n % NAMESPACES),
                name: format!("model-{n}"),
            };
            (account, format!("model-{n}"))
        })
        .collect();
    let roles: BTreeMap<RoleName, Vec<PolicyRule>> = (0..ROLES).map(role).collect();
    let written: Vec<Value> = (0..BINDINGS).map(binding).collect();
    let before = memory();
    let mut took: Vec<f64> = (0..5)
        .map(|_| {
            let written = written.clone();
            let began = Instant::now();
            let bindings: Vec<Binding> = written
                .into_iter()
                .map(read)
                .filter(|binding| means_any(binding, &accounts))
                .collect();
            let found = audit(&accounts, &bindings, &roles, &world);
            let took = began.elapsed().as_secs_f64();
            assert!(!found.is_empty(), "some of them give too much");
            took
        })
        .collect();
    took.sort_by(f64::total_cmp);
    let bindings: Vec<Binding> = written.into_iter().map(read).collect();
    let found = audit(&accounts, &bindings, &roles, &world);
    let exceeding: BTreeSet<_> = found.iter().map(|excess| &excess.account).collect();
    let line = json!({
        "bindings": BINDINGS, "roles": ROLES, "accounts": MODELS, "exceeding": exceeding.len(),
        "audit_s": took[2], "slowest_s": took[4],
        "before_mib": before, "peak_mib": peak()
    });
    println!("{line}");
}

fn world() -> World {
    let policy: ClusterDeploymentPolicy = serde_json::from_value(json!({
        "apiVersion": "probity.dev/v1alpha1", "kind": "ClusterDeploymentPolicy", "metadata": {"name": "baseline"},
        "spec": {
            "namespaceSelector": {},
            "signers": [{"name": "release", "key": {"trustRoot": "bank", "keys": ["release"]}}],
            "model": {"signers": ["release"]},
            "isolation": {"rbac": {"ceiling": [
                {"apiGroups": [""], "resources": ["configmaps", "services"], "verbs": ["get", "list", "watch"]}
            ]}}
        }
    }))
    .unwrap();
    let governed = BTreeMap::from([("probity.dev/governed".to_owned(), "true".to_owned())]);
    World {
        rules: vec![compile(&policy, &BTreeMap::new())],
        namespaces: (0..NAMESPACES)
            .map(|n| (format!("team-{n}"), governed.clone()))
            .collect(),
        ..World::default()
    }
}

/// Ten rules each, of which one in fifty gives a secret.
fn role(n: usize) -> (RoleName, Vec<PolicyRule>) {
    let name = RoleName {
        namespace: None,
        name: format!("role-{n}"),
    };
    let rules = (0..10).map(|at| {
        let resource = if n.is_multiple_of(50) && at == 0 { "secrets" } else { "configmaps" };
        let rule = json!({"apiGroups": [""], "resources": [resource, "services"], "verbs": ["get", "list", "watch"]});
        serde_json::from_value(rule).unwrap()
    });
    (name, rules.collect())
}

/// One in ten is of the cluster; they mean accounts of models by name, all of a namespace, everybody, and people.
fn binding(n: usize) -> Value {
    let namespace = format!("team-{}", n % NAMESPACES);
    let subject = match n % 20 {
        0 => json!({"kind": "Group", "name": "system:serviceaccounts"}),
        1..=3 => json!({"kind": "Group", "name": format!("system:serviceaccounts:{namespace}")}),
        4..=9 => {
            json!({"kind": "ServiceAccount", "name": format!("model-{}", n % MODELS), "namespace": namespace})
        }
        _ => json!({"kind": "User", "name": format!("person-{n}@example.com")}),
    };
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": format!("role-{}", n % ROLES)});
    let mut metadata = json!({"name": format!("binding-{n}")});
    if !n.is_multiple_of(10) {
        metadata["namespace"] = json!(namespace);
    }
    json!({"metadata": metadata, "roleRef": role, "subjects": [subject]})
}

fn read(written: Value) -> Binding {
    if written["metadata"]["namespace"].is_null() {
        serde_json::from_value::<ClusterRoleBinding>(written)
            .unwrap()
            .into()
    } else {
        serde_json::from_value::<RoleBinding>(written).unwrap().into()
    }
}

fn memory() -> f64 {
    status("VmRSS:")
}

fn peak() -> f64 {
    status("VmHWM:")
}

/// This process' memory, in MiB.
fn status(field: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}
