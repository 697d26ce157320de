//! Asks registries: resolves tags, reads manifests, opens blobs.
//! It believes no answer whose digest it has not compared, follows no redirect that the operator's list does not allow,
//! and writes nothing anywhere.

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderValue, StatusCode, header};
use reqwest::{Response, Url};
use tokio::time::{Instant, timeout};

use super::{
    answer::{Asked, RegistryError},
    auth::{Challenge, Sessions, Token, TokenKey, basic_header},
    blob::Blob,
    credentials::{Basic, Credentials},
    hosts::{HostPolicy, host_of, same_origin},
    manifest::{self, MAX_MANIFEST, VerifiedBytes},
    relay::Relay,
};
use crate::evidence::{Digest, Failure, Reason, Reference};

/// How long each part of a conversation may take. Every operation can also be cancelled by dropping its future.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Until a connection stands, TLS included.
    pub connect: Duration,
    /// Until the headers of an answer are there, the connection included.
    pub headers: Duration,
    /// Between two pieces of a body.
    pub stall: Duration,
    /// For a manifest in all, with challenge, token and redirects.
    pub manifest: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            headers: Duration::from_secs(15),
            stall: Duration::from_secs(30),
            manifest: Duration::from_secs(30),
        }
    }
}

impl Timeouts {
    /// For asking a relay: a thousand others may ask it at the same time, and it asks a registry first.
    pub const fn through_relay() -> Self {
        Self {
            connect: Duration::from_secs(30),
            headers: Duration::from_secs(60),
            stall: Duration::from_secs(60),
            manifest: Duration::from_secs(90),
        }
    }
}

/// Redirects followed for one request.
const MAX_REDIRECTS: usize = 5;
/// At most this many bytes of a token server's answer are read.
const MAX_TOKEN_ANSWER: usize = 1 << 20;
/// At most this many bytes of a relay's failure are read: a code and a sentence.
const MAX_FAILURE: usize = 16 << 10;
/// How rustls says that whoever verifies a certificate did not take it: only a relay's verifier says that.
const STRANGER: &str = "ApplicationVerificationFailure";

/// What all connections have in common.
fn http(timeouts: Timeouts) -> reqwest::ClientBuilder {
    // reqwest panics without a process-wide provider. The binary installs one first thing; tests need not.
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }
    reqwest::Client::builder()
        .user_agent(concat!("probity/", env!("CARGO_PKG_VERSION")))
        // Redirects are judged one by one in `follow`; a proxy from the environment would see the credentials.
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .referer(false)
        .connect_timeout(timeouts.connect)
        .pool_idle_timeout(Duration::from_secs(30))
}

