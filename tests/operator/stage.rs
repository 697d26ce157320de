//! Runs operators, and gives each test a namespace, a policy and words for what it waits for.
//! Nothing here sleeps: everything waits on a watch, with a deadline that says what never happened.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    net::SocketAddr,
    path::Path,
    sync::{Mutex, OnceLock},
    thread::JoinHandle,
    time::Duration,
};

use futures::StreamExt as _;
use k8s_openapi::{
    api::{apps::v1::Deployment, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::Condition,
};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{ListParams, Patch, PatchParams, PostParams},
    client::ClientBuilder,
    core::NamespaceResourceScope,
    runtime::{WatchStreamExt as _, watcher},
};
use probity::{
    api::v1alpha1::{ArtifactVerification, ClusterDeploymentPolicy, ModelDeployment, TrustRoot},
    artifact::oci::HostPolicy,
    controller,
    evidence::{Digest, Reference},
    operator::{MakeJudge, Settings, run},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::{
    sync::{OnceCell, oneshot},
    time::timeout,
};

pub use crate::testbed::apply;
use crate::{artifacts::release_pem, fault_proxy::FaultProxy, testbed};

use super::rights::{Recorder, Requests};

/// How long anything may take on a machine that does much else.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// The operator's own image, as it would be told.
pub const FETCH_IMAGE: &str =
    "registry.example/probity@sha256:00000000000000000000000000000000000000000000000000000000000000f0";
const SERVER_IMAGE: &str =
    "registry.example/servers/onnx@sha256:000000000000000000000000000000000000000000000000000000000000005e";
/// A host that no operator here may ask.
pub const FOREIGN: &str = "127.0.0.1:9";

/// An operator in a thread of its own; it ends, in order, when it is dropped.
pub struct Operator {
    /// Where `/livez` and so on are.
    pub admin: SocketAddr,
    /// What the Lease calls it.
    pub identity: String,
    /// What it asked the API server so far.
    pub requests: Requests,
    stop: Option<oneshot::Sender<End>>,
    thread: Option<JoinHandle<()>>,
}

/// How an operator ends.
#[derive(Debug, PartialEq)]
enum End {
    InOrder,
    /// As by `kill -9`: nothing is finished, nothing given back.
    Killed,
}

impl Operator {
    /// Starts one that speaks to this API server as the chart's account.
    pub fn start(kubeconfig: &Path, hosts: HostPolicy) -> Self {
        Self::start_auditing(kubeconfig, hosts, Duration::from_secs(300))
    }

    /// The same, that looks at all pods so often.
    pub fn start_auditing(kubeconfig: &Path, hosts: HostPolicy, audit_interval: Duration) -> Self {
        let kubeconfig = kubeconfig.to_owned();
        let admin = free_address();
        let identity = format!("operator-{}", admin.port());
        let requests = Requests::default();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn({
            let (requests, identity) = (requests.clone(), identity.clone());
            move || {
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(2)
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(async {
                    let client = operators_client(&kubeconfig, requests).await;
                    let settings = Settings {
                        controllers: controller::Settings {
                            fetch_image: FETCH_IMAGE.into(),
                            previous_images: Vec::new(),
                            hosts,
                            relay: None,
                            concurrency: 16,
                            audit_interval,
                            network: controller::NetworkSettings::default(),
                            canaries: None,
                            evaluations: Some("probity-evaluations".into()),
                            evaluations_at_once: 64,
                            reports: true,
                        },
                        admin_address: admin,
                        namespace: "probity-system".into(),
                        identity,
                        admission: None,
                    };
                    let (in_order, ordered) = oneshot::channel::<()>();
                    let killed = async {
                        // Also when the test that holds the other end is gone.
                        let end = stopped.await.unwrap_or(End::InOrder);
                        if end == End::InOrder {
                            let _ = in_order.send(());
                            std::future::pending::<()>().await;
                        }
                    };
                    let judge: Option<MakeJudge<Infallible>> = None;
                    let running = Box::pin(run(client, settings, judge, async {
                        let _ = ordered.await;
                    }));
                    tokio::select! {
                        ended = running => ended.expect("the operator runs"),
                        () = killed => {}
                    }
                });
                // Tasks it had started end with the runtime, wherever they are.
                runtime.shutdown_background();
            }
        });
        Self {
            admin,
            identity,
            requests,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// What it answers at this path: the status, and the text.
    pub async fn asks(&self, path: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.admin);
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        match client.get(url).send().await {
            Ok(answer) => (answer.status().as_u16(), answer.text().await.unwrap_or_default()),
            Err(error) => (0, error.to_string()),
        }
    }

    /// Asks until the answer has this status, and returns the text.
    pub async fn answers(&self, path: &str, status: u16) -> String {
        let asking = async {
            loop {
                let (found, text) = self.asks(path).await;
                if found == status {
                    return text;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(PATIENCE, asking)
            .await
            .unwrap_or_else(|_| panic!("{path} never answered {status}"))
    }

    /// Ends it and waits until it has.
    pub fn end(self) {
        self.ends(End::InOrder);
    }

    /// Ends it as by `kill -9`.
    pub fn kill(self) {
        self.ends(End::Killed);
    }

    fn ends(mut self, end: End) {
        self.stop.take().map(|stop| stop.send(end));
        self.thread
            .take()
            .unwrap()
            .join()
            .expect("the operator ends in order");
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.stop.take().map(|stop| stop.send(End::InOrder));
    }
}

/// An address that nobody listens on yet.
pub fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

/// A client with the operator's rights and no other, that writes down what it asks.
async fn operators_client(kubeconfig: &Path, requests: Requests) -> Client {
    ClientBuilder::try_from(testbed::operators_config(kubeconfig).await)
        .unwrap()
        .with_layer(&Recorder(requests))
        .build()
}

/// A client with every right.
pub async fn admin(kubeconfig: &Path) -> Client {
    Client::try_from(testbed::config(kubeconfig).await).unwrap()
}

/// Applies what the chart renders of rights, so that the operator has these and no other.
pub async fn grant(client: &Client) {
    // Reports need a kind that only one of these API servers has; what they take is tried there.
    grant_with(client, "reports.enabled=false,evaluation.enabled=true").await;
}

/// The same with this value of the chart.
pub async fn grant_with(client: &Client, value: &str) {
    let rendered = crate::artifacts::run(
        testbed::tool("helm", &["helm"])
            .args([
                "template",
                "probity",
                concat!(env!("CARGO_MANIFEST_DIR"), "/charts/probity"),
            ])
            .args([
                "--namespace",
                "probity-system",
                "--set",
                "image.repository=registry.example/probity",
            ])
            .args([
                "--set",
                "image.digest=sha256:00000000000000000000000000000000000000000000000000000000000000f0",
                // These operators serve no admission; what that takes is tried where it is served.
                "--set",
                "admission.enabled=false",
                "--set",
                value,
            ]),
    );
    let objects: Vec<Value> = serde_saphyr::from_multiple(&rendered).unwrap();
    apply(
        client,
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "probity-system"}}),
    )
    .await;
    for object in objects {
        if [
            "Namespace",
            "ServiceAccount",
            "ClusterRole",
            "ClusterRoleBinding",
            "Role",
            "RoleBinding",
        ]
        .contains(&object["kind"].as_str().unwrap_or(""))
        {
            apply(client, object).await;
        }
    }
}

/// Proxies before the registry that the operator may ask: made before it starts, for it is told once.
fn proxies() -> &'static Mutex<Vec<FaultProxy>> {
    static POOL: OnceLock<Mutex<Vec<FaultProxy>>> = OnceLock::new();
    POOL.get_or_init(|| Mutex::new((0..40).map(|_| FaultProxy::before(testbed::registry())).collect()))
}

/// A proxy before the registry that the operator may ask.
pub fn proxy() -> FaultProxy {
    shared_hosts();
    proxies()
        .lock()
        .unwrap()
        .pop()
        .expect("more proxies are needed: make the pool larger")
}

/// The registry that wants a password.
pub fn guarded_registry() -> &'static str {
    static SERVER: OnceLock<(testbed::Server, tempfile::NamedTempFile)> = OnceLock::new();
    let (server, _) = SERVER.get_or_init(|| {
        let passwords = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(passwords.path(), super::secrets::HTPASSWD).unwrap();
        let file = passwords.path().display().to_string();
        (
            testbed::Server::start("registry", &[], &[("REGISTRY_HTPASSWD", &file)]).unwrap(),
            passwords,
        )
    });
    &server.ready
}

