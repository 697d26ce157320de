//! Values that every layer speaks: digests, references, failures, what a verification found.
//! Plain data: nothing here reads, decides or knows Kubernetes.

mod copy_report;
mod decimal;
mod digest;
mod failure;
mod finding;
mod key;
mod origin;
mod reference;
mod report;

pub use copy_report::{CopyReport, MAX_REPORT};
pub use decimal::{Decimal, DecimalError};
pub use digest::{Digest, DigestError};
pub use failure::{Class, Failure, Reason};
pub use finding::{Effect, Finding, RuleId, Verdict, WaivedBy};
pub use key::{KeyArgument, NO_RSA, der_of_pem};
pub use origin::Origin;
pub use reference::{Reference, ReferenceError};
pub use report::{ArtifactReport, FileDifference, KeyFingerprint, MAX_DIFFERENCES, Outcome, SignerIdentity};
