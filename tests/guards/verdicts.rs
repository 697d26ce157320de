//! Verdicts and statuses: written by the operator and by nobody else, whatever RBAC grants and in every namespace.
//! The other kinds stay as they are: people write what they ask for.

use serde_json::{Value, json};

use crate::cluster::{
    ADMIN, COLLECTOR, JANE, NAMESPACES, OPERATOR, REPLICASETS, apply, create, delete, free, governed, merge,
    none_wrong, not_refused, path, refused, replace,
};

const DIGEST: &str = "sha256:8d5a16cf2883ed7e146112c86287e0b397aff2d5c2c69d60c686556846349d6e";
const FORGED: &[&str] = &[
    "artifactverifications: only Probity's operator writes verdicts",
    "the operator makes the verdict",
];
const STATUS: &[&str] = &["status: only Probity's operator writes the status", "change spec"];

/// The documents of the quickstart, whatever they are.
fn quickstart(kind: &str) -> Value {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(include_str!("../../examples/quickstart.yaml")).unwrap();
    documents
        .into_iter()
        .find(|document| document["kind"] == kind)
        .unwrap()
}

/// A verdict as the operator would ask for it.
pub fn verdict(namespace: &str, name: &str) -> Value {
    let key = &quickstart("TrustRoot")["spec"]["keys"][0];
    json!({
        "apiVersion": "probity.dev/v1alpha1", "kind": "ArtifactVerification",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "source": {"oci": {"repository": "registry.example/models/digits", "digest": DIGEST}},
            "keys": [{"fingerprint": DIGEST, "name": "bank-keys/2026-q3", "publicKey": key["publicKey"]}],
        },
    })
}

fn collection(namespace: &str) -> String {
    format!("/apis/probity.dev/v1alpha1/namespaces/{namespace}/artifactverifications")
}

#[tokio::test]
async fn a_forged_verdict_is_refused_wherever_and_whoever_makes_it() {
    let mut wrong = Vec::new();
    // Whose pods are believed is no matter here, and the administrator is nobody special.
    for namespace in [governed().await, free().await] {
        for user in [
            JANE,
            ADMIN,
            REPLICASETS,
            COLLECTOR,
            NAMESPACES,
            "system:serviceaccount:other:probity",
        ] {
            let forged = verdict(&namespace, "forged");
            let dry = format!("{}?dryRun=All", collection(&namespace));
            for (way, answer) in [
                ("created", create(user, &dry, &forged).await),
                ("applied", apply(user, &path(&forged), &forged).await),
            ] {
                wrong.extend(
                    not_refused(&answer, "verdicts", FORGED).map(|text| format!("{user} {way}: {text}")),
                );
            }
        }
    }
    none_wrong(&wrong);
}

#[tokio::test]
async fn a_genuine_verdict_is_the_operators_to_change() {
    let namespace = governed().await;
    let genuine = verdict(&namespace, "genuine");
    let url = path(&genuine);
    let dry = format!("{url}?dryRun=All");
    let mut stored = apply(OPERATOR, &url, &genuine).await.unwrap();
    let touched = json!({"metadata": {"annotations": {"a": "b"}}});
    stored["metadata"]["labels"] = json!({"a": "b"});
    for user in [JANE, ADMIN] {
        refused(&merge(user, &dry, &touched).await, "verdicts", FORGED);
        refused(&replace(user, &dry, &stored).await, "verdicts", FORGED);
        refused(&delete(user, &dry).await, "verdicts", FORGED);
        refused(
            &delete(user, &format!("{}?dryRun=All", collection(&namespace))).await,
            "verdicts",
            FORGED,
        );
    }
    merge(OPERATOR, &dry, &touched).await.unwrap();
    delete(OPERATOR, &dry).await.unwrap();
}

#[tokio::test]
async fn the_clusters_own_controllers_clear_away_and_nothing_else() {
    let namespace = governed().await;
    let mut genuine = verdict(&namespace, "genuine");
    genuine["metadata"]["ownerReferences"] = json!([{"apiVersion": "probity.dev/v1alpha1", "kind": "ModelDeployment",
        "name": "digits", "uid": "5a3cbb0e-0000-4000-8000-000000000001"}]);
    let url = path(&genuine);
    let dry = format!("{url}?dryRun=All");
    apply(OPERATOR, &url, &genuine).await.unwrap();
    // Its model was deleted without it.
    let orphaned = json!({"metadata": {"ownerReferences": null}});
    merge(COLLECTOR, &dry, &orphaned).await.unwrap();
    refused(&merge(NAMESPACES, &dry, &orphaned).await, "verdicts", FORGED);
    let passed = json!({"status": {"observedGeneration": 1}});
    for user in [COLLECTOR, NAMESPACES] {
        refused(
            &merge(user, &format!("{url}/status?dryRun=All"), &passed).await,
            "verdicts",
            STATUS,
        );
        delete(user, &dry).await.unwrap();
        delete(user, &format!("{}?dryRun=All", collection(&namespace)))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_status_of_any_kind_is_written_by_the_operator_alone() {
    let namespace = governed().await;
    let mut objects = ["ModelDeployment", "ClusterDeploymentPolicy", "TrustRoot"].map(quickstart);
    for object in &mut objects {
        object["metadata"]["name"] = json!(format!("status-{namespace}"));
        if !object["metadata"]["namespace"].is_null() {
            object["metadata"]["namespace"] = json!(namespace);
        }
        // People write these.
        apply(JANE, &path(object), object).await.unwrap();
    }
    let genuine = verdict(&namespace, "genuine");
    apply(OPERATOR, &path(&genuine), &genuine).await.unwrap();
    let mut wrong = Vec::new();
    for object in objects.iter().chain([&genuine]) {
        let url = format!("{}/status", path(object));
        let body = json!({"status": {"observedGeneration": 1}});
        let applied = json!({"apiVersion": object["apiVersion"], "kind": object["kind"],
            "metadata": {"name": object["metadata"]["name"]}, "status": {"observedGeneration": 1}});
        for user in [JANE, ADMIN] {
            for (way, answer) in [
                ("merged", merge(user, &format!("{url}?dryRun=All"), &body).await),
                ("applied", apply(user, &url, &applied).await),
            ] {
                let text = not_refused(&answer, "verdicts", STATUS);
                wrong.extend(text.map(|text| format!("{} {user} {way}: {text}", object["kind"])));
            }
        }
        if let Err(message) = apply(OPERATOR, &url, &applied).await {
            wrong.push(format!("{} by the operator: {message}", object["kind"]));
        }
    }
    none_wrong(&wrong);
}

#[tokio::test]
async fn a_model_can_still_be_scaled() {
    let namespace = governed().await;
    let mut model = quickstart("ModelDeployment");
    model["metadata"]["namespace"] = json!(namespace);
    apply(JANE, &path(&model), &model).await.unwrap();
    let scale = json!({"spec": {"replicas": 3}});
    merge(JANE, &format!("{}/scale", path(&model)), &scale)
        .await
        .unwrap();
}
