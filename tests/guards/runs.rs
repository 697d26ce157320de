//! What was measured stays on record: a run that has begun is nobody's to delete, and its numbers are nobody's to write.

use serde_json::{Value, json};

use crate::cluster::{ADMIN, JANE, NAMESPACES, OPERATOR, create, delete, free, governed, merge, refused};

const DIGEST: &str = "sha256:8d5a16cf2883ed7e146112c86287e0b397aff2d5c2c69d60c686556846349d6e";
const KEPT: &[&str] = &[
    "evaluations: a run that has begun stays on record",
    "suspend the RobustnessPolicy",
];

fn collection(namespace: &str) -> String {
    format!("/apis/probity.dev/v1alpha1/namespaces/{namespace}/evaluations")
}

fn evaluation() -> Value {
    json!({
        "apiVersion": "probity.dev/v1alpha1", "kind": "Evaluation", "metadata": {"name": "now"},
        "spec": {"model": "digits", "policy": "robust"}
    })
}

fn begun() -> Value {
    json!({"status": {"run": {
        "subject": DIGEST, "repository": "registry.example/models/digits", "dataset": DIGEST, "minimum": "0", "maximum": "1",
        "policy": DIGEST, "seed": 7, "confidence": "0.95", "samples": 200, "suites": [], "gates": [],
        "started": "2026-01-01T00:00:00Z"
    }}})
}

#[tokio::test]
async fn a_run_that_has_begun_goes_with_its_namespace_and_not_before() {
    for namespace in [governed().await, free().await] {
        let there = collection(&namespace);
        let (url, all) = (format!("{there}/now"), format!("{there}?dryRun=All"));
        let dry = format!("{url}?dryRun=All");
        create(JANE, &there, &evaluation()).await.unwrap();
        // One that has not begun shows nothing, and may go.
        delete(JANE, &dry).await.unwrap();
        for user in [JANE, ADMIN] {
            let forged = merge(user, &format!("{url}/status"), &begun()).await;
            refused(
                &forged,
                "verdicts",
                &["status: only Probity's operator writes the status"],
            );
        }
        merge(OPERATOR, &format!("{url}/status"), &begun()).await.unwrap();
        for user in [JANE, ADMIN] {
            refused(&delete(user, &dry).await, "runs", KEPT);
            refused(&delete(user, &all).await, "runs", KEPT);
        }
        delete(OPERATOR, &dry).await.unwrap();
        delete(NAMESPACES, &url).await.unwrap();
    }
}
