//! What the relay counts, for `/metrics`. Labels are enumerable; it counts what it is told and decides nothing.

use std::sync::atomic::AtomicI64;

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

/// Where a blob came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Source {
    /// It was there.
    Shelf,
    /// It was on its way already, for somebody else.
    Shared,
    /// The registry was asked for it, and it is kept.
    Registry,
    /// The registry was asked for it, and there is no room to keep it.
    Unkept,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct From {
    source: Source,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    code: u16,
}

/// The metric families. Cloning gives another hand on the same counters.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    answers: Family<Answered, Counter>,
    blobs: Family<From, Counter>,
    broken: Counter,
    evicted: Counter,
    kept: Gauge<i64, AtomicI64>,
    connections: Gauge<i64, AtomicI64>,
}

impl Metrics {
    /// Makes them part of what is shown.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "probity_relay_answers",
            "Requests that were answered, by HTTP status",
            metrics.answers.clone(),
        );
        registry.register(
            "probity_relay_blobs",
            "Blobs that were given, by where they came from; Unkept ones found no room in the cache",
            metrics.blobs.clone(),
        );
        registry.register(
            "probity_relay_transfers_broken",
            "Blobs whose transfer was broken off because the registry's broke off, or sent other bytes than those of the digest",
            metrics.broken.clone(),
        );
        registry.register(
            "probity_relay_evicted",
            "Blobs that made room for others",
            metrics.evicted.clone(),
        );
        registry.register_with_unit(
            "probity_relay_cache",
            "What is kept or on its way",
            Unit::Bytes,
            metrics.kept.clone(),
        );
        registry.register(
            "probity_relay_connections",
            "Connections now",
            metrics.connections.clone(),
        );
        metrics
    }

    pub(super) fn answered(&self, code: u16) {
        self.answers.get_or_create(&Answered { code }).inc();
    }

    pub(super) fn blob(&self, source: Source) {
        self.blobs.get_or_create(&From { source }).inc();
    }

    /// How many blobs came from there.
    pub fn blobs(&self, source: Source) -> u64 {
        self.blobs.get_or_create(&From { source }).get()
    }

    pub(super) fn broken(&self) {
        self.broken.inc();
    }

    pub(super) fn evicted(&self) {
        self.evicted.inc();
    }

    /// How many blobs made room for others.
    pub fn evictions(&self) -> u64 {
        self.evicted.get()
    }

    pub(super) fn kept(&self, bytes: u64) {
        self.kept.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    pub(super) fn connected(&self) {
        self.connections.inc();
    }

    pub(super) fn disconnected(&self) {
        self.connections.dec();
    }
}
