//! Counts over bins, for numbers and for categories, such that nothing of today's data falls outside of them.
//! Bins are cut by the reference alone: today's data must not choose what it is compared by.

use std::collections::BTreeMap;

use crate::evaluation::statistics::{StatError, finite, quantile::quantiles, real};

/// As many values as are compared with one edge after another.
const PIECE: usize = 2048;

/// Bins between quantiles of a reference.
#[derive(Debug, Clone, PartialEq)]
pub struct Bins {
    /// Where one bin ends and the next begins, rising; a value on an edge belongs to the bin above it.
    edges: Vec<f64>,
}

impl Bins {
    /// The usual number of bins.
    pub const USUAL: usize = 10;

    /// Cuts at the `bins` − 1 quantiles of a reference that lie evenly between 0 and 1. Quantiles that fall together,
    /// as they do where many values are equal, make one edge; and when the lowest or highest value of the reference is
    /// itself an edge, what lies beyond it gets a bin of its own, so that a constant column sees every change.
    ///
    /// # Errors
    /// [`StatError::Empty`], [`StatError::NotFinite`]; [`StatError::TooFew`] for fewer than two bins, and
    /// [`StatError::TooMany`] for more than 1000.
    /// # Source
    /// Quantiles as in `numpy.quantile`.
    pub fn by_quantile(reference: &[f64], bins: usize) -> Result<Self, StatError> {
        finite("reference", reference)?;
        if bins < 2 {
            return Err(StatError::TooFew {
                what: "bins",
                found: bins,
                needed: 2,
            });
        }
        if bins > 1000 {
            return Err(StatError::TooMany {
                what: "bins",
                found: bins,
                most: 1000,
            });
        }
        let shares: Vec<f64> = (1..bins).map(|cut| real(cut) / real(bins)).collect();
        let mut edges = quantiles(&mut reference.to_vec(), &shares);
        finite("edges", &edges)?;
        // Rounding may put the quantiles of equal values a hair apart, and out of order.
        edges.sort_unstable_by(f64::total_cmp);
        edges.dedup();
        let highest = reference.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if edges.last().is_some_and(|last| *last >= highest) {
            edges.push(highest.next_up());
        }
        Ok(Self { edges })
    }

    /// How many bins there are.
    pub fn count(&self) -> usize {
        self.edges.len() + 1
    }

    /// Where one bin ends and the next begins, rising.
    pub fn edges(&self) -> &[f64] {
        &self.edges
    }

    /// How many values fall into each bin.
    ///
    /// # Errors
    /// [`StatError::Empty`], [`StatError::NotFinite`].
    pub fn tally(&self, values: &[f64]) -> Result<Vec<u64>, StatError> {
        finite("values", values)?;
        // Edge after edge over a piece that stays in the cache: comparing several values at once is faster than
        // searching for the bin of each.
        let mut above = vec![0; self.edges.len()];
        for piece in values.chunks(PIECE) {
            for (count, edge) in above.iter_mut().zip(&self.edges) {
                *count += piece.iter().map(|value| u64::from(value >= edge)).sum::<u64>();
            }
        }
        let from = std::iter::once(values.len() as u64).chain(above.iter().copied());
        let to = above.iter().copied().chain(std::iter::once(0));
        Ok(from.zip(to).map(|(from, to)| from - to).collect())
    }
}

/// How often each category is there, on both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Categories<T> {
    /// Every category of either side, in order.
    pub names: Vec<T>,
    /// How often each is in the reference.
    pub reference: Vec<u64>,
    /// How often each is in the current data.
    pub current: Vec<u64>,
    /// How many rows of the current data have a category that the reference does not know.
    pub unseen: u64,
}

/// Counts the categories of two columns.
///
/// # Errors
/// [`StatError::Empty`] when one of them is.
pub fn categories<T: Ord + Clone>(reference: &[T], current: &[T]) -> Result<Categories<T>, StatError> {
    let mut counts: BTreeMap<&T, [u64; 2]> = BTreeMap::new();
    for (side, what, column) in [(0, "reference", reference), (1, "current", current)] {
        if column.is_empty() {
            return Err(StatError::Empty { what });
        }
        for category in column {
            counts.entry(category).or_default()[side] += 1;
        }
    }
    Ok(Categories {
        names: counts.keys().map(|name| (*name).clone()).collect(),
        reference: counts.values().map(|[reference, _]| *reference).collect(),
        current: counts.values().map(|[_, current]| *current).collect(),
        unseen: counts
            .values()
            .filter(|[reference, _]| *reference == 0)
            .map(|[_, current]| current)
            .sum(),
    })
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;

    #[test_case(&[1.0, 2.0, 3.0, 4.0], 2, &[2.5] => vec![0, 1]; "one cut")]
    #[test_case(&[1.0, 2.0, 3.0], 2, &[2.0, 1.9] => vec![1, 1]; "an edge belongs above")]
    #[test_case(&[5.0; 20], 10, &[4.0, 5.0, 5.0, 6.0] => vec![1, 2, 1]; "a constant has a bin on either side")]
    #[test_case(&[0.0, 0.0, 0.0, 1.0, 1.0, 1.0], 10, &[-1.0, 0.0, 1.0, 1.0, 7.0] => vec![1, 1, 0, 2, 1]; "two values, with what lies beyond and between")]
    #[test_case(&[-0.0, 0.0], 10, &[0.0, -0.0] => vec![0, 2, 0]; "zero has one sign")]
    #[test_case(&[1.0, 2.0, 3.0, 4.0], 4, &[-1e308, 1e308] => vec![1, 0, 0, 1]; "nothing falls outside")]
    fn counted(reference: &[f64], bins: usize, values: &[f64]) -> Vec<u64> {
        Bins::by_quantile(reference, bins).unwrap().tally(values).unwrap()
    }

    #[test_case(&[], 10; "nothing")]
    #[test_case(&[1.0, f64::NAN], 10; "not a number")]
    #[test_case(&[1.0], 1; "one bin")]
    #[test_case(&[1.0], 1001; "too many bins")]
    #[test_case(&[f64::MAX, -f64::MAX], 10; "wider than numbers go")]
    fn no_bins(reference: &[f64], bins: usize) {
        assert!(Bins::by_quantile(reference, bins).is_err());
    }

    #[test]
    fn values_are_numbers() {
        let bins = Bins::by_quantile(&[1.0, 2.0], 2).unwrap();
        assert!(bins.tally(&[f64::INFINITY]).is_err());
        assert!(bins.tally(&[]).is_err());
    }

    #[test]
    fn categories_of_both_sides_are_counted() {
        let found = categories(&["a", "b", "a"], &["c", "a", "c"]).unwrap();
        assert_eq!(found.names, ["a", "b", "c"]);
        assert_eq!(found.reference, [2, 1, 0]);
        assert_eq!(found.current, [1, 0, 2]);
        assert_eq!(found.unseen, 2);
        assert!(categories(&["a"], &[]).is_err());
    }
}
