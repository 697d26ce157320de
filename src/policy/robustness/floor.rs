//! The least that a `(Cluster)DeploymentPolicy` wants to have been shown, and which runs show it.
//! A weaker run shows nothing here; one that shows the opposite is never made good by another.

use jiff::{SignedDuration, Timestamp};

use super::Measured;
use crate::{
    api::v1alpha1::{
        AttackKind, Measurement, MetricId, PolicyBody, RobustnessFloor, RobustnessRequirements, Suite,
    },
    evidence::{Decimal, Digest, Reason},
    policy::Problem,
};

/// One thing that must have been shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Floor {
    /// What findings call it.
    pub name: String,
    /// As it was written.
    pub asks: RobustnessFloor,
    /// How old a run may be; none: any age.
    pub max_age: Option<SignedDuration>,
}

/// What the runs on one content show of one floor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// It is shown, until then.
    Yes {
        /// The `Evaluation` that shows it.
        by: String,
        /// The number.
        number: Measurement,
        /// From when on the run is too old; none: never.
        until: Option<Timestamp>,
    },
    /// The opposite is.
    No {
        /// The `Evaluation` that shows it.
        by: String,
        /// The number.
        number: Measurement,
    },
    /// Neither; why the latest run that comes close does not count, if there is one.
    NotYet(Option<String>),
}

/// The floors of a policy, and what is wrong with them.
pub fn floors(body: &PolicyBody) -> (Vec<Floor>, Vec<Problem>) {
    let Some(RobustnessRequirements { require, .. }) = &body.robustness else {
        return (Vec::new(), Vec::new());
    };
    let mut problems = Vec::new();
    let mut problem = |field: &str, message: &str| {
        problems.push(Problem::new(Reason::PolicyInvalid, field, message));
    };
    if require.is_empty() {
        problem(
            "spec.robustness.require",
            "asks for nothing: name what is to be shown, or leave robustness out",
        );
    }
    let mut floors: Vec<Floor> = Vec::new();
    for asks in require {
        let name = &asks.name;
        let field = |field: &str| format!("spec.robustness.require[{name}]{field}");
        if floors.iter().any(|floor| floor.name == *name) {
            problem(&field(""), "two entries have this name: rename one");
        }
        if asks.min_epsilon <= Decimal::ZERO {
            problem(
                &field(".minEpsilon"),
                "must be more than 0: an attacker who changes nothing is none",
            );
        }
        if asks.lower <= Decimal::ZERO || Decimal::ONE <= asks.lower {
            problem(
                &field(".lower"),
                "must lie between 0 and 1: at 0 everything passes, and 1 takes a run without end",
            );
        }
        if asks.min_samples == 0 || asks.min_queries == 0 {
            problem(&field(""), "minSamples and minQueries must be 1 or more");
        }
        floors.push(Floor {
            name: name.clone(),
            asks: asks.clone(),
            max_age: asks
                .max_age_seconds
                .map(|seconds| SignedDuration::from_secs(i64::from(seconds))),
        });
    }
    (floors, problems)
}

impl Floor {
    /// What the runs on `subject` show of it. All of them are looked at, whoever asked for them.
    pub fn shown(&self, subject: Digest, runs: &[&Measured], now: Timestamp) -> Shown {
        let mut best: Option<(Option<Timestamp>, &Measured, &Measurement)> = None;
        let mut nearly: Option<(Timestamp, String)> = None;
        let of_it = runs
            .iter()
            .filter(|run| run.subject == subject && run.dataset == self.asks.dataset);
        for run in of_it {
            for number in run
                .numbers
                .iter()
                .filter(|one| one.metric == MetricId::RobustAccuracy)
            {
                let Some(suite) = run.suite(&number.suite) else {
                    continue;
                };
                let Some(strength) = self.strength(suite) else {
                    continue;
                };
                // The attacker had no more room than is asked for, and that was enough.
                if strength.no_wider && number.upper < self.asks.lower {
                    return Shown::No {
                        by: run.name.clone(),
                        number: number.clone(),
                    };
                }
                let until = self
                    .max_age
                    .map(|age| run.finished.checked_add(age).unwrap_or(Timestamp::MAX));
                let Some(what) = self.lacks(&strength, number, until, now) else {
                    // Of several the one that lasts longest.
                    if best.as_ref().is_none_or(|(then, ..)| longer(until, *then)) {
                        best = Some((until, run, number));
                    }
                    continue;
                };
                if nearly.as_ref().is_none_or(|(at, _)| *at < run.finished) {
                    nearly = Some((run.finished, format!("Evaluation {} {what}", run.name)));
                }
            }
        }
        match best {
            Some((until, run, number)) => Shown::Yes {
                by: run.name.clone(),
                number: number.clone(),
                until,
            },
            None => Shown::NotYet(nearly.map(|(_, what)| what)),
        }
    }

