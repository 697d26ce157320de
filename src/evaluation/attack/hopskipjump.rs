//! `HopSkipJump`: walks along the border between right and wrong towards the sample, guessing the border's direction from
//! answers to noise. It needs labels only. After Chen, Jordan and Wainwright, arXiv 1904.02144, for L2 and L∞.

mod walk;

use walk::{State, blend};

use super::{
    ask::Ask,
    run::{Attack, Attempt, Target},
    threat::Threat,
};
use crate::evaluation::{
    model::{Fault, ModelError},
    random::{Purpose, Random},
};

/// Inputs of pure noise that are tried to begin with.
const STARTS: u32 = 100;
/// Rows of noise that are held in memory at once, over all targets.
const ROWS: usize = 1024;
/// A step that was halved so often goes nowhere.
const HALVINGS: u32 = 40;
/// Fewer answers to noise than this say nothing about a direction.
const LEAST_NOISE: u32 = 10;

/// The attack. Lock step over all targets of a block: each question is one for all targets that have one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HopSkipJump {
    /// What is asked about one sample at most.
    pub budget: u32,
    /// How often it guesses a direction at most; the budget usually ends it before.
    pub steps: u32,
    /// Whether it goes on when it has found an allowed input, to find the nearest one.
    pub nearest: bool,
}

impl HopSkipJump {
    /// With so many queries a sample, until an allowed input is found.
    pub fn new(budget: u32) -> Self {
        Self {
            budget,
            steps: 64,
            nearest: false,
        }
    }

    /// Whether a target still wants to be asked about.
    fn wants(&self, state: &State<'_>) -> bool {
        state.attempt.fault.is_none()
            && state.attempt.queries < self.budget
            && (self.nearest || !state.is_allowed())
    }

