//! The init container that verifies the model in the pod of an adopted workload, with its volumes: built, and read again.
//! All it may trust is in its arguments.

use k8s_openapi::api::core::v1::{
    Container, EmptyDirVolumeSource, PersistentVolumeClaimVolumeSource, PodSpec, SeccompProfile,
    SecurityContext, Volume, VolumeMount,
};
use serde_json::Value;

use super::{AdoptedSource, Adoption, Source};
use crate::{
    evidence::Digest,
    workload::{CREDENTIALS_VOLUME, MODEL_VOLUME, PodSettings, RELAY_VOLUME, objects, shape},
};

/// The init container's name. It means nothing to anybody but this operator's own admission.
pub const VERIFY_CONTAINER: &str = "probity-verify";
/// The volume of the claim that the model comes from, which the verifier alone mounts.
const SOURCE_VOLUME: &str = "probity-source";
const SOURCE_DIR: &str = "/source";
const MODEL_DIR: &str = "/model";
const TOKEN_DIR: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// What a verifier in a pod is told to trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The image it runs from, by digest.
    pub image: String,
    /// The keys whose signatures count, each as `probity copy --key` reads it.
    pub keys: Vec<String>,
    /// The content it must be, once that is known.
    pub digest: Option<Digest>,
    /// Content it must not be.
    pub refuse: Vec<Digest>,
}

/// What is put into a pod.
pub(super) struct Planned {
    pub container: Container,
    pub volumes: Vec<Volume>,
}

pub(super) fn planned(adoption: &Adoption, source: &Source, settings: &PodSettings) -> Planned {
    let model = |size: Option<u64>| match size {
        Some(size) => objects::model_volume(size),
        None => Volume {
            name: MODEL_VOLUME.into(),
            empty_dir: Some(EmptyDirVolumeSource::default()),
            ..Volume::default()
        },
    };
    match &adoption.source {
        AdoptedSource::Registry(runs) => {
            let mut volumes = vec![model(Some(runs.size))];
            volumes.extend(objects::access(runs, settings));
            Planned {
                container: alone(Container {
                    name: VERIFY_CONTAINER.into(),
                    ..objects::fetch(runs, settings)
                }),
                volumes,
            }
        }
        AdoptedSource::Claim { claim, path, terms } => {
            let own = Volume {
                name: SOURCE_VOLUME.into(),
                persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                    claim_name: claim.clone(),
                    read_only: Some(true),
                }),
                ..Volume::default()
            };
            // The whole volume, and the folder as an argument: of a sub-path that is not there the kubelet would make folders
            // on somebody's claim.
            let from = match path {
                Some(path) => format!("{SOURCE_DIR}/{path}"),
                None => SOURCE_DIR.to_owned(),
            };
            Planned {
                container: copy(terms, SOURCE_VOLUME, None, &from),
                volumes: vec![model(None), own],
            }
        }
        AdoptedSource::Mounted { terms } => {
            let (volume, part) = match source {
                Source::Mount { volume, sub_path } => (volume.as_str(), sub_path.clone()),
                Source::Elsewhere | Source::Own => (SOURCE_VOLUME, None),
            };
            Planned {
                container: copy(terms, volume, part, SOURCE_DIR),
                volumes: vec![model(None)],
            }
        }
    }
}

fn copy(terms: &Terms, volume: &str, part: Option<String>, from: &str) -> Container {
    let mut args: Vec<String> = ["copy", "--from", from, "--dir", MODEL_DIR]
        .map(ToOwned::to_owned)
        .into();
    let pairs = terms.keys.iter().map(|key| ("--key", key.clone()));
    let pairs = pairs.chain(terms.digest.map(|digest| ("--digest", digest.to_string())));
    let pairs = pairs.chain(terms.refuse.iter().map(|digest| ("--refuse", digest.to_string())));
    args.extend(pairs.flat_map(|(flag, value)| [flag.to_owned(), value]));
    alone(Container {
        name: VERIFY_CONTAINER.into(),
        image: Some(terms.image.clone()),
        args: Some(args),
        volume_mounts: Some(vec![
            VolumeMount {
                name: volume.to_owned(),
                mount_path: SOURCE_DIR.into(),
                sub_path: part,
                read_only: Some(true),
                ..VolumeMount::default()
            },
            VolumeMount {
                name: MODEL_VOLUME.into(),
                mount_path: MODEL_DIR.into(),
                ..VolumeMount::default()
            },
        ]),
        resources: Some(objects::fetch_resources()),
        ..Container::default()
    })
}