    fn strength(&self, suite: &Suite) -> Option<Strength> {
        let asks = &self.asks;
        match (asks.attack, &suite.square) {
            (AttackKind::Square, Some(square)) if square.norm == asks.norm => Some(Strength {
                epsilon: square.epsilon,
                queries: square.queries,
                no_wider: square.epsilon <= asks.min_epsilon,
            }),
            (AttackKind::Square, _) => None,
        }
    }

    /// Why a run does not show it; none when it does.
    fn lacks(
        &self,
        strength: &Strength,
        number: &Measurement,
        until: Option<Timestamp>,
        now: Timestamp,
    ) -> Option<String> {
        let asks = &self.asks;
        if strength.epsilon < asks.min_epsilon {
            return Some(format!(
                "let the attacker change inputs by {} and {} is asked for",
                strength.epsilon, asks.min_epsilon
            ));
        }
        if strength.queries < asks.min_queries {
            return Some(format!(
                "gave the attacker {} queries and {} are asked for",
                strength.queries, asks.min_queries
            ));
        }
        if number.n < asks.min_samples {
            return Some(format!(
                "measured {} samples and {} are asked for",
                number.n, asks.min_samples
            ));
        }
        if number.lower < asks.lower {
            return Some(format!(
                "shows {} at least, and {} is asked for: more samples make the interval narrower",
                number.lower, asks.lower
            ));
        }
        let old = until.filter(|until| *until <= now)?;
        Some(format!("was over at {old}, and has to be made again"))
    }
}

/// How hard a run was.
struct Strength {
    epsilon: Decimal,
    queries: u32,
    /// Whether the attacker had no more room than is asked for.
    no_wider: bool,
}

