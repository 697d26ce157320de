//! The objects that make one model serve: an account without rights, a Service, and a Deployment whose pods fetch exactly
//! the pinned content before the server starts. Pure: it only builds.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment},
        core::v1::{
            Capabilities, Container, ContainerPort, EmptyDirVolumeSource, EnvVar, HTTPGetAction, KeyToPath,
            Lifecycle, LifecycleHandler, LocalObjectReference, PodReadinessGate, PodSecurityContext, PodSpec,
            PodTemplateSpec, Probe, ProjectedVolumeSource, ResourceRequirements, SeccompProfile,
            SecretVolumeSource, SecurityContext, Service, ServiceAccount, ServiceAccountTokenProjection,
            ServicePort, ServiceSpec, SleepAction, TCPSocketAction, Volume, VolumeMount, VolumeProjection,
        },
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{LabelSelector, OwnerReference},
        util::intstr::IntOrString,
    },
};
use kube::{Resource as _, ResourceExt as _, core::ObjectMeta};

use crate::api::{
    CUT_OFF_LABEL, MODEL_LABEL, RELAY_AUDIENCE, SERVING_GATE,
    v1alpha1::{ModelDeployment, Protocol, Server},
};

use super::{
    CREDENTIALS_VOLUME, DEFAULT_MOUNT_PATH, FETCH_CONTAINER, MODEL_VOLUME, PodSettings, RELAY_VOLUME,
    RelaySettings, RunningModel, Served, Workload,
};

const SCRATCH_VOLUME: &str = "probity-tmp";
const FETCH_DIR: &str = "/model";
const CREDENTIALS_DIR: &str = "/credentials";
const RELAY_DIR: &str = "/relay";
/// How long a token for the relay is good; the kubelet replaces it before.
const TOKEN_SECONDS: i64 = 600;
const PORT_NAME: &str = "http";
/// The user of the pods: nobody's, so that an image that would run as root does not.
pub(super) const USER: i64 = 65532;
/// How long a server that is about to go still serves. The nodes learn of its going and take it out of the Service at
/// the same time as it is told: without this, requests that are on their way meet nobody.
const DRAIN_SECONDS: i64 = 5;
/// What a volume gets beyond the model's bytes, for the file system's own bookkeeping.
const VOLUME_SLACK: u64 = 16 << 20;

/// The objects for this model, running this content.
pub fn workload(
    model: &ModelDeployment,
    served: &Served<'_>,
    runs: &RunningModel,
    settings: &PodSettings,
    replicas: Option<i32>,
) -> Workload {
    let meta = child_meta(model);
    let selector = BTreeMap::from([(MODEL_LABEL.to_owned(), model.name_any())]);
    let port = IntOrString::String(PORT_NAME.into());
    Workload {
        service_account: ServiceAccount {
            metadata: meta.clone(),
            automount_service_account_token: Some(false),
            ..ServiceAccount::default()
        },
        service: Service {
            metadata: meta.clone(),
            spec: Some(ServiceSpec {
                selector: Some(selector.clone()),
                ports: Some(vec![ServicePort {
                    name: Some(PORT_NAME.into()),
                    port: served.server.port.into(),
                    protocol: Some("TCP".into()),
                    target_port: Some(port),
                    ..ServicePort::default()
                }]),
                ..ServiceSpec::default()
            }),
            status: None,
        },
        deployment: Deployment {
            metadata: meta.clone(),
            spec: Some(DeploymentSpec {
                replicas,
                revision_history_limit: Some(3),
                selector: LabelSelector {
                    match_labels: Some(selector),
                    ..LabelSelector::default()
                },
                strategy: Some(DeploymentStrategy {
                    type_: Some("RollingUpdate".into()),
                    rolling_update: Some(RollingUpdateDeployment {
                        // What serves goes only when what replaces it serves.
                        max_unavailable: Some(IntOrString::Int(0)),
                        max_surge: Some(IntOrString::Int(1)),
                    }),
                }),
                template: PodTemplateSpec {
                    metadata: Some(ObjectMeta {
                        labels: meta.labels,
                        ..ObjectMeta::default()
                    }),
                    spec: Some(pod(served, runs, settings)),
                },
                ..DeploymentSpec::default()
            }),
            status: None,
        },
    }
}

/// The same, reached by nobody: its Service selects pods that there are none of.
pub fn cut_off(mut workload: Workload) -> Workload {
    let service = workload.service.spec.get_or_insert_default();
    let selector = service.selector.get_or_insert_default();
    selector.insert(CUT_OFF_LABEL.to_owned(), "true".to_owned());
    workload
}

