//! Roles and bindings of a governed namespace, with the operator behind the chart's webhooks and the chart's rights: who may
//! give what to the account of a model. What was there before is for the audit, in `tests/operator`.
#![allow(clippy::needless_pass_by_value, reason = "rows of a table are values")]

use kube::Client;
use serde_json::{Value, json};

use crate::{
    faults::bed::Bed,
    renewal::{apply, eventually},
    testbed,
};

const RBAC: &str = "rbac.authorization.k8s.io";

/// Reading pods may be given to accounts of models, and nothing else.
fn policy(name: &str, namespace: &str, effect: &str) -> Value {
    let key = rcgen::KeyPair::generate().unwrap().public_key_pem();
    json!([
        {
            "apiVersion": "probity.dev/v1alpha1", "kind": "TrustRoot", "metadata": {"name": name},
            "spec": {"keys": [{"name": "release", "publicKey": key}]}
        },
        {
            "apiVersion": "probity.dev/v1alpha1", "kind": "ClusterDeploymentPolicy", "metadata": {"name": name},
            "spec": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "signers": [{"name": "release", "key": {"trustRoot": name, "keys": ["release"]}}],
                "model": {"signers": ["release"]},
                "isolation": {
                    "effect": effect,
                    "rbac": {"ceiling": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}
                }
            }
        }
    ])
}

async fn apply_all(client: &Client, objects: Value) {
    for object in objects.as_array().unwrap() {
        apply(client, object.clone()).await;
    }
}

fn role(name: &str, rule: Value) -> Value {
    json!({"apiVersion": format!("{RBAC}/v1"), "kind": "Role", "metadata": {"name": name}, "rules": [rule]})
}

fn rule(group: &str, resource: &str, verb: &str) -> Value {
    json!({"apiGroups": [group], "resources": [resource], "verbs": [verb]})
}

fn binding(kind: &str, role: &str, subject: Value) -> Value {
    json!({
        "apiVersion": format!("{RBAC}/v1"), "kind": "RoleBinding", "metadata": {"name": "gives"},
        "roleRef": {"apiGroup": RBAC, "kind": kind, "name": role}, "subjects": [subject]
    })
}

fn account(name: &str) -> Value {
    json!({"kind": "ServiceAccount", "name": name, "namespace": "NAMESPACE"})
}

/// What the API server says to whoever writes this in the namespace: nothing, or why not.
async fn said(
    client: &Client,
    namespace: &str,
    method: &str,
    object: &Value,
    dry: bool,
) -> Result<(), String> {
    let body = object.to_string().replace("NAMESPACE", namespace);
    let kind = object["kind"].as_str().unwrap().to_lowercase();
    let name = match method {
        "POST" => String::new(),
        _ => format!("/{}", object["metadata"]["name"].as_str().unwrap()),
    };
    let dry = if dry { "?dryRun=All" } else { "" };
    let request = http::Request::builder()
        .method(method)
        .uri(format!(
            "/apis/{RBAC}/v1/namespaces/{namespace}/{kind}s{name}{dry}"
        ))
        .header("content-type", "application/json")
        .body(body.into_bytes())
        .unwrap();
    match client.request_text(request).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) => Err(status.message.clone()),
        Err(error) => panic!("no answer: {error:?}"),
    }
}

/// A model that Probity runs, and one of a workload whose pods run under `teller`.
async fn models(client: &Client, namespace: &str) {
    let image = format!("registry.example/s@sha256:{}", "5e".repeat(32));
    let model = |name: &str, spec: Value| {
        json!({
            "apiVersion": "probity.dev/v1alpha1", "kind": "ModelDeployment",
            "metadata": {"name": name, "namespace": namespace}, "spec": spec
        })
    };
    let source = json!({"source": {"oci": {"reference": "registry.invalid/models/digits:1"}}});
    let server = json!({"image": image, "protocol": "HTTP", "port": 80});
    apply(
        client,
        model("digits", json!({"model": source, "server": server})),
    )
    .await;
    let workload = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "till"});
    let mounted = json!({"model": {"source": {"mounted": {}}}, "workloadRef": workload});
    apply(client, model("prices", mounted)).await;
    let pod = json!({"serviceAccountName": "teller", "containers": [{"name": "main", "image": image}]});
    let workload = json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "till", "namespace": namespace},
        "spec": {
            "serviceName": "till", "selector": {"matchLabels": {"app": "till"}},
            "template": {"metadata": {"labels": {"app": "till"}}, "spec": pod}
        }
    });
    apply(client, workload).await;
}

