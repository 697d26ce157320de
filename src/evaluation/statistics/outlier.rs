//! How many of today's rows lie farther out than almost all of the reference does.
//! The threshold is a quantile of the reference's own distances: nobody has to invent one.

use std::cmp::Ordering;

use super::{
    Rows, StatError, interval::Tally, linear::Cholesky, open_share, quantile::quantile_of_sorted, real,
};

/// As many rows of the reference as [`Nearest`] takes: each new row is compared with all of them.
pub const MOST_NEIGHBOURS: usize = 20_000;

/// How many rows lie beyond the threshold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outliers {
    /// Outliers among all rows of the current data.
    pub tally: Tally,
    /// The distance that an outlier exceeds.
    pub threshold: f64,
    /// The share of outliers that the reference itself would have, by the choice of the quantile.
    pub expected: f64,
}

impl Outliers {
    fn count(rows: Rows<'_>, threshold: f64, quantile: f64, mut distance: impl FnMut(&[f64]) -> f64) -> Self {
        let tally = rows
            .iter()
            // A distance that is no number is beyond every threshold.
            .map(|row| distance(row).partial_cmp(&threshold).is_none_or(Ordering::is_gt))
            .fold(Tally::default(), Tally::and);
        Self {
            tally,
            threshold,
            expected: 1.0 - quantile,
        }
    }
}

/// Distances from the reference's mean in its own directions and units.
pub struct Mahalanobis {
    means: Vec<f64>,
    factor: Cholesky,
    threshold: f64,
    quantile: f64,
}

impl Mahalanobis {
    /// Learns mean, covariance (divided by n − 1) and the `quantile` of the reference's own distances, such as 0.99.
    ///
    /// # Errors
    /// [`StatError::TooFew`] unless there are more rows than columns; [`StatError::Undefined`], naming a column that is
    /// constant or a combination of those before it; [`StatError::Range`] for a quantile not between 0 and 1.
    /// # Source
    /// Mahalanobis 1936.
    pub fn fit(reference: Rows<'_>, quantile: f64) -> Result<Self, StatError> {
        open_share("quantile", quantile)?;
        let (count, columns) = (reference.count(), reference.columns());
        if count <= columns {
            return Err(StatError::TooFew {
                what: "rows of the reference",
                found: count,
                needed: columns + 1,
            });
        }
        let means = reference.means();
        let mut covariance = vec![0.0; columns * columns];
        for row in reference {
            let centred: Vec<f64> = row.iter().zip(&means).map(|(value, mean)| value - mean).collect();
            for (line, own) in covariance.chunks_exact_mut(columns).zip(&centred) {
                line.iter_mut()
                    .zip(&centred)
                    .for_each(|(sum, other)| *sum += own * other);
            }
        }
        let others = real(count - 1);
        for sum in &mut covariance {
            *sum /= others;
        }
        let factor = Cholesky::of(&covariance, columns).map_err(|column| StatError::Undefined {
            what: "Mahalanobis' distance",
            why: format!("column {column} of the reference is constant, or a combination of those before it; leave it out"),
        })?;
        let mut fitted = Self {
            means,
            factor,
            threshold: f64::INFINITY,
            quantile,
        };
        let mut distances: Vec<f64> = reference.iter().map(|row| fitted.distance(row)).collect();
        super::finite("distances", &distances)?;
        distances.sort_unstable_by(f64::total_cmp);
        fitted.threshold = quantile_of_sorted(&distances, quantile);
        Ok(fitted)
    }

    /// Counts the rows whose distance exceeds the threshold.
    ///
    /// # Errors
    /// [`StatError::Shape`] when the columns are not as many as the reference has.
    pub fn outliers(&self, current: Rows<'_>) -> Result<Outliers, StatError> {
        super::same_length("columns", current.columns(), self.means.len())?;
        Ok(Outliers::count(current, self.threshold, self.quantile, |row| {
            self.distance(row)
        }))
    }

    fn distance(&self, row: &[f64]) -> f64 {
        let mut centred: Vec<f64> = row
            .iter()
            .zip(&self.means)
            .map(|(value, mean)| value - mean)
            .collect();
        self.factor.forward(&mut centred);
        centred.iter().map(|part| part * part).sum::<f64>().sqrt()
    }
}

/// Distances to the k-th nearest row of the reference: sees holes and clusters that one mean does not.
#[derive(Debug, Clone)]
pub struct Nearest<'a> {
    reference: Rows<'a>,
    neighbours: usize,
    threshold: f64,
    quantile: f64,
}

impl<'a> Nearest<'a> {
    /// Learns the `quantile` of the reference's own distances to their k-th neighbours, each row without itself. Time
    /// is the square of the reference.
    ///
    /// # Errors
    /// [`StatError::TooFew`] unless there are more rows than neighbours, and at least one of those;
    /// [`StatError::TooMany`] above [`MOST_NEIGHBOURS`]; [`StatError::Range`] for a quantile not between 0 and 1;
    /// [`StatError::NotFinite`] when a distance is.
    /// # Source
    /// Ramaswamy, Rastogi and Shim 2000.
    pub fn fit(reference: Rows<'a>, neighbours: usize, quantile: f64) -> Result<Self, StatError> {
        open_share("quantile", quantile)?;
        let count = reference.count();
        if neighbours == 0 {
            return Err(StatError::TooFew {
                what: "neighbours",
                found: 0,
                needed: 1,
            });
        }
        if count <= neighbours {
            return Err(StatError::TooFew {
                what: "rows of the reference",
                found: count,
                needed: neighbours.saturating_add(1),
            });
        }
        if count > MOST_NEIGHBOURS {
            return Err(StatError::TooMany {
                what: "rows of the reference",
                found: count,
                most: MOST_NEIGHBOURS,
            });
        }
        let mut room = Vec::with_capacity(count);
        let mut distances: Vec<f64> = reference
            .iter()
            .map(|row| {
                // Itself is the nearest, at distance 0.
                kth_distance(reference, row, neighbours, &mut room)
            })
            .collect();
        super::finite("distances", &distances)?;
        distances.sort_unstable_by(f64::total_cmp);
        Ok(Self {
            reference,
            neighbours,
            threshold: quantile_of_sorted(&distances, quantile),
            quantile,
        })
    }

