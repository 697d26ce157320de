//! Wasserstein's distance: how far the values have to be moved, on average, to make one sample of the other.
//! In the column's own unit, and in standard deviations of the reference, by which columns can be compared.

use crate::evaluation::statistics::{StatError, drift::sorted, finite, mean, real};

/// The distance in two units.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wasserstein {
    /// In the unit of the column.
    pub distance: f64,
    /// In standard deviations of the reference (divided by n); none when the reference is constant.
    pub in_deviations: Option<f64>,
}

/// The first Wasserstein distance between two samples: the area between their distribution functions.
///
/// # Errors
/// [`StatError::Empty`]; [`StatError::NotFinite`], also when values are so far apart that the distance is.
/// # Source
/// Vallender 1974.
pub fn wasserstein(reference: &[f64], current: &[f64]) -> Result<Wasserstein, StatError> {
    let (one, other) = sorted(reference, current)?;
    let (n, m) = (real(one.len()), real(other.len()));
    let (mut passed, mut passed_other) = (0_usize, 0_usize);
    let mut distance = 0.0;
    let mut at: Option<f64> = None;
    loop {
        let next = match (one.get(passed), other.get(passed_other)) {
            (Some(one), Some(other)) if one <= other => *one,
            (_, Some(other)) => *other,
            (Some(one), None) => *one,
            (None, None) => break,
        };
        if let Some(at) = at {
            distance += (next - at) * (real(passed) / n - real(passed_other) / m).abs();
        }
        at = Some(next);
        if one.get(passed).is_some_and(|value| *value <= next) {
            passed += 1;
        } else {
            passed_other += 1;
        }
    }
    let middle = mean(&one);
    let variance = one.iter().map(|value| (value - middle).powi(2)).sum::<f64>() / n;
    finite("the distance", &[distance, variance])?;
    let constant = one.first() == one.last();
    let in_deviations = (!constant).then(|| distance / variance.sqrt());
    Ok(Wasserstein {
        distance,
        // Not of a deviation so small that its square is nothing.
        in_deviations: in_deviations.filter(|distance| distance.is_finite()),
    })
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;
    use crate::evaluation::statistics::testing::{Fixture, assert_within};

    #[test]
    fn it_is_that_of_scipy() {
        for case in Fixture::drift().at("samples").list() {
            let found = wasserstein(&case.numbers("reference"), &case.numbers("current")).unwrap();
            assert_within(found.distance, case.number("wasserstein"), 1e-12);
            assert_within(
                found.in_deviations.unwrap(),
                case.number("wasserstein") / case.number("deviation"),
                1e-12,
            );
        }
    }

    #[test_case(&[1.0, 3.0], &[3.0, 1.0] => (0.0, Some(0.0)); "the same in another order")]
    #[test_case(&[0.0, 2.0], &[5.0, 7.0] => (5.0, Some(5.0)); "moved")]
    #[test_case(&[1.0, 1.0], &[4.0] => (3.0, None); "a constant has no deviations")]
    fn moved(reference: &[f64], current: &[f64]) -> (f64, Option<f64>) {
        let found = wasserstein(reference, current).unwrap();
        (found.distance, found.in_deviations)
    }

    #[test_case(&[], &[1.0]; "no reference")]
    #[test_case(&[1.0], &[f64::NAN]; "not a number")]
    #[test_case(&[f64::MAX], &[-f64::MAX]; "farther apart than numbers go")]
    fn refused(reference: &[f64], current: &[f64]) {
        assert!(wasserstein(reference, current).is_err());
    }
}
