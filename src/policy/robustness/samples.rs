//! Runs and rules that the tests of this layer share.
//! For tests only.

use jiff::SignedDuration;
use serde_json::json;

use super::{GateRule, Measured};
use crate::{
    api::v1alpha1::EvaluationVerdict,
    evidence::{Digest, Effect},
    policy::samples::{SUBJECT, at},
};

pub(in crate::policy) const DATASET: Digest = Digest::from_bytes([0xdd; 32]);
pub(in crate::policy) const QUESTION: Digest = Digest::from_bytes([0xee; 32]);

/// A policy of the namespace `bank`, for every model.
pub(in crate::policy) fn rule(max_age: Option<i64>) -> GateRule {
    GateRule {
        namespace: "bank".into(),
        name: "robust".into(),
        models: None,
        effect: Effect::Enforce,
        asks: QUESTION,
        max_age: max_age.map(SignedDuration::from_secs),
        problems: Vec::new(),
    }
}

/// A run on the subject that ended so, this many seconds into the time of the tests: square at 0.1 with 1000 queries on 200
/// samples, of which 0.7 (0.6 to 0.8) stay right.
pub(in crate::policy) fn measured(verdict: EvaluationVerdict, second: i64) -> Measured {
    let number = json!({
        "suite": "square", "metric": "robust_accuracy", "value": "0.7", "lower": "0.6", "upper": "0.8", "n": 200
    });
    let suite = json!({"name": "square", "square": {"norm": "Linf", "epsilon": "0.1", "queries": 1000}});
    Measured {
        name: format!("robust-{second}"),
        policy: "robust".into(),
        asked: QUESTION,
        subject: SUBJECT,
        dataset: DATASET,
        suites: vec![serde_json::from_value(suite).unwrap()],
        numbers: vec![serde_json::from_value(number).unwrap()],
        verdict,
        message: format!("{} at {second}", verdict.as_str()),
        finished: at(second),
    }
}
