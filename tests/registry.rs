//! Our reader meets their writers: models signed by `model_signing` and pushed by `oras` to a real registry, read
//! directly and through a proxy that misbehaves in every way a registry can.
//! Nothing here is mocked but what no real registry does: lies, floods, and token realms on foreign hosts.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects by failing"
)]

mod fault_proxy;
mod testbed;

#[path = "registry/answers.rs"]
mod answers;
#[path = "registry/artifacts.rs"]
mod artifacts;
#[path = "registry/fetching.rs"]
mod fetching;
#[path = "registry/relaying.rs"]
mod relaying;
#[path = "registry/secrets.rs"]
mod secrets;
#[path = "registry/verifying.rs"]
mod verifying;
