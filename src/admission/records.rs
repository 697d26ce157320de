//! What is recorded about models, as the watches have it: the models and the verdicts on their content.
//! It reads; one that no watch has delivered yet is read once from the API server, in bounded time.

#![expect(
    clippy::disallowed_types,
    reason = "the edge: here the client is made, gathered with, and handed to cluster"
)]

mod names;
mod pods;
mod rights;

use std::{
    fmt::Debug,
    future::ready,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{StreamExt as _, stream::select};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{
    Api, Client, Resource,
    core::{DeserializeGuard, NamespaceResourceScope},
    runtime::reflector::{ObjectRef, Store},
};
use serde::de::DeserializeOwned;

use crate::{
    api::v1alpha1::{ArtifactVerification, ModelDeployment, WorkloadRef},
    controller::{
        owners::{Owners, Unread},
        world::{follow, follow_and},
    },
};
use names::Names;

/// How long a read may take: well below what the API server gives the webhook.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// An object that could not be decoded harms only itself.
type Guarded<K> = DeserializeGuard<K>;

/// A model as the watch has it, or as it was just read: shared, because it is large and nobody changes it.
pub(super) type Model = Arc<Guarded<ModelDeployment>>;

/// The models and verdicts of the cluster.
#[derive(Clone)]
pub struct Records {
    client: Client,
    models: Store<Guarded<ModelDeployment>>,
    names: Arc<Mutex<Names>>,
    verifications: Store<Guarded<ArtifactVerification>>,
    owners: Arc<Owners>,
}

impl Records {
    /// Starts the watches. The future runs them and never ends by itself.
    pub fn watch(client: &Client) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let names = Arc::new(Mutex::new(Names::default()));
        let (models, model_changes) = follow_and(Api::all(client.clone()), 0, {
            let names = names.clone();
            move |event| names.lock().unwrap_or_else(PoisonError::into_inner).take(event)
        });
        let (verifications, verification_changes) = follow(Api::all(client.clone()), 1);
        let records = Self {
            client: client.clone(),
            models,
            names,
            verifications,
            owners: Arc::default(),
        };
        // What changes is looked at when somebody asks.
        (
            records,
            select(model_changes, verification_changes).for_each(|_| ready(())),
        )
    }

    /// The model of this name, as the watch has it.
    pub(super) fn model(&self, namespace: &str, name: &str) -> Option<Model> {
        self.models.get(&ObjectRef::new(name).within(namespace))
    }

    /// The models of the namespace that govern workloads somebody else made.
    pub(super) fn adopting(&self, namespace: &str) -> Vec<Model> {
        self.models_where(namespace, |model| model.spec.workload_ref.is_some())
    }

    /// The models of the namespace.
    pub(super) fn models(&self, namespace: &str) -> Vec<Model> {
        self.models_where(namespace, |_| true)
    }

    /// Those of them that can be read and for which this holds.
    fn models_where(&self, namespace: &str, holds: impl Fn(&ModelDeployment) -> bool) -> Vec<Model> {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let models = names.of(namespace).filter_map(|name| self.model(namespace, name));
        models
            .filter(|model| model.0.as_ref().is_ok_and(&holds))
            .collect()
    }

    /// The controllers that an object with this owner goes back to, the nearest first, as far as one is `known` to be what is
    /// looked for. An owner is who has the name and the uid; each is read once, in bounded time.
    pub(super) async fn owners(
        &self,
        namespace: &str,
        direct: &OwnerReference,
        known: impl Fn(&[WorkloadRef]) -> bool,
    ) -> Result<Vec<WorkloadRef>, Unread> {
        self.owners.chain(&self.client, namespace, direct, known).await
    }

    /// Those of these verifications that the watch has.
    pub fn verifications(&self, namespace: &str, names: &[String]) -> Vec<ArtifactVerification> {
        names
            .iter()
            .filter_map(|name| stored(&self.verifications, namespace, name))
            .collect()
    }

    /// The model of this name, read now; none when there is none.
    pub(super) async fn read_model(&self, namespace: &str, name: &str) -> Result<Option<Model>, Unread> {
        let model = read(&self.client, namespace, name).await?;
        Ok(model.map(|model| Arc::new(DeserializeGuard(Ok(model)))))
    }

    /// Those of these verifications that there are, read now.
    pub(super) async fn read_verifications(
        &self,
        namespace: &str,
        names: &[String],
    ) -> Result<Vec<ArtifactVerification>, Unread> {
        let reads = names.iter().map(|name| read(&self.client, namespace, name));
        let read = futures::future::try_join_all(reads).await?;
        Ok(read.into_iter().flatten().collect())
    }
}

