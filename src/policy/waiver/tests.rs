//! What a waiver covers, and what it never does.
#![allow(clippy::needless_pass_by_value, reason = "rows of a table are values")]

use serde_json::{Value, json};
use test_case::test_case;

use super::*;
use crate::{
    evidence::{Effect, Failure},
    policy::{
        Decision, Evidence, NetworkRule, Rules, ServerFacts, Verification,
        checks::repositories::Repositories,
        evaluate,
        samples::{SUBJECT, at, facts, isolated, refused, rules, signer, verified},
    },
};

const DAY: i64 = 24 * 60 * 60;

/// Made at the beginning of time, for `digits` in `bank`, with this over it.
fn waiver(changes: Value) -> Waiver {
    let mut waiver = json!({
        "apiVersion": "probity.dev/v1alpha1", "kind": "Waiver",
        "metadata": {"name": "until-signed", "namespace": "bank", "creationTimestamp": "1970-01-01T00:00:00Z"},
        "spec": {
            "rules": ["model.signature"], "subject": {"modelDeployment": "digits"}, "expires": "1970-01-02T00:00:00Z",
            "reason": "the vendor signs from next week on", "approvedBy": "ada@bank.example"
        }
    });
    for (pointer, value) in changes.as_object().into_iter().flatten() {
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        waiver.pointer_mut(parent).unwrap()[field] = value.clone();
    }
    serde_json::from_value(waiver).unwrap()
}

fn unsigned() -> Evidence<Verification> {
    Evidence::Known(refused(&[], Reason::Unsigned, "there is no model.sig"))
}

fn decide(evidence: Evidence<Verification>, policy: Rules, waiver: &Waiver, now: i64) -> Decision {
    let world = World {
        rules: vec![policy],
        waivers: WaiverRule::of(waiver, at(0)).into_iter().collect(),
        ..World::default()
    };
    evaluate(&facts(evidence), &world, at(now))
}

fn release() -> Rules {
    rules(vec![signer("release", &[1])])
}

#[test]
fn what_is_waived_passes_and_says_by_whom_until_when() {
    let decision = decide(unsigned(), release(), &waiver(json!({})), 10);
    assert!(decision.admits(), "{decision:?}");
    let finding = decision.waived().next().unwrap();
    assert_eq!(
        finding.reason,
        Some(Reason::Unsigned),
        "what was found stays said"
    );
    let by = finding.waived_by.clone().unwrap();
    assert_eq!(
        (by.waiver.as_str(), by.approved_by.as_str(), by.until.as_str()),
        ("until-signed", "ada@bank.example", "1970-01-02T00:00:00Z")
    );
    assert!(
        finding
            .message
            .contains("waived until 1970-01-02T00:00:00Z by ada@bank.example"),
        "{finding:?}"
    );
    assert_eq!(
        decision.until,
        Some(at(DAY)),
        "it is looked at again when it is over"
    );
}

/// In the middle of the night, with nobody there: the clock alone takes it back.
#[test_case(DAY - 1 => true; "the last second")]
#[test_case(DAY => false; "it is over")]
#[test_case(400 * DAY => false; "long over")]
fn it_is_over_by_itself(now: i64) -> bool {
    decide(unsigned(), release(), &waiver(json!({})), now).admits()
}

/// Whoever is woken by it reads what ended, and by whom it was.
#[test]
fn what_was_waived_says_that_it_is_over() {
    let decision = decide(unsigned(), release(), &waiver(json!({})), DAY);
    assert_eq!(
        (decision.reason(), decision.until),
        (Some(Reason::Unsigned), None)
    );
    assert!(
        decision.message().ends_with(
            "(the Waiver until-signed by ada@bank.example was over at 1970-01-02T00:00:00Z: have it mended, or another one made)"
        ),
        "{decision:?}"
    );
}

