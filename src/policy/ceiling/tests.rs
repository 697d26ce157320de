#![allow(clippy::needless_pass_by_value, reason = "rows of a table are values")]

use std::net::Ipv4Addr;

use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Value, json};
use test_case::test_case;

use super::*;

fn rule(to: Value, ports: Value) -> EgressRule {
    serde_json::from_value(json!({"to": [to], "ports": [ports]})).unwrap()
}

fn block(cidr: &str, except: &[&str]) -> Value {
    json!({"ipBlock": {"cidr": cidr, "except": except}})
}

#[test_case(&block("192.0.2.0/24", &[]), &block("192.0.0.0/16", &[]) => true; "a part")]
#[test_case(&block("192.0.0.0/16", &[]), &block("192.0.2.0/24", &[]) => false; "more")]
#[test_case(&block("192.0.2.0/24", &[]), &block("192.0.0.0/16", &["192.0.2.0/25"]) => false; "half of it is forbidden")]
#[test_case(&block("192.0.2.0/24", &["192.0.2.0/25"]), &block("192.0.0.0/16", &["192.0.2.0/25"]) => true; "and left out")]
#[test_case(&block("192.0.2.0/24", &["192.0.2.0/26"]), &block("192.0.0.0/16", &["192.0.2.0/25"]) => false; "and half left out")]
#[test_case(&block("192.0.2.0/24", &[]), &block("192.0.0.0/16", &["192.0.0.0/17"]) => false; "all of it is forbidden")]
#[test_case(&block("192.0.2.0/24", &[]), &block("192.0.0.0/16", &["192.0.9.0/24"]) => true; "something else is forbidden")]
#[test_case(&block("2001:db8::/64", &[]), &block("0.0.0.0/0", &[]) => false; "another family")]
#[test_case(&json!({"namespaceSelector": {}}), &block("0.0.0.0/0", &[]) => false; "pods are no addresses")]
#[test_case(&block("10.0.0.0/8", &[]), &json!({"namespaceSelector": {}}) => false; "nor addresses pods")]
#[test_case(&json!({"podSelector": {"matchLabels": {"app": "a"}}}), &json!({"podSelector": {}}) => true; "pods of its own namespace")]
#[test_case(&json!({"podSelector": {}}), &json!({}) => false; "nobody is meant without any selector")]
#[test_case(&json!({"podSelector": {"matchLabels": {"app": "a"}}}), &json!({"namespaceSelector": {}}) => true; "which is one of all")]
#[test_case(&json!({"podSelector": {"matchLabels": {"app": "a"}}}), &json!({"namespaceSelector": {"matchLabels": {"team": "a"}}}) => false; "but perhaps not of these")]
#[test_case(&json!({"namespaceSelector": {"matchLabels": {"team": "a"}}}), &json!({"podSelector": {}}) => false; "another namespace")]
#[test_case(&json!({"namespaceSelector": {"matchLabels": {"team": "a", "tier": "1"}}}), &json!({"namespaceSelector": {"matchLabels": {"team": "a"}}}) => true; "more labels are fewer namespaces")]
#[test_case(&json!({"namespaceSelector": {"matchLabels": {"team": "a"}}}), &json!({"namespaceSelector": {"matchLabels": {"team": "a", "tier": "1"}}}) => false; "fewer labels are more")]
#[test_case(&json!({"namespaceSelector": {}}), &json!({"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "a"}}}) => false; "any pod of them")]
#[test_case(&json!({"namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "In", "values": ["a"]}]}}), &json!({"namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "In", "values": ["a", "b"]}]}}) => true; "one of several")]
#[test_case(&json!({"namespaceSelector": {"matchLabels": {"team": "a"}}}), &json!({"namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["b"]}]}}) => true; "none of the others")]
#[test_case(&json!({"namespaceSelector": {"matchLabels": {"te am": "a"}}}), &json!({"namespaceSelector": {"matchLabels": {"te am": "a"}}}) => false; "what cannot be read")]
fn peers(one: &Value, ceiling: &Value) -> bool {
    let port = json!({"port": 443});
    above(&rule(one.clone(), port.clone()), &[rule(ceiling.clone(), port)]).is_none()
}

#[test_case(&json!({"port": 443}), &json!({"port": 443}) => true; "the port")]
#[test_case(&json!({"port": 443, "protocol": "TCP"}), &json!({"port": 443}) => true; "TCP is what is left out")]
#[test_case(&json!({"port": 443, "protocol": "UDP"}), &json!({"port": 443}) => false; "another protocol")]
#[test_case(&json!({"port": 443}), &json!({"port": 1, "endPort": 65535}) => true; "within a range")]
#[test_case(&json!({"port": 440, "endPort": 450}), &json!({"port": 443, "endPort": 450}) => false; "a range that begins before")]
#[test_case(&json!({"port": 443, "endPort": 451}), &json!({"port": 443, "endPort": 450}) => false; "a range that ends after")]
#[test_case(&json!({"port": 443, "endPort": 444}), &json!({"port": 443}) => false; "a range is more than a port")]
fn ports(one: &Value, ceiling: &Value) -> bool {
    let to = block("192.0.2.0/24", &[]);
    above(&rule(to.clone(), one.clone()), &[rule(to, ceiling.clone())]).is_none()
}

