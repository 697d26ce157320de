//! A `RobustnessPolicy` ready to be applied, and what keeps one from being.
//! What it asks for has a hash: a run counts for exactly the question that it answered.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use kube::ResourceExt as _;
use serde_json::json;

use crate::{
    api::v1alpha1::{Comparison, Gate, RobustnessPolicy, RobustnessPolicySpec, Suite},
    evidence::{Decimal, Digest, Effect, Reason, Reference},
    policy::{Problem, request::hash},
};

/// The gates of a namespace's models, as one policy asks for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateRule {
    /// Its namespace, and the only one in which it has a say.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Which models, by name; none: all.
    pub models: Option<BTreeSet<String>>,
    /// What happens when its gates do not hold.
    pub effect: Effect,
    /// Hash of what it asks for.
    pub asks: Digest,
    /// For how long a run counts; none: for ever.
    pub max_age: Option<SignedDuration>,
    /// What keeps it from being applied.
    pub problems: Vec<Problem>,
}

impl GateRule {
    /// The policy as it is applied.
    pub fn of(policy: &RobustnessPolicy) -> Self {
        let spec = &policy.spec;
        Self {
            namespace: policy.namespace().unwrap_or_default(),
            name: policy.name_any(),
            models: spec
                .models
                .as_ref()
                .map(|models| models.iter().cloned().collect()),
            effect: spec.effect.unwrap_or(Effect::Enforce),
            asks: request_hash(spec),
            max_age: spec
                .max_age_seconds
                .map(|seconds| SignedDuration::from_secs(i64::from(seconds))),
            problems: problems(spec),
        }
    }

    /// One that this version cannot read: what it asks of whom is not known.
    pub fn unreadable(namespace: &str, name: &str, error: &str) -> Self {
        let message =
            format!("this operator cannot read the policy: {error}; correct it, or update the operator");
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            models: None,
            effect: Effect::Enforce,
            asks: Digest::from_bytes([0; 32]),
            max_age: None,
            problems: vec![Problem::new(Reason::PolicyInvalid, "spec", message)],
        }
    }

    /// As findings name it.
    pub fn title(&self) -> String {
        format!("RobustnessPolicy/{}/{}", self.namespace, self.name)
    }

    /// Whether it asks anything of this model.
    pub fn is_for(&self, namespace: &str, model: &str) -> bool {
        self.namespace == namespace && self.models.as_ref().is_none_or(|models| models.contains(model))
    }
}

/// Hash of what is measured, on what, and what must come of it: not of when, or of whose.
pub fn request_hash(spec: &RobustnessPolicySpec) -> Digest {
    let asked = json!([spec.dataset, spec.samples, spec.suites, spec.gates]);
    hash(&asked.to_string())
}

/// What is wrong with what a policy asks for, as far as no schema says it.
pub fn problems(spec: &RobustnessPolicySpec) -> Vec<Problem> {
    let problem = |field: String, message: String| Problem::new(Reason::PolicyInvalid, field, message);
    let mut found = Vec::new();
    let pinned = spec.dataset.reference.parse::<Reference>();
    if !pinned.is_ok_and(|reference| reference.digest().is_some()) {
        let message = "must be host/repository@sha256:…: what a model is measured on must not change unseen";
        found.push(problem("spec.dataset.reference".into(), message.into()));
    }
    let mut names = BTreeSet::new();
    for Suite { name, square } in &spec.suites {
        if !names.insert(name.as_str()) {
            let message = "two suites have this name: rename one".into();
            found.push(problem(format!("spec.suites[{name}]"), message));
        }
        match square {
            None => {
                let message = "measures nothing: set square".into();
                found.push(problem(format!("spec.suites[{name}]"), message));
            }
            Some(square) if square.epsilon <= Decimal::ZERO => {
                let message = "must be more than 0: an attacker who changes nothing is none".into();
                found.push(problem(format!("spec.suites[{name}].square.epsilon"), message));
            }
            Some(_) => {}
        }
    }
    if spec.gates.is_empty() {
        let message = "asks for nothing, so nothing could fail: add a gate".into();
        found.push(problem("spec.gates".into(), message));
    }
    for (at, gate) in spec.gates.iter().enumerate() {
        if !names.contains(gate.suite.as_str()) {
            let known: Vec<_> = names.iter().copied().collect();
            let message = format!(
                "spec.suites has no {} (it has {}): correct the name",
                gate.suite,
                known.join(", ")
            );
            found.push(problem(format!("spec.gates[{at}].suite"), message));
        }
        found.extend(
            unreachable(gate, spec.samples, spec.gates.len())
                .map(|message| problem(format!("spec.gates[{at}].threshold"), message)),
        );
    }
    found
}

/// How likely content may pass, or fail, by luck alone: over all gates of a policy, and all runs that are ever made for it.
const ALPHA: f64 = 0.05;

/// How sure each interval of a run is to be that comes after so many others on the same content.
///
/// The error is shared evenly among the gates (Bonferroni), and among runs as 1/2, 1/6, 1/12, … (1/(k(k+1)), which add up to
/// one): whoever runs again until it passes gets wider intervals each time, and no better odds.
#[expect(clippy::cast_precision_loss, reason = "a few gates, and a few runs")]
pub fn confidence(gates: usize, before: usize) -> Decimal {
    let run = before as f64 + 1.0;
    let alpha = ALPHA / (run * (run + 1.0)) / gates.max(1) as f64;
    // Never above: that would be an interval of no use to anybody, and at six digits it takes 220 runs to come there.
    Decimal::below(1.0 - alpha)
        .unwrap_or(Decimal::ZERO)
        .min("0.999999".parse().unwrap_or(Decimal::ONE))
}

