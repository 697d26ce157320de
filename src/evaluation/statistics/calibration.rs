//! Whether a model is as often right as it says: calibration errors over bins, and scores of the whole forecast.
//! The binned errors see only what their bins show; the scores cannot be deceived by bins, but mix in how sharp a model
//! is.

use super::{Rows, StatError, real, same_length, special::folded_normal_mean, whole};

/// Bins that calibration errors are usually taken over.
pub const BINS: usize = 15;

/// How far the entries of a row of probabilities may be from 1 together: as far as 32-bit numbers take them.
const SUM_TOLERANCE: f64 = 1e-3;

/// What was forecast, and whether it came to be: one event a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecasts {
    /// In rising order of probability.
    pairs: Vec<(f64, bool)>,
}

impl Forecasts {
    /// Forecasts of one event: probabilities from 0 to 1, and whether it happened.
    ///
    /// # Errors
    /// [`StatError::Empty`], [`StatError::NotFinite`]; [`StatError::Shape`] when the lengths differ;
    /// [`StatError::Range`] for what is no probability.
    pub fn new(probabilities: &[f64], outcomes: &[bool]) -> Result<Self, StatError> {
        super::finite("probabilities", probabilities)?;
        same_length("outcomes", outcomes.len(), probabilities.len())?;
        probability(probabilities)?;
        let mut pairs: Vec<(f64, bool)> = probabilities
            .iter()
            .copied()
            .zip(outcomes.iter().copied())
            .collect();
        pairs.sort_by(|one, other| one.0.total_cmp(&other.0));
        Ok(Self { pairs })
    }

    /// Forecasts of being right: of each row's most probable class (the first of several) its probability, and whether
    /// it is the row's label. This is how classifiers with more than two classes are usually judged.
    ///
    /// # Errors
    /// As [`brier_of_classes`].
    /// # Source
    /// Guo, Pleiss, Sun and Weinberger 2017.
    pub fn of_top_class(probabilities: Rows<'_>, labels: &[usize]) -> Result<Self, StatError> {
        classes(probabilities, labels)?;
        let tops = probabilities.iter().zip(labels).map(|(row, label)| {
            let top = row
                .iter()
                .enumerate()
                .fold(
                    (0, f64::NEG_INFINITY),
                    |top, (class, p)| {
                        if *p > top.1 { (class, *p) } else { top }
                    },
                );
            (top.1, top.0 == *label)
        });
        let (confidences, right): (Vec<f64>, Vec<bool>) = tops.unzip();
        Self::new(&confidences, &right)
    }

    /// How many there are; never 0.
    pub fn count(&self) -> usize {
        self.pairs.len()
    }

    /// Bins of equal width between 0 and 1, a probability on an edge in the bin below it. Empty ones are left out.
    ///
    /// # Errors
    /// [`StatError::Empty`] for no bins.
    pub fn by_width(&self, bins: usize) -> Result<Reliability, StatError> {
        some(bins)?;
        let mut found: Vec<Bin> = Vec::new();
        let mut last = None;
        for (probability, outcome) in &self.pairs {
            let number = whole((probability * real(bins)).ceil(), bins).max(1);
            if last != Some(number) {
                found.push(Bin::default());
                last = Some(number);
            }
            if let Some(bin) = found.last_mut() {
                bin.add(*probability, f64::from(u8::from(*outcome)));
            }
        }
        Ok(Reliability::of(found))
    }

    /// Bins of as nearly the same number of forecasts as there can be, the larger ones first. Equal probabilities that
    /// fall into two bins share their outcomes, so that the order of the rows does not matter.
    ///
    /// # Errors
    /// [`StatError::Empty`] for no bins; [`StatError::TooFew`] for fewer forecasts than bins.
    pub fn by_mass(&self, bins: usize) -> Result<Reliability, StatError> {
        some(bins)?;
        let count = self.count();
        if count < bins {
            return Err(StatError::TooFew {
                what: "forecasts",
                found: count,
                needed: bins,
            });
        }
        let outcomes = self
            .pairs
            // In order of size those that are not above what comes before are equal to it.
            .chunk_by(|before, next| next.0 <= before.0)
            .flat_map(|equal| {
                let happened = equal.iter().filter(|(_, outcome)| *outcome).count();
                std::iter::repeat_n(real(happened) / real(equal.len()), equal.len())
            });
        let mut forecasts = self
            .pairs
            .iter()
            .map(|(probability, _)| *probability)
            .zip(outcomes);
        let (least, larger) = (count / bins, count % bins);
        let found = (0..bins).map(|number| {
            let mut bin = Bin::default();
            for (probability, outcome) in forecasts.by_ref().take(least + usize::from(number < larger)) {
                bin.add(probability, outcome);
            }
            bin
        });
        Ok(Reliability::of(found.collect()))
    }

