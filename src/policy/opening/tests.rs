//! What is said of network policies.

use serde_json::{Value, json};
use test_case::test_case;

use super::{Foreign, ModelPods, PodLabels, judge};
use crate::{
    evidence::{Reason, Verdict},
    policy::{
        World,
        rbac::samples::{policy, world},
    },
};

fn closing(effect: &str) -> World {
    world(vec![policy(
        "baseline",
        &json!({"effect": effect, "network": "DefaultDeny"}),
    )])
}

/// `digits`, which Probity runs, and `prices`, of a workload.
fn pods() -> ModelPods {
    let labels = |model: &str, app: &str| {
        let labels = [("probity.dev/model", model), ("app", app)]
            .map(|(key, value)| (key.to_owned(), value.to_owned()));
        (model.to_owned(), PodLabels::of(&labels.into()))
    };
    [labels("digits", "digits"), labels("prices", "till")].into()
}

fn kubernetes(selector: &Value, more: &Value) -> Foreign {
    let mut spec = json!({"podSelector": selector});
    spec.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    Foreign::read("NetworkPolicy", "bank", "open", &json!({"spec": spec}))
}

fn said(foreign: &Foreign) -> Verdict {
    judge(foreign, &pods(), &closing("Enforce")).verdict
}

fn ingress() -> Value {
    json!({"ingress": [{"from": [{"podSelector": {}}]}]})
}

#[test_case(json!({}) => Verdict::Fail; "every pod")]
#[test_case(json!({"matchLabels": {"probity.dev/model": "digits"}}) => Verdict::Fail; "the model's")]
#[test_case(json!({"matchLabels": {"probity.dev/model": "not-there-yet"}}) => Verdict::Fail; "those of a model that may come")]
#[test_case(json!({"matchExpressions": [{"key": "probity.dev/model", "operator": "Exists"}]}) => Verdict::Fail; "those of every model")]
#[test_case(json!({"matchExpressions": [{"key": "probity.dev/model", "operator": "DoesNotExist"}]}) => Verdict::Pass; "all but models'")]
#[test_case(json!({"matchLabels": {"app": "till"}}) => Verdict::Fail; "by another label of a model's pods")]
#[test_case(json!({"matchLabels": {"app": "web"}}) => Verdict::Pass; "others, by their label")]
#[test_case(json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}) => Verdict::Fail; "all but these")]
#[test_case(json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "till"]}]}) => Verdict::Fail; "these and the model's")]
#[test_case(json!({"matchLabels": {"pod-template-hash": "5f6b"}}) => Verdict::Fail; "by what a controller adds")]
#[test_case(json!({"matchLabels": {"app": "web", "probity.dev/model": "digits"}}) => Verdict::Pass; "by both, which no pod has")]
#[test_case(json!({"matchExpressions": [{"key": "app", "operator": "Like", "values": ["web"]}]}) => Verdict::Fail; "what cannot be read")]
#[allow(clippy::needless_pass_by_value, reason = "rows of a table are values")]
fn whose_pods(selector: Value) -> Verdict {
    said(&kubernetes(&selector, &ingress()))
}

#[test_case(json!({}) => Verdict::Pass; "nothing")]
#[test_case(json!({"policyTypes": ["Ingress", "Egress"]}) => Verdict::Pass; "nothing in both directions")]
#[test_case(json!({"ingress": [], "egress": null}) => Verdict::Pass; "nothing, in other words")]
#[test_case(json!({"ingress": [{}]}) => Verdict::Fail; "everybody in")]
#[test_case(json!({"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]}) => Verdict::Fail; "out to some")]
#[test_case(json!({"egress": 7}) => Verdict::Fail; "what cannot be read")]
#[allow(clippy::needless_pass_by_value, reason = "rows of a table are values")]
fn what_it_allows(more: Value) -> Verdict {
    said(&kubernetes(&json!({}), &more))
}

