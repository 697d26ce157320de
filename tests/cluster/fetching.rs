//! Between the verdict and the server: what a registry sends when the pod fetches, and what becomes of a fetch that is
//! killed. What `probity fetch` does with every fault of a registry is tested without a cluster.

use std::{fs, path::PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::{
    bed::{Bed, PASSWORD, USER},
    container::{Container, status, volume},
    fault_proxy::{Fault, path},
    load::{Load, light},
    models::{Model, WEIGHTS, models, scratch},
    space::{Space, candidate, eventually, is_ready, serving, uids},
};

/// What a server finds of a small model.
fn exposed(model: &Model) -> Vec<(String, u32, String)> {
    ["config.json", "labels/classes.txt", WEIGHTS]
        .map(|name| (name.to_owned(), 0o444, model.digest(name)))
        .into()
}

async fn exposed_in(pod: &Pod) -> Vec<(String, u32, String)> {
    Container::of(pod, "server").await.files("/mnt/models")
}

pub async fn bytes_altered_in_the_registry_are_not_exposed(bed: &'static Bed) {
    let space = Space::new(bed, "blob").await;
    let registry = &bed.node.registry;
    let first = models().small.push(registry, "models/blob", "1").await;
    let second = models().lonely.push(registry, "models/blob", "2").await;
    space.model("blob", &first.tagged).await;
    space.serves("blob", &first.digest).await;
    let old = space.only_pod("blob").await;
    let load = Load::start(bed, light(&space.service("blob").await)).await;

    // The manifest stays right: what was signed is compared with it, and only the pod reads the weights.
    let blob = bed.node.blob(&models().lonely.digest(WEIGHTS));
    let right = fs::read(&blob).unwrap();
    let mut wrong = right.clone();
    wrong[1000] ^= 1;
    fs::write(&blob, wrong).unwrap();
    space.ask_for("blob", &second.tagged).await;
    let (model, message) = space.is_not_ready("blob", "DigestMismatch").await;
    assert!(message.contains(WEIGHTS), "it names the file: {message}");
    assert_eq!(
        candidate(&model),
        Some(("DigestMismatch".into(), Some(second.digest.clone())))
    );
    assert_eq!(serving(&model).as_ref(), Some(&first.digest));
    let conditions = model.status.as_ref().unwrap().conditions.as_ref().unwrap();
    let verified = conditions
        .iter()
        .find(|condition| condition.type_ == "ArtifactVerified")
        .unwrap();
    assert_eq!(
        verified.status, "True",
        "what was signed is right, and so is the manifest: {verified:?}"
    );
    let pods = space.pods("blob").await;
    let new = pods
        .iter()
        .find(|pod| pod.uid() != old.uid())
        .expect("the new version has a pod");
    assert!(
        !volume(&bed.node, new).join(WEIGHTS).exists(),
        "a file has its name only when it is proven"
    );
    assert!(pods.iter().any(|pod| pod.uid() == old.uid() && is_ready(pod)));
    load.answered(20).await;

    fs::write(&blob, right).unwrap();
    space.serves("blob", &second.digest).await;
    assert_eq!(
        exposed_in(&space.only_pod("blob").await).await,
        exposed(&models().lonely)
    );
    load.answered(20).await;
    load.stop_flawless();
    space.done().await;
}

pub async fn a_fetch_killed_half_way_starts_over(bed: &'static Bed) {
    let space = Space::new(bed, "killed").await;
    let weights = models().large.digest(WEIGHTS);
    bed.proxy.on(path(&weights), Fault::StallAfter(9 << 20).times(1));
    let pushed = models()
        .large
        .push(&bed.node.registry, "models/killed", "1")
        .await
        .through(&bed.proxy.address());
    space.model("large", &pushed.tagged).await;

    let half = eventually("a file to be written half", async || {
        let pod = space.pods("large").await.pop()?;
        let staged = fs::read_dir(volume(&bed.node, &pod).join(".probity-fetch")).ok()?;
        let sizes = staged.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len()));
        let half = sizes.into_iter().any(|size| size > 8 << 20);
        // The node writes sooner than it tells which container does.
        let told = status(&pod, "probity-fetch").is_some_and(|status| status.container_id.is_some());
        (half && told).then_some(pod)
    })
    .await;
    assert!(!volume(&bed.node, &half).join(WEIGHTS).exists());
    Container::of(&half, "probity-fetch").await.kill();

    space.serves("large", &pushed.digest).await;
    let pod = space.only_pod("large").await;
    assert_eq!(pod.uid(), half.uid(), "the same pod tries again");
    let fetch = status(&pod, "probity-fetch").unwrap();
    assert_eq!(fetch.restart_count, 1);
    assert_eq!(bed.proxy.count(path(&weights)), 2, "the half is not built upon");
    assert_eq!(exposed_in(&pod).await, exposed(&models().large));
    assert!(!volume(&bed.node, &pod).join(".probity-fetch").exists());
    space.done().await;
}

