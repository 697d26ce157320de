//! Is this pod kept apart as the policies' sections `isolation` ask, whoever's it is? Asked of each pod that Probity did not
//! plan itself: one that is exempt from having a model is not exempt from this. Pure.

use std::{borrow::Cow, collections::BTreeMap};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use kube::ResourceExt as _;
use serde::Deserialize as _;

use super::{PodRequest, applying};
use crate::{
    api::v1alpha1::ModelDeployment,
    evidence::{Effect, Finding, RuleId, Verdict},
    policy::{Rules, World, checks, hardening::with_defaults, waiver},
};

/// What each policy says of the pod; nothing where none asks.
///
/// `pins`: whether its images are pinned to what their tags meant, and so not looked at here.
pub(super) fn findings(request: &PodRequest<'_>, pins: bool, rules: &[&Rules]) -> Vec<Finding> {
    let asks =
        |rules: &&Rules| rules.isolation.hardening.is_some() || !rules.isolation.runtime_classes.is_empty();
    if !rules.iter().any(asks) {
        return Vec::new();
    }
    // One that cannot be read is refused for that.
    let Some(spec) = spec(request) else {
        return Vec::new();
    };
    of(&spec, request.pod.annotations(), pins, rules)
}

fn of(spec: &PodSpec, annotations: &BTreeMap<String, String>, pins: bool, rules: &[&Rules]) -> Vec<Finding> {
    let both = rules.iter().flat_map(|rules| {
        [
            checks::hardening::of_pod(spec, annotations, pins, rules),
            checks::runtime_class::of_pod(spec, rules),
        ]
    });
    both.flatten().collect()
}

/// Whether what is safe is added to pods of this namespace: where nothing is enforced, nothing is changed.
pub fn fills_in(namespace: &str, world: &World) -> bool {
    applying(namespace, world).is_ok_and(|rules| hardens(&rules))
}

/// The pod with what is safe to add, where that is asked for.
pub(super) fn filled<'a>(spec: &'a PodSpec, namespace: &str, world: &World) -> Cow<'a, PodSpec> {
    if fills_in(namespace, world) {
        Cow::Owned(with_defaults(spec))
    } else {
        Cow::Borrowed(spec)
    }
}

fn hardens(rules: &[&Rules]) -> bool {
    rules.iter().any(|rules| {
        rules.isolation.hardening.is_some() && rules.effect_of(RuleId::IsolationHardening) == Effect::Enforce
    })
}

/// Whether another pod like this one of the model's would be let in, as far as this is concerned.
pub(super) fn replaceable(pod: &Pod, model: &ModelDeployment, world: &World, now: Timestamp) -> bool {
    let namespace = model.namespace().unwrap_or_default();
    let (Some(spec), Ok(rules)) = (&pod.spec, applying(&namespace, world)) else {
        return false;
    };
    let filled = filled(spec, &namespace, world);
    let mut found = of(&filled, pod.annotations(), true, &rules);
    waiver::apply(&mut found, &waiver::Subject::whole(model), world, now);
    found.iter().all(|one| one.counts_as() == Verdict::Pass)
}

fn spec<'a>(request: &PodRequest<'a>) -> Option<Cow<'a, PodSpec>> {
    match &request.pod.spec {
        Some(spec) => Some(Cow::Borrowed(spec)),
        None => PodSpec::deserialize(request.spec).ok().map(Cow::Owned),
    }
}
