//! What other people run beside models: their templates stay free of our marks, and what is said to be made by a Deployment
//! or a `CronJob` was made by its controller.

use serde_json::{Value, json};

use crate::cluster::{
    ADMIN, Answer, COLLECTOR, CRONJOBS, DAEMONSETS, DEPLOYMENTS, JANE, JOBS, OPERATOR, REPLICASETS,
    STATEFULSETS, apply, create, eventually, free, governed, merge, none_wrong, not_refused, path, refused,
    with,
};

const KEPT: &[&str] = &[
    "are kept for what Probity makes for a model",
    "take them out of the object and its template",
    "or describe a ModelDeployment",
];
const OWNER: &[&str] = &[
    "metadata.ownerReferences: only the cluster's own controllers say",
    "leave the owner out",
];
/// The kinds that the operator never makes, and who works on them.
const KINDS: [(&str, &str); 4] = [
    ("StatefulSet", STATEFULSETS),
    ("DaemonSet", DAEMONSETS),
    ("Job", JOBS),
    ("CronJob", CRONJOBS),
];

/// As somebody who has nothing to do with models would write it.
fn foreign(kind: &str, namespace: &str) -> Value {
    let labels = json!({"app": "shop"});
    let template = json!({"metadata": {"labels": labels},
        "spec": {"containers": [{"name": "shop", "image": "registry.example/shop:1"}]}});
    let selector = json!({"matchLabels": labels});
    let job = with(
        json!({"template": template}),
        "/template/spec/restartPolicy",
        json!("Never"),
    );
    let (version, spec) = match kind {
        "ReplicaSet" | "DaemonSet" => ("apps/v1", json!({"selector": selector, "template": template})),
        "StatefulSet" => (
            "apps/v1",
            json!({"selector": selector, "serviceName": "shop", "template": template}),
        ),
        "Job" => ("batch/v1", job),
        "CronJob" => (
            "batch/v1",
            json!({"schedule": "0 0 1 1 *", "jobTemplate": {"spec": job}}),
        ),
        other => panic!("{other}"),
    };
    json!({"apiVersion": version, "kind": kind, "metadata": {"name": "shop", "namespace": namespace}, "spec": spec})
}

/// The pointer to the template of pods.
fn template(kind: &str) -> &'static str {
    if kind == "CronJob" {
        "/spec/jobTemplate/spec/template"
    } else {
        "/spec/template"
    }
}

async fn try_create(user: &str, object: &Value) -> Answer {
    let url = path(object);
    let (collection, _) = url.rsplit_once('/').unwrap();
    create(user, &format!("{collection}?dryRun=All"), object).await
}

#[tokio::test]
async fn no_template_brings_our_marks_along() {
    let namespace = governed().await;
    let mine = json!([{"apiVersion": "probity.dev/v1alpha1", "kind": "ModelDeployment", "name": "digits", "controller": true,
        "uid": "5a3cbb0e-0000-4000-8000-000000000001"}]);
    let forgeries: &[(&str, &str, Value)] = &[
        (
            "label",
            "/metadata/labels",
            json!({"probity.dev/model": "digits"}),
        ),
        (
            "annotation",
            "/metadata/annotations",
            json!({"probity.dev/x": ""}),
        ),
        ("owner", "/metadata/ownerReferences", mine),
        (
            "pods' label",
            "T/metadata/labels",
            json!({"app": "shop", "probity.dev/model": "digits"}),
        ),
        (
            "pods' annotation",
            "T/metadata/annotations",
            json!({"probity.dev/x": "y"}),
        ),
        ("container", "T/spec/containers/0/name", json!("probity-guard")),
        (
            "init container",
            "T/spec/initContainers",
            json!([{"name": "probity-verify", "image": "x"}]),
        ),
        (
            "volume",
            "T/spec/volumes",
            json!([{"name": "probity-model", "emptyDir": {}}]),
        ),
    ];
    let mut wrong = Vec::new();
    for (kind, maker) in KINDS {
        for (what, pointer, value) in forgeries {
            let pointer = pointer.replace('T', template(kind));
            let object = with(foreign(kind, &namespace), &pointer, value.clone());
            for user in [JANE, ADMIN, OPERATOR, maker] {
                let answer = try_create(user, &object).await;
                wrong.extend(
                    not_refused(&answer, "workloads", KEPT)
                        .map(|text| format!("{kind} {what} {user}: {text}")),
                );
            }
        }
    }
    let jobs = with(
        foreign("CronJob", &namespace),
        "/spec/jobTemplate/metadata",
        json!({"annotations": {"probity.dev/x": "y"}}),
    );
    let answer = try_create(JANE, &jobs).await;
    wrong.extend(not_refused(&answer, "workloads", KEPT).map(|text| format!("jobs' annotation: {text}")));
    none_wrong(&wrong);
}

#[tokio::test]
async fn what_has_none_of_our_marks_is_its_owners_and_gets_none() {
    let namespace = governed().await;
    let mut wrong = Vec::new();
    for (kind, maker) in KINDS {
        let object = foreign(kind, &namespace);
        apply(JANE, &path(&object), &object).await.unwrap();
        let url = format!("{}?dryRun=All", path(&object));
        let status = format!("{}/status?dryRun=All", path(&object));
        let note = json!({"metadata": {"labels": {"team": "fraud"}, "annotations": {"example.com/x": "y"}}});
        merge(JANE, &url, &note).await.unwrap();
        merge(maker, &status, &json!({"metadata": {"annotations": {"x": "y"}}}))
            .await
            .unwrap();
        let label = json!({"metadata": {"labels": {"probity.dev/model": "digits"}}});
        for url in [&url, &status] {
            for user in [JANE, ADMIN, OPERATOR, maker] {
                let answer = merge(user, url, &label).await;
                // Not every status takes labels along.
                if answer
                    .as_ref()
                    .is_ok_and(|object| object["metadata"]["labels"].is_null())
                {
                    continue;
                }
                wrong.extend(
                    not_refused(&answer, "workloads", KEPT).map(|text| format!("{url} {user}: {text}")),
                );
            }
        }
    }
    none_wrong(&wrong);
}

