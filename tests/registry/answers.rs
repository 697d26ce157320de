//! What the client makes of answers that are not what it asked for.
//! Each test is one way in which a registry, or whatever answers in its place, can go wrong.

use std::time::{Duration, Instant};

use probity::{
    artifact::oci::{Manifest, RegistryError},
    evidence::{Digest, Reason, Reference},
};

use super::artifacts::{Model, WEIGHTS, client, client_for, run, sha256, through};
use crate::{
    fault_proxy::{Fault, FaultProxy, any, path},
    testbed,
};

/// A model in the real registry, and a proxy before it.
fn behind_a_proxy(name: &str) -> (FaultProxy, Reference, Model) {
    let model = Model::plain();
    let pinned = model.push(name);
    let proxy = FaultProxy::before(testbed::registry());
    let reference = through(&proxy, &pinned);
    (proxy, reference, model)
}

async fn manifest_error(reference: &Reference) -> RegistryError {
    let error = client_for(reference)
        .manifest(reference)
        .await
        .expect_err("it fails");
    let message = &error.failure.message;
    assert!(message.contains(reference.host()), "which host: {message}");
    assert!(message.contains(&reference.name()), "which reference: {message}");
    assert!(message.contains(": "), "what to do: {message}");
    error
}

async fn weights(reference: &Reference, model: &Model) -> Result<Vec<u8>, RegistryError> {
    let size = model.content(WEIGHTS).len() as u64;
    client_for(reference)
        .blob(reference, model.digest(WEIGHTS), size)
        .await?
        .read_all(1 << 30)
        .await
}

fn tagged(reference: &Reference, tag: &str) -> Reference {
    format!("{}:{tag}", reference.name()).parse().unwrap()
}

#[tokio::test]
async fn a_tag_is_the_digest_of_its_manifests_bytes() {
    let pinned = Model::plain().push("answers/tag");
    let client = client_for(&pinned);
    assert_eq!(
        client.resolve(&tagged(&pinned, "1")).await.unwrap(),
        pinned.digest().unwrap()
    );
    let verified = client.manifest(&pinned).await.unwrap();
    assert_eq!(sha256(verified.bytes()), pinned.digest().unwrap());
    assert_eq!(Manifest::read(&verified).unwrap().layers.len(), 3);
}

#[tokio::test]
async fn a_digest_is_resolved_without_asking() {
    let (proxy, reference, _) = behind_a_proxy("answers/pinned");
    assert_eq!(
        client_for(&reference).resolve(&reference).await.unwrap(),
        reference.digest().unwrap()
    );
    assert_eq!(proxy.count(any), 0);
}

#[tokio::test]
async fn the_digest_header_is_not_believed() {
    let proxy = FaultProxy::alone();
    let manifest = r#"{"schemaVersion": 2, "config": {}, "layers": []}"#;
    let lie = Digest::from_bytes([7; 32]).to_string();
    let answer = Fault::answer(200, "application/vnd.oci.image.manifest.v1+json", manifest);
    proxy.on(path("/manifests/1"), answer.with("Docker-Content-Digest", &lie));
    let reference: Reference = format!("{}/answers/lie:1", proxy.address()).parse().unwrap();
    assert_eq!(
        client_for(&reference).resolve(&reference).await.unwrap(),
        sha256(manifest.as_bytes())
    );
}

#[tokio::test]
async fn a_tag_that_does_not_exist() {
    let pinned = Model::plain().push("answers/no-tag");
    let error = client_for(&pinned)
        .resolve(&tagged(&pinned, "2"))
        .await
        .unwrap_err();
    assert_eq!(error.failure.reason, Reason::NotFound);
}

#[tokio::test]
async fn an_index_is_refused_with_the_remedy() {
    let pinned = Model::plain().push("answers/index");
    let name = pinned.name();
    run(testbed::tool("oras", &["oras"]).args([
        "manifest",
        "index",
        "create",
        "--plain-http",
        &format!("{name}:index"),
        "1",
    ]));
    let error = client_for(&pinned)
        .resolve(&tagged(&pinned, "index"))
        .await
        .unwrap_err();
    assert_eq!(error.failure.reason, Reason::UnsupportedMediaType);
    assert!(error.failure.message.contains("by its digest"), "{error}");
}

#[tokio::test]
async fn a_web_page_is_no_manifest() {
    let proxy = FaultProxy::alone();
    proxy.on(
        any,
        Fault::answer(200, "text/html; charset=utf-8", "<html>please log in</html>"),
    );
    let reference: Reference = format!("{}/answers/page:1", proxy.address()).parse().unwrap();
    let error = client_for(&reference).resolve(&reference).await.unwrap_err();
    assert_eq!(error.failure.reason, Reason::UnsupportedMediaType);
    assert!(error.failure.message.contains("text/html"), "{error}");
}

