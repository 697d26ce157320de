//! Reads who gives what to the accounts of models, page by page, and has it judged. Reads only: of all the bindings of a
//! cluster those are kept that mean such an account, and only their roles are read.

use std::{collections::BTreeMap, fmt::Debug};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, PolicyRule, RoleBinding};
use kube::{Api, Resource, api::ListParams};
use serde::de::DeserializeOwned;

use super::super::{Context, Error, pages::next_page, roles::rules_of};
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
        match next_page(params, &page.metadata) {
            Some(next) => params = next,
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
        let rules = rules_of(&context.client, &name).await;
        let rules = rules.map_err(|source| Error::Gather {
            what: "a role that is bound to the account of a model",
            source,
        })?;
        Ok::<_, Error>(rules.map(|rules| (name, rules)))
    });
    let read: Vec<Option<_>> = reads.buffer_unordered(AT_ONCE).try_collect().await?;
    Ok(read.into_iter().flatten().collect())
}
