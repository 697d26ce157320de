//! What the API server says to whoever applies a workload or an object of ours, with the real operator behind the chart's
//! webhooks. Its webhook for pods is left out: pods are in `tests/cluster`.

use std::net::SocketAddr;

use k8s_openapi::api::{
    admissionregistration::v1::ValidatingWebhookConfiguration, apps::v1::Deployment, core::v1::Secret,
};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    client::Body,
    core::Request,
};
use probity::{
    api::v1alpha1::{ClusterDeploymentPolicy, ModelDeployment, RobustnessPolicy, TrustRoot},
    operator::{gate, run},
    workload::PodSettings,
};
use serde_json::{Value, json};
use tokio::{sync::oneshot, task::JoinHandle};

use crate::{
    door::certificate,
    operator::{asks, settings},
    renewal::{apply, asked_at, eventually},
    testbed,
};

const CONFIGURATION: &str = "probity-written";

/// The API server's answer to whoever writes something.
#[derive(Debug)]
struct Said {
    status: u16,
    body: Value,
    warnings: Vec<String>,
}

impl Said {
    fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }
}

/// Sends a request of which the warnings are wanted too: the client's own calls drop them.
async fn send(client: &Client, request: http::Request<Vec<u8>>) -> Said {
    let answer = client.send(request.map(Body::from)).await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let warnings = headers.get_all("warning").iter();
    let body = answer.into_body().collect_bytes().await.unwrap();
    Said {
        status,
        warnings: warnings
            .map(|warning| String::from_utf8(warning.as_bytes().to_vec()).unwrap())
            .collect(),
        body: serde_json::from_slice(&body).unwrap(),
    }
}

/// Creates it, or only asks what would be said.
async fn create<K: Resource<DynamicType = ()>>(
    client: &Client,
    namespace: Option<&str>,
    object: &Value,
    dry_run: bool,
) -> Said {
    let params = PostParams {
        dry_run,
        ..PostParams::default()
    };
    let place = Request::new(K::url_path(&(), namespace));
    send(
        client,
        place.create(&params, object.to_string().into_bytes()).unwrap(),
    )
    .await
}

async fn change<K: Resource<DynamicType = ()>>(
    client: &Client,
    namespace: &str,
    name: &str,
    change: Value,
) -> Said {
    let place = Request::new(K::url_path(&(), Some(namespace)));
    send(
        client,
        place
            .patch(name, &PatchParams::default(), &Patch::Merge(change))
            .unwrap(),
    )
    .await
}

fn deployment(image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "teller"},
        "spec": {"selector": {"matchLabels": {"app": "teller"}}, "template": {
            "metadata": {"labels": {"app": "teller"}}, "spec": {"containers": [{"name": "server", "image": image}]}
        }}
    })
}

/// For this namespace, if that is what this label means.
fn policy(namespace: &str, label: &str) -> Value {
    json!({
        "apiVersion": "probity.dev/v1alpha1", "kind": "ClusterDeploymentPolicy", "metadata": {"name": CONFIGURATION},
        "spec": {
            "namespaceSelector": {"matchLabels": {label: namespace}},
            "signers": [{"name": "release", "key": {"trustRoot": "not-there-yet", "keys": ["release"]}}],
            "model": {"signers": ["release"]}
        }
    })
}

fn governing(name: &str) -> Value {
    json!({
        "apiVersion": "probity.dev/v1alpha1", "kind": "ModelDeployment", "metadata": {"name": name},
        "spec": {
            "model": {"source": {"mounted": {}}},
            "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "teller"}
        }
    })
}

/// A model from a port that there is not, which the schema cannot see.
fn senseless() -> Value {
    json!({
        "apiVersion": "probity.dev/v1alpha1", "kind": "ModelDeployment", "metadata": {"name": "senseless"},
        "spec": {
            "model": {"source": {"oci": {"reference": "registry.example:99999/models/digits:1"}}},
            "server": {
                "image": format!("registry.example/servers/onnx@sha256:{}", "5e".repeat(32)),
                "protocol": "HTTP", "port": 80
            }
        }
    })
}

