//! What looking at one artifact found: who signed it, which files it has, how it failed.
//! Written by `artifact`, read by `policy`; it holds facts, not judgements.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Digest, Failure};

/// At most this many differing files are kept in a report, in the order of their names; of more, altered ones first.
pub const MAX_DIFFERENCES: usize = 5;

/// SHA-256 of a public key's DER `SubjectPublicKeyInfo`: the same key material has one fingerprint, however its PEM is written.
pub type KeyFingerprint = Digest;

/// Who made a signature that verified. Names are for people; rules compare key material.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignerIdentity {
    /// The trusted key that verified it, as `trustRoot/key`, or the file's name on the command line.
    #[schemars(length(max = 512))]
    pub key: String,
    /// Fingerprint of that key.
    pub fingerprint: KeyFingerprint,
}

/// One file whose content is not what was signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FileDifference {
    /// Path in the model, at most 255 characters of it.
    #[schemars(length(max = 1024))]
    pub path: String,
    /// The digest in the signature; absent when the file was not signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed: Option<Digest>,
    /// The digest found; absent when the file is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<Digest>,
}

/// How looking at the artifact ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Every file is exactly what the signers in the report signed.
    Verified,
    /// Something does not hold.
    Refused(Failure),
}

/// What looking at one artifact found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactReport {
    /// The artifact's identity: the manifest digest in a registry, the OMS root digest in a folder.
    pub digest: Option<Digest>,
    /// How it ended.
    pub outcome: Outcome,
    /// Whose signature verified, whether or not the content then matched it.
    pub signers: Vec<SignerIdentity>,
    /// Up to [`MAX_DIFFERENCES`] files that differ from what was signed.
    pub differences: Vec<FileDifference>,
    /// How many files differ in all.
    pub differing: usize,
    /// Files of the model, the signature itself not counted.
    pub files: usize,
    /// Bytes of those files.
    pub size: u64,
}
