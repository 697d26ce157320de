//! Manifests, each with the proof that a namespace may read it: the registry gave it for the namespace's own pull secret.
//! What is on the shelf is given to those alone who have such a proof, because a shelf knows no rights.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex as Sync, PoisonError},
    time::Duration,
};

use tokio::{sync::Mutex, time::Instant};

use super::{Cluster, Grant};
use crate::{
    artifact::oci::{Client, Manifest, RegistryError, VerifiedBytes},
    evidence::{Digest, Failure, Reason},
};

/// How long the registry's word is good.
const FRESH: Duration = Duration::from_secs(60);
/// How long it is good while the registry cannot be asked: a model's pods move on while its registry is away.
const STALE: Duration = Duration::from_secs(60 * 60);
/// Bytes of manifests that are kept.
const MOST_BYTES: usize = 8 << 20;
/// And at most this many proofs.
const MOST: usize = 1024;

/// A manifest that a namespace may read, and by whose means.
pub(super) struct Proof {
    pub manifest: VerifiedBytes,
    /// What it lists, with sizes.
    pub blobs: BTreeMap<Digest, u64>,
    /// With the credentials of the pull secret.
    pub registry: Client,
    at: Instant,
}

/// Whose proof of what.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    namespace: String,
    pull_secret: Option<String>,
    name: String,
    digest: Option<Digest>,
}

impl Key {
    fn of(namespace: &str, grant: &Grant) -> Self {
        Self {
            namespace: namespace.to_owned(),
            pull_secret: grant.pull_secret.clone(),
            name: grant.reference.name(),
            digest: grant.reference.digest(),
        }
    }
}

type Place = Arc<Mutex<Option<Arc<Proof>>>>;

pub(super) struct Proofs<C> {
    cluster: Arc<C>,
    registries: Client,
    known: Sync<HashMap<Key, Place>>,
}

impl<C> std::fmt::Debug for Proofs<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proofs").finish_non_exhaustive()
    }
}

impl<C: Cluster> Proofs<C> {
    pub fn new(cluster: Arc<C>, registries: Client) -> Self {
        Self {
            cluster,
            registries,
            known: Sync::default(),
        }
    }

    /// That this namespace may read what the grant names.
    pub async fn of(&self, namespace: &str, grant: &Grant) -> Result<Arc<Proof>, RegistryError> {
        let place = self.place(Key::of(namespace, grant));
        // Whoever comes meanwhile waits for the same answer.
        let mut held = place.lock().await;
        if let Some(proof) = &*held
            && proof.at.elapsed() < FRESH
        {
            return Ok(proof.clone());
        }
        match self.ask(namespace, grant).await {
            Ok(proof) => {
                let proof = Arc::new(proof);
                *held = Some(proof.clone());
                Ok(proof)
            }
            Err(error) => match &*held {
                Some(proof) if away(&error) && proof.at.elapsed() < STALE => Ok(proof.clone()),
                _ => {
                    *held = None;
                    Err(error)
                }
            },
        }
    }

    /// Whether it is known already that this lists the blob.
    pub fn lists(&self, namespace: &str, grant: &Grant, blob: &Digest) -> bool {
        let place = self.lock().get(&Key::of(namespace, grant)).cloned();
        place.is_some_and(|place| {
            let held = place.try_lock().ok();
            held.is_some_and(|held| held.as_ref().is_some_and(|proof| proof.blobs.contains_key(blob)))
        })
    }

    /// The registry did not take what it took before: it is asked anew the next time.
    pub fn doubt(&self, namespace: &str, grant: &Grant) {
        self.lock().remove(&Key::of(namespace, grant));
    }

    async fn ask(&self, namespace: &str, grant: &Grant) -> Result<Proof, RegistryError> {
        let registry = match &grant.pull_secret {
            Some(secret) => {
                let credentials = self.cluster.credentials(namespace, secret).await?;
                self.registries.with_credentials(credentials)
            }
            None => self.registries.clone(),
        };
        let manifest = registry.manifest(&grant.reference).await?;
        let read = Manifest::read(&manifest)?;
        let blobs = std::iter::once(&read.config)
            .chain(&read.layers)
            .map(|blob| (blob.digest, blob.size))
            .collect();
        Ok(Proof {
            manifest,
            blobs,
            registry,
            at: Instant::now(),
        })
    }

    fn place(&self, key: Key) -> Place {
        let mut known = self.lock();
        if !known.contains_key(&key) {
            make_room(&mut known);
        }
        known.entry(key).or_default().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Place>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the registry said nothing, as against no.
fn away(error: &RegistryError) -> bool {
    matches!(
        error.failure.reason,
        Reason::RegistryUnavailable | Reason::RateLimited | Reason::Timeout | Reason::NotReadYet
    )
}

/// Forgets the oldest until there is room for one more. One that somebody is just asking for stays.
fn make_room(known: &mut HashMap<Key, Place>) {
    let mut held: Vec<_> = known
        .iter()
        .filter_map(|(key, place)| {
            let held = place.try_lock().ok()?;
            let (at, bytes) = held
                .as_ref()
                .map_or((None, 0), |proof| (Some(proof.at), proof.manifest.bytes().len()));
            Some((at, bytes, key.clone()))
        })
        .collect();
    held.sort_by_key(|(at, ..)| *at);
    let mut bytes: usize = held.iter().map(|(_, bytes, _)| bytes).sum();
    for (_, size, key) in held {
        if bytes < MOST_BYTES && known.len() < MOST {
            break;
        }
        bytes -= size;
        known.remove(&key);
    }
}

/// The sentence for what a namespace may not have, whether it exists or not.
pub(super) fn not_granted(namespace: &str, what: &str) -> Failure {
    Failure::new(
        Reason::RegistryDenied,
        format!(
            "no ModelDeployment of namespace {namespace} was found to be {what}: the relay gives a namespace what its own models are made of and nothing else"
        ),
    )
}
