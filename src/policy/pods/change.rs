//! May this pod change so? Pods are not immutable: images, labels and ephemeral containers change on what runs.
//! What was judged when the pod was made must stay as it was; everything else may change.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use super::{fail, is_ours, pass};
use crate::{
    api::MODEL_LABEL,
    evidence::{Finding, Reason, RuleId},
};

/// What must not change about a pod in a governed namespace.
///
/// `closed`: models are shut off here, and network policies mean their pods by labels, whoever's these are.
pub(super) fn judge(old: &Pod, new: &Pod, closed: bool) -> Vec<Finding> {
    let mut found: Vec<String> = images(old, new);
    // In a model's pod it takes the verb `breakglass`, which only the API server can ask about: its guard does.
    if !old.labels().contains_key(MODEL_LABEL) {
        found.extend(ephemeral(old, new));
    }
    found.extend(keys("metadata.labels", old.labels(), new.labels()));
    found.extend(keys("metadata.annotations", old.annotations(), new.annotations()));
    if closed && old.labels().contains_key(MODEL_LABEL) {
        found.extend(other_label(old.labels(), new.labels()));
    }
    match found.first() {
        None => vec![pass(RuleId::PodChange, "nothing changes that was judged")],
        Some(first) => vec![fail(RuleId::PodChange, Reason::PodChanged, first)],
    }
}

/// Images by the place and name of their container.
fn images_of(pod: &Pod) -> BTreeMap<(&'static str, &str), Option<&str>> {
    let spec = pod.spec.iter();
    spec.flat_map(|spec| {
        let init = spec
            .init_containers
            .iter()
            .flatten()
            .map(|one| ("initContainers", one));
        let main = spec.containers.iter().map(|one| ("containers", one));
        init.chain(main)
    })
    .map(|(list, container)| ((list, container.name.as_str()), container.image.as_deref()))
    .collect()
}

fn images(old: &Pod, new: &Pod) -> Vec<String> {
    let (before, after) = (images_of(old), images_of(new));
    let places = before
        .keys()
        .chain(after.keys().filter(|place| !before.contains_key(*place)));
    places
        .filter(|place| before.get(*place) != after.get(*place))
        .map(|(list, name)| {
            format!("spec.{list}[{name}].image: the image of a running pod was judged and stays: change the object that makes the pod")
        })
        .collect()
}

fn ephemeral(old: &Pod, new: &Pod) -> Option<String> {
    let names = |pod: &Pod| {
        let containers = pod
            .spec
            .as_ref()
            .and_then(|spec| spec.ephemeral_containers.clone());
        containers.unwrap_or_default()
    };
    (names(old) != names(new)).then(|| {
        "spec.ephemeralContainers: a container nobody judged would share what the pod can read: look at its logs, or get in with exec and the verb breakglass".to_owned()
    })
}

