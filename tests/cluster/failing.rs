//! Admitted and still not serving: what keeps a pod from coming up is said in the model's status.
//! Nothing here is refused by policy.

use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::{
    bed::Bed,
    load::{Load, light},
    models::{WEIGHTS, models},
    space::{PORT, Space, candidate, is_ready, serving},
};

pub async fn a_server_that_crashes_does_not_replace_one_that_serves(bed: &'static Bed) {
    let space = Space::new(bed, "crashes").await;
    let pushed = models()
        .small
        .push(&bed.node.registry, "models/crashes", "1")
        .await;
    space.model("crashes", &pushed.tagged).await;
    space.serves("crashes", &pushed.digest).await;
    let old = space.only_pod("crashes").await;
    let load = Load::start(bed, light(&space.service("crashes").await)).await;

    space
        .edit("crashes", json!({"server": {"args": ["no-such-command"]}}))
        .await;
    let (model, message) = space.is_not_ready("crashes", "ServerFailed").await;
    let pods = space.pods("crashes").await;
    let new = pods
        .iter()
        .find(|pod| pod.uid() != old.uid())
        .expect("the new server has a pod")
        .name_any();
    assert!(
        message.contains("ended with exit code 1") && message.contains(&new),
        "{message}"
    );
    assert_eq!(serving(&model).as_ref(), Some(&pushed.digest));
    assert!(pods.iter().any(|pod| pod.uid() == old.uid() && is_ready(pod)));
    load.answered(20).await;

    space
        .edit(
            "crashes",
            json!({"server": {"args": ["serve", format!(":{PORT}"), "light"]}}),
        )
        .await;
    space.serves("crashes", &pushed.digest).await;
    load.answered(20).await;
    load.stop_flawless();
    space.done().await;
}

pub async fn a_server_image_that_does_not_exist_is_named(bed: &'static Bed) {
    let space = Space::new(bed, "no-image").await;
    let pushed = models()
        .small
        .push(&bed.node.registry, "models/no-image", "1")
        .await;
    let image = format!("{}/servers/none@sha256:{}", bed.node.registry, "1".repeat(64));
    let mut model = space.light("no-image", &pushed.tagged);
    model["spec"]["server"]["image"] = image.clone().into();
    space
        .create::<probity::api::v1alpha1::ModelDeployment>(model)
        .await;
    let (model, message) = space.is_not_ready("no-image", "ServerFailed").await;
    assert_eq!(
        candidate(&model),
        Some(("ServerFailed".into(), Some(pushed.digest)))
    );
    assert!(
        message.contains(&image) && message.contains("kubectl describe"),
        "{message}"
    );
    assert_eq!(serving(&model), None);
    space.done().await;
}

pub async fn a_model_larger_than_the_disk_says_so(bed: &'static Bed) {
    const PEBIBYTE: u64 = 1 << 50;
    const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    let space = Space::new(bed, "disk").await;
    let registry = &bed.node.registry;
    let pushed = models().small.push(registry, "models/disk", "1").await;
    // No disk here holds such a model, so it is only said to be that large. Sizes are not signed.
    let url = |tag: &str| format!("http://{registry}/v2/models/disk/manifests/{tag}");
    let get = bed.http.get(url(&pushed.digest)).header("Accept", MANIFEST);
    let manifest = get
        .send()
        .await
        .unwrap()
        .error_for_status()
        .unwrap()
        .bytes()
        .await
        .unwrap();
    let mut manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let layers = manifest["layers"].as_array_mut().unwrap();
    let weights = layers
        .iter_mut()
        .find(|layer| layer["digest"] == models().small.digest(WEIGHTS).as_str())
        .unwrap();
    weights["size"] = PEBIBYTE.into();
    let put = bed
        .http
        .put(url("huge"))
        .header("Content-Type", MANIFEST)
        .body(manifest.to_string())
        .send()
        .await
        .unwrap();
    assert!(put.status().is_success(), "{put:?}");

    space.model("huge", &format!("{registry}/models/disk:huge")).await;
    let (model, message) = space.is_not_ready("huge", "Io").await;
    assert!(
        message.contains("enlarge the volume") && message.contains("/model"),
        "{message}"
    );
    assert_eq!(
        (candidate(&model).unwrap().0.as_str(), serving(&model)),
        ("Io", None)
    );
    space.done().await;
}
