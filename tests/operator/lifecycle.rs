//! Operators that start before their definitions, end half-way, or are two: on an API server of their own, so that no
//! other operator helps.

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
    time::{Duration, Instant},
};

use k8s_openapi::{
    api::{apps::v1::Deployment, coordination::v1::Lease},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client,
    runtime::wait::{await_condition, conditions::is_crd_established},
};
use probity::{
    api::{custom_resource_definitions, v1alpha1::ModelDeployment},
    evidence::Digest,
    operator::LEASE,
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

/// Waits until the Lease is held by somebody who is wanted; an empty name is nobody.
async fn leader(client: &Client, wanted: impl Fn(&String) -> bool) -> String {
    let api: Api<Lease> = Api::namespaced(client.clone(), "probity-system");
    let holder = |lease: &Lease| {
        let spec = lease.spec.clone().unwrap_or_default();
        spec.holder_identity.unwrap_or_default()
    };
    let lease = until(&api, LEASE, "who is wanted leads", |lease| wanted(&holder(lease))).await;
    holder(&lease)
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

    // Two at once: both are ready, and one of them works.
    let leading = leader(&client, |holder| [&one.identity, &two.identity].contains(&holder)).await;
    let (leader_is, other) = if leading == one.identity {
        (one, two)
    } else {
        (two, one)
    };
    apply(&client, governed("shop")).await;
    apply(&client, trust_root("shop", &[("release", release_pem())])).await;
    apply(&client, policy("shop", "shop", json!({}))).await;
    let plain = Model::signed().push("lifecycle/shop");
    apply(&client, model("shop", "digits", &plain.to_string(), json!({}))).await;
    let made = deployed(&client, "shop", plain.digest().unwrap()).await;
    reason(&client, "shop", "digits", "RollingOut").await;
    let revoked = json!({"revoked": [{"digest": plain.digest(), "reason": "poisoned"}]});
    apply(&client, policy("shop", "shop", revoked.clone())).await;
    reason(&client, "shop", "digits", "Revoked").await;
    let stopped = |deployment: &Deployment| deployment.spec.as_ref().unwrap().replicas == Some(0);
    let api: Api<Deployment> = Api::namespaced(client.clone(), "shop");
    let now = until(&api, "digits", "it is stopped, for it never served", stopped).await;
    assert_eq!(now.metadata.uid, made.metadata.uid);
    for operator in [&leader_is, &other] {
        let refused: Vec<_> = operator
            .requests
            .all()
            .into_iter()
            .filter(|asked| [403, 422].contains(&asked.status))
            .collect();
        assert!(refused.is_empty(), "{refused:?}");
    }
    assert!(!leader_is.requests.writes("shop").is_empty());
    assert_eq!(other.requests.written(), [], "who does not lead writes nothing");
    // Each new one applies once what is there already, which changes nothing.
    let after = Api::<ModelDeployment>::namespaced(client.clone(), "bank")
        .get("digits")
        .await
        .unwrap();
    assert_eq!(after.metadata.resource_version, before.metadata.resource_version);
    let after: Deployment = Api::namespaced(client.clone(), "bank")
        .get("digits")
        .await
        .unwrap();
    assert_eq!(
        after.metadata.resource_version,
        deployment.metadata.resource_version
    );
    leaders_come_and_go(&client, &kubeconfig, leader_is, other, revoked).await;
}

/// One is killed, the next one told to end, and each time the work goes on.
async fn leaders_come_and_go(
    client: &Client,
    kubeconfig: &Path,
    leader_is: Operator,
    other: Operator,
    revoked: Value,
) {
    // The leader is killed: the other one works as soon as the Lease has run out, and has answered all the time.
    let before = Instant::now();
    leader_is.kill();
    apply(client, policy("shop", "shop", json!({}))).await;
    assert_eq!(other.asks("/readyz").await, (200, "ok".to_owned()));
    reason(client, "shop", "digits", "RollingOut").await;
    let took = before.elapsed();
    assert!(leader(client, |_| true).await == other.identity);
    // A lease of fifteen seconds, seen up to three late, and looked at again up to three later.
    assert!(
        took < Duration::from_secs(25),
        "a killed leader was replaced after {took:?}"
    );

    // It is told to end: a third one works at once, long before a Lease could have run out.
    let third = Operator::start(kubeconfig, shared_hosts());
    third.answers("/readyz", 200).await;
    other.end();
    let before = Instant::now();
    leader(client, |holder| *holder == third.identity).await;
    let took = before.elapsed();
    assert!(
        took < Duration::from_secs(10),
        "a leader that ended was replaced after {took:?}"
    );
    apply(client, policy("shop", "shop", revoked)).await;
    reason(client, "shop", "digits", "Revoked").await;
    third.end();
    assert_eq!(leader(client, String::is_empty).await, "", "it was given back");
}
