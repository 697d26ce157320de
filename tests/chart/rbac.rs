//! Who may do what: the operator's permissions against a table, and what people get added to their roles.
//! A verb more than the table has, or one less, fails; so does any `*`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::helm::{NAMESPACE, find, render};

/// What is only followed.
const FOLLOWED: &[&str] = &["list", "watch"];
/// What is looked at, by name, before it is applied: it might be somebody else's.
const MADE: &[&str] = &["get", "list", "watch", "create", "patch"];
/// What the operator made for itself, and clears away when nobody asks for it.
const OWN: &[&str] = &["get", "list", "watch", "create", "patch", "delete"];

/// Everything the operator does to the cluster: (API group, resource, verbs).
///
/// No delete but of its own verdicts, no watching of secrets, no exec, no finalizers, no roles.
const OPERATOR: &[(&str, &str, &[&str])] = &[
    // Read live with what there is for it: a watch may lack the status that was written a moment ago.
    ("probity.dev", "modeldeployments", &["get", "list", "watch"]),
    ("probity.dev", "modeldeployments/status", &["patch"]),
    ("probity.dev", "clusterdeploymentpolicies", FOLLOWED),
    ("probity.dev", "clusterdeploymentpolicies/status", &["patch"]),
    ("probity.dev", "deploymentpolicies", FOLLOWED),
    ("probity.dev", "deploymentpolicies/status", &["patch"]),
    ("probity.dev", "trustroots", FOLLOWED),
    ("probity.dev", "trustroots/status", &["patch"]),
    ("probity.dev", "artifactverifications", OWN),
    ("probity.dev", "artifactverifications/status", &["patch"]),
    ("", "namespaces", FOLLOWED),
    ("", "pods", FOLLOWED),
    ("", "secrets", &["get"]),
    ("", "services", MADE),
    ("", "serviceaccounts", MADE),
    ("apps", "deployments", MADE),
    ("events.k8s.io", "events", &["create", "patch"]),
];

type Permissions = BTreeSet<(String, String, String)>;

/// Every (group, resource, verb) of a role, one by one.
fn permissions(role: &Value) -> Permissions {
    let words = |value: &Value| -> Vec<String> { serde_json::from_value(value.clone()).unwrap() };
    let mut all = Permissions::new();
    for rule in role["rules"].as_array().unwrap() {
        let keys: BTreeSet<&str> = rule.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(
            keys,
            BTreeSet::from(["apiGroups", "resources", "verbs"]),
            "a rule of another shape: {rule}"
        );
        for group in words(&rule["apiGroups"]) {
            for resource in words(&rule["resources"]) {
                for verb in words(&rule["verbs"]) {
                    let permission = (group.clone(), resource.clone(), verb);
                    assert!(all.insert(permission.clone()), "{permission:?} is granted twice");
                }
            }
        }
    }
    all
}

#[test]
fn the_operator_may_do_what_the_table_says_and_nothing_else() {
    let expected: Permissions = OPERATOR
        .iter()
        .flat_map(|(group, resource, verbs)| {
            verbs
                .iter()
                .map(|verb| ((*group).to_owned(), (*resource).to_owned(), (*verb).to_owned()))
        })
        .collect();
    let granted = permissions(find(&render(&[]), "ClusterRole", "probity"));
    let too_much: Vec<_> = granted.difference(&expected).collect();
    let too_little: Vec<_> = expected.difference(&granted).collect();
    assert!(
        too_much.is_empty() && too_little.is_empty(),
        "too much: {too_much:?}\ntoo little: {too_little:?}"
    );
}

#[test]
fn the_permissions_go_to_the_operator_alone() {
    let objects = render(&[]);
    let bindings: Vec<&Value> = objects
        .iter()
        .filter(|object| object["kind"].as_str().unwrap().ends_with("RoleBinding"))
        .collect();
    let [binding] = bindings[..] else {
        panic!("one binding, not {}", bindings.len())
    };
    assert_eq!(
        binding["subjects"],
        json!([{"kind": "ServiceAccount", "name": "probity", "namespace": NAMESPACE}])
    );
    assert_eq!(binding["roleRef"]["name"], "probity");
    let pod = &find(&objects, "Deployment", "probity")["spec"]["template"]["spec"];
    assert_eq!(pod["serviceAccountName"], "probity");
}

#[test]
fn people_read_everything_and_write_only_what_they_ask_for() {
    let objects = render(&[]);
    let viewer = find(&objects, "ClusterRole", "probity-viewer");
    assert_eq!(
        viewer["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-view"],
        "true"
    );
    for (_, resource, verb) in permissions(viewer) {
        assert!(
            ["get", "list", "watch"].contains(&verb.as_str()),
            "the viewer may {verb} {resource}"
        );
    }

    let editor = find(&objects, "ClusterRole", "probity-editor");
    assert_eq!(
        editor["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-edit"],
        "true"
    );
    assert_eq!(
        editor["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-view"],
        Value::Null
    );
    for (group, resource, verb) in permissions(editor) {
        assert_eq!(group, "probity.dev");
        // A verdict or a status somebody could write would be worth more than a signature.
        assert!(
            ["modeldeployments", "modeldeployments/scale"].contains(&resource.as_str()),
            "the editor may {verb} {resource}"
        );
    }

    // What a namespace's own policy says can only deny more, and yet it is not for those whom it denies.
    let owner = find(&objects, "ClusterRole", "probity-owner");
    let labels = &owner["metadata"]["labels"];
    assert_eq!(labels["rbac.authorization.k8s.io/aggregate-to-admin"], "true");
    for role in ["view", "edit"] {
        assert_eq!(
            labels[format!("rbac.authorization.k8s.io/aggregate-to-{role}")],
            Value::Null
        );
    }
    for (group, resource, verb) in permissions(owner) {
        assert_eq!(
            (group.as_str(), resource.as_str()),
            ("probity.dev", "deploymentpolicies"),
            "the owner may {verb} {resource}"
        );
    }
}
