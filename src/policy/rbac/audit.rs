//! Which accounts of models hold more than policies allow, whoever gave it to them and when. Bounded: of each policy and
//! account the worst is told, with the chain that gives it, and how many bindings there are like it.

use std::collections::BTreeMap;

use k8s_openapi::api::rbac::v1::PolicyRule;

use super::{Account, Accounts, Binding, Reach, Right, RoleName, judge::told};
use crate::{
    evidence::{Effect, RuleId},
    policy::{Rules, World},
};

/// What an account holds beyond a policy's ceiling.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Excess {
    /// The policy, as findings call it.
    pub policy: String,
    /// What the policy does about it.
    pub effect: Effect,
    /// Who holds it.
    pub account: Account,
    /// A model that runs under it.
    pub model: String,
    /// What gives it: the binding, the role, and by what name the binding means the account.
    pub chain: String,
    /// The rights, for a sentence.
    pub rights: String,
    /// How many bindings give it something beyond the ceiling.
    pub bindings: usize,
    dangerous: bool,
}

/// Looks at what each account holds. `roles`: the rules of each role that a binding names, those of aggregated ones as the API
/// server has put them together; one that is not there gives nothing.
pub fn audit(
    accounts: &Accounts,
    bindings: &[Binding],
    roles: &BTreeMap<RoleName, Vec<PolicyRule>>,
    world: &World,
) -> Vec<Excess> {
    let by_namespace = by_namespace(accounts, world);
    let mut beyond: BTreeMap<(&RoleName, bool, usize), Vec<Right>> = BTreeMap::new();
    let mut found: BTreeMap<(usize, &Account), Excess> = BTreeMap::new();
    for binding in bindings {
        let Some((role, rules)) = binding.role.as_ref().and_then(|role| roles.get_key_value(role)) else {
            continue;
        };
        // Two subjects of a binding may mean one account: it is one binding that gives it.
        let mut held: BTreeMap<(usize, &Account), String> = BTreeMap::new();
        for (reach, named) in binding.reaches() {
            for (policy, account) in meant(&reach, &by_namespace) {
                held.entry((policy, account)).or_insert_with(|| named.clone());
            }
        }
        for ((policy, account), named) in held {
            let (Some(its), Some(model)) = (world.rules.get(policy), accounts.get(account)) else {
                continue;
            };
            let paths = binding.gives_paths();
            let rights = beyond.entry((role, paths, policy)).or_insert_with(|| {
                let ceiling = its.isolation.ceiling.as_ref();
                ceiling.map_or_else(Vec::new, |ceiling| ceiling.exceeded(rules, paths))
            });
            let Some(worst) = rights.first() else { continue };
            let dangerous = worst.danger().is_some();
            let count = found.get(&(policy, account)).map_or(0, |known| known.bindings) + 1;
            match found.get_mut(&(policy, account)) {
                Some(known) if known.dangerous || !dangerous => known.bindings = count,
                _ => {
                    let excess = Excess {
                        policy: its.policy.clone(),
                        effect: its.effect_of(RuleId::IsolationRbac),
                        account: account.clone(),
                        model: model.clone(),
                        chain: format!("{binding} gives {role} to {named}"),
                        rights: told(rights),
                        bindings: count,
                        dangerous,
                    };
                    found.insert((policy, account), excess);
                }
            }
        }
    }
    found.into_values().collect()
}

/// Whether a subject of the binding means one of these accounts.
pub fn means_any(binding: &Binding, accounts: &Accounts) -> bool {
    binding.reaches().any(|(reach, _)| match reach {
        Reach::One(account) => accounts.contains_key(&account),
        Reach::Namespace(namespace) => {
            let first = Account {
                namespace: namespace.clone(),
                name: String::new(),
            };
            let next = accounts.range(first..).next();
            next.is_some_and(|(account, _)| account.namespace == namespace)
        }
        Reach::Everybody => !accounts.is_empty(),
    })
}

/// The accounts of a namespace, and which policies, by their place in the world, have a ceiling over it.
type Limited<'a> = BTreeMap<&'a str, (Vec<&'a Account>, Vec<usize>)>;

fn by_namespace<'a>(accounts: &'a Accounts, world: &World) -> Limited<'a> {
    let mut all = Limited::new();
    for account in accounts.keys() {
        let (its, _) = all.entry(&account.namespace).or_default();
        its.push(account);
    }
    for (namespace, (_, policies)) in &mut all {
        let limits = |rules: &&Rules| rules.isolation.ceiling.is_some();
        let selected: Vec<&Rules> = world.policies_of(namespace).filter(limits).collect();
        let places = world.rules.iter().enumerate();
        *policies = places
            .filter(|(_, rules)| selected.iter().any(|one| std::ptr::eq(*one, *rules)))
            .map(|(at, _)| at)
            .collect();
    }
    all
}

/// The accounts that are meant, each with each policy that has a ceiling over it.
fn meant<'a>(reach: &Reach, all: &Limited<'a>) -> Vec<(usize, &'a Account)> {
    let places: Vec<_> = match reach {
        Reach::One(Account { namespace, .. }) | Reach::Namespace(namespace) => {
            all.get(namespace.as_str()).into_iter().collect()
        }
        Reach::Everybody => all.values().collect(),
    };
    let pairs = places.into_iter().flat_map(|(accounts, policies)| {
        let held = accounts.iter().filter(|account| reach.holds(account));
        held.flat_map(|account| policies.iter().map(|policy| (*policy, *account)))
    });
    pairs.collect()
}
