//! Waivers with everything that belongs to them: the operator behind the chart's webhooks, its guard beside them, and people
//! who may waive. Who made one is what admission wrote, and what it is for is let in until it is over, by the clock alone.

use jiff::{SignedDuration, Timestamp};
use kube::{Api, Client, api::PostParams};
use probity::api::v1alpha1::Waiver;
use serde_json::{Value, json};

use crate::{
    faults::bed::{Bed, policy},
    renewal::{NAMESPACE, apply, eventually, may_have_pods},
    testbed,
};

const ADA: &str = "ada@bank.example";
const MAKER: &str = "system:serviceaccount:kube-system:replicaset-controller";
const MAKERS: [&str; 3] = [
    "system:serviceaccounts",
    "system:serviceaccounts:kube-system",
    "system:authenticated",
];

/// The chart's guard of waivers.
async fn guard(client: &Client) {
    let rendered = testbed::tool("helm", &["helm"])
        .args(["template", "probity"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/charts/probity"))
        .args([
            "--namespace",
            NAMESPACE,
            "--show-only",
            "templates/guards/waivers.yaml",
        ])
        .args(["--set", "image.repository=registry.example/probity"])
        .args(["--set", &format!("image.digest=sha256:{}", "f0".repeat(32))])
        .output()
        .unwrap();
    let rendered = String::from_utf8(rendered.stdout).unwrap();
    let objects = serde_saphyr::from_multiple::<Value>(&rendered).unwrap();
    assert!(objects.len() >= 2, "{rendered}");
    for object in objects {
        apply(client, object).await;
    }
}

/// Whoever may waive in the namespace.
async fn may_waive(client: &Client, namespace: &str, user: &str) {
    let rbac = "rbac.authorization.k8s.io";
    let binding = json!({
        "apiVersion": format!("{rbac}/v1"), "kind": "RoleBinding",
        "metadata": {"name": "may-waive", "namespace": namespace},
        "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "probity-waiver"},
        "subjects": [{"apiGroup": rbac, "kind": "User", "name": user}]
    });
    apply(client, binding).await;
}

fn waiver(name: &str, rules: &[&str], by: Option<&str>, expires: Timestamp) -> Waiver {
    let waiver = json!({
        "metadata": {"name": name},
        "spec": {
            "rules": rules, "subject": {"modelDeployment": "digits"}, "expires": expires,
            "reason": "the vendor mends it next week", "approvedBy": by
        }
    });
    serde_json::from_value(
        json!({"apiVersion": "probity.dev/v1alpha1", "kind": "Waiver", "metadata": waiver["metadata"], "spec": waiver["spec"]}),
    )
    .unwrap()
}

/// So many seconds from now, as Kubernetes keeps time.
fn seconds(ahead: i64) -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second() + ahead).unwrap()
}

/// What the API server says to whoever makes this waiver: who approved the one that is stored, or why there is none.
async fn made(by: &Client, namespace: &str, waiver: &Waiver) -> Result<Option<String>, String> {
    let api: Api<Waiver> = Api::namespaced(by.clone(), namespace);
    match api.create(&PostParams::default(), waiver).await {
        Ok(stored) => Ok(stored.spec.approved_by),
        Err(kube::Error::Api(status)) => Err(status.message.clone()),
        Err(error) => panic!("no answer: {error:?}"),
    }
}

