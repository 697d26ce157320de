//! The operator against a real API server and a real registry: what it makes of every fault, and what it leaves alone.
//! It runs in this process, with exactly the rights the chart gives it; a test plays the Deployment controller, for there
//! is no node here.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects by failing"
)]

mod fault_proxy;
mod testbed;

#[path = "operator/audit.rs"]
mod audit;
#[path = "operator/content.rs"]
mod content;
#[path = "operator/evaluations.rs"]
mod evaluations;
#[path = "operator/excess.rs"]
mod excess;
#[path = "operator/following.rs"]
mod following;
#[path = "operator/images.rs"]
mod images;
#[path = "operator/isolation.rs"]
mod isolation;
#[path = "operator/lifecycle.rs"]
mod lifecycle;
#[path = "operator/many.rs"]
mod many;
#[path = "operator/names.rs"]
mod names;
#[path = "operator/policies.rs"]
mod policies;
#[path = "operator/relayed.rs"]
mod relayed;
#[path = "operator/relaying.rs"]
mod relaying;
#[path = "operator/repairs.rs"]
mod repairs;
#[path = "operator/reports.rs"]
mod reports;
#[path = "operator/responses.rs"]
mod responses;
#[path = "operator/rights.rs"]
mod rights;
#[path = "operator/secrets.rs"]
mod secrets;
#[path = "operator/shown.rs"]
mod shown;
#[path = "operator/stage.rs"]
mod stage;
#[path = "operator/transport.rs"]
mod transport;
#[path = "operator/trust.rs"]
mod trust;
#[path = "operator/waivers.rs"]
mod waivers;

#[allow(dead_code, reason = "shared with the tests of the registry client")]
#[path = "registry/artifacts.rs"]
mod artifacts;