    /// Counts the rows whose distance exceeds the threshold.
    ///
    /// # Errors
    /// [`StatError::Shape`] when the columns are not as many as the reference has.
    pub fn outliers(&self, current: Rows<'_>) -> Result<Outliers, StatError> {
        self.reference.alongside(current)?;
        let mut room = Vec::with_capacity(self.reference.count());
        Ok(Outliers::count(current, self.threshold, self.quantile, |row| {
            kth_distance(self.reference, row, self.neighbours - 1, &mut room)
        }))
    }
}

/// The distance to the row of the reference that has `nearer` others before it.
fn kth_distance(reference: Rows<'_>, row: &[f64], nearer: usize, room: &mut Vec<f64>) -> f64 {
    room.clear();
    room.extend(reference.iter().map(|other| -> f64 {
        let parts = row.iter().zip(other);
        parts.map(|(one, other)| (one - other).powi(2)).sum()
    }));
    let place = nearer.min(room.len() - 1);
    let (_, squared, _) = room.select_nth_unstable_by(place, f64::total_cmp);
    squared.sqrt()
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;
    use crate::evaluation::statistics::testing::{Fixture, assert_close};

    #[test]
    fn distances_and_counts_are_those_of_scipy_and_scikit_learn() {
        let fixture = Fixture::outlier();
        let columns = fixture.places("columns")[0];
        let (reference, current) = (fixture.numbers("reference"), fixture.numbers("current"));
        let reference = Rows::new(&reference, columns).unwrap();
        let current = Rows::new(&current, columns).unwrap();

        let fitted = Mahalanobis::fit(reference, 0.99).unwrap();
        for (row, expected) in current.iter().zip(fixture.numbers("mahalanobis")) {
            assert_close(fitted.distance(row), expected, 1e-10);
        }
        let found = fitted.outliers(current).unwrap();
        assert_close(found.threshold, fixture.number("mahalanobis_threshold"), 1e-10);
        assert_eq!(found.tally.successes(), fixture.count("mahalanobis_outliers"));

        let fitted = Nearest::fit(reference, 5, 0.99).unwrap();
        let found = fitted.outliers(current).unwrap();
        assert_close(found.threshold, fixture.number("nearest_threshold"), 1e-10);
        assert_eq!(found.tally.successes(), fixture.count("nearest_outliers"));
        assert_eq!(found.tally.trials(), current.count() as u64);
    }

    #[test_case(&[1.0, 2.0, 3.0, 4.0], 2; "no more rows than columns")]
    #[test_case(&[1.0, 5.0, 2.0, 5.0, 3.0, 5.0], 2; "a constant")]
    #[test_case(&[1.0, 2.0, 2.0, 4.0, 3.0, 6.0, 5.0, 10.0], 2; "a column twice")]
    #[test_case(&[1e200, -1e200, 1e200], 1; "larger than squares go")]
    fn no_covariance(values: &[f64], columns: usize) {
        assert!(Mahalanobis::fit(Rows::new(values, columns).unwrap(), 0.99).is_err());
    }

    #[test_case(0, 0.99; "no neighbours")]
    #[test_case(4, 0.99; "more neighbours than others")]
    #[test_case(1, 1.0; "no quantile")]
    #[test_case(usize::MAX, 0.99; "all the neighbours there could be")]
    fn no_neighbours(neighbours: usize, quantile: f64) {
        let rows = Rows::new(&[1.0, 2.0, 3.0, 4.0], 1).unwrap();
        assert!(Nearest::fit(rows, neighbours, quantile).is_err());
    }

    #[test]
    fn other_columns_are_refused_and_what_overflows_is_out() {
        let values = [1.0, 2.0, 4.0, 8.0];
        let reference = Rows::new(&values, 1).unwrap();
        let one = Mahalanobis::fit(reference, 0.99).unwrap();
        let other = Nearest::fit(reference, 1, 0.99).unwrap();
        let wide = Rows::new(&values, 2).unwrap();
        assert!(one.outliers(wide).is_err() && other.outliers(wide).is_err());
        let huge = Rows::new(&[f64::MAX, -f64::MAX], 1).unwrap();
        assert_eq!(one.outliers(huge).unwrap().tally.successes(), 2);
        assert_eq!(other.outliers(huge).unwrap().tally.successes(), 2);
    }

    #[test]
    fn equal_rows_are_no_outliers() {
        let values = [3.0; 10];
        let reference = Rows::new(&values, 1).unwrap();
        let fitted = Nearest::fit(reference, 2, 0.9).unwrap();
        assert_eq!(fitted.outliers(reference).unwrap().tally.successes(), 0);
    }
}
