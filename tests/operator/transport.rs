//! What a registry can do to the operator, one fault a test: the status says it, and all is well once the fault goes.
//! Nothing is ever deployed meanwhile, and no fault is taken for a verdict.

use k8s_openapi::api::apps::v1::Deployment;
use probity::api::v1alpha1::VerificationVerdict;
use serde_json::json;
use test_case::test_case;

use crate::{
    artifacts::{Model, through},
    fault_proxy::{Fault, FaultProxy, any, path},
    stage::{FOREIGN, PATIENCE, Stage, condition, proxy},
};

enum Wrong {
    Refuses,
    Does(Fault),
    /// Only with the manifest.
    Manifest(Fault),
    /// Only with the signature's bytes.
    Signature(Fault),
}

fn begin(proxy: &FaultProxy, wrong: &Wrong) {
    match wrong {
        Wrong::Refuses => proxy.refuse(),
        Wrong::Does(fault) => proxy.on(any, fault.clone()),
        Wrong::Manifest(fault) => proxy.on(path("/manifests/"), fault.clone()),
        Wrong::Signature(fault) => proxy.on(path("/blobs/"), fault.clone()),
    }
}

/// The model is asked for by digest: the fault is met by whoever verifies it.
#[test_case(Wrong::Refuses, "RegistryUnavailable"; "refuses the connection")]
#[test_case(Wrong::Does(Fault::Drop), "RegistryUnavailable"; "hangs up")]
#[test_case(Wrong::Does(Fault::status(401)), "RegistryDenied"; "401")]
#[test_case(Wrong::Does(Fault::status(403)), "RegistryDenied"; "403")]
#[test_case(Wrong::Does(Fault::status(404)), "NotFound"; "404")]
#[test_case(Wrong::Does(Fault::status(429).with("Retry-After", "2")), "RateLimited"; "429 with Retry After")]
#[test_case(Wrong::Does(Fault::status(500)), "RegistryUnavailable"; "500")]
#[test_case(Wrong::Does(Fault::Hang), "Timeout"; "hangs")]
#[test_case(Wrong::Does(Fault::Redirect(format!("http://{FOREIGN}"))), "HostNotAllowed"; "redirects to a foreign host")]
#[test_case(Wrong::Does(Fault::status(401).with("WWW-Authenticate", "Bearer realm=\"http://127.0.0.1:9/token\",service=\"x\"")), "HostNotAllowed"; "sends for a token to a foreign host")]
#[test_case(Wrong::Manifest(Fault::SwapByte(20)), "DigestMismatch"; "another manifest than its digest")]
#[test_case(Wrong::Manifest(Fault::Flood { content_type: "application/vnd.oci.image.manifest.v1+json", bytes: 16 << 20 }), "LimitExceeded"; "a manifest over the cap")]
#[test_case(Wrong::Signature(Fault::SwapByte(20)), "DigestMismatch"; "a layer whose bytes differ from its digest")]
#[test_case(Wrong::Signature(Fault::Flood { content_type: "application/octet-stream", bytes: 64 << 20 }), "DigestMismatch"; "a layer that does not end")]
#[test_case(Wrong::Signature(Fault::CutAfter(10)), "RegistryUnavailable"; "a layer cut short")]
#[tokio::test]
async fn a_registry_that(wrong: Wrong, reason: &str) {
    let stage = Stage::new().await;
    let proxy = proxy();
    let reference = through(
        &proxy,
        &Model::signed().push(&format!("transport/{}", stage.namespace)),
    );
    begin(&proxy, &wrong);
    stage.model("digits", &reference.to_string()).await;

    let message = stage.reason("digits", reason).await;
    assert!(message.contains(&proxy.address()), "which host: {message}");
    assert!(message.contains(": "), "what to do: {message}");
    let model = stage.api().get("digits").await.unwrap();
    assert_eq!(condition(&model, "ArtifactVerified").unwrap().status, "Unknown");
    assert_eq!(condition(&model, "PolicySatisfied").unwrap().status, "Unknown");
    assert!(condition(&model, "Reconciling").is_some() && condition(&model, "Stalled").is_none());
    let verification = &stage.verifications().await[0];
    let status = verification.status.clone().unwrap();
    assert_eq!(
        status.verdict,
        Some(VerificationVerdict::Unknown),
        "a fault is no verdict"
    );
    assert_eq!(stage.names::<Deployment>().await, [] as [&str; 0]);

    proxy.heal();
    stage.roll_out("digits", reference.digest().unwrap()).await;
    stage.reason("digits", "Serving").await;
}