/// What the model declares is above what the policy allows.
fn wide() -> (Facts, Rules) {
    let egress = json!([{"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}], "ports": [{"port": 443}]}]);
    let facts = Facts {
        egress: serde_json::from_value(egress).unwrap(),
        server: Some(ServerFacts {
            memory_limited: false,
            runtime_class: None,
        }),
        ..facts(Evidence::Known(verified(&[1])))
    };
    let mut rules = isolated(Effect::Enforce, true, &["kata"]);
    rules.isolation.network = Some(NetworkRule::default());
    (facts, rules)
}

#[test_case(&["isolation.network", "isolation.hardening", "isolation.runtimeClasses"] => Vec::<Reason>::new(); "all three")]
#[test_case(&["isolation.network"] => vec![Reason::NotHardened, Reason::RuntimeClassNotAllowed]; "the network alone")]
#[test_case(&["isolation.hardening"] => vec![Reason::EgressAboveCeiling, Reason::RuntimeClassNotAllowed]; "hardening alone")]
#[test_case(&["isolation.runtimeClasses"] => vec![Reason::EgressAboveCeiling, Reason::NotHardened]; "the runtime alone")]
fn each_rule_of_isolation_is_waived_by_itself(rules: &[&str]) -> Vec<Reason> {
    let (facts, strict) = wide();
    let world = World {
        rules: vec![strict],
        waivers: WaiverRule::of(&waiver(json!({"/spec/rules": rules})), at(0))
            .into_iter()
            .collect(),
        ..World::default()
    };
    let decision = evaluate(&facts, &world, at(10));
    let failed = decision
        .findings
        .iter()
        .filter(|one| one.verdict == Verdict::Fail);
    let mut reasons: Vec<Reason> = failed.filter_map(|one| one.reason).collect();
    reasons.sort();
    assert_eq!(decision.admits(), reasons.is_empty());
    reasons
}

/// `probity copy` in a pod trusts the keys that it was told, and reads no waivers: to let the pod in would promise too much.
#[test]
fn what_a_pod_verifies_by_itself_is_not_waived() {
    let mut two = release();
    two.threshold = 2;
    let owed = || Evidence::Owed([crate::policy::samples::fingerprint(1)].into());
    let decision = decide(owed(), two, &waiver(json!({})), 10);
    assert_eq!(decision.reason(), Some(Reason::SignerMismatch));
    assert_eq!(decision.waived().next(), None);
    assert!(decide(owed(), release(), &waiver(json!({})), 10).admits());
}

/// Of a model that rolls out from one content to another, a waiver for one of them does not speak.
#[test]
fn a_waiver_of_one_content_is_not_for_a_model_that_runs_another() {
    let rule =
        |digest: Digest| WaiverRule::of(&waiver(json!({"/spec/subject/digest": digest})), at(0)).unwrap();
    let mut subject = Subject {
        namespace: "bank",
        model: "digits",
        contents: vec![Some(SUBJECT)],
        owed: false,
    };
    assert!(rule(SUBJECT).speaks_of(&subject));
    subject.contents.push(Some(Digest::from_bytes([9; 32])));
    assert!(!rule(SUBJECT).speaks_of(&subject));
    subject.contents = vec![None];
    assert!(!rule(SUBJECT).speaks_of(&subject));
}

#[test_case(json!({}) => true; "as it is")]
#[test_case(json!({"/spec/subject/digest": SUBJECT}) => true; "of this very content")]
#[test_case(json!({"/spec/subject/digest": Digest::from_bytes([9; 32])}) => false; "of other content")]
#[test_case(json!({"/spec/subject/modelDeployment": "letters"}) => false; "of another model")]
#[test_case(json!({"/metadata/namespace": "shop"}) => false; "of another namespace")]
#[test_case(json!({"/spec/rules": ["model.repositories"]}) => false; "of another rule")]
#[test_case(json!({"/spec/policies": ["ClusterDeploymentPolicy/baseline"]}) => true; "of this policy")]
#[test_case(json!({"/spec/policies": ["ClusterDeploymentPolicy/strict"]}) => false; "of another policy")]
#[test_case(json!({"/spec/approvedBy": null}) => false; "that nobody approved")]
fn it_covers_what_it_names(changes: Value) -> bool {
    decide(unsigned(), release(), &waiver(changes), 10).admits()
}

#[test_case(Evidence::Known(refused(&[1], Reason::DigestMismatch, "altered")); "content that is not what was signed")]
#[test_case(Evidence::Unknown(Failure::new(Reason::RegistryUnavailable, "away")); "what nobody knows")]
#[test_case(Evidence::Wait("being verified".into()); "what is not known yet")]
fn what_may_be_bad_is_not_waived(evidence: Evidence<Verification>) {
    let decision = decide(evidence, release(), &waiver(json!({})), 10);
    assert!(
        !decision.admits() && decision.waived().next().is_none(),
        "{decision:?}"
    );
}

#[test]
fn revocation_always_wins() {
    let all = json!({"/spec/rules": ["model.signature", "model.repositories", "model.revoked", "policy", "pods.plan"]});
    let revoking = Rules {
        revoked: [(SUBJECT, "poisoned".to_owned())].into(),
        ..release()
    };
    let decision = decide(Evidence::Known(verified(&[1])), revoking, &waiver(all), 10);
    assert_eq!(decision.reason(), Some(Reason::Revoked));
}

#[test]
fn a_repository_is_asked_where_that_is_waived() {
    let elsewhere = Rules {
        repositories: Some(Repositories::compile(&["elsewhere.example/**".to_owned()]).0),
        namespaces: crate::policy::NamespaceSelector::Matching(Vec::new()),
        ..release()
    };
    let waived = waiver(json!({"/spec/rules": ["model.repositories"]}));
    let decision = decide(Evidence::Known(verified(&[1])), elsewhere.clone(), &waived, 10);
    assert!(decision.admits(), "{decision:?}");
    let label = (crate::api::GOVERNED_LABEL.to_owned(), "true".to_owned());
    let world = World {
        rules: vec![elsewhere],
        namespaces: [("bank".to_owned(), [label].into())].into(),
        waivers: WaiverRule::of(&waived, at(0)).into_iter().collect(),
        ..World::default()
    };
    let reference = "registry.example/models/digits:1".parse().unwrap();
    let elsewhere = |model| crate::policy::decision::is_elsewhere(&world, "bank", model, &reference);
    assert_eq!((elsewhere("digits"), elsewhere("letters")), (false, true));
}

/// Whoever looks at the model has to look again then.
#[test]
fn the_first_end_of_those_that_are_not_over_is_told() {
    let rule = |changes: Value| WaiverRule::of(&waiver(changes), at(0)).unwrap();
    let world = World {
        waivers: vec![
            rule(json!({"/spec/expires": "1970-01-03T00:00:00Z"})),
            rule(json!({})),
            rule(
                json!({"/spec/subject/modelDeployment": "letters", "/spec/expires": "1970-01-01T00:00:20Z"}),
            ),
        ],
        ..World::default()
    };
    let model = crate::workload::samples::model(SUBJECT);
    let told = |now| waived_until(&model, &world, at(now)).map(Timestamp::as_second);
    assert_eq!(
        (told(10), told(DAY), told(2 * DAY)),
        (Some(DAY), Some(2 * DAY), None)
    );
}

#[test_case("1970-06-01T00:00:00Z" => 90 * DAY; "longer than ninety days")]
#[test_case("1970-01-02T00:00:00Z" => DAY; "a day")]
fn it_never_lasts_longer_than_ninety_days(expires: &str) -> i64 {
    let waiver = waiver(json!({"/spec/expires": expires}));
    WaiverRule::of(&waiver, at(0)).unwrap().until.as_second()
}

#[test_case(json!({}) => Vec::<String>::new(); "as it is")]
#[test_case(json!({"/spec/expires": "1969-12-31T00:00:00Z"}) => vec!["spec.expires"]; "over already")]
#[test_case(json!({"/spec/expires": "1970-04-02T00:00:00Z"}) => vec!["spec.expires"]; "too far ahead")]
#[test_case(json!({"/spec/rules": ["model.revoked"]}) => vec!["spec.rules"]; "what always wins")]
#[test_case(json!({"/spec/rules": ["isolation.rbac"]}) => vec!["spec.rules"]; "what its account may do")]
#[test_case(json!({"/spec/rules": ["isolation.network", "isolation.hardening", "isolation.runtimeClasses"]}) => Vec::<String>::new(); "what it is kept apart by")]
#[test_case(json!({"/spec/reason": " "}) => vec!["spec.reason"]; "for no reason")]
fn whoever_makes_it_reads_what_is_wrong(changes: Value) -> Vec<String> {
    let found = problems(&waiver(changes), at(0));
    found.into_iter().map(|problem| problem.field).collect()
}
