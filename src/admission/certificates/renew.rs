//! Keeps the Secret and the webhook configurations as [`super::rotation`] wants them: in the leader alone.
//! It decides nothing and writes only through `cluster`; what fails is tried again at the next look.

#![expect(
    clippy::disallowed_types,
    reason = "the edge: here the client is made, gathered with, and handed to cluster"
)]

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::{
    admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
    core::v1::Secret,
};
use kube::{Api, Client};
use tokio::time::{sleep, timeout};

use super::{
    Certificates,
    issue::IssueError,
    material::{Material, is_ours},
    rotation::{Step, step},
};
use crate::cluster::{BundleError, Published, keep_secret, publish_bundle};

/// For one look: it is a few small requests.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where the certificates are kept and what they are for.
#[derive(Debug, Clone)]
pub struct Names {
    /// The operator's own namespace.
    pub namespace: String,
    /// The Secret.
    pub secret: String,
    /// The host name by which the API server asks: `SERVICE.NAMESPACE.svc`.
    pub host: String,
    /// Of both webhook configurations.
    pub webhooks: String,
}

/// A look could not be carried out.
#[derive(Debug, thiserror::Error)]
enum RenewError {
    #[error("cannot read or write the Secret of the certificates")]
    Secret(#[from] kube::Error),
    #[error(transparent)]
    Issue(#[from] IssueError),
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error(
        "the Secret {0} was not made by Probity and is left alone: set certificates.secretName to another name, or certificates.mode to Secret"
    )]
    NotOurs(String),
    #[error("the API server took too long")]
    Slow,
}

/// Renews what has to be renewed, as long as this is the leader; `every` so often it looks. Never ends by itself.
pub async fn renew(
    client: Client,
    names: Names,
    certificates: Certificates,
    now: impl Fn() -> Timestamp,
    every: Duration,
) {
    let keeper = Keeper {
        secrets: Api::namespaced(client.clone(), &names.namespace),
        validating: Api::all(client.clone()),
        mutating: Api::all(client),
        hosts: vec![names.host.clone()],
        names,
        certificates,
    };
    loop {
        let looked = timeout(PATIENCE, keeper.look(now())).await;
        if let Err(error) = looked.unwrap_or(Err(RenewError::Slow)) {
            let cause = std::error::Error::source(&error)
                .map(ToString::to_string)
                .unwrap_or_default();
            tracing::warn!(%error, cause, "cannot look after the certificates of admission; trying again");
        }
        sleep(every).await;
    }
}

struct Keeper {
    secrets: Api<Secret>,
    validating: Api<ValidatingWebhookConfiguration>,
    mutating: Api<MutatingWebhookConfiguration>,
    names: Names,
    hosts: Vec<String>,
    certificates: Certificates,
}

impl Keeper {
    async fn look(&self, now: Timestamp) -> Result<(), RenewError> {
        let mut secret = self.secrets.get_opt(&self.names.secret).await?;
        if secret.as_ref().is_some_and(|secret| !is_ours(secret)) {
            return Err(RenewError::NotOurs(self.names.secret.clone()));
        }
        let mut material = secret.as_ref().map(Material::read).unwrap_or_default();
        let next = step(&material.held(&self.names.host, now), now);
        if next != Step::Keep {
            material = material.after(next, &self.hosts, now)?;
            secret = Some(self.write(secret.as_ref(), &material).await?);
            tracing::info!(step = ?next, secret = self.names.secret, "the certificates of admission were renewed");
        }
        // The order matters: the Secret holds every key before anybody is told to trust it.
        if self.publish(&material.bundle()).await? && material.was_published(now) {
            self.write(secret.as_ref(), &material).await?;
        }
        if let Some(serving) = material.serving() {
            self.certificates.serve(serving);
        }
        Ok(())
    }

    async fn write(&self, existing: Option<&Secret>, material: &Material) -> Result<Secret, RenewError> {
        let desired = material.write(existing, &self.names.secret);
        Ok(keep_secret(&self.secrets, existing, &desired).await?)
    }

    /// Whether every configuration there is carries the bundle now.
    async fn publish(&self, bundle: &str) -> Result<bool, RenewError> {
        let name = &self.names.webhooks;
        let validating = publish_bundle(&self.validating, name, bundle).await?;
        // It is there only if something is to be changed on its way in.
        publish_bundle(&self.mutating, name, bundle).await?;
        if validating == Published::NotThere {
            tracing::warn!(
                name,
                "there is no ValidatingWebhookConfiguration of this name: the chart makes it"
            );
        }
        Ok(validating == Published::Carried)
    }
}
