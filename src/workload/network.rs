//! The one NetworkPolicy of a model: what is closed, and what stays open.
//! Pure: it builds what policy and specification come to; whether somebody enforces it is another question.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{
    api::networking::v1::{
        IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
        NetworkPolicyPort, NetworkPolicySpec,
    },
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};
use kube::ResourceExt as _;

use super::{Cidr, child_meta, cluster_network::without};
use crate::api::{
    MODEL_LABEL,
    v1alpha1::{EgressPeer, EgressPort, EgressRule, IpBlock, ModelDeployment, PodPeer, Transport},
};

/// Where every cloud answers a pod with its node's credentials: never open, whoever declares it.
pub const METADATA_ADDRESSES: [&str; 2] = ["169.254.0.0/16", "fd00:ec2::254/128"];
/// The component that the relay's pods are labelled as.
pub const RELAY_COMPONENT: &str = "relay";
/// The port on which they are asked.
pub const RELAY_PORT: u16 = 8443;
/// What the names of the NetworkPolicies begin with, so that none is a workload's own by accident.
const NAME_PREFIX: &str = "probity-";

/// What the operator was told about the network that models are on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NetworkSettings {
    /// What every pod of a model may reach beside what is declared: the registries that models are fetched from, or a cache
    /// of name look-ups on each node.
    pub egress: Vec<EgressRule>,
    /// Addresses that no declared range opens, such as the API server's.
    pub closed: Vec<Cidr>,
}

impl NetworkSettings {
    /// The same, with the way to the relay in the operator's own `namespace`, from which models are fetched.
    #[must_use]
    pub fn with_relay(mut self, namespace: &str) -> Self {
        self.egress.push(EgressRule {
            to: vec![EgressPeer {
                namespace_selector: Some(label("kubernetes.io/metadata.name", namespace)),
                pod_selector: Some(label("app.kubernetes.io/component", RELAY_COMPONENT)),
                ip_block: None,
            }],
            ports: vec![EgressPort {
                port: RELAY_PORT,
                end_port: None,
                protocol: Some(Transport::Tcp),
            }],
        });
        self
    }

    /// Whether all of such a rule can be opened: it names peers and ports, and each range can be read.
    pub fn takes(rule: &EgressRule) -> bool {
        outlet(rule, &[]).is_some_and(|opened| opened.to.is_some_and(|to| to.len() == rule.to.len()))
    }

    /// Addresses that no model may reach whatever anybody declares, without those that this operator was told to open.
    pub fn never_open(&self) -> Vec<Cidr> {
        let told = self.egress.iter().flat_map(|rule| &rule.to);
        let told = told.filter_map(|peer| peer.ip_block.as_ref()?.cidr.parse().ok());
        without(&self.shut(), &told.collect::<Vec<Cidr>>())
    }

    /// Everything that no declared range opens.
    fn shut(&self) -> Vec<Cidr> {
        let metadata = METADATA_ADDRESSES.iter().filter_map(|range| range.parse().ok());
        metadata.chain(self.closed.iter().copied()).collect()
    }
}

/// What is closed for a model, and what stays open; a direction that is not there is not closed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Openings {
    /// Who may come in.
    pub ingress: Option<Vec<Inlet>>,
    /// Whom its pods may reach beside what all may.
    pub egress: Option<Vec<EgressRule>>,
}

impl Openings {
    /// None, in either direction.
    pub const NONE: Self = Self {
        ingress: Some(Vec::new()),
        egress: Some(Vec::new()),
    };
}

/// Pods that may come in, and on which ports.
#[derive(Debug, Clone, PartialEq)]
pub struct Inlet {
    /// The pods.
    pub from: PodPeer,
    /// The ports: at least one.
    pub ports: BTreeSet<u16>,
}

/// The name of a model's NetworkPolicy.
pub fn network_policy_name(model: &ModelDeployment) -> String {
    format!("{NAME_PREFIX}{}", model.name_any())
}

/// The pods of a model that Probity runs.
pub fn own_pods(model: &ModelDeployment) -> LabelSelector {
    LabelSelector {
        match_labels: Some([(MODEL_LABEL.to_owned(), model.name_any())].into()),
        match_expressions: None,
    }
}

/// The NetworkPolicy that leaves these openings to `pods`.
pub fn network_policy(
    model: &ModelDeployment,
    pods: LabelSelector,
    openings: &Openings,
    settings: &NetworkSettings,
) -> NetworkPolicy {
    let mut metadata = child_meta(model);
    metadata.name = Some(network_policy_name(model));
    let ingress = openings
        .ingress
        .as_ref()
        .map(|inlets| inlets.iter().map(inlet).collect::<Vec<_>>());
    let egress = openings.egress.as_ref().map(|rules| {
        let closed = settings.shut();
        let declared = rules.iter().filter_map(|rule| outlet(rule, &closed));
        // What the operator was told is not narrowed: whoever told it answers for the cluster.
        let standing = settings.egress.iter().filter_map(|rule| outlet(rule, &[]));
        [name_lookups()]
            .into_iter()
            .chain(standing)
            .chain(declared)
            .collect::<Vec<_>>()
    });
    let closed = [
        ("Ingress", openings.ingress.is_some()),
        ("Egress", openings.egress.is_some()),
    ];
    let policy_types = closed
        .into_iter()
        .filter(|(_, closed)| *closed)
        .map(|(direction, _)| direction.to_owned())
        .collect();
    NetworkPolicy {
        metadata,
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(pods),
            policy_types: Some(policy_types),
            // Written also when it is empty: a list that nobody owns would be whoever's adds to it first.
            ingress: ingress.or(Some(Vec::new())),
            egress: egress.or(Some(Vec::new())),
        }),
    }
}