    /// The mean squared distance between probability and outcome: 0 is perfect, 1 always wrong, ¼ a coin's forecast.
    ///
    /// # Source
    /// Brier 1950, for one event (half of what [`brier_of_classes`] says of it).
    pub fn brier(&self) -> f64 {
        let squares = self.pairs.iter().map(|(p, outcome)| {
            let outcome = f64::from(u8::from(*outcome));
            (p - outcome).powi(2)
        });
        squares.sum::<f64>() / real(self.count())
    }

    /// The mean negative logarithm of the probability of what happened, in nats.
    ///
    /// A probability of 0 for what happened counts as 2⁻⁵², that is 36 nats, as scikit-learn has it: otherwise one row
    /// would decide, infinitely.
    pub fn log_loss(&self) -> f64 {
        let losses = self
            .pairs
            .iter()
            .map(|(p, outcome)| loss(if *outcome { *p } else { 1.0 - p }));
        losses.sum::<f64>() / real(self.count())
    }
}

/// What was forecast and what happened, bin by bin.
#[derive(Debug, Clone, PartialEq)]
pub struct Reliability {
    /// Bins with forecasts in them, by rising probability: what a reliability diagram shows.
    pub bins: Vec<Reliable>,
}

/// One bin of a reliability diagram.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reliable {
    /// How many forecasts.
    pub count: usize,
    /// Their mean probability.
    pub forecast: f64,
    /// The share that happened.
    pub happened: f64,
}

impl Reliability {
    fn of(bins: Vec<Bin>) -> Self {
        let bins = bins.into_iter().map(|bin| {
            let count = real(bin.count);
            Reliable {
                count: bin.count,
                forecast: bin.forecast / count,
                happened: bin.happened / count,
            }
        });
        Self { bins: bins.collect() }
    }

    /// The calibration error over these bins: the mean distance between forecast and what happened, each bin by its
    /// share. With [`Forecasts::by_width`] this is ECE, with [`Forecasts::by_mass`] ACE.
    ///
    /// Noise in a bin only ever adds to it: of a perfect model it is above 0, and more so the fewer rows there are.
    ///
    /// # Source
    /// Naeini, Cooper and Hauskrecht 2015; Nixon et al. 2019 for bins of equal mass.
    pub fn error(&self) -> f64 {
        self.mean_of(|bin| (bin.forecast - bin.happened).abs())
    }

    /// The calibration error less what noise alone adds, as far as that can be told from the bins themselves; not below
    /// 0.
    ///
    /// # Errors
    /// [`StatError::TooFew`] when a bin has a single forecast: its noise cannot be told. Take fewer bins, or of equal
    /// mass.
    /// # Source
    /// Kumar, Liang and Ma 2019, the debiased ℓ1 error, with the mean over a normal distribution instead of draws from
    /// it.
    pub fn debiased_error(&self) -> Result<f64, StatError> {
        self.at_least_two()?;
        let again = self.mean_of(|bin| {
            let noise = (bin.happened * (1.0 - bin.happened) / real(bin.count)).sqrt();
            folded_normal_mean(bin.forecast - bin.happened, noise)
        });
        Ok((2.0 * self.error() - again).max(0.0))
    }

