//! Does a `ModelDeployment` make sense by itself, before anything is read or decided?
//! The same shapes as the schema's own rules, which files that never met an API server have not passed.

pub(super) mod network;

use std::collections::BTreeMap;

use k8s_openapi::{api::core::v1::ResourceRequirements, apimachinery::pkg::api::resource::Quantity};

use crate::{
    api::v1alpha1::{
        ModelDeploymentSpec, ModelSource, OciSource, Server, UpdateMode, VolumeSource, WorkloadRef,
    },
    evidence::{Digest, Origin, Reason, Reference},
    policy::Problem,
    workload::billionths,
};

/// The kinds whose pods can be governed.
const WORKLOADS: [(&str, &str); 5] = [
    ("apps/v1", "Deployment"),
    ("apps/v1", "StatefulSet"),
    ("apps/v1", "DaemonSet"),
    ("batch/v1", "Job"),
    ("serving.kserve.io/v1beta1", "InferenceService"),
];

/// The longest name whose derived objects still have valid names.
const MAX_NAME: usize = 52;

/// Where the model comes from, if the specification makes sense.
///
/// # Errors
/// The first field that does not, and what to write instead.
pub fn accept(spec: &ModelDeploymentSpec) -> Result<Origin, Problem> {
    let origin = accept_origin(&spec.model.source)?;
    if let Some(path) = &spec.model.mount_path {
        accept_mount_path(path)?;
    }
    match (&spec.server, &spec.workload_ref) {
        (Some(server), None) if origin.reference().is_some() => accept_server(server)?,
        (Some(_), None) => {
            let message = "needs workloadRef: with server, the model comes from a registry (oci)";
            return Err(invalid("spec.model.source", message));
        }
        (None, Some(workload)) => accept_workload(workload)?,
        _ => {
            let message = "needs exactly one of server (Probity runs it) and workloadRef (it exists already): set one of them";
            return Err(invalid("spec", message));
        }
    }
    network::accept_network(spec)?;
    Ok(origin)
}

fn accept_origin(source: &ModelSource) -> Result<Origin, Problem> {
    match (&source.oci, &source.volume, &source.mounted) {
        (Some(oci), None, None) => accept_source(oci).map(Origin::Registry),
        (None, Some(volume), None) => accept_volume(volume),
        (None, None, Some(_)) => Ok(Origin::Mounted),
        _ => {
            let message = "needs exactly one source: set one of oci, volume and mounted";
            Err(invalid("spec.model.source", message))
        }
    }
}

fn accept_volume(source: &VolumeSource) -> Result<Origin, Problem> {
    if !is_object_name(&source.claim_name) {
        let message =
            "is not the name of a PersistentVolumeClaim: lower-case letters, digits, dashes and dots";
        return Err(invalid("spec.model.source.volume.claimName", message));
    }
    if source
        .path
        .as_deref()
        .is_some_and(|path| path.len() > 512 || !path.split('/').all(is_plain))
    {
        let message = "must be a relative path of plain names, such as digits/1.2.0: no slash at either end, no . or ..";
        return Err(invalid("spec.model.source.volume.path", message));
    }
    Ok(Origin::Volume {
        claim: source.claim_name.clone(),
        path: source.path.clone(),
    })
}

fn accept_workload(workload: &WorkloadRef) -> Result<(), Problem> {
    if WORKLOADS.contains(&(workload.api_version.as_str(), workload.kind.as_str()))
        && is_object_name(&workload.name)
    {
        return Ok(());
    }
    let message = "must name a Deployment, StatefulSet or DaemonSet of apps/v1, a Job of batch/v1, or an InferenceService of serving.kserve.io/v1beta1";
    Err(invalid("spec.workloadRef", message))
}

/// A name within a path that has one spelling and does not climb.
fn is_plain(part: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    part.bytes().next().is_some_and(word) && part.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

/// Checks the name, from which the names of the objects made for the model are derived.
///
/// # Errors
/// `metadata.name`, and what to write instead.
pub fn accept_name(name: &str) -> Result<(), Problem> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let fits = name.len() <= MAX_NAME
        && name.bytes().next().is_some_and(|b| b.is_ascii_lowercase())
        && name.bytes().last().is_some_and(|b| b != b'-')
        && name.bytes().all(inner);
    if fits {
        return Ok(());
    }
    let message = format!(
        "`{name}` cannot be the name of a Service: at most {MAX_NAME} lower-case letters, digits and dashes, beginning with a letter and not ending in a dash"
    );
    Err(invalid("metadata.name", message))
}

