//! Which evaluations a policy asks for now. Pure.
//! Each has a name that says what it is, so that none is made twice.

use std::collections::BTreeSet;

use jiff::Timestamp;
use kube::{ResourceExt as _, core::ObjectMeta};

use crate::{
    api::v1alpha1::{Evaluation, EvaluationSpec, EvaluationVerdict, ModelDeployment, RobustnessPolicy},
    evidence::Digest,
    policy::{
        Problem,
        robustness::{Due, GateRule, Measured, due},
    },
};

use super::contents::contents;

/// What a policy comes to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// What is to be measured.
    pub evaluations: Vec<Evaluation>,
    /// Models whose content passed.
    pub passed: usize,
    /// Models whose content failed, or has not passed yet.
    pub held: usize,
    /// When the clock alone makes a run due.
    pub until: Option<Timestamp>,
    /// What keeps the policy from being applied.
    pub problems: Vec<Problem>,
}

/// Plans one look at a policy. Nothing is asked for where nobody measures (`measuring`), or while the policy is suspended.
pub fn plan(
    policy: &RobustnessPolicy,
    models: &[ModelDeployment],
    evaluations: &[Evaluation],
    measuring: bool,
    now: Timestamp,
) -> Plan {
    let rule = GateRule::of(policy);
    let namespace = policy.namespace().unwrap_or_default();
    let runs: Vec<Measured> = evaluations.iter().filter_map(Measured::of).collect();
    let runs: Vec<&Measured> = runs.iter().collect();
    let mut plan = Plan::default();
    let mut asked = BTreeSet::new();
    for model in models {
        let name = model.name_any();
        if !rule.is_for(&namespace, &name) || model.metadata.deletion_timestamp.is_some() {
            continue;
        }
        let contents = contents(model);
        let Some(wanted) = contents.wanted else { continue };
        if passed(&rule, wanted, &runs) {
            plan.passed += 1;
        } else {
            plan.held += 1;
        }
        if !measuring || policy.spec.suspend == Some(true) {
            continue;
        }
        for subject in contents.to_measure() {
            // Of two models with the same content one run is enough.
            if !asked.insert(subject) {
                continue;
            }
            match due(
                &rule,
                subject,
                &runs,
                is_running(evaluations, &rule.name, subject),
                now,
            ) {
                Due::Now(attempt) => plan
                    .evaluations
                    .push(evaluation(policy, &rule, &name, subject, attempt)),
                Due::At(then) => plan.until = Some(plan.until.map_or(then, |until| until.min(then))),
                Due::Never => {}
            }
        }
    }
    Plan {
        problems: rule.problems,
        ..plan
    }
}

fn passed(rule: &GateRule, subject: Digest, runs: &[&Measured]) -> bool {
    let mut its = runs.iter().filter(|run| run.answers(rule, subject));
    let failed = its.clone().any(|run| run.verdict == EvaluationVerdict::Failed);
    !failed && its.any(|run| run.verdict == EvaluationVerdict::Passed)
}

/// Whether one is under way: asked for, and without an end.
fn is_running(evaluations: &[Evaluation], policy: &str, subject: Digest) -> bool {
    evaluations.iter().any(|evaluation| {
        let status = evaluation.status.as_ref();
        let run = status.and_then(|status| status.run.as_ref());
        // One whose content is not settled yet may come to be this one.
        let about = run.map_or(evaluation.spec.digest, |run| Some(run.subject));
        evaluation.spec.policy == policy
            && about.is_none_or(|about| about == subject)
            && status.is_none_or(|status| status.verdict.is_none())
    })
}

fn evaluation(
    policy: &RobustnessPolicy,
    rule: &GateRule,
    model: &str,
    subject: Digest,
    attempt: u32,
) -> Evaluation {
    let name: String = rule.name.chars().take(200).collect();
    let name = format!("{name}-{}-{}-{attempt}", rule.asks.short(), subject.short());
    Evaluation {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: policy.namespace(),
            ..ObjectMeta::default()
        },
        spec: EvaluationSpec {
            model: model.to_owned(),
            policy: rule.name.clone(),
            digest: Some(subject),
        },
        status: None,
    }
}
