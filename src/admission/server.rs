//! The HTTPS server the API server asks: TLS, limits, and an answer to every question, whatever the judge does.
//! It decides nothing; what is no question is refused, and a question that cannot be judged in time is denied.

use std::{
    convert::Infallible,
    io,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures::FutureExt as _;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::Watcher,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::TlsAcceptor;

use super::{Answer, Hook, Judge, Metrics, metrics::HungUp, review};
use crate::listen::accept;

/// Between two lines of the log about clients that do not trust us: they try as often as pods are made.
const BETWEEN_COMPLAINTS: Duration = Duration::from_secs(60);

/// How much anybody may ask of the server.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of a body. An object in etcd has at most 1.5 MiB, and an update brings two.
    pub body: usize,
    /// Connections at once; more wait to be accepted.
    pub connections: usize,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// For the head of a request, and between two requests. Longer than the 90 seconds after which the API server closes
    /// an idle connection by itself: we must not close one that it is about to use.
    pub head: Duration,
    /// From the head of a request to its answer. Less than the webhook's `timeoutSeconds`, so that people read our
    /// sentence and not "context deadline exceeded".
    pub request: Duration,
    /// After the stop: how long new requests are still served, because not every node knows yet.
    pub drain: Duration,
    /// After that: how long requests under way may take to finish.
    pub finish: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 3 << 20,
            connections: 1024,
            handshake: Duration::from_secs(5),
            head: Duration::from_secs(120),
            request: Duration::from_millis(4500),
            drain: Duration::from_secs(5),
            finish: Duration::from_secs(5),
        }
    }
}

/// What every connection needs.
struct Shared<J> {
    judge: J,
    metrics: Metrics,
    limits: Limits,
    draining: watch::Receiver<bool>,
    complained: Mutex<Option<Instant>>,
}

/// Serves until `stop` resolves, then drains: new requests are still answered for [`Limits::drain`], each answer asking
/// the client to connect anew, then what is under way is finished.
///
/// HTTP/1.1 alone: the API server asks webhooks for nothing else, because one HTTP/2 connection would bring all its
/// requests to one replica.
pub async fn serve<J: Judge>(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    judge: J,
    metrics: Metrics,
    limits: Limits,
    stop: impl Future<Output = ()> + Send,
) {
    let (drain, draining) = watch::channel(false);
    let shared = Arc::new(Shared {
        judge,
        metrics,
        limits,
        draining,
        complained: Mutex::default(),
    });
    let acceptor = TlsAcceptor::from(tls);
    let ending = async {
        stop.await;
        let _ = drain.send(true);
        tokio::time::sleep(limits.drain).await;
    };
    let connection = |stream, watcher| connection(stream, acceptor.clone(), shared.clone(), watcher);
    let trouble = "cannot accept a connection for admission";
    if !accept(
        listener,
        limits.connections,
        trouble,
        ending,
        limits.finish,
        connection,
    )
    .await
    {
        tracing::warn!("some admission requests were not finished in time");
    }
}

