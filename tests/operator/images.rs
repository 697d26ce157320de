//! The images of a workload that somebody else made: looked up by the operator, written down once, and pinned at the door,
//! which asks nobody. The door here is the operator's own judge, asked as the API server would ask it.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use kube::ResourceExt as _;
use probity::{
    admission::{AdmissionRequest, Answer, Gate, Judge as _},
    api::v1alpha1::{ModelDeployment, ResolvedImage},
    artifact::oci::HostPolicy,
    controller::{self, world::watch_world},
    evidence::{Digest, Reason},
    operator::gate,
};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::{
    artifacts::Model,
    fault_proxy::{Fault, any},
    secrets::{PASSWORD, pull_secret, push},
    stage::{FETCH_IMAGE, PATIENCE, Stage, apply, guarded_registry, proxy},
};

/// A Deployment with these containers, whose model lies on a claim.
pub async fn workload(stage: &Stage, pod: Value) {
    let labels = json!({"app": "server"});
    let template = json!({"metadata": {"labels": labels}, "spec": pod});
    apply(
        &stage.client,
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "server", "namespace": stage.namespace},
            "spec": {"selector": {"matchLabels": labels}, "template": template}
        }),
    )
    .await;
}

pub async fn model(stage: &Stage) {
    apply(
        &stage.client,
        json!({
            "apiVersion": "probity.dev/v1alpha1", "kind": "ModelDeployment",
            "metadata": {"name": "digits", "namespace": stage.namespace},
            "spec": {
                "model": {"source": {"volume": {"claimName": "models"}}},
                "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "server"}
            }
        }),
    )
    .await;
}

fn containers(images: &[&str]) -> Value {
    let named = images.iter().enumerate();
    named
        .map(|(n, image)| json!({"name": format!("server-{n}"), "image": image}))
        .collect()
}

fn images(model: &ModelDeployment) -> &[ResolvedImage] {
    let status = model.status.as_ref().and_then(|status| status.workload.as_ref());
    status
        .and_then(|workload| workload.images.as_deref())
        .unwrap_or_default()
}

fn image<'a>(model: &'a ModelDeployment, name: &str) -> Option<&'a ResolvedImage> {
    images(model).iter().find(|image| image.image == name)
}

async fn resolved(stage: &Stage, name: &str) -> Option<Digest> {
    let known = |model: &ModelDeployment| image(model, name).is_some_and(|image| image.digest.is_some());
    let model = stage.until("digits", &format!("{name} is resolved"), known).await;
    image(&model, name).unwrap().digest
}

/// The judge of an operator, on watches of its own.
pub async fn door(stage: &Stage) -> Gate {
    let settings = controller::Settings {
        fetch_image: FETCH_IMAGE.into(),
        previous_images: Vec::new(),
        hosts: HostPolicy::default(),
        concurrency: 1,
        relay: None,
        audit_interval: Duration::from_secs(300),
        network: controller::NetworkSettings::default(),
        canaries: None,
        evaluations: None,
        evaluations_at_once: 1,
        reports: true,
    };
    let (world, watching) = watch_world(&stage.client);
    tokio::spawn(watching);
    world.ready().await;
    gate(settings.pods())(&stage.client, &world)
}

/// The pod that the `ReplicaSet` controller makes from the template.
async fn pod(stage: &Stage) -> Value {
    let deployment = stage.api::<Deployment>().get("server").await.unwrap();
    let owner = |version: &str, kind: &str, name: &str, uid: Option<String>| json!([{"apiVersion": version, "kind": kind, "name": name, "uid": uid, "controller": true}]);
    let template = serde_json::to_value(&deployment.spec.as_ref().unwrap().template).unwrap();
    let selector = &deployment.spec.as_ref().unwrap().selector;
    let set = match stage.api::<ReplicaSet>().get_opt("server-1").await.unwrap() {
        Some(set) => set,
        None => {
            stage
                .create(json!({
                    "metadata": {
                        "name": "server-1",
                        "ownerReferences": owner("apps/v1", "Deployment", "server", deployment.uid())
                    },
                    "spec": {"selector": selector, "template": template}
                }))
                .await
        }
    };
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "generateName": "server-1-", "namespace": stage.namespace, "labels": {"app": "server"},
            "ownerReferences": owner("apps/v1", "ReplicaSet", "server-1", set.uid())
        },
        "spec": template["spec"]
    })
}

fn request(stage: &Stage, pod: &Value) -> AdmissionRequest {
    serde_json::from_value(json!({
        "uid": "u", "namespace": stage.namespace, "operation": "CREATE",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "userInfo": {"username": "system:serviceaccount:kube-system:replicaset-controller"},
        "object": pod
    }))
    .unwrap()
}

/// What both questions come to: the pod with what it lacked, and the answer about it.
async fn asked(door: &Gate, stage: &Stage) -> (Value, Answer) {
    let mut pod = pod(stage).await;
    let patch = door.mutate(&request(stage, &pod)).await.patch;
    for one in patch.as_ref().and_then(Value::as_array).into_iter().flatten() {
        assert_eq!(one["op"], "add");
        let (parent, key) = one["path"].as_str().unwrap().rsplit_once('/').unwrap();
        match pod.pointer_mut(parent).unwrap() {
            Value::Array(items) => items.insert(key.parse().unwrap(), one["value"].clone()),
            fields => fields[key.replace("~1", "/")] = one["value"].clone(),
        }
    }
    let answer = door.validate(&request(stage, &pod)).await;
    (pod, answer)
}

