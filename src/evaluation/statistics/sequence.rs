//! Bounds on a share that hold at every look at once, so that a run may stop as soon as one of them is good enough.
//! The price is a somewhat wider interval; the gain is that looking often buys nothing.
//!
//! # Method
//! For a claim "the share is at most t", each q above t gives a likelihood ratio of q against t. Under the claim none
//! of them grows on average, however and whenever one looks, and neither does their mean over all q evenly from t to 1.
//! By Ville's inequality such a mean ever reaches 1/α with a chance of at most α. The lower bound is the least t whose
//! claim has not been refuted in this way; the upper bound is the same for what did not succeed.
//!
//! # What is assumed
//! That every trial, whatever came before it, succeeds with the same chance: rows drawn independently from the
//! population that the share is about, tried in an order that was drawn beforehand, each counted whatever it shows. The
//! bounds are then bounds on that population's share, not on that of the rows at hand.
//!
//! # Source
//! Ville 1939; Robbins 1970, the mixture of likelihood ratios; Howard, Ramdas, McAuliffe and Sekhon 2021 for the
//! one-sided mixture and the bound at every look; Ramdas and Wang 2024 for e-values.

use super::{
    StatError,
    interval::{Interval, Side, Tally, unit},
    level,
    special::{beta_tails, boundary, ln_beta},
};

/// The bound at this look. Over all looks of a run together, it is ever on the wrong side of the true share with a
/// chance of at most `alpha`.
///
/// # Errors
/// [`StatError::Empty`] without trials; [`StatError::Range`] unless 0 < `alpha` ≤ 0.5.
pub fn bound(tally: Tally, side: Side, alpha: f64) -> Result<f64, StatError> {
    level(alpha)?;
    let share = match side {
        Side::Lower => tally.share()?,
        Side::Upper => tally.mirrored().share()?,
    };
    let tally = match side {
        Side::Lower => tally,
        Side::Upper => tally.mirrored(),
    };
    // Below the share the evidence against a claim falls as the claim rises, until it is less than 2: so there is one
    // place where it is 1/α, for α of at most a half.
    let lower = boundary(0.0, share, |threshold| {
        log_evidence(tally, threshold) >= -alpha.ln()
    });
    Ok(match side {
        Side::Lower => lower,
        Side::Upper => 1.0 - lower,
    })
}

/// Both bounds at this look. Over all looks of a run together, the true share is ever outside with a chance of at most
/// `alpha`, half of it on either side.
///
/// # Errors
/// As [`bound`].
pub fn both(tally: Tally, alpha: f64) -> Result<Interval, StatError> {
    level(alpha)?;
    Ok(Interval {
        lower: bound(tally, Side::Lower, alpha / 2.0)?,
        upper: bound(tally, Side::Upper, alpha / 2.0)?,
    })
}

/// The evidence, as an e-value, that the share lies on the good side of `threshold`: for [`Side::Lower`] above it, for
/// [`Side::Upper`] below it. 1 is none; 20 is what a bound at α = 0.05 asks for; infinite where one trial refutes the
/// claim.
///
/// Call it with the other side for the evidence that a gate fails.
///
/// # Errors
/// [`StatError::Empty`] without trials; [`StatError::Range`] for a threshold outside of 0 to 1.
pub fn e_value(tally: Tally, side: Side, threshold: f64) -> Result<f64, StatError> {
    unit(threshold)?;
    tally.share()?;
    Ok(match side {
        Side::Lower => log_evidence(tally, threshold),
        Side::Upper => log_evidence(tally.mirrored(), 1.0 - threshold),
    }
    .exp())
}

/// A p-value that may be read at any look: 1 over the [`e_value`], and at most 1.
///
/// # Errors
/// As [`e_value`].
pub fn p_value(tally: Tally, side: Side, threshold: f64) -> Result<f64, StatError> {
    Ok((1.0 / e_value(tally, side, threshold)?).min(1.0))
}

/// The logarithm of the mean, over q evenly from `threshold` to 1, of the likelihood ratio of q against `threshold`.
fn log_evidence(tally: Tally, threshold: f64) -> f64 {
    let (successes, failures) = tally.counts();
    if threshold >= 1.0 {
        // Nothing lies above: there is no evidence for it.
        return 0.0;
    }
    if threshold <= 0.0 {
        return if successes > 0.0 {
            f64::INFINITY
        } else {
            -libm::log1p(failures)
        };
    }
    let (a, b) = (successes + 1.0, failures + 1.0);
    let above = ln_beta(a, b) + beta_tails(a, b, threshold).1.ln() - libm::log1p(-threshold);
    above - successes * threshold.ln() - failures * libm::log1p(-threshold)
}

#[cfg(test)]
mod tests;
