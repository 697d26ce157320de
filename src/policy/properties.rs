//! What holds for every world and every model, tried on many of both.
//! Tests only. Policies are made as people write them and compiled, so that compiling is tried too.

use std::collections::BTreeMap;

use jiff::Timestamp;
use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Value, json};

use super::{
    Decision, Evidence, Facts, NamespaceSelector, Rules, ServerFacts, Verification, WaiverRule, World,
    compile,
    decision::is_elsewhere,
    evaluate, foregone, observed_keys, required_keys,
    samples::{self, OTHER, SUBJECT, fingerprint, key, refused, verified},
    selecting, sufficient_keys,
    trust::TrustRoots,
};
use crate::{
    api::{
        GOVERNED_LABEL,
        v1alpha1::{ClusterDeploymentPolicy, DeploymentPolicy, EgressRule},
    },
    evidence::{Class, Digest, Effect, Failure, Reason, Reference, RuleId, Verdict},
};

const KEYS: [u8; 4] = [1, 2, 3, 4];

fn trust() -> TrustRoots {
    let mut keys: BTreeMap<_, _> = KEYS.iter().map(|n| (format!("k{n}"), Ok(key(*n)))).collect();
    keys.insert("rsa".to_owned(), Err("it is RSA".to_owned()));
    [("root".to_owned(), keys)].into()
}

/// A policy of either kind and any effect as somebody might write it, well or badly.
fn policy() -> impl Strategy<Value = Rules> {
    (body(), any::<prop::sample::Index>(), prop::bool::weighted(0.7)).prop_map(|(body, at, cluster)| {
        if cluster {
            clusters(body, SELECTORS[at.index(SELECTORS.len())])
        } else {
            own(body, ["bank", "shop"][at.index(2)])
        }
    })
}

/// Selectors of namespaces; the last one cannot be read.
const SELECTORS: [&str; 5] = [
    "{}",
    r#"{"matchLabels": {"team": "bank"}}"#,
    r#"{"matchLabels": {"team": "shop"}}"#,
    r#"{"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["shop"]}]}"#,
    r#"{"matchExpressions": [{"key": "team", "operator": "Like", "values": ["shop"]}]}"#,
];

fn clusters((name, mut spec): (String, Value), selector: &str) -> Rules {
    spec["namespaceSelector"] = serde_json::from_str(selector).unwrap();
    compile(
        &ClusterDeploymentPolicy::new(&name, serde_json::from_value(spec).unwrap()),
        &trust(),
    )
}

fn own((name, spec): (String, Value), namespace: &str) -> Rules {
    let mut policy = DeploymentPolicy::new(&name, serde_json::from_value(spec).unwrap());
    policy.metadata.namespace = Some(namespace.to_owned());
    compile(&policy, &trust())
}

fn effects() -> impl Strategy<Value = (Value, Value)> {
    let effect = || select(vec![json!(null), json!("Enforce"), json!("Warn"), json!("Audit")]);
    (effect(), effect())
}

