//! What a run's Job and its pods say: that it runs, what it answered, or why it did not. Pure.
//! An answer counts only from the one pod that this very Job made, with the images that were asked for, and to the question
//! that was asked: a Job or pod of that name, with those labels, made by somebody else, says nothing.

use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{ContainerState, ContainerStateTerminated, ContainerStatus, Pod},
};
use kube::ResourceExt as _;

use crate::{
    api::{
        run::{RunAnswer, RunRequest},
        v1alpha1::EvaluationJob,
    },
    cluster::is_controlled_by,
    evidence::{Failure, Reason},
    workload::{EVALUATE_CONTAINER, EVALUATION_FETCHES},
};

/// How far a run is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// It goes on; what it does.
    Running(String),
    /// It came to numbers.
    Answered(RunAnswer),
    /// It came to none.
    Failed(Failure),
}

/// Whether a Job has ended, and if so, whether well.
pub(super) fn ended(job: &Job) -> Option<Result<(), String>> {
    let conditions = job
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions
        .filter(|condition| condition.status == "True")
        .find_map(|condition| match condition.type_.as_str() {
            "Complete" => Some(Ok(())),
            "Failed" => {
                let reason = condition.reason.as_deref().unwrap_or_default();
                let message = condition.message.as_deref().unwrap_or_default();
                Some(Err(format!("{reason}: {message}")))
            }
            _ => None,
        })
}

/// Reads how far the run is that this Job was made for.
pub fn progress(
    job: Option<&Job>,
    known: &EvaluationJob,
    pods: &[Pod],
    asked: &RunRequest,
    image: &str,
) -> Progress {
    let failed = |message: String| Progress::Failed(Failure::new(Reason::EvaluationFailed, message));
    let Some(job) = job.filter(|job| job.uid().as_deref() == Some(&known.uid)) else {
        return failed(format!(
            "the Job {} is gone, or another one has its name: it was deleted, or lost with its node",
            known.name
        ));
    };
    let its: Vec<&Pod> = pods
        .iter()
        .filter(|pod| is_controlled_by(*pod, &known.uid))
        .collect();
    match ended(job) {
        None => Progress::Running(doing(&its)),
        Some(Err(why)) => failed(its.iter().find_map(|pod| failure(pod)).unwrap_or(why)),
        Some(Ok(())) => {
            let done = its
                .iter()
                .filter(|pod| phase(pod) == "Succeeded")
                .collect::<Vec<_>>();
            let [pod] = done[..] else {
                return failed(format!(
                    "{} pods of the Job {} ended well, and one was to: what they say is not believed",
                    done.len(),
                    known.name
                ));
            };
            match answer(pod, asked, image) {
                Ok(answer) => Progress::Answered(answer),
                Err(failure) => Progress::Failed(failure),
            }
        }
    }
}

fn answer(pod: &Pod, asked: &RunRequest, image: &str) -> Result<RunAnswer, Failure> {
    let no = |message: &str| Err(Failure::new(Reason::EvaluationFailed, message));
    let spec = pod.spec.clone().unwrap_or_default();
    let init = spec.init_containers.unwrap_or_default();
    let mut containers = init.iter().chain(&spec.containers);
    let named = init.iter().map(|one| one.name.as_str()).eq(EVALUATION_FETCHES)
        && matches!(&spec.containers[..], [only] if only.name == EVALUATE_CONTAINER);
    if !named
        || containers.any(|one| one.image.as_deref() != Some(image))
        || spec.ephemeral_containers.is_some()
    {
        return no(
            "the pod runs other containers or images than were asked for: something changes pods in the namespace of evaluations",
        );
    }
    let said = terminated(pod, EVALUATE_CONTAINER).and_then(|state| state.message.as_deref());
    let Some(said) = said else {
        return no("the evaluator ended well and said nothing");
    };
    let answer = RunAnswer::read(said.trim_end())?;
    if !answer.answers(asked) {
        return no("the evaluator answered another question than it was asked");
    }
    Ok(answer)
}

/// What the pod is doing.
fn doing(pods: &[&Pod]) -> String {
    let Some(pod) = pods.first() else {
        return "its pod is not made yet".to_owned();
    };
    let unscheduled = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten())
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
    if let Some(condition) = unscheduled {
        return format!(
            "its pod finds no node: {}",
            condition.message.as_deref().unwrap_or_default()
        );
    }
    let waits = |status: &ContainerStatus| -> Option<String> {
        let waiting = status.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref()?;
        // These pass by themselves.
        (!["PodInitializing", "ContainerCreating"].contains(&reason)).then(|| {
            format!(
                "{} waits: {reason}: {}",
                status.name,
                waiting.message.as_deref().unwrap_or_default()
            )
        })
    };
    if let Some(waits) = statuses(pod).find_map(waits) {
        return waits;
    }
    let runs = |name: &str| state(pod, name).is_some_and(|state| state.running.is_some());
    match () {
        () if runs(EVALUATION_FETCHES[0]) => "it fetches the model".to_owned(),
        () if runs(EVALUATION_FETCHES[1]) => "it fetches the data set".to_owned(),
        () if runs(EVALUATE_CONTAINER) => "it measures".to_owned(),
        () => "its pod starts".to_owned(),
    }
}

