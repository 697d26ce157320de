//! The operator itself under disturbance, and at rest.
//! What it writes and what it was denied is read from the API server's audit log, not from the operator.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::{
    Api, ResourceExt as _,
    api::{Patch, PatchParams},
};
use probity::api::v1alpha1::{ClusterDeploymentPolicy, ModelDeployment};
use serde_json::json;

use crate::{
    audit::{Asked, Audit},
    bed::Bed,
    chart::operator_pod,
    container::{Container, status},
    fault_proxy::{Fault, path},
    load::{Load, light},
    models::{WEIGHTS, models},
    space::{Space, eventually, serving},
};

pub async fn of_two_quick_edits_the_last_one_counts(bed: &'static Bed) {
    let space = Space::new(bed, "edits").await;
    let registry = &bed.node.registry;
    let first = models().small.push(registry, "models/edits", "1").await;
    let second = models().small_next.push(registry, "models/edits", "2").await;
    let third = models().digits.push(registry, "models/edits", "3").await;
    space.model("edited", &first.tagged).await;
    space.serves("edited", &first.digest).await;
    let load = Load::start(bed, light(&space.service("edited").await)).await;

    space.ask_for("edited", &second.tagged).await;
    space.ask_for("edited", &third.tagged).await;
    space.serves("edited", &third.digest).await;
    let pod = space.only_pod("edited").await;
    let args = pod.spec.unwrap().init_containers.unwrap().remove(0).args.unwrap();
    assert!(args.contains(&third.pinned()), "{args:?}");
    let verifications = eventually("the other verdicts to be cleared away", async || {
        let left = space.verifications("edited").await;
        (left.len() == 1).then_some(left)
    })
    .await;
    assert_eq!(
        verifications[0]
            .spec
            .source
            .oci
            .as_ref()
            .unwrap()
            .digest
            .to_string(),
        third.digest
    );
    load.answered(20).await;
    load.stop_flawless();
    space.done().await;
}

pub async fn killed_in_the_middle_of_a_rollout_it_goes_on(bed: &'static Bed) {
    let space = Space::new(bed, "middle").await;
    let first = models()
        .small
        .push(&bed.node.registry, "models/middle", "1")
        .await;
    let second = models()
        .small_next
        .push(&bed.node.registry, "models/middle", "2")
        .await;
    let second = second.through(&bed.proxy.address());
    space.model("middle", &first.tagged).await;
    space.serves("middle", &first.digest).await;
    let load = Load::start(bed, light(&space.service("middle").await)).await;

    // The rollout stays in its middle for as long as the weights do not come.
    bed.proxy
        .on(path(&models().small_next.digest(WEIGHTS)), Fault::status(503));
    space.ask_for("middle", &second.tagged).await;
    eventually("a pod of the new version", async || {
        (space.pods("middle").await.len() == 2).then_some(())
    })
    .await;
    let operator = operator_pod(bed).await;
    let restarts = |pod: &Pod| status(pod, "operator").map_or(0, |status| status.restart_count);
    Container::of(&operator, "operator").await.kill();
    let pods: Api<Pod> = Api::namespaced(bed.client.clone(), crate::chart::NAMESPACE);
    crate::space::until(&pods, &operator.name_any(), "to be started again", |pod: &Pod| {
        restarts(pod) > restarts(&operator) && crate::space::is_ready(pod)
    })
    .await;
    let model: ModelDeployment = space.api().get("middle").await.unwrap();
    assert_eq!(
        serving(&model).as_ref(),
        Some(&first.digest),
        "what served goes on"
    );
    load.answered(20).await;

    bed.proxy.heal();
    space.serves("middle", &second.digest).await;
    space.only_pod("middle").await;
    load.answered(20).await;
    load.stop_flawless();
    space.done().await;
}

pub async fn a_steady_state_writes_nothing(bed: &'static Bed) {
    let space = Space::new(bed, "steady").await;
    let registry = &bed.node.registry;
    let good = models().small.push(registry, "models/steady", "1").await;
    let bad = models()
        .unsigned
        .push(registry, "models/steady", "unsigned")
        .await;
    let mut follows = space.light("follows", &good.through(&bed.proxy.address()).tagged);
    follows["spec"]["model"]["source"]["oci"]["update"] = "Follow".into();
    follows["spec"]["model"]["source"]["oci"]["intervalSeconds"] = 5.into();
    space.create::<ModelDeployment>(follows).await;
    space.model("pinned", &good.tagged).await;
    space.model("refused", &bad.tagged).await;
    space
        .model("absent", &format!("{registry}/models/steady:absent"))
        .await;
    space.serves("follows", &good.digest).await;
    space.serves("pinned", &good.digest).await;
    space.is_not_ready("refused", "Unsigned").await;
    space.is_not_ready("absent", "NotFound").await;
    space.only_pod("follows").await;
    space.only_pod("pinned").await;

    // Time is told by how often the operator looks at the tag: every five seconds, which also shows that it is awake.
    let looks = || bed.proxy.count(path("/v2/models/steady/manifests/1"));
    let pass = async |more: usize| {
        let goal = looks() + more;
        eventually("the tag to be looked at", async || {
            (looks() >= goal).then_some(())
        })
        .await;
    };
    pass(1).await;
    // The policy counts the pods of all namespaces. When other tests' pods go, that it says so is no idle write.
    let counted = async || {
        let policies: Api<ClusterDeploymentPolicy> = Api::all(bed.client.clone());
        let policy = policies.get("cluster-tests").await.unwrap();
        policy.status.and_then(|status| status.pods)
    };
    let before = counted().await;
    let audit = Audit::from_now(&bed.node);
    pass(3).await;
    // Every model is looked at again when the labels of a namespace change, and here nothing follows from it.
    let touch = Patch::Merge(json!({"metadata": {"labels": {"touched": "yes"}}}));
    let namespaces: Api<Namespace> = Api::all(bed.client.clone());
    namespaces
        .patch(&space.namespace, &PatchParams::default(), &touch)
        .await
        .unwrap();
    pass(2).await;
    // What a test that failed left behind may be restless; what belongs to no namespace is everybody's.
    let ours =
        |asked: &&Asked| asked.is_write() && ["", &space.namespace].contains(&asked.namespace.as_str());
    let counts = counted().await != before;
    let explained = |asked: &&Asked| {
        counts
            && asked
                .to_string()
                .starts_with("patch clusterdeploymentpolicies/status cluster-tests ")
    };
    let writes: Vec<_> = audit
        .asked()
        .iter()
        .filter(ours)
        .filter(|asked| !explained(asked))
        .map(ToString::to_string)
        .collect();
    assert!(writes.is_empty(), "{writes:#?}");
    let reads = audit
        .asked()
        .iter()
        .filter(|asked| asked.namespace == space.namespace)
        .count();
    assert!(reads > 0, "it looked again, or the audit log is not written");
    space.done().await;
}

/// The sum of all tests before: the API server never said no for want of a right.
pub async fn every_right_it_used_it_has(bed: &'static Bed) {
    let asked = Audit::since_the_start(&bed.node).asked();
    let denied: Vec<_> = asked
        .iter()
        .filter(|asked| asked.code == 403)
        .map(ToString::to_string)
        .collect();
    assert!(denied.is_empty(), "{denied:#?}");
    let mut answers: BTreeMap<(u64, &str), usize> = BTreeMap::new();
    for one in &asked {
        *answers.entry((one.code, one.verb.as_str())).or_default() += 1;
    }
    assert!(
        answers.contains_key(&(201, "patch")),
        "it made objects: {answers:?}"
    );
}
