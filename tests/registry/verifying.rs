//! Verdicts on real artifacts, reached without reading a weight.
//! What makes a bundle or a statement hostile is tested where they are read; here it is what an artifact can be.

use probity::{
    artifact::oci::verify_oci,
    evidence::{ArtifactReport, Failure, Outcome, Reason, Reference},
};
use test_case::test_case;

use super::artifacts::{Model, WEIGHTS, client_for, release, release_and_stranger, run, through};
use crate::{
    fault_proxy::{Fault, FaultProxy, path},
    testbed,
};

async fn look(reference: &Reference) -> ArtifactReport {
    verify_oci(&client_for(reference), reference, &release())
        .await
        .unwrap()
}

fn refusal(report: &ArtifactReport) -> &Failure {
    match &report.outcome {
        Outcome::Refused(failure) => failure,
        Outcome::Verified => panic!("it was verified"),
    }
}

#[tokio::test]
async fn a_signed_model_is_verified_without_its_weights() {
    let model = Model::signed();
    let proxy = FaultProxy::before(testbed::registry());
    let reference = through(&proxy, &model.push("verifying/signed"));
    let report = look(&reference).await;
    assert_eq!(report.outcome, Outcome::Verified);
    assert_eq!(report.digest, reference.digest());
    assert_eq!((report.files, report.differing), (3, 0));
    assert_eq!(report.size, 600_000 + 15 + 6);
    assert_eq!(report.signers.len(), 1);
    assert_eq!(report.signers[0].key, "release");
    assert_eq!(proxy.count(path("/blobs/")), 1, "the signature and nothing else");
    assert_eq!(proxy.count(path(&model.digest("model.sig").to_string())), 1);
}

#[tokio::test]
async fn altered_weights() {
    let model = Model::signed().altered(WEIGHTS);
    let report = look(&model.push("verifying/altered")).await;
    let failure = refusal(&report);
    assert_eq!(failure.reason, Reason::DigestMismatch);
    for part in [WEIGHTS, "release", &model.digest(WEIGHTS).hex()[..4]] {
        assert!(failure.message.contains(part), "{part}: {failure}");
    }
    assert_eq!(report.signers[0].key, "release", "the signature is genuine");
    assert_eq!(report.differing, 1);
    assert_eq!(report.differences[0].path, WEIGHTS);
    assert_eq!(report.differences[0].signed, Some(Model::plain().digest(WEIGHTS)));
    assert_eq!(report.differences[0].found, Some(model.digest(WEIGHTS)));
}

#[tokio::test]
async fn another_signer() {
    let pinned = Model::signed_by_stranger().push("verifying/stranger");
    let report = look(&pinned).await;
    assert_eq!(refusal(&report).reason, Reason::SignerMismatch);
    assert!(report.signers.is_empty());
    let report = verify_oci(&client_for(&pinned), &pinned, &release_and_stranger())
        .await
        .unwrap();
    assert_eq!(report.outcome, Outcome::Verified);
    assert_eq!(
        report.signers[0].key, "stranger",
        "whose signature it is, not whose was wanted"
    );
}

