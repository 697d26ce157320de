//! The isolation section of a policy, compiled, and what it comes to for one model.
//! Pure; what cannot be compiled is a problem that names the field, and closes rather than opens.

use std::{collections::BTreeSet, iter};

use jiff::Timestamp;
use kube::ResourceExt as _;

use super::{
    NamespaceSelector, Problem, Rules, World,
    accept::network::{egress_fault, peer_fault},
    ceiling::{above, pods_within},
    rbac::Ceiling,
    waiver,
};
use crate::{
    api::v1alpha1::{
        EgressRule, Hardening, Isolation, ModelDeployment, NetworkIsolation, PodPeer, PolicyBody,
    },
    evidence::{Effect, Reason, RuleId},
    workload::{Inlet, Openings},
};

/// What a policy asks for in `isolation`.
#[derive(Debug, Clone, PartialEq)]
pub struct IsolationRules {
    /// What happens when something in the section does not hold.
    pub effect: Effect,
    /// How models are shut off on the network; absent when the policy does not ask for it.
    pub network: Option<NetworkRule>,
    /// The rights that accounts of models may hold; absent when the policy does not say.
    pub ceiling: Option<Ceiling>,
    /// What pods must do without; absent when the policy does not ask for it.
    pub hardening: Option<Hardening>,
    /// The RuntimeClasses one of which a pod must ask for; empty when it need not.
    pub runtime_classes: BTreeSet<String>,
    /// Whether this is what the policy says; false when it cannot be read.
    pub known: bool,
}

/// `isolation.network: DefaultDeny`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NetworkRule {
    /// What models may declare as egress, in the policy's order.
    pub ceiling: Vec<EgressRule>,
    /// Who may reach every model.
    pub monitoring: Vec<PodPeer>,
}

impl IsolationRules {
    /// Whether anything is asked for: else the effect is nobody's.
    pub fn asks(&self) -> bool {
        self.network.is_some()
            || self.ceiling.is_some()
            || self.hardening.is_some()
            || !self.runtime_classes.is_empty()
    }

    /// Those of a policy that asks for none.
    pub fn none(effect: Effect) -> Self {
        Self {
            effect,
            network: None,
            ceiling: None,
            hardening: None,
            runtime_classes: BTreeSet::new(),
            known: true,
        }
    }

    /// Those of a policy that cannot be read.
    pub(super) fn unknown() -> Self {
        Self {
            known: false,
            // Accounts of models get nothing new meanwhile.
            ceiling: Some(Ceiling::default()),
            ..Self::none(Effect::Enforce)
        }
    }

    /// Reads the section. `effect` is the policy's own.
    pub(super) fn compile(body: &PolicyBody, effect: Effect, problems: &mut Vec<Problem>) -> Self {
        let Some(isolation) = &body.isolation else {
            return Self::none(effect);
        };
        // A right that cannot be read is none that may be held.
        let ceiling = isolation.rbac.as_ref().map(|rbac| {
            let (ceiling, found) = Ceiling::compile(&rbac.ceiling);
            problems.extend(found);
            ceiling
        });
        // Taken for "any", an empty list would be the opposite of what it looks like.
        if isolation.runtime_classes.as_ref().is_some_and(Vec::is_empty) {
            problems.push(Problem::new(
                Reason::PolicyInvalid,
                "spec.isolation.runtimeClasses",
                "names none: name the RuntimeClasses that pods may ask for, or leave the list out",
            ));
        }
        problems.extend(faults(isolation));
        let deny = |NetworkIsolation::DefaultDeny| NetworkRule {
            ceiling: isolation.egress_ceiling.clone().unwrap_or_default(),
            monitoring: isolation.monitoring.clone().unwrap_or_default(),
        };
        Self {
            ceiling,
            effect: isolation.effect.unwrap_or(effect),
            network: isolation.network.map(deny),
            hardening: isolation.hardening,
            runtime_classes: isolation.runtime_classes.iter().flatten().cloned().collect(),
            known: true,
        }
    }
}

/// What is wrong with the section. What is wrong allows nothing, for nothing can be seen to lie within it.
fn faults(isolation: &Isolation) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut refuse = |field: &str, message: &str| {
        problems.push(Problem::new(
            Reason::PolicyInvalid,
            format!("spec.isolation{field}"),
            message,
        ));
    };
    let asks = isolation.network.is_some()
        || isolation.rbac.is_some()
        || isolation.hardening.is_some()
        || isolation.runtime_classes.is_some();
    if !asks {
        refuse(
            "",
            "asks for nothing: set network, rbac, hardening or runtimeClasses, or leave isolation out",
        );
    }
    let ceiling = isolation.egress_ceiling.iter().flatten().enumerate();
    for (at, rule) in ceiling {
        if let Some((field, message)) = egress_fault(rule) {
            refuse(&format!(".egressCeiling[{at}]{field}"), &message);
        }
    }
    for (at, peer) in isolation.monitoring.iter().flatten().enumerate() {
        if let Some((field, message)) = peer_fault(peer) {
            refuse(&format!(".monitoring[{at}]{field}"), &message);
        }
    }
    problems
}

