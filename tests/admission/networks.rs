//! Network policies of others in a governed namespace, with the operator behind the chart's webhooks: none opens what policy
//! wants closed, whether it is Kubernetes' kind or Cilium's.
#![allow(clippy::needless_pass_by_value, reason = "rows of a table are values")]

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    faults::bed::Bed,
    renewal::{apply, eventually, may_have_pods},
    testbed,
};

/// Pods of no model may run, so that one can be there with a model's label from before.
fn policy(name: &str, effect: &str) -> Value {
    json!({
        "apiVersion": "probity.dev/v1alpha1", "kind": "ClusterDeploymentPolicy", "metadata": {"name": name},
        "spec": {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}},
            "signers": [{"name": "release", "key": {"trustRoot": name, "keys": ["release"]}}],
            "model": {"signers": ["release"]},
            "isolation": {"effect": effect, "network": "DefaultDeny"}
        }
    })
}

fn open(group: &str, name: &str, spec: Value) -> Value {
    let kind = if group == "cilium.io/v2" {
        "CiliumNetworkPolicy"
    } else {
        "NetworkPolicy"
    };
    json!({"apiVersion": group, "kind": kind, "metadata": {"name": name}, "spec": spec})
}

const KUBERNETES: &str = "networking.k8s.io/v1";
const CILIUM: &str = "cilium.io/v2";

/// What the API server says to whoever writes this in the namespace: nothing, or why not.
async fn said(
    client: &Client,
    namespace: &str,
    method: &str,
    object: &Value,
    dry: bool,
) -> Result<(), String> {
    let (group, kind) = (
        object["apiVersion"].as_str().unwrap(),
        object["kind"].as_str().unwrap(),
    );
    let plural = format!("{}ies", kind.to_lowercase().trim_end_matches('y'));
    let name = match method {
        "POST" => String::new(),
        _ => format!("/{}", object["metadata"]["name"].as_str().unwrap()),
    };
    let dry = if dry { "?dryRun=All" } else { "" };
    let mut object = object.clone();
    if method == "PUT" {
        let path = format!("/apis/{group}/namespaces/{namespace}/{plural}{name}");
        let there: Value = client
            .request(http::Request::get(path).body(Vec::new()).unwrap())
            .await
            .unwrap();
        object["metadata"]["resourceVersion"] = there["metadata"]["resourceVersion"].clone();
    }
    let request = http::Request::builder()
        .method(method)
        .uri(format!(
            "/apis/{group}/namespaces/{namespace}/{plural}{name}{dry}"
        ))
        .header("content-type", "application/json")
        .body(object.to_string().into_bytes())
        .unwrap();
    match client.request_text(request).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) => Err(status.message.clone()),
        Err(error) => panic!("no answer: {error:?}"),
    }
}

/// Cilium's kind, as far as it matters here.
async fn install_cilium(client: &Client) {
    let any = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let schema =
        json!({"type": "object", "properties": {"spec": any, "specs": {"type": "array", "items": any}}});
    let names = json!({"kind": "CiliumNetworkPolicy", "plural": "ciliumnetworkpolicies", "singular": "ciliumnetworkpolicy"});
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "ciliumnetworkpolicies.cilium.io"},
        "spec": {
            "group": "cilium.io", "scope": "Namespaced", "names": names,
            "versions": [{"name": "v2", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]
        }
    });
    apply(client, definition).await;
    testbed::established(client, "ciliumnetworkpolicies.cilium.io").await;
}

