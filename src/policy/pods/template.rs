//! What would become of the pods of a template? The pod is built as its controller would make it, mended as admission would
//! mend it, and judged as any other. Pure. Nobody is refused for the answer: a template runs nothing, its pods do.

#[cfg(test)]
mod tests;

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Pod, PodSpec},
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::core::ObjectMeta;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{PodRequest, Recorded, adopted, governs, isolated, judge, model};
use crate::{
    api::{
        GROUP, MODEL_LABEL,
        v1alpha1::{ModelDeployment, WorkloadRef},
    },
    evidence::Reason,
    policy::{Decision, World},
    workload::{Plans, awaits_kserve, controller},
};

/// What makes other workloads: it is asked about, and what it makes is not.
const MAKE_WORKLOADS: [(&str, &str); 2] = [("apps/v1", "Deployment"), ("batch/v1", "CronJob")];

/// The pod of a workload's template, and who would make it.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    /// The controllers its pods go back to, the nearest first.
    owners: Vec<WorkloadRef>,
    /// Whose account makes them.
    requester: &'static str,
    pod: Pod,
    /// The pod's `spec` with what this version has no name for.
    spec: Value,
}

/// A workload as far as it says how its pods look.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Workload {
    api_version: String,
    kind: String,
    #[serde(default)]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Value,
}

#[derive(Deserialize)]
struct Written {
    #[serde(default)]
    metadata: ObjectMeta,
    spec: Value,
}

impl Template {
    /// The template of this workload; none when it is of no kind that makes pods, when it cannot be read, and when another
    /// object that was asked about makes it: a Deployment, a `CronJob`, or a `ModelDeployment`.
    ///
    /// Whether that other object really made it is not asked: to claim so spares a warning, and the pods are judged all the
    /// same.
    pub fn read(workload: &Value) -> Option<Self> {
        let Workload {
            api_version,
            kind,
            metadata,
            spec,
        } = Workload::deserialize(workload).ok()?;
        let controller = controller(metadata.owner_references.as_deref().unwrap_or_default());
        if controller.is_some_and(was_asked_about) {
            return None;
        }
        let (at, between) = match (api_version.as_str(), kind.as_str()) {
            ("apps/v1", "Deployment") => ("/template", Some(("apps/v1", "ReplicaSet"))),
            ("apps/v1", "ReplicaSet" | "StatefulSet" | "DaemonSet") | ("batch/v1", "Job") => {
                ("/template", None)
            }
            ("batch/v1", "CronJob") => ("/jobTemplate/spec/template", Some(("batch/v1", "Job"))),
            _ => return None,
        };
        let name = metadata.name.clone().unwrap_or_default();
        let between = between.map(|(version, kind)| WorkloadRef {
            api_version: version.into(),
            kind: kind.into(),
            // The rest of it is not known yet, and nobody can name it so.
            name: format!("{name}-…"),
        });
        let own = WorkloadRef {
            api_version,
            kind,
            name,
        };
        let above = controller.map(WorkloadRef::from);
        let owners: Vec<_> = between.into_iter().chain([own]).chain(above).collect();
        let Written { metadata, spec: pod } = Written::deserialize(spec.pointer(at)?).ok()?;
        let pod = with_claims(pod, &spec, &owners[0].name);
        Some(Self {
            requester: adopted::maker(&owners[0].api_version, &owners[0].kind)?,
            pod: Pod {
                metadata: ObjectMeta {
                    labels: metadata.labels,
                    annotations: metadata.annotations,
                    owner_references: Some(vec![reference(&owners[0])]),
                    ..ObjectMeta::default()
                },
                spec: Some(PodSpec::deserialize(&pod).ok()?),
                status: None,
            },
            spec: pod,
            owners,
        })
    }

    /// The model that its pods say they belong to.
    pub fn model(&self) -> Option<&str> {
        model(&self.pod)
    }

    /// The controllers its pods go back to, the nearest first.
    pub fn owners(&self) -> &[WorkloadRef] {
        &self.owners
    }

