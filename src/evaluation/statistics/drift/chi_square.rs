//! Pearson's χ² test: whether two columns of categories come from the same distribution.
//! A guard beside a distance, as every test of this folder is.

use crate::evaluation::statistics::{
    StatError, drift::total, real, real64, same_length, special::chi_square_upper,
};

/// What the test found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChiSquare {
    /// Σ (observed − expected)² / expected over both rows of the table.
    pub statistic: f64,
    /// Degrees of freedom: categories that are there at all, less one.
    pub degrees: usize,
    /// How likely at least that statistic is when both sides have the same distribution; 1 when there is one category.
    pub p_value: f64,
    /// The smallest expected count. Below about 5 the p-value is only a rough one (Cochran 1954).
    pub least_expected: f64,
}

/// The test of homogeneity on counts of the same categories, without continuity correction. Categories that neither
/// side has are left out; those that only one side has are ordinary cells.
///
/// # Errors
/// [`StatError::Shape`] when the lengths differ; [`StatError::Empty`] when either side has no counts.
/// # Source
/// Pearson 1900.
pub fn chi_square(reference: &[u64], current: &[u64]) -> Result<ChiSquare, StatError> {
    same_length("categories", current.len(), reference.len())?;
    let (n, m) = (total("reference", reference)?, total("current", current)?);
    let (mut statistic, mut present, mut least_expected) = (0.0, 0, f64::INFINITY);
    for (one, other) in reference.iter().zip(current) {
        let (one, other) = (real64(*one), real64(*other));
        let both = one + other;
        if both == 0.0 {
            continue;
        }
        present += 1;
        for (observed, size) in [(one, n), (other, m)] {
            let expected = both * size / (n + m);
            statistic += (observed - expected).powi(2) / expected;
            least_expected = least_expected.min(expected);
        }
    }
    let degrees = present - 1;
    Ok(ChiSquare {
        statistic,
        degrees,
        p_value: chi_square_upper(real(degrees), statistic),
        least_expected,
    })
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;
    use crate::evaluation::statistics::testing::{Fixture, assert_close, assert_within};

    #[test]
    fn they_are_those_of_scipy() {
        for case in Fixture::drift().at("counts").list() {
            let found = chi_square(&case.counts("expected"), &case.counts("observed")).unwrap();
            assert_close(found.statistic, case.number("chi_square"), 1e-10);
            assert_eq!(found.degrees as u64, case.count("degrees"));
            assert_close(found.p_value, case.number("chi_square_p"), 1e-9);
        }
    }

    #[test]
    fn categories_that_one_side_alone_has_count_and_those_of_neither_do_not() {
        let found = chi_square(&[10, 0, 0], &[0, 0, 10]).unwrap();
        assert_eq!((found.statistic, found.degrees), (20.0, 1));
        assert_within(found.least_expected, 5.0, 0.0);
    }

    #[test]
    fn one_category_is_no_drift() {
        let found = chi_square(&[10], &[30]).unwrap();
        assert_eq!((found.statistic, found.degrees, found.p_value), (0.0, 0, 1.0));
    }

    #[test_case(&[1], &[1, 2]; "other categories")]
    #[test_case(&[], &[]; "no categories")]
    #[test_case(&[0, 0], &[1, 0]; "no reference")]
    #[test_case(&[1, 0], &[0, 0]; "no data")]
    fn refused(reference: &[u64], current: &[u64]) {
        assert!(chi_square(reference, current).is_err());
    }
}
