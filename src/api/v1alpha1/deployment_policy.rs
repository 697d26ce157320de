//! `ClusterDeploymentPolicy` and `DeploymentPolicy`: what must hold before a model serves, in many namespaces or in one.
//! One body for both, so that they cannot come to mean different things; further sections come with what enforces them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Isolation, RobustnessRequirements, openers::AuditedNetworkPolicies, rights::AuditedRights, rules,
};
use crate::evidence::{Digest, Effect};

/// What must hold in the namespaces it selects. Several policies apply side by side: each must be satisfied.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "probity.dev",
    version = "v1alpha1",
    kind = "ClusterDeploymentPolicy",
    status = "PolicyStatus",
    shortname = "cdp",
    category = "probity",
    derive = "PartialEq",
    doc = "What must hold before a model serves, cluster-wide.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Effect", type_ = "string", json_path = ".spec.effect"),
    printcolumn(name = "Denies", type_ = "integer", json_path = ".status.denies"),
    printcolumn(name = "Would-Deny", type_ = "integer", json_path = ".status.wouldDeny"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = rules::signers_are_defined()
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterDeploymentPolicySpec {
    /// Which namespaces this policy applies to, of those with the label `probity.dev/governed=true`; `{}` selects them all.
    #[schemars(schema_with = "rules::label_selector")]
    pub namespace_selector: LabelSelector,
    /// What must hold there.
    #[serde(flatten)]
    pub body: PolicyBody,
}

/// What must hold in its own namespace, beside what the platform's policies say: it can only deny more.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "probity.dev",
    version = "v1alpha1",
    kind = "DeploymentPolicy",
    namespaced,
    status = "PolicyStatus",
    shortname = "dpol",
    category = "probity",
    derive = "PartialEq",
    doc = "What must hold before a model serves, in one namespace.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Effect", type_ = "string", json_path = ".spec.effect"),
    printcolumn(name = "Denies", type_ = "integer", json_path = ".status.denies"),
    printcolumn(name = "Would-Deny", type_ = "integer", json_path = ".status.wouldDeny"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = rules::signers_are_defined()
)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentPolicySpec {
    /// What must hold in the policy's own namespace.
    #[serde(flatten)]
    pub body: PolicyBody,
}

/// What must hold, wherever it applies: the part that every kind of policy has.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PolicyBody {
    /// What happens when something does not hold. `Enforce` (left out): the model does not serve. `Warn`: it serves, and its
    /// conditions and Events say what would deny it. `Audit`: it serves, and its findings say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::value::<Effect>")]
    pub effect: Option<Effect>,
    /// Who signs. Defining a signer grants nothing by itself: `model.signers` does.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(min = 1, max = 32))]
    pub signers: Vec<SignerDefinition>,
    /// What must hold for the model itself.
    pub model: ModelRequirements,
    /// How far models are shut off from what they do not need.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub isolation: Option<Isolation>,
    /// What must have been measured of models before they serve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub robustness: Option<RobustnessRequirements>,
    /// What happens to pods that no `ModelDeployment` answers for. Left out: `Deny`, or as mild as the policy's `effect`:
    /// `Warn` under `Warn`, `Allow` under `Audit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::value::<UnmanagedPods>")]
    pub unmanaged_pods: Option<UnmanagedPods>,
    /// Pods that nobody's `ModelDeployment` answers for and that run all the same: those of a system, such as an agent on
    /// every node.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(max = 32))]
    pub exempt: Option<Vec<PodExemption>>,
    /// What happens when a model that serves no longer is what this policy asks for: a key was withdrawn, or the policy made
    /// stricter. Left out: `Alert`, with a grace period of 86400 seconds, a day. Of several policies that are enforced the
    /// strictest action and the shortest grace period count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::value::<OnViolation>")]
    pub on_violation: Option<OnViolation>,
    /// What happens to pods of a workload that a `ModelDeployment` governs and that are not shown to run its model, because
    /// they are older than that or were let in before. Left out: `Report`. Of several policies that are enforced one that says
    /// `Evict` is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::value::<UnprovenPods>")]
    pub unproven_pods: Option<UnprovenPods>,
}

/// What happens to pods that are not shown to run the verified model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum UnprovenPods {
    /// The model's status lists them.
    Report,
    /// They are evicted, one of a workload at a time and only while its others are ready, as disruption budgets allow; what
    /// their controller makes in their place verifies the model first. One whose replacement would be refused stays.
    Evict,
}

/// What happens when a model that serves no longer is what the policy asks for. Both fields are asked for, so that one
/// that is misspelt does not become the milder default.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct OnViolation {
    /// `Alert`: the model's status and Events say what is wrong, and the pods it has go on. `Quarantine`: its pods take no
    /// traffic from then on, and stay to be looked at. `Stop`: once the grace period is over its server is scaled to zero,
    /// whatever disruption budgets say. What is cut off or stopped comes back by itself when policy admits it again.
    pub action: ViolationAction,
    /// In seconds since the policy stopped admitting it: at most 2592000, thirty days. Under `Alert`, for how long pods of it
    /// that are lost are made again, exactly as they served; `0`: none is. Under `Quarantine` and `Stop` none is from the
    /// start, and of revoked content none is, whatever this says. Under `Stop`, when the server is stopped.
    #[schemars(range(min = 0, max = MAX_GRACE_PERIOD_SECONDS))]
    pub grace_period_seconds: u32,
}

