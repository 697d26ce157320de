//! One evaluation: fixes what is run, has one Job run it, and writes down what came of it.
//! What numbers come to is decided by [`policy::robustness`](crate::policy::robustness); an answer is believed only of the very
//! Job that was made, in a namespace that nobody else can make pods in.

#![expect(
    clippy::disallowed_types,
    reason = "the edge: here the client is made, gathered with, and handed to cluster"
)]

mod begin;
mod result;
mod status;

use std::{sync::Arc, time::Duration};

use aws_lc_rs::rand;
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::{
    Api, Client, ResourceExt as _, api::ListParams, core::DeserializeGuard, runtime::controller::Action,
};

use crate::{
    api::{
        FIELD_MANAGER,
        v1alpha1::{
            Evaluation, EvaluationJob, EvaluationRun, EvaluationStatus, ModelDeployment, RobustnessPolicy,
        },
    },
    cluster::{Created, create, patch_status},
    evidence::{Failure, Reason},
    policy::robustness::Measured,
    workload::{EVALUATION_COMPONENT, evaluation_job},
};

use super::{Context, Error, controller, pages::all, readable, world::Guarded};
pub use begin::{Beginning, begin, job_name, job_plan, request};
pub use result::{Progress, progress};
pub use status::{ended, running, waiting};

/// So many objects are read at a time.
const PAGE: u32 = 250;
/// How often a run is looked at. Jobs of another namespace are not watched: there are few, and they last minutes.
const LOOK: Duration = Duration::from_secs(2);
/// How often whoever waits for others looks whether it is its turn.
const TURN: Duration = Duration::from_secs(5);
/// How soon the next step of a beginning is made.
const AT_ONCE: Duration = Duration::from_millis(10);

/// Runs until `stop` resolves.
pub async fn run(
    client: Client,
    context: Arc<Context>,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) {
    let (controller, observer) = controller::<Evaluation>(client, &context);
    observer.run(controller, reconcile, context, stop).await;
}

async fn reconcile(evaluation: Arc<Guarded<Evaluation>>, context: Arc<Context>) -> Result<Action, Error> {
    let seen = readable(&evaluation)?;
    let namespace = seen.namespace().unwrap_or_default();
    let api: Api<Evaluation> = context.api(&namespace);
    // Read live: what a watch shows may lack the seed or the Job that was written a moment ago.
    let evaluation = api
        .get_opt(&seen.name_any())
        .await
        .map_err(|source| Error::Gather {
            what: "the evaluation",
            source,
        })?
        .filter(|evaluation| {
            evaluation.uid() == seen.uid() && evaluation.metadata.deletion_timestamp.is_none()
        });
    let Some(evaluation) = evaluation else {
        return Ok(Action::await_change());
    };
    let old = evaluation.status.clone().unwrap_or_default();
    if old.verdict.is_some() {
        return Ok(Action::await_change());
    }
    let (new, next) = Box::pin(look(&context, &namespace, &evaluation, &old)).await?;
    patch_status(&api, &evaluation, FIELD_MANAGER, evaluation.status.as_ref(), &new).await?;
    context.succeeded(&evaluation);
    Ok(next)
}

