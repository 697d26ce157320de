//! How each kind of damage changes the numbers of one sample. Nothing is asked here.

use super::Corruption;
use crate::evaluation::{dataset::Dataset, image::Image, random::Random};

/// What is usual in each column of a table: every number of an input is one.
pub(super) struct Columns {
    means: Vec<f64>,
    deviations: Vec<f64>,
}

impl Columns {
    /// Of all samples of the data.
    #[expect(clippy::cast_precision_loss, reason = "counts of samples are far below 2^53")]
    pub(super) fn of(data: &Dataset) -> Self {
        let count = data.len().max(1) as f64;
        let mean = |of: &dyn Fn(usize, f32) -> f64| {
            let mut sums = vec![0.0; data.width()];
            for (input, _) in (0..data.len()).filter_map(|place| data.sample(place)) {
                for (column, (sum, value)) in sums.iter_mut().zip(input).enumerate() {
                    *sum += of(column, *value) / count;
                }
            }
            sums
        };
        let means = mean(&|_, value| f64::from(value));
        let centre = |column: usize| means.get(column).copied().unwrap_or_default();
        let squares = mean(&|column, value| (f64::from(value) - centre(column)).powi(2));
        Self {
            deviations: squares.into_iter().map(f64::sqrt).collect(),
            means,
        }
    }
}

/// The constant of a severity, from 1 to 5; beyond, that of the nearest.
fn constant(severity: usize, constants: [f64; 5]) -> f64 {
    let [first, .., last] = constants;
    let place = severity.saturating_sub(1);
    constants
        .get(place)
        .copied()
        .unwrap_or(if severity == 0 { first } else { last })
}

impl Corruption {
    /// A sample with this damage; every number stays in the range.
    pub(super) fn applied(
        self,
        severity: usize,
        input: &[f32],
        shape: &[usize],
        (low, high): (f32, f32),
        columns: &Columns,
        random: &mut Random,
    ) -> Vec<f32> {
        let (low, high) = (f64::from(low), f64::from(high));
        let scaled = |value: f32| (f64::from(value) - low) / (high - low);
        let back = |value: f64| single(low + value.clamp(0.0, 1.0) * (high - low));
        let image = Image::of(shape);
        match self {
            Self::GaussianNoise => {
                let spread = constant(severity, [0.08, 0.12, 0.18, 0.26, 0.38]);
                input
                    .iter()
                    .map(|value| back(scaled(*value) + spread * random.normal()))
                    .collect()
            }
            Self::ShotNoise => {
                let light = constant(severity, [60.0, 25.0, 12.0, 5.0, 3.0]);
                input
                    .iter()
                    .map(|value| back(poisson(scaled(*value) * light, random) / light))
                    .collect()
            }
            Self::ImpulseNoise => {
                let share = constant(severity, [0.03, 0.06, 0.09, 0.17, 0.27]);
                let hit = |value: &f32| {
                    let chance = random.uniform();
                    if chance < share / 2.0 {
                        back(0.0)
                    } else if chance < share {
                        back(1.0)
                    } else {
                        *value
                    }
                };
                input.iter().map(hit).collect()
            }
            Self::Brightness => {
                let more = constant(severity, [0.1, 0.2, 0.3, 0.4, 0.5]);
                let unit: Vec<f64> = input.iter().map(|value| scaled(*value)).collect();
                brighter(&unit, &image, more).into_iter().map(back).collect()
            }
            Self::Contrast => {
                let kept = constant(severity, [0.4, 0.3, 0.2, 0.1, 0.05]);
                let unit: Vec<f64> = input.iter().map(|value| scaled(*value)).collect();
                flatter(&unit, &image, kept).into_iter().map(back).collect()
            }
            Self::Pixelate => {
                let kept = constant(severity, [0.6, 0.5, 0.4, 0.3, 0.25]);
                let unit: Vec<f64> = input.iter().map(|value| scaled(*value)).collect();
                coarser(&unit, &image, kept).into_iter().map(back).collect()
            }
            Self::FeatureNoise => {
                let share = constant(severity, [0.05, 0.1, 0.2, 0.4, 0.8]);
                let noisy = |(value, deviation): (&f32, &f64)| {
                    let value = f64::from(*value) + share * deviation * random.normal();
                    single(value.clamp(low, high))
                };
                input.iter().zip(&columns.deviations).map(noisy).collect()
            }
            Self::Missing => {
                let share = constant(severity, [0.05, 0.1, 0.2, 0.3, 0.5]);
                let gone = |(value, mean): (&f32, &f64)| {
                    if random.uniform() < share {
                        single(*mean)
                    } else {
                        *value
                    }
                };
                input.iter().zip(&columns.means).map(gone).collect()
            }
        }
    }
}

