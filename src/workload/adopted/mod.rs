//! The pod of a workload that somebody else runs, made to serve the verified model and nothing else: what is put into it,
//! and whether a pod is one that it was put into. Pure; whether it may run is for [`crate::policy`].
//!
//! One function, [`fit`], answers both questions: a pod is as planned when fitting it again changes nothing.

mod kserve;
mod mounts;
mod patch;
mod sound;
#[cfg(test)]
mod tests;
mod verifier;

use k8s_openapi::api::core::v1::{Container, PodSpec, Volume};
use serde_json::Value;

use super::{MODEL_VOLUME, Pins, PodSettings, RunningModel, shape};

pub use kserve::{KSERVE_SOURCE, awaits_kserve, kserve_would_repeat};
pub use patch::additions;
pub use verifier::{Terms, VERIFY_CONTAINER, claim as claimed, from as copied_from, of as verifier, terms};

/// How many problems are told of one pod.
const MAX_PROBLEMS: usize = 5;

/// What a pod has to bring so that its server finds the verified model.
#[derive(Debug, Clone, PartialEq)]
pub struct Adoption {
    /// Where the server finds it.
    pub mount_path: String,
    /// Where it comes from.
    pub source: AdoptedSource,
    /// What the workload's images are.
    pub images: Pins,
}

/// Where the model of an adopted workload comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum AdoptedSource {
    /// A registry: the content was verified, and is fetched.
    Registry(RunningModel),
    /// A folder on a claim: verified while it is copied.
    Claim {
        /// The claim.
        claim: String,
        /// The folder; none: the volume's root.
        path: Option<String>,
        /// What the verifier is told to trust.
        terms: Terms,
    },
    /// What the pod brings to the model's place by itself: verified while it is copied.
    Mounted {
        /// What the verifier is told to trust.
        terms: Terms,
    },
}

/// What the verifier reads.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    /// Nothing in the pod.
    Elsewhere,
    /// A volume of Probity's own for the claim.
    Own,
    /// A volume of the pod: its name, and the part of it.
    Mount {
        volume: String,
        sub_path: Option<String>,
    },
}

/// The pod, with what it lacks. What is there already and as planned stays as it is, so that fitting twice changes nothing.
///
/// # Errors
/// What about the pod cannot be mended by adding to it, one sentence each: the field, what is wrong, what to do.
pub fn fit(pod: &PodSpec, adoption: &Adoption, settings: &PodSettings) -> Result<PodSpec, Vec<String>> {
    let mut fitted = pod.clone();
    adoption.images.pin(&mut fitted);
    // Pinned, two spellings of one image are seen to be one.
    let pod = &fitted.clone();
    let mut problems = sound::problems(pod);
    match mounts::source(pod, adoption) {
        Err(problem) => problems.push(problem),
        Ok(source) => {
            problems.extend(mounts::problems(pod, adoption, &source));
            mounts::redirect(&mut fitted, &adoption.mount_path);
            let planned = verifier::planned(adoption, &source, settings);
            problems.extend(volumes(&mut fitted, planned.volumes));
            problems.extend(container(&mut fitted, planned.container, adoption));
        }
    }
    problems.truncate(MAX_PROBLEMS);
    if problems.is_empty() {
        Ok(fitted)
    } else {
        Err(problems)
    }
}

/// Why the pod is not one that was fitted so; nothing when it is. `raw` is its specification as it was sent: decoded, it would
/// lose what this version has no name for.
pub fn unfit(pod: &PodSpec, raw: &Value, adoption: &Adoption, settings: &PodSettings) -> Vec<String> {
    let fitted = match fit(pod, adoption, settings) {
        Err(problems) => return problems,
        Ok(fitted) => fitted,
    };
    let mut found = Vec::new();
    if verifier::of(pod).is_none() {
        found.push(format!(
            "spec.initContainers: {VERIFY_CONTAINER}, which verifies the model, is missing: have the pod made anew, Probity's admission puts it in"
        ));
    } else {
        found.extend(adoption.images.unpinned(pod));
        let mut pinned = pod.clone();
        adoption.images.pin(&mut pinned);
        if fitted != pinned {
            found.push(format!(
                "spec.containers: the model's place {} is not the verified copy, read-only: have the pod made anew, Probity's admission mends it",
                adoption.mount_path
            ));
        }
    }
    found.extend(verifier::strange(&fitted, raw));
    found.truncate(MAX_PROBLEMS);
    found
}

/// Adds the planned volumes, or says which name is taken by another.
fn volumes(pod: &mut PodSpec, planned: Vec<Volume>) -> Vec<String> {
    let mut taken = Vec::new();
    for volume in planned {
        let there = pod
            .volumes
            .iter()
            .flatten()
            .find(|there| there.name == volume.name);
        match there {
            None => pod.volumes.get_or_insert_default().push(volume),
            Some(there) if shape::same_volume(&volume, there) => {}
            Some(there) => taken.push(format!(
                "spec.volumes[{}]: the name is kept for Probity's own volume: choose another",
                there.name
            )),
        }
    }
    taken
}

/// Puts the planned container among the init containers: first, or after those that bring what it verifies.
fn container(pod: &mut PodSpec, planned: Container, adoption: &Adoption) -> Option<String> {
    if pod.containers.iter().any(|one| one.name == planned.name) {
        return Some(format!(
            "spec.containers[{}]: the name is kept for Probity's own container: choose another",
            planned.name
        ));
    }
    let init = pod.init_containers.get_or_insert_default();
    let at = init.iter().position(|one| one.name == planned.name);
    let last = matches!(adoption.source, AdoptedSource::Mounted { .. });
    match at {
        None if last => init.push(planned),
        None => init.insert(0, planned),
        Some(at) => {
            let differences = shape::container_differences(&planned, &verifier::without_token(&init[at]));
            if !differences.is_empty() {
                return Some(format!(
                    "{}: {VERIFY_CONTAINER} is Probity's own, and is put into the pod by admission: have the pod made anew, and if the template has it, take it out there",
                    differences.join("; ")
                ));
            }
            let (before, after) = (&init[..at], &init[at + 1..]);
            if last && after.iter().any(|one| !mounts::is_sidecar(one)) {
                return Some(format!(
                    "spec.initContainers: {VERIFY_CONTAINER} must come after the containers that bring the model"
                ));
            }
            let reads = |one: &Container| mounts::mounts(one).any(|mount| mount.name == MODEL_VOLUME);
            if let Some(early) = before.iter().find(|one| mounts::is_sidecar(one) && reads(one)) {
                return Some(format!(
                    "spec.initContainers[{}]: starts before the model is verified and reads it: move it behind {VERIFY_CONTAINER}",
                    early.name
                ));
            }
        }
    }
    None
}
