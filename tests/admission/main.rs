//! Admission as the API server meets it: over real TLS, with every kind of bad client, and through a real API server
//! while certificates change. Who judges is the tests' own, but in `written`; here is only that every question is answered.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test says what it expects by failing"
)]

mod answers;
mod door;
mod faults;
mod kserve;
mod networks;
mod operator;
mod renewal;
mod rights;
mod standard;
#[path = "../testbed/mod.rs"]
mod testbed;
mod waivers;
mod written;
