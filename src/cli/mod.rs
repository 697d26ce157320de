//! The command line: one file a subcommand.
//! Here only parsing and dispatch; what a subcommand does is in the layers below.

pub mod check;
pub mod crds;
pub mod credentials;
pub mod fetch;
pub mod hosts;
pub mod operator;
pub mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Lets an AI model serve in Kubernetes only while it can be shown to be the model somebody signed.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Operator(operator::Args),
    Check(check::Args),
    Crds(crds::Args),
    Fetch(fetch::Args),
    Verify(verify::Args),
}

impl Cli {
    /// Runs the subcommand and returns the process's exit code.
    pub fn run(self) -> ExitCode {
        match self.command {
            Command::Operator(args) => args.run(),
            Command::Check(args) => args.run(),
            Command::Crds(args) => args.run(),
            Command::Fetch(args) => args.run(),
            Command::Verify(args) => args.run(),
        }
    }
}

/// Says on standard error what failed, and returns the exit code of a defect or an I/O failure.
fn fail(error: &dyn std::error::Error) -> ExitCode {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "probity: {error}");
    ExitCode::from(crate::evidence::Class::Internal.exit_code())
}
