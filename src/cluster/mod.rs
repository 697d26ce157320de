//! The only writers: server-side apply of what the operator makes, patches of our own status, admission's certificates.
//! They decide nothing; what to write comes from a plan.

mod apply;
mod certificates;
mod create;
mod evict;
mod gate;
mod patch_status;

pub use apply::{Applied, Applier, ApplyError, is_controlled_by, is_ours};
pub use certificates::{BundleError, CERTIFICATES_MANAGER, Published, Webhooks, keep_secret, publish_bundle};
pub use create::{CreateError, Created, create};
pub use evict::{EvictError, Evicted, evict};
pub use gate::{GateError, set_gate};
pub use patch_status::{StatusError, patch_status};
