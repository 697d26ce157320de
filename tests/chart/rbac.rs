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
/// No update but of its Lease and its own Secret, no delete but of its own verdicts and NetworkPolicies and of pods that a policy has
/// stopped, no watching of secrets, no exec,
/// no finalizers, no roles.
const OPERATOR: &[(&str, &str, &[&str])] = &[
    // Read live with what there is for it: a watch may lack the status that was written a moment ago.
    ("probity.dev", "modeldeployments", &["get", "list", "watch"]),
    ("probity.dev", "modeldeployments/status", &["patch"]),
    ("probity.dev", "clusterdeploymentpolicies", FOLLOWED),
    ("probity.dev", "clusterdeploymentpolicies/status", &["patch"]),
    ("probity.dev", "deploymentpolicies", FOLLOWED),
    ("probity.dev", "deploymentpolicies/status", &["patch"]),
    ("probity.dev", "trustroots", FOLLOWED),
    ("probity.dev", "waivers", FOLLOWED),
    ("probity.dev", "trustroots/status", &["patch"]),
    // What is due is asked for, and never cleared away.
    ("probity.dev", "robustnesspolicies", &["get", "list", "watch"]),
    ("probity.dev", "robustnesspolicies/status", &["patch"]),
    ("probity.dev", "evaluations", &["get", "list", "watch", "create"]),
    ("probity.dev", "evaluations/status", &["patch"]),
    ("probity.dev", "artifactverifications", OWN),
    ("probity.dev", "artifactverifications/status", &["patch"]),
    ("", "namespaces", FOLLOWED),
    // Deleted only where a policy has an adopted workload stopped.
    ("", "pods", &["list", "watch", "delete"]),
    // The readiness gate: a guard sees to it that it is no other condition.
    ("", "pods/status", &["patch"]),
    ("", "secrets", &["get"]),
    ("", "services", MADE),
    ("", "serviceaccounts", MADE),
    ("apps", "deployments", MADE),
    ("networking.k8s.io", "networkpolicies", OWN),
    // What a pod of an adopted workload goes back to: each by its name, none listed.
    ("apps", "replicasets", &["get"]),
    ("apps", "statefulsets", &["get"]),
    ("apps", "daemonsets", &["get"]),
    ("batch", "jobs", &["get"]),
    ("serving.kserve.io", "inferenceservices", &["get"]),
    ("", "pods/eviction", &["create"]),
    // What others open with it.
    ("cilium.io", "ciliumnetworkpolicies", &["list"]),
    ("cilium.io", "ciliumclusterwidenetworkpolicies", &["list"]),
    // A quarantine that no NetworkPolicy opens, and what is never open; both are taken away again.
    (
        "policy.networking.k8s.io",
        "clusternetworkpolicies",
        &["get", "list", "create", "patch", "delete"],
    ),
    // Who gives what to whom, and what that is; none of it is followed.
    ("rbac.authorization.k8s.io", "rolebindings", &["list"]),
    ("rbac.authorization.k8s.io", "clusterrolebindings", &["list"]),
    ("rbac.authorization.k8s.io", "roles", &["get"]),
    ("rbac.authorization.k8s.io", "clusterroles", &["get"]),
    ("events.k8s.io", "events", &["create", "patch"]),
    // One of a namespace that is governed no more goes; those of models go with their owner.
    (
        "openreports.io",
        "reports",
        &["get", "list", "create", "patch", "delete"],
    ),
];

/// What it does in its own namespace besides, where only names in brackets are meant.
const OWN_NAMESPACE: &[(&str, &str, &[&str])] = &[
    ("coordination.k8s.io", "leases", &["create"]),
    (
        "coordination.k8s.io",
        "leases[probity-operator]",
        &["get", "update"],
    ),
];

/// What it does more, to the cluster and in its own namespace, when it makes the certificate of admission.
const CERTIFICATES: [&[(&str, &str, &[&str])]; 2] = [
    &[
        (
            "admissionregistration.k8s.io",
            "validatingwebhookconfigurations[probity]",
            &["get", "patch"],
        ),
        // Looked for, whether or not it is there.
        (
            "admissionregistration.k8s.io",
            "mutatingwebhookconfigurations[probity]",
            &["get"],
        ),
    ],
    &[
        ("", "secrets", &["create"]),
        ("", "secrets[probity-admission]", &["get", "update"]),
    ],
];

