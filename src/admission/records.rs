//! What is recorded about models, as the watches have it: the models and the verdicts on their content.
//! It reads; one that no watch has delivered yet is read once from the API server, in bounded time.

#![expect(
    clippy::disallowed_types,
    reason = "the edge: here the client is made, gathered with, and handed to cluster"
)]

use std::{fmt::Debug, sync::Arc, time::Duration};

use futures::{StreamExt as _, future::join};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    core::{DeserializeGuard, NamespaceResourceScope},
    runtime::{
        WatchStreamExt as _,
        reflector::{self, ObjectRef, Store},
        watcher::{self, watcher},
    },
};
use serde::de::DeserializeOwned;

use crate::api::v1alpha1::{ArtifactVerification, ModelDeployment};

/// How long a read may take: well below what the API server gives the webhook.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// An object that could not be decoded harms only itself.
type Guarded<K> = DeserializeGuard<K>;

/// The models and verdicts of the cluster.
#[derive(Clone)]
pub struct Records {
    client: Client,
    models: Store<Guarded<ModelDeployment>>,
    verifications: Store<Guarded<ArtifactVerification>>,
}

impl Records {
    /// Starts the watches. The future runs them and never ends by itself.
    pub fn watch(client: &Client) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (models, watch_models) = follow(client);
        let (verifications, watch_verifications) = follow(client);
        let records = Self {
            client: client.clone(),
            models,
            verifications,
        };
        (records, async {
            join(watch_models, watch_verifications).await;
        })
    }

    /// Resolves when both kinds were read at least once.
    pub async fn ready(&self) {
        // An error means that the watches ended, and with them the process.
        let _ = join(
            self.models.wait_until_ready(),
            self.verifications.wait_until_ready(),
        )
        .await;
    }

    /// The model of this name, as the watch has it.
    pub fn model(&self, namespace: &str, name: &str) -> Option<ModelDeployment> {
        stored(&self.models, namespace, name)
    }

    /// Those of these verifications that the watch has.
    pub fn verifications(&self, namespace: &str, names: &[String]) -> Vec<ArtifactVerification> {
        names
            .iter()
            .filter_map(|name| stored(&self.verifications, namespace, name))
            .collect()
    }

    /// The model of this name, read now; none when there is none or it cannot be read in time.
    pub async fn read_model(&self, namespace: &str, name: &str) -> Option<ModelDeployment> {
        read(&self.client, namespace, name).await
    }

    /// Those of these verifications that there are, read now.
    pub async fn read_verifications(&self, namespace: &str, names: &[String]) -> Vec<ArtifactVerification> {
        let reads = names.iter().map(|name| read(&self.client, namespace, name));
        futures::future::join_all(reads)
            .await
            .into_iter()
            .flatten()
            .collect()
    }
}

fn follow<K>(client: &Client) -> (Store<Guarded<K>>, impl Future<Output = ()> + Send + 'static)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let (store, writer) = reflector::store();
    let events = watcher(Api::<Guarded<K>>::all(client.clone()), watcher::Config::default())
        .default_backoff()
        .modify(|object| object.managed_fields_mut().clear())
        .reflect(writer)
        .for_each(async |event| {
            if let Err(error) = event {
                tracing::warn!(kind = %K::kind(&()), %error, "a watch failed; trying again");
            }
        });
    (store, events)
}

fn stored<K>(store: &Store<Guarded<K>>, namespace: &str, name: &str) -> Option<K>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let object: Arc<Guarded<K>> = store.get(&ObjectRef::new(name).within(namespace))?;
    object.0.as_ref().ok().cloned()
}

async fn read<K>(client: &Client, namespace: &str, name: &str) -> Option<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    match tokio::time::timeout(READ_TIMEOUT, api.get_opt(name)).await {
        Ok(Ok(object)) => object,
        Ok(Err(error)) => {
            tracing::warn!(kind = %K::kind(&()), namespace, name, %error, "cannot read what a pod rests on");
            None
        }
        Err(_) => {
            tracing::warn!(kind = %K::kind(&()), namespace, name, "reading what a pod rests on took too long");
            None
        }
    }
}
