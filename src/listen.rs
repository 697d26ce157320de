//! Accepts connections: so many at a time, and with an orderly end. What is spoken on one is for whoever listens.

use std::{sync::Arc, time::Duration};

use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};

/// After a connection could not be accepted.
const BETWEEN_TRIES: Duration = Duration::from_millis(100);

/// Accepts connections until `end` resolves, at most `places` at once; then waits at most `finish` until those that are there have
/// ended. Whether they had.
///
/// `connection` serves one, and has what serves it watched, so that it is told when the end has come. `trouble` is what is logged
/// when none can be accepted.
pub async fn accept<F>(
    listener: TcpListener,
    places: usize,
    trouble: &'static str,
    end: impl Future<Output = ()>,
    finish: Duration,
    connection: impl Fn(TcpStream, Watcher) -> F,
) -> bool
where
    F: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(places));
    let connections = GracefulShutdown::new();
    let accepting = async {
        loop {
            let Ok(place) = places.clone().acquire_owned().await else {
                return;
            };
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Too many open files, mostly: others have to end first.
                    tracing::warn!(%error, "{trouble}");
                    sleep(BETWEEN_TRIES).await;
                    continue;
                }
            };
            let connection = connection(stream, connections.watcher());
            tokio::spawn(async move {
                connection.await;
                drop(place);
            });
        }
    };
    tokio::select! {
        () = end => {}
        () = accepting => {}
    }
    drop(listener);
    timeout(finish, connections.shutdown()).await.is_ok()
}
