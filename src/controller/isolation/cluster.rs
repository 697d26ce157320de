//! What no NetworkPolicy opens again, where the API server knows ClusterNetworkPolicies: a quarantine of each model that is cut
//! off, and addresses that are never open. They add to NetworkPolicies; nothing waits for them, and none counts as enforced.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::StreamExt as _;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{Api, ResourceExt as _, api::ListParams};
use tokio::time::sleep;

use super::super::{Context, Error, Note, cause, pages::all, served::is_served};
use crate::{
    api::{
        cluster_network_policy::{ClusterNetworkPolicy, GROUP, KIND, PLURAL, VERSION},
        v1alpha1::ModelDeployment,
    },
    cluster::{Applied, ApplyError},
    policy::isolated_namespaces,
    workload::{NEVER_OPEN, never_open, quarantine, quarantine_name, quarantined},
};

/// How often all of them are looked at: nobody watches them.
const INTERVAL: Duration = Duration::from_secs(20);
/// One that is younger may be of a model whose status is not written yet.
const YOUNG: Duration = Duration::from_secs(60);
/// By this label ours are found.
const OURS: &str = "app.kubernetes.io/managed-by=probity";
/// So many are read at a time.
const PAGE: u32 = 250;

/// Whether the API server knows the kind, and which quarantines are wanted.
#[derive(Debug, Default)]
pub(in crate::controller) struct ClusterPolicies {
    served: AtomicBool,
    wanted: Mutex<BTreeMap<String, ClusterNetworkPolicy>>,
}

impl ClusterPolicies {
    fn are_served(&self) -> bool {
        self.served.load(Ordering::Relaxed)
    }

    fn wanted(&self) -> MutexGuard<'_, BTreeMap<String, ClusterNetworkPolicy>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn want(&self, policy: ClusterNetworkPolicy) {
        self.wanted().insert(policy.name_any(), policy);
    }

    /// Whether it was wanted.
    fn forget(&self, name: &str) -> bool {
        self.wanted().remove(name).is_some()
    }
}

fn api(context: &Context) -> Api<ClusterNetworkPolicy> {
    Api::all(context.client.clone())
}

/// Shuts off the pods of a model that is `cut`, and lets go of those that are not. What cannot be written is tried again when
/// all of them are looked at: the NetworkPolicy and the gates do not wait for it.
pub(super) async fn shut(
    context: &Context,
    model: &ModelDeployment,
    selector: Option<&LabelSelector>,
    cut: bool,
) {
    let done = if !cut {
        release(context, model).await
    } else if let Some(selector) = selector {
        let desired = quarantine(model, selector.clone());
        context.cluster_policies.want(desired.clone());
        keep_shut(context, model, desired).await
    } else {
        Ok(())
    };
    if let Err(error) = done {
        warn(context, &error);
    }
}

async fn keep_shut(
    context: &Context,
    model: &ModelDeployment,
    desired: ClusterNetworkPolicy,
) -> Result<(), Error> {
    if !context.cluster_policies.are_served() {
        return Ok(());
    }
    let name = desired.name_any();
    if bring(context, desired).await? {
        let message = format!("{KIND} {name} denies all traffic of its pods, whatever NetworkPolicies allow");
        told(context, model, true, "NetworkShut", message).await;
    }
    Ok(())
}

/// Takes away the quarantine of a model that is not cut off, or is gone.
pub(in crate::controller) async fn release(context: &Context, model: &ModelDeployment) -> Result<(), Error> {
    let name = quarantine_name(&model.namespace().unwrap_or_default(), &model.name_any());
    // Else there is none, but for what an operator left that was here before: that goes when all are looked at.
    let known = context.cluster_policies.forget(&name) || was_cut(model);
    if known && context.cluster_policies.are_served() && remove(context, &name).await? {
        let message = format!("{KIND} {name} is taken away");
        told(context, model, false, "NetworkReleased", message).await;
    }
    Ok(())
}

fn was_cut(model: &ModelDeployment) -> bool {
    let serving = model.status.as_ref().and_then(|status| status.serving.as_ref());
    serving.is_some_and(|serving| serving.response.is_some())
}