/// The hosts that operators here may ask over plain HTTP.
pub fn shared_hosts() -> HostPolicy {
    static HOSTS: OnceLock<HostPolicy> = OnceLock::new();
    HOSTS
        .get_or_init(|| {
            let mut names: BTreeSet<String> = proxies()
                .lock()
                .unwrap()
                .iter()
                .map(FaultProxy::address)
                .collect();
            names.extend([testbed::registry().to_owned(), guarded_registry().to_owned()]);
            HostPolicy {
                plain_http: names.iter().map(|host| host.parse().unwrap()).collect(),
                ..HostPolicy::default()
            }
        })
        .clone()
}

/// The operator that most tests share.
pub async fn operator() -> &'static Operator {
    static OPERATOR: OnceCell<Operator> = OnceCell::const_new();
    OPERATOR
        .get_or_init(|| async {
            let client = testbed::client().await;
            grant(&client).await;
            testbed::install_policyapi(&client, testbed::kubeconfig()).await;
            let operator = Operator::start(testbed::kubeconfig(), shared_hosts());
            operator.answers("/readyz", 200).await;
            operator
        })
        .await
}

/// A governed namespace, an operator that looks after it, and a client with every right.
pub struct Stage {
    pub client: Client,
    pub namespace: String,
    pub operator: &'static Operator,
}

