//! A namespace of one test's own, and waiting in it: for what an object says, with a deadline and with what it said last.
//! Waiting is watching; nothing here sleeps.

use std::{fmt::Debug, time::Duration};

use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::Deployment,
        core::v1::{Namespace, Pod, Service},
    },
};
use kube::{
    Api, Resource, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    runtime::wait::await_condition,
};
use probity::api::{
    GOVERNED_LABEL, MODEL_LABEL,
    v1alpha1::{ArtifactVerification, ModelDeployment},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::bed::Bed;

/// Long enough for a machine that does a dozen other things.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// The port every server listens on.
pub const PORT: u16 = 8080;

/// A namespace that policies apply to and in which Pod Security enforces `restricted`.
#[derive(Clone)]
pub struct Space {
    pub bed: &'static Bed,
    pub namespace: String,
}

impl Space {
    pub async fn new(bed: &'static Bed, name: &str) -> Self {
        let space = Self::ungoverned(bed, name).await;
        space.govern().await;
        space
    }

    /// One that no policy applies to yet.
    pub async fn ungoverned(bed: &'static Bed, name: &str) -> Self {
        let namespace: Namespace = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
        }))
        .unwrap();
        Api::all(bed.client.clone())
            .create(&PostParams::default(), &namespace)
            .await
            .unwrap();
        Self {
            bed,
            namespace: name.to_owned(),
        }
    }

    /// From now on policies apply.
    pub async fn govern(&self) {
        let label = json!({"metadata": {"labels": {GOVERNED_LABEL: "true"}}});
        Api::<Namespace>::all(self.bed.client.clone())
            .patch(&self.namespace, &PatchParams::default(), &Patch::Merge(&label))
            .await
            .unwrap();
    }

    pub fn api<K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>>(&self) -> Api<K> {
        Api::namespaced(self.bed.client.clone(), &self.namespace)
    }

    pub async fn create<K>(&self, object: Value) -> K
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
    {
        let object: K = serde_json::from_value(object).unwrap();
        self.api().create(&PostParams::default(), &object).await.unwrap()
    }

    /// A model with the light server, which does not look at it.
    pub async fn model(&self, name: &str, reference: &str) -> ModelDeployment {
        self.create(self.light(name, reference)).await
    }

    pub fn light(&self, name: &str, reference: &str) -> Value {
        json!({
            "apiVersion": "probity.dev/v1alpha1", "kind": "ModelDeployment", "metadata": {"name": name},
            "spec": {
                "model": {"source": {"oci": {"reference": reference}}},
                "server": {
                    "image": self.bed.light, "args": ["serve", format!(":{PORT}"), "light"],
                    "protocol": "HTTP", "port": PORT, "replicas": 1,
                },
            },
        })
    }

    /// A model with the demo's server, which reads it; its tag is followed.
    pub async fn digits(&self, reference: &str) -> ModelDeployment {
        let image = self.bed.digits_server().await;
        self.create(json!({
            "apiVersion": "probity.dev/v1alpha1", "kind": "ModelDeployment", "metadata": {"name": "digits"},
            "spec": {
                "model": {"source": {"oci": {"reference": reference, "update": "Follow", "intervalSeconds": 5}}},
                "server": {
                    "image": image, "protocol": "OpenInference", "port": PORT, "replicas": 1,
                    "args": ["--model_name", "digits", "--model_dir", "/mnt/models", "--http_port", PORT.to_string()],
                },
            },
        }))
        .await
    }

    /// Changes fields of a model's specification.
    pub async fn edit(&self, name: &str, spec: Value) {
        let patch = Patch::Merge(json!({"spec": spec}));
        self.api::<ModelDeployment>()
            .patch(name, &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    /// Asks for another version of a model.
    pub async fn ask_for(&self, name: &str, reference: &str) {
        self.edit(
            name,
            json!({"model": {"source": {"oci": {"reference": reference}}}}),
        )
        .await;
    }

    /// Waits until an object is so.
    pub async fn until<K>(&self, name: &str, what: &str, is_so: impl Fn(&K) -> bool) -> K
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned
            + Send
            + 'static,
    {
        until(&self.api(), name, what, is_so).await
    }

    /// Waits until this digest serves and nothing else is asked for.
    pub async fn serves(&self, name: &str, digest: &str) -> ModelDeployment {
        self.until(name, &format!("to serve {digest}"), |model| {
            serving(model).as_deref() == Some(digest) && ready(model).0 == "True"
        })
        .await
    }

    /// Waits until the condition `Ready` has this reason and is not true; returns its message.
    pub async fn is_not_ready(&self, name: &str, reason: &str) -> (ModelDeployment, String) {
        let model = self
            .until(name, &format!("not to be Ready because of {reason}"), |model| {
                let (status, because, _) = ready(model);
                status != "True" && because == reason
            })
            .await;
        let message = ready(&model).2;
        (model, message)
    }

    /// Waits until a Deployment's rollout is complete and nothing of an older one is left; returns its pods.
    pub async fn settled_pods(&self, name: &str, count: usize) -> Vec<Pod> {
        eventually(&format!("{name} to have {count} pods and no other"), async || {
            let pods = self.pods(name).await;
            (pods.len() == count && pods.iter().all(is_ready)).then_some(pods)
        })
        .await
    }

    /// The pods of a model, those that are going among them.
    pub async fn pods(&self, name: &str) -> Vec<Pod> {
        self.list(&format!("{MODEL_LABEL}={name}")).await
    }

    pub async fn verifications(&self, name: &str) -> Vec<ArtifactVerification> {
        self.list(&format!("{MODEL_LABEL}={name}")).await
    }

    pub async fn list<K>(&self, selector: &str) -> Vec<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        self.api()
            .list(&ListParams::default().labels(selector))
            .await
            .unwrap()
            .items
    }

    /// The one pod of a model that serves one version and no other.
    pub async fn only_pod(&self, name: &str) -> Pod {
        self.settled_pods(name, 1).await.remove(0)
    }

    /// `http://ADDRESS:PORT` of a model's Service.
    pub async fn service(&self, name: &str) -> String {
        let service: Service = self.api().get(name).await.unwrap();
        format!("http://{}:{PORT}", service.spec.unwrap().cluster_ip.unwrap())
    }

    /// Ends a test that passed: its models go, so that they do not cost others time. The namespace stays.
    pub async fn done(self) {
        let models: Api<ModelDeployment> = self.api();
        models
            .delete_collection(&DeleteParams::background(), &ListParams::default())
            .await
            .unwrap();
        let deployments: Api<Deployment> = self.api();
        deployments
            .delete_collection(&DeleteParams::background(), &ListParams::default())
            .await
            .unwrap();
    }
}

