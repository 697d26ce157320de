//! Pods of governed namespaces: the one that the operator plans is let in, every other that looks like it is not, and
//! none becomes something else afterwards. The pod comes from the snapshot of the operator's plan.

use serde_json::{Value, json};

use crate::cluster::{
    ADMIN, Answer, COLLECTOR, DEPLOYMENTS, JANE, KUBELET, OPERATOR, REPLICASETS, apply, create, edit,
    eventually, free, governed, merge, model_pod, none_wrong, not_refused, other_pod, refused, replace, with,
};

const MADE_BY: &[&str] = &[
    "are kept for models, whose pods only the ReplicaSet controller makes",
    "describe a ModelDeployment",
];
const MARKS: &[&str] = &[
    "metadata.labels, metadata.annotations",
    "stay as they are",
    "delete the pod",
];

fn pods(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/pods")
}

async fn try_create(user: &str, namespace: &str, pod: &Value) -> Answer {
    create(user, &format!("{}?dryRun=All", pods(namespace)), pod).await
}

/// A model's pod that is there, by its path.
async fn running(namespace: &str, name: &str) -> String {
    create(REPLICASETS, &pods(namespace), &model_pod(namespace, name))
        .await
        .unwrap();
    format!("{}/{name}", pods(namespace))
}

#[tokio::test]
async fn the_pod_that_the_operator_plans_is_let_in_and_lives() {
    let namespace = governed().await;
    let url = running(&namespace, "digits-1").await;
    let patch = async |user, url: &str, body: Value| {
        merge(user, url, &body)
            .await
            .unwrap_or_else(|error| panic!("{user} {url}: {error}"));
    };
    let mut unnamed = model_pod(&namespace, "x");
    unnamed["metadata"]["generateName"] = json!("digits-6d4c5b7f89-");
    let unnamed = with(unnamed, "/metadata/name", Value::Null);
    try_create(REPLICASETS, &namespace, &unnamed).await.unwrap();
    let bind = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "digits-1"},
        "target": {"kind": "Node", "name": "node-1"}});
    create("system:kube-scheduler", &format!("{url}/binding"), &bind)
        .await
        .unwrap();
    patch(
        KUBELET,
        &format!("{url}/status"),
        json!({"status": {"phase": "Running", "podIP": "10.0.0.1"}}),
    )
    .await;
    patch(
        JANE,
        &url,
        json!({"metadata": {"labels": {"team": "fraud"}, "annotations": {"example.com/x": "y"}}}),
    )
    .await;
    patch(REPLICASETS, &url, json!({"metadata": {"ownerReferences": null}})).await;
    let owners = &model_pod(&namespace, "digits-1")["metadata"]["ownerReferences"];
    patch(
        REPLICASETS,
        &url,
        json!({"metadata": {"ownerReferences": owners}}),
    )
    .await;
    patch(
        COLLECTOR,
        &format!("{url}?dryRun=All"),
        json!({"metadata": {"ownerReferences": null}}),
    )
    .await;
    crate::cluster::delete(JANE, &format!("{url}?gracePeriodSeconds=0"))
        .await
        .unwrap();
}

#[tokio::test]
async fn what_has_nothing_to_do_with_models_is_not_judged_here() {
    let (here, elsewhere) = (governed().await, free().await);
    let url = format!("{}/shop", pods(&here));
    create(JANE, &pods(&here), &other_pod("shop")).await.unwrap();
    merge(JANE, &url, &json!({"metadata": {"labels": {"app": "other"}}}))
        .await
        .unwrap();
    merge(JANE, &url, &json!({"metadata": {"ownerReferences": null}}))
        .await
        .unwrap();
    let debug = json!({"spec": {"ephemeralContainers": [{"name": "debug", "image": "busybox"}]}});
    merge(JANE, &format!("{url}/ephemeralcontainers"), &debug)
        .await
        .unwrap();
    // Where nothing is governed a model's pod is anybody's to write.
    try_create(JANE, &elsewhere, &model_pod(&elsewhere, "digits-1"))
        .await
        .unwrap();
}

