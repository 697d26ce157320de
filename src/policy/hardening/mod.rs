//! What a pod lacks of `isolation.hardening: Restricted`: Pod Security's `restricted`, and what that leaves out. Pure; it reads
//! the pod's own fields, so a field that Kubernetes gains tomorrow is Pod Security's to speak of until it is written here.
//!
//! Asked for beyond `restricted`: a read-only root, since what can be written can be changed; a memory limit for each
//! container, since memory that one takes is another's death, while of the processor each gets its share; images by digest;
//! and a system that all of this means something on, which is Linux alone.

mod container;
mod defaults;
mod part;
mod pod;
#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt::Write as _};

use k8s_openapi::api::core::v1::{PodSpec, ResourceRequirements};

use crate::workload::billionths;

pub use defaults::with_defaults;

/// How long the sentence about one pod may be, in bytes; what does not fit is counted.
const LONGEST: usize = 900;
/// How many further places of one and the same change are named.
const MOST_PLACES: usize = 8;
/// How much of a value that somebody wrote is shown, in characters.
const SHOWN: usize = 40;

/// One field that must be another for the pod to be let in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lack {
    /// The field, as `securityContext.runAsNonRoot`.
    pub field: String,
    /// What it is.
    pub is: String,
    /// What it should be.
    pub should: &'static str,
    /// Where it is: `spec`, or a container as `spec.containers[server]`.
    pub of: String,
}

impl Lack {
    fn new(
        of: impl Into<String>,
        field: impl Into<String>,
        is: impl Into<String>,
        should: &'static str,
    ) -> Self {
        let (mut field, mut is) = (field.into(), is.into());
        // What people write is quoted, and must not make the sentence long.
        for text in [&mut field, &mut is] {
            if let Some((end, _)) =
                text.char_indices()
                    .nth(if text.len() > 4 * SHOWN { SHOWN } else { 2 * SHOWN })
            {
                text.truncate(end);
                text.push('…');
            }
        }
        Self {
            field,
            is,
            should,
            of: of.into(),
        }
    }

    /// The whole path of the field.
    pub fn path(&self) -> String {
        format!("{}.{}", self.of, self.field)
    }
}

/// Every field of the pod that must be another, those of the whole pod first.
///
/// `annotations` are the pod's: the older way to choose a profile of `AppArmor`.
pub fn lacks(pod: &PodSpec, annotations: &BTreeMap<String, String>) -> Vec<Lack> {
    // Most of what is asked for means nothing there, so nothing could be shown.
    if pod.os.as_ref().is_some_and(|os| os.name != "linux") {
        let is = pod.os.as_ref().map_or("", |os| &os.name);
        return vec![Lack::new("spec", "os.name", is, "linux")];
    }
    let mut found = pod::lacks(pod, annotations);
    for part in part::all(pod) {
        container::lacks(&part, pod, &mut found);
    }
    found
}

/// The images of the pod that are not named by digest. Apart from the rest, for those of a governed workload are pinned.
pub fn unpinned(pod: &PodSpec) -> Vec<Lack> {
    let pinned = |image: Option<&str>| {
        image.is_some_and(|image| {
            image
                .rsplit_once('@')
                .is_some_and(|(_, digest)| digest.parse::<crate::evidence::Digest>().is_ok())
        })
    };
    let should = "an image by digest (@sha256:…)";
    let containers = part::all(pod)
        .filter(|part| !pinned(part.image))
        .map(|part| Lack::new(part.path(), "image", part.image.unwrap_or("unset"), should));
    let volumes = pod.volumes.iter().flatten().filter_map(|volume| {
        let image = volume.image.as_ref()?.reference.as_deref();
        let at = format!("spec.volumes[{}]", volume.name);
        (!pinned(image)).then(|| Lack::new(at, "image.reference", image.unwrap_or("unset"), should))
    });
    containers.chain(volumes).collect()
}

/// All of them in one sentence: fields that must change in the same way are said once, with where they are.
pub fn sentence(lacks: &[Lack]) -> String {
    /// The field, what it is and what it should be.
    type Change<'a> = (&'a str, &'a str, &'a str);
    let mut by_change: Vec<(Change<'_>, Vec<&str>)> = Vec::new();
    for lack in lacks {
        let change = (lack.field.as_str(), lack.is.as_str(), lack.should);
        match by_change.iter_mut().find(|(known, _)| *known == change) {
            Some((_, places)) => places.push(&lack.of),
            None => by_change.push((change, vec![&lack.of])),
        }
    }
    let mut text = String::new();
    let mut left = lacks.len();
    for ((field, is, should), places) in by_change {
        let (first, others) = places
            .split_first()
            .map_or(("", &[][..]), |(first, others)| (*first, others));
        let mut one = format!("{first}.{field} is {is} and should be {should}");
        if !others.is_empty() {
            let shown: Vec<_> = others.iter().take(MOST_PLACES).copied().collect();
            let _ = write!(one, " (so in {}", shown.join(", "));
            let _ = match others.len() - shown.len() {
                0 => write!(one, ")"),
                more => write!(one, " and {more} more)"),
            };
        }
        if text.len() + one.len() > LONGEST {
            let _ = write!(text, "; and {left} more");
            return text;
        }
        left -= places.len();
        if !text.is_empty() {
            text.push_str("; ");
        }
        text.push_str(&one);
    }
    text
}

/// Whether these resources limit the memory: a limit of 0 is none.
pub fn limits_memory(resources: Option<&ResourceRequirements>) -> bool {
    resources
        .and_then(|resources| resources.limits.as_ref()?.get("memory"))
        .and_then(|limit| billionths(&limit.0))
        .is_some_and(|limit| limit > 0)
}
