//! Version `v1alpha1`: one kind a file.

mod artifact_verification;
mod deployment_policy;
mod evaluation;
mod isolation;
mod model_deployment;
mod openers;
mod rights;
mod robustness;
mod robustness_policy;
mod rules;
mod trust_root;
mod waiver;

pub use artifact_verification::{
    ArtifactSource, ArtifactVerification, ArtifactVerificationSpec, ArtifactVerificationStatus,
    PinnedOciSource, TrustedKey, VerificationVerdict,
};
pub use deployment_policy::{
    Approval, AuditedPod, AuditedPods, ClusterDeploymentPolicy, ClusterDeploymentPolicySpec,
    DeploymentPolicy, DeploymentPolicySpec, KeySigner, MAX_GRACE_PERIOD_SECONDS, ModelRequirements,
    OnViolation, PodExemption, PolicyBody, PolicyStatus, Revocation, SignerDefinition, UnmanagedPods,
    UnprovenPods, ViolationAction,
};
pub use evaluation::{
    Evaluation, EvaluationJob, EvaluationRun, EvaluationSpec, EvaluationStatus, EvaluationVerdict,
};
pub use isolation::{
    Client, EgressPeer, EgressPort, EgressRule, Hardening, IpBlock, Isolation, NetworkIsolation, PodPeer,
    Transport,
};
pub use model_deployment::{
    CandidateModel, Model, ModelDeployment, ModelDeploymentSpec, ModelDeploymentStatus, ModelSource,
    MountedSource, OciSource, Protocol, ResolvedImage, ResolvedSource, Server, ServingModel, ServingSigner,
    ServingTemplate, UnprovenPod, UpdateMode, ViolationResponse, VolumeSource, WorkloadRef, WorkloadStatus,
};
pub use openers::{AuditedNetworkPolicies, AuditedNetworkPolicy};
pub use rights::{AllowedRight, AuditedAccount, AuditedRights, RbacRequirements};
pub use robustness::{
    AttackKind, Comparison, Dataset, Gate, Measurement, MetricId, Norm, RobustnessFloor,
    RobustnessRequirements, SquareSuite, Suite,
};
pub use robustness_policy::{RobustnessPolicy, RobustnessPolicySpec, RobustnessPolicyStatus};
pub use trust_root::{PublicKey, TrustRoot, TrustRootSpec, TrustRootStatus};
pub use waiver::{MAX_WAIVER_DAYS, Waiver, WaiverSpec, WaiverSubject};