/// To the last field what the `ReplicaSet` controller would make: who asks is what counts.
#[tokio::test]
async fn a_forged_owner_reference_does_not_make_a_models_pod() {
    let namespace = governed().await;
    for user in [
        JANE,
        ADMIN,
        OPERATOR,
        DEPLOYMENTS,
        KUBELET,
        "system:serviceaccount:other:replicaset-controller",
    ] {
        refused(
            &try_create(user, &namespace, &model_pod(&namespace, "digits-1")).await,
            "pods",
            MADE_BY,
        );
    }
    let pod = model_pod(&namespace, "digits-1");
    let says = &["a ReplicaSet as the controller among its ownerReferences"];
    let owner = "/metadata/ownerReferences/0";
    for forged in [
        with(pod.clone(), "/metadata/ownerReferences", Value::Null),
        with(pod.clone(), &format!("{owner}/controller"), Value::Null),
        with(pod.clone(), &format!("{owner}/kind"), json!("Deployment")),
        with(
            pod.clone(),
            &format!("{owner}/apiVersion"),
            json!("example.com/v1"),
        ),
        with(pod, "/metadata/labels/probity.dev~1model", Value::Null),
    ] {
        refused(&try_create(REPLICASETS, &namespace, &forged).await, "pods", says);
    }
}

/// One sign is enough to be judged, and whoever made it: a name that is taken beforehand switches nothing off.
#[tokio::test]
async fn a_container_volume_label_or_annotation_that_is_made_beforehand_is_refused() {
    let namespace = governed().await;
    let fetch = json!([{"name": "probity-fetch", "image": "registry.example/true:1"}]);
    let signs: &[(&str, &str, Value)] = &[
        (
            "label",
            "/metadata/labels",
            json!({"probity.dev/model": "digits"}),
        ),
        ("another label", "/metadata/labels", json!({"probity.dev/x": ""})),
        (
            "annotation",
            "/metadata/annotations",
            json!({"probity.dev/x": ""}),
        ),
        ("init container", "/spec/initContainers", fetch),
        ("container", "/spec/containers/0/name", json!("probity-guard")),
        (
            "volume",
            "/spec/volumes",
            json!([{"name": "probity-model", "emptyDir": {}}]),
        ),
        (
            "another volume",
            "/spec/volumes",
            json!([{"name": "probity-x", "emptyDir": {}}]),
        ),
    ];
    let mut wrong = Vec::new();
    for (what, pointer, value) in signs {
        let pod = with(other_pod("shop"), pointer, value.clone());
        for user in [JANE, ADMIN, "system:serviceaccount:kube-system:job-controller"] {
            let answer = try_create(user, &namespace, &pod).await;
            wrong.extend(not_refused(&answer, "pods", MADE_BY).map(|text| format!("{what} {user}: {text}")));
        }
        let applied = apply(
            JANE,
            &format!("{}/shop", pods(&namespace)),
            &with(
                with(pod.clone(), "/apiVersion", json!("v1")),
                "/kind",
                json!("Pod"),
            ),
        )
        .await;
        wrong.extend(not_refused(&applied, "pods", MADE_BY).map(|text| format!("{what} applied: {text}")));
        // Nor does it get in by the ReplicaSet controller, from a ReplicaSet older than the label of the namespace.
        let answer = try_create(REPLICASETS, &namespace, &pod).await;
        wrong.extend(not_refused(&answer, "pods", &[]).map(|text| format!("{what} by a ReplicaSet: {text}")));
    }
    none_wrong(&wrong);
}

/// One change of the planned pod, and what the refusal must say.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    pub what: String,
    pub set: String,
    #[serde(default)]
    pub to: Value,
    pub says: String,
}

#[tokio::test]
async fn a_models_pod_of_another_shape_is_refused() {
    let namespace = governed().await;
    let shapes: Vec<Shape> = serde_saphyr::from_str(include_str!("shapes.yaml")).unwrap();
    assert!(shapes.len() > 25, "the table is gone");
    let mut wrong = Vec::new();
    for Shape { what, set, to, says } in shapes {
        let pod = with(model_pod(&namespace, "digits-1"), &set, to);
        let answer = try_create(REPLICASETS, &namespace, &pod).await;
        wrong.extend(not_refused(&answer, "pods", &[&says]).map(|text| format!("{what}: {text}")));
    }
    // The right container, and another one before it.
    let mut second = model_pod(&namespace, "digits-1");
    let first = json!({"name": "first", "image": "registry.example/x:1"});
    second["spec"]["initContainers"]
        .as_array_mut()
        .unwrap()
        .insert(0, first);
    let answer = try_create(REPLICASETS, &namespace, &second).await;
    let says = &["begins with the container probity-fetch"];
    wrong.extend(not_refused(&answer, "pods", says).map(|text| format!("second: {text}")));
    let devices = with(
        model_pod(&namespace, "digits-1"),
        "/spec/volumes/-",
        json!({"name": "x", "persistentVolumeClaim": {"claimName": "x"}}),
    );
    let devices = with(
        devices,
        "/spec/containers/0/volumeDevices",
        json!([{"name": "x", "devicePath": "/dev/x"}]),
    );
    let answer = try_create(REPLICASETS, &namespace, &devices).await;
    wrong.extend(
        not_refused(&answer, "pods", &["a model's pod has no devices"])
            .map(|text| format!("devices: {text}")),
    );
    none_wrong(&wrong);
}

