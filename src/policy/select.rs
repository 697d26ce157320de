//! Which policies apply to a namespace: by the labels of the namespace, or because they are in it.
//! A selector that cannot be read selects every governed namespace, so that a typo denies rather than lets through.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use super::{Problem, Rules};
use crate::evidence::Reason;

/// Which governed namespaces a policy selects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamespaceSelector {
    /// Those that meet every term.
    Matching(Vec<Term>),
    /// All of them, because the selector cannot be read.
    Broken,
    /// The one of this name, in which the policy is.
    Its(String),
}

/// One term of a selector: a label's key, and what must hold for its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    key: String,
    must: Must,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Must {
    BeIn(BTreeSet<String>),
    NotBeIn(BTreeSet<String>),
    Exist,
    NotExist,
}

impl Term {
    fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        match &self.must {
            Must::BeIn(values) => value.is_some_and(|value| values.contains(value)),
            // As in Kubernetes: a namespace without the label is not in the list either.
            Must::NotBeIn(values) => value.is_none_or(|value| !values.contains(value)),
            Must::Exist => value.is_some(),
            Must::NotExist => value.is_none(),
        }
    }

    /// Whether every set of labels that meets this term meets `other`.
    fn implies(&self, other: &Self) -> bool {
        let implied = match (&self.must, &other.must) {
            (Must::BeIn(ours), Must::BeIn(theirs)) => ours.is_subset(theirs),
            (Must::BeIn(ours), Must::NotBeIn(theirs)) => ours.is_disjoint(theirs),
            (Must::NotBeIn(ours), Must::NotBeIn(theirs)) => theirs.is_subset(ours),
            (Must::BeIn(_) | Must::Exist, Must::Exist)
            | (Must::NotExist, Must::NotExist | Must::NotBeIn(_)) => true,
            _ => false,
        };
        self.key == other.key && implied
    }
}

impl NamespaceSelector {
    /// Whether a governed namespace of this name and with these labels is selected.
    pub fn selects(&self, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Self::Its(name) => name == namespace,
            Self::Matching(terms) => terms.iter().all(|term| term.holds(labels)),
            Self::Broken => true,
        }
    }

    /// Reads a selector. The API server stores any text in one, so everything is looked at here: a label that no namespace
    /// can carry would otherwise select nothing, in silence.
    pub(super) fn compile(selector: &LabelSelector) -> (Self, Vec<Problem>) {
        let (terms, problems) = terms("spec.namespaceSelector", selector);
        if problems.is_empty() {
            (Self::Matching(terms), problems)
        } else {
            (Self::Broken, problems)
        }
    }
}

/// The terms of the selector in this field, and what is wrong with the others.
pub(super) fn terms(field: &str, selector: &LabelSelector) -> (Vec<Term>, Vec<Problem>) {
    let labels = selector.match_labels.iter().flatten().map(|(key, value)| {
        let field = format!("{field}.matchLabels[{key}]");
        check_key(&field, key)?;
        check_value(&field, value)?;
        Ok(Term {
            key: key.clone(),
            must: Must::BeIn(BTreeSet::from([value.clone()])),
        })
    });
    let expressions = selector
        .match_expressions
        .iter()
        .flatten()
        .enumerate()
        .map(|(at, requirement)| term(&format!("{field}.matchExpressions[{at}]"), requirement));
    let mut terms = Vec::new();
    let mut problems = Vec::new();
    for term in labels.chain(expressions) {
        match term {
            Ok(term) => terms.push(term),
            Err(problem) => problems.push(problem),
        }
    }
    (terms, problems)
}

/// The terms of a selector, if every one can be read.
pub(super) fn read_terms(selector: &LabelSelector) -> Option<Vec<Term>> {
    let (terms, problems) = terms("", selector);
    problems.is_empty().then_some(terms)
}

/// Whether whatever meets the terms of `one` meets those of `other` too, as far as that can be seen term by term.
pub(super) fn narrower(one: &[Term], other: &[Term]) -> bool {
    other
        .iter()
        .all(|wanted| one.iter().any(|term| term.implies(wanted)))
}

/// The policies among `rules` that select a governed namespace of this name and with these labels.
pub fn selecting<'a>(
    rules: &'a [Rules],
    namespace: &'a str,
    labels: &'a BTreeMap<String, String>,
) -> impl Iterator<Item = &'a Rules> + use<'a> {
    rules
        .iter()
        .filter(move |rules| rules.namespaces.selects(namespace, labels))
}

fn term(field: &str, requirement: &LabelSelectorRequirement) -> Result<Term, Problem> {
    let LabelSelectorRequirement {
        key,
        operator,
        values,
    } = requirement;
    check_key(&format!("{field}.key"), key)?;
    let in_values = format!("{field}.values");
    let values: BTreeSet<String> = values.iter().flatten().cloned().collect();
    values
        .iter()
        .try_for_each(|value| check_value(&in_values, value))?;
    let must = match (operator.as_str(), values.is_empty()) {
        ("In", false) => Must::BeIn(values),
        ("NotIn", false) => Must::NotBeIn(values),
        ("Exists", true) => Must::Exist,
        ("DoesNotExist", true) => Must::NotExist,
        ("In" | "NotIn", true) => {
            return Err(invalid(
                &in_values,
                format!("{operator} needs at least one value"),
            ));
        }
        ("Exists" | "DoesNotExist", false) => {
            return Err(invalid(
                &in_values,
                format!("{operator} takes no values: leave them out"),
            ));
        }
        _ => {
            let message = format!("`{operator}` is no operator: write In, NotIn, Exists or DoesNotExist");
            return Err(invalid(&format!("{field}.operator"), message));
        }
    };
    Ok(Term {
        key: key.clone(),
        must,
    })
}

