//! Operators that start before their definitions, end half-way, or are two: on an API server of their own, so that no
//! other operator helps.

use std::{path::PathBuf, sync::OnceLock};

use k8s_openapi::{
    api::apps::v1::Deployment,
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client,
    runtime::wait::{await_condition, conditions::is_crd_established},
};
use probity::{
    api::{custom_resource_definitions, v1alpha1::ModelDeployment},
    evidence::Digest,
};
use serde_json::{Value, json};

use crate::{
    artifacts::{Model, release_pem, through},
    fault_proxy::{Fault, any},
    stage::{
        Operator, PATIENCE, admin, apply, condition, grant, model, policy, proxy, runs, shared_hosts,
        trust_root, until,
    },
    testbed::Server,
};

fn kubeconfig() -> PathBuf {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER
        .get_or_init(|| Server::start("apiserver", &[], &[]).unwrap())
        .ready
        .clone()
        .into()
}

async fn install(client: &Client) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for definition in custom_resource_definitions() {
        apply(client, serde_json::to_value(&definition).unwrap()).await;
    }
    for definition in custom_resource_definitions() {
        let name = definition.metadata.name.unwrap();
        let established = await_condition(api.clone(), &name, is_crd_established());
        tokio::time::timeout(PATIENCE, established)
            .await
            .expect("it is established")
            .unwrap();
    }
}

async fn reason(client: &Client, namespace: &str, name: &str, reason: &str) -> ModelDeployment {
    let api: Api<ModelDeployment> = Api::namespaced(client.clone(), namespace);
    until(&api, name, reason, |model| {
        condition(model, "Ready").is_some_and(|ready| ready.reason == reason)
    })
    .await
}

async fn deployed(client: &Client, namespace: &str, digest: Digest) -> Deployment {
    let api: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    until(&api, "digits", "it is deployed", |deployment| {
        runs(deployment) == Some(digest)
    })
    .await
}

fn governed(name: &str) -> Value {
    let labels = json!({"probity.dev/governed": "true"});
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
}

/// One story, because the steps need each other: an API server of its own costs seconds.
#[tokio::test]
async fn an_operator_before_its_definitions_one_that_ends_half_way_and_two_at_once() {
    let kubeconfig = kubeconfig();
    let client = admin(&kubeconfig).await;
    grant(&client).await;

    // Before the definitions are there: alive, not ready, and says what is missing.
    let first = Operator::start(&kubeconfig, shared_hosts());
    assert_eq!(first.answers("/livez", 200).await, "ok");
    let text = first.answers("/readyz", 503).await;
    assert!(
        text.contains("ClusterDeploymentPolicies, DeploymentPolicies, TrustRoots") && text.contains("CRDs"),
        "{text}"
    );
    install(&client).await;
    first.answers("/readyz", 200).await;

    // It ends while a registry hangs; the next one goes on where it was.
    let proxy = proxy();
    let reference = through(&proxy, &Model::signed().push("lifecycle/digits"));
    let digest = reference.digest().unwrap();
    apply(&client, governed("bank")).await;
    apply(&client, trust_root("bank", &[("release", release_pem())])).await;
    apply(&client, policy("bank", "bank", json!({}))).await;
    proxy.on(any, Fault::status(503));
    apply(
        &client,
        model("bank", "digits", &reference.to_string(), json!({})),
    )
    .await;
    reason(&client, "bank", "digits", "RegistryUnavailable").await;
    proxy.on(any, Fault::Hang);
    first.end();
    proxy.heal();
    let second = Operator::start(&kubeconfig, shared_hosts());
    let deployment = deployed(&client, "bank", digest).await;

    // A restart writes nothing about what did not change.
    reason(&client, "bank", "digits", "RollingOut").await;
    second.end();
    let before = Api::<ModelDeployment>::namespaced(client.clone(), "bank")
        .get("digits")
        .await
        .unwrap();
    let (one, two) = (
        Operator::start(&kubeconfig, shared_hosts()),
        Operator::start(&kubeconfig, shared_hosts()),
    );
    one.answers("/readyz", 200).await;
    two.answers("/readyz", 200).await;

    // Two at once: each does the work, and neither harms the other.
    apply(&client, governed("shop")).await;
    apply(&client, trust_root("shop", &[("release", release_pem())])).await;
    apply(&client, policy("shop", "shop", json!({}))).await;
    let plain = Model::signed().push("lifecycle/shop");
    apply(&client, model("shop", "digits", &plain.to_string(), json!({}))).await;
    let made = deployed(&client, "shop", plain.digest().unwrap()).await;
    reason(&client, "shop", "digits", "RollingOut").await;
    apply(
        &client,
        policy(
            "shop",
            "shop",
            json!({"revoked": [{"digest": plain.digest(), "reason": "poisoned"}]}),
        ),
    )
    .await;
    reason(&client, "shop", "digits", "Revoked").await;
    let stopped = |deployment: &Deployment| deployment.spec.as_ref().unwrap().replicas == Some(0);
    let api: Api<Deployment> = Api::namespaced(client.clone(), "shop");
    let now = until(&api, "digits", "it is stopped, for it never served", stopped).await;
    assert_eq!(now.metadata.uid, made.metadata.uid);
    for operator in [&one, &two] {
        let refused: Vec<_> = operator
            .requests
            .all()
            .into_iter()
            .filter(|asked| [403, 422].contains(&asked.status))
            .collect();
        assert!(refused.is_empty(), "{refused:?}");
    }
    // Each new one applies once what is there already, which changes nothing.
    let after = Api::<ModelDeployment>::namespaced(client.clone(), "bank")
        .get("digits")
        .await
        .unwrap();
    assert_eq!(after.metadata.resource_version, before.metadata.resource_version);
    let after: Deployment = Api::namespaced(client, "bank").get("digits").await.unwrap();
    assert_eq!(
        after.metadata.resource_version,
        deployment.metadata.resource_version
    );
    one.end();
    two.end();
}
