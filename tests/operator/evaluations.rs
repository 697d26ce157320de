//! Measurements, without a node: the operator asks for runs, makes their Jobs, and believes what their pods say. A test plays
//! the Job controller and the kubelet; what the evaluator measures is tried elsewhere.

use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use probity::{
    api::v1alpha1::{Evaluation, EvaluationVerdict, RobustnessPolicy},
    evidence::{Digest, Reference},
    policy::robustness::MAX_ERRORS,
};
use serde_json::{Value, json};

use crate::{
    artifacts::Model,
    stage::{FETCH_IMAGE, Stage, apply, condition, serves, until, until_any},
};

/// Where the operator measures.
const PLACE: &str = "probity-evaluations";
/// What the models are measured on, as far as anybody here asks.
const DATASET: &str =
    "registry.example/data/digits@sha256:00000000000000000000000000000000000000000000000000000000000000da";

/// Of what Square at 0.1 leaves right, 0.6 at least.
fn policy(namespace: &str, change: &Value) -> Value {
    let mut spec = json!({
        "dataset": {"reference": DATASET, "file": "heldout.npz"},
        "samples": 200,
        "suites": [{"name": "square", "square": {"norm": "Linf", "epsilon": "0.1", "queries": 1000}}],
        "gates": [{"suite": "square", "metric": "robust_accuracy", "op": "AtLeast", "threshold": "0.6"}]
    });
    spec.as_object_mut()
        .unwrap()
        .extend(change.as_object().unwrap().clone());
    json!({
        "apiVersion": "probity.dev/v1alpha1", "kind": "RobustnessPolicy",
        "metadata": {"name": "robust", "namespace": namespace}, "spec": spec
    })
}

/// The stage's jobs, of which others make more.
fn jobs(stage: &Stage) -> Api<Job> {
    Api::namespaced(stage.client.clone(), PLACE)
}

/// Waits for the Job of this evaluation.
async fn job_of(stage: &Stage, evaluation: &Evaluation) -> Job {
    let seen = until(
        &stage.api::<Evaluation>(),
        &evaluation.name_any(),
        "its Job is written down",
        |evaluation| {
            evaluation
                .status
                .as_ref()
                .is_some_and(|status| status.job.is_some())
        },
    )
    .await;
    let known = seen.status.unwrap().job.unwrap();
    let job = jobs(stage).get(&known.name).await.unwrap();
    assert_eq!(job.uid(), Some(known.uid));
    job
}

/// A model that asks for this reference, and the run that is begun for it.
async fn begun(stage: &Stage, reference: &Reference) -> (Evaluation, Job) {
    let subject = reference.digest().unwrap();
    stage.model("digits", &reference.to_string()).await;
    let evaluation = asked(stage, subject).await;
    let job = job_of(stage, &evaluation).await;
    (evaluation, job)
}

/// Waits for a run that is asked for on this content.
async fn asked(stage: &Stage, subject: Digest) -> Evaluation {
    until_any(&stage.api::<Evaluation>(), "an evaluation", |evaluation| {
        evaluation.spec.digest == Some(subject)
    })
    .await
}

/// What the Job's evaluator was asked.
fn question(job: &Job) -> Value {
    let pod = job.spec.as_ref().unwrap().template.spec.as_ref().unwrap();
    let args = pod.containers[0].args.as_ref().unwrap();
    let at = args.iter().position(|arg| arg == "--request").unwrap();
    serde_json::from_str(&args[at + 1]).unwrap()
}

/// What an evaluator answers that found this.
fn answer(job: &Job, [lower, value, upper]: [&str; 3]) -> Value {
    let asked = question(job);
    json!({
        "evaluation": asked["evaluation"], "subject": asked["subject"], "dataset": asked["dataset"], "seed": asked["seed"],
        "rows": 1000, "errors": 0,
        "numbers": [{"suite": "square", "metric": "robust_accuracy", "value": value, "lower": lower, "upper": upper, "n": 200}]
    })
}

