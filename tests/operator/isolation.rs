//! The NetworkPolicy of a model: made where policy or the model asks, mended with an Event that names who edited it, taken away
//! when nobody asks, never over one of somebody else's. Whether anything enforces it is not tried here.

use k8s_openapi::api::{apps::v1::Deployment, networking::v1::NetworkPolicy};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, PostParams},
    runtime::wait::await_condition,
};
use probity::{
    api::{cluster_network_policy::ClusterNetworkPolicy, v1alpha1::ModelDeployment},
    workload::NEVER_OPEN,
};
use serde_json::{Value, json};
use test_case::test_case;

use crate::{
    artifacts::Model,
    stage::{PATIENCE, Stage, condition, until},
    testbed::apply,
};

const NAME: &str = "probity-digits";

/// Has the namespace's policy ask for this isolation.
async fn isolate(stage: &Stage, isolation: Value) {
    stage
        .change_policy(json!({"spec": {"isolation": isolation}}))
        .await;
}

async fn serving() -> Stage {
    let stage = Stage::new().await;
    isolate(&stage, json!({"network": "DefaultDeny"})).await;
    let good = Model::signed().push(&format!("isolation/{}", stage.namespace));
    stage.serve("digits", &good).await;
    stage
}

async fn policy(stage: &Stage) -> NetworkPolicy {
    until(&stage.api::<NetworkPolicy>(), NAME, "it is made", |_| true).await
}

async fn is_gone(stage: &Stage, uid: &str) {
    let gone = await_condition(
        stage.api::<NetworkPolicy>(),
        NAME,
        |found: Option<&NetworkPolicy>| found.is_none_or(|found| found.uid().as_deref() != Some(uid)),
    );
    tokio::time::timeout(PATIENCE, gone)
        .await
        .expect("it was never taken away")
        .unwrap();
}

fn spec(policy: &NetworkPolicy) -> Value {
    serde_json::to_value(&policy.spec).unwrap()
}

#[tokio::test]
async fn it_is_there_before_anything_runs_and_follows_what_is_declared() {
    let stage = Stage::new().await;
    isolate(&stage, json!({"network": "DefaultDeny"})).await;
    let bad = Model::signed()
        .altered(crate::artifacts::WEIGHTS)
        .push(&format!("isolation/{}-bad", stage.namespace));
    stage.model("digits", &bad.to_string()).await;
    let made = policy(&stage).await;
    assert_eq!(spec(&made)["policyTypes"], json!(["Ingress", "Egress"]));
    assert_eq!(
        spec(&made)["podSelector"],
        json!({"matchLabels": {"probity.dev/model": "digits"}})
    );
    assert_eq!(spec(&made).get("ingress"), None, "nobody may come in: {made:?}");
    assert_eq!(made.owner_references()[0].name, "digits");
    stage.reason("digits", "DigestMismatch").await;
    assert_eq!(
        stage.names::<Deployment>().await,
        Vec::<String>::new(),
        "refused, and closed all the same"
    );

    let teller = json!({"namespaceSelector": {"matchLabels": {"team": "teller"}}});
    stage
        .change("digits", json!({"clients": [{"from": teller}]}))
        .await;
    until(
        &stage.api::<NetworkPolicy>(),
        NAME,
        "the client is let in",
        |policy| {
            spec(policy)["ingress"]
                == json!([{"from": [teller], "ports": [{"port": 8080, "protocol": "TCP"}]}])
        },
    )
    .await;
    // The status is written after the policy.
    stage
        .until("digits", "not to be called isolated unseen", |model| {
            condition(model, "Isolated").is_some_and(|isolated| {
                (isolated.status.as_str(), isolated.reason.as_str()) == ("Unknown", "NotProbed")
            })
        })
        .await;
}

