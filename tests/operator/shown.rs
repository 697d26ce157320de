//! What people see: the columns of `kubectl get`, the fields of the status, Events, and the operator's own pages.

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Service, ServiceAccount},
};
use kube::{
    Resource,
    api::{Api, DeleteParams},
};
use probity::api::v1alpha1::ModelDeployment;
use serde_json::Value;

use crate::{
    artifacts::{Model, WEIGHTS},
    stage::{Stage, condition},
};

/// What `kubectl get` asks for: the API server makes the table.
async fn table(stage: &Stage, plural: &str) -> Vec<(String, Value)> {
    let path = format!(
        "/apis/probity.dev/v1alpha1/namespaces/{}/{plural}",
        stage.namespace
    );
    let request = http::Request::get(path)
        .header("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
        .body(Vec::new())
        .unwrap();
    let table: Value = stage.client.request(request).await.unwrap();
    let columns = table["columnDefinitions"].as_array().unwrap();
    let cells = table["rows"][0]["cells"].as_array().unwrap();
    // Those that `-o wide` adds have a priority.
    columns
        .iter()
        .zip(cells)
        .filter(|(column, _)| column["priority"] == 0)
        .map(|(column, cell)| (column["name"].as_str().unwrap().to_owned(), cell.clone()))
        .collect()
}

#[tokio::test]
async fn kubectl_get_shows_what_serves_what_was_asked_for_and_why_not() {
    let stage = Stage::new().await;
    let name = format!("shown/{}", stage.namespace);
    let good = Model::signed().push(&name);
    stage
        .model("digits", &format!("{}:1@{}", good.name(), good.digest().unwrap()))
        .await;
    stage.roll_out("digits", good.digest().unwrap()).await;
    stage.reason("digits", "Serving").await;
    let row = table(&stage, "modeldeployments").await;
    let names: Vec<_> = row.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        ["Name", "Ready", "Serving", "Candidate", "Signer", "Reason", "Age"]
    );
    let cell = |row: &[(String, Value)], at: usize| row[at].1.as_str().unwrap_or_default().to_owned();
    assert_eq!(
        (cell(&row, 1), cell(&row, 4), cell(&row, 5)),
        ("True".into(), "release".into(), "Serving".into())
    );
    assert!(cell(&row, 2).contains(&good.digest().unwrap().short()), "{row:?}");
    assert_eq!(cell(&row, 3), "");

    let bad = Model::signed().altered(WEIGHTS).push(&name);
    stage.ask("digits", &bad.to_string()).await;
    stage.reason("digits", "DigestMismatch").await;
    let row = table(&stage, "modeldeployments").await;
    assert_eq!(
        (cell(&row, 1), cell(&row, 5)),
        ("False".into(), "DigestMismatch".into())
    );
    assert!(cell(&row, 2).contains(&good.digest().unwrap().short()), "{row:?}");
    assert!(cell(&row, 3).contains(&bad.digest().unwrap().short()), "{row:?}");
}

#[tokio::test]
async fn the_status_of_a_serving_model_says_what_it_is() {
    let stage = Stage::new().await;
    let good = Model::signed().push(&format!("shown/{}", stage.namespace));
    stage.serve("digits", &good).await;
    let model: ModelDeployment = stage.api().get("digits").await.unwrap();
    let status = model.status.clone().unwrap();
    let serving = status.serving.unwrap();
    assert_eq!((serving.files, serving.size), (3, 600_000 + 15 + 6));
    assert_eq!(serving.signers[0].name, "release");
    assert_eq!(
        serving.signers[0].identity.key,
        format!("{}/release", stage.namespace)
    );
    assert_eq!(
        vec![serving.verification],
        stage
            .verifications()
            .await
            .iter()
            .map(kube::ResourceExt::name_any)
            .collect::<Vec<_>>()
    );
    assert_eq!(status.replicas, Some(1));
    assert_eq!(status.selector.as_deref(), Some("probity.dev/model=digits"));
    assert_eq!(status.observed_generation, model.metadata.generation);
    for kind in [
        "Accepted",
        "ArtifactVerified",
        "PolicySatisfied",
        "Available",
        "Ready",
    ] {
        assert_eq!(condition(&model, kind).unwrap().status, "True", "{kind}");
    }
    let findings = status.findings.unwrap();
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].message, "signed by release");
    // An autoscaler finds its way by these.
    let scale = stage.api::<ModelDeployment>().get_scale("digits").await.unwrap();
    assert_eq!(
        scale.status.unwrap().selector.as_deref(),
        Some("probity.dev/model=digits")
    );
}

