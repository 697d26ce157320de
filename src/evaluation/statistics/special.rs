//! The special functions behind intervals and p-values, accurate in both tails and for millions of trials.
//! Iterations go on until the sum stands still: a fixed number of them is wrong without a word where samples are many.

/// A continued fraction or series that has not settled by then never will.
const STEPS: u32 = 1_000_000;
/// Stands for zero in a denominator.
const TINY: f64 = 1e-300;

/// ln B(a, b) for a, b > 0.
pub(super) fn ln_beta(a: f64, b: f64) -> f64 {
    libm::lgamma(a) + libm::lgamma(b) - libm::lgamma(a + b)
}

/// The two tails of a beta distribution: (P(X ≤ x), P(X > x)), each without cancellation. `a`, `b` > 0, 0 ≤ `x` ≤ 1.
///
/// # Source
/// DLMF 8.17.22, evaluated as by Lentz (1976).
pub(super) fn beta_tails(a: f64, b: f64, x: f64) -> (f64, f64) {
    if x <= 0.0 {
        return (0.0, 1.0);
    }
    if x >= 1.0 {
        return (1.0, 0.0);
    }
    // The fraction converges quickly only below the mean.
    if x > (a + 1.0) / (a + b + 2.0) {
        let (lower, upper) = beta_below_mean(b, a, 1.0 - x);
        (upper, lower)
    } else {
        beta_below_mean(a, b, x)
    }
}

fn beta_below_mean(a: f64, b: f64, x: f64) -> (f64, f64) {
    let front = (a * x.ln() + b * libm::log1p(-x) - ln_beta(a, b)).exp() / a;
    let mut fraction = Fraction::new();
    fraction.add(1.0, 1.0);
    fraction.add(-(a + b) * x / (a + 1.0), 1.0);
    for step in 1..STEPS {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let change = fraction.add(even, 1.0) * fraction.add(odd, 1.0);
        if (change - 1.0).abs() < 1e-15 {
            break;
        }
    }
    let lower = (front * fraction.value).clamp(0.0, 1.0);
    (lower, 1.0 - lower)
}

/// P(X > x) of a gamma distribution with shape `a` > 0 and scale 1.
///
/// # Source
/// DLMF 8.11.4 below the mean, 8.9.2 above it, evaluated as by Lentz (1976).
pub(super) fn gamma_upper(a: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 1.0;
    }
    let front = (a * x.ln() - x - libm::lgamma(a)).exp();
    if x < a + 1.0 {
        let mut term = 1.0 / a;
        let mut sum = term;
        for step in 1..STEPS {
            term *= x / (a + f64::from(step));
            sum += term;
            if term < sum * 1e-16 {
                break;
            }
        }
        return (1.0 - front * sum).clamp(0.0, 1.0);
    }
    let first = x + 1.0 - a;
    let mut fraction = Fraction::new();
    fraction.add(1.0, first);
    for step in 1..STEPS {
        let m = f64::from(step);
        let change = fraction.add(-m * (m - a), first + 2.0 * m);
        if (change - 1.0).abs() < 1e-15 {
            break;
        }
    }
    (front * fraction.value).clamp(0.0, 1.0)
}

/// P(|X| > x) of a χ² distribution with so many degrees of freedom; 1 when there are none.
pub(super) fn chi_square_upper(degrees: f64, x: f64) -> f64 {
    if degrees <= 0.0 {
        return 1.0;
    }
    gamma_upper(degrees / 2.0, x / 2.0)
}

/// The z with P(Z > z) = `tail` of a standard normal distribution, for 0 < `tail` ≤ ½.
pub(super) fn normal_upper_quantile(tail: f64) -> f64 {
    boundary(0.0, 40.0, |z| {
        libm::erfc(z * std::f64::consts::FRAC_1_SQRT_2) / 2.0 > tail
    })
}

/// P(|Z| ≤ …): the mean of |X| for a normal X.
///
/// # Source
/// Leone, Nelson and Nottingham 1961, the folded normal distribution.
pub(super) fn folded_normal_mean(mean: f64, deviation: f64) -> f64 {
    if deviation <= 0.0 {
        return mean.abs();
    }
    let z = mean / deviation;
    let peak = deviation * (2.0 / std::f64::consts::PI).sqrt() * (-z * z / 2.0).exp();
    peak + mean * libm::erf(z * std::f64::consts::FRAC_1_SQRT_2)
}

