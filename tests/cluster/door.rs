//! The API server's door on a real cluster: the real controllers make pods, real people try others, nodes lose them.
//! What a pod may look like is tested without a cluster; here is that every way to one leads through the door.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use k8s_openapi::api::{
    apps::v1::Deployment,
    batch::v1::Job,
    core::v1::{Event, Pod},
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use probity::api::v1alpha1::{ClusterDeploymentPolicy, TrustRoot};
use serde_json::{Value, json};

use crate::{
    bed::Bed,
    chart::{REPLICAS, operator_deployment, operator_pods},
    models::models,
    space::{Space, eventually, is_ready, until},
};

/// What Pod Security's `restricted` asks for, so that nothing but our own door refuses these pods.
pub fn harmless(image: &str) -> Value {
    json!({
        "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{
            "name": "main", "image": image,
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}
        }]
    })
}

fn refusal<T: std::fmt::Debug>(result: Result<T, kube::Error>) -> String {
    match result {
        Err(kube::Error::Api(status)) => status.message.clone(),
        other => panic!("not refused: {other:?}"),
    }
}

/// Whether a condition of the Deployment has this word: there its controller says why it has no pods.
pub fn says(deployment: &Deployment, word: &str) -> bool {
    let status = deployment.status.iter();
    let mut conditions = status.flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|condition| {
        condition
            .message
            .as_deref()
            .is_some_and(|message| message.contains(word))
    })
}

pub async fn pods_that_no_model_answers_for_do_not_run(bed: &'static Bed) {
    let space = Space::new(bed, "strangers").await;
    let pushed = models()
        .small
        .push(&bed.node.registry, "models/strangers", "1")
        .await;
    space.model("honest", &pushed.tagged).await;
    space.serves("honest", &pushed.digest).await;
    let honest = space.only_pod("honest").await;
    let pods: Api<Pod> = space.api();

    let bare: Pod =
        serde_json::from_value(json!({"metadata": {"name": "bare"}, "spec": harmless(&bed.light)})).unwrap();
    let said = refusal(pods.create(&PostParams::default(), &bare).await);
    for word in [
        "UnmanagedPod",
        "ClusterDeploymentPolicy/cluster-tests",
        "ModelDeployment",
    ] {
        assert!(said.contains(word), "{said}");
    }

    let mut copy = honest.clone();
    copy.metadata.name = Some("copy".into());
    copy.metadata.uid = None;
    copy.metadata.resource_version = None;
    copy.status = None;
    copy.spec.as_mut().unwrap().node_name = None;
    refusal(pods.create(&PostParams::default(), &copy).await);

    // Who makes pods for people is refused as well, and tells them.
    let labels = json!({"app": "stranger"});
    let _: Deployment = space
        .create(json!({
            "metadata": {"name": "stranger"},
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": harmless(&bed.light)}
            }
        }))
        .await;
    let mut once = harmless(&bed.light);
    once["restartPolicy"] = json!("Never");
    let _: Job = space
        .create(json!({"metadata": {"name": "once"}, "spec": {"template": {"spec": once}}}))
        .await;
    let _: Deployment = space
        .until("stranger", "its pods to be refused", |deployment| {
            says(deployment, "UnmanagedPod")
        })
        .await;
    let events: Api<Event> = space.api();
    eventually("the Job to be told", async || {
        let all = events.list(&ListParams::default()).await.unwrap();
        let mut of_job = all
            .items
            .iter()
            .filter(|event| event.involved_object.kind.as_deref() == Some("Job"));
        of_job
            .any(|event| {
                event
                    .message
                    .as_deref()
                    .is_some_and(|text| text.contains("UnmanagedPod"))
            })
            .then_some(())
    })
    .await;

    // What runs was judged, and stays so.
    let other = json!({"spec": {"containers": [{"name": "server", "image": format!("{}0", bed.light)}]}});
    let name = honest.name_any();
    let patched = pods
        .patch(&name, &PatchParams::default(), &Patch::Strategic(&other))
        .await;
    refusal(patched);
    let stolen = json!({"metadata": {"labels": {"probity.dev/model": null}}});
    refusal(
        pods.patch(&name, &PatchParams::default(), &Patch::Merge(&stolen))
            .await,
    );

    let all: Vec<Pod> = space.list("").await;
    let names: Vec<_> = all.iter().map(ResourceExt::name_any).collect();
    assert_eq!(names, [name], "nothing else ever ran");
    let _ = space
        .api::<Deployment>()
        .delete("stranger", &DeleteParams::default())
        .await;
    let _ = space
        .api::<Job>()
        .delete("once", &DeleteParams::background())
        .await;
    space.done().await;
}

