//! What admission counts, for `/metrics`: how long answers took, how they ended, when the certificate does.
//! Labels are enumerable; it counts what it is told and decides nothing.

use std::{sync::atomic::AtomicI64, time::Duration};

use jiff::Timestamp;
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use super::Hook;

/// Half a millisecond to the five seconds after which the API server gives up.
const SECONDS: [f64; 10] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.0, 5.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Judged {
    hook: &'static str,
    allowed: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    hook: &'static str,
    code: u16,
}

/// Why a connection came to nothing before anything was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum HungUp {
    /// Whoever asked does not trust the certificate that is served.
    Distrusted,
    /// It took too long.
    Slow,
    /// It was no TLS that we speak, or it broke off.
    Broken,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Handshake {
    cause: HungUp,
}

/// The metric families. Cloning gives another hand on the same counters.
#[derive(Debug, Clone)]
pub struct Metrics {
    seconds: Family<Judged, Histogram, fn() -> Histogram>,
    answers: Family<Answered, Counter>,
    hung_up: Family<Handshake, Counter>,
    expiry: Gauge<i64, AtomicI64>,
}

impl Metrics {
    /// Makes them part of what is shown.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            seconds: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            answers: Family::default(),
            hung_up: Family::default(),
            expiry: Gauge::default(),
        };
        registry.register(
            "admission_duration_seconds",
            "Time from a whole request to its answer, by hook and decision",
            metrics.seconds.clone(),
        );
        registry.register(
            "admission_requests",
            "Requests of the API server, by hook and by the HTTP status they ended with",
            metrics.answers.clone(),
        );
        registry.register(
            "admission_handshakes_failed",
            "Connections that came to nothing before anything was asked, by cause",
            metrics.hung_up.clone(),
        );
        registry.register(
            "admission_certificate_expiry_seconds",
            "When the serving certificate ends, in seconds since 1970; 0 when there is none",
            metrics.expiry.clone(),
        );
        metrics
    }

    /// A question was answered.
    pub(super) fn judged(&self, hook: Hook, allowed: bool, code: u16, took: Duration) {
        let labels = Judged {
            hook: hook.name(),
            allowed: if allowed { "true" } else { "false" },
        };
        self.seconds.get_or_create(&labels).observe(took.as_secs_f64());
        self.refused(hook, code);
    }

    /// A request ended with this status; it may have been no question.
    pub(super) fn refused(&self, hook: Hook, code: u16) {
        let labels = Answered {
            hook: hook.name(),
            code,
        };
        self.answers.get_or_create(&labels).inc();
    }

    /// A connection came to nothing before anything was asked.
    pub(super) fn hung_up(&self, cause: HungUp) {
        self.hung_up.get_or_create(&Handshake { cause }).inc();
    }

    /// Another certificate is served.
    pub(super) fn serves_until(&self, expires: Timestamp) {
        self.expiry.set(expires.as_second());
    }
}