#[test_case(json!({"ingress": [{}]}); "everybody is let in")]
#[test_case(json!({"egress": [{}]}); "everything is let out")]
#[test_case(json!({"podSelector": {"matchLabels": {"app": "other"}}}); "other pods are meant")]
#[test_case(json!({"policyTypes": ["Ingress"]}); "the way out is open")]
#[tokio::test]
async fn an_edit_is_taken_back_and_told_with_its_author(edit: Value) {
    let stage = serving().await;
    let made = policy(&stage).await;
    let mut edited = serde_json::to_value(&made).unwrap();
    for (field, value) in edit.as_object().unwrap() {
        edited["spec"][field] = value.clone();
    }
    edited["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("managedFields");
    let by_hand = PostParams {
        field_manager: Some("kubectl-edit".into()),
        ..PostParams::default()
    };
    let edited: NetworkPolicy = serde_json::from_value(edited).unwrap();
    let edited = stage
        .api::<NetworkPolicy>()
        .replace(NAME, &by_hand, &edited)
        .await
        .unwrap();
    assert_ne!(edited.spec, made.spec, "the edit changed something");
    until(&stage.api::<NetworkPolicy>(), NAME, "it is as it was", |policy| {
        policy.spec == made.spec
    })
    .await;
    let event = stage.event("digits", "NetworkPolicyRepaired").await;
    assert_eq!(event.type_.as_deref(), Some("Warning"));
    assert_eq!(
        event.note.as_deref(),
        Some("NetworkPolicy probity-digits was changed by kubectl-edit and is as planned again")
    );
}

#[tokio::test]
async fn one_that_is_deleted_comes_back_and_is_told() {
    let stage = serving().await;
    let made = policy(&stage).await;
    stage
        .until("digits", "Isolated is said", |model| {
            condition(model, "Isolated").is_some()
        })
        .await;
    stage
        .api::<NetworkPolicy>()
        .delete(NAME, &DeleteParams::default())
        .await
        .unwrap();
    until(&stage.api::<NetworkPolicy>(), NAME, "it is back", |policy| {
        policy.uid() != made.uid()
    })
    .await;
    let event = stage.event("digits", "NetworkPolicyRepaired").await;
    assert_eq!(
        event.note.as_deref(),
        Some("NetworkPolicy probity-digits was gone and is made again")
    );
}

#[tokio::test]
async fn a_changed_policy_is_no_repair_and_one_nobody_asks_for_is_taken_away() {
    let stage = serving().await;
    let made = policy(&stage).await;
    let metrics = json!({"namespaceSelector": {"matchLabels": {"team": "metrics"}}});
    isolate(&stage, json!({"network": "DefaultDeny", "monitoring": [metrics]})).await;
    until(
        &stage.api::<NetworkPolicy>(),
        NAME,
        "monitoring is let in",
        |policy| spec(policy)["ingress"][0]["from"] == json!([metrics]),
    )
    .await;
    isolate(&stage, json!({"effect": "Warn"})).await;
    is_gone(&stage, &made.uid().unwrap()).await;
    stage
        .until("digits", "nothing is said of isolation", |model| {
            condition(model, "Isolated").is_none()
        })
        .await;
    let events = stage
        .api::<k8s_openapi::api::events::v1::Event>()
        .list(&kube::api::ListParams::default())
        .await
        .unwrap();
    let repaired = events
        .iter()
        .any(|event| event.reason.as_deref() == Some("NetworkPolicyRepaired"));
    assert!(!repaired, "nobody else touched it");
}

#[tokio::test]
async fn egress_above_the_ceiling_is_refused_and_not_opened() {
    let stage = Stage::new().await;
    let range = |cidr: &str| json!([{"to": [{"ipBlock": {"cidr": cidr}}], "ports": [{"port": 443}]}]);
    isolate(
        &stage,
        json!({"network": "DefaultDeny", "egressCeiling": range("192.0.2.0/24")}),
    )
    .await;
    let good = Model::signed().push(&format!("isolation/{}", stage.namespace));
    stage.serve("digits", &good).await;
    stage
        .change("digits", json!({"egress": range("192.0.0.0/16")}))
        .await;
    let message = stage.reason("digits", "EgressAboveCeiling").await;
    assert!(
        message.contains("spec.egress[0] asks for 192.0.0.0/16 on TCP 443"),
        "{message}"
    );
    assert!(message.contains("goes on serving"), "{message}");
    assert_eq!(
        spec(&policy(&stage).await)["egress"].as_array().unwrap().len(),
        1,
        "name look-ups alone"
    );
    stage
        .change("digits", json!({"egress": range("192.0.2.128/25")}))
        .await;
    stage.reason("digits", "Serving").await;
    until(
        &stage.api::<NetworkPolicy>(),
        NAME,
        "what is below is opened",
        |policy| spec(policy)["egress"][1]["to"] == json!([{"ipBlock": {"cidr": "192.0.2.128/25"}}]),
    )
    .await;
}

#[tokio::test]
async fn a_policy_of_that_name_that_is_somebody_elses_is_left_alone() {
    let stage = Stage::new().await;
    isolate(&stage, json!({"network": "DefaultDeny"})).await;
    let theirs: NetworkPolicy = stage
        .create(json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": NAME},
            "spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{}]}
        }))
        .await;
    let good = Model::signed().push(&format!("isolation/{}", stage.namespace));
    stage.model("digits", &good.to_string()).await;
    let message = stage.reason("digits", "NameTaken").await;
    assert!(
        message.contains("NetworkPolicy probity-digits exists"),
        "{message}"
    );
    let model: ModelDeployment = stage.api().get("digits").await.unwrap();
    assert_eq!(condition(&model, "Isolated").unwrap().reason, "NameTaken");
    assert_eq!(
        stage.names::<Deployment>().await,
        Vec::<String>::new(),
        "nothing runs that is not closed"
    );
    let now = policy(&stage).await;
    assert_eq!(
        (now.uid(), now.resource_version()),
        (theirs.uid(), theirs.resource_version())
    );
}

