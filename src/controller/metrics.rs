//! What the operator counts, for `/metrics`. Labels are enumerable: kinds, results, reasons; never names of objects.
//! It counts what it is told and decides nothing.

use std::{fmt, time::Duration};

use jiff::Timestamp;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::Registry,
};

use crate::evidence::Verdict;

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

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Audited {
    verdict: &'static str,
}

/// Every verdict on a pod, and its label: people ask how many would be admitted.
const AUDITED: [(Verdict, &str); 4] = [
    (Verdict::Pass, "admitted"),
    (Verdict::Wait, "waiting"),
    (Verdict::Unknown, "unknown"),
    (Verdict::Fail, "refused"),
];

/// The metric families.
pub struct Metrics {
    reconciled: Family<Reconciled, Counter>,
    verified: Family<Verified, Counter>,
    verification_seconds: Histogram,
    audited: Family<Audited, Gauge>,
    audit_seconds: Histogram,
    audit_success: Gauge,
    audit_failures: Counter,
    reports_served: Gauge,
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
        let audited = Family::default();
        let audit_seconds = Histogram::new([0.01, 0.1, 0.5, 2.0, 10.0, 30.0, 120.0]);
        let audit_success = Gauge::default();
        let audit_failures = Counter::default();
        registry.register(
            "audit_pods",
            "Pods of governed namespaces at the last audit, by what would be said of each now",
            audited.clone(),
        );
        registry.register(
            "audit_duration_seconds",
            "Time a round of the audit took, through all namespaces or those that changed",
            audit_seconds.clone(),
        );
        registry.register(
            "audit_last_success_timestamp_seconds",
            "When every governed namespace had been audited without failure, in seconds since 1970; 0 before",
            audit_success.clone(),
        );
        registry.register(
            "audit_failures",
            "Namespaces that could not be audited, each time",
            audit_failures.clone(),
        );
        let reports_served = Gauge::default();
        registry.register(
            "reports_served",
            "Whether the API server knows openreports.io, so that reports are written: 1 or 0",
            reports_served.clone(),
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
            audited,
            audit_seconds,
            audit_success,
            audit_failures,
            reports_served,
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

    /// A round of the audit ended: so many pods there are of each verdict. `whole` is when, if nothing is missing.
    pub fn audited(&self, count: impl Fn(Verdict) -> i64, took: Duration, whole: Option<Timestamp>) {
        for (verdict, label) in AUDITED {
            let gauge = self.audited.get_or_create(&Audited { verdict: label });
            gauge.set(count(verdict));
        }
        self.audit_seconds.observe(took.as_secs_f64());
        if let Some(now) = whole {
            self.audit_success.set(now.as_second());
        }
    }

    /// A namespace could not be audited.
    pub fn audit_failed(&self) {
        self.audit_failures.inc();
    }

    /// Whether reports can be written.
    pub fn reports_served(&self, served: bool) {
        self.reports_served.set(i64::from(served));
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
