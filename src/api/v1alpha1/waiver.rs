//! `Waiver`: an exception, for a time and with a reason, for named rules and one model.
//! It has no status: what it does is in the findings of the model it is for.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::rules;
use crate::evidence::{Digest, RuleId};

/// An exception for one model: what these rules find wrong with it does not keep it from serving, until a time. It never
/// changes: one that is to last longer, or cover more, is another one.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "probity.dev",
    version = "v1alpha1",
    kind = "Waiver",
    namespaced,
    shortname = "wv",
    category = "probity",
    derive = "PartialEq",
    doc = "An exception, for a time and with a reason, for named rules and one model.",
    printcolumn(name = "Rules", type_ = "string", json_path = ".spec.rules"),
    printcolumn(
        name = "Subject",
        type_ = "string",
        json_path = ".spec.subject.modelDeployment"
    ),
    printcolumn(name = "Expires", type_ = "string", json_path = ".spec.expires"),
    printcolumn(name = "Approved by", type_ = "string", json_path = ".spec.approvedBy"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::waiver_stays())]
#[expect(clippy::duplicated_attributes, reason = "several columns are texts")]
pub struct WaiverSpec {
    /// Which rules, as findings name them: `model.signature`, `model.repositories`, `isolation.network` (its egress may lie above
    /// the ceiling, and is opened), `isolation.hardening`, `isolation.runtimeClasses`. Not `policy`, not `model.revoked`, and
    /// none about what pods of a model are: those hold whatever anybody waives.
    #[x_kube(merge_strategy = ListMerge::Set, validation = rules::waivable())]
    #[schemars(length(min = 1, max = 16))]
    pub rules: Vec<RuleId>,
    /// For what.
    pub subject: WaiverSubject,
    /// Of which policies, as findings name them: `ClusterDeploymentPolicy/baseline`, `DeploymentPolicy/bank/own`. Left out: of
    /// every policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 384)))]
    pub policies: Option<Vec<String>>,
    /// From when on it no longer counts: at most ninety days after it was made.
    pub expires: Time,
    /// Why, for whoever reads the findings.
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = rules::one_line())]
    pub reason: String,
    /// Who made it, as the API server knows them: written at admission, whatever stands here before. One that nobody approved
    /// has no effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub approved_by: Option<String>,
}

/// What a waiver is for: one model of its own namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct WaiverSubject {
    /// The `ModelDeployment`, by name.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::object_name())]
    pub model_deployment: String,
    /// Only while it is this content. Left out: whatever the model asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// The longest that a waiver lasts, in days after it was made.
pub const MAX_WAIVER_DAYS: i64 = 90;