#[tokio::test]
async fn labels_and_annotations_of_ours_neither_go_nor_come() {
    let namespace = governed().await;
    let model = running(&namespace, "digits-1").await;
    create(JANE, &pods(&namespace), &other_pod("shop")).await.unwrap();
    let shop = format!("{}/shop", pods(&namespace));
    let label = |value: Value| json!({"metadata": {"labels": {"probity.dev/model": value}}});
    let annotation = json!({"metadata": {"annotations": {"probity.dev/x": "y"}}});
    let rows = [
        ("removed", &model, label(Value::Null)),
        ("changed", &model, label(json!("other"))),
        ("emptied", &model, label(json!(""))),
        (
            "all labels removed",
            &model,
            json!({"metadata": {"labels": null}}),
        ),
        (
            "another label",
            &model,
            json!({"metadata": {"labels": {"probity.dev/x": "y"}}}),
        ),
        ("annotation", &model, annotation.clone()),
        ("forged label", &shop, label(json!("digits"))),
        ("forged empty label", &shop, label(json!(""))),
        ("forged annotation", &shop, annotation),
    ];
    let mut wrong = Vec::new();
    for (what, url, patch) in rows {
        for user in [JANE, ADMIN, KUBELET, REPLICASETS, OPERATOR] {
            for door in ["", "/status"] {
                let answer = merge(user, &format!("{url}{door}?dryRun=All"), &patch).await;
                wrong.extend(
                    not_refused(&answer, "pods", MARKS).map(|text| format!("{what} {door} {user}: {text}")),
                );
            }
        }
    }
    let remove = json!([{"op": "remove", "path": "/metadata/labels/probity.dev~1model"}]);
    refused(
        &edit(JANE, &format!("{model}?dryRun=All"), &remove).await,
        "pods",
        MARKS,
    );
    let stored = with(
        crate::cluster::get(&model).await,
        "/metadata/labels/probity.dev~1model",
        Value::Null,
    );
    refused(
        &replace(JANE, &format!("{model}?dryRun=All"), &stored).await,
        "pods",
        MARKS,
    );
    none_wrong(&wrong);
}

/// These two change one thing of a pod each, and what else is in the request is dropped or refused.
#[tokio::test]
async fn the_other_doors_of_a_pod_lead_nowhere_else() {
    let namespace = governed().await;
    let model = running(&namespace, "digits-1").await;
    let evil = json!([{"name": "server", "image": "registry.example/evil:1"}]);
    for door in ["resize", "ephemeralcontainers"] {
        for patch in [
            json!({"metadata": {"labels": {"probity.dev/model": null}}}),
            json!({"metadata": {"annotations": {"probity.dev/x": "y"}}}),
            json!({"metadata": {"ownerReferences": null}}),
            json!({"spec": {"containers": evil}}),
        ] {
            let _ = merge(JANE, &format!("{model}/{door}"), &patch).await;
        }
    }
    let (stored, planned) = (
        crate::cluster::get(&model).await,
        model_pod(&namespace, "digits-1"),
    );
    for part in [
        "/metadata/labels",
        "/metadata/annotations",
        "/metadata/ownerReferences",
        "/spec/containers/0/image",
    ] {
        assert_eq!(stored.pointer(part), planned.pointer(part), "{part}");
    }
}

