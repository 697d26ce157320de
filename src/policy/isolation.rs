//! The isolation section of a policy, compiled.
//! Pure; what cannot be compiled is a problem that names the field, and closes rather than opens.

use std::collections::BTreeSet;

use super::{Problem, rbac::Ceiling};
use crate::{
    api::v1alpha1::{EgressRule, Hardening, NetworkIsolation, PodPeer, PolicyBody},
    evidence::{Effect, Reason},
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
    /// Whether anything is asked for.
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
        Self {
            ceiling,
            effect: isolation.effect.unwrap_or(effect),
            network: isolation
                .network
                .map(|NetworkIsolation::DefaultDeny| NetworkRule {
                    ceiling: isolation.egress_ceiling.clone().unwrap_or_default(),
                    monitoring: isolation.monitoring.clone().unwrap_or_default(),
                }),
            hardening: isolation.hardening,
            runtime_classes: isolation.runtime_classes.iter().flatten().cloned().collect(),
        }
    }
}
