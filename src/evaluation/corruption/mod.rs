//! What everyday damage does to a model: noise, light, coarse pixels; for tables, noise and gaps. Nobody means harm.
//! Each kind has five severities, and what is counted is how often the model is wrong.

mod damage;

use damage::Columns;

use super::{
    attack::{Ask, AttackError, Metric, Plan, Watch, check},
    dataset::Dataset,
    model::{Model, ModelError},
    random::{Purpose, Random, order},
};

/// Kinds of damage. Those of images have the constants of ImageNet-C (Hendrycks and Dietterich, arXiv 1903.12261), for
/// numbers from 0 to 1; other ranges are scaled to that. Those of tables are ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Corruption {
    /// Images: normal noise.
    GaussianNoise,
    /// Images: Poisson noise, as of little light.
    ShotNoise,
    /// Images: single numbers at either end of the range.
    ImpulseNoise,
    /// Images: everything lighter.
    Brightness,
    /// Images: everything nearer to the channel's mean.
    Contrast,
    /// Images: fewer and larger pixels.
    Pixelate,
    /// Tables: normal noise, as a share of the column's standard deviation.
    FeatureNoise,
    /// Tables: numbers that are replaced by their column's mean.
    Missing,
}

/// How much damage, from 1 to 5.
pub const SEVERITIES: [usize; 5] = [1, 2, 3, 4, 5];

impl Corruption {
    /// Those of images.
    pub const IMAGE: [Self; 6] = [
        Self::GaussianNoise,
        Self::ShotNoise,
        Self::ImpulseNoise,
        Self::Brightness,
        Self::Contrast,
        Self::Pixelate,
    ];
    /// Those of tables.
    pub const TABULAR: [Self; 2] = [Self::FeatureNoise, Self::Missing];

    /// The stable id of the share of wrong answers under this damage, all severities together.
    pub const fn metric(self) -> &'static str {
        match self {
            Self::GaussianNoise => "corruption_error_gaussian_noise",
            Self::ShotNoise => "corruption_error_shot_noise",
            Self::ImpulseNoise => "corruption_error_impulse_noise",
            Self::Brightness => "corruption_error_brightness",
            Self::Contrast => "corruption_error_contrast",
            Self::Pixelate => "corruption_error_pixelate",
            Self::FeatureNoise => "corruption_error_feature_noise",
            Self::Missing => "corruption_error_missing",
        }
    }
}

/// Answers under one kind of damage at one severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    /// The kind.
    pub corruption: Corruption,
    /// How much of it, from 1 to 5.
    pub severity: usize,
    /// Samples that were not read rightly; those without an answer among them.
    pub wrong: usize,
    /// All samples.
    pub samples: usize,
}

/// What damage did to a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corrupted {
    /// Each kind at each severity.
    pub cells: Vec<Cell>,
    /// Rows the model was asked about.
    pub rows: u64,
}

/// Asks about the plan's samples under each kind of damage at each severity. What is left to chance is decided by the
/// seed, the sample and the kind.
///
/// # Errors
/// [`AttackError::Plan`] when there are not as many samples or their numbers are outside the range; what the model fails
/// with.
pub fn corrupted(
    model: &mut dyn Model,
    data: &Dataset,
    plan: &Plan,
    range: (f32, f32),
    kinds: &[Corruption],
    watch: &mut dyn Watch,
) -> Result<Corrupted, AttackError> {
    check(data, plan, range)?;
    let columns = Columns::of(data);
    let mut ask = Ask::new(model, data.shape(), watch);
    let mut places = order(plan.seed, data.len());
    places.truncate(plan.samples);
    let mut cells = Vec::new();
    for corruption in kinds {
        for severity in SEVERITIES {
            let mut wrong = 0;
            for block in places.chunks(plan.block.max(1)) {
                let mut values = Vec::new();
                let mut labels = Vec::new();
                for place in block {
                    let (input, label) = data
                        .sample(*place)
                        .ok_or_else(|| ModelError::Internal(format!("sample {place} is not in the data")))?;
                    let mut random = Random::new(plan.seed, Purpose::Corruption(*corruption as u8), *place);
                    values.extend(corruption.applied(
                        severity,
                        input,
                        data.shape(),
                        range,
                        &columns,
                        &mut random,
                    ));
                    labels.push(label);
                }
                let scores = ask.scores(&values)?;
                let right = |(row, label): (usize, &usize)| matches!(scores.margin(row, *label), Ok(margin) if margin > 0.0);
                wrong += labels.len() - labels.iter().enumerate().filter(|sample| right(*sample)).count();
            }
            cells.push(Cell {
                corruption: *corruption,
                severity,
                wrong,
                samples: places.len(),
            });
        }
    }
    Ok(Corrupted {
        cells,
        rows: ask.rows(),
    })
}

impl Corrupted {
    /// `corruption_error_mean`, the mean of the shares of wrong answers over all kinds and severities, not set against
    /// another model's; and the same of each kind.
    pub fn metrics(&self) -> Vec<Metric> {
        let mut metrics: Vec<Metric> = share("corruption_error_mean", &self.cells).into_iter().collect();
        let mut rest = self.cells.as_slice();
        while let Some(first) = rest.first() {
            let same = rest
                .iter()
                .take_while(|cell| cell.corruption == first.corruption)
                .count();
            let (kind, others) = rest.split_at(same);
            metrics.extend(share(first.corruption.metric(), kind));
            rest = others;
        }
        metrics
    }
}

/// Of equally many samples a cell, so that the mean of shares is the share of all.
#[expect(clippy::cast_precision_loss, reason = "counts of samples are far below 2^53")]
fn share(id: &'static str, cells: &[Cell]) -> Option<Metric> {
    let (count, n) = cells.iter().fold((0, 0), |(wrong, all), cell| {
        (wrong + cell.wrong, all + cell.samples)
    });
    (n > 0).then(|| Metric {
        id,
        value: count as f64 / n as f64,
        n,
        count: Some(count),
    })
}

#[cfg(test)]
mod tests;
