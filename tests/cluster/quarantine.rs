//! A model that is revoked while it serves, in a server of Probity's and in a workload of somebody else's: how soon its traffic
//! ends, also on connections that are open, that its pod stays, and that all comes back by itself. A real kubelet and real
//! sockets have to agree.

use std::time::{Duration, Instant};

use k8s_openapi::api::{
    apps::v1::Deployment, core::v1::Service, discovery::v1::EndpointSlice, policy::v1::PodDisruptionBudget,
};
use kube::{
    Api, ResourceExt as _,
    api::{Patch, PatchParams},
};
use probity::{
    api::v1alpha1::{ClusterDeploymentPolicy, ModelDeployment},
    evidence::Digest,
};
use serde_json::{Value, json};

use crate::{
    adopted::{Volume, deployment, governing, ready_pods},
    bed::Bed,
    door::own_policy,
    load::light,
    models::models,
    network::pod,
    reach::{Matrix, Place, Protocol::Tcp, Target},
    space::{PORT, Space, eventually, ready as is_ready},
};

/// What listens in the pods themselves; not the port of any other test.
const DOOR: u16 = 7200;

/// From violation seen to traffic cut, as it should be; as it must be on a machine that does much else.
const WANTED: Duration = Duration::from_secs(2);
const AT_MOST: Duration = Duration::from_secs(10);

async fn policy(space: &Space, spec: Value) {
    Api::<ClusterDeploymentPolicy>::all(space.bed.client.clone())
        .patch(
            &space.namespace,
            &PatchParams::default(),
            &Patch::Merge(&json!({"spec": spec})),
        )
        .await
        .unwrap();
}

/// How many addresses a Service sends people to.
async fn ready(space: &Space, service: &str) -> usize {
    let slices: Vec<EndpointSlice> = space.list(&format!("kubernetes.io/service-name={service}")).await;
    let endpoints = slices.iter().flat_map(|slice| &slice.endpoints);
    let ready = endpoints.filter(|endpoint| {
        let conditions = endpoint.conditions.as_ref();
        conditions.is_none_or(|conditions| conditions.ready.unwrap_or(true))
    });
    ready.count()
}

async fn sends(space: &Space, service: &str, addresses: usize) {
    eventually(&format!("{service} to send to {addresses} pods"), async || {
        (ready(space, service).await == addresses).then_some(())
    })
    .await;
}

pub async fn a_revoked_model_loses_its_traffic_keeps_its_pod_and_is_released(bed: &'static Bed) {
    let space = Space::new(bed, "quarantined").await;
    own_policy(&space, &models().release_key).await;
    policy(
        &space,
        json!({"onViolation": {"action": "Quarantine", "gracePeriodSeconds": 3600}}),
    )
    .await;
    let pushed = models()
        .small
        .push(&bed.node.registry, "models/quarantined", "1")
        .await;
    space.model("cut", &pushed.tagged).await;
    space.serves("cut", &pushed.digest).await;
    let pod = space.only_pod("cut").await;
    // Somebody's own way to the same pods.
    let _: Service = space
        .create(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "aside"},
            "spec": {"selector": {"probity.dev/model": "cut"}, "ports": [{"port": 80, "targetPort": "http"}]}
        }))
        .await;
    sends(&space, "aside", 1).await;
    light(&space.service("cut").await).answered(&bed.http).await;

    let digest: Digest = pushed.digest.parse().unwrap();
    let began = Instant::now();
    policy(
        &space,
        json!({"model": {"revoked": [{"digest": digest, "reason": "poisoned"}]}}),
    )
    .await;
    sends(&space, "cut", 0).await;
    let (own, began_aside) = (began.elapsed(), began);
    sends(&space, "aside", 0).await;
    let aside = began_aside.elapsed();
    println!(
        "traffic cut {own:?} after the policy was edited, {aside:?} behind a Service of somebody else's (wanted: {WANTED:?})"
    );
    assert!(own < AT_MOST && aside < AT_MOST, "{own:?}, {aside:?}");
    // The canary on the node has shown that the NetworkPolicy is enforced, or will within a minute.
    let (_, said) = space.is_not_ready("cut", "Quarantined").await;
    assert!(said.contains("poisoned"), "{said}");
    let there = space.pods("cut").await;
    assert_eq!(
        (there.len(), there[0].uid()),
        (1, pod.uid()),
        "it stays to be looked at"
    );

    policy(&space, json!({"model": {"revoked": null}})).await;
    space.serves("cut", &pushed.digest).await;
    sends(&space, "cut", 1).await;
    sends(&space, "aside", 1).await;
    assert_eq!(
        space.only_pod("cut").await.uid(),
        pod.uid(),
        "the same pod takes traffic again"
    );
    light(&space.service("cut").await).answered(&bed.http).await;

    // And with a budget that would not let one pod go, what is to be stopped is stopped.
    let _: PodDisruptionBudget = space
        .create(json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "none-may-go"},
            "spec": {"maxUnavailable": 0, "selector": {"matchLabels": {"probity.dev/model": "cut"}}}
        }))
        .await;
    policy(
        &space,
        json!({
            "onViolation": {"action": "Stop", "gracePeriodSeconds": 0},
            "model": {"revoked": [{"digest": digest, "reason": "poisoned"}]}
        }),
    )
    .await;
    space.is_not_ready("cut", "Stopped").await;
    space.settled_pods("cut", 0).await;
    space.done().await;
}

