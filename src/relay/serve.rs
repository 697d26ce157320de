//! Answers one request: who asks, may they have it, and the bytes.
//! It decides nothing itself; each question has a module of its own.

use std::sync::Arc;

use http::{HeaderValue, Method, Request, Response, StatusCode, header};

use super::{
    Cluster, Grant, Relay, TokenHolder,
    body::{Body, Flow, whole},
    path::{Asked, Kind},
    places::Place,
    proofs::{Proof, not_granted},
    shelf::Found,
};
use crate::{
    artifact::oci::RegistryError,
    evidence::{Failure, Reason},
};

/// Manifests of one repository that are looked through for a blob.
const MOST_MANIFESTS: usize = 8;

impl<C: Cluster> Relay<C> {
    /// Answers, and counts it.
    pub(super) async fn respond<B>(&self, request: &Request<B>, place: &Place) -> Response<Body> {
        let response = self
            .answer(request, place)
            .await
            .unwrap_or_else(|error| refusal(&error));
        self.metrics.answered(response.status().as_u16());
        response
    }

    async fn answer<B>(&self, request: &Request<B>, place: &Place) -> Result<Response<Body>, RegistryError> {
        let asked = Asked::read(request.uri().path()).filter(|_| request.method() == Method::GET);
        let asked = asked.ok_or_else(|| {
            Failure::new(
                Reason::NotFound,
                "the relay has nothing here: GET /v2/HOST/REPOSITORY/manifests/sha256:… or …/blobs/sha256:…",
            )
        })?;
        let holder = self.callers.of(request.headers()).await?;
        place.take(&holder.namespace)?;
        match asked.kind {
            Kind::Manifest => self.manifest(&holder, &asked).await,
            Kind::Blob => self.blob(&holder, &asked).await,
        }
    }

    async fn manifest(&self, holder: &TokenHolder, asked: &Asked) -> Result<Response<Body>, RegistryError> {
        let namespace = holder.namespace.as_str();
        let grants = self
            .models
            .granted(namespace, |grant| grant.reference == asked.at)
            .await?;
        let mut refused = not_granted(namespace, &asked.at.to_string()).into();
        for grant in &grants {
            match self.proofs.of(namespace, grant).await {
                Ok(proof) => {
                    let mut response = Response::new(whole(proof.manifest.bytes().clone()));
                    if let Some(kind) = proof.manifest.content_type()
                        && let Ok(kind) = HeaderValue::from_str(kind)
                    {
                        response.headers_mut().insert(header::CONTENT_TYPE, kind);
                    }
                    return Ok(response);
                }
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    async fn blob(&self, holder: &TokenHolder, asked: &Asked) -> Result<Response<Body>, RegistryError> {
        let namespace = holder.namespace.as_str();
        let (grant, proof, size) = self.listed(namespace, asked).await?;
        let outcome = self.flow(&grant, &proof, asked, size).await;
        if outcome
            .as_ref()
            .is_err_and(|error| error.failure.reason == Reason::RegistryDenied)
        {
            self.proofs.doubt(namespace, &grant);
        }
        let mut response = Response::new(outcome?);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_LENGTH, size.into());
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/octet-stream"),
        );
        tracing::debug!(namespace, pod = holder.pod, blob = %asked.digest, size, "a blob is given");
        Ok(response)
    }

    /// The manifest that the namespace may read and that lists the blob, and the blob's size.
    async fn listed(
        &self,
        namespace: &str,
        asked: &Asked,
    ) -> Result<(Grant, Arc<Proof>, u64), RegistryError> {
        let (host, repository) = (asked.at.host(), asked.at.repository());
        let mut grants = self
            .models
            .granted(namespace, |grant| {
                grant.reference.host() == host && grant.reference.repository() == repository
            })
            .await?;
        // Whoever asks for a blob has asked for its manifest just before.
        grants.sort_by_cached_key(|grant| !self.proofs.lists(namespace, grant, &asked.digest));
        let what = format!("in {} with blob {}", asked.at.name(), asked.digest.short());
        let mut refused = not_granted(namespace, &what).into();
        for grant in grants.into_iter().take(MOST_MANIFESTS) {
            match self.proofs.of(namespace, &grant).await {
                Ok(proof) => {
                    if let Some(size) = proof.blobs.get(&asked.digest).copied() {
                        return Ok((grant, proof, size));
                    }
                }
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    /// The blob, once its first bytes are there: until then a failure can still be told.
    async fn flow(
        &self,
        grant: &Grant,
        proof: &Proof,
        asked: &Asked,
        size: u64,
    ) -> Result<Body, RegistryError> {
        let mut flow = match self.shelf.find(&grant.reference, asked.digest, size) {
            Found::Here(reader) => Flow::Shelf(reader),
            Found::Fetch(flight, reader) => {
                tokio::spawn(flight.fly(proof.registry.clone(), grant.reference.clone()));
                Flow::Shelf(reader)
            }
            Found::Failed(error) => return Err(error),
            Found::NoRoom => {
                let turn = self.unkept.clone().acquire_owned().await.map_err(|_| {
                    Failure::new(Reason::Internal, "the relay is no longer there: please report it")
                })?;
                let blob = proof.registry.blob(&grant.reference, asked.digest, size).await?;
                Flow::Registry {
                    blob: Box::new(blob),
                    next: None,
                    _turn: turn,
                }
            }
        };
        let first = flow.next().await?;
        Ok(flow.beginning(first))
    }
}

/// A failure as an answer: `probity fetch` takes it for its own.
pub(super) fn refusal(error: &RegistryError) -> Response<Body> {
    let failure = &error.failure;
    let status = match failure.reason {
        Reason::CredentialsMissing => StatusCode::UNAUTHORIZED,
        Reason::RegistryDenied | Reason::HostNotAllowed => StatusCode::FORBIDDEN,
        Reason::NotFound => StatusCode::NOT_FOUND,
        Reason::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        Reason::NotReadYet => StatusCode::SERVICE_UNAVAILABLE,
        Reason::Timeout => StatusCode::GATEWAY_TIMEOUT,
        Reason::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_GATEWAY,
    };
    let mut response = Response::new(whole(serde_json::to_vec(failure).unwrap_or_default().into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(wait) = error.retry_after {
        headers.insert(header::RETRY_AFTER, wait.as_secs().into());
        // Whoever is to come back leaves the place to others meanwhile.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
