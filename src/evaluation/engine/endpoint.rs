//! A served model, asked over the Open Inference Protocol v2 (REST, numbers as JSON).
//! What it answers is somebody else's: bounded in bytes, time and number, and read strictly. It sees ordinary requests of
//! an ordinary client, so that it cannot behave better while it is measured.

mod protocol;

use std::time::Duration;

use reqwest::{Response, StatusCode, Url, header};

use self::protocol::Metadata;
use crate::evaluation::model::{Fault, Model, ModelError, Rows, Scores};

/// How an endpoint is asked.
#[derive(Debug, Clone)]
pub struct EndpointOptions {
    /// The output that has the scores; without it `logits`, or else the first of floats with the shape [n, classes].
    pub output: Option<String>,
    /// Sent as `Authorization: Bearer …`.
    pub token: Option<String>,
    /// How long one request may take.
    pub timeout: Duration,
    /// How often a request is made before the endpoint counts as unavailable; 1 at least.
    pub attempts: u32,
    /// The first pause before a request is made again; each further one is twice as long, to ten seconds.
    pub pause: Duration,
    /// Requests in all, repeated ones as well.
    pub requests: u64,
    /// Bytes of one answer.
    pub answer: usize,
    /// Rows of one request.
    pub batch: usize,
}

impl Default for EndpointOptions {
    /// 30 seconds, five attempts from 200 ms on, a million requests, 64 MiB, 64 rows.
    fn default() -> Self {
        Self {
            output: None,
            token: None,
            timeout: Duration::from_secs(30),
            attempts: 5,
            pause: Duration::from_millis(200),
            requests: 1_000_000,
            answer: 64 << 20,
            batch: 64,
        }
    }
}

/// Longest pause before a request is made again, whatever the endpoint asks for.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A model at an address.
pub struct Endpoint {
    runtime: tokio::runtime::Runtime,
    http: reqwest::Client,
    model: Url,
    infer: Url,
    options: EndpointOptions,
    /// Requests made.
    made: u64,
    metadata: Metadata,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint")
            .field("model", &self.model.as_str())
            .finish_non_exhaustive()
    }
}

/// What became of a request.
enum Reply {
    /// An answer.
    Body(Vec<u8>),
    /// A guard refused it.
    Blocked,
    /// It was not answered in a way that can be read: too long, or not taken.
    Unreadable,
}

impl Endpoint {
    /// Asks the endpoint at `url` (`http://host:port`, without `/v2`) what the model `name` takes.
    ///
    /// Blocks, as all of it does: not to be called from asynchronous code, where it is an error.
    ///
    /// # Errors
    /// [`ModelError`]: the address makes no sense, nobody answers, or the model takes something other than one tensor
    /// of FP32.
    pub fn connect(url: &str, name: &str, options: EndpointOptions) -> Result<Self, ModelError> {
        let unusable = |problem: String| ModelError::Unusable {
            model: format!("{name} at {url}"),
            problem,
        };
        let internal =
            |problem: String| ModelError::Internal(format!("cannot start asking {url} ({problem})"));
        let model = address(url, name).map_err(unusable)?;
        let mut infer = model.clone();
        if let Ok(mut path) = infer.path_segments_mut() {
            path.push("infer");
        }
        if tokio::runtime::Handle::try_current().is_ok() {
            return Err(internal("asked from asynchronous code".to_owned()));
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| internal(error.to_string()))?;
        // reqwest panics without a process-wide provider. The binary installs one first thing; tests need not.
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        }
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(options.timeout)
            .build()
            .map_err(|error| internal(error.to_string()))?;
        let mut endpoint = Self {
            runtime,
            http,
            model,
            infer,
            options,
            made: 0,
            metadata: Metadata::default(),
        };
        let Reply::Body(body) = endpoint.request(None)? else {
            return Err(unusable(
                "it does not say what it takes: open GET /v2/models/… to us".to_owned(),
            ));
        };
        endpoint.metadata = Metadata::read(&body).map_err(unusable)?;
        Ok(endpoint)
    }

    /// Requests made so far.
    pub fn requests(&self) -> u64 {
        self.made
    }

    /// The name of the model's address, for reports.
    pub fn url(&self) -> &str {
        self.model.as_str()
    }

    /// Makes a request until it is answered in a way that does not ask for another: GET of the metadata without a body,
    /// POST of an inference with one.
    fn request(&mut self, body: Option<&str>) -> Result<Reply, ModelError> {
        let mut pause = self.options.pause;
        let attempts = self.options.attempts.max(1);
        for attempt in 1..=attempts {
            if self.made >= self.options.requests {
                return Err(ModelError::Requests(self.options.requests));
            }
            self.made += 1;
            let tried = self.runtime.block_on(attempt_once(
                &self.http,
                if body.is_some() { &self.infer } else { &self.model },
                self.options.token.as_deref(),
                body,
                self.options.answer,
            ))?;
            let (problem, asked) = match tried {
                Tried::Answered(reply) => return Ok(reply),
                Tried::Later(problem, asked) => (problem, asked),
            };
            if attempt == attempts {
                return Err(ModelError::Unavailable {
                    endpoint: host(&self.model),
                    problem,
                    attempts,
                });
            }
            let wait = asked.unwrap_or(pause).min(LONGEST_PAUSE);
            // Within the runtime: a timer cannot be made outside of one.
            self.runtime.block_on(async { tokio::time::sleep(wait).await });
            pause = pause.saturating_mul(2);
        }
        Err(ModelError::Internal("a request was not made".to_owned()))
    }

    /// The scores of rows, asked together; where together is refused, half by half, so that one row's fault is its own.
    fn ask(&mut self, rows: Rows<'_>) -> Result<Scores, ModelError> {
        let body = self
            .metadata
            .request(rows, self.options.output.as_deref())
            .map_err(|error| ModelError::Internal(format!("cannot write a request ({error})")))?;
        let fault = match self.request(Some(&body))? {
            Reply::Body(body) => {
                return Ok(protocol::scores(
                    &body,
                    rows.len(),
                    self.options.output.as_deref(),
                ));
            }
            Reply::Blocked => Fault::Blocked,
            Reply::Unreadable => Fault::Unreadable,
        };
        if rows.len() <= 1 {
            return Ok(Scores::without(rows.len(), fault));
        }
        let (first, rest) = rows.halves();
        let mut scores = self.ask(first)?;
        scores.append(self.ask(rest)?);
        Ok(scores)
    }
}

