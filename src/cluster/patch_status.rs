//! Writes the status of our own kinds by server-side apply, and only when it changed.
//! It compares with what was read, so that a steady state writes nothing.

use kube::{
    Api, Resource, ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

/// The attempt to write a status failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the status of {name}")]
pub struct StatusError {
    name: String,
    #[source]
    source: kube::Error,
}

impl StatusError {
    /// The API server's answer.
    pub fn cause(&self) -> &kube::Error {
        &self.source
    }
}

/// Applies `new` as the fields of the status that `manager` owns, unless it equals `old`. Returns whether it wrote.
///
/// The object's uid goes with the patch: a status never lands on a namesake that replaced the object.
pub async fn patch_status<K, S>(
    api: &Api<K>,
    object: &K,
    manager: &str,
    old: Option<&S>,
    new: &S,
) -> Result<bool, StatusError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
    S: Serialize + PartialEq,
{
    if old == Some(new) {
        return Ok(false);
    }
    let patch = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": { "name": object.name_any(), "uid": object.uid() },
        "status": new,
    });
    api.patch_status(
        &object.name_any(),
        &PatchParams::apply(manager).force(),
        &Patch::Apply(patch),
    )
    .await
    .map_err(|source| StatusError {
        name: object.name_any(),
        source,
    })?;
    Ok(true)
}
