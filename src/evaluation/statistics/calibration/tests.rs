//! Values against those of scikit-learn and of the authors' own package, and what each number says of simple models.

use test_case::test_case;

use super::*;
use crate::evaluation::statistics::{
    draws::Draws,
    testing::{Fixture, assert_within},
};

#[test]
fn one_event_is_judged_as_by_scikit_learn() {
    for case in Fixture::calibration().at("binary").list() {
        let forecasts = Forecasts::new(&case.numbers("probabilities"), &case.flags("outcomes")).unwrap();
        let by_width = forecasts.by_width(BINS).unwrap();
        assert_within(by_width.error(), case.number("ece"), 1e-12);
        assert_within(
            forecasts.by_mass(BINS).unwrap().error(),
            case.number("ace"),
            1e-12,
        );
        assert_within(forecasts.brier(), case.number("brier"), 1e-12);
        assert_within(forecasts.log_loss(), case.number("log_loss"), 1e-12);
        let by_mass = forecasts.by_mass(10).unwrap();
        assert_within(
            by_mass.debiased_square().unwrap(),
            case.number("debiased_square"),
            1e-12,
        );
        // The package draws; with as many draws as the fixture took, three digits behind the point stand.
        assert_within(
            by_mass.debiased_error().unwrap(),
            case.number("debiased_error"),
            2e-4,
        );
    }
}

#[test]
fn classes_are_judged_as_by_scikit_learn() {
    let case = Fixture::calibration().at("classes");
    let values = case.numbers("probabilities");
    let labels = case.places("labels");
    let rows = Rows::new(&values, case.places("columns")[0]).unwrap();
    assert_within(
        brier_of_classes(rows, &labels).unwrap(),
        case.number("brier"),
        1e-12,
    );
    assert_within(
        log_loss_of_classes(rows, &labels).unwrap(),
        case.number("log_loss"),
        1e-12,
    );
    let top = Forecasts::of_top_class(rows, &labels).unwrap();
    assert_within(top.by_width(BINS).unwrap().error(), case.number("ece"), 1e-12);
}

/// Two classes are one event: the same numbers, the Brier score twice.
#[test]
fn two_classes_agree_with_one_event() {
    let probabilities = [0.25, 0.75, 0.5, 0.5, 0.875, 0.125];
    let rows = Rows::new(&probabilities, 2).unwrap();
    let one = Forecasts::new(&[0.75, 0.5, 0.125], &[true, false, false]).unwrap();
    let labels = [1, 0, 0];
    assert_within(brier_of_classes(rows, &labels).unwrap(), 2.0 * one.brier(), 1e-15);
    assert_within(log_loss_of_classes(rows, &labels).unwrap(), one.log_loss(), 1e-15);
}

#[test_case(&[0.0, 1.0], &[false, true] => (0.0, 0.0); "always right and sure")]
#[test_case(&[1.0, 0.0], &[false, true] => (1.0, 1.0); "always wrong and sure")]
#[test_case(&[0.5, 0.5], &[false, true] => (0.0, 0.25); "a coin that knows it is one")]
#[test_case(&[0.75, 0.75], &[true, true] => (0.25, 0.0625); "too modest")]
fn simple_models(probabilities: &[f64], outcomes: &[bool]) -> (f64, f64) {
    let forecasts = Forecasts::new(probabilities, outcomes).unwrap();
    (forecasts.by_width(BINS).unwrap().error(), forecasts.brier())
}

#[test]
fn edges_belong_to_the_bin_below() {
    let forecasts = Forecasts::new(&[0.0, 0.2, 0.4, 0.41, 1.0], &[false; 5]).unwrap();
    let counts = |bins| -> Vec<usize> {
        let found = forecasts.by_width(bins).unwrap();
        found.bins.iter().map(|bin| bin.count).collect()
    };
    assert_eq!(counts(5), [2, 1, 1, 1]);
    assert_eq!(counts(1), [5]);
}

#[test]
fn equal_probabilities_share_their_outcomes_whatever_their_order() {
    let one = Forecasts::new(&[0.3, 0.3, 0.3, 0.3], &[true, true, false, false]).unwrap();
    let other = Forecasts::new(&[0.3, 0.3, 0.3, 0.3], &[false, true, false, true]).unwrap();
    assert_eq!(one.by_mass(2).unwrap(), other.by_mass(2).unwrap());
    assert_within(one.by_mass(2).unwrap().error(), 0.2, 1e-15);
}

/// A perfectly calibrated model: the plain error is far above 0, the debiased one near it.
#[test]
fn what_noise_adds_is_taken_away() {
    let (mut plain, mut debiased, mut square) = (0.0, 0.0, 0.0);
    for run in 0..200 {
        let mut draws = Draws::new(9, run);
        let probabilities: Vec<f64> = (0..300).map(|_| draws.unit()).collect();
        let outcomes: Vec<bool> = probabilities.iter().map(|p| draws.unit() < *p).collect();
        let bins = Forecasts::new(&probabilities, &outcomes)
            .unwrap()
            .by_mass(BINS)
            .unwrap();
        plain += bins.error() / 200.0;
        debiased += bins.debiased_error().unwrap() / 200.0;
        square += bins.debiased_square().unwrap() / 200.0;
    }
    assert!(plain > 0.06, "{plain}");
    assert!(debiased < 0.7 * plain, "{debiased} of {plain}");
    assert!(square.abs() < 0.001, "{square}");
}

#[test]
fn a_certainty_that_was_wrong_costs_much_and_not_everything() {
    let forecasts = Forecasts::new(&[0.0], &[true]).unwrap();
    assert_within(forecasts.log_loss(), 52.0 * std::f64::consts::LN_2, 1e-12);
}

#[test_case(&[], &[]; "nothing")]
#[test_case(&[0.5], &[]; "no outcome")]
#[test_case(&[f64::NAN], &[true]; "not a number")]
#[test_case(&[1.1], &[true]; "more than certain")]
#[test_case(&[-0.1], &[true]; "less than impossible")]
fn no_forecasts(probabilities: &[f64], outcomes: &[bool]) {
    assert!(Forecasts::new(probabilities, outcomes).is_err());
}

#[test_case(&[0.5, 0.5], 2, &[2]; "a label that no class has")]
#[test_case(&[0.5, 0.5], 2, &[0, 1]; "more labels than rows")]
#[test_case(&[0.5, 0.4], 2, &[0]; "rows that are not whole")]
#[test_case(&[1.5, -0.5], 2, &[0]; "what is no probability")]
fn no_classes(probabilities: &[f64], columns: usize, labels: &[usize]) {
    let rows = Rows::new(probabilities, columns).unwrap();
    assert!(brier_of_classes(rows, labels).is_err());
    assert!(log_loss_of_classes(rows, labels).is_err());
    assert!(Forecasts::of_top_class(rows, labels).is_err());
}

#[test]
fn bins_are_some_and_not_too_many() {
    let forecasts = Forecasts::new(&[0.1, 0.9], &[false, true]).unwrap();
    assert!(forecasts.by_width(0).is_err() && forecasts.by_mass(0).is_err());
    assert!(forecasts.by_mass(3).is_err());
    assert!(forecasts.by_mass(2).unwrap().debiased_error().is_err());
}
