//! Remembers which models were looked at since anything about them changed, so that a new world costs a look only at the
//! models it concerns. A memory and no more: a model it does not know is looked at.

use std::{collections::HashMap, sync::Mutex};

use jiff::Timestamp;
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
    settled: Option<Settled>,
}

/// A look that settled a model: what it rested on, and until when that holds without looking at the clock again.
#[derive(Debug)]
struct Settled {
    basis: Basis,
    until: Option<Timestamp>,
}

/// Whether a model is to be looked at.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Begun {
    /// It is, and the look rests on this.
    Look(Basis),
    /// An earlier look rested on the same and settled it, until this time if there is one.
    Settled(Option<Timestamp>),
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

    /// Begins a look, unless an earlier one rested on the same, settled the model, and still holds.
    pub(super) fn begin(&self, model: &ModelDeployment, epoch: u64, now: Timestamp) -> Begun {
        let Ok(mut models) = self.models.lock() else {
            return Begun::Look(Basis {
                version: None,
                epoch,
                told: 0,
            });
        };
        let memory = models.entry(ObjectRef::from_obj(model)).or_default();
        let basis = Basis {
            version: model.resource_version(),
            epoch,
            told: memory.told,
        };
        match &memory.settled {
            Some(settled) if settled.basis == basis && settled.until.is_none_or(|until| now < until) => {
                Begun::Settled(settled.until)
            }
            _ => Begun::Look(basis),
        }
    }

    /// The look is over, and nothing about the model is owed until something changes or this time comes. `model` is as it was
    /// read: what the look itself wrote is looked at once more.
    pub(super) fn settle(&self, model: &ModelDeployment, basis: &Basis, until: Option<Timestamp>) {
        if let Ok(mut models) = self.models.lock() {
            let basis = Basis {
                version: model.resource_version(),
                ..basis.clone()
            };
            models.entry(ObjectRef::from_obj(model)).or_default().settled = Some(Settled { basis, until });
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

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn begin(looks: &Looks, model: &ModelDeployment, epoch: u64) -> Option<Basis> {
        match looks.begin(model, epoch, at(0)) {
            Begun::Look(basis) => Some(basis),
            Begun::Settled(_) => None,
        }
    }

    #[test]
    fn one_look_is_enough_until_something_changes() {
        let looks = Looks::default();
        let basis = begin(&looks, &model("1"), 7).unwrap();
        assert!(begin(&looks, &model("1"), 7).is_some(), "it is not settled yet");
        looks.settle(&model("1"), &basis, None);
        assert_eq!(begin(&looks, &model("1"), 7), None);
        assert!(begin(&looks, &model("2"), 7).is_some(), "the model changed");
        assert!(begin(&looks, &model("1"), 8).is_some(), "the world changed");
        looks.forget(&model("1"));
        assert!(begin(&looks, &model("1"), 7).is_some(), "nothing is known of it");
    }

    #[test]
    fn what_holds_for_a_time_is_looked_at_when_that_is_over() {
        let looks = Looks::default();
        let basis = begin(&looks, &model("1"), 7).unwrap();
        looks.settle(&model("1"), &basis, Some(at(10)));
        assert_eq!(looks.begin(&model("1"), 7, at(9)), Begun::Settled(Some(at(10))));
        assert!(matches!(looks.begin(&model("1"), 7, at(10)), Begun::Look(_)));
    }

    #[test]
    fn what_happens_during_a_look_is_looked_at_after_it() {
        let looks = Looks::default();
        let mut scene = Scene::serving();
        scene.model.metadata.resource_version = Some("1".into());
        let deployment = scene.snapshot.deployment.unwrap();
        let basis = begin(&looks, &scene.model, 7).unwrap();
        assert!(looks.owned(&deployment).is_some());
        looks.settle(&scene.model, &basis, None);
        let basis = begin(&looks, &scene.model, 7).unwrap();
        looks.settle(&scene.model, &basis, None);
        assert_eq!(begin(&looks, &scene.model, 7), None);
        assert!(looks.labelled(&deployment).is_some());
        assert!(begin(&looks, &scene.model, 7).is_some());
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
