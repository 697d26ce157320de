//! The chart on a real API server: accepted as rendered, installed, upgraded, uninstalled, installed again.
//! Pods are not run here, only asked for.

use std::io::Write as _;

use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::{
    apiserver::{kubeconfig, kubectl},
    helm::{self, CHART, NAMESPACE, find, image, must, render, run, tool, value_files},
};

fn file(content: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(content.as_bytes()).unwrap();
    file
}

fn create_namespace(name: &str, labels: &Value) {
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
    must(
        kubectl()
            .args(["apply", "--server-side", "-f"])
            .arg(file(&namespace.to_string()).path()),
    );
}

fn helm(args: &[&str]) -> String {
    must(tool("helm").args(["--kubeconfig", kubeconfig()]).args(args))
}

fn get(args: &[&str]) -> Vec<String> {
    let names = must(
        kubectl()
            .args(["get", "--output", "name", "--ignore-not-found"])
            .args(args),
    );
    names.lines().map(ToOwned::to_owned).collect()
}

/// Install, upgrade, uninstall and install again, in one test: the steps need each other.
#[test]
fn a_release_from_beginning_to_end() {
    let image = image();
    let release = |verb: &str, more: &[&str]| {
        let mut args = vec![
            verb,
            "probity",
            CHART,
            "--namespace",
            NAMESPACE,
            "--create-namespace",
        ];
        args.extend(image.iter().map(String::as_str));
        args.extend(more);
        helm(&args)
    };
    let crds = [
        "artifactverifications",
        "clusterdeploymentpolicies",
        "deploymentpolicies",
        "evaluations",
        "modeldeployments",
        "robustnesspolicies",
        "trustroots",
        "waivers",
    ]
    .map(|plural| format!("customresourcedefinition.apiextensions.k8s.io/{plural}.probity.dev"));
    let one_role = ["clusterroles", "--selector", "app.kubernetes.io/name=probity"];

    let notes = release("install", &[]);
    for word in [
        "TrustRoot",
        "ClusterDeploymentPolicy",
        "probity.dev/governed=true",
        "deployment/probity",
    ] {
        assert!(notes.contains(word), "the notes do not say `{word}`:\n{notes}");
    }
    assert_eq!(get(&["customresourcedefinitions"]), crds);
    let mut wait = vec!["wait", "--for=condition=Established", "--timeout=30s"];
    wait.extend(crds.iter().map(String::as_str));
    must(kubectl().args(&wait));
    assert_eq!(get(&one_role).len(), 9);
    the_notes_can_be_followed(&notes);
    the_pod_fits_the_strictest_namespace();
    the_operator_may_read_a_secret_but_not_find_one();

    the_bundle_of_the_operator_survives_an_upgrade(&release);

    release("upgrade", &["--set", "log.level=debug"]);
    let level = must(
        kubectl()
            .args([
                "--namespace",
                NAMESPACE,
                "get",
                "deployment",
                "probity",
                "--output",
            ])
            .arg("jsonpath={.spec.template.spec.containers[0].env[0].value}"),
    );
    assert_eq!(level, "debug");

    // Another release would be a second operator writing the same objects.
    let second = run(tool("helm")
        .args(["--kubeconfig", kubeconfig(), "install", "other", CHART])
        .args(&image));
    assert!(
        !second.ok && second.err.contains("cannot be imported"),
        "{}",
        second.err
    );

    helm(&["uninstall", "probity", "--namespace", NAMESPACE]);
    assert_eq!(
        get(&["customresourcedefinitions"]),
        crds,
        "models and policies survive an uninstall"
    );
    assert!(get(&one_role).is_empty());
    assert!(get(&["deployments", "--namespace", NAMESPACE]).is_empty());

    release("install", &[]);
    assert_eq!(get(&one_role).len(), 9);
}

/// What the operator writes into a webhook configuration, by an apply of this alone, stays when the chart is applied again.
fn the_bundle_of_the_operator_survives_an_upgrade(release: &dyn Fn(&str, &[&str]) -> String) {
    release("upgrade", &[]);
    let own = format!("{CHART}/ci/own-certificate.yaml");
    let rendered = render(&["--values", &own]);
    for (kind, webhook) in [
        ("ValidatingWebhookConfiguration", "pods.probity.dev"),
        ("MutatingWebhookConfiguration", "inject.probity.dev"),
    ] {
        let bundle = &find(&rendered, kind, "probity")["webhooks"][0]["clientConfig"]["caBundle"];
        let patch = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": "probity"},
            "webhooks": [{"name": webhook, "clientConfig": {"caBundle": bundle}}]
        });
        let apply = |file: &NamedTempFile| {
            must(
                kubectl()
                    .args([
                        "apply",
                        "--server-side",
                        "--field-manager=probity-certificates",
                        "-f",
                    ])
                    .arg(file.path()),
            );
        };
        apply(&file(&patch.to_string()));
        let of_kind = || -> Value {
            let json = must(kubectl().args(["get", kind, "probity", "--output", "json"]));
            serde_json::from_str(&json).unwrap()
        };
        let hook = &of_kind()["webhooks"][0];
        assert_eq!(&hook["clientConfig"]["caBundle"], bundle);
        assert_eq!(hook["failurePolicy"], "Fail", "the rest is as it was");

        release("upgrade", &["--set", "log.level=warn"]);
        let hook = &of_kind()["webhooks"][0];
        assert_eq!(
            &hook["clientConfig"]["caBundle"], bundle,
            "{kind} after an upgrade"
        );
        // And nothing can be made from such a patch: a webhook that is not there lacks all the rest.
        let mut other = patch.clone();
        other["webhooks"][0]["name"] = json!("other.probity.dev");
        let refused = run(kubectl()
            .args([
                "apply",
                "--server-side",
                "--field-manager=probity-certificates",
                "-f",
            ])
            .arg(file(&other.to_string()).path()));
        assert!(!refused.ok, "{}", refused.out);
    }
    release("upgrade", &["--set", "admission.enabled=false"]);
    assert!(get(&["validatingwebhookconfigurations"]).is_empty());
    assert!(get(&["mutatingwebhookconfigurations"]).is_empty());
    release("upgrade", &[]);
}