type Permissions = BTreeSet<(String, String, String)>;

/// Every (group, resource, verb) of a role, one by one.
fn permissions(role: &Value) -> Permissions {
    let words = |value: &Value| -> Vec<String> { serde_json::from_value(value.clone()).unwrap() };
    let mut all = Permissions::new();
    for rule in role["rules"].as_array().unwrap() {
        for key in rule.as_object().unwrap().keys() {
            let known = ["apiGroups", "resources", "resourceNames", "verbs"];
            assert!(known.contains(&key.as_str()), "a rule of another shape: {rule}");
        }
        let name = match rule.get("resourceNames") {
            None => String::new(),
            Some(names) => format!("[{}]", words(names).join(",")),
        };
        for group in words(&rule["apiGroups"]) {
            for resource in words(&rule["resources"]) {
                for verb in words(&rule["verbs"]) {
                    let permission = (group.clone(), format!("{resource}{name}"), verb);
                    assert!(all.insert(permission.clone()), "{permission:?} is granted twice");
                }
            }
        }
    }
    all
}

fn expected(tables: &[&[(&str, &str, &[&str])]]) -> Permissions {
    let rows = tables.iter().copied().flatten();
    rows.flat_map(|(group, resource, verbs)| {
        verbs
            .iter()
            .map(|verb| ((*group).to_owned(), (*resource).to_owned(), (*verb).to_owned()))
    })
    .collect()
}

fn compare(role: &Value, expected: &Permissions) {
    let granted = permissions(role);
    let too_much: Vec<_> = granted.difference(expected).collect();
    let too_little: Vec<_> = expected.difference(&granted).collect();
    assert!(
        too_much.is_empty() && too_little.is_empty(),
        "too much: {too_much:?}\ntoo little: {too_little:?}"
    );
}

#[test]
fn the_operator_may_do_what_the_table_says_and_nothing_else() {
    let objects = render(&["--set", "admission.enabled=false"]);
    compare(find(&objects, "ClusterRole", "probity"), &expected(&[OPERATOR]));
    compare(find(&objects, "Role", "probity"), &expected(&[OWN_NAMESPACE]));
}

#[test]
fn with_admission_it_may_look_after_its_certificate() {
    let [cluster, own] = CERTIFICATES;
    let objects = render(&["--set", "admission.mutate=false"]);
    compare(
        find(&objects, "ClusterRole", "probity"),
        &expected(&[OPERATOR, cluster]),
    );
    compare(
        find(&objects, "Role", "probity"),
        &expected(&[OWN_NAMESPACE, own]),
    );
    let objects = render(&[]);
    let mutating: &[(&str, &str, &[&str])] = &[(
        "admissionregistration.k8s.io",
        "mutatingwebhookconfigurations[probity]",
        &["patch"],
    )];
    compare(
        find(&objects, "ClusterRole", "probity"),
        &expected(&[OPERATOR, cluster, mutating]),
    );
}

/// What the relay may do: see which models a namespace has, read the pull secret that one of them names, and ask whose token
/// it was shown.
const RELAY: &[(&str, &str, &[&str])] = &[
    ("probity.dev", "modeldeployments", &["list"]),
    ("", "secrets", &["get"]),
    ("authentication.k8s.io", "tokenreviews", &["create"]),
];

#[test]
fn the_relay_may_read_what_it_serves_by_and_the_operator_makes_its_key() {
    let objects = render(&["--set", "relay.enabled=true,admission.enabled=false"]);
    compare(
        find(&objects, "ClusterRole", "probity-relay"),
        &expected(&[RELAY]),
    );
    let binding = find(&objects, "ClusterRoleBinding", "probity-relay");
    assert_eq!(
        binding["subjects"],
        json!([{"kind": "ServiceAccount", "name": "probity-relay", "namespace": NAMESPACE}])
    );
    let key: &[(&str, &str, &[&str])] = &[
        ("", "secrets", &["create"]),
        ("", "secrets[probity-relay]", &["get"]),
    ];
    compare(
        find(&objects, "Role", "probity"),
        &expected(&[OWN_NAMESPACE, key]),
    );
    compare(find(&objects, "ClusterRole", "probity"), &expected(&[OPERATOR]));
}