fn stored<K>(store: &Store<Guarded<K>>, namespace: &str, name: &str) -> Option<K>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let object: Arc<Guarded<K>> = store.get(&ObjectRef::new(name).within(namespace))?;
    object.0.as_ref().ok().cloned()
}

async fn read<K>(client: &Client, namespace: &str, name: &str) -> Result<Option<K>, Unread>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    match tokio::time::timeout(READ_TIMEOUT, api.get_opt(name)).await {
        Ok(Ok(object)) => return Ok(object),
        // There is one, and to try again would not make it readable.
        Ok(Err(error @ kube::Error::SerdeError(_))) => {
            tracing::warn!(kind = %K::kind(&()), namespace, name, %error, "an object is none that this version can read");
            return Ok(None);
        }
        Ok(Err(error)) => {
            tracing::warn!(kind = %K::kind(&()), namespace, name, %error, "cannot read what a pod rests on");
        }
        Err(_) => {
            tracing::warn!(kind = %K::kind(&()), namespace, name, "reading what a pod rests on took too long");
        }
    }
    Err(Unread {
        kind: K::kind(&()).into_owned(),
        name: name.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::{Request, Response};
    use kube::{
        client::Body,
        runtime::{reflector, watcher},
    };
    use test_case::test_case;

    use super::*;

    /// A client whose API server always gives this answer, or none.
    fn answering(answer: Option<(u16, &'static str)>) -> Client {
        let service = tower::service_fn(move |_: Request<Body>| async move {
            let Some((status, body)) = answer else {
                return std::future::pending().await;
            };
            let response = Response::builder().status(status);
            Ok::<_, Infallible>(response.body(Body::from(body.as_bytes().to_vec())).unwrap())
        });
        Client::new(service, "default")
    }

    fn model(n: usize, namespaces: usize) -> Guarded<ModelDeployment> {
        let image = format!("registry.example/s@sha256:{}", "5e".repeat(32));
        serde_json::from_value(serde_json::json!({
            "apiVersion": "probity.dev/v1alpha1", "kind": "ModelDeployment",
            "metadata": {"name": format!("model-{n}"), "namespace": format!("team-{}", n % namespaces)},
            "spec": {
                "model": {"source": {"oci": {"reference": "registry.example/models/digits:1"}}},
                "server": {"image": image, "protocol": "HTTP", "port": 80}
            }
        }))
        .unwrap()
    }

    /// Somebody waits for each answer: what it takes must not grow with the models of other namespaces.
    #[test_case(1_000, 10)]
    #[test_case(10_000, 100)]
    #[tokio::test]
    async fn who_asks_about_a_namespace_is_told_of_its_models_alone(models: usize, namespaces: usize) {
        let (records, _) = Records::watch(&answering(None));
        let (store, mut writer) = reflector::store();
        for n in 0..models {
            let event = watcher::Event::Apply(model(n, namespaces));
            writer.apply_watcher_event(&event);
            records.names.lock().unwrap().take(&event);
        }
        let records = Records {
            models: store,
            ..records
        };
        let began = std::time::Instant::now();
        let found = records.models("team-7");
        let took = began.elapsed();
        let of_them =
            |model: &Model| model.0.as_ref().unwrap().metadata.namespace.as_deref() == Some("team-7");
        let began = std::time::Instant::now();
        let all = records.models.state();
        let scanned = all.iter().filter(|model| of_them(model)).count();
        println!(
            "{models} models in {namespaces} namespaces: {took:?}; among all of them {:?}",
            began.elapsed()
        );
        assert_eq!((found.len(), scanned), (models / namespaces, models / namespaces));
        assert!(found.iter().all(of_them));
        assert!(records.adopting("team-7").is_empty() && records.models("nowhere").is_empty());
    }

    const MISSING: &str =
        r#"{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}"#;
    const NONSENSE: &str = r#"{"kind":"ModelDeployment","metadata":{"name":"digits"},"spec":7}"#;

    #[test_case(Some((404, MISSING)) => true; "there is none")]
    #[test_case(Some((200, NONSENSE)) => true; "it is none that can be read, now or later")]
    #[test_case(Some((500, "{}")) => false; "an error")]
    #[test_case(None => false; "no answer")]
    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_read_is_not_what_is_not_there(answer: Option<(u16, &'static str)>) -> bool {
        let (records, _) = Records::watch(&answering(answer));
        match records.read_model("bank", "digits").await {
            Ok(None) => true,
            Ok(Some(_)) => panic!("there is no such model"),
            Err(unread) => {
                assert_eq!(
                    unread.to_string(),
                    "cannot read ModelDeployment digits just now: try again"
                );
                false
            }
        }
    }
}
