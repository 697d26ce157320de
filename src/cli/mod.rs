//! The command line: one file a subcommand.
//! Here only parsing and dispatch; what a subcommand does is in the layers below.

pub mod canary;
pub mod check;
pub mod completions;
pub mod copy;
pub mod crds;
pub mod credentials;
pub mod evaluate;
pub mod fetch;
pub mod hosts;
mod logs;
pub mod operator;
pub mod relay;
mod screen;
mod termination;
pub mod verify;
mod watch;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::evidence::{Class, Failure, Reason};

/// Lets an AI model serve in Kubernetes only while it can be shown to be the model somebody signed.
#[derive(Debug, Parser)]
#[command(
    version,
    propagate_version = true,
    arg_required_else_help = true,
    after_help = "`probity help COMMAND` tells more, with examples, as in:
  probity verify ./digits --key release.pub
  probity check -f manifests/ --policy policy.yaml"
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    // Boxed: it is by far the largest.
    Operator(Box<operator::Args>),
    Canary(canary::Args),
    Check(check::Args),
    Copy(copy::Args),
    Crds(crds::Args),
    Evaluate(Box<evaluate::Args>),
    Fetch(fetch::Args),
    Relay(relay::Args),
    Verify(verify::Args),
    Completions(completions::Args),
}

impl Cli {
    /// Runs the subcommand and returns the process's exit code.
    pub fn run(self) -> ExitCode {
        match self.command {
            Command::Operator(args) => args.run(),
            Command::Canary(args) => args.run(),
            Command::Check(args) => args.run(),
            Command::Copy(args) => args.run(),
            Command::Crds(args) => args.run(),
            Command::Evaluate(args) => args.run(),
            Command::Fetch(args) => args.run(),
            Command::Relay(args) => args.run(),
            Command::Verify(args) => args.run(),
            Command::Completions(args) => args.run(),
        }
    }
}

/// Says on standard error what failed, and returns the exit code of a defect or of what could not be read or written.
fn fail(error: &(dyn std::error::Error + 'static)) -> ExitCode {
    use std::io::{self, Write as _};
    let class = match error.downcast_ref::<io::Error>().map(io::Error::kind) {
        // Whoever reads has read enough, as `head` does.
        Some(io::ErrorKind::BrokenPipe) => return ExitCode::SUCCESS,
        Some(_) => Class::Transient,
        None => Class::Internal,
    };
    let _ = writeln!(io::stderr(), "probity: {error}");
    ExitCode::from(class.exit_code())
}

/// Writes a result to standard output.
fn print(text: &str) -> Result<(), Failure> {
    use std::io::{ErrorKind, Write as _, stdout};
    let mut stdout = stdout();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        // Whoever reads has read enough, as `head` does.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| {
            Failure::new(
                Reason::Io,
                format!("cannot write the result ({error}): make room for it and run it again"),
            )
        }),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    /// Every subcommand but clap's own `help`.
    fn subcommands() -> Vec<clap::Command> {
        let mut cli = Cli::command();
        cli.build();
        cli.get_subcommands()
            .filter(|command| command.get_name() != "help")
            .cloned()
            .collect()
    }

    #[test]
    fn the_command_line_makes_sense_to_clap() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_subcommand_teaches() {
        for mut command in subcommands() {
            let name = command.get_name().to_owned();
            let about = command
                .get_about()
                .unwrap_or_else(|| panic!("{name}: no short text"))
                .to_string();
            assert!(about.len() <= 100 && !about.ends_with('.'), "{name}: {about}");
            let long = command
                .get_long_about()
                .unwrap_or_else(|| panic!("{name}: no long text"))
                .to_string();
            assert!(long.len() > about.len() + 80, "{name}: {long}");
            let help = command.render_long_help().to_string();
            let examples = help
                .split("Example")
                .nth(1)
                .unwrap_or_else(|| panic!("{name}: no example"));
            assert!(
                examples.contains(&format!("probity {name} ")),
                "{name}: {examples}"
            );
            for argument in command.get_arguments() {
                assert!(
                    argument.get_help().is_some(),
                    "{name}: {} says nothing",
                    argument.get_id()
                );
            }
        }
    }

    #[test]
    fn examples_are_not_broken_on_a_common_terminal() {
        for command in subcommands() {
            let examples = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            for line in examples.lines() {
                assert!(line.chars().count() <= 100, "{}: {line}", command.get_name());
            }
        }
    }
}
