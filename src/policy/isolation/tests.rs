#![allow(clippy::needless_pass_by_value, reason = "rows of a table are values")]

use std::collections::BTreeMap;

use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::{Value, json};
use test_case::test_case;

use super::*;
use crate::{
    api::{
        GOVERNED_LABEL,
        v1alpha1::{ClusterDeploymentPolicy, DeploymentPolicy},
    },
    evidence::Digest,
    policy::{WaiverRule, compile, trust::TrustRoots, unreadable},
    workload::samples,
};

fn tellers() -> Value {
    json!({"namespaceSelector": {"matchLabels": {"team": "teller"}}})
}

fn metrics() -> Value {
    json!({"namespaceSelector": {"matchLabels": {"team": "metrics"}}})
}

fn range(cidr: &str) -> Value {
    json!({"to": [{"ipBlock": {"cidr": cidr}}], "ports": [{"port": 443}]})
}

fn model(part: &Value) -> ModelDeployment {
    let mut model = serde_json::to_value(samples::model(Digest::from_bytes([0xaa; 32]))).unwrap();
    for (key, value) in part.as_object().unwrap() {
        model["spec"][key] = value.clone();
    }
    serde_json::from_value(model).unwrap()
}

fn body(isolation: &Value) -> Value {
    json!({
        "signers": [{"name": "release", "key": {"trustRoot": "root", "keys": ["k"]}}],
        "model": {"signers": ["release"]}, "isolation": isolation
    })
}

fn rules(selector: &Value, isolation: &Value) -> Rules {
    let mut spec = body(isolation);
    spec["namespaceSelector"] = selector.clone();
    let policy = ClusterDeploymentPolicy::new("baseline", serde_json::from_value(spec).unwrap());
    compile(&policy, &TrustRoots::default())
}

fn deny(more: &Value) -> Rules {
    let mut isolation = json!({"network": "DefaultDeny"});
    for (key, value) in more.as_object().unwrap() {
        isolation[key] = value.clone();
    }
    rules(&json!({}), &isolation)
}

fn world(rules: Vec<Rules>) -> World {
    let labels = BTreeMap::from([(GOVERNED_LABEL.to_owned(), "true".to_owned())]);
    World {
        rules,
        namespaces: [("bank".to_owned(), labels)].into(),
        ..World::default()
    }
}

fn closed(part: &Value, rules: Vec<Rules>) -> Openings {
    match network_wish(&model(part), &world(rules), Timestamp::UNIX_EPOCH) {
        NetworkWish::Closed(openings) => openings,
        other => panic!("{other:?}"),
    }
}

#[test_case(&json!({}), vec![] => NetworkWish::None; "no policy")]
#[test_case(&json!({}), vec![rules(&json!({}), &json!(null))] => NetworkWish::None; "a policy that does not ask")]
#[test_case(&json!({}), vec![deny(&json!({"effect": "Warn"}))] => NetworkWish::None; "one that only warns")]
#[test_case(&json!({}), vec![rules(&json!({"matchLabels": {"team": "shop"}}), &json!({"network": "DefaultDeny"}))] => NetworkWish::None; "one for others")]
#[test_case(&json!({}), vec![rules(&json!({"matchLabels": {"a b": "c"}}), &json!({"network": "DefaultDeny"}))] => NetworkWish::AsItIs; "one of which nobody knows whom it is for")]
#[test_case(&json!({}), vec![rules(&json!({"matchLabels": {"a b": "c"}}), &json!(null))] => NetworkWish::None; "one of those that does not ask")]
#[test_case(&json!({}), vec![unreadable::<DeploymentPolicy>(&serde_json::from_value(json!({"name": "x", "namespace": "bank"})).unwrap(), "why")] => NetworkWish::AsItIs; "one that cannot be read")]
#[test_case(&json!({}), vec![deny(&json!({}))] => NetworkWish::Closed(Openings { ingress: Some(vec![]), egress: Some(vec![]) }); "one that asks")]
#[test_case(&json!({"clients": []}), vec![] => NetworkWish::Closed(Openings { ingress: Some(vec![]), egress: None }); "clients close the way in")]
#[test_case(&json!({"egress": []}), vec![] => NetworkWish::Closed(Openings { ingress: None, egress: Some(vec![]) }); "egress closes the way out")]
fn who_asks(part: &Value, rules: Vec<Rules>) -> NetworkWish {
    network_wish(&model(part), &world(rules), Timestamp::UNIX_EPOCH)
}