/// A policy and a trust root for this space alone, beside those that all spaces have.
pub async fn own_policy(space: &Space, key: &str) {
    let name = &space.namespace;
    let root: TrustRoot = serde_json::from_value(json!({
        "apiVersion": "probity.dev/v1alpha1", "kind": "TrustRoot", "metadata": {"name": name},
        "spec": {"keys": [{"name": "current", "publicKey": key}]},
    }))
    .unwrap();
    let policy: ClusterDeploymentPolicy = serde_json::from_value(json!({
        "apiVersion": "probity.dev/v1alpha1", "kind": "ClusterDeploymentPolicy", "metadata": {"name": name},
        "spec": {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}},
            "signers": [{"name": "team", "key": {"trustRoot": name, "keys": ["current"]}}],
            "model": {"signers": ["team"]}
        },
    }))
    .unwrap();
    let force = PatchParams::apply("cluster-tests").force();
    let client = space.bed.client.clone();
    Api::<TrustRoot>::all(client.clone())
        .patch(name, &force, &Patch::Apply(&root))
        .await
        .unwrap();
    Api::<ClusterDeploymentPolicy>::all(client)
        .patch(name, &force, &Patch::Apply(&policy))
        .await
        .unwrap();
}

pub async fn a_model_whose_key_is_withdrawn_lives_on_and_a_revoked_one_is_not_replaced(bed: &'static Bed) {
    let space = Space::new(bed, "withdrawn").await;
    own_policy(&space, &models().release_key).await;
    let pushed = models()
        .small
        .push(&bed.node.registry, "models/withdrawn", "1")
        .await;
    space.model("lives", &pushed.tagged).await;
    space.serves("lives", &pushed.digest).await;
    let first = space.only_pod("lives").await;
    let pods: Api<Pod> = space.api();

    own_policy(&space, &models().stranger_key).await;
    let (model, said) = space.is_not_ready("lives", "SignerMismatch").await;
    assert!(said.contains("goes on serving"), "{said}");
    assert!(model.status.unwrap().serving.unwrap().unproven_since.is_some());
    assert_eq!(space.only_pod("lives").await.uid(), first.uid(), "it lives on");

    // A node drain is a pod that goes.
    pods.delete(&first.name_any(), &DeleteParams::default())
        .await
        .unwrap();
    eventually("the pod to be replaced", async || {
        let pods = space.pods("lives").await;
        pods.iter()
            .any(|pod| pod.uid() != first.uid() && is_ready(pod))
            .then_some(())
    })
    .await;

    let revoked = json!({"spec": {"model": {"revoked": [{"digest": pushed.digest, "reason": "poisoned"}]}}});
    Api::<ClusterDeploymentPolicy>::all(bed.client.clone())
        .patch(&space.namespace, &PatchParams::default(), &Patch::Merge(&revoked))
        .await
        .unwrap();
    space.is_not_ready("lives", "Revoked").await;
    pods.delete_collection(&DeleteParams::default(), &ListParams::default())
        .await
        .unwrap();
    let _: Deployment = space
        .until("lives", "its pods to be refused", |deployment| {
            says(deployment, "Revoked")
        })
        .await;
    space.done().await;
}

