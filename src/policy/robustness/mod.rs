//! What was measured of models, and what policies make of it. Pure: numbers and times come as arguments.
//!
//! ```text
//! RobustnessPolicy ─▶ GateRule ─┐
//! Evaluation.status ─▶ Measured ┴─▶ World ─▶ checks::robustness ─▶ Finding
//! ```

mod due;
mod floor;
mod rule;
mod run;
mod verdict;

#[cfg(test)]
pub(super) mod samples;

pub use due::{Due, MAX_ERRORS, due};
pub use floor::{Floor, Shown, floors};
pub use rule::{GateRule, confidence, problems, request_hash};
pub use run::Measured;
pub use verdict::{Conclusion, Gated, conclude, gated};
