//! The reconcilers, one folder a kind: gather → evaluate → plan → apply → status, the same words in each.
//! They write only through [`crate::cluster`]; what decides takes no client.

#![expect(
    clippy::disallowed_types,
    reason = "the edge: here the client is made, gathered with, and handed to cluster"
)]

mod adoption;
pub mod artifact_verification;
mod audit;
pub mod condition;
pub mod evaluation;
pub mod excess;
mod gates;
mod held;
pub mod isolation;
pub mod metrics;
pub mod model_deployment;
mod notes;
pub mod owners;
pub mod pages;
pub mod policy;
mod recorders;
mod report;
mod retry;
pub mod robustness;
pub mod roles;
mod satisfied;
mod served;
pub mod source;
pub mod trust_root;
pub mod world;

use std::{
    fmt::Debug,
    future::{Ready, ready},
    sync::Arc,
    time::Duration,
};

use futures::{FutureExt as _, Stream, StreamExt as _, stream};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ObjectReference, Secret};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    core::{ObjectMeta, Status},
    runtime::{
        Controller,
        controller::{self, Action, Config},
        events::{Event, EventType, Reporter},
        reflector::ObjectRef,
        utils::Backoff,
        watcher,
    },
};
use serde::de::DeserializeOwned;
use tokio::{sync::watch, time::timeout};

use crate::{
    api::v1alpha1::{ModelDeployment, ModelDeploymentStatus},
    artifact::oci,
    cluster::{Applier, ApplyError, CreateError, EvictError, GateError, StatusError},
    evidence::{Failure, Reason},
    workload::{PodSettings, RelaySettings},
};

pub use crate::workload::{Cidr, NetworkSettings};

use self::{
    audit::{Audits, Beyond, Excesses},
    excess::news,
    isolation::{ClusterPolicies, Probes},
    metrics::Metrics,
    model_deployment::Looks,
    notes::notes,
    owners::Owners,
    policy::TallyView,
    recorders::Recorders,
    report::Touched,
    retry::Retry,
    world::{Guarded, WorldView},
};

/// What every reconciler needs. The client is for gathering and for [`crate::cluster`], never for deciding.
pub struct Context {
    client: Client,
    applier: Applier,
    recorders: Recorders,
    settings: Settings,
    registry: oci::Client,
    world: WorldView,
    metrics: Arc<Metrics>,
    retry: Retry,
    looks: Arc<Looks>,
    owners: Owners,
    tally: TallyView,
    audits: Audits,
    excesses: Excesses,
    probes: Probes,
    cluster_policies: ClusterPolicies,
    touched: Touched,
}

/// What the operator was told when it started.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The operator's own image by digest: the init container that fetches runs from it.
    pub fetch_image: String,
    /// The same of earlier releases, whose pods still run.
    pub previous_images: Vec<String>,
    /// Which registries may be asked, and how.
    pub hosts: oci::HostPolicy,
    /// Whom the pods of models ask in the registries' place.
    pub relay: Option<RelaySettings>,
    /// How many objects of a kind are reconciled at once.
    pub concurrency: u16,
    /// How long after one audit of all pods began the next does.
    pub audit_interval: Duration,
    /// What is known of the network that models are on.
    pub network: NetworkSettings,
    /// The namespace in which a canary on each node shows whether NetworkPolicies are enforced; none: nobody looks.
    pub canaries: Option<String>,
    /// The namespace in which models are measured; none: nobody does.
    pub evaluations: Option<String>,
    /// How many models are measured at once.
    pub evaluations_at_once: usize,
    /// Whether what is found is written as Reports of `openreports.io` too, where that API is served.
    pub reports: bool,
}

impl Settings {
    /// The part that every pod of a model is built with.
    pub fn pods(&self) -> PodSettings {
        PodSettings {
            fetch_image: self.fetch_image.clone(),
            previous_images: self.previous_images.clone(),
            host_arguments: self.hosts.arguments(),
            relay: self.relay.clone(),
        }
    }
}

impl Context {
    /// Puts together what the reconcilers share.
    pub fn new(
        client: Client,
        settings: Settings,
        registry: oci::Client,
        world: WorldView,
        tally: TallyView,
        metrics: Arc<Metrics>,
    ) -> Self {
        let reporter = Reporter {
            controller: "probity.dev/operator".into(),
            instance: None,
        };
        Self {
            recorders: Recorders::new(client.clone(), reporter),
            applier: Applier::default(),
            retry: Retry::default(),
            looks: Arc::default(),
            owners: Owners::default(),
            audits: Audits::default(),
            excesses: Excesses::default(),
            probes: Probes::default(),
            cluster_policies: ClusterPolicies::default(),
            touched: Touched::default(),
            client,
            settings,
            registry,
            world,
            tally,
            metrics,
        }
    }

    fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where the operator looks at the clock"
    )]
    #[expect(clippy::unused_self, reason = "reads as: the time in this context")]
    fn now(&self) -> Timestamp {
        // Kubernetes keeps whole seconds; a finer one would differ from what is read back, and be written again.
        Timestamp::from_second(Timestamp::now().as_second()).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// A reconciliation was carried out: should a later one fail, its pauses start over.
    fn succeeded<K: Resource<DynamicType = ()>>(&self, object: &K) {
        self.retry.forget(&error_key(object));
        self.metrics.succeeded(&K::kind(&()));
    }

    /// A client for the registry with the pull secret's credentials, if one is named. The secret is read each time: watching
    /// would need rights over every secret.
    async fn registry(&self, namespace: &str, pull_secret: Option<&str>) -> Result<oci::Client, Failure> {
        let Some(name) = pull_secret else {
            return Ok(self.registry.clone());
        };
        let secrets: Api<Secret> = self.api(namespace);
        let secret = secrets.get_opt(name).await.map_err(|error| {
            Failure::new(
                Reason::CredentialsMissing,
                format!("cannot read the pull secret {name}: {error}"),
            )
        })?;
        let secret = secret.ok_or_else(|| {
            let message = format!("there is no Secret {name} in namespace {namespace}: create it with `kubectl create secret docker-registry {name} …`");
            Failure::new(Reason::CredentialsMissing, message)
        })?;
        Ok(self.registry.with_credentials(docker_config(name, &secret)?))
    }

    /// Tells what is news in the status of a model that was written just now, and of what its account was `found` to hold.
    async fn tell(
        &self,
        model: &ModelDeployment,
        old: Option<&ModelDeploymentStatus>,
        new: &ModelDeploymentStatus,
        found: Option<&[Beyond]>,
    ) {
        self.touched.touch(&model.namespace().unwrap_or_default());
        for note in notes(old, new) {
            self.publish(model, note).await;
        }
        for (note, binding) in news(found, old) {
            self.publish_about(model, note, Some(binding)).await;
        }
    }

    async fn publish<K: Resource<DynamicType = ()>>(&self, object: &K, note: Note) {
        self.publish_about(object, note, None).await;
    }

    /// The same, about another object as well. The same sentence again is counted and not told anew.
    async fn publish_about<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        note: Note,
        secondary: Option<ObjectReference>,
    ) {
        let message = short_note(note.message);
        let uid = object.meta().uid.clone().unwrap_or_default();
        let recorder = self.recorders.of(uid, &note.reason, &message);
        let event = Event {
            type_: if note.warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: note.reason,
            note: Some(message),
            action: note.action.into(),
            secondary,
        };
        if let Err(error) = recorder.publish(&event, &object.object_ref(&())).await {
            tracing::warn!(%error, object = object.meta().name, "cannot publish an event");
        }
    }
}

/// The longest start of a sentence that the API server takes as a note of an Event.
fn short_note(mut message: String) -> String {
    let end = (0..=message.len().min(1024))
        .rev()
        .find(|end| message.is_char_boundary(*end));
    message.truncate(end.unwrap_or(0));
    message
}

/// The credentials in a pull secret.
fn docker_config(name: &str, secret: &Secret) -> Result<oci::Credentials, Failure> {
    let config = secret
        .data
        .as_ref()
        .and_then(|data| data.get(".dockerconfigjson"));
    oci::Credentials::from_pull_secret(name, secret.type_.as_deref(), config.map(|bytes| &*bytes.0))
}

/// An Event to publish: what happened, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Whether somebody should look.
    pub warning: bool,
    /// The stable code.
    pub reason: String,
    /// What the operator did.
    pub action: &'static str,
    /// One sentence.
    pub message: String,
}

