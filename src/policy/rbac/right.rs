//! One right: a verb on a resource, or on a path of the API server. Rules of roles are taken apart into these, and say
//! whether they give one.

use std::fmt;

use k8s_openapi::api::rbac::v1::PolicyRule;

use crate::api::GROUP;

/// What stands for everything in a rule.
const ANY: &str = "*";

/// Of a rule that multiplies out to more than this, nobody reads each.
const MOST: usize = 4096;

/// The groups whose verbs give further rights.
const RBAC: &str = "rbac.authorization.k8s.io";

/// One right.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// A verb on a resource, of one name or of all.
    On {
        /// The verb, or `*`.
        verb: String,
        /// The API group, or `*`; empty: the core group.
        group: String,
        /// The resource with its subresource, or `*`.
        resource: String,
        /// The only object; none: all of them.
        name: Option<String>,
    },
    /// A verb on a path that is no resource.
    At {
        /// The verb, or `*`.
        verb: String,
        /// The path, or a start of one and `*`.
        path: String,
    },
    /// A rule that names so much that it is not taken apart.
    Countless(
        /// How many rights it has.
        usize,
    ),
}

impl Right {
    /// The rights that a rule gives. Those on paths count only where `paths` do: a `RoleBinding` gives none.
    pub fn of(rule: &PolicyRule, paths: bool) -> Vec<Self> {
        let words = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
        let (groups, resources) = (words(&rule.api_groups), words(&rule.resources));
        let urls = if paths {
            words(&rule.non_resource_urls)
        } else {
            Vec::new()
        };
        let names: Vec<Option<String>> = match words(&rule.resource_names) {
            names if names.is_empty() => vec![None],
            names => names.into_iter().map(Some).collect(),
        };
        let on = [groups.len(), resources.len(), names.len()]
            .into_iter()
            .fold(rule.verbs.len(), usize::saturating_mul);
        let at = rule.verbs.len().saturating_mul(urls.len());
        let all = on.saturating_add(at);
        if all > MOST {
            return vec![Self::Countless(all)];
        }
        let mut rights = Vec::with_capacity(all);
        for verb in &rule.verbs {
            for group in &groups {
                for resource in &resources {
                    rights.extend(names.iter().map(|name| Self::On {
                        verb: verb.clone(),
                        group: group.clone(),
                        resource: resource.clone(),
                        name: name.clone(),
                    }));
                }
            }
            rights.extend(urls.iter().map(|path| Self::At {
                verb: verb.clone(),
                path: path.clone(),
            }));
        }
        rights
    }

    /// Whether the rule gives this right, as the API server's authorizer reads it.
    pub fn is_given_by(&self, rule: &PolicyRule) -> bool {
        let has = |list: Option<&Vec<String>>, word: &str| {
            list.is_some_and(|list| list.iter().any(|one| one == ANY || one == word))
        };
        match self {
            Self::On {
                verb,
                group,
                resource,
                name,
            } => {
                let subresource = resource.split_once('/').map(|(_, part)| format!("*/{part}"));
                let names = rule.resource_names.as_deref().unwrap_or_default();
                has(Some(&rule.verbs), verb)
                    && has(rule.api_groups.as_ref(), group)
                    && (has(rule.resources.as_ref(), resource)
                        || subresource.is_some_and(|any| has(rule.resources.as_ref(), &any)))
                    && (names.is_empty() || name.as_ref().is_some_and(|name| names.contains(name)))
            }
            Self::At { verb, path } => {
                let paths = rule.non_resource_urls.iter().flatten();
                let mut within = paths.map(|one| match one.strip_suffix(ANY) {
                    Some(start) => path.starts_with(start),
                    None => one == path,
                });
                has(Some(&rule.verbs), verb) && within.any(|within| within)
            }
            Self::Countless(_) => false,
        }
    }

