//! Which pods of a server that Probity runs may take traffic: each is judged by the content that it runs. Pure.

use k8s_openapi::api::core::v1::Pod;

use crate::{
    evidence::{Digest, Verdict},
    policy::Decision,
    workload::{RunningModel, running_model},
};

/// Says of a pod whether it takes traffic.
///
/// `serves` is the content that serves, or did before it was cut off, and `cut` whether its pods take no traffic. Other
/// content takes traffic once it is admitted, and none when it is refused; while nothing is known of it, nothing is said.
pub(super) fn open(
    serves: Option<Digest>,
    cut: bool,
    decide: impl Fn(&RunningModel) -> Decision,
) -> impl FnMut(&Pod) -> Option<bool> {
    let mut decided: Vec<(RunningModel, Verdict)> = Vec::new();
    let mut verdict = move |runs: RunningModel| match decided.iter().find(|(known, _)| *known == runs) {
        Some((_, verdict)) => *verdict,
        None => {
            let verdict = decide(&runs).verdict;
            decided.push((runs, verdict));
            verdict
        }
    };
    move |pod| {
        let runs = running_model(pod.spec.as_ref()?)?;
        if Some(runs.digest) == serves {
            return Some(!cut);
        }
        match verdict(runs) {
            Verdict::Pass => Some(true),
            Verdict::Fail => Some(false),
            Verdict::Wait | Verdict::Unknown => None,
        }
    }
}

#[cfg(test)]
mod tests;
