//! Remembers which models were looked at since anything about them changed, so that a new world costs a look only at the
//! models it concerns. A memory and no more: a model it does not know is looked at.

use std::{collections::HashMap, sync::Mutex};

use kube::{Resource, ResourceExt as _, runtime::reflector::ObjectRef};

use crate::api::{MODEL_LABEL, v1alpha1::ModelDeployment};

/// What a look rested on: the model as it was, the state of the world for its namespace, and what was told of its objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Basis {
    pub version: Option<String>,
    pub epoch: u64,
    pub told: u64,
}

#[derive(Debug, Default)]
struct Memory {
    told: u64,
    settled: Option<Basis>,
}

/// The models that were looked at.
#[derive(Debug, Default)]
pub(in crate::controller) struct Looks {
    models: Mutex<HashMap<ObjectRef<ModelDeployment>, Memory>>,
}

impl Looks {
    /// Something happened to an object that belongs to a model, by its owner reference.
    pub(super) fn owned<K: Resource>(&self, object: &K) -> Option<ObjectRef<ModelDeployment>> {
        let of_kind = |owner: &&k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference| {
            owner.kind == ModelDeployment::kind(&()) && owner.api_version == ModelDeployment::api_version(&())
        };
        let owner = object.owner_references().iter().find(of_kind)?;
        Some(self.tell(&owner.name, &object.namespace()?))
    }

    /// Something happened to an object that carries a model's label.
    pub(super) fn labelled<K: Resource>(&self, object: &K) -> Option<ObjectRef<ModelDeployment>> {
        Some(self.tell(object.labels().get(MODEL_LABEL)?, &object.namespace()?))
    }

    fn tell(&self, name: &str, namespace: &str) -> ObjectRef<ModelDeployment> {
        let model = ObjectRef::new(name).within(namespace);
        // One that is not known is looked at anyway, and names that no model has must not be collected.
        if let Ok(mut models) = self.models.lock()
            && let Some(memory) = models.get_mut(&model)
        {
            memory.told += 1;
        }
        model
    }

    /// What a look that begins now rests on; none when an earlier one rested on the same, and settled it.
    pub(super) fn begin(&self, model: &ModelDeployment, epoch: u64) -> Option<Basis> {
        let unknown = Basis {
            version: None,
            epoch,
            told: 0,
        };
        let Ok(mut models) = self.models.lock() else {
            return Some(unknown);
        };
        let memory = models.entry(ObjectRef::from_obj(model)).or_default();
        let basis = Basis {
            version: model.resource_version(),
            epoch,
            told: memory.told,
        };
        (memory.settled.as_ref() != Some(&basis)).then_some(basis)
    }

    /// The look is over, and nothing about the model is owed until something changes. `version` is the model's when it was
    /// read: what the look itself wrote is looked at once more.
    pub(super) fn settle(&self, model: &ModelDeployment, basis: &Basis) {
        if let Ok(mut models) = self.models.lock() {
            let settled = Some(Basis {
                version: model.resource_version(),
                ..basis.clone()
            });
            models.entry(ObjectRef::from_obj(model)).or_default().settled = settled;
        }
    }

    /// The model is gone.
    pub(super) fn forget(&self, model: &ModelDeployment) {
        if let Ok(mut models) = self.models.lock() {
            models.remove(&ObjectRef::from_obj(model));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::scene::Scene, *};

    fn model(version: &str) -> ModelDeployment {
        let mut model = Scene::new().model;
        model.metadata.resource_version = Some(version.into());
        model
    }

    #[test]
    fn one_look_is_enough_until_something_changes() {
        let looks = Looks::default();
        let basis = looks.begin(&model("1"), 7).unwrap();
        assert!(looks.begin(&model("1"), 7).is_some(), "it is not settled yet");
        looks.settle(&model("1"), &basis);
        assert_eq!(looks.begin(&model("1"), 7), None);
        assert!(looks.begin(&model("2"), 7).is_some(), "the model changed");
        assert!(looks.begin(&model("1"), 8).is_some(), "the world changed");
        looks.forget(&model("1"));
        assert!(looks.begin(&model("1"), 7).is_some(), "nothing is known of it");
    }

    #[test]
    fn what_happens_during_a_look_is_looked_at_after_it() {
        let looks = Looks::default();
        let mut scene = Scene::serving();
        scene.model.metadata.resource_version = Some("1".into());
        let deployment = scene.snapshot.deployment.unwrap();
        let basis = looks.begin(&scene.model, 7).unwrap();
        assert!(looks.owned(&deployment).is_some());
        looks.settle(&scene.model, &basis);
        let basis = looks.begin(&scene.model, 7).unwrap();
        looks.settle(&scene.model, &basis);
        assert_eq!(looks.begin(&scene.model, 7), None);
        assert!(looks.labelled(&deployment).is_some());
        assert!(looks.begin(&scene.model, 7).is_some());
    }

    #[test]
    fn what_belongs_to_no_model_is_not_remembered() {
        let looks = Looks::default();
        let mut deployment = Scene::serving().snapshot.deployment.unwrap();
        assert!(looks.owned(&deployment).is_some());
        deployment.metadata.owner_references = None;
        assert_eq!(looks.owned(&deployment), None);
        assert!(looks.models.lock().unwrap().is_empty());
    }
}
