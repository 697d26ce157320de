//! What a run's numbers come to under its gates.
//! A gate holds or fails by a bound, never by the number itself: a lucky sample is no robustness.

use crate::{
    api::{
        run::RunAnswer,
        v1alpha1::{Comparison, EvaluationVerdict, Gate, Measurement},
    },
    evidence::Decimal,
};

/// With a larger share of samples without an answer nothing is concluded.
const MOST_ERRORS: f64 = 0.05;

/// Whether one gate holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gated {
    /// It is shown to hold.
    Holds,
    /// It is shown not to hold.
    Fails,
    /// The interval lies across the threshold.
    Open,
    /// The run has no such number, or more than one.
    Missing,
}

/// What a run comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conclusion {
    /// The verdict.
    pub verdict: EvaluationVerdict,
    /// One sentence: the numbers, and what to do where they do not do.
    pub message: String,
    /// The numbers of the gates, for a column.
    pub summary: String,
}

/// Whether `gate` holds by these numbers.
pub fn gated(gate: &Gate, numbers: &[Measurement]) -> (Gated, Option<Measurement>) {
    let its = |one: &&Measurement| one.suite == gate.suite && one.metric == gate.metric;
    let mut found = numbers.iter().filter(its);
    let (Some(number), None) = (found.next(), found.next()) else {
        return (Gated::Missing, None);
    };
    let (favourable, adverse) = match gate.op {
        Comparison::AtLeast => (number.lower >= gate.threshold, number.upper < gate.threshold),
        Comparison::AtMost => (number.upper <= gate.threshold, number.lower > gate.threshold),
    };
    let gated = match (favourable, adverse) {
        (true, false) => Gated::Holds,
        (false, true) => Gated::Fails,
        // Both is an interval that is none.
        (false, false) => Gated::Open,
        (true, true) => Gated::Missing,
    };
    (gated, Some(number.clone()))
}

/// What a run comes to: every gate must be shown to hold, and one that is shown not to is enough to fail.
///
/// The intervals must be simultaneous over the gates (each at its share of the allowed error, as Bonferroni and so also Holm
/// ask): then the verdict as a whole is wrong no more often than one of them may be.
pub fn conclude(gates: &[Gate], answer: &RunAnswer) -> Conclusion {
    let outcomes: Vec<_> = gates
        .iter()
        .map(|gate| {
            let (gated, number) = gated(gate, &answer.numbers);
            (gate, gated, number)
        })
        .collect();
    let summary = summary(&outcomes);
    let of = |wanted: Gated| -> Vec<String> {
        let these = outcomes.iter().filter(|(_, gated, _)| *gated == wanted);
        these
            .map(|(gate, _, number)| sentence(gate, number.as_ref()))
            .collect()
    };
    let (missing, failed, open) = (of(Gated::Missing), of(Gated::Fails), of(Gated::Open));
    let (verdict, message) = if gates.is_empty() {
        let nothing = "the run has no gates, so nothing was to be shown".to_owned();
        (EvaluationVerdict::Error, nothing)
    } else if !missing.is_empty() {
        let message = format!(
            "the run gave no single number for {}: it ran another version, or something else",
            missing.join("; ")
        );
        (EvaluationVerdict::Error, message)
    } else if let Some(message) = unread(answer) {
        (EvaluationVerdict::Inconclusive, message)
    } else if !failed.is_empty() {
        (EvaluationVerdict::Failed, failed.join("; "))
    } else if !open.is_empty() {
        let message = format!(
            "{}: neither is shown; measure more samples (spec.samples), or move the threshold out of the interval",
            open.join("; ")
        );
        (EvaluationVerdict::Inconclusive, message)
    } else {
        (EvaluationVerdict::Passed, of(Gated::Holds).join("; "))
    };
    Conclusion {
        verdict,
        message,
        summary,
    }
}

/// Why the numbers say little: too many samples have no answer that can be read. They count against the model, and are no
/// weakness of it.
fn unread(answer: &RunAnswer) -> Option<String> {
    let samples = answer.numbers.iter().map(|number| number.n).max().unwrap_or(0);
    let most = f64::from(samples) * MOST_ERRORS;
    (f64::from(answer.errors) > most).then(|| {
        format!(
            "{} of {samples} samples have no answer that can be read, and with more than 5 % nothing is concluded: see the logs of the run",
            answer.errors
        )
    })
}

type Outcome<'a> = (&'a Gate, Gated, Option<Measurement>);

fn sentence(gate: &Gate, number: Option<&Measurement>) -> String {
    let Gate {
        suite,
        metric,
        op,
        threshold,
    } = gate;
    let wanted = match op {
        Comparison::AtLeast => "at least",
        Comparison::AtMost => "at most",
    };
    let metric = metric.as_str();
    match number {
        Some(number) => format!(
            "{metric} under {suite} is {} ({} to {}, n={}), wanted {wanted} {threshold}",
            short(number.value),
            short(number.lower),
            short(number.upper),
            number.n
        ),
        None => format!("{metric} under {suite}"),
    }
}

