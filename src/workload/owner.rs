//! Who controls an object, as its owner references say: at most one of them does.
//! It reads what the object claims; whether that is true is for whoever asks.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use crate::api::v1alpha1::WorkloadRef;

/// The reference to the controller.
pub fn controller(owners: &[OwnerReference]) -> Option<&OwnerReference> {
    owners.iter().find(|owner| owner.controller == Some(true))
}

impl From<&OwnerReference> for WorkloadRef {
    fn from(owner: &OwnerReference) -> Self {
        Self {
            api_version: owner.api_version.clone(),
            kind: owner.kind.clone(),
            name: owner.name.clone(),
        }
    }
}