/// Plays the Job controller and the kubelet: one pod, which ended so and said this.
async fn end(stage: &Stage, job: &Job, code: i32, said: &str) {
    let template = job.spec.as_ref().unwrap().template.clone();
    let owner = json!({
        "apiVersion": "batch/v1", "kind": "Job", "name": job.name_any(), "uid": job.uid(), "controller": true
    });
    let labels = json!({"batch.kubernetes.io/controller-uid": job.uid(), "batch.kubernetes.io/job-name": job.name_any()});
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("{}-x", job.name_any()), "namespace": PLACE, "labels": labels, "ownerReferences": [owner]},
        "spec": template.spec
    });
    // Nobody makes it here, and no pod is let in without one.
    let account = json!({"name": "default", "namespace": PLACE});
    apply(
        &stage.client,
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account}),
    )
    .await;
    let pods: Api<Pod> = Api::namespaced(stage.client.clone(), PLACE);
    let pod: Pod = serde_json::from_value(pod).unwrap();
    let pod = pods.create(&PostParams::default(), &pod).await.unwrap();
    let terminated = |name: &str, code: i32, message: Option<&str>| {
        json!({
            "name": name, "image": FETCH_IMAGE, "imageID": FETCH_IMAGE, "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": code, "message": message, "finishedAt": "2026-01-01T00:00:00Z", "startedAt": "2026-01-01T00:00:00Z"}}
        })
    };
    let status = json!({"status": {
        "phase": if code == 0 { "Succeeded" } else { "Failed" },
        "initContainerStatuses": [terminated("fetch-model", 0, None), terminated("fetch-dataset", 0, None)],
        "containerStatuses": [terminated("evaluate", code, Some(said))]
    }});
    pods.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(status))
        .await
        .unwrap();
    let times = json!({"startTime": "2026-01-01T00:00:00Z"});
    let mut status = times;
    let condition = |kind: &str| {
        json!({
            "type": kind, "status": "True", "reason": "BackoffLimitExceeded", "message": "ended",
            "lastTransitionTime": "2026-01-01T00:00:00Z", "lastProbeTime": "2026-01-01T00:00:00Z"
        })
    };
    // An API server wants the conditions that come before these too.
    if code == 0 {
        status["succeeded"] = json!(1);
        status["completionTime"] = json!("2026-01-01T00:00:01Z");
        status["conditions"] = json!([condition("SuccessCriteriaMet"), condition("Complete")]);
    } else {
        status["failed"] = json!(1);
        status["conditions"] = json!([condition("FailureTarget"), condition("Failed")]);
    }
    jobs(stage)
        .patch_status(
            &job.name_any(),
            &PatchParams::default(),
            &Patch::Merge(json!({"status": status})),
        )
        .await
        .unwrap();
}

async fn verdict(stage: &Stage, evaluation: &Evaluation) -> (EvaluationVerdict, String) {
    let seen = until(
        &stage.api::<Evaluation>(),
        &evaluation.name_any(),
        "it has a verdict",
        |evaluation| {
            evaluation
                .status
                .as_ref()
                .is_some_and(|status| status.verdict.is_some())
        },
    )
    .await;
    let status = seen.status.unwrap();
    (status.verdict.unwrap(), status.message.unwrap())
}

/// A signed model of the stage's own.
fn pushed(stage: &Stage) -> Reference {
    Model::signed().push(&format!("evaluations/{}", stage.namespace))
}

/// The same files, as signed, in another artifact.
fn another(stage: &Stage) -> Reference {
    Model::signed()
        .layered_as("labels/classes.txt", "application/vnd.cncf.model.doc.v1.raw")
        .push(&format!("evaluations/{}", stage.namespace))
}

/// A model that is measured, as far as an operator does that.
pub async fn measure(stage: &Stage, name: &str) {
    apply(
        &stage.client,
        policy(&stage.namespace, &json!({"models": [name]})),
    )
    .await;
    let reference = pushed(stage);
    stage.model(name, &reference.to_string()).await;
    let evaluation = asked(stage, reference.digest().unwrap()).await;
    job_of(stage, &evaluation).await;
}

/// A stage whose models must be measured before they serve, and a model's reference.
async fn measured() -> (Stage, Reference) {
    let stage = Stage::new().await;
    apply(&stage.client, policy(&stage.namespace, &json!({}))).await;
    // The world must know it before a model comes: what serves already is another question.
    let reference = pushed(&stage);
    (stage, reference)
}

