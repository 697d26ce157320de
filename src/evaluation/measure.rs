//! Answers a run's question: each suite of it on one model and one data set, with an interval for each number.
//! The samples are a fixed number in an order that the seed gave, so the intervals are exact ones.

use super::{
    attack::{AttackError, Norm, Plan, Square, Tally, Threat, Watch, metrics, run, sanity},
    dataset::Dataset,
    model::{Model, ModelError},
    statistics::{
        StatError,
        interval::{Side, Tally as Trials, exact_bound},
    },
};
use crate::{
    api::{
        run::{RunAnswer, RunRequest},
        v1alpha1::{self, Measurement, MetricId, SquareSuite, Suite},
    },
    evidence::Decimal,
};

/// Samples that are attacked at the same time. It changes no result.
const BLOCK: usize = 100;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// The model, the data, or what was asked of them.
    #[error("suite {suite}: {source}")]
    Suite {
        /// The suite.
        suite: String,
        /// What is wrong.
        #[source]
        source: AttackError,
    },
    /// A defect.
    #[error("suite {suite}: no interval can be made")]
    Interval {
        /// The suite.
        suite: String,
        /// Why not.
        #[source]
        source: StatError,
    },
}

impl MeasureError {
    /// The stable code, in `PascalCase`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Suite { source, .. } => source.code(),
            Self::Interval { .. } => "Internal",
        }
    }
}

/// Measures all that is asked.
///
/// # Errors
/// [`MeasureError`]: then there is no answer at all, for a part of one could pass for the whole.
pub fn measure(
    request: &RunRequest,
    model: &mut dyn Model,
    data: &Dataset,
    watch: &mut dyn Watch,
) -> Result<RunAnswer, MeasureError> {
    let mut answer = RunAnswer {
        evaluation: request.evaluation.clone(),
        subject: request.subject,
        dataset: request.dataset,
        seed: request.seed,
        rows: 0,
        errors: 0,
        numbers: Vec::new(),
    };
    for suite in &request.suites {
        let Suite { name, square } = suite;
        let failed = |source| MeasureError::Suite {
            suite: name.clone(),
            source,
        };
        let Some(square) = square else {
            let problem = "it names nothing that this version measures".to_owned();
            return Err(failed(AttackError::Plan(problem)));
        };
        let (trials, rows, errors) = attack(request, square, model, data, watch).map_err(failed)?;
        answer.rows = answer.rows.saturating_add(rows);
        answer.errors = answer.errors.max(errors);
        for (metric, successes, n) in trials {
            let number = with_interval(name, metric, successes, n, request.confidence);
            answer
                .numbers
                .push(number.map_err(|source| MeasureError::Interval {
                    suite: name.clone(),
                    source,
                })?);
        }
    }
    Ok(answer)
}

/// Shares as counts, rows asked about, and samples without an answer.
type Found = (Vec<(MetricId, u64, u64)>, u64, u32);

fn attack(
    request: &RunRequest,
    suite: &SquareSuite,
    model: &mut dyn Model,
    data: &Dataset,
    watch: &mut dyn Watch,
) -> Result<Found, AttackError> {
    let norm = match suite.norm {
        v1alpha1::Norm::Linf => Norm::Linf,
    };
    let threat = Threat::new(
        norm,
        single(suite.epsilon),
        single(request.minimum),
        single(request.maximum),
    )
    .map_err(AttackError::Plan)?;
    let plan = Plan {
        samples: usize::try_from(request.samples).unwrap_or(usize::MAX),
        block: BLOCK,
        seed: request.seed.cast_unsigned(),
    };
    let sane = sanity(model, data, &plan, &threat, watch)?;
    let found = run(model, data, &plan, &threat, &Square::new(suite.queries), watch)?;
    // A part of the samples is no answer: whoever may stop a run could stop it while it looks well.
    if !found.complete {
        return Err(AttackError::Model(ModelError::Stopped));
    }
    let tally = Tally::of(&found.results);
    let shares = metrics(&found.results).into_iter().filter_map(|metric| {
        let id = match metric.id {
            "clean_accuracy" => MetricId::CleanAccuracy,
            "robust_accuracy" => MetricId::RobustAccuracy,
            "robust_accuracy_conditional" => MetricId::RobustAccuracyConditional,
            _ => return None,
        };
        Some((id, metric.count? as u64, metric.n as u64))
    });
    let errors = u32::try_from(tally.errors).unwrap_or(u32::MAX);
    Ok((shares.collect(), found.rows.saturating_add(sane.rows), errors))
}

/// The nearest single: inputs are singles.
#[expect(clippy::cast_possible_truncation, reason = "the nearest is what is meant")]
fn single(number: Decimal) -> f32 {
    number.value() as f32
}

