//! Is this pod the planned one? Every planned field must be there as planned, and nothing else but what an API server fills in.
//! Pure; what is not in the table below is a difference, so a field that Kubernetes gains tomorrow is refused and not missed.

use k8s_openapi::api::core::v1::{Container, Volume};
use serde_json::{Map, Value};

use super::quantity::billionths;

/// At most this many differences are told: the first ones say what to look at.
const MAX_DIFFERENCES: usize = 5;

/// How the pod's `spec` differs from the plan, as `spec.containers[server].image: …`; nothing when it is the planned one.
///
/// The pod is taken as it was sent: decoded, it would lose what this version has no name for.
pub fn differences(planned: &Value, pod: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("spec", "spec", planned, pod, &mut found);
    found.truncate(MAX_DIFFERENCES);
    found
}

/// How a container differs from the planned one, as it is typed here.
pub(super) fn container_differences(planned: &Container, there: &Container) -> Vec<String> {
    let (planned, there) = (value(planned), value(there));
    let at = format!("spec.initContainers[{}]", name(&planned).unwrap_or_default());
    let mut found = Vec::new();
    compare(&at, "spec.initContainers[]", &planned, &there, &mut found);
    found
}

/// Whether a volume is the planned one, as it is typed here.
pub(super) fn same_volume(planned: &Volume, there: &Volume) -> bool {
    let mut found = Vec::new();
    compare("", "spec.volumes[]", &value(planned), &value(there), &mut found);
    found.is_empty()
}

/// What is in the init container, as it was sent, beyond what it is typed as.
pub(super) fn strange_container(typed: &Container, pod: &Value) -> Vec<String> {
    strange("initContainers", &value(typed), pod)
}

/// What is in the volume, as it was sent, beyond what it is typed as.
pub(super) fn strange_volume(typed: &Volume, pod: &Value) -> Vec<String> {
    strange("volumes", &value(typed), pod)
}

fn strange(list: &str, typed: &Value, pod: &Value) -> Vec<String> {
    let items = pod.get(list).and_then(Value::as_array);
    let sent = items
        .into_iter()
        .flatten()
        .filter(|item| name(item) == name(typed));
    let at = format!("spec.{list}[{}]", name(typed).unwrap_or_default());
    let mut found = Vec::new();
    for sent in sent {
        compare(&at, &format!("spec.{list}[]"), typed, sent, &mut found);
    }
    found
}

fn value(of: &impl serde::Serialize) -> Value {
    // What cannot be written down is like nothing.
    serde_json::to_value(of).unwrap_or_default()
}

/// What may be there without having been planned.
enum Filled {
    /// Whatever its value: it says where and how urgently a pod runs, not what.
    Any,
    /// Only as the API server fills it in: this text,
    Text(&'static str),
    /// this number,
    Number(i64),
    /// `false`,
    False,
    /// or an object without fields.
    Empty,
}

impl Filled {
    fn allows(&self, value: &Value) -> bool {
        match self {
            Self::Any => true,
            Self::Text(usual) => value == usual,
            Self::Number(usual) => value == usual,
            Self::False => *value == Value::Bool(false),
            Self::Empty => value.as_object().is_some_and(Map::is_empty),
        }
    }
}

/// What the API server and its admission plugins fill in, by field, with names of containers and numbers left out.
fn filled(field: &str) -> Option<Filled> {
    Some(match field {
        // Where it runs, and before whom: the scheduler's, DefaultTolerationSeconds' and Priority's.
        "spec.nodeName"
        | "spec.nodeSelector"
        | "spec.affinity"
        | "spec.topologySpreadConstraints"
        | "spec.tolerations"
        | "spec.priority"
        | "spec.priorityClassName"
        | "spec.preemptionPolicy"
        | "spec.schedulerName"
        | "spec.schedulingGates"
        // What a RuntimeClass takes for itself, and with which secrets an account's images are pulled: the images are pinned.
        | "spec.overhead"
        | "spec.imagePullSecrets" => Filled::Any,
        "spec.restartPolicy" => Filled::Text("Always"),
        "spec.dnsPolicy" => Filled::Text("ClusterFirst"),
        "spec.terminationGracePeriodSeconds" => Filled::Number(30),
        "spec.hostNetwork"
        | "spec.hostPID"
        | "spec.hostIPC"
        | "spec.shareProcessNamespace"
        | "spec.volumes[].secret.optional" => Filled::False,
        "spec.volumes[].secret.defaultMode" => Filled::Number(0o644),
        "spec.volumes[].emptyDir.medium" => Filled::Text(""),
        _ => {
            let container = field
                .strip_prefix("spec.containers[].")
                .or_else(|| field.strip_prefix("spec.initContainers[]."))?;
            match container {
                "terminationMessagePath" => Filled::Text("/dev/termination-log"),
                "terminationMessagePolicy" => Filled::Text("File"),
                "resources" => Filled::Empty,
                // Limits without requests: the API server asks for as much as is allowed. LimitRanger fills in the rest.
                // And AlwaysPullImages sets how images are pulled, which are named by their digests.
                "imagePullPolicy"
                | "resources.requests"
                | "resources.limits.cpu"
                | "resources.limits.memory"
                | "resources.limits.ephemeral-storage" => Filled::Any,
                // A device that is limited and not asked for is asked for as well.
                asked if asked.starts_with("resources.requests.") => Filled::Any,
                "volumeMounts[].readOnly" => Filled::False,
                "volumeMounts[].recursiveReadOnly" => Filled::Text("Disabled"),
                "ports[].protocol" => Filled::Text("TCP"),
                "readinessProbe.successThreshold" => Filled::Number(1),
                "readinessProbe.httpGet.scheme" => Filled::Text("HTTP"),
                _ => return None,
            }
        }
    })
}

/// `at` names the place for people, `field` for the table.
fn compare(at: &str, field: &str, planned: &Value, pod: &Value, found: &mut Vec<String>) {
    let mut place = Place {
        at: at.to_owned(),
        field: field.to_owned(),
        found,
    };
    place.compare(planned, pod);
}

/// Where two values are compared, and what was found. A pod has hundreds of places and each is entered with every pod that
/// is made: their names are written into the same two strings.
struct Place<'a> {
    at: String,
    field: String,
    found: &'a mut Vec<String>,
}

