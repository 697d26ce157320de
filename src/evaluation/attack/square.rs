//! Square Attack: random squares of one colour, each kept when it brings the model nearer to a mistake.
//! It needs scores and no gradients. After Andriushchenko et al., `Square Attack`, arXiv 1912.00049, for L∞.

use super::{
    ask::Ask,
    run::{Attack, Attempt, Target},
    threat::{Norm, Threat},
};
use crate::evaluation::{
    image::{Image, Window},
    model::{Fault, ModelError},
    random::{Purpose, Random},
};

/// Where squares may lie.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Bounds {
    /// Anywhere in the image.
    #[default]
    Inclusive,
    /// Never on its last row or column, as in the authors' code, `AutoAttack`, torchattacks and ART. For comparison with
    /// them: it overstates how robust a model is, by 6 to 8 points on images of 8×8.
    Reference,
}

impl Bounds {
    /// As it is written in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inclusive => "inclusive",
            Self::Reference => "reference",
        }
    }
}

/// Inputs that a square is tried with before a query is spent on one that changes nothing.
const TRIES: usize = 16;

/// The attack. Lock step over all targets of a block: one question to the model a step, about those not yet broken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Square {
    /// What is asked about one sample at most, the first try among it.
    pub budget: u32,
    /// The share of the image that the first squares cover; the paper's is 0.8.
    pub coverage: f64,
    /// Where squares may lie.
    pub bounds: Bounds,
    /// Whose random numbers it uses.
    pub purpose: Purpose,
}

impl Square {
    /// As the paper has it, with so many queries a sample.
    pub fn new(budget: u32) -> Self {
        Self {
            budget,
            coverage: 0.8,
            bounds: Bounds::Inclusive,
            purpose: Purpose::Square,
        }
    }

    /// The share of the image that a square covers at a step, 0 being the first after the stripes. The paper halves it at
    /// 10, 50, 200, … of 10,000 steps; other budgets are stretched to that.
    fn share(&self, step: u32) -> f64 {
        const HALVED_AFTER: [u64; 9] = [10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000];
        let step = u64::from(step) * 10_000 / u64::from(self.budget.max(1));
        let halved = HALVED_AFTER.iter().take_while(|after| step > **after).count();
        (0..halved).fold(self.coverage, |share, _| share / 2.0)
    }

    /// Appends the input that is asked about at a query, from 0 on.
    fn propose(
        &self,
        state: &mut State<'_>,
        image: &Image,
        threat: &Threat,
        query: u32,
        values: &mut Vec<f32>,
    ) {
        let start = values.len();
        values.extend_from_slice(&state.attempt.input);
        let Some(candidate) = values.get_mut(start..) else {
            return;
        };
        let original = state.target.input;
        let Some(step) = query.checked_sub(1) else {
            // Stripes from top to bottom: the model is often weaker against them than against noise.
            for channel in 0..image.channels {
                for x in 0..image.width {
                    paint(
                        candidate,
                        original,
                        image,
                        channel,
                        Window::column(image, x),
                        threat,
                        state.random.sign(),
                    );
                }
            }
            return;
        };
        let (height, width) = image.square(self.share(step));
        for _ in 0..TRIES {
            let window = Window {
                y: self.offset(&mut state.random, image.height, height),
                x: self.offset(&mut state.random, image.width, width),
                height,
                width,
            };
            for _ in 0..TRIES {
                let mut changed = false;
                for channel in 0..image.channels {
                    let sign = state.random.sign();
                    changed |= paint(candidate, original, image, channel, window, threat, sign);
                }
                if changed {
                    return;
                }
            }
        }
    }

    fn offset(&self, random: &mut Random, side: usize, length: usize) -> usize {
        let room = side.saturating_sub(length);
        match self.bounds {
            Bounds::Inclusive => random.below(room + 1),
            Bounds::Reference => random.below(room),
        }
    }
}

/// A target under attack.
struct State<'a> {
    target: Target<'a>,
    /// The best input so far.
    attempt: Attempt,
    /// How far the model is from a mistake there.
    margin: f32,
    random: Random,
}

impl State<'_> {
    /// Takes the answer to a proposal in; whether the target is still to be attacked.
    fn learn(&mut self, proposal: &[f32], margin: Result<f32, Fault>) -> bool {
        self.attempt.queries += 1;
        match margin {
            Ok(margin) => {
                if margin < self.margin {
                    self.margin = margin;
                    self.attempt.input.copy_from_slice(proposal);
                }
                self.attempt.found = margin <= 0.0;
            }
            // Refused: the attacker has learned nothing, and tries another.
            Err(Fault::Blocked) => {}
            Err(fault) => self.attempt.fault = Some(fault),
        }
        !self.attempt.found && self.attempt.fault.is_none()
    }
}

impl Attack for Square {
    fn attack(
        &self,
        targets: &[Target<'_>],
        threat: &Threat,
        seed: u64,
        ask: &mut Ask<'_>,
    ) -> Result<Vec<Attempt>, ModelError> {
        if threat.norm() != Norm::Linf {
            return Err(ModelError::Internal(
                "the Square Attack was asked for a norm it has not".to_owned(),
            ));
        }
        let image = Image::of(ask.shape());
        let mut states: Vec<State<'_>> = targets
            .iter()
            .map(|target| State {
                target: *target,
                attempt: Attempt {
                    input: target.input.to_vec(),
                    found: false,
                    queries: 0,
                    fault: None,
                },
                margin: f32::INFINITY,
                random: Random::new(seed, self.purpose, target.sample),
            })
            .collect();
        let mut active: Vec<&mut State<'_>> = states.iter_mut().collect();
        let mut values = Vec::new();
        for query in 0..self.budget {
            if active.is_empty() {
                break;
            }
            values.clear();
            for state in &mut active {
                self.propose(state, &image, threat, query, &mut values);
            }
            let scores = ask.scores(&values)?;
            let mut proposals = values.chunks(image.len()).enumerate();
            active.retain_mut(|state| {
                let (row, proposal) = proposals.next().unwrap_or_default();
                state.learn(proposal, scores.margin(row, state.target.label))
            });
        }
        Ok(states.into_iter().map(|state| state.attempt).collect())
    }
}

/// Paints a window of one channel: ε away from the original, by this sign. Whether that changed anything.
fn paint(
    candidate: &mut [f32],
    original: &[f32],
    image: &Image,
    channel: usize,
    window: Window,
    threat: &Threat,
    sign: f32,
) -> bool {
    let mut changed = false;
    for y in window.y..window.y + window.height {
        for x in window.x..window.x + window.width {
            let place = image.place(channel, y, x);
            if let (Some(value), Some(original)) = (candidate.get_mut(place), original.get(place)) {
                let moved = threat.moved(*original, sign);
                changed |= (moved - *value).abs() > 1e-7;
                *value = moved;
            }
        }
    }
    changed
}

#[cfg(test)]
mod tests;
