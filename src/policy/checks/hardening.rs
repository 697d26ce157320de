//! Does what runs do without what a server of models does not need?
//! Pure; of Probity's own servers only what their author chooses is asked, for the rest they are built so.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PodSpec;

use super::Says;
use crate::{
    api::v1alpha1::Hardening,
    evidence::{Finding, Reason, RuleId},
    policy::{
        Facts, Rules,
        hardening::{Lack, lacks, sentence, unpinned},
    },
};

/// Fails when the server of a model has no memory limit. Absent when the policy does not ask, and of a workload that
/// somebody else runs: its pods are judged.
pub fn of_server(facts: &Facts, rules: &Rules) -> Option<Finding> {
    let (says, server) = (asked(rules)?, facts.server.as_ref()?);
    Some(if server.memory_limited {
        says.pass("the server's pods are restricted".into())
    } else {
        says.fail(
            Reason::NotHardened,
            "spec.server.resources.limits.memory: is missing, and a server without a limit takes the memory of others on its node: write how much it may use, such as 4Gi".into(),
        )
    })
}

/// Fails when the pod lacks anything; the message names every field that must be another. Absent when the policy does not ask.
///
/// `pins`: whether its images are pinned by somebody else, and so not looked at here.
pub fn of_pod(
    pod: &PodSpec,
    annotations: &BTreeMap<String, String>,
    pins: bool,
    rules: &Rules,
) -> Option<Finding> {
    let says = asked(rules)?;
    let mut found: Vec<Lack> = lacks(pod, annotations);
    if !pins {
        found.extend(unpinned(pod));
    }
    Some(if found.is_empty() {
        says.pass("the pod is restricted".into())
    } else {
        let message = format!("the pod is not restricted: {}", sentence(&found));
        says.fail(Reason::NotHardened, message)
    })
}

fn asked(rules: &Rules) -> Option<Says<'_>> {
    let Hardening::Restricted = rules.isolation.hardening?;
    Some(Says {
        rule: RuleId::IsolationHardening,
        rules,
    })
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;
    use crate::{
        evidence::{Effect, Verdict},
        policy::{
            Evidence, ServerFacts,
            checks::runtime_class,
            samples::{facts, isolated, verified},
        },
    };

    #[expect(clippy::unnecessary_wraps, reason = "a row has a server or none")]
    fn server(memory_limited: bool, runtime_class: Option<&str>) -> Option<ServerFacts> {
        Some(ServerFacts {
            memory_limited,
            runtime_class: runtime_class.map(ToOwned::to_owned),
        })
    }

    #[test_case(true, server(true, None) => Some(Verdict::Pass); "with a limit")]
    #[test_case(true, server(false, None) => Some(Verdict::Fail); "without one")]
    #[test_case(true, None => None; "somebody else runs it")]
    #[test_case(false, server(false, None) => None; "not asked")]
    fn the_server_of_a_model(asked: bool, server: Option<ServerFacts>) -> Option<Verdict> {
        let facts = Facts {
            server,
            ..facts(Evidence::Known(verified(&[1])))
        };
        let rules = isolated(Effect::Enforce, asked, &["kata"]);
        of_server(&facts, &rules).map(|found| found.verdict)
    }

    #[test_case(&[], server(true, Some("anything")) => None; "not asked")]
    #[test_case(&["kata"], None => None; "somebody else runs it")]
    #[test_case(&["kata"], server(true, Some("kata")) => Some((Verdict::Pass, "RuntimeClass kata is requested, not attested: that the node runs the pod in it is its own word".into())); "one of them")]
    #[test_case(&["kata", "kata-cc"], server(true, Some("runc")) => Some((Verdict::Fail, "spec.server.runtimeClassName: is runc, and the policy allows kata, kata-cc: name one of them".into())); "another")]
    #[test_case(&["kata"], server(true, None) => Some((Verdict::Fail, "spec.server.runtimeClassName: is unset, and the policy allows kata: name one of them".into())); "none")]
    fn the_runtime_of_a_server(classes: &[&str], server: Option<ServerFacts>) -> Option<(Verdict, String)> {
        let facts = Facts {
            server,
            ..facts(Evidence::Known(verified(&[1])))
        };
        let rules = isolated(Effect::Enforce, false, classes);
        runtime_class::of_server(&facts, &rules).map(|found| (found.verdict, found.message))
    }
}
