//! The key by which pods know the relay: read from its Secret, and made once when there is none.
//! Whichever replica comes first makes it, and all use what is there: nothing about it is ever replaced.

#![expect(
    clippy::disallowed_types,
    reason = "the edge: here the client is made, gathered with, and handed to cluster"
)]

use std::collections::BTreeMap;

use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{Api, Client, core::ObjectMeta};

use crate::{
    cluster::keep_secret,
    evidence::Digest,
    relay::{Identity, IdentityError},
};

/// Where the key lies in the Secret.
const KEY: &str = "key.pem";

/// The relay's key could not be read or made.
#[derive(Debug, thiserror::Error)]
pub enum RelayKeyError {
    /// The API server did not tell or take it.
    #[error("cannot read or write the Secret {name} with the relay's key: {source}")]
    Secret {
        /// The Secret.
        name: String,
        /// Why not.
        #[source]
        source: kube::Error,
    },
    /// The Secret holds none.
    #[error("the Secret {0} has no key {KEY}: remove it, and another is made")]
    Missing(String),
    /// It holds something else.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// The SHA-256 of the public key whose private one the Secret holds.
pub async fn relay_key(client: &Client, namespace: &str, name: &str) -> Result<Digest, RelayKeyError> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let failed = |source| RelayKeyError::Secret {
        name: name.to_owned(),
        source,
    };
    let secret = match api.get_opt(name).await.map_err(failed)? {
        Some(secret) => secret,
        None => match keep_secret(&api, None, &holding(name, &Identity::generate()?)).await {
            // Another replica was faster.
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                api.get(name).await.map_err(failed)?
            }
            made => made.map_err(failed)?,
        },
    };
    let pem = secret
        .data
        .as_ref()
        .and_then(|data| data.get(KEY))
        .and_then(|bytes| std::str::from_utf8(&bytes.0).ok())
        .ok_or_else(|| RelayKeyError::Missing(name.to_owned()))?;
    Ok(Identity::read(pem)?.fingerprint())
}

fn holding(name: &str, identity: &Identity) -> Secret {
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(BTreeMap::from([(
                "app.kubernetes.io/managed-by".into(),
                "probity".into(),
            )])),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(
            KEY.into(),
            ByteString(identity.pem().into_bytes()),
        )])),
        ..Secret::default()
    }
}
