//! Several tests at once: the more of them there are, the more of them look bad by chance.
//! Pure; p-values may come from one look or from any, as long as each is one.

use super::StatError;

/// p-values adjusted by Holm's method, in the order they came in: those of at most α may be rejected together, and any
/// of them wrongly with a chance of at most α, however the tests depend on each other.
///
/// # Errors
/// [`StatError::Empty`] without p-values; [`StatError::NotFinite`] or [`StatError::Range`] when one is none.
/// # Source
/// Holm 1979.
pub fn holm(p_values: &[f64]) -> Result<Vec<f64>, StatError> {
    super::finite("p-values", p_values)?;
    if let Some(p) = p_values.iter().find(|p| !(0.0..=1.0).contains(*p)) {
        return Err(StatError::Range {
            what: "a p-value",
            value: *p,
            range: "from 0 to 1",
        });
    }
    let mut ordered: Vec<(usize, f64)> = p_values.iter().copied().enumerate().collect();
    ordered.sort_by(|one, other| one.1.total_cmp(&other.1));
    let mut adjusted = p_values.to_vec();
    let mut highest = 0.0_f64;
    for (rank, (place, p)) in ordered.into_iter().enumerate() {
        let left = super::real(p_values.len() - rank);
        highest = highest.max((p * left).min(1.0));
        if let Some(slot) = adjusted.get_mut(place) {
            *slot = highest;
        }
    }
    Ok(adjusted)
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;
    use crate::evaluation::statistics::testing::{Fixture, assert_within};

    #[test]
    fn they_are_those_of_statsmodels() {
        for case in Fixture::interval().at("holm").list() {
            let adjusted = holm(&case.numbers("p")).unwrap();
            for (found, expected) in adjusted.iter().zip(case.numbers("adjusted")) {
                assert_within(*found, expected, 1e-15);
            }
        }
    }

    #[test_case(&[0.03] => vec![0.03]; "one is left as it is")]
    #[test_case(&[0.5, 0.75] => vec![1.0, 1.0]; "none is above one")]
    #[test_case(&[0.25, 0.125, 0.25] => vec![0.5, 0.375, 0.5]; "equal ones stay equal, and the order is kept")]
    fn adjusted(p_values: &[f64]) -> Vec<f64> {
        holm(p_values).unwrap()
    }

    #[test_case(&[]; "none")]
    #[test_case(&[0.1, f64::NAN]; "not a number")]
    #[test_case(&[0.1, 1.1]; "above one")]
    #[test_case(&[-0.1]; "below nothing")]
    fn refused(p_values: &[f64]) {
        assert!(holm(p_values).is_err());
    }
}
