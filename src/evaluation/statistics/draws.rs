//! The chance that statistics need: numbered streams of one seed, none of which an attack shares.

use crate::evaluation::random::{Purpose, Random};

/// A stream of draws.
#[derive(Debug)]
pub(super) struct Draws(Random);

impl Draws {
    /// The stream of this number among those of the seed. Streams of one seed have nothing to do with each other.
    pub fn new(seed: u64, stream: u64) -> Self {
        Self(Random::of_stream(seed, Purpose::Statistics, stream))
    }

    /// Evenly from `0..count`, without bias; 0 when there is nothing to choose.
    pub fn below(&mut self, count: usize) -> usize {
        self.0.below(count)
    }

    /// Evenly from 0 to below 1, in steps of 2⁻⁵³.
    pub fn unit(&mut self) -> f64 {
        self.0.uniform()
    }

    /// Puts a list into an order that is evenly drawn from all of them.
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        self.0.shuffle(list);
    }
}
