//! A thin registry client that trusts only digests, and what it takes to read a signed model through it.
//! It reads registries and nothing else: it knows no Kubernetes, no files and no policy.
//!
//! Everything an answer says is a hint until the digest of its bytes has been compared: media types, lengths,
//! `Docker-Content-Digest`. Everything that is read has a cap and a deadline.

mod answer;
mod auth;
mod blob;
mod client;
mod credentials;
mod hosts;
mod manifest;
mod model_pack;
mod relay;
mod unique;
mod verify;

pub use answer::{MAX_RETRY_AFTER, RegistryError};
pub use blob::Blob;
pub use client::{Client, Timeouts};
pub use credentials::{Basic, Credentials};
pub use hosts::{Host, HostError, HostPolicy};
pub use manifest::{Descriptor, MAX_LAYERS, MAX_MANIFEST, Manifest, VerifiedBytes};
pub use model_pack::{ModelContent, ModelFile};
pub use relay::{Relay, key_of};
pub use verify::verify_oci;