pub fn pull_secret(host: &str, password: &str) -> Value {
    let config = json!({"auths": {host: {"auth": STANDARD.encode(format!("{USER}:{password}"))}}});
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson", "metadata": {"name": "puller"},
        "stringData": {".dockerconfigjson": config.to_string()},
    })
}

/// A folder with what pushes to the registry that wants a password.
pub fn login(bed: &Bed) -> PathBuf {
    let login = scratch().join("login");
    fs::create_dir_all(&login).unwrap();
    let auth = STANDARD.encode(format!("{USER}:{PASSWORD}"));
    let config = json!({"auths": {&bed.guarded.here: {"auth": auth}}});
    fs::write(login.join("config.json"), config.to_string()).unwrap();
    login
}

pub async fn a_pull_secret_is_for_the_fetch_alone(bed: &'static Bed) {
    let space = Space::new(bed, "secret").await;
    let there = bed.guarded.proxy.address();
    let pushed = models()
        .small
        .push_as(&bed.guarded.here, "models/secret", "1", Some(&login(bed)))
        .await
        .through(&there);

    space.create::<Secret>(pull_secret(&there, "s3cret-wrong")).await;
    let mut model = space.light("guarded", &pushed.tagged);
    model["spec"]["model"]["source"]["oci"]["pullSecret"] = "puller".into();
    space
        .create::<probity::api::v1alpha1::ModelDeployment>(model)
        .await;
    let (_, message) = space.is_not_ready("guarded", "RegistryDenied").await;
    assert!(
        message.contains(&there) && !message.contains("s3cret"),
        "{message}"
    );
    assert!(space.pods("guarded").await.is_empty());

    let secrets: Api<Secret> = space.api();
    let right = Patch::Merge(pull_secret(&there, PASSWORD));
    secrets
        .patch("puller", &PatchParams::default(), &right)
        .await
        .unwrap();
    space.serves("guarded", &pushed.digest).await;
    let pod = space.only_pod("guarded").await;
    let server = Container::of(&pod, "server").await;
    assert_eq!(server.files("/mnt/models"), exposed(&models().small));
    let points: Vec<_> = server.mounts().into_iter().map(|(point, _)| point).collect();
    assert!(
        !points
            .iter()
            .any(|point| point.contains("credentials") || point.contains("secret")),
        "{points:?}"
    );
    assert!(!server.path("/credentials").exists());
    let spec = pod.spec.unwrap();
    let mounted: Vec<_> = spec.containers[0]
        .volume_mounts
        .iter()
        .flatten()
        .map(|mount| mount.name.as_str())
        .collect();
    assert!(!mounted.contains(&"probity-credentials"), "{mounted:?}");
    space.done().await;
}

pub async fn a_replaced_pod_gets_the_pinned_version(bed: &'static Bed) {
    let space = Space::new(bed, "pinned").await;
    let pushed = models()
        .small
        .push(&bed.node.registry, "models/pinned", "1")
        .await;
    space.model("pinned", &pushed.tagged).await;
    space.serves("pinned", &pushed.digest).await;
    let old = space.only_pod("pinned").await;

    let moved = models()
        .small_next
        .push(&bed.node.registry, "models/pinned", "1")
        .await;
    assert_ne!(moved.digest, pushed.digest);
    space
        .api::<Pod>()
        .delete(&old.name_any(), &DeleteParams::default())
        .await
        .unwrap();
    let new = eventually("another pod", async || {
        let pods = space.pods("pinned").await;
        (pods.len() == 1 && is_ready(&pods[0]) && uids(&pods) != [old.uid().unwrap()])
            .then(|| pods[0].clone())
    })
    .await;
    assert_eq!(exposed_in(&new).await, exposed(&models().small));
    let args = new.spec.as_ref().unwrap().init_containers.as_ref().unwrap()[0]
        .args
        .clone()
        .unwrap();
    assert!(args.contains(&pushed.pinned()), "{args:?}");
    let model = space.serves("pinned", &pushed.digest).await;
    assert_eq!(candidate(&model), None);
    light(&space.service("pinned").await).answered(&bed.http).await;
    space.done().await;
}
