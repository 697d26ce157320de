//! Asks that a pod ends, by the eviction API: disruption budgets have the last word.

use k8s_openapi::{
    api::{core::v1::Pod, policy::v1::Eviction},
    apimachinery::pkg::apis::meta::v1::{DeleteOptions, Preconditions},
};
use kube::{Api, core::ObjectMeta};

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evicted {
    /// It ends.
    Done,
    /// It is not there any more.
    Gone,
    /// A disruption budget forbids it just now.
    HeldUp,
}

/// Evicting a pod failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot evict the pod {name}")]
pub struct EvictError {
    name: String,
    #[source]
    source: kube::Error,
}

impl EvictError {
    /// The API server's answer.
    pub fn cause(&self) -> &kube::Error {
        &self.source
    }
}

/// Evicts the pod of this name, if it still is the one with this uid.
pub async fn evict(api: &Api<Pod>, name: &str, uid: &str) -> Result<Evicted, EvictError> {
    let failed = |source| EvictError {
        name: name.to_owned(),
        source,
    };
    let eviction = Eviction {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        delete_options: Some(DeleteOptions {
            preconditions: Some(Preconditions {
                uid: Some(uid.to_owned()),
                resource_version: None,
            }),
            ..DeleteOptions::default()
        }),
    };
    let body = serde_json::to_vec(&eviction).map_err(|error| failed(kube::Error::SerdeError(error)))?;
    let request = kube::core::Request::new(api.resource_url()).create_subresource(
        "eviction",
        name,
        &kube::api::PostParams::default(),
        body,
    );
    let request = request.map_err(|error| failed(kube::Error::BuildRequest(error)))?;
    match api.clone().into_client().request_status::<Pod>(request).await {
        Ok(_) => Ok(Evicted::Done),
        Err(kube::Error::Api(status)) => match status.code {
            // Gone, or another by that name.
            404 | 409 => Ok(Evicted::Gone),
            429 => Ok(Evicted::HeldUp),
            _ => Err(failed(kube::Error::Api(status))),
        },
        Err(error) => Err(failed(error)),
    }
}