impl Model for Endpoint {
    fn scores(&mut self, rows: Rows<'_>) -> Result<Scores, ModelError> {
        self.metadata.check(rows)?;
        let mut all = Scores::default();
        for part in rows.parts(self.batch()) {
            all.append(self.ask(part)?);
        }
        Ok(all)
    }

    fn batch(&self) -> usize {
        self.metadata.fixed_batch().unwrap_or(self.options.batch).max(1)
    }
}

/// `/v2/models/NAME` of an endpoint, the name as one segment whatever is in it.
fn address(url: &str, name: &str) -> Result<Url, String> {
    let remedy = "give --endpoint as http://host:port";
    let mut address =
        Url::parse(url).map_err(|error| format!("its address makes no sense ({error}); {remedy}"))?;
    if !matches!(address.scheme(), "http" | "https")
        || !address.username().is_empty()
        || address.password().is_some()
    {
        return Err(format!("its address is not one of HTTP alone; {remedy}"));
    }
    if matches!(name, "" | "." | "..") {
        return Err("its name is none; give --model".to_owned());
    }
    address.set_query(None);
    address.set_fragment(None);
    address
        .path_segments_mut()
        .map_err(|()| format!("its address has no path; {remedy}"))?
        .pop_if_empty()
        .extend(["v2", "models", name]);
    Ok(address)
}

fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// One attempt.
enum Tried {
    Answered(Reply),
    /// It may be answered later; what happened, and when it should be tried again.
    Later(String, Option<Duration>),
}

async fn attempt_once(
    http: &reqwest::Client,
    url: &Url,
    token: Option<&str>,
    body: Option<&str>,
    most: usize,
) -> Result<Tried, ModelError> {
    let mut request = match body {
        Some(body) => http
            .post(url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .body(body.to_owned()),
        None => http.get(url.clone()),
    };
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    match request.send().await {
        Ok(response) => judge(response, url, body.is_some(), most).await,
        Err(error) => Ok(Tried::Later(broke(error), None)),
    }
}

/// What an answer means.
async fn judge(response: Response, url: &Url, inference: bool, most: usize) -> Result<Tried, ModelError> {
    let status = response.status();
    let refused = |remedy| ModelError::Refused {
        endpoint: host(url),
        status: status.as_u16(),
        what: url.path().to_owned(),
        remedy,
    };
    match status {
        StatusCode::OK => match whole(response, most).await {
            Ok(Some(body)) => Ok(Tried::Answered(Reply::Body(body))),
            Ok(None) => Ok(Tried::Answered(Reply::Unreadable)),
            Err(error) => Ok(Tried::Later(broke(error), None)),
        },
        StatusCode::UNAUTHORIZED => Err(ModelError::Denied { endpoint: host(url) }),
        StatusCode::FORBIDDEN | StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS if inference => {
            Ok(Tried::Answered(Reply::Blocked))
        }
        StatusCode::FORBIDDEN => Err(refused("let us ask for it")),
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Err(refused(
            "check --endpoint and --model, and that it speaks the Open Inference Protocol v2",
        )),
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => {
            let after = response.headers().get(header::RETRY_AFTER);
            let after = after.and_then(|text| text.to_str().ok()?.trim().parse().ok());
            let problem = format!("answered {} for {}", status.as_u16(), url.path());
            Ok(Tried::Later(problem, after.map(Duration::from_secs)))
        }
        _ if status.is_redirection() => Err(refused("give the address it redirects to")),
        _ if inference => Ok(Tried::Answered(Reply::Unreadable)),
        _ => Err(refused("look at the endpoint's log")),
    }
}

/// The body, if it is not too long.
async fn whole(mut response: Response, most: usize) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > most {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}

/// What went wrong on the way, with the innermost cause, which says most.
fn broke(error: reqwest::Error) -> String {
    let error = error.without_url();
    if error.is_timeout() {
        return "did not answer in time".to_owned();
    }
    let mut cause: &dyn std::error::Error = &error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let cause: String = cause
        .to_string()
        .chars()
        .filter(|c| !c.is_control())
        .take(300)
        .collect();
    let verb = if error.is_connect() {
        "cannot be reached"
    } else {
        "broke off"
    };
    format!("{verb} ({cause})")
}

#[cfg(test)]
mod tests;
