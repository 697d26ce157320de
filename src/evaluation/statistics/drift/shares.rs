//! Two distances between histograms over the same bins: the population stability index, and Jensen and Shannon's.
//! Both compare shares, so that the two sides may have as many rows as they like.

use crate::evaluation::statistics::{StatError, drift::total, real64, same_length};

/// What a bin's share is taken to be at least, so that an empty one does not make the index infinite.
pub const SHARE_FLOOR: f64 = 1e-4;

/// Population stability index between two histograms over the same bins.
///
/// `expected`, `observed`: counts, same length ≥ 2. Returns Σ (q−p)·ln(q/p) in nats, with each share floored at
/// [`SHARE_FLOOR`] and not rescaled after that.
///
/// # Errors
/// [`StatError::Shape`] when the lengths differ; [`StatError::TooFew`] for fewer than two bins; [`StatError::Empty`]
/// when either side has no counts.
/// # Source
/// Lewis 1994; null distribution in Yurdakul and Naranjo 2020.
pub fn psi(expected: &[u64], observed: &[u64]) -> Result<f64, StatError> {
    let pairs = paired(expected, observed)?;
    let terms = pairs.into_iter().map(|(p, q)| {
        let (p, q) = (p.max(SHARE_FLOOR), q.max(SHARE_FLOOR));
        (q - p) * (q / p).ln()
    });
    Ok(terms.sum())
}

/// Jensen–Shannon distance between two histograms over the same bins.
///
/// `expected`, `observed`: counts, same length ≥ 2. Returns the square root of the divergence in nats: from 0 to
/// √ln 2 ≈ 0.8326. Nothing is floored.
///
/// # Errors
/// As [`psi`].
/// # Source
/// Endres and Schindelin 2003.
pub fn jensen_shannon(expected: &[u64], observed: &[u64]) -> Result<f64, StatError> {
    let pairs = paired(expected, observed)?;
    let part = |p: f64, middle: f64| if p > 0.0 { p * (p / middle).ln() } else { 0.0 };
    let terms = pairs.into_iter().map(|(p, q)| {
        let middle = f64::midpoint(p, q);
        part(p, middle) + part(q, middle)
    });
    // Rounding may leave a little less than nothing.
    Ok((terms.sum::<f64>() / 2.0).max(0.0).sqrt())
}

/// The shares of both sides, bin by bin.
fn paired(expected: &[u64], observed: &[u64]) -> Result<Vec<(f64, f64)>, StatError> {
    same_length("bins", observed.len(), expected.len())?;
    if expected.len() < 2 {
        return Err(StatError::TooFew {
            what: "bins",
            found: expected.len(),
            needed: 2,
        });
    }
    let (p, q) = (total("expected", expected)?, total("observed", observed)?);
    let pairs = expected.iter().zip(observed);
    Ok(pairs
        .map(|(expected, observed)| (real64(*expected) / p, real64(*observed) / q))
        .collect())
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;
    use crate::evaluation::statistics::{
        drift::Bins,
        testing::{Fixture, assert_within},
    };

    #[test]
    fn distances_are_those_of_scipy_and_of_the_formula() {
        for case in Fixture::drift().at("counts").list() {
            let (expected, observed) = (case.counts("expected"), case.counts("observed"));
            assert_within(psi(&expected, &observed).unwrap(), case.number("psi"), 1e-12);
            assert_within(
                jensen_shannon(&expected, &observed).unwrap(),
                case.number("jensen_shannon"),
                1e-12,
            );
        }
    }

    #[test]
    fn samples_are_binned_as_in_numpy() {
        for case in Fixture::drift().at("samples").list() {
            let (reference, current) = (case.numbers("reference"), case.numbers("current"));
            let bins = Bins::by_quantile(&reference, Bins::USUAL).unwrap();
            let (expected, observed) = (bins.tally(&reference).unwrap(), bins.tally(&current).unwrap());
            assert_within(psi(&expected, &observed).unwrap(), case.number("psi"), 1e-12);
        }
    }

    #[test_case(&[1, 2], &[1, 2, 3]; "other bins")]
    #[test_case(&[1], &[1]; "one bin")]
    #[test_case(&[], &[]; "no bins")]
    #[test_case(&[0, 0], &[1, 2]; "no reference")]
    #[test_case(&[1, 2], &[0, 0]; "no data")]
    fn refused(expected: &[u64], observed: &[u64]) {
        assert!(psi(expected, observed).is_err());
        assert!(jensen_shannon(expected, observed).is_err());
    }

    #[test]
    fn the_same_is_nothing_and_the_disjoint_is_the_most() {
        assert_within(psi(&[3, 7], &[30, 70]).unwrap(), 0.0, 1e-15);
        assert_within(jensen_shannon(&[3, 7], &[30, 70]).unwrap(), 0.0, 1e-8);
        let most = std::f64::consts::LN_2.sqrt();
        assert_within(jensen_shannon(&[5, 0], &[0, 9]).unwrap(), most, 1e-15);
        // Floored shares: 2 · (1 − 1e-4) · ln 1e4.
        assert_within(psi(&[5, 0], &[0, 9]).unwrap(), 18.418_838_675_4, 1e-9);
    }
}
