//! `probity operator`: runs the controllers in a cluster.
//! Here only arguments, logs and signals; what it does is in `controller`.

#![expect(
    clippy::disallowed_types,
    reason = "the edge: here the client is made, gathered with, and handed to cluster"
)]

use std::{
    net::{IpAddr, SocketAddr},
    process::ExitCode,
    time::Duration,
};

use kube::{Client, Config};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    admission::Limits,
    api::v1alpha1::EgressRule,
    controller::{self, Cidr, NetworkSettings},
    evidence::Reference,
    operator,
    workload::RelaySettings,
};

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
    /// The same of an earlier release, whose pods still run and whose reports are still believed. May be repeated.
    #[arg(long = "previous-image", value_name = "REPOSITORY@sha256:…", value_parser = pinned)]
    previous_images: Vec<Reference>,
    /// Where /livez, /readyz and /metrics are served.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8080")]
    admin_address: SocketAddr,
    #[command(flatten)]
    replica: Replica,
    #[command(flatten)]
    admission: AdmissionArgs,
    #[command(flatten)]
    relay: RelayArgs,
    #[command(flatten)]
    hosts: super::hosts::HostArgs,
    /// How many objects of a kind are looked at at once.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    concurrency: u16,
    /// How long after one audit of all pods in governed namespaces began the next does; at least 30s.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = audit_interval)]
    audit_interval: Duration,
    #[command(flatten)]
    network: NetworkArgs,
    /// The namespace in which Jobs measure models, as each `RobustnessPolicy` asks. Nobody else may make anything there. Left out:
    /// nothing is measured.
    #[arg(long, value_name = "NAME")]
    evaluation_namespace: Option<String>,
    /// How many models are measured at once.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    evaluations_at_once: u16,
    /// Whether what is found is written as Reports of openreports.io/v1alpha1 too, where the API server knows them.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    reports: bool,
    #[command(flatten)]
    logs: super::logs::LogArgs,
}

/// Which of the replicas it is, and where they agree on a leader.
#[derive(Debug, clap::Args)]
struct Replica {
    /// The operator's own namespace: its Lease and its Secret are there.
    #[arg(
        long,
        env = "POD_NAMESPACE",
        value_name = "NAME",
        default_value = "probity-system"
    )]
    namespace: String,
    /// What no other replica is called [default: host name and process number].
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    identity: Option<String>,
}

impl Replica {
    fn identity(&self) -> String {
        let identity = self.identity.as_deref().filter(|identity| !identity.is_empty());
        if let Some(identity) = identity {
            return identity.to_owned();
        }
        let system = rustix::system::uname();
        format!("{}_{}", system.nodename().to_string_lossy(), std::process::id())
    }
}

/// What is known of the network that models are on.
#[derive(Debug, clap::Args)]
struct NetworkArgs {
    /// What every isolated model may reach beside what it declares, as one rule of `spec.egress` in JSON: the registries
    /// that models are fetched from, a cache of name look-ups. May be repeated.
    #[arg(long = "isolated-egress", value_name = "RULE", value_parser = egress_rule)]
    egress: Vec<EgressRule>,
    /// Addresses that no range which a model declares opens, such as the API server's: 192.0.2.7/32. May be repeated.
    #[arg(long = "never-open", value_name = "CIDR")]
    closed: Vec<Cidr>,
    /// Try the canaries in the operator's own namespace, to see whether each node enforces NetworkPolicies.
    #[arg(long)]
    probe_canaries: bool,
    /// Where the API server is, as a pod sees it: never open either.
    #[arg(long, env = "KUBERNETES_SERVICE_HOST", hide = true)]
    kubernetes_service_host: Option<IpAddr>,
}

impl NetworkArgs {
    fn settings(self) -> NetworkSettings {
        let service = self.kubernetes_service_host.map(Cidr::from);
        NetworkSettings {
            egress: self.egress,
            closed: self.closed.into_iter().chain(service).collect(),
        }
    }
}

