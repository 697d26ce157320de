//! `probity operator`: runs the controllers in a cluster.
//! Here only arguments, logs and signals; what it does is in `controller`.

#![expect(
    clippy::disallowed_types,
    reason = "the edge: here the client is made, gathered with, and handed to cluster"
)]

use std::{net::SocketAddr, process::ExitCode};

use clap::ValueEnum;
use kube::Client;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::{controller, evidence::Reference};

/// Run the operator in a cluster. The chart does this for you.
///
/// It talks to the API server of its service account, or of KUBECONFIG when run outside a cluster.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example, outside a cluster and with the permissions of KUBECONFIG:
  probity operator --fetch-image registry.example/probity@sha256:… \\
    --admin-address 127.0.0.1:8080 --log info,probity=debug"
)]
pub struct Args {
    /// This program's own image by digest; its `fetch` runs in every model's pod.
    #[arg(long, value_name = "REPOSITORY@sha256:…", value_parser = pinned)]
    fetch_image: Reference,
    /// Where /livez, /readyz and /metrics are served.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8080")]
    admin_address: SocketAddr,
    #[command(flatten)]
    hosts: super::hosts::HostArgs,
    /// How many objects of a kind are looked at at once.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    concurrency: u16,
    /// How log lines are written.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// What is logged, as in `info,probity=debug`.
    #[arg(long, env = "PROBITY_LOG", value_name = "FILTER", default_value = "info")]
    log: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    /// For people.
    Text,
    /// One object a line, for collectors.
    Json,
}

fn pinned(text: &str) -> Result<Reference, String> {
    let reference: Reference = text.parse().map_err(|error| format!("{error}"))?;
    match reference.digest() {
        Some(_) => Ok(reference),
        None => Err("must end in @sha256:…: what runs in the models' pods must not change by itself".into()),
    }
}

impl Args {
    /// Runs the subcommand.
    pub fn run(self) -> ExitCode {
        let filter = match EnvFilter::try_new(&self.log) {
            Ok(filter) => filter,
            Err(error) => return super::fail(&error),
        };
        let logs = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr);
        match self.log_format {
            LogFormat::Text => logs.init(),
            LogFormat::Json => logs.json().init(),
        }
        match tokio::runtime::Runtime::new() {
            Ok(runtime) => runtime.block_on(self.operate()),
            Err(error) => super::fail(&error),
        }
    }

    async fn operate(self) -> ExitCode {
        let client = match Client::try_default().await {
            Ok(client) => client,
            Err(error) => return super::fail(&error),
        };
        let (mut term, mut interrupt) =
            match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
                (Ok(term), Ok(interrupt)) => (term, interrupt),
                (Err(error), _) | (_, Err(error)) => return super::fail(&error),
            };
        let stop = async move {
            tokio::select! {
                _ = term.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        let settings = controller::Settings {
            fetch_image: self.fetch_image.to_string(),
            hosts: self.hosts.policy(),
            concurrency: self.concurrency,
        };
        match controller::run(client, settings, self.admin_address, stop).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => super::fail(&error),
        }
    }
}
