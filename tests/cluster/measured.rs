//! Models are measured before they serve: with the real evaluator, in Jobs that the operator makes, on the very content that is
//! to serve. What the operator makes of answers is tested without a cluster.

use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::{Api, ResourceExt as _};
use probity::api::v1alpha1::{Evaluation, EvaluationVerdict, MetricId, RobustnessPolicy};
use serde_json::{Value, json};

use crate::{
    bed::Bed,
    models::models,
    space::{Space, candidate},
};

fn policy(dataset: &str) -> Value {
    json!({
        "apiVersion": "probity.dev/v1alpha1", "kind": "RobustnessPolicy", "metadata": {"name": "robust"},
        "spec": {
            "dataset": {"reference": dataset, "file": "heldout.npz"},
            "samples": 200,
            "suites": [{"name": "square", "square": {"norm": "Linf", "epsilon": "0.1", "queries": 300}}],
            "gates": [
                {"suite": "square", "metric": "robust_accuracy", "op": "AtLeast", "threshold": "0.6"},
                {"suite": "square", "metric": "clean_accuracy", "op": "AtLeast", "threshold": "0.85"},
            ],
        },
    })
}

fn robust(evaluation: &Evaluation) -> (f64, f64) {
    let numbers = evaluation.status.as_ref().unwrap().measurements.as_ref().unwrap();
    let one = numbers
        .iter()
        .find(|one| one.metric == MetricId::RobustAccuracy)
        .unwrap();
    (one.lower.value(), one.upper.value())
}

async fn concluded(space: &Space, digest: &str) -> Evaluation {
    let its = |one: &Evaluation| {
        one.spec
            .digest
            .is_some_and(|subject| subject.to_string() == digest)
    };
    let all: Vec<Evaluation> = space.list("").await;
    let name = all
        .iter()
        .find(|one| its(one))
        .expect("an evaluation of this content")
        .name_any();
    space
        .until(&name, "it has a verdict", |one: &Evaluation| {
            one.status.as_ref().is_some_and(|status| status.verdict.is_some())
        })
        .await
}

/// A standard model is held, with the numbers; one that was trained against attacks goes live under the same policy.
pub async fn a_standard_model_is_held_and_one_trained_against_attacks_goes_live(bed: &'static Bed) {
    let space = Space::new(bed, "measured").await;
    let registry = &bed.node.registry;
    let dataset = models().heldout.push(registry, "data/digits", "1.0").await;
    let standard = models().digits.push(registry, "models/measured", "1.0").await;
    let trained = models()
        .digits_robust
        .push(registry, "models/measured", "2.0")
        .await;
    space.create::<RobustnessPolicy>(policy(&dataset.pinned())).await;

    space.digits(&standard.tagged).await;
    let (held, said) = space.is_not_ready("digits", "NotRobust").await;
    assert!(said.contains("wanted at least 0.6"), "{said}");
    assert_eq!(
        candidate(&held),
        Some(("NotRobust".to_owned(), Some(standard.digest.clone())))
    );
    let evaluation = concluded(&space, &standard.digest).await;
    let status = evaluation.status.clone().unwrap();
    assert_eq!(status.verdict, Some(EvaluationVerdict::Failed), "{status:?}");
    assert!(robust(&evaluation).1 < 0.6, "{status:?}");
    let pods: Vec<Pod> = space.list("").await;
    assert!(pods.is_empty(), "nothing of it ever ran in its namespace");

    // The Job had no token, no secret and no right, and measured this very content.
    let jobs: Api<Job> = Api::namespaced(bed.client.clone(), "probity-evaluations");
    let job = jobs.get(&status.job.unwrap().name).await.unwrap();
    let pod = job.spec.unwrap().template.spec.unwrap();
    assert_eq!(pod.automount_service_account_token, Some(false));
    let fetched = pod.init_containers.unwrap()[0].args.clone().unwrap().join(" ");
    assert!(fetched.contains(&standard.pinned()), "{fetched}");

    space.ask_for("digits", &trained.tagged).await;
    space.serves("digits", &trained.digest).await;
    let evaluation = concluded(&space, &trained.digest).await;
    assert_eq!(
        evaluation.status.as_ref().unwrap().verdict,
        Some(EvaluationVerdict::Passed)
    );
    assert!(robust(&evaluation).0 >= 0.6);
    space.done().await;
}
