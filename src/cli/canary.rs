//! `probity canary`: listens where a NetworkPolicy lets the operator in and where it must not, and tries the way back to it, so
//! that the operator can see whether anything enforces NetworkPolicies. It reaches nobody but whoever asks, and tells nothing
//! else.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    sync::Semaphore,
    time::timeout,
};

const EXAMPLES: &str = "Example, as the chart's DaemonSet runs it:
  probity canary --open 0.0.0.0:8081 --closed 0.0.0.0:8082 --back 8083 --not-back 8084";

/// How long a connection may take, and a question. Most networks drop what they refuse, without an answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// So many are answered at a time; the others are not.
const AT_ONCE: usize = 8;

/// Listen where one may be reached and where not, on each node
///
/// The operator connects to both: the first must answer, or nothing is known of the node; the second must not, or nothing
/// enforces NetworkPolicies there. A connection is closed as soon as it is there, unless a question mark comes over the first:
/// then it is tried to reach whoever asks, where the NetworkPolicy allows that and where not, and the answer is `y` when only
/// the first came through, `n` when both did, and nothing when that is not known.
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
    /// The operator's port that it lets the canary reach.
    #[arg(long, value_name = "PORT", default_value = "8083")]
    back: u16,
    /// The one that it does not.
    #[arg(long, value_name = "PORT", default_value = "8084")]
    not_back: u16,
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
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        let (back, not_back) = (self.back, self.not_back);
        loop {
            tokio::select! {
                _ = term.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
                asked = open.accept() => {
                    // One that broke before it was there is nobody's loss.
                    let (Ok((stream, from)), Ok(turn)) = (asked, turns.clone().try_acquire_owned()) else { continue };
                    tokio::spawn(async move {
                        let _ = answer(stream, from.ip(), back, not_back).await;
                        drop(turn);
                    });
                }
                // Dropped, and so closed.
                _ = closed.accept() => {}
            }
        }
    }
}

/// Answers whoever asks what became of the way back to them.
async fn answer(mut stream: TcpStream, from: IpAddr, back: u16, not_back: u16) -> io::Result<()> {
    let asked = timeout(PATIENCE, stream.read_u8()).await;
    if !matches!(asked, Ok(Ok(b'?'))) {
        return Ok(());
    }
    // The way that is allowed is tried again at last, for whoever asks may go away in between.
    if !connects(from, back).await {
        return Ok(());
    }
    let came_through = connects(from, not_back).await;
    if connects(from, back).await {
        stream.write_u8(if came_through { b'n' } else { b'y' }).await?;
    }
    Ok(())
}

async fn connects(address: IpAddr, port: u16) -> bool {
    let connecting = TcpStream::connect(SocketAddr::new(address, port));
    matches!(timeout(PATIENCE, connecting).await, Ok(Ok(_)))
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;

    async fn port(listens: bool) -> (Option<TcpListener>, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        (listens.then_some(listener), port)
    }

    #[test_case(b"?", true, false => Some(b'y'); "only what is allowed comes through")]
    #[test_case(b"?", true, true => Some(b'n'); "what is forbidden does as well")]
    #[test_case(b"?", false, false => None; "nothing does")]
    #[test_case(b"?", false, true => None; "without the control nothing is known")]
    #[test_case(b"!", true, false => None; "another question")]
    #[test_case(b"", true, false => None; "no question")]
    #[tokio::test]
    async fn the_way_back(question: &[u8], back: bool, not_back: bool) -> Option<u8> {
        let ((_kept, back), (_also, not_back)) = (port(back).await, port(not_back).await);
        let canary = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = canary.local_addr().unwrap();
        let answering = tokio::spawn(async move {
            let (stream, from) = canary.accept().await.unwrap();
            answer(stream, from.ip(), back, not_back).await
        });
        let mut asking = TcpStream::connect(address).await.unwrap();
        asking.write_all(question).await.unwrap();
        asking.shutdown().await.unwrap();
        let answer = asking.read_u8().await.ok();
        answering.await.unwrap().unwrap();
        answer
    }
}
