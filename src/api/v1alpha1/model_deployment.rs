//! `ModelDeployment`: this model, served this way; its status tells the truth about it.
//! Either Probity runs the server, or it governs a workload that somebody else runs.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::ResourceRequirements,
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Client, EgressRule, rules};
use crate::evidence::{Digest, Finding, Reason as ReasonCode, SignerIdentity};

/// This model, served this way.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "probity.dev",
    version = "v1alpha1",
    kind = "ModelDeployment",
    namespaced,
    status = "ModelDeploymentStatus",
    shortname = "md",
    category = "probity",
    category = "all",
    derive = "PartialEq",
    doc = "An AI model, served only while it can be shown to be the model somebody signed.",
    scale(spec_replicas_path = ".spec.server.replicas", status_replicas_path = ".status.replicas", label_selector_path = ".status.selector"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Serving", type_ = "string", json_path = ".status.serving.version"),
    printcolumn(name = "Candidate", type_ = "string", json_path = ".status.candidate.version"),
    printcolumn(name = "Signer", type_ = "string", json_path = ".status.serving.signedBy"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Digest", type_ = "string", json_path = ".status.serving.digest", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = 1),
    validation = rules::model_name(),
    validation = rules::source_fits_runner()
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::server_or_workload(), validation = rules::runner_stays(), validation = rules::client_ports_fit_runner())]
pub struct ModelDeploymentSpec {
    /// Which model, and where it is mounted.
    pub model: Model,
    /// The server that Probity runs with it. Exactly one of `server` and `workloadRef` is set, and stays the one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<Server>,
    /// A workload that exists already and serves the model: Probity changes nothing about it, and sees to it that its pods
    /// find the verified model at `model.mountPath`, read-only, and nothing else there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload_ref: Option<WorkloadRef>,
    /// Who may call the model. Declaring it closes its port to everybody else, also where no policy asks for isolation;
    /// `[]` is nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(max = 32))]
    pub clients: Option<Vec<Client>>,
    /// Whom the model's pods may talk to, beyond name look-ups and the fetching of the model; policies set the ceiling.
    /// Declaring it closes everything else, also where no policy asks for isolation; `[]` is nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(max = 16))]
    pub egress: Option<Vec<EgressRule>>,
}

/// A workload in the model's namespace that somebody else made.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::workload_is_known())]
pub struct WorkloadRef {
    /// `apps/v1`, `batch/v1` or `serving.kserve.io/v1beta1`.
    #[schemars(length(min = 1, max = 128))]
    pub api_version: String,
    /// `Deployment`, `StatefulSet` or `DaemonSet` of `apps/v1`, `Job` of `batch/v1`, or `InferenceService` of KServe.
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name())]
    pub name: String,
}

/// Which model, and where it is mounted.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Model {
    /// Where the model comes from.
    pub source: ModelSource,
    /// Where the server finds the model's files, read-only. Left out: `/mnt/models`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 256))]
    #[x_kube(validation = rules::mount_path_grammar(), validation = rules::mount_path_is_free())]
    pub mount_path: Option<String>,
}

/// Where a model comes from: exactly one of the fields.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::exactly_one_model_source())]
pub struct ModelSource {
    /// An artifact in an OCI registry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oci: Option<OciSource>,
    /// A folder on a volume of the namespace. Each pod verifies it against its `model.sig` while it copies it into a volume
    /// of its own, before anything reads it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume: Option<VolumeSource>,
    /// What the workload of `workloadRef` brings to `model.mountPath` by itself: a download by one of its init containers,
    /// such as KServe's `storage-initializer`, or an image volume. Each pod verifies it as it does a `volume`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mounted: Option<MountedSource>,
}

/// A folder on a volume of the namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct VolumeSource {
    /// The `PersistentVolumeClaim`.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name())]
    pub claim_name: String,
    /// The folder with the model and its `model.sig`, relative to the volume's root. Left out: the root.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = rules::relative_path())]
    pub path: Option<String>,
    /// The digest that the content must have: what `probity verify` calls the model's digest. Left out: the first that a pod
    /// of the workload reports is pinned in the status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// What a workload brings by itself.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct MountedSource {
    /// The digest that the content must have. Left out: the first that a pod of the workload reports is pinned in the status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// An artifact in an OCI registry.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::follow_needs_a_tag(), validation = rules::interval_needs_follow())]
