//! Writes what belongs to admission's certificates: their Secret, and whom the API server trusts.
//! Of a webhook configuration it owns `clientConfig.caBundle` and nothing else; the rest is the chart's.

use std::fmt::Debug;

use k8s_openapi::api::{
    admissionregistration::v1::{
        MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
    },
    core::v1::Secret,
};
use kube::{
    Api, Resource,
    api::{Patch, PatchParams, PostParams},
};
use serde::de::DeserializeOwned;
use serde_json::json;

/// Who owns `caBundle`.
pub const CERTIFICATES_MANAGER: &str = "probity-certificates";

/// Writes the Secret: creates it, or replaces exactly the one that was read. Another writer in between is a conflict.
pub async fn keep_secret(
    api: &Api<Secret>,
    existing: Option<&Secret>,
    desired: &Secret,
) -> Result<Secret, kube::Error> {
    let params = PostParams {
        field_manager: Some(CERTIFICATES_MANAGER.into()),
        ..PostParams::default()
    };
    match existing.and_then(|secret| secret.metadata.name.as_deref()) {
        Some(name) => api.replace(name, &params, desired).await,
        None => api.create(&params, desired).await,
    }
}

/// The API server could not be told whom to trust.
#[derive(Debug, thiserror::Error)]
#[error("cannot write caBundle of {kind} {name}")]
pub struct BundleError {
    kind: String,
    name: String,
    #[source]
    source: kube::Error,
}

/// What became of a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// Every webhook of the configuration carries it.
    Carried,
    /// There is no such configuration, or none of its webhooks.
    NotThere,
}

/// A configuration of webhooks.
pub trait Webhooks {
    /// Each webhook's name and what it trusts.
    fn bundles(&self) -> Vec<(&str, Option<&[u8]>)>;
}

fn bundle<'a>(name: &'a str, client: &'a WebhookClientConfig) -> (&'a str, Option<&'a [u8]>) {
    (name, client.ca_bundle.as_ref().map(|bytes| &*bytes.0))
}

impl Webhooks for ValidatingWebhookConfiguration {
    fn bundles(&self) -> Vec<(&str, Option<&[u8]>)> {
        self.webhooks
            .iter()
            .flatten()
            .map(|hook| bundle(&hook.name, &hook.client_config))
            .collect()
    }
}

impl Webhooks for MutatingWebhookConfiguration {
    fn bundles(&self) -> Vec<(&str, Option<&[u8]>)> {
        self.webhooks
            .iter()
            .flatten()
            .map(|hook| bundle(&hook.name, &hook.client_config))
            .collect()
    }
}

/// Makes every webhook of a configuration trust this bundle (PEM), unless each does.
///
/// The list of webhooks is keyed by name, so an apply of name and `caBundle` alone owns just that and changes nothing
/// else. It takes the field over from whoever else set it: without it nobody is let in.
pub async fn publish_bundle<K>(api: &Api<K>, name: &str, bundle: &str) -> Result<Published, BundleError>
where
    K: Resource<DynamicType = ()> + Webhooks + Clone + Debug + DeserializeOwned,
{
    let failed = |source| BundleError {
        kind: K::kind(&()).into(),
        name: name.into(),
        source,
    };
    let Some(found) = api.get_opt(name).await.map_err(failed)? else {
        return Ok(Published::NotThere);
    };
    let hooks = found.bundles();
    if hooks.is_empty() {
        return Ok(Published::NotThere);
    }
    if hooks
        .iter()
        .all(|(_, carried)| *carried == Some(bundle.as_bytes()))
    {
        return Ok(Published::Carried);
    }
    let bundle = k8s_openapi::ByteString(bundle.as_bytes().to_vec());
    let hooks: Vec<_> = hooks
        .iter()
        .map(|(name, _)| json!({"name": name, "clientConfig": {"caBundle": bundle}}))
        .collect();
    let patch = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        // A configuration that was replaced in between is a conflict, and never made from this alone.
        "metadata": {"name": name, "uid": found.meta().uid},
        "webhooks": hooks,
    });
    api.patch(
        name,
        &PatchParams::apply(CERTIFICATES_MANAGER).force(),
        &Patch::Apply(patch),
    )
    .await
    .map_err(failed)?;
    tracing::info!(kind = %K::kind(&()), name, "the API server was told whom to trust");
    Ok(Published::Carried)
}
