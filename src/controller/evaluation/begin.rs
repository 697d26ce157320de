//! Settles what an evaluation runs: once, when it begins. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;

use crate::{
    api::{
        run::RunRequest,
        v1alpha1::{Evaluation, EvaluationRun, ModelDeployment, RobustnessPolicy},
    },
    evidence::{Digest, Failure, Reason, Reference},
    policy::robustness::{GateRule, Measured, confidence, request_hash},
    workload::EvaluationJobPlan,
};

use super::super::robustness::contents::contents;

/// How long a run may take when its policy does not say, in seconds.
const DEADLINE_SECONDS: u32 = 3600;

/// What settling rests on.
#[derive(Debug, Clone, Copy)]
pub struct Beginning<'a> {
    /// What was asked for.
    pub evaluation: &'a Evaluation,
    /// The model that it names, if there is one.
    pub model: Option<&'a ModelDeployment>,
    /// The policy that it names, if there is one.
    pub policy: Option<&'a RobustnessPolicy>,
    /// The runs of the namespace that have ended.
    pub runs: &'a [Measured],
    /// What decides what is drawn.
    pub seed: i64,
    /// The time.
    pub now: Timestamp,
}

/// What is run.
///
/// # Errors
/// Why it cannot be: a model or policy that is not there, content that is not the model's, or that nobody can measure.
pub fn begin(with: &Beginning<'_>) -> Result<EvaluationRun, Failure> {
    let spec = &with.evaluation.spec;
    let model = with.model.ok_or_else(|| {
        Failure::new(
            Reason::SpecInvalid,
            format!("spec.model: there is no ModelDeployment {}", spec.model),
        )
    })?;
    let policy = with.policy.ok_or_else(|| no_policy(&spec.policy))?;
    let rule = GateRule::of(policy);
    if let Some(problem) = rule.problems.first() {
        let message = format!("RobustnessPolicy {} cannot be applied: {problem}", spec.policy);
        return Err(Failure::new(Reason::PolicyInvalid, message));
    }
    let (subject, repository) = content(model, spec.digest)?;
    let dataset = pinned(&policy.spec.dataset.reference)?;
    let before = with.runs.iter().filter(|run| run.answers(&rule, subject)).count();
    Ok(EvaluationRun {
        subject,
        repository,
        dataset: dataset.1,
        minimum: policy.spec.dataset.range().0,
        maximum: policy.spec.dataset.range().1,
        policy: rule.asks,
        seed: with.seed,
        confidence: confidence(policy.spec.gates.len(), before),
        samples: policy.spec.samples,
        suites: policy.spec.suites.clone(),
        gates: policy.spec.gates.clone(),
        started: Time(with.now),
    })
}

pub(super) fn no_policy(name: &str) -> Failure {
    Failure::new(
        Reason::SpecInvalid,
        format!("spec.policy: there is no RobustnessPolicy {name}"),
    )
}

/// Which content of the model, and where it is from.
fn content(model: &ModelDeployment, wanted: Option<Digest>) -> Result<(Digest, String), Failure> {
    let no = |reason: Reason, message: String| Err(Failure::new(reason, message));
    let source = &model.spec.model.source;
    let Some(oci) = &source.oci else {
        let message = "only content from a registry is measured by this version: serve it from there";
        return no(Reason::NotMeasurable, message.into());
    };
    if oci.pull_secret.is_some() {
        let message =
            "content that needs a pull secret is not measured by this version: Jobs hold nobody's secrets";
        return no(Reason::NotMeasurable, message.into());
    }
    let status = model.status.as_ref();
    let serving = status.and_then(|status| status.serving.as_ref());
    let candidate = status.and_then(|status| status.candidate.as_ref());
    let known = candidate
        .and_then(|candidate| Some((candidate.digest?, candidate.reference.as_str())))
        .into_iter()
        .chain(serving.map(|serving| (serving.digest, serving.reference.as_str())));
    let found = match wanted {
        Some(wanted) => known.into_iter().find(|(digest, _)| *digest == wanted),
        None => known.into_iter().next(),
    };
    let Some((digest, reference)) = found else {
        let message = match wanted {
            Some(wanted) => format!(
                "spec.digest: the model neither serves nor asks for sha256:{}…",
                wanted.short()
            ),
            None => "what the model is is not known yet: make another Evaluation once it is".to_owned(),
        };
        return no(Reason::NotMeasurable, message);
    };
    if !contents(model).to_measure().contains(&digest) {
        let message = "policy refuses this content for another reason, or has not judged it yet: the model's findings say which; what is refused is not run, not even to be measured";
        return no(Reason::NotMeasurable, message.into());
    }
    let reference: Reference = reference.parse().map_err(|error| {
        Failure::new(
            Reason::MalformedReference,
            format!("the model's reference: {error}"),
        )
    })?;
    Ok((digest, reference.name()))
}