impl Stage {
    /// With a trust root that has `release`, and a policy that wants the signature of `release`; both are named like the
    /// namespace.
    pub async fn new() -> Self {
        let stage = Self::bare().await;
        stage.trust(&[("release", release_pem())]).await;
        stage.policy(json!({})).await;
        stage
    }

    /// With no trust root and no policy.
    pub async fn bare() -> Self {
        let operator = operator().await;
        let client = testbed::client().await;
        let namespace = testbed::governed_namespace(&client).await;
        Self {
            client,
            namespace,
            operator,
        }
    }

    pub async fn trust(&self, keys: &[(&str, &str)]) {
        apply(&self.client, trust_root(&self.namespace, keys)).await;
    }

    /// The policy, with this merged into its `model` section.
    pub async fn policy(&self, more: Value) {
        apply(&self.client, policy(&self.namespace, &self.namespace, more)).await;
    }

    /// A model that asks for this reference.
    pub async fn model(&self, name: &str, reference: &str) {
        self.model_with(name, reference, json!({})).await;
    }

    /// A model with this merged into its source.
    pub async fn model_with(&self, name: &str, reference: &str, more: Value) {
        apply(&self.client, model(&self.namespace, name, reference, more)).await;
    }

    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Waits until the model's status is as wanted.
    pub async fn until(
        &self,
        name: &str,
        what: &str,
        holds: impl Fn(&ModelDeployment) -> bool,
    ) -> ModelDeployment {
        until(&self.api(), name, what, holds).await
    }

    /// Waits until `Ready` has this reason, and returns its message.
    pub async fn reason(&self, name: &str, reason: &str) -> String {
        let found = self
            .until(name, &format!("Ready has the reason {reason}"), |model| {
                condition(model, "Ready").is_some_and(|ready| ready.reason == reason)
            })
            .await;
        let ready = condition(&found, "Ready").unwrap();
        assert_eq!(ready.status == "True", reason == "Serving", "{ready:?}");
        ready.message.clone()
    }

    /// Plays the Deployment controller: once the template runs this content, all its pods come up.
    pub async fn roll_out(&self, name: &str, digest: Digest) {
        let deployment = self.deployed(name, digest).await;
        self.set_rollout(&deployment, 1, 1, 1).await;
    }

    /// Waits until the Deployment's template runs this content.
    pub async fn deployed(&self, name: &str, digest: Digest) -> Deployment {
        until(
            &self.api::<Deployment>(),
            name,
            &format!("the Deployment runs {digest}"),
            |deployment| runs(deployment) == Some(digest),
        )
        .await
    }