#[test_case("unsigned", &Model::plain() => Reason::Unsigned; "no signature")]
#[test_case("extra", &Model::signed().with("backdoor.bin", "x") => Reason::UnsignedFile; "a file that nobody signed")]
#[test_case("ignored", &Model::signed().with(".git/evil.pkl", "x") => Reason::UnsignedFile; "a file where signers look away")]
#[test_case("missing", &Model::signed().without("config.json") => Reason::MissingFile; "a signed file that is missing")]
#[test_case("renamed", &Model::signed().at_path(WEIGHTS, "other.onnx") => Reason::UnsignedFile; "a file by another name")]
#[test_case("climbing", &Model::signed().at_path(WEIGHTS, "../../etc/passwd") => Reason::MalformedPath; "a path that climbs out")]
#[test_case("absolute", &Model::signed().at_path(WEIGHTS, "/etc/passwd") => Reason::MalformedPath; "an absolute path")]
#[test_case("twice", &Model::signed().at_path("config.json", WEIGHTS) => Reason::MalformedPath; "a path taken twice")]
#[test_case("shadow", &Model::signed().with("model.sig2", "x").at_path("model.sig2", "model.sig") => Reason::MalformedPath; "two signatures")]
#[test_case("half", &Model::signed().halved() => Reason::MalformedBundle; "a signature cut in half")]
#[test_case("text", &Model::plain().with("model.sig", "hello") => Reason::MalformedBundle; "a signature that is none")]
#[test_case("image", &Model::signed().of_type("application/vnd.example.image") => Reason::NotAModel; "something else")]
#[test_case("tar", &Model::signed().layered_as(WEIGHTS, "application/vnd.cncf.model.weight.v1.tar") => Reason::UnsupportedMediaType; "an archive")]
fn refused(name: &str, model: &Model) -> Reason {
    let pinned = model.push(&format!("verifying/{name}"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let report = runtime.block_on(look(&pinned));
    let failure = refusal(&report);
    assert!(failure.message.contains(": "), "what to do: {failure}");
    assert_eq!(report.digest, pinned.digest());
    failure.reason
}

impl Model {
    fn halved(self) -> Self {
        let signature = self.content("model.sig");
        let half = signature[..signature.len() / 2].to_vec();
        self.with("model.sig", half)
    }
}

#[tokio::test]
async fn an_artifact_that_is_no_model() {
    let temp = tempfile::tempdir().unwrap();
    std::fs::write(temp.path().join("hi.txt"), "hi").unwrap();
    let name = format!("{}/verifying/no-model", testbed::registry());
    let digest = run(testbed::tool("oras", &["oras"])
        .current_dir(temp.path())
        .args([
            "push",
            "--plain-http",
            "--no-tty",
            "--format",
            "go-template={{.digest}}",
        ])
        .args([&format!("{name}:1"), "hi.txt"]));
    let pinned: Reference = format!("{name}@{}", digest.trim()).parse().unwrap();
    let report = look(&pinned).await;
    assert_eq!(refusal(&report).reason, Reason::NotAModel);
}

#[tokio::test]
async fn a_signature_over_the_cap_is_not_downloaded() {
    let model = Model::plain().with("model.sig", vec![b' '; (32 << 20) + 1]);
    let proxy = FaultProxy::before(testbed::registry());
    let report = look(&through(&proxy, &model.push("verifying/large"))).await;
    assert_eq!(refusal(&report).reason, Reason::LimitExceeded);
    assert_eq!(proxy.count(path("/blobs/")), 0);
}

/// Bytes that are not those of the digest say nothing about the artifact: the verdict on it stays open.
#[tokio::test]
async fn a_signature_with_other_bytes_is_no_verdict() {
    let proxy = FaultProxy::before(testbed::registry());
    let reference = through(&proxy, &Model::signed().push("verifying/swapped"));
    proxy.on(path("/blobs/"), Fault::SwapByte(50));
    let error = verify_oci(&client_for(&reference), &reference, &release())
        .await
        .unwrap_err();
    assert_eq!(error.failure.reason, Reason::DigestMismatch);
    proxy.heal();
    assert_eq!(look(&reference).await.outcome, Outcome::Verified);
}

#[tokio::test]
async fn a_registry_that_is_away_is_no_verdict() {
    let proxy = FaultProxy::before(testbed::registry());
    let reference = through(&proxy, &Model::signed().push("verifying/away"));
    proxy.on(path("/blobs/"), Fault::status(429).with("Retry-After", "30"));
    let error = verify_oci(&client_for(&reference), &reference, &release())
        .await
        .unwrap_err();
    assert_eq!(error.failure.reason, Reason::RateLimited);
    assert_eq!(error.retry_after.map(|wait| wait.as_secs()), Some(30));
}

#[tokio::test]
async fn a_tag_is_not_verified() {
    let pinned = Model::signed().push("verifying/tag");
    let tagged: Reference = format!("{}:1", pinned.name()).parse().unwrap();
    let error = verify_oci(&client_for(&tagged), &tagged, &release())
        .await
        .unwrap_err();
    assert_eq!(error.failure.reason, Reason::MalformedReference);
}
