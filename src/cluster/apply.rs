//! Server-side apply of what the operator makes for a model, never over objects that are not the model's.
//! An apply that would change nothing is not sent: a steady state writes nothing.

use std::{
    collections::HashMap,
    fmt::Debug,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Mutex,
};

use kube::{
    Api, Resource, ResourceExt as _,
    api::{Patch, PatchParams},
    core::{ClusterResourceScope, NamespaceResourceScope},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::api::FIELD_MANAGER;

/// The label of what the operator makes.
const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "probity");

/// What became of one object.
#[derive(Debug, Clone, PartialEq)]
pub enum Applied<K> {
    /// It is as planned; this is how the API server has it.
    Done(K),
    /// An object of that name exists and is not the model's; it was left alone.
    NameTaken,
}

/// The attempt to make an object failed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Looking at the object that is there failed.
    #[error("cannot read {kind} {name}")]
    Read {
        /// Kind of the object.
        kind: String,
        /// Name of the object.
        name: String,
        /// The API server's answer.
        #[source]
        source: kube::Error,
    },
    /// Applying failed.
    #[error("cannot apply {kind} {name}")]
    Apply {
        /// Kind of the object.
        kind: String,
        /// Name of the object.
        name: String,
        /// The API server's answer.
        #[source]
        source: kube::Error,
    },
    /// Deleting failed.
    #[error("cannot delete {kind} {name}")]
    Delete {
        /// Kind of the object.
        kind: String,
        /// Name of the object.
        name: String,
        /// The API server's answer.
        #[source]
        source: kube::Error,
    },
}

impl ApplyError {
    /// The API server's answer.
    pub fn cause(&self) -> &kube::Error {
        match self {
            Self::Read { source, .. } | Self::Apply { source, .. } | Self::Delete { source, .. } => source,
        }
    }
}

/// Applies planned objects and remembers what it applied, so that the same plan over the same object is not sent twice.
#[derive(Default)]
pub struct Applier {
    remembered: Mutex<HashMap<String, (u64, u64)>>,
}

impl Debug for Applier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Applier").finish_non_exhaustive()
    }
}

impl Applier {
    /// Reads the object of this name, whoever it belongs to.
    pub async fn read<K>(&self, api: &Api<K>, name: &str) -> Result<Option<K>, ApplyError>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        api.get_opt(name).await.map_err(|source| ApplyError::Read {
            kind: K::kind(&()).into(),
            name: name.into(),
            source,
        })
    }

    /// Brings one object to its plan.
    ///
    /// `existing` is what [`Self::read`] just gave; `owner` the uid of the model. An existing object whose controller is
    /// not `owner` is left alone. The uid goes with the patch, so that an object replaced in between is a conflict; a new
    /// object is applied without force, so that one made by somebody else in between is a conflict too.
    pub async fn apply<K>(
        &self,
        api: &Api<K>,
        existing: Option<&K>,
        owner: &str,
        desired: K,
    ) -> Result<Applied<K>, ApplyError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
    {
        if existing.is_some_and(|existing| !is_controlled_by(existing, owner)) {
            return Ok(Applied::NameTaken);
        }
        self.send(api, existing, desired).await
    }

    /// The same of an object of the whole cluster, which no object of a namespace can own: what has our label is ours.
    pub async fn apply_unowned<K>(
        &self,
        api: &Api<K>,
        existing: Option<&K>,
        desired: K,
    ) -> Result<Applied<K>, ApplyError>
    where
        K: Resource<DynamicType = (), Scope = ClusterResourceScope>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
    {
        if existing.is_some_and(|existing| !is_ours(existing)) {
            return Ok(Applied::NameTaken);
        }
        self.send(api, existing, desired).await
    }

    async fn send<K>(
        &self,
        api: &Api<K>,
        existing: Option<&K>,
        mut desired: K,
    ) -> Result<Applied<K>, ApplyError>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
    {
        let (kind, name) = (K::kind(&()).into_owned(), desired.name_any());
        let mut params = PatchParams::apply(FIELD_MANAGER);
        let key = format!("{kind}/{}/{name}", desired.namespace().unwrap_or_default());
        let plan = fingerprint(&desired);
        if let Some(existing) = existing {
            if self.remembers(&key, (plan, fingerprint(existing))) {
                return Ok(Applied::Done(existing.clone()));
            }
            desired.meta_mut().uid.clone_from(&existing.meta().uid);
            params = params.force();
        }
        let applied = api
            .patch(&name, &params, &Patch::Apply(&desired))
            .await
            .map_err(|source| ApplyError::Apply { kind, name, source })?;
        self.remember(key, (plan, fingerprint(&applied)));
        Ok(Applied::Done(applied))
    }

    /// Deletes one object of ours, by uid; one that is gone already is fine.
    pub async fn delete<K>(&self, api: &Api<K>, object: &K) -> Result<(), ApplyError>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let params = kube::api::DeleteParams {
            preconditions: Some(kube::api::Preconditions {
                uid: object.uid(),
                resource_version: None,
            }),
            ..Default::default()
        };
        match api.delete(&object.name_any(), &params).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
            Err(source) => Err(ApplyError::Delete {
                kind: K::kind(&()).into(),
                name: object.name_any(),
                source,
            }),
        }
    }

    fn remembers(&self, key: &str, pair: (u64, u64)) -> bool {
        self.remembered
            .lock()
            .is_ok_and(|map| map.get(key) == Some(&pair))
    }

    fn remember(&self, key: String, pair: (u64, u64)) {
        if let Ok(mut map) = self.remembered.lock() {
            map.insert(key, pair);
        }
    }
}

/// Whether the object's controlling owner reference carries this uid.
pub fn is_controlled_by<K: Resource>(object: &K, uid: &str) -> bool {
    object
        .owner_references()
        .iter()
        .any(|owner| owner.controller == Some(true) && owner.uid == uid)
}

/// Whether the object says that this operator manages it, as everything says that it makes.
pub fn is_ours<K: Resource>(object: &K) -> bool {
    object.labels().get(MANAGED_BY.0).map(String::as_str) == Some(MANAGED_BY.1)
}

/// A hash of what people and controllers may change about an object; status and bookkeeping are left out.
fn fingerprint<K: Serialize>(object: &K) -> u64 {
    let mut value = serde_json::to_value(object).unwrap_or(Value::Null);
    if let Some(root) = value.as_object_mut() {
        root.remove("status");
        if let Some(meta) = root.get_mut("metadata").and_then(Value::as_object_mut) {
            for field in ["resourceVersion", "managedFields", "generation"] {
                meta.remove(field);
            }
            if let Some(annotations) = meta.get_mut("annotations").and_then(Value::as_object_mut) {
                // Written by the Deployment controller at every rollout.
                annotations.remove("deployment.kubernetes.io/revision");
            }
        }
    }
    let mut hasher = DefaultHasher::new();
    value.to_string().hash(&mut hasher);
    hasher.finish()
}
