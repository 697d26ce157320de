#![allow(clippy::needless_pass_by_value, reason = "rows of a table are values")]

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Pod, PodSpec};
use kube::ResourceExt as _;
use serde_json::{Value, json};
use test_case::test_case;

use super::{
    samples::{Standard, changed, standard},
    *,
};

fn all(pod: &Pod) -> Vec<Lack> {
    let spec = pod.spec.as_ref().unwrap();
    let mut found = lacks(spec, pod.annotations());
    found.extend(unpinned(spec));
    found
}

fn paths(pod: &Pod) -> Vec<String> {
    all(pod).iter().map(Lack::path).collect()
}

fn sound() -> PodSpec {
    changed(&standard().sound, &BTreeMap::new()).spec.unwrap()
}

#[test]
fn a_sound_pod_lacks_nothing() {
    assert_eq!(all(&changed(&standard().sound, &BTreeMap::new())), []);
}

#[test]
fn every_row_is_told_by_its_field() {
    let Standard { sound, rows } = standard();
    for row in rows {
        let found = paths(&changed(&sound, &row.set));
        assert!(
            found.contains(&row.field),
            "{}: {}: {found:?}",
            row.control,
            row.what
        );
    }
}

/// Pod Security Standards, `restricted` of v1.33 with what it takes over from `baseline`.
#[test]
fn every_control_of_the_standard_has_a_row() {
    let rows = standard().rows;
    let controls: BTreeSet<_> = rows.iter().map(|row| row.control.as_str()).collect();
    let wanted = [
        "HostProcess",
        "Host Namespaces",
        "Privileged Containers",
        "Capabilities",
        "HostPath Volumes",
        "Host Ports",
        "AppArmor",
        "SELinux",
        "/proc Mount Type",
        "Seccomp",
        "Sysctls",
        "Volume Types",
        "Privilege Escalation",
        "Running as Non-root",
        "Running as Non-root user",
        "beyond",
    ];
    assert_eq!(controls, wanted.into());
}

#[test_case(json!({"/spec/containers/0/securityContext/capabilities/add": ["NET_BIND_SERVICE"]}); "the one capability that may be added")]
#[test_case(json!({"/spec/securityContext/sysctls": [{"name": "net.ipv4.ping_group_range", "value": "0 0"}]}); "a safe sysctl")]
#[test_case(json!({"/spec/securityContext/seLinuxOptions": {"type": "container_kvm_t", "level": "s0"}}); "a type of SELinux for containers")]
#[test_case(json!({"/spec/securityContext/seccompProfile": {"type": "Localhost", "localhostProfile": "a.json"}}); "a profile of the node")]
#[test_case(json!({"/spec/volumes/-": {"name": "token", "projected": {"sources": []}}}); "a projected volume")]
#[test_case(json!({"/spec/containers/0/resources": null, "/spec/initContainers/0/resources": null, "/spec/resources": {"limits": {"memory": "1Gi"}}}); "a limit for the pod as a whole")]
#[test_case(json!({"/spec/os": {"name": "linux"}}); "Linux by name")]
#[test_case(json!({"/spec/runtimeClassName": "kata"}); "a runtime")]
fn may_be(set: Value) {
    let set: BTreeMap<String, Value> = serde_json::from_value(set).unwrap();
    assert_eq!(all(&changed(&standard().sound, &set)), []);
}

#[test]
fn of_another_system_only_that_is_told() {
    let set = [("/spec/os".to_owned(), json!({"name": "windows"}))].into();
    assert_eq!(paths(&changed(&standard().sound, &set)), ["spec.os.name"]);
}

#[test]
fn an_ephemeral_container_is_asked_all_but_limits() {
    let bare = json!([{"name": "debug", "image": "busybox"}]);
    let set = [("/spec/ephemeralContainers".to_owned(), bare)].into();
    let found = paths(&changed(&standard().sound, &set));
    let wanted = [
        "securityContext.allowPrivilegeEscalation",
        "securityContext.readOnlyRootFilesystem",
        "securityContext.capabilities.drop",
        "image",
    ];
    assert_eq!(
        found,
        wanted.map(|field| format!("spec.ephemeralContainers[debug].{field}"))
    );
}

