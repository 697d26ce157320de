//! Puts admission together: its certificates, its server, and what the leader does for them.
//! It waits for something to judge by before it answers; until then a question waits too.

#![expect(
    clippy::disallowed_types,
    reason = "the edge: here the client is made, gathered with, and handed to cluster"
)]

use std::sync::Arc;

use futures::{FutureExt as _, future::BoxFuture};
use kube::Client;
use prometheus_client::registry::Registry;
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{
    admission::{
        self, Judge,
        certificates::{self, Certificates, EVERY},
    },
    controller::world::WorldView,
};

use super::{
    Admission, OperatorError, listen, now,
    readiness::{Heartbeat, InTouch},
};

/// Admission, ready to be served.
pub(super) struct Door<J> {
    admission: Admission,
    listener: TcpListener,
    certificates: Certificates,
    tls: Arc<rustls::ServerConfig>,
    metrics: admission::Metrics,
    judge: J,
}

/// Admission as it is served.
pub(super) struct Opened {
    pub certificates: Certificates,
    /// Ends when what was asked has been answered.
    pub serving: JoinHandle<()>,
    /// For the leader; none when somebody else renews.
    pub renewing: Option<BoxFuture<'static, ()>>,
}

impl<J: Judge> Door<J> {
    pub(super) async fn open(
        admission: Admission,
        judge: J,
        registry: &mut Registry,
    ) -> Result<Self, OperatorError> {
        let metrics = admission::Metrics::register(registry);
        let certificates = Certificates::new(metrics.clone());
        Ok(Self {
            listener: listen("admission", admission.address).await?,
            tls: certificates.server_config()?,
            admission,
            certificates,
            metrics,
            judge,
        })
    }

    pub(super) fn serve(
        self,
        client: &Client,
        namespace: &str,
        world: &WorldView,
        heartbeat: &Heartbeat,
        stop: impl Future<Output = ()> + Send + Sync + 'static,
    ) -> Opened {
        let Self {
            admission,
            listener,
            certificates,
            tls,
            metrics,
            judge,
        } = self;
        let (client, namespace) = (client.clone(), namespace.to_owned());
        let judge = InTouch::new(judge, heartbeat.clone());
        let renewing = admission.webhooks.map(|webhooks| {
            let names = certificates::Names {
                namespace: namespace.clone(),
                secret: admission.secret.clone(),
                host: admission.host,
                webhooks,
            };
            certificates::renew(client.clone(), names, certificates.clone(), now, EVERY).boxed()
        });
        let following =
            certificates::follow(client, namespace, admission.secret, certificates.clone(), EVERY);
        let (world, limits, stop) = (world.clone(), admission.limits, stop.shared());
        let answering = async move {
            tokio::select! {
                () = world.ready() => {}
                () = stop.clone() => return,
            }
            admission::serve(listener, tls, judge, metrics, limits, stop).await;
        };
        let serving = tokio::spawn(async move {
            tokio::select! {
                () = following => {}
                () = answering => {}
            }
        });
        Opened {
            certificates,
            serving,
            renewing,
        }
    }
}