#[tokio::test]
async fn a_model_is_held_until_it_passed() {
    let (stage, reference) = measured().await;
    let subject = reference.digest().unwrap();
    stage.model("digits", &reference.to_string()).await;
    let said = stage.reason("digits", "Measuring").await;
    assert!(said.contains("is being measured"), "{said}");
    let evaluation = asked(&stage, subject).await;
    let job = job_of(&stage, &evaluation).await;
    assert_eq!(question(&job)["subject"], json!(subject));
    end(
        &stage,
        &job,
        0,
        &answer(&job, ["0.61", "0.7", "0.78"]).to_string(),
    )
    .await;
    let (verdict, message) = verdict(&stage, &evaluation).await;
    assert_eq!(verdict, EvaluationVerdict::Passed, "{message}");
    stage.roll_out("digits", subject).await;
    stage.reason("digits", "Serving").await;
    // What the policy says of it.
    let policy = until(
        &stage.api::<RobustnessPolicy>(),
        "robust",
        "one passed",
        |policy| policy.status.as_ref().and_then(|status| status.passed) == Some(1),
    )
    .await;
    assert_eq!(policy.status.unwrap().held, Some(0));
}

#[tokio::test]
async fn what_failed_does_not_serve_and_no_further_run_makes_it_good() {
    let (stage, reference) = measured().await;
    let (evaluation, job) = begun(&stage, &reference).await;
    end(
        &stage,
        &job,
        0,
        &answer(&job, ["0.1", "0.15", "0.22"]).to_string(),
    )
    .await;
    assert_eq!(verdict(&stage, &evaluation).await.0, EvaluationVerdict::Failed);
    let said = stage.reason("digits", "NotRobust").await;
    assert!(
        said.contains("robust_accuracy under square is 0.150 (0.100 to 0.220, n=200), wanted at least 0.6"),
        "{said}"
    );
    // Somebody wants another run, and it passes.
    let again: Evaluation = stage
        .create(json!({
            "apiVersion": "probity.dev/v1alpha1", "kind": "Evaluation",
            "metadata": {"name": "again", "namespace": stage.namespace}, "spec": {"model": "digits", "policy": "robust"}
        }))
        .await;
    let job = job_of(&stage, &again).await;
    let first = until(
        &stage.api::<Evaluation>(),
        &evaluation.name_any(),
        "it is there",
        |_| true,
    )
    .await;
    let (first, second) = (first.status.unwrap().run.unwrap(), again_run(&stage).await);
    assert_ne!(first.seed, second.seed, "another run tries something else");
    assert!(first.confidence < second.confidence, "and has to be surer");
    end(
        &stage,
        &job,
        0,
        &answer(&job, ["0.9", "0.95", "0.99"]).to_string(),
    )
    .await;
    assert_eq!(verdict(&stage, &again).await.0, EvaluationVerdict::Passed);
    stage.reason("digits", "NotRobust").await;
    assert!(
        stage
            .names::<k8s_openapi::api::apps::v1::Deployment>()
            .await
            .is_empty()
    );
}

async fn again_run(stage: &Stage) -> probity::api::v1alpha1::EvaluationRun {
    let again: Evaluation = stage.api().get("again").await.unwrap();
    again.status.unwrap().run.unwrap()
}

#[tokio::test]
async fn a_candidate_that_fails_leaves_what_serves() {
    let (stage, reference) = measured().await;
    let good = reference.digest().unwrap();
    stage.model("digits", &reference.to_string()).await;
    let evaluation = asked(&stage, good).await;
    let job = job_of(&stage, &evaluation).await;
    end(
        &stage,
        &job,
        0,
        &answer(&job, ["0.61", "0.7", "0.78"]).to_string(),
    )
    .await;
    stage.roll_out("digits", good).await;
    stage.reason("digits", "Serving").await;
    let weak = another(&stage);
    stage.ask("digits", &weak.to_string()).await;
    let evaluation = asked(&stage, weak.digest().unwrap()).await;
    let job = job_of(&stage, &evaluation).await;
    end(
        &stage,
        &job,
        0,
        &answer(&job, ["0.1", "0.15", "0.22"]).to_string(),
    )
    .await;
    stage.reason("digits", "NotRobust").await;
    let model = stage
        .until("digits", "it serves", |model| serves(model).is_some())
        .await;
    assert_eq!(serves(&model), Some(good));
}

#[tokio::test]
async fn errors_are_tried_again_and_not_for_ever() {
    let (stage, reference) = measured().await;
    let subject = reference.digest().unwrap();
    stage.model("digits", &reference.to_string()).await;
    let failure =
        json!({"reason": "NotAModel", "message": "the model has no file that ends in .onnx"}).to_string();
    let evaluation = asked(&stage, subject).await;
    let job = job_of(&stage, &evaluation).await;
    end(&stage, &job, 40, &failure).await;
    let (verdict_, message) = verdict(&stage, &evaluation).await;
    assert_eq!(verdict_, EvaluationVerdict::Error);
    assert!(
        message.contains("evaluate: the model has no file that ends in .onnx (NotAModel)"),
        "{message}"
    );
    let held = stage
        .until("digits", "it says why it waits", |model| {
            condition(model, "Ready").is_some_and(|ready| ready.message.contains("ended in an error"))
        })
        .await;
    assert_eq!(condition(&held, "Ready").unwrap().reason, "Measuring");
    assert_eq!(MAX_ERRORS, 3);
}

