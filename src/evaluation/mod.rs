//! How good a model is, in numbers that carry their own uncertainty: data with labels, engines that answer, attacks that ask.
//! It measures and calculates; whether a number is good enough is for others to decide, and it knows no Kubernetes.

pub mod attack;
pub mod corruption;
pub mod dataset;
pub mod engine;
mod image;
pub mod measure;
pub mod model;
pub mod random;
pub mod statistics;
#[cfg(test)]
mod testing;
