//! What a model looks at: which columns its score, or one of its answers, depends on; and how stable that order is.
//! The values themselves are no gate: whether the explanation holds together and stays the same is.

mod shapley;

pub use shapley::{Explanation, MOST_COALITIONS, MOST_COLUMNS, kernel_shap, usual_coalitions};

use super::{Rows, StatError, draws::Draws, finite, mean, real, same_length};

/// How much worse a model scores without what one column says.
#[derive(Debug, Clone, PartialEq)]
pub struct Importance {
    /// Score of the whole less score with the column shuffled, once a repeat. Below 0: better without it, by chance.
    pub drops: Vec<f64>,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation (divided by the number of repeats).
    pub deviation: f64,
}

/// Permutation importance of every column, `repeats` times (10 is usual). The score is asked 1 + columns × repeats
/// times.
///
/// `score`: of a table with as many rows, in the same order but for one column; higher is better. Its errors end the
/// run.
///
/// # Errors
/// [`StatError::Empty`] without repeats; [`StatError::NotFinite`] when a score is.
/// # Source
/// Breiman 2001; Fisher, Rudin and Dominici 2019.
pub fn permutation_importance<E: From<StatError>>(
    rows: Rows<'_>,
    repeats: usize,
    seed: u64,
    mut score: impl FnMut(Rows<'_>) -> Result<f64, E>,
) -> Result<Vec<Importance>, E> {
    if repeats == 0 {
        return Err(StatError::Empty { what: "repeats" }.into());
    }
    let mut checked = |rows: Rows<'_>| -> Result<f64, E> {
        let score = score(rows)?;
        finite("the score", &[score])?;
        Ok(score)
    };
    let whole = checked(rows)?;
    let mut table = rows.values().to_vec();
    let mut found = Vec::with_capacity(rows.columns());
    for column in 0..rows.columns() {
        // Each column has its own stream: leaving one out changes nothing about the others.
        let mut draws = Draws::new(seed, column as u64);
        let own: Vec<f64> = rows.column(column).collect();
        let mut shuffled = own.clone();
        let mut drops = Vec::with_capacity(repeats);
        for _ in 0..repeats {
            draws.shuffle(&mut shuffled);
            write_column(&mut table, rows.columns(), column, &shuffled);
            drops.push(whole - checked(Rows::new(&table, rows.columns())?)?);
        }
        write_column(&mut table, rows.columns(), column, &own);
        let mean = mean(&drops);
        let variance = drops.iter().map(|drop| (drop - mean).powi(2)).sum::<f64>() / real(repeats);
        found.push(Importance {
            drops,
            mean,
            deviation: variance.sqrt(),
        });
    }
    Ok(found)
}

fn write_column(table: &mut [f64], columns: usize, column: usize, values: &[f64]) {
    let slots = table.iter_mut().skip(column).step_by(columns);
    slots.zip(values).for_each(|(slot, value)| *slot = *value);
}

/// The share of the `top` largest importances in all of them, by absolute value: near 1 for one or two columns means
/// that the model leans on what may be a leak.
///
/// # Errors
/// [`StatError::Empty`], [`StatError::NotFinite`]; [`StatError::Undefined`] when no column has any.
pub fn top_share(importances: &[f64], top: usize) -> Result<f64, StatError> {
    finite("importances", importances)?;
    let mut sizes: Vec<f64> = importances.iter().map(|value| value.abs()).collect();
    sizes.sort_by(|one, other| other.total_cmp(one));
    let all: f64 = sizes.iter().sum();
    finite("the sum of the importances", &[all])?;
    if all == 0.0 {
        return Err(StatError::Undefined {
            what: "the share of the most important columns",
            why: "no column has any importance".into(),
        });
    }
    Ok(sizes.iter().take(top).sum::<f64>() / all)
}

/// Kendall's τ-b between two lists of importances of the same columns: 1 for the same order, −1 for the reverse, with
/// ties taken into account. Time is the square of the length.
///
/// # Errors
/// [`StatError::Shape`] when the lengths differ; [`StatError::TooFew`] for fewer than two, [`StatError::TooMany`] above
/// 10,000; [`StatError::Undefined`] when a list has the same value everywhere.
/// # Source
/// Kendall 1945.
pub fn kendall(one: &[f64], other: &[f64]) -> Result<f64, StatError> {
    finite("importances", one)?;
    finite("other importances", other)?;
    same_length("other importances", other.len(), one.len())?;
    if one.len() < 2 {
        return Err(StatError::TooFew {
            what: "importances",
            found: one.len(),
            needed: 2,
        });
    }
    if one.len() > 10_000 {
        return Err(StatError::TooMany {
            what: "importances",
            found: one.len(),
            most: 10_000,
        });
    }
    let pairs: Vec<(f64, f64)> = one.iter().copied().zip(other.iter().copied()).collect();
    let (mut agreement, mut differ, mut differ_other) = (0_i64, 0_usize, 0_usize);
    for (place, left) in pairs.iter().enumerate() {
        for right in pairs.iter().skip(place + 1) {
            // The sign of each side: 1, 0 or −1.
            let sign = |a: f64, b: f64| i64::from(a > b) - i64::from(a < b);
            let (first, second) = (sign(left.0, right.0), sign(left.1, right.1));
            agreement += first * second;
            differ += usize::from(first != 0);
            differ_other += usize::from(second != 0);
        }
    }
    if differ == 0 || differ_other == 0 {
        return Err(StatError::Undefined {
            what: "Kendall's rank correlation",
            why: "one of the lists has the same value everywhere, and so no order".into(),
        });
    }
    let size = real(usize::try_from(agreement.unsigned_abs()).unwrap_or(0));
    let tau = size / (real(differ).sqrt() * real(differ_other).sqrt());
    Ok(if agreement < 0 { -tau } else { tau }.clamp(-1.0, 1.0))
}

#[cfg(test)]
mod tests;
