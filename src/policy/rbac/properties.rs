//! What holds for every policy, role and binding, tried on many.
//! Tests only.

use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Value, json};

use super::{
    Given, NewBinding, NewRole, RoleName, audit, judge_binding, judge_role,
    samples::{accounts, policy, role_binding, rules, world},
};
use crate::{evidence::Effect, policy::Rules};

/// The lists of a rule, in which only a role has a star.
fn rule(star: bool) -> impl Strategy<Value = Value> {
    let words = move |known: &[&'static str]| {
        let mut known = known.to_vec();
        if star {
            known.push("*");
        }
        vec(select(known), 1..3)
    };
    (
        words(&["", "apps", "probity.dev"]),
        words(&["pods", "secrets", "pods/exec"]),
        words(&["get", "create", "bind"]),
        option::weighted(0.3, vec(select(vec!["a", "b"]), 1..3)),
    )
        .prop_map(|(groups, resources, verbs, names)| {
            json!({"apiGroups": groups, "resources": resources, "verbs": verbs, "resourceNames": names})
        })
}

fn role() -> impl Strategy<Value = Value> {
    vec(rule(true), 0..4).prop_map(Value::Array)
}

fn any_policy() -> impl Strategy<Value = Rules> {
    let effect = select(vec![json!(null), json!("Enforce"), json!("Warn"), json!("Audit")]);
    // One ceiling in ten has a rule that cannot be read.
    let ceiling = option::weighted(0.8, vec(prop_oneof![9 => rule(false), 1 => rule(true)], 0..3));
    ("[a-e]", effect, ceiling).prop_map(|(name, effect, ceiling)| {
        let rbac = ceiling.map(|ceiling| json!({"ceiling": ceiling}));
        policy(&name, &json!({"effect": effect, "rbac": rbac}))
    })
}

fn subjects() -> impl Strategy<Value = Value> {
    let subject = select(vec![
        json!({"kind": "ServiceAccount", "name": "digits", "namespace": "bank"}),
        json!({"kind": "ServiceAccount", "name": "other", "namespace": "bank"}),
        json!({"kind": "User", "name": "system:serviceaccount:bank:digits"}),
        json!({"kind": "User", "name": "jane"}),
        json!({"kind": "Group", "name": "system:serviceaccounts:bank"}),
        json!({"kind": "Group", "name": "system:serviceaccounts:wild"}),
        json!({"kind": "Group", "name": "system:authenticated"}),
    ]);
    vec(subject, 0..3).prop_map(Value::Array)
}

fn binds(policies: Vec<Rules>, subjects: &Value, given: &Value) -> bool {
    let binding = role_binding("Role", "r", subjects);
    let given = Given::Rules(rules(given));
    judge_binding(
        NewBinding {
            binding: &binding,
            given: &given,
        },
        &accounts(),
        &world(policies),
    )
    .admits()
}

fn changes(policies: Vec<Rules>, subjects: &Value, before: &Value, after: &Value) -> bool {
    let name = RoleName {
        namespace: Some("bank".into()),
        name: "r".into(),
    };
    let bindings = [role_binding("Role", "r", subjects)];
    let (before, after) = (rules(before), rules(after));
    let new = NewRole {
        role: &name,
        rules: &after,
        before: &before,
        bindings: Ok(&bindings),
    };
    judge_role(new, &accounts(), &world(policies)).admits()
}

fn joined(one: &Value, other: &Value) -> Value {
    one.as_array()
        .into_iter()
        .chain(other.as_array())
        .flatten()
        .cloned()
        .collect()
}

proptest! {
    #[test]
    fn a_further_policy_never_admits_more(
        policies in vec(any_policy(), 0..3), further in any_policy(), subjects in subjects(), before in role(), given in role()
    ) {
        let more: Vec<_> = policies.iter().cloned().chain([further]).collect();
        prop_assert!(!binds(more.clone(), &subjects, &given) || binds(policies.clone(), &subjects, &given));
        prop_assert!(!changes(more, &subjects, &before, &given) || changes(policies, &subjects, &before, &given));
    }

    #[test]
    fn a_role_that_gives_more_is_never_admitted_for_it(
        policies in vec(any_policy(), 1..3), subjects in subjects(), before in role(), given in role(), further in role()
    ) {
        let more = joined(&given, &further);
        prop_assert!(!binds(policies.clone(), &subjects, &more) || binds(policies.clone(), &subjects, &given));
        prop_assert!(!changes(policies.clone(), &subjects, &before, &more) || changes(policies, &subjects, &before, &given));
    }

    #[test]
    fn a_binding_to_more_is_never_admitted_for_it(
        policies in vec(any_policy(), 1..3), subjects in subjects(), further in subjects(), given in role()
    ) {
        let more = joined(&subjects, &further);
        prop_assert!(!binds(policies.clone(), &more, &given) || binds(policies, &subjects, &given));
    }

    /// What admission lets in, the audit does not find.
    #[test]
    fn what_is_let_in_is_not_found(policies in vec(any_policy(), 1..3), subjects in subjects(), given in role()) {
        let binding = role_binding("Role", "r", &subjects);
        let name = RoleName { namespace: Some("bank".into()), name: "r".into() };
        let roles = [(name, rules(&given))].into();
        let found = audit(&accounts(), &[binding], &roles, &world(policies.clone()));
        let enforced = found.iter().any(|one| one.effect == Effect::Enforce);
        prop_assert!(!enforced || !binds(policies, &subjects, &given));
    }
}
