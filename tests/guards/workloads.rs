//! What makes a model's pods: Deployments, their sets, Services and accounts that say they are a model's.
//! The operator's own come from the snapshots of its plan.

use serde_json::{Value, json};

use crate::cluster::{
    ADMIN, Answer, COLLECTOR, DEPLOYMENTS, JANE, OPERATOR, REPLICASETS, apply, create, delete, free, get,
    governed, merge, none_wrong, not_refused, path, planned, refused, replica_set, with,
};

const KEPT: &[&str] = &[
    "are kept for what Probity makes for a model",
    "or describe a ModelDeployment",
];
const CHANGED: &[&str] = &["are changed by Probity alone", "change the ModelDeployment"];

/// As somebody who has nothing to do with models would write it.
fn foreign(kind: &str) -> Value {
    let labels = json!({"app": "shop"});
    let template = json!({"metadata": {"labels": labels},
        "spec": {"containers": [{"name": "shop", "image": "registry.example/shop:1"}]}});
    match kind {
        "Deployment" | "ReplicaSet" => {
            json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "shop"},
            "spec": {"selector": {"matchLabels": labels}, "template": template}})
        }
        "Service" => json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "shop"},
            "spec": {"selector": labels, "ports": [{"port": 80}]}}),
        "ServiceAccount" => json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "shop"}}),
        other => panic!("{other}"),
    }
}

fn placed(mut object: Value, namespace: &str) -> Value {
    object["metadata"]["namespace"] = json!(namespace);
    object
}

async fn try_create(user: &str, object: &Value) -> Answer {
    let url = path(object);
    let (collection, _) = url.rsplit_once('/').unwrap();
    create(user, &format!("{collection}?dryRun=All"), object).await
}

/// The model's objects, made by those who make them.
async fn serve(namespace: &str) {
    for kind in ["ServiceAccount", "Service", "Deployment"] {
        let object = planned(kind, namespace);
        apply(OPERATOR, &path(&object), &object).await.unwrap();
    }
    let set = replica_set(namespace);
    create(DEPLOYMENTS, path(&set).rsplit_once('/').unwrap().0, &set)
        .await
        .unwrap();
}

fn owned_by_a_model() -> Value {
    json!([{"apiVersion": "probity.dev/v1alpha1", "kind": "ModelDeployment", "name": "digits", "controller": true,
        "uid": "5a3cbb0e-0000-4000-8000-000000000001"}])
}

#[tokio::test]
async fn a_forged_label_owner_or_name_is_refused_on_whatever_makes_pods() {
    let namespace = governed().await;
    let forgeries: &[(&str, &str, Value)] = &[
        (
            "label",
            "/metadata/labels",
            json!({"probity.dev/model": "digits"}),
        ),
        (
            "another label of ours",
            "/metadata/labels",
            json!({"probity.dev/x": ""}),
        ),
        (
            "annotation",
            "/metadata/annotations",
            json!({"probity.dev/x": ""}),
        ),
        ("owner", "/metadata/ownerReferences", owned_by_a_model()),
        (
            "pods' label",
            "/spec/template/metadata/labels",
            json!({"app": "shop", "probity.dev/model": "digits"}),
        ),
        (
            "pods' annotation",
            "/spec/template/metadata/annotations",
            json!({"probity.dev/x": "y"}),
        ),
        (
            "container",
            "/spec/template/spec/containers/0/name",
            json!("probity-guard"),
        ),
        (
            "init container",
            "/spec/template/spec/initContainers",
            json!([{"name": "probity-fetch", "image": "x"}]),
        ),
        (
            "volume",
            "/spec/template/spec/volumes",
            json!([{"name": "probity-model", "emptyDir": {}}]),
        ),
    ];
    let mut wrong = Vec::new();
    for kind in ["Deployment", "ReplicaSet", "Service", "ServiceAccount"] {
        for (what, pointer, value) in forgeries {
            if pointer.starts_with("/spec/template") && kind.starts_with("Service") {
                continue;
            }
            let object = with(placed(foreign(kind), &namespace), pointer, value.clone());
            for user in [JANE, ADMIN, REPLICASETS, COLLECTOR] {
                let answer = try_create(user, &object).await;
                wrong.extend(
                    not_refused(&answer, "workloads", KEPT)
                        .map(|text| format!("{kind} {what} {user}: {text}")),
                );
            }
        }
    }
    // The Deployment controller is believed about ReplicaSets only.
    for kind in ["Deployment", "Service", "ServiceAccount"] {
        let answer = try_create(DEPLOYMENTS, &planned(kind, &namespace)).await;
        wrong.extend(not_refused(&answer, "workloads", KEPT).map(|text| format!("{kind}: {text}")));
    }
    none_wrong(&wrong);
}

