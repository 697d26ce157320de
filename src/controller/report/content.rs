//! What a Report says: of one model, from its status; of a namespace, from all its models. Pure, and bounded however much there
//! is to say. Nothing is judged here: findings and conditions are translated.

use std::collections::{BTreeMap, btree_map::Entry};

use k8s_openapi::{
    api::core::v1::ObjectReference,
    apimachinery::pkg::apis::meta::v1::{Condition, OwnerReference},
};
use kube::{
    Resource as _, ResourceExt as _,
    core::{ObjectMeta, TypeMeta},
};

use crate::{
    api::{
        openreports::{GROUP, Outcome, Report, ReportResult, Severity, Summary, VERSION},
        v1alpha1::{ModelDeployment, ModelDeploymentStatus},
    },
    evidence::{Class, Digest, Effect, Finding, Reason, RuleId, Verdict},
    workload::child_meta,
};

use super::{super::excess::RIGHTS, bounds::bounded};

/// Who writes the reports, as they say it.
pub(super) const SOURCE: &str = "probity";
/// What the conditions of a model count as a policy: the operator's own.
const CONDITIONS: &str = "probity/conditions";
/// Conditions whose meaning is the other way around, or that are no statement of their own.
const NO_RESULTS: [&str; 4] = ["Reconciling", "Stalled", "PolicySatisfied", RIGHTS];
/// How many models are named for one result of a namespace.
const NAMED: usize = 10;
/// The name of the report of a namespace; those of models begin so.
pub(super) const NAME: &str = "probity";

/// The report of one model.
pub(super) fn of_model(model: &ModelDeployment) -> Report {
    let meta = child_meta(model);
    let results = results(model);
    report(
        ObjectMeta {
            name: Some(format!("{NAME}-{}", model.name_any())),
            ..meta
        },
        reference(model),
        summary(results.iter().map(|result| (result.result, 1))),
        results,
    )
}

/// The report of a namespace with these models: what rules come to in it, and which models are concerned; and what the audit
/// found beside them.
pub(super) fn of_namespace(
    namespace: &str,
    uid: &str,
    models: &[ModelDeployment],
    audited: Vec<ReportResult>,
) -> Report {
    type Key = (Option<Outcome>, Option<Severity>, String, Option<String>, String);
    let mut groups: BTreeMap<Key, (ReportResult, i64)> = BTreeMap::new();
    for model in models {
        for mut result in results(model) {
            let reason = result.properties.get("reason").cloned().unwrap_or_default();
            let key = (
                result.result,
                result.severity,
                result.policy.clone(),
                result.rule.clone(),
                reason,
            );
            match groups.entry(key) {
                Entry::Vacant(free) => {
                    result.resources = vec![reference(model)];
                    // What is true of one model is not of the next.
                    result.properties.remove("digest");
                    free.insert((result, 1));
                }
                Entry::Occupied(mut taken) => {
                    let (first, count) = taken.get_mut();
                    *count += 1;
                    if first.resources.len() < NAMED {
                        first.resources.push(reference(model));
                    }
                }
            }
        }
    }
    let of_models = groups.values().map(|(result, count)| (result.result, *count));
    let summary = summary(of_models.chain(audited.iter().map(|result| (result.result, 1))));
    let results = groups.into_values().map(|(mut result, count)| {
        result.properties.insert("models".into(), count.to_string());
        if count > 1 {
            let first = result.resources.first().and_then(|one| one.name.clone());
            let message = result.message.unwrap_or_default();
            result.message = Some(format!(
                "{count} models, such as {}: {message}",
                first.unwrap_or_default()
            ));
        }
        result
    });
    let owner = OwnerReference {
        api_version: "v1".into(),
        kind: "Namespace".into(),
        name: namespace.into(),
        uid: uid.into(),
        controller: Some(true),
        block_owner_deletion: None,
    };
    report(
        ObjectMeta {
            name: Some(NAME.into()),
            namespace: Some(namespace.into()),
            labels: Some([("app.kubernetes.io/managed-by".to_owned(), "probity".to_owned())].into()),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Namespace".into()),
            name: Some(namespace.into()),
            uid: Some(uid.into()),
            ..ObjectReference::default()
        },
        summary,
        results.chain(audited).collect(),
    )
}

fn report(
    metadata: ObjectMeta,
    scope: ObjectReference,
    summary: Summary,
    results: Vec<ReportResult>,
) -> Report {
    Report {
        types: Some(TypeMeta {
            api_version: format!("{GROUP}/{VERSION}"),
            kind: "Report".into(),
        }),
        metadata,
        source: Some(SOURCE.into()),
        scope: Some(scope),
        summary,
        results: bounded(results),
    }
}

fn summary(outcomes: impl Iterator<Item = (Option<Outcome>, i64)>) -> Summary {
    let mut summary = Summary::default();
    for (outcome, count) in outcomes {
        let place = match outcome {
            Some(Outcome::Pass) => &mut summary.pass,
            Some(Outcome::Fail) => &mut summary.fail,
            Some(Outcome::Warn) => &mut summary.warn,
            Some(Outcome::Error) => &mut summary.error,
            Some(Outcome::Skip) | None => &mut summary.skip,
        };
        *place += count;
    }
    summary
}

