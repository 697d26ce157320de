//! Says in a trust root's status whether its keys can be used, and if not, which one is wrong.
//! It judges nothing: reading the keys already says what is wrong with them.

#![expect(
    clippy::disallowed_types,
    reason = "the edge: here the client is made, gathered with, and handed to cluster"
)]

use std::sync::Arc;

use jiff::Timestamp;
use kube::{Api, Client, runtime::controller::Action};

use crate::{
    api::{
        FIELD_MANAGER,
        v1alpha1::{TrustRoot, TrustRootStatus},
    },
    cluster::patch_status,
    evidence::Reason,
};

use super::{
    Context, Error,
    condition::{State, Wanted, conditions},
    controller, readable,
    world::{Guarded, read_keys},
};

/// Runs until `stop` resolves.
pub async fn run(
    client: Client,
    context: Arc<Context>,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) {
    let (controller, observer) = controller::<TrustRoot>(client, &context);
    observer.run(controller, reconcile, context, stop).await;
}

async fn reconcile(root: Arc<Guarded<TrustRoot>>, context: Arc<Context>) -> Result<Action, Error> {
    let root = readable(&root)?;
    let new = status(root, context.now());
    let api: Api<TrustRoot> = Api::all(context.client.clone());
    patch_status(&api, root, FIELD_MANAGER, root.status.as_ref(), &new).await?;
    context.succeeded(root);
    Ok(Action::await_change())
}

fn status(root: &TrustRoot, now: Timestamp) -> TrustRootStatus {
    let keys = read_keys(root);
    let usable = keys.values().filter(|key| key.is_ok()).count();
    let broken = keys.values().find_map(|key| key.as_ref().err());
    let generation = root.metadata.generation;
    let wanted = match broken {
        None => vec![Wanted::new(
            "Ready",
            State::True,
            "KeysUsable",
            format!("all {usable} keys can be used"),
        )],
        Some(message) => ["Ready", "Stalled"]
            .map(|kind| {
                let state = if kind == "Ready" {
                    State::False
                } else {
                    State::True
                };
                Wanted::new(kind, state, Reason::TrustRootInvalid.as_str(), message)
            })
            .into(),
    };
    let old = root.status.as_ref().and_then(|old| old.conditions.as_deref());
    TrustRootStatus {
        observed_generation: generation,
        keys: Some(i32::try_from(usable).unwrap_or(i32::MAX)),
        conditions: Some(conditions(old, wanted, generation, now)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::v1alpha1::{PublicKey, TrustRootSpec};

    #[test]
    fn a_pem_that_is_no_key_is_named() {
        let keys = vec![PublicKey {
            name: "q3".into(),
            public_key: "-----BEGIN PUBLIC KEY-----\nnonsense".into(),
        }];
        let status = status(
            &TrustRoot::new("bank", TrustRootSpec { keys }),
            Timestamp::UNIX_EPOCH,
        );
        let ready = &status.conditions.unwrap()[0];
        assert_eq!(
            (ready.status.as_str(), ready.reason.as_str(), status.keys),
            ("False", "TrustRootInvalid", Some(0))
        );
        assert!(ready.message.contains("bank/q3"), "{}", ready.message);
    }
}
