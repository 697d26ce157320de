//! Does the pod ask for a runtime that the policy allows?
//! Pure. Asked for is all it can be: nothing attests what a pod really runs in, and the message says so.

use k8s_openapi::api::core::v1::PodSpec;

use super::Says;
use crate::{
    evidence::{Finding, Reason, RuleId},
    policy::{Facts, Rules},
};

/// For the server of a model. Absent when the policy allows any, and of a workload that somebody else runs: its pods are
/// judged.
pub fn of_server(facts: &Facts, rules: &Rules) -> Option<Finding> {
    let server = facts.server.as_ref()?;
    of(
        "spec.server.runtimeClassName",
        server.runtime_class.as_deref(),
        rules,
    )
}

/// For any other pod. Absent when the policy allows any.
pub fn of_pod(pod: &PodSpec, rules: &Rules) -> Option<Finding> {
    of("spec.runtimeClassName", pod.runtime_class_name.as_deref(), rules)
}

fn of(field: &str, class: Option<&str>, rules: &Rules) -> Option<Finding> {
    let allowed = &rules.isolation.runtime_classes;
    if allowed.is_empty() {
        return None;
    }
    let says = Says {
        rule: RuleId::IsolationRuntimeClasses,
        rules,
    };
    Some(match class.filter(|class| allowed.contains(*class)) {
        Some(class) => says.pass(format!(
            "RuntimeClass {class} is requested, not attested: that the node runs the pod in it is its own word"
        )),
        None => {
            let names: Vec<_> = allowed.iter().map(String::as_str).collect();
            let message = format!(
                "{field}: is {}, and the policy allows {}: name one of them",
                class.unwrap_or("unset"),
                names.join(", ")
            );
            says.fail(Reason::RuntimeClassNotAllowed, message)
        }
    })
}
