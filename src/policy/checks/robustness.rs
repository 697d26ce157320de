//! Was the model measured to be as robust as policy asks?
//! Pure: the numbers were measured elsewhere; here they meet the policy. What nobody measured yet is waited for.

use jiff::Timestamp;

use super::Says;
use crate::{
    api::v1alpha1::EvaluationVerdict,
    evidence::{Digest, Failure, Finding, Reason, RuleId, Verdict},
    policy::{
        Facts, Rules,
        robustness::{GateRule, MAX_ERRORS, Measured, Shown},
    },
};

/// One finding for each thing that a `(Cluster)DeploymentPolicy` wants shown, and until when they hold.
pub fn floors(
    facts: &Facts,
    rules: &Rules,
    runs: &[&Measured],
    now: Timestamp,
) -> (Vec<Finding>, Option<Timestamp>) {
    let says = Says {
        rule: RuleId::RobustnessRequire,
        rules,
    };
    let mut soonest: Option<Timestamp> = None;
    let findings = rules
        .robustness
        .iter()
        .map(|floor| {
            let name = &floor.name;
            let Some(subject) = facts.digest else {
                return says.wait(format!("{name}: what the model is is not known yet"));
            };
            if let Some(message) = unmeasurable(facts) {
                return says.fail(Reason::NotMeasurable, format!("{name}: {message}"));
            }
            match floor.shown(subject, runs, now) {
                Shown::Yes { by, number, until } => {
                    soonest = [soonest, until].into_iter().flatten().min();
                    says.pass(format!(
                        "{name}: robust_accuracy is {} at least (n={}, Evaluation {by})",
                        number.lower, number.n
                    ))
                }
                Shown::No { by, number } => says.fail(
                    Reason::NotRobust,
                    format!(
                        "{name}: robust_accuracy is {} at most (n={}, Evaluation {by}), and {} is asked for: train the model to withstand it, or serve another version",
                        number.upper, number.n, floor.asks.lower
                    ),
                ),
                Shown::NotYet(why) => says.wait(match why {
                    Some(why) => format!("{name}: no run shows it yet: {why}"),
                    None => format!(
                        "{name}: no run on sha256:{}… shows it yet: a RobustnessPolicy of the namespace must measure square at {} or more, with {} queries and {} samples or more, on the data set sha256:{}…",
                        subject.short(),
                        floor.asks.min_epsilon,
                        floor.asks.min_queries,
                        floor.asks.min_samples,
                        floor.asks.dataset.short()
                    ),
                }),
            }
        })
        .collect();
    (findings, soonest)
}

/// What one `RobustnessPolicy` says, and until when.
pub fn gates(
    facts: &Facts,
    rule: &GateRule,
    runs: &[&Measured],
    now: Timestamp,
) -> (Finding, Option<Timestamp>) {
    let finding = |verdict: Verdict, reason: Option<Reason>, message: String| Finding {
        rule: RuleId::RobustnessGates,
        policy: Some(rule.title()),
        effect: rule.effect,
        verdict,
        reason,
        message: Failure::new(Reason::Internal, message).message,
        waived_by: None,
    };
    if let Some(problem) = rule.problems.first() {
        let message = format!("{} cannot be applied: {problem}", rule.title());
        return (finding(Verdict::Fail, Some(Reason::PolicyInvalid), message), None);
    }
    let Some(subject) = facts.digest else {
        let message = "what the model is is not known yet".to_owned();
        return (finding(Verdict::Wait, None, message), None);
    };
    if let Some(message) = unmeasurable(facts) {
        return (
            finding(Verdict::Fail, Some(Reason::NotMeasurable), message.to_owned()),
            None,
        );
    }
    let its: Vec<&Measured> = runs
        .iter()
        .copied()
        .filter(|run| run.answers(rule, subject))
        .collect();
    if let Some(failed) = its.iter().find(|run| run.verdict == EvaluationVerdict::Failed) {
        let message = format!(
            "{} (Evaluation {}): train the model to withstand it, or serve another version",
            failed.message, failed.name
        );
        return (finding(Verdict::Fail, Some(Reason::NotRobust), message), None);
    }
    let passed = its
        .iter()
        .filter(|run| run.verdict == EvaluationVerdict::Passed)
        .max_by_key(|run| (run.finished, &run.name));
    let until =
        passed.and_then(|run| Some(run.finished.checked_add(rule.max_age?).unwrap_or(Timestamp::MAX)));
    match passed {
        Some(run) if until.is_none_or(|until| now < until) => (
            finding(
                Verdict::Pass,
                None,
                format!("{} (Evaluation {})", run.message, run.name),
            ),
            until,
        ),
        Some(run) => (
            finding(
                Verdict::Wait,
                None,
                format!(
                    "the Evaluation {} passed and was over at {}: it is measured again",
                    run.name,
                    until.unwrap_or(now)
                ),
            ),
            None,
        ),
        None => (finding(Verdict::Wait, None, waiting(&its, subject)), None),
    }
}

