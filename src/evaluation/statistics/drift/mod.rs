//! How far one column of today's data lies from the reference's: five distances and two tests.
//! Gates look at distances; with enough rows a test finds any difference, also those that do not matter.

mod bins;
mod chi_square;
mod kolmogorov_smirnov;
mod shares;
mod wasserstein;

pub use bins::{Bins, Categories, categories};
pub use chi_square::{ChiSquare, chi_square};
pub use kolmogorov_smirnov::{KolmogorovSmirnov, kolmogorov_smirnov};
pub use shares::{SHARE_FLOOR, jensen_shannon, psi};
pub use wasserstein::{Wasserstein, wasserstein};

use super::{StatError, finite, real64};

/// What all of these counts come to.
///
/// # Errors
/// [`StatError::Empty`] when that is nothing.
fn total(what: &'static str, counts: &[u64]) -> Result<f64, StatError> {
    let total: f64 = counts.iter().copied().map(real64).sum();
    if total > 0.0 {
        Ok(total)
    } else {
        Err(StatError::Empty { what })
    }
}

/// Both samples in order of size.
fn sorted(reference: &[f64], current: &[f64]) -> Result<(Vec<f64>, Vec<f64>), StatError> {
    finite("reference", reference)?;
    finite("current", current)?;
    let sort = |values: &[f64]| {
        let mut values = values.to_vec();
        values.sort_unstable_by(f64::total_cmp);
        values
    };
    Ok((sort(reference), sort(current)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::statistics::testing::{Fixture, assert_close, assert_within};

    /// The ages of a census of 2015 and of 2018: the test is sure that they differ, and they hardly do.
    #[test]
    fn real_people_hardly_drift_whatever_a_test_says() {
        let age = Fixture::drift().at("age");
        let ages = age.numbers("ages");
        let column = |side: &str| -> Vec<f64> {
            let counts = age.places(side);
            let each = ages.iter().zip(counts);
            each.flat_map(|(age, count)| std::iter::repeat_n(*age, count))
                .collect()
        };
        let (reference, current) = (column("reference"), column("current"));
        let bins = Bins::by_quantile(&reference, Bins::USUAL).unwrap();
        let psi = psi(&bins.tally(&reference).unwrap(), &bins.tally(&current).unwrap()).unwrap();
        assert_within(psi, age.number("psi"), 1e-12);
        let moved = wasserstein(&reference, &current).unwrap().distance;
        assert_within(moved, age.number("wasserstein"), 1e-12);
        let test = kolmogorov_smirnov(&reference, &current).unwrap();
        assert_within(test.distance, age.number("ks"), 1e-14);
        assert_close(test.p_value, age.number("ks_p"), 0.01);
        assert!(psi < 0.004 && test.p_value < 1e-7);
    }
}
