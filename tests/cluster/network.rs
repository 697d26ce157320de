//! Are `NetworkPolicies` enforced on this node, so that the other tests may lean on them? Nothing of Probity's here: pods,
//! policies that this test writes, and real sockets for every pair that should and should not talk.

use k8s_openapi::api::{
    core::v1::{Pod, Service},
    networking::v1::NetworkPolicy,
};
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};

use crate::{
    bed::Bed,
    outside::{self, Outside},
    reach::{
        Matrix, Place,
        Protocol::{self, Tcp, Udp},
        Target,
    },
    space::{Space, is_ready},
};

type Ports = Vec<(Protocol, u16)>;

/// What listens on every place but the server, to be reached from there.
const ANYBODYS: [(Protocol, u16); 2] = [(Tcp, 7000), (Udp, 7000)];
/// The server's: 8080 has a name, and a range begins with 9090. How far this Cilium opens a range is not asked: it knows
/// none and opens the first port alone, which is less than it should and never more.
const SERVERS: [(Protocol, u16); 7] = [
    (Tcp, 8080),
    (Tcp, 8081),
    (Tcp, 9089),
    (Tcp, 9090),
    (Tcp, 9093),
    (Udp, 8080),
    (Udp, 5300),
];

#[expect(
    clippy::too_many_lines,
    reason = "two tables of who may reach whom, and they are read beside each other"
)]
pub async fn policies_are_enforced(bed: &'static Bed) {
    let (near, far) = (
        Space::ungoverned(bed, "reach-near").await,
        Space::ungoverned(bed, "reach-far").await,
    );
    let ((server, friend, other), (far_friend, far_other)) = tokio::join!(
        async { tokio::join!(pod(&near, "server"), pod(&near, "friend"), pod(&near, "other")) },
        async { tokio::join!(pod(&far, "friend"), pod(&far, "other")) },
    );
    let node = Place::new("the node", bed.node.address, &bed.node.network);
    let machine = Place::new("the machine", bed.node.host, "/proc/self/ns/net".as_ref());
    let hosts = Outside::of(&bed.node);
    let internet = hosts.place("internet", outside::INTERNET);
    let neighbour = hosts.place("its neighbour", outside::NEIGHBOUR);
    let everybody = [
        &friend,
        &other,
        &far_friend,
        &far_other,
        &node,
        &machine,
        &internet,
        &neighbour,
    ];

    let _listening: Vec<_> = everybody
        .iter()
        .map(|place| place.listen(&ANYBODYS))
        .chain([server.listen(&SERVERS)])
        .collect();
    let service = near.create::<Service>(service()).await;
    let at = |ports: &[(Protocol, u16)]| -> Vec<_> {
        let target = |&(protocol, port): &(Protocol, u16)| Target::port(&server, protocol, port);
        ports.iter().map(target).collect()
    };
    let service = [Target::service(&service, Tcp, 8080)];
    let all = at(&SERVERS);
    let of = |place: &Place, protocol| [Target::port(place, protocol, 7000)];
    let strangers = [&friend, &other, &far_friend, &far_other, &machine, &internet];

    let names = [Tcp, Udp].map(|protocol| Target::at("name server", protocol, bed.node.name_server, 53));
    let mut denied = Matrix::default()
        .closed(&[&server, &friend], &names)
        .closed(&strangers, &all)
        .closed(&[&friend, &far_friend], &service)
        // What Kubernetes promises to the kubelet.
        .open(&[&node], &all)
        // No policy speaks for the other namespace.
        .open(&[&far_friend], &of(&far_other, Tcp))
        .open(&[&far_friend], &of(&internet, Udp))
        .open(&[&machine], &of(&far_friend, Tcp));
    for place in everybody {
        denied = denied
            .closed(&[&server], &of(place, Tcp))
            .closed(&[&server], &of(place, Udp));
    }
    denied.without_policies().holds("without policies").await;
    // Asked again and again, so that it tells when the door closed.
    let closing = Matrix::default()
        .closed(&[&friend], &at(&[(Tcp, 8080)]))
        .open(&[&node], &at(&[(Tcp, 8080)]));

    near.create::<NetworkPolicy>(policy(
        "nothing",
        &json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}),
    ))
    .await;
    let took = closing.holds("under a new policy").await;
    println!("network: a policy that denies everything was in force after {took:.2?}");
    denied.holds("under a policy that denies everything").await;
    // One that was not there before comes up: the kubelet asks it over the network whether it is ready.
    pod(&near, "late").await;

    for allow in allowances(&bed.node.address.to_string()) {
        near.create::<NetworkPolicy>(allow).await;
    }
    let mut allowed = Matrix::default()
        .open(&[&node], &all)
        .closed(&[&other, &far_other, &machine], &all)
        .closed(&[&other, &far_other], &service);
    // One port, by number and through the Service.
    let (yes, no) = split(&[(Tcp, 8080)]);
    allowed = allowed
        .open(&[&friend], &at(&yes))
        .open(&[&friend], &service)
        .closed(&[&friend], &at(&no));
    // By the port's name, and the beginning of a range; selected in another namespace.
    let (yes, no) = split(&[(Tcp, 8080), (Tcp, 9090)]);
    allowed = allowed
        .open(&[&far_friend], &at(&yes))
        .open(&[&far_friend], &service)
        .closed(&[&far_friend], &at(&no));
    // Outside hosts, all but one; datagrams.
    let (yes, no) = split(&[(Udp, 5300)]);
    allowed = allowed
        .open(&[&internet], &at(&yes))
        .closed(&[&internet], &at(&no))
        .closed(&[&neighbour], &at(&yes));
    // And the other way.
    allowed = allowed
        .open(&[&server], &of(&far_friend, Udp))
        .closed(&[&server], &of(&far_friend, Tcp))
        .open(&[&server], &names)
        .closed(&[&friend], &names)
        .open(&[&server], &of(&internet, Tcp))
        .closed(&[&server], &of(&internet, Udp))
        .closed(&[&server], &of(&neighbour, Tcp))
        .open(&[&server], &of(&node, Tcp))
        .closed(&[&server], &of(&node, Udp));
    for place in [&friend, &other, &far_other, &machine] {
        allowed = allowed
            .closed(&[&server], &of(place, Tcp))
            .closed(&[&server], &of(place, Udp));
    }
    allowed.holds("with exactly these allowed").await;

    let policies = near.api::<NetworkPolicy>();
    for name in ["to-server", "from-server", "from-friend"] {
        policies.delete(name, &DeleteParams::default()).await.unwrap();
    }
    let took = closing.holds("after what was allowed is taken back").await;
    println!("network: what was allowed was closed again after {took:.2?}");
    denied.holds("after what was allowed is taken back").await;
    policies
        .delete("nothing", &DeleteParams::default())
        .await
        .unwrap();
    denied.without_policies().holds("without policies again").await;
    let_go(&near).await;
    let_go(&far).await;
}

