//! What a model asks for: which content, as far as its reference is resolved.
//! Pure: it reads the specification, and the part of the status that only the operator writes.

use aws_lc_rs::digest::{SHA256, digest};
use kube::ResourceExt as _;

use super::{Problem, accept, accept::accept_name};
use crate::{
    api::v1alpha1::{ModelDeployment, ModelDeploymentSpec, OciSource},
    evidence::{Digest, Failure, Origin, Reason, Reference},
    workload::RunningModel,
};

/// What was asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// The specification cannot be carried out.
    Refused(Problem),
    /// The reference is not resolved yet, or could not be.
    Unresolved {
        /// What was asked for.
        reference: Reference,
        /// Why the last look failed; none while it is looked at for the first time.
        failure: Option<Failure>,
    },
    /// This content.
    Known {
        /// What was asked for.
        reference: Reference,
        /// What it names.
        digest: Digest,
    },
}

impl Request {
    /// The request of this model.
    pub fn of(model: &ModelDeployment) -> Self {
        let reference = match accept_name(&model.name_any()).and_then(|()| accept(&model.spec)) {
            Ok(Origin::Registry(reference)) => reference,
            Ok(origin) => {
                let message = format!("{origin} is no registry: its content is known in the pods alone");
                return Self::Refused(Problem::new(Reason::SpecInvalid, "spec.model.source", message));
            }
            Err(problem) => return Self::Refused(problem),
        };
        if let Some(digest) = reference.digest() {
            return Self::Known { reference, digest };
        }
        let resolved = model
            .status
            .as_ref()
            .and_then(|status| status.resolved.as_ref())
            .filter(|resolved| {
                model.spec.model.source.oci.as_ref().map(source_hash) == Some(resolved.source)
            });
        match resolved {
            Some(resolved) => match (resolved.digest, resolved.reason) {
                (Some(digest), _) => Self::Known { reference, digest },
                (None, reason) => Self::Unresolved {
                    reference,
                    failure: reason
                        .map(|reason| Failure::new(reason, resolved.message.clone().unwrap_or_default())),
                },
            },
            None => Self::Unresolved {
                reference,
                failure: None,
            },
        }
    }

    /// The content that was asked for, once it is known; its size is known when it is verified.
    pub fn content(&self, source: &OciSource) -> Option<RunningModel> {
        let Self::Known { reference, digest } = self else {
            return None;
        };
        Some(RunningModel {
            reference: reference.pinned(*digest),
            digest: *digest,
            size: 0,
            pull_secret: source.pull_secret.clone(),
        })
    }
}

/// The model as this content began to serve: how its pods were built, and whom they may reach; none when the status does not
/// remember that.
pub fn as_it_serves(model: &ModelDeployment, digest: Digest) -> Option<ModelDeployment> {
    let serving = model.status.as_ref()?.serving.as_ref()?;
    let template = serving.template.as_ref().filter(|_| serving.digest == digest)?;
    let mut model = model.clone();
    model.spec.server = Some(template.server.clone());
    model.spec.egress.clone_from(&serving.egress);
    model.spec.model.mount_path.clone_from(&template.mount_path);
    if let Some(source) = &mut model.spec.model.source.oci {
        source.pull_secret.clone_from(&template.pull_secret);
    }
    Some(model)
}

/// The content that pods verify by themselves must be, as far as that is settled: by the specification, or by what the first
/// of them found.
pub fn pinned(model: &ModelDeployment) -> Option<Digest> {
    let source = &model.spec.model.source;
    let volume = source.volume.as_ref().and_then(|volume| volume.digest);
    let mounted = source.mounted.as_ref().and_then(|mounted| mounted.digest);
    volume.or(mounted).or_else(|| {
        let resolved = model.status.as_ref()?.resolved.as_ref()?;
        resolved
            .digest
            .filter(|_| resolved.source == folder_hash(&model.spec))
    })
}

/// The identity of a source whose content only pods see: another folder, or another workload that brings it, is another one.
pub fn folder_hash(spec: &ModelDeploymentSpec) -> Digest {
    let source = &spec.model.source;
    let text = serde_json::to_string(&(&source.volume, &source.mounted, &spec.workload_ref));
    hash(&text.unwrap_or_default())
}

/// The identity of a source: another reference or pull secret is another source; how often it is looked at is not part of it.
pub fn source_hash(source: &OciSource) -> Digest {
    let text = format!(
        "{}\n{}",
        source.reference,
        source.pull_secret.as_deref().unwrap_or_default()
    );
    hash(&text)
}

pub(super) fn hash(text: &str) -> Digest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    Digest::from_bytes(bytes)
}
