//! `TrustRoot`: whose signatures count.
//! Keys only, for now; certificate authorities and Sigstore instances come with the methods that read them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::rules;

/// Keys whose signatures count. Naming a key here grants nothing: a policy's signers do.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "probity.dev",
    version = "v1alpha1",
    kind = "TrustRoot",
    status = "TrustRootStatus",
    shortname = "tr",
    category = "probity",
    derive = "PartialEq",
    doc = "Keys whose signatures count.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Keys", type_ = "integer", json_path = ".status.keys"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::duplicated_attributes, reason = "two columns may both be texts")]
pub struct TrustRootSpec {
    /// Public keys, each under a name that signers refer to.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(min = 1, max = 64))]
    pub keys: Vec<PublicKey>,
}

/// One public key.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PublicKey {
    /// The name signers refer to. One that tells when the key came into use helps when it is replaced: `2026-q3`.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::local_name())]
    pub name: String,
    /// The key as PEM (`-----BEGIN PUBLIC KEY-----`), ECDSA on P-256, P-384 or P-521.
    #[schemars(length(min = 1, max = 4096))]
    #[x_kube(validation = rules::key_is_not_private(), validation = rules::key_is_pem())]
    pub public_key: String,
}

/// What the operator found when it read the keys.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TrustRootStatus {
    /// The generation this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// How many keys can be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys: Option<i32>,
    /// `Ready`: True `KeysUsable`; False `KeyInvalid`, the message names the key and what is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Option<Vec<Condition>>,
}
