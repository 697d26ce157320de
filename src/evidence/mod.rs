//! Values that every layer speaks: digests, references, failures, what a verification found.
//! Plain data: nothing here reads, decides or knows Kubernetes.

mod digest;
mod failure;
mod finding;
mod origin;
mod reference;
mod report;

pub use digest::{Digest, DigestError};
pub use failure::{Class, Failure, Reason};
pub use finding::{Effect, Finding, RuleId, Verdict};
pub use origin::Origin;
pub use reference::{Reference, ReferenceError};
pub use report::{ArtifactReport, FileDifference, KeyFingerprint, MAX_DIFFERENCES, Outcome, SignerIdentity};
