//! Does the attack work at all against this model? Allowed to choose any input, it must leave no more than chance.
//! What holds even then does not hold because it is robust.

use std::ops::ControlFlow;

use super::{
    ask::Watch,
    outcome::{SampleResult, Tally},
    run::{AttackError, Plan, run},
    square::Square,
    threat::Threat,
};
use crate::evaluation::{
    dataset::Dataset,
    model::Model,
    random::{Purpose, order},
};

/// Samples and queries that are enough to see it.
const SAMPLES: usize = 50;
const BUDGET: u32 = 100;

/// What the largest ε leaves of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sanity {
    /// Samples still read rightly.
    pub held: usize,
    /// Of so many.
    pub samples: usize,
    /// As many may be.
    pub most: usize,
    /// Rows the model was asked about.
    pub rows: u64,
}

/// Attacks the first samples of the plan with ε as large as the whole range.
///
/// # Errors
/// [`AttackError::Sanity`] when more samples hold than a model that always gives the same answer would get right, with
/// two standard deviations to spare; otherwise as [`run`].
pub fn sanity(
    model: &mut dyn Model,
    data: &Dataset,
    plan: &Plan,
    threat: &Threat,
    watch: &mut dyn Watch,
) -> Result<Sanity, AttackError> {
    let plan = Plan {
        samples: plan.samples.min(SAMPLES),
        block: SAMPLES,
        seed: plan.seed,
    };
    let attack = Square {
        purpose: Purpose::Sanity,
        ..Square::new(BUDGET)
    };
    let found = run(
        model,
        data,
        &plan,
        &threat.unlimited(),
        &attack,
        &mut Asked(watch),
    )?;
    let held = Tally::of(&found.results).held;
    let most = by_chance(data, &plan, found.classes);
    if held > most {
        return Err(AttackError::Sanity {
            held,
            samples: plan.samples,
            most,
        });
    }
    Ok(Sanity {
        held,
        samples: plan.samples,
        most,
        rows: found.rows,
    })
}

/// What the best constant answer gets right of the plan's samples, and two standard deviations.
fn by_chance(data: &Dataset, plan: &Plan, classes: usize) -> usize {
    let mut counts = vec![0_usize; data.last_label().saturating_add(1).min(classes.max(1))];
    for place in order(plan.seed, data.len()).into_iter().take(plan.samples) {
        if let Some((_, label)) = data.sample(place)
            && let Some(count) = counts.get_mut(label)
        {
            *count += 1;
        }
    }
    let most = counts
        .into_iter()
        .max()
        .unwrap_or(0)
        .max(plan.samples / classes.max(2));
    let share = real(most) / real(plan.samples.max(1));
    whole(real(most) + 2.0 * (real(most) * (1.0 - share)).sqrt()).min(plan.samples)
}

#[expect(clippy::cast_precision_loss, reason = "counts of samples are far below 2^53")]
fn real(count: usize) -> f64 {
    count as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count of samples, with something to spare"
)]
fn whole(count: f64) -> usize {
    count.floor() as usize
}

/// Follows what is asked; blocks of this run are nobody's business.
struct Asked<'a>(&'a mut dyn Watch);

impl Watch for Asked<'_> {
    fn asked(&mut self, rows: u64) -> ControlFlow<()> {
        self.0.asked(rows)
    }

    fn block(&mut self, _: &[SampleResult]) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests;
