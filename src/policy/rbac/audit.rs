//! Which accounts of models hold more than policies allow, whoever gave it to them and when. Bounded: of each policy and
//! account the worst is told, each with the chain that gives it, and how many bindings there are like it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::api::rbac::v1::PolicyRule;

use super::{Account, Accounts, Binding, Reach, Right, RoleName, judge::told};
use crate::{
    evidence::{Effect, RuleId},
    policy::{Rules, World},
};

/// At most so many bindings are named of one policy and account.
const MOST: usize = 8;

/// A binding that gives an account something beyond a policy's ceiling.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Chain {
    /// In words: the binding, the role, and by what name the binding means the account.
    pub text: String,
    /// The rights, for a sentence.
    pub rights: String,
    /// Where the binding is; none for a `ClusterRoleBinding`.
    pub namespace: Option<String>,
    /// What the binding is called.
    pub binding: String,
}

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
    /// What gives it: the most dangerous first, and not all when there are many.
    pub chains: Vec<Arc<Chain>>,
    /// How many bindings give it something beyond the ceiling.
    pub bindings: usize,
}

/// What is found of one policy and account: its chains, those that are not dangerous last.
#[derive(Default)]
struct Found {
    chains: BTreeSet<(bool, Arc<Chain>)>,
    bindings: usize,
}

impl Found {
    fn add(&mut self, harmless: bool, chain: &Arc<Chain>) {
        self.bindings += 1;
        self.chains.insert((harmless, chain.clone()));
        if self.chains.len() > MOST {
            self.chains.pop_last();
        }
    }
}

/// What a role gives beyond a policy's ceiling.
struct Beyond {
    rights: String,
    harmless: bool,
}

impl Beyond {
    /// None when that is nothing.
    fn of(rights: &[Right]) -> Option<Self> {
        let worst = rights.first()?;
        Some(Self {
            rights: told(rights),
            harmless: worst.danger().is_none(),
        })
    }
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
    let mut beyond: BTreeMap<(&RoleName, bool, usize), Option<Beyond>> = BTreeMap::new();
    let mut found: BTreeMap<(usize, &Account), Found> = BTreeMap::new();
    for binding in bindings {
        let Some((role, rules)) = binding.role.as_ref().and_then(|role| roles.get_key_value(role)) else {
            continue;
        };
        // Two subjects of a binding may mean one account: it is one binding that gives it.
        let mut held: BTreeMap<(usize, &Account), usize> = BTreeMap::new();
        let reaches: Vec<_> = binding.reaches().collect();
        for (at, (reach, _)) in reaches.iter().enumerate() {
            for (policy, account) in meant(reach, &by_namespace) {
                held.entry((policy, account)).or_insert(at);
            }
        }
        let paths = binding.gives_paths();
        let mut chains: BTreeMap<(usize, usize), Arc<Chain>> = BTreeMap::new();
        for ((policy, account), at) in held {
            let (Some(its), Some((_, named))) = (world.rules.get(policy), reaches.get(at)) else {
                continue;
            };
            let given = beyond.entry((role, paths, policy)).or_insert_with(|| {
                let ceiling = its.isolation.ceiling.as_ref()?;
                Beyond::of(&ceiling.exceeded(rules, paths))
            });
            let Some(given) = given else { continue };
            let chain = chains.entry((policy, at)).or_insert_with(|| {
                Arc::new(Chain {
                    text: format!("{binding} gives {role} to {named}"),
                    rights: given.rights.clone(),
                    namespace: binding.namespace.clone(),
                    binding: binding.name.clone(),
                })
            });
            found
                .entry((policy, account))
                .or_default()
                .add(given.harmless, chain);
        }
    }
    let excess = |((policy, account), found): ((usize, &Account), Found)| {
        let its = world.rules.get(policy)?;
        Some(Excess {
            policy: its.policy.clone(),
            effect: its.effect_of(RuleId::IsolationRbac),
            account: account.clone(),
            model: accounts.get(account)?.clone(),
            chains: found.chains.into_iter().map(|(_, chain)| chain).collect(),
            bindings: found.bindings,
        })
    };
    found.into_iter().filter_map(excess).collect()
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