/// Ends the pods of a space that are nobody's.
pub async fn let_go(space: &Space) {
    let (now, all) = (DeleteParams::default().grace_period(0), ListParams::default());
    space.api::<Pod>().delete_collection(&now, &all).await.unwrap();
}

/// The server's ports among these, and the others.
fn split(allowed: &[(Protocol, u16)]) -> (Ports, Ports) {
    SERVERS.into_iter().partition(|port| allowed.contains(port))
}

fn service() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "server"},
        "spec": {"selector": {"role": "server"}, "ports": [{"port": 8080, "targetPort": "http"}]},
    })
}

fn policy(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name}, "spec": spec})
}

/// What is allowed beside a policy that denies everything.
fn allowances(node: &str) -> [Value; 3] {
    let namespace = |name: &str| json!({"matchLabels": {"kubernetes.io/metadata.name": name}});
    let far = namespace("reach-far");
    let (friend, server) = (
        json!({"matchLabels": {"role": "friend"}}),
        json!({"matchLabels": {"role": "server"}}),
    );
    [
        policy(
            "to-server",
            &json!({"podSelector": server, "ingress": [
                {"from": [{"podSelector": friend}], "ports": [{"protocol": "TCP", "port": 8080}]},
                {"from": [{"namespaceSelector": far, "podSelector": friend}],
                    "ports": [{"protocol": "TCP", "port": "http"}, {"protocol": "TCP", "port": 9090, "endPort": 9092}]},
                {"from": [{"ipBlock": {"cidr": "203.0.113.0/24", "except": ["203.0.113.3/32"]}}],
                    "ports": [{"protocol": "UDP", "port": 5300}]},
            ]}),
        ),
        policy(
            "from-server",
            &json!({"podSelector": server, "policyTypes": ["Egress"], "egress": [
                {"to": [{"namespaceSelector": far, "podSelector": friend}], "ports": [{"protocol": "UDP", "port": 7000}]},
                {"to": [{"ipBlock": {"cidr": "203.0.113.2/32"}}, {"ipBlock": {"cidr": format!("{node}/32")}}],
                    "ports": [{"protocol": "TCP", "port": 7000}]},
                // As it is written for name servers everywhere; their Service is what is asked.
                {"to": [{"namespaceSelector": namespace("kube-system"), "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}],
                    "ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]},
            ]}),
        ),
        policy(
            "from-friend",
            &json!({"podSelector": friend, "policyTypes": ["Egress"], "egress": [
                {"to": [{"podSelector": server}], "ports": [{"protocol": "TCP", "port": 8080}]},
            ]}),
        ),
    ]
}

/// A pod whose label `role` is its name, ready as the kubelet finds over the network.
pub async fn pod(space: &Space, name: &str) -> Place {
    let ask = json!({"httpGet": {"path": "/", "port": 8000}, "periodSeconds": 1});
    space
        .create::<Pod>(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"role": name}},
            "spec": {
                "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 0,
                "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [{"name": "main", "image": space.bed.light, "args": ["serve", ":8000", name],
                    "ports": [{"name": "http", "containerPort": 8080}], "readinessProbe": ask,
                    "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}],
            },
        }))
        .await;
    Place::pod(&space.until(name, "to be ready", is_ready).await, "main").await
}