    /// Noise until something is read wrongly.
    fn start(&self, states: &mut [State<'_>], threat: &Threat, ask: &mut Ask<'_>) -> Result<(), ModelError> {
        for _ in 0..STARTS {
            let proposals: Vec<(usize, Vec<f32>)> = states
                .iter_mut()
                .enumerate()
                .filter(|(_, state)| !state.attempt.found && self.wants(state))
                .map(|(place, state)| (place, state.noise(threat)))
                .collect();
            if proposals.is_empty() {
                break;
            }
            try_each(states, &proposals, ask)?;
        }
        Ok(())
    }

    /// Brings every target's input to the border, by halving what is between it and the sample.
    fn project(
        &self,
        states: &mut [State<'_>],
        threat: &Threat,
        ask: &mut Ask<'_>,
    ) -> Result<(), ModelError> {
        let mut spans: Vec<(f64, f64)> = states.iter().map(|state| (0.0, state.reach(threat))).collect();
        let ends: Vec<Vec<f32>> = states.iter().map(|state| state.position.clone()).collect();
        loop {
            let mut proposals = Vec::new();
            for (place, ((state, (low, high)), end)) in states.iter().zip(&spans).zip(&ends).enumerate() {
                if state.attempt.found && self.wants(state) && high - low > state.tolerance(threat) {
                    let middle = f64::midpoint(*low, *high);
                    proposals.push((place, blend(threat.norm(), state.target.input, end, middle)));
                }
            }
            if proposals.is_empty() {
                return Ok(());
            }
            let wrong = try_each(states, &proposals, ask)?;
            for ((place, input), wrong) in proposals.into_iter().zip(wrong) {
                let (Some(state), Some((low, high))) = (states.get_mut(place), spans.get_mut(place)) else {
                    continue;
                };
                let middle = f64::midpoint(*low, *high);
                if wrong {
                    *high = middle;
                    state.position = input;
                } else {
                    *low = middle;
                }
            }
        }
    }

    /// Guesses for every target in which direction from its input things are read wrongly.
    fn directions(
        &self,
        states: &mut [State<'_>],
        step: u32,
        threat: &Threat,
        ask: &mut Ask<'_>,
    ) -> Result<Vec<Option<Vec<f64>>>, ModelError> {
        let width = ask.shape().iter().product::<usize>().max(1);
        let wanted = walk::noise_at(step);
        let mut guesses: Vec<walk::Guess> = states
            .iter()
            .map(|state| {
                let room = self.budget.saturating_sub(state.attempt.queries);
                let count = if state.attempt.found && self.wants(state) {
                    wanted.min(room)
                } else {
                    0
                };
                let radius = state.radius(threat, step);
                walk::Guess::new(width, if count < LEAST_NOISE { 0 } else { count }, radius)
            })
            .collect();
        loop {
            let mut values = Vec::new();
            let mut owners = Vec::new();
            'fill: for (place, (state, guess)) in states.iter_mut().zip(&mut guesses).enumerate() {
                while guess.left > 0 && state.attempt.fault.is_none() {
                    if owners.len() >= ROWS {
                        break 'fill;
                    }
                    guess.left -= 1;
                    state.perturbed(threat, guess.radius, &mut values);
                    owners.push(place);
                }
            }
            if owners.is_empty() {
                break;
            }
            let scores = ask.scores(&values)?;
            for (row, (place, input)) in owners.iter().zip(values.chunks(width)).enumerate() {
                if let (Some(state), Some(guess)) = (states.get_mut(*place), guesses.get_mut(*place)) {
                    let margin = scores.margin(row, state.target.label);
                    let wrong = state.heard(margin);
                    if wrong {
                        state.remember(input);
                    }
                    guess.add(&state.position, input, wrong);
                }
            }
        }
        Ok(guesses
            .iter()
            .map(|guess| guess.direction(threat.norm()))
            .collect())
    }

    /// Moves every target's input as far as it stays wrong: first as far as the paper says, then half of it, and so on.
    fn jump(
        &self,
        states: &mut [State<'_>],
        directions: &[Option<Vec<f64>>],
        step: u32,
        threat: &Threat,
        ask: &mut Ask<'_>,
    ) -> Result<(), ModelError> {
        let mut lengths: Vec<Option<f64>> = states
            .iter()
            .zip(directions)
            .map(|(state, direction)| {
                direction.as_ref()?;
                Some(state.away(threat) / f64::from(step).sqrt())
            })
            .collect();
        for _ in 0..HALVINGS {
            let mut proposals = Vec::new();
            for (place, ((state, length), direction)) in
                states.iter().zip(&lengths).zip(directions).enumerate()
            {
                if let (Some(length), Some(direction)) = (length, direction)
                    && self.wants(state)
                {
                    proposals.push((place, state.moved(threat, direction, *length)));
                }
            }
            if proposals.is_empty() {
                break;
            }
            let wrong = try_each(states, &proposals, ask)?;
            for ((place, input), wrong) in proposals.into_iter().zip(wrong) {
                let (Some(state), Some(length)) = (states.get_mut(place), lengths.get_mut(place)) else {
                    continue;
                };
                if wrong {
                    state.position = input;
                    *length = None;
                } else {
                    *length = length.map(|length| length / 2.0);
                }
            }
        }
        Ok(())
    }
}

impl Attack for HopSkipJump {
    fn attack(
        &self,
        targets: &[Target<'_>],
        threat: &Threat,
        seed: u64,
        ask: &mut Ask<'_>,
    ) -> Result<Vec<Attempt>, ModelError> {
        let mut states: Vec<State<'_>> = targets
            .iter()
            .map(|target| {
                State::new(
                    *target,
                    *threat,
                    Random::new(seed, Purpose::HopSkipJump, target.sample),
                )
            })
            .collect();
        self.start(&mut states, threat, ask)?;
        self.project(&mut states, threat, ask)?;
        for step in 1..=self.steps {
            if !states
                .iter()
                .any(|state| state.attempt.found && self.wants(state))
            {
                break;
            }
            let directions = self.directions(&mut states, step, threat, ask)?;
            if directions.iter().all(Option::is_none) {
                break;
            }
            self.jump(&mut states, &directions, step, threat, ask)?;
            self.project(&mut states, threat, ask)?;
        }
        Ok(states.into_iter().map(State::done).collect())
    }
}

/// Asks about one proposal each of some targets; which of them are read wrongly. Remembers the nearest.
fn try_each(
    states: &mut [State<'_>],
    proposals: &[(usize, Vec<f32>)],
    ask: &mut Ask<'_>,
) -> Result<Vec<bool>, ModelError> {
    let values: Vec<f32> = proposals
        .iter()
        .flat_map(|(_, input)| input.iter().copied())
        .collect();
    let scores = ask.scores(&values)?;
    let answers = proposals.iter().enumerate().map(|(row, (place, input))| {
        let Some(state) = states.get_mut(*place) else {
            return false;
        };
        let margin = scores.margin(row, state.target.label);
        let wrong = state.heard(margin);
        if wrong {
            state.found(input);
        }
        wrong
    });
    Ok(answers.collect())
}

/// A margin as an attacker who sees labels only hears it.
fn label_only(margin: Result<f32, Fault>) -> Result<bool, Fault> {
    match margin {
        Ok(margin) => Ok(margin <= 0.0),
        // Refused: whatever it is read as, it was not read wrongly.
        Err(Fault::Blocked) => Ok(false),
        Err(fault) => Err(fault),
    }
}

#[cfg(test)]
mod tests;
