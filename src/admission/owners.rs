//! Which controller a ReplicaSet or a Deployment goes back to. It never changes for one uid but by being let go, so each is
//! read once and remembered.

#![expect(
    clippy::disallowed_types,
    reason = "the edge: here the client is made, gathered with, and handed to cluster"
)]

use std::{
    collections::HashMap,
    fmt::Debug,
    sync::{Mutex, PoisonError},
};

use k8s_openapi::{
    api::apps::v1::{Deployment, ReplicaSet},
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{Api, Client, Resource, core::NamespaceResourceScope};

use serde::de::DeserializeOwned;

use super::records::READ_TIMEOUT;

/// At most this many are remembered; a cluster that has more reads some again.
const MOST: usize = 16_384;

/// The controllers of controllers, by uid.
#[derive(Default)]
pub(super) struct Owners(Mutex<HashMap<String, OwnerReference>>);

impl Owners {
    /// The controller of this owner; none when it has none, is of another kind, or is not there under this uid.
    pub(super) async fn of(
        &self,
        client: &Client,
        namespace: &str,
        owner: &OwnerReference,
    ) -> Option<OwnerReference> {
        let known = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(controller) = known().get(&owner.uid) {
            return Some(controller.clone());
        }
        let found = match (owner.api_version.as_str(), owner.kind.as_str()) {
            ("apps/v1", "ReplicaSet") => read::<ReplicaSet>(client, namespace, owner).await?,
            ("apps/v1", "Deployment") => read::<Deployment>(client, namespace, owner).await?,
            _ => return None,
        };
        // One without a controller may still get one.
        let controller = found.into_iter().find(|owner| owner.controller == Some(true))?;
        let mut known = known();
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(owner.uid.clone(), controller.clone());
        Some(controller)
    }
}

/// The owners of the object that this reference means; none when it is gone, another has its name, or it cannot be read in time.
async fn read<K>(client: &Client, namespace: &str, owner: &OwnerReference) -> Option<Vec<OwnerReference>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let reading = tokio::time::timeout(READ_TIMEOUT, api.get_metadata_opt(&owner.name));
    match reading.await {
        Ok(Ok(found)) => {
            let found = found.filter(|found| found.metadata.uid.as_ref() == Some(&owner.uid))?;
            Some(found.metadata.owner_references.unwrap_or_default())
        }
        Ok(Err(error)) => {
            tracing::warn!(kind = owner.kind, namespace, name = owner.name, %error, "cannot read what a pod goes back to");
            None
        }
        Err(_) => {
            tracing::warn!(
                kind = owner.kind,
                namespace,
                name = owner.name,
                "reading what a pod goes back to took too long"
            );
            None
        }
    }
}
