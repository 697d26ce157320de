//! What `Isolated` says of a model: never more than was probed. Pure.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;

use super::{
    super::condition::{State, Wanted},
    Closed, Isolation,
    probe::Told,
};

/// The condition's type.
pub(in crate::controller) const ISOLATED: &str = "Isolated";

/// The reasons under which the model has a NetworkPolicy.
pub(super) const IS_THERE: [&str; 4] = ["Enforced", "NotEnforced", "NotProbed", "HostNetwork"];

/// The condition; none where nobody asks for isolation. `pods` are the model's, `told` is what is known of the nodes.
///
/// True only when on each of its nodes what a canary should let through came through and what it should not did not, in each
/// direction that is closed.
pub(super) fn isolated(isolation: &Isolation, pods: &[Pod], told: &Told) -> Option<Wanted> {
    let said = |state, reason: &str, message: String| Some(Wanted::new(ISOLATED, state, reason, message));
    let closed = match isolation {
        Isolation::Open => return None,
        Isolation::NameTaken(name) => {
            let message = format!(
                "NetworkPolicy {name} exists and is not this model's, and was left alone: remove it, or rename the model"
            );
            return said(State::False, "NameTaken", message);
        }
        Isolation::NoPods => {
            let message = "which pods are the model's is told by its workload, and there is none";
            return said(State::Unknown, "WorkloadNotFound", message.into());
        }
        Isolation::Applied(closed) => closed,
    };
    let applied = applied(closed);
    let on_host = |pod: &&Pod| {
        pod.spec
            .as_ref()
            .is_some_and(|spec| spec.host_network == Some(true))
    };
    if let Some(pod) = pods.iter().filter(on_host).map(kube::ResourceExt::name_any).min() {
        let message = format!(
            "{applied}; pod {pod} is on its node's own network (hostNetwork), which no NetworkPolicy closes: take that from its template"
        );
        return said(State::False, "HostNetwork", message);
    }
    let nodes: BTreeSet<&str> = pods
        .iter()
        .filter_map(|pod| pod.spec.as_ref()?.node_name.as_deref())
        .collect();
    let (ingress, egress) = (closed.ingress, closed.egress);
    let breaks = |node: &&&str| told.get(**node).is_some_and(|seen| seen.breaks(ingress, egress));
    if let Some(node) = nodes.iter().find(breaks) {
        let message = format!(
            "{applied}, and node {node} does not enforce it: a connection that another NetworkPolicy forbids came through to the canary there, or from it; see to the cluster's network"
        );
        // Unknown, not False: what was seen is a canary, not the model's own pods.
        return said(State::Unknown, "NotEnforced", message);
    }
    if nodes.is_empty() {
        let message = format!("{applied}; no pod of the model is on a node yet");
        return said(State::Unknown, "NotProbed", message);
    }
    let unknown = |node: &&&str| !told.get(**node).is_some_and(|seen| seen.shows(ingress, egress));
    if let Some(node) = nodes.iter().find(unknown) {
        let known = told.contains_key(*node);
        let way = if known { ", on the way out" } else { "" };
        let message =
            format!("{applied}; whether node {node} enforces it{way} was not probed in the last minutes");
        return said(State::Unknown, "NotProbed", message);
    }
    let message = format!(
        "{applied}, and on each of its nodes what a canary should let through came through, and what it should not did not"
    );
    said(State::True, "Enforced", message)
}

