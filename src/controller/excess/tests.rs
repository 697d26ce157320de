//! What a status says of rights, and what is told as news.

use jiff::Timestamp;
use serde_json::json;

use super::{super::condition::conditions, *};
use crate::{
    api::{GOVERNED_LABEL, v1alpha1::ClusterDeploymentPolicy},
    policy::{compile, trust::TrustRoots},
};

fn world(isolation: &serde_json::Value) -> World {
    let policy: ClusterDeploymentPolicy = serde_json::from_value(json!({
        "apiVersion": "probity.dev/v1alpha1", "kind": "ClusterDeploymentPolicy", "metadata": {"name": "p"},
        "spec": {
            "namespaceSelector": {},
            "signers": [{"name": "release", "key": {"trustRoot": "bank", "keys": ["release"]}}],
            "model": {"signers": ["release"]}, "isolation": isolation
        }
    }))
    .unwrap();
    let label = (GOVERNED_LABEL.to_owned(), "true".to_owned());
    World {
        rules: vec![compile(&policy, &TrustRoots::new())],
        namespaces: [("bank".to_owned(), [label].into())].into(),
        ..World::default()
    }
}

fn limited() -> World {
    world(&json!({"rbac": {"ceiling": []}}))
}

fn beyond(binding: &str) -> Beyond {
    let finding = json!({
        "rule": "isolation.rbac", "policy": "ClusterDeploymentPolicy/p", "effect": "Warn", "verdict": "Fail",
        "reason": "RightsExceeded", "message": format!("it may get secrets, for {binding}")
    });
    Beyond {
        finding: serde_json::from_value(finding).unwrap(),
        binding: ObjectReference {
            name: Some(binding.into()),
            ..ObjectReference::default()
        },
    }
}

/// A status that says this.
fn status(rights: &Rights) -> ModelDeploymentStatus {
    let wanted = rights.condition.clone().into_iter().collect();
    ModelDeploymentStatus {
        conditions: Some(conditions(None, wanted, Some(1), Timestamp::UNIX_EPOCH)),
        findings: Some(rights.findings.clone()),
        ..ModelDeploymentStatus::default()
    }
}

fn said(rights: &Rights) -> (&str, &str, usize) {
    let condition = rights.condition.as_ref().unwrap();
    (
        condition.state.as_str(),
        condition.reason.as_str(),
        rights.findings.len(),
    )
}

#[test]
fn what_the_audit_found_is_said_and_what_it_did_not_look_at_stays() {
    let says = |found: Option<&[Beyond]>, old: Option<&ModelDeploymentStatus>| {
        rights(&limited(), "bank", found, old)
    };
    let first = says(None, None);
    assert_eq!(said(&first), ("Unknown", "NotAudited", 0));
    assert_eq!(said(&says(Some(&[]), None)), ("True", "WithinCeiling", 0));
    let three = ["one", "two", "three"].map(beyond);
    let found = says(Some(&three), None);
    assert_eq!(said(&found), ("False", "RightsExceeded", 3));
    let message = &found.condition.as_ref().unwrap().message;
    assert_eq!(
        message,
        "it may get secrets, for one; it may get secrets, for two (and 1 more: see the findings)"
    );
    // A new leader has not looked yet, and unsays nothing.
    assert_eq!(says(None, Some(&status(&found))), found);
}

#[test]
fn where_no_policy_has_a_ceiling_nothing_is_said() {
    let nothing = rights(&world(&json!(null)), "bank", Some(&[beyond("one")]), None);
    assert_eq!(nothing, Rights::default());
    assert_eq!(rights(&limited(), "shop", Some(&[]), None), Rights::default());
}

#[test]
fn each_binding_is_told_once_by_its_own_name() {
    let names = |found: &[Beyond], old: Option<&ModelDeploymentStatus>| -> Vec<String> {
        let news = news(Some(found), old);
        news.into_iter().filter_map(|(_, about)| about.name).collect()
    };
    let one = [beyond("one")];
    assert_eq!(names(&one, None), ["one"]);
    let told = status(&rights(&limited(), "bank", Some(&one), None));
    assert!(names(&one, Some(&told)).is_empty());
    assert_eq!(names(&["one", "two"].map(beyond), Some(&told)), ["two"]);
    assert!(news(None, Some(&told)).is_empty());
}
