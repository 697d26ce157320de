//! Many models at once.

use std::time::Instant;

use futures::future::join_all;
use kube::api::{ListParams, Patch, PatchParams};
use probity::api::v1alpha1::ModelDeployment;
use serde_json::json;

use crate::{
    artifacts::Model,
    stage::{PATIENCE, Stage, condition, model},
};

const MODELS: usize = 100;

#[tokio::test]
async fn a_hundred_models_at_once_settle() {
    let stage = Stage::new().await;
    let good = Model::signed().push(&format!("many/{}", stage.namespace));
    let bad = Model::plain().push(&format!("many/{}-bad", stage.namespace));
    let began = Instant::now();
    join_all((0..MODELS).map(|n| {
        let reference = if n % 2 == 0 { &good } else { &bad };
        let name = format!("digits-{n}");
        let model = model(&stage.namespace, &name, &reference.to_string(), json!({}));
        let api = stage.api::<ModelDeployment>();
        async move {
            api.patch(&name, &PatchParams::apply("tests"), &Patch::Apply(&model))
                .await
                .unwrap();
        }
    }))
    .await;
    let settled = |model: &ModelDeployment| {
        let reason = condition(model, "Ready").map(|ready| ready.reason.clone());
        matches!(reason.as_deref(), Some("RollingOut" | "Unsigned"))
    };
    let waiting = async {
        loop {
            let models = stage
                .api::<ModelDeployment>()
                .list(&ListParams::default())
                .await
                .unwrap()
                .items;
            if models.len() == MODELS && models.iter().all(settled) {
                return models;
            }
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    };
    let models = tokio::time::timeout(PATIENCE, waiting).await.expect("all settle");
    let (took, requests) = (
        began.elapsed().as_secs_f64(),
        stage.operator.requests.of(&stage.namespace),
    );
    println!("{MODELS} models settled in {took:.1} s with {requests} requests");
    let rolling = models
        .iter()
        .filter(|model| condition(model, "Ready").unwrap().reason == "RollingOut")
        .count();
    assert_eq!(rolling, MODELS / 2);
    assert_eq!(
        stage
            .names::<k8s_openapi::api::apps::v1::Deployment>()
            .await
            .len(),
        MODELS / 2
    );
    assert_eq!(stage.verifications().await.len(), MODELS, "one each, and no more");
}
