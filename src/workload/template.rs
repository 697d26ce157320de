//! Which model a pod template runs, read from the arguments of its fetch container.
//! It reads what a template says; whether that is true of a pod is for [`super::differences`].

use k8s_openapi::api::core::v1::PodSpec;
use serde_json::Value;

use super::{CREDENTIALS_VOLUME, FETCH_CONTAINER};
use crate::evidence::{Digest, Reference};

/// The model a pod template runs: the one thing that decides it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningModel {
    /// The pinned reference.
    pub reference: Reference,
    /// Its digest.
    pub digest: Digest,
    /// Bytes the volume was sized for.
    pub size: u64,
    /// The pull secret by which it is read: mounted into the fetch container, or into none when a relay reads it; the
    /// node uses it for the server's image in any case.
    pub pull_secret: Option<String>,
}

/// The model that the template says it runs; none when it is no template of this operator.
pub fn running_model(pod: &PodSpec) -> Option<RunningModel> {
    let fetch = pod
        .init_containers
        .as_ref()?
        .iter()
        .find(|container| container.name == FETCH_CONTAINER)?;
    let args: Vec<_> = fetch.args.iter().flatten().map(String::as_str).collect();
    let secret = pod
        .volumes
        .iter()
        .flatten()
        .find(|volume| volume.name == CREDENTIALS_VOLUME)
        .and_then(|volume| volume.secret.as_ref()?.secret_name.as_deref());
    let pulls = pod.image_pull_secrets.iter().flatten().next();
    let secret = secret.or_else(|| Some(pulls.filter(|_| asks_relay(&args))?.name.as_str()));
    read(&args, secret)
}

/// The same of a pod's `spec` as it was sent, of which nothing else is decoded.
pub fn running_model_as_sent(spec: &Value) -> Option<RunningModel> {
    let named = |list: &str, name: &str| {
        let items = spec.get(list)?.as_array()?;
        items
            .iter()
            .find(|item| item.get("name").and_then(Value::as_str) == Some(name))
    };
    let args = named("initContainers", FETCH_CONTAINER)?
        .get("args")?
        .as_array()?;
    let args: Vec<_> = args.iter().map(Value::as_str).collect::<Option<_>>()?;
    let secret = named("volumes", CREDENTIALS_VOLUME)
        .and_then(|volume| volume.get("secret")?.get("secretName")?.as_str());
    let pulls = || spec.get("imagePullSecrets")?.get(0)?.get("name")?.as_str();
    let secret = secret.or_else(|| asks_relay(&args).then(pulls)?);
    read(&args, secret)
}

fn asks_relay(args: &[&str]) -> bool {
    args.contains(&"--relay")
}

fn read(args: &[&str], secret: Option<&str>) -> Option<RunningModel> {
    let value = |flag: &str| args.windows(2).find(|pair| pair[0] == flag).map(|pair| pair[1]);
    let reference: Reference = value("--reference")?.parse().ok()?;
    Some(RunningModel {
        digest: reference.digest()?,
        reference,
        size: value("--max-bytes")?.parse().ok()?,
        pull_secret: secret.map(ToOwned::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use test_case::test_case;

    use super::*;
    use crate::workload::samples;

    #[test_case("", json!(null), true; "the planned pod")]
    #[test_case("/volumes", json!(null), true; "without a secret")]
    #[test_case("/initContainers/0/name", json!("other"), false; "no container that fetches")]
    #[test_case("/initContainers/0/args", json!(null), false; "no arguments")]
    #[test_case("/initContainers/0/args", json!(["fetch", "--reference"]), false; "a flag without its value")]
    #[test_case("/initContainers/0/args", json!(["--reference", "registry.example/models/digits:1", "--max-bytes", "1"]), false; "not pinned")]
    #[test_case("/initContainers", json!(null), false; "no init containers")]
    fn a_pod_as_it_was_sent_runs_what_it_runs_decoded(pointer: &str, value: Value, runs: bool) {
        let mut spec = serde_json::to_value(samples::pod()).unwrap();
        if let Some(place) = spec.pointer_mut(pointer).filter(|_| !pointer.is_empty()) {
            *place = value;
        }
        let decoded = running_model(&serde_json::from_value(spec.clone()).unwrap());
        assert_eq!(decoded.is_some(), runs);
        assert_eq!(running_model_as_sent(&spec), decoded);
    }

    #[test_case(None; "without a secret")]
    #[test_case(Some("regcred"); "with one that the relay reads")]
    fn a_pod_that_asks_a_relay_runs_the_same_and_holds_no_secret(pull_secret: Option<&str>) {
        let digest = Digest::from_bytes([0xaa; 32]);
        let runs = RunningModel {
            pull_secret: pull_secret.map(ToOwned::to_owned),
            ..samples::running(digest)
        };
        let pod = samples::relayed_pod(&runs);
        assert_eq!(running_model(&pod).as_ref(), Some(&runs));
        let spec = serde_json::to_value(&pod).unwrap();
        assert_eq!(running_model_as_sent(&spec), Some(runs));
        let volumes = spec["volumes"].as_array().unwrap();
        assert!(
            volumes.iter().all(|volume| volume.get("secret").is_none()),
            "{volumes:?}"
        );
        let args = spec["initContainers"][0]["args"].to_string();
        assert!(
            !args.contains("--allow-host") && !args.contains("--credentials-file"),
            "{args}"
        );
    }
}
