//! What `PolicySatisfied` says of a model that policy admits, whoever runs it: without more ado, or what is tolerated.
//! Pure.

use super::{
    condition::{State, Wanted},
    notes::{WAIVED, WOULD_DENY},
};
use crate::policy::Decision;

/// The condition of a model that this decision admits; `otherwise` is what it says when nothing is tolerated.
pub(super) fn satisfied(decision: &Decision, otherwise: impl Into<String>) -> Wanted {
    let says = |reason: &str, message: String| Wanted::new("PolicySatisfied", State::True, reason, message);
    if let Some(warning) = decision.warnings().next() {
        let policy = warning.policy.as_deref().unwrap_or("the policies that only warn");
        let message = format!(
            "every enforced policy is satisfied; {policy} would deny it: {}",
            warning.message
        );
        return says(WOULD_DENY, message);
    }
    let waived: Vec<_> = decision
        .waived()
        .map(|finding| finding.message.as_str())
        .collect();
    if waived.is_empty() {
        says("Satisfied", otherwise.into())
    } else {
        says(WAIVED, waived.join("; "))
    }
}