fn summary(outcomes: &[Outcome<'_>]) -> String {
    let numbers = outcomes.iter().filter_map(|(gate, _, number)| {
        let value = short(number.as_ref()?.value);
        Some(format!("{} {} {value}", gate.suite, gate.metric.as_str()))
    });
    let mut text = numbers.collect::<Vec<_>>().join(", ");
    if let Some((end, _)) = text.char_indices().nth(255) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// Three digits: more mean nothing at any number of samples that is measured.
fn short(number: Decimal) -> String {
    format!("{:.3}", number.value())
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;
    use crate::{api::v1alpha1::MetricId, evidence::Digest};

    fn gate(op: Comparison, threshold: &str) -> Gate {
        Gate {
            suite: "square".into(),
            metric: MetricId::RobustAccuracy,
            op,
            threshold: threshold.parse().unwrap(),
        }
    }

    fn answer(numbers: Vec<Measurement>, errors: u32) -> RunAnswer {
        RunAnswer {
            evaluation: String::new(),
            subject: Digest::from_bytes([1; 32]),
            dataset: Digest::from_bytes([2; 32]),
            seed: 0,
            rows: 0,
            errors,
            numbers,
        }
    }

    fn number(suite: &str, [lower, value, upper]: [&str; 3]) -> Measurement {
        Measurement {
            suite: suite.into(),
            metric: MetricId::RobustAccuracy,
            value: value.parse().unwrap(),
            lower: lower.parse().unwrap(),
            upper: upper.parse().unwrap(),
            n: 200,
        }
    }

    use Comparison::{AtLeast, AtMost};
    use EvaluationVerdict::{Error, Failed, Inconclusive, Passed};

    #[test_case(AtLeast, "0.6", ["0.61", "0.7", "0.8"] => Passed; "the lower end is above")]
    #[test_case(AtLeast, "0.6", ["0.6", "0.7", "0.8"] => Passed; "the lower end is just there")]
    #[test_case(AtLeast, "0.6", ["0.599999", "0.7", "0.8"] => Inconclusive; "the number alone is above")]
    #[test_case(AtLeast, "0.6", ["0.4", "0.5", "0.6"] => Inconclusive; "the upper end is just there")]
    #[test_case(AtLeast, "0.6", ["0.4", "0.5", "0.599999"] => Failed; "the upper end is below")]
    #[test_case(AtMost, "0.6", ["0.4", "0.5", "0.6"] => Passed; "at most, and the upper end is just there")]
    #[test_case(AtMost, "0.6", ["0.4", "0.5", "0.600001"] => Inconclusive; "at most, and the upper end is above")]
    #[test_case(AtMost, "0.6", ["0.600001", "0.7", "0.8"] => Failed; "at most, and the lower end is above")]
    #[test_case(AtLeast, "0.6", ["0.7", "0.6", "0.5"] => Error; "an interval upside down")]
    fn one_gate(op: Comparison, threshold: &str, interval: [&str; 3]) -> EvaluationVerdict {
        conclude(
            &[gate(op, threshold)],
            &answer(vec![number("square", interval)], 0),
        )
        .verdict
    }

    #[test_case(&[] => Error; "no number")]
    #[test_case(&[("other", ["0.9", "0.9", "0.9"])] => Error; "another suite's")]
    #[test_case(&[("square", ["0.9", "0.9", "0.9"]), ("square", ["0.9", "0.9", "0.9"])] => Error; "the same twice")]
    fn a_number_that_is_not_there_shows_nothing(numbers: &[(&str, [&str; 3])]) -> EvaluationVerdict {
        let numbers: Vec<_> = numbers
            .iter()
            .map(|(suite, interval)| number(suite, *interval))
            .collect();
        conclude(&[gate(AtLeast, "0.6")], &answer(numbers, 0)).verdict
    }

    #[test]
    fn all_gates_must_hold_and_one_that_fails_is_enough() {
        let answer = answer(vec![number("square", ["0.61", "0.7", "0.8"])], 0);
        let of = |thresholds: &[&str]| {
            let gates: Vec<_> = thresholds
                .iter()
                .map(|threshold| gate(AtLeast, threshold))
                .collect();
            conclude(&gates, &answer).verdict
        };
        assert_eq!(of(&["0.5", "0.6"]), Passed);
        assert_eq!(of(&["0.5", "0.7"]), Inconclusive);
        assert_eq!(of(&["0.5", "0.7", "0.9"]), Failed);
        assert_eq!(of(&[]), Error, "nothing asked for is nothing shown");
    }

    #[test_case(10, ["0.61", "0.7", "0.8"] => Passed; "as many as are borne")]
    #[test_case(11, ["0.61", "0.7", "0.8"] => Inconclusive; "too many to pass")]
    #[test_case(11, ["0.1", "0.2", "0.3"] => Inconclusive; "too many to fail")]
    fn samples_without_an_answer(errors: u32, interval: [&str; 3]) -> EvaluationVerdict {
        conclude(
            &[gate(AtLeast, "0.6")],
            &answer(vec![number("square", interval)], errors),
        )
        .verdict
    }

    #[test]
    fn it_says_the_numbers_and_what_was_wanted() {
        let conclusion = conclude(
            &[gate(AtLeast, "0.6")],
            &answer(vec![number("square", ["0.08", "0.15", "0.25"])], 0),
        );
        assert_eq!(
            conclusion.message,
            "robust_accuracy under square is 0.150 (0.080 to 0.250, n=200), wanted at least 0.6"
        );
        assert_eq!(conclusion.summary, "square robust_accuracy 0.150");
    }
}