/// What should become of a model's NetworkPolicy.
#[derive(Debug, Clone, PartialEq)]
pub enum NetworkWish {
    /// Nobody asks for one.
    None,
    /// Nobody who could be read asks for one: what is there stays, for taking it away would open what may be meant to be closed.
    AsItIs,
    /// This is closed, and this stays open.
    Closed(Openings),
}

fn enforced(rules: &Rules) -> bool {
    rules.effect_of(RuleId::IsolationNetwork) == Effect::Enforce
}

/// What the enforced policies that select this namespace ask of its models' network.
fn asking<'a>(namespace: &'a str, world: &'a World) -> Vec<(&'a Rules, &'a NetworkRule)> {
    // Who a broken selector was meant for is not known: it neither closes nor opens anything.
    let meant = |rules: &&Rules| rules.namespaces != NamespaceSelector::Broken;
    let enforced = world
        .policies_of(namespace)
        .filter(meant)
        .filter(|rules| enforced(rules));
    enforced
        .filter_map(|rules| Some((rules, rules.isolation.network.as_ref()?)))
        .collect()
}

/// The namespaces in which an enforced policy asks for models to be shut off.
pub fn isolated_namespaces(world: &World) -> Vec<String> {
    let asked = world
        .namespaces
        .keys()
        .filter(|namespace| !asking(namespace, world).is_empty());
    asked.cloned().collect()
}

/// What the enforced policies, and the model itself, want of its network.
///
/// Policies ask for both directions; a model that declares `clients` closes the one, and with `egress` the other. Of declared
/// egress that is kept which lies below the ceiling of every policy that asks, whole rules at a time; of monitoring that which
/// every one of them names. So a further policy never opens more. A ceiling that somebody waived for the model does not bound
/// it; `now` is for when that ends.
pub fn network_wish(model: &ModelDeployment, world: &World, now: Timestamp) -> NetworkWish {
    let namespace = model.namespace().unwrap_or_default();
    let asking = asking(&namespace, world);
    let spec = &model.spec;
    if asking.is_empty() && spec.clients.is_none() && spec.egress.is_none() {
        let unread = |rules: &Rules| {
            let broken = rules.namespaces == NamespaceSelector::Broken;
            !rules.isolation.known || (broken && enforced(rules) && rules.isolation.network.is_some())
        };
        return if world.policies_of(&namespace).any(unread) {
            NetworkWish::AsItIs
        } else {
            NetworkWish::None
        };
    }
    let closed = !asking.is_empty();
    let subject = waiver::Subject::whole(model);
    let waived =
        |rules: &Rules| waiver::stands(RuleId::IsolationNetwork, &rules.policy, &subject, world, now);
    let bounding = asking.iter().filter(|(rules, _)| !waived(rules));
    let bounding: Vec<&NetworkRule> = bounding.map(|(_, network)| *network).collect();
    let asking: Vec<&NetworkRule> = asking.iter().map(|(_, network)| *network).collect();
    let below = |rule: &&EgressRule| {
        egress_fault(rule).is_none() && bounding.iter().all(|one| above(rule, &one.ceiling).is_none())
    };
    let egress = spec.egress.iter().flatten().filter(below).cloned().collect();
    NetworkWish::Closed(Openings {
        ingress: (closed || spec.clients.is_some()).then(|| inlets(model, &asking)),
        egress: (closed || spec.egress.is_some()).then_some(egress),
    })
}

/// Who may come in: the declared clients, and whom every asking policy names.
fn inlets(model: &ModelDeployment, asking: &[&NetworkRule]) -> Vec<Inlet> {
    let served = served_ports(model);
    let clients = model.spec.clients.iter().flatten();
    let own: Vec<Inlet> = clients
        .map(|client| Inlet {
            from: client.from.clone(),
            ports: client
                .port
                .map_or_else(|| served.clone(), |port| BTreeSet::from([port])),
        })
        .collect();
    let mut ports = served;
    ports.extend(own.iter().flat_map(|inlet| &inlet.ports));
    let mut monitoring: Vec<&PodPeer> = Vec::new();
    for peer in asking.iter().flat_map(|asking| &asking.monitoring) {
        let named = |asking: &&NetworkRule| asking.monitoring.iter().any(|known| pods_within(peer, known));
        if asking.iter().all(named) && !monitoring.contains(&peer) {
            monitoring.push(peer);
        }
    }
    let monitoring = monitoring.into_iter().map(|peer| Inlet {
        from: peer.clone(),
        ports: ports.clone(),
    });
    // A rule without ports would be one for all of them, and one without a peer for everybody.
    let sound = |inlet: &Inlet| !inlet.ports.is_empty() && peer_fault(&inlet.from).is_none();
    own.into_iter().chain(monitoring).filter(sound).collect()
}

/// The ports of the server that Probity runs: the one that is asked for, and the one that serves until that does.
fn served_ports(model: &ModelDeployment) -> BTreeSet<u16> {
    let Some(server) = &model.spec.server else {
        return BTreeSet::new();
    };
    let serving = model.status.as_ref().and_then(|status| status.serving.as_ref());
    let serving = serving.and_then(|serving| serving.template.as_ref());
    iter::once(server.port)
        .chain(serving.map(|template| template.server.port))
        .collect()
}

#[cfg(test)]
mod tests;
