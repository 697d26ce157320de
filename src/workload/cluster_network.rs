//! What of a model's network nobody's NetworkPolicy opens again: a ClusterNetworkPolicy of the tier that is asked first.
//! Pure: it builds what is denied; whether somebody enforces it is another question.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use kube::{
    Resource as _, ResourceExt as _,
    core::{ObjectMeta, TypeMeta},
};

use super::{Cidr, NetworkSettings};
use crate::api::{
    MODEL_LABEL,
    cluster_network_policy::{
        ClusterNetworkPolicy, ClusterNetworkPolicySpec, Destination, IngressRule, NamespacedPods, OutRule,
        Subject,
    },
    v1alpha1::ModelDeployment,
};

/// The one that keeps models from addresses that are never open.
pub const NEVER_OPEN: &str = "probity-never-open";
/// What the names of the others begin with. No namespace has a dot in its name, so that each is one model's.
const QUARANTINE: &str = "probity-quarantine.";
/// A quarantine comes before all else, also before what a platform accepts for every pod.
const FIRST: i32 = 0;
const SECOND: i32 = 1;
/// At most so many ranges in a peer, and peers in a rule, are taken.
const AT_ONCE: usize = 25;

/// What the name of a namespace is in its labels.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// The name of the one that shuts a model off.
pub fn quarantine_name(namespace: &str, model: &str) -> String {
    format!("{QUARANTINE}{namespace}.{model}")
}

/// Namespace and name of the model that one of this name shuts off.
pub fn quarantined(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix(QUARANTINE)?.split_once('.')
}

/// Nothing in and nothing out for these pods of the model's namespace.
pub fn quarantine(model: &ModelDeployment, pods: LabelSelector) -> ClusterNetworkPolicy {
    let namespace = model.namespace().unwrap_or_default();
    let name = model.name_any();
    let everybody = || Subject {
        namespaces: Some(LabelSelector::default()),
        pods: None,
    };
    let spec = ClusterNetworkPolicySpec {
        tier: "Admin".into(),
        priority: FIRST,
        subject: within(vec![namespace.clone()], pods),
        ingress: vec![IngressRule {
            name: "quarantine".into(),
            action: "Deny".into(),
            from: vec![everybody()],
        }],
        egress: vec![OutRule {
            name: "quarantine".into(),
            action: "Deny".into(),
            to: vec![
                Destination {
                    namespaces: Some(LabelSelector::default()),
                    networks: Vec::new(),
                },
                Destination {
                    namespaces: None,
                    networks: ["0.0.0.0/0", "::/0"].map(ToOwned::to_owned).into(),
                },
            ],
        }],
    };
    policy(quarantine_name(&namespace, &name), Some(name), spec)
}

/// Models of these namespaces never reach what is never open.
pub fn never_open(namespaces: Vec<String>, settings: &NetworkSettings) -> ClusterNetworkPolicy {
    let ranges: Vec<String> = settings.never_open().iter().map(ToString::to_string).collect();
    let peers: Vec<Destination> = ranges
        .chunks(AT_ONCE)
        .map(|ranges| Destination {
            namespaces: None,
            networks: ranges.to_vec(),
        })
        .collect();
    let rules = peers.chunks(AT_ONCE).map(|peers| OutRule {
        name: "never-open".into(),
        action: "Deny".into(),
        to: peers.to_vec(),
    });
    let models = LabelSelector {
        match_labels: None,
        match_expressions: Some(vec![LabelSelectorRequirement {
            key: MODEL_LABEL.to_owned(),
            operator: "Exists".into(),
            values: None,
        }]),
    };
    let spec = ClusterNetworkPolicySpec {
        tier: "Admin".into(),
        priority: SECOND,
        subject: within(namespaces, models),
        ingress: Vec::new(),
        egress: rules.collect(),
    };
    policy(NEVER_OPEN.to_owned(), None, spec)
}

fn within(namespaces: Vec<String>, pods: LabelSelector) -> Subject {
    Subject {
        namespaces: None,
        pods: Some(NamespacedPods {
            namespace_selector: LabelSelector {
                match_labels: None,
                match_expressions: Some(vec![LabelSelectorRequirement {
                    key: NAMESPACE_NAME.to_owned(),
                    operator: "In".into(),
                    values: Some(namespaces),
                }]),
            },
            pod_selector: pods,
        }),
    }
}

fn policy(name: String, model: Option<String>, spec: ClusterNetworkPolicySpec) -> ClusterNetworkPolicy {
    let managed = ("app.kubernetes.io/managed-by".to_owned(), "probity".to_owned());
    let model = model.map(|model| (MODEL_LABEL.to_owned(), model));
    ClusterNetworkPolicy {
        types: Some(TypeMeta {
            api_version: ClusterNetworkPolicy::api_version(&()).into_owned(),
            kind: ClusterNetworkPolicy::kind(&()).into_owned(),
        }),
        metadata: ObjectMeta {
            name: Some(name),
            labels: Some([managed].into_iter().chain(model).collect()),
            ..ObjectMeta::default()
        },
        spec,
    }
}

