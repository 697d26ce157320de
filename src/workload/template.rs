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
    /// The pull secret mounted into the fetch container.
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
    read(&args, secret)
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
}
