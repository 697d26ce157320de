//! What each column of one row adds to a model's answer, by Shapley's rule, estimated from coalitions of columns.
//! All of them where there are few; otherwise those that weigh most, and a sample of the rest.

use std::collections::BTreeMap;

use crate::evaluation::statistics::{
    Rows, StatError, draws::Draws, finite, linear::Cholesky, mean, real, same_length,
};

/// As many columns as an explanation is made for.
pub const MOST_COLUMNS: usize = 64;
/// As many coalitions as can be asked for.
pub const MOST_COALITIONS: usize = 1_000_000;
/// As many rows as a model is given at once, but for a background that is larger by itself.
const BATCH: usize = 4096;

/// How many coalitions are usually asked about: 2·columns + 2048.
pub const fn usual_coalitions(columns: usize) -> usize {
    2 * columns + 2048
}

/// One answer, taken apart.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// What the model answers on average over the background.
    pub base: f64,
    /// What each column adds to that.
    pub values: Vec<f64>,
    /// What the model answers for the row.
    pub answer: f64,
    /// How far base and values together are from the answer: rounding, and nothing else, or something is wrong.
    pub additivity_error: f64,
    /// Whether every coalition was asked about, so that the values are Shapley's and not an estimate.
    pub exact: bool,
}

/// KernelSHAP of one row against a background.
///
/// `coalitions`: at most so many are asked about, at least 2·columns (see [`usual_coalitions`]); each costs the model
/// as many rows as the background has. `model`: one number a row; its errors end the run.
///
/// # Errors
/// [`StatError::Shape`] when row and background differ in columns, or the model answers for more or fewer rows than it
/// was given; [`StatError::NotFinite`] when an answer is; [`StatError::TooMany`] above [`MOST_COLUMNS`] or
/// [`MOST_COALITIONS`]; [`StatError::TooFew`] coalitions.
/// # Source
/// Lundberg and Lee 2017; sampling by size and in pairs as in Covert and Lee 2021.
pub fn kernel_shap<E: From<StatError>>(
    row: &[f64],
    background: Rows<'_>,
    coalitions: usize,
    seed: u64,
    mut model: impl FnMut(Rows<'_>) -> Result<Vec<f64>, E>,
) -> Result<Explanation, E> {
    let columns = row.len();
    finite("the row", row)?;
    same_length("columns of the background", background.columns(), columns)?;
    if columns > MOST_COLUMNS {
        let most = MOST_COLUMNS;
        return Err(StatError::TooMany {
            what: "columns",
            found: columns,
            most,
        }
        .into());
    }
    if coalitions > MOST_COALITIONS {
        let most = MOST_COALITIONS;
        return Err(StatError::TooMany {
            what: "coalitions",
            found: coalitions,
            most,
        }
        .into());
    }
    if coalitions < 2 * columns {
        return Err(StatError::TooFew {
            what: "coalitions",
            found: coalitions,
            needed: 2 * columns,
        }
        .into());
    }
    let mut answers = |rows: Rows<'_>| -> Result<Vec<f64>, E> {
        let answers = model(rows)?;
        same_length("answers", answers.len(), rows.count())?;
        finite("answers", &answers)?;
        Ok(answers)
    };
    let answer = mean(&answers(Rows::new(row, columns)?)?);
    let base = mean(&answers(background)?);
    let chosen = Coalitions::choose(columns, coalitions, seed);

    let together = (BATCH / background.count()).max(1);
    let masks: Vec<u64> = chosen.weights.keys().copied().collect();
    let mut worth = Vec::with_capacity(masks.len());
    let mut table = Vec::new();
    for batch in masks.chunks(together) {
        table.clear();
        for mask in batch {
            for other in background {
                let cells = row.iter().zip(other).enumerate();
                table
                    .extend(cells.map(|(column, (own, other))| if has(*mask, column) { own } else { other }));
            }
        }
        let found = answers(Rows::new(&table, columns)?)?;
        worth.extend(found.chunks_exact(background.count()).map(mean));
    }
    let values = fit(&chosen, &worth, columns, base, answer)?;
    let additivity_error = (base + values.iter().sum::<f64>() - answer).abs();
    Ok(Explanation {
        base,
        values,
        answer,
        additivity_error,
        exact: chosen.all,
    })
}

/// Whether a coalition has a column.
const fn has(mask: u64, column: usize) -> bool {
    mask >> column & 1 == 1
}

/// The values that explain what each coalition is worth best, by weighted least squares, and add up to the whole.
fn fit(
    chosen: &Coalitions,
    worth: &[f64],
    columns: usize,
    base: f64,
    answer: f64,
) -> Result<Vec<f64>, StatError> {
    // The last column is what the others leave of the whole: so the values add up, and one unknown fewer is looked for.
    let (last, whole) = (columns - 1, answer - base);
    let mut normal = vec![0.0; last * last];
    let mut values = vec![0.0; last];
    for ((mask, weight), worth) in chosen.weights.iter().zip(worth) {
        let of = |column| f64::from(u8::from(has(*mask, column)));
        let rest = of(last);
        let left = worth - base - rest * whole;
        let parts: Vec<f64> = (0..last).map(|column| of(column) - rest).collect();
        for (part, (line, value)) in parts.iter().zip(normal.chunks_exact_mut(last).zip(&mut values)) {
            let weighted = weight * part;
            line.iter_mut()
                .zip(&parts)
                .for_each(|(sum, other)| *sum += weighted * other);
            *value += weighted * left;
        }
    }
    if last > 0 {
        let factor = Cholesky::of(&normal, last).map_err(|column| StatError::Undefined {
            what: "the explanation",
            why: format!(
                "the coalitions drawn do not tell column {column} from the others; ask about more of them"
            ),
        })?;
        factor.solve(&mut values);
    }
    values.push(whole - values.iter().sum::<f64>());
    finite("the explanation", &values)?;
    Ok(values)
}