#[tokio::test]
async fn a_connection_that_is_refused() {
    let (proxy, reference, _) = behind_a_proxy("answers/refused");
    proxy.refuse();
    assert_eq!(
        manifest_error(&reference).await.failure.reason,
        Reason::RegistryUnavailable
    );
}

#[tokio::test]
async fn a_connection_that_closes_without_a_word() {
    let (proxy, reference, _) = behind_a_proxy("answers/dropped");
    proxy.on(any, Fault::Drop);
    assert_eq!(
        manifest_error(&reference).await.failure.reason,
        Reason::RegistryUnavailable
    );
}

#[tokio::test]
async fn plain_http_is_not_spoken_unless_it_was_allowed() {
    let pinned = Model::plain().push("answers/tls");
    let error = client(&[], &[]).manifest(&pinned).await.unwrap_err();
    assert_eq!(error.failure.reason, Reason::RegistryUnavailable);
    let flag = format!("--plain-http {}", pinned.host());
    assert!(error.failure.message.contains(&flag), "{error}");
}

#[tokio::test]
async fn status_401() {
    let (proxy, reference, _) = behind_a_proxy("answers/401");
    proxy.on(any, Fault::status(401));
    let error = manifest_error(&reference).await;
    assert_eq!(error.failure.reason, Reason::RegistryDenied);
    assert!(error.failure.message.contains("pull secret"), "{error}");
}

#[tokio::test]
async fn status_404() {
    let (proxy, reference, _) = behind_a_proxy("answers/404");
    proxy.on(any, Fault::status(404));
    assert_eq!(manifest_error(&reference).await.failure.reason, Reason::NotFound);
}

#[tokio::test]
async fn status_429_with_retry_after() {
    let (proxy, reference, _) = behind_a_proxy("answers/429");
    proxy.on(any, Fault::status(429).with("Retry-After", "7"));
    let error = manifest_error(&reference).await;
    assert_eq!(error.failure.reason, Reason::RateLimited);
    assert_eq!(error.retry_after, Some(Duration::from_secs(7)));
}

#[tokio::test]
async fn status_500() {
    let (proxy, reference, _) = behind_a_proxy("answers/500");
    proxy.on(any, Fault::status(500));
    let error = manifest_error(&reference).await;
    assert_eq!(error.failure.reason, Reason::RegistryUnavailable);
    assert_eq!(error.retry_after, None);
}

