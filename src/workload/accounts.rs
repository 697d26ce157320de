//! Which accounts the pods of a workload run under, as far as its own object says. Pure.

use std::collections::BTreeSet;

use serde_json::Value;

/// The account of pods that name none.
pub const DEFAULT_ACCOUNT: &str = "default";

/// What names the account of a pod: the second is the older name of the first.
const NAMED: [&str; 2] = ["serviceAccountName", "serviceAccount"];

/// Deeper than any template lies in a workload.
const DEEPEST: usize = 16;

/// The accounts that pods of this workload may run under. `spec` is the workload's, of whatever kind: an `InferenceService`
/// has several pods in it, and of those that name no account nothing is seen, so the default one is always among them there.
pub fn accounts(kind: &str, spec: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    collect(spec, DEEPEST, &mut found);
    if found.is_empty() || kind == "InferenceService" {
        found.insert(DEFAULT_ACCOUNT.to_owned());
    }
    found
}

fn collect(value: &Value, depth: usize, found: &mut BTreeSet<String>) {
    let Some(deeper) = depth.checked_sub(1) else {
        return;
    };
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value.as_str() {
                    Some(name) if NAMED.contains(&key.as_str()) && !name.is_empty() => {
                        found.insert(name.to_owned());
                    }
                    _ => collect(value, deeper, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, deeper, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use test_case::test_case;

    use super::*;

    #[test_case("Deployment", json!({"template": {"spec": {"serviceAccountName": "teller"}}}) => "teller"; "named")]
    #[test_case("Deployment", json!({"template": {"spec": {"serviceAccount": "teller"}}}) => "teller"; "by its older name")]
    #[test_case("Deployment", json!({"template": {"spec": {"containers": []}}}) => "default"; "not named")]
    #[test_case("Deployment", json!({"template": {"spec": {"serviceAccountName": ""}}}) => "default"; "named as nothing")]
    #[test_case("InferenceService", json!({"predictor": {"serviceAccountName": "a"}, "transformer": {"containers": []}}) => "a,default"; "several pods")]
    #[allow(clippy::needless_pass_by_value, reason = "rows of a table are values")]
    fn runs_under(kind: &str, spec: Value) -> String {
        accounts(kind, &spec).into_iter().collect::<Vec<_>>().join(",")
    }
}
