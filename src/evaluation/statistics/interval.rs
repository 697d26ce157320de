//! Bounds on a share at a number of trials that was fixed beforehand, and tests of it.
//! Only for one look: whoever looks again and again, and stops when it suits, takes [`sequence`](super::sequence).

use super::{
    StatError, level, real64,
    special::{beta_tails, boundary, normal_upper_quantile},
};

/// From where to where a number may lie.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The lower bound.
    pub lower: f64,
    /// The upper bound.
    pub upper: f64,
}

/// So many of so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Tally {
    successes: u64,
    trials: u64,
}

/// As many trials as bounds are calculated for: beyond them logarithms of their orders lose the digits behind the point.
pub const MOST_TRIALS: u64 = 1 << 32;

impl Tally {
    /// # Errors
    /// [`StatError::Shape`] when there are more successes than trials; [`StatError::TooMany`] above [`MOST_TRIALS`].
    pub fn new(successes: u64, trials: u64) -> Result<Self, StatError> {
        if trials > MOST_TRIALS {
            let most = usize::try_from(MOST_TRIALS).unwrap_or(usize::MAX);
            return Err(StatError::TooMany {
                what: "trials",
                found: usize::try_from(trials).unwrap_or(usize::MAX),
                most,
            });
        }
        if successes > trials {
            return Err(StatError::Shape {
                what: "successes",
                found: usize::try_from(successes).unwrap_or(usize::MAX),
                expected: usize::try_from(trials).unwrap_or(usize::MAX),
            });
        }
        Ok(Self { successes, trials })
    }

    /// So many, and so many others.
    pub(super) const fn of(successes: u64, failures: u64) -> Self {
        Self {
            successes,
            trials: successes.saturating_add(failures),
        }
    }

    /// How many there are.
    pub const fn successes(self) -> u64 {
        self.successes
    }

    /// Of how many.
    pub const fn trials(self) -> u64 {
        self.trials
    }

    /// The others.
    pub const fn failures(self) -> u64 {
        self.trials - self.successes
    }

    /// Those that were not, counted as those that were.
    #[must_use]
    pub const fn mirrored(self) -> Self {
        Self {
            successes: self.failures(),
            trials: self.trials,
        }
    }

    /// One trial more.
    #[must_use]
    pub const fn and(self, success: bool) -> Self {
        Self {
            successes: self.successes.saturating_add(success as u64),
            trials: self.trials.saturating_add(1),
        }
    }

    /// The share of successes.
    ///
    /// # Errors
    /// [`StatError::Empty`] without trials.
    pub fn share(self) -> Result<f64, StatError> {
        if self.trials == 0 {
            return Err(StatError::Empty { what: "trials" });
        }
        Ok(real64(self.successes) / real64(self.trials))
    }

    pub(super) fn counts(self) -> (f64, f64) {
        (real64(self.successes), real64(self.failures()))
    }
}

/// Which bound of a share a gate looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The lower bound: the gate wants it at or above its threshold.
    Lower,
    /// The upper bound: the gate wants it at or below its threshold.
    Upper,
}

/// Wilson's score interval for a share, both sides: each bound is missed in about `alpha` / 2 of all experiments.
///
/// Good on average over shares, not for each of them: near 0 and 1 a bound can be missed more often than stated, where
/// [`exact_bound`] never is.
///
/// # Errors
/// [`StatError::Empty`] without trials; [`StatError::Range`] unless 0 < `alpha` ≤ 0.5.
/// # Source
/// Wilson 1927, without continuity correction.
pub fn wilson(tally: Tally, alpha: f64) -> Result<Interval, StatError> {
    level(alpha)?;
    tally.share()?;
    Ok(wilson_at(tally, normal_upper_quantile(alpha / 2.0)))
}

/// One of Wilson's bounds alone, missed in about `alpha` of all experiments.
///
/// # Errors
/// As [`wilson`].
pub fn wilson_bound(tally: Tally, side: Side, alpha: f64) -> Result<f64, StatError> {
    level(alpha)?;
    tally.share()?;
    let interval = wilson_at(tally, normal_upper_quantile(alpha));
    Ok(match side {
        Side::Lower => interval.lower,
        Side::Upper => interval.upper,
    })
}

/// The interval for a quantile of the normal distribution, when there are trials.
pub(super) fn wilson_at(tally: Tally, z: f64) -> Interval {
    let upper = |(some, others): (f64, f64)| {
        let n = some + others;
        let spread = z * (some * others / n + z * z / 4.0).sqrt();
        ((some + z * z / 2.0 + spread) / (n + z * z)).min(1.0)
    };
    let (successes, failures) = tally.counts();
    // The bounds of an outcome without exception are exactly 0 or 1, whatever rounding makes of the formula.
    Interval {
        lower: if successes == 0.0 {
            0.0
        } else {
            1.0 - upper((failures, successes))
        },
        upper: if failures == 0.0 {
            1.0
        } else {
            upper((successes, failures))
        },
    }
}

