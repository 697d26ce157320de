//! What the rights of accounts come to, for the status of each policy. Pure, and bounded however many accounts there are.

use crate::{
    api::v1alpha1::{AuditedAccount, AuditedRights},
    policy::{
        Rules, World,
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
    let selected = |namespace: &str| {
        let labels = world.namespaces.get(namespace);
        labels.is_some_and(|labels| rules.namespaces.selects(namespace, labels))
    };
    let judged = accounts
        .keys()
        .filter(|account| selected(&account.namespace))
        .count();
    let its: Vec<&Excess> = found
        .iter()
        .filter(|excess| excess.policy == rules.policy)
        .collect();
    let mut examples: Vec<AuditedAccount> = its.iter().map(|excess| example(excess)).collect();
    examples.sort();
    examples.truncate(MOST);
    Some(AuditedRights {
        judged: whole(judged),
        exceeding: whole(its.len()),
        examples: (!examples.is_empty()).then_some(examples),
    })
}

fn example(excess: &Excess) -> AuditedAccount {
    AuditedAccount {
        namespace: excess.account.namespace.clone(),
        name: excess.account.name.clone(),
        model: excess.model.clone(),
        rights: short(&excess.rights, LONGEST_RIGHTS),
        chain: short(&excess.chain, LONGEST_CHAIN),
        bindings: whole(excess.bindings),
    }
}

fn whole(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// At most so many characters of it.
fn short(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}
