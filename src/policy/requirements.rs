//! What a verification must look for, so that every policy of a namespace can be judged by it.
//! It only collects keys; which of them are enough is each policy's own question.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Rules, World, checks::signature::is_enough};
use crate::{
    api::v1alpha1::TrustedKey,
    evidence::{Digest, Effect, KeyFingerprint, RuleId},
};

/// At most this many keys are looked for in one verification; policies that need more deny, and say so.
pub const MAX_KEYS: usize = 64;

/// The keys of every signer of every enforced policy that selects the namespace: each key once, in the order of
/// fingerprints, at most [`MAX_KEYS`]. Becomes `ArtifactVerification.spec.keys`; empty when no such policy selects it or
/// no signer is usable.
pub fn required_keys(world: &World, namespace: &str) -> Vec<TrustedKey> {
    keys(world, namespace, true)
}

/// The keys of which each alone is enough for every enforced policy that selects the namespace, for content of this digest
/// where it is known: what a verifier may trust that looks for one signature and asks no policy. Never more of them than
/// [`required_keys`], and none where a policy asks for more than one signature.
pub fn sufficient_keys(
    world: &World,
    namespace: &str,
    digest: Option<Digest>,
    now: Timestamp,
) -> Vec<TrustedKey> {
    let policies = world.policies_of(namespace);
    let enforced: Vec<&Rules> = policies.filter(|rules| is_enforced(rules)).collect();
    let enough = |key: &TrustedKey| {
        enforced
            .iter()
            .all(|rules| is_enough(key.fingerprint, digest, rules, now))
    };
    let mut keys = required_keys(world, namespace);
    keys.retain(enough);
    keys
}

/// The same as [`required_keys`] for policies that are not enforced, when they ask for a key that the others do not. It is a
/// question of its own then: one more key is another verification, and for that no enforced policy may have to wait.
pub fn observed_keys(world: &World, namespace: &str) -> Option<Vec<TrustedKey>> {
    let (required, observed) = (keys(world, namespace, true), keys(world, namespace, false));
    let asked = |key: &TrustedKey| required.iter().any(|known| known.fingerprint == key.fingerprint);
    (!observed.iter().all(asked)).then_some(observed)
}

fn keys(world: &World, namespace: &str, enforced: bool) -> Vec<TrustedKey> {
    let policies = world.policies_of(namespace);
    let mut keys = union(policies.filter(|rules| is_enforced(rules) == enforced));
    keys.truncate(MAX_KEYS);
    keys
}

/// Whether what the policy says of a model's signatures can deny.
pub fn is_enforced(rules: &Rules) -> bool {
    rules.effect_of(RuleId::ModelSignature) == Effect::Enforce
}

/// Each key of these policies once. Of the names one key goes by, the first in the alphabet is kept, so that the order of
/// policies changes nothing.
pub(super) fn union<'a>(rules: impl Iterator<Item = &'a Rules>) -> Vec<TrustedKey> {
    let mut keys: BTreeMap<KeyFingerprint, &TrustedKey> = BTreeMap::new();
    for key in rules
        .flat_map(|rules| &rules.signers)
        .flat_map(|signer| &signer.keys)
    {
        let kept = keys.entry(key.fingerprint).or_insert(key);
        *kept = (*kept).min(key);
    }
    keys.into_values().cloned().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        api::GOVERNED_LABEL,
        policy::{
            NamespaceSelector,
            samples::{broken_signer, key, rules, signer},
        },
    };

    fn world(rules: Vec<Rules>, governed: &str) -> World {
        let labels = BTreeMap::from([(GOVERNED_LABEL.to_owned(), governed.to_owned())]);
        World {
            rules,
            namespaces: [("bank".to_owned(), labels)].into(),
            ..World::default()
        }
    }

    #[test]
    fn every_key_of_every_selecting_policy_once_and_in_order() {
        let world = world(
            vec![
                rules(vec![signer("b", &[3, 1])]),
                rules(vec![signer("a", &[2, 1])]),
            ],
            "true",
        );
        assert_eq!(required_keys(&world, "bank"), [key(1), key(2), key(3)]);
    }

    #[test]
    fn one_key_under_two_names_is_asked_for_once_whatever_the_order_of_policies() {
        let renamed = TrustedKey {
            name: "another/name".into(),
            ..key(1)
        };
        let mut other = rules(vec![signer("b", &[])]);
        other.signers[0].keys.push(renamed.clone());
        let policies = vec![rules(vec![signer("a", &[1])]), other];
        let reversed = policies.iter().rev().cloned().collect();
        assert_eq!(
            required_keys(&world(policies, "true"), "bank"),
            std::slice::from_ref(&renamed)
        );
        assert_eq!(required_keys(&world(reversed, "true"), "bank"), [renamed]);
    }

    #[test]
    fn a_policy_that_does_not_select_asks_for_nothing() {
        let (elsewhere, _) =
            NamespaceSelector::compile(&serde_json::from_str(r#"{"matchLabels": {"a": "b"}}"#).unwrap());
        let other = Rules {
            namespaces: elsewhere,
            ..rules(vec![signer("a", &[1])])
        };
        assert_eq!(required_keys(&world(vec![other], "true"), "bank"), []);
    }

    fn audit(keys: &[u8]) -> Rules {
        Rules {
            model_effect: Effect::Audit,
            ..rules(vec![signer("auditor", keys)])
        }
    }

    #[test]
    fn policies_that_are_not_enforced_ask_for_their_keys_by_themselves() {
        let world = world(vec![rules(vec![signer("a", &[1])]), audit(&[2, 1])], "true");
        assert_eq!(required_keys(&world, "bank"), [key(1)]);
        assert_eq!(observed_keys(&world, "bank"), Some(vec![key(1), key(2)]));
    }

    #[test]
    fn keys_that_are_asked_for_anyway_are_no_second_question() {
        let world = world(vec![rules(vec![signer("a", &[1, 2])]), audit(&[2])], "true");
        assert_eq!(observed_keys(&world, "bank"), None);
    }

    #[test]
    fn a_policy_of_another_namespace_asks_for_nothing() {
        let theirs = Rules {
            namespaces: NamespaceSelector::Its("shop".into()),
            ..rules(vec![signer("a", &[1])])
        };
        assert_eq!(required_keys(&world(vec![theirs], "true"), "bank"), []);
    }

    #[test]
    fn nothing_is_asked_for_where_nothing_is_governed() {
        let policies = || vec![rules(vec![signer("a", &[1]), broken_signer("b")])];
        assert_eq!(required_keys(&world(policies(), "True"), "bank"), []);
        assert_eq!(required_keys(&world(policies(), "true"), "shop"), []);
    }

    #[test]
    fn no_more_than_a_verification_can_hold() {
        let many: Vec<u8> = (0..100).collect();
        let world = world(vec![rules(vec![signer("a", &many)])], "true");
        assert_eq!(required_keys(&world, "bank").len(), MAX_KEYS);
    }
}
