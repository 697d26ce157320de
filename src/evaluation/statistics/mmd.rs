//! Maximum mean discrepancy: whether two tables come from one distribution, all columns together.
//! Distances mix the columns, so they should be in comparable units: see [`standardised`](super::standardised).

use super::{Rows, StatError, draws::Draws, quantile::quantile_of_sorted, real};

/// As many rows of both sides together as are taken: the kernel matrix then has 128 MB.
pub const MOST_ROWS: usize = 4000;

/// What the test found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mmd {
    /// The unbiased estimate of the squared discrepancy. Below nothing means: none that can be seen.
    pub squared: f64,
    /// How likely at least that much is when the rows are dealt out by chance: (1 + #{permuted ≥ observed}) / (B + 1).
    pub p_value: f64,
    /// σ of the kernel exp(−d² / 2σ²): the root of half the median squared distance between two rows of both sides.
    pub bandwidth: f64,
    /// The squared discrepancy that 95 of 100 permutations stay at or below: what no drift looks like at this size.
    pub usual: f64,
}

/// The permutation test with a Gaussian kernel. At least two rows a side; `permutations` ≥ 19, below which no p-value
/// reaches 0.05.
///
/// Rows that are all equal have no discrepancy, and a p-value of 1. Where more than half of all pairs are equal, the
/// bandwidth is that of the pairs that differ.
///
/// # Errors
/// [`StatError::Shape`] when the columns are not as many; [`StatError::TooFew`] rows or permutations;
/// [`StatError::TooMany`] above [`MOST_ROWS`]; [`StatError::NotFinite`] when a squared distance is.
/// # Source
/// Gretton, Borgwardt, Rasch, Schölkopf and Smola 2012, lemma 6; the p-value as in Phipson and Smyth 2010.
pub fn mmd(reference: Rows<'_>, current: Rows<'_>, permutations: usize, seed: u64) -> Result<Mmd, StatError> {
    reference.alongside(current)?;
    for (what, found) in [
        ("rows of the reference", reference.count()),
        ("rows of the current data", current.count()),
    ] {
        if found < 2 {
            return Err(StatError::TooFew {
                what,
                found,
                needed: 2,
            });
        }
    }
    if permutations < 19 {
        return Err(StatError::TooFew {
            what: "permutations",
            found: permutations,
            needed: 19,
        });
    }
    let count = reference.count() + current.count();
    if count > MOST_ROWS {
        return Err(StatError::TooMany {
            what: "rows of both sides",
            found: count,
            most: MOST_ROWS,
        });
    }
    let (kernel, bandwidth) = Kernel::of(reference, current)?;
    let mut order: Vec<usize> = (0..count).collect();
    let squared = kernel.discrepancy(&order, reference.count());
    let mut draws = Draws::new(seed, 0);
    let mut permuted: Vec<f64> = (0..permutations)
        .map(|_| {
            draws.shuffle(&mut order);
            // In order of the rows the sums run through memory forwards.
            let (one, other) = order.split_at_mut(reference.count());
            one.sort_unstable();
            other.sort_unstable();
            kernel.discrepancy(&order, reference.count())
        })
        .collect();
    // The same deal may come to another last digit when it is summed in another order.
    let least = squared - 1e-12;
    let as_far = permuted.iter().filter(|value| **value >= least).count();
    permuted.sort_unstable_by(f64::total_cmp);
    Ok(Mmd {
        squared,
        p_value: real(1 + as_far) / real(1 + permutations),
        bandwidth,
        usual: quantile_of_sorted(&permuted, 0.95),
    })
}

/// The kernel between all rows of both sides, with nothing on the diagonal.
struct Kernel {
    values: Vec<f64>,
    size: usize,
    /// The sum of each row, and of all of them.
    sums: Vec<f64>,
    whole: f64,
}

impl Kernel {
    fn of(reference: Rows<'_>, current: Rows<'_>) -> Result<(Self, f64), StatError> {
        let rows: Vec<&[f64]> = reference.iter().chain(current).collect();
        let size = rows.len();
        let mut values = vec![0.0; size * size];
        let mut distances = Vec::with_capacity(size * (size - 1) / 2);
        for (one, line) in rows.iter().zip(values.chunks_exact_mut(size)) {
            for (other, slot) in rows.iter().zip(line) {
                *slot = squared_distance(one, other);
            }
        }
        for (place, line) in values.chunks_exact(size).enumerate() {
            distances.extend(line.iter().skip(place + 1));
        }
        super::finite("squared distances", &distances)?;
        let mut scale = median(&mut distances);
        if scale == 0.0 {
            distances.retain(|distance| *distance > 0.0);
            // With no pair that differs the kernel is 1 everywhere, whatever the scale is.
            scale = if distances.is_empty() {
                1.0
            } else {
                median(&mut distances)
            };
        }
        for (place, line) in values.chunks_exact_mut(size).enumerate() {
            for (other, slot) in line.iter_mut().enumerate() {
                *slot = if other == place {
                    0.0
                } else {
                    (-*slot / scale).exp()
                };
            }
        }
        let sums: Vec<f64> = values.chunks_exact(size).map(|line| line.iter().sum()).collect();
        let whole = sums.iter().sum();
        let kernel = Self {
            values,
            size,
            sums,
            whole,
        };
        Ok((kernel, (scale / 2.0).sqrt()))
    }

