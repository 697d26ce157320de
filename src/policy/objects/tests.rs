//! Objects as people write them, each a row: refused with its field, warned about, or let be.
#![allow(clippy::needless_pass_by_value, reason = "rows of a table are values")]

use serde_json::{Value, json};
use test_case::test_case;

use super::*;
use crate::{
    api::{GOVERNED_LABEL, v1alpha1::ClusterDeploymentPolicy},
    policy::{
        samples::{at, key, rules, signer},
        trust,
    },
};

fn world() -> World {
    World {
        rules: vec![rules(vec![signer("release", &[1])])],
        namespaces: [(
            "bank".to_owned(),
            [(GOVERNED_LABEL.to_owned(), "true".to_owned())].into(),
        )]
        .into(),
        ..World::default()
    }
}

fn named(name: &str, created: i64, spec: Value) -> ModelDeployment {
    serde_json::from_value(json!({
        "apiVersion": "probity.dev/v1alpha1", "kind": "ModelDeployment",
        "metadata": {"name": name, "namespace": "bank", "creationTimestamp": at(created).to_string()},
        "spec": spec
    }))
    .unwrap()
}

fn served(name: &str) -> ModelDeployment {
    let server = json!({"image": "registry.example/s@sha256:0000000000000000000000000000000000000000000000000000000000000000", "protocol": "HTTP", "port": 80});
    named(
        name,
        1,
        json!({"model": {"source": {"oci": {"reference": "registry.example/models/digits:1"}}}, "server": server}),
    )
}

/// A model that governs the Deployment of this name, written at that second.
fn governs_it(name: &str, deployment: &str, created: i64) -> ModelDeployment {
    let workload = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment});
    named(
        name,
        created,
        json!({"model": {"source": {"mounted": {}}}, "workloadRef": workload}),
    )
}

/// What is said, in words.
fn said(remarks: Remarks) -> (Vec<String>, Vec<String>) {
    let words = |problems: Vec<Problem>| problems.iter().map(ToString::to_string).collect();
    (words(remarks.refused), words(remarks.warned))
}

fn about(
    new: &ModelDeployment,
    before: Option<&ModelDeployment>,
    others: &[ModelDeployment],
) -> (Vec<String>, Vec<String>) {
    let others: Vec<_> = others.iter().collect();
    said(model(new, before, &others, &world(), at(10)))
}

#[test]
fn a_sound_model_is_let_be() {
    for new in [served("digits"), governs_it("digits", "web", 5)] {
        let remarks = model(&new, None, &[], &world(), at(10));
        assert_eq!(remarks, Remarks::default());
    }
}

#[test_case(served("Digits"), "metadata.name: "; "a name that no Service can have")]
#[test_case(named("a", 1, json!({"model": {"source": {"mounted": {}}}})), "spec: "; "nobody serves it")]
#[test_case(named("a", 1, json!({"model": {"source": {"oci": {"reference": "Not A Reference"}}}, "server": null})), "spec.model.source.oci.reference: "; "a reference that is none")]
#[test_case(governs_it("a", "-", 1), "spec.workloadRef: "; "a workload without a name")]
fn a_model_that_makes_no_sense_is_refused_with_its_field(new: ModelDeployment, field: &str) {
    let (refused, _) = about(&new, None, &[]);
    assert!(refused[0].starts_with(field), "{refused:?}");
}

#[test]
fn a_workload_has_one_model() {
    let (old, new) = (governs_it("letters", "web", 1), governs_it("digits", "web", 5));
    let (refused, _) = about(&new, None, std::slice::from_ref(&old));
    assert_eq!(
        refused,
        [
            "spec.workloadRef: ModelDeployment letters governs Deployment web already: name another workload, or delete that model"
        ]
    );
    // It was there before the others could be known; now it can only be told.
    let mut changed = new.clone();
    changed.spec.model.mount_path = Some("/models".into());
    let (refused, warned) = about(&changed, Some(&new), &[old.clone(), new.clone()]);
    assert!(refused.is_empty() && warned[0].contains("letters"), "{warned:?}");
    // The oldest may change as it likes.
    let mut changed = old.clone();
    changed.spec.model.mount_path = Some("/models".into());
    assert_eq!(about(&changed, Some(&old), &[old.clone(), new]), (vec![], vec![]));
}

/// Being older is no right to a workload that has a model.
#[test]
fn nobody_takes_a_workload_over() {
    let before = governs_it("letters", "other", 1);
    let changed = governs_it("letters", "web", 1);
    let (refused, _) = about(
        &changed,
        Some(&before),
        &[before.clone(), governs_it("digits", "web", 5)],
    );
    assert!(
        refused[0].contains("ModelDeployment digits governs"),
        "{refused:?}"
    );
}

#[test_case(governs_it("letters", "other", 1); "another workload")]
#[test_case(served("web-server"); "a model that is served under another name")]
#[test_case(governs_it("digits", "web", 1); "itself")]
fn others_do_not_matter(other: ModelDeployment) {
    assert_eq!(
        about(&governs_it("digits", "web", 5), None, &[other]),
        (vec![], vec![])
    );
}