/// These ranges without those: what is left of each, in ranges.
pub(super) fn without(ranges: &[Cidr], holes: &[Cidr]) -> Vec<Cidr> {
    let mut left = Vec::new();
    let mut open: Vec<Cidr> = ranges.iter().rev().copied().collect();
    while let Some(range) = open.pop() {
        if holes.iter().any(|hole| hole.contains(&range)) {
            continue;
        }
        match range
            .halves()
            .filter(|_| holes.iter().any(|hole| range.contains(hole)))
        {
            Some([lower, upper]) => open.extend([upper, lower]),
            None => left.push(range),
        }
    }
    left.sort_unstable();
    left.dedup();
    left
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use test_case::test_case;

    use super::*;
    use crate::{
        evidence::Digest,
        workload::{own_pods, samples},
    };

    fn settings(told: &[&str], closed: &[&str]) -> NetworkSettings {
        let egress = told
            .iter()
            .map(|cidr| json!({"to": [{"ipBlock": {"cidr": cidr}}], "ports": [{"port": 53}]}));
        NetworkSettings {
            egress: serde_json::from_value(egress.collect()).unwrap(),
            closed: closed.iter().map(|range| range.parse().unwrap()).collect(),
        }
    }

    fn networks(settings: &NetworkSettings) -> Vec<String> {
        let built = never_open(vec!["bank".into()], settings);
        let rules = built.spec.egress.into_iter().flat_map(|rule| rule.to);
        rules.flat_map(|to| to.networks).collect()
    }

    #[test]
    fn a_quarantine_denies_both_ways_to_the_pods_of_one_model() {
        let model = samples::model(Digest::from_bytes([0xaa; 32]));
        let built = serde_json::to_value(quarantine(&model, own_pods(&model))).unwrap();
        assert_eq!(
            built,
            json!({
                "apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy",
                "metadata": {
                    "name": "probity-quarantine.bank.digits",
                    "labels": {"app.kubernetes.io/managed-by": "probity", "probity.dev/model": "digits"}
                },
                "spec": {
                    "tier": "Admin", "priority": 0,
                    "subject": {"pods": {
                        "namespaceSelector": {"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["bank"]}]},
                        "podSelector": {"matchLabels": {"probity.dev/model": "digits"}}
                    }},
                    "ingress": [{"name": "quarantine", "action": "Deny", "from": [{"namespaces": {}}]}],
                    "egress": [{"name": "quarantine", "action": "Deny", "to": [{"namespaces": {}}, {"networks": ["0.0.0.0/0", "::/0"]}]}]
                }
            })
        );
        assert_eq!(
            quarantined("probity-quarantine.bank.digits"),
            Some(("bank", "digits"))
        );
        assert_eq!(quarantined(NEVER_OPEN), None);
    }

    #[test]
    fn what_is_never_open_is_denied_to_every_model() {
        let built =
            serde_json::to_value(never_open(vec!["bank".into()], &settings(&[], &["192.0.2.1/32"]))).unwrap();
        assert_eq!(
            built["spec"],
            json!({
                "tier": "Admin", "priority": 1,
                "subject": {"pods": {
                    "namespaceSelector": {"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["bank"]}]},
                    "podSelector": {"matchExpressions": [{"key": "probity.dev/model", "operator": "Exists"}]}
                }},
                "egress": [{"name": "never-open", "action": "Deny", "to": [{"networks": ["169.254.0.0/16", "192.0.2.1/32", "fd00:ec2::254/128"]}]}]
            })
        );
    }

    /// A cache of name look-ups on each node is among the addresses of the cloud's metadata.
    #[test]
    fn what_the_operator_was_told_to_open_stays_so() {
        let found = networks(&settings(&["169.254.20.10/32"], &[]));
        let found: Vec<Cidr> = found.iter().map(|range| range.parse().unwrap()).collect();
        let inside = |address: &str| {
            let address: Cidr = address.parse().unwrap();
            found.iter().any(|range| range.contains(&address))
        };
        assert!(!inside("169.254.20.10/32"));
        for closed in [
            "169.254.169.254/32",
            "169.254.20.9/32",
            "169.254.20.11/32",
            "169.254.0.0/32",
        ] {
            assert!(inside(closed), "{closed}");
        }
        assert_eq!(found.len(), 17, "sixteen, and the other family's");
    }

    #[test]
    fn many_ranges_are_told_in_so_many_as_are_taken() {
        let many: Vec<String> = (0..40).map(|n| format!("192.0.2.{n}/32")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let built = never_open(vec!["bank".into()], &settings(&[], &many));
        let sizes: Vec<usize> = built.spec.egress[0]
            .to
            .iter()
            .map(|to| to.networks.len())
            .collect();
        assert_eq!(sizes, [25, 17]);
    }

    #[test_case(json!(["10.0.0.0/8"]), json!([]) => json!(["10.0.0.0/8"]); "no hole")]
    #[test_case(json!(["10.0.0.0/8"]), json!(["10.0.0.0/7"]) => json!([]); "a hole around it")]
    #[test_case(json!(["10.0.0.0/30"]), json!(["10.0.0.2/32"]) => json!(["10.0.0.0/31", "10.0.0.3/32"]); "a hole in it")]
    #[test_case(json!(["10.0.0.0/8", "10.0.0.0/8"]), json!(["::/0"]) => json!(["10.0.0.0/8"]); "of the other family, and told twice")]
    #[allow(clippy::needless_pass_by_value, reason = "rows of a table are values")]
    fn what_is_left(ranges: Value, holes: Value) -> Value {
        let read = |list: &Value| -> Vec<Cidr> {
            list.as_array()
                .unwrap()
                .iter()
                .map(|one| one.as_str().unwrap().parse().unwrap())
                .collect()
        };
        without(&read(&ranges), &read(&holes))
            .iter()
            .map(ToString::to_string)
            .collect()
    }
}