fn longer(one: Option<Timestamp>, than: Option<Timestamp>) -> bool {
    match (one, than) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(one), Some(than)) => one > than,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use test_case::test_case;

    use super::*;
    use crate::{
        api::v1alpha1::EvaluationVerdict,
        policy::{
            robustness::samples::{DATASET, measured},
            samples::{OTHER, SUBJECT, at},
        },
    };

    /// Square at 0.1 with 1000 queries on 200 samples: 0.6 or more stays right.
    fn floor(change: &Value) -> Floor {
        let mut asks = json!({
            "name": "square", "attack": "Square", "norm": "Linf", "minEpsilon": "0.1", "minQueries": 1000,
            "minSamples": 200, "dataset": DATASET, "lower": "0.6"
        });
        asks.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        let asks: RobustnessFloor = serde_json::from_value(asks).unwrap();
        Floor {
            name: asks.name.clone(),
            max_age: asks
                .max_age_seconds
                .map(|seconds| SignedDuration::from_secs(i64::from(seconds))),
            asks,
        }
    }

    /// A run of square at 0.1 with 1000 queries on 200 samples, with this merged into it.
    fn run(lower: &str, upper: &str, n: u32, epsilon: &str, queries: u32) -> Measured {
        let mut run = measured(EvaluationVerdict::Passed, 100);
        let number = &mut run.numbers[0];
        number.lower = lower.parse().unwrap();
        number.value = number.lower;
        number.upper = upper.parse().unwrap();
        number.n = n;
        let square = run.suites[0].square.as_mut().unwrap();
        square.epsilon = epsilon.parse().unwrap();
        square.queries = queries;
        run
    }

    fn short(shown: &Shown) -> &'static str {
        match shown {
            Shown::Yes { .. } => "yes",
            Shown::No { .. } => "no",
            Shown::NotYet(Some(_)) => "nearly",
            Shown::NotYet(None) => "nothing",
        }
    }

    #[test_case(&run("0.6", "0.8", 200, "0.1", 1000) => "yes"; "just as asked")]
    #[test_case(&run("0.6", "0.8", 200, "0.2", 5000) => "yes"; "against a stronger attacker")]
    #[test_case(&run("0.599999", "0.8", 200, "0.1", 1000) => "nearly"; "the lower end is below")]
    #[test_case(&run("0.9", "0.95", 200, "0.099999", 1000) => "nearly"; "a smaller epsilon")]
    #[test_case(&run("0.9", "0.95", 200, "0.1", 999) => "nearly"; "fewer queries")]
    #[test_case(&run("0.9", "0.95", 199, "0.1", 1000) => "nearly"; "fewer samples")]
    #[test_case(&run("0.1", "0.599999", 200, "0.1", 1000) => "no"; "the upper end is below")]
    #[test_case(&run("0.1", "0.3", 20, "0.05", 10) => "no"; "a weaker attacker was enough")]
    #[test_case(&run("0.1", "0.3", 200, "0.2", 1000) => "nearly"; "a stronger attacker was enough")]
    fn one_run(run: &Measured) -> &'static str {
        short(&floor(&json!({})).shown(SUBJECT, &[run], at(200)))
    }

    #[test]
    fn what_was_shown_to_be_weak_is_never_made_good() {
        let (weak, strong) = (
            run("0.1", "0.5", 200, "0.1", 1000),
            run("0.9", "0.95", 5000, "0.1", 1000),
        );
        for runs in [[&weak, &strong], [&strong, &weak]] {
            assert_eq!(short(&floor(&json!({})).shown(SUBJECT, &runs, at(200))), "no");
        }
    }

    #[test]
    fn runs_on_other_content_or_data_count_for_nothing() {
        let good = run("0.9", "0.95", 200, "0.1", 1000);
        let other = floor(&json!({"dataset": OTHER}));
        assert_eq!(short(&other.shown(SUBJECT, &[&good], at(200))), "nothing");
        assert_eq!(
            short(&floor(&json!({})).shown(OTHER, &[&good], at(200))),
            "nothing"
        );
    }

    #[test]
    fn a_run_that_ended_in_an_error_has_no_number_that_counts() {
        let evaluation: crate::api::v1alpha1::Evaluation = serde_json::from_value(json!({
            "apiVersion": "probity.dev/v1alpha1", "kind": "Evaluation", "metadata": {"name": "e", "namespace": "bank"},
            "spec": {"model": "digits", "policy": "robust"},
            "status": {
                "run": {
                    "subject": SUBJECT, "repository": "registry.example/m", "dataset": DATASET, "policy": OTHER, "seed": 1,
                    "minimum": "0", "maximum": "1",
                    "confidence": "0.95", "samples": 200, "suites": [], "gates": [], "started": "2026-01-01T00:00:00Z"
                },
                "verdict": "Error", "finished": "2026-01-01T00:00:00Z",
                "measurements": [{"suite": "square", "metric": "robust_accuracy", "value": "1", "lower": "1", "upper": "1", "n": 9}]
            }
        }))
        .unwrap();
        assert_eq!(Measured::of(&evaluation).unwrap().numbers, []);
    }

    #[test_case(159 => "yes"; "young")]
    #[test_case(160 => "nearly"; "just too old")]
    fn a_run_gets_old(now: i64) -> &'static str {
        let run = run("0.6", "0.8", 200, "0.1", 1000);
        short(&floor(&json!({"maxAgeSeconds": 60})).shown(SUBJECT, &[&run], at(now)))
    }

    #[test]
    fn of_several_the_one_that_lasts_longest_counts() {
        let mut runs = [
            run("0.6", "0.8", 200, "0.1", 1000),
            run("0.6", "0.8", 200, "0.1", 1000),
        ];
        runs[1].finished = at(130);
        let floor = floor(&json!({"maxAgeSeconds": 60}));
        for pair in [[&runs[0], &runs[1]], [&runs[1], &runs[0]]] {
            let Shown::Yes { until, .. } = floor.shown(SUBJECT, &pair, at(150)) else {
                panic!()
            };
            assert_eq!(until, Some(at(190)));
        }
    }
}