#[test]
fn each_peer_with_each_port_lies_within_one_rule() {
    let (a, b) = (block("192.0.2.0/24", &[]), block("198.51.100.0/24", &[]));
    let both: EgressRule =
        serde_json::from_value(json!({"to": [a, b], "ports": [{"port": 80}, {"port": 443}]})).unwrap();
    let mut ceiling = vec![
        rule(a.clone(), json!({"port": 1, "endPort": 1000})),
        rule(b.clone(), json!({"port": 80})),
    ];
    assert_eq!(above(&both, &ceiling), Some((1, 1)));
    ceiling.push(rule(b, json!({"port": 443})));
    assert_eq!(above(&both, &ceiling), None);
}

/// Ranges in a small corner of the address space, so that they meet.
fn cidr() -> impl Strategy<Value = String> {
    (24_u32..=32, 0_u32..256).prop_map(|(prefix, last)| {
        let address = (0xc000_0200 | last) & (u32::MAX << (32 - prefix));
        format!("{}/{prefix}", Ipv4Addr::from(address))
    })
}

fn egress() -> impl Strategy<Value = EgressRule> {
    let block = (cidr(), vec(cidr(), 0..3))
        .prop_map(|(cidr, except)| block(&cidr, &except.iter().map(String::as_str).collect::<Vec<_>>()));
    let selector = || {
        select(vec![
            json!(null),
            json!({}),
            json!({"matchLabels": {"a": "1"}}),
            json!({"matchLabels": {"a": "1", "b": "1"}}),
            json!({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["2"]}]}),
            json!({"matchExpressions": [{"key": "a", "operator": "Exists"}]}),
        ])
    };
    let pods = (selector(), selector())
        .prop_map(|(namespaces, pods)| json!({"namespaceSelector": namespaces, "podSelector": pods}));
    let ports = (1_u16..8, option::of(0_u16..4))
        .prop_map(|(port, more)| json!({"port": port, "endPort": more.map(|more| port + more)}));
    (vec(prop_oneof![block, pods], 1..3), vec(ports, 1..3))
        .prop_map(|(to, ports)| serde_json::from_value(json!({"to": to, "ports": ports})).unwrap())
}

/// One packet's way: to an address, or to a pod in its own or another namespace.
#[derive(Debug, Clone)]
enum Way {
    Address(Ipv4Addr),
    Pod {
        own: bool,
        namespace: Labels,
        pod: Labels,
    },
}

type Labels = std::collections::BTreeMap<String, String>;

fn way() -> impl Strategy<Value = Way> {
    let labels = || {
        (
            option::of(select(vec!["1", "2"])),
            option::of(select(vec!["1", "2"])),
        )
            .prop_map(|(a, b)| {
                let all = [("a", a), ("b", b)];
                all.into_iter()
                    .filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned())))
                    .collect()
            })
    };
    prop_oneof![
        (0_u32..256).prop_map(|last| Way::Address((0xc000_0200 | last).into())),
        (any::<bool>(), labels(), labels()).prop_map(|(own, namespace, pod)| Way::Pod {
            own,
            namespace,
            pod
        }),
    ]
}

/// What Kubernetes says of it, written down again and without a thought for containment.
fn opens(rule: &EgressRule, way: &Way, port: u16) -> bool {
    let meets = |selector: &Option<_>, labels: &Labels| {
        selector.as_ref().is_none_or(|selector| {
            crate::policy::NamespaceSelector::compile(selector)
                .0
                .selects("", labels)
        })
    };
    let peer = |to: &EgressPeer| match (way, &to.ip_block) {
        (Way::Address(address), Some(block)) => {
            let address: Cidr = format!("{address}/32").parse().unwrap();
            let within = |range: &String| range.parse::<Cidr>().unwrap().contains(&address);
            within(&block.cidr) && !block.except.iter().flatten().any(within)
        }
        (Way::Pod { own, namespace, pod }, None) => {
            let there = match &to.namespace_selector {
                None => *own && to.pod_selector.is_some(),
                Some(_) => meets(&to.namespace_selector, namespace),
            };
            there && meets(&to.pod_selector, pod)
        }
        _ => false,
    };
    let ports = |ports: &EgressPort| ports.port <= port && port <= ports.end_port.unwrap_or(ports.port);
    rule.to.iter().any(peer) && rule.ports.iter().any(ports)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    /// Whatever a rule below the ceiling opens, the ceiling opens too.
    #[test]
    fn nothing_passes_that_the_ceiling_does_not_let_pass(
        rule in egress(), ceiling in vec(egress(), 0..4), ways in vec(way(), 16), port in 1_u16..12,
    ) {
        if above(&rule, &ceiling).is_none() {
            for way in ways {
                prop_assert!(!opens(&rule, &way, port) || ceiling.iter().any(|allowed| opens(allowed, &way, port)), "{way:?}");
            }
        }
    }

    /// Otherwise nobody could write down what is allowed.
    #[test]
    fn a_sound_rule_lies_below_itself(rule in egress()) {
        let sound = rule.to.iter().all(|to| to.ip_block.is_some() || to.namespace_selector.is_some() || to.pod_selector.is_some());
        prop_assume!(sound);
        let ceiling = [rule.clone()];
        let except_overlaps = rule.to.iter().filter_map(|to| to.ip_block.as_ref()).any(|block| {
            let cidr: Cidr = block.cidr.parse().unwrap();
            block.except.iter().flatten().any(|range| range.parse::<Cidr>().unwrap().contains(&cidr))
        });
        prop_assert!(above(&rule, &ceiling).is_none() || except_overlaps);
    }
}
