//! The command line as people and scripts meet it: the real binary on real folders and a real registry.
//! Models are signed by the official signer and pushed by `oras`; what the library does is tested where it is.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects by failing"
)]

mod testbed;

#[path = "cli/artifacts.rs"]
mod artifacts;
#[path = "cli/copies.rs"]
mod copies;
#[path = "cli/evaluations.rs"]
mod evaluations;
#[path = "cli/folders.rs"]
mod folders;
#[path = "cli/models.rs"]
mod models;
#[path = "cli/surface.rs"]
mod surface;
#[path = "cli/terminal.rs"]
mod terminal;
