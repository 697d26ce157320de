//! `probity fetch`: brings a pinned model into a folder; the init container of every model pod.
//! It parses, runs the fetch, shows how far it is, and says in one line why it failed.

use std::{
    fs::OpenOptions,
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use super::{credentials::CredentialsArgs, hosts::HostArgs};
use crate::{
    artifact::{
        fetch::{FetchOptions, FetchProgress, Fetched, fetch},
        oci::{Client, RegistryError, Timeouts},
    },
    evidence::{Class, Failure, Reason, Reference},
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
    /// Refuse a larger model before downloading anything.
    #[arg(long, value_name = "BYTES")]
    max_bytes: Option<u64>,
    /// Where a failure is left as one line of JSON for the kubelet to report; ignored when there is no such file.
    #[arg(long, value_name = "FILE", default_value = "/dev/termination-log")]
    termination_log: PathBuf,
}

/// How a run ended.
enum End {
    Done(Fetched),
    Failed(Failure),
    /// Asked to stop, by this signal's number.
    Stopped(u8),
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
                leave(&self.termination_log, &failure);
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

    fn execute(&self) -> Result<End, Failure> {
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
        let client = Client::new(self.hosts.policy(), Timeouts::default())?.with_credentials(credentials);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|error| Failure::new(Reason::Internal, format!("cannot start: {error}")))?;
        let end = runtime.block_on(self.watch(&client));
        // A write that hangs in the kernel must not keep a stopped process alive.
        runtime.shutdown_background();
        end
    }

    async fn watch(&self, client: &Client) -> Result<End, Failure> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| Failure::new(Reason::Internal, format!("cannot hear signals: {error}")))
        };
        let (mut terminate, mut interrupt) =
            (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
        let options = FetchOptions {
            max_bytes: self.max_bytes,
            ..FetchOptions::default()
        };
        let lines = Lines::default();
        let mut tick = tokio::time::interval(LINE_EVERY);
        let work = fetch(client, &self.reference, &self.dir, &options, &lines);
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Ok(match done {
                    Ok(fetched) => End::Done(fetched),
                    Err(RegistryError { failure, .. }) => End::Failed(failure),
                }),
                _ = terminate.recv() => return Ok(End::Stopped(15)),
                _ = interrupt.recv() => return Ok(End::Stopped(2)),
                _ = tick.tick() => lines.tick(),
            }
        }
    }
}

/// At most this many bytes of a termination message are written; the kubelet keeps 4096 of all containers together.
const MAX_LINE: usize = 1024;

/// Leaves the failure where the kubelet looks for it. Nothing is created: outside a pod there is no such file.
fn leave(path: &Path, failure: &Failure) {
    let line = line(failure);
    let written = OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(path)
        .and_then(|mut file| file.write_all(line.as_bytes()));
    if let Err(error) = written
        && error.kind() != std::io::ErrorKind::NotFound
    {
        let _ = writeln!(
            std::io::stderr(),
            "probity fetch: cannot write {} ({error})",
            path.display()
        );
    }
}

/// `{"reason":…,"message":…}` of at most [`MAX_LINE`] bytes, the message shortened as need be.
fn line(failure: &Failure) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        reason: Reason,
        message: &'a str,
    }
    let mut message = failure.message.as_str();
    loop {
        let line = serde_json::to_string(&Line {
            reason: failure.reason,
            message,
        })
        .unwrap_or_default();
        if line.len() <= MAX_LINE || message.is_empty() {
            return line;
        }
        // One byte becomes six at most, so that a sixth of the excess is never too much to cut.
        let mut keep = message.len().saturating_sub((line.len() - MAX_LINE).div_ceil(6));
        while !message.is_char_boundary(keep) {
            keep -= 1;
        }
        message = &message[..keep];
    }
}

/// A line is shown this often at least, while anything is under way.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Progress as lines: a log has no cursor to move.
#[derive(Default)]
struct Lines {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    files: usize,
    complete: usize,
    bytes: u64,
    received: u64,
    /// The last tenth that was shown.
    tenth: u64,
    shown: Option<Instant>,
}