/// Asks again, as whoever makes pods does, until the answer is as wanted.
pub async fn asked_until(door: &Gate, stage: &Stage, wanted: impl Fn(&Answer) -> bool) -> (Value, Answer) {
    let asking = async {
        loop {
            let (pod, answer) = asked(door, stage).await;
            if wanted(&answer) {
                return (pod, answer);
            }
            sleep(Duration::from_millis(200)).await;
        }
    };
    if let Ok(found) = timeout(PATIENCE, asking).await {
        return found;
    }
    panic!("the answer stays {:?}", asked(door, stage).await.1)
}

#[tokio::test]
async fn a_pod_waits_until_its_image_is_known_and_runs_that_one_for_good() {
    let stage = Stage::new().await;
    let proxy = proxy();
    let repository = format!("images/{}", stage.namespace);
    let first = Model::plain().push(&repository).digest().unwrap();
    let tag = format!("{}/{repository}:1", proxy.address());
    proxy.on(any, Fault::status(503));
    workload(&stage, json!({"containers": containers(&[&tag])})).await;
    model(&stage).await;

    // The registry is away: the status says so, and the pod is to be tried again.
    let away = |model: &ModelDeployment| {
        image(model, &tag).is_some_and(|image| image.reason == Some(Reason::RegistryUnavailable))
    };
    stage.until("digits", "the registry is away", away).await;
    let message = stage.reason("digits", "NotYetResolved").await;
    assert!(message.contains(&tag), "{message}");
    let door = door(&stage).await;
    let (_, answer) = asked_until(&door, &stage, |answer| answer.code == 503).await;
    assert!(!answer.allowed);
    for part in ["NotYetResolved", "spec.containers[server-0].image", &tag, "503"] {
        assert!(
            answer.message.contains(part),
            "{part} is not in: {}",
            answer.message
        );
    }

    // It is back.
    proxy.heal();
    assert_eq!(resolved(&stage, &tag).await, Some(first));
    let (pod, _) = asked_until(&door, &stage, |answer| answer.allowed).await;
    assert_eq!(pod["spec"]["containers"][0]["image"], format!("{tag}@{first}"));

    // The tag moves: nobody looks again, also when the template changes otherwise.
    let second = Model::signed().push(&repository).digest().unwrap();
    assert_ne!(first, second);
    let other = format!("{}/{repository}", proxy.address());
    let beside = Model::plain().push(&format!("{repository}/beside"));
    let beside = format!("{}/{}:1", proxy.address(), beside.repository());
    workload(&stage, json!({"containers": containers(&[&tag, &beside])})).await;
    assert!(resolved(&stage, &beside).await.is_some());
    let (pod, _) = asked_until(&door, &stage, |answer| answer.allowed).await;
    assert_eq!(pod["spec"]["containers"][0]["image"], format!("{tag}@{first}"));

    // By its digest the other is taken up at once.
    let pinned = format!("{other}@{second}");
    workload(&stage, json!({"containers": containers(&[&pinned])})).await;
    let (pod, _) = asked_until(&door, &stage, |answer| answer.allowed).await;
    assert_eq!(pod["spec"]["containers"][0]["image"], pinned);
    stage
        .until("digits", "what nobody names is dropped", |model| {
            images(model).is_empty()
        })
        .await;
}

#[tokio::test]
async fn the_secrets_of_the_template_are_used_and_no_others() {
    let stage = Stage::new().await;
    pull_secret(&stage, "other", "other.example", PASSWORD).await;
    pull_secret(&stage, "regcred", guarded_registry(), PASSWORD).await;
    let reference = push(&Model::plain(), &format!("images/{}", stage.namespace));
    let tag = format!("{}:1", reference.name());
    let template = |secrets: Value| json!({"containers": containers(&[&tag]), "imagePullSecrets": secrets});
    workload(&stage, template(json!([{"name": "other"}, {"name": "absent"}]))).await;
    model(&stage).await;
    let failed = |model: &ModelDeployment| image(model, &tag).is_some_and(|image| image.reason.is_some());
    let told = stage.until("digits", "it is refused", failed).await;
    let told = image(&told, &tag).unwrap();
    assert_eq!(told.reason, Some(Reason::CredentialsMissing), "{told:?}");
    workload(&stage, template(json!([{"name": "absent"}, {"name": "regcred"}]))).await;
    assert_eq!(resolved(&stage, &tag).await, reference.digest());
}

/// Nothing is verified where no policy asks for it, and nobody asks registries then.
#[tokio::test]
async fn where_nothing_is_asked_for_nobody_is_asked() {
    let stage = Stage::bare().await;
    let proxy = proxy();
    let repository = format!("images/{}", stage.namespace);
    let digest = Model::plain().push(&repository).digest();
    let tag = format!("{}/{repository}:1", proxy.address());
    workload(&stage, json!({"containers": containers(&[&tag])})).await;
    model(&stage).await;
    stage.reason("digits", "NoPolicy").await;
    let found: ModelDeployment = stage.api().get("digits").await.unwrap();
    assert_eq!(images(&found), []);
    stage.trust(&[("release", crate::artifacts::release_pem())]).await;
    stage.policy(json!({})).await;
    assert_eq!(resolved(&stage, &tag).await, digest);
}
