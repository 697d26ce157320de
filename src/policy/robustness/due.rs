//! Which runs are due: of which policy, on which content.
//! Pure; whoever makes them asks here, so that none is lost and none is made twice.

use jiff::{SignedDuration, Timestamp};

use super::{GateRule, Measured};
use crate::{api::v1alpha1::EvaluationVerdict, evidence::Digest};

/// So many runs in a row may end in an error before nobody tries again by himself.
pub const MAX_ERRORS: usize = 3;
/// How long after a run that ended in an error the next is made; doubled each time.
const AFTER_ERROR: SignedDuration = SignedDuration::from_secs(30);
/// The same after one that showed nothing: its successor has other samples, and a smaller share of the allowed error.
const AFTER_INCONCLUSIVE: SignedDuration = SignedDuration::from_hours(24);

/// Whether a run is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// Now: the how-manieth on this content under this question, counted from 1.
    Now(u32),
    /// At this time at the earliest.
    At(Timestamp),
    /// Never, as things are.
    Never,
}

/// Whether a run of `rule` on `subject` is due. `runs` are those that have ended; `running` is whether one has not.
pub fn due(rule: &GateRule, subject: Digest, runs: &[&Measured], running: bool, now: Timestamp) -> Due {
    if running || !rule.problems.is_empty() {
        return Due::Never;
    }
    let mut its: Vec<&Measured> = runs
        .iter()
        .copied()
        .filter(|run| run.answers(rule, subject))
        .collect();
    its.sort_by_key(|run| (run.finished, &run.name));
    // What failed stays failed, whatever another run would say.
    if its.iter().any(|run| run.verdict == EvaluationVerdict::Failed) {
        return Due::Never;
    }
    let attempt = u32::try_from(its.len()).unwrap_or(u32::MAX).saturating_add(1);
    let after = |at: Timestamp, pause: SignedDuration| match at.checked_add(pause) {
        Ok(then) if now < then => Due::At(then),
        Ok(_) => Due::Now(attempt),
        Err(_) => Due::Never,
    };
    let Some(last) = its.last() else {
        return Due::Now(attempt);
    };
    match last.verdict {
        EvaluationVerdict::Failed => Due::Never,
        // With fresh seeds, when half of its time is over: the other half is for trying again.
        EvaluationVerdict::Passed => rule
            .max_age
            .map_or(Due::Never, |age| after(last.finished, age / 2)),
        EvaluationVerdict::Inconclusive => after(last.finished, AFTER_INCONCLUSIVE),
        EvaluationVerdict::Error => {
            let errors = its
                .iter()
                .rev()
                .take_while(|run| run.verdict == EvaluationVerdict::Error)
                .count();
            if errors >= MAX_ERRORS {
                return Due::Never;
            }
            let doubled = i32::try_from(1_u32 << (errors - 1)).unwrap_or(1);
            after(last.finished, AFTER_ERROR * doubled)
        }
    }
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;
    use crate::policy::{
        robustness::samples::{measured, rule},
        samples::{OTHER, SUBJECT, at},
    };

    use EvaluationVerdict::{Error, Failed, Inconclusive, Passed};

    const DAY: i64 = 24 * 3600;

    #[test_case(&[], 0 => Due::Now(1); "never run")]
    #[test_case(&[(Passed, 100)], 100 + 1799 => Due::At(at(100 + 1800)); "passed, and young")]
    #[test_case(&[(Passed, 100)], 100 + 1800 => Due::Now(2); "passed, and half its time is over")]
    #[test_case(&[(Failed, 100)], 100 + DAY * 365 => Due::Never; "failed is for ever")]
    #[test_case(&[(Failed, 100), (Passed, 200)], 200 + DAY => Due::Never; "failed once, whatever came then")]
    #[test_case(&[(Inconclusive, 100)], 100 + DAY - 1 => Due::At(at(100 + DAY)); "nothing shown, today")]
    #[test_case(&[(Inconclusive, 100)], 100 + DAY => Due::Now(2); "nothing shown, tomorrow")]
    #[test_case(&[(Error, 100)], 129 => Due::At(at(130)); "an error a moment ago")]
    #[test_case(&[(Error, 100)], 130 => Due::Now(2); "an error")]
    #[test_case(&[(Error, 100), (Error, 130)], 189 => Due::At(at(190)); "a second error waits longer")]
    #[test_case(&[(Error, 100), (Error, 130), (Error, 190)], DAY => Due::Never; "three errors in a row")]
    #[test_case(&[(Error, 100), (Error, 130), (Passed, 190), (Error, 2000)], 2030 => Due::Now(5); "errors with a success between")]
    fn by_what_came_before(ended: &[(EvaluationVerdict, i64)], now: i64) -> Due {
        let runs: Vec<_> = ended
            .iter()
            .map(|(verdict, second)| measured(*verdict, *second))
            .collect();
        due(
            &rule(Some(3600)),
            SUBJECT,
            &runs.iter().collect::<Vec<_>>(),
            false,
            at(now),
        )
    }

    #[test]
    fn runs_of_another_question_or_content_do_not_count() {
        let passed = measured(Passed, 100);
        let others = [
            Measured {
                subject: OTHER,
                ..passed.clone()
            },
            Measured {
                asked: OTHER,
                ..passed.clone()
            },
            Measured {
                policy: "another".into(),
                ..passed
            },
        ];
        for other in &others {
            assert_eq!(due(&rule(None), SUBJECT, &[other], false, at(200)), Due::Now(1));
        }
    }

    #[test]
    fn one_at_a_time_and_for_ever_without_an_age() {
        let passed = measured(Passed, 100);
        assert_eq!(
            due(&rule(None), SUBJECT, &[], true, at(0)),
            Due::Never,
            "one is running"
        );
        assert_eq!(
            due(&rule(None), SUBJECT, &[&passed], false, at(DAY * 365)),
            Due::Never
        );
    }
}