    /// What would be said of its pods now; nothing where nobody governs, and where KServe's webhook has yet to say what the pods
    /// will be.
    pub fn judge(
        &self,
        namespace: &str,
        recorded: Recorded<'_>,
        world: &World,
        plans: &Plans,
        now: Timestamp,
    ) -> Option<Decision> {
        if !world.governs(namespace) {
            return None;
        }
        let governing = recorded.model.filter(|model| governs(model, &self.owners));
        let waits = |spec| awaits_kserve(&self.pod, spec);
        if governing.is_some() && self.pod.spec.as_ref().is_some_and(waits) {
            return None;
        }
        let mended = self.mended(governing, namespace, recorded, world, plans, now);
        // What cannot be mended is judged as it is, and the answer says why.
        let Self { pod, spec, .. } = mended.as_ref().unwrap_or(self);
        let request = PodRequest {
            namespace,
            requester: self.requester,
            pod,
            spec,
            old: None,
            owners: &self.owners,
        };
        let decision = judge(&request, recorded, world, plans, now);
        // What a tag in it means is looked up once it is written, and no reason to tell anybody now.
        Some(decision).filter(|decision| decision.reason() != Some(Reason::NotYetResolved))
    }

    /// With what admission puts into its pods: what a model that governs the workload brings, and what is safe to add.
    fn mended(
        &self,
        governing: Option<&ModelDeployment>,
        namespace: &str,
        recorded: Recorded<'_>,
        world: &World,
        plans: &Plans,
        now: Timestamp,
    ) -> Option<Self> {
        let before = self.pod.spec.as_ref()?;
        let fitted = governing
            .and_then(|model| adopted::fitted(model, before, recorded, world, plans.settings(), now));
        let after = isolated::filled(fitted.as_ref().unwrap_or(before), namespace, world).into_owned();
        let mut mended = self.clone();
        if after != *before {
            mended.spec = serde_json::to_value(&after).ok()?;
        }
        mended.pod.spec = Some(after);
        if let Some(model) = governing.filter(|_| fitted.is_some()) {
            let labels = mended.pod.metadata.labels.get_or_insert_default();
            let name = || model.metadata.name.clone().unwrap_or_default();
            labels.entry(MODEL_LABEL.into()).or_insert_with(name);
        }
        Some(mended)
    }
}

/// Whether what this owner makes was judged when the owner was applied, or is Probity's own.
fn was_asked_about(owner: &OwnerReference) -> bool {
    let (version, kind) = (owner.api_version.as_str(), owner.kind.as_str());
    MAKE_WORKLOADS.contains(&(version, kind))
        || version
            .split_once('/')
            .is_some_and(|(group, _)| group == GROUP && kind == "ModelDeployment")
}

/// The reference that a pod carries to who made it.
fn reference(owner: &WorkloadRef) -> OwnerReference {
    OwnerReference {
        api_version: owner.api_version.clone(),
        kind: owner.kind.clone(),
        name: owner.name.clone(),
        controller: Some(true),
        ..OwnerReference::default()
    }
}

/// The pod's `spec` with the volumes that a `StatefulSet` of this name makes for each pod, in the place of others of their name.
fn with_claims(mut pod: Value, workload: &Value, name: &str) -> Value {
    let claims = workload
        .get("volumeClaimTemplates")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let claims = claims.filter_map(|claim| claim.pointer("/metadata/name")?.as_str());
    for claim in claims {
        let volume =
            json!({"name": claim, "persistentVolumeClaim": {"claimName": format!("{claim}-{name}-0")}});
        let Some(fields) = pod.as_object_mut() else {
            return pod;
        };
        let volumes = fields.entry("volumes").or_insert_with(|| json!([]));
        if !volumes.is_array() {
            *volumes = json!([]);
        }
        if let Some(volumes) = volumes.as_array_mut() {
            volumes.retain(|there| there["name"] != *claim);
            volumes.push(volume);
        }
    }
    pod
}
