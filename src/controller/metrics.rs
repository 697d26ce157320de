//! What the operator counts, for `/metrics`. Labels are enumerable: kinds, results, reasons; never names of objects.
//! It counts what it is told and decides nothing.

use std::{fmt, time::Duration};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram, info::Info},
    registry::Registry,
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reconciled {
    kind: String,
    result: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Verified {
    verdict: String,
    reason: String,
}

/// The metric families.
pub struct Metrics {
    reconciled: Family<Reconciled, Counter>,
    verified: Family<Verified, Counter>,
    verification_seconds: Histogram,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// Makes them part of what is shown.
    pub fn register(registry: &mut Registry) -> Self {
        let reconciled = Family::default();
        let verified = Family::default();
        let buckets = [0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 30.0];
        let verification_seconds = Histogram::new(buckets);
        registry.register(
            "reconciliations",
            "Reconciliations, by kind and result",
            reconciled.clone(),
        );
        registry.register(
            "verifications",
            "Looks at an artifact, by verdict and reason",
            verified.clone(),
        );
        registry.register(
            "verification_duration_seconds",
            "Time a look at an artifact took",
            verification_seconds.clone(),
        );
        registry.register(
            "build",
            "The operator's version",
            Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]),
        );
        Self {
            reconciled,
            verified,
            verification_seconds,
        }
    }

    /// A reconciliation succeeded.
    pub fn succeeded(&self, kind: &str) {
        self.count(kind, "ok");
    }

    /// A reconciliation failed with an error of this category.
    pub fn failed(&self, kind: &str, category: &str) {
        self.count(kind, category);
    }

    /// An artifact was looked at.
    pub fn verified(&self, verdict: &str, reason: &str, took: Duration) {
        self.verified
            .get_or_create(&Verified {
                verdict: verdict.into(),
                reason: reason.into(),
            })
            .inc();
        self.verification_seconds.observe(took.as_secs_f64());
    }

    fn count(&self, kind: &str, result: &str) {
        self.reconciled
            .get_or_create(&Reconciled {
                kind: kind.into(),
                result: result.into(),
            })
            .inc();
    }
}