/// Whoever brings the certificate along keeps it.
#[test]
fn a_certificate_of_somebody_elses_is_only_read() {
    for file in ["cert-manager", "own-certificate"] {
        let file = format!("{}/ci/{file}.yaml", crate::helm::CHART);
        let objects = render(&["--values", &file, "--set", "certificates.secretName=theirs"]);
        let read: &[(&str, &str, &[&str])] = &[("", "secrets[theirs]", &["get"])];
        compare(find(&objects, "ClusterRole", "probity"), &expected(&[OPERATOR]));
        compare(
            find(&objects, "Role", "probity"),
            &expected(&[OWN_NAMESPACE, read]),
        );
    }
}

#[test]
fn the_permissions_go_to_the_operator_alone() {
    let objects = render(&["--set", "admission.enabled=true"]);
    let mut bindings = 0;
    for binding in &objects {
        if binding["kind"].as_str().unwrap().ends_with("RoleBinding") {
            bindings += 1;
            assert_eq!(
                binding["subjects"],
                json!([{"kind": "ServiceAccount", "name": "probity", "namespace": NAMESPACE}])
            );
            assert_eq!(binding["roleRef"]["name"], "probity");
        }
    }
    assert_eq!(bindings, 2, "one for the cluster, one for its own namespace");
    let pod = &find(&objects, "Deployment", "probity")["spec"]["template"]["spec"];
    assert_eq!(pod["serviceAccountName"], "probity");
}

/// Who is called out gets one of these by a binding of somebody's; nobody has them by a role that is given for daily work.
#[test]
fn breaking_the_glass_and_ungoverning_are_given_to_nobody() {
    let objects = render(&[]);
    let only = |group: &str, resource: &str, verb: &str| {
        Permissions::from([(group.to_owned(), resource.to_owned(), verb.to_owned())])
    };
    for (name, expected) in [
        (
            "probity-breakglass",
            only("probity.dev", "modeldeployments", "breakglass"),
        ),
        ("probity-ungovern", only("", "namespaces", "ungovern")),
        ("probity-waiver", {
            let mut all = only("probity.dev", "deploymentpolicies", "waive");
            all.extend(only("probity.dev", "waivers", "create"));
            all.extend(only("probity.dev", "waivers", "delete"));
            all
        }),
    ] {
        let role = find(&objects, "ClusterRole", name);
        assert_eq!(permissions(role), expected, "{name}");
        let labels = role["metadata"]["labels"].as_object().unwrap();
        assert!(
            !labels.keys().any(|label| label.contains("aggregate-to")),
            "{name} is added to another role"
        );
        let others = objects
            .iter()
            .filter(|object| object["kind"] == "ClusterRole" && object["metadata"]["name"] != name);
        for other in others {
            assert!(
                permissions(other).is_disjoint(&expected),
                "{} has what {name} gives",
                other["metadata"]["name"]
            );
        }
    }
}

