#![allow(clippy::needless_pass_by_value, reason = "rows of a table are values")]

use serde_json::{Value, json};
use test_case::test_case;

use super::*;
use crate::{evidence::Digest, workload::samples};

fn rules(rules: Value) -> Vec<EgressRule> {
    serde_json::from_value(rules).unwrap()
}

fn range(cidr: &str, except: Value) -> Value {
    json!([{"to": [{"ipBlock": {"cidr": cidr, "except": except}}], "ports": [{"port": 443}]}])
}

fn built(openings: &Openings, settings: &NetworkSettings) -> Value {
    let model = samples::model(Digest::from_bytes([0xaa; 32]));
    serde_json::to_value(network_policy(&model, own_pods(&model), openings, settings)).unwrap()
}

fn lookups() -> Value {
    json!({
        "to": [{
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
            "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}
        }],
        "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]
    })
}

#[test]
fn everything_is_closed_but_what_is_said() {
    let tellers: PodPeer =
        serde_json::from_value(json!({"namespaceSelector": {"matchLabels": {"team": "teller"}}})).unwrap();
    let openings = Openings {
        ingress: Some(vec![Inlet {
            from: tellers,
            ports: [8080].into(),
        }]),
        egress: Some(rules(json!([
            {"to": [{"podSelector": {"matchLabels": {"app": "features"}}}], "ports": [{"port": 6379}]}
        ]))),
    };
    let policy = built(&openings, &NetworkSettings::default());
    assert_eq!(policy["metadata"]["name"], "probity-digits");
    assert_eq!(policy["metadata"]["namespace"], "bank");
    assert_eq!(policy["metadata"]["labels"][MODEL_LABEL], "digits");
    assert_eq!(
        policy["metadata"]["ownerReferences"][0]["kind"],
        "ModelDeployment"
    );
    assert_eq!(
        policy["spec"],
        json!({
            "podSelector": {"matchLabels": {MODEL_LABEL: "digits"}},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{
                "from": [{"namespaceSelector": {"matchLabels": {"team": "teller"}}}],
                "ports": [{"port": 8080, "protocol": "TCP"}]
            }],
            "egress": [lookups(), {
                "to": [{"podSelector": {"matchLabels": {"app": "features"}}}],
                "ports": [{"port": 6379, "protocol": "TCP"}]
            }]
        })
    );
}

#[test_case(Some(vec![]), None => json!({"policyTypes": ["Ingress"], "ingress": [], "egress": []}); "the way in alone")]
#[test_case(None, Some(vec![]) => json!({"policyTypes": ["Egress"], "ingress": [], "egress": [lookups()]}); "the way out alone")]
#[test_case(Some(vec![]), Some(vec![]) => json!({"policyTypes": ["Ingress", "Egress"], "ingress": [], "egress": [lookups()]}); "both, and nobody")]
fn directions(ingress: Option<Vec<Inlet>>, egress: Option<Vec<EgressRule>>) -> Value {
    let mut policy = built(&Openings { ingress, egress }, &NetworkSettings::default());
    policy["spec"].as_object_mut().unwrap().remove("podSelector");
    policy["spec"].take()
}