#[test]
fn clients_and_monitoring_reach_the_port_of_the_server() {
    let mut asked = model(&json!({"clients": [{"from": tellers()}]}));
    let world = world(vec![deny(&json!({"monitoring": [metrics()]}))]);
    let inlets = |model: &ModelDeployment| match network_wish(model, &world, Timestamp::UNIX_EPOCH) {
        NetworkWish::Closed(openings) => openings.ingress.unwrap(),
        other => panic!("{other:?}"),
    };
    let found = inlets(&asked);
    let peers: Vec<_> = found
        .iter()
        .map(|inlet| serde_json::to_value(&inlet.from).unwrap())
        .collect();
    assert_eq!(peers, [tellers(), metrics()]);
    assert!(found.iter().all(|inlet| inlet.ports == [8080].into()));
    // While another port rolls out, what serves stays reachable.
    let server = asked.spec.server.clone();
    asked.status = serde_json::from_value(json!({"serving": {
        "digest": Digest::from_bytes([0xaa; 32]), "version": "1", "reference": "r", "since": "2026-01-01T00:00:00Z",
        "size": 1, "files": 1, "signers": [], "signedBy": "", "verification": "", "template": {"server": server}
    }}))
    .unwrap();
    asked.spec.server.as_mut().unwrap().port = 9090;
    assert!(
        inlets(&asked)
            .iter()
            .all(|inlet| inlet.ports == [8080, 9090].into())
    );
}

#[test]
fn the_port_of_a_workload_is_said_by_the_clients() {
    let workload = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"});
    let part = |clients: Value| json!({"server": null, "workloadRef": workload, "clients": clients});
    let monitored = || vec![deny(&json!({"monitoring": [metrics()]}))];
    let openings = closed(&part(json!([{"from": tellers(), "port": 9000}])), monitored());
    assert!(
        openings
            .ingress
            .unwrap()
            .iter()
            .all(|inlet| inlet.ports == [9000].into())
    );
    // Without a port nothing is opened, rather than all of them.
    assert_eq!(closed(&part(json!([])), monitored()).ingress, Some(vec![]));
}

#[test_case(vec![json!({"egressCeiling": [range("192.0.0.0/16")]})] => 1; "below")]
#[test_case(vec![json!({})] => 0; "no ceiling allows nothing")]
#[test_case(vec![json!({"egressCeiling": [range("192.0.0.0/16")]}), json!({"egressCeiling": [range("192.0.2.0/24")]})] => 1; "below both")]
#[test_case(vec![json!({"egressCeiling": [range("192.0.0.0/16")]}), json!({"egressCeiling": [range("192.0.3.0/24")]})] => 0; "below one of them")]
#[test_case(vec![json!({"egressCeiling": [range("192.0.0.0/16")]}), json!({"effect": "Audit"})] => 1; "below the one that is enforced")]
fn egress_is_kept_below_every_ceiling(policies: Vec<Value>) -> usize {
    let rules = policies.iter().map(deny).collect();
    closed(&json!({"egress": [range("192.0.2.0/24")]}), rules)
        .egress
        .unwrap()
        .len()
}

/// A waiver for what `digits` declares, until a second, for this content or any.
fn waiver(model: &str, rule: RuleId, digest: Option<u8>, policy: Option<&str>) -> WaiverRule {
    WaiverRule {
        namespace: "bank".into(),
        name: "until-narrower".into(),
        rules: [rule].into(),
        model: model.into(),
        digest: digest.map(|byte| Digest::from_bytes([byte; 32])),
        policies: policy.map(|policy| [policy.to_owned()].into()),
        until: Timestamp::from_second(10).unwrap(),
        approved_by: "ada@bank.example".into(),
    }
}

#[test_case(waiver("digits", RuleId::IsolationNetwork, None, None), 0 => 1; "it is opened")]
#[test_case(waiver("digits", RuleId::IsolationNetwork, Some(0xaa), None), 0 => 1; "for this content")]
#[test_case(waiver("digits", RuleId::IsolationNetwork, Some(0xbb), None), 0 => 0; "for other content")]
#[test_case(waiver("digits", RuleId::IsolationNetwork, None, Some("ClusterDeploymentPolicy/baseline")), 0 => 1; "of this policy")]
#[test_case(waiver("digits", RuleId::IsolationNetwork, None, Some("ClusterDeploymentPolicy/other")), 0 => 0; "of another policy")]
#[test_case(waiver("digits", RuleId::IsolationHardening, None, None), 0 => 0; "of another rule")]
#[test_case(waiver("letters", RuleId::IsolationNetwork, None, None), 0 => 0; "for another model")]
#[test_case(waiver("digits", RuleId::IsolationNetwork, None, None), 10 => 0; "that is over")]
fn egress_above_a_ceiling_that_is_waived(waiver: WaiverRule, now: i64) -> usize {
    let world = World {
        waivers: vec![waiver],
        ..world(vec![deny(&json!({}))])
    };
    let model = model(&json!({"egress": [range("192.0.2.0/24")]}));
    let now = Timestamp::from_second(now).unwrap();
    match network_wish(&model, &world, now) {
        NetworkWish::Closed(openings) => openings.egress.unwrap().len(),
        other => panic!("{other:?}"),
    }
}

