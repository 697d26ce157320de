//! The label that makes a namespace governed: who may take it away, and where it may never be.
//! Each way of changing a namespace is tried, for a label is changed by all of them.

use serde_json::{Value, json};

use crate::cluster::{
    ADMIN, Answer, JANE, KUBELET, NAMESPACES, alone, apply, create, edit, eventually, free, get, governed,
    merge, none_wrong, not_refused, refused, replace, with,
};

const LABEL: &str = "/metadata/labels/probity.dev~1governed";

/// Every way to have the label removed or changed.
async fn ungovern(user: &str, namespace: &str) -> Vec<(&'static str, Answer)> {
    let url = format!("/api/v1/namespaces/{namespace}");
    let (dry, status, finalize) = (
        format!("{url}?dryRun=All"),
        format!("{url}/status?dryRun=All"),
        format!("{url}/finalize?dryRun=All"),
    );
    let stored = get(&url).await;
    let without = with(stored.clone(), LABEL, Value::Null);
    let no_labels = with(stored.clone(), "/metadata/labels", Value::Null);
    let labels = |value: Value| json!({"metadata": {"labels": {"probity.dev/governed": value}}});
    let applied = json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": namespace, "labels": {"probity.dev/governed": "false"}}});
    vec![
        ("label removed", merge(user, &dry, &labels(Value::Null)).await),
        ("label false", merge(user, &dry, &labels(json!("false"))).await),
        ("label True", merge(user, &dry, &labels(json!("True"))).await),
        ("label empty", merge(user, &dry, &labels(json!(""))).await),
        (
            "all labels removed",
            merge(user, &dry, &json!({"metadata": {"labels": null}})).await,
        ),
        (
            "JSON patch",
            edit(user, &dry, &json!([{"op": "remove", "path": LABEL}])).await,
        ),
        ("replaced without", replace(user, &dry, &without).await),
        ("replaced without labels", replace(user, &dry, &no_labels).await),
        ("status patched", merge(user, &status, &labels(Value::Null)).await),
        ("status replaced", replace(user, &status, &without).await),
        ("finalize", replace(user, &finalize, &without).await),
        ("applied", apply(user, &url, &applied).await),
    ]
}

#[tokio::test]
async fn the_label_is_not_taken_away_by_whoever_may_edit_namespaces() {
    let namespace = governed().await;
    let mut wrong = Vec::new();
    for user in [JANE, KUBELET, NAMESPACES] {
        for (way, answer) in ungovern(user, &namespace).await {
            let says = [
                "metadata.labels[probity.dev/governed]",
                &namespace,
                "needs the verb ungovern on namespaces",
                "probity-ungovern",
            ];
            wrong.extend(
                not_refused(&answer, "namespaces", &says).map(|text| format!("{user}, {way}: {text}")),
            );
        }
    }
    none_wrong(&wrong);
    let stored = get(&format!("/api/v1/namespaces/{namespace}")).await;
    assert_eq!(stored["metadata"]["labels"]["probity.dev/governed"], "true");
}

#[tokio::test]
async fn the_right_to_ungovern_can_be_for_one_namespace() {
    let (here, elsewhere) = (governed().await, governed().await);
    let rbac = "rbac.authorization.k8s.io";
    let (role, user) = (format!("ungovern-{here}"), format!("john-of-{here}"));
    let rules = json!([
        {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["ungovern"], "resourceNames": [here]},
        {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get", "patch"]},
    ]);
    let objects = [
        (
            "clusterroles",
            json!({"apiVersion": format!("{rbac}/v1"), "kind": "ClusterRole", "metadata": {"name": role},
            "rules": rules}),
        ),
        (
            "clusterrolebindings",
            json!({"apiVersion": format!("{rbac}/v1"), "kind": "ClusterRoleBinding",
            "metadata": {"name": role}, "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": rbac, "kind": "User", "name": user}]}),
        ),
    ];
    for (plural, object) in objects {
        create(ADMIN, &format!("/apis/{rbac}/v1/{plural}"), &object)
            .await
            .unwrap();
    }
    let label = json!({"metadata": {"labels": {"probity.dev/governed": null}}});
    let url = |namespace: &str| format!("/api/v1/namespaces/{namespace}");
    eventually("he may", async || {
        alone(&user, "PATCH", &url(&here), &label).await.err()
    })
    .await;
    let stored = get(&url(&here)).await;
    assert_eq!(stored["metadata"]["labels"]["probity.dev/governed"], Value::Null);
    refused(
        &alone(&user, "PATCH", &url(&elsewhere), &label).await,
        "namespaces",
        &["ungovern"],
    );
}

#[tokio::test]
async fn an_administrator_may() {
    let namespace = governed().await;
    let label = json!({"metadata": {"labels": {"probity.dev/governed": null}}});
    merge(
        ADMIN,
        &format!("/api/v1/namespaces/{namespace}?dryRun=All"),
        &label,
    )
    .await
    .unwrap();
}

#[tokio::test]
async fn everything_else_about_a_namespace_goes_on() {
    let (namespace, free) = (governed().await, free().await);
    let url = format!("/api/v1/namespaces/{namespace}");
    merge(
        JANE,
        &url,
        &json!({"metadata": {"labels": {"team": "fraud"}, "annotations": {"a": "b"}}}),
    )
    .await
    .unwrap();
    let stored = get(&url).await;
    replace(NAMESPACES, &format!("{url}/finalize?dryRun=All"), &stored)
        .await
        .unwrap();
    merge(
        NAMESPACES,
        &format!("{url}/status?dryRun=All"),
        &json!({"status": {"phase": "Active"}}),
    )
    .await
    .unwrap();
    // Who edits a namespace may put it under the rules.
    let label = json!({"metadata": {"labels": {"probity.dev/governed": "true"}}});
    merge(JANE, &format!("/api/v1/namespaces/{free}"), &label)
        .await
        .unwrap();
    let new = json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "new", "labels": {"probity.dev/governed": "true"}}});
    // A name that is made up on the way is one that can be looked at, too.
    let unnamed = json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"generateName": "new-", "labels": {"probity.dev/governed": "true"}}});
    create(JANE, "/api/v1/namespaces?dryRun=All", &unnamed)
        .await
        .unwrap();
    create(JANE, "/api/v1/namespaces?dryRun=All", &new).await.unwrap();
}

#[tokio::test]
async fn the_clusters_own_namespaces_and_probitys_are_never_governed() {
    // So that the guards are there.
    governed().await;
    let label = json!({"metadata": {"labels": {"probity.dev/governed": "true"}}});
    let mut wrong = Vec::new();
    for name in ["kube-system", "kube-public", "kube-node-lease", "probity-system"] {
        let new = json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "labels": {"probity.dev/governed": "true"}}});
        let url = format!("/api/v1/namespaces/{name}");
        for user in [JANE, ADMIN] {
            let answers = [
                (
                    "create",
                    create(user, "/api/v1/namespaces?dryRun=All", &new).await,
                ),
                ("patch", merge(user, &format!("{url}?dryRun=All"), &label).await),
                (
                    "status",
                    merge(user, &format!("{url}/status?dryRun=All"), &label).await,
                ),
                ("apply", apply(user, &url, &new).await),
            ];
            for (way, answer) in answers {
                let says = [
                    "metadata.labels[probity.dev/governed]",
                    name,
                    "can never be governed",
                    "leave the label out",
                ];
                wrong.extend(
                    not_refused(&answer, "namespaces", &says)
                        .map(|text| format!("{user} {way} {name}: {text}")),
                );
            }
        }
    }
    none_wrong(&wrong);
}