async fn whoever(bed: &Bed, user: &str) -> Client {
    Client::try_from(testbed::config_as(bed.kubeconfig(), user, &["system:authenticated"]).await).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_made_a_waiver_is_written_by_admission_whatever_its_author_wrote() {
    let bed = Bed::mutating().await;
    let admin = bed.client().await;
    guard(&admin).await;
    let operator = bed.operator("waivers");
    bed.ready(&[&operator]).await;
    let bank = testbed::governed_namespace(&admin).await;
    may_waive(&admin, &bank, ADA).await;
    let (ada, jane) = (whoever(&bed, ADA).await, whoever(&bed, "jane").await);
    let month = seconds(30 * 24 * 60 * 60);
    let signature = ["model.signature"];

    // The guard wants her name there, so that only admission can have written it.
    let first = waiver("first", &signature, None, month);
    let stored = eventually("Ada's name is written", async || {
        made(&ada, &bank, &first).await.ok()
    })
    .await;
    assert_eq!(stored.as_deref(), Some(ADA));
    for (name, by) in [
        ("bobs", "bob@bank.example"),
        ("hers", ADA),
        ("nobodys", "system:masters"),
    ] {
        let stored = made(&ada, &bank, &waiver(name, &signature, Some(by), month)).await;
        assert_eq!(stored, Ok(Some(ADA.to_owned())), "she wrote {by}");
    }
    // Nobody else may, in whoever's name.
    for by in [None, Some("jane"), Some(ADA)] {
        let refused = made(&jane, &bank, &waiver("janes", &signature, by, month)).await;
        assert!(
            refused.as_ref().is_err_and(|why| why.contains("forbidden")),
            "{refused:?}"
        );
    }
    // What makes no sense is told to whoever makes it.
    for (rules, expires, says) in [
        (&["model.signature"][..], seconds(-60), "is over already"),
        (&["model.revoked"][..], month, "revocation always wins"),
        (&["isolation.rbac"][..], month, "can be waived"),
    ] {
        let refused = made(&ada, &bank, &waiver("senseless", rules, None, expires)).await;
        assert!(
            refused.as_ref().is_err_and(|why| why.contains(says)),
            "{says}: {refused:?}"
        );
    }

    // While admission is away she writes it herself, and it has to be her own.
    operator.end().await;
    let bobs = waiver("away", &signature, Some("bob@bank.example"), month);
    let refused = made(&ada, &bank, &bobs).await;
    assert!(
        refused.as_ref().is_err_and(|why| why.contains("spec.approvedBy")),
        "{refused:?}"
    );
    let hers = waiver("away", &signature, Some(ADA), month);
    assert_eq!(made(&ada, &bank, &hers).await, Ok(Some(ADA.to_owned())));
}

/// A Deployment that `digits` governs, whose pods are no pods for a policy that asks for hardening.
async fn governed(client: &Client, namespace: &str) -> Value {
    let image = format!("registry.example/s@sha256:{}", "5e".repeat(32));
    let template = json!({
        "metadata": {"labels": {"app": "teller"}},
        "spec": {
            "containers": [{"name": "main", "image": image, "volumeMounts": [
                {"name": "models", "mountPath": "/mnt/models", "subPath": "digits/1"}
            ]}],
            "volumes": [{"name": "models", "persistentVolumeClaim": {"claimName": "models"}}]
        }
    });
    let spec = json!({"selector": {"matchLabels": {"app": "teller"}}, "template": template});
    let made = |kind: &str, name: &str, owner: Option<Value>| {
        json!({
            "apiVersion": "apps/v1", "kind": kind, "spec": spec,
            "metadata": {"name": name, "namespace": namespace, "ownerReferences": owner.into_iter().collect::<Vec<_>>()}
        })
    };
    let owner = |kind: &str, name: &str, uid: Option<String>| json!({"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid, "controller": true});
    apply(client, made("Deployment", "teller", None)).await;
    let deployments: Api<k8s_openapi::api::apps::v1::Deployment> = Api::namespaced(client.clone(), namespace);
    let uid = deployments.get("teller").await.unwrap().metadata.uid;
    apply(
        client,
        made("ReplicaSet", "teller-1", Some(owner("Deployment", "teller", uid))),
    )
    .await;
    let sets: Api<k8s_openapi::api::apps::v1::ReplicaSet> = Api::namespaced(client.clone(), namespace);
    let uid = sets.get("teller-1").await.unwrap().metadata.uid;
    let model = json!({
        "apiVersion": "probity.dev/v1alpha1", "kind": "ModelDeployment",
        "metadata": {"name": "digits", "namespace": namespace},
        "spec": {
            "model": {"source": {"volume": {"claimName": "models", "path": "digits/1"}}},
            "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "teller"}
        }
    });
    apply(client, model).await;
    json!({
        "apiVersion": "v1", "kind": "Pod", "spec": template["spec"],
        "metadata": {
            "generateName": "teller-1-", "labels": {"app": "teller"},
            "ownerReferences": [owner("ReplicaSet", "teller-1", uid)]
        }
    })
}

/// What the API server says to the `ReplicaSet`'s controller about such a pod, without making it.
async fn asked(maker: &Client, namespace: &str, pod: &Value) -> Result<(), String> {
    let request = http::Request::post(format!("/api/v1/namespaces/{namespace}/pods?dryRun=All"))
        .header("content-type", "application/json")
        .body(pod.to_string().into_bytes())
        .unwrap();
    match maker.request_text(request).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) => Err(status.message.clone()),
        Err(error) => panic!("no answer: {error:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_of_a_waived_model_are_let_in_until_the_waiver_is_over() {
    let bed = Bed::mutating().await;
    let admin = bed.client().await;
    let operator = bed.operator("waived");
    bed.ready(&[&operator]).await;
    let bank = testbed::governed_namespace(&admin).await;
    may_have_pods(&admin, &bank).await;
    let mut pod = governed(&admin, &bank).await;
    policy(&admin, &bank, &bank, "Deny").await;
    let isolation = json!({"spec": {"isolation": {"hardening": "Restricted", "runtimeClasses": ["kata"]}}});
    Api::<probity::api::v1alpha1::ClusterDeploymentPolicy>::all(admin.clone())
        .patch(
            &bank,
            &kube::api::PatchParams::default(),
            &kube::api::Patch::Merge(isolation),
        )
        .await
        .unwrap();
    let maker = Client::try_from(testbed::config_as(bed.kubeconfig(), MAKER, &MAKERS).await).unwrap();
    let refused = async |words: &[&str]| {
        eventually(&format!("it is refused with {words:?}"), async || {
            let why = asked(&maker, &bank, &pod).await.err()?;
            words.iter().all(|word| why.contains(word)).then_some(why)
        })
        .await
    };
    refused(&["NotHardened", "RuntimeClassNotAllowed"]).await;

    // One of the two, and then both; for the pods of this model alone.
    let month = seconds(30 * 24 * 60 * 60);
    made(
        &admin,
        &bank,
        &waiver("runtime", &["isolation.runtimeClasses"], None, month),
    )
    .await
    .unwrap();
    let why = eventually("the runtime alone is waived", async || {
        let why = asked(&maker, &bank, &pod).await.err()?;
        (!why.contains("RuntimeClassNotAllowed")).then_some(why)
    })
    .await;
    assert!(why.contains("NotHardened"), "{why}");
    let expires = seconds(8);
    made(
        &admin,
        &bank,
        &waiver("hardening", &["isolation.hardening"], None, expires),
    )
    .await
    .unwrap();
    eventually("its pods are let in", async || {
        asked(&maker, &bank, &pod).await.ok()
    })
    .await;
    assert!(
        Timestamp::now() < expires,
        "the machine is too slow for this test"
    );
    let why = refused(&["NotHardened", "was over at"]).await;
    let late = Timestamp::now().duration_since(expires);
    println!("refused {late:#} after it was over");
    assert!(
        !late.is_negative() && late < SignedDuration::from_secs(5),
        "{late:#}: {why}"
    );
    assert!(
        !why.contains("RuntimeClassNotAllowed"),
        "the other goes on: {why}"
    );
    // A pod beside it is nobody's to waive.
    pod["metadata"]["ownerReferences"] = json!(null);
    let why = asked(&maker, &bank, &pod).await.unwrap_err();
    assert!(why.contains("RuntimeClassNotAllowed"), "{why}");
}