/// Nobody reaches the credentials of a node, whatever is waived: a range that makes no sense is not opened either.
#[test]
fn what_makes_no_sense_is_not_opened_by_a_waiver() {
    let world = World {
        waivers: vec![waiver("digits", RuleId::IsolationNetwork, None, None)],
        ..world(vec![deny(&json!({}))])
    };
    let model = model(&json!({"egress": [range("192.0.2.1/24"), range("169.254.169.254/32")]}));
    let wish = network_wish(&model, &world, Timestamp::UNIX_EPOCH);
    assert_eq!(
        wish,
        NetworkWish::Closed(Openings {
            ingress: Some(vec![]),
            egress: Some(vec![])
        })
    );
}

#[test_case(&json!({}), "spec.isolation", "asks for nothing"; "an empty section")]
#[test_case(&json!({"network": "DefaultDeny", "egressCeiling": [range("192.0.2.1/24")]}), "spec.isolation.egressCeiling[0].to[0].ipBlock.cidr", "first address"; "a range of two spellings")]
#[test_case(&json!({"network": "DefaultDeny", "monitoring": [{}]}), "spec.isolation.monitoring[0]", "needs namespaceSelector"; "everybody by accident")]
fn what_makes_no_sense_is_a_problem(isolation: &Value, field: &str, words: &str) {
    let rules = rules(&json!({}), isolation);
    let problem = rules.problems.iter().find(|problem| problem.field == field);
    let problem = problem.unwrap_or_else(|| panic!("{:?}", rules.problems));
    assert!(problem.message.contains(words), "{problem}");
}

fn policies() -> impl Strategy<Value = Rules> {
    let ranges = vec(
        select(vec!["192.0.0.0/16", "192.0.2.0/24", "198.51.100.0/24"]),
        0..3,
    );
    let peers = vec(select(vec![tellers(), metrics()]), 0..3);
    let effect = select(vec![json!(null), json!("Enforce"), json!("Warn")]);
    (ranges, peers, effect, any::<bool>()).prop_map(|(ranges, peers, effect, asks)| {
        let ceiling: Vec<_> = ranges.into_iter().map(range).collect();
        let isolation = json!({"network": "DefaultDeny", "egressCeiling": ceiling, "monitoring": peers, "effect": effect});
        rules(&json!({}), &if asks { isolation } else { json!(null) })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_further_policy_never_opens_anything(
        before in vec(policies(), 0..4), further in policies(), at in any::<prop::sample::Index>(),
        egress in vec(select(vec![range("192.0.2.0/24"), range("192.0.3.0/24"), range("198.51.100.0/24")]), 0..3),
    ) {
        let model = model(&json!({"clients": [{"from": tellers()}], "egress": egress}));
        let wish = |rules| match network_wish(&model, &world(rules), Timestamp::UNIX_EPOCH) {
            NetworkWish::Closed(openings) => openings,
            other => panic!("{other:?}"),
        };
        let (before, after) = {
            let mut more = before.clone();
            more.insert(at.index(more.len() + 1), further);
            (wish(before), wish(more))
        };
        let (had, has) = (before.egress.unwrap(), after.egress.unwrap());
        prop_assert!(has.iter().all(|rule| had.contains(rule)));
        // The first policy that asks for isolation may name whom it monitors by: until then everybody may come in that a
        // model names, and so nobody else but by naming them.
        let asked = |inlets: &[Inlet]| inlets.len() > 1;
        let (had, has) = (before.ingress.unwrap(), after.ingress.unwrap());
        prop_assert!(!asked(&had) || has.iter().all(|inlet| had.contains(inlet)));
    }

    #[test]
    fn what_is_opened_lies_below_every_ceiling_that_is_enforced(
        rules in vec(policies(), 1..4),
        egress in vec(select(vec![range("192.0.2.0/24"), range("192.0.0.0/8"), range("198.51.100.0/24")]), 0..3),
    ) {
        let openings = closed(&json!({"egress": egress}), rules.clone());
        for rules in rules.iter().filter(|rules| rules.isolation.effect == Effect::Enforce) {
            let Some(network) = &rules.isolation.network else { continue };
            for rule in openings.egress.iter().flatten() {
                prop_assert_eq!(above(rule, &network.ceiling), None);
            }
        }
    }
}
