//! Whether the model under a digest is the one that trusted keys signed, without downloading a weight.
//! It reads the manifest and the signature; what follows from the report is decided elsewhere.

use std::time::Duration;

use tokio::time::timeout;

use super::{
    answer::RegistryError,
    client::Client,
    manifest::{Manifest, VerifiedBytes},
    model_pack::{ModelContent, ModelFile},
};
use crate::{
    artifact::signature::{KeyRing, compare, oms},
    evidence::{ArtifactReport, Failure, Outcome, Reason, Reference},
};

/// A signature is a few megabytes at most; no registry that works needs longer.
const SIGNATURE_DEADLINE: Duration = Duration::from_secs(120);

/// Verifies a pinned ModelPack artifact: its `model.sig` against the keys, and what was signed against the layers of
/// the manifest. The digest of a raw layer is the digest of its file, so that the weights need not be read; whoever
/// downloads them later must compare them with these digests, as `fetch` does.
///
/// What follows from bytes of the right digest is in the report, for it holds as long as the digest does.
///
/// # Errors
/// What may be different next time: the registry, the network, credentials, the operator's list of hosts, and bytes
/// that are not those of the digest asked for.
pub async fn verify_oci(
    client: &Client,
    reference: &Reference,
    keys: &KeyRing,
) -> Result<ArtifactReport, RegistryError> {
    let verified = client.manifest(reference).await?;
    let mut report = ArtifactReport {
        digest: Some(verified.digest()),
        outcome: Outcome::Verified,
        signers: Vec::new(),
        differences: Vec::new(),
        differing: 0,
        files: 0,
        size: 0,
    };
    match look(&mut report, &verified) {
        Ok((content, signature)) => {
            let bundle = download(client, reference, &signature).await?;
            judge(&mut report, content, &bundle, keys);
        }
        Err(failure) => report.outcome = Outcome::Refused(failure),
    }
    Ok(report)
}

/// The model and its signature, as far as the manifest tells.
fn look(report: &mut ArtifactReport, verified: &VerifiedBytes) -> Result<(ModelContent, ModelFile), Failure> {
    let mut content = ModelContent::read(&Manifest::read(verified)?)?;
    report.files = content.files.len();
    report.size = content.size;
    let signature = content.signature.take().ok_or_else(|| {
        Failure::new(
            Reason::Unsigned,
            "the model carries no signature (no layer model.sig): sign it with `model_signing sign key` and push it with its model.sig",
        )
    })?;
    if signature.size > oms::MAX_BUNDLE as u64 {
        return Err(Failure::new(
            Reason::LimitExceeded,
            format!(
                "the signature has {} bytes and at most {} are read: sign fewer files",
                signature.size,
                oms::MAX_BUNDLE
            ),
        ));
    }
    Ok((content, signature))
}

async fn download(
    client: &Client,
    reference: &Reference,
    signature: &ModelFile,
) -> Result<Vec<u8>, RegistryError> {
    let read = async {
        client
            .blob(reference, signature.digest, signature.size)
            .await?
            .read_all(oms::MAX_BUNDLE as u64)
            .await
    };
    timeout(SIGNATURE_DEADLINE, read).await.unwrap_or_else(|_| {
        Err(RegistryError::new(
            Reason::Timeout,
            format!(
                "{} took too long sending the signature of {reference}: it is tried again",
                reference.host()
            ),
        ))
    })
}

fn judge(report: &mut ArtifactReport, content: ModelContent, bundle: &[u8], keys: &KeyRing) {
    let signed = match oms::verify(bundle, keys) {
        Ok(signed) => signed,
        Err(failure) => {
            report.outcome = Outcome::Refused(failure);
            return;
        }
    };
    report.signers = vec![signed.signer().clone()];
    let comparison = compare(
        &signed,
        content.files.into_iter().map(|file| (file.path, file.digest)),
    );
    report.outcome = comparison.outcome;
    report.differences = comparison.differences;
    report.differing = comparison.differing;
}
