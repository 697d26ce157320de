//! The status of an evaluation. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    api::{
        run::RunAnswer,
        v1alpha1::{EvaluationStatus, EvaluationVerdict, Gate},
    },
    evidence::{Failure, Reason},
    policy::robustness::{Conclusion, conclude},
};

use super::super::condition::{State, Wanted, conditions};

/// It has not begun; what it waits for.
pub fn waiting(old: &EvaluationStatus, what: &str, now: Timestamp) -> EvaluationStatus {
    open(old, "Waiting", what, now)
}

/// It runs; what it does.
pub fn running(old: &EvaluationStatus, what: &str, now: Timestamp) -> EvaluationStatus {
    open(old, "Running", what, now)
}

fn open(old: &EvaluationStatus, reason: &str, what: &str, now: Timestamp) -> EvaluationStatus {
    // Bounded like every sentence that quotes what it speaks of.
    let what = Failure::new(Reason::Internal, what).message;
    let wanted = vec![Wanted::new("Complete", State::False, reason, what)];
    EvaluationStatus {
        conditions: Some(conditions(old.conditions.as_deref(), wanted, None, now)),
        ..old.clone()
    }
}

/// It has ended, with these numbers or with none.
pub fn ended(
    old: &EvaluationStatus,
    answer: Result<&RunAnswer, &Failure>,
    gates: &[Gate],
    now: Timestamp,
) -> EvaluationStatus {
    let Conclusion {
        verdict,
        message,
        summary,
    } = match answer {
        Ok(answer) => conclude(gates, answer),
        Err(failure) => Conclusion {
            verdict: EvaluationVerdict::Error,
            message: format!("{} ({})", failure.message, failure.reason),
            summary: failure.reason.to_string(),
        },
    };
    let message = Failure::new(Reason::Internal, message).message;
    let wanted = vec![Wanted::new("Complete", State::True, verdict.as_str(), &message)];
    EvaluationStatus {
        verdict: Some(verdict),
        message: Some(message),
        summary: Some(summary),
        measurements: answer.ok().map(|answer| answer.numbers.clone()),
        finished: Some(Time(now)),
        conditions: Some(conditions(old.conditions.as_deref(), wanted, None, now)),
        ..old.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_never_a_pass() {
        let failure = Failure::new(Reason::EvaluationFailed, "the node was lost");
        let status = ended(
            &EvaluationStatus::default(),
            Err(&failure),
            &[],
            Timestamp::UNIX_EPOCH,
        );
        assert_eq!(status.verdict, Some(EvaluationVerdict::Error));
        assert_eq!(status.measurements, None);
        assert_eq!(
            status.message.as_deref(),
            Some("the node was lost (EvaluationFailed)")
        );
    }
}
