//! What an audit comes to: so many pods, and for each policy how many it says no to and which for example. Pure, and bounded
//! however many pods there are.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    api::v1alpha1::{AuditedPod, AuditedPods},
    evidence::{Effect, Verdict},
    policy::{Rules, pods::Audited},
};

/// At most this many pods are named for one policy.
const MOST: usize = 10;

/// What there is to say of some pods.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// How many pods there are of each verdict.
    verdicts: BTreeMap<Verdict, i64>,
    /// What each policy says of them, by its name in findings.
    policies: BTreeMap<String, Share>,
}

/// One policy's part.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Share {
    judged: i64,
    refused: i64,
    would_refuse: i64,
    /// Whether it only would be refused, and which it is.
    examples: BTreeSet<(bool, AuditedPod)>,
}

impl Share {
    fn add(&mut self, other: &Self) {
        self.judged += other.judged;
        self.refused += other.refused;
        self.would_refuse += other.would_refuse;
        for example in &other.examples {
            self.show(example);
        }
    }

    /// Names the pod, unless there are enough that come before it.
    fn show(&mut self, example: &(bool, AuditedPod)) {
        let full = self.examples.len() >= MOST;
        if full && self.examples.last().is_some_and(|last| last <= example) {
            return;
        }
        self.examples.insert(example.clone());
        if self.examples.len() > MOST {
            self.examples.pop_last();
        }
    }

    fn told(&self) -> AuditedPods {
        let examples: Vec<AuditedPod> = self.examples.iter().map(|(_, pod)| pod.clone()).collect();
        AuditedPods {
            judged: whole(self.judged),
            refused: whole(self.refused),
            would_refuse: whole(self.would_refuse),
            examples: (!examples.is_empty()).then_some(examples),
        }
    }
}

fn whole(count: i64) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

impl Report {
    /// Takes in one pod. `rules` are the policies that select its namespace.
    pub fn pod(&mut self, namespace: &str, name: &str, audited: &Audited, rules: &[&Rules]) {
        *self.verdicts.entry(audited.verdict).or_default() += 1;
        for rules in rules {
            // As a rule it is there already.
            if !self.policies.contains_key(&rules.policy) {
                self.policies.insert(rules.policy.clone(), Share::default());
            }
            let Some(share) = self.policies.get_mut(&rules.policy) else {
                continue;
            };
            share.judged += 1;
            let Some(said) = audited.by(&rules.policy) else {
                continue;
            };
            let would = said.effect != Effect::Enforce;
            *(if would {
                &mut share.would_refuse
            } else {
                &mut share.refused
            }) += 1;
            let pod = AuditedPod {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                reason: said.reason.clone(),
            };
            share.show(&(would, pod));
        }
    }

    /// Takes in what is said of other pods.
    pub fn add(&mut self, other: &Self) {
        for (verdict, count) in &other.verdicts {
            *self.verdicts.entry(*verdict).or_default() += count;
        }
        for (policy, share) in &other.policies {
            self.policies.entry(policy.clone()).or_default().add(share);
        }
    }

    /// How many pods there are of this verdict.
    pub fn count(&self, verdict: Verdict) -> i64 {
        self.verdicts.get(&verdict).copied().unwrap_or_default()
    }

    /// How many pods there are.
    pub fn pods(&self) -> i64 {
        self.verdicts.values().sum()
    }

    /// What the policy of this name says.
    pub fn of(&self, policy: &str) -> AuditedPods {
        self.policies.get(policy).map(Share::told).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
