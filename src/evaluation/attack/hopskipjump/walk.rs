//! Where a target's input stands, and the arithmetic of moving it. Nothing is asked here.

use super::{
    super::{
        run::{Attempt, Target},
        threat::{Norm, Threat},
    },
    label_only,
};
use crate::evaluation::{model::Fault, random::Random};

/// A target under attack.
pub(super) struct State<'a> {
    pub(super) target: Target<'a>,
    /// Where the walk is: read wrongly, once something was found.
    pub(super) position: Vec<f32>,
    /// The nearest input that is read wrongly.
    pub(super) attempt: Attempt,
    threat: Threat,
    distance: f64,
    /// What was asked when an allowed input was first found.
    allowed_at: Option<u32>,
    random: Random,
}

impl<'a> State<'a> {
    pub(super) fn new(target: Target<'a>, threat: Threat, random: Random) -> Self {
        Self {
            target,
            position: target.input.to_vec(),
            attempt: Attempt {
                input: target.input.to_vec(),
                found: false,
                queries: 0,
                fault: None,
            },
            threat,
            distance: f64::INFINITY,
            allowed_at: None,
            random,
        }
    }

    /// Whether an allowed input was found.
    pub(super) fn is_allowed(&self) -> bool {
        self.allowed_at.is_some()
    }

    /// Takes an answer in; whether it was wrong.
    pub(super) fn heard(&mut self, margin: Result<f32, Fault>) -> bool {
        self.attempt.queries = self.attempt.queries.saturating_add(1);
        label_only(margin).unwrap_or_else(|fault| {
            self.attempt.fault = Some(fault);
            false
        })
    }

    /// Takes an input that is read wrongly as where the walk is, the first time, and as the nearest, if it is.
    pub(super) fn found(&mut self, input: &[f32]) {
        if !self.attempt.found {
            self.position = input.to_vec();
        }
        self.remember(input);
    }

    /// Keeps an input that is read wrongly, if it is the nearest.
    pub(super) fn remember(&mut self, input: &[f32]) {
        let distance = self.threat.norm().distance(self.target.input, input);
        if distance < self.distance {
            self.distance = distance;
            self.attempt.input = input.to_vec();
        }
        self.attempt.found = true;
        if self.allowed_at.is_none() && self.threat.allows(self.target.input, input) {
            self.allowed_at = Some(self.attempt.queries);
        }
    }

    /// What came of it.
    pub(super) fn done(mut self) -> Attempt {
        if let Some(queries) = self.allowed_at {
            self.attempt.queries = queries;
        }
        self.attempt
    }

    /// An input of noise over the whole range.
    pub(super) fn noise(&mut self, threat: &Threat) -> Vec<f32> {
        let (low, high) = threat.range();
        let between = |share: f64| single(f64::from(low) + share * (f64::from(high) - f64::from(low)));
        (0..self.target.input.len())
            .map(|_| between(self.random.uniform()))
            .collect()
    }

    /// How far the walk is from the sample.
    pub(super) fn away(&self, threat: &Threat) -> f64 {
        threat.norm().distance(self.target.input, &self.position)
    }

    /// What is halved to come to the border: a share of the way for L2, a distance for L∞.
    pub(super) fn reach(&self, threat: &Threat) -> f64 {
        match threat.norm() {
            Norm::L2 => 1.0,
            Norm::Linf => self.away(threat),
        }
    }

    /// How near is near enough, in the same measure. The paper's θ.
    pub(super) fn tolerance(&self, threat: &Threat) -> f64 {
        let width = real(self.target.input.len().max(1));
        match threat.norm() {
            Norm::L2 => 0.01 / width.sqrt(),
            Norm::Linf => (0.01 / width).min(self.away(threat) * 0.01 / width).max(1e-7),
        }
    }

    /// How large noise is: a tenth of the range first, then so that answers to it still differ.
    pub(super) fn radius(&self, threat: &Threat, step: u32) -> f64 {
        let (low, high) = threat.range();
        let radius = if step == 1 {
            0.1 * (f64::from(high) - f64::from(low))
        } else {
            0.01 * self.away(threat)
        };
        radius.max(1e-6)
    }

