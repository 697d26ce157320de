//! What a role gives, whichever kind of role it is. Reads only.

#![expect(
    clippy::disallowed_types,
    reason = "the edge: here the client is made, gathered with, and handed to cluster"
)]

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role};
use kube::{Api, Client};

use crate::policy::rbac::RoleName;

/// The rules of this role; none when there is no such role.
pub async fn rules_of(client: &Client, role: &RoleName) -> Result<Option<Vec<PolicyRule>>, kube::Error> {
    let rules = match &role.namespace {
        Some(namespace) => {
            let api: Api<Role> = Api::namespaced(client.clone(), namespace);
            api.get_opt(&role.name).await?.map(|role| role.rules)
        }
        None => {
            let api: Api<ClusterRole> = Api::all(client.clone());
            api.get_opt(&role.name).await?.map(|role| role.rules)
        }
    };
    Ok(rules.map(Option::unwrap_or_default))
}