    /// The squared calibration error less what noise adds to it, without bias: so it may come out below 0.
    ///
    /// # Errors
    /// As [`Self::debiased_error`].
    /// # Source
    /// Kumar, Liang and Ma 2019, the debiased ℓ2 estimator; Bröcker 2012.
    pub fn debiased_square(&self) -> Result<f64, StatError> {
        self.at_least_two()?;
        Ok(self.mean_of(|bin| {
            let noise = bin.happened * (1.0 - bin.happened) / (real(bin.count) - 1.0);
            (bin.forecast - bin.happened).powi(2) - noise
        }))
    }

    fn mean_of(&self, of: impl Fn(&Reliable) -> f64) -> f64 {
        let sums = self.bins.iter().fold((0.0, 0.0), |(sum, count), bin| {
            let rows = real(bin.count);
            (sum + rows * of(bin), count + rows)
        });
        sums.0 / sums.1
    }

    fn at_least_two(&self) -> Result<(), StatError> {
        match self.bins.iter().find(|bin| bin.count < 2) {
            Some(bin) => Err(StatError::TooFew {
                what: "forecasts of a bin",
                found: bin.count,
                needed: 2,
            }),
            None => Ok(()),
        }
    }
}

/// Sums over a bin.
#[derive(Default)]
struct Bin {
    count: usize,
    forecast: f64,
    happened: f64,
}

impl Bin {
    fn add(&mut self, forecast: f64, happened: f64) {
        self.count += 1;
        self.forecast += forecast;
        self.happened += happened;
    }
}

/// The mean, over rows, of Σ (probability − whether it is the label)² over classes: from 0 to 2.
///
/// `probabilities`: a row a sample, a column a class. `labels`: the number of the column that was right.
///
/// # Errors
/// [`StatError::Shape`] unless there is a label a row; [`StatError::Range`] for what is no probability, rows that are
/// more than 10⁻³ from 1 together, and labels that no column has.
/// # Source
/// Brier 1950.
pub fn brier_of_classes(probabilities: Rows<'_>, labels: &[usize]) -> Result<f64, StatError> {
    classes(probabilities, labels)?;
    let rows = probabilities.iter().zip(labels).map(|(row, label)| {
        let parts = row.iter().enumerate().map(|(class, p)| {
            let right = f64::from(u8::from(class == *label));
            (p - right).powi(2)
        });
        parts.sum::<f64>()
    });
    Ok(rows.sum::<f64>() / real(labels.len()))
}

/// The mean negative logarithm of the label's probability, in nats; no probability counts as less than 2⁻⁵².
///
/// # Errors
/// As [`brier_of_classes`].
pub fn log_loss_of_classes(probabilities: Rows<'_>, labels: &[usize]) -> Result<f64, StatError> {
    classes(probabilities, labels)?;
    let losses = probabilities
        .iter()
        .zip(labels)
        .filter_map(|(row, label)| row.get(*label))
        .map(|p| loss(*p));
    Ok(losses.sum::<f64>() / real(labels.len()))
}

fn loss(probability: f64) -> f64 {
    -probability.clamp(f64::EPSILON, 1.0 - f64::EPSILON).ln()
}

fn classes(probabilities: Rows<'_>, labels: &[usize]) -> Result<(), StatError> {
    same_length("labels", labels.len(), probabilities.count())?;
    probability(probabilities.values())?;
    let sums = probabilities.iter().map(|row| row.iter().sum::<f64>());
    if let Some(value) = sums.into_iter().find(|sum| (sum - 1.0).abs() > SUM_TOLERANCE) {
        return Err(StatError::Range {
            what: "the sum of a row of probabilities",
            value,
            range: "1, or within 0.001 of it",
        });
    }
    match labels.iter().find(|label| **label >= probabilities.columns()) {
        Some(label) => Err(StatError::Range {
            what: "a label",
            value: real(*label),
            range: "the number of a class, from 0",
        }),
        None => Ok(()),
    }
}

fn probability(values: &[f64]) -> Result<(), StatError> {
    match values.iter().find(|value| !(0.0..=1.0).contains(*value)) {
        Some(value) => Err(StatError::Range {
            what: "a probability",
            value: *value,
            range: "from 0 to 1",
        }),
        None => Ok(()),
    }
}

fn some(bins: usize) -> Result<(), StatError> {
    if bins == 0 {
        Err(StatError::Empty { what: "bins" })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
