//! Whether a model is the signed one: registries, signatures, trees.
//! It knows no Kubernetes.

pub mod copy;
pub mod directory;
pub mod fetch;
mod folder;
pub mod oci;
pub mod signature;
#[cfg(test)]
mod testing;
pub mod tree;
