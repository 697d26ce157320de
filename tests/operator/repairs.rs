//! What the operator made is kept as it was planned, whoever edits or deletes it, and nothing is written when nothing
//! changes.

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Service, ServiceAccount},
};
use kube::{
    Resource, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams},
    core::NamespaceResourceScope,
};
use probity::api::v1alpha1::{ArtifactVerification, ModelDeployment};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use test_case::test_case;

use crate::{
    artifacts::{Model, WEIGHTS},
    stage::{Stage, condition, until, until_any},
};

/// Edits of the Deployment as `kubectl edit` makes them, each of which would let other bytes serve.
#[test_case("/template/spec/containers/0/volumeMounts/0/readOnly", json!(false); "the model is mounted for writing")]
#[test_case("/template/spec/containers/0/image", json!("registry.example/other@sha256:00"); "another server")]
#[test_case("/template/spec/initContainers/0/image", json!("registry.example/other@sha256:00"); "another fetcher")]
#[test_case("/template/spec/initContainers/0/args/2", json!("registry.example/other@sha256:00000000000000000000000000000000000000000000000000000000000000cc"); "other content")]
#[test_case("/template/spec/initContainers/0/args", json!(["fetch", "--help"]); "nothing is fetched")]
#[test_case("/template/spec/serviceAccountName", json!("default"); "another account")]
#[test_case("/template/spec/securityContext/runAsNonRoot", json!(false); "root")]
#[test_case("/strategy", json!({"type": "Recreate"}); "another strategy")]
#[test_case("/replicas", json!(0); "fewer of them")]
#[tokio::test]
async fn an_edit_is_taken_back(pointer: &str, value: Value) {
    let stage = Stage::new().await;
    let good = Model::signed().push(&format!("repairs/{}", stage.namespace));
    stage.serve("digits", &good).await;
    // Whether or not something else is refused meanwhile.
    let bad = Model::signed()
        .altered(WEIGHTS)
        .push(&format!("repairs/{}-bad", stage.namespace));
    for asked in [&good, &bad] {
        if asked == &bad {
            stage.ask("digits", &bad.to_string()).await;
            stage.reason("digits", "DigestMismatch").await;
        }
        let before: Deployment = stage.api().get("digits").await.unwrap();
        let spec = before.spec.clone().unwrap();
        let mut edited = serde_json::to_value(&before).unwrap();
        *edited["spec"].pointer_mut(pointer).unwrap() = value.clone();
        edited["metadata"]["managedFields"] = Value::Null;
        let edited: Deployment = serde_json::from_value(edited).unwrap();
        let edited = stage
            .api()
            .replace("digits", &kube::api::PostParams::default(), &edited)
            .await
            .unwrap();
        assert_ne!(edited.spec.as_ref().unwrap(), &spec, "the edit changed something");
        until(
            &stage.api::<Deployment>(),
            "digits",
            "it is as it was",
            |deployment| deployment.spec.as_ref() == Some(&spec),
        )
        .await;
    }
}

async fn comes_back<K>(stage: &Stage)
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + DeserializeOwned
        + Serialize
        + std::fmt::Debug
        + Send
        + 'static,
{
    let old: K = stage.api().get("digits").await.unwrap();
    stage
        .api::<K>()
        .delete("digits", &DeleteParams::default())
        .await
        .unwrap();
    until(&stage.api::<K>(), "digits", "it is back", |new: &K| {
        new.uid() != old.uid()
    })
    .await;
}

#[tokio::test]
async fn what_is_deleted_comes_back() {
    let stage = Stage::new().await;
    let good = Model::signed().push(&format!("repairs/{}", stage.namespace));
    stage.serve("digits", &good).await;
    comes_back::<Service>(&stage).await;
    comes_back::<ServiceAccount>(&stage).await;
    comes_back::<Deployment>(&stage).await;
    let verification = stage.verifications().await.remove(0);
    stage
        .api::<ArtifactVerification>()
        .delete(&verification.name_any(), &DeleteParams::default())
        .await
        .unwrap();
    until_any(&stage.api::<ArtifactVerification>(), "a verdict is back", |new| {
        new.uid() != verification.uid() && new.status.as_ref().is_some_and(|status| status.verdict.is_some())
    })
    .await;
    stage.roll_out("digits", good.digest().unwrap()).await;
    stage.reason("digits", "Serving").await;
}

#[tokio::test]
async fn what_serves_comes_back_also_while_a_candidate_is_refused() {
    let stage = Stage::new().await;
    let good = Model::signed().push(&format!("repairs/{}", stage.namespace));
    stage.serve("digits", &good).await;
    let bad = Model::signed()
        .altered(WEIGHTS)
        .push(&format!("repairs/{}-bad", stage.namespace));
    stage.ask("digits", &bad.to_string()).await;
    stage.reason("digits", "DigestMismatch").await;
    comes_back::<Deployment>(&stage).await;
    stage.roll_out("digits", good.digest().unwrap()).await;
    stage
        .until("digits", "the old one is available again", |model| {
            condition(model, "Available").is_some_and(|available| available.status == "True")
        })
        .await;
}

