//! Values against those of scikit-learn, SciPy and Shapley's own formula, and models that answer badly.

use test_case::test_case;

use super::*;
use crate::evaluation::statistics::testing::{Fixture, assert_within};

type Answers = Result<Vec<f64>, StatError>;

fn linear(weights: &[f64]) -> impl Fn(Rows<'_>) -> Vec<f64> {
    move |rows| {
        let of = |row: &[f64]| {
            row.iter()
                .zip(weights)
                .map(|(value, weight)| value * weight)
                .sum()
        };
        rows.iter().map(of).collect()
    }
}

/// A logistic regression on eight columns of scikit-learn's breast cancer data. Both draw, so both are averaged.
#[test]
fn importances_are_those_of_scikit_learn() {
    let fixture = Fixture::importance().at("permutation");
    let (values, weights) = (fixture.numbers("rows"), fixture.numbers("weights"));
    let (labels, intercept) = (fixture.flags("labels"), fixture.number("intercept"));
    let rows = Rows::new(&values, weights.len()).unwrap();
    let model = linear(&weights);
    let found = permutation_importance(rows, 200, 1, |rows| -> Result<f64, StatError> {
        let right = model(rows)
            .iter()
            .zip(&labels)
            .filter(|(z, label)| (**z + intercept > 0.0) == **label)
            .count();
        Ok(real(right) / real(labels.len()))
    })
    .unwrap();
    for (found, expected) in found.iter().zip(fixture.table("importances")) {
        let open = 5.0 * (2.0_f64 / 200.0).sqrt() * expected[1] + 1e-12;
        assert_within(found.mean, expected[0], open);
        assert_within(found.deviation, expected[1], 0.3 * expected[1] + 1e-12);
    }
}

#[test]
fn a_column_that_says_nothing_has_no_importance_and_the_table_is_put_back() {
    let rows = Rows::new(&[1.0, 5.0, 2.0, 5.0, 3.0, 5.0, 4.0, 5.0], 2).unwrap();
    let mut sums = Vec::new();
    let found = permutation_importance(rows, 3, 0, |rows| -> Result<f64, StatError> {
        sums.push(rows.column(0).sum::<f64>() + rows.column(1).sum::<f64>());
        Ok(rows
            .column(0)
            .zip([1.0, 2.0, 3.0, 4.0])
            .map(|(one, other)| -(one - other).abs())
            .sum())
    })
    .unwrap();
    assert!(found[0].mean > 0.0);
    assert_eq!((found[1].mean, found[1].deviation), (0.0, 0.0));
    assert_eq!(sums, [30.0; 7]);
}

#[test]
fn a_score_that_is_no_number_ends_it() {
    let rows = Rows::new(&[1.0, 2.0], 1).unwrap();
    let score = |_: Rows<'_>| -> Result<f64, StatError> { Ok(f64::NAN) };
    assert!(permutation_importance(rows, 1, 0, score).is_err());
    let score = |_: Rows<'_>| -> Result<f64, StatError> { Ok(0.0) };
    assert!(permutation_importance(rows, 0, 0, score).is_err());
}

#[test]
fn a_linear_model_is_taken_apart_exactly() {
    for columns in [1, 2, 3, 8, 30, 64] {
        let weights: Vec<f64> = (0..columns).map(|column| real(column) - 2.5).collect();
        let row: Vec<f64> = (0..columns).map(|column| real(column % 5)).collect();
        let background: Vec<f64> = (0..3 * columns).map(|cell| real(cell % 7) / 2.0).collect();
        let background = Rows::new(&background, columns).unwrap();
        let model = linear(&weights);
        let asked = usual_coalitions(columns);
        let found = kernel_shap(&row, background, asked, 4, |rows| -> Answers { Ok(model(rows)) }).unwrap();
        for (column, value) in found.values.iter().enumerate() {
            let middle = background.column(column).sum::<f64>() / 3.0;
            assert_within(*value, weights[column] * (row[column] - middle), 1e-8);
        }
        assert!(found.additivity_error < 1e-9, "{}", found.additivity_error);
        assert_eq!(found.exact, columns < 12);
    }
}