    /// What somebody with this right can do that nobody may have meant; none where it is as harmless as it reads.
    pub fn danger(&self) -> Option<&'static str> {
        let (verb, group, resource) = match self {
            Self::Countless(_) => return Some("nobody can read what it gives"),
            Self::At { verb, path } => {
                return (verb == ANY || path.ends_with(ANY)).then_some("gives what nobody named");
            }
            Self::On {
                verb,
                group,
                resource,
                ..
            } => (verb.as_str(), group.as_str(), resource.as_str()),
        };
        if [verb, group].contains(&ANY) || resource.contains(ANY) {
            return Some("gives what nobody named");
        }
        let reads = ["get", "list", "watch"].contains(&verb);
        match (group, resource, verb) {
            (_, _, "impersonate") => Some("lets it act as somebody else"),
            (RBAC, _, "escalate" | "bind") => Some("lets it give itself any right"),
            ("", "secrets", _) => Some("reaches passwords and keys"),
            ("", "pods/exec" | "pods/attach" | "pods/portforward" | "pods/proxy", _) => {
                Some("reaches into pods")
            }
            ("", "pods/ephemeralcontainers", _) if !reads => Some("reaches into pods"),
            ("", "serviceaccounts/token", "create") => Some("lets it act as another account"),
            ("", "nodes/proxy", _) => Some("reaches into every pod of a node"),
            (GROUP, _, _) if !reads => Some("changes what governs it"),
            _ => None,
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::On {
                verb,
                group,
                resource,
                name,
            } => {
                write!(f, "{verb} {resource}")?;
                if !group.is_empty() {
                    write!(f, ".{group}")?;
                }
                match name {
                    Some(name) => write!(f, " {name}"),
                    None => Ok(()),
                }
            }
            Self::At { verb, path } => write!(f, "{verb} {path}"),
            Self::Countless(count) => write!(f, "a rule of {count} rights"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use test_case::test_case;

    use super::*;

    fn rule(rule: Value) -> PolicyRule {
        serde_json::from_value(rule).unwrap()
    }

    fn on(verb: &str, group: &str, resource: &str, name: Option<&str>) -> Right {
        Right::On {
            verb: verb.into(),
            group: group.into(),
            resource: resource.into(),
            name: name.map(Into::into),
        }
    }

    #[test_case(json!({"apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["get", "list"]}) => "get pods, get pods/log, list pods, list pods/log"; "each with each")]
    #[test_case(json!({"apiGroups": ["apps"], "resources": ["deployments"], "resourceNames": ["a", "b"], "verbs": ["get"]}) => "get deployments.apps a, get deployments.apps b"; "only these names")]
    #[test_case(json!({"nonResourceURLs": ["/metrics"], "verbs": ["get"]}) => "get /metrics"; "a path")]
    #[test_case(json!({"apiGroups": [""], "resources": ["pods"], "verbs": []}) => ""; "no verb is no right")]
    #[test_case(json!({"verbs": ["get"]}) => ""; "nothing to do it to is no right")]
    fn a_rule_is_taken_apart(written: Value) -> String {
        let rights: Vec<_> = Right::of(&rule(written), true)
            .iter()
            .map(Right::to_string)
            .collect();
        rights.join(", ")
    }

    #[test]
    fn a_role_binding_gives_no_path() {
        assert_eq!(
            Right::of(&rule(json!({"nonResourceURLs": ["*"], "verbs": ["*"]})), false),
            []
        );
    }

    #[test]
    fn a_rule_that_multiplies_out_is_not_taken_apart() {
        let many: Vec<String> = (0..100).map(|n| format!("w{n}")).collect();
        let rights = Right::of(
            &rule(json!({"apiGroups": many, "resources": many, "resourceNames": many, "verbs": many})),
            true,
        );
        assert_eq!(rights, [Right::Countless(100_000_000)]);
    }

    #[test_case(&on("get", "", "pods", None) => true; "named")]
    #[test_case(&on("list", "", "pods", None) => false; "another verb")]
    #[test_case(&on("get", "apps", "pods", None) => false; "another group")]
    #[test_case(&on("get", "", "pods/log", None) => false; "a subresource is a resource of its own")]
    #[test_case(&on("update", "apps", "deployments/scale", None) => true; "a subresource of everything")]
    #[test_case(&on("update", "apps", "deployments/status", None) => false; "another subresource")]
    #[test_case(&on("get", "", "configmaps", Some("one")) => true; "the name")]
    #[test_case(&on("get", "", "configmaps", Some("two")) => false; "another name")]
    #[test_case(&on("get", "", "configmaps", None) => false; "all names are more than one")]
    #[test_case(&on("anything", "any.example", "things", Some("x")) => true; "a verb that is a star")]
    #[test_case(&on("*", "any.example", "things", None) => true; "a star by a star")]
    #[test_case(&on("*", "", "pods", None) => false; "a star is more than a verb")]
    #[test_case(&Right::At { verb: "get".into(), path: "/healthz/etcd".into() } => true; "a path under a star")]
    #[test_case(&Right::At { verb: "get".into(), path: "/metrics".into() } => false; "another path")]
    #[test_case(&Right::Countless(5000) => false; "what nobody reads is given by nothing")]
    fn given(right: &Right) -> bool {
        let rules = [
            json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}),
            json!({"apiGroups": ["apps"], "resources": ["*/scale"], "verbs": ["update"]}),
            json!({"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["one"], "verbs": ["get"]}),
            json!({"apiGroups": ["any.example"], "resources": ["*"], "verbs": ["*"]}),
            json!({"nonResourceURLs": ["/healthz", "/healthz/*"], "verbs": ["get"]}),
        ];
        rules.into_iter().any(|written| right.is_given_by(&rule(written)))
    }

    #[test_case("get", "", "pods" => false; "reading pods")]
    #[test_case("update", "apps", "deployments/scale" => false; "scaling")]
    #[test_case("*", "", "pods" => true; "every verb")]
    #[test_case("get", "*", "pods" => true; "every group")]
    #[test_case("get", "", "*" => true; "every resource")]
    #[test_case("get", "", "*/log" => true; "a subresource of everything")]
    #[test_case("watch", "", "secrets" => true; "secrets")]
    #[test_case("impersonate", "", "users" => true; "impersonate")]
    #[test_case("escalate", RBAC, "roles" => true; "escalate")]
    #[test_case("bind", RBAC, "clusterroles" => true; "bind")]
    #[test_case("create", "", "pods/exec" => true; "exec")]
    #[test_case("get", "", "pods/attach" => true; "attach")]
    #[test_case("create", "", "pods/portforward" => true; "portforward")]
    #[test_case("get", "", "pods/proxy" => true; "proxy")]
    #[test_case("create", "", "serviceaccounts/token" => true; "tokens")]
    #[test_case("get", "", "nodes/proxy" => true; "the kubelet")]
    #[test_case("patch", GROUP, "modeldeployments" => true; "our own objects")]
    #[test_case("get", GROUP, "modeldeployments" => false; "reading our own objects")]
    fn dangerous(verb: &str, group: &str, resource: &str) -> bool {
        on(verb, group, resource, None).danger().is_some()
    }
}