#[tokio::test]
async fn an_adopted_workload_is_closed_by_its_own_selector() {
    let stage = Stage::new().await;
    isolate(&stage, json!({"network": "DefaultDeny"})).await;
    let meta = |name: &str| json!({"name": name, "namespace": stage.namespace});
    let selector = json!({"matchLabels": {"app": "server"}, "matchExpressions": [{"key": "tier", "operator": "Exists"}]});
    let container =
        json!({"name": "server", "image": format!("registry.example/server@sha256:{}", "5e".repeat(32))});
    apply(
        &stage.client,
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta("server"),
            "spec": {
                "replicas": 0, "selector": selector,
                "template": {"metadata": {"labels": {"app": "server", "tier": "1"}}, "spec": {"containers": [container]}}
            }
        }),
    )
    .await;
    let teller = json!({"podSelector": {"matchLabels": {"app": "teller"}}});
    apply(
        &stage.client,
        json!({
            "apiVersion": "probity.dev/v1alpha1", "kind": "ModelDeployment", "metadata": meta("digits"),
            "spec": {
                "model": {"source": {"volume": {"claimName": "models"}}},
                "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "server"},
                "clients": [{"from": teller, "port": 9000}]
            }
        }),
    )
    .await;
    let made = policy(&stage).await;
    assert_eq!(spec(&made)["podSelector"], selector);
    assert_eq!(
        spec(&made)["ingress"],
        json!([{"from": [teller], "ports": [{"port": 9000, "protocol": "TCP"}]}])
    );
    stage
        .until("digits", "Isolated is said", |model| {
            condition(model, "Isolated").is_some_and(|isolated| isolated.reason == "NotProbed")
        })
        .await;
}

/// Whatever NetworkPolicies of others open, where the API server knows what comes before them.
#[tokio::test]
async fn what_is_never_open_is_denied_where_models_are_to_be_isolated() {
    let stage = Stage::new().await;
    let all: Api<ClusterNetworkPolicy> = Api::all(stage.client.clone());
    let means = |policy: &ClusterNetworkPolicy| {
        let pods = policy.spec.subject.pods.as_ref().unwrap();
        let terms = pods.namespace_selector.match_expressions.as_ref().unwrap();
        terms[0].values.as_ref().unwrap().contains(&stage.namespace)
    };
    isolate(&stage, json!({"network": "DefaultDeny"})).await;
    let made = until(&all, NEVER_OPEN, "models of the namespace are meant", means).await;
    let denied = &made.spec.egress[0];
    assert_eq!(
        (made.spec.tier.as_str(), denied.action.as_str()),
        ("Admin", "Deny")
    );
    assert!(
        denied.to[0].networks.contains(&"169.254.0.0/16".to_owned()),
        "{denied:?}"
    );
    isolate(&stage, json!({"effect": "Warn"})).await;
    let gone = await_condition(all, NEVER_OPEN, |found: Option<&ClusterNetworkPolicy>| {
        !found.is_some_and(means)
    });
    tokio::time::timeout(PATIENCE, gone)
        .await
        .expect("it goes on meaning them")
        .unwrap();
}