    /// Appends the walk's input with noise of this size.
    pub(super) fn perturbed(&mut self, threat: &Threat, radius: f64, values: &mut Vec<f32>) {
        let norm = threat.norm();
        let random = &mut self.random;
        let noise: Vec<f64> = self
            .position
            .iter()
            .map(|_| match norm {
                Norm::L2 => random.normal(),
                Norm::Linf => 2.0 * random.uniform() - 1.0,
            })
            .collect();
        let length = noise
            .iter()
            .map(|number| number * number)
            .sum::<f64>()
            .sqrt()
            .max(1e-12);
        let (low, high) = threat.range();
        let moved =
            |(at, noise): (&f32, f64)| single(f64::from(*at) + radius * noise / length).clamp(low, high);
        values.extend(self.position.iter().zip(noise).map(moved));
    }

    /// The walk's input moved so far in a direction, within the range.
    pub(super) fn moved(&self, threat: &Threat, direction: &[f64], length: f64) -> Vec<f32> {
        let (low, high) = threat.range();
        let moved = |(at, way): (&f32, &f64)| single(f64::from(*at) + length * way).clamp(low, high);
        self.position.iter().zip(direction).map(moved).collect()
    }
}

/// An input between the sample (0) and another: by a share of the way for L2, no number further than so much for L∞.
pub(super) fn blend(norm: Norm, original: &[f32], end: &[f32], amount: f64) -> Vec<f32> {
    let between = |(original, end): (&f32, &f32)| {
        let (original, end) = (f64::from(*original), f64::from(*end));
        single(match norm {
            Norm::L2 => original + amount * (end - original),
            Norm::Linf => end.clamp(original - amount, original + amount),
        })
    };
    original.iter().zip(end).map(between).collect()
}

/// How many answers to noise the paper wants at a step, from 1 on.
pub(super) fn noise_at(step: u32) -> u32 {
    let wanted = 100.0 * f64::from(step).sqrt();
    (1..=10_000)
        .rev()
        .find(|count| f64::from(*count) <= wanted)
        .unwrap_or(100)
}

/// A direction in the making.
pub(super) struct Guess {
    /// Answers still to come.
    pub(super) left: u32,
    pub(super) radius: f64,
    answers: f64,
    wrong: f64,
    /// The noise that was read wrongly, and all of it, summed up.
    of_wrong: Vec<f64>,
    of_all: Vec<f64>,
}

impl Guess {
    pub(super) fn new(width: usize, count: u32, radius: f64) -> Self {
        Self {
            left: count,
            radius,
            answers: 0.0,
            wrong: 0.0,
            of_wrong: vec![0.0; width],
            of_all: vec![0.0; width],
        }
    }

    /// Takes an answer in.
    pub(super) fn add(&mut self, position: &[f32], input: &[f32], wrong: bool) {
        self.answers += 1.0;
        self.wrong += f64::from(u8::from(wrong));
        let sums = self.of_all.iter_mut().zip(&mut self.of_wrong);
        for ((all, of_wrong), (at, input)) in sums.zip(position.iter().zip(input)) {
            let noise = (f64::from(*input) - f64::from(*at)) / self.radius;
            *all += noise;
            if wrong {
                *of_wrong += noise;
            }
        }
    }

    /// Where things are read wrongly: the noise that was, against the noise that was not. Of length one for L2, one in
    /// every number for L∞; none when there were no answers, or they say nothing.
    pub(super) fn direction(&self, norm: Norm) -> Option<Vec<f64>> {
        if self.answers < 1.0 {
            return None;
        }
        let share = self.wrong / self.answers;
        let way = |(wrong, all): (&f64, &f64)| {
            if share <= 0.0 {
                // With all answers alike there is nothing to set them against.
                -all
            } else if share >= 1.0 {
                *all
            } else {
                wrong - share * all
            }
        };
        let ways: Vec<f64> = self.of_wrong.iter().zip(&self.of_all).map(way).collect();
        let length = ways.iter().map(|way| way * way).sum::<f64>().sqrt();
        if length < 1e-12 {
            return None;
        }
        Some(match norm {
            Norm::L2 => ways.into_iter().map(|way| way / length).collect(),
            Norm::Linf => ways.into_iter().map(f64::signum).collect(),
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "widths of inputs are far below 2^53")]
fn real(count: usize) -> f64 {
    count as f64
}

#[expect(clippy::cast_possible_truncation, reason = "inputs are of single precision")]
fn single(number: f64) -> f32 {
    number as f32
}