#[test_case(&range("192.0.2.0/24", json!(null)) => json!([{"cidr": "192.0.2.0/24"}]); "a range of nobody's")]
#[test_case(&range("192.0.2.0/24", json!(["192.0.2.0/25"])) => json!([{"cidr": "192.0.2.0/24", "except": ["192.0.2.0/25"]}]); "with an exception of its own")]
#[test_case(&range("0.0.0.0/0", json!(null)) => json!([{"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16", "10.96.0.1/32"]}]); "everything")]
#[test_case(&range("0.0.0.0/0", json!(["169.0.0.0/8"])) => json!([{"cidr": "0.0.0.0/0", "except": ["169.0.0.0/8", "10.96.0.1/32"]}]); "what is left out already is not left out again")]
#[test_case(&range("10.0.0.0/8", json!(null)) => json!([{"cidr": "10.0.0.0/8", "except": ["10.96.0.1/32"]}]); "around the API server")]
#[test_case(&range("10.96.0.1/32", json!(null)) => json!([]); "the API server itself")]
#[test_case(&range("169.254.169.254/32", json!(null)) => json!([]); "the metadata service")]
#[test_case(&range("::/0", json!(null)) => json!([{"cidr": "::/0", "except": ["fd00:ec2::254/128"]}]); "everything in IPv6")]
#[test_case(&range("fd00:ec2::254/128", json!(null)) => json!([]); "the metadata service in IPv6")]
#[test_case(&range("rubbish", json!(null)) => json!([]); "what cannot be read")]
#[test_case(&range("192.0.2.0/24", json!(["rubbish"])) => json!([]); "an exception that cannot be read")]
#[test_case(&json!([{"to": [], "ports": [{"port": 1}]}]) => json!([]); "no peers is not all of them")]
#[test_case(&json!([{"to": [{}], "ports": [{"port": 1}]}]) => json!([]); "an empty peer is not all of them")]
#[test_case(&json!([{"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}], "ports": []}]) => json!([]); "no ports is not all of them")]
fn what_is_opened(egress: &Value) -> Value {
    let openings = Openings {
        ingress: None,
        egress: Some(rules(egress.clone())),
    };
    let settings = NetworkSettings {
        egress: Vec::new(),
        closed: vec!["10.96.0.1/32".parse().unwrap()],
    };
    let policy = built(&openings, &settings);
    let blocks = policy["spec"]["egress"].as_array().unwrap().iter().skip(1);
    Value::Array(blocks.map(|rule| rule["to"][0]["ipBlock"].clone()).collect())
}

#[test]
fn a_peer_that_is_shut_out_takes_no_other_with_it_and_is_named() {
    let egress = rules(json!([{
        "to": [{"ipBlock": {"cidr": "169.254.0.0/16"}}, {"ipBlock": {"cidr": "192.0.2.0/24"}}], "ports": [{"port": 80}]
    }]));
    let settings = NetworkSettings::default();
    assert_eq!(shut_out(&egress, &settings), ["spec.egress[0].to[0]"]);
    let openings = Openings {
        ingress: None,
        egress: Some(egress),
    };
    let to = built(&openings, &settings)["spec"]["egress"][1]["to"].take();
    assert_eq!(to, json!([{"ipBlock": {"cidr": "192.0.2.0/24"}}]));
}

#[test]
fn what_the_operator_was_told_is_opened_as_it_is() {
    let egress = rules(json!([{
        "to": [{"ipBlock": {"cidr": "169.254.20.10/32"}}], "ports": [{"port": 53, "protocol": "UDP"}]
    }]));
    assert!(NetworkSettings::takes(&egress[0]));
    let settings = NetworkSettings {
        egress,
        closed: Vec::new(),
    };
    let openings = Openings {
        ingress: None,
        egress: Some(Vec::new()),
    };
    let policy = built(&openings, &settings);
    assert_eq!(
        policy["spec"]["egress"][1],
        json!({"to": [{"ipBlock": {"cidr": "169.254.20.10/32"}}], "ports": [{"port": 53, "protocol": "UDP"}]})
    );
}

#[test]
fn ports_are_numbers_and_ranges() {
    let openings = Openings {
        ingress: None,
        egress: Some(rules(json!([{
            "to": [{"namespaceSelector": {}}], "ports": [{"port": 9000, "endPort": 9010, "protocol": "SCTP"}]
        }]))),
    };
    let policy = built(&openings, &NetworkSettings::default());
    assert_eq!(
        policy["spec"]["egress"][1]["ports"],
        json!([{"port": 9000, "endPort": 9010, "protocol": "SCTP"}])
    );
}

#[test]
fn the_relay_is_open_on_its_port_alone() {
    let openings = Openings {
        ingress: None,
        egress: Some(Vec::new()),
    };
    let policy = built(
        &openings,
        &NetworkSettings::default().with_relay("probity-system"),
    );
    assert_eq!(
        policy["spec"]["egress"],
        json!([lookups(), {
            "to": [{
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "probity-system"}},
                "podSelector": {"matchLabels": {"app.kubernetes.io/component": "relay"}}
            }],
            "ports": [{"port": 8443, "protocol": "TCP"}]
        }])
    );
}