/// What the notes say to apply is what the server takes, to the last field.
fn the_notes_can_be_followed(notes: &str) {
    let (_, rest) = notes.split_once("<<EOF\n").unwrap();
    let (manifest, _) = rest.split_once("     EOF").unwrap();
    let lines: Vec<&str> = manifest
        .lines()
        .map(|line| line.strip_prefix("     ").unwrap_or_default())
        .collect();
    let manifest = lines.join("\n");
    must(
        kubectl()
            .args(["apply", "--dry-run=server", "--validate=strict", "-f"])
            .arg(file(&manifest).path()),
    );
}

/// Pod Security admission judges pods, not Deployments: so ask for the pod itself, where `restricted` is enforced.
fn the_pod_fits_the_strictest_namespace() {
    create_namespace(
        NAMESPACE,
        &json!({"pod-security.kubernetes.io/enforce": "restricted"}),
    );
    for values in value_files() {
        let objects = render(&["--values", &values]);
        let template = &find(&objects, "Deployment", "probity")["spec"]["template"];
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod"});
        pod["metadata"] =
            json!({"name": "operator", "namespace": NAMESPACE, "labels": template["metadata"]["labels"]});
        pod["spec"] = template["spec"].clone();
        must(
            kubectl()
                .args(["create", "--dry-run=server", "-f"])
                .arg(file(&pod.to_string()).path()),
        );
        // The same pod without its confinement is refused, so that the line above says something.
        pod["spec"]["containers"][0]["securityContext"] = json!({});
        let loose = run(kubectl()
            .args(["create", "--dry-run=server", "-f"])
            .arg(file(&pod.to_string()).path()));
        assert!(
            !loose.ok && loose.err.contains("violates PodSecurity"),
            "{}",
            loose.err
        );
    }
}

fn the_operator_may_read_a_secret_but_not_find_one() {
    let may = |verb: &str, resource: &str| {
        let account = format!("system:serviceaccount:{NAMESPACE}:probity");
        run(kubectl().args([
            "auth",
            "can-i",
            verb,
            resource,
            "--namespace",
            "default",
            "--as",
            &account,
        ]))
        .ok
    };
    assert!(
        may("get", "secrets")
            && may("patch", "deployments.apps")
            && may("delete", "artifactverifications.probity.dev")
    );
    for (verb, resource) in [
        ("list", "secrets"),
        ("watch", "secrets"),
        ("delete", "deployments.apps"),
        ("create", "pods"),
        // Pods it may delete: a policy with `onViolation: Stop` asks for that. What makes pods it may not.
        ("delete", "replicasets.apps"),
        ("create", "pods/exec"),
        ("list", "jobs.batch"),
        ("patch", "statefulsets.apps"),
        ("update", "modeldeployments.probity.dev"),
        ("create", "clusterroles.rbac.authorization.k8s.io"),
        ("patch", "namespaces"),
    ] {
        assert!(!may(verb, resource), "the operator may {verb} {resource}");
    }
}

/// Strict: the server refuses a field it does not know, where `helm install` would drop it.
#[test]
fn the_server_takes_every_field_that_is_rendered() {
    create_namespace("strict", &json!({}));
    for values in value_files() {
        let image = image();
        let rendered = must(
            tool("helm")
                .args([
                    "template",
                    "strict",
                    CHART,
                    "--namespace",
                    "strict",
                    "--values",
                    &values,
                ])
                .args(&image),
        );
        // The kinds of the Prometheus operator and of cert-manager are what this server does not know.
        let objects: Vec<Value> = helm::decode(&rendered)
            .into_iter()
            .filter(|object| !["ServiceMonitor", "Certificate"].contains(&object["kind"].as_str().unwrap()))
            .collect();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
        must(
            kubectl()
                .args(["apply", "--dry-run=server", "--validate=strict", "-f"])
                .arg(file(&list).path()),
        );
    }
}