/// P(K > x) of Kolmogorov's limit distribution.
///
/// # Source
/// Kolmogorov 1933; below x = 1 the transformed series, which converges there.
pub(super) fn kolmogorov_upper(x: f64) -> f64 {
    use std::f64::consts::PI;
    if x <= 0.0 {
        return 1.0;
    }
    if x < 1.0 {
        let odd = [1.0, 3.0, 5.0, 7.0, 9.0];
        let sum: f64 = odd
            .iter()
            .map(|k: &f64| (-k * k * PI * PI / (8.0 * x * x)).exp())
            .sum();
        return (1.0 - (2.0 * PI).sqrt() / x * sum).clamp(0.0, 1.0);
    }
    let sum: f64 = (1..=10)
        .map(|k| {
            let k = f64::from(k);
            let sign = if k % 2.0 == 0.0 { -1.0 } else { 1.0 };
            sign * (-2.0 * k * k * x * x).exp()
        })
        .sum();
    (2.0 * sum).clamp(0.0, 1.0)
}

/// Where in `low..high` a predicate that holds first and then no longer stops holding, to the last bit: the largest
/// number seen for which it holds, or `low`.
pub(super) fn boundary(low: f64, high: f64, holds: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (low, high);
    loop {
        let middle = low + (high - low) / 2.0;
        if middle <= low || middle >= high {
            return low;
        }
        if holds(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
}

/// A continued fraction a₁/(b₁ + a₂/(b₂ + …)), evaluated from the front.
struct Fraction {
    value: f64,
    above: f64,
    below: f64,
}

impl Fraction {
    const fn new() -> Self {
        Self {
            value: TINY,
            above: TINY,
            below: 0.0,
        }
    }

    /// One more term; says by what it changes the value.
    fn add(&mut self, numerator: f64, denominator: f64) -> f64 {
        self.below = 1.0 / nonzero(denominator + numerator * self.below);
        self.above = nonzero(denominator + numerator / self.above);
        let change = self.above * self.below;
        self.value *= change;
        change
    }
}

fn nonzero(x: f64) -> f64 {
    if x.abs() < TINY { TINY } else { x }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::statistics::testing::{Fixture, assert_close};

    #[test]
    fn beta_tails_are_those_of_scipy() {
        for row in Fixture::special().table("beta") {
            let [a, b, x, lower, upper] = row[..] else {
                panic!("{row:?}")
            };
            let tails = beta_tails(a, b, x);
            assert_close(tails.0, lower, 1e-9);
            assert_close(tails.1, upper, 1e-9);
        }
    }

    #[test]
    fn gamma_and_normal_and_kolmogorov_are_those_of_scipy() {
        let fixture = Fixture::special();
        for row in fixture.table("chi_square") {
            let [degrees, x, upper] = row[..] else {
                panic!("{row:?}")
            };
            assert_close(chi_square_upper(degrees, x), upper, 1e-11);
        }
        for row in fixture.table("normal") {
            let [tail, z] = row[..] else { panic!("{row:?}") };
            assert_close(normal_upper_quantile(tail), z, 1e-14);
        }
        for row in fixture.table("kolmogorov") {
            let [x, upper] = row[..] else { panic!("{row:?}") };
            assert_close(kolmogorov_upper(x), upper, 1e-12);
        }
        for row in fixture.table("folded_normal") {
            let [mean, deviation, folded] = row[..] else {
                panic!("{row:?}")
            };
            assert_close(folded_normal_mean(mean, deviation), folded, 1e-12);
        }
    }

    #[test]
    fn edges_are_numbers() {
        assert_eq!(beta_tails(2.0, 3.0, 0.0), (0.0, 1.0));
        assert_eq!(beta_tails(2.0, 3.0, 1.0), (1.0, 0.0));
        assert_close(gamma_upper(3.0, 0.0), 1.0, 0.0);
        assert_close(chi_square_upper(0.0, 0.0), 1.0, 0.0);
        assert_close(kolmogorov_upper(0.0), 1.0, 0.0);
        assert_close(kolmogorov_upper(40.0), 0.0, 0.0);
        assert_close(folded_normal_mean(-0.25, 0.0), 0.25, 0.0);
    }
}