/// What kinds of policies have in common.
fn body() -> impl Strategy<Value = (String, Value)> {
    let keys = vec(select(vec!["k1", "k2", "k3", "k4", "rsa", "gone"]), 1..3);
    let signers = vec(keys, 1..4);
    let repositories = option::weighted(
        0.3,
        select(vec![
            "registry.example/models/*",
            "registry.example/*",
            "https://x",
        ]),
    );
    let revoked = vec(select(vec![SUBJECT, OTHER]), 0..2);
    let on_violation = select(vec![
        json!(null),
        json!({"action": "Alert", "gracePeriodSeconds": 0}),
        json!({"action": "Alert", "gracePeriodSeconds": 3600}),
        json!({"action": "Quarantine", "gracePeriodSeconds": 3600}),
        json!({"action": "Stop", "gracePeriodSeconds": 3600}),
        json!({"action": "Alert", "gracePeriodSeconds": 1_000_000_000}),
    ]);
    let expires = select(vec![
        json!(null),
        json!("1970-01-01T00:00:00Z"),
        json!("1970-01-01T00:00:10Z"),
    ]);
    let approved = vec(
        (
            select(vec![SUBJECT, OTHER]),
            select(vec!["Ada", "Bob", " "]),
            expires,
        ),
        0..3,
    );
    let isolation = option::weighted(
        0.4,
        select(vec![
            json!({"hardening": "Restricted"}),
            json!({"effect": "Enforce", "hardening": "Restricted", "runtimeClasses": ["kata"]}),
            json!({"effect": "Audit", "runtimeClasses": ["kata", "runc"]}),
            json!({"effect": "Warn", "hardening": "Restricted"}),
            json!({"network": "DefaultDeny"}),
            json!({"effect": "Warn", "network": "DefaultDeny", "egressCeiling": EGRESS.map(range)}),
            json!({}),
        ]),
    );
    (
        "[a-e]",
        effects(),
        signers,
        0..3_u32,
        repositories,
        revoked,
        approved,
        (on_violation, isolation),
    )
        .prop_map(
            |(name, (effect, model_effect), signers, threshold, repositories, revoked, approved, (on_violation, isolation))| {
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
                let approved: Vec<_> = approved
                    .iter()
                    .map(|(digest, by, expires)| json!({"digest": digest, "by": by, "expires": expires}))
                    .collect();
                let mut model = json!({
                    "effect": model_effect, "signers": names, "threshold": threshold, "revoked": revoked, "approved": approved
                });
                if let Some(glob) = repositories {
                    model["repositories"] = json!([glob]);
                }
                (name, json!({"effect": effect, "signers": definitions, "model": model, "onViolation": on_violation, "isolation": isolation}))
            },
        )
}

/// The same policy, as far as it is written, with another effect everywhere.
fn under(effect: Effect, rules: Rules) -> Rules {
    Rules {
        effect,
        model_effect: effect,
        isolation: super::IsolationRules {
            effect,
            ..rules.isolation
        },
        ..rules
    }
}

