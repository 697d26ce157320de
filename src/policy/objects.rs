//! May this object of our own be written so? What can only be a mistake of its own is refused, so that whoever wrote it reads
//! it at once; what may heal, or is for others to say, is a warning. Pure; the operator judges all of it again.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::ResourceExt as _;

use super::{
    Decision, Policy, Problem, World, accept,
    accept::accept_name,
    compile, foregone,
    pods::governing,
    robustness,
    trust::{Keys, TrustRoots},
};
use crate::{
    api::v1alpha1::{ModelDeployment, RobustnessPolicy, TrustRoot, Waiver, WorkloadRef},
    evidence::{KeyFingerprint, Reason},
};

/// What is said of an object that somebody writes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Remarks {
    /// Why it is refused; empty when it is not.
    pub refused: Vec<Problem>,
    /// What is wrong and may heal, or only looks wrong.
    pub warned: Vec<Problem>,
    /// The refusal that awaits a model, whatever is found about its content.
    pub foregone: Option<Decision>,
}

impl Remarks {
    fn refused(problem: Problem) -> Self {
        Self {
            refused: vec![problem],
            ..Self::default()
        }
    }
}

/// What is said of a model whose specification is new. `before` is the model as it is stored, when it is changed; `others` are
/// the models of its namespace, itself or not.
pub fn model(
    model: &ModelDeployment,
    before: Option<&ModelDeployment>,
    others: &[&ModelDeployment],
    world: &World,
    now: Timestamp,
) -> Remarks {
    let origin = match accept_name(&model.name_any()).and_then(|()| accept(&model.spec)) {
        Ok(origin) => origin,
        Err(problem) => return Remarks::refused(problem),
    };
    let mut remarks = Remarks::default();
    if let Some(workload) = &model.spec.workload_ref {
        let others = others.iter().filter(|other| other.name_any() != model.name_any());
        let mut rivals: Vec<&ModelDeployment> = others.copied().collect();
        // Whoever comes later yields, also one that is older and turns to a workload that has its model.
        let comes = before.is_none_or(|before| before.spec.workload_ref.as_ref() != Some(workload));
        if !comes {
            rivals.push(model);
        }
        match taken(model, &rivals) {
            Some(problem) if comes => return Remarks::refused(problem),
            known => remarks.warned.extend(known),
        }
    }
    let (namespace, digest) = (model.namespace().unwrap_or_default(), origin.digest());
    remarks.foregone = foregone(
        world,
        &namespace,
        &model.name_any(),
        &origin,
        digest,
        Some(&model.spec),
        now,
    );
    remarks
}

/// Why the workload that a model names is not its to govern: Probity runs it for one of these models, or the oldest of those
/// that name it is another.
pub fn taken(model: &ModelDeployment, models: &[&ModelDeployment]) -> Option<Problem> {
    let workload = model.spec.workload_ref.as_ref()?;
    let WorkloadRef {
        api_version,
        kind,
        name,
    } = workload;
    let problem = |message| Some(Problem::new(Reason::SpecInvalid, "spec.workloadRef", message));
    let deployment = api_version == "apps/v1" && kind == "Deployment";
    let runs_it = |other: &&ModelDeployment| other.spec.server.is_some() && other.name_any() == *name;
    if deployment && models.iter().any(runs_it) {
        return problem(format!(
            "Deployment {name} is what Probity runs for ModelDeployment {name}: name a workload that somebody else made"
        ));
    }
    let governing = governing(models.iter().copied(), std::slice::from_ref(workload))?.name_any();
    if governing == model.name_any() {
        return None;
    }
    problem(format!(
        "ModelDeployment {governing} governs {kind} {name} already: name another workload, or delete that model"
    ))
}

/// What is said of a policy, with the trust roots there are. One that is missing, or has a bad key, may come or be mended.
pub fn policy<P: Policy>(policy: &P, trust: &TrustRoots) -> Remarks {
    let (refused, warned) = compile(policy, trust)
        .all_problems()
        .cloned()
        .partition(|problem| problem.reason == Reason::PolicyInvalid);
    Remarks {
        refused,
        warned,
        foregone: None,
    }
}

/// What is said of what is to be measured: what nothing could pass, or what asks for nothing, is a mistake.
pub fn robustness(policy: &RobustnessPolicy) -> Remarks {
    Remarks {
        refused: robustness::problems(&policy.spec),
        ..Remarks::default()
    }
}

/// What is said of a waiver that is new. `models` are those of its namespace.
pub fn waiver(waiver: &Waiver, models: &[&ModelDeployment], now: Timestamp) -> Remarks {
    let subject = &waiver.spec.subject.model_deployment;
    let missing = !models.iter().any(|model| model.name_any() == *subject);
    let warned = missing.then(|| {
        let message = format!(
            "there is no ModelDeployment {subject} in the namespace (yet): correct the name, or apply it"
        );
        Problem::new(Reason::SpecInvalid, "spec.subject.modelDeployment", message)
    });
    Remarks {
        refused: super::waiver::problems(waiver, now),
        warned: warned.into_iter().collect(),
        foregone: None,
    }
}

/// What is said of a trust root with these keys. `keys` are the same keys, read.
pub fn trust_root(root: &TrustRoot, keys: &Keys) -> Remarks {
    let mut remarks = Remarks::default();
    let mut known: BTreeMap<KeyFingerprint, &str> = BTreeMap::new();
    for (name, key) in keys {
        let problem = |message| {
            let field = format!("spec.keys[{name}].publicKey");
            Problem::new(Reason::TrustRootInvalid, field, message)
        };
        match key {
            Err(why) => remarks.refused.push(problem(why.clone())),
            Ok(key) => {
                if let Some(first) = known.insert(key.fingerprint, name) {
                    let message = format!(
                        "is the same key as {}/{first}: whoever signs with it counts once",
                        root.name_any()
                    );
                    remarks.warned.push(problem(message));
                }
            }
        }
    }
    remarks
}