/// Everything in the namespace that the operator wrote, with the version the API server gave it.
async fn versions(stage: &Stage) -> Vec<(String, Option<String>)> {
    async fn of<K>(stage: &Stage) -> Vec<(String, Option<String>)>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        let objects = stage
            .api::<K>()
            .list(&kube::api::ListParams::default())
            .await
            .unwrap();
        objects
            .iter()
            .map(|object| {
                (
                    format!("{} {}", K::kind(&()), object.name_any()),
                    object.resource_version(),
                )
            })
            .collect()
    }
    let mut all = of::<ModelDeployment>(stage).await;
    all.extend(of::<ArtifactVerification>(stage).await);
    all.extend(of::<Deployment>(stage).await);
    all.extend(of::<Service>(stage).await);
    all.extend(of::<ServiceAccount>(stage).await);
    all
}

/// A serving model, a refused one and one that waits: a look at all of them writes nothing.
#[tokio::test]
async fn a_steady_state_writes_nothing() {
    let stage = Stage::new().await;
    let good = Model::signed().push(&format!("repairs/{}", stage.namespace));
    stage.serve("digits", &good).await;
    let bad = Model::plain().push(&format!("repairs/{}-bad", stage.namespace));
    stage.model("unsigned", &bad.to_string()).await;
    stage.reason("unsigned", "Unsigned").await;
    stage.event("unsigned", "Unsigned").await;
    let (before, written) = (
        versions(&stage).await,
        stage.operator.requests.writes(&stage.namespace).len(),
    );

    // The policy changes, and means the same: everybody is looked at, and so is the last one, which shows that they were.
    stage
        .policy(json!({"threshold": 1, "repositories": ["**"]}))
        .await;
    stage.policy(json!({"threshold": 1})).await;
    let probe = Stage::new().await;
    stage
        .api::<ModelDeployment>()
        .patch(
            "digits",
            &PatchParams::default(),
            &Patch::Merge(json!({"metadata": {"annotations": {"looked": "at"}}})),
        )
        .await
        .unwrap();
    probe.model("digits", &good.to_string()).await;
    probe.deployed("digits", good.digest().unwrap()).await;

    let own_edit = |(name, version): &(String, Option<String>)| {
        (
            name.clone(),
            if name == "ModelDeployment digits" {
                None
            } else {
                version.clone()
            },
        )
    };
    let after = versions(&stage).await;
    let findings_changed = stage
        .operator
        .requests
        .writes(&stage.namespace)
        .split_off(written);
    // The rule on repositories shows up in findings and goes again; beyond these statuses nothing is written.
    let others: Vec<_> = findings_changed
        .iter()
        .filter(|asked| asked.resource != "probity.dev/modeldeployments/status")
        .collect();
    assert!(others.is_empty(), "{others:?}");
    let unchanged = |versions: &[(String, Option<String>)]| {
        versions
            .iter()
            .filter(|(name, _)| !name.starts_with("ModelDeployment"))
            .map(own_edit)
            .collect::<Vec<_>>()
    };
    assert_eq!(unchanged(&after), unchanged(&before));
}

/// Nothing of the policy's meaning changes, nor does anything else: not one write.
#[tokio::test]
async fn looking_again_writes_nothing_at_all() {
    let stage = Stage::new().await;
    let good = Model::signed().push(&format!("repairs/{}", stage.namespace));
    stage.serve("digits", &good).await;
    stage.event("digits", "Serving").await;
    let before = versions(&stage).await;
    let requests = &stage.operator.requests;
    let written = requests.writes(&stage.namespace);
    let looks = || {
        let name = Some("digits".to_owned());
        requests
            .all()
            .into_iter()
            .filter(|asked| {
                asked.verb == "get"
                    && asked.resource == "apps/deployments"
                    && asked.namespace.as_ref() == Some(&stage.namespace)
                    && asked.name == name
            })
            .count()
    };
    let seen = looks();
    // The policy is another, and means the same.
    let looked = async {
        while looks() < seen + 2 {
            for threshold in [json!(1), Value::Null] {
                let patch = json!({"spec": {"model": {"threshold": threshold}}});
                stage.change_policy(patch).await;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(crate::stage::PATIENCE, looked)
        .await
        .expect("it is looked at again");
    assert_eq!(versions(&stage).await, before);
    assert_eq!(requests.writes(&stage.namespace), written);
}