/// The same with nothing left open, not even what every model may reach.
pub fn cut_off_network(mut policy: NetworkPolicy) -> NetworkPolicy {
    let spec = policy.spec.get_or_insert_default();
    spec.policy_types = Some(vec!["Ingress".into(), "Egress".into()]);
    spec.ingress = Some(Vec::new());
    spec.egress = Some(Vec::new());
    policy
}

/// What of the declared ranges stays closed all the same, each as its place in the declaration: it lies within addresses that no
/// model may reach.
pub fn shut_out(rules: &[EgressRule], settings: &NetworkSettings) -> Vec<String> {
    let closed = settings.shut();
    let mut found = Vec::new();
    for (at, rule) in rules.iter().enumerate() {
        for (peer, block) in rule.to.iter().enumerate() {
            if let Some(block) = &block.ip_block
                && narrowed(block, &closed).is_none()
            {
                found.push(format!("spec.egress[{at}].to[{peer}]"));
            }
        }
    }
    found
}

fn inlet(inlet: &Inlet) -> NetworkPolicyIngressRule {
    NetworkPolicyIngressRule {
        from: Some(vec![pods(
            inlet.from.namespace_selector.as_ref(),
            inlet.from.pod_selector.as_ref(),
        )]),
        ports: Some(
            inlet
                .ports
                .iter()
                .map(|port| port_rule(*port, None, Transport::Tcp))
                .collect(),
        ),
    }
}

/// None when nothing of it is left: a rule without peers would be one for everybody.
fn outlet(rule: &EgressRule, closed: &[Cidr]) -> Option<NetworkPolicyEgressRule> {
    let to: Vec<_> = rule.to.iter().filter_map(|whom| peer(whom, closed)).collect();
    let ports: Vec<_> = rule.ports.iter().map(port).collect();
    (!to.is_empty() && !ports.is_empty()).then_some(NetworkPolicyEgressRule {
        to: Some(to),
        ports: Some(ports),
    })
}

fn peer(whom: &EgressPeer, closed: &[Cidr]) -> Option<NetworkPolicyPeer> {
    let EgressPeer {
        namespace_selector,
        pod_selector,
        ip_block,
    } = whom;
    match ip_block {
        Some(block) => Some(NetworkPolicyPeer {
            ip_block: Some(narrowed(block, closed)?),
            ..NetworkPolicyPeer::default()
        }),
        // A peer that says nothing would be one for everybody.
        None if namespace_selector.is_none() && pod_selector.is_none() => None,
        None => Some(pods(namespace_selector.as_ref(), pod_selector.as_ref())),
    }
}

fn pods(namespaces: Option<&LabelSelector>, pods: Option<&LabelSelector>) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        namespace_selector: namespaces.cloned(),
        pod_selector: pods.cloned(),
        ip_block: None,
    }
}

/// The range without what must stay closed; none when nothing is left of it, or it cannot be read.
fn narrowed(block: &IpBlock, closed: &[Cidr]) -> Option<IPBlock> {
    let cidr: Cidr = block.cidr.parse().ok()?;
    let mut except: Vec<Cidr> = Vec::new();
    for range in block.except.iter().flatten() {
        except.push(range.parse().ok()?);
    }
    for shut in closed {
        if shut.contains(&cidr) {
            return None;
        }
        if cidr.contains(shut) && !except.iter().any(|known| known.contains(shut)) {
            except.push(*shut);
        }
    }
    Some(IPBlock {
        cidr: block.cidr.clone(),
        except: (!except.is_empty()).then(|| except.iter().map(ToString::to_string).collect()),
    })
}

fn port(port: &EgressPort) -> NetworkPolicyPort {
    port_rule(port.port, port.end_port, port.protocol.unwrap_or_default())
}

fn port_rule(first: u16, last: Option<u16>, protocol: Transport) -> NetworkPolicyPort {
    NetworkPolicyPort {
        port: Some(IntOrString::Int(first.into())),
        end_port: last.map(Into::into),
        protocol: Some(protocol.as_str().to_owned()),
    }
}

fn label(key: &str, value: &str) -> LabelSelector {
    LabelSelector {
        match_labels: Some(BTreeMap::from([(key.to_owned(), value.to_owned())])),
        match_expressions: None,
    }
}

/// Nothing works without names. The cluster's own servers alone: port 53 to anywhere would be a tunnel.
fn name_lookups() -> NetworkPolicyEgressRule {
    let namespaces = label("kubernetes.io/metadata.name", "kube-system");
    let servers = label("k8s-app", "kube-dns");
    NetworkPolicyEgressRule {
        to: Some(vec![pods(Some(&namespaces), Some(&servers))]),
        ports: Some(vec![
            port_rule(53, None, Transport::Udp),
            port_rule(53, None, Transport::Tcp),
        ]),
    }
}

#[cfg(test)]
mod tests;
