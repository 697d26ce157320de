//! `probity completions`: writes what a shell needs to complete our command line.
//! It prints only; where the script goes is the user's business.

use std::{io::Write as _, process::ExitCode};

use clap::CommandFactory as _;
use clap_complete::Shell;

/// Write a completion script for a shell.
///
/// The script goes to standard output and covers every subcommand and option of this very version: write it again after
/// an upgrade, or load it anew with each shell, as in the first example.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  For this shell, now:
    source <(probity completions bash)
  For good:
    probity completions bash \\
      > ~/.local/share/bash-completion/completions/probity
    probity completions zsh > ~/.zfunc/_probity        # a folder in $fpath
    probity completions fish > ~/.config/fish/completions/probity.fish")]
pub struct Args {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

impl Args {
    /// Runs the subcommand.
    pub fn run(self) -> ExitCode {
        // Into memory first: the generator panics when it cannot write.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::Cli::command(), "probity", &mut script);
        let mut stdout = std::io::stdout();
        match stdout.write_all(&script).and_then(|()| stdout.flush()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => super::fail(&error),
        }
    }
}