pub async fn an_adopted_workload_that_is_revoked_is_cut_off_and_released(bed: &'static Bed) {
    let (space, far) = (
        Space::new(bed, "quarantined-adopted").await,
        Space::ungoverned(bed, "quarantined-far").await,
    );
    own_policy(&space, &models().release_key).await;
    policy(
        &space,
        json!({"onViolation": {"action": "Quarantine", "gracePeriodSeconds": 3600}}),
    )
    .await;
    let volume = Volume::new(&space).await;
    volume.put(&models().small, "digits/1");
    space
        .create::<ModelDeployment>(governing("digits", "apps/v1", "Deployment", "server"))
        .await;
    let _: Deployment = space.create(deployment(bed, "server", 1)).await;
    let _: Service = space
        .create(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "theirs"},
            "spec": {"selector": {"app": "server"}, "ports": [{"port": 80, "targetPort": PORT}]}
        }))
        .await;
    let model = space
        .until("digits", "to serve", |model: &ModelDeployment| {
            is_ready(model).0 == "True"
        })
        .await;
    let content = model.status.unwrap().serving.unwrap().digest;
    sends(&space, "theirs", 1).await;
    let server = ready_pods(&space, "server", 1).await.remove(0);
    let (inside, caller) = (Place::pod(&server, "server").await, pod(&far, "caller").await);
    let _listening = (inside.listen(&[(Tcp, DOOR)]), caller.listen(&[(Tcp, DOOR)]));
    let (to_it, from_it) = (
        [Target::port(&inside, Tcp, DOOR)],
        [Target::port(&caller, Tcp, DOOR)],
    );
    let open = Matrix::default()
        .open(&[&caller], &to_it)
        .open(&[&inside], &from_it);
    open.holds("before it is revoked").await;
    let (mut call, mut answer) = (caller.talk(&inside, DOOR).await, inside.talk(&caller, DOOR).await);
    assert!(call.goes_on().await && answer.goes_on().await);

    let began = Instant::now();
    policy(
        &space,
        json!({"model": {"revoked": [{"digest": content, "reason": "poisoned"}]}}),
    )
    .await;
    sends(&space, "theirs", 0).await;
    let cut = began.elapsed();
    println!("traffic of an adopted workload cut {cut:?} after the policy was edited (wanted: {WANTED:?})");
    assert!(cut < AT_MOST, "{cut:?}");
    // A pair that can talk, or the whole network might be broken.
    let node = Place::new("the node", bed.node.address, &bed.node.network);
    let closed = Matrix::default()
        .closed(&[&caller], &to_it)
        .closed(&[&inside], &from_it)
        .open(&[&node], &from_it);
    closed.holds("it is quarantined").await;
    assert!(
        !call.goes_on().await && !answer.goes_on().await,
        "connections that are open end too"
    );
    let (_, said) = space.is_not_ready("digits", "Quarantined").await;
    assert!(said.contains("poisoned"), "{said}");
    let there: Vec<k8s_openapi::api::core::v1::Pod> = space.list("app=server").await;
    assert_eq!(
        (there.len(), there[0].uid()),
        (1, server.uid()),
        "it stays to be looked at"
    );

    policy(&space, json!({"model": {"revoked": null}})).await;
    space
        .until("digits", "to serve again", |model: &ModelDeployment| {
            is_ready(model).0 == "True"
        })
        .await;
    sends(&space, "theirs", 1).await;
    open.holds("it is released").await;
    far.done().await;
    space.done().await;
}
