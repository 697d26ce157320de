//! `probity relay`: gives model pods what their namespace's models are made of, so that they need no way to a registry.
//! It decides no verdict and writes to no API server; what it keeps are bytes whose digest it has compared.
//!
//! A request goes through [`server`] (TLS, limits), [`caller`] (which namespace's token is it), [`places`] (has that one
//! enough connections), [`models`] (may it have this, by which pull secret), [`proofs`] (does the registry agree) and
//! [`shelf`] (the bytes, fetched once).

pub mod admin;
mod body;
mod caller;
mod cluster;
mod identity;
mod metrics;
mod models;
mod path;
mod places;
mod proofs;
mod serve;
mod server;
mod shelf;
mod stall;

use std::{path::PathBuf, sync::Arc};

use tokio::sync::Semaphore;

pub use cluster::{ApiServer, Cluster, TokenHolder};
pub use identity::{Identity, IdentityError};
pub use metrics::{Metrics, Source};
pub use models::{Grant, grants};
pub use server::{Limits, serve};

use self::{caller::Callers, models::Models, places::Places, proofs::Proofs, shelf::Shelf};
use crate::artifact::oci::Client;

/// What a relay is told when it starts.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder for what is kept, which is the relay's alone: what an earlier one left there is removed.
    pub cache: PathBuf,
    /// At most so many bytes are kept there.
    pub capacity: u64,
    /// How much anybody may ask.
    pub limits: Limits,
}

/// A relay: what every request needs.
#[derive(Debug)]
pub struct Relay<C> {
    callers: Callers<C>,
    models: Models<C>,
    proofs: Proofs<C>,
    shelf: Shelf,
    places: Arc<Places>,
    /// Blobs without room in the cache that are passed on at a time.
    unkept: Arc<Semaphore>,
    metrics: Metrics,
}

/// Each of them costs a request to the registry.
const UNKEPT_AT_ONCE: usize = 16;

impl<C: Cluster> Relay<C> {
    /// A relay that asks this cluster who calls, and asks registries by this client, which has no credentials of its own.
    ///
    /// # Errors
    /// The folder cannot be emptied or written.
    pub fn new(
        cluster: C,
        registries: Client,
        settings: &Settings,
        metrics: Metrics,
    ) -> std::io::Result<Self> {
        let cluster = Arc::new(cluster);
        Ok(Self {
            callers: Callers::new(cluster.clone()),
            models: Models::new(cluster.clone()),
            proofs: Proofs::new(cluster, registries),
            shelf: Shelf::open(&settings.cache, settings.capacity, metrics.clone())?,
            places: Places::new(settings.limits.connections),
            unkept: Arc::new(Semaphore::new(UNKEPT_AT_ONCE)),
            metrics,
        })
    }
}
