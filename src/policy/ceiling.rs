//! Does what a model wants to reach lie within what a policy allows?
//! Pure, and cautious: what cannot be seen to lie within it does not.

use super::select::{Term, narrower, read_terms};
use crate::{
    api::v1alpha1::{EgressPeer, EgressPort, EgressRule, IpBlock, PodPeer},
    workload::Cidr,
};

/// The first peer and port of a rule, by their places in it, that no rule of the ceiling contains; none when all of it is
/// allowed.
pub(super) fn above(rule: &EgressRule, ceiling: &[EgressRule]) -> Option<(usize, usize)> {
    let places = (0..rule.to.len()).flat_map(|peer| (0..rule.ports.len()).map(move |port| (peer, port)));
    places.into_iter().find(|(peer, port)| {
        let allows = |allowed: &EgressRule| {
            allowed.to.iter().any(|to| peer_within(&rule.to[*peer], to))
                && allowed
                    .ports
                    .iter()
                    .any(|ports| port_within(&rule.ports[*port], ports))
        };
        !ceiling.iter().any(allows)
    })
}

/// Whether every pod that `one` means is among those that `other` means.
pub(super) fn pods_within(one: &PodPeer, other: &PodPeer) -> bool {
    let of = |peer: &PodPeer| EgressPeer {
        namespace_selector: peer.namespace_selector.clone(),
        pod_selector: peer.pod_selector.clone(),
        ip_block: None,
    };
    peer_within(&of(one), &of(other))
}

fn peer_within(one: &EgressPeer, other: &EgressPeer) -> bool {
    match (&one.ip_block, &other.ip_block) {
        (Some(one), Some(other)) => block_within(one, other).unwrap_or(false),
        // Addresses are not pods: which of them a range means, nobody can say beforehand.
        (Some(_), None) | (None, Some(_)) => false,
        (None, None) => namespaces_within(one, other) && labels_within(one, other),
    }
}

fn namespaces_within(one: &EgressPeer, other: &EgressPeer) -> bool {
    match (&one.namespace_selector, &other.namespace_selector) {
        // Its own, in both; without any selector nobody is meant, as Kubernetes reads it.
        (None, None) => other.pod_selector.is_some(),
        (None, Some(other)) => read_terms(other).is_some_and(|terms| terms.is_empty()),
        (Some(_), None) => false,
        (Some(one), Some(other)) => both(read_terms(one), read_terms(other)),
    }
}

fn labels_within(one: &EgressPeer, other: &EgressPeer) -> bool {
    let terms = |peer: &EgressPeer| peer.pod_selector.as_ref().map_or(Some(Vec::new()), read_terms);
    both(terms(one), terms(other))
}

fn both(one: Option<Vec<Term>>, other: Option<Vec<Term>>) -> bool {
    one.zip(other).is_some_and(|(one, other)| narrower(&one, &other))
}

/// None when one of them cannot be read.
fn block_within(one: &IpBlock, other: &IpBlock) -> Option<bool> {
    let ranges = |block: &IpBlock| -> Option<(Cidr, Vec<Cidr>)> {
        let except = block.except.iter().flatten().map(|range| range.parse().ok());
        Some((block.cidr.parse().ok()?, except.collect::<Option<_>>()?))
    };
    let ((cidr, except), (allowed, forbidden)) = (ranges(one)?, ranges(other)?);
    let left_out = |range: &Cidr| !cidr.overlaps(range) || except.iter().any(|own| own.contains(range));
    Some(allowed.contains(&cidr) && forbidden.iter().all(left_out))
}

fn port_within(one: &EgressPort, other: &EgressPort) -> bool {
    let range = |port: &EgressPort| (port.port, port.end_port.unwrap_or(port.port));
    let ((first, last), (from, to)) = (range(one), range(other));
    one.protocol.unwrap_or_default() == other.protocol.unwrap_or_default() && from <= first && last <= to
}

#[cfg(test)]
mod tests;
