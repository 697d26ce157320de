//! A run: samples in the order their seed gives them, block by block, each asked about as it is, attacked, and asked
//! about once more.

use super::{
    ask::{Ask, Watch},
    outcome::{Attacked, Clean, SampleResult},
    threat::Threat,
};
use crate::{
    evaluation::{
        dataset::Dataset,
        model::{Fault, Model, ModelError, Scores},
        random::order,
    },
    evidence::Class,
};

/// Which samples, in which order, how many at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// How many samples, from the beginning of the order.
    pub samples: usize,
    /// How many are attacked at the same time, in lock step. Results do not depend on it; where a run may stop does.
    pub block: usize,
    /// Decides the order, and everything an attack leaves to chance.
    pub seed: u64,
}

/// A sample to attack: one that is read rightly as it is.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Its place in the data.
    pub sample: usize,
    /// Its numbers.
    pub input: &'a [f32],
    /// Its class.
    pub label: usize,
}

/// What an attack made of a target.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    /// The last input: one that is read wrongly, or the best that was found.
    pub input: Vec<f32>,
    /// Whether it was read wrongly, allowed or not.
    pub found: bool,
    /// What it asked, up to and with the first success: an input that is allowed and read wrongly.
    pub queries: u32,
    /// Why the model gave no answer, if it ended with that.
    pub fault: Option<Fault>,
}

/// Looks for inputs that are read wrongly.
pub trait Attack {
    /// Attacks targets of one block; an attempt for each, in their order.
    ///
    /// What it does to one target may not depend on the others, so that a result is that of the sample and the seed.
    ///
    /// # Errors
    /// What makes asking the model pointless.
    fn attack(
        &self,
        targets: &[Target<'_>],
        threat: &Threat,
        seed: u64,
        ask: &mut Ask<'_>,
    ) -> Result<Vec<Attempt>, ModelError>;
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum AttackError {
    /// The run makes no sense for this data or model.
    #[error("{0}")]
    Plan(String),
    /// The model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The model gives no scores.
    #[error(
        "the model gives no scores: every one of the first {samples} samples {fault}; look at what it answers, or name the output that has the scores with --scores"
    )]
    NoScores {
        /// Samples that were tried.
        samples: usize,
        /// What was wrong with the first.
        fault: Fault,
    },
    /// The model holds where nothing can hold.
    #[error(
        "allowed to choose any input at all, the attack still leaves {held} of {samples} samples read rightly, where at most {most} would be chance: the model answers something other than its input, or the data has another range than --range; no number from this run would mean anything"
    )]
    Sanity {
        /// Samples still read rightly.
        held: usize,
        /// Of so many.
        samples: usize,
        /// As many may be.
        most: usize,
    },
}

impl AttackError {
    /// The class of the error, which decides the exit code.
    pub const fn class(&self) -> Class {
        match self {
            Self::Plan(_) => Class::Malformed,
            Self::Model(error) => error.class(),
            Self::NoScores { .. } | Self::Sanity { .. } => Class::Unsupported,
        }
    }

    /// The stable code, in `PascalCase`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Plan(_) => "PlanInvalid",
            Self::Model(error) => error.code(),
            Self::NoScores { .. } => "NoScores",
            Self::Sanity { .. } => "SanityFailed",
        }
    }
}

/// What a run found.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Of every sample, in the order of the run.
    pub results: Vec<SampleResult>,
    /// Rows the model was asked about.
    pub rows: u64,
    /// Classes the model scores; 0 when it gave no scores at all.
    pub classes: usize,
    /// Whether all samples of the plan were taken; otherwise whoever watched had seen enough.
    pub complete: bool,
}

/// Attacks the first samples of the seed's order.
///
/// # Errors
/// [`AttackError::Plan`] when there are not as many samples, inputs are outside the range of the threat, or a label is
/// none of the model's classes; [`AttackError::Model`].
pub fn run(
    model: &mut dyn Model,
    data: &Dataset,
    plan: &Plan,
    threat: &Threat,
    attack: &dyn Attack,
    watch: &mut dyn Watch,
) -> Result<Run, AttackError> {
    check(data, plan, threat.range())?;
    let mut ask = Ask::new(model, data.shape(), watch);
    let mut places = order(plan.seed, data.len());
    places.truncate(plan.samples);
    let mut results = Vec::with_capacity(places.len());
    for block in places.chunks(plan.block.max(1)) {
        let targets = block
            .iter()
            .map(|place| target(data, *place))
            .collect::<Result<Vec<_>, _>>()?;
        results.extend(attack_block(&targets, plan.seed, threat, attack, &mut ask)?);
        if let (0, Some(fault)) = (ask.classes(), all_faulty(&results)) {
            let samples = results.len();
            return Err(AttackError::NoScores { samples, fault });
        }
        if ask.classes() > 0 && data.last_label() >= ask.classes() {
            return Err(AttackError::Plan(format!(
                "array `y` has the label {} and the model scores {} classes: number the classes as the model does, from 0 on",
                data.last_label(),
                ask.classes()
            )));
        }
        if ask.block(&results).is_break() {
            break;
        }
    }
    Ok(Run {
        complete: results.len() == places.len(),
        results,
        rows: ask.rows(),
        classes: ask.classes(),
    })
}

