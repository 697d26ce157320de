//! `probity verify`: is this folder, or this artifact in a registry, what somebody signed?
//! It parses, shows progress and prints the report; the verification itself is in `artifact`.

mod keys;
mod progress;
mod report;

use std::{
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args as _, ValueEnum, ValueHint};

use self::{
    progress::{Bar, INTERRUPTED},
    report::Report,
};
use super::{
    credentials,
    hosts::HostArgs,
    print,
    screen::{Screen, printable},
};
use crate::{
    artifact::{
        directory::verify_directory,
        oci::{Client, Timeouts, verify_oci},
        signature::{KeyRing, RelPath},
    },
    evidence::{ArtifactReport, Failure, Outcome, Reason, Reference},
};

const EXIT_CODES: &str = "Exit codes:
   0  verified
   2  the command line is wrong
  10  not signed, or by none of the keys; or the registry is not allowed
  20  the content is not what was signed
  30  malformed: the signature, a file name, the reference
  40  not a model, or signed in a way that is not supported
  50  a key is missing or cannot be used
  60  something could not be read or reached; trying again may help
  70  a defect of ours";

const EXAMPLES: &str = "Examples:
  A folder, and the key that must have signed it:
    probity verify ./digits --key release.pub
  An artifact in a registry, signed with any one of two keys:
    probity verify registry.example/models/digits:1.2.0 \\
      --key release.pub --key vault.pub
  In a script: what it is, and what is wrong with it:
    probity verify ./digits --key release.pub -o json | jq '{digest, reason}'
  A signature that lies elsewhere, and a file that is nobody's business:
    probity verify ./digits --key release.pub \\
      --signature digits.sig --ignore notes.txt
  A registry without TLS:
    probity verify 10.0.0.5:5000/models/digits:1.2.0 --key release.pub \\
      --plain-http 10.0.0.5:5000";

/// Verify that a model is what somebody signed: a folder, or an artifact in a registry.
///
/// A folder is hashed and compared with the signature in its model.sig. Of an artifact only the manifest and the
/// signature are read: the digest of a raw layer is the digest of its file, so no weights are downloaded.
///
/// Every file must be signed and every signed file must be there. What the signer chose to leave out is no exception;
/// --ignore is, for this run. The folder itself may be reached through a link; in it there may be none.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXIT_CODES}\n\n{EXAMPLES}"))]
pub struct Args {
    /// A folder, or `host/repository:tag`, or `host/repository@sha256:…`. What reads as a reference is one, even where
    /// a folder has that name: write ./… for the folder.
    #[arg(value_name = "DIR|REFERENCE", value_hint = ValueHint::DirPath)]
    target: PathBuf,
    /// A public key (PEM) whose signature counts. May be repeated: any one of them is enough.
    #[arg(long = "key", value_name = "FILE", required = true, value_hint = ValueHint::FilePath)]
    keys: Vec<PathBuf>,
    /// The signature of a folder, when it is not the folder's model.sig.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    signature: Option<PathBuf>,
    /// Leave this path of a folder, and what is below it, out of the comparison; a signed file never is. May be repeated.
    #[arg(long, value_name = "PATH")]
    ignore: Vec<RelPath>,
    /// How the result is printed.
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = Output::Table)]
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
    /// For programs: one object on standard output, what failed also in words on standard error.
    Json,
}

/// What is verified.
#[derive(Debug, PartialEq, Eq)]
enum Target<'a> {
    Folder(&'a Path),
    Artifact(Reference),
}

