//! Whether an object of our own makes sense, told to whoever writes it. A change that leaves its specification as it is, is
//! never refused: what is stored already must be able to go, and to be labelled.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Gate, MAX_REASONS, told};
use crate::{
    admission::{AdmissionRequest, Answer},
    api::v1alpha1::{ClusterDeploymentPolicy, DeploymentPolicy, ModelDeployment, TrustRoot},
    controller::world::read_keys,
    evidence::Verdict,
    policy::{
        Problem,
        objects::{self, Remarks},
    },
};

impl Gate {
    /// Judges an object of `probity.dev`.
    pub(super) fn object(&self, request: &AdmissionRequest) -> Answer {
        match self.remarks(request) {
            Ok(remarks) => answer(&remarks),
            Err(error) => Answer::deny(
                400,
                format!("the object cannot be read by this version of the operator: {error}"),
            ),
        }
    }

    fn remarks(&self, request: &AdmissionRequest) -> Result<Remarks, serde_json::Error> {
        let (new, old) = (request.object::<Value>()?, request.old_object::<Value>()?);
        let specification = |object: &Option<Value>| object.as_ref().map(|object| object["spec"].clone());
        if new.is_none() || (old.is_some() && specification(&new) == specification(&old)) {
            return Ok(Remarks::default());
        }
        Ok(match request.resource.resource.as_str() {
            "modeldeployments" => {
                // What is stored may be of another version, and then it is as good as new.
                let before = old.and_then(|old| serde_json::from_value(old).ok());
                self.model(&read(new)?, before.as_ref(), &request.namespace)
            }
            "waivers" => {
                let models = self.records.models(&request.namespace);
                let models: Vec<_> = models.iter().filter_map(|model| model.0.as_ref().ok()).collect();
                objects::waiver(&read(new)?, &models, (self.clock)())
            }
            "robustnesspolicies" => objects::robustness(&read(new)?),
            "deploymentpolicies" => objects::policy(&read::<DeploymentPolicy>(new)?, &self.world.trust()),
            "clusterdeploymentpolicies" => {
                objects::policy(&read::<ClusterDeploymentPolicy>(new)?, &self.world.trust())
            }
            _ => {
                let root: TrustRoot = read(new)?;
                objects::trust_root(&root, &read_keys(&root))
            }
        })
    }

    fn model(&self, model: &ModelDeployment, before: Option<&ModelDeployment>, namespace: &str) -> Remarks {
        let others = self.records.models(namespace);
        let others: Vec<_> = others.iter().filter_map(|other| other.0.as_ref().ok()).collect();
        objects::model(model, before, &others, &self.world.current(), (self.clock)())
    }
}

fn read<K: DeserializeOwned>(object: Option<Value>) -> Result<K, serde_json::Error> {
    serde_json::from_value(object.unwrap_or_default())
}

/// The remarks as the API server is told them: each names its field.
fn answer(remarks: &Remarks) -> Answer {
    let sentences = |problems: &[Problem]| -> Vec<String> {
        problems
            .iter()
            .take(MAX_REASONS)
            .map(ToString::to_string)
            .collect()
    };
    let foregone = remarks.foregone.iter().flat_map(|decision| {
        let refused = decision
            .findings
            .iter()
            .filter(|one| one.counts_as() == Verdict::Fail);
        refused.map(|one| format!("it will be refused: {}", told(one)))
    });
    let warnings = sentences(&remarks.warned)
        .into_iter()
        .chain(foregone)
        .take(MAX_REASONS)
        .collect();
    let answer = if remarks.refused.is_empty() {
        Answer::allow()
    } else {
        Answer::deny(422, sentences(&remarks.refused).join("; "))
    };
    Answer { warnings, ..answer }
}