fn with_interval(
    suite: &str,
    metric: MetricId,
    successes: u64,
    n: u64,
    confidence: Decimal,
) -> Result<Measurement, StatError> {
    let trials = Trials::new(successes, n)?;
    let alpha = (1.0 - confidence.value()) / 2.0;
    let (lower, upper) = (
        exact_bound(trials, Side::Lower, alpha)?,
        exact_bound(trials, Side::Upper, alpha)?,
    );
    let value = Decimal::nearest(trials.share()?).unwrap_or(Decimal::ZERO);
    Ok(Measurement {
        suite: suite.to_owned(),
        metric,
        value,
        // Never rounded in its own favour, and never past the number itself.
        lower: Decimal::below(lower).unwrap_or(Decimal::ZERO).min(value),
        upper: Decimal::above(upper).unwrap_or(Decimal::ONE).max(value),
        n: u32::try_from(n).unwrap_or(u32::MAX),
    })
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use serde_json::json;
    use test_case::test_case;

    use super::{
        super::{
            attack::SampleResult,
            engine::Onnx,
            model::Fault,
            testing::{Planted, digits, heldout, plain},
        },
        *,
    };
    use crate::evidence::Digest;

    fn request(samples: u32, suites: &[(&str, &str)]) -> RunRequest {
        let suite = |(name, epsilon): &(&str, &str)| json!({"name": name, "square": {"norm": "Linf", "epsilon": epsilon, "queries": 100}});
        serde_json::from_value(json!({
            "evaluation": "uid", "subject": Digest::from_bytes([1; 32]), "dataset": Digest::from_bytes([2; 32]),
            "minimum": "0", "maximum": "1", "seed": -7, "samples": samples, "confidence": "0.95",
            "suites": suites.iter().map(suite).collect::<Vec<_>>()
        }))
        .unwrap()
    }

    fn shown(answer: &RunAnswer, suite: &str, metric: MetricId) -> [f64; 3] {
        let mut its = answer
            .numbers
            .iter()
            .filter(|one| one.suite == suite && one.metric == metric);
        let one = its.next().unwrap();
        assert!(its.next().is_none(), "one number of a name");
        [one.lower, one.value, one.upper].map(Decimal::value)
    }

    /// The demo's models, as the cluster measures them.
    #[test]
    fn a_standard_model_is_told_from_one_trained_against_attacks() {
        let data = heldout();
        let asked = request(60, &[("small", "0.02"), ("large", "0.1")]);
        let robust = |folder: &str| {
            let mut model = Onnx::open(&digits(folder), None).unwrap();
            let answer = measure(&asked, &mut model, &data, &mut ()).unwrap();
            assert!(answer.answers(&asked), "{answer:?}");
            assert_eq!(answer.errors, 0);
            assert!(answer.line().is_ok());
            ["small", "large"].map(|suite| shown(&answer, suite, MetricId::RobustAccuracy))
        };
        let (standard, trained) = (robust("model/model.onnx"), robust("robust/model.onnx"));
        assert!(standard[1][2] < trained[1][0], "{standard:?} {trained:?}");
        assert!(
            standard[0][1] > standard[1][1],
            "a larger change breaks more: {standard:?}"
        );
    }

    #[test]
    fn the_same_question_has_the_same_answer_and_another_seed_another() {
        let data = heldout();
        let asked = request(40, &[("square", "0.1")]);
        let again = || {
            let mut model = Onnx::open(&digits("model/model.onnx"), None).unwrap();
            measure(&asked, &mut model, &data, &mut ()).unwrap()
        };
        assert_eq!(again(), again());
        let other = RunRequest {
            seed: 8,
            ..asked.clone()
        };
        let mut model = Onnx::open(&digits("model/model.onnx"), None).unwrap();
        assert_ne!(
            measure(&other, &mut model, &data, &mut ()).unwrap().rows,
            again().rows
        );
    }

    /// By the mean of its input: bright is class 1.
    #[expect(clippy::unnecessary_wraps, reason = "as a planted model answers")]
    fn by_brightness(row: &[f32]) -> Result<Vec<f32>, Fault> {
        let sum: f32 = row.iter().sum();
        let mean = sum / 4.0;
        Ok(vec![0.5 - mean, mean - 0.5])
    }

    #[test]
    fn an_interval_is_an_exact_one_and_never_in_its_own_favour() {
        let data = plain(20, &[1, 2, 2], 0.9, &[1]);
        let answer = measure(
            &request(20, &[("square", "0.05")]),
            &mut Planted(by_brightness),
            &data,
            &mut (),
        )
        .unwrap();
        let [lower, value, upper] = shown(&answer, "square", MetricId::RobustAccuracy);
        // Clopper and Pearson of 20 in 20 at 95 %: 0.025^(1/20).
        assert!((lower - 0.025_f64.powf(1.0 / 20.0)).abs() < 2e-6, "{lower}");
        assert!(lower <= 0.025_f64.powf(1.0 / 20.0));
        assert!(value >= 1.0 && upper >= 1.0, "{value} {upper}");
    }

    #[test_case(|_| Err(Fault::NotFinite), "NoScores"; "nothing but NaN")]
    #[test_case(|row| by_brightness(row).map(|scores| scores[..1].to_vec()), "NoScores"; "one score")]
    fn a_model_without_answers_has_no_numbers(answer: fn(&[f32]) -> Result<Vec<f32>, Fault>, code: &str) {
        let data = plain(20, &[1, 2, 2], 0.9, &[1]);
        let error = measure(
            &request(20, &[("square", "0.05")]),
            &mut Planted(answer),
            &data,
            &mut (),
        )
        .unwrap_err();
        assert_eq!(error.code(), code, "{error}");
    }

    #[test]
    fn more_samples_than_there_are_is_no_run() {
        let data = plain(20, &[1, 2, 2], 0.9, &[1]);
        let error = measure(
            &request(21, &[("square", "0.05")]),
            &mut Planted(by_brightness),
            &data,
            &mut (),
        );
        let message = error.unwrap_err().to_string();
        assert!(
            message.contains("21 samples were asked for and the data has 20"),
            "{message}"
        );
    }

    #[test]
    fn a_run_that_was_stopped_is_no_answer() {
        struct Impatient;
        impl Watch for Impatient {
            fn asked(&mut self, _: u64) -> ControlFlow<()> {
                ControlFlow::Continue(())
            }
            fn block(&mut self, _: &[SampleResult]) -> ControlFlow<()> {
                ControlFlow::Break(())
            }
        }
        let data = plain(300, &[1, 2, 2], 0.9, &[1]);
        let error = measure(
            &request(300, &[("square", "0.05")]),
            &mut Planted(by_brightness),
            &data,
            &mut Impatient,
        );
        assert_eq!(error.unwrap_err().code(), "Stopped");
    }
}