/// A pod as most are written, and what is left for its author.
#[test]
fn what_cannot_be_added_is_told_in_one_sentence() {
    let image = &sound().containers[0].image.clone().unwrap();
    let bare: PodSpec = serde_json::from_value(json!({
        "initContainers": [{"name": "download", "image": image}],
        "containers": [{"name": "server", "image": image}, {"name": "agent", "image": image, "securityContext": {"runAsUser": 1000}}]
    }))
    .unwrap();
    insta::assert_snapshot!(sentence(&lacks(&with_defaults(&bare), &BTreeMap::new())));
}

#[test]
fn a_sentence_stays_short_and_counts_the_rest() {
    let mut pod = sound();
    pod.containers = (0..400)
        .map(|n| k8s_openapi::api::core::v1::Container {
            name: format!("server-{n}-{}", "x".repeat(100)),
            ..pod.containers[0].clone()
        })
        .collect();
    for one in &mut pod.containers {
        one.security_context = None;
        one.image = Some("y".repeat(10_000));
    }
    let mut found = lacks(&pod, &BTreeMap::new());
    found.extend(unpinned(&pod));
    let text = sentence(&found);
    assert!(text.len() < LONGEST + 30, "{}", text.len());
    assert!(text.ends_with(" more"), "{text}");
}

fn spec(value: Value) -> PodSpec {
    serde_json::from_value(value).unwrap()
}

fn keeps(before: &Value, after: &Value) -> bool {
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => old
            .iter()
            .all(|(key, value)| new.get(key).is_some_and(|new| keeps(value, new))),
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            old.iter().zip(new).all(|(old, new)| keeps(old, new))
        }
        _ => before == after,
    }
}

#[test_case(json!({"containers": [{"name": "a"}]}); "nothing is said")]
#[test_case(json!({"containers": [{"name": "a", "securityContext": {"runAsUser": 0}}]}); "root")]
#[test_case(json!({"containers": [{"name": "a", "securityContext": {"privileged": true}}]}); "privileged")]
#[test_case(json!({"containers": [{"name": "a", "securityContext": {"capabilities": {"add": ["SYS_ADMIN"], "drop": []}}}]}); "nothing dropped, by name")]
#[test_case(json!({"securityContext": {"runAsUser": 1000, "seccompProfile": {"type": "Unconfined"}}, "containers": [{"name": "a"}]}); "unconfined, by name")]
#[test_case(json!({"os": {"name": "windows"}, "containers": [{"name": "a"}]}); "another system")]
#[test_case(json!({"containers": [{"name": "a"}], "initContainers": [{"name": "b"}], "ephemeralContainers": [{"name": "c"}]}); "every kind of container")]
fn defaults_add_only_and_only_once(before: Value) {
    let before = spec(before);
    let after = with_defaults(&before);
    assert_eq!(with_defaults(&after), after);
    let (old, new) = (
        serde_json::to_value(&before).unwrap(),
        serde_json::to_value(&after).unwrap(),
    );
    assert!(keeps(&old, &new), "{old} became {new}");
    let none = BTreeMap::new();
    let left = lacks(&after, &none);
    assert!(left.len() <= lacks(&before, &none).len());
}

/// Row by row: where the pod runs as is known, what it may not be is added; where it is not, it is not.
#[test_case(json!({"runAsUser": 1000}), json!(null) => Some(true); "a user of the pod")]
#[test_case(json!({}), json!(1000) => Some(true); "a user of the container")]
#[test_case(json!({"runAsUser": 0}), json!(1000) => Some(true); "the container's counts")]
#[test_case(json!({"runAsUser": 1000}), json!(0) => None; "root")]
#[test_case(json!({}), json!(null) => None; "the image's")]
#[test_case(json!({"runAsUser": 1000, "runAsNonRoot": false}), json!(null) => None; "somebody said so")]
fn not_root_is_said_only_where_it_is_known(pod: Value, user: Value) -> Option<bool> {
    let pod = spec(
        json!({"securityContext": pod, "containers": [{"name": "a", "securityContext": {"runAsUser": user}}]}),
    );
    let filled = with_defaults(&pod);
    filled.containers[0]
        .security_context
        .as_ref()
        .unwrap()
        .run_as_non_root
}
