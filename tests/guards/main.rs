//! The chart's guards on a real API server, which is where they run: what they refuse with which words, and what they let
//! through. Nothing of ours runs beside it, no operator and no webhook: that is when the guards have to hold.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects by failing"
)]

#[path = "../testbed/mod.rs"]
mod testbed;

mod adopted;
mod breakglass;
mod cluster;
mod namespaces;
mod owners;
mod pods;
mod runs;
mod verdicts;
mod waivers;
mod workloads;
