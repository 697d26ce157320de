//! The Job that measures one content: it fetches the model and the data set by digest, then runs the evaluator on both.
//! Pure: it only builds. The pod holds no token, no secret of anybody's, and nothing that it could reach with one.

use std::collections::BTreeMap;

use k8s_openapi::api::{
    batch::v1::{Job, JobSpec},
    core::v1::{Container, EmptyDirVolumeSource, PodSpec, PodTemplateSpec, ResourceRequirements, Volume},
};
use kube::core::ObjectMeta;

use crate::{api::run::RunRequest, evidence::Reference};

use super::{
    PodSettings,
    objects::{fetch_resources, mount, nobody, quantities, restricted},
};

/// The container whose termination message is the answer.
pub const EVALUATE_CONTAINER: &str = "evaluate";
/// The containers that bring what is measured, and what on.
pub const EVALUATION_FETCHES: [&str; 2] = ["fetch-model", "fetch-dataset"];
/// The label by which the Jobs of evaluations are found; whose one is, its uid in an Evaluation's status says.
pub const EVALUATION_COMPONENT: (&str, &str) = ("app.kubernetes.io/component", "evaluation");

/// The largest model or data set that is measured, in bytes.
const MAX_BYTES: u64 = 16 << 30;
const MODEL: (&str, &str) = ("model", "/model");
const DATASET: (&str, &str) = ("dataset", "/dataset");
/// How long a Job that has ended is kept, for people to look at its logs.
const KEPT_SECONDS: i32 = 3600;

/// What one Job is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvaluationJobPlan<'a> {
    /// The Job's name.
    pub name: &'a str,
    /// The namespace that evaluations run in.
    pub namespace: &'a str,
    /// The model.
    pub model: &'a Reference,
    /// The data set.
    pub dataset: &'a Reference,
    /// Which of the data set's files.
    pub file: &'a str,
    /// What is measured.
    pub request: &'a RunRequest,
    /// How long it may take, in seconds.
    pub deadline_seconds: u32,
}

/// The Job.
pub fn evaluation_job(plan: &EvaluationJobPlan<'_>, settings: &PodSettings) -> Job {
    let labels = BTreeMap::from(
        [EVALUATION_COMPONENT, ("app.kubernetes.io/managed-by", "probity")]
            .map(|(key, value)| (key.to_owned(), value.to_owned())),
    );
    let evaluate = Container {
        name: EVALUATE_CONTAINER.into(),
        image: Some(settings.fetch_image.clone()),
        args: Some(vec![
            "evaluate".into(),
            MODEL.1.into(),
            "--data".into(),
            format!("{}/{}", DATASET.1, plan.file),
            "--request".into(),
            plan.request.line(),
        ]),
        volume_mounts: Some(vec![
            mount(MODEL.0, MODEL.1, true),
            mount(DATASET.0, DATASET.1, true),
        ]),
        resources: Some(ResourceRequirements {
            requests: Some(quantities(&[("cpu", "250m"), ("memory", "128Mi")])),
            limits: Some(quantities(&[("memory", "2Gi")])),
            ..ResourceRequirements::default()
        }),
        security_context: Some(restricted()),
        ..Container::default()
    };
    Job {
        metadata: ObjectMeta {
            name: Some(plan.name.to_owned()),
            namespace: Some(plan.namespace.to_owned()),
            labels: Some(labels.clone()),
            ..ObjectMeta::default()
        },
        spec: Some(JobSpec {
            // One run is one pod: another try is another run, with another seed.
            backoff_limit: Some(0),
            completions: Some(1),
            parallelism: Some(1),
            active_deadline_seconds: Some(plan.deadline_seconds.into()),
            ttl_seconds_after_finished: Some(KEPT_SECONDS),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(labels),
                    ..ObjectMeta::default()
                }),
                spec: Some(PodSpec {
                    automount_service_account_token: Some(false),
                    enable_service_links: Some(false),
                    restart_policy: Some("Never".into()),
                    security_context: Some(nobody()),
                    init_containers: Some(vec![
                        fetch(EVALUATION_FETCHES[0], plan.model, MODEL, settings),
                        fetch(EVALUATION_FETCHES[1], plan.dataset, DATASET, settings),
                    ]),
                    containers: vec![evaluate],
                    volumes: Some([MODEL, DATASET].map(|(name, _)| folder(name)).into()),
                    ..PodSpec::default()
                }),
            },
            ..JobSpec::default()
        }),
        status: None,
    }
}

fn fetch(name: &str, what: &Reference, (volume, dir): (&str, &str), settings: &PodSettings) -> Container {
    let mut args: Vec<String> = ["fetch", "--reference"].map(Into::into).into();
    args.push(what.to_string());
    args.extend(["--dir", dir, "--max-bytes"].map(Into::into));
    args.push(MAX_BYTES.to_string());
    args.extend(settings.host_arguments.iter().cloned());
    Container {
        name: name.into(),
        image: Some(settings.fetch_image.clone()),
        args: Some(args),
        volume_mounts: Some(vec![mount(volume, dir, false)]),
        resources: Some(fetch_resources()),
        security_context: Some(restricted()),
        ..Container::default()
    }
}

fn folder(name: &str) -> Volume {
    Volume {
        name: name.into(),
        empty_dir: Some(EmptyDirVolumeSource::default()),
        ..Volume::default()
    }
}