    /// Plays the Deployment controller: so many pods there are, are of the template, are available.
    pub async fn set_rollout(&self, deployment: &Deployment, replicas: i32, updated: i32, available: i32) {
        let status = json!({"status": {
            "observedGeneration": deployment.metadata.generation,
            "replicas": replicas, "updatedReplicas": updated, "availableReplicas": available, "readyReplicas": available
        }});
        self.api::<Deployment>()
            .patch_status(
                &deployment.name_any(),
                &PatchParams::default(),
                &Patch::Merge(status),
            )
            .await
            .unwrap();
    }

    /// Brings a model to serving this content.
    pub async fn serve(&self, name: &str, reference: &Reference) {
        self.model(name, &reference.to_string()).await;
        self.roll_out(name, reference.digest().unwrap()).await;
        self.reason(name, "Serving").await;
    }

    /// Merges this into the model's specification.
    pub async fn change(&self, name: &str, spec: Value) {
        self.api::<ModelDeployment>()
            .patch(
                name,
                &PatchParams::default(),
                &Patch::Merge(json!({"spec": spec})),
            )
            .await
            .unwrap();
    }

    /// The model asks for another reference.
    pub async fn ask(&self, name: &str, reference: &str) {
        self.change(
            name,
            json!({"model": {"source": {"oci": {"reference": reference}}}}),
        )
        .await;
    }

    pub async fn verifications(&self) -> Vec<ArtifactVerification> {
        self.api().list(&ListParams::default()).await.unwrap().items
    }

    /// Waits until an Event with this reason tells of this model.
    pub async fn event(&self, name: &str, reason: &str) -> Event {
        until_any(
            &self.api::<Event>(),
            &format!("an Event {reason} about {name}"),
            |event| {
                event.reason.as_deref() == Some(reason)
                    && event.regarding.as_ref().and_then(|object| object.name.as_deref()) == Some(name)
            },
        )
        .await
    }

    /// The names of everything of a kind in the namespace.
    pub async fn names<K>(&self) -> Vec<String>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        self.api::<K>()
            .list(&ListParams::default())
            .await
            .unwrap()
            .iter()
            .map(kube::ResourceExt::name_any)
            .collect()
    }

    pub async fn create<K>(&self, object: Value) -> K
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + serde::Serialize
            + std::fmt::Debug,
    {
        let object: K = serde_json::from_value(object).unwrap();
        self.api::<K>()
            .create(&PostParams::default(), &object)
            .await
            .unwrap()
    }

    /// Merges this into the stage's policy.
    pub async fn change_policy(&self, change: Value) {
        self.policies()
            .patch(&self.namespace, &PatchParams::default(), &Patch::Merge(change))
            .await
            .unwrap();
    }

    pub fn policies(&self) -> Api<ClusterDeploymentPolicy> {
        Api::all(self.client.clone())
    }

    pub fn trust_roots(&self) -> Api<TrustRoot> {
        Api::all(self.client.clone())
    }
}

pub fn trust_root(name: &str, keys: &[(&str, &str)]) -> Value {
    let keys: Vec<_> = keys
        .iter()
        .map(|(name, pem)| json!({"name": name, "publicKey": pem}))
        .collect();
    json!({
        "apiVersion": "probity.dev/v1alpha1",
        "kind": "TrustRoot",
        "metadata": {"name": name},
        "spec": {"keys": keys}
    })
}

/// A policy for one namespace that wants the signature of `release`, a key of the trust root of the policy's name.
pub fn policy(name: &str, namespace: &str, more: Value) -> Value {
    let mut policy = json!({
        "apiVersion": "probity.dev/v1alpha1",
        "kind": "ClusterDeploymentPolicy",
        "metadata": {"name": name},
        "spec": {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "signers": [{"name": "release", "key": {"trustRoot": name, "keys": ["release"]}}],
            "model": {"signers": ["release"]}
        }
    });
    merge(&mut policy["spec"]["model"], more);
    policy
}

