//! A table of finite numbers, row by row: what models are given and distances are taken in.
//! Once it exists it has the right shape and no NaN in it, so that nothing behind it has to ask again.

use super::{StatError, finite, real};

/// A view of numbers in row-major order: at least one row, at least one column, all of them finite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rows<'a> {
    values: &'a [f64],
    columns: usize,
}

impl<'a> Rows<'a> {
    /// `values`: row after row, each of `columns` numbers.
    ///
    /// # Errors
    /// [`StatError::Empty`] without rows or columns; [`StatError::Shape`] when the last row is cut;
    /// [`StatError::NotFinite`] at the first NaN or infinity.
    pub fn new(values: &'a [f64], columns: usize) -> Result<Self, StatError> {
        finite("rows", values)?;
        match values.len().checked_rem(columns) {
            None => Err(StatError::Empty { what: "columns" }),
            Some(0) => Ok(Self { values, columns }),
            Some(rest) => Err(StatError::Shape {
                what: "the last row's columns",
                found: rest,
                expected: columns,
            }),
        }
    }

    /// How many rows there are; never 0.
    pub const fn count(&self) -> usize {
        self.values.len() / self.columns
    }

    /// How many columns there are; never 0.
    pub const fn columns(&self) -> usize {
        self.columns
    }

    /// All of it, row after row.
    pub const fn values(&self) -> &'a [f64] {
        self.values
    }

    /// The rows, in order.
    pub fn iter(&self) -> std::slice::ChunksExact<'a, f64> {
        self.values.chunks_exact(self.columns)
    }

    /// One column, from top to bottom; nothing when there is no such column.
    pub fn column(&self, column: usize) -> impl Iterator<Item = f64> + use<'a> {
        self.iter().filter_map(move |row| row.get(column).copied())
    }

    /// The mean of each column.
    pub(super) fn means(&self) -> Vec<f64> {
        let mut means = vec![0.0; self.columns];
        for row in self {
            means.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
        for sum in &mut means {
            *sum /= real(self.count());
        }
        means
    }

    /// As many columns as the other.
    pub(super) fn alongside(&self, other: Rows<'_>) -> Result<(), StatError> {
        super::same_length("columns", other.columns, self.columns)
    }
}

impl<'a> IntoIterator for Rows<'a> {
    type Item = &'a [f64];
    type IntoIter = std::slice::ChunksExact<'a, f64>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a> IntoIterator for &Rows<'a> {
    type Item = &'a [f64];
    type IntoIter = std::slice::ChunksExact<'a, f64>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Both tables in units of the reference's standard deviations from its means, column by column.
///
/// A column that is constant in the reference is only moved, not scaled. The deviation is that of the sample (divided
/// by n), as scikit-learn's `StandardScaler` has it.
///
/// # Errors
/// [`StatError::Shape`] when the columns are not as many; [`StatError::NotFinite`] when numbers are so large that a
/// deviation is not.
pub fn standardised(reference: Rows<'_>, current: Rows<'_>) -> Result<(Vec<f64>, Vec<f64>), StatError> {
    reference.alongside(current)?;
    let means = reference.means();
    let mut scales = vec![0.0; reference.columns];
    for row in reference {
        for ((scale, value), mean) in scales.iter_mut().zip(row).zip(&means) {
            *scale += (value - mean).powi(2);
        }
    }
    for scale in &mut scales {
        let deviation = (*scale / real(reference.count())).sqrt();
        *scale = if deviation == 0.0 { 1.0 } else { deviation };
    }
    finite("standard deviations", &scales)?;
    let apply = |rows: Rows<'_>| -> Vec<f64> {
        let places = means.iter().zip(&scales).cycle();
        let values = rows.values.iter().zip(places);
        values
            .map(|(value, (mean, scale))| (value - mean) / scale)
            .collect()
    };
    Ok((apply(reference), apply(current)))
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;

    #[test_case(&[], 2 => Err(StatError::Empty { what: "rows" }); "no rows")]
    #[test_case(&[1.0], 0 => Err(StatError::Empty { what: "columns" }); "no columns")]
    #[test_case(&[1.0, 2.0, 3.0], 2 => Err(StatError::Shape { what: "the last row's columns", found: 1, expected: 2 }); "half a row")]
    #[test_case(&[1.0, f64::NAN], 2 => Err(StatError::NotFinite { what: "rows", index: 1 }); "not a number")]
    #[test_case(&[f64::NEG_INFINITY, 1.0], 1 => Err(StatError::NotFinite { what: "rows", index: 0 }); "infinity")]
    #[test_case(&[1.0, 2.0, 3.0, 4.0], 2 => Ok(2); "two rows")]
    fn a_table_is_whole(values: &[f64], columns: usize) -> Result<usize, StatError> {
        Rows::new(values, columns).map(|rows| rows.count())
    }

    #[test]
    fn it_is_read_by_row_and_by_column() {
        let rows = Rows::new(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3).unwrap();
        assert_eq!(
            rows.iter().collect::<Vec<_>>(),
            [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
        );
        assert_eq!(rows.column(1).collect::<Vec<_>>(), [2.0, 5.0]);
        assert_eq!(rows.column(3).count(), 0);
    }

    #[test]
    fn units_are_those_of_the_reference_and_a_constant_is_only_moved() {
        let reference = Rows::new(&[1.0, 7.0, 3.0, 7.0], 2).unwrap();
        let current = Rows::new(&[4.0, 9.0], 2).unwrap();
        let (reference, current) = standardised(reference, current).unwrap();
        assert_eq!(reference, [-1.0, 0.0, 1.0, 0.0]);
        assert_eq!(current, [2.0, 2.0]);
    }

    #[test]
    fn numbers_too_large_for_a_deviation_are_refused() {
        let huge = [f64::MAX, -f64::MAX];
        let rows = Rows::new(&huge, 1).unwrap();
        assert!(matches!(
            standardised(rows, rows),
            Err(StatError::NotFinite { .. })
        ));
    }
}
