//! What every subcommand that goes on serving begins with: its log, and as many open files as it is allowed.
//! It only parses and sets up.

use clap::ValueEnum;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing_subscriber::{EnvFilter, filter::ParseError};

/// How it logs.
#[derive(Debug, Clone, clap::Args)]
pub struct LogArgs {
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

impl LogArgs {
    /// Logs to standard error from now on.
    pub fn begin(&self) -> Result<(), ParseError> {
        let logs = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::try_new(&self.log)?)
            .with_writer(std::io::stderr);
        match self.log_format {
            LogFormat::Text => logs.init(),
            LogFormat::Json => logs.json().init(),
        }
        Ok(())
    }
}

/// Every connection is a file, and where nobody said otherwise a program may have 1024 open unless it asks for as many as it
/// is allowed. Whoever takes every place at the door must not take those by which the API server is reached.
pub fn allow_files() {
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, most) {
        tracing::warn!(%error, allowed = limit.current, "cannot raise how many files may be open");
    }
}