/// One look at a run that has no end: what its status is then, and when the next look is due.
async fn look(
    context: &Context,
    namespace: &str,
    evaluation: &Evaluation,
    old: &EvaluationStatus,
) -> Result<(EvaluationStatus, Action), Error> {
    let now = context.now();
    let again = Action::requeue(LOOK);
    let Some(place) = context.settings.evaluations.as_deref() else {
        let message = "the operator measures nothing: set evaluation.enabled in its chart";
        return Ok((
            waiting(old, message, now),
            Action::requeue(Duration::from_secs(60)),
        ));
    };
    let jobs: Api<Job> = context.api(place);
    let Some(begun) = &old.run else {
        let others = under_way(&jobs).await?;
        if others >= context.settings.evaluations_at_once {
            let message = format!("{others} others are running, and no more do at once");
            return Ok((waiting(old, &message, now), Action::requeue(TURN)));
        }
        return Ok(match beginning(context, namespace, evaluation).await? {
            // The seed is written down before anything runs: a run that is begun again is the same run.
            Ok(run) => {
                let begun = EvaluationStatus {
                    run: Some(run),
                    ..old.clone()
                };
                (
                    running(&begun, "what is run is settled", now),
                    Action::requeue(AT_ONCE),
                )
            }
            Err(failure) => (ended(old, Err(&failure), &[], now), Action::await_change()),
        });
    };
    let Some(known) = &old.job else {
        let policy = policy(context, namespace, &evaluation.spec.policy).await?;
        let plan = match policy.as_ref().map(|policy| job_plan(evaluation, begun, policy)) {
            Some(Ok(plan)) => plan,
            Some(Err(failure)) => return Ok((ended(old, Err(&failure), &[], now), Action::await_change())),
            None => {
                let failure = begin::no_policy(&evaluation.spec.policy);
                return Ok((ended(old, Err(&failure), &[], now), Action::await_change()));
            }
        };
        let name = job_name(evaluation);
        let desired = evaluation_job(&plan.job(&name, place), &context.settings.pods());
        return Ok(match create(&jobs, &desired).await? {
            Created::Done(job) => {
                let job = EvaluationJob {
                    name,
                    uid: job.uid().unwrap_or_default(),
                };
                let new = EvaluationStatus {
                    job: Some(job),
                    ..old.clone()
                };
                (running(&new, "its Job was made", now), again)
            }
            // Whoever made it, its uid was not written down: it is not known to be this run's, and nothing it says is believed.
            Created::Exists => {
                let message = format!(
                    "a Job {name} is there already: it is not known to be this run's, and another run is made"
                );
                let failure = Failure::new(Reason::EvaluationFailed, message);
                (ended(old, Err(&failure), &[], now), Action::await_change())
            }
        });
    };
    let job = read(&jobs, &known.name).await?;
    let pods: Api<Pod> = context.api(place);
    let labelled = ListParams::default().labels(&format!("batch.kubernetes.io/controller-uid={}", known.uid));
    let pods = pods
        .list(&labelled)
        .await
        .map_err(|source| Error::Gather {
            what: "the pods of the evaluation's Job",
            source,
        })?
        .items;
    let asked = request(evaluation, begun);
    Ok(
        match progress(job.as_ref(), known, &pods, &asked, &context.settings.fetch_image) {
            Progress::Running(what) => (running(old, &what, now), again),
            Progress::Answered(answer) => {
                (ended(old, Ok(&answer), &begun.gates, now), Action::await_change())
            }
            Progress::Failed(failure) => (ended(old, Err(&failure), &[], now), Action::await_change()),
        },
    )
}

/// Settles what is run.
async fn beginning(
    context: &Context,
    namespace: &str,
    evaluation: &Evaluation,
) -> Result<Result<EvaluationRun, Failure>, Error> {
    let models: Api<DeserializeGuard<ModelDeployment>> = context.api(namespace);
    let model = models
        .get_opt(&evaluation.spec.model)
        .await
        .map_err(|source| Error::Gather {
            what: "the model",
            source,
        })?
        .and_then(|model| model.0.ok());
    let policy = policy(context, namespace, &evaluation.spec.policy).await?;
    let evaluations: Api<DeserializeGuard<Evaluation>> = context.api(namespace);
    let runs = all(&evaluations, "the evaluations", ListParams::default().limit(PAGE)).await?;
    let runs: Vec<Measured> = runs
        .iter()
        .filter_map(|one| one.0.as_ref().ok())
        .filter_map(Measured::of)
        .collect();
    let mut seed = [0; 8];
    if rand::fill(&mut seed).is_err() {
        return Ok(Err(Failure::new(
            Reason::Internal,
            "this machine has no random numbers",
        )));
    }
    Ok(begin(&Beginning {
        evaluation,
        model: model.as_ref(),
        policy: policy.as_ref(),
        runs: &runs,
        seed: i64::from_le_bytes(seed),
        now: context.now(),
    }))
}

async fn policy(context: &Context, namespace: &str, name: &str) -> Result<Option<RobustnessPolicy>, Error> {
    let policies: Api<DeserializeGuard<RobustnessPolicy>> = context.api(namespace);
    let policy = policies.get_opt(name).await.map_err(|source| Error::Gather {
        what: "the policy",
        source,
    })?;
    Ok(policy.and_then(|policy| policy.0.ok()))
}

async fn read(jobs: &Api<Job>, name: &str) -> Result<Option<Job>, Error> {
    jobs.get_opt(name).await.map_err(|source| Error::Gather {
        what: "the evaluation's Job",
        source,
    })
}

/// How many evaluations run.
async fn under_way(jobs: &Api<Job>) -> Result<usize, Error> {
    let (key, value) = EVALUATION_COMPONENT;
    let labelled = ListParams::default()
        .labels(&format!("{key}={value}"))
        .limit(PAGE);
    let jobs = all(jobs, "the Jobs of evaluations", labelled).await?;
    Ok(jobs.iter().filter(|job| result::ended(job).is_none()).count())
}