/// The model is asked for by tag: the fault is met by whoever looks the tag up.
#[test_case(Wrong::Refuses, "RegistryUnavailable"; "refuses the connection")]
#[test_case(Wrong::Does(Fault::status(401)), "RegistryDenied"; "401")]
#[test_case(Wrong::Does(Fault::status(404)), "NotFound"; "404")]
#[test_case(Wrong::Does(Fault::status(429).with("Retry-After", "2")), "RateLimited"; "429 with Retry After")]
#[test_case(Wrong::Does(Fault::status(500)), "RegistryUnavailable"; "500")]
#[test_case(Wrong::Does(Fault::Hang), "Timeout"; "hangs")]
#[test_case(Wrong::Does(Fault::Redirect(format!("http://{FOREIGN}"))), "HostNotAllowed"; "redirects to a foreign host")]
#[test_case(Wrong::Manifest(Fault::Flood { content_type: "application/vnd.oci.image.manifest.v1+json", bytes: 16 << 20 }), "LimitExceeded"; "a manifest over the cap")]
#[test_case(Wrong::Manifest(Fault::answer(200, "text/html", "<html>sign in</html>")), "UnsupportedMediaType"; "a page instead of a manifest")]
#[tokio::test]
async fn a_tag_of_a_registry_that(wrong: Wrong, reason: &str) {
    let stage = Stage::new().await;
    let proxy = proxy();
    let pinned = through(
        &proxy,
        &Model::signed().push(&format!("transport/{}", stage.namespace)),
    );
    begin(&proxy, &wrong);
    stage.model("digits", &format!("{}:1", pinned.name())).await;

    let message = stage.reason("digits", reason).await;
    assert!(
        message.contains(&proxy.address()) || message.contains("text/html"),
        "which host: {message}"
    );
    let model = stage.api().get("digits").await.unwrap();
    assert_eq!(condition(&model, "ArtifactVerified").unwrap().status, "Unknown");
    assert_eq!(stage.verifications().await, []);

    proxy.heal();
    stage.roll_out("digits", pinned.digest().unwrap()).await;
    stage.reason("digits", "Serving").await;
}

/// What the registry asked for is kept: it is not asked again before.
#[tokio::test]
async fn a_registry_that_wants_to_be_left_alone_is() {
    let stage = Stage::new().await;
    let proxy = proxy();
    let reference = through(
        &proxy,
        &Model::signed().push(&format!("transport/{}", stage.namespace)),
    );
    proxy.on(any, Fault::status(429).with("Retry-After", "600"));
    stage.model("digits", &reference.to_string()).await;
    stage.reason("digits", "RateLimited").await;
    // Looks at the model are no looks at the registry.
    stage.policy(json!({"repositories": ["**"]})).await;
    stage.change("digits", json!({"server": {"port": 9000}})).await;
    let model = stage.reason("digits", "RateLimited").await;
    assert!(model.contains("429"), "{model}");
    assert_eq!(proxy.count(any), 1);
}

/// While one registry hangs, a model of another one is served.
#[tokio::test]
async fn a_registry_that_hangs_holds_nobody_else_up() {
    let stage = Stage::new().await;
    let proxy = proxy();
    let pinned = Model::signed().push(&format!("transport/{}", stage.namespace));
    proxy.on(any, Fault::Hang);
    let hanging = through(&proxy, &pinned);
    for name in ["slow-1", "slow-2", "slow-3", "slow-4"] {
        stage.model(name, &hanging.to_string()).await;
    }
    let serving = async {
        stage.serve("digits", &pinned).await;
    };
    tokio::time::timeout(PATIENCE, serving)
        .await
        .expect("it serves meanwhile");
}