impl Place<'_> {
    fn within(&mut self, at: [&str; 3], field: [&str; 2], look: impl FnOnce(&mut Self)) {
        let (at_here, field_here) = (self.at.len(), self.field.len());
        self.at.extend(at);
        self.field.extend(field);
        look(self);
        self.at.truncate(at_here);
        self.field.truncate(field_here);
    }

    fn tell(&mut self, what: &str) {
        self.found.push(format!("{}{what}", self.at));
    }

    fn compare(&mut self, planned: &Value, pod: &Value) {
        match (planned, pod) {
            (Value::Object(planned), Value::Object(pod)) => self.compare_fields(planned, pod),
            (Value::Array(planned), Value::Array(pod)) => {
                if planned.len() != pod.len() {
                    let text = count(&self.at, planned, pod);
                    self.found.push(text);
                    return;
                }
                let pairs = planned.iter().zip(pod).enumerate();
                for (number, (planned, pod)) in pairs.filter(|(_, (planned, pod))| planned != pod) {
                    let name = name(planned).map_or_else(|| number.to_string(), ToOwned::to_owned);
                    self.within(["[", &name, "]"], ["[]", ""], |item| item.compare(planned, pod));
                }
            }
            _ if planned == pod || (is_quantity(&self.field) && same_amount(planned, pod)) => {}
            _ => self.tell(&format!(": is {}, planned {}", shown(pod), shown(planned))),
        }
    }

    fn compare_fields(&mut self, planned: &Map<String, Value>, pod: &Map<String, Value>) {
        for (key, wanted) in planned {
            let value = pod.get(key);
            // Most is as planned, and what is needs no name.
            if value == Some(wanted) {
                continue;
            }
            self.within([".", key, ""], [".", key], |place| match value {
                Some(value) => place.compare(wanted, value),
                // An empty list or object may be left out by whoever wrote it last.
                None if is_empty(wanted) => {}
                None => place.tell(&format!(": is missing, planned {}", shown(wanted))),
            });
        }
        for (key, value) in pod.iter().filter(|(key, _)| !planned.contains_key(*key)) {
            self.within([".", key, ""], [".", key], |place| {
                let allowed = match filled(&place.field) {
                    Some(filled) => filled.allows(value),
                    // The old name of the account, kept in step by the API server.
                    None if place.field == "spec.serviceAccount" => {
                        Some(value) == planned.get("serviceAccountName")
                    }
                    None => is_empty(value),
                };
                if !allowed {
                    place.tell(&format!(": is {}, and is not in the plan", shown(value)));
                }
            });
        }
    }
}

/// Amounts, which the API server may write in another way: `1000m` is `1`.
fn is_quantity(field: &str) -> bool {
    field == "spec.volumes[].emptyDir.sizeLimit"
        || field.rsplit_once('.').is_some_and(|(parent, _)| {
            parent.ends_with("[].resources.limits") || parent.ends_with("[].resources.requests")
        })
}

