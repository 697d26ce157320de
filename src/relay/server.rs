//! The HTTPS server: TLS, how many at a time, how long for what, and an orderly end.
//! It looks into no request.

use std::{convert::Infallible, sync::Arc, time::Duration};

use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::Watcher,
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use super::{Cluster, Relay, serve::refusal, stall::Stall};
use crate::{
    evidence::{Failure, Reason},
    listen::accept,
};

/// How much anybody may ask of the server.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once; more wait to be accepted. A namespace may have as many as it leaves free.
    pub connections: usize,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// For the head of a request, and between two requests.
    pub head: Duration,
    /// From the head of a request to the head of its answer. Less than `probity fetch` waits, so that it hears why.
    pub answer: Duration,
    /// For the other side to take anything of what it is sent.
    pub stall: Duration,
    /// After the stop, for what is under way.
    pub finish: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(30),
            answer: Duration::from_secs(55),
            stall: Duration::from_secs(60),
            finish: Duration::from_secs(25),
        }
    }
}

/// Bytes that wait in one connection to be encrypted, and to be sent. What is large is read in pieces anyway.
const BUFFER: usize = 32 << 10;

/// Serves until `stop` resolves, then lets what is under way end for [`Limits::finish`]: `probity fetch` asks again for
/// what was broken off, and by then somebody else answers.
pub async fn serve<C: Cluster>(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    relay: Arc<Relay<C>>,
    limits: Limits,
    stop: impl Future<Output = ()> + Send,
) {
    let acceptor = TlsAcceptor::from(tls);
    let served = |stream, watcher| {
        let connection = connection(stream, acceptor.clone(), relay.clone(), limits, watcher);
        let metrics = relay.metrics.clone();
        async move {
            metrics.connected();
            connection.await;
            metrics.disconnected();
        }
    };
    let trouble = "cannot accept a connection";
    if !accept(listener, limits.connections, trouble, stop, limits.finish, served).await {
        tracing::warn!("some transfers were not finished in time and are broken off");
    }
}

async fn connection<C: Cluster>(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    relay: Arc<Relay<C>>,
    limits: Limits,
    watcher: Watcher,
) {
    let _ = stream.set_nodelay(true);
    let stream = Stall::new(stream, limits.stall);
    let handshake = acceptor.accept_with(stream, |connection| {
        connection.set_buffer_limit(Some(BUFFER));
    });
    let stream = match timeout(limits.handshake, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => return tracing::debug!("a TLS handshake took too long"),
    };
    let place = Arc::new(relay.places.come());
    let service = service_fn(move |request: Request<Incoming>| {
        let (relay, place) = (relay.clone(), place.clone());
        async move {
            let answering = timeout(limits.answer, relay.respond(&request, &place)).await;
            Ok::<_, Infallible>(answering.unwrap_or_else(|_| {
                let failure = Failure::new(
                    Reason::Timeout,
                    "the relay or the registry behind it is too busy: it is tried again; if it stays, look at both",
                );
                refusal(&failure.into())
            }))
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(serving).await {
        tracing::debug!(%error, "a connection broke off");
    }
}
