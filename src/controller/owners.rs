//! Which controller a `ReplicaSet` or a Deployment goes back to. It never changes for one uid but by being let go, so each is
//! read once and remembered.

#![expect(
    clippy::disallowed_types,
    reason = "the edge: here the client is made, gathered with, and handed to cluster"
)]

use std::{
    collections::HashMap,
    fmt::Debug,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::{
    api::apps::v1::{Deployment, ReplicaSet},
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{Api, Client, Resource, core::NamespaceResourceScope};

use serde::de::DeserializeOwned;

use crate::{api::v1alpha1::WorkloadRef, workload::controller};

/// A pod goes back to a `ReplicaSet`, its Deployment and that one's maker, and no further.
const MAX_OWNERS: usize = 3;

/// How long a read may take: well below what the API server gives a webhook.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// At most this many are remembered; a cluster that has more reads some again.
const MOST: usize = 16_384;

/// The controllers of controllers, by uid.
#[derive(Debug, Default)]
pub struct Owners(Mutex<HashMap<String, OwnerReference>>);

impl Owners {
    /// The controllers that an object with this owner goes back to, the nearest first, as far as one is `known` to be what is
    /// looked for. An owner is who has the name and the uid.
    pub async fn chain(
        &self,
        client: &Client,
        namespace: &str,
        direct: &OwnerReference,
        known: impl Fn(&[WorkloadRef]) -> bool,
    ) -> Result<Vec<WorkloadRef>, Unread> {
        let mut owners = Vec::new();
        let mut next = Some(direct.clone());
        while let Some(owner) = next.take() {
            owners.push(WorkloadRef::from(&owner));
            if known(&owners) || owners.len() == MAX_OWNERS {
                break;
            }
            next = self.of(client, namespace, &owner).await?;
        }
        Ok(owners)
    }

    /// The controller of this owner; none when it has none, is of another kind, or is not there under this uid.
    async fn of(
        &self,
        client: &Client,
        namespace: &str,
        owner: &OwnerReference,
    ) -> Result<Option<OwnerReference>, Unread> {
        let known = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(controller) = known().get(&owner.uid) {
            return Ok(Some(controller.clone()));
        }
        let found = match (owner.api_version.as_str(), owner.kind.as_str()) {
            ("apps/v1", "ReplicaSet") => read::<ReplicaSet>(client, namespace, owner).await?,
            ("apps/v1", "Deployment") => read::<Deployment>(client, namespace, owner).await?,
            _ => None,
        };
        // One without a controller may still get one.
        let Some(controller) = found.as_deref().and_then(controller).cloned() else {
            return Ok(None);
        };
        let mut known = known();
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(owner.uid.clone(), controller.clone());
        Ok(Some(controller))
    }
}

/// The API server did not say in time what there is, which is not that there is nothing.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {kind} {name} just now: try again")]
pub struct Unread {
    /// The object's kind.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// The owners of the object that this reference means; none when it is gone or another has its name.
async fn read<K>(
    client: &Client,
    namespace: &str,
    owner: &OwnerReference,
) -> Result<Option<Vec<OwnerReference>>, Unread>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let reading = tokio::time::timeout(READ_TIMEOUT, api.get_metadata_opt(&owner.name));
    match reading.await {
        Ok(Ok(found)) => {
            let found = found.filter(|found| found.metadata.uid.as_ref() == Some(&owner.uid));
            return Ok(found.map(|found| found.metadata.owner_references.unwrap_or_default()));
        }
        Ok(Err(error)) => {
            tracing::warn!(kind = owner.kind, namespace, name = owner.name, %error, "cannot read what a pod goes back to");
        }
        Err(_) => {
            tracing::warn!(
                kind = owner.kind,
                namespace,
                name = owner.name,
                "reading what a pod goes back to took too long"
            );
        }
    }
    Err(Unread {
        kind: owner.kind.clone(),
        name: owner.name.clone(),
    })
}
