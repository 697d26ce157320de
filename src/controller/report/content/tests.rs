use serde_json::{Value, json};
use test_case::test_case;

use super::*;

fn finding(rule: &str, effect: &str, verdict: &str, reason: &Value) -> Value {
    json!({
        "rule": rule, "policy": "ClusterDeploymentPolicy/baseline", "effect": effect, "verdict": verdict,
        "reason": reason, "message": format!("what {rule} says")
    })
}

fn condition(kind: &str, status: &str, reason: &str) -> Value {
    json!({
        "type": kind, "status": status, "reason": reason, "message": format!("what {kind} says"),
        "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1
    })
}

fn model(name: &str, findings: &[Value], conditions: &[Value]) -> ModelDeployment {
    let digest = Digest::from_bytes([0xaa; 32]);
    serde_json::from_value(json!({
        "apiVersion": "probity.dev/v1alpha1", "kind": "ModelDeployment",
        "metadata": {"name": name, "namespace": "bank", "uid": format!("uid-of-{name}")},
        "spec": {"model": {"source": {"mounted": {}}}, "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "server"}},
        "status": {
            "candidate": {"digest": digest, "reference": "registry.example/models/digits:2", "reason": "SignerMismatch"},
            "findings": findings, "conditions": conditions
        }
    }))
    .unwrap()
}

/// A model that was refused by one rule and is fine by others.
fn refused(name: &str) -> ModelDeployment {
    model(
        name,
        &[
            finding("model.signature", "Enforce", "Fail", &json!("SignerMismatch")),
            finding("isolation.hardening", "Warn", "Fail", &json!("NotHardened")),
            finding("isolation.runtimeClasses", "Enforce", "Pass", &json!(null)),
            finding("model.repositories", "Enforce", "Pass", &json!(null)),
        ],
        &[
            condition("Ready", "False", "SignerMismatch"),
            condition("Available", "Unknown", "Unreadable"),
            condition("Stalled", "True", "SignerMismatch"),
            condition("PolicySatisfied", "False", "SignerMismatch"),
            condition("Accepted", "True", "Accepted"),
        ],
    )
}

#[test]
fn the_report_of_a_model() {
    insta::assert_yaml_snapshot!(of_model(&refused("digits")));
}

#[test]
fn the_report_of_a_namespace() {
    let fine = model(
        "fine",
        &[finding("model.signature", "Enforce", "Pass", &json!(null))],
        &[condition("Ready", "True", "Serving")],
    );
    let models = [refused("digits"), refused("letters"), fine];
    insta::assert_yaml_snapshot!(of_namespace("bank", "uid-of-bank", &models, Vec::new()));
}

#[test]
fn a_model_without_a_status_has_nothing_to_report() {
    let mut model = refused("digits");
    model.status = None;
    let report = of_model(&model);
    assert_eq!((report.results, report.summary), (Vec::new(), Summary::default()));
}

#[test]
fn the_report_of_a_large_namespace_counts_all_and_names_some() {
    let models: Vec<_> = (0..500).map(|n| refused(&format!("digits-{n}"))).collect();
    let report = of_namespace("bank", "uid-of-bank", &models, Vec::new());
    assert_eq!(report.results.len(), 7, "one for each rule and what came of it");
    assert_eq!((report.summary.fail, report.summary.warn), (1000, 500));
    assert_eq!(report.results[0].properties["models"], "500");
    assert_eq!(report.results[0].resources.len(), NAMED);
    assert!(serde_json::to_string(&report).unwrap().len() < 256 * 1024);
}

/// Five hundred models of which each says something else.
#[test]
fn the_report_of_a_motley_namespace_is_bounded() {
    let motley = |n: usize| {
        let mut own = finding("model.signature", "Enforce", "Fail", &json!("SignerMismatch"));
        own["policy"] = json!(format!("DeploymentPolicy/bank/{n}"));
        own["message"] = json!("x".repeat(1000));
        model(&format!("digits-{n}"), &[own], &[])
    };
    let models: Vec<_> = (0..500).map(motley).collect();
    let report = of_namespace("bank", "uid-of-bank", &models, Vec::new());
    assert_eq!(report.summary.fail, 500);
    assert!(report.results.len() <= 256);
    assert!(report.results.last().unwrap().properties.contains_key("cut"));
    assert!(serde_json::to_string(&report).unwrap().len() < 256 * 1024);
}

#[test_case("Enforce", "Pass", None => (Outcome::Pass, Severity::Info); "holds")]
#[test_case("Enforce", "Wait", None => (Outcome::Skip, Severity::Info); "waits")]
#[test_case("Enforce", "Unknown", Some(Reason::Timeout) => (Outcome::Error, Severity::High); "not known")]
#[test_case("Enforce", "Fail", Some(Reason::SignerMismatch) => (Outcome::Fail, Severity::High); "refused")]
#[test_case("Enforce", "Fail", Some(Reason::DigestMismatch) => (Outcome::Fail, Severity::Critical); "changed after it was signed")]
#[test_case("Enforce", "Fail", Some(Reason::Revoked) => (Outcome::Fail, Severity::Critical); "revoked")]
#[test_case("Warn", "Fail", Some(Reason::DigestMismatch) => (Outcome::Warn, Severity::Medium); "warned about")]
#[test_case("Audit", "Fail", Some(Reason::DigestMismatch) => (Outcome::Warn, Severity::Low); "on record")]
#[test_case("Audit", "Unknown", Some(Reason::Timeout) => (Outcome::Error, Severity::Low); "not known, on record")]
fn a_finding_as_a_result(effect: &str, verdict: &str, reason: Option<Reason>) -> (Outcome, Severity) {
    let finding = finding("model.signature", effect, verdict, &json!(reason));
    let result = of_finding(&serde_json::from_value(finding).unwrap(), None);
    assert_eq!(result.properties["effect"], effect);
    (result.result.unwrap(), result.severity.unwrap())
}

#[test_case("model.signature", "Pass" => "verified"; "recomputed here")]
#[test_case("isolation.runtimeClasses", "Pass" => "requested"; "asked for")]
#[test_case("isolation.runtimeClasses", "Fail" => "verified"; "not asked for, which is seen")]
#[test_case("model.signature", "Wait" => "none"; "waited for")]
#[test_case("model.signature", "Unknown" => "none"; "unknown")]
fn what_a_result_rests_on(rule: &str, verdict: &str) -> String {
    let finding = finding(rule, "Enforce", verdict, &json!(null));
    of_finding(&serde_json::from_value(finding).unwrap(), None).properties["evidence"].clone()
}

#[test]
fn what_is_waived_is_not_hidden_among_what_holds() {
    let mut finding = finding("isolation.hardening", "Enforce", "Pass", &json!("NotHardened"));
    finding["waivedBy"] =
        json!({"waiver": "until-the-move", "approvedBy": "ada", "until": "2026-12-01T00:00:00Z"});
    let result = of_finding(&serde_json::from_value(finding).unwrap(), None);
    assert_eq!(result.result, Some(Outcome::Warn));
    assert_eq!(result.properties["evidence"], "waived");
    assert_eq!(result.properties["waivedBy"], "until-the-move");
    assert_eq!(result.properties["approvedBy"], "ada");
    assert_eq!(result.properties["waivedUntil"], "2026-12-01T00:00:00Z");
}