async fn told(context: &Context, model: &ModelDeployment, warning: bool, reason: &str, message: String) {
    let action = if warning { "Quarantine" } else { "Release" };
    let note = Note {
        warning,
        reason: reason.into(),
        action,
        message,
    };
    context.publish(model, note).await;
}

/// Brings one to its plan; whether it was not there.
async fn bring(context: &Context, desired: ClusterNetworkPolicy) -> Result<bool, ApplyError> {
    let api = api(context);
    let name = desired.name_any();
    let there = context.applier.read(&api, &name).await?;
    match context
        .applier
        .apply_unowned(&api, there.as_ref(), desired)
        .await?
    {
        Applied::Done(_) => Ok(there.is_none()),
        Applied::NameTaken => {
            tracing::warn!(
                "{KIND} {name} exists and is not Probity's, and was left alone: rename or remove it"
            );
            Ok(false)
        }
    }
}

/// Removes one of ours; whether it was there.
async fn remove(context: &Context, name: &str) -> Result<bool, ApplyError> {
    let api = api(context);
    let Some(there) = context
        .applier
        .read(&api, name)
        .await?
        .filter(crate::cluster::is_ours)
    else {
        return Ok(false);
    };
    context.applier.delete(&api, &there).await?;
    Ok(true)
}

/// Looks at all of them again and again until `stop` resolves.
pub(in crate::controller) async fn run(context: Arc<Context>, stop: impl Future<Output = ()> + Send) {
    let keeping = async {
        let mut changes = context.world.changes().boxed();
        loop {
            let group = format!("{GROUP}/{VERSION}");
            let was = context.cluster_policies.are_served();
            let served = is_served(&context, &group, PLURAL).await.unwrap_or(was);
            if served != was {
                tracing::info!(served, "{KIND} of {group}");
                context.cluster_policies.served.store(served, Ordering::Relaxed);
            }
            if served && let Err(error) = keep(&context).await {
                warn(&context, &error);
            }
            tokio::select! {
                () = sleep(INTERVAL) => {}
                _ = changes.next() => {}
            }
        }
    };
    tokio::select! {
        () = keeping => {}
        () = stop => {}
    }
}

/// Brings all of them to what is wanted, and clears away what nobody wants any more.
async fn keep(context: &Context) -> Result<(), Error> {
    let namespaces = isolated_namespaces(&context.world.current());
    if namespaces.is_empty() {
        remove(context, NEVER_OPEN).await?;
    } else {
        bring(context, never_open(namespaces, &context.settings.network)).await?;
    }
    let ours = ListParams::default().labels(OURS).limit(PAGE);
    for there in all(&api(context), "ClusterNetworkPolicies", ours).await? {
        if is_left_over(context, &there).await? {
            context.applier.delete(&api(context), &there).await?;
        }
    }
    let wanted: Vec<_> = context.cluster_policies.wanted().values().cloned().collect();
    for desired in wanted {
        bring(context, desired).await?;
    }
    Ok(())
}

/// Whether it shuts off a model that is gone, or not cut off any more.
async fn is_left_over(context: &Context, there: &ClusterNetworkPolicy) -> Result<bool, Error> {
    let name = there.name_any();
    let Some((namespace, model)) = quarantined(&name) else {
        return Ok(false);
    };
    let models: Api<ModelDeployment> = context.api(namespace);
    let model = models.get_opt(model).await.map_err(|source| Error::Gather {
        what: "the model of a ClusterNetworkPolicy",
        source,
    })?;
    // Nobody tells when one goes.
    let Some(model) = model else {
        context.cluster_policies.forget(&name);
        return Ok(true);
    };
    let made = there.creation_timestamp().map(|made| made.0);
    let is_young = made.is_none_or(|made| {
        Duration::try_from(context.now().duration_since(made)).unwrap_or_default() < YOUNG
    });
    let wanted = context.cluster_policies.wanted().contains_key(&name);
    Ok(!is_young && !wanted && !was_cut(&model))
}

fn warn(context: &Context, error: &Error) {
    context.metrics.failed(KIND, error.category());
    tracing::warn!(%error, cause = cause(error), "cannot keep ClusterNetworkPolicies; trying again");
}