/// A reconciliation could not be carried out. Waiting and refusing are no errors: they are in the status.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading from the API server failed.
    #[error("cannot read {what}")]
    Gather {
        /// What was to be read.
        what: &'static str,
        /// The API server's answer.
        #[source]
        source: kube::Error,
    },
    /// Writing an object failed.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// Making an object failed.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// Writing a status failed.
    #[error(transparent)]
    Status(#[from] StatusError),
    /// Evicting a pod failed.
    #[error(transparent)]
    Evict(#[from] EvictError),
    /// What a pod goes back to could not be read.
    #[error(transparent)]
    Unread(#[from] owners::Unread),
    /// Setting a pod's readiness gate failed.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// The object is not as this version knows its kind: its definition is another version's, or was when it was written.
    #[error("this version cannot read it, and leaves it alone: correct it, or delete it ({0})")]
    Unreadable(String),
}

impl Error {
    /// The class of the failure, as metric label; it also decides when to try again.
    pub fn category(&self) -> &'static str {
        let cause = match self {
            Self::Gather { source, .. } => source,
            Self::Apply(error) => error.cause(),
            Self::Create(error) => error.cause(),
            Self::Status(error) => error.cause(),
            Self::Evict(error) => error.cause(),
            Self::Unread(_) => return "transient",
            Self::Gate(error) => error.cause(),
            Self::Unreadable(_) => return "unreadable",
        };
        match cause {
            kube::Error::Api(status) if status.is_conflict() => "conflict",
            kube::Error::Api(status) if is_terminating(status) => "gone",
            kube::Error::Api(status) if status.is_forbidden() => "forbidden",
            kube::Error::Api(status) if status.is_invalid() => "invalid",
            // The object went away while it was looked at.
            kube::Error::Api(status) if status.is_not_found() => "gone",
            _ => "transient",
        }
    }
}

/// Whether nothing can be made because the namespace is being deleted, which is answered as forbidden.
fn is_terminating(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes
        .into_iter()
        .any(|cause| cause.reason == "NamespaceTerminating")
}

/// Runs every reconciler until `stop` resolves for each; what is under way then is finished.
pub async fn reconcile<S>(client: Client, context: Arc<Context>, stop: impl Fn() -> S)
where
    S: Future<Output = ()> + Send + Sync + 'static,
{
    tokio::join!(
        trust_root::run(client.clone(), context.clone(), stop()),
        policy::run(client.clone(), context.clone(), stop().shared()),
        source::run(client.clone(), context.clone(), stop()),
        adoption::images::run(client.clone(), context.clone(), stop()),
        artifact_verification::run(client.clone(), context.clone(), stop()),
        audit::run(context.clone(), stop()),
        isolation::run(context.clone(), stop()),
        isolation::cluster::run(context.clone(), stop()),
        report::run(context.clone(), stop()),
        robustness::run(client.clone(), context.clone(), stop()),
        evaluation::run(client.clone(), context.clone(), stop()),
        model_deployment::run(client, context, stop()),
    );
}

/// When to look at an object that changes with nothing but the clock: at `until`, and after `longest` at the latest.
fn next_look(until: Option<Timestamp>, now: Timestamp, longest: Duration) -> Action {
    let Some(until) = until else {
        return Action::await_change();
    };
    let left = Duration::try_from(until.duration_since(now)).unwrap_or(Duration::ZERO);
    Action::requeue(left.min(longest))
}

/// The pauses of a controller after an error of one of its watches, which stop all of them. After the API server was away
/// each has an error or two: with the growing pauses that one watch alone would deserve, no model would be looked at for
/// minutes.
struct BetweenTries;

impl Iterator for BetweenTries {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(retry::jittered(Duration::from_secs(1)))
    }
}

impl Backoff for BetweenTries {
    fn reset(&mut self) {}
}

/// The controller of one kind, the same for every kind, and who has to be told what it meets. An object that cannot be read
/// harms only itself: in a list without the guard it would keep all others of its kind from being seen.
fn controller<K>(client: Client, context: &Context) -> (Controller<Guarded<K>>, Observer)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (failed, failures) = watch::channel(());
    let controller = Controller::new(Api::<Guarded<K>>::all(client), watcher::Config::default())
        .with_config(Config::default().concurrency(context.settings.concurrency))
        .trigger_backoff(BetweenTries)
        .reconcile_all_on(once_over(failures));
    (controller, Observer { failed })
}

/// After a failure no other came for so long: it is over.
const OVER: Duration = Duration::from_secs(3);
/// After a failure, however many come.
const AT_LAST: Duration = Duration::from_secs(30);

/// An item after each series of failures.
///
/// The pause after one may fall between the news of an object and the end of the list that has it. Whoever is to look at the
/// object then does not find it, and would not hear of it again.
fn once_over(failures: watch::Receiver<()>) -> impl Stream<Item = ()> + Send + 'static {
    stream::unfold(failures, |mut failures| async move {
        failures.changed().await.ok()?;
        let series = async { while let Ok(Ok(())) = timeout(OVER, failures.changed()).await {} };
        let _ = timeout(AT_LAST, series).await;
        Some(((), failures))
    })
}

