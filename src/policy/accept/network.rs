//! Do the network parts of a specification make sense by themselves? Pure.

use super::invalid;
use crate::{
    api::v1alpha1::{EgressPeer, EgressRule, IpBlock, ModelDeploymentSpec, PodPeer},
    policy::{Problem, select::terms},
    workload::{Cidr, METADATA_ADDRESSES},
};

/// What is wrong: the field below the one that was asked about, and what to write instead.
type Fault = (String, String);

/// Looks at `clients` and `egress`.
pub(super) fn accept_network(spec: &ModelDeploymentSpec) -> Result<(), Problem> {
    for (at, client) in spec.clients.iter().flatten().enumerate() {
        let field = format!("spec.clients[{at}]");
        if let Some((below, message)) = peer_fault(&client.from) {
            return Err(invalid(&format!("{field}.from{below}"), message));
        }
        let message = match (client.port, &spec.server) {
            (Some(0), _) => "0 is no port: write the one that the clients reach, 1 to 65535",
            (Some(_), Some(_)) => "is said by server already: leave it out",
            (None, None) => "is needed with workloadRef, where nothing else says it",
            _ => continue,
        };
        return Err(invalid(&format!("{field}.port"), message));
    }
    for (at, rule) in spec.egress.iter().flatten().enumerate() {
        if let Some((below, message)) = egress_fault(rule) {
            return Err(invalid(&format!("spec.egress[{at}]{below}"), message));
        }
    }
    Ok(())
}

/// What is wrong with pods that are named as clients, or for monitoring.
pub(in crate::policy) fn peer_fault(peer: &PodPeer) -> Option<Fault> {
    selectors_fault(&EgressPeer {
        namespace_selector: peer.namespace_selector.clone(),
        pod_selector: peer.pod_selector.clone(),
        ip_block: None,
    })
}

/// What is wrong with a rule of egress, or of a ceiling.
pub(in crate::policy) fn egress_fault(rule: &EgressRule) -> Option<Fault> {
    if rule.to.is_empty() {
        return fault(".to", "names nobody: name a peer, or leave the rule out");
    }
    if rule.ports.is_empty() {
        return fault(".ports", "has no port: name one, or leave the rule out");
    }
    for (at, peer) in rule.to.iter().enumerate() {
        let found = match &peer.ip_block {
            Some(_) if peer.namespace_selector.is_some() || peer.pod_selector.is_some() => fault(
                "",
                "has both ipBlock and selectors, and Kubernetes knows no such peer: write two",
            ),
            Some(block) => block_fault(block),
            None => selectors_fault(peer),
        };
        if let Some((below, message)) = found {
            return Some((format!(".to[{at}]{below}"), message));
        }
    }
    for (at, port) in rule.ports.iter().enumerate() {
        if port.port == 0 {
            return fault(&format!(".ports[{at}].port"), "0 is no port: write 1 to 65535");
        }
        if port.end_port.is_some_and(|last| last < port.port) {
            let message = "is before port: it is the last port of the range";
            return fault(&format!(".ports[{at}].endPort"), message);
        }
    }
    None
}

fn selectors_fault(peer: &EgressPeer) -> Option<Fault> {
    let named = [
        (".namespaceSelector", &peer.namespace_selector),
        (".podSelector", &peer.pod_selector),
    ];
    if named.iter().all(|(_, selector)| selector.is_none()) {
        return fault(
            "",
            "needs namespaceSelector, podSelector or both; `namespaceSelector: {}` is every pod in the cluster",
        );
    }
    named.iter().find_map(|(field, selector)| {
        let (_, problems) = terms(field, selector.as_ref()?);
        let problem = problems.into_iter().next()?;
        Some((problem.field, problem.message))
    })
}

fn block_fault(block: &IpBlock) -> Option<Fault> {
    let cidr: Cidr = match block.cidr.parse() {
        Ok(cidr) => cidr,
        Err(why) => return fault(".ipBlock.cidr", &format!("`{}` {why}", block.cidr)),
    };
    let metadata = METADATA_ADDRESSES
        .iter()
        .filter_map(|range| range.parse::<Cidr>().ok());
    if metadata.into_iter().any(|range| range.contains(&cidr)) {
        let message = format!(
            "{cidr} is where a cloud's metadata service gives away the node's credentials: leave it out"
        );
        return fault(".ipBlock.cidr", &message);
    }
    block.except.iter().flatten().enumerate().find_map(|(at, range)| {
        let message = match range.parse::<Cidr>() {
            Err(why) => format!("`{range}` {why}"),
            Ok(except) if except == cidr || !cidr.contains(&except) => {
                format!("{except} must lie within {cidr} and be smaller than it")
            }
            Ok(_) => return None,
        };
        fault(&format!(".ipBlock.except[{at}]"), &message)
    })
}

#[expect(clippy::unnecessary_wraps, reason = "reads as: this is the fault")]
fn fault(field: &str, message: &str) -> Option<Fault> {
    Some((field.to_owned(), message.to_owned()))
}

#[cfg(test)]
mod tests;
