use serde_json::{Value, json};
use test_case::test_case;

use super::*;

fn spec(part: &Value, server: bool) -> ModelDeploymentSpec {
    let mut spec = json!({"model": {"source": {"oci": {"reference": "registry.example/digits:1"}}}});
    if server {
        spec["server"] = json!({"image": "x", "protocol": "HTTP", "port": 8080});
    }
    for (key, value) in part.as_object().unwrap() {
        spec[key] = value.clone();
    }
    serde_json::from_value(spec).unwrap()
}

fn to(peer: &Value) -> Value {
    json!({"egress": [{"to": [peer], "ports": [{"port": 443}]}]})
}

#[test_case(&json!({}), true; "nothing")]
#[test_case(&json!({"clients": [], "egress": []}), true; "nobody")]
#[test_case(&json!({"clients": [{"from": {"namespaceSelector": {}}}]}), true; "everybody")]
#[test_case(&json!({"clients": [{"from": {"podSelector": {"matchLabels": {"app": "a"}}}, "port": 80}]}), false; "with a port")]
#[test_case(&to(&json!({"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}})), true; "a range")]
fn takes(part: &Value, server: bool) {
    accept_network(&spec(part, server)).unwrap();
}

#[test_case(&json!({"clients": [{"from": {}}]}), true, "spec.clients[0].from", "needs namespaceSelector"; "a client without a selector")]
#[test_case(&json!({"clients": [{"from": {"podSelector": {"matchLabels": {"a b": "c"}}}}]}), true, "spec.clients[0].from.podSelector.matchLabels[a b]", ""; "no label")]
#[test_case(&json!({"clients": [{"from": {"podSelector": {}}, "port": 80}]}), true, "spec.clients[0].port", "leave it out"; "a port beside a server")]
#[test_case(&json!({"clients": [{"from": {"podSelector": {}}}]}), false, "spec.clients[0].port", "is needed with workloadRef"; "no port for a workload")]
#[test_case(&json!({"clients": [{"from": {"podSelector": {}}, "port": 0}]}), false, "spec.clients[0].port", "1 to 65535"; "port zero")]
#[test_case(&json!({"egress": [{"to": [], "ports": [{"port": 1}]}]}), true, "spec.egress[0].to", "names nobody"; "nobody")]
#[test_case(&json!({"egress": [{"to": [{"podSelector": {}}], "ports": []}]}), true, "spec.egress[0].ports", "no port"; "no port")]
#[test_case(&json!({"egress": [{"to": [{"podSelector": {}}], "ports": [{"port": 0}]}]}), true, "spec.egress[0].ports[0].port", "1 to 65535"; "egress to port zero")]
#[test_case(&json!({"egress": [{"to": [{"podSelector": {}}], "ports": [{"port": 9, "endPort": 8}]}]}), true, "spec.egress[0].ports[0].endPort", "last port"; "backwards")]
#[test_case(&to(&json!({})), true, "spec.egress[0].to[0]", "needs namespaceSelector"; "an empty peer")]
#[test_case(&to(&json!({"podSelector": {}, "ipBlock": {"cidr": "192.0.2.0/24"}})), true, "spec.egress[0].to[0]", "both"; "a peer of both kinds")]
#[test_case(&to(&json!({"ipBlock": {"cidr": "192.0.2.1/24"}})), true, "spec.egress[0].to[0].ipBlock.cidr", "first address"; "not the first address")]
#[test_case(&to(&json!({"ipBlock": {"cidr": "169.254.169.254/32"}})), true, "spec.egress[0].to[0].ipBlock.cidr", "credentials"; "the metadata service")]
#[test_case(&to(&json!({"ipBlock": {"cidr": "192.0.2.0/24", "except": ["192.0.2.0/24"]}})), true, "spec.egress[0].to[0].ipBlock.except[0]", "smaller"; "all of it excepted")]
#[test_case(&to(&json!({"ipBlock": {"cidr": "192.0.2.0/24", "except": ["198.51.100.0/24"]}})), true, "spec.egress[0].to[0].ipBlock.except[0]", "lie within"; "an exception elsewhere")]
fn refuses(part: &Value, server: bool, field: &str, words: &str) {
    let problem = accept_network(&spec(part, server)).unwrap_err();
    assert_eq!(problem.field, field);
    assert!(problem.message.contains(words), "{problem}");
}
