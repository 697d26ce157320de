//! What a Deployment's template says it runs, how far its rollout is, and why its pods do not come up.
//! Pure: it reads objects that were gathered.

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ContainerState, ContainerStatus, Pod},
};

use crate::{
    evidence::{Failure, Reason},
    workload::{FETCH_CONTAINER, RunningModel, running_model},
};

/// How far a Deployment is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rollout {
    /// What its template runs.
    pub template: Option<RunningModel>,
    /// Every wanted pod runs the template and is available, and there is at least one.
    pub complete: bool,
    /// Pods that are available, of any template.
    pub available: i32,
    /// Pods there are.
    pub replicas: i32,
    /// Pods that are wanted.
    pub wanted: i32,
    /// Why the newest pod of the template does not come up.
    pub failure: Option<PodFailure>,
}

/// Why a pod does not come up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodFailure {
    /// A stable code: what `probity fetch` reported, or `FetchFailed`, `ServerFailed`.
    pub reason: String,
    /// One sentence.
    pub message: String,
}

/// Reads how far the Deployment is.
pub fn rollout(deployment: Option<&Deployment>, pods: &[Pod]) -> Rollout {
    let Some(deployment) = deployment else {
        return Rollout::default();
    };
    let spec = deployment.spec.as_ref();
    let status = deployment.status.clone().unwrap_or_default();
    let template = spec
        .and_then(|spec| spec.template.spec.as_ref())
        .and_then(running_model);
    let wanted = spec.and_then(|spec| spec.replicas).unwrap_or(1);
    let (replicas, available) = (
        status.replicas.unwrap_or(0),
        status.available_replicas.unwrap_or(0),
    );
    let updated = status.updated_replicas.unwrap_or(0);
    let seen = status.observed_generation >= deployment.metadata.generation;
    let complete = seen && wanted > 0 && updated == wanted && replicas == updated && available >= wanted;
    let failure = if complete {
        None
    } else {
        template
            .as_ref()
            .and_then(|model| failure(model, pods))
            .or_else(|| not_made(deployment))
    };
    Rollout {
        template,
        complete,
        available,
        replicas,
        wanted,
        failure,
    }
}

/// Why pods are not even made: a quota, or admission that refuses them.
fn not_made(deployment: &Deployment) -> Option<PodFailure> {
    let conditions = deployment
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let condition = conditions
        .into_iter()
        .find(|condition| condition.type_ == "ReplicaFailure" && condition.status == "True")?;
    let message = condition.message.clone().unwrap_or_default();
    Some(PodFailure {
        reason: "PodsRefused".into(),
        message: bounded(format!("the model's pods are refused: {message}")),
    })
}

fn failure(model: &RunningModel, pods: &[Pod]) -> Option<PodFailure> {
    let newest = pods
        .iter()
        .filter(|pod| {
            pod.spec
                .as_ref()
                .and_then(running_model)
                .is_some_and(|running| running.digest == model.digest)
        })
        .max_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0))?;
    let status = newest.status.as_ref()?;
    let fetch = status
        .init_container_statuses
        .iter()
        .flatten()
        .find(|status| status.name == FETCH_CONTAINER);
    if let Some(failure) = fetch.and_then(fetch_failure) {
        return Some(failure);
    }
    let server = status
        .container_statuses
        .iter()
        .flatten()
        .find_map(server_failure);
    server.map(|message| PodFailure {
        reason: "ServerFailed".into(),
        message: format!(
            "{message}; see `kubectl logs` and `kubectl describe` of pod {}",
            newest.metadata.name.as_deref().unwrap_or_default()
        ),
    })
}

/// Why a server does not serve. One that ended is told by how it ended and not by what the kubelet does about it just now,
/// which changes with every try.
pub(in crate::controller) fn server_failure(status: &ContainerStatus) -> Option<String> {
    if status.ready {
        return None;
    }
    let ended = |state: &Option<ContainerState>| state.as_ref().and_then(|state| state.terminated.clone());
    if let Some(ended) = ended(&status.state).or_else(|| ended(&status.last_state)) {
        // `Error` says no more than the code does; `OOMKilled` does.
        let why = ended
            .reason
            .filter(|reason| !matches!(reason.as_str(), "Error" | "Completed"));
        let why = why.map_or(String::new(), |reason| format!(" ({})", bounded(reason)));
        return Some(format!(
            "the server ended with exit code {}{why} and is started again",
            ended.exit_code
        ));
    }
    waiting(status).map(|message| format!("the server does not start: {message}"))
}

fn fetch_failure(status: &ContainerStatus) -> Option<PodFailure> {
    let ended = |state: &Option<ContainerState>| {
        state
            .as_ref()
            .and_then(|state| state.terminated.clone())
            .filter(|ended| ended.exit_code != 0)
    };
    let succeeded = status
        .state
        .as_ref()
        .and_then(|state| state.terminated.as_ref())
        .is_some_and(|ended| ended.exit_code == 0);
    if succeeded {
        // How often it failed before is over.
        return None;
    }
    if let Some(ended) = ended(&status.state).or_else(|| ended(&status.last_state)) {
        // What `probity fetch` leaves: a failure as JSON. Whatever else stands there is not repeated.
        let report = ended
            .message
            .as_deref()
            .and_then(|text| serde_json::from_str::<Failure>(text.trim()).ok());
        return Some(match report {
            Some(report) => PodFailure {
                reason: report.reason.as_str().into(),
                message: bounded(report.message),
            },
            None => PodFailure {
                reason: "FetchFailed".into(),
                message: format!(
                    "fetching the model ended with exit code {}; it is tried again",
                    ended.exit_code
                ),
            },
        });
    }
    let message = waiting(status)?;
    Some(PodFailure {
        reason: "FetchFailed".into(),
        message: format!("fetching the model cannot start: {message}"),
    })
}

/// A sentence from elsewhere, no longer than our own: a status must not grow with what it speaks of.
fn bounded(message: String) -> String {
    Failure::new(Reason::Internal, message).message
}

/// Why a container waits, when it is not simply being created.
fn waiting(status: &ContainerStatus) -> Option<String> {
    let waiting = status.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting
        .reason
        .as_deref()
        .filter(|reason| !matches!(*reason, "PodInitializing" | "ContainerCreating"))?;
    Some(match &waiting.message {
        Some(message) => bounded(format!("{reason}: {message}")),
        None => bounded(reason.to_owned()),
    })
}

#[cfg(test)]
mod tests;