/// Why the pod failed, in the words of the container that did.
fn failure(pod: &Pod) -> Option<String> {
    let of = |name: &&str| {
        let ended = terminated(pod, name).filter(|ended| ended.exit_code != 0)?;
        let said = ended.message.as_deref().and_then(|said| {
            let failure: Option<Failure> = serde_json::from_str(said.trim_end()).ok();
            failure.map(|failure| format!("{} ({})", failure.message, failure.reason))
        });
        let why = said.unwrap_or_else(|| match ended.reason.as_deref() {
            Some("OOMKilled") => "it needed more memory than its container may have".to_owned(),
            reason => format!(
                "it ended with exit code {}{}",
                ended.exit_code,
                reason.map(|reason| format!(" ({reason})")).unwrap_or_default()
            ),
        });
        Some(format!("{name}: {why}"))
    };
    let all = [EVALUATION_FETCHES[0], EVALUATION_FETCHES[1], EVALUATE_CONTAINER];
    all.iter().find_map(of)
}

fn phase(pod: &Pod) -> &str {
    let status = pod.status.as_ref();
    status
        .and_then(|status| status.phase.as_deref())
        .unwrap_or_default()
}

fn statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.as_ref();
    let init = status.and_then(|status| status.init_container_statuses.as_deref());
    let main = status.and_then(|status| status.container_statuses.as_deref());
    init.unwrap_or_default().iter().chain(main.unwrap_or_default())
}

fn state<'a>(pod: &'a Pod, name: &str) -> Option<&'a ContainerState> {
    statuses(pod).find(|status| status.name == name)?.state.as_ref()
}