/// The object, if this version can read it; else the error policy says which one it is, and that is all.
fn readable<K>(object: &Guarded<K>) -> Result<&K, Error> {
    object
        .0
        .as_ref()
        .map_err(|invalid| Error::Unreadable(invalid.error.clone()))
}

/// When to try again after an error: conflicts soon, the rest with growing pauses.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the signature that a controller wants"
)]
fn error_policy<K>(object: Arc<K>, error: &Error, context: Arc<Context>) -> Action
where
    K: Resource<DynamicType = ()>,
{
    let category = error.category();
    context.metrics.failed(&K::kind(&()), category);
    match category {
        "conflict" => {
            tracing::info!(kind = %K::kind(&()), object = %name(object.meta()), "somebody else wrote first; looking again");
            Action::requeue(Duration::from_secs(1))
        }
        "gone" => Action::await_change(),
        _ => {
            tracing::warn!(kind = %K::kind(&()), object = %name(object.meta()), category, %error, cause = cause(error), "reconciling failed");
            Action::requeue(context.retry.failed(&error_key(&*object), None))
        }
    }
}

/// What brought the error about, for a log; nothing where it does not say.
fn cause(error: &dyn std::error::Error) -> String {
    error.source().map(ToString::to_string).unwrap_or_default()
}

/// Where the pauses after errors of one object are kept; what could not be read of an artifact has pauses of its own.
fn error_key<K: Resource>(object: &K) -> String {
    format!("error/{}", object.meta().uid.as_deref().unwrap_or_default())
}

/// Hears what a controller met beside its reconcilers' errors.
struct Observer {
    failed: watch::Sender<()>,
}

impl Observer {
    /// Runs a controller until `stop` resolves, with what is the same for all: the error policy, and this observer.
    async fn run<K, F>(
        self,
        controller: Controller<Guarded<K>>,
        reconcile: impl FnMut(Arc<Guarded<K>>, Arc<Context>) -> F + Send,
        context: Arc<Context>,
        stop: impl Future<Output = ()> + Send + Sync + 'static,
    ) where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
        F: Future<Output = Result<Action, Error>> + Send + 'static,
    {
        controller
            .graceful_shutdown_on(stop)
            .run(reconcile, error_policy, context)
            .for_each(|result| self.observe(result))
            .boxed()
            .await;
    }

    /// Says it: a watch that is refused or broken stops nothing, and would otherwise stop in silence what depends on it.
    fn observe<K, Q>(&self, result: Result<(ObjectRef<K>, Action), controller::Error<Error, Q>>) -> Ready<()>
    where
        K: Resource<DynamicType = ()>,
        Q: std::error::Error + 'static,
    {
        match result {
            // Errors of reconcilers are told by the error policy; an object that is gone is no error.
            Ok(_) | Err(controller::Error::ReconcilerFailed(..) | controller::Error::ObjectNotFound(_)) => {}
            Err(error) => {
                tracing::warn!(kind = %K::kind(&()), %error, cause = cause(&error), "a watch failed; trying again");
                self.failed.send_replace(());
            }
        }
        ready(())
    }
}

fn name(meta: &ObjectMeta) -> String {
    match (&meta.namespace, &meta.name) {
        (Some(namespace), Some(name)) => format!("{namespace}/{name}"),
        (None, Some(name)) => name.clone(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn everything_is_looked_at_again_once_failures_are_over() {
        use futures::StreamExt as _;
        use tokio::time::{Instant, sleep};

        let (failed, failures) = watch::channel(());
        let mut over = Box::pin(once_over(failures));
        assert!(timeout(AT_LAST * 2, over.next()).await.is_err(), "nothing failed");
        let began = Instant::now();
        let failing = async {
            for _ in 0..5 {
                failed.send_replace(());
                sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::join!(failing, over.next());
        let took = began.elapsed();
        assert!(
            took >= Duration::from_secs(7) && took < Duration::from_secs(8),
            "{took:?}"
        );
        let failing = async {
            loop {
                failed.send_replace(());
                sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::select! {
            () = failing => {}
            again = timeout(AT_LAST + OVER, over.next()) => assert_eq!(again, Ok(Some(())), "a watch that always fails"),
        }
    }

    #[test]
    fn a_note_is_cut_between_characters() {
        assert_eq!(short_note("short".into()), "short");
        assert_eq!(short_note("a".repeat(2000)).len(), 1024);
        assert_eq!(short_note("…".repeat(1000)).len(), 1023);
    }
}