/// Asks registries under one [`HostPolicy`] with one set of [`Credentials`]. Cheap to clone; clones share connections,
/// and tokens.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    hosts: Arc<HostPolicy>,
    timeouts: Timeouts,
    credentials: Arc<Credentials>,
    sessions: Arc<Sessions>,
    /// Who is asked in the registries' place.
    relay: Option<Arc<Relay>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("hosts", &self.hosts)
            .field("timeouts", &self.timeouts)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// An anonymous client.
    ///
    /// # Errors
    /// [`Reason::Io`] when the machine has no CA certificates.
    pub fn new(hosts: HostPolicy, timeouts: Timeouts) -> Result<Self, Failure> {
        let http = http(timeouts).build().map_err(|error| {
                Failure::new(
                    Reason::Io,
                    format!("no TLS to registries ({error}): install CA certificates, or name a file with them in SSL_CERT_FILE"),
                )
            })?;
        Ok(Self::with(http, hosts, timeouts, None))
    }

    /// A client that asks a relay for everything, whatever registry it lies in. It holds no credentials, and no registry
    /// and no other host ever hears of it.
    ///
    /// # Errors
    /// [`Reason::Internal`] when there can be no TLS at all.
    pub fn relayed(relay: Relay, timeouts: Timeouts) -> Result<Self, Failure> {
        let http = http(timeouts)
            .tls_backend_preconfigured(relay.tls()?)
            .build()
            .map_err(|error| Failure::new(Reason::Internal, format!("no TLS to the relay: {error}")))?;
        Ok(Self::with(http, HostPolicy::default(), timeouts, Some(relay)))
    }

    fn with(http: reqwest::Client, hosts: HostPolicy, timeouts: Timeouts, relay: Option<Relay>) -> Self {
        Self {
            http,
            hosts: Arc::new(hosts),
            timeouts,
            credentials: Arc::default(),
            sessions: Arc::default(),
            relay: relay.map(Arc::new),
        }
    }

    /// The same client with these credentials: connections are shared, tokens are not, so that what one secret may
    /// read is never read with another.
    #[must_use]
    pub fn with_credentials(&self, credentials: Credentials) -> Self {
        Self {
            credentials: Arc::new(credentials),
            sessions: Arc::default(),
            ..self.clone()
        }
    }

    /// The digest that a reference stands for now.
    ///
    /// A reference with a digest is its own answer and asks nobody. A tag's manifest is read and hashed, though a `HEAD`
    /// would be shorter: the header `Docker-Content-Digest` is only what the registry says, and a digest that we did
    /// not compute ourselves would be pinned on its word.
    pub async fn resolve(&self, reference: &Reference) -> Result<Digest, RegistryError> {
        if let Some(digest) = reference.digest() {
            return Ok(digest);
        }
        let tag = reference.tag().unwrap_or_default();
        let verified = self.manifest_at(reference, tag).await?;
        manifest::check_kind(&verified)?;
        Ok(verified.digest())
    }

    /// The digest of the container image that a reference stands for now: of one image, or of the index of one for several
    /// kinds of machines. Read and hashed as in [`Client::resolve`].
    ///
    /// # Errors
    /// [`Reason::UnsupportedMediaType`] when there is something else, and what a registry's answers mean.
    pub async fn resolve_image(&self, reference: &Reference) -> Result<Digest, RegistryError> {
        if let Some(digest) = reference.digest() {
            return Ok(digest);
        }
        let tag = reference.tag().unwrap_or_default();
        let verified = self.manifest_at(reference, tag).await?;
        manifest::check_image(&verified)?;
        Ok(verified.digest())
    }

    /// The manifest of a pinned reference, exactly the bytes of its digest.
    ///
    /// # Errors
    /// [`Reason::MalformedReference`] when the reference has no digest, [`Reason::DigestMismatch`] when the registry
    /// sends other bytes, [`Reason::LimitExceeded`] when there are more than [`MAX_MANIFEST`], and what a registry's
    /// answers mean.
    pub async fn manifest(&self, reference: &Reference) -> Result<VerifiedBytes, RegistryError> {
        let Some(digest) = reference.digest() else {
            return Err(RegistryError::new(
                Reason::MalformedReference,
                format!("{reference} is not pinned: add @sha256:…"),
            ));
        };
        let verified = self.manifest_at(reference, &digest.to_string()).await?;
        if verified.digest() != digest {
            return Err(RegistryError::new(
                Reason::DigestMismatch,
                format!(
                    "what {} sends for {reference} has the digest {}: push the model again, and look for what altered it",
                    reference.host(),
                    verified.digest().short()
                ),
            ));
        }
        Ok(verified)
    }

    async fn manifest_at(&self, reference: &Reference, name: &str) -> Result<VerifiedBytes, RegistryError> {
        let asked = Asked::manifest(reference);
        let path = format!("v2/{}/manifests/{name}", reference.repository());
        let read = async {
            let (response, host) = self.get(&asked, reference, &path, manifest::ACCEPT).await?;
            let content_type = response
                .headers()
                .get(header::CONTENT_TYPE)
                .and_then(|v| v.to_str().ok())
                .map(ToOwned::to_owned);
            let bytes = self.read(&asked, &host, response, MAX_MANIFEST).await?;
            Ok(VerifiedBytes::hash(bytes, content_type.as_deref()))
        };
        timeout(self.timeouts.manifest, read)
            .await
            .map_err(|_| asked.slow(reference.host(), "sending the manifest"))?
    }

    /// Opens a blob of the reference's repository. `size` is what the manifest says; the stream ends in an error when
    /// size or digest turn out different.
    pub async fn blob(
        &self,
        reference: &Reference,
        digest: Digest,
        size: u64,
    ) -> Result<Blob, RegistryError> {
        let asked = Asked::blob(reference, &digest);
        let path = format!("v2/{}/blobs/{digest}", reference.repository());
        let (response, host) = self
            .get(&asked, reference, &path, "application/octet-stream, */*")
            .await?;
        Ok(Blob::new(
            response,
            (digest, size),
            self.timeouts.stall,
            (host, asked),
        ))
    }

    /// A successful answer and the host it came from, challenges answered and redirects followed.
    async fn get(
        &self,
        asked: &Asked,
        reference: &Reference,
        path: &str,
        accept: &'static str,
    ) -> Result<(Response, String), RegistryError> {
        if let Some(relay) = &self.relay {
            return self
                .ask(relay, asked, relay.locate(reference, path)?, accept)
                .await;
        }
        let registry = self.hosts.registry(reference.host())?;
        let url = registry.join(path).map_err(|_| {
            RegistryError::new(
                Reason::MalformedReference,
                format!("{} makes no URL: correct the reference", asked.what),
            )
        })?;
        let visit = Visit {
            asked,
            reference,
            registry: &registry,
            accept,
        };
        let basic = self
            .credentials
            .for_repository(reference.host(), reference.repository())?;

        // What the repository wanted last time is brought along at once; most requests are answered then.
        let known = self.sessions.challenge(reference.host(), reference.repository());
        let mut authorization = match &known {
            Some(challenge) => self.answer(&visit, challenge, basic.as_ref()).await?,
            None => None,
        };
        let (mut response, mut at) = self.follow(&visit, url.clone(), authorization.as_ref()).await?;
        if response.status() == StatusCode::UNAUTHORIZED
            && same_origin(&at, &registry)
            && let Some(challenge) = Challenge::choose(response.headers())
        {
            if let Challenge::Bearer { realm, service } = &challenge {
                let key = TokenKey::to_pull(realm, service.as_deref(), reference.repository());
                self.sessions.forget(&key);
            }
            let answer = self.answer(&visit, &challenge, basic.as_ref()).await?;
            // The same password a second time would only count against the account.
            if answer.is_some() && answer != authorization {
                authorization = answer;
                (response, at) = self.follow(&visit, url, authorization.as_ref()).await?;
                self.sessions
                    .remember(reference.host(), reference.repository(), challenge);
            }
        }
        let host = host_of(&at);
        if response.status().is_success() {
            Ok((response, host))
        } else {
            let authenticated = basic.is_some() && authorization.is_some();
            Err(asked.status(&host, response.status(), response.headers(), authenticated))
        }
    }

    /// A successful answer of the relay. What it could not do it says as the failure itself, which is ours then.
    async fn ask(
        &self,
        relay: &Relay,
        asked: &Asked,
        url: Url,
        accept: &'static str,
    ) -> Result<(Response, String), RegistryError> {
        let host = host_of(&url);
        let authorization = relay.authorization()?;
        let response = self
            .once(asked, &url, accept, Some(&authorization))
            .await
            .map_err(|error| {
                if error.failure.message.contains(STRANGER) {
                    relay.stranger(&host).into()
                } else {
                    error
                }
            })?;
        let (status, headers) = (response.status(), response.headers().clone());
        if status.is_success() {
            return Ok((response, host));
        }
        let mut error = asked.status(&host, status, &headers, true);
        let body = self.read(asked, &host, response, MAX_FAILURE).await;
        if let Some(said) = body
            .ok()
            .and_then(|body| serde_json::from_slice::<Failure>(&body).ok())
        {
            // Cut again: it is somebody else's sentence.
            error.failure = Failure::new(said.reason, said.message);
        }
        Err(error)
    }

    /// Sends a request and follows redirects, each judged by the host policy. The authorization goes to the registry's
    /// own origin only: a redirect target elsewhere never sees it, on the operator's list or not.
    async fn follow(
        &self,
        visit: &Visit<'_>,
        mut url: Url,
        authorization: Option<&HeaderValue>,
    ) -> Result<(Response, Url), RegistryError> {
        for _ in 0..=MAX_REDIRECTS {
            let own = authorization.filter(|_| same_origin(&url, visit.registry));
            let response = self.once(visit.asked, &url, visit.accept, own).await?;
            let location = match response.status().as_u16() {
                301 | 302 | 303 | 307 | 308 => response.headers().get(header::LOCATION),
                _ => return Ok((response, url)),
            };
            let location = location.and_then(|value| value.to_str().ok()).unwrap_or_default();
            url = self.hosts.redirect(visit.registry, &url, location)?;
        }
        Err(RegistryError::new(
            Reason::RegistryUnavailable,
            format!(
                "{} redirects in circles for {}: correct its configuration",
                visit.reference.host(),
                visit.asked.what
            ),
        ))
    }

    async fn once(
        &self,
        asked: &Asked,
        url: &Url,
        accept: &'static str,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, RegistryError> {
        let mut request = self.http.get(url.clone()).header(header::ACCEPT, accept);
        if let Some(value) = authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        let host = host_of(url);
        timeout(self.timeouts.headers, request.send())
            .await
            .map_err(|_| asked.slow(&host, "to answer"))?
            .map_err(|error| asked.unreachable(&host, error))
    }

    /// The header that answers a challenge; `None` when it wants a password and there is none.
    async fn answer(
        &self,
        visit: &Visit<'_>,
        challenge: &Challenge,
        basic: Option<&Basic>,
    ) -> Result<Option<HeaderValue>, RegistryError> {
        match challenge {
            Challenge::Basic => Ok(basic.and_then(basic_header)),
            Challenge::Bearer { realm, service } => {
                let url = self.hosts.realm(visit.registry, realm)?;
                let key = TokenKey::to_pull(realm, service.as_deref(), visit.reference.repository());
                if let Some(token) = self.sessions.token(&key, Instant::now()) {
                    return Ok(Some(token.header));
                }
                let token = self.token(visit.asked, url, &key, basic).await?;
                let header = token.header.clone();
                self.sessions.keep(key, token);
                Ok(Some(header))
            }
        }
    }

    /// Asks a token realm, which the host policy has allowed, for a token.
    async fn token(
        &self,
        asked: &Asked,
        mut url: Url,
        key: &TokenKey,
        basic: Option<&Basic>,
    ) -> Result<Token, RegistryError> {
        {
            let mut query = url.query_pairs_mut();
            if let Some(service) = &key.service {
                query.append_pair("service", service);
            }
            query.append_pair("scope", &key.scope);
        }
        let host = host_of(&url);
        let authorization = basic.and_then(basic_header);
        let response = self
            .once(asked, &url, "application/json", authorization.as_ref())
            .await?;
        let status = response.status();
        if status.is_redirection() {
            return Err(RegistryError::new(
                Reason::HostNotAllowed,
                format!(
                    "the token realm {host} redirects, which is not followed because a password would go along: correct the registry's realm"
                ),
            ));
        }
        if !status.is_success() {
            return Err(asked.status(&host, status, response.headers(), authorization.is_some()));
        }
        let json = self.read(asked, &host, response, MAX_TOKEN_ANSWER).await?;
        Token::read(&json, Instant::now()).ok_or_else(|| {
            RegistryError::new(
                Reason::RegistryUnavailable,
                format!(
                    "the token realm {host} gave no token for {}: look at its logs",
                    asked.what
                ),
            )
        })
    }

    /// Reads a body up to a cap, whatever length it announces.
    async fn read(
        &self,
        asked: &Asked,
        host: &str,
        mut response: Response,
        cap: usize,
    ) -> Result<Vec<u8>, RegistryError> {
        let mut all = Vec::new();
        while let Some(bytes) = timeout(self.timeouts.stall, response.chunk())
            .await
            .map_err(|_| asked.slow(host, "sending"))?
            .map_err(|error| asked.unreachable(host, error))?
        {
            if all.len() + bytes.len() > cap {
                return Err(RegistryError::new(
                    Reason::LimitExceeded,
                    format!(
                        "what {host} sends for {} is larger than {cap} bytes: check that it is a model",
                        asked.what
                    ),
                ));
            }
            all.extend_from_slice(&bytes);
        }
        Ok(all)
    }
}

/// What stays the same while one request is answered, challenged and redirected.
struct Visit<'a> {
    asked: &'a Asked,
    reference: &'a Reference,
    registry: &'a Url,
    accept: &'static str,
}