/// The scheduler's way of saying where a pod runs also says what its labels and annotations are.
#[tokio::test]
async fn a_binding_brings_no_labels_and_annotations_of_ours() {
    let namespace = governed().await;
    create(JANE, &pods(&namespace), &other_pod("shop")).await.unwrap();
    let binding = |metadata: Value| json!({"apiVersion": "v1", "kind": "Binding", "metadata": metadata, "target": {"kind": "Node", "name": "node-1"}});
    let doors = [
        format!("{}/shop/binding?dryRun=All", pods(&namespace)),
        format!("/api/v1/namespaces/{namespace}/bindings?dryRun=All"),
    ];
    for door in &doors {
        for metadata in [
            json!({"name": "shop", "annotations": {"probity.dev/x": "y"}}),
            json!({"name": "shop", "labels": {"probity.dev/model": "digits"}}),
        ] {
            let answer = create("system:kube-scheduler", door, &binding(metadata)).await;
            refused(
                &answer,
                "bindings",
                &["binding a pod copies them into it", "leave them out"],
            );
        }
        create("system:kube-scheduler", door, &binding(json!({"name": "shop"})))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_models_pod_is_not_let_go_by_its_replica_set() {
    let namespace = governed().await;
    let url = format!("{}?dryRun=All", running(&namespace, "digits-1").await);
    let says = &["metadata.ownerReferences: a model's pod stays with its ReplicaSet"];
    let other =
        json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "x", "controller": true, "uid": "x"}]);
    for owners in [Value::Null, other] {
        for user in [JANE, ADMIN] {
            refused(
                &merge(user, &url, &json!({"metadata": {"ownerReferences": owners}})).await,
                "pods",
                says,
            );
        }
    }
}

#[tokio::test]
async fn images_of_running_pods_are_not_exchanged() {
    let namespace = governed().await;
    let model = running(&namespace, "digits-1").await;
    let shop = with(
        other_pod("shop"),
        "/spec/initContainers",
        json!([{"name": "init", "image": "registry.example/init:1"}]),
    );
    create(JANE, &pods(&namespace), &shop).await.unwrap();
    let shop = format!("{}/shop", pods(&namespace));
    let says = &[
        "the image of a running pod cannot be exchanged",
        "change what made the pod",
    ];
    let rows = [
        (&model, "/spec/containers/0/image"),
        (&model, "/spec/initContainers/0/image"),
        (&shop, "/spec/containers/0/image"),
        (&shop, "/spec/initContainers/0/image"),
    ];
    for (url, pointer) in rows {
        for user in [JANE, ADMIN, REPLICASETS] {
            let patch = json!([{"op": "replace", "path": pointer, "value": "registry.example/evil:1"}]);
            refused(
                &edit(user, &format!("{url}?dryRun=All"), &patch).await,
                "pods",
                says,
            );
        }
    }
    // What else may be changed of a running pod still may.
    merge(JANE, &shop, &json!({"spec": {"activeDeadlineSeconds": 100}}))
        .await
        .unwrap();
}

#[tokio::test]
async fn an_ephemeral_container_in_a_models_pod_takes_breaking_the_glass() {
    let namespace = governed().await;
    let url = format!("{}/ephemeralcontainers", running(&namespace, "digits-1").await);
    let container = |more: Value| {
        let mut container = json!({"name": "debug", "image": "busybox"});
        container
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        json!({"spec": {"ephemeralContainers": [container]}})
    };
    let dry = format!("{url}?dryRun=All");
    let says = &[
        "spec.ephemeralContainers",
        "needs the verb breakglass",
        "bind the ClusterRole probity-breakglass",
    ];
    for user in [JANE, KUBELET, REPLICASETS, OPERATOR] {
        refused(&merge(user, &dry, &container(json!({}))).await, "pods", says);
    }
    let user = format!("john-of-{namespace}");
    let rbac = "rbac.authorization.k8s.io";
    for (kind, role) in [("ClusterRole", "probity-breakglass"), ("ClusterRole", "team")] {
        let binding = json!({"apiVersion": format!("{rbac}/v1"), "kind": "RoleBinding", "metadata": {"name": role},
            "roleRef": {"apiGroup": rbac, "kind": kind, "name": role},
            "subjects": [{"apiGroup": rbac, "kind": "User", "name": user}]});
        create(
            ADMIN,
            &format!("/apis/{rbac}/v1/namespaces/{namespace}/rolebindings"),
            &binding,
        )
        .await
        .unwrap();
    }
    let john = async |more: Value| crate::cluster::alone(&user, "PATCH", &dry, &container(more)).await;
    eventually("who may break the glass may debug", async || {
        john(json!({})).await.err()
    })
    .await;

    // Even then what was verified stays as it is, and nobody takes our names.
    let mount = |mount: Value| json!({"volumeMounts": [mount]});
    let model = json!({"name": "probity-model", "mountPath": "/x"});
    refused(
        &john(mount(model.clone())).await,
        "pods",
        &["set readOnly to true"],
    );
    john(mount(with(model, "/readOnly", json!(true)))).await.unwrap();
    let secret = json!({"name": "probity-credentials", "mountPath": "/x"});
    refused(
        &john(mount(secret)).await,
        "pods",
        &["is for probity-fetch alone"],
    );
    refused(
        &john(json!({"name": "probity-debug"})).await,
        "pods",
        &["spec.ephemeralContainers[].name"],
    );

    // One that is there does not stand in the way of the kubelet.
    crate::cluster::alone(&user, "PATCH", &url, &container(json!({})))
        .await
        .unwrap();
    let status = url.replace("ephemeralcontainers", "status");
    merge(KUBELET, &status, &json!({"status": {"phase": "Running"}}))
        .await
        .unwrap();

    create(JANE, &pods(&namespace), &other_pod("shop")).await.unwrap();
    let shop = format!("{}/shop/ephemeralcontainers", pods(&namespace));
    let named = container(json!({"name": "probity-debug"}));
    refused(
        &merge(JANE, &shop, &named).await,
        "pods",
        &["spec.ephemeralContainers[].name", "choose another"],
    );
}

