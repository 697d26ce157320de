//! A model whose pods have neither a way to any registry nor a pull secret: it comes through the relay, which alone has
//! both, also when the relay is killed while it sends. What the relay does with every other fault is tested without a node.

use std::{fs, net::Ipv4Addr};

use k8s_openapi::api::core::v1::{Pod, PodSpec, Secret, Service};
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, PostParams},
};
use probity::api::{
    RELAY_AUDIENCE,
    v1alpha1::{ClusterDeploymentPolicy, ModelDeployment},
};
use serde_json::json;

use crate::{
    bed::{Bed, PASSWORD},
    chart::NAMESPACE,
    container::{Container, status, volume},
    fault_proxy::{Fault, path},
    fetching::{login, pull_secret},
    models::{WEIGHTS, models},
    network::{let_go, pod},
    reach::{Matrix, Place, Protocol::Tcp, Target},
    space::{Space, eventually, is_ready},
};

/// Where pods ask it, and where the kubelet does.
const RELAY: u16 = 8443;
const ADMIN: u16 = 8080;

/// Closes the space, without any opening of its own.
async fn default_deny(space: &Space) {
    let name = &space.namespace;
    let policy: ClusterDeploymentPolicy = serde_json::from_value(json!({
        "apiVersion": "probity.dev/v1alpha1", "kind": "ClusterDeploymentPolicy", "metadata": {"name": name},
        "spec": {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}},
            "signers": [{"name": "release", "key": {"trustRoot": "cluster-tests", "keys": ["release"]}}],
            "model": {"signers": ["release"]},
            "isolation": {"network": "DefaultDeny"},
        },
    }))
    .unwrap();
    let policies: Api<ClusterDeploymentPolicy> = Api::all(space.bed.client.clone());
    policies.create(&PostParams::default(), &policy).await.unwrap();
}

/// The one pod of the relay, once it is ready.
async fn relay_pod(bed: &Bed) -> Pod {
    let pods: Api<Pod> = Api::namespaced(bed.client.clone(), NAMESPACE);
    let relays = ListParams::default().labels("app.kubernetes.io/component=relay");
    eventually("the relay to be ready", async || {
        let mut pods = pods.list(&relays).await.unwrap().items;
        (pods.len() == 1 && is_ready(&pods[0])).then(|| pods.remove(0))
    })
    .await
}

/// `ADDRESS:PORT`, as something to be reached.
fn target(name: &str, at: &str) -> Target {
    let (address, port) = at.rsplit_once(':').unwrap();
    Target::at(
        name,
        Tcp,
        address.parse::<Ipv4Addr>().unwrap(),
        port.parse().unwrap(),
    )
}

/// Nothing by which a registry could be asked; and the token for the relay is with the fetch alone.
fn holds_no_secret(pod: &PodSpec) {
    let mut tokens = Vec::new();
    for volume in pod.volumes.iter().flatten() {
        assert_eq!(volume.secret, None, "{}", volume.name);
        let sources = volume
            .projected
            .iter()
            .flat_map(|projected| projected.sources.iter().flatten());
        for source in sources {
            assert_eq!(source.secret, None, "{}", volume.name);
            let token = source
                .service_account_token
                .as_ref()
                .expect("nothing else is projected");
            assert_eq!(token.audience.as_deref(), Some(RELAY_AUDIENCE));
            tokens.push(&volume.name);
        }
    }
    assert_eq!(tokens.len(), 1, "one token, for the relay");
    let mounts = |container: &k8s_openapi::api::core::v1::Container| {
        let mounts = container.volume_mounts.iter().flatten();
        mounts.filter(|mount| mount.name == *tokens[0]).count()
    };
    let fetch = pod.init_containers.as_ref().unwrap();
    assert_eq!(fetch.iter().map(mounts).collect::<Vec<_>>(), [1]);
    assert_eq!(pod.containers.iter().map(mounts).sum::<usize>(), 0);
}

/// Alone: what the chart is told is what all models are fetched by.
pub async fn a_model_without_a_way_to_any_registry_comes_through_the_relay(bed: &'static Bed) {
    let space = Space::ungoverned(bed, "relayed").await;
    // Before anything governs the namespace: afterwards no pod is let in that is not a model's.
    let neighbour = pod(&space, "neighbour").await;
    space.govern().await;
    default_deny(&space).await;
    bed.chart.install_with_relay().await;
    let relay = relay_pod(bed).await;

    let (guarded, weights) = (&bed.guarded.proxy, models().large.digest(WEIGHTS));
    let pushed = models()
        .large
        .push_as(&bed.guarded.here, "models/relayed", "1", Some(&login(bed)))
        .await
        .through(&guarded.address());
    space
        .create::<Secret>(pull_secret(&guarded.address(), PASSWORD))
        .await;
    guarded.on(path(&weights), Fault::StallAfter(9 << 20).times(1));
    let mut model = space.light("relayed", &pushed.tagged);
    model["spec"]["model"]["source"]["oci"]["pullSecret"] = "puller".into();
    space.create::<ModelDeployment>(model).await;

    let half = eventually("half of the weights to be with the pod", async || {
        let pod = space.pods("relayed").await.pop()?;
        let staged = fs::read_dir(volume(&bed.node, &pod).join(".probity-fetch")).ok()?;
        let sizes = staged.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len()));
        sizes.into_iter().any(|size| size > 8 << 20).then_some(pod)
    })
    .await;
    Container::of(&relay, "relay").await.kill();
    space.serves("relayed", &pushed.digest).await;

    let model = space.only_pod("relayed").await;
    assert_eq!(model.uid(), half.uid(), "the same pod has asked again");
    assert_eq!(
        guarded.count(path(&weights)),
        2,
        "once by each of the relay's lives, and by nobody else"
    );
    let relay = relay_pod(bed).await;
    assert_eq!(status(&relay, "relay").unwrap().restart_count, 1);
    let server = Container::of(&model, "server").await;
    let fetched = server.files("/mnt/models");
    let whole = |(name, _, digest): &(String, u32, String)| name == WEIGHTS && *digest == weights;
    assert!(fetched.iter().any(whole), "{fetched:?}");

    holds_no_secret(model.spec.as_ref().unwrap());
    let points: Vec<_> = server.mounts().into_iter().map(|(point, _)| point).collect();
    let holds = |word: &str| points.iter().any(|point| point.contains(word));
    assert!(
        !holds("secret") && !holds("credentials") && !holds("relay"),
        "{points:?}"
    );

    let services: Api<Service> = Api::namespaced(bed.client.clone(), NAMESPACE);
    let service = services.get("probity-relay").await.unwrap();
    let (model, relay) = (
        Place::pod(&model, "server").await,
        Place::pod(&relay, "relay").await,
    );
    let registries = [
        target("the registry", &bed.node.registry),
        target("a registry", &bed.proxy.address()),
        target("the model's registry", &guarded.address()),
    ];
    Matrix::default()
        .open(&[&model], &[Target::port(&relay, Tcp, RELAY)])
        .open(&[&model], &[Target::service(&service, Tcp, RELAY)])
        .closed(&[&model], &[Target::port(&relay, Tcp, ADMIN)])
        .closed(&[&model], &registries)
        .open(&[&relay, &neighbour], &registries)
        .holds("with the relay, and no registry that is open")
        .await;

    space.clone().done().await;
    let_go(&space).await;
    bed.chart.install(&[]).await;
}
