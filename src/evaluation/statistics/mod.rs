//! The statistics that a verdict rests on, one file a method, each equal to a published definition.
//! Pure: no clock, no files, no threads; chance comes from a seed that the caller gives and records.
//!
//! No function here returns NaN, and none takes it: what is not a finite number is [`StatError::NotFinite`], so that
//! a broken output can never look like a good one.

#![cfg_attr(
    test,
    allow(
        clippy::float_cmp,
        reason = "where a test says a number without a tolerance, it is that number"
    )
)]

pub mod bootstrap;
pub mod calibration;
pub mod drift;
pub mod fairness;
pub mod importance;
pub mod interval;
pub mod membership;
pub mod mmd;
pub mod multiple;
pub mod outlier;
pub mod sequence;

mod draws;
mod linear;
mod quantile;
mod rows;
mod special;
#[cfg(test)]
mod testing;

pub use rows::{Rows, standardised};

/// Why there is no number.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StatError {
    /// There is nothing to calculate with.
    #[error("{what}: there are none")]
    Empty {
        /// Which input.
        what: &'static str,
    },
    /// Two inputs do not belong together, or one is not a table.
    #[error("{what}: there are {found}, and {expected} belong there")]
    Shape {
        /// Which input.
        what: &'static str,
        /// How many entries it has.
        found: usize,
        /// How many it should have.
        expected: usize,
    },
    /// NaN or infinity, in the input or in what was calculated from it.
    #[error("{what}: entry {index} is NaN or infinite")]
    NotFinite {
        /// Which input.
        what: &'static str,
        /// The place of the first such entry.
        index: usize,
    },
    /// A finite number outside of what it can mean.
    #[error("{what} is {value}, and must be {range}")]
    Range {
        /// Which input.
        what: &'static str,
        /// What it is.
        value: f64,
        /// What it may be, in words.
        range: &'static str,
    },
    /// The method says nothing about so few.
    #[error("{what}: there are {found}, and at least {needed} are needed")]
    TooFew {
        /// Which input.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many would do.
        needed: usize,
    },
    /// More than the method's time and memory allow for.
    #[error("{what}: there are {found}, and at most {most} are taken: draw a sample")]
    TooMany {
        /// Which input.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many are taken.
        most: usize,
    },
    /// The number is not defined for this input.
    #[error("{what} is not defined: {why}")]
    Undefined {
        /// Which number.
        what: &'static str,
        /// What about the input makes it so.
        why: String,
    },
}

/// A count as a number.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of samples stay far below 2^53, up to which this is exact"
)]
const fn real(count: usize) -> f64 {
    count as f64
}

/// A count as a number.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of trials stay far below 2^53, up to which this is exact"
)]
const fn real64(count: u64) -> f64 {
    count as f64
}

/// The whole part of a number as a count: nothing for NaN and negative ones, and never more than `most`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, and takes NaN to nothing"
)]
fn whole(number: f64, most: usize) -> usize {
    (number as usize).min(most)
}

/// Not empty, and every entry a finite number.
fn finite(what: &'static str, values: &[f64]) -> Result<(), StatError> {
    if values.is_empty() {
        return Err(StatError::Empty { what });
    }
    match values.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(StatError::NotFinite { what, index }),
        None => Ok(()),
    }
}

/// As many as expected.
fn same_length(what: &'static str, found: usize, expected: usize) -> Result<(), StatError> {
    if found == expected {
        Ok(())
    } else {
        Err(StatError::Shape {
            what,
            found,
            expected,
        })
    }
}

/// Above nothing and below one.
fn open_share(what: &'static str, value: f64) -> Result<(), StatError> {
    if value > 0.0 && value < 1.0 {
        Ok(())
    } else {
        Err(StatError::Range {
            what,
            value,
            range: "above 0 and below 1",
        })
    }
}

/// The error level of a bound or a test. More than one half would be no evidence at all.
fn level(alpha: f64) -> Result<(), StatError> {
    if alpha > 0.0 && alpha <= 0.5 {
        Ok(())
    } else {
        Err(StatError::Range {
            what: "alpha",
            value: alpha,
            range: "above 0 and at most 0.5",
        })
    }
}

/// The mean of a list that is not empty.
fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / real(values.len())
}
