//! The decision: what the policies say of a model, the same in the operator and on the command line.
//! Pure: it reads nothing, waits for nothing, gets the clock as an argument and never imports `artifact`.
//!
//! ```text
//! (Cluster)DeploymentPolicy ─▶ compile ─▶ Rules ─▶ World ─┐
//! TrustRoot ─▶ trust::read ────────┘                      ├─▶ evaluate ─▶ Decision
//! ModelDeployment ─▶ accept ─▶ Reference ─▶ Facts ────────┘
//! ```

pub mod accept;
pub mod checks;
pub mod hardening;
pub mod objects;
pub mod opening;
pub mod pods;
pub mod rbac;
pub mod robustness;
pub mod trust;

mod ceiling;
mod compile;
mod decision;
mod facts;
mod isolation;
mod request;
mod requirements;
mod rules;
mod select;
mod verdicts;
mod waiver;
mod world;
mod written;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod samples;

pub use accept::accept;
pub use compile::{DEFAULT_GRACE_PERIOD, compile, unreadable};
pub use decision::{Decision, MAX_FINDINGS, evaluate, foregone, severity};
pub use facts::{Declared, Evidence, Facts, ServerFacts, Verification};
pub use isolation::{IsolationRules, NetworkRule, NetworkWish, isolated_namespaces, network_wish};
pub use request::{Request, as_it_serves, folder_hash, pinned, source_hash};
pub use requirements::{MAX_KEYS, is_enforced, observed_keys, required_keys, sufficient_keys};
pub use rules::{ApprovalRule, Exemption, Problem, Rules, SignerRule};
pub use select::{NamespaceSelector, selecting};
pub use verdicts::Verifications;
pub use waiver::{WaiverRule, waived_until};
pub use world::World;
pub use written::Policy;