impl Lines {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows a line when nothing was shown for a while.
    fn tick(&self) {
        let mut state = self.lock();
        if state.shown.is_some_and(|shown| shown.elapsed() >= LINE_EVERY) {
            state.show();
        }
    }
}

impl State {
    fn show(&mut self) {
        self.shown = Some(Instant::now());
        let _ = writeln!(
            std::io::stderr(),
            "probity fetch: {:3} % · {} of {} · {} of {} files",
            self.percent(),
            size(self.received),
            size(self.bytes),
            self.complete,
            self.files
        );
    }

    fn percent(&self) -> u64 {
        u64::try_from(u128::from(self.received) * 100 / u128::from(self.bytes.max(1)))
            .unwrap_or(100)
            .min(100)
    }
}

impl FetchProgress for Lines {
    fn begin(&self, files: usize, bytes: u64) {
        let mut state = self.lock();
        (state.files, state.bytes) = (files, bytes);
        state.show();
    }

    fn advance(&self, bytes: u64) {
        let mut state = self.lock();
        state.received += bytes;
        let tenth = state.percent() / 10;
        if tenth > state.tenth {
            state.tenth = tenth;
            state.show();
        }
    }

    fn complete(&self, _: &str) {
        self.lock().complete += 1;
    }

    fn again(&self, error: &RegistryError, pause: Duration, lost: u64) {
        let mut state = self.lock();
        state.received = state.received.saturating_sub(lost);
        state.tenth = state.percent() / 10;
        let _ = writeln!(
            std::io::stderr(),
            "probity fetch: {error} (in {:.1} s)",
            pause.as_secs_f64()
        );
    }
}

/// A number of bytes for people.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut unit = None;
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    let mut value = bytes as f64;
    for name in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = Some(name);
    }
    unit.map_or_else(|| format!("{bytes} B"), |unit| format!("{value:.1} {unit}"))
}

/// The class of a failure decides the exit code; `--help` must say the same.
const _: () = assert!(Class::Integrity.exit_code() == 20 && Class::Transient.exit_code() == 60);

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the names are the test's own")]
mod tests {
    use test_case::test_case;

    use super::*;

    #[test_case("short" => 45; "short")]
    #[test_case(&"x".repeat(900) => 940; "as it is")]
    #[test_case(&"\u{1}".repeat(900) => matches 1000..=1024; "escapes make it longer")]
    #[test_case(&"é".repeat(1000) => matches 1000..=1024; "cut between characters")]
    fn termination_lines(message: &str) -> usize {
        let line = line(&Failure::new(Reason::DigestMismatch, message));
        let read: Failure = serde_json::from_str(&line).unwrap();
        assert_eq!(read.reason, Reason::DigestMismatch);
        assert!(message.starts_with(&read.message) && !read.message.is_empty());
        line.len()
    }

    #[test]
    fn the_termination_log_is_written_only_where_there_is_one() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("termination-log");
        let failure = Failure::new(Reason::NotFound, "x: y");
        leave(&path, &failure);
        assert!(!path.exists());
        std::fs::write(
            &path,
            "what was there before, which is longer than a short line of JSON would be by itself",
        )
        .unwrap();
        leave(&path, &failure);
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            r#"{"reason":"NotFound","message":"x: y"}"#
        );
    }

    #[test_case(0 => "0 B")]
    #[test_case(1023 => "1023 B")]
    #[test_case(604_211 => "590.0 KiB")]
    #[test_case(u64::MAX => "16384.0 PiB")]
    fn sizes(bytes: u64) -> String {
        size(bytes)
    }

    #[test]
    fn what_is_lost_is_counted_again() {
        let lines = Lines::default();
        lines.begin(2, 100);
        lines.advance(60);
        lines.again(&RegistryError::new(Reason::Timeout, "x: y"), Duration::ZERO, 60);
        lines.advance(100);
        assert_eq!(lines.lock().percent(), 100);
    }
}
