//! What the rights of accounts come to, for the status of each policy. Pure, and bounded however many accounts there are.

use crate::{
    api::v1alpha1::{AuditedAccount, AuditedNetworkPolicies, AuditedNetworkPolicy, AuditedRights},
    policy::{
        Rules, World,
        opening::Opener,
        rbac::{Accounts, Excess},
    },
};

/// At most this many accounts are named for one policy.
const MOST: usize = 10;
/// What tenants call things is quoted, and kept short.
const LONGEST_RIGHTS: usize = 512;
const LONGEST_CHAIN: usize = 1024;

/// What the policy says of these accounts; none when it says nothing of rights.
pub fn told(rules: &Rules, accounts: &Accounts, found: &[Excess], world: &World) -> Option<AuditedRights> {
    rules.isolation.ceiling.as_ref()?;
    let judged = accounts
        .keys()
        .filter(|account| selects(rules, &account.namespace, world))
        .count();
    let its: Vec<&Excess> = found
        .iter()
        .filter(|excess| excess.policy == rules.policy)
        .collect();
    let mut examples: Vec<AuditedAccount> = its.iter().filter_map(|excess| example(excess)).collect();
    examples.sort();
    examples.truncate(MOST);
    Some(AuditedRights {
        judged: whole(judged),
        exceeding: whole(its.len()),
        examples: (!examples.is_empty()).then_some(examples),
    })
}

/// Which network policies open what this policy wants closed; none when it wants nothing closed.
pub fn opened<'a>(
    rules: &Rules,
    openers: impl Iterator<Item = &'a Opener>,
    world: &World,
) -> Option<AuditedNetworkPolicies> {
    rules.isolation.network.as_ref()?;
    let mut its: Vec<&Opener> = openers
        .filter(|opener| selects(rules, &opener.namespace, world))
        .collect();
    its.sort();
    let examples = its.iter().take(MOST).map(|opener| AuditedNetworkPolicy {
        namespace: opener.namespace.clone(),
        kind: opener.kind.clone(),
        name: opener.name.clone(),
        model: opener.model.clone(),
        allows: short(&opener.fields, LONGEST_RIGHTS),
    });
    let examples: Vec<AuditedNetworkPolicy> = examples.collect();
    Some(AuditedNetworkPolicies {
        opening: whole(its.len()),
        examples: (!examples.is_empty()).then_some(examples),
    })
}

fn selects(rules: &Rules, namespace: &str, world: &World) -> bool {
    let labels = world.namespaces.get(namespace);
    labels.is_some_and(|labels| rules.namespaces.selects(namespace, labels))
}

fn example(excess: &Excess) -> Option<AuditedAccount> {
    let worst = excess.chains.first()?;
    Some(AuditedAccount {
        namespace: excess.account.namespace.clone(),
        name: excess.account.name.clone(),
        model: excess.model.clone(),
        rights: short(&worst.rights, LONGEST_RIGHTS),
        chain: short(&worst.text, LONGEST_CHAIN),
        bindings: whole(excess.bindings),
    })
}

fn whole(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// At most so many characters of it.
fn short(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}
