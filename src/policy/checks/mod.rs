//! One check a file; each looks at the facts under one policy and returns one finding.
//! Pure: what a check needs is in its arguments.

pub mod approval;
pub mod hardening;
pub mod network;
pub mod quorum;
pub mod repositories;
pub mod revoked;
pub mod robustness;
pub mod runtime_class;
pub mod signature;

use super::Rules;
use crate::evidence::{Failure, Finding, Reason, RuleId, Verdict};

/// What a check says of one rule of one policy.
struct Says<'a> {
    rule: RuleId,
    rules: &'a Rules,
}

impl Says<'_> {
    fn finding(&self, verdict: Verdict, reason: Option<Reason>, message: String) -> Finding {
        self.rules.finding(self.rule, verdict, reason, message)
    }

    fn pass(&self, message: String) -> Finding {
        self.finding(Verdict::Pass, None, message)
    }

    fn wait(&self, message: String) -> Finding {
        self.finding(Verdict::Wait, None, message)
    }

    fn unknown(&self, failure: &Failure) -> Finding {
        self.finding(Verdict::Unknown, Some(failure.reason), failure.message.clone())
    }

    fn fail(&self, reason: Reason, message: String) -> Finding {
        self.finding(Verdict::Fail, Some(reason), message)
    }
}

/// Can the policy be applied at all? Absent when it can.
pub fn applicable(rules: &Rules) -> Option<Finding> {
    let problems = rules.blocking();
    let first = problems.first()?;
    let more = match problems.len() - 1 {
        0 => String::new(),
        n => format!(" (and {n} more: see the policy's status)"),
    };
    let says = Says {
        rule: RuleId::Policy,
        rules,
    };
    Some(says.fail(
        first.reason,
        format!("{} cannot be applied: {first}{more}", rules.policy),
    ))
}
