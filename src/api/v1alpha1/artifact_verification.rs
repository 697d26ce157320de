//! `ArtifactVerification`: the verdict on one content digest under one set of keys.
//! Made by the operator, which fills both sides; people only read it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;
use crate::evidence::{Digest, FileDifference, KeyFingerprint, Reason as ReasonCode, SignerIdentity};

/// The verdict on one content digest under one set of keys. The specification says everything the verdict depends on,
/// so a verdict never has to be taken back: other content, keys or source make another object.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "probity.dev",
    version = "v1alpha1",
    kind = "ArtifactVerification",
    namespaced,
    status = "ArtifactVerificationStatus",
    shortname = "av",
    category = "probity",
    derive = "PartialEq",
    doc = "The operator's verdict on one artifact under one set of keys.",
    printcolumn(name = "Verdict", type_ = "string", json_path = ".status.verdict"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason"),
    printcolumn(name = "Signer", type_ = "string", json_path = ".status.signers[*].key"),
    printcolumn(name = "Digest", type_ = "string", json_path = ".spec.source.oci.digest"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = 1),
    validation = rules::spec_is_immutable()
)]
#[serde(rename_all = "camelCase")]
pub struct ArtifactVerificationSpec {
    /// Which content.
    pub source: ArtifactSource,
    /// The keys whose signatures are looked for.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["fingerprint".into()]))]
    #[schemars(length(min = 1, max = 64))]
    pub keys: Vec<TrustedKey>,
}

/// Which content: exactly one of the fields.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::exactly_one_source())]
pub struct ArtifactSource {
    /// A manifest in an OCI registry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oci: Option<PinnedOciSource>,
}

/// A manifest in an OCI registry, by digest.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PinnedOciSource {
    /// `host/repository`.
    #[schemars(length(min = 3, max = 1024))]
    #[x_kube(validation = rules::repository_name())]
    pub repository: String,
    /// The manifest's digest.
    pub digest: Digest,
    /// A Secret of type `kubernetes.io/dockerconfigjson` in the same namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name())]
    pub pull_secret: Option<String>,
}

/// A key whose signatures are looked for.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
pub struct TrustedKey {
    /// SHA-256 of its DER `SubjectPublicKeyInfo`.
    pub fingerprint: KeyFingerprint,
    /// Where it is from, as `trustRoot/key`.
    #[schemars(length(max = 512))]
    pub name: String,
    /// The key as PEM.
    #[schemars(length(min = 1, max = 4096))]
    #[x_kube(validation = rules::key_is_not_private(), validation = rules::key_is_pem())]
    pub public_key: String,
}

/// What looking at an artifact concluded.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[schemars(inline)]
pub enum VerificationVerdict {
    /// Every file is exactly what the signers signed.
    Verified,
    /// Something does not hold; `reason` and `message` say what.
    Refused,
    /// It could not be looked at; tried again with growing pauses.
    Unknown,
}

/// What the operator found.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ArtifactVerificationStatus {
    /// The generation this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The conclusion; absent while it is looked at for the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::value::<VerificationVerdict>")]
    pub verdict: Option<VerificationVerdict>,
    /// Why it is not `Verified`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::value::<ReasonCode>")]
    pub reason: Option<ReasonCode>,
    /// The sentence that goes with the reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
    /// Whose signature verified, whether or not the content matched it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub signers: Option<Vec<SignerIdentity>>,
    /// The first few files that differ from what was signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 5))]
    pub differences: Option<Vec<FileDifference>>,
    /// How many files differ in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub differing: Option<i32>,
    /// Files of the model, the signature itself not counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<i32>,
    /// Bytes of those files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<i64>,
    /// When the verdict was reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<Time>,
    /// `Ready`: True `Verified`; False with the reason; Unknown while it could not be looked at. kstatus' `Reconciling`
    /// while it is tried again, `Stalled` when it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Option<Vec<Condition>>,
}