fn reference(model: &ModelDeployment) -> ObjectReference {
    ObjectReference {
        api_version: Some(ModelDeployment::api_version(&()).into_owned()),
        kind: Some(ModelDeployment::kind(&()).into_owned()),
        namespace: model.namespace(),
        name: Some(model.name_any()),
        uid: model.uid(),
        ..ObjectReference::default()
    }
}

/// What the status of a model says, one result each.
fn results(model: &ModelDeployment) -> Vec<ReportResult> {
    let Some(status) = &model.status else {
        return Vec::new();
    };
    let findings = status.findings.iter().flatten();
    let digest = subject(status);
    let findings = findings.map(|finding| of_finding(finding, digest));
    let conditions = status.conditions.iter().flatten();
    findings.chain(conditions.filter_map(of_condition)).collect()
}

/// What the findings of a status speak of.
fn subject(status: &ModelDeploymentStatus) -> Option<Digest> {
    let candidate = status.candidate.as_ref().map(|candidate| candidate.digest);
    let serving = || status.serving.as_ref().map(|serving| serving.digest);
    let pinned = || status.resolved.as_ref().and_then(|resolved| resolved.digest);
    candidate.unwrap_or_else(|| serving().or_else(pinned))
}

fn of_finding(finding: &Finding, digest: Option<Digest>) -> ReportResult {
    let Finding {
        rule,
        policy,
        effect,
        verdict,
        reason,
        message,
        waived_by,
    } = finding;
    let mut properties = BTreeMap::new();
    let effect_name = match effect {
        Effect::Enforce => "Enforce",
        Effect::Warn => "Warn",
        Effect::Audit => "Audit",
    };
    properties.insert("effect".into(), effect_name.to_owned());
    let evidence = match waived_by {
        Some(_) => "waived",
        None => evidence(*rule, *verdict),
    };
    properties.insert("evidence".into(), evidence.to_owned());
    if let Some(reason) = reason {
        properties.insert("reason".into(), reason.as_str().to_owned());
    }
    if let Some(waived) = waived_by {
        properties.insert("waivedBy".into(), waived.waiver.clone());
        properties.insert("waivedUntil".into(), waived.until.clone());
        properties.insert("approvedBy".into(), waived.approved_by.clone());
    }
    if let Some(digest) = digest {
        properties.insert("digest".into(), digest.to_string());
    }
    ReportResult {
        source: Some(SOURCE.into()),
        policy: policy.clone().unwrap_or_else(|| SOURCE.into()),
        rule: Some(rule.to_string()),
        category: Some(category(*rule).into()),
        severity: Some(match (verdict, effect) {
            _ if waived_by.is_some() => Severity::Medium,
            (Verdict::Pass | Verdict::Wait, _) => Severity::Info,
            (_, Effect::Warn) => Severity::Medium,
            (_, Effect::Audit) => Severity::Low,
            (_, Effect::Enforce) => match reason.map(Reason::class) {
                Some(Class::Integrity | Class::Trust) => Severity::Critical,
                _ => Severity::High,
            },
        }),
        result: Some(match (verdict, effect) {
            // It does not hold, and somebody took it upon themselves.
            _ if waived_by.is_some() => Outcome::Warn,
            (Verdict::Pass, _) => Outcome::Pass,
            (Verdict::Wait, _) => Outcome::Skip,
            (Verdict::Unknown, _) => Outcome::Error,
            (Verdict::Fail, Effect::Enforce) => Outcome::Fail,
            (Verdict::Fail, Effect::Warn | Effect::Audit) => Outcome::Warn,
        }),
        message: Some(message.clone()),
        properties,
        ..ReportResult::default()
    }
}

/// What the result rests on: `verified` was recomputed here, `requested` is asked for and nobody attests it, `none` is not known.
fn evidence(rule: RuleId, verdict: Verdict) -> &'static str {
    match (rule, verdict) {
        (_, Verdict::Wait | Verdict::Unknown) => "none",
        (RuleId::IsolationRuntimeClasses, Verdict::Pass) => "requested",
        _ => "verified",
    }
}

fn category(rule: RuleId) -> &'static str {
    match rule.as_str().split('.').next() {
        Some("model") => "Supply chain",
        Some("isolation") => "Isolation",
        Some("pods") => "Admission",
        _ => "Policy",
    }
}

/// A condition as a result. `PolicySatisfied` and what is said of rights is what the findings say one by one.
fn of_condition(condition: &Condition) -> Option<ReportResult> {
    if NO_RESULTS.contains(&condition.type_.as_str()) {
        return None;
    }
    let (result, severity) = match condition.status.as_str() {
        "True" => (Outcome::Pass, Severity::Info),
        "False" => (Outcome::Fail, Severity::High),
        _ => (Outcome::Error, Severity::Medium),
    };
    Some(ReportResult {
        source: Some(SOURCE.into()),
        policy: CONDITIONS.into(),
        rule: Some(condition.type_.clone()),
        category: Some("Status".into()),
        severity: Some(severity),
        result: Some(result),
        message: Some(condition.message.clone()),
        properties: [("reason".to_owned(), condition.reason.clone())].into(),
        ..ReportResult::default()
    })
}

#[cfg(test)]
mod tests;