/// Coalitions, neither empty nor whole, and how much each weighs.
struct Coalitions {
    weights: BTreeMap<u64, f64>,
    all: bool,
}

impl Coalitions {
    fn choose(columns: usize, budget: usize, seed: u64) -> Self {
        let mut weights = BTreeMap::new();
        let mut left = budget;
        // Smallest and largest together, and inwards: each size that is asked about whole weighs what it should.
        let mut size = 1;
        while size <= columns / 2 {
            let opposite = columns - size;
            let count = choices(columns, size) * if size == opposite { 1.0 } else { 2.0 };
            if count > real(left) {
                break;
            }
            for mask in masks(columns, size) {
                let weight = size_weight(columns, size) / choices(columns, size);
                for mask in [mask, complement(mask, columns)] {
                    weights.insert(mask, weight);
                }
            }
            left = budget - weights.len();
            size += 1;
        }
        let all = size > columns / 2;
        if !all {
            sample(&mut weights, columns, size, budget, seed);
        }
        Self { weights, all }
    }
}

/// Adds coalitions of `from` to `columns` − `from` columns, drawn by how much their sizes weigh, each with its
/// complement.
fn sample(weights: &mut BTreeMap<u64, f64>, columns: usize, from: usize, budget: usize, seed: u64) {
    let sizes: Vec<usize> = (from..=columns - from).collect();
    let whole: f64 = sizes.iter().map(|size| size_weight(columns, *size)).sum();
    let mut draws = Draws::new(seed, 0);
    let mut drawn: BTreeMap<u64, usize> = BTreeMap::new();
    let mut places: Vec<usize> = (0..columns).collect();
    let mut count = 0;
    // The same one may come again, and counts again; only so often that this ends.
    while weights.len() + drawn.len() + 2 <= budget && count < 8 * budget {
        let mut rest = draws.unit() * whole;
        let size = sizes.iter().find(|size| {
            rest -= size_weight(columns, **size);
            rest < 0.0
        });
        draws.shuffle(&mut places);
        let members = places.iter().take(size.copied().unwrap_or(from));
        let mask = members.fold(0_u64, |mask, column| mask | 1 << column);
        for mask in [mask, complement(mask, columns)] {
            *drawn.entry(mask).or_default() += 1;
            count += 1;
        }
    }
    let each = whole / real(count.max(1));
    weights.extend(drawn.into_iter().map(|(mask, times)| (mask, each * real(times))));
}

/// What all coalitions of a size weigh together, up to a factor.
fn size_weight(columns: usize, size: usize) -> f64 {
    real(columns - 1) / real(size * (columns - size))
}

/// How many coalitions of a size there are.
fn choices(columns: usize, size: usize) -> f64 {
    (0..size)
        .fold(1.0, |product, place| {
            product * real(columns - place) / real(place + 1)
        })
        .round()
}

const fn complement(mask: u64, columns: usize) -> u64 {
    !mask & (u64::MAX >> (64 - columns))
}

/// All coalitions of so many columns, in rising order of the number that stands for them.
fn masks(columns: usize, size: usize) -> impl Iterator<Item = u64> {
    let first = (1_u128 << size) - 1;
    let next = |mask: &u128| {
        // The next number with as many ones: the lowest run of ones moves up by one, and what is left of it goes down.
        let lowest = mask & mask.wrapping_neg();
        let carried = mask + lowest;
        Some((((carried ^ mask) >> 2) / lowest) | carried)
    };
    std::iter::successors(Some(first), next)
        .map_while(|mask| u64::try_from(mask).ok())
        .take_while(move |mask| *mask <= u64::MAX >> (64 - columns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_coalition_of_a_size_is_there_once() {
        assert_eq!(
            masks(4, 2).collect::<Vec<_>>(),
            [0b0011, 0b0101, 0b0110, 0b1001, 0b1010, 0b1100]
        );
        for columns in 1..=12 {
            for size in 1..=columns {
                assert!((real(masks(columns, size).count()) - choices(columns, size)).abs() < 0.5);
            }
        }
        assert_eq!(masks(64, 63).count(), 64);
        assert!(masks(64, 63).all(|mask| mask.count_ones() == 63));
        assert_eq!(masks(64, 64).collect::<Vec<_>>(), [u64::MAX]);
    }

    #[test]
    fn coalitions_are_as_many_as_allowed_and_none_is_empty_or_whole() {
        for (columns, budget) in [(2, 4), (5, 100), (10, 200), (20, 500), (64, 2176)] {
            let chosen = Coalitions::choose(columns, budget, 1);
            assert!(chosen.weights.len() <= budget);
            assert_eq!(chosen.all, columns < 10);
            let whole = u64::MAX >> (64 - columns);
            assert!(chosen.weights.keys().all(|mask| *mask > 0 && *mask < whole));
            // Whatever is sampled, all of it weighs what all coalitions do.
            let all: f64 = (1..columns).map(|size| size_weight(columns, size)).sum();
            assert!((chosen.weights.values().sum::<f64>() - all).abs() < 1e-9);
        }
    }
}