/// A policy that enforces nothing.
fn lenient() -> impl Strategy<Value = Rules> {
    (policy(), select(vec![Effect::Warn, Effect::Audit])).prop_map(|(rules, effect)| under(effect, rules))
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

/// What a model may declare that it reaches.
const EGRESS: [&str; 2] = ["192.0.2.0/24", "198.51.100.0/24"];

fn range(cidr: &str) -> Value {
    json!({"to": [{"ipBlock": {"cidr": cidr}}], "ports": [{"port": 443}]})
}

fn egress() -> impl Strategy<Value = Vec<EgressRule>> {
    vec(select(EGRESS.to_vec()), 0..2).prop_map(|ranges| {
        let rules = ranges.into_iter().map(range);
        rules.map(|rule| serde_json::from_value(rule).unwrap()).collect()
    })
}

fn server() -> impl Strategy<Value = Option<ServerFacts>> {
    let class = option::of(select(vec!["kata", "runc"]).prop_map(ToOwned::to_owned));
    let server = (any::<bool>(), class).prop_map(|(memory_limited, runtime_class)| ServerFacts {
        memory_limited,
        runtime_class,
    });
    option::of(server)
}

fn facts(evidence: impl Strategy<Value = Evidence<Verification>>) -> impl Strategy<Value = Facts> {
    (
        evidence,
        option::weighted(0.3, self::evidence()),
        any::<bool>(),
        option::weighted(0.9, Just(SUBJECT)),
        prop::bool::weighted(0.9),
        server(),
        egress(),
    )
        .prop_map(
            |(verification, observed, labelled, digest, governed, server, egress): (
                _,
                _,
                bool,
                Option<Digest>,
                bool,
                Option<ServerFacts>,
                Vec<EgressRule>,
            )| {
                let mut facts = samples::facts(verification);
                if labelled {
                    facts
                        .namespace_labels
                        .insert("team".to_owned(), "bank".to_owned());
                }
                Facts {
                    governed,
                    digest,
                    observed,
                    egress,
                    server,
                    ..facts
                }
            },
        )
}

/// A waiver of some rules for the model that all of this is about.
fn waiver() -> impl Strategy<Value = WaiverRule> {
    let rules = vec(
        select(vec![
            RuleId::ModelSignature,
            RuleId::ModelRepositories,
            RuleId::IsolationNetwork,
            RuleId::IsolationHardening,
            RuleId::IsolationRuntimeClasses,
        ]),
        1..5,
    );
    let digest = option::of(Just(SUBJECT));
    let policies = option::of(select(vec![
        "ClusterDeploymentPolicy/a",
        "ClusterDeploymentPolicy/b",
    ]));
    (rules, digest, policies, 1_i64..20).prop_map(|(rules, digest, policies, until)| WaiverRule {
        namespace: "bank".into(),
        name: "until-signed".into(),
        rules: rules.into_iter().collect(),
        model: "digits".into(),
        digest,
        policies: policies.map(|policy| [policy.to_owned()].into()),
        until: samples::at(until),
        approved_by: "ada@bank.example".into(),
    })
}

/// Why content is refused that nobody could want.
fn bad() -> Vec<Reason> {
    let reasons = Reason::ALL.iter().copied();
    reasons.filter(|reason| reason.class() != Class::Policy).collect()
}

fn everywhere() -> NamespaceSelector {
    NamespaceSelector::Matching(Vec::new())
}

/// A policy that selects every namespace and enforces everything in it.
fn enforced() -> impl Strategy<Value = Rules> {
    policy().prop_map(|rules| Rules {
        namespaces: everywhere(),
        ..under(Effect::Enforce, rules)
    })
}

fn decide(facts: &Facts, rules: &[Rules]) -> Decision {
    decide_at(facts, rules, Timestamp::UNIX_EPOCH)
}

fn decide_at(facts: &Facts, rules: &[Rules], now: Timestamp) -> Decision {
    let world = World {
        rules: rules.to_vec(),
        ..World::default()
    };
    evaluate(facts, &world, now)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    /// The one exception is the first policy of the platform's that selects a namespace: without any, nothing serves there.
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

    /// Without an exception: whoever may write one in a namespace cannot let in what nobody else spoke about.
    #[test]
    fn a_policy_of_the_namespace_never_turns_a_denial_into_an_admission(
        facts in facts(evidence()), rules in vec(policy(), 0..4), further in body(),
    ) {
        let before = decide(&facts, &rules);
        let more = [rules, vec![own(further, &facts.namespace)]].concat();
        prop_assert!(decide(&facts, &more).verdict >= before.verdict);
    }

    /// A pod's verifier knows keys and no policy. What it lets in is what today's policies admit of content that was looked at.
    #[test]
    fn what_a_pod_is_let_in_to_verify_is_what_policies_admit(
        facts in facts(unknown()), mut rules in vec(policy(), 1..4), further in policy(),
    ) {
        rules[0].namespaces = everywhere();
        let facts = Facts { governed: true, observed: None, ..facts };
        let owed = |rules: &[Rules]| {
            let labels = [(GOVERNED_LABEL.to_owned(), "true".to_owned())];
            let labels = facts.namespace_labels.clone().into_iter().chain(labels).collect();
            let world = World { rules: rules.to_vec(), namespaces: [(facts.namespace.clone(), labels)].into(), ..World::default() };
            let keys = sufficient_keys(&world, &facts.namespace, facts.digest, Timestamp::UNIX_EPOCH);
            let keys = keys.into_iter().map(|key| key.fingerprint).collect();
            Facts { verification: Evidence::Owed(keys), ..facts.clone() }
        };
        let promised = owed(&rules);
        let Evidence::Owed(keys) = &promised.verification else { unreachable!() };
        if decide(&promised, &rules).admits() {
            for n in (1..10).filter(|n| keys.contains(&fingerprint(*n))) {
                let found = Facts { digest: Some(SUBJECT), verification: Evidence::Known(verified(&[n])), ..facts.clone() };
                let decision = decide(&found, &rules);
                let refused = decision.findings.iter().find(|one| {
                    one.rule == RuleId::ModelSignature && one.effect == Effect::Enforce && one.verdict != Verdict::Pass
                });
                prop_assert_eq!(refused, None, "signed with key {}", n);
            }
        }
        let more = [rules.clone(), vec![further]].concat();
        prop_assert!(decide(&owed(&more), &more).verdict >= decide(&promised, &rules).verdict);
    }

    #[test]
    fn a_policy_of_another_namespace_changes_nothing(
        facts in facts(evidence()), rules in vec(policy(), 0..4), further in body(),
    ) {
        let more = [rules.clone(), vec![own(further, "elsewhere")]].concat();
        prop_assert_eq!(decide(&facts, &more), decide(&facts, &rules));
        let world = |rules| World { rules, namespaces: [(facts.namespace.clone(), facts.namespace_labels.clone())].into(), ..World::default() };
        let (one, other) = (world(rules), world(more));
        prop_assert_eq!(required_keys(&one, &facts.namespace), required_keys(&other, &facts.namespace));
        prop_assert_eq!(observed_keys(&one, &facts.namespace), observed_keys(&other, &facts.namespace));
    }

    /// Beside one that is in force; and neither what is looked for on behalf of the others, nor what is found on its own.
    #[test]
    fn a_policy_that_is_not_enforced_never_changes_the_verdict(
        facts in facts(evidence()), mut rules in vec(policy(), 1..4), further in lenient(), observed in option::of(evidence()),
    ) {
        rules[0].namespaces = everywhere();
        let before = decide(&facts, &rules);
        let more = [rules.clone(), vec![further]].concat();
        let after = decide(&Facts { observed, ..facts.clone() }, &more);
        prop_assert_eq!(after.verdict, before.verdict);
        let counted = |decision: &Decision| -> Vec<_> {
            decision.findings.iter().filter(|finding| finding.effect == Effect::Enforce).cloned().collect()
        };
        prop_assert_eq!(counted(&after), counted(&before));
        let world = |rules| World { rules, namespaces: [(facts.namespace.clone(), facts.namespace_labels.clone())].into(), ..World::default() };
        prop_assert_eq!(required_keys(&world(more), &facts.namespace), required_keys(&world(rules), &facts.namespace));
    }

    /// The short way to know it says what the whole decision does.
    #[test]
    fn a_repository_is_elsewhere_when_an_enforced_policy_refuses_it(
        rules in vec(policy(), 0..4), labels in select(vec![vec![], vec![("team", "bank")], vec![("team", "shop")]]),
        governed in select(vec!["true", "True"]), subject in select(vec![SUBJECT, OTHER]),
        repository in select(vec!["registry.example/models/digits", "registry.example/digits", "evil.example/digits"]),
    ) {
        let reference: Reference = format!("{repository}@{subject}").parse().unwrap();
        let labels = [(GOVERNED_LABEL, governed)].into_iter().chain(labels).map(|(key, value)| (key.to_owned(), value.to_owned()));
        let world = World { rules, namespaces: [("bank".to_owned(), labels.collect())].into(), ..World::default() };
        let decision = foregone(&world, "bank", "digits", &reference.clone().into(), Some(subject), None, Timestamp::UNIX_EPOCH);
        let refused = decision.is_some_and(|decision| decision.findings.iter().any(|one| {
            one.reason == Some(Reason::RepositoryNotAllowed) && one.effect == Effect::Enforce
        }));
        prop_assert_eq!(is_elsewhere(&world, "bank", "digits", &reference), refused);
    }

    /// Whatever is waived: a further policy is judged by itself, and nobody waived it for having come later.
    #[test]
    fn with_the_same_waivers_a_further_policy_never_admits_more(
        facts in facts(evidence()), mut rules in vec(policy(), 1..4), further in policy(), waivers in vec(waiver(), 0..4), now in 0_i64..20,
    ) {
        rules[0].namespaces = everywhere();
        let verdict = |rules: Vec<Rules>| {
            let world = World { rules, waivers: waivers.clone(), ..World::default() };
            evaluate(&facts, &world, samples::at(now)).verdict
        };
        prop_assert!(verdict([rules.clone(), vec![further]].concat()) >= verdict(rules));
    }

    /// Of another model, namespace or content: it is as if it were not there, also when it is over.
    #[test]
    fn a_waiver_that_does_not_cover_the_model_changes_nothing(
        facts in facts(evidence()), rules in vec(policy(), 1..4), waiver in waiver(), what in 0..3_u8, now in 0_i64..20,
    ) {
        let mut waiver = waiver;
        match what {
            0 => waiver.model = "other".into(),
            1 => waiver.namespace = "elsewhere".into(),
            _ => waiver.digest = Some(OTHER),
        }
        let decide = |waivers: Vec<WaiverRule>| {
            let world = World { rules: rules.clone(), waivers, ..World::default() };
            evaluate(&facts, &world, samples::at(now))
        };
        prop_assert_eq!(decide(vec![waiver]), decide(Vec::new()));
    }

    /// One that is over leaves nothing but words behind: that it is over.
    #[test]
    fn a_waiver_that_is_over_changes_nothing_but_what_is_said(
        facts in facts(evidence()), rules in vec(policy(), 1..4), waiver in waiver(),
    ) {
        let decide = |waivers: Vec<WaiverRule>| {
            let world = World { rules: rules.clone(), waivers, ..World::default() };
            evaluate(&facts, &world, samples::at(20))
        };
        let (mut with, without) = (decide(vec![waiver.clone()]), decide(Vec::new()));
        for finding in &mut with.findings {
            if let Some((said, _)) = finding.message.split_once(" (the Waiver until-signed by") {
                prop_assert!(finding.verdict == Verdict::Fail && waiver.rules.contains(&finding.rule));
                finding.message = said.to_owned();
            }
        }
        prop_assert_eq!(with, without);
    }

    /// However many there are, and whatever they name: what is revoked, altered, malformed or not known stays outside.
    #[test]
    fn no_waiver_admits_what_is_known_to_be_bad_or_not_known(
        facts in facts(prop_oneof![
            unknown(),
            select(bad()).prop_map(|reason| Evidence::Known(refused(&[1, 2], reason, "why"))),
            Just(Evidence::Owed([].into())),
        ]),
        mut rules in vec(policy(), 0..3), mut strict in enforced(), waivers in vec(waiver(), 0..5), now in 0_i64..20,
    ) {
        // Somebody vouches for it as well, and that is not enough either.
        strict.approved = [(SUBJECT, vec![samples::approval("Ada", None), samples::approval("Bob", None)])].into();
        rules.push(strict);
        let world = World { rules, waivers, ..World::default() };
        let decision = evaluate(&facts, &world, samples::at(now));
        prop_assert!(!decision.admits(), "{:?}", decision);
    }

    #[test]
    fn no_waiver_admits_what_is_revoked(
        facts in facts(evidence()), mut rules in vec(policy(), 0..3), mut strict in enforced(), waivers in vec(waiver(), 0..5),
    ) {
        strict.revoked.insert(SUBJECT, "poisoned".to_owned());
        rules.push(strict);
        let world = World { rules, waivers, ..World::default() };
        prop_assert!(!evaluate(&facts, &world, samples::at(0)).admits());
    }

    /// Findings of other rules stay as they are, and what is waived was a wish of a policy's that failed.
    #[test]
    fn a_waiver_touches_nothing_but_its_rules(
        facts in facts(evidence()), rules in vec(policy(), 1..4), waiver in waiver(),
    ) {
        let decide = |waivers: Vec<WaiverRule>| {
            evaluate(&facts, &World { rules: rules.clone(), waivers, ..World::default() }, samples::at(0))
        };
        let (before, after) = (decide(Vec::new()), decide(vec![waiver.clone()]));
        prop_assert!(after.verdict <= before.verdict);
        prop_assert_eq!(before.findings.len(), after.findings.len());
        for finding in &after.findings {
            if let Some(by) = &finding.waived_by {
                prop_assert!(waiver.rules.contains(&finding.rule) && by.waiver == waiver.name);
                prop_assert!(finding.rule != RuleId::ModelRevoked && finding.rule != RuleId::Policy);
                prop_assert_eq!(finding.reason.map(Reason::class), Some(Class::Policy));
                prop_assert!(after.until.is_some_and(|until| until <= waiver.until));
            } else {
                prop_assert!(before.findings.contains(finding));
            }
        }
    }

    #[test]
    fn where_nothing_is_enforced_what_is_resolved_serves(
        mut facts in facts(evidence()), mut rules in vec(lenient(), 1..4),
    ) {
        facts.governed = true;
        facts.digest = Some(SUBJECT);
        rules[0].namespaces = everywhere();
        prop_assert!(decide(&facts, &rules).admits());
    }

    /// An approval cannot make anything of content that was changed after somebody trusted signed it.
    #[test]
    fn approvals_never_outweigh_an_integrity_failure(
        facts in facts(select(Reason::ALL).prop_map(|reason| Evidence::Known(refused(&[1], reason, "why")))), mut rules in vec(enforced(), 1..4),
    ) {
        for rules in &mut rules {
            rules.approved = [(SUBJECT, vec![samples::approval("Ada", None), samples::approval("Bob", None)])].into();
        }
        let Evidence::Known(Verification { failure: Some(failure), .. }) = &facts.verification else { panic!() };
        let decision = decide(&facts, &rules);
        prop_assert!(!decision.admits() || matches!(failure.reason, Reason::Unsigned | Reason::SignerMismatch));
    }

    /// What a decision says until some time, it says until then, and not beyond.
    #[test]
    fn a_decision_changes_with_the_clock_when_it_says(facts in facts(evidence()), rules in vec(policy(), 0..4)) {
        let at_second = |second| decide_at(&facts, &rules, samples::at(second));
        let first = at_second(0);
        match first.until {
            None => prop_assert_eq!(at_second(1_000), first),
            Some(until) => {
                prop_assert_eq!(until, samples::at(10));
                prop_assert_eq!(at_second(9), first);
                prop_assert_eq!(at_second(10).until, None);
            }
        }
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
    fn evidence_that_is_not_known_never_admits(facts in facts(unknown()), mut rules in vec(policy(), 1..4), strict in enforced()) {
        rules.push(strict);
        prop_assert!(!decide(&facts, &rules).admits());
    }

    #[test]
    fn a_refused_verification_never_admits_without_an_approval(facts in facts(evidence()), mut rules in vec(policy(), 0..4), mut strict in enforced()) {
        strict.approved.clear();
        rules.push(strict);
        let refused = matches!(&facts.verification, Evidence::Known(verification) if verification.failure.is_some());
        prop_assert!(!(refused && decide(&facts, &rules).admits()));
    }

    #[test]
    fn revoked_content_never_admits(
        facts in facts(evidence()), mut rules in vec(policy(), 0..4), mut strict in enforced(),
    ) {
        strict.revoked.insert(SUBJECT, "poisoned".to_owned());
        strict.approved = [(SUBJECT, vec![samples::approval("Ada", None)])].into();
        rules.push(strict);
        prop_assert!(!decide(&facts, &rules).admits());
    }

    #[test]
    fn whoever_is_admitted_was_vouched_for_under_every_enforced_policy(facts in facts(evidence()), rules in vec(policy(), 0..4)) {
        let decision = decide(&facts, &rules);
        if decision.admits() {
            prop_assert!(facts.digest.is_some());
            let enforced = |rules: &&Rules| rules.model_effect == Effect::Enforce;
            for rules in selecting(&rules, &facts.namespace, &facts.namespace_labels).filter(enforced) {
                let Evidence::Known(verification) = &facts.verification else { panic!("admitted without evidence") };
                let by = |signer: &&super::SignerRule| verification.signers.iter().any(|s| signer.holds(s.fingerprint));
                let people = rules.approved.get(&verification.digest).map_or(0, Vec::len);
                prop_assert!(rules.signers.iter().filter(by).count() + people >= rules.threshold.max(1));
                prop_assert!(rules.problems.is_empty());
            }
        }
    }

    /// Whatever else is decided about a server that is not hardened, it does not serve where that is enforced.
    #[test]
    fn a_server_without_limits_never_serves_where_hardening_is_enforced(
        mut facts in facts(evidence()), mut rules in vec(policy(), 0..4), strict in enforced(),
    ) {
        let asked = strict.isolation.hardening.is_some();
        rules.push(strict);
        facts.server = Some(ServerFacts { memory_limited: false, runtime_class: Some("kata".into()) });
        prop_assert!(!(asked && decide(&facts, &rules).admits()));
    }

    #[test]
    fn a_decision_always_says_something(facts in facts(evidence()), rules in vec(policy(), 0..4)) {
        let decision = decide(&facts, &rules);
        prop_assert!(!decision.message().is_empty());
        prop_assert_eq!(decision.reason().is_some(), matches!(decision.verdict, Verdict::Fail | Verdict::Unknown));
        prop_assert_eq!(decision.findings[0].counts_as(), decision.verdict);
    }
}
