//! Whose token a request brings: asked of the API server, and believed for a minute at most.
//! It tells who calls; what they may have is for `models`.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{HeaderMap, header};
use tokio::{sync::Semaphore, time::Instant};

use super::{Cluster, TokenHolder};
use crate::{
    api::RELAY_AUDIENCE,
    artifact::signature::sha256,
    evidence::{Digest, Failure, Reason},
};

/// How long a token that was good is taken without asking again. Its pod may be gone that long.
const BELIEVED: Duration = Duration::from_secs(60);
/// At most this many are remembered.
const MOST: usize = 4096;
/// Longer than any token.
const LONGEST: usize = 16 << 10;
/// Questions to the API server at a time.
const AT_ONCE: usize = 16;

/// Since when, and whose it is.
type Believed = (Instant, Arc<TokenHolder>);

#[derive(Debug)]
pub(super) struct Callers<C> {
    cluster: Arc<C>,
    /// By the token's hash: who reads our memory finds no token in it for longer than a request takes.
    known: Mutex<HashMap<Digest, Believed>>,
    asking: Semaphore,
}

impl<C: Cluster> Callers<C> {
    pub fn new(cluster: Arc<C>) -> Self {
        Self {
            cluster,
            known: Mutex::default(),
            asking: Semaphore::new(AT_ONCE),
        }
    }

    /// Who sent these headers.
    ///
    /// # Errors
    /// [`Reason::CredentialsMissing`] without a token, [`Reason::RegistryDenied`] when it is not one for us, and what
    /// kept the API server from telling.
    pub async fn of(&self, headers: &HeaderMap) -> Result<Arc<TokenHolder>, Failure> {
        let token = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "))
            .filter(|token| !token.is_empty() && token.len() <= LONGEST)
            .ok_or_else(|| {
                Failure::new(
                    Reason::CredentialsMissing,
                    format!("the relay wants a token: send a pod's, made for the audience {RELAY_AUDIENCE}"),
                )
            })?;
        let hash = sha256(token.as_bytes());
        if let Some(holder) = self.remembered(&hash) {
            return Ok(holder);
        }
        // Closed never.
        let _turn = self.asking.acquire().await;
        if let Some(holder) = self.remembered(&hash) {
            return Ok(holder);
        }
        let holder = Arc::new(self.cluster.holder(token).await?);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.retain(|_, (at, _)| at.elapsed() < BELIEVED);
            if known.len() >= MOST {
                known.clear();
            }
        }
        known.insert(hash, (Instant::now(), holder.clone()));
        Ok(holder)
    }

    fn remembered(&self, hash: &Digest) -> Option<Arc<TokenHolder>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, holder) = known.get(hash)?;
        (at.elapsed() < BELIEVED).then(|| holder.clone())
    }
}