/// Shapley's formula over all orders of the columns, in Python, for a model with products of columns.
#[test]
fn values_are_shapleys() {
    for case in Fixture::importance().at("shapley").list() {
        let (row, background) = (case.numbers("row"), case.numbers("background"));
        let background = Rows::new(&background, row.len()).unwrap();
        let (weights, products) = (case.numbers("weights"), case.table("products"));
        let model = |rows: Rows<'_>| -> Answers {
            let of = |row: &[f64]| {
                let line: f64 = row
                    .iter()
                    .zip(&weights)
                    .map(|(value, weight)| value * weight)
                    .sum();
                let products = products.iter().map(|term| {
                    let cell = |place: f64| row[super::super::whole(place, 100)];
                    cell(term[0]) * cell(term[1]) * term[2]
                });
                line + products.sum::<f64>()
            };
            Ok(rows.iter().map(of).collect())
        };
        let all = kernel_shap(&row, background, usual_coalitions(row.len()), 0, model).unwrap();
        assert!(all.exact);
        assert_within(all.base, case.number("base"), 1e-12);
        for (found, expected) in all.values.iter().zip(case.numbers("values")) {
            assert_within(*found, expected, 1e-10);
        }
        // With only some of the coalitions it is an estimate, and a near one.
        let some = kernel_shap(&row, background, 60, 0, model).unwrap();
        assert!(!some.exact && some.additivity_error < 1e-12);
        for (found, expected) in some.values.iter().zip(case.numbers("values")) {
            assert_within(*found, expected, 0.25);
        }
    }
}

#[test]
fn a_model_that_answers_badly_is_no_explanation() {
    let background = Rows::new(&[0.0, 0.0], 2).unwrap();
    let few = |_: Rows<'_>| -> Answers { Ok(vec![]) };
    assert!(kernel_shap(&[1.0, 1.0], background, 10, 0, few).is_err());
    let broken = |rows: Rows<'_>| -> Answers { Ok(vec![f64::NAN; rows.count()]) };
    assert!(kernel_shap(&[1.0, 1.0], background, 10, 0, broken).is_err());
    let fine = |rows: Rows<'_>| -> Answers { Ok(vec![0.0; rows.count()]) };
    assert!(kernel_shap(&[1.0], background, 10, 0, fine).is_err());
    assert!(kernel_shap(&[1.0, f64::NAN], background, 10, 0, fine).is_err());
    assert!(kernel_shap(&[1.0, 1.0], background, 3, 0, fine).is_err());
    assert!(kernel_shap(&[1.0, 1.0], background, usize::MAX, 0, fine).is_err());
    let wide = [0.0; 65];
    assert!(kernel_shap(&wide, Rows::new(&wide, 65).unwrap(), 9999, 0, fine).is_err());
    let refused = |_: Rows<'_>| -> Answers { Err(StatError::Empty { what: "the endpoint" }) };
    let found = kernel_shap(&[1.0, 1.0], background, 10, 0, refused);
    assert_eq!(found, Err(StatError::Empty { what: "the endpoint" }));
}

#[test]
fn rank_correlations_are_those_of_scipy() {
    for case in Fixture::importance().at("kendall").list() {
        let tau = kendall(&case.numbers("one"), &case.numbers("other")).unwrap();
        assert_within(tau, case.number("tau"), 1e-12);
    }
}

#[test_case(&[1.0, 2.0, 3.0], &[1.0, 2.0, 3.0] => Ok(1.0); "the same order")]
#[test_case(&[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0] => Ok(-1.0); "the reverse")]
#[test_case(&[1.0, 1.0], &[1.0, 2.0] => matches Err(StatError::Undefined { .. }); "no order")]
#[test_case(&[1.0], &[1.0] => matches Err(StatError::TooFew { .. }); "one")]
#[test_case(&[1.0, 2.0], &[1.0] => matches Err(StatError::Shape { .. }); "not as many")]
#[test_case(&[1.0, f64::NAN], &[1.0, 2.0] => matches Err(StatError::NotFinite { .. }); "not a number")]
fn order(one: &[f64], other: &[f64]) -> Result<f64, StatError> {
    kendall(one, other)
}

#[test_case(&[3.0, -1.0, 0.0], 1 => Ok(0.75); "by absolute value")]
#[test_case(&[3.0, -1.0, 0.0], 9 => Ok(1.0); "more than there are")]
#[test_case(&[0.0, 0.0], 1 => matches Err(StatError::Undefined { .. }); "none")]
#[test_case(&[f64::MAX, f64::MAX], 1 => matches Err(StatError::NotFinite { .. }); "larger than sums go")]
#[test_case(&[], 1 => matches Err(StatError::Empty { .. }); "nothing")]
fn share_of_the_top(importances: &[f64], top: usize) -> Result<f64, StatError> {
    top_share(importances, top)
}