/// One story, because an API server with an operator costs seconds.
#[expect(clippy::too_many_lines, reason = "one story, in its order")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_binding_gives_the_account_of_a_model_more_than_the_ceiling() {
    let bed = Bed::new().await;
    let client = bed.client().await;
    let operator = bed.operator("rights");
    bed.ready(&[&operator]).await;
    let bank = testbed::governed_namespace(&client).await;
    models(&client, &bank).await;
    let create = async |object: &Value| said(&client, &bank, "POST", object, true).await;

    // There before the policy: it stays, and is not asked about.
    let old = role("old", rule("", "secrets", "*"));
    said(&client, &bank, "POST", &old, false).await.unwrap();
    let mut before = binding("Role", "old", account("digits"));
    before["metadata"]["name"] = json!("before");
    said(&client, &bank, "POST", &before, false).await.unwrap();
    apply_all(&client, policy(&bank, &bank, "Enforce")).await;
    eventually("the policy is in force", async || {
        create(&binding("Role", "old", account("digits"))).await.err()
    })
    .await;
    before["metadata"]["labels"] = json!({"team": "bank"});
    said(&client, &bank, "PUT", &before, true)
        .await
        .expect("a label gives nobody anything");

    // What is in the way, by what the role gives.
    let mut wrong = Vec::new();
    let mut check = |what: String, said: Result<(), String>, refused: Option<&str>| {
        let right = match (&said, refused) {
            (Ok(()), None) => true,
            (Err(why), Some(words)) => why.contains("RightsExceeded") && why.contains(words),
            _ => false,
        };
        if !right {
            wrong.push(format!("{what}: {said:?}"));
        }
    };
    for (name, given, refused) in [
        ("reads", rule("", "pods", "get"), None),
        ("wildcard", rule("*", "*", "*"), Some("* *.*")),
        ("everyverb", rule("", "pods", "*"), Some("* pods")),
        ("secrets", rule("", "secrets", "get"), Some("get secrets")),
        (
            "escalate",
            rule(RBAC, "roles", "escalate"),
            Some("escalate roles"),
        ),
        (
            "bind",
            rule(RBAC, "clusterroles", "bind"),
            Some("bind clusterroles"),
        ),
        (
            "impersonate",
            rule("", "users", "impersonate"),
            Some("impersonate users"),
        ),
        ("exec", rule("", "pods/exec", "create"), Some("create pods/exec")),
        ("attach", rule("", "pods/attach", "get"), Some("get pods/attach")),
        (
            "forward",
            rule("", "pods/portforward", "create"),
            Some("create pods/portforward"),
        ),
        (
            "tokens",
            rule("", "serviceaccounts/token", "create"),
            Some("create serviceaccounts/token"),
        ),
        (
            "ours",
            rule("probity.dev", "modeldeployments", "patch"),
            Some("patch modeldeployments.probity.dev"),
        ),
        ("kubelet", rule("", "nodes/proxy", "get"), Some("get nodes/proxy")),
    ] {
        said(&client, &bank, "POST", &role(name, given.clone()), false)
            .await
            .unwrap();
        check(
            format!("a Role that {name}"),
            create(&binding("Role", name, account("digits"))).await,
            refused,
        );
        let cluster = format!("{bank}-{name}");
        let mut whole = role(&cluster, given);
        whole["kind"] = json!("ClusterRole");
        apply(&client, whole).await;
        let bound = create(&binding("ClusterRole", &cluster, account("digits"))).await;
        check(format!("a ClusterRole that {name}"), bound, refused);
    }

    // By whom it means.
    let of_all = format!("system:serviceaccounts:{bank}");
    for (whom, subject, refused) in [
        (
            "the account of an adopted workload",
            account("teller"),
            Some("ModelDeployment prices"),
        ),
        ("another account", account("other"), None),
        ("a person", json!({"kind": "User", "name": "jane"}), None),
        (
            "the account as a user",
            json!({"kind": "User", "name": format!("system:serviceaccount:{bank}:digits")}),
            Some("ModelDeployment digits"),
        ),
        (
            "all accounts of the namespace",
            json!({"kind": "Group", "name": of_all}),
            Some("the accounts of models"),
        ),
        (
            "all accounts",
            json!({"kind": "Group", "name": "system:serviceaccounts"}),
            Some("the accounts of models"),
        ),
        (
            "everybody",
            json!({"kind": "Group", "name": "system:authenticated"}),
            Some("the accounts of models"),
        ),
    ] {
        check(
            whom.to_owned(),
            create(&binding("Role", "secrets", subject)).await,
            refused,
        );
    }

    // The role comes, or is made wider, after the binding.
    let mut after = binding("Role", "later", account("digits"));
    after["metadata"]["name"] = json!("after");
    said(&client, &bank, "POST", &after, false)
        .await
        .expect("nothing is given yet");
    let later = |verb: &str| role("later", rule("", "pods", verb));
    check(
        "a role made for its binding".into(),
        create(&later("delete")).await,
        Some("RoleBinding"),
    );
    said(&client, &bank, "POST", &later("get"), false)
        .await
        .expect("within the ceiling");
    let wider = said(&client, &bank, "PUT", &later("delete"), true).await;
    check("a role made wider".into(), wider, Some("delete pods"));
    let narrower = said(
        &client,
        &bank,
        "PUT",
        &role("old", rule("", "secrets", "get")),
        true,
    )
    .await;
    check(
        "a role made narrower, which still gives too much".into(),
        narrower,
        None,
    );
    let missing = create(&binding("ClusterRole", "nobody-made-it", account("digits"))).await;
    assert!(
        missing
            .unwrap_err()
            .contains("ClusterRole nobody-made-it does not exist")
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    // One that only warns lets it be.
    apply_all(&client, policy(&bank, &bank, "Warn")).await;
    eventually("it only warns", async || {
        create(&binding("Role", "secrets", account("digits"))).await.ok()
    })
    .await;
}
