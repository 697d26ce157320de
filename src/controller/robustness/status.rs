//! The status of a policy. Pure.

use jiff::Timestamp;

use crate::api::v1alpha1::{RobustnessPolicy, RobustnessPolicyStatus};

use super::{
    super::condition::{State, Summary, conditions},
    Plan,
};

/// What is said of a policy whose look came to this plan. `measuring` is whether the operator measures at all.
pub fn status(
    policy: &RobustnessPolicy,
    plan: &Plan,
    measuring: bool,
    now: Timestamp,
) -> RobustnessPolicyStatus {
    let generation = policy.metadata.generation;
    let summary = if let Some(first) = plan.problems.first() {
        let all: Vec<_> = plan.problems.iter().map(ToString::to_string).collect();
        Summary::no(first.reason.as_str(), all.join("; "))
    } else if measuring {
        let message = format!(
            "of its models {} passed and {} did not yet",
            plan.passed, plan.held
        );
        Summary {
            state: State::True,
            ..Summary::not_yet("Applied", message)
        }
    } else {
        let message = "the operator measures nothing, so what this asks for is waited for: set evaluation.enabled in its chart";
        Summary::no("NobodyMeasures", message)
    };
    let old = policy.status.as_ref().and_then(|old| old.conditions.as_deref());
    let count = |number: usize| Some(i32::try_from(number).unwrap_or(i32::MAX));
    RobustnessPolicyStatus {
        observed_generation: generation,
        passed: count(plan.passed),
        held: count(plan.held),
        conditions: Some(conditions(old, summary.conditions().collect(), generation, now)),
    }
}