/// The pod of a model that is served in this way and runs this content.
pub fn pod(served: &Served<'_>, runs: &RunningModel, settings: &PodSettings) -> PodSpec {
    let secret = runs.pull_secret.as_ref();
    PodSpec {
        service_account_name: Some(served.name.to_owned()),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        runtime_class_name: served.server.runtime_class_name.clone(),
        // No traffic before the operator says so, and none any more once it does not: whichever Service selects the pod.
        readiness_gates: Some(vec![PodReadinessGate {
            condition_type: SERVING_GATE.into(),
        }]),
        image_pull_secrets: secret.map(|name| vec![LocalObjectReference { name: name.clone() }]),
        security_context: Some(nobody()),
        init_containers: Some(vec![fetch(runs, settings)]),
        containers: vec![serving(served.server, served.mount_path)],
        volumes: Some(
            [
                Some(model_volume(runs.size)),
                Some(scratch(SCRATCH_VOLUME, 1 << 30)),
                access(runs, settings),
            ]
            .into_iter()
            .flatten()
            .collect(),
        ),
        ..PodSpec::default()
    }
}

/// The container that fetches the pinned content. All it may trust is in its arguments.
pub(super) fn fetch(runs: &RunningModel, settings: &PodSettings) -> Container {
    let mut args = vec![
        "fetch".to_owned(),
        "--reference".into(),
        runs.reference.to_string(),
        "--dir".into(),
        FETCH_DIR.into(),
        "--max-bytes".into(),
        runs.size.to_string(),
    ];
    let mut mounts = vec![mount(MODEL_VOLUME, FETCH_DIR, false)];
    if let Some(RelaySettings { url, key }) = &settings.relay {
        args.extend(["--relay".into(), url.clone()]);
        args.extend(["--relay-key".into(), key.to_string()]);
        args.extend(["--relay-token".into(), format!("{RELAY_DIR}/token")]);
        mounts.push(mount(RELAY_VOLUME, RELAY_DIR, true));
    } else {
        args.extend(settings.host_arguments.iter().cloned());
    }
    if settings.relay.is_none() && runs.pull_secret.is_some() {
        args.extend([
            "--credentials-file".into(),
            format!("{CREDENTIALS_DIR}/config.json"),
        ]);
        mounts.push(mount(CREDENTIALS_VOLUME, CREDENTIALS_DIR, true));
    }
    Container {
        name: FETCH_CONTAINER.into(),
        image: Some(settings.fetch_image.clone()),
        args: Some(args),
        volume_mounts: Some(mounts),
        resources: Some(fetch_resources()),
        security_context: Some(restricted()),
        ..Container::default()
    }
}

/// What the container that fetches or verifies gets.
pub(super) fn fetch_resources() -> ResourceRequirements {
    ResourceRequirements {
        requests: Some(quantities(&[("cpu", "50m"), ("memory", "32Mi")])),
        limits: Some(quantities(&[("memory", "128Mi")])),
        ..ResourceRequirements::default()
    }
}

fn serving(server: &Server, mount_path: Option<&str>) -> Container {
    let mut env: BTreeMap<_, _> = server.env.clone().unwrap_or_default();
    // The root is read-only; what needs a home finds one that can be written.
    env.entry("HOME".into()).or_insert_with(|| "/tmp".into());
    Container {
        name: "server".into(),
        image: Some(server.image.clone()),
        command: server.command.clone(),
        args: server.args.clone(),
        env: Some(
            env.into_iter()
                .map(|(name, value)| EnvVar {
                    name,
                    value: Some(value),
                    value_from: None,
                })
                .collect(),
        ),
        ports: Some(vec![ContainerPort {
            name: Some(PORT_NAME.into()),
            container_port: server.port.into(),
            protocol: Some("TCP".into()),
            ..ContainerPort::default()
        }]),
        readiness_probe: Some(readiness(server.protocol)),
        lifecycle: Some(Lifecycle {
            pre_stop: Some(LifecycleHandler {
                // The kubelet's own: an image need not have a program that sleeps.
                sleep: Some(SleepAction {
                    seconds: DRAIN_SECONDS,
                }),
                ..LifecycleHandler::default()
            }),
            ..Lifecycle::default()
        }),
        resources: server.resources.clone(),
        security_context: Some(restricted()),
        volume_mounts: Some(vec![
            mount(MODEL_VOLUME, mount_path.unwrap_or(DEFAULT_MOUNT_PATH), true),
            mount(SCRATCH_VOLUME, "/tmp", false),
        ]),
        ..Container::default()
    }
}

