//! Whether a model is the signed one: registries, signatures, trees.
//! It knows no Kubernetes.

pub mod oci;
