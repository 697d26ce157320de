//! What runs a model: the objects that make it serve, built from the model and its pinned content, and recognised again.
//! Pure: it builds and compares; whether something may run is for [`crate::policy`].

mod accounts;
mod adopted;
mod cidr;
mod cluster_network;
mod evaluation;
mod gate;
mod images;
mod network;
mod objects;
mod owner;
mod plans;
mod quantity;
#[cfg(test)]
pub(crate) mod samples;
mod shape;
mod template;

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Service, ServiceAccount},
};

use crate::{
    api::v1alpha1::{ModelDeployment, Server},
    evidence::Digest,
};
pub use accounts::{DEFAULT_ACCOUNT, accounts};
pub use adopted::{
    AdoptedSource, Adoption, KSERVE_SOURCE, Terms, VERIFY_CONTAINER, additions, awaits_kserve, claimed,
    copied_from, fit, kserve_would_repeat, terms, unfit, verifier,
};

pub use cidr::Cidr;
pub use cluster_network::{NEVER_OPEN, never_open, quarantine, quarantine_name, quarantined};
pub use evaluation::{
    EVALUATE_CONTAINER, EVALUATION_COMPONENT, EVALUATION_FETCHES, EvaluationJobPlan, evaluation_job,
};
pub use gate::{add_gate, is_gated};
pub use images::{Image, Pins, odd, tagged, tags};
pub use network::{
    Inlet, METADATA_ADDRESSES, NetworkSettings, Openings, RELAY_COMPONENT, RELAY_PORT, cut_off_network,
    network_policy, network_policy_name, own_pods, shut_out,
};
pub use objects::{child_meta, cut_off, pod, workload};
pub use owner::controller;
pub use plans::Plans;
pub use quantity::billionths;
pub use shape::differences;
pub use template::{RunningModel, running_model, running_model_as_sent};

/// The init container that fetches the model. The name means nothing to anybody but this operator's own templates.
pub const FETCH_CONTAINER: &str = "probity-fetch";
/// The volume that the verified model lies in, which only the container that verifies or fetches it writes.
pub const MODEL_VOLUME: &str = "probity-model";
/// Where the server finds the model when the specification does not say.
pub const DEFAULT_MOUNT_PATH: &str = "/mnt/models";
/// The volume with the pull secret, mounted into the fetch container only.
pub const CREDENTIALS_VOLUME: &str = "probity-credentials";

/// The volume with the token for the relay, mounted into the fetch container only.
pub const RELAY_VOLUME: &str = "probity-relay";

/// Where models come from when pods ask no registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelaySettings {
    /// `https://host:port`.
    pub url: String,
    /// The SHA-256 of its public key.
    pub key: Digest,
}

/// What every pod of a model is built with, whichever model it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodSettings {
    /// The operator's own image by digest: the init container that fetches runs from it.
    pub fetch_image: String,
    /// The same of earlier releases, whose pods still run.
    pub previous_images: Vec<String>,
    /// Which hosts `probity fetch` may ask, as arguments to it.
    pub host_arguments: Vec<String>,
    /// Whom it asks in the registries' place; then it gets neither hosts nor pull secret.
    pub relay: Option<RelaySettings>,
}

impl PodSettings {
    /// Whether this is the operator's own image, of this release or an earlier one.
    pub fn is_ours(&self, image: &str) -> bool {
        self.fetch_image == image || self.previous_images.iter().any(|previous| previous == image)
    }
}

/// What of a model its pods are built from, beside the content they run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Served<'a> {
    /// The model's name, which is also its account's.
    pub name: &'a str,
    /// How it is served.
    pub server: &'a Server,
    /// Where the server finds the model.
    pub mount_path: Option<&'a str>,
}

impl<'a> Served<'a> {
    /// As the model's specification says it; none when somebody else serves it.
    pub fn of(model: &'a ModelDeployment) -> Option<Self> {
        Some(Self {
            name: model.metadata.name.as_deref().unwrap_or_default(),
            server: model.spec.server.as_ref()?,
            mount_path: model.spec.model.mount_path.as_deref(),
        })
    }
}

/// Everything that makes a model serve.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// Its identity.
    pub service_account: ServiceAccount,
    /// How it is reached.
    pub service: Service,
    /// What runs.
    pub deployment: Deployment,
}