fn pinned(reference: &str) -> Result<(Reference, Digest), Failure> {
    let parsed: Reference = reference.parse().map_err(|error| {
        Failure::new(
            Reason::MalformedReference,
            format!("spec.dataset.reference: {error}"),
        )
    })?;
    let digest = parsed.digest().ok_or_else(|| {
        Failure::new(
            Reason::MalformedReference,
            "spec.dataset.reference: needs a digest, @sha256:…",
        )
    })?;
    Ok((parsed, digest))
}

/// What the evaluator is asked.
pub fn request(evaluation: &Evaluation, run: &EvaluationRun) -> RunRequest {
    RunRequest {
        evaluation: evaluation.uid().unwrap_or_default(),
        subject: run.subject,
        dataset: run.dataset,
        minimum: run.minimum,
        maximum: run.maximum,
        seed: run.seed,
        samples: run.samples,
        confidence: run.confidence,
        suites: run.suites.clone(),
    }
}

/// The Job's name: the evaluation's uid, so that no two are the same and none can be chosen.
pub fn job_name(evaluation: &Evaluation) -> String {
    format!("evaluation-{}", evaluation.uid().unwrap_or_default())
}

/// What a Job is made from, with what it borrows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    model: Reference,
    dataset: Reference,
    file: String,
    request: RunRequest,
    deadline_seconds: u32,
}

impl Made {
    /// The plan of the Job of this name.
    pub fn job<'a>(&'a self, name: &'a str, namespace: &'a str) -> EvaluationJobPlan<'a> {
        EvaluationJobPlan {
            name,
            namespace,
            model: &self.model,
            dataset: &self.dataset,
            file: &self.file,
            request: &self.request,
            deadline_seconds: self.deadline_seconds,
        }
    }
}

