//! Many models at once, and many in one namespace.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, future::join_all, stream};
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, Patch, PatchParams},
};
use probity::api::{openreports::Report, v1alpha1::ModelDeployment};
use serde_json::json;

use crate::{
    artifacts::{Model, release_pem},
    reports::looks,
    stage::{
        Operator, PATIENCE, Stage, admin, apply, bank, condition, grant_with, model, policy, shared_hosts,
        trust_root, until_within,
    },
    testbed::{self, Server},
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

/// How many models the one namespace has, and how many of them are written at a time.
const CROWD: usize = 500;
/// A debug build works through so many beside the other tests of this binary.
const CROWDS_PATIENCE: Duration = Duration::from_secs(300);
const AT_ONCE: usize = 16;
/// What an API server and dashboards bear.
const MOST_BYTES: usize = 256 * 1024;

/// Each of them is refused by three policies, so that there is something to say of all of them.
#[tokio::test]
async fn a_namespace_of_five_hundred_models_is_reported_within_bounds_and_then_left_alone() {
    let server = Server::start("apiserver", &[], &[]).unwrap();
    let kubeconfig: PathBuf = server.ready.clone().into();
    let client = admin(&kubeconfig).await;
    grant_with(&client, "reports.enabled=true").await;
    testbed::install(&client).await;
    testbed::install_openreports(&client, &kubeconfig).await;
    apply(&client, bank(true)).await;
    apply(&client, trust_root("platform", &[("release", release_pem())])).await;
    let elsewhere = json!({"repositories": ["elsewhere.example/**"]});
    let mut platform = policy("platform", "bank", elsewhere.clone());
    platform["spec"]["isolation"] = json!({"hardening": "Restricted", "rbac": {"ceiling": []}});
    apply(&client, platform).await;
    for name in ["one", "two"] {
        let mut own = policy("platform", "bank", elsewhere.clone());
        own["kind"] = json!("DeploymentPolicy");
        own["metadata"] = json!({"name": name, "namespace": "bank"});
        own["spec"].as_object_mut().unwrap().remove("namespaceSelector");
        apply(&client, own).await;
    }
    let operator = Operator::start_auditing(&kubeconfig, shared_hosts(), Duration::from_secs(5));
    operator.answers("/readyz", 200).await;
    let began = Instant::now();
    let write = |n: usize| {
        let reference = format!("registry.example/models/digits@sha256:{n:064x}");
        let model = model("bank", &format!("digits-{n}"), &reference, json!({}));
        let client = client.clone();
        async move { apply(&client, model).await }
    };
    let written: Vec<()> = stream::iter((0..CROWD).map(write))
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    assert_eq!(written.len(), CROWD);
    let reports: Api<Report> = Api::namespaced(client.clone(), "bank");
    let whole = until_within(
        CROWDS_PATIENCE,
        &reports,
        "probity",
        "it counts all of them",
        |report| {
            let said = |rule: &str, models: &str| {
                let of = |one: &&probity::api::openreports::ReportResult| one.rule.as_deref() == Some(rule);
                let mut found = report.results.iter().filter(of).peekable();
                found.peek().is_some() && found.all(|one| one.properties["models"] == models)
            };
            let all = CROWD.to_string();
            said("model.repositories", &all) && said("isolation.hardening", &all)
        },
    )
    .await;
    println!(
        "{CROWD} models reported in {:.1} s",
        began.elapsed().as_secs_f64()
    );
    let failed = usize::try_from(whole.summary.fail).unwrap();
    assert!(failed >= 4 * CROWD, "three repositories and a limit: {failed}");
    assert_eq!(whole.owner_references()[0].kind, "Namespace");

    // The audit has looked at all of them, and each says what its account may do: then nothing is left to be said.
    let models: Api<ModelDeployment> = Api::namespaced(client.clone(), "bank");
    let audited = async {
        loop {
            let all = models.list(&ListParams::default()).await.unwrap().items;
            let says = |model: &ModelDeployment| {
                condition(model, "RightsWithinCeiling").is_some_and(|one| one.reason == "WithinCeiling")
            };
            if all.len() == CROWD && all.iter().all(says) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(CROWDS_PATIENCE, audited)
        .await
        .expect("all of them are audited");
    looks(&operator, 4).await;
    let written = operator.requests.written();
    let all = reports.list(&ListParams::default()).await.unwrap().items;
    assert_eq!(all.len(), CROWD + 1);
    let largest = all
        .iter()
        .map(|report| serde_json::to_vec(report).unwrap().len())
        .max();
    println!("the largest report has {} bytes", largest.unwrap());
    assert!(largest.unwrap() < MOST_BYTES);
    assert!(all.iter().all(|report| report.owner_references().len() == 1));
    looks(&operator, 6).await;
    assert_eq!(
        operator.requests.written(),
        written,
        "nothing changes, and nothing is written"
    );
    operator.end();
}
