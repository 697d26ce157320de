//! Symmetric systems of a few dozen equations, by Cholesky's decomposition.
//! Small on purpose: covariances of features and the normal equations of explanations, nothing else.

/// The lower triangle L of a matrix that is L·Lᵀ, row after row, with zeros above the diagonal.
pub(super) struct Cholesky {
    lower: Vec<f64>,
    size: usize,
}

impl Cholesky {
    /// Decomposes a symmetric matrix, given row after row.
    ///
    /// # Errors
    /// The first row that the rows before it already determine, up to rounding: the matrix is singular, or not that of
    /// a covariance.
    pub fn of(matrix: &[f64], size: usize) -> Result<Self, usize> {
        let mut lower = vec![0.0; size * size];
        for row in 0..size {
            let (done, rest) = lower.split_at_mut(row * size);
            let current = &mut rest[..size];
            for column in 0..row {
                let above = &done[column * size..=column * size + column];
                let known = dot(&current[..column], &above[..column]);
                current[column] = (matrix[row * size + column] - known) / above[column];
            }
            let whole = matrix[row * size + row];
            let left = whole - dot(&current[..row], &current[..row]);
            // What rounding alone leaves of a diagonal entry is no variance of its own.
            let own = left > whole * 1e-12;
            if !own || !left.is_finite() {
                return Err(row);
            }
            current[row] = left.sqrt();
        }
        Ok(Self { lower, size })
    }

    /// L⁻¹·b, written over `vector`.
    pub fn forward(&self, vector: &mut [f64]) {
        for row in 0..self.size.min(vector.len()) {
            let factors = &self.lower[row * self.size..=row * self.size + row];
            let known = dot(&factors[..row], &vector[..row]);
            vector[row] = (vector[row] - known) / factors[row];
        }
    }

    /// The solution of L·Lᵀ·x = b, written over `vector`.
    pub fn solve(&self, vector: &mut [f64]) {
        self.forward(vector);
        for row in (0..self.size.min(vector.len())).rev() {
            vector[row] /= self.lower[row * self.size + row];
            for above in 0..row {
                vector[above] -= self.lower[row * self.size + above] * vector[row];
            }
        }
    }
}

fn dot(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(one, other)| one * other).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_is_solved() {
        let matrix = [4.0, 2.0, 0.6, 2.0, 5.0, 1.0, 0.6, 1.0, 3.0];
        let expected = [1.5, -2.0, 0.25];
        let mut vector = [2.15, -6.75, -0.35];
        Cholesky::of(&matrix, 3).ok().unwrap().solve(&mut vector);
        for (found, expected) in vector.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{vector:?}");
        }
    }

    #[test]
    fn a_row_that_others_determine_is_named() {
        let sum_of_two = [1.0, 0.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 2.0];
        assert_eq!(Cholesky::of(&sum_of_two, 3).err(), Some(2));
        // One direction only, but for what rounding leaves.
        for step in 1..50 {
            let (one, other) = (f64::from(step), f64::from(step) * 0.1 + 0.3);
            let of_one = [one * one, one * other, one * other, other * other];
            assert_eq!(Cholesky::of(&of_one, 2).err(), Some(1));
        }
        assert_eq!(Cholesky::of(&[0.0], 1).err(), Some(0));
        assert_eq!(Cholesky::of(&[f64::NAN], 1).err(), Some(0));
        assert_eq!(Cholesky::of(&[f64::INFINITY], 1).err(), Some(0));
    }
}
