//! What the accounts of each model hold beyond policies' ceilings, for that model's own status. Bounded, and remembered with the
//! number under which it was first found, so that only models of which something else was found are looked at.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use futures::Stream;
use k8s_openapi::api::core::v1::ObjectReference;
use tokio::sync::watch;

use super::super::world::paced;
use crate::{
    evidence::{Effect, Failure, Finding, Reason, RuleId, Verdict},
    policy::{
        World,
        rbac::{Account, Chain, Excess},
    },
};

/// At most so many bindings are told of one model.
const MOST: usize = 8;
/// Many models change together, when a group is bound most of all.
const BETWEEN: Duration = Duration::from_secs(1);

/// The models that run under each account, and where each is.
pub(super) type Runs = BTreeSet<(Account, String)>;

/// One binding that gives the account of a model too much, under one policy.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::controller) struct Beyond {
    /// What the model's status says of it. It stops nothing: what an account may do is no fault of the model's.
    pub finding: Finding,
    /// The binding.
    pub binding: ObjectReference,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    beyond: Arc<Vec<Beyond>>,
}

type Models = HashMap<(String, String), Entry>;

/// What was found of each model that was looked at, by namespace and name.
#[derive(Debug, Default)]
pub(in crate::controller) struct Excesses(watch::Sender<(u64, Models)>);

impl Excesses {
    /// What was found of this model; none before it was looked at.
    pub(in crate::controller) fn of(&self, namespace: &str, model: &str) -> Option<Arc<Vec<Beyond>>> {
        let held = self.0.borrow();
        let entry = held.1.get(&(namespace.to_owned(), model.to_owned()))?;
        Some(entry.beyond.clone())
    }

    /// The number under which it was first found; nought before.
    pub(in crate::controller) fn epoch(&self, namespace: &str, model: &str) -> u64 {
        let held = self.0.borrow();
        let entry = held.1.get(&(namespace.to_owned(), model.to_owned()));
        entry.map_or(0, |entry| entry.number)
    }

    /// An item when something else was found of a model.
    pub(in crate::controller) fn changes(&self) -> impl Stream<Item = ()> + Send + 'static {
        paced(self.0.subscribe(), BETWEEN)
    }

    /// Takes in what was found.
    pub(super) fn tell(&self, found: BTreeMap<(String, String), Vec<Beyond>>) {
        self.0.send_if_modified(|(number, models)| {
            let next = *number + 1;
            let mut changed = false;
            models.retain(|model, _| found.contains_key(model));
            for (model, beyond) in found {
                let same = models.get(&model).is_some_and(|entry| *entry.beyond == beyond);
                if !same {
                    changed = true;
                    let entry = Entry {
                        number: next,
                        beyond: Arc::new(beyond),
                    };
                    models.insert(model, entry);
                }
            }
            if changed {
                *number = next;
            }
            changed
        });
    }
}

/// What is told of each model in whose namespace a policy has a ceiling: also that there is nothing.
pub(super) fn by_model(
    runs: &Runs,
    found: &[Excess],
    world: &World,
) -> BTreeMap<(String, String), Vec<Beyond>> {
    let mut by_account: BTreeMap<&Account, Vec<&Excess>> = BTreeMap::new();
    for excess in found {
        by_account.entry(&excess.account).or_default().push(excess);
    }
    let limits = |namespace: &str| {
        let mut policies = world.policies_of(namespace);
        policies.any(|rules| rules.isolation.ceiling.is_some())
    };
    let limited: BTreeSet<&str> = world
        .namespaces
        .keys()
        .map(String::as_str)
        .filter(|namespace| limits(namespace))
        .collect();
    let mut models: BTreeMap<(String, String), Vec<Beyond>> = BTreeMap::new();
    for (account, model) in runs {
        if !limited.contains(account.namespace.as_str()) {
            continue;
        }
        let told = models
            .entry((account.namespace.clone(), model.clone()))
            .or_default();
        for excess in by_account.get(account).into_iter().flatten() {
            told.extend(excess.chains.iter().map(|chain| beyond(excess, chain)));
        }
        told.truncate(MOST);
    }
    models
}

fn beyond(excess: &Excess, chain: &Chain) -> Beyond {
    let Chain {
        text,
        rights,
        namespace,
        binding,
    } = chain;
    let message = format!(
        "{} may {rights}, for {text}: take it back, or add it to isolation.rbac.ceiling",
        excess.account
    );
    let kind = if namespace.is_some() {
        "RoleBinding"
    } else {
        "ClusterRoleBinding"
    };
    Beyond {
        finding: Finding {
            rule: RuleId::IsolationRbac,
            policy: Some(excess.policy.clone()),
            // Whoever binds is refused where that is enforced. What is bound already is told, and stops no model.
            effect: excess.effect.max(Effect::Warn),
            verdict: Verdict::Fail,
            reason: Some(Reason::RightsExceeded),
            message: Failure::new(Reason::RightsExceeded, message).message,
            waived_by: None,
        },
        binding: ObjectReference {
            api_version: Some("rbac.authorization.k8s.io/v1".into()),
            kind: Some(kind.into()),
            namespace: namespace.clone(),
            name: Some(binding.clone()),
            ..ObjectReference::default()
        },
    }
}

#[cfg(test)]
mod tests;