fn egress_rule(text: &str) -> Result<EgressRule, String> {
    let rule: EgressRule = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if NetworkSettings::takes(&rule) {
        return Ok(rule);
    }
    Err(r#"must name peers and ports, as in {"to": [{"ipBlock": {"cidr": "192.0.2.7/32"}}], "ports": [{"port": 443}]}"#.into())
}

/// How admission is served.
#[derive(Debug, clap::Args)]
struct AdmissionArgs {
    /// Where the API server's questions are answered over TLS. Left out: nowhere.
    #[arg(long, value_name = "ADDRESS", requires = "admission_host")]
    admission_address: Option<SocketAddr>,
    /// The host name by which the API server asks: SERVICE.NAMESPACE.svc.
    #[arg(long, value_name = "NAME", requires = "admission_address")]
    admission_host: Option<String>,
    /// The Secret of the operator's namespace with tls.crt and tls.key.
    #[arg(long, value_name = "NAME", default_value = "probity-admission")]
    admission_secret: String,
    /// Make and renew that Secret, and keep caBundle in the webhook configurations of this name.
    ///
    /// Left out: somebody else does both.
    #[arg(long, value_name = "NAME", requires = "admission_address")]
    webhook_configuration: Option<String>,
}

impl AdmissionArgs {
    fn settings(self) -> Option<operator::Admission> {
        Some(operator::Admission {
            address: self.admission_address?,
            host: self.admission_host?,
            secret: self.admission_secret,
            webhooks: self.webhook_configuration,
            limits: Limits::default(),
        })
    }
}

/// Whom the pods of models ask.
#[derive(Debug, clap::Args)]
struct RelayArgs {
    /// Where `probity relay` answers, which the pods of models ask in the registries' place. Left out: they ask registries.
    #[arg(long, value_name = "https://HOST:PORT", requires = "relay_secret")]
    relay_url: Option<String>,
    /// The Secret of the operator's namespace with the relay's key, which is made when there is none.
    #[arg(long, value_name = "NAME", requires = "relay_url")]
    relay_secret: Option<String>,
}

/// Each audit reads every pod of every governed namespace.
const LEAST_BETWEEN_AUDITS: Duration = Duration::from_secs(30);

/// A number of seconds, minutes or hours.
fn audit_interval(text: &str) -> Result<Duration, String> {
    let seconds = text.char_indices().last().and_then(|(at, unit)| {
        let number: u32 = text[..at].parse().ok()?;
        let unit = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            _ => return None,
        };
        Some(u64::from(number) * unit)
    });
    let interval = seconds.map(Duration::from_secs);
    match interval.filter(|interval| *interval >= LEAST_BETWEEN_AUDITS) {
        Some(interval) => Ok(interval),
        None => Err("must be a number of seconds, minutes or hours and at least 30s, as in 5m".into()),
    }
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
        if let Err(error) = self.logs.begin() {
            return super::fail(&error);
        }
        match tokio::runtime::Runtime::new() {
            Ok(runtime) => runtime.block_on(self.operate()),
            Err(error) => super::fail(&error),
        }
    }

    async fn operate(self) -> ExitCode {
        super::logs::allow_files();
        let client = match client().await {
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
        let canaries = self
            .network
            .probe_canaries
            .then(|| self.replica.namespace.clone());
        let relay = match (self.relay.relay_url, &self.relay.relay_secret) {
            (Some(url), Some(secret)) => {
                match operator::relay_key(&client, &self.replica.namespace, secret).await {
                    Ok(key) => Some(RelaySettings { url, key }),
                    Err(error) => return super::fail(&error),
                }
            }
            _ => None,
        };
        let network = self.network.settings();
        let network = match &relay {
            Some(_) => network.with_relay(&self.replica.namespace),
            None => network,
        };
        let settings = operator::Settings {
            controllers: controller::Settings {
                fetch_image: self.fetch_image.to_string(),
                previous_images: self.previous_images.iter().map(ToString::to_string).collect(),
                hosts: self.hosts.policy(),
                relay,
                concurrency: self.concurrency,
                audit_interval: self.audit_interval,
                network,
                canaries,
                evaluations: self.evaluation_namespace,
                evaluations_at_once: usize::from(self.evaluations_at_once),
                reports: self.reports,
            },
            admin_address: self.admin_address,
            identity: self.replica.identity(),
            namespace: self.replica.namespace,
            admission: self.admission.settings(),
        };
        let judge = operator::gate(settings.controllers.pods());
        match Box::pin(operator::run(client, settings, Some(judge), stop)).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => super::fail(&error),
        }
    }
}

/// A client that asks each question once. What is refused for now is tried again by whoever asked, who has other things to do
/// meanwhile: asked again in here, an eviction that a disruption budget forbids would hold up its model for minutes.
async fn client() -> Result<Client, kube::Error> {
    let mut config = Config::infer().await.map_err(kube::Error::InferConfig)?;
    config.default_retry = false;
    Client::try_from(config)
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;

    #[test_case("30s" => Some(30); "the least")]
    #[test_case("5m" => Some(300); "minutes")]
    #[test_case("2h" => Some(7200); "hours")]
    #[test_case("29s" => None; "too often")]
    #[test_case("300" => None; "without a unit")]
    #[test_case("m" => None; "without a number")]
    #[test_case("-5m" => None; "less than nothing")]
    #[test_case("5µ" => None; "another unit")]
    #[test_case("" => None; "nothing")]
    fn the_interval_of_audits(text: &str) -> Option<u64> {
        audit_interval(text).ok().map(|interval| interval.as_secs())
    }
}
