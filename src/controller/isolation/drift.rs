//! Who changed a NetworkPolicy that is not as planned any more, by what the API server keeps about its fields. Pure.

use k8s_openapi::{
    api::networking::v1::{NetworkPolicy, NetworkPolicySpec},
    apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry,
};
use kube::ResourceExt as _;
use serde_json::Value;

use crate::api::{FIELD_MANAGER, MODEL_LABEL};

/// Who changed `there` so that it is not `desired`; none when it is, or when it is our own plan that changed.
///
/// Whoever owns a field of the specification later than we wrote it last has changed it. A field that we wrote and that nobody
/// owns was taken away, and that leaves no name.
pub(super) fn changed_by(there: &NetworkPolicy, desired: &NetworkPolicy) -> Option<String> {
    let label = |policy: &NetworkPolicy| policy.labels().get(MODEL_LABEL).cloned();
    if spec(there) == spec(desired) && label(there) == label(desired) {
        return None;
    }
    let entries = there.managed_fields();
    let ours = entries
        .iter()
        .find(|entry| entry.manager.as_deref() == Some(FIELD_MANAGER));
    let since = ours.and_then(|entry| entry.time.clone());
    let mut names: Vec<&str> = entries
        .iter()
        .filter(|entry| entry.manager.as_deref() != Some(FIELD_MANAGER) && owns_spec(entry))
        .filter(|entry| entry.time >= since)
        .filter_map(|entry| entry.manager.as_deref())
        .collect();
    names.sort_unstable();
    names.dedup();
    if !names.is_empty() {
        return Some(names.join(", "));
    }
    ours.is_none_or(lacks_something)
        .then(|| "somebody whose name is not recorded".to_owned())
}

/// The specification with its empty lists, which the API server does not keep.
fn spec(policy: &NetworkPolicy) -> NetworkPolicySpec {
    let spec = policy.spec.clone().unwrap_or_default();
    NetworkPolicySpec {
        ingress: spec.ingress.filter(|rules| !rules.is_empty()),
        egress: spec.egress.filter(|rules| !rules.is_empty()),
        ..spec
    }
}

fn fields(entry: &ManagedFieldsEntry) -> Option<&Value> {
    entry.fields_v1.as_ref().map(|fields| &fields.0)
}

fn owns_spec(entry: &ManagedFieldsEntry) -> bool {
    fields(entry).is_some_and(|fields| fields.get("f:spec").is_some())
}

/// Whether what we always write is not ours any more.
fn lacks_something(entry: &ManagedFieldsEntry) -> bool {
    let label = format!("f:{MODEL_LABEL}");
    let Some(fields) = fields(entry) else { return true };
    let spec = ["f:podSelector", "f:policyTypes", "f:ingress", "f:egress"];
    spec.iter()
        .any(|field| fields.pointer(&format!("/f:spec/{field}")).is_none())
        || fields
            .get("f:metadata")
            .and_then(|meta| meta.get("f:labels")?.get(&label))
            .is_none()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use test_case::test_case;

    use super::*;

    const OURS: &str = r#"{"f:metadata": {"f:labels": {"f:probity.dev/model": {}}}, "f:spec": {"f:podSelector": {}, "f:policyTypes": {}, "f:ingress": {}, "f:egress": {}}}"#;
    const LESS: &str = r#"{"f:metadata": {"f:labels": {"f:probity.dev/model": {}}}, "f:spec": {"f:podSelector": {}, "f:policyTypes": {}, "f:egress": {}}}"#;

    fn policy(types: &[&str], managers: &[(&str, &str, &str)]) -> NetworkPolicy {
        let managed: Vec<_> = managers
            .iter()
            .map(|(manager, time, fields)| {
                json!({
                    "manager": manager, "operation": "Update", "apiVersion": "networking.k8s.io/v1", "time": time,
                    "fieldsType": "FieldsV1", "fieldsV1": serde_json::from_str::<Value>(fields).unwrap()
                })
            })
            .collect();
        serde_json::from_value(json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": "probity-digits", "labels": {"probity.dev/model": "digits"}, "managedFields": managed},
            "spec": {"podSelector": {}, "policyTypes": types, "ingress": []}
        }))
        .unwrap()
    }

    const AT_ONE: &str = "2026-11-01T00:00:01Z";
    const AT_TWO: &str = "2026-11-01T00:00:02Z";
    const SPEC: &str = r#"{"f:spec": {"f:policyTypes": {}}}"#;
    const NOTE: &str = r#"{"f:metadata": {"f:annotations": {"f:note": {}}}}"#;

    #[test_case(&["Ingress", "Egress"], &[("kubectl-edit", AT_TWO, SPEC)] => None; "as it was left")]
    #[test_case(&["Egress"], &[("probity", AT_ONE, OURS)] => None; "our plan changed")]
    #[test_case(&["Egress"], &[("probity", AT_ONE, OURS), ("kubectl-edit", AT_TWO, SPEC)] => Some("kubectl-edit".to_owned()); "somebody edited it")]
    #[test_case(&["Egress"], &[("probity", AT_ONE, OURS), ("kubectl-edit", AT_ONE, SPEC)] => Some("kubectl-edit".to_owned()); "within the same second")]
    #[test_case(&["Egress"], &[("probity", AT_TWO, OURS), ("kubectl-edit", AT_ONE, SPEC)] => None; "our plan changed after an edit that was repaired")]
    #[test_case(&["Egress"], &[("probity", AT_ONE, OURS), ("note", AT_TWO, NOTE)] => None; "somebody else wrote something else")]
    #[test_case(&["Egress"], &[("probity", AT_ONE, OURS), ("b", AT_TWO, SPEC), ("a", AT_TWO, SPEC)] => Some("a, b".to_owned()); "two did")]
    #[test_case(&["Egress"], &[("probity", AT_ONE, LESS)] => Some("somebody whose name is not recorded".to_owned()); "something was taken away")]
    #[test_case(&["Egress"], &[] => Some("somebody whose name is not recorded".to_owned()); "nothing is recorded")]
    fn who_did_it(types: &[&str], managers: &[(&str, &str, &str)]) -> Option<String> {
        changed_by(&policy(types, managers), &policy(&["Ingress", "Egress"], &[]))
    }

    #[test]
    fn an_empty_list_is_no_list() {
        let there = policy(&["Ingress"], &[]);
        let mut desired = there.clone();
        desired.spec.as_mut().unwrap().ingress = None;
        assert_eq!(changed_by(&there, &desired), None);
    }
}