/// Made before the namespace was governed: it can still be looked after and mended, and nobody makes anything else of it.
#[tokio::test]
async fn marks_older_than_the_guards_can_be_taken_out() {
    let namespace = free().await;
    let clean = foreign("StatefulSet", &namespace);
    let volumes = json!([{"name": "probity-x", "emptyDir": {}}]);
    let old = with(clean.clone(), "/spec/template/spec/volumes", volumes);
    let url = path(&old);
    create(JANE, url.rsplit_once('/').unwrap().0, &old).await.unwrap();
    let label = json!({"metadata": {"labels": {"probity.dev/governed": "true"}}});
    merge(JANE, &format!("/api/v1/namespaces/{namespace}"), &label)
        .await
        .unwrap();
    eventually("the guards know that the namespace is governed", async || {
        let new = with(old.clone(), "/metadata/name", json!("new"));
        let answer = try_create(JANE, &new).await;
        answer.is_ok().then(|| "marks are let in".to_owned())
    })
    .await;
    let status = json!({"status": {"replicas": 1, "observedGeneration": 1}});
    merge(STATEFULSETS, &format!("{url}/status"), &status)
        .await
        .unwrap();
    merge(JANE, &url, &json!({"metadata": {"annotations": {"x": "y"}}}))
        .await
        .unwrap();
    let image = json!([{"name": "shop", "image": "registry.example/shop:2"}]);
    let other = json!({"spec": {"template": {"spec": {"containers": image}}}});
    refused(&merge(JANE, &url, &other).await, "workloads", KEPT);
    let mended = json!({"spec": {"template": {"spec": {"volumes": null}}}});
    merge(JANE, &url, &mended).await.unwrap();
}

fn owner(kind: &str) -> Value {
    let version = if kind == "CronJob" { "batch/v1" } else { "apps/v1" };
    json!([{"apiVersion": version, "kind": kind, "name": "shop", "controller": true, "uid": "5a3cbb0e-0000-4000-8000-000000000005"}])
}

/// A governed workload is found by this reference, so nobody writes it but whose work it is.
#[tokio::test]
async fn nobody_else_says_what_made_a_replica_set_or_a_job() {
    let namespace = governed().await;
    let mut wrong = Vec::new();
    for (kind, of, maker, other) in [
        ("ReplicaSet", "Deployment", DEPLOYMENTS, CRONJOBS),
        ("Job", "CronJob", CRONJOBS, DEPLOYMENTS),
    ] {
        let strangers = [JANE, ADMIN, OPERATOR, REPLICASETS, JOBS, COLLECTOR, other];
        let plain = foreign(kind, &namespace);
        let owned = with(plain.clone(), "/metadata/ownerReferences", owner(of));
        let mut check = |what: &str, user: &str, answer: &Answer| {
            wrong.extend(
                not_refused(answer, "workloads", OWNER)
                    .map(|text| format!("{kind} {what} by {user}: {text}")),
            );
        };
        for user in strangers {
            check("made", user, &try_create(user, &owned).await);
        }
        let url = path(&plain);
        let dry = format!("{url}?dryRun=All");
        let claim = json!({"metadata": {"ownerReferences": owner(of)}});
        create(JANE, url.rsplit_once('/').unwrap().0, &plain)
            .await
            .unwrap();
        for user in strangers {
            check("claimed", user, &merge(user, &dry, &claim).await);
        }
        // By the status as well, where that takes owners along.
        let answer = merge(JANE, &format!("{url}/status?dryRun=All"), &claim).await;
        if !answer
            .as_ref()
            .is_ok_and(|object| object["metadata"]["ownerReferences"].is_null())
        {
            check("claimed by its status", JANE, &answer);
        }
        merge(maker, &url, &claim).await.unwrap();
        for (field, value) in [("name", "other"), ("uid", "5a3cbb0e-0000-4000-8000-000000000006")] {
            let other = json!({"metadata": {"ownerReferences": with(owner(of), &format!("/0/{field}"), json!(value))}});
            for user in strangers {
                check(field, user, &merge(user, &dry, &other).await);
            }
            merge(maker, &dry, &other).await.unwrap();
        }
        let owned = with(owned, "/metadata/name", json!("another"));
        // What leaves it as it is, and what lets go.
        let kept = json!({"metadata": {"annotations": {"x": "y"}}});
        let unblocked =
            json!({"metadata": {"ownerReferences": with(owner(of), "/0/blockOwnerDeletion", json!(false))}});
        let gone = json!({"metadata": {"ownerReferences": null}});
        for (user, patch) in [
            (JANE, &kept),
            (COLLECTOR, &unblocked),
            (COLLECTOR, &gone),
            (JANE, &gone),
        ] {
            merge(user, &dry, patch).await.unwrap();
        }
        try_create(maker, &owned).await.unwrap();
        // Who only belongs to it, and is not made by it, may say so.
        let belongs = with(
            owned.clone(),
            "/metadata/ownerReferences/0/controller",
            json!(false),
        );
        try_create(JANE, &belongs).await.unwrap();
    }
    none_wrong(&wrong);
    try_create(
        JANE,
        &with(
            foreign("ReplicaSet", &free().await),
            "/metadata/ownerReferences",
            owner("Deployment"),
        ),
    )
    .await
    .unwrap();
}