/// The exact bound for a share: missed in at most `alpha` of all experiments, whatever the share is.
///
/// # Errors
/// As [`wilson`].
/// # Source
/// Clopper and Pearson 1934.
pub fn exact_bound(tally: Tally, side: Side, alpha: f64) -> Result<f64, StatError> {
    level(alpha)?;
    tally.share()?;
    Ok(match side {
        Side::Lower => boundary(0.0, 1.0, |share| at_least(tally, share) < alpha),
        Side::Upper => {
            let mirrored = tally.mirrored();
            1.0 - boundary(0.0, 1.0, |share| at_least(mirrored, share) < alpha)
        }
    })
}

/// The p-value of the claim that a gate would need to be wrong about: for [`Side::Lower`] that the share is at most
/// `threshold`, for [`Side::Upper`] that it is at least that. Small means that the share lies on the good side.
///
/// Call it with the other side for the evidence that a gate fails.
///
/// # Errors
/// [`StatError::Empty`] without trials; [`StatError::Range`] for a threshold outside of 0 to 1.
/// # Source
/// The exact binomial test, one tail.
pub fn p_value(tally: Tally, side: Side, threshold: f64) -> Result<f64, StatError> {
    unit(threshold)?;
    tally.share()?;
    Ok(match side {
        Side::Lower => at_least(tally, threshold),
        Side::Upper => at_least(tally.mirrored(), 1.0 - threshold),
    })
}

/// How likely at least so many successes are when the share is `share`.
fn at_least(tally: Tally, share: f64) -> f64 {
    let (successes, failures) = tally.counts();
    if successes == 0.0 {
        return 1.0;
    }
    beta_tails(successes, failures + 1.0, share).0
}

pub(super) fn unit(threshold: f64) -> Result<(), StatError> {
    if (0.0..=1.0).contains(&threshold) {
        Ok(())
    } else {
        Err(StatError::Range {
            what: "threshold",
            value: threshold,
            range: "from 0 to 1",
        })
    }
}

/// How a bound is made, for [`least_trials`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// [`wilson_bound`].
    Wilson,
    /// [`exact_bound`].
    Exact,
    /// [`sequence::bound`](super::sequence::bound).
    Sequence,
}

impl Method {
    /// The bound of this method, one side.
    ///
    /// # Errors
    /// As [`wilson`].
    pub fn bound(self, tally: Tally, side: Side, alpha: f64) -> Result<f64, StatError> {
        match self {
            Self::Wilson => wilson_bound(tally, side, alpha),
            Self::Exact => exact_bound(tally, side, alpha),
            Self::Sequence => super::sequence::bound(tally, side, alpha),
        }
    }
}