#[tokio::test]
async fn events_tell_the_story() {
    let stage = Stage::new().await;
    let good = Model::signed().push(&format!("shown/{}", stage.namespace));
    stage.serve("digits", &good).await;
    stage.event("digits", "RollingOut").await;
    let event = stage.event("digits", "Serving").await;
    assert_eq!(event.type_.as_deref(), Some("Normal"));
    assert!(event.note.unwrap().contains("release"));
    let regarding = event.regarding.unwrap();
    assert_eq!(regarding.kind.as_deref(), Some("ModelDeployment"));
    assert_eq!(
        event.reporting_controller.as_deref(),
        Some("probity.dev/operator")
    );
    assert_eq!(
        regarding.uid,
        stage
            .api::<ModelDeployment>()
            .get("digits")
            .await
            .unwrap()
            .metadata
            .uid
    );
}

#[tokio::test]
async fn the_operators_own_pages() {
    let stage = Stage::new().await;
    assert_eq!(stage.operator.asks("/livez").await, (200, "ok".into()));
    assert_eq!(stage.operator.asks("/readyz").await, (200, "ok".into()));
    let good = Model::plain().push(&format!("shown/{}", stage.namespace));
    stage.model("digits", &good.to_string()).await;
    stage.reason("digits", "Unsigned").await;
    let (status, metrics) = stage.operator.asks("/metrics").await;
    assert_eq!(status, 200);
    for line in [
        "probity_reconciliations_total{kind=\"ModelDeployment\",result=\"ok\"}",
        "probity_verifications_total{verdict=\"Refused\",reason=\"Unsigned\"}",
        "probity_verification_duration_seconds_bucket",
        "probity_build_info{version=",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    assert!(metrics.ends_with("# EOF\n"));
    assert!(
        !metrics.contains(&stage.namespace),
        "no names of objects in labels"
    );
    assert_eq!(stage.operator.asks("/else").await.0, 404);
}

/// The controlling owner's uid, and how many owners there are.
fn owner<K: Resource>(object: &K) -> (Option<String>, Option<bool>, usize) {
    let owners = object.meta().owner_references.clone().unwrap_or_default();
    assert_eq!(object.meta().finalizers, None);
    (
        owners.first().map(|owner| owner.uid.clone()),
        owners.first().and_then(|owner| owner.controller),
        owners.len(),
    )
}

#[tokio::test]
async fn a_deleted_model_takes_everything_with_it() {
    let stage = Stage::new().await;
    let good = Model::signed().push(&format!("shown/{}", stage.namespace));
    stage.serve("digits", &good).await;
    let models: Api<ModelDeployment> = stage.api();
    let model = models.get("digits").await.unwrap();
    assert_eq!(model.metadata.finalizers, None);
    let ours = (model.metadata.uid.clone(), Some(true), 1);
    assert_eq!(
        owner(&stage.api::<Deployment>().get("digits").await.unwrap()),
        ours
    );
    assert_eq!(owner(&stage.api::<Service>().get("digits").await.unwrap()), ours);
    assert_eq!(
        owner(&stage.api::<ServiceAccount>().get("digits").await.unwrap()),
        ours
    );
    assert_eq!(owner(&stage.verifications().await[0]), ours);

    models.delete("digits", &DeleteParams::default()).await.unwrap();
    crate::stage::until_gone(&models, &model).await;
    // Without a garbage collector here the rest stays; a namesake does not take it over, for it is another model.
    stage.model("digits", &good.to_string()).await;
    stage.reason("digits", "NameTaken").await;
}
