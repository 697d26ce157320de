//! The guards as they are rendered: each is in force, closed when in doubt, and names this release and its images.
//! What they refuse is shown in `tests/guards`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::helm::{CHART, DIGEST, NAMESPACE, decode, find, image, must, render, tool};

const POLICY: &str = "ValidatingAdmissionPolicy";
const BINDING: &str = "ValidatingAdmissionPolicyBinding";

fn names(objects: &[Value], kind: &str) -> BTreeSet<String> {
    let those = objects.iter().filter(|object| object["kind"] == kind);
    those
        .map(|object| object["metadata"]["name"].as_str().unwrap().to_owned())
        .collect()
}

/// Everything a guard says in CEL and in words.
fn texts(objects: &[Value]) -> String {
    let guards = objects.iter().filter(|object| object["kind"] == POLICY);
    guards.map(|guard| guard["spec"].to_string()).collect()
}

#[test]
fn every_guard_is_bound_denies_and_fails_closed() {
    let objects = render(&[]);
    let guards = names(&objects, POLICY);
    let expected = [
        "bindings",
        "breakglass",
        "namespaces",
        "pods",
        "runs",
        "verdicts",
        "waivers",
        "workloads",
    ];
    assert_eq!(guards, expected.map(|guard| format!("probity-{guard}")).into());
    assert_eq!(names(&objects, BINDING), guards);
    for name in &guards {
        let guard = &find(&objects, POLICY, name)["spec"];
        assert_eq!(guard["failurePolicy"], "Fail", "{name}");
        for condition in ["matchConditions", "paramKind"] {
            assert_eq!(guard[condition], Value::Null, "{name} has {condition}");
        }
        for selector in ["namespaceSelector", "objectSelector", "excludeResourceRules"] {
            assert_eq!(
                guard["matchConstraints"][selector],
                Value::Null,
                "{name} has {selector}"
            );
        }
        for validation in guard["validations"].as_array().unwrap() {
            let message = validation["message"].as_str().unwrap();
            assert!(
                message.contains(';') || message.contains(": bind") || message.contains(": leave"),
                "no remedy: {message}"
            );
            assert_eq!(validation["reason"], "Forbidden", "{message}");
        }
        let binding = &find(&objects, BINDING, name)["spec"];
        assert_eq!(binding["policyName"], name.as_str());
        assert_eq!(binding["validationActions"], json!(["Deny"]), "{name}");
        // A selector on the label would be dodged by the request that removes it, and a verdict counts wherever it lies.
        let everywhere = [
            "probity-namespaces",
            "probity-runs",
            "probity-verdicts",
            "probity-waivers",
        ]
        .contains(&name.as_str());
        let governed = json!({"namespaceSelector": {"matchLabels": {"probity.dev/governed": "true"}}});
        let expected = if everywhere { Value::Null } else { governed };
        assert_eq!(binding["matchResources"], expected, "{name}");
    }
}

#[test]
fn the_operator_is_the_account_of_its_pod() {
    let rendered = must(
        tool("helm")
            .args(["template", "other", CHART, "--namespace", "elsewhere"])
            .args(image()),
    );
    let objects = decode(&rendered);
    let pod = &find(&objects, "Deployment", "other-probity")["spec"]["template"]["spec"];
    assert_eq!(pod["serviceAccountName"], "other-probity");
    let texts = texts(&objects);
    assert_eq!(
        texts
            .matches("system:serviceaccount:elsewhere:other-probity")
            .count(),
        4,
        "one for verdicts, one for runs, one for workloads, one for the readiness gates of pods"
    );
    for words in [
        "'kube-node-lease', 'elsewhere'",
        "other-probity-breakglass",
        "other-probity-ungovern",
    ] {
        assert!(texts.contains(words), "no guard says {words}");
    }
    assert!(
        !texts.contains(NAMESPACE),
        "a guard names a namespace of another release"
    );
}

#[test]
fn a_pod_may_begin_with_our_image_and_those_that_are_named() {
    let images = |args: &[&str]| {
        let objects = render(args);
        let variables = &find(&objects, POLICY, "probity-pods")["spec"]["variables"];
        let found = variables
            .as_array()
            .unwrap()
            .iter()
            .find(|variable| variable["name"] == "images");
        found.unwrap()["expression"].clone()
    };
    let ours = format!("registry.example/probity@{DIGEST}");
    assert_eq!(images(&[]), format!("['{ours}']"));
    let earlier = format!("mirror.example/probity@{}", DIGEST.replace('1', "2"));
    assert_eq!(
        images(&["--set", &format!("image.previous={{{earlier}}}")]),
        format!("['{ours}', '{earlier}']")
    );
}
