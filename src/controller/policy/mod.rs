//! Says in a policy's status whether the policy can be applied, and if not, which field is wrong.
//! It judges nothing: the compiled policy already knows its problems.

#![expect(
    clippy::disallowed_types,
    reason = "the edge: here the client is made, gathered with, and handed to cluster"
)]

use std::sync::Arc;

use futures::StreamExt as _;
use jiff::Timestamp;
use kube::{
    Api, Client, ResourceExt as _,
    runtime::{controller::Action, controller::Controller, watcher},
};

use crate::{
    api::{
        FIELD_MANAGER,
        v1alpha1::{ClusterDeploymentPolicy, PolicyStatus},
    },
    cluster::patch_status,
    policy::Rules,
};

use super::{
    Context, Error,
    condition::{State, Wanted, conditions},
    error_policy, observe,
};

/// Runs until `stop` resolves.
pub async fn run(
    client: Client,
    context: Arc<Context>,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) {
    Controller::new(
        Api::<ClusterDeploymentPolicy>::all(client),
        watcher::Config::default(),
    )
    .with_config(context.controller_config())
    .reconcile_all_on(context.world.changes())
    .graceful_shutdown_on(stop)
    .run(reconcile, error_policy, context)
    .for_each(observe)
    .await;
}

async fn reconcile(policy: Arc<ClusterDeploymentPolicy>, context: Arc<Context>) -> Result<Action, Error> {
    let world = context.world.current();
    // Until the world has this very generation there is nothing to say; its change wakes this reconciler.
    let compiled = world
        .rules
        .iter()
        .find(|rules| rules.uid == policy.metadata.uid && rules.generation == policy.metadata.generation);
    let Some(rules) = compiled else {
        return Ok(Action::await_change());
    };
    let new = status(policy.status.as_ref(), rules, context.now());
    let api: Api<ClusterDeploymentPolicy> = Api::all(context.client.clone());
    patch_status(&api, &*policy, FIELD_MANAGER, policy.status.as_ref(), &new).await?;
    context.succeeded(&*policy);
    tracing::debug!(policy = policy.name_any(), "looked at");
    Ok(Action::await_change())
}

/// The status of a policy with these rules.
fn status(old: Option<&PolicyStatus>, rules: &Rules, now: Timestamp) -> PolicyStatus {
    let problems: Vec<_> = rules.all_problems().collect();
    let ready = match (problems.first(), rules.blocking().first()) {
        (None, _) => Wanted::new(
            "Ready",
            State::True,
            "Applied",
            "the policy is applied in every namespace it selects",
        ),
        (Some(problem), None) => {
            let message = format!("applied, but {problem}");
            Wanted::new("Ready", State::True, problem.reason.as_str(), message)
        }
        (Some(_), Some(blocking)) => {
            let message = format!("{blocking}; until then it denies wherever it selects");
            Wanted::new("Ready", State::False, blocking.reason.as_str(), message)
        }
    };
    let stalled = (ready.state == State::False).then(|| Wanted {
        kind: "Stalled",
        state: State::True,
        ..ready.clone()
    });
    let wanted = [Some(ready), stalled].into_iter().flatten().collect();
    let old = old.and_then(|old| old.conditions.as_deref());
    PolicyStatus {
        observed_generation: rules.generation,
        conditions: Some(conditions(old, wanted, rules.generation, now)),
    }
}