fn waiting(runs: &[&Measured], subject: Digest) -> String {
    let Some(last) = runs.iter().max_by_key(|run| (run.finished, &run.name)) else {
        return format!("sha256:{}… is being measured", subject.short());
    };
    let Measured { name, message, .. } = last;
    match last.verdict {
        EvaluationVerdict::Error if runs.len() >= MAX_ERRORS => format!(
            "the Evaluation {name} ended in an error, and is not tried again by itself: {message}; mend that and make another Evaluation"
        ),
        EvaluationVerdict::Error => {
            format!("the Evaluation {name} ended in an error: {message}; it is tried again")
        }
        _ => format!("the Evaluation {name} is inconclusive: {message}"),
    }
}

/// Why nobody can measure the model; none when it can be.
fn unmeasurable(facts: &Facts) -> Option<&'static str> {
    facts.origin.reference().is_none().then_some(
        "only content from a registry is measured by this version: serve it from there (spec.model.source.oci)",
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use test_case::test_case;

    use super::*;
    use crate::{
        evidence::Origin,
        policy::{
            Evidence,
            robustness::samples::{QUESTION, measured, rule},
            samples::{OTHER, at, facts, verified},
        },
    };

    use EvaluationVerdict::{Error, Failed, Inconclusive, Passed};
    use Verdict::{Fail, Pass, Wait};

    fn subject() -> Facts {
        facts(Evidence::Known(verified(&[1])))
    }

    #[test_case(&[], 0 => (Wait, None); "nobody measured it")]
    #[test_case(&[(Passed, 100)], 159 => (Pass, None); "passed")]
    #[test_case(&[(Passed, 100)], 160 => (Wait, None); "passed, and too old")]
    #[test_case(&[(Failed, 100)], 10_000 => (Fail, Some(Reason::NotRobust)); "failed")]
    #[test_case(&[(Failed, 100), (Passed, 150)], 160 => (Fail, Some(Reason::NotRobust)); "failed before it passed")]
    #[test_case(&[(Passed, 100), (Failed, 150)], 155 => (Fail, Some(Reason::NotRobust)); "failed after it passed")]
    #[test_case(&[(Inconclusive, 100)], 120 => (Wait, None); "nothing shown")]
    #[test_case(&[(Error, 100)], 120 => (Wait, None); "an error")]
    #[test_case(&[(Passed, 100), (Error, 110), (Inconclusive, 115)], 120 => (Pass, None); "what shows nothing takes nothing away")]
    fn by_its_runs(ended: &[(EvaluationVerdict, i64)], now: i64) -> (Verdict, Option<Reason>) {
        let runs: Vec<_> = ended
            .iter()
            .map(|(verdict, second)| measured(*verdict, *second))
            .collect();
        let (finding, until) = gates(
            &subject(),
            &rule(Some(60)),
            &runs.iter().collect::<Vec<_>>(),
            at(now),
        );
        assert_eq!(until.is_some(), finding.verdict == Pass, "what passes ends");
        (finding.verdict, finding.reason)
    }

    #[test]
    fn a_run_for_another_question_content_or_policy_shows_nothing() {
        let passed = measured(Passed, 100);
        let mut others = [passed.clone(), passed.clone(), passed];
        others[0].asked = OTHER;
        others[1].subject = OTHER;
        others[2].policy = "another".into();
        assert_ne!(QUESTION, OTHER);
        for other in &others {
            assert_eq!(gates(&subject(), &rule(None), &[other], at(110)).0.verdict, Wait);
        }
    }

    #[test]
    fn what_cannot_be_applied_or_measured_denies() {
        let mut broken = rule(None);
        broken.problems = vec![crate::policy::Problem::new(
            Reason::PolicyInvalid,
            "spec.gates",
            "asks for nothing",
        )];
        let (finding, _) = gates(&subject(), &broken, &[], at(0));
        assert_eq!(
            (finding.verdict, finding.reason),
            (Fail, Some(Reason::PolicyInvalid))
        );
        let volume = Facts {
            origin: Origin::Mounted,
            ..subject()
        };
        let (finding, _) = gates(&volume, &rule(None), &[], at(0));
        assert_eq!(
            (finding.verdict, finding.reason),
            (Fail, Some(Reason::NotMeasurable))
        );
    }

    #[test]
    fn a_floor_says_what_is_missing() {
        let (floor, problems) = crate::policy::robustness::floors(
            &serde_json::from_value(json!({
                "signers": [], "model": {"signers": []},
                "robustness": {"require": [{
                    "name": "strong", "attack": "Square", "norm": "Linf", "minEpsilon": "0.1", "minQueries": 1000,
                    "minSamples": 200, "dataset": crate::policy::robustness::samples::DATASET, "lower": "0.6"
                }]}
            }))
            .unwrap(),
        );
        assert_eq!(problems, []);
        let mut asking = crate::policy::samples::rules(vec![]);
        asking.robustness = floor;
        let (nothing, _) = floors(&subject(), &asking, &[], at(0));
        assert_eq!(nothing[0].verdict, Wait);
        assert!(
            nothing[0]
                .message
                .contains("square at 0.1 or more, with 1000 queries"),
            "{}",
            nothing[0].message
        );
        let run = measured(Failed, 100);
        let (shown, _) = floors(&subject(), &asking, &[&run], at(110));
        // Whatever its own gates made of it: the numbers count.
        assert_eq!(shown[0].verdict, Pass);
        assert_eq!(shown[0].rule, RuleId::RobustnessRequire);
    }
}
