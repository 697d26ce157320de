//! May a pod run that no model answers for? Only if every policy says so, or exempts just these images from just this maker.
//! Labels, annotations, names and accounts that a pod's author can choose exempt nothing.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Pod, PodSpec};
use kube::ResourceExt as _;

use super::{PodRequest, fail, is_ours};
use crate::{
    api::v1alpha1::UnmanagedPods,
    evidence::{Digest, Effect, Finding, Reason, RuleId, Verdict},
    policy::{Decision, Rules},
};

/// What begins so is the operator's: containers and volumes of a model's pods.
const OUR_PREFIX: &str = "probity-";

/// Judges a pod that names no model.
pub(super) fn judge(request: &PodRequest<'_>, rules: &[&Rules]) -> Decision {
    if let Some(forged) = forged(request.pod) {
        return super::refused(RuleId::PodManaged, Reason::UnmanagedPod, forged);
    }
    let Some(spec) = &request.pod.spec else {
        return super::refused(RuleId::PodManaged, Reason::UnmanagedPod, "spec: is missing");
    };
    let images = images(spec);
    let findings = rules.iter().map(|rules| finding(request, images.as_ref(), rules));
    Decision::of(findings.collect())
}

fn finding(request: &PodRequest<'_>, images: Option<&BTreeSet<Digest>>, rules: &Rules) -> Finding {
    let exempt = images.is_some_and(|images| {
        rules
            .exempt
            .iter()
            .any(|one| one.requester == request.requester && images.is_subset(&one.image_digests))
    });
    let (effect, verdict, message) = match rules.unmanaged_pods {
        _ if exempt => (
            Effect::Enforce,
            Verdict::Pass,
            format!("exempt: these images, made by {}", request.requester),
        ),
        UnmanagedPods::Allow => (
            Effect::Enforce,
            Verdict::Pass,
            "pods without a model may run here".to_owned(),
        ),
        UnmanagedPods::Warn => (Effect::Warn, Verdict::Fail, unmanaged(request)),
        UnmanagedPods::Deny => (Effect::Enforce, Verdict::Fail, unmanaged(request)),
    };
    Finding {
        policy: Some(rules.policy.clone()),
        effect,
        verdict,
        reason: (verdict == Verdict::Fail).then_some(Reason::UnmanagedPod),
        ..fail(RuleId::PodManaged, Reason::UnmanagedPod, message)
    }
}

fn unmanaged(request: &PodRequest<'_>) -> String {
    format!(
        "no ModelDeployment answers for this pod: apply one in {}, or have its images exempted (spec.exempt) for {}",
        request.namespace, request.requester
    )
}

/// A name that only the operator gives, on a pod that is not its own.
fn forged(pod: &Pod) -> Option<String> {
    let remedy = "belongs to the operator: rename it";
    let key = |field: &str, mut keys: std::collections::btree_map::Keys<'_, String, String>| {
        keys.find(|key| is_ours(key))
            .map(|key| format!("{field}[{key}]: {remedy}"))
    };
    let spec = pod.spec.as_ref();
    let containers = spec.iter().flat_map(|spec| {
        let init = spec.init_containers.iter().flatten();
        init.chain(&spec.containers).map(|one| one.name.as_str())
    });
    let volumes = spec
        .iter()
        .flat_map(|spec| spec.volumes.iter().flatten())
        .map(|one| one.name.as_str());
    let named = |field: &str, mut names: Box<dyn Iterator<Item = &str> + '_>| {
        names
            .find(|name| name.starts_with(OUR_PREFIX))
            .map(|name| format!("{field}[{name}]: {remedy}"))
    };
    key("metadata.labels", pod.labels().keys())
        .or_else(|| key("metadata.annotations", pod.annotations().keys()))
        .or_else(|| named("spec.containers", Box::new(containers)))
        .or_else(|| named("spec.volumes", Box::new(volumes)))
}

/// The digests of every image the pod brings, image volumes included; none when one of them is not pinned.
fn images(spec: &PodSpec) -> Option<BTreeSet<Digest>> {
    let init = spec.init_containers.iter().flatten();
    let containers = init.chain(&spec.containers).map(|one| one.image.as_deref());
    let ephemeral = spec
        .ephemeral_containers
        .iter()
        .flatten()
        .map(|one| one.image.as_deref());
    let volumes = spec
        .volumes
        .iter()
        .flatten()
        .filter_map(|volume| volume.image.as_ref());
    let volumes = volumes.map(|image| image.reference.as_deref());
    containers
        .chain(ephemeral)
        .chain(volumes)
        .map(|image| image?.rsplit_once('@')?.1.parse().ok())
        .collect()
}