/// The kubelet must be able to say that a pod has ended, also one that was there before the namespace was governed.
#[tokio::test]
async fn a_pod_older_than_the_guards_can_still_end() {
    let namespace = free().await;
    let old = with(
        other_pod("old"),
        "/metadata/labels/probity.dev~1model",
        json!("digits"),
    );
    let old = with(
        old,
        "/spec/volumes",
        json!([{"name": "probity-x", "emptyDir": {}}]),
    );
    let url = format!("{}/old", pods(&namespace));
    create(JANE, &pods(&namespace), &old).await.unwrap();
    merge(
        JANE,
        &format!("/api/v1/namespaces/{namespace}"),
        &json!({"metadata": {"labels": {"probity.dev/governed": "true"}}}),
    )
    .await
    .unwrap();
    eventually("the guards know that the namespace is governed", async || {
        let new = with(old.clone(), "/metadata/name", json!("new"));
        let answer = try_create(JANE, &namespace, &new).await;
        answer.is_ok().then(|| "a forged pod is let in".to_owned())
    })
    .await;
    merge(
        KUBELET,
        &format!("{url}/status"),
        &json!({"status": {"phase": "Failed"}}),
    )
    .await
    .unwrap();
    refused(
        &merge(
            JANE,
            &url,
            &json!({"metadata": {"labels": {"probity.dev/model": null}}}),
        )
        .await,
        "pods",
        MARKS,
    );
    crate::cluster::delete(KUBELET, &format!("{url}?gracePeriodSeconds=0"))
        .await
        .unwrap();
}

/// An expression that costs too much denies, so the largest pods there are must cost less.
#[tokio::test]
async fn a_pod_of_very_many_parts_is_judged_within_the_budget() {
    let namespace = governed().await;
    let names: Vec<String> = (0..60).map(|number| format!("part-{number}")).collect();
    let volumes: Vec<Value> = names
        .iter()
        .map(|name| json!({"name": name, "emptyDir": {}}))
        .collect();
    let mounts: Vec<Value> = names
        .iter()
        .map(|name| json!({"name": name, "mountPath": format!("/{name}")}))
        .collect();
    let containers = names
        .iter()
        .map(|name| json!({"name": name, "image": "registry.example/x:1", "volumeMounts": mounts}));
    let labels: serde_json::Map<String, Value> = (0..500)
        .map(|n| (format!("example.com/{n}"), json!("x")))
        .collect();
    let grow = |mut pod: Value| {
        pod["metadata"]["annotations"] = Value::Object(labels.clone());
        let parts = pod["spec"]["containers"].as_array_mut().unwrap();
        parts.extend(containers.clone());
        match &mut pod["spec"]["volumes"] {
            Value::Array(there) => there.extend(volumes.clone()),
            other => *other = json!(volumes),
        }
        pod
    };
    let (shop, model) = (grow(other_pod("shop")), grow(model_pod(&namespace, "digits-1")));
    for (user, pod, name) in [(JANE, &shop, "shop"), (REPLICASETS, &model, "digits-1")] {
        create(user, &pods(&namespace), pod).await.unwrap();
        let note = json!({"metadata": {"labels": {"team": "fraud"}}});
        merge(JANE, &format!("{}/{name}", pods(&namespace)), &note)
            .await
            .unwrap();
    }
}