#[tokio::test]
async fn a_registry_that_hangs() {
    let (proxy, reference, _) = behind_a_proxy("answers/hang");
    proxy.on(any, Fault::Hang);
    let started = Instant::now();
    assert_eq!(manifest_error(&reference).await.failure.reason, Reason::Timeout);
    assert!(
        started.elapsed() < Duration::from_secs(9),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_manifest_that_stalls() {
    let (proxy, reference, _) = behind_a_proxy("answers/stall");
    proxy.on(any, Fault::StallAfter(100));
    assert_eq!(manifest_error(&reference).await.failure.reason, Reason::Timeout);
}

#[tokio::test]
async fn a_manifest_that_is_cut_off() {
    let (proxy, reference, _) = behind_a_proxy("answers/cut");
    proxy.on(any, Fault::CutAfter(100));
    assert_eq!(
        manifest_error(&reference).await.failure.reason,
        Reason::RegistryUnavailable
    );
}

#[tokio::test]
async fn a_manifest_with_another_digest() {
    let (proxy, reference, _) = behind_a_proxy("answers/other");
    proxy.on(any, Fault::SwapByte(100));
    let error = manifest_error(&reference).await;
    assert_eq!(error.failure.reason, Reason::DigestMismatch);
    assert!(!error.is_worth_repeating());
}

#[tokio::test]
async fn a_manifest_over_the_cap_is_not_read_to_its_end() {
    let (proxy, reference, _) = behind_a_proxy("answers/flood");
    let content_type = "application/vnd.oci.image.manifest.v1+json";
    proxy.on(
        any,
        Fault::Flood {
            content_type,
            bytes: 400 << 20,
        },
    );
    assert_eq!(
        manifest_error(&reference).await.failure.reason,
        Reason::LimitExceeded
    );
    // What is beyond the cap of 4 MiB are the buffers of two sockets.
    assert!(proxy.flooded() < 40 << 20, "{} bytes", proxy.flooded());
}

#[tokio::test]
async fn a_redirect_to_a_host_that_is_not_allowed() {
    let (proxy, reference, model) = behind_a_proxy("answers/foreign");
    let storage = FaultProxy::before(testbed::registry());
    proxy.on(
        path("/blobs/"),
        Fault::Redirect(format!("http://{}", storage.address())),
    );
    let error = weights(&reference, &model).await.unwrap_err();
    assert_eq!(error.failure.reason, Reason::HostNotAllowed);
    let flag = format!("--allow-host {}", storage.address());
    assert!(error.failure.message.contains(&flag), "{error}");
    assert_eq!(storage.count(any), 0);
}

#[tokio::test]
async fn a_redirect_to_a_host_that_is_allowed() {
    let (proxy, reference, model) = behind_a_proxy("answers/storage");
    let storage = FaultProxy::before(testbed::registry());
    proxy.on(
        path("/blobs/"),
        Fault::Redirect(format!("http://{}", storage.address())),
    );
    let (registry, storage) = (proxy.address(), storage.address());
    let client = client(&[&registry, &storage], &[&storage]);
    let size = model.content(WEIGHTS).len() as u64;
    let blob = client
        .blob(&reference, model.digest(WEIGHTS), size)
        .await
        .unwrap();
    assert_eq!(blob.read_all(size).await.unwrap(), model.content(WEIGHTS));
}

#[tokio::test]
async fn redirects_in_circles() {
    let (proxy, reference, _) = behind_a_proxy("answers/circle");
    proxy.on(any, Fault::Redirect(format!("http://{}", proxy.address())));
    assert_eq!(
        manifest_error(&reference).await.failure.reason,
        Reason::RegistryUnavailable
    );
    assert!(proxy.count(any) < 10);
}

#[tokio::test]
async fn a_redirect_to_nowhere() {
    let (proxy, reference, _) = behind_a_proxy("answers/nowhere");
    proxy.on(any, Fault::status(307));
    assert!(client_for(&reference).manifest(&reference).await.is_err());
}

#[tokio::test]
async fn a_blob_as_it_is() {
    let (_proxy, reference, model) = behind_a_proxy("answers/blob");
    assert_eq!(weights(&reference, &model).await.unwrap(), model.content(WEIGHTS));
}

#[tokio::test]
async fn a_blob_with_other_bytes() {
    let (proxy, reference, model) = behind_a_proxy("answers/blob-other");
    proxy.on(path("/blobs/"), Fault::SwapByte(300_000));
    let error = weights(&reference, &model).await.unwrap_err();
    assert_eq!(error.failure.reason, Reason::DigestMismatch);
    assert!(
        error.failure.message.contains(&model.digest(WEIGHTS).short()),
        "{error}"
    );
}

#[tokio::test]
async fn a_blob_of_another_size() {
    let pinned = Model::plain().push("answers/blob-size");
    let model = Model::plain();
    let size = model.content(WEIGHTS).len() as u64;
    for size in [size - 1, size + 1] {
        let blob = client_for(&pinned)
            .blob(&pinned, model.digest(WEIGHTS), size)
            .await
            .unwrap();
        assert_eq!(
            blob.read_all(1 << 30).await.unwrap_err().failure.reason,
            Reason::DigestMismatch
        );
    }
}

#[tokio::test]
async fn a_blob_that_is_cut_off() {
    let (proxy, reference, model) = behind_a_proxy("answers/blob-cut");
    proxy.on(path("/blobs/"), Fault::CutAfter(300_000));
    let error = weights(&reference, &model).await.unwrap_err();
    assert_eq!(error.failure.reason, Reason::RegistryUnavailable);
    assert!(error.is_worth_repeating());
}

#[tokio::test]
async fn a_blob_of_unknown_length_that_is_cut_off() {
    let (proxy, reference, model) = behind_a_proxy("answers/blob-short");
    proxy.on(
        path("/blobs/"),
        Fault::Flood {
            content_type: "application/octet-stream",
            bytes: 1000,
        },
    );
    let error = weights(&reference, &model).await.unwrap_err();
    assert_eq!(error.failure.reason, Reason::RegistryUnavailable);
}

#[tokio::test]
async fn a_blob_that_stalls() {
    let (proxy, reference, model) = behind_a_proxy("answers/blob-stall");
    proxy.on(path("/blobs/"), Fault::StallAfter(300_000));
    assert_eq!(
        weights(&reference, &model).await.unwrap_err().failure.reason,
        Reason::Timeout
    );
}

#[tokio::test]
async fn a_blob_without_end_is_left_when_it_is_too_long() {
    let (proxy, reference, model) = behind_a_proxy("answers/blob-flood");
    proxy.on(
        path("/blobs/"),
        Fault::Flood {
            content_type: "application/octet-stream",
            bytes: 400 << 20,
        },
    );
    assert_eq!(
        weights(&reference, &model).await.unwrap_err().failure.reason,
        Reason::DigestMismatch
    );
    assert!(proxy.flooded() < 40 << 20, "{} bytes", proxy.flooded());
}

#[tokio::test]
async fn a_blob_over_the_cap_is_not_read() {
    let pinned = Model::plain().push("answers/blob-cap");
    let model = Model::plain();
    let size = model.content(WEIGHTS).len() as u64;
    let blob = client_for(&pinned)
        .blob(&pinned, model.digest(WEIGHTS), size)
        .await
        .unwrap();
    assert_eq!(
        blob.read_all(size - 1).await.unwrap_err().failure.reason,
        Reason::LimitExceeded
    );
}