fn terminated<'a>(pod: &'a Pod, name: &str) -> Option<&'a ContainerStateTerminated> {
    state(pod, name)?.terminated.as_ref()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use test_case::test_case;

    use super::*;
    use crate::evidence::Digest;

    const IMAGE: &str =
        "registry.example/probity@sha256:1111111111111111111111111111111111111111111111111111111111111111";

    fn known() -> EvaluationJob {
        EvaluationJob {
            name: "evaluation-1".into(),
            uid: "job-uid".into(),
        }
    }

    fn asked() -> RunRequest {
        serde_json::from_value(json!({
            "evaluation": "eval-uid", "subject": Digest::from_bytes([1; 32]), "dataset": Digest::from_bytes([2; 32]),
            "minimum": "0", "maximum": "1", "seed": 7, "samples": 200, "confidence": "0.975",
            "suites": [{"name": "square", "square": {"norm": "Linf", "epsilon": "0.1", "queries": 1000}}]
        }))
        .unwrap()
    }

    fn said() -> String {
        let asked = serde_json::to_value(asked()).unwrap();
        let number = json!({"suite": "square", "metric": "robust_accuracy", "value": "0.6", "lower": "0.5", "upper": "0.7", "n": 200});
        serde_json::from_value::<RunAnswer>(json!({
            "evaluation": asked["evaluation"], "subject": asked["subject"], "dataset": asked["dataset"],
            "seed": 7, "rows": 9, "errors": 0, "numbers": [number]
        }))
        .unwrap()
        .line()
        .unwrap()
    }

    fn job(condition: Option<(&str, &str)>) -> Job {
        let conditions: Vec<_> = condition
            .map(|(kind, message)| json!({"type": kind, "status": "True", "reason": "BackoffLimitExceeded", "message": message}))
            .into_iter()
            .collect();
        serde_json::from_value(json!({
            "metadata": {"name": "evaluation-1", "uid": "job-uid"}, "status": {"conditions": conditions}
        }))
        .unwrap()
    }

    fn pod() -> Value {
        let container = |name: &str| json!({"name": name, "image": IMAGE});
        let ended = |name: &str, code: i32, message: Option<&str>| {
            json!({
                "name": name, "image": IMAGE, "imageID": "", "ready": false, "restartCount": 0,
                "state": {"terminated": {"exitCode": code, "message": message}}
            })
        };
        json!({
            "metadata": {
                "name": "evaluation-1-x", "uid": "pod-uid",
                "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "evaluation-1", "uid": "job-uid", "controller": true}]
            },
            "spec": {
                "initContainers": [container("fetch-model"), container("fetch-dataset")],
                "containers": [container("evaluate")]
            },
            "status": {
                "phase": "Succeeded",
                "initContainerStatuses": [ended("fetch-model", 0, None), ended("fetch-dataset", 0, None)],
                "containerStatuses": [ended("evaluate", 0, Some(&said()))]
            }
        })
    }

    fn of(job: Option<&Job>, pods: &[Value]) -> Progress {
        let pods: Vec<Pod> = pods
            .iter()
            .map(|pod| serde_json::from_value(pod.clone()).unwrap())
            .collect();
        progress(job, &known(), &pods, &asked(), IMAGE)
    }

    fn refusal(progress: Progress) -> String {
        let Progress::Failed(failure) = progress else {
            panic!("{progress:?}")
        };
        assert_eq!(failure.reason, Reason::EvaluationFailed, "{}", failure.message);
        failure.message
    }

    #[test]
    fn the_one_pod_of_the_job_is_believed() {
        let Progress::Answered(answer) = of(Some(&job(Some(("Complete", "")))), &[pod()]) else {
            panic!()
        };
        assert_eq!(answer.line().unwrap(), said());
    }

    #[test_case(|pod| pod["metadata"]["ownerReferences"][0]["uid"] = json!("another"), "0 pods"; "of another Job of that name")]
    #[test_case(|pod| pod["metadata"]["ownerReferences"][0]["controller"] = json!(false), "0 pods"; "that the Job does not control")]
    #[test_case(|pod| pod["status"]["phase"] = json!("Failed"), "0 pods"; "that failed")]
    #[test_case(|pod| pod["spec"]["containers"][0]["image"] = json!("registry.example/liar:1"), "other containers"; "that runs another image")]
    #[test_case(|pod| pod["spec"]["initContainers"][1]["image"] = json!("registry.example/liar:1"), "other containers"; "whose data another image brought")]
    #[test_case(|pod| pod["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "more", "image": IMAGE})), "other containers"; "with a container more")]
    #[test_case(|pod| pod["spec"]["ephemeralContainers"] = json!([{"name": "debug", "image": IMAGE}]), "other containers"; "that somebody looked into")]
    #[test_case(|pod| pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"] = json!(null), "said nothing"; "that said nothing")]
    #[test_case(|pod| pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"] = json!(said().replace("eval-uid", "other")), "another question"; "that answered another question")]
    fn a_pod_is_not_believed(change: fn(&mut Value), why: &str) {
        let mut pod = pod();
        change(&mut pod);
        let message = refusal(of(Some(&job(Some(("Complete", "")))), &[pod]));
        assert!(message.contains(why), "{message}");
    }

    #[test]
    fn an_answer_that_was_cut_is_none() {
        let mut pod = pod();
        let cut = &said()[..100];
        pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"] = json!(cut);
        let Progress::Failed(failure) = of(Some(&job(Some(("Complete", "")))), &[pod]) else {
            panic!()
        };
        assert!(failure.message.contains("cannot be read"), "{}", failure.message);
    }

    #[test]
    fn two_pods_that_ended_well_are_one_too_many() {
        let message = refusal(of(Some(&job(Some(("Complete", "")))), &[pod(), pod()]));
        assert!(message.contains("2 pods"), "{message}");
    }

    #[test]
    fn a_job_that_took_the_name_is_not_the_one() {
        let mut other = job(Some(("Complete", "")));
        other.metadata.uid = Some("another".into());
        assert!(refusal(of(Some(&other), &[pod()])).contains("is gone"));
        assert!(refusal(of(None, &[pod()])).contains("is gone"));
    }

    #[test]
    fn a_failed_run_says_why() {
        let failed = job(Some(("Failed", "Job has reached the specified backoff limit")));
        assert!(refusal(of(Some(&failed), &[])).contains("BackoffLimitExceeded"));
        let mut fetched = pod();
        fetched["status"]["phase"] = json!("Failed");
        fetched["status"]["initContainerStatuses"][1]["state"]["terminated"] = json!({
            "exitCode": 20, "message": "{\"reason\":\"DigestMismatch\",\"message\":\"the layer differs\"}"
        });
        let message = refusal(of(Some(&failed), &[fetched.clone()]));
        assert_eq!(message, "fetch-dataset: the layer differs (DigestMismatch)");
        let mut killed = pod();
        killed["status"]["containerStatuses"][0]["state"]["terminated"] =
            json!({"exitCode": 137, "reason": "OOMKilled"});
        assert!(refusal(of(Some(&failed), &[killed])).contains("more memory"));
    }

    #[test_case(json!({}), "its pod starts"; "just made")]
    #[test_case(json!({"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"}]}), "its pod finds no node: 0/1 nodes are available"; "no place")]
    fn what_it_does_is_said(status: Value, what: &str) {
        let mut pod = pod();
        pod["status"] = status;
        assert_eq!(of(Some(&job(None)), &[pod]), Progress::Running(what.into()));
    }
}
