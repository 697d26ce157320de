//! What the audit found in a namespace, as results of its report: pods that would be refused now, network policies that open
//! models. Pure: it translates what the audit counted, which is bounded already.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ObjectReference;

use super::{super::audit::Told, content::SOURCE};
use crate::{
    api::{
        openreports::{Outcome, Report, ReportResult, Severity},
        v1alpha1::{AuditedNetworkPolicies, AuditedNetworkPolicy, AuditedPod, AuditedPods},
    },
    evidence::{Reason, RuleId},
};

/// What the results about pods are about; findings have no such rule.
const PODS: &str = "pods.audit";
/// The property by which results of the audit are known again.
const FOUND_BY: (&str, &str) = ("foundBy", "audit");

/// One result for each policy, and what of it was looked at.
pub(super) fn results(told: &Told) -> Vec<ReportResult> {
    let both = told.iter().flat_map(|(policy, share)| {
        let openers = share.openers.as_ref();
        [
            pods(policy, &share.pods),
            openers.and_then(|openers| networks(policy, openers)),
        ]
    });
    both.flatten().collect()
}

/// Those of a stored report: what nobody has looked at since this operator began stays as it was told last.
pub(super) fn kept(stored: Option<&Report>) -> Vec<ReportResult> {
    let results = stored.into_iter().flat_map(|stored| &stored.results);
    let (key, value) = FOUND_BY;
    let by_audit = |result: &&ReportResult| result.properties.get(key).is_some_and(|found| found == value);
    results.filter(by_audit).cloned().collect()
}

/// None where there are no pods.
fn pods(policy: &str, pods: &AuditedPods) -> Option<ReportResult> {
    let AuditedPods {
        judged,
        refused,
        would_refuse,
        examples,
    } = pods;
    if *judged == 0 {
        return None;
    }
    let named = examples.as_deref().unwrap_or_default();
    let names: Vec<String> = named
        .iter()
        .map(|pod| format!("{} ({})", pod.name, pod.reason))
        .collect();
    let names = names.join(", ");
    let (outcome, severity, message) = match (refused, would_refuse) {
        (0, 0) => (
            Outcome::Pass,
            Severity::Info,
            format!("{judged} pods that are there would be let in now"),
        ),
        (0, would) => (
            Outcome::Warn,
            Severity::Medium,
            format!(
                "{would} of {judged} pods that are there would be refused if this were enforced, such as {names}"
            ),
        ),
        (refused, _) => (
            Outcome::Fail,
            Severity::High,
            format!(
                "{refused} of {judged} pods that are there would be refused now, such as {names}: have them made anew, or taken away"
            ),
        ),
    };
    let properties = [
        ("judged", judged.to_string()),
        ("refused", refused.to_string()),
        ("wouldRefuse", would_refuse.to_string()),
    ];
    let resources = named
        .iter()
        .map(|AuditedPod { namespace, name, .. }| reference("v1", "Pod", namespace, name));
    let resources = resources.collect();
    Some(result(
        (policy, PODS, "Admission"),
        (outcome, severity),
        message,
        &properties,
        resources,
    ))
}

/// None where none opens anything.
fn networks(policy: &str, openers: &AuditedNetworkPolicies) -> Option<ReportResult> {
    let named = openers.examples.as_deref().unwrap_or_default();
    if openers.opening == 0 {
        return None;
    }
    let names: Vec<String> = named
        .iter()
        .map(|one| format!("{} {} ({})", one.kind, one.name, one.allows))
        .collect();
    let message = format!(
        "{} network policies allow traffic of models beside what is declared, such as {}: delete them, or have their selectors leave models out",
        openers.opening,
        names.join(", ")
    );
    let properties = [("reason", Reason::NetworkOpened.to_string())];
    let resources = named.iter().map(
        |AuditedNetworkPolicy {
             namespace,
             kind,
             name,
             ..
         }| {
            let version = if kind == "NetworkPolicy" {
                "networking.k8s.io/v1"
            } else {
                "cilium.io/v2"
            };
            reference(version, kind, namespace, name)
        },
    );
    let resources = resources.collect();
    let rule = RuleId::IsolationNetwork.as_str();
    Some(result(
        (policy, rule, "Isolation"),
        (Outcome::Fail, Severity::High),
        message,
        &properties,
        resources,
    ))
}

