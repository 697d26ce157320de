//! A model talks to whom it declares and to nobody else, and nobody else to it: by real sockets, on a node of which
//! `network` shows that it enforces policies. And what a model's status says while nothing enforces them.

use std::process::Command;

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::{
    Api,
    api::{DeleteParams, ListParams, PostParams},
};
use probity::api::v1alpha1::{ClusterDeploymentPolicy, ModelDeployment};
use serde_json::{Value, json};

use crate::{
    bed::Bed,
    models::{models, run},
    network::{let_go, pod},
    outside::{self, Outside},
    reach::{
        Matrix, Place,
        Protocol::{Tcp, Udp},
        Target,
    },
    space::{PORT, Space},
};

/// What listens on everybody the model may want to talk to; not the port of any other test.
const DOOR: u16 = 7100;

/// A namespace, by the label that the API server gives it.
fn namespace(name: &str) -> Value {
    json!({"matchLabels": {"kubernetes.io/metadata.name": name}})
}

fn role(role: &str) -> Value {
    json!({"matchLabels": {"role": role}})
}

/// Closes the space but for what its models declare, below a ceiling that is wider than that.
async fn default_deny(space: &Space, far: &str) {
    let name = &space.namespace;
    let ports = json!([{"port": DOOR}, {"port": DOOR, "protocol": "UDP"}]);
    let policy: ClusterDeploymentPolicy = serde_json::from_value(json!({
        "apiVersion": "probity.dev/v1alpha1", "kind": "ClusterDeploymentPolicy", "metadata": {"name": name},
        "spec": {
            "namespaceSelector": namespace(name),
            "signers": [{"name": "release", "key": {"trustRoot": "cluster-tests", "keys": ["release"]}}],
            "model": {"signers": ["release"]},
            "isolation": {
                "network": "DefaultDeny",
                "monitoring": [{"namespaceSelector": namespace(far), "podSelector": role("monitor")}],
                "egressCeiling": [
                    {"to": [{"ipBlock": {"cidr": "203.0.113.0/24"}}], "ports": ports},
                    {"to": [{"namespaceSelector": namespace(far)}], "ports": ports},
                ],
            },
        },
    }))
    .unwrap();
    let policies: Api<ClusterDeploymentPolicy> = Api::all(space.bed.client.clone());
    policies.create(&PostParams::default(), &policy).await.unwrap();
}

/// Waits until the condition `Isolated` of a model has this status and reason.
async fn is_isolated(space: &Space, name: &str, status: &str, reason: &str) {
    let what = format!("to be Isolated: {status} because of {reason}");
    space
        .until(name, &what, |model: &ModelDeployment| {
            let conditions = model
                .status
                .as_ref()
                .and_then(|status| status.conditions.as_ref());
            conditions
                .into_iter()
                .flatten()
                .any(|is| is.type_ == "Isolated" && is.status == status && is.reason == reason)
        })
        .await;
}

/// Waits until the message of `Isolated` has these words.
async fn says(space: &Space, name: &str, words: &str) {
    let what = format!("to say {words:?} of its isolation");
    space
        .until(name, &what, |model: &ModelDeployment| {
            let conditions = model
                .status
                .as_ref()
                .and_then(|status| status.conditions.as_ref());
            let mut conditions = conditions.into_iter().flatten();
            conditions.any(|is| is.type_ == "Isolated" && is.message.contains(words))
        })
        .await;
}

/// The one pod of a model, as a place to come from: what somebody could do who has taken the server over.
async fn taken_over(space: &Space, name: &str) -> Place {
    Place::pod(&space.only_pod(name).await, "server").await
}