/// A number of the Poisson distribution with this mean, which is at most 60 (Knuth).
fn poisson(mean: f64, random: &mut Random) -> f64 {
    let limit = (-mean.clamp(0.0, 60.0)).exp();
    let (mut count, mut product) = (0.0, random.uniform());
    while product > limit {
        count += 1.0;
        product *= random.uniform();
    }
    count
}

/// The value of the colour raised, hue and saturation left: as in HSV, where the value is the largest channel.
fn brighter(unit: &[f64], image: &Image, more: f64) -> Vec<f64> {
    let mut out = unit.to_vec();
    for y in 0..image.height {
        for x in 0..image.width {
            let places = (0..image.channels).map(|channel| image.place(channel, y, x));
            let value = places
                .clone()
                .filter_map(|place| unit.get(place))
                .copied()
                .fold(0.0, f64::max);
            let raised = (value + more).clamp(0.0, 1.0);
            for place in places {
                if let Some(number) = out.get_mut(place) {
                    *number = if value > 0.0 {
                        *number * raised / value
                    } else {
                        raised
                    };
                }
            }
        }
    }
    out
}

/// Every channel nearer to its mean.
#[expect(clippy::cast_precision_loss, reason = "sides of images are far below 2^53")]
fn flatter(unit: &[f64], image: &Image, kept: f64) -> Vec<f64> {
    let mut out = unit.to_vec();
    let count = (image.height * image.width).max(1) as f64;
    for channel in 0..image.channels {
        let places =
            (0..image.height).flat_map(|y| (0..image.width).map(move |x| image.place(channel, y, x)));
        let mean = places.clone().filter_map(|place| unit.get(place)).sum::<f64>() / count;
        for place in places {
            if let Some(number) = out.get_mut(place) {
                *number = mean + kept * (*number - mean);
            }
        }
    }
    out
}

/// Made smaller by averaging what each larger pixel covers, and larger again by repeating it.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "sides of images are far below 2^53"
)]
fn coarser(unit: &[f64], image: &Image, kept: f64) -> Vec<f64> {
    let fewer = |side: usize| ((side as f64 * kept) as usize).max(1);
    let (rows, columns) = (fewer(image.height), fewer(image.width));
    // Which part of a side belongs to a larger pixel.
    let span = |at: usize, parts: usize, side: usize| (at * side / parts)..((at + 1) * side).div_ceil(parts);
    let mut out = unit.to_vec();
    for channel in 0..image.channels {
        for row in 0..rows {
            for column in 0..columns {
                let (mut sum, mut count) = (0.0, 0.0_f64);
                for y in span(row, rows, image.height) {
                    for x in span(column, columns, image.width) {
                        sum += unit.get(image.place(channel, y, x)).copied().unwrap_or_default();
                        count += 1.0;
                    }
                }
                for y in (0..image.height).filter(|y| y * rows / image.height == row) {
                    for x in (0..image.width).filter(|x| x * columns / image.width == column) {
                        if let Some(number) = out.get_mut(image.place(channel, y, x)) {
                            *number = sum / count.max(1.0);
                        }
                    }
                }
            }
        }
    }
    out
}

#[expect(clippy::cast_possible_truncation, reason = "inputs are of single precision")]
fn single(number: f64) -> f32 {
    number as f32
}