async fn connection<J: Judge>(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    shared: Arc<Shared<J>>,
    watcher: Watcher,
) {
    // Answers are small: they must not wait to be joined with others.
    let _ = stream.set_nodelay(true);
    let limits = shared.limits;
    let stream = match timeout(limits.handshake, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return shared.hung_up(&error),
        Err(_) => return shared.metrics.hung_up(HungUp::Slow),
    };
    let service = service_fn(move |request| {
        let shared = shared.clone();
        async move {
            let mut response = shared.respond(request).await;
            if *shared.draining.borrow() {
                hang_up_after(&mut response);
            }
            Ok::<_, Infallible>(response)
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(serving).await {
        tracing::debug!(%error, "a connection for admission broke off");
    }
}

impl<J> Shared<J> {
    /// A client that does not trust the certificate is seen here and nowhere else: the API server tells only those whom it
    /// refuses.
    fn hung_up(&self, error: &io::Error) {
        if !distrusts(error) {
            tracing::debug!(%error, "a TLS handshake for admission failed");
            return self.metrics.hung_up(HungUp::Broken);
        }
        self.metrics.hung_up(HungUp::Distrusted);
        let mut complained = self.complained.lock().unwrap_or_else(PoisonError::into_inner);
        if complained.is_none_or(|last| last.elapsed() > BETWEEN_COMPLAINTS) {
            *complained = Some(Instant::now());
            tracing::warn!(
                %error,
                "whoever asked does not trust the certificate that admission is served with: see whether it ended, and whether caBundle of the webhook configurations is of who signed it"
            );
        }
    }
}

impl<J: Judge> Shared<J> {
    async fn respond(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let Some(hook) = Hook::at(request.uri().path()) else {
            return text(
                StatusCode::NOT_FOUND,
                "nothing is here: POST an AdmissionReview to /validate or /mutate",
            );
        };
        let response = match self.answer(hook, request).await {
            Ok(response) => return response,
            Err(Refusal(status, message)) => text(status, message),
        };
        self.metrics.refused(hook, response.status().as_u16());
        response
    }

    async fn answer(&self, hook: Hook, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Refusal> {
        let deadline = Instant::now() + self.limits.request;
        if request.method() != Method::POST {
            let message = format!("POST an AdmissionReview to /{hook}");
            return Err(Refusal(StatusCode::METHOD_NOT_ALLOWED, message));
        }
        let body = timeout_at(deadline, self.body(request))
            .await
            .map_err(|_| Refusal(StatusCode::REQUEST_TIMEOUT, "the body took too long".into()))??;
        let began = Instant::now();
        let request =
            review::read(&body).map_err(|error| Refusal(StatusCode::BAD_REQUEST, error.to_string()))?;
        // The objects in the request are copies of their own.
        drop(body);
        let judging = async {
            match hook {
                Hook::Validate => self.judge.validate(&request).await,
                Hook::Mutate => self.judge.mutate(&request).await,
            }
        };
        let answer = match timeout_at(deadline, AssertUnwindSafe(judging).catch_unwind()).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => {
                tracing::error!(%hook, uid = request.uid, namespace = request.namespace, name = request.name, "the judge failed");
                let message = "Probity failed over this request: please report it with the operator's log";
                Answer::deny(500, message)
            }
            Err(_) => Answer::deny(
                504,
                "Probity could not decide in time: try again; if it stays so, see whether the operator reaches the API server",
            ),
        };
        let written = review::write(&request.uid, &answer)
            .map_err(|error| Refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
        self.metrics
            .judged(hook, answer.allowed, answer.code, began.elapsed());
        let mut response = json(written);
        if !answer.allowed && answer.code >= 500 {
            // Another replica may be able to decide, and is asked on another connection alone.
            hang_up_after(&mut response);
        }
        Ok(response)
    }

    async fn body(&self, request: Request<Incoming>) -> Result<Bytes, Refusal> {
        let limit = self.limits.body;
        let read = Limited::new(request.into_body(), limit).collect().await;
        read.map(http_body_util::Collected::to_bytes).map_err(|error| {
            if error.is::<LengthLimitError>() {
                let message = format!("the body has more than {limit} bytes");
                Refusal(StatusCode::PAYLOAD_TOO_LARGE, message)
            } else {
                Refusal(
                    StatusCode::BAD_REQUEST,
                    format!("the body cannot be read: {error}"),
                )
            }
        })
    }
}

/// Whether a handshake failed because the other side does not trust our certificate.
fn distrusts(error: &io::Error) -> bool {
    use rustls::AlertDescription as Alert;
    let error = error.get_ref().and_then(|error| error.downcast_ref());
    matches!(
        error,
        Some(rustls::Error::AlertReceived(
            Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::UnknownCA
        ))
    )
}

/// The connection ends with this response.
fn hang_up_after(response: &mut Response<Full<Bytes>>) {
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
}

/// No question, and why.
struct Refusal(StatusCode, String);

fn json(body: Vec<u8>) -> Response<Full<Bytes>> {
    response(StatusCode::OK, "application/json", body.into())
}

fn text(status: StatusCode, message: impl Into<String>) -> Response<Full<Bytes>> {
    response(status, "text/plain; charset=utf-8", message.into().into())
}

fn response(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
    }
    response
}
