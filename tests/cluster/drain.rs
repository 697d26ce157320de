//! A node is drained, as people do it, while a model on it is not proven any more: within the grace period it comes again
//! exactly as it served, and after that it does not. One node is all there is, so what is evicted waits for it to be back.

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Container, Pod},
};
use kube::{
    Api, ResourceExt as _,
    api::{Patch, PatchParams},
};
use probity::api::v1alpha1::ClusterDeploymentPolicy;
use serde_json::json;
use tokio::task::spawn_blocking;

use crate::{
    bed::Bed,
    door::{own_policy, says},
    load::light,
    models::models,
    space::{Space, eventually},
    testbed,
};

/// What a cluster's administrator types.
async fn kubectl(bed: &'static Bed, arguments: &[&str]) {
    let mut command = testbed::tool("kubectl", &["apiserver"]);
    command
        .arg("--kubeconfig")
        .arg(&bed.node.kubeconfig)
        .args(arguments);
    let done = spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert!(done.status.success(), "{done:?}");
}

/// Evicts the pods of models, through the API that keeps to disruption budgets, and lets nothing start on the node.
async fn drain(bed: &'static Bed, node: &str) {
    let drain = [
        "drain",
        node,
        "--pod-selector=probity.dev/model",
        "--delete-emptydir-data",
        "--timeout=180s",
    ];
    kubectl(bed, &drain).await;
}

/// The grace period of the policy that this space has for itself; returns once the operator has read it.
async fn grace(space: &Space, seconds: u32) {
    let api: Api<ClusterDeploymentPolicy> = Api::all(space.bed.client.clone());
    let spec = json!({"spec": {"onViolation": {"action": "Alert", "gracePeriodSeconds": seconds}}});
    let patched = api
        .patch(&space.namespace, &PatchParams::default(), &Patch::Merge(&spec))
        .await
        .unwrap();
    crate::space::until(
        &api,
        &space.namespace,
        "to be read",
        |policy: &ClusterDeploymentPolicy| {
            let seen = policy
                .status
                .as_ref()
                .and_then(|status| status.observed_generation);
            seen == patched.metadata.generation
        },
    )
    .await;
}

/// What is the same in every pod of one template.
fn planned(pod: &Pod) -> (Option<&String>, Vec<Container>) {
    let spec = pod.spec.as_ref().unwrap();
    let all = spec.init_containers.iter().flatten().chain(&spec.containers);
    (pod.labels().get("pod-template-hash"), all.cloned().collect())
}

/// Alone: while the node is cordoned nobody else's pods would start.
pub async fn a_drain_is_no_outage_until_the_grace_period_ends(bed: &'static Bed) {
    let space = Space::new(bed, "drained").await;
    own_policy(&space, &models().release_key).await;
    let pushed = models()
        .small
        .push(&bed.node.registry, "models/drained", "1")
        .await;
    space.model("lives", &pushed.tagged).await;
    space.serves("lives", &pushed.digest).await;
    let first = space.only_pod("lives").await;
    let node = first.spec.as_ref().unwrap().node_name.clone().unwrap();

    own_policy(&space, &models().stranger_key).await;
    grace(&space, 3600).await;
    let (model, _) = space.is_not_ready("lives", "SignerMismatch").await;
    let since = model.status.unwrap().serving.unwrap().unproven_since.unwrap().0;

    drain(bed, &node).await;
    let next = eventually("another pod to be let in", async || {
        let pods = space.pods("lives").await;
        pods.into_iter().find(|pod| pod.uid() != first.uid())
    })
    .await;
    assert_eq!(planned(&next), planned(&first), "exactly what served");
    kubectl(bed, &["uncordon", &node]).await;
    let second = space.only_pod("lives").await;
    assert_eq!(second.uid(), next.uid());
    light(&space.service("lives").await).answered(&bed.http).await;

    // A second after it turned bad is over by now.
    grace(&space, 1).await;
    drain(bed, &node).await;
    kubectl(bed, &["uncordon", &node]).await;
    let ended = (since + jiff::SignedDuration::from_secs(1)).to_string();
    for word in ["SignerMismatch", &ended, "spec.onViolation.gracePeriodSeconds"] {
        let _: Deployment = space
            .until(
                "lives",
                &format!("its pods to be refused with {word}"),
                |deployment| says(deployment, word),
            )
            .await;
    }
    assert!(space.pods("lives").await.is_empty(), "nothing came again");
    space.done().await;
}
