//! Whether a network policy of somebody else's may be written: not when it opens what policies want closed. One that allows
//! nothing new is never refused, and asks nobody. The chart has the operator's own not sent here.

use serde_json::Value;

use super::{Gate, answer, not_governed_yet, not_read};
use crate::{
    admission::{AdmissionRequest, Answer},
    policy::opening::{self, Foreign},
};

impl Gate {
    /// Judges a `NetworkPolicy`, or one of Cilium's.
    pub(super) async fn network(&self, request: &AdmissionRequest) -> Answer {
        let (world, namespace) = (self.world.current(), &request.namespace);
        if let Some(wait) = not_governed_yet(namespace, &world) {
            return wait;
        }
        let (new, old) = match (request.object::<Value>(), request.old_object::<Value>()) {
            (Ok(Some(new)), Ok(old)) => (new, old),
            (Ok(None), Ok(_)) => return Answer::allow(),
            (Err(error), _) | (_, Err(error)) => {
                return Answer::deny(400, format!("object: cannot be read by this version: {error}"));
            }
        };
        let read = |object: &Value| Foreign::read(&request.kind.kind, namespace, &request.name, object);
        let foreign = read(&new).beyond(old.as_ref().map(read).as_ref());
        if opening::spoken_of(namespace, &world).is_empty() || foreign.allows_nothing() {
            return Answer::allow();
        }
        match self.records.model_pods(namespace).await {
            Ok(pods) => answer(&opening::judge(&foreign, &pods, &world)),
            Err(unread) => not_read(&unread),
        }
    }
}
