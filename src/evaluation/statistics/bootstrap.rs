//! Bounds on any statistic of rows that has none of its own, by drawing the rows again.
//! For means and ranks, such as a Brier score or an area under a curve; shares have better bounds in
//! [`interval`](super::interval).

use super::{StatError, draws::Draws, finite, interval::Interval, level, quantile::quantiles, real};

/// As many resamples as can be asked for.
pub const MOST_RESAMPLES: usize = 100_000;

/// The percentile interval: where the middle 1 − `alpha` of the statistic lies over `resamples` draws of `rows` rows
/// with replacement. At least 2 / `alpha` resamples are needed for its ends to mean something; 1000 are usual.
///
/// `statistic`: of the rows with these numbers, each from 0 to below `rows`, some of them several times. Its errors end
/// the run.
///
/// Coverage is near 1 − `alpha` from about fifty rows on, for statistics that are smooth in their rows. What noise only
/// ever adds to (a calibration error, a population stability index) is drawn too high, both bounds of it: its upper
/// bound errs on the safe side, and its lower bound is no evidence that it is high.
///
/// # Errors
/// [`StatError::Empty`] without rows; [`StatError::TooFew`] and [`StatError::TooMany`] resamples;
/// [`StatError::NotFinite`] when a statistic is; [`StatError::Range`] unless 0 < `alpha` ≤ 0.5.
/// # Source
/// Efron 1979; Efron and Tibshirani 1993, chapter 13.
pub fn bootstrap<E: From<StatError>>(
    rows: usize,
    resamples: usize,
    alpha: f64,
    seed: u64,
    mut statistic: impl FnMut(&[usize]) -> Result<f64, E>,
) -> Result<Interval, E> {
    level(alpha)?;
    if rows == 0 {
        return Err(StatError::Empty { what: "rows" }.into());
    }
    if resamples > MOST_RESAMPLES {
        return Err(StatError::TooMany {
            what: "resamples",
            found: resamples,
            most: MOST_RESAMPLES,
        }
        .into());
    }
    let needed = (2.0 / alpha).ceil();
    if real(resamples) < needed {
        return Err(StatError::TooFew {
            what: "resamples",
            found: resamples,
            needed: super::whole(needed, usize::MAX),
        }
        .into());
    }
    let mut draws = Draws::new(seed, 0);
    let mut drawn = vec![0; rows];
    let mut found = Vec::with_capacity(resamples);
    for _ in 0..resamples {
        drawn.fill_with(|| draws.below(rows));
        found.push(statistic(&drawn)?);
    }
    finite("statistics of resamples", &found)?;
    match quantiles(&mut found, &[alpha / 2.0, 1.0 - alpha / 2.0])[..] {
        [lower, upper] => Ok(Interval { lower, upper }),
        _ => Err(StatError::Empty { what: "resamples" }.into()),
    }
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;
    use crate::evaluation::statistics::mean;

    fn of_mean(values: &[f64], resamples: usize, alpha: f64, seed: u64) -> Result<Interval, StatError> {
        bootstrap(values.len(), resamples, alpha, seed, |drawn| {
            Ok(mean(&drawn.iter().map(|row| values[*row]).collect::<Vec<_>>()))
        })
    }

    #[test]
    fn the_mean_of_the_population_is_within() {
        let within = (0..400).filter(|run| {
            let mut draws = Draws::new(12, *run);
            let values: Vec<f64> = (0..80).map(|_| -draws.unit().max(1e-9).ln()).collect();
            let interval = of_mean(&values, 200, 0.1, *run).unwrap();
            (interval.lower..=interval.upper).contains(&1.0)
        });
        let within = within.count();
        // 90 of 100, a little less for a mean of skewed values.
        assert!((335..=380).contains(&within), "{within} of 400");
    }

    #[test]
    fn a_seed_says_the_same_again_and_a_constant_has_no_spread() {
        let values = [1.0, 2.0, 5.0, 9.0];
        assert_eq!(of_mean(&values, 100, 0.05, 3), of_mean(&values, 100, 0.05, 3));
        assert_ne!(of_mean(&values, 100, 0.05, 3), of_mean(&values, 100, 0.05, 4));
        let interval = of_mean(&[4.0; 5], 100, 0.05, 0).unwrap();
        assert_eq!((interval.lower, interval.upper), (4.0, 4.0));
    }

    #[test_case(&[], 100, 0.05; "no rows")]
    #[test_case(&[1.0], 39, 0.05; "too few resamples for the level")]
    #[test_case(&[1.0], usize::MAX, 0.05; "too many")]
    #[test_case(&[1.0], 100, 0.0; "no level")]
    #[test_case(&[f64::NAN], 100, 0.05; "not a number")]
    fn refused(values: &[f64], resamples: usize, alpha: f64) {
        assert!(of_mean(values, resamples, alpha, 0).is_err());
    }
}