#[expect(
    clippy::too_many_lines,
    reason = "one table of who may reach whom, beside those it names"
)]
pub async fn a_model_talks_to_whom_it_declares_and_to_nobody_else(bed: &'static Bed) {
    let (space, far) = (
        Space::ungoverned(bed, "isolated").await,
        Space::ungoverned(bed, "isolated-far").await,
    );
    // Before anything governs the namespace: afterwards no pod is let in that is not a model's.
    let (neighbour, teller, monitor, ledger, stranger) = tokio::join!(
        pod(&space, "neighbour"),
        pod(&far, "teller"),
        pod(&far, "monitor"),
        pod(&far, "ledger"),
        pod(&far, "stranger"),
    );
    space.govern().await;
    let pushed = models()
        .small
        .push(&bed.node.registry, "models/isolated", "1")
        .await;
    space.model("digits", &pushed.tagged).await;
    space.serves("digits", &pushed.digest).await;

    let node = Place::new("the node", bed.node.address, &bed.node.network);
    let machine = Place::new("the machine", bed.node.host, "/proc/self/ns/net".as_ref());
    let hosts = Outside::of(&bed.node);
    let internet = hosts.place("internet", outside::INTERNET);
    let other_host = hosts.place("another host", outside::NEIGHBOUR);
    let metadata = hosts.place("metadata", outside::METADATA);
    let reachable = [
        &neighbour,
        &teller,
        &monitor,
        &ledger,
        &stranger,
        &machine,
        &node,
        &internet,
        &other_host,
    ];
    let mut listening: Vec<_> = reachable
        .iter()
        .map(|place| place.listen(&[(Tcp, DOOR), (Udp, DOOR)]))
        .collect();
    listening.push(internet.listen(&[(Tcp, 53), (Udp, 53), (Tcp, 443)]));
    listening.push(metadata.listen(&[(Tcp, 80)]));
    let service: Service = space.api().get("digits").await.unwrap();
    let service = [Target::service(&service, Tcp, PORT)];

    // A pod of the model stands for all that come after it, so the table is made again for each.
    let declared = |model: &Place| {
        let (tcp, udp) = (
            |place: &Place| [Target::port(place, Tcp, DOOR)],
            |place: &Place| [Target::port(place, Udp, DOOR)],
        );
        let served = [Target::port(model, Tcp, PORT)];
        let other_ports = [Target::port(model, Tcp, PORT + 1), Target::port(model, Udp, PORT)];
        let names = [
            Target::at("name server", Tcp, bed.node.name_server, 53),
            Target::at("name server", Udp, bed.node.name_server, 53),
        ];
        let own_registry = [Target::at("registry", Tcp, bed.node.address, 5000)];
        let never = [
            Target::at("API server", Tcp, bed.node.address, 6443),
            Target::at("Service kubernetes", Tcp, bed.node.api, 443),
            Target::port(&metadata, Tcp, 80),
            Target::port(&internet, Tcp, 443),
            // What is declared for name servers is not a tunnel.
            Target::port(&internet, Tcp, 53),
            Target::port(&internet, Udp, 53),
        ];
        let mut matrix = Matrix::default()
            .open(&[&teller, &monitor, &node], &served)
            .open(&[&teller], &service)
            .closed(&[&teller, &monitor], &other_ports)
            .closed(&[&neighbour, &stranger, &ledger, &machine, &internet], &served)
            .closed(&[&neighbour, &stranger], &service)
            .open(&[model], &names)
            .open(&[model], &own_registry)
            .closed(&[model], &never)
            .open(&[model], &udp(&ledger))
            .closed(&[model], &tcp(&ledger))
            .open(&[model], &tcp(&internet))
            .closed(&[model], &udp(&internet))
            // Nothing is declared for them.
            .open(&[&stranger], &tcp(&neighbour));
        for place in [
            &neighbour,
            &teller,
            &monitor,
            &stranger,
            &machine,
            &node,
            &other_host,
        ] {
            matrix = matrix.closed(&[model], &tcp(place)).closed(&[model], &udp(place));
        }
        matrix
    };

    let model = taken_over(&space, "digits").await;
    let spare = [(Tcp, PORT + 1), (Udp, PORT)];
    let spare_ports = model.listen(&spare);
    declared(&model)
        .without_policies()
        .holds("while nobody asks for isolation")
        .await;

    default_deny(&space, &far.namespace).await;
    space
        .edit(
            "digits",
            json!({
                "clients": [{"from": {"namespaceSelector": namespace(&far.namespace), "podSelector": role("teller")}}],
                "egress": [
                    {"to": [{"ipBlock": {"cidr": "203.0.113.2/32"}}], "ports": [{"port": DOOR}]},
                    {"to": [{"namespaceSelector": namespace(&far.namespace), "podSelector": role("ledger")}],
                        "ports": [{"port": DOOR, "protocol": "UDP"}]},
                ],
            }),
        )
        .await;
    let took = declared(&model).holds("with what is declared").await;
    println!("isolated: as declared after {took:.2?}");
    is_isolated(&space, "digits", "True", "Enforced").await;
    drop(spare_ports);

    // The next pod fetches the model, and is asked by the kubelet whether it is ready, from within.
    let pods: Api<Pod> = space.api();
    pods.delete_collection(
        &DeleteParams::default(),
        &ListParams::default().labels("probity.dev/model"),
    )
    .await
    .unwrap();
    let next = taken_over(&space, "digits").await;
    let _spare_ports = next.listen(&spare);
    declared(&next).holds("with another pod").await;

    space.edit("digits", json!({"clients": []})).await;
    Matrix::default()
        .closed(&[&teller], &[Target::port(&next, Tcp, PORT)])
        .open(&[&monitor], &[Target::port(&next, Tcp, PORT)])
        .holds("with no client any more")
        .await;
    space.done().await;
    let_go(&far).await;
}

/// Alone: for a while nothing is shut off on the node.
pub async fn isolated_is_not_said_where_nothing_enforces_it(bed: &'static Bed) {
    let space = Space::ungoverned(bed, "unenforced").await;
    let neighbour = pod(&space, "neighbour").await;
    space.govern().await;
    let pushed = models()
        .small
        .push(&bed.node.registry, "models/unenforced", "1")
        .await;
    let mut model = space.light("digits", &pushed.tagged);
    model["spec"]["clients"] = json!([]);
    model["spec"]["egress"] = json!([]);
    space.create::<ModelDeployment>(model).await;
    space.serves("digits", &pushed.digest).await;
    let model = taken_over(&space, "digits").await;
    let served = [Target::port(&model, Tcp, PORT)];
    let _listening = neighbour.listen(&[(Tcp, DOOR)]);
    let next_door = [Target::port(&neighbour, Tcp, DOOR)];
    let node = Place::new("the node", bed.node.address, &bed.node.network);
    let closed = Matrix::default()
        .closed(&[&neighbour], &served)
        .closed(&[&model], &next_door)
        .open(&[&node], &served);
    closed.holds("while policies are enforced").await;
    is_isolated(&space, "digits", "True", "Enforced").await;
    // The way out alone is seen as well.
    space.edit("digits", json!({"clients": null})).await;
    says(&space, "digits", "for the way out alone").await;
    is_isolated(&space, "digits", "True", "Enforced").await;
    space.edit("digits", json!({"clients": []})).await;
    closed.holds("with no client again").await;

    policies(bed, "stored");
    closed
        .without_policies()
        .holds("while they are only stored")
        .await;
    is_isolated(&space, "digits", "Unknown", "NotEnforced").await;
    policies(bed, "enforced");
    closed.holds("while they are enforced again").await;
    is_isolated(&space, "digits", "True", "Enforced").await;
    space.done().await;
}

/// Whether the node enforces policies, or stores them as many networks do.
fn policies(bed: &Bed, how: &str) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/testbed/node");
    run(Command::new(script).args(["policies", &bed.node.name, how]));
}