pub struct OciSource {
    /// `host/repository:tag` or `host/repository@sha256:…`. A tag is resolved once and then pinned, unless `update` says
    /// `Follow`; where both are written, the digest counts.
    #[schemars(length(min = 3, max = 1024))]
    #[x_kube(validation = rules::without_scheme(), validation = rules::reference_grammar(), validation = rules::reference_has_version())]
    pub reference: String,
    /// A Secret of type `kubernetes.io/dockerconfigjson` in the same namespace, with which the registry is asked. The
    /// pods' images are pulled with it too; the server itself never sees it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name())]
    pub pull_secret: Option<String>,
    /// What happens when the tag moves. `Pinned` (left out): nothing, the tag was resolved once and is resolved again only
    /// when the reference changes. `Follow`: the tag is looked at every `intervalSeconds`, and what it then names becomes
    /// a candidate, which serves once it is shown to be good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::value::<UpdateMode>")]
    pub update: Option<UpdateMode>,
    /// With `Follow`: how often the tag is looked at, in seconds. Left out: 300.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 5, max = 86400))]
    pub interval_seconds: Option<u32>,
}

/// What happens when the tag moves.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
#[schemars(inline)]
pub enum UpdateMode {
    /// Nothing: the tag was resolved once.
    #[default]
    Pinned,
    /// What it then names becomes a candidate.
    Follow,
}

/// What the server speaks.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[schemars(inline)]
pub enum Protocol {
    /// Open Inference Protocol v2 over HTTP; ready when `/v2/health/ready` says so.
    OpenInference,
    /// OpenAI-compatible HTTP; ready when `/health` says so.
    OpenAI,
    /// Plain HTTP; ready when the port accepts connections.
    #[serde(rename = "HTTP")]
    Http,
}

/// The server that Probity runs.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Server {
    /// The server's image, by digest: `host/repository@sha256:…`.
    #[schemars(length(min = 3, max = 1024))]
    #[x_kube(validation = rules::image_by_digest())]
    pub image: String,
    /// Replaces the image's entry point. Left out: the image's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), inner(length(max = 4096)))]
    pub command: Option<Vec<String>>,
    /// Arguments to the entry point.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), inner(length(max = 4096)))]
    pub args: Option<Vec<String>>,
    /// Environment variables, plain values only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::environment")]
    #[x_kube(validation = rules::environment_names())]
    pub env: Option<BTreeMap<String, String>>,
    /// What the server speaks, which also says how it is seen to be ready. `OpenInference`: Open Inference Protocol v2 over
    /// HTTP, ready when `/v2/health/ready` says so. `OpenAI`: OpenAI-compatible HTTP, ready when `/health` says so.
    /// `HTTP`: ready when the port accepts connections.
    pub protocol: Protocol,
    /// The port the server listens on; the model's Service has the same one.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// How many servers run. Left out: not ours to say. An autoscaler sets it through the scale subresource, which
    /// Kubernetes offers only while the field has a value: create the model with one, and leave the field to the
    /// autoscaler from then on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: Option<i32>,
    /// Limits and requests of the server's container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::resources")]
    #[x_kube(validation = rules::requests_within_limits())]
    pub resources: Option<ResourceRequirements>,
    /// The RuntimeClass that the pods ask for, such as one of a confidential runtime. Left out: the node's usual one. Whether
    /// they run in it is the node's word; nothing attests it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name())]
    pub runtime_class_name: Option<String>,
}

/// The truth about a model.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ModelDeploymentStatus {
    /// The generation this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What the source was resolved to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved: Option<ResolvedSource>,
    /// The workload of `workloadRef`, as far as its pods are proven.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<WorkloadStatus>,
    /// What serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serving: Option<ServingModel>,
    /// What was asked for and does not serve (yet).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidate: Option<CandidateModel>,
    /// Pods of the server that are there, for the scale subresource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Selects those pods, for the scale subresource.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub selector: Option<String>,
    /// `Accepted`, `ArtifactVerified`, `PolicySatisfied`, `Available`, `Ready`; `Isolated` and `RightsWithinCeiling` where policies
    /// ask for that; kstatus' `Reconciling` and `Stalled` while they are true.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Option<Vec<Condition>>,
    /// What each rule of each policy says of the candidate, or of what serves when there is none; what failed comes first.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub findings: Option<Vec<Finding>>,
}