fn invalid(field: &str, message: impl Into<String>) -> Problem {
    Problem::new(Reason::SpecInvalid, field, message)
}

fn accept_source(source: &OciSource) -> Result<Reference, Problem> {
    let field = "spec.model.source.oci.reference";
    let reference: Reference =
        source
            .reference
            .parse()
            .map_err(|error: crate::evidence::ReferenceError| {
                Problem::new(Reason::MalformedReference, field, error.to_string())
            })?;
    let follow = source.update == Some(UpdateMode::Follow);
    if follow && reference.digest().is_some() {
        let message = "Follow looks at a tag, and the reference has a digest, which never moves: leave out the digest, or update";
        return Err(invalid("spec.model.source.oci.update", message));
    }
    if let Some(seconds) = source.interval_seconds {
        let field = "spec.model.source.oci.intervalSeconds";
        if !(5..=86_400).contains(&seconds) {
            return Err(invalid(field, format!("{seconds} is not between 5 and 86400")));
        }
        if !follow {
            return Err(invalid(
                field,
                "is only for a followed tag: set update to Follow, or leave intervalSeconds out",
            ));
        }
    }
    if source
        .pull_secret
        .as_deref()
        .is_some_and(|name| !is_object_name(name))
    {
        let message = "is not the name of a Secret: lower-case letters, digits, dashes and dots";
        return Err(invalid("spec.model.source.oci.pullSecret", message));
    }
    Ok(reference)
}

fn accept_mount_path(path: &str) -> Result<(), Problem> {
    let field = "spec.model.mountPath";
    let parts = path
        .strip_prefix('/')
        .is_some_and(|rest| rest.split('/').all(is_plain));
    if !parts || path.len() > 256 {
        return Err(invalid(
            field,
            format!("`{path}` is not an absolute path of plain folder names: write one like /mnt/models"),
        ));
    }
    if is_of_the_system(path) {
        let message = format!("{path} belongs to the system: choose a folder of its own, like /mnt/models");
        return Err(invalid(field, message));
    }
    Ok(())
}

