//! Assembles the operator: client, world, controllers, admission, the admin server, and an orderly end.
//! Nothing else; what each part does is in its own file.

#![expect(
    clippy::disallowed_types,
    reason = "the edge: here the client is made, gathered with, and handed to cluster"
)]

mod admin;
mod door;
mod lead;
mod readiness;
mod relay;

use std::{net::SocketAddr, sync::Arc};

use futures::{FutureExt as _, future::BoxFuture};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use prometheus_client::registry::Registry;
use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
};

use crate::{
    admission::{Gate, Judge, Limits, Records},
    artifact::oci,
    controller::{
        self, Context,
        metrics::Metrics,
        world::{WorldView, watch_world},
    },
    evidence::Failure,
    workload::PodSettings,
};

use door::Door;
use readiness::{Heartbeat, Readiness};
pub use relay::{RelayKeyError, relay_key};

/// The Lease that the leader holds, in the operator's namespace.
pub const LEASE: &str = "probity-operator";

/// What the operator was told when it started.
#[derive(Debug, Clone)]
pub struct Settings {
    /// For the reconcilers.
    pub controllers: controller::Settings,
    /// Where `/livez`, `/readyz` and `/metrics` are served.
    pub admin_address: SocketAddr,
    /// The operator's own namespace.
    pub namespace: String,
    /// Which replica this is: no other has the same.
    pub identity: String,
    /// How admission is served; none: it is not.
    pub admission: Option<Admission>,
}

/// How admission is served.
#[derive(Debug, Clone)]
pub struct Admission {
    /// Where.
    pub address: SocketAddr,
    /// The host name by which the API server asks: `SERVICE.NAMESPACE.svc`.
    pub host: String,
    /// The Secret with `tls.crt` and `tls.key`, in the operator's namespace.
    pub secret: String,
    /// The webhook configurations whose `caBundle` is ours, by name; then the Secret is ours too. None: somebody else
    /// looks after both.
    pub webhooks: Option<String>,
    /// How much anybody may ask of it.
    pub limits: Limits,
}

/// Makes whoever decides, from what the operator reads with and what it has read.
pub type MakeJudge<J> = Box<dyn FnOnce(&Client, &WorldView) -> J + Send>;

/// The judge that is served: policy's decision, on what the watches have read.
pub fn gate(settings: PodSettings) -> MakeJudge<Gate> {
    Box::new(|client, world| {
        let (records, watching) = Records::watch(client);
        // It ends with the runtime: what is asked meanwhile is read from the API server.
        tokio::spawn(watching);
        Gate::new(world.clone(), records, settings, now)
    })
}

/// The operator could not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// Nobody can be told how it is, or nobody can ask.
    #[error("cannot listen on the {what} address {address}")]
    Listen {
        /// Which of them.
        what: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// No registry can be asked.
    #[error("cannot ask registries")]
    Registry(#[source] Failure),
    /// No TLS can be served.
    #[error("cannot serve TLS")]
    Tls(#[from] rustls::Error),
    /// Admission was asked for and nobody decides.
    #[error("--admission-address: this build has nobody who could judge; leave it out")]
    NoJudge,
    /// Another replica may lead by now.
    #[error(
        "the Lease {LEASE} was lost: it could not be renewed in time, or somebody else took it; ending, so that nothing goes on that another replica does now"
    )]
    LeaseLost,
}

/// Runs the operator until `stop` resolves; what is under way then is finished first.
pub async fn run<J: Judge>(
    client: Client,
    settings: Settings,
    judge: Option<MakeJudge<J>>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), OperatorError> {
    let admin_listener = listen("admin", settings.admin_address).await?;
    let mut registry = Registry::with_prefix("probity");
    let metrics = Arc::new(Metrics::register(&mut registry));
    let (world, watching) = watch_world(&client);
    let (stopping, stopped) = watch::channel(false);
    let stopping = Arc::new(stopping);
    let heartbeat = Heartbeat::default();

    let door = match settings.admission {
        None => None,
        Some(admission) => {
            let judge = judge.ok_or(OperatorError::NoJudge)?(&client, &world);
            let door = Door::open(admission, judge, &mut registry).await?;
            Some(door.serve(&client, &settings.namespace, &world, &heartbeat, until(&stopped)))
        }
    };
    let readiness = Readiness {
        world: world.clone(),
        heartbeat: heartbeat.clone(),
        certificates: door.as_ref().map(|door| door.certificates.clone()),
        stopping: stopped.clone(),
        now,
    };
    let (ended, end) = oneshot::channel::<()>();
    let admin = tokio::spawn(admin::serve(admin_listener, readiness, registry, end.map(|_| ())));
    let leases: Api<Lease> = Api::namespaced(client.clone(), &settings.namespace);
    let background = [
        tokio::spawn(watching),
        tokio::spawn(heartbeat.listen(async move || leases.get_opt(LEASE).await.map(|_| ()))),
        tokio::spawn({
            let stopping = stopping.clone();
            async move {
                stop.await;
                tracing::info!("stopping: finishing what is under way");
                let _ = stopping.send(true);
            }
        }),
    ];
    let (serving, renewing) = door.map(|door| (door.serving, door.renewing)).unzip();

    tokio::select! {
        () = world.ready() => {}
        () = until(&stopped) => {}
    }
    let oci = oci::Client::new(settings.controllers.hosts.clone(), oci::Timeouts::default())
        .map_err(OperatorError::Registry)?;
    let (tally, counting) = controller::policy::count(&client);
    let context = Arc::new(Context::new(
        client.clone(),
        settings.controllers.clone(),
        oci,
        world,
        tally,
        metrics,
    ));
    let work = work(
        client.clone(),
        context,
        counting.boxed(),
        renewing.flatten(),
        until(&stopped),
    )
    .boxed();
    let led = lead::lead(
        &client,
        &settings.namespace,
        &settings.identity,
        work,
        until(&stopped),
    )
    .await;

    // Whoever lost the Lease works no more, and answers what it was asked, as anybody who ends.
    let _ = stopping.send(true);
    if let Some(serving) = serving {
        let _ = serving.await;
    }
    for task in background {
        task.abort();
    }
    let _ = ended.send(());
    let _ = admin.await;
    led
}

/// What the leader does.
async fn work(
    client: Client,
    context: Arc<Context>,
    counting: BoxFuture<'static, ()>,
    renewing: Option<BoxFuture<'static, ()>>,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) {
    tracing::info!("leading: reconciling");
    let stop = stop.shared();
    let reconciling = controller::reconcile(client, context, || stop.clone());
    let renewing = renewing.unwrap_or_else(|| std::future::pending().boxed());
    // These two never end by themselves.
    let beside = futures::future::join(counting, renewing);
    tokio::pin!(reconciling);
    tokio::select! {
        () = &mut reconciling => {}
        _ = beside => reconciling.await,
    }
}

async fn listen(what: &'static str, address: SocketAddr) -> Result<TcpListener, OperatorError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| OperatorError::Listen {
            what,
            address,
            source,
        })
}

/// Resolves when the operator is to stop.
fn until(stopped: &watch::Receiver<bool>) -> impl Future<Output = ()> + Send + Sync + use<> {
    let mut stopped = stopped.clone();
    async move {
        let _ = stopped.wait_for(|stopped| *stopped).await;
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "where the clock is read that certificates and verdicts are judged by"
)]
fn now() -> Timestamp {
    Timestamp::now()
}
