//! Chance that can be repeated: one stream of numbers for each sample and purpose, all from one seed.
//! What a sample gets depends on the seed and its place in the data alone, never on which others are measured with it.

use chacha20::{
    ChaCha8Rng,
    rand_core::{Rng as _, SeedableRng as _},
};

/// What a stream is for: two purposes never share numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The order in which samples are taken.
    Order,
    /// The Square Attack.
    Square,
    /// `HopSkipJump`.
    HopSkipJump,
    /// The run at the largest ε.
    Sanity,
    /// Damage of this kind.
    Corruption(u8),
    /// Permutations and drawing again.
    Statistics,
}

/// A stream of random numbers: `ChaCha` with eight rounds.
#[derive(Debug)]
pub struct Random(ChaCha8Rng);

impl Random {
    /// The stream of a sample, by its place in the data, or of a whole run with 0.
    pub fn new(seed: u64, purpose: Purpose, sample: usize) -> Self {
        Self::of_stream(seed, purpose, sample as u64)
    }

    /// The stream of this number.
    pub fn of_stream(seed: u64, purpose: Purpose, stream: u64) -> Self {
        let mut key = [0; 32];
        let word = match purpose {
            Purpose::Order => 1,
            Purpose::Square => 2,
            Purpose::HopSkipJump => 3,
            Purpose::Sanity => 4,
            Purpose::Statistics => 5,
            Purpose::Corruption(kind) => 0x100 + u64::from(kind),
        };
        for (byte, value) in key
            .iter_mut()
            .zip(seed.to_le_bytes().into_iter().chain(word.to_le_bytes()))
        {
            *byte = value;
        }
        let mut random = ChaCha8Rng::from_seed(key);
        random.set_stream(stream);
        Self(random)
    }

    /// A number below `bound`, each as likely as the others; 0 when `bound` is 0.
    ///
    /// Lemire's multiplication with rejection, so that the order of a run stays the same whatever a library changes.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = bound as u64;
        if bound == 0 {
            return 0;
        }
        let reject = bound.wrapping_neg() % bound;
        loop {
            let wide = u128::from(self.0.next_u64()) * u128::from(bound);
            let [low, high] = [wide & u128::from(u64::MAX), wide >> 64];
            if low >= u128::from(reject) {
                return usize::try_from(high).unwrap_or(0);
            }
        }
    }

    /// Puts a list into an order that is evenly drawn from all of them (Fisher and Yates).
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for last in (1..list.len()).rev() {
            list.swap(last, self.below(last + 1));
        }
    }

    /// One or minus one.
    pub fn sign(&mut self) -> f32 {
        if self.0.next_u32() & 1 == 0 { 1.0 } else { -1.0 }
    }

    /// A number in [0, 1), of 53 random bits.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are what a double holds")]
    pub fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A number of the standard normal distribution (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

/// The places 0 to `count` in the order that the seed gives them.
pub fn order(seed: u64, count: usize) -> Vec<usize> {
    let mut random = Random::new(seed, Purpose::Order, 0);
    let mut places: Vec<usize> = (0..count).collect();
    random.shuffle(&mut places);
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_that_of_its_seed_for_ever() {
        assert_eq!(order(7, 10), order(7, 10));
        assert_ne!(order(7, 1000), order(8, 1000));
        let mut sorted = order(7, 1000);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1000).collect::<Vec<_>>());
        assert!(order(7, 0).is_empty());
    }

    #[test]
    fn every_order_is_as_likely() {
        let mut seen = std::collections::BTreeMap::new();
        for stream in 0..6000 {
            let mut list = [0, 1, 2];
            Random::of_stream(1, Purpose::Order, stream).shuffle(&mut list);
            *seen.entry(list).or_insert(0_u32) += 1;
        }
        // Five standard deviations.
        assert!(
            seen.len() == 6 && seen.values().all(|count| count.abs_diff(1000) < 145),
            "{seen:?}"
        );
    }

    #[test]
    fn samples_and_purposes_have_streams_of_their_own() {
        let first = |purpose, sample| Random::new(7, purpose, sample).0.next_u64();
        assert_eq!(first(Purpose::Square, 3), first(Purpose::Square, 3));
        assert_ne!(first(Purpose::Square, 3), first(Purpose::Square, 4));
        assert_ne!(first(Purpose::Square, 3), first(Purpose::Sanity, 3));
    }

    #[test]
    fn numbers_are_spread_as_they_should_be() {
        let mut random = Random::new(1, Purpose::Square, 0);
        let mut counts = [0_u32; 3];
        let (mut sum, mut squares) = (0.0, 0.0);
        for _ in 0..30_000 {
            counts[random.below(3)] += 1;
            let normal = random.normal();
            sum += normal;
            squares += normal * normal;
        }
        // Five standard deviations.
        assert!(
            counts.iter().all(|&count| count.abs_diff(10_000) < 410),
            "{counts:?}"
        );
        assert!((sum / 30_000.0).abs() < 0.03 && (squares / 30_000.0 - 1.0).abs() < 0.05);
        assert_eq!((random.below(0), random.below(1)), (0, 0));
    }
}