fn readiness(protocol: Protocol) -> Probe {
    let port = IntOrString::String(PORT_NAME.into());
    let get = |path: &str| HTTPGetAction {
        path: Some(path.into()),
        port: port.clone(),
        ..HTTPGetAction::default()
    };
    let (http_get, tcp_socket) = match protocol {
        Protocol::OpenInference => (Some(get("/v2/health/ready")), None),
        Protocol::OpenAI => (Some(get("/health")), None),
        Protocol::Http => (
            None,
            Some(TCPSocketAction {
                port: port.clone(),
                host: None,
            }),
        ),
    };
    Probe {
        http_get,
        tcp_socket,
        period_seconds: Some(2),
        timeout_seconds: Some(2),
        failure_threshold: Some(3),
        ..Probe::default()
    }
}

/// A pod that runs as nobody.
pub(super) fn nobody() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        run_as_group: Some(USER),
        // So that the volumes, which start out as root's, can be written.
        fs_group: Some(USER),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".into(),
            localhost_profile: None,
        }),
        ..PodSecurityContext::default()
    }
}

/// What Pod Security's `restricted` asks for, and a read-only root.
pub(super) fn restricted() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        run_as_non_root: Some(true),
        capabilities: Some(Capabilities {
            drop: Some(vec!["ALL".into()]),
            add: None,
        }),
        ..SecurityContext::default()
    }
}

pub(super) fn mount(volume: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: volume.into(),
        mount_path: path.into(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}

/// The volume for a model of this many bytes.
pub(super) fn model_volume(bytes: u64) -> Volume {
    scratch(MODEL_VOLUME, bytes.saturating_add(VOLUME_SLACK))
}

fn scratch(name: &str, bytes: u64) -> Volume {
    Volume {
        name: name.into(),
        empty_dir: Some(EmptyDirVolumeSource {
            medium: None,
            size_limit: Some(Quantity(bytes.to_string())),
        }),
        ..Volume::default()
    }
}

/// The volume with what the fetch container shows to be let in: the pull secret to a registry, or its token to the relay.
pub(super) fn access(runs: &RunningModel, settings: &PodSettings) -> Option<Volume> {
    match settings.relay {
        Some(_) => Some(relay_token()),
        None => runs.pull_secret.as_deref().map(credentials),
    }
}

fn relay_token() -> Volume {
    Volume {
        name: RELAY_VOLUME.into(),
        projected: Some(ProjectedVolumeSource {
            // As the API server would fill it in; the kubelet narrows it for tokens.
            default_mode: Some(0o644),
            sources: Some(vec![VolumeProjection {
                service_account_token: Some(ServiceAccountTokenProjection {
                    audience: Some(RELAY_AUDIENCE.into()),
                    expiration_seconds: Some(TOKEN_SECONDS),
                    path: "token".into(),
                }),
                ..VolumeProjection::default()
            }]),
        }),
        ..Volume::default()
    }
}

fn credentials(secret: &str) -> Volume {
    Volume {
        name: CREDENTIALS_VOLUME.into(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(secret.into()),
            items: Some(vec![KeyToPath {
                key: ".dockerconfigjson".into(),
                path: "config.json".into(),
                mode: None,
            }]),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    }
}

pub(super) fn quantities(pairs: &[(&str, &str)]) -> BTreeMap<String, Quantity> {
    pairs
        .iter()
        .map(|(name, amount)| ((*name).to_owned(), Quantity((*amount).to_owned())))
        .collect()
}

/// Name, namespace, labels and owner of what is made for a model.
pub fn child_meta(model: &ModelDeployment) -> ObjectMeta {
    let name = model.name_any();
    let labels = [
        ("app.kubernetes.io/name", name.as_str()),
        ("app.kubernetes.io/managed-by", "probity"),
        (MODEL_LABEL, name.as_str()),
    ];
    ObjectMeta {
        name: Some(name.clone()),
        namespace: model.namespace(),
        labels: Some(
            labels
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
        ),
        // Not `blockOwnerDeletion`: clusters that enforce it would want rights over finalizers, which we do not need.
        owner_references: Some(vec![OwnerReference {
            api_version: ModelDeployment::api_version(&()).into_owned(),
            kind: ModelDeployment::kind(&()).into_owned(),
            name,
            uid: model.uid().unwrap_or_default(),
            controller: Some(true),
            block_owner_deletion: None,
        }]),
        ..ObjectMeta::default()
    }
}
