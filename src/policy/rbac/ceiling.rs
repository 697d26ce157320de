//! The rights that a policy lets the accounts of models hold. What it does not name is more than it allows: so a `*` in a
//! role always is, and so are secrets, exec and the like as long as nobody writes them down.

use std::{cmp::Reverse, collections::BTreeSet};

use k8s_openapi::api::rbac::v1::PolicyRule;

use super::Right;
use crate::{api::v1alpha1::AllowedRight, evidence::Reason, policy::Problem};

/// What Kubernetes gives to everybody: asking what there is and what one may do. (API group, resources, verbs.)
const EVERYBODYS: [(&str, &[&str], &[&str]); 3] = [
    (
        "authorization.k8s.io",
        &["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
        &["create"],
    ),
    ("authentication.k8s.io", &["selfsubjectreviews"], &["create"]),
    // Certificates of authorities, without keys.
    (
        "certificates.k8s.io",
        &["clustertrustbundles"],
        &["get", "list", "watch"],
    ),
];

/// The paths that Kubernetes lets everybody read.
const EVERYBODYS_PATHS: [&str; 15] = [
    "/api",
    "/api/*",
    "/apis",
    "/apis/*",
    "/healthz",
    "/livez",
    "/openapi",
    "/openapi/*",
    "/readyz",
    "/version",
    "/version/",
    "/.well-known/openid-configuration",
    "/.well-known/openid-configuration/",
    "/openid/v1/jwks",
    "/openid/v1/jwks/",
];

/// The rights that may be held.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ceiling(Vec<PolicyRule>);

impl Ceiling {
    /// Reads a ceiling. A rule that cannot be read allows nothing, and is a problem.
    pub fn compile(allowed: &[AllowedRight]) -> (Self, Vec<Problem>) {
        let mut problems = Vec::new();
        let mut rules = Vec::new();
        for (at, right) in allowed.iter().enumerate() {
            let names = right.resource_names.as_ref();
            let lists = [
                ("apiGroups", Some(&right.api_groups)),
                ("resources", Some(&right.resources)),
                ("resourceNames", names),
                ("verbs", Some(&right.verbs)),
            ];
            let wrong: Vec<Problem> = lists
                .into_iter()
                .filter_map(|(field, list)| {
                    let message = wrong(list?)?;
                    let field = format!("spec.isolation.rbac.ceiling[{at}].{field}");
                    Some(Problem::new(Reason::PolicyInvalid, field, message))
                })
                .collect();
            if wrong.is_empty() {
                rules.push(PolicyRule {
                    api_groups: Some(right.api_groups.clone()),
                    resources: Some(right.resources.clone()),
                    resource_names: right.resource_names.clone(),
                    verbs: right.verbs.clone(),
                    non_resource_urls: None,
                });
            }
            problems.extend(wrong);
        }
        (Self(rules), problems)
    }

    /// The rights beyond it that these rules give, the most dangerous first. `paths`: whether those on paths count.
    pub fn exceeded(&self, rules: &[PolicyRule], paths: bool) -> Vec<Right> {
        let rights: BTreeSet<Right> = rules.iter().flat_map(|rule| Right::of(rule, paths)).collect();
        let mut beyond: Vec<Right> = rights
            .into_iter()
            .filter(|right| !self.allows(right) && !is_everybodys(right))
            .collect();
        // Stable, so what is alike stays in its order.
        beyond.sort_by_key(|right| Reverse(right.danger().is_some()));
        beyond
    }

    fn allows(&self, right: &Right) -> bool {
        self.0.iter().any(|rule| right.is_given_by(rule))
    }
}

/// What is wrong with a list of words, if anything.
fn wrong(words: &[String]) -> Option<String> {
    if words.is_empty() {
        return Some("is empty, and so allows nothing: name what may be given, or leave the rule out".into());
    }
    let star = words.iter().find(|word| word.contains('*'))?;
    Some(format!(
        "`{star}` would allow what nobody has thought of: name each that may be given"
    ))
}

fn is_everybodys(right: &Right) -> bool {
    match right {
        Right::On {
            verb,
            group,
            resource,
            ..
        } => EVERYBODYS.iter().any(|(its, resources, verbs)| {
            its == group && resources.contains(&resource.as_str()) && verbs.contains(&verb.as_str())
        }),
        Right::At { verb, path } => verb == "get" && EVERYBODYS_PATHS.contains(&path.as_str()),
        Right::Countless(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use test_case::test_case;

    use super::*;

    fn compiled(allowed: Value) -> (Ceiling, Vec<Problem>) {
        Ceiling::compile(&serde_json::from_value::<Vec<AllowedRight>>(allowed).unwrap())
    }

    /// What a role with this one rule has beyond a ceiling of reading two kinds, one `ConfigMap` and, expressly, exec.
    fn beyond(rule: Value) -> String {
        let (ceiling, problems) = compiled(json!([
            {"apiGroups": ["", "apps"], "resources": ["pods", "deployments"], "verbs": ["get", "list"]},
            {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["prices"], "verbs": ["get"]},
            {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["create"]}
        ]));
        assert_eq!(problems, []);
        let rule = serde_json::from_value(rule).unwrap();
        let beyond: Vec<_> = ceiling
            .exceeded(&[rule], true)
            .iter()
            .map(Right::to_string)
            .collect();
        beyond.join(", ")
    }

    #[test_case(json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}) => ""; "as much as it allows")]
    #[test_case(json!({"apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"], "verbs": ["get"]}) => ""; "one name of all")]
    #[test_case(json!({"apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["get"]}) => "get pods/log"; "a subresource")]
    #[test_case(json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "delete"]}) => "delete pods"; "a verb")]
    #[test_case(json!({"apiGroups": ["batch"], "resources": ["pods"], "verbs": ["get"]}) => "get pods.batch"; "a group")]
    #[test_case(json!({"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["prices"], "verbs": ["get"]}) => ""; "the name")]
    #[test_case(json!({"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["prices", "keys"], "verbs": ["get"]}) => "get configmaps keys"; "another name")]
    #[test_case(json!({"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}) => "get configmaps"; "all names")]
    #[test_case(json!({"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["create"]}) => ""; "what is dangerous, named expressly")]
    #[test_case(json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}) => "* *.*"; "everything")]
    #[test_case(json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["*"]}) => "* pods"; "every verb")]
    #[test_case(json!({"apiGroups": [""], "resources": ["nodes", "secrets"], "verbs": ["get"]}) => "get secrets, get nodes"; "the dangerous first")]
    #[test_case(json!({"nonResourceURLs": ["/metrics"], "verbs": ["get"]}) => "get /metrics"; "a path")]
    #[test_case(json!({"nonResourceURLs": ["/apis/*", "/version"], "verbs": ["get"]}) => ""; "the paths that are everybody's")]
    #[test_case(json!({"nonResourceURLs": ["/apis/*"], "verbs": ["post"]}) => "post /apis/*"; "reading them is, and nothing else")]
    #[test_case(json!({"apiGroups": ["authorization.k8s.io"], "resources": ["selfsubjectaccessreviews", "subjectaccessreviews"], "verbs": ["create"]}) => "create subjectaccessreviews.authorization.k8s.io"; "asking what others may do")]
    fn exceeds(rule: Value) -> String {
        beyond(rule)
    }

    #[test]
    fn an_empty_ceiling_allows_nothing() {
        let (ceiling, problems) = compiled(json!([]));
        let rule = json!({"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["one"], "verbs": ["get"]});
        assert_eq!(problems, []);
        assert_eq!(
            ceiling
                .exceeded(&[serde_json::from_value(rule).unwrap()], true)
                .len(),
            1
        );
    }

    #[test_case("verbs", json!(["get", "*"]), "`*` would allow"; "a star")]
    #[test_case("resources", json!(["*/scale"]), "`*/scale` would allow"; "a star before a subresource")]
    #[test_case("apiGroups", json!([]), "is empty"; "no group")]
    #[test_case("resourceNames", json!([]), "is empty"; "no name")]
    #[allow(clippy::needless_pass_by_value, reason = "rows of a table are values")]
    fn a_rule_that_makes_no_sense_allows_nothing(field: &str, value: Value, says: &str) {
        let mut allowed =
            json!({"apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"], "verbs": ["get"]});
        let given: PolicyRule = serde_json::from_value(allowed.clone()).unwrap();
        allowed[field] = value;
        let (ceiling, problems) = compiled(json!([allowed]));
        assert_eq!(problems.len(), 1);
        assert_eq!(
            problems[0].field,
            format!("spec.isolation.rbac.ceiling[0].{field}")
        );
        assert!(problems[0].message.starts_with(says), "{}", problems[0].message);
        assert_eq!(ceiling.exceeded(&[given], true).len(), 1);
    }
}
