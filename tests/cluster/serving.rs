//! A signed model serves, from a pod that can do nothing but serve it; what it may not be replaced by never starts, and
//! what it may be replaced by takes over without a request that fails. With the demo's server, which reads the model.

use std::io::ErrorKind;

use k8s_openapi::api::{apps::v1::ReplicaSet, core::v1::Pod};
use kube::{ResourceExt as _, api::PostParams};
use probity::api::MODEL_LABEL;
use serde_json::json;

use crate::{
    bed::Bed,
    chart::operator_pod,
    container::{Container, status},
    load::{Load, digits},
    models::{Model, models},
    space::{Space, candidate, eventually, serving, uids},
};

/// What a server must find where the model is mounted: every file but the signature, as everybody may read it.
fn exposed(model: &Model) -> Vec<(String, u32, String)> {
    ["config.json", "labels/classes.txt", "model.onnx"]
        .map(|name| (name.to_owned(), 0o444, model.digest(name)))
        .into()
}

pub async fn a_signed_model_serves_and_its_pod_can_do_nothing_else(bed: &'static Bed) {
    let space = Space::new(bed, "signed").await;
    let pushed = models()
        .digits
        .push(&bed.node.registry, "models/signed", "1.0")
        .await;
    space.digits(&pushed.tagged).await;
    let model = space.serves("digits", &pushed.digest).await;
    assert_eq!(model.status.unwrap().serving.unwrap().signed_by, "release");
    let request = digits(&space.service("digits").await);
    request.answered(&bed.http).await;

    let pod = space.only_pod("digits").await;
    let server = Container::of(&pod, "server").await;
    assert_eq!(
        server.files("/mnt/models"),
        exposed(&models().digits),
        "the model and nothing else"
    );
    assert!(server.is_read_only("/mnt/models"));
    for path in ["/mnt/models/model.onnx", "/mnt/models/new", "/new"] {
        assert_eq!(
            server.write_error(path),
            Some(ErrorKind::ReadOnlyFilesystem),
            "{path}"
        );
    }
    assert!(server.is_read_only("/"));
    assert_eq!(
        server.write_error("/tmp/scratch"),
        None,
        "there is a place for what is not kept"
    );
    assert!(
        !server.mounts().iter().any(|(at, _)| at.contains("secrets")),
        "no token: {:?}",
        server.mounts()
    );
    let user = server.fact("Uid");
    assert!(user.split_whitespace().all(|id| id == "65532"), "{user}");
    assert_eq!(server.fact("CapEff"), "0000000000000000");
    assert_eq!(
        (
            server.fact("NoNewPrivs").as_str(),
            server.fact("Seccomp").as_str()
        ),
        ("1", "2")
    );

    let operator = operator_pod(bed).await;
    let image = operator.spec.as_ref().unwrap().containers[0]
        .image
        .clone()
        .unwrap();
    assert!(image.contains("@sha256:"), "{image}");
    assert_eq!(
        pod.spec.as_ref().unwrap().init_containers.as_ref().unwrap()[0]
            .image
            .as_ref(),
        Some(&image)
    );
    let ids = (
        status(&pod, "probity-fetch").unwrap(),
        status(&operator, "operator").unwrap(),
    );
    assert_eq!(ids.0.image_id, ids.1.image_id, "what fetched is what verified");

    // The namespace takes none but restricted pods; this one was let in.
    let privileged: Pod = serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "privileged"},
        "spec": {"containers": [{"name": "x", "image": bed.light, "securityContext": {"privileged": true}}]},
    }))
    .unwrap();
    let refused = space
        .api::<Pod>()
        .create(&PostParams::default(), &privileged)
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("violates PodSecurity \"restricted"), "{refused}");
    space.done().await;
}

pub async fn altered_weights_never_start_and_a_good_version_takes_over(bed: &'static Bed) {
    let space = Space::new(bed, "altered").await;
    let registry = &bed.node.registry;
    let good = models().digits.push(registry, "models/altered", "1.0").await;
    space.digits(&good.tagged).await;
    space.serves("digits", &good.digest).await;
    let pod = space.only_pod("digits").await;
    let load = Load::start(bed, digits(&space.service("digits").await)).await;
    load.answered(5).await;

    let altered = models()
        .digits_altered
        .push(registry, "models/altered", "1.0")
        .await;
    let (model, message) = space.is_not_ready("digits", "DigestMismatch").await;
    assert_eq!(
        candidate(&model),
        Some(("DigestMismatch".into(), Some(altered.digest.clone())))
    );
    assert_eq!(serving(&model).as_ref(), Some(&good.digest));
    assert!(
        message.contains("model.onnx") && message.contains("release"),
        "{message}"
    );
    load.answered(20).await;
    assert_eq!(uids(&space.pods("digits").await), [pod.uid().unwrap()]);
    let templates: Vec<ReplicaSet> = space.list(&format!("{MODEL_LABEL}=digits")).await;
    assert_eq!(templates.len(), 1, "no pod of it was even asked for");

    let next = models().digits_next.push(registry, "models/altered", "1.0").await;
    space.serves("digits", &next.digest).await;
    let newer = space.only_pod("digits").await;
    assert_ne!(newer.uid(), pod.uid());
    load.answered(20).await;
    load.stop_flawless();
    let server = Container::of(&newer, "server").await;
    assert_eq!(server.files("/mnt/models"), exposed(&models().digits_next));
    let left = eventually("the older verdicts to be cleared away", async || {
        let left = space.verifications("digits").await;
        (left.len() == 1).then_some(left)
    })
    .await;
    assert_eq!(
        left[0].spec.source.oci.as_ref().unwrap().digest.to_string(),
        next.digest
    );
    space.done().await;
}