fn same_amount(planned: &Value, pod: &Value) -> bool {
    let amount = |value: &Value| value.as_str().and_then(billionths);
    amount(planned).is_some_and(|wanted| amount(pod) == Some(wanted))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

fn name(item: &Value) -> Option<&str> {
    item.get("name").and_then(Value::as_str)
}

/// Which items are too many or missing, by their names where they have some.
fn count(at: &str, planned: &[Value], pod: &[Value]) -> String {
    let names = |items: &[Value]| {
        items
            .iter()
            .filter_map(name)
            .map(ToOwned::to_owned)
            .collect::<Vec<_>>()
    };
    let (wanted, there) = (names(planned), names(pod));
    let beyond = |some: &[String], others: &[String]| {
        let rest: Vec<_> = some
            .iter()
            .filter(|name| !others.contains(name))
            .cloned()
            .collect();
        (!rest.is_empty()).then(|| bounded(rest.join(", ")))
    };
    match (beyond(&there, &wanted), beyond(&wanted, &there)) {
        (Some(extra), _) => format!("{at}: {extra} is not in the plan"),
        (None, Some(missing)) => format!("{at}: {missing} is missing"),
        (None, None) => format!("{at}: has {} items, planned {}", pod.len(), planned.len()),
    }
}

/// A value for a sentence; what a tenant writes must not make it long.
fn shown(value: &Value) -> String {
    bounded(value.to_string())
}

fn bounded(mut text: String) -> String {
    const MOST: usize = 96;
    if let Some((end, _)) = text.char_indices().nth(MOST) {
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::samples;
    use k8s_openapi::api::core::v1::PodSpec;
    use serde_json::json;
    use test_case::test_case;

    fn differences(planned: &PodSpec, pod: &Value) -> Vec<String> {
        super::differences(&value(planned), pod)
    }

    fn value(pod: &PodSpec) -> Value {
        serde_json::to_value(pod).unwrap()
    }

    /// The planned pod as an API server has it, with the value at `pointer` replaced or added.
    fn with(pointer: &str, value: Value) -> Vec<String> {
        let planned = samples::pod();
        let mut pod = serde_json::to_value(samples::as_stored(&planned)).unwrap();
        if !pointer.is_empty() {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            match pod.pointer_mut(parent).unwrap() {
                Value::Object(fields) => {
                    fields.insert(key.into(), value);
                }
                Value::Array(items) => items.push(value),
                other => panic!("{other} has no fields"),
            }
        }
        differences(&planned, &pod)
    }

    #[test]
    fn the_planned_pod_is_the_planned_pod() {
        assert_eq!(
            differences(&samples::pod(), &value(&samples::pod())),
            Vec::<String>::new()
        );
    }

    /// The API server copies them into a pod that has none.
    #[test]
    fn pull_secrets_of_the_account_are_no_difference() {
        let mut planned = samples::pod();
        planned.image_pull_secrets = None;
        let mut pod = value(&planned);
        pod["imagePullSecrets"] = json!([{"name": "of-the-account"}]);
        assert_eq!(differences(&planned, &pod), Vec::<String>::new());
    }

    #[test]
    fn what_the_api_server_fills_in_is_no_difference() {
        assert_eq!(with("", Value::Null), Vec::<String>::new());
    }

    #[test_case("/nodeName", json!("node-7"); "already on a node")]
    #[test_case("/tolerations", json!([{"key": "gpu", "operator": "Exists"}]); "a toleration more")]
    #[test_case("/affinity", json!({"nodeAffinity": {}}); "an affinity")]
    #[test_case("/overhead", json!({"memory": "120Mi"}); "what its runtime takes for itself")]
    #[test_case("/containers/0/imagePullPolicy", json!("Always"); "images that are always pulled")]
    #[test_case("/containers/0/resources/requests", json!({"nvidia.com/gpu": "1"}); "a device that is asked for because it is limited")]
    #[test_case("/priorityClassName", json!("high"); "a priority")]
    fn where_a_pod_runs_is_not_our_question(pointer: &str, value: Value) {
        assert_eq!(with(pointer, value), Vec::<String>::new());
    }

    #[test_case("/hostNetwork", json!(true), "spec.hostNetwork"; "host network")]
    #[test_case("/hostPID", json!(true), "spec.hostPID"; "host processes")]
    #[test_case("/shareProcessNamespace", json!(true), "spec.shareProcessNamespace"; "shared processes")]
    #[test_case("/serviceAccountName", json!("cluster-admin"), "spec.serviceAccountName"; "another account")]
    #[test_case("/serviceAccount", json!("cluster-admin"), "spec.serviceAccount"; "another account by its old name")]
    #[test_case("/serviceAccount", json!(null), "spec.serviceAccount"; "no account by its old name")]
    #[test_case("/automountServiceAccountToken", json!(true), "spec.automountServiceAccountToken"; "a token")]
    #[test_case("/runtimeClassName", json!("fast"), "spec.runtimeClassName"; "another runtime")]
    #[test_case("/restartPolicy", json!("Never"), "spec.restartPolicy"; "another restart policy")]
    #[test_case("/dnsPolicy", json!("None"), "spec.dnsPolicy"; "another resolver")]
    #[test_case("/hostAliases", json!([{"ip": "10.0.0.1", "hostnames": ["registry.example"]}]), "spec.hostAliases"; "another address for the registry")]
    #[test_case("/ephemeralContainers", json!([{"name": "debug", "image": "x"}]), "spec.ephemeralContainers"; "an ephemeral container")]
    #[test_case("/containers/-", json!({"name": "side", "image": "x"}), "spec.containers: side is not in the plan"; "a second container")]
    #[test_case("/initContainers/-", json!({"name": "after", "image": "x"}), "spec.initContainers: after is not in the plan"; "a second init container")]
    #[test_case("/volumes/-", json!({"name": "host", "hostPath": {"path": "/"}}), "spec.volumes: host is not in the plan"; "a host path")]
    #[test_case("/fieldOfTomorrow", json!("x"), "spec.fieldOfTomorrow"; "a field nobody knows yet")]
    #[test_case("/containers/0/fieldOfTomorrow", json!(true), "spec.containers[server].fieldOfTomorrow"; "a field of a container nobody knows yet")]
    #[test_case("/containers/0/image", json!("registry.example/other@sha256:00"), "spec.containers[server].image"; "another image")]
    #[test_case("/containers/0/command", json!(["sh"]), "spec.containers[server].command"; "another command")]
    #[test_case("/containers/0/args", json!(["--evil"]), "spec.containers[server].args"; "other arguments")]
    #[test_case("/containers/0/env/-", json!({"name": "LD_PRELOAD", "value": "x"}), "spec.containers[server].env: LD_PRELOAD is not in the plan"; "a variable more")]
    #[test_case("/containers/0/envFrom", json!([{"secretRef": {"name": "x"}}]), "spec.containers[server].envFrom"; "variables from a secret")]
    #[test_case("/containers/0/volumeMounts/0/readOnly", json!(false), "spec.containers[server].volumeMounts[probity-model].readOnly"; "the model writable")]
    #[test_case("/containers/0/volumeMounts/0/mountPath", json!("/elsewhere"), "volumeMounts[probity-model].mountPath"; "the model elsewhere")]
    #[test_case("/containers/0/volumeMounts/0/subPath", json!("x"), "volumeMounts[probity-model].subPath"; "a part of the model")]
    #[test_case("/containers/0/volumeMounts/1/mountPropagation", json!("Bidirectional"), "volumeMounts[probity-tmp].mountPropagation"; "mounts that reach the host")]
    #[test_case("/containers/0/lifecycle/postStart", json!({"exec": {"command": ["sh"]}}), "lifecycle.postStart"; "a hook")]
    #[test_case("/containers/0/livenessProbe", json!({"exec": {"command": ["sh"]}}), "livenessProbe"; "a probe that runs a command")]
    #[test_case("/containers/0/securityContext/privileged", json!(true), "securityContext.privileged"; "privileged")]
    #[test_case("/containers/0/securityContext/capabilities", json!({"drop": ["ALL"], "add": ["SYS_ADMIN"]}), "capabilities.add"; "a capability")]
    #[test_case("/securityContext/runAsUser", json!(0), "spec.securityContext.runAsUser"; "root")]
    #[test_case("/securityContext/sysctls", json!([{"name": "a", "value": "b"}]), "spec.securityContext.sysctls"; "sysctls")]
    #[test_case("/initContainers/0/image", json!("registry.example/noop@sha256:00"), "spec.initContainers[probity-fetch].image"; "a fetch that is somebody else's")]
    #[test_case("/initContainers/0/args", json!(["fetch"]), "spec.initContainers[probity-fetch].args"; "a fetch with other arguments")]
    #[test_case("/initContainers/0/command", json!(["true"]), "spec.initContainers[probity-fetch].command"; "a fetch that does nothing")]
    #[test_case("/initContainers/0/restartPolicy", json!("Always"), "spec.initContainers[probity-fetch].restartPolicy"; "a fetch that is a sidecar: the server would not wait for it")]
    #[test_case("/initContainers/0/volumeDevices", json!([{"name": "a", "devicePath": "/dev/a"}]), "volumeDevices"; "a device")]
    #[test_case("/volumes/0/emptyDir/medium", json!("Memory"), "volumes[probity-model].emptyDir.medium"; "the model in memory")]
    #[test_case("/volumes/0/hostPath", json!({"path": "/"}), "volumes[probity-model].hostPath"; "the model's volume is the host's")]
    fn a_difference_is_named(pointer: &str, value: Value, field: &str) {
        let found = with(pointer, value);
        assert!(found.iter().any(|one| one.contains(field)), "{found:?}");
    }

    #[test_case("/containers/0/resources", json!({"limits": {"memory": "1073741824"}, "requests": {"memory": "1Gi"}}), true; "the same amount, written in another way")]
    #[test_case("/containers/0/resources", json!({"limits": {"memory": "2Gi"}}), false; "another amount")]
    #[test_case("/containers/0/resources", json!({"limits": {"memory": "1Gi", "nvidia.com/gpu": "1"}}), false; "a device")]
    fn amounts_are_compared_as_amounts(pointer: &str, value: Value, same: bool) {
        assert_eq!(with(pointer, value).is_empty(), same);
    }

    #[test]
    fn what_is_missing_is_a_difference() {
        let mut pod = samples::as_stored(&samples::pod());
        pod.init_containers = None;
        assert!(differences(&samples::pod(), &value(&pod))[0].starts_with("spec.initContainers: is missing"));
    }

    #[test]
    fn containers_in_another_order_are_another_pod() {
        let mut planned = samples::pod();
        planned.containers.push(k8s_openapi::api::core::v1::Container {
            name: "second".into(),
            ..Default::default()
        });
        let mut pod = planned.clone();
        pod.containers.reverse();
        assert!(!differences(&planned, &value(&pod)).is_empty());
    }

    #[test]
    fn a_long_value_and_many_differences_stay_short() {
        let mut pod = samples::pod();
        for container in &mut pod.containers {
            container.image = Some("x".repeat(10_000));
        }
        for _ in 0..100 {
            pod.containers[0].env.get_or_insert_default().clear();
        }
        pod.host_network = Some(true);
        pod.host_pid = Some(true);
        pod.host_ipc = Some(true);
        pod.runtime_class_name = Some("x".into());
        pod.subdomain = Some("x".into());
        let found = differences(&samples::pod(), &value(&pod));
        assert_eq!(found.len(), MAX_DIFFERENCES);
        assert!(found.iter().all(|one| one.len() < 512), "{found:?}");
    }

    fn relayed_with(pointer: &str, value: Value) -> Vec<String> {
        let runs = samples::running(crate::evidence::Digest::from_bytes([0xaa; 32]));
        let planned = samples::relayed_pod(&runs);
        let mut pod = serde_json::to_value(samples::as_stored(&planned)).unwrap();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        match pod.pointer_mut(parent).unwrap() {
            Value::Array(items) => items.push(value),
            parent => parent[key] = value,
        }
        differences(&planned, &pod)
    }

    #[test]
    fn a_pod_that_asks_a_relay_is_the_planned_one_when_stored() {
        assert_eq!(relayed_with("/nodeName", json!("node")), Vec::<String>::new());
    }

    #[test_case("/volumes/2/projected/sources/0/serviceAccountToken/audience", json!("https://kubernetes.default.svc"), "audience"; "a token for the API server")]
    #[test_case("/volumes/2/projected/sources/0/serviceAccountToken/expirationSeconds", json!(86400), "expirationSeconds"; "a token for a day")]
    #[test_case("/volumes/2/projected/sources/-", json!({"secret": {"name": "others"}}), "projected.sources"; "a secret beside the token")]
    #[test_case("/containers/0/volumeMounts/-", json!({"name": "probity-relay", "mountPath": "/token"}), "spec.containers[server].volumeMounts"; "the token in the server")]
    #[test_case("/initContainers/0/args/3", json!("/elsewhere"), "spec.initContainers[probity-fetch].args"; "another folder")]
    fn a_difference_beside_a_relay_is_named(pointer: &str, value: Value, field: &str) {
        let found = relayed_with(pointer, value);
        assert!(found.iter().any(|one| one.contains(field)), "{found:?}");
    }
}
