//! Objects of our own kinds that this version cannot read, as another version's definitions may leave them behind: each
//! harms itself, and no other of its kind.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams},
};
use probity::api::{
    custom_resource_definitions,
    v1alpha1::{ArtifactVerification, ClusterDeploymentPolicy, DeploymentPolicy, ModelDeployment, TrustRoot},
};
use serde_json::{Value, json};

use super::bed::{Bed, Said, admitted, ask, model, policy, refused};
use crate::{
    renewal::{apply, eventually},
    testbed,
};

/// Takes every kind's schema away: anything may be stored.
async fn loosen(client: &Client) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for definition in custom_resource_definitions() {
        let name = definition.metadata.name.unwrap();
        let schema =
            json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
        let loose = json!([{"op": "replace", "path": "/spec/versions/0/schema", "value": schema}]);
        let loose = Patch::Json::<()>(serde_json::from_value(loose).unwrap());
        api.patch(&name, &PatchParams::default(), &loose).await.unwrap();
    }
}

/// One of each kind that says nothing this version understands.
fn broken(namespace: &str) -> Vec<Value> {
    [
        "TrustRoot",
        "ClusterDeploymentPolicy",
        "DeploymentPolicy",
        "ModelDeployment",
        "ArtifactVerification",
    ]
    .into_iter()
    .map(|kind| {
        let mut object = json!({
            "apiVersion": "probity.dev/v1alpha1", "kind": kind,
            "metadata": {"name": "broken"}, "spec": {"keys": 7, "model": 7, "source": 7}
        });
        if !["TrustRoot", "ClusterDeploymentPolicy"].contains(&kind) {
            object["metadata"]["namespace"] = namespace.into();
        }
        object
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_harms_no_other_of_its_kind() {
    let bed = Bed::shared().await;
    let bed = bed.as_ref().unwrap();
    let client = bed.client().await;
    let namespace = testbed::governed_namespace(&client).await;
    let healthy = bed.governed(&client, "Allow").await;
    loosen(&client).await;
    for object in broken(&namespace) {
        // The API server takes a moment to see its new definitions.
        eventually("it is stored", async || {
            stored(&client, &object).await.then_some(())
        })
        .await;
    }
    testbed::install(&client).await;

    // It starts with all of them there, and others come afterwards.
    let operator = bed.operator("reads");
    bed.ready(&[&operator]).await;
    let said = refused(&client, &healthy, "broken").await;
    assert!(
        said.contains("ClusterDeploymentPolicy/broken"),
        "a policy for nobody knows which namespaces: {said}"
    );
    let policies: Api<ClusterDeploymentPolicy> = Api::all(client.clone());
    policies.delete("broken", &DeleteParams::default()).await.unwrap();
    admitted(&client, &healthy).await;

    policy(&client, "other", "nowhere", "Deny").await;
    apply(&client, model(&healthy, "other")).await;
    let own = json!({
        "apiVersion": "probity.dev/v1alpha1", "kind": "DeploymentPolicy",
        "metadata": {"name": "other", "namespace": healthy},
        "spec": {
            "signers": [{"name": "release", "key": {"trustRoot": healthy, "keys": ["release"]}}],
            "model": {"signers": ["release"]}, "effect": "Audit"
        }
    });
    apply(&client, own).await;
    let digest = format!("sha256:{}", "d1".repeat(32));
    let verification = json!({
        "apiVersion": "probity.dev/v1alpha1", "kind": "ArtifactVerification",
        "metadata": {"name": "other", "namespace": healthy},
        "spec": {
            "source": {"oci": {"repository": "registry.invalid/models/other", "digest": digest}},
            "keys": [{"name": "a/b", "fingerprint": digest, "publicKey": rcgen::KeyPair::generate().unwrap().public_key_pem()}]
        }
    });
    apply(&client, verification).await;
    macro_rules! told {
        ($kind:ty, $api:expr) => {
            eventually(
                concat!("another ", stringify!($kind), " is told how it is"),
                async || {
                    let api: Api<$kind> = $api;
                    api.get("other").await.unwrap().status.map(|_| ())
                },
            )
            .await;
        };
    }
    told!(TrustRoot, Api::all(client.clone()));
    told!(ClusterDeploymentPolicy, Api::all(client.clone()));
    told!(DeploymentPolicy, Api::namespaced(client.clone(), &healthy));
    told!(ModelDeployment, Api::namespaced(client.clone(), &healthy));
    told!(ArtifactVerification, Api::namespaced(client.clone(), &healthy));
    assert_eq!(ask(&client, &healthy).await, Said::Admitted);

    // Each is counted, and the log says which one and what is wrong with it.
    let log = operator.log();
    for kind in [
        "TrustRoot",
        "DeploymentPolicy",
        "ModelDeployment",
        "ArtifactVerification",
    ] {
        let name = if kind == "TrustRoot" {
            "broken".into()
        } else {
            format!("{namespace}/broken")
        };
        let line = log
            .lines()
            .find(|line| line.contains(&format!("kind={kind} ")) && line.contains(&format!("object={name} ")))
            .unwrap_or_else(|| panic!("nothing of {kind} {name} in:\n{log}"));
        assert!(line.contains("this version cannot read it"), "{line}");
        let metric = format!("probity_reconciliations_total{{kind=\"{kind}\",result=\"unreadable\"}}");
        assert!(operator.metric(&metric).await >= Some(1.0), "{metric}");
    }

    // Corrected, it is one like the others.
    let models: Api<ModelDeployment> = Api::namespaced(client.clone(), &namespace);
    let corrected = Patch::Merge(model(&namespace, "broken"));
    models
        .patch("broken", &PatchParams::default(), &corrected)
        .await
        .unwrap();
    eventually("the corrected one is told how it is", async || {
        models.get("broken").await.unwrap().status.map(|_| ())
    })
    .await;
    for object in broken(&namespace) {
        drop_it(&client, &object).await;
    }
}

fn path(object: &Value) -> String {
    let plural =
        format!("{}s", object["kind"].as_str().unwrap().to_lowercase()).replace("policys", "policies");
    let group = "/apis/probity.dev/v1alpha1";
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("{group}/namespaces/{namespace}/{plural}"),
        None => format!("{group}/{plural}"),
    }
}

async fn stored(client: &Client, object: &Value) -> bool {
    let request = http::Request::post(path(object))
        .header("content-type", "application/json")
        .body(object.to_string().into_bytes())
        .unwrap();
    client.request_text(request).await.is_ok()
}

async fn drop_it(client: &Client, object: &Value) {
    let request = http::Request::delete(format!("{}/broken", path(object)))
        .body(Vec::new())
        .unwrap();
    let _ = client.request_text(request).await;
}