/// What the Job of a run is made from. The policy says where the data set lies; that it is the one that was settled, its digest
/// says.
///
/// # Errors
/// When the policy asks for something else by now.
pub fn job_plan(
    evaluation: &Evaluation,
    run: &EvaluationRun,
    policy: &RobustnessPolicy,
) -> Result<Made, Failure> {
    if request_hash(&policy.spec) != run.policy {
        let message = "the policy was changed before the run began: another one is made for what it asks now";
        return Err(Failure::new(Reason::SpecInvalid, message));
    }
    let (dataset, _) = pinned(&policy.spec.dataset.reference)?;
    let model: Reference = format!("{}@{}", run.repository, run.subject)
        .parse()
        .map_err(|error| {
            Failure::new(
                Reason::MalformedReference,
                format!("the model's reference: {error}"),
            )
        })?;
    Ok(Made {
        model,
        dataset,
        file: policy.spec.dataset.file.clone(),
        request: request(evaluation, run),
        deadline_seconds: policy.spec.deadline_seconds.unwrap_or(DEADLINE_SECONDS),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use test_case::test_case;

    use super::*;

    const WANTED: Digest = Digest::from_bytes([1; 32]);
    const SERVING: Digest = Digest::from_bytes([2; 32]);

    /// A model that asks for one content and serves another; what is asked for waits to be measured.
    fn model(change: fn(&mut Value)) -> ModelDeployment {
        let finding = |rule: &str, verdict: &str| json!({"rule": rule, "effect": "Enforce", "verdict": verdict, "message": "so it is"});
        let mut model = json!({
            "apiVersion": "probity.dev/v1alpha1", "kind": "ModelDeployment", "metadata": {"name": "digits", "namespace": "bank"},
            "spec": {"model": {"source": {"oci": {"reference": "registry.example/models/digits:2"}}}},
            "status": {
                "candidate": {"digest": WANTED, "reference": "registry.example/models/digits:2", "reason": "Measuring"},
                "serving": {
                    "digest": SERVING, "version": "1", "reference": "registry.example/models/digits:1",
                    "since": "2026-01-01T00:00:00Z", "size": 1, "files": 1, "signers": [], "signedBy": "", "verification": "v"
                },
                "findings": [finding("robustness.gates", "Wait"), finding("model.signature", "Pass")]
            }
        });
        change(&mut model);
        serde_json::from_value(model).unwrap()
    }

    fn policy() -> RobustnessPolicy {
        serde_json::from_value(json!({
            "apiVersion": "probity.dev/v1alpha1", "kind": "RobustnessPolicy", "metadata": {"name": "robust", "namespace": "bank"},
            "spec": {
                "dataset": {"reference": format!("registry.example/data@{}", Digest::from_bytes([3; 32])), "file": "heldout.npz"},
                "samples": 200,
                "suites": [{"name": "square", "square": {"norm": "Linf", "epsilon": "0.1", "queries": 1000}}],
                "gates": [{"suite": "square", "metric": "robust_accuracy", "op": "AtLeast", "threshold": "0.6"}]
            }
        }))
        .unwrap()
    }

    fn begun(model: &ModelDeployment, digest: Option<Digest>) -> Result<Digest, Reason> {
        let evaluation: Evaluation = serde_json::from_value(json!({
            "apiVersion": "probity.dev/v1alpha1", "kind": "Evaluation", "metadata": {"name": "now", "namespace": "bank"},
            "spec": {"model": "digits", "policy": "robust", "digest": digest}
        }))
        .unwrap();
        begin(&Beginning {
            evaluation: &evaluation,
            model: Some(model),
            policy: Some(&policy()),
            runs: &[],
            seed: 7,
            now: Timestamp::UNIX_EPOCH,
        })
        .map(|run| run.subject)
        .map_err(|failure| failure.reason)
    }

    #[test_case(|_| {}, None => Ok(WANTED); "what is asked for")]
    #[test_case(|_| {}, Some(SERVING) => Ok(SERVING); "what serves")]
    #[test_case(|_| {}, Some(Digest::from_bytes([9; 32])) => Err(Reason::NotMeasurable); "something else")]
    #[test_case(|model| model["status"]["findings"][1]["verdict"] = json!("Fail"), None => Err(Reason::NotMeasurable); "what policy refuses anyway")]
    #[test_case(|model| model["status"]["findings"][1]["verdict"] = json!("Wait"), None => Err(Reason::NotMeasurable); "what is not verified yet")]
    #[test_case(|model| model["status"]["findings"] = json!([]), None => Err(Reason::NotMeasurable); "what nobody judged")]
    #[test_case(|model| model["status"]["findings"][1]["verdict"] = json!("Fail"), Some(SERVING) => Ok(SERVING); "what serves beside a refused candidate")]
    #[test_case(|model| model["spec"]["model"]["source"]["oci"]["pullSecret"] = json!("regcred"), None => Err(Reason::NotMeasurable); "what needs a secret")]
    #[test_case(|model| model["spec"]["model"]["source"] = json!({"volume": {"claimName": "models"}}), None => Err(Reason::NotMeasurable); "a volume")]
    fn what_is_run(change: fn(&mut Value), digest: Option<Digest>) -> Result<Digest, Reason> {
        begun(&model(change), digest)
    }
}