/// Alone: without the operator nobody else's models go on.
pub async fn while_the_operator_is_away_nothing_is_made_where_it_governs(bed: &'static Bed) {
    let space = Space::new(bed, "closed").await;
    let scale = async |replicas: usize| {
        operator_deployment(bed)
            .patch(
                "probity",
                &PatchParams::default(),
                &Patch::Merge(&json!({"spec": {"replicas": replicas}})),
            )
            .await
            .unwrap();
    };
    scale(0).await;
    eventually("the operator to be gone", async || {
        operator_pods(bed).await.is_empty().then_some(())
    })
    .await;
    let bare: Pod =
        serde_json::from_value(json!({"metadata": {"name": "bare"}, "spec": harmless(&bed.light)})).unwrap();
    let said = refusal(space.api::<Pod>().create(&PostParams::default(), &bare).await);
    // The hook that would put the verifier in is asked first, and it alone already keeps the door shut.
    assert!(said.contains("inject.probity.dev"), "{said}");
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let elsewhere: Api<Pod> = Api::namespaced(bed.client.clone(), "default");
    elsewhere.create(&dry, &bare).await.expect("others never notice");
    scale(REPLICAS).await;
    let ready = |deployment: &Deployment| {
        deployment
            .status
            .as_ref()
            .and_then(|status| status.ready_replicas)
            == i32::try_from(REPLICAS).ok()
    };
    until(
        &operator_deployment(bed),
        "probity",
        "the operator to be back",
        ready,
    )
    .await;
    // The node learns a little later than the Deployment that there is somebody to ask.
    eventually("the door to be looked after again", async || {
        let said = refusal(space.api::<Pod>().create(&PostParams::default(), &bare).await);
        said.contains("UnmanagedPod").then_some(())
    })
    .await;
    space.done().await;
}

/// Alone: it replaces the operators. Each question must be answered by one of them, before, while and after.
pub async fn a_rolling_restart_leaves_no_question_unanswered(bed: &'static Bed) {
    const A_SECOND: u64 = 200;
    const ASKERS: u64 = 16;
    let space = Space::new(bed, "rolling").await;
    let before = operator_pods(bed).await;
    let bare: Pod =
        serde_json::from_value(json!({"metadata": {"generateName": "bare-"}, "spec": harmless(&bed.light)}))
            .unwrap();
    // As many askers as there are kubelets and controllers in a small cluster, on one connection.
    let stop = Arc::new(AtomicBool::new(false));
    let mut askers = tokio::task::JoinSet::new();
    for _ in 0..ASKERS {
        let (pods, bare, stop): (Api<Pod>, _, _) = (space.api(), bare.clone(), stop.clone());
        askers.spawn(async move {
            let dry = PostParams {
                dry_run: true,
                ..PostParams::default()
            };
            let mut ticks = tokio::time::interval(Duration::from_millis(1000 * ASKERS / A_SECOND));
            let mut answers = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                ticks.tick().await;
                // What does not reach the API server is no question yet.
                match pods.create(&dry, &bare).await {
                    Err(kube::Error::Api(status)) => answers.push(status.message.clone()),
                    Ok(_) => answers.push("let in".to_owned()),
                    Err(_) => {}
                }
            }
            answers
        });
    }
    let restart =
        json!({"spec": {"template": {"metadata": {"annotations": {"cluster-tests/restart": "1"}}}}});
    operator_deployment(bed)
        .patch("probity", &PatchParams::default(), &Patch::Merge(&restart))
        .await
        .unwrap();
    eventually("every operator to be another one", async || {
        let now = operator_pods(bed).await;
        let others = now
            .iter()
            .all(|pod| before.iter().all(|old| old.uid() != pod.uid()));
        (others && now.len() == REPLICAS && now.iter().all(is_ready)).then_some(())
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    let answers: Vec<String> = askers.join_all().await.into_iter().flatten().collect();
    let unanswered: Vec<_> = answers
        .iter()
        .filter(|said| !said.contains("UnmanagedPod"))
        .collect();
    println!("door: {} questions during a rolling restart", answers.len());
    assert!(answers.len() > 1000, "{} questions only", answers.len());
    assert!(
        unanswered.is_empty(),
        "{} of {}: {:?}",
        unanswered.len(),
        answers.len(),
        unanswered.first()
    );
    space.done().await;
}
