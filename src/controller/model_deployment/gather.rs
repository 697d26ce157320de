//! Reads everything one look at a model needs, live, in one go.
//! Reads only; what it means is for the plan.

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Pod, Service, ServiceAccount},
};
use kube::{ResourceExt as _, api::ListParams};

use crate::{
    api::{
        MODEL_LABEL,
        v1alpha1::{ArtifactVerification, ModelDeployment},
    },
    cluster::is_controlled_by,
};

use super::super::{Context, Error};

/// What there is for one model.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The Deployment of the model's name, whoever it belongs to.
    pub deployment: Option<Deployment>,
    /// The Service of the model's name, whoever it belongs to.
    pub service: Option<Service>,
    /// The `ServiceAccount` of the model's name, whoever it belongs to.
    pub service_account: Option<ServiceAccount>,
    /// The verifications that this model owns.
    pub verifications: Vec<ArtifactVerification>,
    /// The pods that carry the model's label.
    pub pods: Vec<Pod>,
}

/// Reads the model and what there is for it; none when the model is gone or going.
///
/// The model too is read live: what a watch shows may lack the status that was written a moment ago, and with it what
/// serves.
pub(super) async fn gather(
    context: &Context,
    seen: &ModelDeployment,
) -> Result<Option<(ModelDeployment, Snapshot)>, Error> {
    let (name, namespace) = (seen.name_any(), seen.namespace().unwrap_or_default());
    let uid = seen.uid().unwrap_or_default();
    let model = context
        .api::<ModelDeployment>(&namespace)
        .get_opt(&name)
        .await
        .map_err(|source| Error::Gather {
            what: "the model",
            source,
        })?
        .filter(|model| model.uid() == seen.uid() && model.metadata.deletion_timestamp.is_none());
    let Some(model) = model else { return Ok(None) };
    let labelled = ListParams::default().labels(&format!("{MODEL_LABEL}={name}"));
    let (deployments, services, accounts) = (
        context.api(&namespace),
        context.api(&namespace),
        context.api(&namespace),
    );
    let (deployment, service, service_account) = tokio::try_join!(
        context.applier.read(&deployments, &name),
        context.applier.read(&services, &name),
        context.applier.read(&accounts, &name),
    )?;
    let verifications = context
        .api::<ArtifactVerification>(&namespace)
        .list(&labelled)
        .await
        .map_err(|source| Error::Gather {
            what: "the model's ArtifactVerifications",
            source,
        })?
        .items
        .into_iter()
        .filter(|verification| is_controlled_by(verification, &uid))
        .collect();
    // Without a Deployment there are no pods of ours to ask about.
    let pods = if deployment.is_some() {
        context
            .api::<Pod>(&namespace)
            .list(&labelled)
            .await
            .map_err(|source| Error::Gather {
                what: "the model's Pods",
                source,
            })?
            .items
    } else {
        Vec::new()
    };
    Ok(Some((
        model,
        Snapshot {
            deployment,
            service,
            service_account,
            verifications,
            pods,
        },
    )))
}