/// Folders a server needs to run: to mount over one, or into one, would change the server.
fn is_of_the_system(path: &str) -> bool {
    const WHOLE: [&str; 13] = [
        "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/run", "/sbin", "/sys",
        "/tmp", "/usr",
    ];
    let within = |folder: &str| {
        path.strip_prefix(folder)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    WHOLE.into_iter().any(within) || within("/var/run") || ["/home", "/root", "/var"].contains(&path)
}

fn is_object_name(name: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    name.len() <= 253
        && name.split('.').all(|part| {
            part.bytes().next().is_some_and(word)
                && part.bytes().last().is_some_and(word)
                && part.bytes().all(|b| word(b) || b == b'-')
        })
}

fn accept_resources(resources: &ResourceRequirements) -> Result<(), Problem> {
    let read = |field: &str, amounts: &Option<BTreeMap<String, Quantity>>| {
        let one = |(name, amount): (&String, &Quantity)| {
            let field = format!("spec.server.resources.{field}.{name}");
            let read = billionths(&amount.0);
            let message = || {
                format!(
                    "`{}` is not a quantity: write one such as 500m, 2 or 1.5Gi",
                    amount.0
                )
            };
            read.map(|amount| (name.clone(), amount))
                .ok_or_else(|| invalid(&field, message()))
        };
        amounts
            .iter()
            .flatten()
            .map(one)
            .collect::<Result<BTreeMap<_, _>, _>>()
    };
    let (limits, requests) = (
        read("limits", &resources.limits)?,
        read("requests", &resources.requests)?,
    );
    match requests
        .iter()
        .find(|(name, request)| limits.get(*name).is_some_and(|limit| limit < *request))
    {
        Some((name, _)) => Err(invalid(
            &format!("spec.server.resources.requests.{name}"),
            "asks for more than the limit allows: raise the limit or lower the request",
        )),
        None => Ok(()),
    }
}

fn accept_server(server: &Server) -> Result<(), Problem> {
    let named = |name: &str| {
        name.bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric() || b == b'[')
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._:/[]-".contains(&b))
            && !name.contains("://")
    };
    let pinned = |(name, digest): (&str, &str)| named(name) && digest.parse::<Digest>().is_ok();
    if !server.image.split_once('@').is_some_and(pinned) {
        let message = format!(
            "`{}` must be host/repository@sha256:… (a tag can change under a running model)",
            server.image
        );
        return Err(invalid("spec.server.image", message));
    }
    if server.port == 0 {
        return Err(invalid(
            "spec.server.port",
            "0 is no port: write the one the server listens on, 1 to 65535",
        ));
    }
    if let Some(replicas) = server.replicas
        && !(0..=1000).contains(&replicas)
    {
        return Err(invalid(
            "spec.server.replicas",
            format!("{replicas} is not between 0 and 1000"),
        ));
    }
    if let Some(resources) = &server.resources {
        accept_resources(resources)?;
    }
    for name in server.env.iter().flat_map(|env| env.keys()) {
        let inner = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.bytes().all(inner) {
            let message = format!(
                "no environment variable can be named `{name}`: letters, digits, `_`, `.` and `-`, no digit first"
            );
            return Err(invalid("spec.server.env", message));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use test_case::test_case;

    use super::*;

    const DIGEST: &str = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    fn with(pointer: &str, value: Value) -> Result<Origin, Problem> {
        let mut spec = json!({
            "model": {
                "source": {"oci": {"reference": "registry.example/models/digits:1", "update": "Follow", "intervalSeconds": 60, "pullSecret": "s"}},
                "mountPath": "/mnt/models",
            },
            "server": {"image": format!("registry.example/server@{DIGEST}"), "protocol": "HTTP", "port": 8080, "replicas": 1, "env": {"A_1": "b"}, "resources": {"limits": {"cpu": 1, "memory": "1Gi"}, "requests": {"cpu": "1000m"}}},
        });
        if pointer == "/workloadRef" {
            spec["workloadRef"] = value;
        } else if !pointer.is_empty() {
            *spec.pointer_mut(pointer).unwrap() = value;
        }
        accept(&serde_json::from_value(spec).unwrap())
    }

    #[test]
    fn gives_where_the_model_comes_from() {
        assert_eq!(
            with("", Value::Null).unwrap().to_string(),
            "registry.example/models/digits:1"
        );
    }

    #[test_case("/model/source", json!({}), "spec.model.source", "exactly one source"; "no source")]
    #[test_case("/model/source", json!({"mounted": {}, "volume": {"claimName": "a"}}), "spec.model.source", "exactly one source"; "two sources")]
    #[test_case("/model/source", json!({"volume": {"claimName": "a"}}), "spec.model.source", "needs workloadRef"; "a claim and a server")]
    #[test_case("/model/source", json!({"volume": {"claimName": "A_b"}}), "spec.model.source.volume.claimName", "PersistentVolumeClaim"; "no name of a claim")]
    #[test_case("/model/source", json!({"volume": {"claimName": "a", "path": "../b"}}), "spec.model.source.volume.path", "relative path"; "a path that climbs")]
    #[test_case("/model/source", json!({"volume": {"claimName": "a", "path": "/b"}}), "spec.model.source.volume.path", "relative path"; "an absolute path")]
    #[test_case("/workloadRef", json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}), "spec", "exactly one of server"; "a server and a workload")]
    #[test_case("/server", json!(null), "spec", "exactly one of server"; "neither")]
    #[test_case("/model/source/oci/reference", json!("registry.example/digits"), "spec.model.source.oci.reference", "neither tag nor digest"; "no tag")]
    #[test_case("/model/source/oci/reference", json!("https://registry.example/digits:1"), "spec.model.source.oci.reference", "scheme"; "scheme")]
    #[test_case("/model/source/oci", json!({"reference": format!("registry.example/digits@{DIGEST}"), "update": "Follow"}), "spec.model.source.oci.update", "never moves"; "a digest cannot be followed")]
    #[test_case("/model/source/oci", json!({"reference": format!("registry.example/digits:1@{DIGEST}"), "update": "Follow"}), "spec.model.source.oci.update", "never moves"; "nor a tag with a digest")]
    #[test_case("/model/source/oci/intervalSeconds", json!(1), "spec.model.source.oci.intervalSeconds", "between 5 and 86400"; "too often")]
    #[test_case("/model/source/oci/update", json!("Pinned"), "spec.model.source.oci.intervalSeconds", "set update to Follow"; "an interval for nothing")]
    #[test_case("/model/source/oci/pullSecret", json!(""), "spec.model.source.oci.pullSecret", "name of a Secret"; "empty secret")]
    #[test_case("/model/source/oci/pullSecret", json!("Reg_Cred"), "spec.model.source.oci.pullSecret", "name of a Secret"; "no name of a secret")]
    #[test_case("/model/mountPath", json!("/usr/lib/x"), "spec.model.mountPath", "belongs to the system"; "in a system folder")]
    #[test_case("/server/resources", json!({"limits": {"memory": "lots"}}), "spec.server.resources.limits.memory", "not a quantity"; "no quantity")]
    #[test_case("/server/resources", json!({"requests": {"memory": "-1Gi"}}), "spec.server.resources.requests.memory", "not a quantity"; "less than nothing")]
    #[test_case("/server/resources", json!({"limits": {"cpu": 1}, "requests": {"cpu": "1001m"}}), "spec.server.resources.requests.cpu", "raise the limit"; "more than the limit")]
    #[test_case("/server/env", json!({"1A": "b"}), "spec.server.env", "`1A`"; "an environment variable that cannot be")]
    #[test_case("/server/image", json!(format!("https://registry.example/server@{DIGEST}")), "spec.server.image", "@sha256:"; "image with a scheme")]
    #[test_case("/model/mountPath", json!("models"), "spec.model.mountPath", "absolute"; "relative path")]
    #[test_case("/model/mountPath", json!("/mnt/../etc"), "spec.model.mountPath", "plain folder names"; "climbing path")]
    #[test_case("/model/mountPath", json!("/"), "spec.model.mountPath", "plain folder names"; "root")]
    #[test_case("/model/mountPath", json!("/mnt/"), "spec.model.mountPath", "plain folder names"; "trailing slash")]
    #[test_case("/model/mountPath", json!("/etc"), "spec.model.mountPath", "belongs to the system"; "system folder")]
    #[test_case("/server/image", json!("registry.example/server:1"), "spec.server.image", "@sha256:"; "image by tag")]
    #[test_case("/server/image", json!(format!("@{DIGEST}")), "spec.server.image", "@sha256:"; "image without a name")]
    #[test_case("/server/port", json!(0), "spec.server.port", "1 to 65535"; "port zero")]
    #[test_case("/server/replicas", json!(-1), "spec.server.replicas", "between 0 and 1000"; "negative replicas")]
    fn refuses(pointer: &str, value: Value, field: &str, words: &str) {
        let problem = with(pointer, value).unwrap_err();
        assert_eq!(problem.field, field);
        assert!(problem.message.contains(words), "{problem}");
    }

    #[test_case("apps/v1", "Deployment" => true)]
    #[test_case("apps/v1", "StatefulSet" => true)]
    #[test_case("apps/v1", "DaemonSet" => true)]
    #[test_case("batch/v1", "Job" => true)]
    #[test_case("serving.kserve.io/v1beta1", "InferenceService" => true)]
    #[test_case("v1", "Pod" => false; "a pod goes back to nothing")]
    #[test_case("apps/v1", "ReplicaSet" => false; "what a Deployment makes")]
    #[test_case("batch/v1", "Deployment" => false; "of another group")]
    fn workloads(api_version: &str, kind: &str) -> bool {
        let spec = json!({
            "model": {"source": {"volume": {"claimName": "models", "path": "digits/1.2.0"}}},
            "workloadRef": {"apiVersion": api_version, "kind": kind, "name": "digits"},
        });
        accept(&serde_json::from_value(spec).unwrap()).is_ok()
    }

    #[test_case("/mnt/models" => true)]
    #[test_case("/var/models" => true)]
    #[test_case("/srv" => true)]
    #[test_case("/libs" => true)]
    #[test_case("/lib" => false)]
    #[test_case("/var" => false)]
    fn mount_paths(path: &str) -> bool {
        with("/model/mountPath", json!(path)).is_ok()
    }

    #[test_case("digits" => true)]
    #[test_case("d" => true)]
    #[test_case("digits-2" => true)]
    #[test_case("" => false)]
    #[test_case("2digits" => false)]
    #[test_case("digits-" => false)]
    #[test_case("Digits" => false)]
    #[test_case("a.b" => false)]
    #[test_case(&"a".repeat(52) => true; "52 letters")]
    #[test_case(&"a".repeat(53) => false; "53 letters")]
    fn names(name: &str) -> bool {
        accept_name(name).is_ok()
    }
}
