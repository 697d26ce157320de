//! Remembers which verifications the pods of a model rest on: to name them is to hash all that they were asked, and the
//! same model is asked about whenever one of its pods is made.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, Weak},
};

use kube::core::DeserializeGuard;

use crate::{
    api::v1alpha1::ModelDeployment,
    policy::{World, pods},
};

/// At most this many models are remembered.
const CAPACITY: usize = 4096;

type Shared = DeserializeGuard<ModelDeployment>;

/// What was worked out, and from which values. While somebody refers to a value no other can be in its place.
struct Known {
    model: Weak<Shared>,
    world: Weak<World>,
    names: Arc<[String]>,
}

/// The names of verifications by the model they belong to, as long as neither it nor the world has changed.
#[derive(Default)]
pub(super) struct Recall {
    known: Mutex<HashMap<(String, String), Known>>,
}

impl Recall {
    /// The names of the verifications that a pod of this model can rest on; none of a model that cannot be read.
    pub(super) fn needed(
        &self,
        namespace: &str,
        name: &str,
        model: &Arc<Shared>,
        world: &Arc<World>,
    ) -> Arc<[String]> {
        let key = (namespace.to_owned(), name.to_owned());
        if let Ok(known) = self.known.lock() {
            let same = |known: &&Known| {
                known.model.as_ptr() == Arc::as_ptr(model) && known.world.as_ptr() == Arc::as_ptr(world)
            };
            if let Some(known) = known.get(&key).filter(same) {
                return known.names.clone();
            }
        }
        let readable = model.0.as_ref();
        let names: Arc<[String]> =
            readable.map_or_else(|_| Arc::default(), |model| pods::needed(model, world).into());
        if let Ok(mut known) = self.known.lock() {
            if known.len() >= CAPACITY {
                known.clear();
            }
            let made = Known {
                model: Arc::downgrade(model),
                world: Arc::downgrade(world),
                names: names.clone(),
            };
            known.insert(key, made);
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{evidence::Digest, workload::samples};

    fn model() -> Arc<Shared> {
        Arc::new(DeserializeGuard(Ok(samples::model(Digest::from_bytes(
            [0xaa; 32],
        )))))
    }

    #[test]
    fn another_model_of_the_name_or_another_world_is_worked_out_anew() {
        let recall = Recall::default();
        let (first, world) = (model(), Arc::new(World::default()));
        let names = recall.needed("bank", "digits", &first, &world);
        let again = recall.needed("bank", "digits", &first, &world);
        assert!(Arc::ptr_eq(&names, &again), "nothing changed");
        let other = recall.needed("bank", "digits", &model(), &world);
        assert!(!Arc::ptr_eq(&names, &other), "another model");
        let other = recall.needed("bank", "digits", &first, &Arc::new(World::default()));
        assert!(!Arc::ptr_eq(&names, &other), "another world");
    }
}
