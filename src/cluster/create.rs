//! Makes an object under a name that says what it is for: one that is there already is not touched.
//! So what is made once is made once, however many ask for it.

use std::fmt::Debug;

use kube::{Api, Resource, ResourceExt as _, api::PostParams};
use serde::{Serialize, de::DeserializeOwned};

use crate::api::FIELD_MANAGER;

/// The attempt to make an object failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot create {kind} {name}")]
pub struct CreateError {
    kind: String,
    name: String,
    #[source]
    source: kube::Error,
}

impl CreateError {
    /// The API server's answer.
    pub fn cause(&self) -> &kube::Error {
        &self.source
    }
}

/// What became of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Created<K> {
    /// It was made; this is how the API server has it.
    Done(K),
    /// The name is taken, by whatever that is.
    Exists,
}

/// Makes one object.
pub async fn create<K>(api: &Api<K>, object: &K) -> Result<Created<K>, CreateError>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
{
    let params = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    match api.create(&params, object).await {
        Ok(created) => Ok(Created::Done(created)),
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(Created::Exists),
        Err(source) => Err(CreateError {
            kind: K::kind(&()).into(),
            name: object.name_any(),
            source,
        }),
    }
}
