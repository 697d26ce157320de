//! Which model a pod template runs, read from the arguments of its fetch container.
//! It reads what a template says; whether that is true of a pod is for [`super::differences`].

use k8s_openapi::api::core::v1::PodSpec;

use super::{CREDENTIALS_VOLUME, FETCH_CONTAINER};
use crate::evidence::{Digest, Reference};

/// The model a pod template runs: the one thing that decides it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningModel {
    /// The pinned reference.
    pub reference: Reference,
    /// Its digest.
    pub digest: Digest,
    /// Bytes the volume was sized for.
    pub size: u64,
    /// The pull secret mounted into the fetch container.
    pub pull_secret: Option<String>,
}

/// The model that the template says it runs; none when it is no template of this operator.
pub fn running_model(pod: &PodSpec) -> Option<RunningModel> {
    let fetch = pod
        .init_containers
        .as_ref()?
        .iter()
        .find(|container| container.name == FETCH_CONTAINER)?;
    let args = fetch.args.as_ref()?;
    let value = |flag: &str| {
        args.windows(2)
            .find(|pair| pair[0] == flag)
            .map(|pair| pair[1].as_str())
    };
    let reference: Reference = value("--reference")?.parse().ok()?;
    let pull_secret = pod
        .volumes
        .iter()
        .flatten()
        .find(|volume| volume.name == CREDENTIALS_VOLUME)
        .and_then(|volume| volume.secret.as_ref()?.secret_name.clone());
    Some(RunningModel {
        digest: reference.digest()?,
        reference,
        size: value("--max-bytes")?.parse().ok()?,
        pull_secret,
    })
}
