//! Pod Security's own word on each row of the table of hardening: whatever its level `restricted` refuses, hardening tells, and
//! what hardening adds is what it asks for. Nothing of ours stands before the API server here.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::{Api, Client, api::PostParams};
use probity::policy::hardening::{lacks, unpinned, with_defaults};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::testbed;

#[derive(Deserialize)]
struct Standard {
    sound: Value,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    control: String,
    what: String,
    /// Whether the standard speaks of it, in the version that is asked for.
    standard: bool,
    set: BTreeMap<String, Value>,
}

fn changed(pod: &Value, set: &BTreeMap<String, Value>) -> Value {
    let mut pod = pod.clone();
    for (pointer, value) in set {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        match pod.pointer_mut(parent).unwrap() {
            Value::Array(items) => items.push(value.clone()),
            fields if value.is_null() => drop(fields.as_object_mut().unwrap().remove(key)),
            fields => fields[key] = value.clone(),
        }
    }
    pod
}

/// A namespace in which Pod Security asks for this.
async fn restricted(client: &Client, version: &str) -> Api<Pod> {
    let labels = [
        ("pod-security.kubernetes.io/enforce", "restricted"),
        ("pod-security.kubernetes.io/enforce-version", version),
    ];
    let namespace = testbed::labelled_namespace(client, &labels).await;
    let account: ServiceAccount = serde_json::from_value(json!({"metadata": {"name": "default"}})).unwrap();
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &namespace);
    accounts.create(&PostParams::default(), &account).await.unwrap();
    Api::namespaced(client.clone(), &namespace)
}

/// What Pod Security says against the pod; nothing when the API server takes it.
async fn refused(pods: &Api<Pod>, pod: &Pod) -> Option<String> {
    let params = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    match pods.create(&params, pod).await {
        Ok(_) => None,
        Err(kube::Error::Api(status)) if status.message.contains("violates PodSecurity") => {
            Some(status.message.clone())
        }
        Err(error) => panic!("neither admitted nor refused by Pod Security: {error}"),
    }
}

fn told(pod: &Pod) -> Vec<String> {
    let spec = pod.spec.as_ref().unwrap();
    let annotations = pod.metadata.annotations.clone().unwrap_or_default();
    let found = lacks(spec, &annotations).into_iter().chain(unpinned(spec));
    found.map(|lack| lack.path()).collect()
}

#[tokio::test]
async fn whatever_pod_security_refuses_hardening_tells() {
    let client = testbed::client().await;
    let Standard { sound, rows } =
        serde_json::from_str(include_str!("../../src/policy/hardening/standard.json")).unwrap();
    let (stated, latest) = (
        restricted(&client, "v1.33").await,
        restricted(&client, "latest").await,
    );
    let pod =
        |set: &BTreeMap<String, Value>| -> Pod { serde_json::from_value(changed(&sound, set)).unwrap() };
    for pods in [&stated, &latest] {
        assert_eq!(refused(pods, &pod(&BTreeMap::new())).await, None, "the sound pod");
    }
    let mut wrong = Vec::new();
    for row in rows {
        let pod = pod(&row.set);
        let (said, said_today) = (refused(&stated, &pod).await, refused(&latest, &pod).await);
        if said.is_some() != row.standard {
            wrong.push(format!(
                "{}: {}: Pod Security says {said:?}",
                row.control, row.what
            ));
        }
        if (said.is_some() || said_today.is_some()) && told(&pod).is_empty() {
            wrong.push(format!("{}: {}: hardening says nothing", row.control, row.what));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// All but what only an author knows is added.
#[tokio::test]
async fn what_hardening_adds_is_what_pod_security_asks_for() {
    let client = testbed::client().await;
    let pods = restricted(&client, "latest").await;
    let written: Pod = serde_json::from_value(json!({
        "metadata": {"name": "careful"},
        "spec": {
            "securityContext": {"runAsUser": 1000},
            "initContainers": [{"name": "download", "image": "registry.example/download:1"}],
            "containers": [{"name": "server", "image": "registry.example/server:1", "securityContext": {"runAsUser": 1001}}]
        }
    }))
    .unwrap();
    assert!(refused(&pods, &written).await.is_some(), "as it was written");
    let mut added = written.clone();
    added.spec = Some(with_defaults(written.spec.as_ref().unwrap()));
    assert_eq!(refused(&pods, &added).await, None);
}