/// The operator with its gate, and the chart's webhooks that are not for pods.
async fn open(kube: &Client) -> (oneshot::Sender<()>, JoinHandle<()>) {
    let namespace = testbed::namespace(kube).await;
    let pair = certificate();
    let secret: Secret = serde_json::from_value(json!({
        "metadata": {"name": "brought-along"}, "type": "kubernetes.io/tls",
        "stringData": {"tls.crt": pair.0, "tls.key": pair.1}
    }))
    .unwrap();
    let secrets: Api<Secret> = Api::namespaced(kube.clone(), &namespace);
    secrets.create(&PostParams::default(), &secret).await.unwrap();

    let settings = settings(&namespace);
    let (admin, door) = (
        settings.admin_address,
        settings.admission.clone().unwrap().address,
    );
    let pods = PodSettings {
        fetch_image: settings.controllers.fetch_image.clone(),
        host_arguments: Vec::new(),
        relay: None,
        previous_images: Vec::new(),
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let running = Box::pin(run(kube.clone(), settings, Some(gate(pods)), async {
        let _ = stopped.await;
    }));
    let running = tokio::spawn(async { running.await.unwrap() });
    eventually("it is ready", async || {
        (asks(admin, "/readyz").await == (200, "ok".into())).then_some(())
    })
    .await;
    install(kube, door, &pair.0).await;
    (stop, running)
}

async fn install(kube: &Client, door: SocketAddr, authority: &str) {
    let rendered = testbed::tool("helm", &["helm"])
        .args(["template", "probity"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/charts/probity"))
        .args([
            "--namespace",
            "probity-system",
            "--show-only",
            "templates/admission.yaml",
        ])
        .args(["--set", "image.repository=registry.example/probity"])
        .args(["--set", &format!("image.digest=sha256:{}", "f0".repeat(32))])
        .output()
        .unwrap();
    let rendered = String::from_utf8(rendered.stdout).unwrap();
    let mut configuration = serde_saphyr::from_multiple::<Value>(&rendered)
        .unwrap()
        .into_iter()
        .find(|object| object["kind"] == "ValidatingWebhookConfiguration")
        .unwrap();
    asked_at(&mut configuration, door);
    configuration["metadata"] = json!({"name": CONFIGURATION});
    let hooks = configuration["webhooks"].as_array_mut().unwrap();
    hooks.retain(|hook| hook["name"] != "pods.probity.dev");
    let bundle = k8s_openapi::ByteString(authority.as_bytes().to_vec());
    for hook in hooks {
        hook["clientConfig"]["caBundle"] = json!(bundle);
        // What is not answered would be let be, and no test would see why.
        hook["failurePolicy"] = json!("Fail");
        hook["timeoutSeconds"] = json!(30);
    }
    apply(kube, configuration).await;
}

#[expect(
    clippy::too_many_lines,
    reason = "one story: the operator and its webhooks are one for all"
)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_applies_something_is_told_what_will_become_of_it() {
    let kube = testbed::client().await;
    let (governed, free) = (
        testbed::governed_namespace(&kube).await,
        testbed::namespace(&kube).await,
    );
    let here = Some(governed.as_str());
    // From before anybody was asked.
    let stored = create::<ModelDeployment>(&kube, here, &senseless(), false).await;
    assert_eq!(stored.status, 201, "{stored:?}");
    let (stop, running) = open(&kube).await;

    // A policy: its own mistake is refused, and what is not there yet may come.
    let refused = eventually("it is asked about policies", async || {
        let said = create::<ClusterDeploymentPolicy>(&kube, None, &policy(&governed, "its name"), true).await;
        (said.status != 201).then_some(said)
    })
    .await;
    assert!(
        refused.message().contains("objects.probity.dev")
            && refused
                .message()
                .contains("spec.namespaceSelector.matchLabels[its name]: "),
        "{refused:?}"
    );
    let warned = create::<ClusterDeploymentPolicy>(
        &kube,
        None,
        &policy(&governed, "kubernetes.io/metadata.name"),
        false,
    )
    .await;
    assert_eq!(warned.status, 201, "{warned:?}");
    assert!(
        warned.warnings[0].contains("TrustRoot/not-there-yet does not exist"),
        "{warned:?}"
    );

    // What no run could show is refused, with the number of samples that could.
    let unreachable = json!({
        "apiVersion": "probity.dev/v1alpha1", "kind": "RobustnessPolicy", "metadata": {"name": CONFIGURATION},
        "spec": {
            "dataset": {"reference": format!("registry.example/data@sha256:{}", "da".repeat(32)), "file": "heldout.npz"},
            "samples": 100,
            "suites": [{"name": "square", "square": {"norm": "Linf", "epsilon": "0.1", "queries": 100}}],
            "gates": [{"suite": "square", "metric": "robust_accuracy", "op": "AtLeast", "threshold": "0.99"}]
        }
    });
    let refused = create::<RobustnessPolicy>(&kube, here, &unreachable, true).await;
    assert_eq!(refused.status, 422, "{refused:?}");
    assert!(
        refused
            .message()
            .contains("spec.gates[0].threshold: 100 samples cannot show 0.99, even if the model is right about all of them: at least 437 can"),
        "{refused:?}"
    );

    let rsa = include_str!("../fixtures/oms/rsa.pub");
    let root = json!({
        "apiVersion": "probity.dev/v1alpha1", "kind": "TrustRoot", "metadata": {"name": CONFIGURATION},
        "spec": {"keys": [{"name": "old", "publicKey": rsa}]}
    });
    let refused = create::<TrustRoot>(&kube, None, &root, true).await;
    assert_eq!(refused.status, 422, "{refused:?}");
    assert!(
        refused.message().contains("spec.keys[old].publicKey: "),
        "{refused:?}"
    );

    // A workload: its pods would be refused, and it is not.
    let image = "registry.example/teller:1";
    let told = eventually("the policy is known", async || {
        let said = create::<Deployment>(&kube, here, &deployment(image), true).await;
        said.warnings
            .iter()
            .any(|one| one.contains("UnmanagedPod"))
            .then_some(said)
    })
    .await;
    assert_eq!((told.status, told.warnings.len()), (201, 1), "{told:?}");
    let warning = &told.warnings[0];
    assert!(
        warning.starts_with("299 - \"its pods would be refused: UnmanagedPod: "),
        "{warning}"
    );
    assert!(
        warning.ends_with(&format!(
            "(pods.managed of ClusterDeploymentPolicy/{CONFIGURATION})\""
        )),
        "{warning}"
    );
    let elsewhere = create::<Deployment>(&kube, Some(&free), &deployment(image), false).await;
    assert_eq!(
        (elsewhere.status, elsewhere.warnings.len()),
        (201, 0),
        "{elsewhere:?}"
    );
    let made = create::<Deployment>(&kube, here, &deployment(image), false).await;
    assert_eq!((made.status, made.warnings.len()), (201, 1), "{made:?}");
    let scaled = change::<Deployment>(&kube, &governed, "teller", json!({"spec": {"replicas": 0}})).await;
    assert_eq!((scaled.status, scaled.warnings.len()), (200, 0), "{scaled:?}");
    let template = json!({"spec": {"template": {"metadata": {"annotations": {"a": "b"}}}}});
    let changed = change::<Deployment>(&kube, &governed, "teller", template).await;
    assert_eq!((changed.status, changed.warnings.len()), (200, 1), "{changed:?}");

    // A model: what makes no sense is refused with its field; what is stored already can be labelled, and mended.
    let mut another = senseless();
    another["metadata"]["name"] = json!("another");
    let refused = create::<ModelDeployment>(&kube, here, &another, true).await;
    assert_eq!(refused.status, 422, "{refused:?}");
    assert!(
        refused.message().contains("spec.model.source.oci.reference: "),
        "{refused:?}"
    );
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    let labelled = change::<ModelDeployment>(&kube, &governed, "senseless", label).await;
    assert_eq!(labelled.status, 200, "{labelled:?}");
    let port = json!({"spec": {"server": {"port": 81}}});
    let refused = change::<ModelDeployment>(&kube, &governed, "senseless", port).await;
    assert_eq!(refused.status, 422, "{refused:?}");

    // Nobody can sign for it yet, and that is said at once; of two that govern a workload, the first does.
    let first = create::<ModelDeployment>(&kube, here, &governing("digits"), false).await;
    assert_eq!(first.status, 201, "{first:?}");
    assert!(
        first.warnings[0].contains("it will be refused: TrustRootMissing: "),
        "{first:?}"
    );
    let second = eventually("the first is known", async || {
        let said = create::<ModelDeployment>(&kube, here, &governing("letters"), true).await;
        (said.status != 201).then_some(said)
    })
    .await;
    assert!(
        second
            .message()
            .contains("spec.workloadRef: ModelDeployment digits governs Deployment teller already"),
        "{second:?}"
    );

    let configurations: Api<ValidatingWebhookConfiguration> = Api::all(kube.clone());
    let gone = configurations
        .delete(CONFIGURATION, &DeleteParams::default())
        .await;
    gone.unwrap();
    stop.send(()).unwrap();
    running.await.unwrap();
}