fn applied(closed: &Closed) -> String {
    let Closed {
        name,
        ingress,
        egress,
        shut_out,
    } = closed;
    let directions = match (ingress, egress) {
        (true, false) => " for the way in alone",
        (false, true) => " for the way out alone",
        _ => "",
    };
    let shut_out = match shut_out.as_slice() {
        [] => String::new(),
        fields => format!(
            " ({} lies within addresses that are never opened)",
            fields.join(", ")
        ),
    };
    format!("NetworkPolicy {name} is applied{directions}{shut_out}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use test_case::test_case;

    use super::{
        super::probe::{Enforcement, Seen},
        *,
    };

    const APPLIED: (bool, bool) = (true, true);

    fn closed((ingress, egress): (bool, bool)) -> Isolation {
        Isolation::Applied(Closed {
            name: "probity-digits".into(),
            ingress,
            egress,
            shut_out: Vec::new(),
        })
    }

    fn pods(nodes: &[&str]) -> Vec<Pod> {
        let pod = |node: &&str| {
            let node = if node.is_empty() { json!(null) } else { json!(node) };
            serde_json::from_value(
                json!({"metadata": {"name": "p"}, "spec": {"nodeName": node, "containers": []}}),
            )
            .unwrap()
        };
        nodes.iter().map(pod).collect()
    }

    fn told(nodes: &[(&str, Seen)]) -> Told {
        nodes
            .iter()
            .map(|(node, seen)| ((*node).to_owned(), *seen))
            .collect()
    }

    const YES: Seen = Seen {
        ingress: Enforcement::Enforced,
        egress: Some(Enforcement::Enforced),
    };
    const IN: Seen = Seen { egress: None, ..YES };
    const NO: Seen = Seen {
        ingress: Enforcement::NotEnforced,
        egress: Some(Enforcement::NotEnforced),
    };

    #[test_case(&closed(APPLIED), &["a"], &[("a", YES)] => (State::True, "Enforced".to_owned()); "seen on its node")]
    #[test_case(&closed(APPLIED), &["a", "b"], &[("a", YES), ("b", YES)] => (State::True, "Enforced".to_owned()); "seen on both")]
    #[test_case(&closed(APPLIED), &["a", "b"], &[("a", YES)] => (State::Unknown, "NotProbed".to_owned()); "seen on one of two")]
    #[test_case(&closed(APPLIED), &["a", "b"], &[("b", NO)] => (State::Unknown, "NotEnforced".to_owned()); "seen not to be on one")]
    #[test_case(&closed(APPLIED), &["a"], &[("a", YES), ("b", NO)] => (State::True, "Enforced".to_owned()); "other nodes do not matter")]
    #[test_case(&closed(APPLIED), &["a"], &[] => (State::Unknown, "NotProbed".to_owned()); "no canary")]
    #[test_case(&closed(APPLIED), &[], &[("a", YES)] => (State::Unknown, "NotProbed".to_owned()); "no pod")]
    #[test_case(&closed(APPLIED), &[""], &[("a", YES)] => (State::Unknown, "NotProbed".to_owned()); "a pod on no node")]
    #[test_case(&closed((true, false)), &["a"], &[("a", YES)] => (State::True, "Enforced".to_owned()); "the way in alone")]
    #[test_case(&closed((false, true)), &["a"], &[("a", YES)] => (State::True, "Enforced".to_owned()); "the way out alone")]
    #[test_case(&closed((true, false)), &["a"], &[("a", IN)] => (State::True, "Enforced".to_owned()); "the way in alone, and of the other nothing is known")]
    #[test_case(&closed(APPLIED), &["a"], &[("a", IN)] => (State::Unknown, "NotProbed".to_owned()); "the way out was not seen")]
    #[test_case(&closed((false, true)), &["a"], &[("a", IN)] => (State::Unknown, "NotProbed".to_owned()); "the way out alone was not seen")]
    #[test_case(&closed((false, true)), &["a"], &[("a", NO)] => (State::Unknown, "NotEnforced".to_owned()); "but what enforces nothing does not enforce it")]
    #[test_case(&Isolation::NameTaken("probity-digits".into()), &["a"], &[("a", YES)] => (State::False, "NameTaken".to_owned()); "somebody else's")]
    #[test_case(&Isolation::NoPods, &[], &[] => (State::Unknown, "WorkloadNotFound".to_owned()); "nothing to select")]
    fn says(isolation: &Isolation, nodes: &[&str], seen: &[(&str, Seen)]) -> (State, String) {
        let wanted = isolated(isolation, &pods(nodes), &told(seen)).unwrap();
        (wanted.state, wanted.reason)
    }

    #[test]
    fn a_pod_on_the_network_of_its_node_is_not_isolated() {
        let mut pods = pods(&["a", "a"]);
        pods[1].spec.as_mut().unwrap().host_network = Some(true);
        let wanted = isolated(&closed(APPLIED), &pods, &told(&[("a", YES)])).unwrap();
        assert_eq!(
            (wanted.state, wanted.reason.as_str()),
            (State::False, "HostNetwork")
        );
    }

    #[test]
    fn nothing_is_said_where_nobody_asks() {
        assert_eq!(
            isolated(&Isolation::Open, &pods(&["a"]), &told(&[("a", NO)])),
            None
        );
    }

    #[test]
    fn says_what_is_not_closed_and_what_stays_closed() {
        let message = |isolation: &Isolation| isolated(isolation, &[], &Told::new()).unwrap().message;
        assert!(message(&closed((true, false))).contains("for the way in alone"));
        assert!(message(&closed((false, true))).contains("for the way out alone"));
        let isolation = Isolation::Applied(Closed {
            shut_out: vec!["spec.egress[0].to[1]".into()],
            ..Closed::default()
        });
        assert!(message(&isolation).contains("spec.egress[0].to[1] lies within addresses"));
    }
}