fn invalid(field: &str, message: String) -> Problem {
    Problem::new(Reason::PolicyInvalid, field, message)
}

fn check_key(field: &str, key: &str) -> Result<(), Problem> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if prefix.is_none_or(is_subdomain) && is_label_word(name) {
        return Ok(());
    }
    Err(invalid(
        field,
        format!(
            "`{key}` is no label: write a name of at most 63 letters, digits, `-`, `_` or `.`, with an optional prefix such as `example.com/`"
        ),
    ))
}

fn check_value(field: &str, value: &str) -> Result<(), Problem> {
    if value.is_empty() || is_label_word(value) {
        return Ok(());
    }
    Err(invalid(
        field,
        format!("no label can have the value `{value}`: at most 63 letters, digits, `-`, `_` or `.`"),
    ))
}

fn is_label_word(text: &str) -> bool {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    text.len() <= 63
        && edge(text.bytes().next())
        && edge(text.bytes().last())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn is_subdomain(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.len() <= 253
        && text.split('.').all(|label| {
            label.bytes().next().is_some_and(word)
                && label.bytes().last().is_some_and(word)
                && label.bytes().all(|b| word(b) || b == b'-')
        })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use test_case::test_case;

    use super::*;

    fn labels() -> BTreeMap<String, String> {
        [("team", "bank"), ("tier", "gold"), ("empty", "")]
            .map(|(k, v)| (k.into(), v.into()))
            .into()
    }

    fn compiled(selector: Value) -> (NamespaceSelector, Vec<Problem>) {
        NamespaceSelector::compile(&serde_json::from_value(selector).unwrap())
    }

    #[test_case(json!({}) => true; "an empty selector selects all")]
    #[test_case(json!({"matchLabels": {"team": "bank"}}) => true; "label equals")]
    #[test_case(json!({"matchLabels": {"team": "shop"}}) => false; "label differs")]
    #[test_case(json!({"matchLabels": {"absent": ""}}) => false; "an absent label is not an empty one")]
    #[test_case(json!({"matchLabels": {"empty": ""}}) => true; "an empty label is one")]
    #[test_case(json!({"matchLabels": {"team": "bank", "tier": "silver"}}) => false; "every label must match")]
    #[test_case(json!({"matchExpressions": [{"key": "team", "operator": "In", "values": ["shop", "bank"]}]}) => true; "In")]
    #[test_case(json!({"matchExpressions": [{"key": "absent", "operator": "In", "values": ["a"]}]}) => false; "In, absent")]
    #[test_case(json!({"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["bank"]}]}) => false; "NotIn")]
    #[test_case(json!({"matchExpressions": [{"key": "absent", "operator": "NotIn", "values": ["a"]}]}) => true; "NotIn, absent")]
    #[test_case(json!({"matchExpressions": [{"key": "team", "operator": "Exists"}]}) => true; "Exists")]
    #[test_case(json!({"matchExpressions": [{"key": "absent", "operator": "Exists"}]}) => false; "Exists, absent")]
    #[test_case(json!({"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]}) => false; "DoesNotExist")]
    #[test_case(json!({"matchExpressions": [{"key": "absent", "operator": "DoesNotExist"}]}) => true; "DoesNotExist, absent")]
    #[test_case(json!({"matchLabels": {"team": "bank"}, "matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}) => false; "labels and expressions are joined")]
    fn selects(selector: Value) -> bool {
        let (selector, problems) = compiled(selector);
        assert_eq!(problems, []);
        selector.selects("bank", &labels())
    }

    #[test_case("bank" => true; "its own")]
    #[test_case("shop" => false; "another")]
    #[test_case("" => false; "none")]
    fn a_policy_in_a_namespace_is_for_that_one_whatever_its_labels(namespace: &str) -> bool {
        let labels = [("kubernetes.io/metadata.name".to_owned(), "bank".to_owned())].into();
        NamespaceSelector::Its("bank".to_owned()).selects(namespace, &labels)
    }

    #[test_case(json!({"matchExpressions": [{"key": "team", "operator": "Is", "values": ["a"]}]}), "matchExpressions[0].operator"; "unknown operator")]
    #[test_case(json!({"matchExpressions": [{"key": "team", "operator": "in", "values": ["a"]}]}), "matchExpressions[0].operator"; "operator in lower case")]
    #[test_case(json!({"matchExpressions": [{"key": "team", "operator": "In"}]}), "matchExpressions[0].values"; "In without values")]
    #[test_case(json!({"matchExpressions": [{"key": "team", "operator": "NotIn", "values": []}]}), "matchExpressions[0].values"; "NotIn with no values")]
    #[test_case(json!({"matchExpressions": [{"key": "team", "operator": "Exists", "values": ["a"]}]}), "matchExpressions[0].values"; "Exists with values")]
    #[test_case(json!({"matchExpressions": [{"key": "", "operator": "Exists"}]}), "matchExpressions[0].key"; "no key")]
    #[test_case(json!({"matchLabels": {"te am": "bank"}}), "matchLabels[te am]"; "a key with a blank")]
    #[test_case(json!({"matchLabels": {"Example.com/team": "bank"}}), "matchLabels[Example.com/team]"; "a prefix in upper case")]
    #[test_case(json!({"matchLabels": {"team": "the bank"}}), "matchLabels[team]"; "a value no label can have")]
    fn what_cannot_be_read_selects_everything(selector: Value, field: &str) {
        let (selector, problems) = compiled(selector);
        assert_eq!(problems[0].reason, Reason::PolicyInvalid);
        assert_eq!(problems[0].field, format!("spec.namespaceSelector.{field}"));
        assert!(selector.selects("bank", &BTreeMap::new()));
    }
}