#[test_case(json!({"spec": {"endpointSelector": {}, "ingress": [{"fromEntities": ["cluster"]}]}}) => Verdict::Fail; "everybody in")]
#[test_case(json!({"spec": {"endpointSelector": {}, "ingress": [{}], "egress": [{}]}}) => Verdict::Pass; "Cilium's way to allow nothing")]
#[test_case(json!({"spec": {"endpointSelector": {}, "ingressDeny": [{"fromEntities": ["world"]}]}}) => Verdict::Pass; "a denial")]
#[test_case(json!({"spec": {"endpointSelector": {"matchLabels": {"app": "web"}}, "egress": [{"toEntities": ["world"]}]}}) => Verdict::Pass; "other pods")]
#[test_case(json!({"spec": {"endpointSelector": {"matchLabels": {"k8s:app": "till"}}, "egress": [{"toEntities": ["world"]}]}}) => Verdict::Fail; "by a label and its source")]
#[test_case(json!({"spec": {"endpointSelector": {"matchLabels": {"any:app": "web"}}, "egress": [{"toEntities": ["world"]}]}}) => Verdict::Pass; "others, from any source")]
#[test_case(json!({"spec": {"endpointSelector": {"matchLabels": {"io.cilium.k8s.policy.serviceaccount": "digits"}}, "egress": [{"toEntities": ["world"]}]}}) => Verdict::Fail; "by the account")]
#[test_case(json!({"specs": [{"endpointSelector": {"matchLabels": {"app": "web"}}, "egress": [{"toEntities": ["world"]}]}, {"endpointSelector": {}, "egress": [{"toEntities": ["world"]}]}]}) => Verdict::Fail; "one of several")]
#[allow(clippy::needless_pass_by_value, reason = "rows of a table are values")]
fn ciliums(object: Value) -> Verdict {
    said(&Foreign::read("CiliumNetworkPolicy", "bank", "open", &object))
}

#[test]
fn a_refusal_says_what_opens_whom_and_where_to_declare_it() {
    let decision = judge(&kubernetes(&json!({}), &ingress()), &pods(), &closing("Enforce"));
    assert_eq!(decision.reason(), Some(Reason::NetworkOpened));
    assert_eq!(
        decision.message(),
        "NetworkPolicy bank/open allows traffic of pods of ModelDeployment digits (spec.ingress[0]), which is added to what theirs allows: have its selector leave them out, and declare who may call a model in its spec.clients and whom it may reach in its spec.egress"
    );
    let before_any = judge(
        &kubernetes(&json!({}), &ingress()),
        &ModelPods::new(),
        &closing("Enforce"),
    );
    assert!(
        before_any.message().contains("pods of any model"),
        "{}",
        before_any.message()
    );
}

#[test_case("Enforce" => (false, 0); "refused")]
#[test_case("Warn" => (true, 1); "warned about")]
#[test_case("Audit" => (true, 0); "on record")]
fn the_section_has_an_effect(effect: &str) -> (bool, usize) {
    let decision = judge(&kubernetes(&json!({}), &ingress()), &pods(), &closing(effect));
    (decision.admits(), decision.warnings().count())
}

#[test]
fn where_nothing_is_to_be_closed_all_may_be_opened() {
    let world = world(vec![policy("p", &json!({"rbac": {"ceiling": []}}))]);
    assert!(judge(&kubernetes(&json!({}), &ingress()), &pods(), &world).admits());
}

#[test]
fn a_further_policy_never_admits_more() {
    let open = kubernetes(&json!({}), &ingress());
    for more in [
        json!(null),
        json!({"network": "DefaultDeny", "effect": "Audit"}),
        json!({"network": "DefaultDeny"}),
    ] {
        let rules = vec![
            policy("baseline", &json!({"network": "DefaultDeny"})),
            policy("more", &more),
        ];
        assert!(!judge(&open, &pods(), &world(rules)).admits(), "{more}");
    }
}

#[test]
fn what_it_allows_already_is_not_asked_again_and_less_never() {
    let two = json!({"ingress": [{"from": [{"podSelector": {}}]}, {"ports": [{"port": 80}]}]});
    let (old, less) = (kubernetes(&json!({}), &two), kubernetes(&json!({}), &ingress()));
    assert_eq!(said(&less.clone().beyond(Some(&old))), Verdict::Pass);
    assert_eq!(said(&old.clone().beyond(Some(&less))), Verdict::Fail);
    let others = kubernetes(&json!({"matchLabels": {"app": "web"}}), &ingress());
    assert_eq!(
        said(&less.beyond(Some(&others))),
        Verdict::Fail,
        "the same for other pods"
    );
}