    /// The discrepancy between the first `split` rows of an order and the others.
    fn discrepancy(&self, order: &[usize], split: usize) -> f64 {
        let (one, other) = order.split_at(split);
        let within: f64 = one
            .iter()
            .filter_map(|row| self.values.get(row * self.size..(row + 1) * self.size))
            .map(|line| one.iter().filter_map(|column| line.get(*column)).sum::<f64>())
            .sum();
        let from: f64 = one.iter().filter_map(|row| self.sums.get(*row)).sum();
        let across = from - within;
        let within_other = self.whole - 2.0 * across - within;
        let (n, m) = (real(one.len()), real(other.len()));
        within / (n * (n - 1.0)) + within_other / (m * (m - 1.0)) - 2.0 * across / (n * m)
    }
}

fn squared_distance(one: &[f64], other: &[f64]) -> f64 {
    one.iter()
        .zip(other)
        .map(|(one, other)| (one - other).powi(2))
        .sum()
}

/// The median of a list that is not empty: between the two in the middle when they are as many.
fn median(values: &mut [f64]) -> f64 {
    let middle = values.len() / 2;
    let even = values.len().is_multiple_of(2);
    let (below, upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let upper = *upper;
    if even {
        let lower = below.iter().copied().max_by(f64::total_cmp).unwrap_or(upper);
        f64::midpoint(lower, upper)
    } else {
        upper
    }
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;
    use crate::evaluation::statistics::testing::{Fixture, assert_close, assert_within};

    #[test]
    fn the_estimate_is_that_of_scikit_learns_kernel() {
        for case in Fixture::mmd().at("cases").list() {
            let columns = case.places("columns")[0];
            let (one, other) = (case.numbers("reference"), case.numbers("current"));
            let (one, other) = (
                Rows::new(&one, columns).unwrap(),
                Rows::new(&other, columns).unwrap(),
            );
            let found = mmd(one, other, 999, 3).unwrap();
            assert_close(found.bandwidth, case.number("bandwidth"), 1e-12);
            assert_within(found.squared, case.number("squared"), 1e-12);
            // SciPy's own permutation test with 9999 draws: both are within what so many draws leave open.
            let expected = case.number("p");
            let open = 4.0 * (expected * (1.0 - expected) / 999.0).sqrt() + 0.002;
            assert_within(found.p_value, expected, open);
        }
    }

    fn normals(count: usize, moved: f64, stream: u64) -> Vec<f64> {
        let mut draws = Draws::new(5, stream);
        (0..count)
            .map(|_| (0..12).map(|_| draws.unit()).sum::<f64>() - 6.0 + moved)
            .collect()
    }

    #[test]
    fn a_p_value_is_as_even_as_it_says_when_nothing_drifts() {
        let below = (0..200)
            .filter(|run| {
                let (one, other) = (normals(60, 0.0, 2 * run), normals(40, 0.0, 2 * run + 1));
                let (one, other) = (Rows::new(&one, 2).unwrap(), Rows::new(&other, 2).unwrap());
                mmd(one, other, 19, *run).unwrap().p_value <= 0.05
            })
            .count();
        assert!((2..=20).contains(&below), "{below} of 200");
    }

    #[test]
    fn what_drifts_is_seen() {
        let (one, other) = (normals(100, 0.0, 1), normals(100, 1.0, 2));
        let found = mmd(Rows::new(&one, 1).unwrap(), Rows::new(&other, 1).unwrap(), 99, 0).unwrap();
        assert_within(found.p_value, 0.01, 0.0);
        assert!(found.squared > found.usual);
    }

    #[test_case(&[2.0; 5], &[2.0; 5], 1.0; "one constant")]
    #[test_case(&[0.0, 0.0, 0.0, 0.0, 1.0], &[0.0, 0.0, 0.0, 0.0, 1.0], 1.0; "mostly constant")]
    fn equal_rows_have_no_discrepancy(one: &[f64], other: &[f64], p_value: f64) {
        let (one, other) = (Rows::new(one, 1).unwrap(), Rows::new(other, 1).unwrap());
        let found = mmd(one, other, 99, 0).unwrap();
        assert!(found.squared <= 0.0 + 1e-15, "{found:?}");
        assert!(found.bandwidth > 0.0);
        assert!(found.p_value >= p_value * 0.9, "{found:?}");
    }

    #[test]
    fn two_constants_are_apart() {
        let (one, other) = ([0.0; 8], [1.0; 8]);
        let found = mmd(Rows::new(&one, 1).unwrap(), Rows::new(&other, 1).unwrap(), 99, 0).unwrap();
        assert_within(found.p_value, 0.01, 0.0);
        assert!(found.squared > 1.0, "{found:?}");
    }

    #[test_case(1, 2, 1, 1, 99; "one row")]
    #[test_case(4, 4, 1, 2, 99; "other columns")]
    #[test_case(4, 4, 1, 1, 18; "too few permutations")]
    #[test_case(4000, 1, 1, 1, 99; "too many rows")]
    fn refused(rows: usize, others: usize, columns: usize, columns_of_others: usize, permutations: usize) {
        let (one, other) = (vec![1.0; rows], vec![1.0; others]);
        let one = Rows::new(&one, columns).unwrap();
        let other = Rows::new(&other, columns_of_others).unwrap();
        assert!(mmd(one, other, permutations, 0).is_err());
    }

    #[test]
    fn rows_too_far_apart_for_numbers_are_refused() {
        let (one, other) = ([1e200, 0.0], [-1e200, 0.0]);
        let found = mmd(Rows::new(&one, 1).unwrap(), Rows::new(&other, 1).unwrap(), 99, 0);
        assert!(matches!(found, Err(StatError::NotFinite { .. })));
    }
}