#[test]
fn what_probity_runs_cannot_be_adopted() {
    let (refused, _) = about(&governs_it("digits", "web", 5), None, &[served("web")]);
    assert!(
        refused[0].starts_with("spec.workloadRef: Deployment web is what Probity runs"),
        "{refused:?}"
    );
    let mut set = governs_it("digits", "web", 5);
    set.spec.workload_ref.as_mut().unwrap().kind = "StatefulSet".into();
    assert_eq!(about(&set, None, &[served("web")]), (vec![], vec![]));
}

#[test_case(|_| {} => None; "nothing is foregone")]
#[test_case(|world| world.rules.clear() => Some(Reason::NoPolicy); "no policy")]
#[test_case(|world| world.namespaces.clear() => Some(Reason::NoPolicy); "nobody governs")]
#[test_case(|world| world.rules[0].problems.push(Problem::new(Reason::PolicyInvalid, "spec", "is wrong")) => Some(Reason::PolicyInvalid); "a policy that cannot be applied")]
fn what_policy_says_whatever_is_found(change: fn(&mut World)) -> Option<Reason> {
    let mut world = world();
    change(&mut world);
    let remarks = model(&served("digits"), None, &[], &world, at(10));
    assert_eq!(remarks.refused, [], "that is for policy to say");
    remarks.foregone.and_then(|decision| decision.reason())
}

fn written(pointer: &str, value: Value) -> (Vec<String>, Vec<String>) {
    let mut spec = json!({
        "namespaceSelector": {},
        "signers": [{"name": "release", "key": {"trustRoot": "bank-keys", "keys": ["q3"]}}],
        "model": {"signers": ["release"], "threshold": 1, "repositories": ["registry.example/models/*"]},
    });
    if let Some(there) = spec.pointer_mut(pointer) {
        *there = value;
    }
    let written: ClusterDeploymentPolicy = serde_json::from_value(json!({
        "apiVersion": "probity.dev/v1alpha1", "kind": "ClusterDeploymentPolicy", "metadata": {"name": "baseline"}, "spec": spec
    }))
    .unwrap();
    let keys = [("q3", Ok(key(3))), ("rsa", Err("is RSA".to_owned()))];
    let keys = keys.map(|(name, key)| (name.to_owned(), key)).into();
    said(policy(&written, &[("bank-keys".to_owned(), keys)].into()))
}

#[test]
fn a_sound_policy_is_let_be() {
    assert_eq!(written("/none", Value::Null), (vec![], vec![]));
}

#[test_case("/model/repositories", json!(["registry.example/mod**"]), "spec.model.repositories[0]: "; "a glob that is none")]
#[test_case("/model/signers", json!(["release", "release"]), "spec.model.signers[1]: "; "a signer named twice")]
#[test_case("/model/signers", json!(["stranger"]), "spec.model.signers[0]: "; "a signer nobody defined")]
#[test_case("/model/threshold", json!(2), "spec.model.threshold: "; "more than can sign")]
#[test_case("/namespaceSelector", json!({"matchLabels": {"a b": "c"}}), "spec.namespaceSelector.matchLabels[a b]: "; "a label nobody can have")]
#[test_case("/signers/0/key/keys", json!([]), "spec.signers[release].key.keys: "; "a signer without keys")]
fn a_mistake_of_the_policys_own_is_refused(pointer: &str, value: Value, field: &str) {
    let (refused, _) = written(pointer, value);
    assert!(refused[0].starts_with(field), "{refused:?}");
}

#[test_case("/signers/0/key/trustRoot", json!("gone"), "spec.signers[release].key.trustRoot: TrustRoot/gone does not exist"; "no trust root")]
#[test_case("/signers/0/key/keys", json!(["q4"]), "spec.signers[release].key.keys[q4]: "; "no such key")]
#[test_case("/signers/0/key/keys", json!(["rsa"]), "spec.signers[release].key.keys[rsa]: is RSA"; "a key that cannot be used")]
fn what_may_heal_is_a_warning(pointer: &str, value: Value, words: &str) {
    let (refused, warned) = written(pointer, value);
    assert_eq!(refused, Vec::<String>::new());
    assert!(warned[0].starts_with(words), "{warned:?}");
}

#[test_case(&[("q3", "1"), ("q4", "2")] => (vec![], vec![]); "keys")]
#[test_case(&[("q3", "1"), ("q4", "bad")] => (vec!["spec.keys[q4].publicKey: bank-keys/q4 is no key".to_owned()], vec![]); "no key")]
#[test_case(&[("q3", "1"), ("q3", "2")] => (vec!["spec.keys[q3].publicKey: the key bank-keys/q3 shares its name with another: rename one".to_owned()], vec![]); "one name twice")]
#[test_case(&[("q3", "1"), ("q4", "1")] => (vec![], vec!["spec.keys[q4].publicKey: is the same key as bank-keys/q3: whoever signs with it counts once".to_owned()]); "one key twice")]
fn a_trust_root(keys: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
    let keys: Vec<_> = keys
        .iter()
        .map(|(name, pem)| json!({"name": name, "publicKey": pem}))
        .collect();
    let root: TrustRoot = serde_json::from_value(json!({
        "apiVersion": "probity.dev/v1alpha1", "kind": "TrustRoot", "metadata": {"name": "bank-keys"}, "spec": {"keys": keys}
    }))
    .unwrap();
    let parse = |name: &str, pem: &str| {
        let number: u8 = pem.parse().map_err(|_| format!("{name} is no key"))?;
        Ok(key(number).fingerprint)
    };
    said(trust_root(&root, &trust::read(&root, parse)))
}