/// The least number of trials with which a gate can be passed at all: when every one of them succeeds (or, for
/// [`Side::Upper`], none). None when no number of trials would do, as for a lower bound of 1, or none up to
/// [`MOST_TRIALS`].
///
/// # Errors
/// [`StatError::Range`] for a threshold outside of 0 to 1, or unless 0 < `alpha` ≤ 0.5.
pub fn least_trials(
    method: Method,
    side: Side,
    threshold: f64,
    alpha: f64,
) -> Result<Option<u64>, StatError> {
    unit(threshold)?;
    level(alpha)?;
    let passes = |trials: u64| -> Result<bool, StatError> {
        let best = match side {
            Side::Lower => Tally::new(trials, trials)?,
            Side::Upper => Tally::new(0, trials)?,
        };
        let bound = method.bound(best, side, alpha)?;
        Ok(match side {
            Side::Lower => bound >= threshold,
            Side::Upper => bound <= threshold,
        })
    };
    // The bound of a best outcome only gets better with more of it.
    let mut enough = 1;
    while !passes(enough)? {
        enough *= 2;
        if enough > MOST_TRIALS {
            return Ok(None);
        }
    }
    let mut too_few = enough / 2;
    while enough - too_few > 1 {
        let middle = too_few + (enough - too_few) / 2;
        if passes(middle)? {
            enough = middle;
        } else {
            too_few = middle;
        }
    }
    Ok(Some(enough))
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;
    use crate::evaluation::statistics::testing::{Fixture, assert_close, assert_within};

    fn tally(successes: u64, trials: u64) -> Tally {
        Tally::new(successes, trials).unwrap()
    }

    #[test]
    fn intervals_and_tests_are_those_of_scipy() {
        for case in Fixture::interval().at("cases").list() {
            let tally = tally(case.count("successes"), case.count("trials"));
            let alpha = case.number("alpha");
            let both = wilson(tally, alpha).unwrap();
            assert_within(both.lower, case.number("wilson_lower"), 1e-12);
            assert_within(both.upper, case.number("wilson_upper"), 1e-12);
            for (side, name) in [(Side::Lower, "lower"), (Side::Upper, "upper")] {
                let one = wilson_bound(tally, side, alpha).unwrap();
                assert_within(one, case.number(&format!("wilson_one_{name}")), 1e-12);
                let exact = exact_bound(tally, side, alpha).unwrap();
                assert_within(exact, case.number(&format!("exact_one_{name}")), 1e-10);
                let p = p_value(tally, side, case.number("threshold")).unwrap();
                assert_close(p, case.number(&format!("p_{name}")), 1e-9);
            }
        }
    }

    #[test]
    fn an_outcome_without_exception_has_bounds_that_are_exact() {
        for trials in 1..200 {
            assert_eq!(wilson(tally(trials, trials), 0.05).unwrap().upper, 1.0);
            assert_eq!(wilson(tally(0, trials), 0.05).unwrap().lower, 0.0);
            assert_eq!(
                exact_bound(tally(trials, trials), Side::Upper, 0.05).unwrap(),
                1.0
            );
            assert_eq!(exact_bound(tally(0, trials), Side::Lower, 0.05).unwrap(), 0.0);
        }
    }

    #[test_case(0, 0, 0.05; "no trials")]
    #[test_case(1, 2, 0.0; "no error at all")]
    #[test_case(1, 2, 0.51; "more error than a coin")]
    #[test_case(1, 2, f64::NAN; "no number")]
    fn there_is_no_bound(successes: u64, trials: u64, alpha: f64) {
        for side in [Side::Lower, Side::Upper] {
            for method in [Method::Wilson, Method::Exact, Method::Sequence] {
                assert!(method.bound(tally(successes, trials), side, alpha).is_err());
            }
        }
        assert!(wilson(tally(successes, trials), alpha).is_err());
    }

    #[test]
    fn tallies_that_cannot_be_are_refused() {
        assert!(matches!(Tally::new(2, 1), Err(StatError::Shape { .. })));
        assert!(matches!(Tally::new(0, u64::MAX), Err(StatError::TooMany { .. })));
    }

    /// The chance of a bound at or above `share` when that is what the share is, summed over all outcomes.
    fn false_passes(method: Method, trials: u64, share: f64) -> f64 {
        let mut chance = 0.0;
        for successes in 0..=trials {
            let tally = tally(successes, trials);
            if method.bound(tally, Side::Lower, 0.05).unwrap() >= share {
                let (s, f) = tally.counts();
                let ways = libm::lgamma(s + f + 1.0) - libm::lgamma(s + 1.0) - libm::lgamma(f + 1.0);
                chance += (ways + s * share.ln() + f * (1.0 - share).ln()).exp();
            }
        }
        chance
    }

    #[test]
    fn at_the_threshold_the_exact_bound_never_passes_too_often_and_wilsons_sometimes_does() {
        let mut worst = 0.0_f64;
        for share in [0.02, 0.1, 0.5, 0.7, 0.9, 0.99] {
            for trials in [50, 100, 200] {
                assert!(false_passes(Method::Exact, trials, share) <= 0.05);
                worst = worst.max(false_passes(Method::Wilson, trials, share));
            }
        }
        assert!(worst > 0.07, "{worst}");
    }

    #[test_case(Method::Wilson, Side::Lower, 0.9, 0.05 => Some(25); "wilson")]
    #[test_case(Method::Wilson, Side::Upper, 0.1, 0.05 => Some(25); "wilson from above")]
    #[test_case(Method::Exact, Side::Lower, 0.9, 0.05 => Some(29); "exact")]
    #[test_case(Method::Exact, Side::Upper, 0.001, 0.05 => Some(2995); "one in a thousand")]
    #[test_case(Method::Sequence, Side::Lower, 0.9, 0.05 => Some(43); "at any look")]
    #[test_case(Method::Sequence, Side::Upper, 0.1, 0.05 => Some(43); "at any look, from above")]
    #[test_case(Method::Wilson, Side::Lower, 1.0, 0.05 => None; "nothing shows that all would succeed")]
    #[test_case(Method::Exact, Side::Upper, 0.0, 0.05 => None; "nothing shows that none would")]
    #[test_case(Method::Sequence, Side::Lower, 1.0, 0.05 => None; "nor at any look")]
    #[test_case(Method::Exact, Side::Lower, 0.0, 0.05 => Some(1); "what is always so")]
    fn gates_need_at_least(method: Method, side: Side, threshold: f64, alpha: f64) -> Option<u64> {
        let least = least_trials(method, side, threshold, alpha).unwrap();
        if let Some(least) = least.filter(|least| *least > 1) {
            let best = |trials| match side {
                Side::Lower => method.bound(tally(trials, trials), side, alpha).unwrap() >= threshold,
                Side::Upper => method.bound(tally(0, trials), side, alpha).unwrap() <= threshold,
            };
            assert!(best(least) && !best(least - 1));
        }
        least
    }

    #[test]
    fn thresholds_are_shares() {
        assert!(least_trials(Method::Exact, Side::Lower, 1.5, 0.05).is_err());
        assert!(least_trials(Method::Exact, Side::Lower, f64::NAN, 0.05).is_err());
        assert!(p_value(tally(1, 2), Side::Lower, -0.1).is_err());
    }
}