/// The first fault, when there is nothing else.
fn all_faulty(results: &[SampleResult]) -> Option<Fault> {
    let fault = |result: &SampleResult| match result.clean {
        Clean::Error(fault) => Some(fault),
        _ => None,
    };
    let faults: Option<Vec<Fault>> = results.iter().map(fault).collect();
    faults?.first().copied()
}

/// Refuses a plan that the data cannot fill.
pub(in crate::evaluation) fn check(
    data: &Dataset,
    plan: &Plan,
    (low, high): (f32, f32),
) -> Result<(), AttackError> {
    let problem = if plan.samples == 0 {
        "no samples were asked for: take one at least".to_owned()
    } else if plan.samples > data.len() {
        format!(
            "{} samples were asked for and the data has {}: take fewer",
            plan.samples,
            data.len()
        )
    } else if let Some(sample) = data.outside(low, high) {
        let (least, most) = data.range();
        format!(
            "sample {sample} has numbers outside {low} to {high}; those of the data go from {least} to {most}: say so with --range, or scale the data as the model takes it"
        )
    } else {
        return Ok(());
    };
    Err(AttackError::Plan(problem))
}

fn target(data: &Dataset, sample: usize) -> Result<Target<'_>, ModelError> {
    let (input, label) = data
        .sample(sample)
        .ok_or_else(|| ModelError::Internal(format!("sample {sample} is not in the data")))?;
    Ok(Target { sample, input, label })
}

/// As they are; then those that are read rightly under attack; then what that made of them.
fn attack_block(
    targets: &[Target<'_>],
    seed: u64,
    threat: &Threat,
    attack: &dyn Attack,
    ask: &mut Ask<'_>,
) -> Result<Vec<SampleResult>, ModelError> {
    let inputs: Vec<&[f32]> = targets.iter().map(|target| target.input).collect();
    let scores = ask.scores(&inputs.concat())?;
    let clean: Vec<Clean> = targets
        .iter()
        .enumerate()
        .map(|(row, target)| read(&scores, row, target))
        .collect();
    let attacked: Vec<Target<'_>> = targets
        .iter()
        .zip(&clean)
        .filter(|(_, clean)| **clean == Clean::Correct)
        .map(|(target, _)| *target)
        .collect();
    let attempts = attack.attack(&attacked, threat, seed, ask)?;
    if attempts.len() != attacked.len() {
        return Err(ModelError::Internal("an attack lost a sample".to_owned()));
    }
    let last: Vec<&[f32]> = attempts.iter().map(|attempt| attempt.input.as_slice()).collect();
    let again = ask.scores(&last.concat())?;
    let mut settled = attacked
        .iter()
        .zip(&attempts)
        .enumerate()
        .map(|(row, (target, attempt))| {
            let again = read(&again, row, target);
            let wrong = attempt.found || again == Clean::Wrong;
            SampleResult {
                sample: target.sample,
                clean: Clean::Correct,
                attacked: Some(settle(target, attempt, threat, again)),
                queries: attempt.queries,
                distance: wrong.then(|| threat.norm().distance(target.input, &attempt.input)),
            }
        });
    let result = |(target, clean): (&Target<'_>, &Clean)| match clean {
        Clean::Correct => settled.next(),
        clean => Some(SampleResult {
            sample: target.sample,
            clean: *clean,
            attacked: None,
            queries: 0,
            distance: None,
        }),
    };
    Ok(targets.iter().zip(&clean).filter_map(result).collect())
}

fn read(scores: &Scores, row: usize, target: &Target<'_>) -> Clean {
    match scores.margin(row, target.label) {
        Ok(margin) if margin > 0.0 => Clean::Correct,
        Ok(_) => Clean::Wrong,
        Err(Fault::Blocked) => Clean::Blocked,
        Err(fault) => Clean::Error(fault),
    }
}

/// What an attempt shows, now that its last input was asked about again.
fn settle(target: &Target<'_>, attempt: &Attempt, threat: &Threat, again: Clean) -> Attacked {
    if let Some(fault) = attempt.fault {
        return Attacked::Error(fault);
    }
    // An attack that looks for the nearest input may have found none that is near enough.
    let allowed = threat.allows(target.input, &attempt.input);
    match again {
        Clean::Wrong if allowed => Attacked::Broken { confirmed: true },
        // It was read wrongly once, and an attacker needs no more.
        _ if allowed && attempt.found => Attacked::Broken { confirmed: false },
        Clean::Blocked if allowed => Attacked::Blocked,
        Clean::Error(fault) if allowed => Attacked::Error(fault),
        _ => Attacked::Held,
    }
}

#[cfg(test)]
mod tests;
