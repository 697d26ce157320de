//! `probity fetch`: brings a pinned model into a folder; the init container of every model pod.
//! It parses, runs the fetch, shows how far it is, and says in one line why it failed.

use std::{io::Write as _, path::PathBuf, process::ExitCode, time::Duration};

use super::{
    credentials::CredentialsArgs,
    hosts::HostArgs,
    screen::size,
    termination,
    watch::{End, Lines, watch},
};
use crate::{
    artifact::{
        fetch::{FetchOptions, FetchProgress, Fetched, fetch},
        oci::{Client, RegistryError, Relay, Timeouts},
    },
    evidence::{Class, Digest, Failure, Reason, Reference},
};

/// Bring a pinned model from a registry into a folder, comparing every byte with its digest.
///
/// The digest in the reference decides what is brought: whether it is the right one is for `probity verify` or a policy
/// to say. A file has its name only once it is complete and proven; files become 0444 and folders 0555, so that a
/// server under any user can read them. The signature (model.sig) is not brought.
///
/// Killed half-way, run it again: what it left is removed first. A folder with anything else in it is refused.
///
/// Exit codes: 0 done · 20 bytes differ from their digest · 30 malformed or too large · 40 not a model, or of a kind
/// that is not read · 10 a host that is not allowed · 60 the registry, the credentials or the disk: trying again may
/// help · 70 a defect.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  probity fetch --dir ./digits \\\n    --reference registry.example/models/digits@sha256:…"
)]
pub struct Args {
    /// What to bring, by digest.
    #[arg(long, value_name = "HOST/REPO@sha256:…")]
    reference: Reference,
    /// An empty folder to bring it into.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    #[command(flatten)]
    hosts: HostArgs,
    #[command(flatten)]
    credentials: CredentialsArgs,
    #[command(flatten)]
    relay: RelayArgs,
    /// Refuse a larger model before downloading anything.
    #[arg(long, value_name = "BYTES")]
    max_bytes: Option<u64>,
    /// Where a failure is left as one line of JSON for the kubelet to report; ignored when there is no such file.
    #[arg(long, value_name = "FILE", default_value = termination::LOG)]
    termination_log: PathBuf,
}

/// A relay that is asked instead of the registry.
#[derive(Debug, Clone, Default, clap::Args)]
struct RelayArgs {
    /// Ask this relay for everything, and no registry; it has the credentials.
    #[arg(
        long,
        value_name = "https://HOST:PORT",
        requires_all = ["relay_key", "relay_token"],
        conflicts_with_all = ["plain_http", "allow_host", "allow_registry", "credentials_file"]
    )]
    relay: Option<String>,
    /// The SHA-256 of the relay's public key: whoever does not hold it is told nothing.
    #[arg(long, value_name = "sha256:…", requires = "relay")]
    relay_key: Option<Digest>,
    /// A file with the token that the relay wants to see; it is read for every request.
    #[arg(long, value_name = "FILE", requires = "relay")]
    relay_token: Option<PathBuf>,
}

impl RelayArgs {
    fn relay(&self) -> Result<Option<Relay>, Failure> {
        match (&self.relay, self.relay_key, &self.relay_token) {
            (Some(url), Some(key), Some(token)) => Relay::new(url, key, token.clone()).map(Some),
            _ => Ok(None),
        }
    }
}

impl Args {
    /// Runs the subcommand.
    pub fn run(self) -> ExitCode {
        let end = self.execute().unwrap_or_else(End::Failed);
        let mut stderr = std::io::stderr();
        match end {
            End::Done(fetched) => {
                let _ = writeln!(
                    stderr,
                    "probity fetch: {} files, {}, all as in the manifest",
                    fetched.files,
                    size(fetched.size)
                );
                ExitCode::SUCCESS
            }
            End::Failed(failure) => {
                let _ = writeln!(stderr, "probity fetch: {} ({})", failure.message, failure.reason);
                if let Err(unwritten) =
                    termination::leave(&self.termination_log, &termination::line(&failure))
                {
                    let _ = writeln!(stderr, "probity fetch: {unwritten}");
                }
                ExitCode::from(failure.reason.class().exit_code())
            }
            End::Stopped(number) => {
                let _ = writeln!(
                    stderr,
                    "probity fetch: stopped by a signal; run it again to begin anew"
                );
                ExitCode::from(128 + number)
            }
        }
    }

    fn execute(&self) -> Result<End<Fetched>, Failure> {
        let credentials = self.credentials.read()?;
        if self.reference.digest().is_none() {
            return Err(Failure::new(
                Reason::MalformedReference,
                format!(
                    "{} is not pinned: add the digest to fetch, @sha256:…",
                    self.reference
                ),
            ));
        }
        let client = match self.relay.relay()? {
            Some(relay) => Client::relayed(relay, Timeouts::through_relay())?,
            None => Client::new(self.hosts.policy(), Timeouts::default())?.with_credentials(credentials),
        };
        let options = FetchOptions {
            max_bytes: self.max_bytes,
            ..FetchOptions::default()
        };
        let lines = Lines::new("fetch");
        watch(&lines, async {
            fetch(&client, &self.reference, &self.dir, &options, &lines)
                .await
                .map_err(|error| error.failure)
        })
    }
}

impl FetchProgress for Lines {
    fn begin(&self, files: usize, bytes: u64) {
        self.expect(files, bytes);
    }

    fn advance(&self, bytes: u64) {
        self.more(bytes);
    }

    fn complete(&self, _: &str) {
        self.another();
    }

    fn again(&self, error: &RegistryError, pause: Duration, lost: u64) {
        self.less(lost);
        self.say(&format!("{error} (in {:.1} s)", pause.as_secs_f64()));
    }
}

/// The class of a failure decides the exit code; `--help` must say the same.
const _: () = assert!(Class::Integrity.exit_code() == 20 && Class::Transient.exit_code() == 60);