/// Of one of the whole cluster, in a namespace of the team `teller`.
fn of_cluster(kind: &str, object: &Value) -> Verdict {
    let labels = [("kubernetes.io/metadata.name", "bank"), ("team", "teller")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
    said(&Foreign::of_cluster(kind, "open", object, "bank", &labels.into()))
}

#[test_case(json!({}), json!({"egress": [{"toEntities": ["world"]}]}) => Verdict::Fail; "every pod")]
#[test_case(json!({"matchLabels": {"k8s:io.kubernetes.pod.namespace": "bank"}}), json!({"egress": [{"toEntities": ["world"]}]}) => Verdict::Fail; "of its namespace")]
#[test_case(json!({"matchLabels": {"k8s:io.kubernetes.pod.namespace": "kube-system"}}), json!({"egress": [{"toEntities": ["world"]}]}) => Verdict::Pass; "of another")]
#[test_case(json!({"matchLabels": {"k8s:io.cilium.k8s.namespace.labels.team": "teller"}}), json!({"egress": [{"toEntities": ["world"]}]}) => Verdict::Fail; "by a label of its namespace")]
#[test_case(json!({"matchLabels": {"k8s:io.cilium.k8s.namespace.labels.team": "web"}}), json!({"egress": [{"toEntities": ["world"]}]}) => Verdict::Pass; "by one that it has not")]
#[test_case(json!({"matchExpressions": [{"key": "k8s:io.cilium.k8s.namespace.labels.pci", "operator": "Exists"}]}), json!({"egress": [{"toEntities": ["world"]}]}) => Verdict::Pass; "by one that is not there")]
#[test_case(json!({}), json!({"ingressDeny": [{"fromEntities": ["world"]}]}) => Verdict::Pass; "a denial")]
#[test_case(json!({}), json!({"nodeSelector": {}, "ingress": [{"fromEntities": ["world"]}]}) => Verdict::Pass; "of nodes")]
#[allow(clippy::needless_pass_by_value, reason = "rows of a table are values")]
fn ciliums_of_the_whole_cluster(selector: Value, more: Value) -> Verdict {
    let mut spec = json!({"endpointSelector": selector});
    spec.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    of_cluster("CiliumClusterwideNetworkPolicy", &json!({"spec": spec}))
}

fn accepts(action: &str) -> Value {
    json!([{"action": action, "to": [{"networks": ["0.0.0.0/0"]}]}])
}

#[test_case("Admin", json!({"namespaces": {}}), accepts("Accept") => Verdict::Fail; "of every pod")]
#[test_case("Admin", json!({"namespaces": {"matchLabels": {"team": "teller"}}}), accepts("Accept") => Verdict::Fail; "of its namespace")]
#[test_case("Admin", json!({"namespaces": {"matchLabels": {"team": "web"}}}), accepts("Accept") => Verdict::Pass; "of another")]
#[test_case("Admin", json!({"pods": {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "till"}}}}), accepts("Accept") => Verdict::Fail; "of a model's pods")]
#[test_case("Admin", json!({"pods": {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "web"}}}}), accepts("Accept") => Verdict::Pass; "of other pods")]
#[test_case("Admin", json!({"namespaces": {}}), accepts("Deny") => Verdict::Pass; "a denial")]
#[test_case("Admin", json!({"namespaces": {}}), accepts("Pass") => Verdict::Pass; "left to others")]
#[test_case("Admin", json!({"namespaces": {}}), accepts("Allow") => Verdict::Fail; "what cannot be read")]
#[test_case("Baseline", json!({"namespaces": {}}), accepts("Accept") => Verdict::Pass; "asked after theirs")]
#[allow(clippy::needless_pass_by_value, reason = "rows of a table are values")]
fn kubernetes_of_the_whole_cluster(tier: &str, subject: Value, egress: Value) -> Verdict {
    let spec = json!({"tier": tier, "priority": 5, "subject": subject, "egress": egress});
    of_cluster("ClusterNetworkPolicy", &json!({"spec": spec}))
}
