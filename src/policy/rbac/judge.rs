//! May this binding, or this role, be written? Not when an account that a model runs under would come to hold more than a
//! policy's ceiling. What it holds already is for the audit: whoever takes rights away is never refused.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::rbac::v1::PolicyRule;

use super::{Account, Accounts, Binding, Ceiling, Reach, Right, RoleName};
use crate::{
    evidence::{Effect, Finding, Reason, RuleId, Verdict},
    policy::{Decision, Rules, World, decision::pass},
};

/// At most so many rights are named in a sentence.
const NAMED: usize = 3;

/// What the role of a binding gives, as far as that is known.
#[derive(Debug, Clone, PartialEq)]
pub enum Given {
    /// These rules.
    Rules(Vec<PolicyRule>),
    /// There is no such role.
    Missing,
    /// It could not be read, or not whom it is given to; why.
    Unread(String),
}

/// A binding that somebody writes.
#[derive(Debug, Clone, Copy)]
pub struct NewBinding<'a> {
    /// As far as it says something new: [`Binding::beyond`].
    pub binding: &'a Binding,
    /// What its role gives.
    pub given: &'a Given,
}

/// A role that somebody writes.
#[derive(Debug, Clone, Copy)]
pub struct NewRole<'a> {
    /// The role.
    pub role: &'a RoleName,
    /// What it is to give.
    pub rules: &'a [PolicyRule],
    /// What it gives now.
    pub before: &'a [PolicyRule],
    /// The bindings of its namespace that give it, or why they could not be read.
    pub bindings: Result<&'a [Binding], &'a str>,
}

/// Which accounts have to be looked up before these bindings can be judged, whether a model runs under them; none when no
/// policy says anything of whom they mean.
pub fn spoken_of(bindings: &[Binding], world: &World) -> Option<BTreeSet<Account>> {
    let mut concerned = false;
    let mut accounts = BTreeSet::new();
    for (reach, _) in bindings.iter().flat_map(Binding::reaches) {
        let namespaces = limited(&reach, world);
        concerned |= !namespaces.is_empty();
        if let Reach::One(account) = reach
            && !namespaces.is_empty()
        {
            accounts.insert(account);
        }
    }
    concerned.then_some(accounts)
}

/// Judges a binding. `accounts`: those of [`spoken_of`] that models run under.
///
/// A role of the namespace that is not there yet is judged when it is made. Nobody is asked when a `ClusterRole` is: until
/// it is there, the binding is refused.
pub fn judge_binding(new: NewBinding<'_>, accounts: &Accounts, world: &World) -> Decision {
    let binding = new.binding;
    let (Some(role), subject) = (&binding.role, binding.to_string()) else {
        return passed("it gives no role that there could be");
    };
    let rules = match new.given {
        Given::Rules(rules) => rules,
        Given::Missing if role.namespace.is_some() => {
            return passed("its role is not there yet, and is judged when it is made");
        }
        Given::Missing => {
            let why =
                format!("{role} does not exist, and who makes it is not asked: make it before {subject}");
            return unknown(std::slice::from_ref(binding), world, &why);
        }
        Given::Unread(why) => return unknown(std::slice::from_ref(binding), world, why),
    };
    let beyond = |ceiling: &Ceiling| ceiling.exceeded(rules, binding.gives_paths());
    let through = format!("through {role}: bind a role that gives less");
    judge(
        &subject,
        &through,
        std::slice::from_ref(binding),
        accounts,
        world,
        beyond,
    )
}

/// Judges a role of a namespace. `accounts`: those of [`spoken_of`] that models run under.
pub fn judge_role(new: NewRole<'_>, accounts: &Accounts, world: &World) -> Decision {
    let NewRole {
        role, rules, before, ..
    } = new;
    let bindings = match new.bindings {
        Ok(bindings) => bindings,
        Err(why) => {
            let everybody = everybody_of(role.namespace.as_deref().unwrap_or_default());
            return unknown(&[everybody], world, why);
        }
    };
    let beyond = |ceiling: &Ceiling| {
        let mut rights = ceiling.exceeded(rules, false);
        rights.retain(|right| !gave(before, rules, right));
        rights
    };
    let names: Vec<String> = bindings.iter().take(NAMED).map(ToString::to_string).collect();
    let through = format!("through {}: leave it out of the role", names.join(", "));
    judge(&role.to_string(), &through, bindings, accounts, world, beyond)
}

/// Whether the role gave this right before.
fn gave(before: &[PolicyRule], rules: &[PolicyRule], right: &Right) -> bool {
    match right {
        // Nobody reads it: it is the same only if nothing is new.
        Right::Countless(_) => rules.iter().all(|rule| before.contains(rule)),
        right => before.iter().any(|rule| right.is_given_by(rule)),
    }
}

