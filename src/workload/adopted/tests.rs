#![allow(clippy::needless_pass_by_value, reason = "rows of a table are values")]

use serde_json::json;
use test_case::test_case;

use super::*;
use crate::{api::v1alpha1::ResolvedImage, evidence::Digest, workload::samples};

fn terms() -> Terms {
    Terms {
        image: samples::settings().fetch_image,
        keys: vec!["bank/release=AAAA".into()],
        digest: None,
        refuse: vec![Digest::from_bytes([9; 32])],
    }
}

fn claim() -> Adoption {
    Adoption {
        mount_path: "/mnt/models".into(),
        source: AdoptedSource::Claim {
            claim: "models".into(),
            path: Some("digits/1".into()),
            terms: terms(),
        },
        images: Pins::default(),
    }
}

fn mounted() -> Adoption {
    Adoption {
        source: AdoptedSource::Mounted { terms: terms() },
        ..claim()
    }
}

fn registry() -> Adoption {
    Adoption {
        source: AdoptedSource::Registry(samples::running(Digest::from_bytes([0xaa; 32]))),
        ..claim()
    }
}

/// A pod as people write it: a server that reads its model from a claim, and an agent beside it.
fn pod() -> Value {
    json!({
        "containers": [
            {"name": "server", "image": "registry.example/server:1", "volumeMounts": [
                {"name": "tmp", "mountPath": "/tmp"},
                {"name": "models", "mountPath": "/mnt/models", "subPath": "digits/1"}
            ]},
            {"name": "agent", "image": "registry.example/agent:1", "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}]}
        ],
        "initContainers": [{"name": "prepare", "image": "registry.example/prepare:1", "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}]}],
        "volumes": [
            {"name": "models", "persistentVolumeClaim": {"claimName": "models"}},
            {"name": "tmp", "emptyDir": {}}
        ]
    })
}

fn with(changes: &[(&str, Value)]) -> Value {
    let mut pod = pod();
    for (pointer, value) in changes {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        match pod.pointer_mut(parent).unwrap() {
            Value::Object(fields) => drop(fields.insert(key.into(), value.clone())),
            Value::Array(items) => items.push(value.clone()),
            other => panic!("{other} has no fields"),
        }
    }
    pod
}

fn typed(pod: &Value) -> PodSpec {
    serde_json::from_value(pod.clone()).unwrap()
}

fn fitted(pod: &Value, adoption: &Adoption) -> PodSpec {
    fit(&typed(pod), adoption, &samples::settings()).unwrap()
}

fn problems(pod: &Value, adoption: &Adoption) -> Vec<String> {
    fit(&typed(pod), adoption, &samples::settings())
        .err()
        .unwrap_or_default()
}

fn judged(pod: &Value, adoption: &Adoption) -> Vec<String> {
    unfit(&typed(pod), pod, adoption, &samples::settings())
}

fn value(pod: &PodSpec) -> Value {
    serde_json::to_value(pod).unwrap()
}

#[test_case(claim(); "a claim")]
#[test_case(mounted(); "what is mounted")]
#[test_case(registry(); "a registry")]
fn fitting_makes_a_pod_that_fits_and_is_done_once(adoption: Adoption) {
    let once = fitted(&pod(), &adoption);
    assert_eq!(fitted(&value(&once), &adoption), once);
    assert_eq!(judged(&value(&once), &adoption), Vec::<String>::new());
    assert_ne!(judged(&pod(), &adoption), Vec::<String>::new());
}

#[test_case(claim(); "a claim")]
#[test_case(mounted(); "what is mounted")]
#[test_case(registry(); "a registry")]
fn what_the_api_server_fills_in_fits(adoption: Adoption) {
    let stored = samples::as_stored(&fitted(&pod(), &adoption));
    assert_eq!(judged(&value(&stored), &adoption), Vec::<String>::new());
}

/// The patch is what the API server applies, so it must come to the same pod.
#[test_case(claim(); "a claim")]
#[test_case(mounted(); "what is mounted")]
#[test_case(registry(); "a registry")]
fn the_patch_only_adds(adoption: Adoption) {
    let after = value(&fitted(&pod(), &adoption));
    let patch = additions(&pod(), &after, "");
    assert!(patch.iter().all(|one| one["op"] == "add"), "{patch:?}");
    let mut patched = pod();
    for one in patch {
        apply(&mut patched, one["path"].as_str().unwrap(), &one["value"]);
    }
    assert_eq!(value(&typed(&patched)), after);
}

/// `add` of RFC 6902.
fn apply(target: &mut Value, path: &str, value: &Value) {
    let (parent, key) = path.rsplit_once('/').unwrap();
    match target.pointer_mut(parent).unwrap() {
        Value::Object(fields) => drop(fields.insert(key.into(), value.clone())),
        Value::Array(items) => items.insert(key.parse().unwrap(), value.clone()),
        other => panic!("{other} has no members"),
    }
}

#[test]
fn the_server_finds_the_verified_copy_where_its_claim_was() {
    let pod = fitted(&pod(), &claim());
    let mounts = pod.containers[0].volume_mounts.as_ref().unwrap();
    assert_eq!(
        value_of(&mounts[1]),
        json!({"name": "probity-model", "mountPath": "/mnt/models", "readOnly": true, "subPath": ""})
    );
    assert_eq!(
        pod.containers[1].volume_mounts.as_ref().unwrap().len(),
        1,
        "the agent has no model and gets none"
    );
    assert_eq!(
        pod.init_containers.as_ref().unwrap()[0].name,
        VERIFY_CONTAINER,
        "before anything else"
    );
}

#[test]
fn kserves_download_comes_first_and_is_verified_then() {
    let downloads = json!({"name": "storage-initializer", "image": "kserve/storage-initializer:v0.15", "volumeMounts": [{"name": "models", "mountPath": "/mnt/models"}]});
    let pod = with(&[("/initContainers/-", downloads), ("/volumes/0", json!(null))]);
    let mut pod = pod;
    pod["volumes"] = json!([{"name": "models", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}]);
    pod["containers"][0]["volumeMounts"][1] =
        json!({"name": "models", "mountPath": "/mnt/models", "readOnly": true});
    let fitted = fitted(&pod, &mounted());
    let names: Vec<_> = fitted
        .init_containers
        .as_ref()
        .unwrap()
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    assert_eq!(names, ["prepare", "storage-initializer", VERIFY_CONTAINER]);
    let reads = verifier::reads(verifier::of(&fitted).unwrap()).unwrap();
    assert_eq!((reads.name.as_str(), reads.read_only), ("models", Some(true)));
    assert_eq!(
        fitted.containers[0].volume_mounts.as_ref().unwrap()[1].name,
        "probity-model"
    );
}

#[test]
fn a_server_without_a_mount_gets_one() {
    let mut pod = pod();
    pod["containers"] = json!([{"name": "server", "image": "x"}, {"name": "other", "image": "x"}]);
    for container in fitted(&pod, &registry()).containers {
        assert_eq!(
            value_of(&container.volume_mounts.unwrap()),
            json!([{"name": "probity-model", "mountPath": "/mnt/models", "readOnly": true}])
        );
    }
}

fn value_of(what: &impl serde::Serialize) -> Value {
    serde_json::to_value(what).unwrap()
}

fn mount(name: &str, path: &str) -> Value {
    json!({"name": name, "mountPath": path})
}

#[test_case("/hostNetwork", json!(true), "spec.hostNetwork"; "host network")]
#[test_case("/hostPID", json!(true), "spec.hostPID"; "host processes")]
#[test_case("/hostIPC", json!(true), "spec.hostIPC"; "host ipc")]
#[test_case("/shareProcessNamespace", json!(true), "spec.shareProcessNamespace"; "shared processes, as modelcars need")]
#[test_case("/volumes/-", json!({"name": "host", "hostPath": {"path": "/"}}), "spec.volumes[host].hostPath"; "a folder of the node")]
#[test_case("/volumes/-", json!({"name": "new", "fileOfTomorrow": {}}), "spec.volumes[new]"; "a volume of tomorrow")]
#[test_case("/volumes/-", json!({"name": "probity-model", "emptyDir": {"medium": "Memory"}}), "spec.volumes[probity-model]"; "our volume, made before")]
#[test_case("/volumes/-", json!({"name": "probity-source", "persistentVolumeClaim": {"claimName": "other"}}), "spec.volumes[probity-source]"; "our source, made before")]
#[test_case("/containers/0/securityContext", json!({"privileged": true}), "securityContext.privileged"; "privileged")]
#[test_case("/containers/1/securityContext", json!({"capabilities": {"add": ["SYS_PTRACE"]}}), "capabilities.add"; "a capability")]
#[test_case("/initContainers/0/securityContext", json!({"procMount": "Unmasked"}), "procMount"; "an unmasked proc")]
#[test_case("/containers/1/volumeMounts/0/mountPropagation", json!("Bidirectional"), "mountPropagation"; "mounts that reach the node")]
#[test_case("/containers/0/volumeMounts/-", mount("models", "/data"), "spec.containers[server].volumeMounts[models]"; "the claim once more")]
#[test_case("/containers/1/volumeMounts/-", mount("models", "/data"), "spec.containers[agent].volumeMounts[models]"; "the claim in another container")]
#[test_case("/initContainers/0/volumeMounts/-", mount("models", "/data"), "spec.initContainers[prepare].volumeMounts[models]"; "the claim before it is verified")]
#[test_case("/containers/0/volumeMounts/-", mount("tmp", "/mnt/models/digits"), "would hide a part"; "something over a part of the model")]
#[test_case("/containers/0/volumeMounts/-", mount("tmp", "/mnt/models/"), "2 of them are at /mnt/models"; "the same path, spelled otherwise")]
#[test_case("/containers/0/volumeMounts/-", mount("tmp", "//mnt/./models"), "2 of them"; "and otherwise again")]
#[test_case("/containers/0/volumeMounts/-", mount("tmp", "/mnt/x/../models"), "climbs"; "a path that climbs")]
#[test_case("/containers/1/volumeMounts/-", mount("probity-model", "/elsewhere"), "only at /mnt/models"; "the copy elsewhere")]
#[test_case("/initContainers/0/volumeMounts/-", mount("probity-model", "/mnt/models"), "only for containers that serve"; "the copy, before it is verified")]
#[test_case("/containers/1/volumeDevices", json!([{"name": "models", "devicePath": "/dev/a"}]), "volumeDevices[models]"; "the claim as a device")]
#[test_case("/containers/-", json!({"name": "probity-verify", "image": "x"}), "spec.containers[probity-verify]"; "our name beside the server")]
#[test_case("/initContainers/-", json!({"name": "probity-verify", "image": "evil", "args": ["true"]}), "Probity's own"; "our container, made before")]
fn cannot_be_mended(pointer: &str, value: Value, says: &str) {
    let found = problems(&with(&[(pointer, value)]), &claim());
    assert!(found.iter().any(|one| one.contains(says)), "{found:?}");
}

#[test]
fn a_second_volume_of_the_same_claim_is_the_same_volume() {
    let pod = with(&[
        (
            "/volumes/-",
            json!({"name": "again", "persistentVolumeClaim": {"claimName": "models", "readOnly": true}}),
        ),
        ("/containers/1/volumeMounts/-", mount("again", "/data")),
    ]);
    assert!(problems(&pod, &claim())[0].contains("spec.containers[agent].volumeMounts[again]"));
    assert!(problems(&pod, &mounted())[0].contains("spec.containers[agent].volumeMounts[again]"));
}

#[test]
fn a_second_volume_of_the_same_image_is_the_same_volume() {
    let mut pod = pod();
    let image = |name: &str| json!({"name": name, "image": {"reference": "registry.example/m:1"}});
    pod["volumes"] = json!([image("models"), image("again"), {"name": "tmp", "emptyDir": {}}]);
    assert_eq!(problems(&pod, &mounted()), Vec::<String>::new());
    pod["containers"][1]["volumeMounts"][0] = mount("again", "/data");
    assert!(problems(&pod, &mounted())[0].contains("volumeMounts[again]"));
}

#[test]
fn containers_that_mount_different_things_there_do_not_say_which_is_the_model() {
    let pod = with(&[("/containers/1/volumeMounts/-", mount("tmp", "/mnt/models"))]);
    assert!(problems(&pod, &mounted())[0].contains("different things"));
    assert_eq!(
        problems(&pod, &claim()),
        Vec::<String>::new(),
        "where the model comes from is known, and both find it there"
    );
    let pod = fitted(&pod, &claim());
    let names = pod
        .containers
        .iter()
        .map(|one| one.volume_mounts.as_ref().unwrap().last().unwrap().name.clone());
    assert_eq!(names.collect::<Vec<_>>(), ["probity-model", "probity-model"]);
}

#[test]
fn nothing_mounted_is_nothing_to_verify() {
    let mut pod = pod();
    pod["containers"][0]["volumeMounts"] = json!([]);
    assert!(problems(&pod, &mounted())[0].contains("none of them mounts anything at /mnt/models"));
}

#[test]
fn a_sidecar_that_reads_the_model_must_not_start_before_it_is_verified() {
    let sidecar = json!({"name": "side", "image": "x", "restartPolicy": "Always", "volumeMounts": [mount("models", "/mnt/models")]});
    let mut pod = value(&fitted(&with(&[("/initContainers/-", sidecar)]), &claim()));
    assert_eq!(
        judged(&pod, &claim()),
        Vec::<String>::new(),
        "verified first, it may"
    );
    pod["initContainers"].as_array_mut().unwrap().rotate_left(1);
    assert!(judged(&pod, &claim())[0].contains("starts before the model is verified"));
}

#[test]
fn what_brings_the_model_must_not_run_after_it_was_verified() {
    let mut pod = value(&fitted(&pod(), &mounted()));
    pod["initContainers"].as_array_mut().unwrap().reverse();
    assert!(judged(&pod, &mounted())[0].contains("must come after"));
}

#[test_case("/containers/0/volumeMounts/1/readOnly", json!(false), "read-only"; "writable")]
#[test_case("/containers/0/volumeMounts/1/subPath", json!("x"), "read-only"; "a part of it")]
#[test_case("/containers/0/volumeMounts/1/name", json!("models"), "read-only"; "the claim in its place")]
#[test_case("/initContainers/0/image", json!("evil"), "image"; "another verifier")]
#[test_case("/initContainers/0/args/6", json!("evil/key=BBBB"), "args"; "another key")]
#[test_case("/initContainers/0/command", json!(["true"]), "command"; "another command")]
#[test_case("/initContainers/0/restartPolicy", json!("Always"), "restartPolicy"; "a verifier nobody waits for")]
#[test_case("/initContainers/0/fieldOfTomorrow", json!(1), "fieldOfTomorrow"; "a field nobody knows")]
#[test_case("/initContainers/0/env", json!([{"name": "LD_PRELOAD", "value": "x"}]), "env"; "variables for the verifier")]
fn a_pod_that_was_changed_after_it_was_fitted_is_not_as_planned(pointer: &str, changed: Value, says: &str) {
    let mut pod = value(&fitted(&pod(), &claim()));
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match pod.pointer_mut(parent).unwrap() {
        Value::Array(items) => items[key.parse::<usize>().unwrap()] = changed,
        fields => fields[key] = changed,
    }
    let found = judged(&pod, &claim());
    assert!(found.iter().any(|one| one.contains(says)), "{found:?}");
}

#[test_case("kube-api-access-x7k2p", "/var/run/secrets/kubernetes.io/serviceaccount", true => true; "as the API server does")]
#[test_case("kube-api-access-x7k2p", "/var/run/secrets/kubernetes.io/serviceaccount", false => false; "writable")]
#[test_case("kube-api-access-x7k2p", "/source/x", true => false; "elsewhere")]
#[test_case("models", "/var/run/secrets/kubernetes.io/serviceaccount", true => false; "another volume")]
fn a_token_of_the_pods_account_may_be_mounted_into_the_verifier(
    name: &str,
    path: &str,
    read_only: bool,
) -> bool {
    let mut pod = value(&fitted(&pod(), &claim()));
    pod["volumes"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": name, "projected": {"sources": []}}));
    let mounts = pod["initContainers"][0]["volumeMounts"].as_array_mut().unwrap();
    mounts.push(json!({"name": name, "mountPath": path, "readOnly": read_only}));
    judged(&pod, &claim()).is_empty()
}

#[test]
fn what_a_verifier_was_told_can_be_read_again() {
    let wanted = Terms {
        digest: Some(Digest::from_bytes([7; 32])),
        ..terms()
    };
    let adoption = Adoption {
        source: AdoptedSource::Mounted {
            terms: wanted.clone(),
        },
        ..claim()
    };
    assert_eq!(super::terms(&fitted(&pod(), &adoption)), Some(wanted));
    assert_eq!(super::terms(&fitted(&pod(), &registry())), None, "it fetches");
    assert_eq!(super::terms(&typed(&pod())), None);
}

/// What the tags of [`pod`] were resolved to; `agent` is not known.
fn with_images(adoption: Adoption) -> Adoption {
    let known = |name: &str, n: u8| ResolvedImage {
        image: format!("registry.example/{name}:1"),
        digest: Some(Digest::from_bytes([n; 32])),
        reason: None,
        message: None,
        retained: None,
    };
    Adoption {
        images: Pins::from_iter([known("server", 1), known("prepare", 2), known("weights", 3)]),
        ..adoption
    }
}

#[test_case(claim(); "a claim")]
#[test_case(mounted(); "what is mounted")]
#[test_case(registry(); "a registry")]
fn images_that_are_known_are_pinned_by_an_addition(adoption: Adoption) {
    let adoption = with_images(adoption);
    let pod = with(&[("/containers/0/imagePullPolicy", json!("Always"))]);
    let once = fitted(&pod, &adoption);
    assert_eq!(
        once.containers[0].image,
        Some(format!(
            "registry.example/server:1@{}",
            Digest::from_bytes([1; 32])
        ))
    );
    assert_eq!(once.containers[0].image_pull_policy.as_deref(), Some("Always"));
    assert_eq!(
        once.containers[1].image.as_deref(),
        Some("registry.example/agent:1")
    );
    assert_eq!(fitted(&value(&once), &adoption), once, "and once is enough");
    assert_eq!(judged(&value(&once), &adoption), Vec::<String>::new());
    let patch = additions(&pod, &value(&once), "");
    assert!(patch.iter().all(|one| one["op"] == "add"), "{patch:?}");
    let mut patched = pod;
    for one in patch {
        apply(&mut patched, one["path"].as_str().unwrap(), &one["value"]);
    }
    assert_eq!(typed(&patched), once);
}

#[test]
fn a_pod_whose_image_is_not_pinned_is_told_which() {
    let mut pod = value(&fitted(&pod(), &claim()));
    pod["initContainers"][1]["image"] = json!(format!(
        "registry.example/prepare:1@{}",
        Digest::from_bytes([2; 32])
    ));
    assert_eq!(
        judged(&pod, &claim()),
        Vec::<String>::new(),
        "nobody knows better"
    );
    let found = judged(&pod, &with_images(claim()));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with("spec.containers[server].image: "),
        "{found:?}"
    );
}

/// The model from an image volume, and the same image once more beside it under another spelling.
#[test_case(json!({"reference": "registry.example/weights:1"}) => true; "the same tag")]
#[test_case(json!({"reference": format!("registry.example/weights:1@{}", Digest::from_bytes([3; 32]))}) => true; "pinned")]
#[test_case(json!({"reference": format!("mirror.example/w@{}", Digest::from_bytes([3; 32]))}) => true; "the same content elsewhere")]
#[test_case(json!({"reference": "registry.example/other:1"}) => false; "another image")]
fn two_spellings_of_one_image_are_one_volume(second: Value) -> bool {
    let mut pod = pod();
    pod["volumes"] = json!([
        {"name": "models", "image": {"reference": "registry.example/weights:1"}},
        {"name": "tmp", "image": second}
    ]);
    pod["containers"][0]["volumeMounts"][1] = json!({"name": "models", "mountPath": "/mnt/models"});
    pod["initContainers"] = json!([]);
    let found = problems(&pod, &with_images(mounted()));
    found.iter().any(|problem| problem.contains("volumeMounts[tmp]"))
}

#[test]
fn a_verifier_that_asks_a_relay_brings_a_token_and_no_secret() {
    let adoption = Adoption {
        source: AdoptedSource::Registry(crate::workload::RunningModel {
            pull_secret: Some("regcred".into()),
            ..samples::running(Digest::from_bytes([0xaa; 32]))
        }),
        ..claim()
    };
    let fitted = fit(&typed(&pod()), &adoption, &samples::relayed()).unwrap();
    let volumes: Vec<_> = fitted
        .volumes
        .iter()
        .flatten()
        .map(|volume| volume.name.as_str())
        .collect();
    assert!(volumes.contains(&"probity-relay"), "{volumes:?}");
    assert!(!volumes.contains(&"probity-credentials"), "{volumes:?}");
    let raw = serde_json::to_value(&fitted).unwrap();
    assert_eq!(
        unfit(&fitted, &raw, &adoption, &samples::relayed()),
        Vec::<String>::new()
    );
    assert!(!unfit(&fitted, &raw, &adoption, &samples::settings()).is_empty());
}
