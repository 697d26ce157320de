//! What an attacker may do: how far an input may be moved, and which inputs there are at all.

/// How the distance between two inputs is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Norm {
    /// The largest difference of one number.
    Linf,
    /// The root of the sum of squared differences.
    L2,
}

impl Norm {
    /// As it is written on the command line and in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Linf => "linf",
            Self::L2 => "l2",
        }
    }

    /// The distance of two inputs of equal width.
    pub fn distance(self, a: &[f32], b: &[f32]) -> f64 {
        let differences = a
            .iter()
            .zip(b)
            .map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs());
        match self {
            Self::Linf => differences.fold(0.0, f64::max),
            Self::L2 => differences
                .map(|difference| difference * difference)
                .sum::<f64>()
                .sqrt(),
        }
    }
}

/// The inputs an attacker may choose: at most `epsilon` from the sample, every number within [low, high]. All of it in
/// the units of the data, before any normalisation that the model does itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threat {
    norm: Norm,
    epsilon: f32,
    low: f32,
    high: f32,
}

impl Threat {
    /// An attacker who moves inputs by at most `epsilon`.
    ///
    /// # Errors
    /// A sentence, when the range is empty or not finite, or ε is not above 0, or, for L∞, larger than the range.
    pub fn new(norm: Norm, epsilon: f32, low: f32, high: f32) -> Result<Self, String> {
        if !(low.is_finite() && high.is_finite() && low < high && (high - low).is_finite()) {
            return Err(format!(
                "the range {low} to {high} is none: give the smallest and the largest number an input can have"
            ));
        }
        if !(epsilon.is_finite() && epsilon > 0.0) {
            return Err(format!(
                "ε {epsilon} is no distance: give a number above 0, in the units of the data"
            ));
        }
        if norm == Norm::Linf && epsilon > high - low {
            return Err(format!(
                "ε {epsilon} is more than inputs from {low} to {high} can differ: ε is in the units of the data, 8/255 is 0.0314 where pixels are 0 to 1"
            ));
        }
        Ok(Self {
            norm,
            epsilon,
            low,
            high,
        })
    }

    /// The same inputs, any of which may be chosen.
    #[must_use]
    pub fn unlimited(self) -> Self {
        Self {
            norm: Norm::Linf,
            epsilon: self.high - self.low,
            ..self
        }
    }

    /// How distance is measured.
    pub fn norm(&self) -> Norm {
        self.norm
    }

    /// The largest distance.
    pub fn epsilon(&self) -> f32 {
        self.epsilon
    }

    /// The smallest and the largest number of an input.
    pub fn range(&self) -> (f32, f32) {
        (self.low, self.high)
    }

    /// `value` moved by ε in the direction of `sign`, and back into the range.
    pub fn moved(&self, value: f32, sign: f32) -> f32 {
        (value + sign * self.epsilon).clamp(self.low, self.high)
    }

    /// Whether an input is one that the attacker may choose, but for rounding.
    pub fn allows(&self, original: &[f32], input: &[f32]) -> bool {
        let slack = f64::from(self.high - self.low) * 1e-6;
        input.len() == original.len()
            && input.iter().all(|value| (self.low..=self.high).contains(value))
            && self.norm.distance(original, input) <= f64::from(self.epsilon) + slack
    }
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;

    #[test_case(0.1, 0.0, 1.0 => true; "pixels")]
    #[test_case(1.0, 0.0, 1.0 => true; "as far as can be")]
    #[test_case(8.0, 0.0, 1.0 => false; "in the units of bytes")]
    #[test_case(0.0, 0.0, 1.0 => false; "nothing")]
    #[test_case(-0.1, 0.0, 1.0 => false; "less than nothing")]
    #[test_case(f32::NAN, 0.0, 1.0 => false; "no number")]
    #[test_case(0.1, 1.0, 0.0 => false; "a range the wrong way round")]
    #[test_case(0.1, 0.0, f32::INFINITY => false; "a range without end")]
    #[test_case(0.1, f32::MIN, f32::MAX => false; "a range wider than numbers go")]
    fn threats(epsilon: f32, low: f32, high: f32) -> bool {
        Threat::new(Norm::Linf, epsilon, low, high).is_ok()
    }

    #[test_case(&[0.5, 0.5], true; "the sample itself")]
    #[test_case(&[0.6, 0.4], true; "at the border")]
    #[test_case(&[0.61, 0.5], false; "too far in one number")]
    #[test_case(&[f32::NAN, 0.5], false; "no number")]
    #[test_case(&[0.5], false; "another width")]
    fn allowed(input: &[f32], allowed: bool) {
        let threat = Threat::new(Norm::Linf, 0.1, 0.0, 1.0).unwrap();
        assert_eq!(threat.allows(&[0.5, 0.5], input), allowed);
    }

    #[test]
    fn a_move_stays_within_the_range() {
        let threat = Threat::new(Norm::Linf, 0.2, 0.0, 1.0).unwrap();
        assert!(threat.moved(0.9, 1.0) <= 1.0 && threat.moved(0.1, -1.0) >= 0.0);
        assert!(!threat.allows(&[0.95], &[1.1]), "near, but no pixel");
        let unlimited = threat.unlimited();
        assert!(unlimited.allows(&[0.0], &[1.0]));
    }

    #[test]
    fn distances() {
        assert!((Norm::L2.distance(&[0.0, 0.0], &[3.0, 4.0]) - 5.0).abs() < 1e-12);
        assert!((Norm::Linf.distance(&[0.0, 0.0], &[3.0, 4.0]) - 4.0).abs() < 1e-12);
    }
}