/// In a pod whose own security context is somebody else's choice, the container brings all of its own.
fn alone(container: Container) -> Container {
    Container {
        security_context: Some(SecurityContext {
            run_as_user: Some(objects::USER),
            run_as_group: Some(objects::USER),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".into(),
                localhost_profile: None,
            }),
            ..objects::restricted()
        }),
        ..container
    }
}

/// The verifier of this pod.
pub fn of(pod: &PodSpec) -> Option<&Container> {
    pod.init_containers
        .iter()
        .flatten()
        .find(|one| one.name == VERIFY_CONTAINER)
}

/// The verifier as it was planned: where a pod brings its account's token, the API server mounts it into every container,
/// read-only and at one place, also into this one, which does not look there.
pub(super) fn without_token(verifier: &Container) -> Container {
    let mut verifier = verifier.clone();
    let is_token = |mount: &VolumeMount| {
        mount.mount_path == TOKEN_DIR
            && mount.name.starts_with("kube-api-access-")
            && mount.read_only == Some(true)
            && mount.sub_path.is_none()
    };
    if let Some(mounts) = &mut verifier.volume_mounts {
        mounts.retain(|mount| !is_token(mount));
    }
    verifier
}

/// The claim that the verifier of this pod reads, and the folder on it; none where it reads no claim of its own.
///
/// Like [`terms`] it reads what the pod says.
pub fn claim(pod: &PodSpec) -> Option<(String, Option<String>)> {
    let mut volumes = pod.volumes.iter().flatten();
    let volume = volumes.find(|volume| volume.name == SOURCE_VOLUME)?;
    let claim = volume.persistent_volume_claim.as_ref()?.claim_name.clone();
    let from = from(of(pod)?)?.strip_prefix(SOURCE_DIR)?;
    Some((claim, from.strip_prefix('/').map(ToOwned::to_owned)))
}

/// The folder that it copies from, as it sees it.
pub fn from(verifier: &Container) -> Option<&str> {
    let args = verifier.args.as_ref()?;
    let copies = args.first()? == "copy" && args.get(1)? == "--from";
    args.get(2).filter(|_| copies).map(String::as_str)
}

/// What it mounts to read.
pub(super) fn reads(verifier: &Container) -> Option<&VolumeMount> {
    verifier
        .volume_mounts
        .iter()
        .flatten()
        .find(|mount| mount.mount_path == SOURCE_DIR)
}

/// What the verifier of this pod was told to trust; none when it has none that copies.
///
/// It reads what the pod says. Whether that is how a verifier is built is for [`super::unfit`], with these terms.
pub fn terms(pod: &PodSpec) -> Option<Terms> {
    let verifier = of(pod)?;
    let args = verifier.args.as_ref()?;
    if args.first().map(String::as_str) != Some("copy") {
        return None;
    }
    let values = |flag: &str| -> Vec<String> {
        let pairs = args.get(5..).unwrap_or_default().chunks_exact(2);
        pairs
            .filter(|pair| pair[0] == flag)
            .map(|pair| pair[1].clone())
            .collect()
    };
    let digests =
        |flag: &str| -> Option<Vec<Digest>> { values(flag).iter().map(|value| value.parse().ok()).collect() };
    Some(Terms {
        image: verifier.image.clone()?,
        keys: values("--key"),
        digest: digests("--digest")?.first().copied(),
        refuse: digests("--refuse")?,
    })
}

/// What is in Probity's own parts of the pod, as it was sent, and not in the plan: fields that this version has no name for.
pub(super) fn strange(fitted: &PodSpec, raw: &Value) -> Vec<String> {
    let ours = |name: &str| [MODEL_VOLUME, SOURCE_VOLUME, CREDENTIALS_VOLUME, RELAY_VOLUME].contains(&name);
    let volumes = fitted
        .volumes
        .iter()
        .flatten()
        .filter(|volume| ours(&volume.name));
    let volumes = volumes.flat_map(|volume| shape::strange_volume(volume, raw));
    let container = of(fitted)
        .into_iter()
        .flat_map(|one| shape::strange_container(one, raw));
    container.chain(volumes).collect()
}
