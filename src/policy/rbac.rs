//! Which rights do the accounts of models hold, by which binding, and are they more than policies allow? Pure: roles and
//! bindings come in as values, so that admission and the audit answer the same.
//!
//! ```text
//! RoleBinding, ClusterRoleBinding ─▶ Binding ─┐ reaches accounts
//! Role, ClusterRole ─▶ rules ─▶ Right ────────┴─▶ Ceiling::exceeded ─▶ Finding (admission), Excess (audit)
//! ```

mod audit;
mod binding;
mod ceiling;
mod judge;
#[cfg(test)]
mod properties;
mod right;
#[cfg(test)]
pub(super) mod samples;
#[cfg(test)]
mod tests;

pub use audit::{Chain, Excess, audit, means_any};
pub use binding::{Account, Accounts, Binding, Reach, RoleName};
pub use ceiling::Ceiling;
pub use judge::{Given, NewBinding, NewRole, judge_binding, judge_role, spoken_of};
pub use right::Right;