pub fn model(namespace: &str, name: &str, reference: &str, more: Value) -> Value {
    let mut model = json!({
        "apiVersion": "probity.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "model": {"source": {"oci": {"reference": reference}}},
            "server": {"image": SERVER_IMAGE, "protocol": "OpenInference", "port": 8080, "replicas": 1}
        }
    });
    merge(&mut model["spec"]["model"]["source"]["oci"], more);
    model
}

fn merge(object: &mut Value, more: Value) {
    let Value::Object(more) = more else {
        panic!("not an object")
    };
    object.as_object_mut().unwrap().extend(more);
}

/// The condition of this type.
pub fn condition<'a>(model: &'a ModelDeployment, kind: &str) -> Option<&'a Condition> {
    let conditions = model.status.as_ref()?.conditions.as_ref()?;
    // What it says of an earlier specification is not what is waited for.
    conditions.iter().find(|condition| {
        condition.type_ == kind && condition.observed_generation == model.metadata.generation
    })
}

/// What a Deployment's fetch container fetches.
pub fn runs(deployment: &Deployment) -> Option<Digest> {
    let pod = deployment.spec.as_ref()?.template.spec.as_ref()?;
    let args = pod.init_containers.as_ref()?.first()?.args.as_ref()?;
    args.get(2)?.parse::<Reference>().ok()?.digest()
}

/// What serves, as the status says it.
pub fn serves(model: &ModelDeployment) -> Option<Digest> {
    Some(model.status.as_ref()?.serving.as_ref()?.digest)
}

/// What is asked for and does not serve, as the status says it.
pub fn candidate(model: &ModelDeployment) -> Option<Digest> {
    model.status.as_ref()?.candidate.as_ref()?.digest
}

/// A namespace, governed or not.
pub fn bank(governed: bool) -> Value {
    let labels = json!({"probity.dev/governed": governed.to_string()});
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "bank", "labels": labels}})
}

/// What can be waited for, and shown when it does not come.
pub trait Watched:
    Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + serde::Serialize + Send + 'static
{
}

impl<K> Watched for K where
    K: Resource<DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned
        + serde::Serialize
        + Send
        + 'static
{
}

/// Waits until the object of this name is as wanted.
pub async fn until<K: Watched>(api: &Api<K>, name: &str, what: &str, holds: impl Fn(&K) -> bool) -> K {
    until_within(PATIENCE, api, name, what, holds).await
}

/// The same, for what takes longer than a look or two.
pub async fn until_within<K: Watched>(
    patience: Duration,
    api: &Api<K>,
    name: &str,
    what: &str,
    holds: impl Fn(&K) -> bool,
) -> K {
    let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
    wait(patience, api, only, &format!("{name}: {what}"), holds).await
}

/// Waits until some object of the kind is as wanted.
pub async fn until_any<K: Watched>(api: &Api<K>, what: &str, holds: impl Fn(&K) -> bool) -> K {
    wait(PATIENCE, api, watcher::Config::default(), what, holds).await
}

async fn wait<K: Watched>(
    patience: Duration,
    api: &Api<K>,
    config: watcher::Config,
    what: &str,
    holds: impl Fn(&K) -> bool,
) -> K {
    let mut last = None;
    let seeing = async {
        let mut objects = watcher::watcher(api.clone(), config)
            .default_backoff()
            .applied_objects()
            .boxed();
        while let Some(object) = objects.next().await {
            let Ok(object) = object else { continue };
            if holds(&object) {
                return object;
            }
            last = Some(object);
        }
        panic!("the watch ended");
    };
    let seen = timeout(patience, seeing).await;
    seen.unwrap_or_else(|_| {
        panic!(
            "never happened: {what}; last seen:\n{}",
            serde_json::to_string_pretty(&last).unwrap_or_default()
        )
    })
}

/// Waits until no object has this name, or one with another uid.
pub async fn until_gone<K>(api: &Api<K>, object: &K)
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + 'static,
{
    let (name, uid) = (object.name_any(), object.uid().unwrap());
    let gone = kube::runtime::wait::await_condition(
        api.clone(),
        &name,
        kube::runtime::wait::conditions::is_deleted(&uid),
    );
    timeout(PATIENCE, gone)
        .await
        .unwrap_or_else(|_| panic!("{name} never went"))
        .unwrap();
}