/// Why no run of so many samples could ever pass this gate; none when one could.
fn unreachable(gate: &Gate, samples: u32, gates: usize) -> Option<String> {
    let threshold = gate.threshold;
    let (out, most) = match gate.op {
        Comparison::AtLeast => (Decimal::ONE < threshold, threshold.value()),
        Comparison::AtMost => (threshold < Decimal::ZERO, 1.0 - threshold.value()),
    };
    if out {
        return Some(format!(
            "{threshold} is no share, so nothing could ever pass: write a number between 0 and 1"
        ));
    }
    // The best that can be seen is that all samples are right: then the lower end of an exact interval is α^(1/n).
    let alpha = (1.0 - confidence(gates, 0).value()) / 2.0;
    let best = alpha.powf(1.0 / f64::from(samples));
    if most <= best {
        return None;
    }
    if most >= 1.0 {
        return Some(format!(
            "{threshold} would take a run without end, for no sample shows that nothing is ever wrong: write a number between 0 and 1"
        ));
    }
    let needed = (alpha.ln() / most.ln()).ceil();
    Some(format!(
        "{samples} samples cannot show {threshold}, even if the model is right about all of them: at least {needed} can (spec.samples)"
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use test_case::test_case;

    use super::*;

    fn spec(change: &Value) -> RobustnessPolicySpec {
        let mut spec = json!({
            "dataset": {"reference": format!("registry.example/data@{}", Digest::from_bytes([1; 32])), "file": "heldout.npz"},
            "samples": 200,
            "suites": [{"name": "square", "square": {"norm": "Linf", "epsilon": "0.1", "queries": 1000}}],
            "gates": [{"suite": "square", "metric": "robust_accuracy", "op": "AtLeast", "threshold": "0.6"}]
        });
        spec.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        serde_json::from_value(spec).unwrap()
    }

    fn gate(op: &str, threshold: &str) -> Value {
        json!({"gates": [{"suite": "square", "metric": "robust_accuracy", "op": op, "threshold": threshold}]})
    }

    #[test_case(&json!({}) => None; "nothing")]
    #[test_case(&json!({"dataset": {"reference": "registry.example/data:1", "file": "x.npz"}}) => Some("spec.dataset.reference".into()); "a data set by tag")]
    #[test_case(&json!({"gates": []}) => Some("spec.gates".into()); "no gate")]
    #[test_case(&json!({"suites": [{"name": "other", "square": {"norm": "Linf", "epsilon": "0.1", "queries": 9}}]}) => Some("spec.gates[0].suite".into()); "a gate about nothing")]
    #[test_case(&json!({"suites": [{"name": "square"}]}) => Some("spec.suites[square]".into()); "a suite that measures nothing")]
    #[test_case(&json!({"suites": [{"name": "square", "square": {"norm": "Linf", "epsilon": "0", "queries": 9}}]}) => Some("spec.suites[square].square.epsilon".into()); "an attacker who changes nothing")]
    #[test_case(&gate("AtLeast", "1.1") => Some("spec.gates[0].threshold".into()); "more than all")]
    #[test_case(&gate("AtLeast", "1") => Some("spec.gates[0].threshold".into()); "all")]
    #[test_case(&gate("AtMost", "0") => Some("spec.gates[0].threshold".into()); "none at all")]
    #[test_case(&gate("AtMost", "-0.1") => Some("spec.gates[0].threshold".into()); "less than none")]
    #[test_case(&gate("AtLeast", "0.99") => Some("spec.gates[0].threshold".into()); "more than so few samples can show")]
    #[test_case(&gate("AtLeast", "0.97") => None; "what they can")]
    fn what_is_wrong(change: &Value) -> Option<String> {
        problems(&spec(change))
            .first()
            .map(|problem| problem.field.clone())
    }

    #[test]
    fn it_says_how_many_samples_would_do() {
        let mut asked = spec(&gate("AtLeast", "0.99"));
        let message = problems(&asked)[0].message.clone();
        let needed: u32 = message
            .split("at least ")
            .nth(1)
            .and_then(|rest| rest.split(' ').next())
            .unwrap()
            .parse()
            .unwrap();
        asked.samples = needed - 1;
        assert_eq!(problems(&asked).len(), 1, "{message}");
        asked.samples = needed;
        assert_eq!(problems(&asked), [], "{message}");
    }

    #[test]
    fn whoever_runs_again_gets_no_better_odds() {
        let error = |before| 1.0 - confidence(2, before).value();
        let all: f64 = (0..200).map(|before| 2.0 * error(before)).sum();
        assert!(all <= ALPHA + 1e-3, "{all}");
        assert!(error(1) < error(0) / 2.9, "{} {}", error(0), error(1));
        assert!(confidence(2, 1_000_000) < Decimal::ONE);
    }

    #[test]
    fn another_question_is_another_hash_and_another_schedule_is_not() {
        let first = request_hash(&spec(&json!({})));
        let same =
            spec(&json!({"maxAgeSeconds": 60, "suspend": true, "models": ["digits"], "effect": "Warn"}));
        assert_eq!(request_hash(&same), first);
        for other in [json!({"samples": 201}), gate("AtLeast", "0.5")] {
            assert_ne!(request_hash(&spec(&other)), first, "{other}");
        }
    }
}
