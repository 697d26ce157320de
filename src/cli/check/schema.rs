//! What an API server asks of an object's shape by our own definitions, asked without one.
//! Types, required fields, bounds, patterns and lists without repetition; the rules between fields are in `policy`.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use serde_json::Value;

use crate::api::custom_resource_definitions;

/// The schemas of our kinds, by kind.
#[derive(Debug, Clone)]
pub(super) struct Schemas(BTreeMap<String, JSONSchemaProps>);

impl Schemas {
    /// Those this version would install.
    pub(super) fn installed() -> Self {
        let schemas = custom_resource_definitions()
            .into_iter()
            .filter_map(|definition| {
                let version = definition.spec.versions.into_iter().next()?;
                Some((definition.spec.names.kind, version.schema?.open_api_v3_schema?))
            });
        Self(schemas.collect())
    }

    /// The kinds there are.
    pub(super) fn kinds(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Everything about `value` that its kind's schema refuses, each a field's path and why. The metadata is not in it.
    pub(super) fn violations(&self, kind: &str, value: &Value) -> Vec<String> {
        let mut found = Vec::new();
        if let Some(schema) = self.0.get(kind) {
            check(schema, value, "", &mut found);
        }
        found
    }

    /// The name among the fields beside `path` that is most like its last part, if one is alike at all.
    pub(super) fn like(&self, kind: &str, path: &[Step]) -> Option<String> {
        const METADATA: [&str; 5] = ["name", "namespace", "labels", "annotations", "generateName"];
        let (Step::Key(wrong), parents) = path.split_last()? else {
            return None;
        };
        if let [Step::Key(metadata)] = parents
            && metadata == "metadata"
        {
            return nearest(wrong, METADATA.into_iter());
        }
        let mut schema = self.0.get(kind)?;
        for step in parents {
            schema = match step {
                Step::Key(key) => match schema
                    .properties
                    .as_ref()
                    .and_then(|properties| properties.get(key))
                {
                    Some(property) => property,
                    None => match schema.additional_properties.as_ref()? {
                        JSONSchemaPropsOrBool::Schema(schema) => schema,
                        JSONSchemaPropsOrBool::Bool(_) => return None,
                    },
                },
                Step::Index(_) => item(schema)?,
            };
        }
        nearest(wrong, schema.properties.as_ref()?.keys().map(String::as_str))
    }
}

/// One step of a path to a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

/// The path as people write it: `spec.keys[0].name`.
pub(super) fn written(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Key(key) if text.is_empty() => text.push_str(key),
            Step::Key(key) => text.extend([".", key]),
            Step::Index(at) => text.extend(["[", &at.to_string(), "]"]),
        }
    }
    text
}

/// The candidate that a slip of the fingers away is `wrong`.
pub(super) fn nearest<'a>(wrong: &str, candidates: impl Iterator<Item = &'a str>) -> Option<String> {
    let distance =
        |candidate: &str| strsim::damerau_levenshtein(&wrong.to_lowercase(), &candidate.to_lowercase());
    let (slips, candidate) = candidates
        .map(|candidate| (distance(candidate), candidate))
        .min()?;
    (slips <= (wrong.chars().count() / 3).max(1)).then(|| candidate.to_owned())
}

/// What is said of a field that nobody reads.
pub(super) fn unknown(meant: Option<String>) -> String {
    let meant = meant.map(|name| format!("; did you mean {name}?"));
    format!("unknown field{}", meant.unwrap_or_default())
}

fn item(schema: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
    match schema.items.as_ref()? {
        JSONSchemaPropsOrArray::Schema(item) => Some(item),
        JSONSchemaPropsOrArray::Schemas(_) => None,
    }
}