fn reference(version: &str, kind: &str, namespace: &str, name: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some(version.into()),
        kind: Some(kind.into()),
        namespace: Some(namespace.into()),
        name: Some(name.into()),
        ..ObjectReference::default()
    }
}

fn result(
    (policy, rule, category): (&str, &str, &str),
    (outcome, severity): (Outcome, Severity),
    message: String,
    properties: &[(&str, String)],
    resources: Vec<ObjectReference>,
) -> ReportResult {
    let own = [
        (FOUND_BY.0, FOUND_BY.1.to_owned()),
        ("evidence", "verified".to_owned()),
    ];
    let properties: BTreeMap<String, String> = own
        .iter()
        .chain(properties)
        .map(|(key, value)| ((*key).to_owned(), value.clone()))
        .collect();
    ReportResult {
        source: Some(SOURCE.into()),
        policy: policy.into(),
        rule: Some(rule.into()),
        category: Some(category.into()),
        severity: Some(severity),
        result: Some(outcome),
        message: Some(message),
        properties,
        resources,
        ..ReportResult::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use test_case::test_case;

    use super::*;

    fn told(pods: serde_json::Value) -> Told {
        let share = super::super::super::audit::Share {
            pods: serde_json::from_value(pods).unwrap(),
            openers: Some(
                serde_json::from_value(json!({"opening": 1, "examples": [{
                    "namespace": "bank", "kind": "NetworkPolicy", "name": "open", "model": "digits", "allows": "spec.ingress[0]"
                }]}))
                .unwrap(),
            ),
            ..Default::default()
        };
        [("ClusterDeploymentPolicy/p".to_owned(), share)].into()
    }

    #[test_case(json!({"judged": 3, "refused": 0, "wouldRefuse": 0}) => Some((Outcome::Pass, "3 pods that are there would be let in now".to_owned())); "none")]
    #[test_case(json!({"judged": 3, "refused": 0, "wouldRefuse": 1, "examples": [{"namespace": "bank", "name": "a", "reason": "UnmanagedPod"}]}) => Some((Outcome::Warn, "1 of 3 pods that are there would be refused if this were enforced, such as a (UnmanagedPod)".to_owned())); "one would be")]
    #[test_case(json!({"judged": 3, "refused": 1, "wouldRefuse": 1, "examples": [{"namespace": "bank", "name": "a", "reason": "StaticPod"}]}) => Some((Outcome::Fail, "1 of 3 pods that are there would be refused now, such as a (StaticPod): have them made anew, or taken away".to_owned())); "one is")]
    #[test_case(json!({"judged": 0, "refused": 0, "wouldRefuse": 0}) => None; "there are none")]
    fn pods_that_are_there(pods: serde_json::Value) -> Option<(Outcome, String)> {
        let results = results(&told(pods));
        let result = results.iter().find(|one| one.rule.as_deref() == Some(PODS))?;
        Some((result.result?, result.message.clone()?))
    }

    #[test]
    fn what_opens_models_is_named() {
        let results = results(&told(json!({"judged": 0, "refused": 0, "wouldRefuse": 0})));
        assert_eq!(results.len(), 1);
        assert_eq!(results[0].properties["reason"], "NetworkOpened");
        assert_eq!(results[0].resources[0].name.as_deref(), Some("open"));
    }

    #[test]
    fn what_was_not_looked_at_again_stays_and_nothing_else_does() {
        let found = results(&told(json!({"judged": 3, "refused": 0, "wouldRefuse": 0})));
        let other = ReportResult {
            rule: Some(PODS.into()),
            ..ReportResult::default()
        };
        let stored = Report {
            results: [found.clone(), vec![other]].concat(),
            ..Report::default()
        };
        assert_eq!(kept(Some(&stored)), found);
        assert_eq!(kept(None), []);
    }
}
