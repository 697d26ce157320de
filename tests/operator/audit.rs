//! Pods that no admission has seen: what the operator says of them, and that it says it once. On an API server of their own,
//! because all pods are looked at every second.

use std::{path::PathBuf, time::Duration};

use k8s_openapi::api::{core::v1::Pod, events::v1::Event};
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams},
};
use probity::api::v1alpha1::{AuditedPods, ClusterDeploymentPolicy, DeploymentPolicy};
use serde_json::{Value, json};

use crate::{
    artifacts::release_pem,
    stage::{
        Operator, PATIENCE, admin, apply, bank, grant, policy, shared_hosts, trust_root, until, until_any,
    },
    testbed::{self, Server},
};

const AGENT: &str =
    "registry.example/agent@sha256:00000000000000000000000000000000000000000000000000000000000000a9";
const OFTEN: Duration = Duration::from_secs(1);

/// A pod of the namespace `bank` with this merged into its metadata.
fn pod(name: &str, image: &str, more: &[(&str, Value)]) -> Pod {
    let mut pod = json!({
        "metadata": {"name": name},
        "spec": {
            "nodeName": "node-1", "automountServiceAccountToken": false,
            "containers": [{"name": "main", "image": image}]
        }
    });
    for (key, value) in more {
        pod["metadata"][*key] = value.clone();
    }
    serde_json::from_value(pod).unwrap()
}

/// The platform's policy, with this for pods that no model answers for.
fn platform(unmanaged: &str) -> Value {
    let mut policy = policy("platform", "bank", json!({}));
    policy["spec"]["unmanagedPods"] = json!(unmanaged);
    policy["spec"]["exempt"] = json!([{
        "imageDigests": [AGENT.rsplit_once('@').unwrap().1],
        "requester": "system:serviceaccount:kube-system:daemon-set-controller",
        "reason": "the node's agent"
    }]);
    policy
}

/// Waits until the policy counts so many pods that are judged, refused, and would be; returns the whole.
async fn counted(client: &Client, counts: (i32, i32, i32)) -> AuditedPods {
    let api: Api<ClusterDeploymentPolicy> = Api::all(client.clone());
    let of = |policy: &ClusterDeploymentPolicy| policy.status.as_ref()?.pods.clone();
    let what = format!("judged, refused, would refuse: {counts:?}");
    let found = until(&api, "platform", &what, |policy| {
        of(policy).is_some_and(|pods| (pods.judged, pods.refused, pods.would_refuse) == counts)
    });
    of(&found.await).unwrap()
}

fn examples(pods: &AuditedPods) -> Vec<(&str, &str)> {
    let examples = pods.examples.iter().flatten();
    examples
        .map(|pod| (pod.name.as_str(), pod.reason.as_str()))
        .collect()
}

/// So many further looks at all pods are over.
async fn looks(operator: &Operator, further: usize) {
    let seen = || {
        let requests = operator.requests.all();
        let lists = requests.iter().filter(|asked| {
            asked.verb == "list" && asked.namespace.is_some() && asked.resource.ends_with("pods")
        });
        lists.count()
    };
    let wanted = seen() + further;
    let looking = async {
        while seen() < wanted {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking)
        .await
        .expect("all pods are looked at again");
}

/// One story, because the steps need each other: an API server of its own costs seconds.
#[tokio::test]
async fn pods_that_no_admission_has_seen_are_found_and_told_once() {
    let server = Server::start("apiserver", &[], &[]).unwrap();
    let kubeconfig: PathBuf = server.ready.clone().into();
    let client = admin(&kubeconfig).await;
    grant(&client).await;
    testbed::install(&client).await;

    // All there before anybody governs the namespace.
    apply(&client, bank(false)).await;
    apply(
        &client,
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "bank"}}),
    )
    .await;
    let pods: Api<Pod> = Api::namespaced(client.clone(), "bank");
    let daemons = json!([{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "agent", "uid": "1", "controller": true}]);
    let mirror = json!({"kubernetes.io/config.mirror": "d8a0", "kubernetes.io/config.source": "file"});
    for pod in [
        pod("agent", AGENT, &[("ownerReferences", daemons)]),
        pod("alien", "registry.example/alien:1", &[]),
        pod(
            "forged",
            AGENT,
            &[("labels", json!({"probity.dev/model": "digits"}))],
        ),
        pod("static", AGENT, &[("annotations", mirror)]),
    ] {
        pods.create(&PostParams::default(), &pod).await.unwrap();
    }
    apply(&client, trust_root("platform", &[("release", release_pem())])).await;
    apply(&client, platform("Deny")).await;
    let first = Operator::start_auditing(&kubeconfig, shared_hosts(), OFTEN);
    counted(&client, (0, 0, 0)).await;

    // It is governed from now on.
    apply(&client, bank(true)).await;
    let found = counted(&client, (4, 3, 0)).await;
    assert_eq!(
        examples(&found),
        [
            ("alien", "UnmanagedPod"),
            ("forged", "ForgedOwner"),
            ("static", "StaticPod")
        ]
    );
    let event = until_any(
        &Api::<Event>::all(client.clone()),
        "an Event about the policy",
        |event| event.reason.as_deref() == Some("PodsRefused"),
    )
    .await;
    let note = event.note.unwrap_or_default();
    assert!(note.contains("bank/alien (UnmanagedPod)"), "{note}");

    // A policy that changes speaks of what was there before it did; what no policy can soften stays refused.
    apply(&client, platform("Warn")).await;
    let found = counted(&client, (4, 1, 2)).await;
    assert_eq!(examples(&found)[0], ("forged", "ForgedOwner"));

    // One of the namespace's own counts for itself.
    let own = json!({
        "apiVersion": "probity.dev/v1alpha1", "kind": "DeploymentPolicy",
        "metadata": {"name": "own", "namespace": "bank"},
        "spec": {
            "signers": [{"name": "release", "key": {"trustRoot": "platform", "keys": ["release"]}}],
            "model": {"signers": ["release"]}
        }
    });
    apply(&client, own).await;
    let api: Api<DeploymentPolicy> = Api::namespaced(client.clone(), "bank");
    until(&api, "own", "it refuses all four", |policy| {
        let status = policy.status.as_ref();
        status
            .and_then(|status| status.pods.as_ref())
            .is_some_and(|pods| (pods.judged, pods.refused) == (4, 4))
    })
    .await;

    // A pod that goes counts no more.
    let now = DeleteParams::default().grace_period(0);
    pods.delete("alien", &now).await.unwrap();
    counted(&client, (3, 1, 1)).await;

    // Looking again writes nothing, neither by whoever said it nor by the next leader.
    looks(&first, 2).await;
    let written = first.requests.written();
    looks(&first, 3).await;
    assert_eq!(first.requests.written(), written);
    let metrics = first.answers("/metrics", 200).await;
    assert!(
        metrics.contains("probity_audit_pods{verdict=\"refused\"} 3"),
        "{metrics}"
    );
    first.end();
    let second = Operator::start_auditing(&kubeconfig, shared_hosts(), OFTEN);
    looks(&second, 3).await;
    assert_eq!(second.requests.written(), []);
}
