//! May such a policy be written? Not where a policy of ours asks for models to be shut off, and it allows something to or
//! from pods of a model that is there, or of any that may come. The audit asks the same of those that are there.

use std::fmt;

use super::{Foreign, ModelPods, PodLabels};
use crate::{
    api::cluster_network_policy,
    evidence::{Finding, Reason, RuleId, Verdict},
    policy::{Decision, Rules, World, decision::pass},
};

/// At most so many fields are named in a sentence.
const NAMED: usize = 3;

/// The kinds of which an object is in no namespace.
pub const CLUSTER_KINDS: [&str; 2] = [cluster_network_policy::KIND, "CiliumClusterwideNetworkPolicy"];

/// A policy that opens what is to be closed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Opener {
    /// Its kind.
    pub kind: String,
    /// Where it is.
    pub namespace: String,
    /// What it is called.
    pub name: String,
    /// The model whose pods it means; none: of any that may come.
    pub model: Option<String>,
    /// What it allows, by the fields.
    pub fields: String,
}

/// The policies that ask for models of this namespace to be shut off.
pub fn spoken_of<'a>(namespace: &'a str, world: &'a World) -> Vec<&'a Rules> {
    // One that cannot be read may ask for it.
    let asks = |rules: &&Rules| rules.isolation.network.is_some() || !rules.isolation.known;
    world.policies_of(namespace).filter(asks).collect()
}

/// Whether this one opens something, and to whom. `pods` are those of models that are there.
pub fn opener(foreign: &Foreign, pods: &ModelPods) -> Option<Opener> {
    let of_any = (None, PodLabels::of_any_model());
    let those = pods.iter().map(|(model, labels)| (Some(model), labels));
    // A model's name says more than that any may be meant.
    let (model, fields) = those.chain([(of_any.0, &of_any.1)]).find_map(|(model, labels)| {
        Some((model, foreign.opens(labels))).filter(|(_, fields)| !fields.is_empty())
    })?;
    let more = fields.len().saturating_sub(NAMED);
    let mut named = fields.into_iter().take(NAMED).collect::<Vec<_>>().join(", ");
    if more > 0 {
        named = format!("{named} and {more} more");
    }
    Some(Opener {
        kind: foreign.kind.clone(),
        namespace: foreign.namespace.clone(),
        name: foreign.name.clone(),
        model: model.cloned(),
        fields: named,
    })
}

/// Those of them that open something.
pub fn openers(foreign: &[Foreign], pods: &ModelPods) -> Vec<Opener> {
    foreign.iter().filter_map(|one| opener(one, pods)).collect()
}

/// Judges one that somebody writes, as far as it says something new: [`Foreign::beyond`].
pub fn judge(foreign: &Foreign, pods: &ModelPods, world: &World) -> Decision {
    let asking = spoken_of(&foreign.namespace, world);
    let found = opener(foreign, pods);
    let findings = asking.into_iter().map(|rules| finding(rules, found.as_ref()));
    let findings: Vec<Finding> = findings.collect();
    if findings.is_empty() {
        let message = "no policy asks for models to be shut off here";
        return Decision::of(vec![pass(RuleId::IsolationNetwork, message)]);
    }
    Decision::of(findings)
}

fn finding(rules: &Rules, found: Option<&Opener>) -> Finding {
    let (verdict, reason, message) = match found {
        None => (
            Verdict::Pass,
            None,
            "it opens nothing to or from pods of models".to_owned(),
        ),
        Some(opener) => (Verdict::Fail, Some(Reason::NetworkOpened), opener.to_string()),
    };
    rules.finding(RuleId::IsolationNetwork, verdict, reason, message)
}

impl fmt::Display for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            namespace,
            name,
            model,
            fields,
        } = self;
        let which = if CLUSTER_KINDS.contains(&kind.as_str()) {
            format!("{kind} {name} of the whole cluster")
        } else {
            format!("{kind} {namespace}/{name}")
        };
        let whose = match model {
            Some(model) => format!("pods of ModelDeployment {model}"),
            None => "pods of any model".to_owned(),
        };
        write!(
            f,
            "{which} allows traffic of {whose} ({fields}), which is added to what theirs allows: have its selector leave them out, and declare who may call a model in its spec.clients and whom it may reach in its spec.egress"
        )
    }
}
