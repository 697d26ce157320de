//! Reads who gives what to the accounts of models, page by page, and has it judged. Reads only: of all the bindings of a
//! cluster those are kept that mean such an account, and only their roles are read.

use std::{collections::BTreeMap, fmt::Debug};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding};
use kube::{Api, Resource, api::ListParams};
use serde::de::DeserializeOwned;

use super::super::{Context, Error};
use crate::policy::{
    World,
    rbac::{self, Accounts, Binding, Excess, RoleName},
};

/// How many bindings are read at once.
const PAGE: u32 = 500;
/// How many roles are asked for at the same time.
const AT_ONCE: usize = 8;

/// What the accounts hold beyond the policies' ceilings, and by which chain.
pub(super) async fn rights(
    context: &Context,
    accounts: &Accounts,
    world: &World,
) -> Result<Vec<Excess>, Error> {
    if !world.rules.iter().any(|rules| rules.isolation.ceiling.is_some()) || accounts.is_empty() {
        return Ok(Vec::new());
    }
    let client = &context.client;
    let mut bindings =
        given::<RoleBinding>(Api::all(client.clone()), accounts, "the cluster's RoleBindings").await?;
    let everywhere =
        given::<ClusterRoleBinding>(Api::all(client.clone()), accounts, "the ClusterRoleBindings");
    bindings.extend(everywhere.await?);
    let roles = roles(context, &bindings).await?;
    Ok(rbac::audit(accounts, &bindings, &roles, world))
}

/// The bindings of a kind that mean one of these accounts.
async fn given<K>(api: Api<K>, accounts: &Accounts, what: &'static str) -> Result<Vec<Binding>, Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Into<Binding>,
{
    let mut params = ListParams::default().limit(PAGE);
    let mut found = Vec::new();
    loop {
        let page = api.list(&params).await;
        let page = page.map_err(|source| Error::Gather { what, source })?;
        let bindings = page.items.into_iter().map(Into::into);
        found.extend(bindings.filter(|binding| rbac::means_any(binding, accounts)));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(found),
        }
        tokio::task::yield_now().await;
    }
}

/// What each role gives that a binding names. One that is not there gives nothing.
async fn roles(
    context: &Context,
    bindings: &[Binding],
) -> Result<BTreeMap<RoleName, Vec<PolicyRule>>, Error> {
    let mut names: Vec<RoleName> = bindings
        .iter()
        .filter_map(|binding| binding.role.clone())
        .collect();
    names.sort();
    names.dedup();
    let reads = stream::iter(names).map(async |name| {
        let rules = role(context, &name).await?;
        Ok::<_, Error>(rules.map(|rules| (name, rules)))
    });
    let read: Vec<Option<_>> = reads.buffer_unordered(AT_ONCE).try_collect().await?;
    Ok(read.into_iter().flatten().collect())
}

async fn role(context: &Context, role: &RoleName) -> Result<Option<Vec<PolicyRule>>, Error> {
    let found = match &role.namespace {
        Some(namespace) => {
            let found = context.api::<Role>(namespace).get_opt(&role.name).await;
            found.map(|role| role.map(|role| role.rules))
        }
        None => {
            let found = Api::<ClusterRole>::all(context.client.clone())
                .get_opt(&role.name)
                .await;
            found.map(|role| role.map(|role| role.rules))
        }
    };
    let found = found.map_err(|source| Error::Gather {
        what: "a role that is bound to the account of a model",
        source,
    })?;
    Ok(found.map(Option::unwrap_or_default))
}
