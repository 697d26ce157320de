//! What holds for every world and every model, tried on many of both.
//! Tests only. Policies are made as people write them and compiled, so that compiling is tried too.

use std::collections::BTreeMap;

use jiff::Timestamp;
use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::json;

use super::{
    Decision, Evidence, Facts, NamespaceSelector, Rules, Verification, World, compile, evaluate,
    samples::{self, OTHER, SUBJECT, key, refused, verified},
    selecting,
    trust::TrustRoots,
};
use crate::{
    api::v1alpha1::ClusterDeploymentPolicy,
    evidence::{Digest, Failure, Reason, Verdict},
};

const KEYS: [u8; 4] = [1, 2, 3, 4];

fn trust() -> TrustRoots {
    let mut keys: BTreeMap<_, _> = KEYS.iter().map(|n| (format!("k{n}"), Ok(key(*n)))).collect();
    keys.insert("rsa".to_owned(), Err("it is RSA".to_owned()));
    [("root".to_owned(), keys)].into()
}

/// A policy as somebody might write it, well or badly.
fn policy() -> impl Strategy<Value = Rules> {
    let keys = vec(select(vec!["k1", "k2", "k3", "k4", "rsa", "gone"]), 1..3);
    let signers = vec(keys, 1..4);
    let selector = select(vec![
        json!({}),
        json!({"matchLabels": {"team": "bank"}}),
        json!({"matchLabels": {"team": "shop"}}),
        json!({"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["shop"]}]}),
        json!({"matchExpressions": [{"key": "team", "operator": "Like", "values": ["shop"]}]}),
    ]);
    let repositories = option::weighted(
        0.3,
        select(vec![
            "registry.example/models/*",
            "registry.example/*",
            "https://x",
        ]),
    );
    let revoked = vec(select(vec![SUBJECT, OTHER]), 0..2);
    ("[a-e]", selector, signers, 0..3_u32, repositories, revoked).prop_map(
        |(name, selector, signers, threshold, repositories, revoked)| {
            let names: Vec<_> = (0..signers.len()).map(|at| format!("s{at}")).collect();
            let definitions: Vec<_> = names
                .iter()
                .zip(signers)
                .map(|(name, keys)| json!({"name": name, "key": {"trustRoot": "root", "keys": keys}}))
                .collect();
            let revoked: Vec<_> = revoked
                .iter()
                .map(|digest| json!({"digest": digest, "reason": "why"}))
                .collect();
            let mut model = json!({"signers": names, "threshold": threshold, "revoked": revoked});
            if let Some(glob) = repositories {
                model["repositories"] = json!([glob]);
            }
            let spec = json!({"namespaceSelector": selector, "signers": definitions, "model": model});
            compile(
                &ClusterDeploymentPolicy::new(&name, serde_json::from_value(spec).unwrap()),
                &trust(),
            )
        },
    )
}

fn unknown() -> impl Strategy<Value = Evidence<Verification>> {
    prop_oneof![
        Just(Evidence::Wait("it is being verified".to_owned())),
        select(Reason::ALL).prop_map(|reason| Evidence::Unknown(Failure::new(reason, "as it was found"))),
    ]
}

fn evidence() -> impl Strategy<Value = Evidence<Verification>> {
    let keys = || vec(select(vec![1, 2, 3, 4, 9]), 0..4);
    prop_oneof![
        4 => keys().prop_map(|keys| Evidence::Known(verified(&keys))),
        1 => keys().prop_map(|keys| Evidence::Known(Verification { digest: OTHER, ..verified(&keys) })),
        1 => (keys(), select(Reason::ALL)).prop_map(|(keys, reason)| Evidence::Known(refused(&keys, reason, "why"))),
        1 => unknown(),
    ]
}

fn facts(evidence: impl Strategy<Value = Evidence<Verification>>) -> impl Strategy<Value = Facts> {
    (
        evidence,
        any::<bool>(),
        option::weighted(0.9, Just(SUBJECT)),
        prop::bool::weighted(0.9),
    )
        .prop_map(
            |(verification, labelled, digest, governed): (_, bool, Option<Digest>, bool)| {
                let mut facts = samples::facts(verification);
                if labelled {
                    facts
                        .namespace_labels
                        .insert("team".to_owned(), "bank".to_owned());
                }
                Facts {
                    governed,
                    digest,
                    ..facts
                }
            },
        )
}

fn everywhere() -> NamespaceSelector {
    NamespaceSelector::Matching(Vec::new())
}

fn decide(facts: &Facts, rules: &[Rules]) -> Decision {
    let world = World {
        rules: rules.to_vec(),
        namespaces: BTreeMap::new(),
    };
    evaluate(facts, &world, Timestamp::UNIX_EPOCH)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    /// The one exception is the first policy that selects a namespace: without any, nothing serves there.
    #[test]
    fn a_further_policy_never_turns_a_denial_into_an_admission(
        facts in facts(evidence()), mut rules in vec(policy(), 1..4), further in policy(), at in any::<prop::sample::Index>(),
    ) {
        rules[0].namespaces = everywhere();
        let before = decide(&facts, &rules);
        let mut more = rules;
        more.insert(at.index(more.len() + 1), further);
        prop_assert!(decide(&facts, &more).verdict >= before.verdict);
    }

    #[test]
    fn the_order_of_policies_changes_nothing(
        facts in facts(evidence()), (rules, shuffled) in vec(policy(), 0..5).prop_flat_map(|rules| (Just(rules.clone()), Just(rules).prop_shuffle())),
    ) {
        let (one, other) = (decide(&facts, &rules), decide(&facts, &shuffled));
        prop_assert_eq!(one.message(), other.message());
        prop_assert_eq!(one, other);
    }

    #[test]
    fn evidence_that_is_not_known_never_admits(facts in facts(unknown()), rules in vec(policy(), 0..4)) {
        prop_assert!(!decide(&facts, &rules).admits());
    }

    #[test]
    fn a_refused_verification_never_admits(facts in facts(evidence()), rules in vec(policy(), 0..4)) {
        let refused = matches!(&facts.verification, Evidence::Known(verification) if verification.failure.is_some());
        prop_assert!(!(refused && decide(&facts, &rules).admits()));
    }

    #[test]
    fn revoked_content_never_admits(
        facts in facts(evidence()), mut rules in vec(policy(), 1..4), at in any::<prop::sample::Index>(),
    ) {
        let at = at.index(rules.len());
        rules[at].namespaces = everywhere();
        rules[at].revoked.insert(SUBJECT, "poisoned".to_owned());
        prop_assert!(!decide(&facts, &rules).admits());
    }

    #[test]
    fn whoever_is_admitted_was_signed_for_by_every_policy(facts in facts(evidence()), rules in vec(policy(), 0..4)) {
        let decision = decide(&facts, &rules);
        if decision.admits() {
            let Evidence::Known(verification) = &facts.verification else { panic!("admitted without evidence") };
            for rules in selecting(&rules, &facts.namespace_labels) {
                let by = |signer: &&super::SignerRule| verification.signers.iter().any(|s| signer.holds(s.fingerprint));
                prop_assert!(rules.signers.iter().filter(by).count() >= rules.threshold.max(1));
                prop_assert!(rules.problems.is_empty());
            }
        }
    }

    #[test]
    fn a_decision_always_says_something(facts in facts(evidence()), rules in vec(policy(), 0..4)) {
        let decision = decide(&facts, &rules);
        prop_assert!(!decision.message().is_empty());
        prop_assert_eq!(decision.reason().is_some(), matches!(decision.verdict, Verdict::Fail | Verdict::Unknown));
        prop_assert_eq!(decision.findings[0].verdict, decision.verdict);
    }
}