#[test]
fn whoever_measures_makes_jobs_in_one_namespace_and_nothing_else() {
    let objects = render(&["--set", "evaluation.enabled=true,evaluation.namespace=measured"]);
    let role = find(&objects, "Role", "probity-evaluation");
    assert_eq!(role["metadata"]["namespace"], "measured");
    compare(role, &expected(&[&[("batch", "jobs", &["list", "create"])]]));
    let bound = find(&objects, "RoleBinding", "probity-evaluation");
    assert_eq!(bound["metadata"]["namespace"], "measured");
    assert_eq!(
        bound["subjects"],
        json!([{"kind": "ServiceAccount", "name": "probity", "namespace": NAMESPACE}])
    );
    let space = find(&objects, "Namespace", "measured");
    assert_eq!(
        space["metadata"]["labels"]["pod-security.kubernetes.io/enforce"],
        "restricted"
    );
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

    let deployer = find(&objects, "ClusterRole", "probity-deployer");
    assert_eq!(added_to(deployer), ["admin", "edit"]);
    for (group, resource, verb) in permissions(deployer) {
        assert_eq!(group, "probity.dev");
        // A verdict or a status somebody could write would be worth more than a signature.
        assert!(
            ["modeldeployments", "modeldeployments/scale"].contains(&resource.as_str())
                // Whoever could change a run could change what it shows.
                || (resource == "evaluations" && ["create", "delete", "deletecollection"].contains(&verb.as_str())),
            "the deployer may {verb} {resource}"
        );
    }

    // What a namespace's own policy says can only deny more, and yet it is not for those whom it denies.
    let admin = find(&objects, "ClusterRole", "probity-owner");
    assert_eq!(added_to(admin), ["admin"]);
    for (group, resource, verb) in permissions(admin) {
        assert_eq!(group, "probity.dev");
        assert!(
            ["deploymentpolicies", "robustnesspolicies"].contains(&resource.as_str()),
            "the admin of a namespace may {verb} {resource}"
        );
    }
}

/// The cluster's own roles that this one is added to.
fn added_to(role: &Value) -> Vec<&str> {
    let labels = role["metadata"]["labels"].as_object().unwrap();
    let start = "rbac.authorization.k8s.io/aggregate-to-";
    labels
        .keys()
        .filter_map(|label| label.strip_prefix(start))
        .collect()
}

/// The kinds of ours, as the chart defines them.
fn kinds(objects: &[Value]) -> BTreeSet<String> {
    let definitions = objects
        .iter()
        .filter(|object| object["kind"] == "CustomResourceDefinition");
    definitions
        .map(|one| one["spec"]["names"]["plural"].as_str().unwrap().to_owned())
        .collect()
}

/// The kinds of ours that a role may do this to.
fn ours(role: &Value, verb: &str) -> BTreeSet<String> {
    let all = permissions(role).into_iter();
    all.filter(|(group, _, its)| group == "probity.dev" && its == verb)
        .map(|(_, resource, _)| resource)
        .collect()
}

#[test]
fn an_auditor_reads_everything_of_ours_and_writes_nothing() {
    let objects = render(&[]);
    let (auditor, viewer) = (
        find(&objects, "ClusterRole", "probity-auditor"),
        find(&objects, "ClusterRole", "probity-viewer"),
    );
    assert_eq!(added_to(auditor), [""; 0]);
    assert_eq!(added_to(viewer), ["admin", "edit", "view"]);
    for verb in ["get", "list", "watch"] {
        assert_eq!(ours(auditor, verb), kinds(&objects), "{verb}");
        assert_eq!(ours(viewer, verb), kinds(&objects), "{verb}");
    }
    for (group, resource, verb) in permissions(auditor) {
        assert!(
            ["get", "list", "watch"].contains(&verb.as_str()),
            "the auditor may {verb} {resource}"
        );
        assert_ne!((group.as_str(), resource.as_str()), ("", "secrets"));
    }
}

#[test]
fn who_writes_the_platforms_policies_writes_nothing_that_they_judge() {
    let objects = render(&[]);
    let admin = find(&objects, "ClusterRole", "probity-policies");
    assert_eq!(added_to(admin), [""; 0], "it is the platform's");
    for verb in ["create", "update", "patch", "delete", "deletecollection"] {
        let written = ours(admin, verb);
        let written: Vec<&str> = written.iter().map(String::as_str).collect();
        assert_eq!(
            written,
            [
                "clusterdeploymentpolicies",
                "deploymentpolicies",
                "robustnesspolicies",
                "trustroots"
            ],
            "{verb}"
        );
    }
    let beyond: Vec<_> = permissions(admin)
        .into_iter()
        .filter(|(group, _, _)| group != "probity.dev")
        .collect();
    assert_eq!(beyond, []);
}