fn check(schema: &JSONSchemaProps, value: &Value, path: &str, found: &mut Vec<String>) {
    let mut say = |message: String| {
        let path = if path.is_empty() { "the object" } else { path };
        found.push(format!("{path}: {message}"));
    };
    if let Some(message) = wrong_type(schema, value) {
        say(message);
        return;
    }
    if let Some(allowed) = &schema.enum_
        && !allowed.iter().any(|allowed| allowed.0 == *value)
    {
        let names: Vec<_> = allowed.iter().map(|allowed| show(&allowed.0)).collect();
        say(format!("{} is not one of {}", show(value), names.join(", ")));
    }
    match value {
        Value::String(text) => wrong_text(schema, text).into_iter().for_each(say),
        Value::Number(number) => wrong_number(schema, number.as_f64().unwrap_or(f64::NAN))
            .into_iter()
            .for_each(say),
        Value::Array(items) => {
            wrong_count(schema.min_items, schema.max_items, items.len(), "entries")
                .into_iter()
                .for_each(&mut say);
            repeated(schema, items).into_iter().for_each(&mut say);
            if let Some(schema) = item(schema) {
                for (at, item) in items.iter().enumerate() {
                    check(schema, item, &format!("{path}[{at}]"), found);
                }
            }
        }
        Value::Object(fields) => {
            wrong_count(
                schema.min_properties,
                schema.max_properties,
                fields.len(),
                "entries",
            )
            .into_iter()
            .for_each(&mut say);
            let at_top = path.is_empty();
            // An API server takes a field without a value for one that was left out.
            let given = |name: &String| fields.get(name).is_some_and(|value| !value.is_null());
            let missing: Vec<_> = schema
                .required
                .iter()
                .flatten()
                .filter(|name| !given(name))
                .collect();
            for name in missing {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                found.push(format!("{path}: is required"));
            }
            for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                let property = schema
                    .properties
                    .as_ref()
                    .and_then(|properties| properties.get(name));
                let others = match &schema.additional_properties {
                    Some(JSONSchemaPropsOrBool::Schema(schema)) => Some(schema.as_ref()),
                    Some(JSONSchemaPropsOrBool::Bool(_)) | None => None,
                };
                match (property.or(others), &schema.properties) {
                    (Some(schema), _) => check(schema, value, &path, found),
                    // At the top a schema leaves out what every object has.
                    (None, Some(known)) if !at_top => {
                        let meant = nearest(name, known.keys().map(String::as_str));
                        found.push(format!("{path}: {}", unknown(meant)));
                    }
                    (None, _) => {}
                }
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
}

fn wrong_type(schema: &JSONSchemaProps, value: &Value) -> Option<String> {
    let is = match value {
        Value::Null => return None,
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    if schema.x_kubernetes_int_or_string == Some(true) {
        let fits = matches!(is, "integer" | "string");
        return (!fits).then(|| format!("must be a whole number or a string, not {}", show(value)));
    }
    let must = schema.type_.as_deref()?;
    if must == is || (must == "number" && is == "integer") {
        return None;
    }
    let must = if must == "integer" { "whole number" } else { must };
    Some(match (must, is) {
        ("string", "integer" | "number" | "boolean") => {
            format!("must be a string, not {}: write it in quotes", show(value))
        }
        ("whole number" | "number" | "boolean", "string") => format!(
            "must be a {must}, not the string {}: write it without quotes",
            show(value)
        ),
        ("array", _) => format!("must be a list, not {}", show(value)),
        ("object", _) => format!("must have fields, and is {}", show(value)),
        _ => format!("must be a {must}, not {}", show(value)),
    })
}

fn wrong_text(schema: &JSONSchemaProps, text: &str) -> Option<String> {
    let length = text.chars().count();
    if let Some(message) = wrong_count(schema.min_length, schema.max_length, length, "characters") {
        return Some(message);
    }
    let pattern = schema.pattern.as_deref()?;
    // A pattern of ours that cannot be compiled is caught by the tests; here it must not let anything through.
    let fits = regex::Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text));
    (!fits).then(|| format!("{} does not have the form {pattern}", show(&Value::from(text))))
}

fn wrong_number(schema: &JSONSchemaProps, number: f64) -> Option<String> {
    let low = schema
        .minimum
        .filter(|least| number < *least)
        .map(|least| format!("{number} is less than {least}"));
    low.or_else(|| {
        schema
            .maximum
            .filter(|most| number > *most)
            .map(|most| format!("{number} is more than {most}"))
    })
}

fn wrong_count(least: Option<i64>, most: Option<i64>, count: usize, what: &str) -> Option<String> {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    match (least, most) {
        (Some(least), _) if count < least => Some(format!("has {count} {what} and needs at least {least}")),
        (_, Some(most)) if count > most => Some(format!("has {count} {what} and may have at most {most}")),
        _ => None,
    }
}

/// What a list that is a set, or a map by some keys, has twice.
fn repeated(schema: &JSONSchemaProps, items: &[Value]) -> Option<String> {
    let identity = |item: &Value| match schema.x_kubernetes_list_type.as_deref() {
        Some("set") => Some(show(item)),
        Some("map") => {
            let keys = schema.x_kubernetes_list_map_keys.iter().flatten();
            Some(
                keys.map(|key| format!("{key} {}", item.get(key).map(show).unwrap_or_default()))
                    .collect::<Vec<_>>()
                    .join(", "),
            )
        }
        _ => None,
    };
    let mut seen = BTreeSet::new();
    let twice = items
        .iter()
        .filter_map(identity)
        .find(|identity| !seen.insert(identity.clone()))?;
    Some(format!("has {twice} twice"))
}

/// A value as it is quoted in a sentence: its beginning, on one line.
fn show(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use test_case::test_case;

    use super::*;

    fn policy() -> Value {
        json!({
            "apiVersion": "probity.dev/v1alpha1", "kind": "ClusterDeploymentPolicy", "metadata": {"name": "baseline"},
            "spec": {
                "namespaceSelector": {},
                "signers": [{"name": "release", "key": {"trustRoot": "bank-keys", "keys": ["q3"]}}],
                "model": {"signers": ["release"], "threshold": 1, "repositories": ["registry.example/models/*"]},
            },
        })
    }

    fn model() -> Value {
        json!({
            "apiVersion": "probity.dev/v1alpha1", "kind": "ModelDeployment", "metadata": {"name": "digits"},
            "spec": {
                "model": {"source": {"oci": {"reference": "registry.example/models/digits:1"}}},
                "server": {
                    "image": format!("registry.example/s@sha256:{}", "0".repeat(64)), "protocol": "HTTP", "port": 80,
                    "resources": {"limits": {"memory": "1Gi", "cpu": 1}},
                },
            },
        })
    }

    fn with(mut value: Value, pointer: &str, to: Value) -> Vec<String> {
        if !pointer.is_empty() {
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            value.pointer_mut(parent).unwrap()[name] = to;
        }
        let kind = value["kind"].as_str().unwrap().to_owned();
        Schemas::installed().violations(&kind, &value)
    }

    #[test]
    fn what_is_right_is_left_alone() {
        assert_eq!(with(policy(), "", Value::Null), Vec::<String>::new());
        assert_eq!(with(model(), "", Value::Null), Vec::<String>::new());
    }

    #[test_case("/spec/server/port", json!("80") => vec!["spec.server.port: must be a whole number, not the string \"80\": write it without quotes"]; "a string for a number")]
    #[test_case("/spec/server/port", json!(0) => vec!["spec.server.port: 0 is less than 1"]; "too small")]
    #[test_case("/spec/server/port", json!(65536) => vec!["spec.server.port: 65536 is more than 65535"]; "too large")]
    #[test_case("/spec/server/port", json!(80.5) => vec!["spec.server.port: must be a whole number, not 80.5"]; "not whole")]
    #[test_case("/spec/server/port", Value::Null => vec!["spec.server.port: is required"]; "null is left out")]
    #[test_case("/spec/server/protocol", json!("gRPC") => vec!["spec.server.protocol: \"gRPC\" is not one of \"OpenInference\", \"OpenAI\", \"HTTP\""]; "not in the enumeration")]
    #[test_case("/spec/server/args", json!("--a") => vec!["spec.server.args: must be a list, not \"--a\""]; "a string for a list")]
    #[test_case("/spec/server/args", json!([1]) => vec!["spec.server.args[0]: must be a string, not 1: write it in quotes"]; "a number in a list of strings")]
    #[test_case("/spec/server/env", json!({"A": true}) => vec!["spec.server.env.A: must be a string, not true: write it in quotes"]; "a boolean in a map of strings")]
    #[test_case("/spec/server/resources", json!({"limits": {"cpu": [1]}}) => vec!["spec.server.resources.limits.cpu: must be a whole number or a string, not [1]"]; "a list for a quantity")]
    #[test_case("/spec/model", json!("digits") => vec!["spec.model: must have fields, and is \"digits\""]; "a string for fields")]
    fn models(pointer: &str, to: Value) -> Vec<String> {
        with(model(), pointer, to)
    }

    #[test_case("/spec/model/signers", json!([]) => vec!["spec.model.signers: has 0 entries and needs at least 1"]; "too few")]
    #[test_case("/spec/model/signers", json!(["release", "release"]) => vec!["spec.model.signers: has \"release\" twice"]; "a set with one twice")]
    #[test_case("/spec/signers", json!([{"name": "a", "key": {"trustRoot": "k", "keys": ["b"]}}, {"name": "a", "key": {"trustRoot": "l", "keys": ["b"]}}]) => vec!["spec.signers: has name \"a\" twice"]; "a map with one twice")]
    #[test_case("/spec/model/revoked", json!([{"digest": "sha256:AB", "reason": "r"}]) => vec!["spec.model.revoked[0].digest: \"sha256:AB\" does not have the form ^sha256:[0-9a-f]{64}$"]; "a pattern")]
    fn policies(pointer: &str, to: Value) -> Vec<String> {
        with(policy(), pointer, to)
    }

    #[test]
    fn every_pattern_of_ours_compiles() {
        fn patterns(schema: &JSONSchemaProps, found: &mut Vec<String>) {
            found.extend(schema.pattern.clone());
            schema
                .properties
                .iter()
                .flat_map(BTreeMap::values)
                .for_each(|schema| patterns(schema, found));
            if let Some(schema) = item(schema) {
                patterns(schema, found);
            }
            if let Some(JSONSchemaPropsOrBool::Schema(schema)) = &schema.additional_properties {
                patterns(schema, found);
            }
        }
        let mut found = Vec::new();
        Schemas::installed()
            .0
            .values()
            .for_each(|schema| patterns(schema, &mut found));
        assert!(!found.is_empty());
        for pattern in found {
            regex::Regex::new(&pattern).unwrap();
        }
    }

    #[test_case("ModelDeployment", "spec.model.sorce" => Some("source".to_owned()))]
    #[test_case("ModelDeployment", "spec.model.source.oci.Reference" => Some("reference".to_owned()))]
    #[test_case("ModelDeployment", "spec.model.source.pvc" => None)]
    #[test_case("ModelDeployment", "metadata.lables" => Some("labels".to_owned()))]
    #[test_case("ClusterDeploymentPolicy", "spec.signers.0.key.trustroot" => Some("trustRoot".to_owned()))]
    fn did_you_mean(kind: &str, path: &str) -> Option<String> {
        let step = |part: &str| {
            part.parse()
                .map_or_else(|_| Step::Key(part.to_owned()), Step::Index)
        };
        Schemas::installed().like(kind, &path.split('.').map(step).collect::<Vec<_>>())
    }
}