/// What stands for bindings that could not be read.
fn everybody_of(namespace: &str) -> Binding {
    Binding {
        namespace: Some(namespace.to_owned()),
        name: String::new(),
        role: None,
        subjects: vec![k8s_openapi::api::rbac::v1::Subject {
            kind: "Group".into(),
            name: format!("system:serviceaccounts:{namespace}"),
            ..Default::default()
        }],
    }
}

/// One finding for each policy with a ceiling over whom the bindings mean.
fn judge(
    subject: &str,
    through: &str,
    bindings: &[Binding],
    accounts: &Accounts,
    world: &World,
    beyond: impl Fn(&Ceiling) -> Vec<Right>,
) -> Decision {
    let mut found: BTreeMap<(&str, Effect), Finding> = BTreeMap::new();
    for (reach, named) in bindings.iter().flat_map(Binding::reaches) {
        for (namespace, rules, ceiling) in limited(&reach, world) {
            let Some(whom) = whom(&reach, &named, namespace, accounts) else {
                continue;
            };
            if found
                .get(&key(rules))
                .is_some_and(|one| one.verdict == Verdict::Fail)
            {
                continue;
            }
            let rights = beyond(ceiling);
            let finding = if rights.is_empty() {
                finding(
                    rules,
                    Verdict::Pass,
                    None,
                    format!("{subject} gives {whom} nothing beyond the ceiling"),
                )
            } else {
                let message = format!(
                    "{subject} would let {whom} {}, {through}, or add it to isolation.rbac.ceiling",
                    told(&rights)
                );
                finding(rules, Verdict::Fail, Some(Reason::RightsExceeded), message)
            };
            found.insert(key(rules), finding);
        }
    }
    if found.is_empty() {
        return passed("no model runs under whom it means");
    }
    Decision::of(found.into_values().collect())
}

/// Refused for now by every policy that has a say.
fn unknown(bindings: &[Binding], world: &World, why: &str) -> Decision {
    let mut found: BTreeMap<(&str, Effect), Finding> = BTreeMap::new();
    for (reach, _) in bindings.iter().flat_map(Binding::reaches) {
        for (_, rules, _) in limited(&reach, world) {
            let unread = finding(rules, Verdict::Unknown, Some(Reason::NotReadYet), why.to_owned());
            found.insert(key(rules), unread);
        }
    }
    if found.is_empty() {
        return passed("no policy says which rights whom it means may hold");
    }
    Decision::of(found.into_values().collect())
}

/// One finding for each policy. Two of one name, which no cluster has, do not hide each other.
fn key(rules: &Rules) -> (&str, Effect) {
    (&rules.policy, rules.effect_of(RuleId::IsolationRbac))
}

fn finding(rules: &Rules, verdict: Verdict, reason: Option<Reason>, message: String) -> Finding {
    rules.finding(RuleId::IsolationRbac, verdict, reason, message)
}

fn passed(why: &str) -> Decision {
    Decision::of(vec![pass(RuleId::IsolationRbac, why)])
}

/// The ceilings over whom this means: for each namespace with some of them the policies that have one.
fn limited<'a>(reach: &Reach, world: &'a World) -> Vec<(&'a str, &'a Rules, &'a Ceiling)> {
    let meant = |namespace: &str| match reach {
        Reach::One(account) => account.namespace == namespace,
        Reach::Namespace(one) => one == namespace,
        Reach::Everybody => true,
    };
    let mut limited = Vec::new();
    for namespace in world.namespaces.keys().filter(|namespace| meant(namespace)) {
        let policies = world.policies_of(namespace);
        limited.extend(
            policies.filter_map(|rules| Some((namespace.as_str(), rules, rules.isolation.ceiling.as_ref()?))),
        );
    }
    limited
}

/// Whom of the namespace it means, for a sentence; none when that is no model's account. A group has the accounts of models
/// that come later, too.
fn whom(reach: &Reach, named: &str, namespace: &str, accounts: &Accounts) -> Option<String> {
    match reach {
        Reach::One(account) => {
            let model = accounts.get(account)?;
            Some(format!("{account}, under which ModelDeployment {model} runs,"))
        }
        Reach::Namespace(_) | Reach::Everybody => Some(format!(
            "the accounts of models in namespace {namespace} ({named})"
        )),
    }
}

/// The rights, for a sentence: the most dangerous by name, and how many more there are.
pub(super) fn told(rights: &[Right]) -> String {
    let one = |right: &Right| match right.danger() {
        Some(danger) => format!("{right} (which {danger})"),
        None => right.to_string(),
    };
    let named: Vec<String> = rights.iter().take(NAMED).map(one).collect();
    let more = rights.len().saturating_sub(NAMED);
    if more == 0 {
        named.join(", ")
    } else {
        format!("{} and {more} more", named.join(", "))
    }
}
