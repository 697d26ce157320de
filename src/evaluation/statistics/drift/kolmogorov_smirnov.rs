//! Kolmogorov and Smirnov: the largest distance between two empirical distribution functions, and its p-value.
//! Exact where that is cheap; ties make the p-value too large, never too small.

use crate::evaluation::statistics::{StatError, drift::sorted, real, real64, special::kolmogorov_upper};

/// As many steps of the exact calculation as are done: about a hundredth of a second.
const EXACT_STEPS: u64 = 4_000_000;

/// What the test found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KolmogorovSmirnov {
    /// The largest distance between the distribution functions, from 0 to 1.
    pub distance: f64,
    /// How likely at least that distance is when both samples come from one continuous distribution.
    pub p_value: f64,
    /// Whether the p-value is exact, or that of the limit distribution with a correction for finite samples.
    pub exact: bool,
}

/// The two-sided two-sample test. Samples of any size ≥ 1; time n·log n, and the product of the sizes where exact.
///
/// # Errors
/// [`StatError::Empty`], [`StatError::NotFinite`].
/// # Source
/// Smirnov 1939. Exact by counting lattice paths, with probabilities instead of counts, after Schröer and Trenkler
/// 1995; otherwise the limit distribution at the argument corrected by Vrbik 2018, with nm/(n+m) for the size.
pub fn kolmogorov_smirnov(reference: &[f64], current: &[f64]) -> Result<KolmogorovSmirnov, StatError> {
    let (one, other) = sorted(reference, current)?;
    let (n, m) = (one.len() as u64, other.len() as u64);
    let far = farthest(&one, &other);
    let few = n.checked_mul(m).is_some_and(|steps| steps <= EXACT_STEPS);
    let (size_one, size_other) = (real(one.len()), real(other.len()));
    let distance = far.distance;
    Ok(match u64::try_from(far.scaled) {
        Ok(scaled) if few => KolmogorovSmirnov {
            distance,
            p_value: path_probability(n, m, scaled),
            exact: true,
        },
        _ => {
            let root = (size_one * size_other / (size_one + size_other)).sqrt();
            let x = root * distance;
            let corrected = x + 1.0 / (6.0 * root) + (x - 1.0) / (4.0 * root * root);
            KolmogorovSmirnov {
                distance,
                p_value: kolmogorov_upper(corrected),
                exact: false,
            }
        }
    })
}

struct Farthest {
    distance: f64,
    /// The distance times both sizes: a whole number.
    scaled: u128,
}

/// Walks through both samples, ties together.
fn farthest(one: &[f64], other: &[f64]) -> Farthest {
    let (n, m) = (one.len() as u128, other.len() as u128);
    let (mut passed, mut passed_other) = (0, 0);
    let mut scaled = 0;
    while let Some(next) = smaller(one.get(passed), other.get(passed_other)) {
        passed += run(one, passed, next);
        passed_other += run(other, passed_other, next);
        scaled = scaled.max((passed as u128 * m).abs_diff(passed_other as u128 * n));
    }
    // The places where it is largest lie on both scales, so this division is the difference of the two shares.
    let distance = ratio(scaled, n * m);
    Farthest { distance, scaled }
}

fn smaller(one: Option<&f64>, other: Option<&f64>) -> Option<f64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(*other)),
        (one, other) => one.or(other).copied(),
    }
}

/// How many from `start` on are not above `value`.
fn run(sorted: &[f64], start: usize, value: f64) -> usize {
    let rest = sorted.get(start..).unwrap_or_default();
    rest.iter().take_while(|entry| **entry <= value).count()
}

#[expect(clippy::cast_precision_loss, reason = "the result is a rounded number anyway")]
fn ratio(part: u128, whole: u128) -> f64 {
    part as f64 / whole as f64
}

/// How likely a path through all orders of n and m equal things ever is as far from the diagonal as `scaled` = D·n·m.
///
/// Every step adds what is not negative, so that the smallest p-values are as accurate as the largest.
fn path_probability(n: u64, m: u64, scaled: u64) -> f64 {
    if scaled == 0 {
        return 1.0;
    }
    let far = |i: u64, j: u64| (i * m).abs_diff(j * n) >= scaled;
    // `reached[j]`: the chance that a random path to (i, j) has been that far by then.
    let mut reached: Vec<f64> = vec![0.0; usize::try_from(m).unwrap_or(0) + 1];
    for i in 0..=n {
        let mut left = 0.0;
        for (j, slot) in (0..=m).zip(reached.iter_mut()) {
            *slot = if far(i, j) {
                1.0
            } else if i + j == 0 {
                0.0
            } else {
                // Of the paths to (i, j), i of i + j come from (i − 1, j).
                let (i, j) = (real64(i), real64(j));
                (i * *slot + j * left) / (i + j)
            };
            left = *slot;
        }
    }
    reached.last().copied().unwrap_or(1.0).min(1.0)
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;
    use crate::evaluation::statistics::testing::{Fixture, assert_close, assert_within};

    #[test]
    fn distances_and_p_values_are_those_of_scipy() {
        for case in Fixture::drift().at("samples").list() {
            let found = kolmogorov_smirnov(&case.numbers("reference"), &case.numbers("current")).unwrap();
            assert_within(found.distance, case.number("ks"), 1e-15);
            assert!(found.exact);
            assert_close(found.p_value, case.number("ks_p"), 1e-9);
        }
    }

    /// SciPy takes Kolmogorov's exact distribution for one sample here; the corrected limit is within a hundredth of
    /// it.
    #[test]
    fn p_values_of_large_samples_are_near_those_of_scipy() {
        for case in Fixture::drift().at("ks_large").list() {
            let (n, m) = (case.count("n"), case.count("m"));
            let reference: Vec<f64> = (0..n).map(real64).collect();
            let moved = case.number("moved");
            let current: Vec<f64> = (0..m)
                .map(|place| real64(place) * case.number("stretched") + moved)
                .collect();
            let found = kolmogorov_smirnov(&reference, &current).unwrap();
            assert!(!found.exact);
            assert_within(found.distance, case.number("ks"), 1e-12);
            assert_close(found.p_value, case.number("ks_p"), 0.01);
        }
    }

    #[test_case(&[1.0], &[1.0] => (0.0, 1.0); "one and the same")]
    #[test_case(&[3.0; 9], &[3.0; 4] => (0.0, 1.0); "one constant")]
    #[test_case(&[3.0; 3], &[4.0; 3] => (1.0, 0.1); "two constants, in 2 of 20 orders")]
    #[test_case(&[0.0, -0.0], &[-0.0] => (0.0, 1.0); "zero has one sign")]
    fn edges(reference: &[f64], current: &[f64]) -> (f64, f64) {
        let found = kolmogorov_smirnov(reference, current).unwrap();
        (found.distance, (found.p_value * 1e12).round() / 1e12)
    }

    #[test_case(&[], &[1.0]; "no reference")]
    #[test_case(&[1.0], &[]; "no data")]
    #[test_case(&[1.0], &[f64::NAN]; "not a number")]
    #[test_case(&[f64::INFINITY], &[1.0]; "infinity")]
    fn refused(reference: &[f64], current: &[f64]) {
        assert!(kolmogorov_smirnov(reference, current).is_err());
    }
}
