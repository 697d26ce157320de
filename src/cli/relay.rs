//! `probity relay`: gives model pods what their namespace's models are made of.
//! Here only arguments, logs and signals; what it does is in `relay`.

#![expect(
    clippy::disallowed_types,
    reason = "the edge: here the client is made and handed to the relay"
)]

use std::{
    fs::File,
    io::{self, Read as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use futures::FutureExt as _;
use prometheus_client::registry::Registry;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

use crate::{
    artifact::oci::{Client, Timeouts},
    relay::{self, ApiServer, Identity, Limits, Metrics, Relay, Settings},
};

/// Give model pods what their namespace's models are made of. The chart runs it for you.
///
/// It answers `probity fetch --relay`, whose token says which namespace asks: a namespace gets the content that each
/// ModelDeployment of its own was resolved to or serves, and only while the registry gives it for the namespace's own pull
/// secret.
/// So pods need neither a way to a registry nor a secret. What it fetched it keeps in a folder, up to a size.
///
/// It talks to the API server of its service account, or of KUBECONFIG when run outside a cluster.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example, outside a cluster and with the permissions of KUBECONFIG:
  probity relay --key-file relay.pem --cache-dir /var/tmp/relay --cache-bytes 10000000000"
)]
pub struct Args {
    /// Where pods are answered, over TLS.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8443")]
    address: SocketAddr,
    /// Where /livez, /readyz and /metrics are served.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8080")]
    admin_address: SocketAddr,
    /// The private key by which it is known (PEM, PKCS#8). The operator makes it.
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
    /// The folder for what it keeps. Nothing else may be in it that begins with `blob-`.
    #[arg(long, value_name = "DIR")]
    cache_dir: PathBuf,
    /// At most so many bytes are kept. What is larger is passed on without being kept.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    cache_bytes: u64,
    #[command(flatten)]
    hosts: super::hosts::HostArgs,
    #[command(flatten)]
    logs: super::logs::LogArgs,
}

/// Threads that read and write the cache. Each piece that one of them holds is memory.
const DISK_THREADS: usize = 8;
/// A key has a few hundred bytes.
const MAX_KEY: u64 = 16 << 10;

impl Args {
    /// Runs the subcommand.
    pub fn run(self) -> ExitCode {
        if let Err(error) = self.logs.begin() {
            return super::fail(&error);
        }
        super::logs::allow_files();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .max_blocking_threads(DISK_THREADS)
            .enable_all()
            .build();
        let ran = runtime
            .map_err(Into::into)
            .and_then(|runtime| runtime.block_on(self.serve()));
        match ran {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => super::fail(&*error),
        }
    }

    async fn serve(self) -> Result<(), Box<dyn std::error::Error>> {
        let identity = Identity::read(&read(&self.key_file)?)?;
        let tls = identity.server_config()?;
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let settings = Settings {
            cache: self.cache_dir,
            capacity: self.cache_bytes,
            limits: Limits::default(),
        };
        let registries = Client::new(self.hosts.policy(), Timeouts::default())?;
        let cluster = ApiServer::new(kube::Client::try_default().await?);
        let relay = Arc::new(Relay::new(cluster, registries, &settings, metrics)?);
        let admin = TcpListener::bind(self.admin_address).await?;
        let listener = TcpListener::bind(self.address).await?;
        let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let stop = async move {
            tokio::select! {
                _ = term.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
        .shared();
        tracing::info!(address = %listener.local_addr()?, key = %identity.fingerprint(), "serving models");
        tokio::join!(
            relay::admin::serve(admin, registry, stop.clone()),
            relay::serve(listener, tls, relay, settings.limits, stop),
        );
        Ok(())
    }
}

fn read(key: &Path) -> io::Result<String> {
    let mut pem = String::new();
    File::open(key)?.take(MAX_KEY).read_to_string(&mut pem)?;
    Ok(pem)
}