/// It looks right to the last field, and somebody else made it.
#[tokio::test]
async fn a_replica_set_that_only_claims_its_deployment_is_refused() {
    let namespace = governed().await;
    let set = replica_set(&namespace);
    for user in [JANE, ADMIN, OPERATOR.strip_suffix('y').unwrap(), REPLICASETS] {
        refused(&try_create(user, &set).await, "workloads", KEPT);
    }
    try_create(DEPLOYMENTS, &set).await.unwrap();
    for without in [
        with(set.clone(), "/metadata/ownerReferences", Value::Null),
        with(
            set.clone(),
            "/metadata/ownerReferences/0/controller",
            json!(false),
        ),
        with(set, "/metadata/ownerReferences/0/kind", json!("DaemonSet")),
    ] {
        refused(&try_create(DEPLOYMENTS, &without).await, "workloads", KEPT);
    }
}

#[tokio::test]
async fn what_belongs_to_a_model_is_changed_by_nobody_else() {
    let namespace = governed().await;
    serve(&namespace).await;
    let (apps, core) = (
        format!("/apis/apps/v1/namespaces/{namespace}"),
        format!("/api/v1/namespaces/{namespace}"),
    );
    let (deployment, set) = (
        format!("{apps}/deployments/digits"),
        format!("{apps}/replicasets/digits-6d4c5b7f89"),
    );
    let (service, account) = (
        format!("{core}/services/digits"),
        format!("{core}/serviceaccounts/digits"),
    );
    let label = |value: Value| json!({"metadata": {"labels": {"probity.dev/model": value}}});
    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "server", "image": "registry.example/x"}]}}}});
    let restart = json!({"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "now"}}}}});
    let unmarked = json!({"metadata": {"labels": {"probity.dev/model": null}, "ownerReferences": null}});
    let rows = [
        ("image", &deployment, image.clone()),
        (
            "fewer replicas and another image at once",
            &deployment,
            json!({"spec": {"replicas": 0, "template": image["spec"]["template"]}}),
        ),
        (
            "another account",
            &deployment,
            json!({"spec": {"template": {"spec": {"serviceAccountName": "default"}}}}),
        ),
        ("rollout restart", &deployment, restart),
        ("replicas", &deployment, json!({"spec": {"replicas": 9}})),
        ("paused", &deployment, json!({"spec": {"paused": true}})),
        ("label removed", &deployment, label(Value::Null)),
        ("label changed", &deployment, label(json!("other"))),
        (
            "annotation of ours",
            &deployment,
            json!({"metadata": {"annotations": {"probity.dev/x": "y"}}}),
        ),
        (
            "let go",
            &deployment,
            json!({"metadata": {"ownerReferences": null}}),
        ),
        (
            "by its status",
            &format!("{deployment}/status"),
            json!({"metadata": {"annotations": {"probity.dev/x": "y"}}}),
        ),
        ("image", &set, image),
        ("replicas", &set, json!({"spec": {"replicas": 9}})),
        ("let go", &set, json!({"metadata": {"ownerReferences": null}})),
        (
            "label by its status",
            &format!("{set}/status"),
            label(Value::Null),
        ),
        (
            "selector",
            &service,
            json!({"spec": {"selector": {"probity.dev/model": null, "app": "shop"}}}),
        ),
        (
            "external name",
            &service,
            json!({"spec": {"externalIPs": ["10.0.0.1"]}}),
        ),
        ("label removed", &service, label(Value::Null)),
        (
            "label by its status",
            &format!("{service}/status"),
            label(Value::Null),
        ),
        ("token", &account, json!({"automountServiceAccountToken": true})),
        ("let go", &account, json!({"metadata": {"ownerReferences": null}})),
        ("every mark at once", &service, unmarked.clone()),
        ("every mark at once", &account, unmarked),
    ];
    let mut wrong = Vec::new();
    for (what, url, patch) in rows {
        for user in [JANE, ADMIN, REPLICASETS] {
            let answer = merge(user, &format!("{url}?dryRun=All"), &patch).await;
            wrong.extend(
                not_refused(&answer, "workloads", CHANGED).map(|text| format!("{what} {url} {user}: {text}")),
            );
        }
    }
    // The Deployment controller is believed about its sets only.
    for (url, spec) in [
        (&service, json!({"selector": {"app": "shop"}})),
        (&deployment, json!({"replicas": 9})),
    ] {
        let answer = merge(DEPLOYMENTS, &format!("{url}?dryRun=All"), &json!({"spec": spec})).await;
        wrong.extend(not_refused(&answer, "workloads", CHANGED).map(|text| format!("{url}: {text}")));
    }
    none_wrong(&wrong);
}

#[tokio::test]
async fn what_is_somebody_elses_does_not_become_a_models() {
    let namespace = governed().await;
    let mut wrong = Vec::new();
    for kind in ["Deployment", "ReplicaSet", "Service", "ServiceAccount"] {
        let object = placed(foreign(kind), &namespace);
        apply(JANE, &path(&object), &object).await.unwrap();
        let rows = [
            (
                "label",
                json!({"metadata": {"labels": {"probity.dev/model": "digits"}}}),
            ),
            (
                "owner",
                json!({"metadata": {"ownerReferences": owned_by_a_model()}}),
            ),
            (
                "pods' annotation",
                json!({"spec": {"template": {"metadata": {"annotations": {"probity.dev/x": "y"}}}}}),
            ),
        ];
        for (what, patch) in &rows[..if kind.starts_with("Service") { 2 } else { 3 }] {
            let answer = merge(JANE, &format!("{}?dryRun=All", path(&object)), patch).await;
            wrong.extend(
                not_refused(&answer, "workloads", CHANGED).map(|text| format!("{kind} {what}: {text}")),
            );
        }
    }
    none_wrong(&wrong);
}

#[tokio::test]
async fn those_whose_work_it_is_go_on() {
    let namespace = governed().await;
    serve(&namespace).await;
    let (deployment, set) = (planned("Deployment", &namespace), replica_set(&namespace));
    let patch = async |user, url: &str, body: Value| {
        let answer = merge(user, &format!("{url}?dryRun=All"), &body).await;
        answer.unwrap_or_else(|error| panic!("{user} {url} {body}: {error}"));
    };
    let (deployment, set) = (path(&deployment), path(&set));
    let (deployment_status, set_status) = (format!("{deployment}/status"), format!("{set}/status"));
    let note =
        json!({"metadata": {"annotations": {"example.com/note": "seen"}, "labels": {"team": "fraud"}}});
    let orphaned = json!({"metadata": {"ownerReferences": null}});

    patch(OPERATOR, &deployment, json!({"spec": {"replicas": 3}})).await;
    patch(
        OPERATOR,
        &deployment,
        json!({"spec": {"template": {"metadata": {"labels": {"x": "y"}}}}}),
    )
    .await;
    patch(
        DEPLOYMENTS,
        &deployment,
        json!({"metadata": {"annotations": {"deployment.kubernetes.io/revision": "2"}}}),
    )
    .await;
    patch(
        DEPLOYMENTS,
        &deployment_status,
        json!({"status": {"observedGeneration": 1}}),
    )
    .await;
    patch(DEPLOYMENTS, &set, json!({"spec": {"replicas": 0}})).await;
    patch(DEPLOYMENTS, &set, orphaned.clone()).await;
    patch(
        REPLICASETS,
        &set_status,
        json!({"status": {"replicas": 1, "observedGeneration": 1}}),
    )
    .await;
    for url in [&deployment, &set] {
        patch(COLLECTOR, url, orphaned.clone()).await;
        patch(JANE, url, note.clone()).await;
        delete(JANE, &format!("{url}?dryRun=All")).await.unwrap();
        delete(COLLECTOR, &format!("{url}?dryRun=All")).await.unwrap();
    }
    for kind in ["Service", "ServiceAccount"] {
        let url = path(&planned(kind, &namespace));
        patch(JANE, &url, note.clone()).await;
        delete(JANE, &format!("{url}?dryRun=All")).await.unwrap();
    }
    let stored = get(&deployment).await;
    assert_eq!(stored["metadata"]["labels"]["probity.dev/model"], "digits");
}

#[tokio::test]
async fn other_peoples_objects_and_other_namespaces_are_left_alone() {
    let (here, elsewhere) = (governed().await, free().await);
    for kind in ["Deployment", "ReplicaSet", "Service", "ServiceAccount"] {
        let object = placed(foreign(kind), &here);
        apply(JANE, &path(&object), &object).await.unwrap();
        let changed = match kind {
            "ServiceAccount" => json!({"automountServiceAccountToken": true}),
            "Service" => json!({"spec": {"selector": {"app": "other"}}}),
            _ => json!({"spec": {"replicas": 2}}),
        };
        merge(JANE, &path(&object), &changed).await.unwrap();
        delete(JANE, &path(&object)).await.unwrap();
    }
    for kind in ["Deployment", "Service"] {
        try_create(JANE, &planned(kind, &elsewhere)).await.unwrap();
    }
}
