//! The only writers: server-side apply of what the operator makes, and patches of our own status.
//! They decide nothing; what to write comes from a plan.

mod apply;
mod patch_status;

pub use apply::{Applied, Applier, ApplyError, is_controlled_by};
pub use patch_status::{StatusError, patch_status};