/// How far the pods of a workload are shown to run the verified model.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadStatus {
    /// Pods of the workload that are not ending.
    pub pods: i32,
    /// Those of them that verified the model and serve nothing else.
    pub proven: i32,
    /// The first few of the others, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub unproven: Option<Vec<UnprovenPod>>,
    /// What the images are that the workload's template names by a tag. Pods run what the tag meant when it was first looked
    /// at; to take up another image, change the template.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["image".into()]))]
    #[schemars(length(max = 64))]
    pub images: Option<Vec<ResolvedImage>>,
}

/// What an image of a workload was resolved to. Written by the operator only: it is what pins a tag.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedImage {
    /// The image with its tag, in full: `nginx` is `docker.io/library/nginx:latest`.
    #[schemars(length(max = 1024))]
    pub image: String,
    /// What it is, once that is known; it is never looked at again then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Why it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::value::<ReasonCode>")]
    pub reason: Option<ReasonCode>,
    /// The sentence that goes with the reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
    /// The template names it no more, and is kept for pods of the workload that do. Absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retained: Option<bool>,
}

/// A pod that is not shown to run the verified model.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct UnprovenPod {
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Why, as a stable code.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// One sentence: what is wrong and what to do.
    #[schemars(length(max = 1024))]
    pub message: String,
}

/// What a source was resolved to. Written by the operator only: it is what pins a tag.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedSource {
    /// Hash of the source this speaks of; another source is resolved again.
    pub source: Digest,
    /// What the reference names, once it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Why it is not known, or why the last look failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::value::<ReasonCode>")]
    pub reason: Option<ReasonCode>,
    /// The sentence that goes with the reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
}

/// A model that serves.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ServingModel {
    /// The artifact's digest.
    pub digest: Digest,
    /// The tag it was asked for by and the first digits of the digest, for people.
    #[schemars(length(max = 141))]
    pub version: String,
    /// The reference it was asked for by.
    #[schemars(length(max = 1024))]
    pub reference: String,
    /// Since when it serves.
    pub since: Time,
    /// Bytes of the model's files.
    pub size: i64,
    /// How many files the model has.
    pub files: i32,
    /// Who signed it.
    #[schemars(length(max = 32))]
    pub signers: Vec<ServingSigner>,
    /// The signers' names, and of those who approved it, for people.
    #[schemars(length(max = 4096))]
    pub signed_by: String,
    /// The `ArtifactVerification` that shows it.
    #[schemars(length(max = 253))]
    pub verification: String,
    /// How it serves: what its pods were built from when they began to. A later specification may differ and not serve yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<ServingTemplate>,
    /// Whom its pods may talk to, as was declared when policy last admitted that. A later specification may ask for more; what
    /// serves is not judged by that.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(max = 16))]
    pub egress: Option<Vec<EgressRule>>,
    /// Since when policy no longer admits what serves; absent while it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unproven_since: Option<Time>,
    /// What was done about it since, as a policy's `onViolation` asks; absent while its pods may serve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::value::<ViolationResponse>")]
    pub response: Option<ViolationResponse>,
}

/// What was done about a model that serves and that policy no longer admits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum ViolationResponse {
    /// Its pods take no traffic.
    Quarantined,
    /// It has no pods.
    Stopped,
}

/// What the pods that serve were built from, besides the content.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ServingTemplate {
    /// The server; how many there are is not part of it.
    pub server: Server,
    /// Where it finds the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub mount_path: Option<String>,
    /// The pull secret that fetches the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub pull_secret: Option<String>,
}

/// Who signed a model that serves.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ServingSigner {
    /// The policy's name for the signer.
    #[schemars(length(max = 63))]
    pub name: String,
    /// The key that verified it.
    pub identity: SignerIdentity,
}

/// A model that was asked for and does not serve (yet).
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CandidateModel {
    /// The artifact's digest, once it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// The tag it was asked for by and the first digits of the digest, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 141))]
    pub version: Option<String>,
    /// The reference it was asked for by.
    #[schemars(length(max = 1024))]
    pub reference: String,
    /// Why it does not serve: the reason of a failed finding, or `Resolving`, `Verifying`, `Measuring`, `RollingOut`, `FetchFailed`.
    #[schemars(length(max = 64))]
    pub reason: String,
}