/// Waits until an object is so.
pub async fn until<K>(api: &Api<K>, name: &str, what: &str, is_so: impl Fn(&K) -> bool) -> K
where
    K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned + Send + 'static,
{
    let condition = |object: Option<&K>| object.is_some_and(&is_so);
    if let Ok(object) = timeout(PATIENCE, await_condition(api.clone(), name, condition)).await {
        return object.expect("it can be watched").expect("the condition saw it");
    }
    let last = api.get_opt(name).await.unwrap().map(|mut object| {
        object.managed_fields_mut().clear();
        serde_json::to_string_pretty(&object).unwrap()
    });
    panic!(
        "gave up waiting for {} {name} {what}; it is {}",
        K::kind(&()),
        last.unwrap_or("gone".into())
    );
}

/// Waits until there is no object of this name.
pub async fn gone<K>(api: &Api<K>, name: &str)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let gone = timeout(
        PATIENCE,
        await_condition(api.clone(), name, |object: Option<&K>| object.is_none()),
    )
    .await;
    gone.unwrap_or_else(|_| panic!("gave up waiting for {} {name} to go", K::kind(&())))
        .expect("it can be watched");
}

/// For what no watch tells: asks again and again.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        let mut pause = tokio::time::interval(Duration::from_millis(200));
        loop {
            pause.tick().await;
            if let Some(found) = look().await {
                return found;
            }
        }
    };
    timeout(PATIENCE, asking)
        .await
        .unwrap_or_else(|_| panic!("gave up waiting for {what}"))
}

/// Status, reason and message of a model's condition `Ready`.
pub fn ready(model: &ModelDeployment) -> (String, String, String) {
    let conditions = model
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    let ready = conditions
        .into_iter()
        .flatten()
        .find(|condition| condition.type_ == "Ready");
    // What an older specification was told is not about this one.
    let ready = ready.filter(|ready| ready.observed_generation == model.metadata.generation);
    ready.map_or_else(Default::default, |ready| {
        (ready.status.clone(), ready.reason.clone(), ready.message.clone())
    })
}

/// The digest that serves.
pub fn serving(model: &ModelDeployment) -> Option<String> {
    Some(model.status.as_ref()?.serving.as_ref()?.digest.to_string())
}

/// The reason and the digest of what was asked for and does not serve.
pub fn candidate(model: &ModelDeployment) -> Option<(String, Option<String>)> {
    let candidate = model.status.as_ref()?.candidate.as_ref()?;
    Some((
        candidate.reason.clone(),
        candidate.digest.map(|digest| digest.to_string()),
    ))
}

/// Whether a pod is ready and not about to go.
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    ready && pod.metadata.deletion_timestamp.is_none()
}

/// The uids of pods, in order.
pub fn uids(pods: &[Pod]) -> Vec<String> {
    let mut uids: Vec<_> = pods.iter().map(|pod| pod.uid().unwrap()).collect();
    uids.sort();
    uids
}