/// The longest grace period, in seconds: thirty days.
pub const MAX_GRACE_PERIOD_SECONDS: u32 = 30 * 24 * 60 * 60;

/// What is done about a model that serves and no longer is what a policy asks for, the mildest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum ViolationAction {
    /// People are told.
    Alert,
    /// Its pods take no traffic, and stay.
    Quarantine,
    /// It is stopped when the grace period is over.
    Stop,
}

/// What happens to pods that no `ModelDeployment` answers for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum UnmanagedPods {
    /// They are refused.
    Deny,
    /// They run, and whoever made them is warned.
    Warn,
    /// They run.
    Allow,
}

/// Pods that run though no `ModelDeployment` answers for them: those that consist of these images alone and that this
/// account made.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PodExemption {
    /// The images, by digest. Every container of the pod must run one of them.
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(min = 1, max = 64))]
    pub image_digests: Vec<Digest>,
    /// The account that makes the pods, as the API server knows it: for a `DaemonSet` that is
    /// `system:serviceaccount:kube-system:daemon-set-controller`.
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = rules::user_name())]
    pub requester: String,
    /// Why, for whoever reads the policy.
    #[schemars(length(min = 1, max = 256))]
    pub reason: String,
}

/// A signer under a name that the rest of the policy refers to.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SignerDefinition {
    /// What the rest of the policy, and the status of a model, calls this signer.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::local_name())]
    pub name: String,
    /// Signs with a key of a trust root.
    pub key: KeySigner,
}

/// A signer that signs with any of some keys.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct KeySigner {
    /// The `TrustRoot` that holds the keys.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name())]
    pub trust_root: String,
    /// Which of its keys are this signer's, by name. A signature by any of them is the signer's.
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 63)))]
    pub keys: Vec<String>,
}

/// What must hold for the model itself.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::threshold_within_signers())]
pub struct ModelRequirements {
    /// What happens when something in this section does not hold. Left out: what the policy's own `effect` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::value::<Effect>")]
    pub effect: Option<Effect>,
    /// Whose signatures count, by the names in `signers`.
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 63)))]
    pub signers: Vec<String>,
    /// How many of them must have signed, counted by distinct key material. Left out: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 32))]
    pub threshold: Option<u32>,
    /// Where models may come from, as `host/repository` globs: `*` stays within a path segment, `**` does not.
    /// Left out: anywhere the operator may fetch from.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Set, validation = rules::repository_globs())]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 512)))]
    pub repositories: Option<Vec<String>>,
    /// Content that a person vouches for. Each person counts as one signer towards the threshold, for exactly this content;
    /// nobody outweighs a revocation, or a signature that says the content was changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["digest".into(), "by".into()]))]
    #[schemars(length(max = 256))]
    pub approved: Option<Vec<Approval>>,
    /// Content that must never start, whoever signed it and wherever it lies. Of what serves already no pod is made any more;
    /// those that run go on until somebody ends them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["digest".into()]))]
    #[schemars(length(max = 256))]
    pub revoked: Option<Vec<Revocation>>,
}

/// Content that a person vouches for.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Approval {
    /// The artifact's digest, as in `status.candidate.digest` of a model.
    pub digest: Digest,
    /// Who vouches for it.
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = rules::one_line())]
    pub by: String,
    /// Why, for whoever reads the policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub reason: Option<String>,
    /// From when on it no longer counts. Left out: it counts until it is taken out of the policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<Time>,
}

/// A digest that must never serve.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Revocation {
    /// The artifact's digest, as in `status.serving.digest` of a model.
    pub digest: Digest,
    /// Why, for the people whose model it is.
    #[schemars(length(min = 1, max = 256))]
    pub reason: String,
}

/// Whether the policy can be applied, and what it comes to.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PolicyStatus {
    /// The generation this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// How many models it denies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub denies: Option<i32>,
    /// How many models it would deny if everything in it were enforced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub would_deny: Option<i32>,
    /// What the last audit says of the pods in the governed namespaces that it selects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<AuditedPods>,
    /// What the last audit says of the rights that accounts of models hold there; absent when `isolation.rbac` is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rights: Option<AuditedRights>,
    /// Which network policies of others the last audit found to open models there; absent when `isolation.network` is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_policies: Option<AuditedNetworkPolicies>,
    /// `Ready`: True `Applied`; False `TrustRootMissing`, `TrustRootInvalid` or `PolicyInvalid`, the message names the field.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Option<Vec<Condition>>,
}

/// What a policy says of the pods that are there, as if each were made now by the controller that it names.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AuditedPods {
    /// How many pods were looked at; those that have ended are not.
    pub judged: i32,
    /// How many of them would be refused.
    pub refused: i32,
    /// How many more would be if everything in it were enforced.
    pub would_refuse: i32,
    /// Some of both: those that would be refused first, then by namespace and name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 10))]
    pub examples: Option<Vec<AuditedPod>>,
}

/// A pod that a policy says no to.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
pub struct AuditedPod {
    /// Its namespace.
    #[schemars(length(max = 63))]
    pub namespace: String,
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// The stable code: as at admission; `StaticPod` where a node runs it without having asked, whatever else is wrong.
    #[schemars(length(max = 63))]
    pub reason: String,
}