/// A label that changes may have another network policy mean the pod, and open what is closed.
fn other_label(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Option<String> {
    let mut all = old.keys().chain(new.keys());
    let changed = all.find(|key| old.get(*key) != new.get(*key))?;
    Some(format!(
        "metadata.labels[{changed}]: which network policies mean a model's pod is settled by its labels, and stays (isolation.network): change the object that makes the pod"
    ))
}

fn keys(field: &str, old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Vec<String> {
    old.keys()
        .chain(new.keys().filter(|key| !old.contains_key(*key)))
        .filter(|key| is_ours(key) && old.get(*key) != new.get(*key))
        .map(|key| {
            format!("{field}[{key}]: is the operator's and says which model a pod is of: leave it as it is")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::needless_pass_by_value, reason = "rows of a table are values")]

    use serde_json::{Value, json};
    use test_case::test_case;

    use super::*;
    use crate::{
        evidence::{Digest, Verdict},
        workload::samples,
    };

    /// The message of the finding after this JSON merge patch.
    fn after(patch: &Value) -> (Verdict, String) {
        let digest = Digest::from_bytes([0xaa; 32]);
        let old = samples::created(&samples::model(digest), &samples::running(digest));
        let mut new = serde_json::to_value(&old).unwrap();
        merge(&mut new, patch);
        let found = judge(&old, &serde_json::from_value(new).unwrap(), false);
        (found[0].verdict, found[0].message.clone())
    }

    fn merge(target: &mut Value, patch: &Value) {
        match patch {
            Value::Object(fields) => {
                if !target.is_object() {
                    *target = json!({});
                }
                for (key, value) in fields {
                    if value.is_null() {
                        target.as_object_mut().unwrap().remove(key);
                    } else {
                        merge(&mut target[key], value);
                    }
                }
            }
            other => *target = other.clone(),
        }
    }

    #[test_case(json!({}); "nothing")]
    #[test_case(json!({"metadata": {"labels": {"pod-template-hash": "other"}}}); "a label that is not ours")]
    #[test_case(json!({"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "now"}}}); "an annotation that is not ours")]
    #[test_case(json!({"metadata": {"finalizers": ["a/b"]}}); "a finalizer")]
    #[test_case(json!({"metadata": {"ownerReferences": null}}); "an owner reference: nothing rests on it")]
    #[test_case(json!({"spec": {"activeDeadlineSeconds": 5}}); "a deadline")]
    #[test_case(json!({"spec": {"tolerations": []}}); "tolerations")]
    fn may_change(patch: Value) {
        assert_eq!(after(&patch).0, Verdict::Pass);
    }

    #[test_case(json!({"spec": {"containers": [{"name": "server", "image": "evil"}]}}), "spec.containers[server].image"; "the image of the server")]
    #[test_case(json!({"spec": {"initContainers": [{"name": "probity-fetch", "image": "evil"}]}}), "spec.initContainers[probity-fetch].image"; "the image of the fetch container")]
    #[test_case(json!({"spec": {"containers": [{"name": "renamed", "image": "evil"}]}}), "spec.containers[server].image"; "another container in its place")]
    #[test_case(json!({"metadata": {"labels": {"probity.dev/model": null}}}), "metadata.labels[probity.dev/model]"; "the model's label goes")]
    #[test_case(json!({"metadata": {"labels": {"probity.dev/model": "other"}}}), "metadata.labels[probity.dev/model]"; "the label of another model")]
    #[test_case(json!({"metadata": {"labels": {"probity.dev/anything": "x"}}}), "metadata.labels[probity.dev/anything]"; "a new label of ours")]
    #[test_case(json!({"metadata": {"annotations": {"probity.dev/ignore": "true"}}}), "metadata.annotations[probity.dev/ignore]"; "an annotation of ours")]
    fn must_stay(patch: Value, field: &str) {
        let (verdict, message) = after(&patch);
        assert_eq!(verdict, Verdict::Fail);
        assert!(message.starts_with(field), "{message}");
    }

    /// Whose pod it is decides who is asked: of a model's the guard asks for `breakglass`, of another's nobody else would.
    #[test_case(true => Verdict::Pass; "in a pod of a model")]
    #[test_case(false => Verdict::Fail; "in any other pod")]
    fn an_ephemeral_container(of_a_model: bool) -> Verdict {
        let digest = Digest::from_bytes([0xaa; 32]);
        let mut old = samples::created(&samples::model(digest), &samples::running(digest));
        if !of_a_model {
            old.metadata.labels = None;
        }
        let mut new = old.clone();
        new.spec.as_mut().unwrap().ephemeral_containers =
            serde_json::from_value(json!([{"name": "debug", "image": "busybox"}])).unwrap();
        judge(&old, &new, false)[0].verdict
    }

    #[test]
    fn a_pod_from_before_its_namespace_was_governed_cannot_join_a_model() {
        let old = Pod::default();
        let mut new = old.clone();
        new.labels_mut()
            .insert("probity.dev/model".into(), "digits".into());
        assert_eq!(judge(&old, &new, false)[0].verdict, Verdict::Fail);
    }

    /// Where models are shut off, a label of anybody's may open one.
    #[test_case(true, true => Verdict::Fail; "of a model, where it is shut off")]
    #[test_case(true, false => Verdict::Pass; "of a model, where nothing is closed")]
    #[test_case(false, true => Verdict::Pass; "of no model")]
    fn a_label_of_somebody_elses(of_a_model: bool, closed: bool) -> Verdict {
        let digest = Digest::from_bytes([0xaa; 32]);
        let mut old = samples::created(&samples::model(digest), &samples::running(digest));
        if !of_a_model {
            old.metadata.labels = None;
        }
        let mut new = old.clone();
        new.labels_mut().insert("app".into(), "web".into());
        let found = judge(&old, &new, closed);
        assert_eq!(
            found[0].verdict == Verdict::Fail,
            found[0].message.starts_with("metadata.labels[app]")
        );
        found[0].verdict
    }
}