#[tokio::test]
async fn nobody_elses_pod_or_job_is_believed() {
    let (stage, reference) = measured().await;
    let (evaluation, job) = begun(&stage, &reference).await;
    // Somebody deletes the Job and makes another of its name, which ends well.
    jobs(&stage)
        .delete(&job.name_any(), &DeleteParams::background())
        .await
        .unwrap();
    let mut forged = Job {
        status: None,
        ..job.clone()
    };
    forged.metadata = kube::core::ObjectMeta {
        name: job.metadata.name.clone(),
        namespace: job.metadata.namespace.clone(),
        labels: job.metadata.labels.clone(),
        ..Default::default()
    };
    let spec = forged.spec.as_mut().unwrap();
    spec.selector = None;
    let labels = spec.template.metadata.as_mut().unwrap().labels.as_mut().unwrap();
    labels.retain(|key, _| {
        !key.contains("batch.kubernetes.io") && key != "controller-uid" && key != "job-name"
    });
    let _ = jobs(&stage).create(&PostParams::default(), &forged).await;
    let (found, message) = verdict(&stage, &evaluation).await;
    assert_eq!(found, EvaluationVerdict::Error, "{message}");
    assert!(
        message.contains("is gone, or another one has its name"),
        "{message}"
    );
}

#[tokio::test]
async fn a_platforms_floor_is_not_met_by_a_weaker_run() {
    let stage = Stage::new().await;
    let require = json!([{
        "name": "square", "attack": "Square", "norm": "Linf", "minEpsilon": "0.2", "minQueries": 1000,
        "minSamples": 200, "dataset": DATASET.split('@').nth(1), "lower": "0.6"
    }]);
    stage
        .change_policy(json!({"spec": {"robustness": {"require": require}}}))
        .await;
    // The model's owner measures with an attacker that may do half as much.
    apply(&stage.client, policy(&stage.namespace, &json!({}))).await;
    let reference = pushed(&stage);
    let (_, job) = begun(&stage, &reference).await;
    end(
        &stage,
        &job,
        0,
        &answer(&job, ["0.9", "0.95", "0.99"]).to_string(),
    )
    .await;
    let held = stage
        .until("digits", "it says what is missing", |model| {
            condition(model, "Ready").is_some_and(|ready| ready.message.contains("0.2 is asked for"))
        })
        .await;
    assert_eq!(condition(&held, "Ready").unwrap().reason, "Measuring");
}

#[tokio::test]
async fn what_is_refused_anyway_is_not_run() {
    let (stage, _) = measured().await;
    let unsigned = Model::plain().push(&format!("evaluations/{}", stage.namespace));
    stage.model("digits", &unsigned.to_string()).await;
    stage.reason("digits", "Unsigned").await;
    // Another model of the namespace is measured meanwhile: the policy was looked at, and asked for nothing else.
    let good = pushed(&stage);
    stage.model("letters", &good.to_string()).await;
    asked(&stage, good.digest().unwrap()).await;
    let all = stage
        .api::<Evaluation>()
        .list(&ListParams::default())
        .await
        .unwrap()
        .items;
    assert!(all.iter().all(|one| one.spec.digest == good.digest()), "{all:?}");
}

#[tokio::test]
async fn a_policy_that_nothing_could_pass_says_what_would_do() {
    let stage = Stage::new().await;
    let gate =
        json!([{"suite": "square", "metric": "robust_accuracy", "op": "AtLeast", "threshold": "0.999"}]);
    apply(&stage.client, policy(&stage.namespace, &json!({"gates": gate}))).await;
    let policy = until(
        &stage.api::<RobustnessPolicy>(),
        "robust",
        "it says what is wrong",
        |policy| {
            policy
                .status
                .as_ref()
                .is_some_and(|status| status.conditions.is_some())
        },
    )
    .await;
    let ready = policy.status.unwrap().conditions.unwrap().remove(0);
    assert_eq!(
        (ready.status.as_str(), ready.reason.as_str()),
        ("False", "PolicyInvalid")
    );
    assert!(
        ready.message.contains("200 samples cannot show 0.999"),
        "{}",
        ready.message
    );
}
