//! Assembles the operator: client, world, controllers, the admin server, and an orderly end.
//! Nothing else; what each part does is in its own file.

#![expect(
    clippy::disallowed_types,
    reason = "the edge: here the client is made, gathered with, and handed to cluster"
)]

use std::{net::SocketAddr, sync::Arc};

use futures::FutureExt as _;
use kube::Client;
use tokio::{net::TcpListener, sync::watch};

use crate::{artifact::oci, evidence::Failure};

use super::{
    Context, Settings, admin, artifact_verification, metrics::Metrics, model_deployment, policy, source,
    trust_root, world::watch_world,
};

/// The operator could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Nobody can be told how it is.
    #[error("cannot listen on the admin address {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// No registry can be asked.
    #[error("cannot ask registries")]
    Registry(#[source] Failure),
}

/// Runs the operator until `stop` resolves; what is under way then is finished first.
pub async fn run(
    client: Client,
    settings: Settings,
    admin_address: SocketAddr,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), StartError> {
    let listener = TcpListener::bind(admin_address)
        .await
        .map_err(|source| StartError::Listen {
            address: admin_address,
            source,
        })?;
    let registry =
        oci::Client::new(settings.hosts.clone(), oci::Timeouts::default()).map_err(StartError::Registry)?;
    let metrics = Arc::new(Metrics::default());
    let (world, watching) = watch_world(&client);
    let (tally, counting) = policy::count(&client);
    let (stopping, stopped) = watch::channel(false);
    let stopped = || {
        let mut stopped = stopped.clone();
        async move {
            let _ = stopped.wait_for(|stopped| *stopped).await;
        }
        .boxed()
        .shared()
    };

    let admin = tokio::spawn(admin::serve(listener, world.clone(), metrics.clone(), stopped()));
    let watching = tokio::spawn(watching);
    let counting = tokio::spawn(counting);
    let ends = tokio::spawn(async move {
        stop.await;
        tracing::info!("stopping: finishing what is under way");
        let _ = stopping.send(true);
    });

    tokio::select! {
        () = world.ready() => {}
        () = stopped() => {}
    }
    tracing::info!("policies, trust roots and namespaces are read; reconciling");
    let context = Arc::new(Context::new(
        client.clone(),
        settings,
        registry,
        world,
        tally,
        metrics,
    ));
    tokio::join!(
        trust_root::run(client.clone(), context.clone(), stopped()),
        policy::run(client.clone(), context.clone(), stopped()),
        source::run(client.clone(), context.clone(), stopped()),
        artifact_verification::run(client.clone(), context.clone(), stopped()),
        model_deployment::run(client, context, stopped()),
    );
    watching.abort();
    counting.abort();
    ends.abort();
    let _ = admin.await;
    Ok(())
}