/// One story, because an API server with an operator costs seconds.
#[expect(clippy::too_many_lines, reason = "one story, in its order")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_network_policy_of_others_opens_a_model() {
    let bed = Bed::new().await;
    let client = bed.client().await;
    install_cilium(&client).await;
    let operator = bed.operator("networks");
    bed.ready(&[&operator]).await;

    // A pod of a model from before anybody governed the namespace, with a label of its own.
    let bank = testbed::namespace(&client).await;
    may_have_pods(&client, &bank).await;
    let pods: Api<Pod> = Api::namespaced(client.clone(), &bank);
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "digits-0", "labels": {"app": "till", "probity.dev/model": "digits"}},
        "spec": {"containers": [{"name": "main", "image": "registry.example/main:1"}]}
    }))
    .unwrap();
    pods.create(&PostParams::default(), &pod).await.unwrap();
    let everybody = json!([{"from": [{"namespaceSelector": {}}]}]);
    let opens = |selector: Value| {
        open(
            KUBERNETES,
            "open",
            json!({"podSelector": selector, "ingress": everybody}),
        )
    };
    let old = open(
        KUBERNETES,
        "old",
        json!({"podSelector": {}, "ingress": everybody}),
    );
    said(&client, &bank, "POST", &old, false)
        .await
        .expect("nobody governs here yet");
    let key = rcgen::KeyPair::generate().unwrap().public_key_pem();
    let root = json!({
        "apiVersion": "probity.dev/v1alpha1", "kind": "TrustRoot", "metadata": {"name": bank},
        "spec": {"keys": [{"name": "release", "publicKey": key}]}
    });
    apply(&client, root).await;
    apply(&client, policy(&bank, "Enforce")).await;
    let labels = json!({"probity.dev/governed": "true"});
    apply(
        &client,
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": bank, "labels": labels}}),
    )
    .await;
    let create = async |object: Value| said(&client, &bank, "POST", &object, true).await;
    eventually("it is closed", async || {
        create(opens(json!({})))
            .await
            .err()
            .filter(|why| why.contains("NetworkOpened"))
    })
    .await;

    let model = json!({"matchLabels": {"probity.dev/model": "digits"}});
    let till = json!({"matchLabels": {"app": "till"}});
    let web = json!({"matchLabels": {"app": "web"}});
    let world = json!([{"toEntities": ["world"]}]);
    let rows = [
        ("of the model", opens(model), true),
        (
            "of one that may come",
            opens(json!({"matchLabels": {"probity.dev/model": "later"}})),
            true,
        ),
        ("by another label of its pod", opens(till.clone()), true),
        ("of others", opens(web.clone()), false),
        (
            "that closes",
            open(
                KUBERNETES,
                "open",
                json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}),
            ),
            false,
        ),
        (
            "out of it",
            open(KUBERNETES, "open", json!({"podSelector": {}, "egress": [{}]})),
            true,
        ),
        (
            "Cilium's",
            open(CILIUM, "open", json!({"endpointSelector": till, "egress": world})),
            true,
        ),
        (
            "Cilium's, of others",
            open(CILIUM, "open", json!({"endpointSelector": web, "egress": world})),
            false,
        ),
        (
            "Cilium's, that closes",
            open(
                CILIUM,
                "open",
                json!({"endpointSelector": {}, "ingressDeny": [{"fromEntities": ["all"]}]}),
            ),
            false,
        ),
    ];
    let mut wrong = Vec::new();
    for (what, object, refused) in rows {
        let answer = create(object).await;
        let right = match &answer {
            Ok(()) => !refused,
            Err(why) => refused && why.contains("NetworkOpened") && why.contains("spec.clients"),
        };
        if !right {
            wrong.push(format!("one {what}: {answer:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    // What is older stays, may be labelled and made narrower, and is not made wider.
    let mut labelled = old.clone();
    labelled["metadata"]["labels"] = json!({"team": "bank"});
    said(&client, &bank, "PUT", &labelled, true)
        .await
        .expect("a label opens nothing");
    let mut wider = old.clone();
    wider["spec"]["egress"] = json!([{}]);
    let refused = said(&client, &bank, "PUT", &wider, true).await.unwrap_err();
    assert!(refused.contains("spec.egress[0]"), "{refused}");

    // A pod of the model does not turn into one that another policy means.
    let relabel = Patch::Merge(json!({"metadata": {"labels": {"app": "web"}}}));
    let refused = pods
        .patch("digits-0", &PatchParams::default(), &relabel)
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("metadata.labels[app]"), "{refused}");

    apply(&client, policy(&bank, "Warn")).await;
    eventually("it only warns", async || create(opens(json!({}))).await.ok()).await;
}
