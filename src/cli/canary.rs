//! `probity canary`: listens where a NetworkPolicy lets the operator in and where it must not, so that the operator can see
//! whether anything enforces it. It says nothing and reads nothing.

use std::{io, net::SocketAddr, process::ExitCode};

use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

const EXAMPLES: &str = "Example, as the chart's DaemonSet runs it:
  probity canary --open 0.0.0.0:8081 --closed 0.0.0.0:8082";

/// Listen where one may be reached and where not, on each node
///
/// The operator connects to both: the first must answer, or nothing is known of the node; the second must not, or nothing
/// enforces NetworkPolicies there. A connection is closed as soon as it is there, and nothing is read from it.
///
/// Both are listened on before either answers, so that silence on the second is never for want of a listener.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Where the NetworkPolicy lets the operator in.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8081")]
    open: SocketAddr,
    /// Where it lets nobody in.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8082")]
    closed: SocketAddr,
}

impl Args {
    /// Runs the subcommand.
    pub fn run(self) -> ExitCode {
        let listened = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .and_then(|runtime| runtime.block_on(self.listen()));
        match listened {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => super::fail(&error),
        }
    }

    async fn listen(self) -> io::Result<()> {
        let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let (open, closed) = (
            TcpListener::bind(self.open).await?,
            TcpListener::bind(self.closed).await?,
        );
        loop {
            tokio::select! {
                _ = term.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
                // Dropped, and so closed. One that broke before it was there is nobody's loss.
                _ = open.accept() => {}
                _ = closed.accept() => {}
            }
        }
    }
}