/// Why there is no report.
enum Stopped {
    Failed(Failure),
    /// The command line asks for something that does not go together.
    Usage(&'static str),
    Interrupted,
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Args {
    /// Runs the subcommand.
    pub fn run(self) -> ExitCode {
        let found = match self.verify() {
            Ok(found) => found,
            Err(Stopped::Failed(failure)) => nothing(failure),
            Err(Stopped::Usage(problem)) => return misused(problem),
            Err(Stopped::Interrupted) => {
                say("stopped before every file was read; run it again");
                return ExitCode::from(INTERRUPTED);
            }
        };
        let target = self.target.to_string_lossy();
        let report = Report::new(&target, &self.ignore, &found);
        let text = match self.output {
            Output::Json => report.json(),
            Output::Table => Ok(report.table(Screen::stdout())),
        };
        if let (Output::Json, Outcome::Refused(failure)) = (self.output, &found.outcome) {
            say(&format!("{failure} ({})", failure.reason));
        }
        match text.and_then(|text| print(&text)) {
            Ok(()) => ExitCode::from(report.exit_code()),
            Err(failure) => {
                say(&failure.message);
                // What was found is worse than that it could not be told; but a verdict that nobody got is none.
                ExitCode::from(report.exit_code().max(failure.reason.class().exit_code()))
            }
        }
    }

    fn verify(&self) -> Result<ArtifactReport, Stopped> {
        let target = target(&self.target)?;
        if matches!(target, Target::Artifact(_)) && (self.signature.is_some() || !self.ignore.is_empty()) {
            return Err(Stopped::Usage(
                "--signature and --ignore are for folders: an artifact is verified as it is",
            ));
        }
        let keys = keys::read(&self.keys)?;
        match target {
            Target::Folder(folder) => self.folder(folder, &keys),
            Target::Artifact(reference) => Ok(self.artifact(&reference, &keys)?),
        }
    }

    fn folder(&self, folder: &Path, keys: &KeyRing) -> Result<ArtifactReport, Stopped> {
        if let Some(path) = &self.signature
            && is_missing(path)
        {
            let message = format!(
                "there is no signature file {}: the path is taken from here, not from the folder",
                path.display()
            );
            return Err(Failure::new(Reason::Io, message).into());
        }
        let bar = Bar::new();
        let report = verify_directory(folder, self.signature.as_deref(), keys, &self.ignore, &bar);
        if bar.finish() {
            Err(Stopped::Interrupted)
        } else {
            Ok(report)
        }
    }

    fn artifact(&self, reference: &Reference, keys: &KeyRing) -> Result<ArtifactReport, Failure> {
        if self.target.is_dir() {
            say("this reads as a reference, so a registry is asked; write ./… for the folder of that name");
        }
        let client =
            Client::new(self.hosts.policy(), Timeouts::default())?.with_credentials(self.credentials.read()?);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::new(Reason::Internal, format!("cannot start: {error}")))?;
        runtime
            .block_on(async {
                let digest = client.resolve(reference).await?;
                verify_oci(&client, &reference.pinned(digest), keys).await
            })
            .map_err(|error| error.failure)
    }
}

/// What reads as a reference is one: what lies around here must not decide whether a registry is asked.
fn target(path: &Path) -> Result<Target<'_>, Failure> {
    match path
        .to_str()
        .filter(|text| is_meant_as_reference(text))
        .map(str::parse)
    {
        Some(Ok(reference)) => Ok(Target::Artifact(reference)),
        Some(Err(error)) if is_missing(path) => Err(Failure::new(
            Reason::MalformedReference,
            format!("there is no folder {}, and {error}", path.display()),
        )),
        None if is_missing(path) => {
            let message = format!(
                "there is no folder {}: give one, or an artifact as host/repository:tag",
                path.display()
            );
            Err(Failure::new(Reason::Io, message))
        }
        _ => Ok(Target::Folder(path)),
    }
}

/// Whether somebody who writes this means a registry: `./x` and `models/x` are folders, `x:1` and `models.example/x` not.
fn is_meant_as_reference(text: &str) -> bool {
    if text.starts_with(['/', '.', '~']) {
        return false;
    }
    match text.split_once('/') {
        Some((host, _)) => host == "localhost" || host.contains(['.', ':', '[']),
        None => text.contains([':', '@']),
    }
}

fn is_missing(path: &Path) -> bool {
    matches!(std::fs::metadata(path), Err(error) if error.kind() == ErrorKind::NotFound)
}

/// A report of a model that was not looked at.
fn nothing(failure: Failure) -> ArtifactReport {
    ArtifactReport {
        digest: None,
        outcome: Outcome::Refused(failure),
        signers: Vec::new(),
        differences: Vec::new(),
        differing: 0,
        files: 0,
        size: 0,
    }
}

/// One line on standard error.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "probity verify: {}", printable(text));
}

/// A command line that clap takes and we do not, refused in clap's words and with its exit code.
fn misused(problem: &str) -> ExitCode {
    let mut command = Args::augment_args(clap::Command::new("probity verify"));
    let error = command.error(clap::error::ErrorKind::ArgumentConflict, problem);
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;

    #[test_case("registry.example/models/digits:1" => true)]
    #[test_case("localhost/digits:1" => true; "this machine")]
    #[test_case("registry:5000/digits" => true; "a port")]
    #[test_case("[::1]:5000/digits:1" => true; "an address")]
    #[test_case("oci://registry.example/digits:1" => true; "a scheme, to be told what is wrong with it")]
    #[test_case("digits:1" => true; "no registry, to be told what is wrong with it")]
    #[test_case("digits" => false; "a name")]
    #[test_case("models/digits" => false; "a path")]
    #[test_case("./registry.example/models/digits:1" => false; "a path from here")]
    #[test_case("../digits:1" => false; "a path from above")]
    #[test_case("/srv/models/digits:1" => false; "an absolute path")]
    #[test_case("~user/digits:1" => false; "a home")]
    fn meant_as_reference(text: &str) -> bool {
        is_meant_as_reference(text)
    }

    #[test_case("registry.example/models/digits:1" => "Artifact")]
    #[test_case("src/cli" => "Folder"; "a folder")]
    #[test_case("Cargo.toml" => "Folder"; "a file, to be told what is wrong with it")]
    #[test_case("no-such-folder" => "Io"; "a folder that is missing")]
    #[test_case("registry.example/models/digits" => "MalformedReference"; "neither folder nor reference")]
    fn targets(text: &str) -> String {
        match target(Path::new(text)) {
            Ok(Target::Folder(_)) => "Folder".into(),
            Ok(Target::Artifact(_)) => "Artifact".into(),
            Err(failure) => failure.reason.to_string(),
        }
    }
}
