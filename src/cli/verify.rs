//! `probity verify`: is this folder, or this artifact in a registry, what somebody signed?
//! It parses, shows progress and prints the report; the verification itself is in `artifact`.

use std::{
    io::{IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::ValueEnum;
use comfy_table::{Table, presets};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::{credentials, hosts::HostArgs};
use crate::{
    artifact::{
        directory::verify_directory,
        oci::{Client, Timeouts, verify_oci},
        signature::{KeyRing, RelPath},
        tree::Progress,
    },
    evidence::{ArtifactReport, Digest, Failure, FileDifference, Outcome, Reason, Reference, SignerIdentity},
};

/// Verify that a model is what somebody signed: a folder, or an artifact in a registry.
///
/// A folder is hashed and compared with the signature in its model.sig. Of an artifact only the manifest and the
/// signature are read: the digest of a raw layer is the digest of its file, so no weights are downloaded.
///
/// Every file must be signed and every signed file must be there. What the signer chose to leave out is no exception;
/// --ignore is, for this run.
///
/// Exit codes: 0 verified · 10 not signed, or by none of the keys · 20 the content is not what was signed · 30 malformed
/// · 40 not supported · 50 a key cannot be used · 60 something could not be read, trying again may help · 70 a defect.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  probity verify ./digits --key release.pub
  probity verify registry.example/models/digits:1.2.0 --key release.pub --key vault.pub
  probity verify 10.0.0.5:5000/models/digits:1.2.0 --plain-http 10.0.0.5:5000 --key release.pub -o json")]
pub struct Args {
    /// A folder, or `host/repository:tag`, or `host/repository@sha256:…`.
    #[arg(value_name = "DIR|REFERENCE")]
    target: String,
    /// A public key (PEM) whose signature counts. May be repeated: any one of them is enough.
    #[arg(long = "key", value_name = "FILE", required = true)]
    keys: Vec<PathBuf>,
    /// The signature of a folder, when it is not the folder's model.sig.
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
    /// Leave this path of a folder, and what is below it, out of the comparison. May be repeated.
    #[arg(long, value_name = "PATH")]
    ignore: Vec<RelPath>,
    /// How the result is printed.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(flatten)]
    hosts: HostArgs,
    #[command(flatten)]
    credentials: credentials::CredentialsArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// What is printed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Printed<'a> {
    target: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
    verified: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    signers: &'a [SignerIdentity],
    files: usize,
    size: u64,
    differing: usize,
    differences: &'a [FileDifference],
}

impl Args {
    /// Runs the subcommand.
    pub fn run(self) -> ExitCode {
        let report = self.report().unwrap_or_else(|failure| ArtifactReport {
            digest: None,
            outcome: Outcome::Refused(failure),
            signers: Vec::new(),
            differences: Vec::new(),
            differing: 0,
            files: 0,
            size: 0,
        });
        let failure = match &report.outcome {
            Outcome::Verified => None,
            Outcome::Refused(failure) => Some(failure),
        };
        let result = Printed {
            target: &self.target,
            digest: report.digest,
            verified: failure.is_none(),
            reason: failure.map(|failure| failure.reason),
            message: failure.map(|failure| failure.message.as_str()),
            signers: &report.signers,
            files: report.files,
            size: report.size,
            differing: report.differing,
            differences: &report.differences,
        };
        let text = match self.output {
            Output::Json => serde_json::to_string_pretty(&result).unwrap_or_default(),
            Output::Table => table(&result),
        };
        let printed = writeln!(std::io::stdout(), "{text}");
        match (failure, printed) {
            (Some(failure), _) => ExitCode::from(failure.reason.class().exit_code()),
            // A verdict that nobody got is none.
            (None, Err(_)) => ExitCode::from(Reason::Io.class().exit_code()),
            (None, Ok(())) => ExitCode::SUCCESS,
        }
    }

    fn report(&self) -> Result<ArtifactReport, Failure> {
        let keys = read_keys(&self.keys)?;
        let path = Path::new(&self.target);
        if path.is_dir() {
            let bar = Bar::new();
            let report = verify_directory(path, self.signature.as_deref(), &keys, &self.ignore, &bar);
            bar.0.finish_and_clear();
            return Ok(report);
        }
        let reference: Reference = self.target.parse().map_err(|error| {
            Failure::new(Reason::MalformedReference, format!("there is no folder {}, and {error}", self.target))
        })?;
        if self.signature.is_some() || !self.ignore.is_empty() {
            let message = "--signature and --ignore are for folders: an artifact is verified as it is";
            return Err(Failure::new(Reason::UnsupportedMethod, message));
        }
        let client = Client::new(self.hosts.policy(), Timeouts::default())?
            .with_credentials(self.credentials.read()?);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::new(Reason::Internal, format!("cannot start: {error}")))?;
        runtime.block_on(async {
            let digest = client.resolve(&reference).await?;
            verify_oci(&client, &reference.pinned(digest), &keys).await
        })
        .map_err(|error| error.failure)
    }
}

/// A key file is a few hundred bytes; whatever is longer is none.
const MAX_KEY: u64 = 64 << 10;

fn read_keys(paths: &[PathBuf]) -> Result<KeyRing, Failure> {
    let mut keys = Vec::new();
    for path in paths {
        // People know a key by its file; the folder it lies in says nothing about it.
        let name = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let cannot = |what: String| Failure::new(Reason::TrustRootMissing, format!("cannot read the key {name}: {what}"));
        let size = std::fs::metadata(path).map_err(|error| cannot(error.to_string()))?.len();
        if size > MAX_KEY {
            return Err(cannot(format!("{size} bytes are too many for a public key as PEM")));
        }
        let pem = std::fs::read_to_string(path).map_err(|error| cannot(error.to_string()))?;
        keys.push((name, pem));
    }
    KeyRing::from_pems(keys)
}

/// Two columns, what and its value; long lists one line each.
fn table(result: &Printed<'_>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    let verdict = match result.reason {
        None => "Verified".to_owned(),
        Some(reason) => format!("Refused: {reason}"),
    };
    table.add_row(["Verdict", &verdict]);
    if let Some(message) = result.message {
        table.add_row(["Message", message]);
    }
    table.add_row(["Model", result.target]);
    if let Some(digest) = result.digest {
        table.add_row(["Digest", &digest.to_string()]);
    }
    for signer in result.signers {
        table.add_row(["Signed by", &format!("{} ({})", signer.key, signer.fingerprint)]);
    }
    if result.files > 0 {
        table.add_row(["Content", &format!("{} files, {}", result.files, indicatif::HumanBytes(result.size))]);
    }
    for difference in result.differences {
        let side = |digest: Option<Digest>| digest.map_or("nothing".to_owned(), |digest| digest.short());
        let text = format!("{}: signed {}, found {}", difference.path, side(difference.signed), side(difference.found));
        table.add_row(["Differs", &text]);
    }
    if result.differing > result.differences.len() {
        table.add_row(["Differs", &format!("… {} files in all", result.differing)]);
    }
    table.trim_fmt()
}

/// A progress bar on a terminal, nothing elsewhere. It appears only when there is something to wait for.
struct Bar(ProgressBar);

impl Bar {
    fn new() -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::hidden());
        let style = ProgressStyle::with_template("{bar:32} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self(bar)
    }
}

impl Progress for Bar {
    fn begin(&self, _: usize, bytes: u64) {
        self.0.set_length(bytes);
        if std::io::stderr().is_terminal() {
            self.0.set_draw_target(ProgressDrawTarget::stderr_with_hz(8));
            self.0.enable_steady_tick(Duration::from_millis(200));
        }
    }

    fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }
}
