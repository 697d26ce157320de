//! What the chart renders: the definitions, the operator's command line, how confined its pod is.
//! What an API server makes of it is in `install`.

use std::{collections::BTreeSet, fs};

use clap::Parser as _;
use serde_json::{Value, json};

use crate::helm::{DIGEST, NAMESPACE, decode, find, render, tool, value_files};

fn operator(objects: &[Value]) -> &Value {
    find(objects, "Deployment", "probity")
}

fn pod(objects: &[Value]) -> &Value {
    &operator(objects)["spec"]["template"]["spec"]
}

fn args(objects: &[Value]) -> Vec<String> {
    serde_json::from_value(pod(objects)["containers"][0]["args"].clone()).unwrap()
}

fn crds_of(objects: &[Value]) -> Vec<&Value> {
    objects
        .iter()
        .filter(|object| object["kind"] == "CustomResourceDefinition")
        .collect()
}

/// The same value with `1` where helm or we wrote `1.0`: to JSON, and to the API server, they are one number.
fn plain(value: Value) -> Value {
    match value {
        Value::Number(number) => match number.as_f64() {
            #[expect(clippy::cast_possible_truncation, reason = "it has no fraction and is small")]
            Some(float) if float.fract() == 0.0 && float.abs() < 1e15 => json!(float as i64),
            _ => Value::Number(number),
        },
        Value::Array(items) => items.into_iter().map(plain).collect(),
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, field)| (name, plain(field)))
            .collect(),
        other => other,
    }
}

#[test]
fn the_definitions_are_those_of_the_program_and_stay_on_uninstall() {
    let objects = render(&[]);
    let mut rendered = BTreeSet::new();
    for crd in crds_of(&objects) {
        let mut crd = crd.clone();
        assert_eq!(
            crd["metadata"]["annotations"],
            json!({"helm.sh/resource-policy": "keep"})
        );
        let metadata = crd["metadata"].as_object_mut().unwrap();
        let name = metadata["name"].as_str().unwrap().to_owned();
        // What helm adds; everything else must be what the repository's crds/ says.
        metadata.remove("annotations");
        metadata.remove("labels");
        let file = format!("{}/{name}.yaml", crate::helm::CRDS);
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
        let committed = decode(&text).remove(0);
        assert!(
            plain(crd) == plain(committed),
            "{name} differs from crds/: run `make crds`"
        );
        rendered.insert(format!("{name}.yaml"));
    }
    let committed: BTreeSet<String> = fs::read_dir(crate::helm::CRDS)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(
        rendered, committed,
        "every definition of crds/ is in the chart and no other"
    );
}

#[test]
fn the_packaged_chart_has_the_definitions_too() {
    let directory = tempfile::tempdir().unwrap();
    let archive = crate::helm::must(
        tool("helm")
            .args(["package", crate::helm::CHART, "--destination"])
            .arg(directory.path()),
    );
    let archive = archive.trim().rsplit(' ').next().unwrap().to_owned();
    let image = crate::helm::image();
    let rendered = crate::helm::must(tool("helm").args(["template", "probity", &archive]).args(&image));
    assert_eq!(crds_of(&decode(&rendered)), crds_of(&render(&[])));
}

#[test]
fn the_definitions_can_be_left_to_somebody_else() {
    assert!(crds_of(&render(&["--set", "crds.install=false"])).is_empty());
}

#[test]
fn by_default_no_registry_gets_special_treatment() {
    let image = format!("registry.example/probity@{DIGEST}");
    let expected = [
        "operator",
        "--fetch-image",
        &image,
        "--admin-address",
        "0.0.0.0:8080",
        "--concurrency",
        "32",
        "--audit-interval",
        "5m",
        "--reports",
        "true",
        "--log-format",
        "json",
    ];
    assert_eq!(args(&render(&["--set", "admission.enabled=false"])), expected);
}

#[test]
fn every_value_about_registries_and_isolation_becomes_an_argument() {
    let file = format!("{}/ci/everything.yaml", crate::helm::CHART);
    let args = args(&render(&["--values", &file]));
    let pairs: Vec<(&str, &str)> = args[1..]
        .chunks_exact(2)
        .map(|pair| (&*pair[0], &*pair[1]))
        .collect();
    let image = format!("registry.example/probity@{DIGEST}");
    let earlier = image.replace("0001", "00aa");
    let expected = [
        ("--fetch-image", image.as_str()),
        ("--previous-image", earlier.as_str()),
        ("--admin-address", "0.0.0.0:8080"),
        ("--admission-address", "0.0.0.0:9443"),
        ("--admission-host", "probity-webhook.probity-system.svc"),
        ("--admission-secret", "probity-admission"),
        ("--webhook-configuration", "probity"),
        ("--relay-url", "https://probity-relay.probity-system.svc:8443"),
        ("--relay-secret", "probity-relay"),
        ("--plain-http", "10.0.0.5:5000"),
        ("--plain-http", "localhost"),
        ("--allow-host", "auth.example"),
        ("--allow-host", "storage.example:8443"),
        ("--allow-host", "[fd00::5]:5000"),
        ("--allow-registry", "registry.example"),
        ("--allow-registry", "registry.corp.example:5000"),
        (
            "--isolated-egress",
            r#"{"ports":[{"port":443}],"to":[{"ipBlock":{"cidr":"192.0.2.7/32"}}]}"#,
        ),
        ("--never-open", "198.51.100.0/28"),
        ("--concurrency", "16"),
        ("--audit-interval", "90s"),
        ("--reports", "false"),
        ("--log-format", "text"),
    ];
    assert_eq!(args[0], "operator");
    assert_eq!(pairs, expected);
}

/// The operator tries what the canary listens on, and the canary what the operator does: of each, the NetworkPolicy allows one of
/// the two.
#[test]
fn canaries_are_where_the_operator_looks_and_closed_where_it_must_not_come_in() {
    use probity::controller::isolation::{BACK_PORT, CANARIES, CLOSED_PORT, NOT_BACK_PORT, OPEN_PORT};
    let objects = render(&["--set", "isolation.canary.enabled=true"]);
    assert!(args(&objects).contains(&"--probe-canaries".to_owned()));
    let canary = &find(&objects, "DaemonSet", "probity-canary")["spec"];
    let (key, value) = CANARIES.split_once('=').unwrap();
    assert_eq!(canary["template"]["metadata"]["labels"][key], value);
    let pod = &canary["template"]["spec"];
    let line: Vec<String> = serde_json::from_value(pod["containers"][0]["args"].clone()).unwrap();
    let listens = |port: u16| format!("0.0.0.0:{port}");
    assert_eq!(
        line,
        [
            "canary",
            "--open",
            &listens(OPEN_PORT),
            "--closed",
            &listens(CLOSED_PORT),
            "--back",
            &BACK_PORT.to_string(),
            "--not-back",
            &NOT_BACK_PORT.to_string()
        ]
    );
    probity::cli::Cli::try_parse_from(std::iter::once("probity".to_owned()).chain(line)).unwrap();
    assert_eq!(pod["automountServiceAccountToken"], false);
    let policy = &find(&objects, "NetworkPolicy", "probity-canary")["spec"];
    assert_eq!(policy["podSelector"], canary["selector"]);
    assert_eq!(policy["policyTypes"], json!(["Ingress", "Egress"]));
    let operators = operator(&objects)["spec"]["selector"].clone();
    assert_eq!(
        policy["ingress"],
        json!([{"from": [{"podSelector": operators}], "ports": [{"protocol": "TCP", "port": OPEN_PORT}]}])
    );
    assert_eq!(
        policy["egress"],
        json!([{"to": [{"podSelector": operators}], "ports": [{"protocol": "TCP", "port": BACK_PORT}]}])
    );
    assert!(
        render(&[]).iter().all(|object| object["kind"] != "DaemonSet"),
        "only where it is asked for"
    );
}

#[test]
fn the_operator_understands_its_arguments() {
    for file in value_files() {
        let args = args(&render(&["--values", &file]));
        let line = std::iter::once("probity").chain(args.iter().map(String::as_str));
        if let Err(error) = probity::cli::Cli::try_parse_from(line) {
            panic!("{file}: {error}");
        }
    }
}

#[test]
fn the_image_it_runs_is_the_image_it_injects() {
    let objects = render(&[]);
    let args = args(&objects);
    let fetch = &args[args.iter().position(|arg| arg == "--fetch-image").unwrap() + 1];
    assert_eq!(pod(&objects)["containers"][0]["image"], fetch.as_str());
}

#[test]
fn the_pod_is_confined_with_every_set_of_values() {
    for file in value_files() {
        let objects = render(&["--values", &file]);
        let pod = pod(&objects);
        assert_eq!(
            pod["securityContext"],
            json!({"runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "seccompProfile": {"type": "RuntimeDefault"}})
        );
        assert_eq!(
            pod["containers"][0]["securityContext"],
            json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}})
        );
        let image = pod["containers"][0]["image"].as_str().unwrap();
        assert!(image.ends_with(&format!("@{DIGEST}")), "{image}");
        for absent in ["hostNetwork", "hostPID", "hostIPC", "volumes", "initContainers"] {
            assert_eq!(pod[absent], Value::Null, "{absent}");
        }
    }
}

#[test]
fn health_and_metrics_are_asked_for_where_the_operator_answers() {
    let objects = render(&["--set", "metrics.serviceMonitor.enabled=true"]);
    let container = &pod(&objects)["containers"][0];
    assert_eq!(
        container["ports"],
        json!([{"name": "admin", "containerPort": 8080}, {"name": "admission", "containerPort": 9443}])
    );
    assert_eq!(
        container["livenessProbe"]["httpGet"],
        json!({"path": "/livez", "port": "admin"})
    );
    assert_eq!(
        container["readinessProbe"]["httpGet"],
        json!({"path": "/readyz", "port": "admin"})
    );
    let service = find(&objects, "Service", "probity-metrics");
    assert_eq!(
        service["spec"]["ports"],
        json!([{"name": "metrics", "port": 8080, "targetPort": "admin"}])
    );
    let labels = &operator(&objects)["spec"]["template"]["metadata"]["labels"];
    for (label, value) in service["spec"]["selector"].as_object().unwrap() {
        assert_eq!(&labels[label], value, "the Service finds the pod by {label}");
    }
    let monitor = find(&objects, "ServiceMonitor", "probity");
    assert_eq!(
        monitor["spec"]["endpoints"],
        json!([{"port": "metrics", "path": "/metrics"}])
    );
    for (label, value) in monitor["spec"]["selector"]["matchLabels"].as_object().unwrap() {
        assert_eq!(
            &service["metadata"]["labels"][label], value,
            "Prometheus finds the Service by {label}"
        );
    }
}

#[test]
fn objects_in_a_namespace_are_in_that_of_the_release() {
    let everything = format!("{}/ci/everything.yaml", crate::helm::CHART);
    for object in render(&["--values", &everything]) {
        let namespaced = [
            "DaemonSet",
            "Deployment",
            "NetworkPolicy",
            "PodDisruptionBudget",
            "Role",
            "RoleBinding",
            "Service",
            "ServiceAccount",
            "ServiceMonitor",
        ];
        let expected = if namespaced.iter().any(|kind| object["kind"] == *kind) {
            json!(NAMESPACE)
        } else {
            Value::Null
        };
        assert_eq!(object["metadata"]["namespace"], expected, "{}", object["kind"]);
    }
}

#[test]
fn another_name_of_the_release_is_in_every_name_and_none_is_too_long() {
    let image = crate::helm::image();
    let release = "a".repeat(53);
    let rendered = crate::helm::must(
        tool("helm")
            .args([
                "template",
                &release,
                crate::helm::CHART,
                "--set",
                "admission.enabled=true,admission.mutate=true",
            ])
            .args(&image),
    );
    let objects = decode(&rendered);
    for object in objects
        .iter()
        .filter(|object| object["kind"] != "CustomResourceDefinition")
    {
        let name = object["metadata"]["name"].as_str().unwrap();
        assert!(
            name.starts_with("aaaa") && name.len() <= 63,
            "{} {name}",
            object["kind"]
        );
    }
}

fn webhooks(objects: &[Value]) -> Vec<&Value> {
    objects
        .iter()
        .filter(|object| object["kind"].as_str().unwrap().ends_with("WebhookConfiguration"))
        .collect()
}

#[test]
fn the_door_can_be_taken_away() {
    let objects = render(&["--set", "admission.enabled=false"]);
    assert!(webhooks(&objects).is_empty());
    let args = args(&objects);
    assert!(!args.iter().any(|arg| arg.contains("admission")), "{args:?}");
    let kinds = |args: &[&str]| -> Vec<Value> {
        let objects = render(args);
        webhooks(&objects)
            .iter()
            .map(|object| object["kind"].clone())
            .collect()
    };
    assert_eq!(
        kinds(&[]),
        ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"]
    );
    assert_eq!(
        kinds(&["--set", "admission.mutate=false"]),
        ["ValidatingWebhookConfiguration"]
    );
}

/// The safety of the cluster hangs on these lines: each is here once more, word for word.
#[expect(clippy::too_many_lines, reason = "each line once more")]
#[test]
fn the_webhooks_ask_for_pods_of_governed_namespaces_and_fail_closed() {
    let file = format!("{}/ci/everything.yaml", crate::helm::CHART);
    let objects = render(&["--values", &file]);
    let shared = |name: &str, path: &str| {
        json!({
            "name": name,
            "admissionReviewVersions": ["v1"],
            "clientConfig": {"service": {"name": "probity-webhook", "namespace": NAMESPACE, "path": path, "port": 443}},
            "namespaceSelector": {"matchExpressions": [
                {"key": "probity.dev/governed", "operator": "In", "values": ["true"]},
                {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system", "kube-node-lease", NAMESPACE]}
            ]},
            "failurePolicy": "Fail", "matchPolicy": "Equivalent", "sideEffects": "None", "timeoutSeconds": 5
        })
    };
    let rule_of = |group: &str, version: &str, resources: Value, operations: Value, scope: &str| json!({"apiGroups": [group], "apiVersions": [version], "resources": resources, "operations": operations, "scope": scope});
    let rule = |resources, operations| rule_of("", "v1", resources, operations, "Namespaced");
    let mut validating = shared("pods.probity.dev", "/validate");
    validating["rules"] = json!([
        rule(json!(["pods"]), json!(["CREATE", "UPDATE"])),
        rule(
            json!(["pods/ephemeralcontainers", "pods/resize"]),
            json!(["UPDATE"])
        )
    ]);
    let mut rights = shared("rights.probity.dev", "/validate");
    rights["rules"] = json!([rule_of(
        "rbac.authorization.k8s.io",
        "v1",
        json!(["rolebindings", "roles"]),
        json!(["CREATE", "UPDATE"]),
        "Namespaced"
    )]);
    let mut networks = shared("networks.probity.dev", "/validate");
    let account = format!("system:serviceaccount:{NAMESPACE}:probity");
    networks["matchConditions"] = json!([{
        "name": "not-the-operator", "expression": format!("request.userInfo.username != '{account}'")
    }]);
    networks["rules"] = json!([
        rule_of(
            "networking.k8s.io",
            "v1",
            json!(["networkpolicies"]),
            json!(["CREATE", "UPDATE"]),
            "Namespaced"
        ),
        rule_of(
            "cilium.io",
            "*",
            json!(["ciliumnetworkpolicies"]),
            json!(["CREATE", "UPDATE"]),
            "Namespaced"
        )
    ]);
    // These two refuse nothing that the operator would not refuse again, so nothing waits for them.
    let beside = |name: &str, rules: Value| {
        let mut hook = shared(name, "/validate");
        hook["failurePolicy"] = json!("Ignore");
        hook["timeoutSeconds"] = json!(2);
        hook["rules"] = rules;
        hook
    };
    let written = || json!(["CREATE", "UPDATE"]);
    let workloads = json!(["deployments", "replicasets", "statefulsets", "daemonsets"]);
    let templates = json!([
        rule_of("apps", "v1", workloads, written(), "Namespaced"),
        rule_of(
            "batch",
            "v1",
            json!(["jobs", "cronjobs"]),
            written(),
            "Namespaced"
        ),
    ]);
    let namespaced = json!([
        "modeldeployments",
        "deploymentpolicies",
        "robustnesspolicies",
        "waivers"
    ]);
    let cluster = json!(["clusterdeploymentpolicies", "trustroots"]);
    let objects_of_ours = json!([
        rule_of("probity.dev", "v1alpha1", namespaced, written(), "Namespaced"),
        rule_of("probity.dev", "v1alpha1", cluster, written(), "Cluster"),
    ]);
    let mut mutating = shared("inject.probity.dev", "/mutate");
    mutating["reinvocationPolicy"] = json!("IfNeeded");
    mutating["rules"] = json!([rule(json!(["pods"]), json!(["CREATE"]))]);
    let waivers = json!([rule_of(
        "probity.dev",
        "v1alpha1",
        json!(["waivers"]),
        json!(["CREATE"]),
        "Namespaced"
    )]);
    let mut stamping = beside("waivers.probity.dev", waivers);
    stamping["clientConfig"]["service"]["path"] = json!("/mutate");
    let of = |kind| &find(&objects, kind, "probity")["webhooks"];
    assert_eq!(
        of("ValidatingWebhookConfiguration"),
        &json!([
            validating,
            rights,
            networks,
            beside("templates.probity.dev", templates),
            beside("objects.probity.dev", objects_of_ours)
        ])
    );
    assert_eq!(of("MutatingWebhookConfiguration"), &json!([mutating, stamping]));
}

#[test]
fn the_api_server_asks_where_the_operator_answers() {
    let objects = render(&["--set", "admission.enabled=true"]);
    let service = find(&objects, "Service", "probity-webhook");
    assert_eq!(
        service["spec"]["ports"],
        json!([{"name": "admission", "port": 443, "targetPort": "admission"}])
    );
    let labels = &operator(&objects)["spec"]["template"]["metadata"]["labels"];
    for (label, value) in service["spec"]["selector"].as_object().unwrap() {
        assert_eq!(&labels[label], value, "the Service finds the pod by {label}");
    }
    let port = json!({"name": "admission", "containerPort": 9443});
    assert_eq!(pod(&objects)["containers"][0]["ports"][1], port);
}

#[test]
fn whoever_makes_the_certificate_says_whom_to_trust() {
    let bundle = |objects: &[Value]| {
        let all: Vec<_> = webhooks(objects)
            .iter()
            .map(|object| object["webhooks"][0]["clientConfig"]["caBundle"].clone())
            .collect();
        all
    };
    assert_eq!(bundle(&render(&[])), [Value::Null, Value::Null]);

    let own = render(&[
        "--values",
        &format!("{}/ci/own-certificate.yaml", crate::helm::CHART),
    ]);
    assert!(bundle(&own).iter().all(Value::is_string), "{:?}", bundle(&own));
    assert!(args(&own).contains(&"brought-along".to_owned()));
    assert!(!args(&own).contains(&"--webhook-configuration".to_owned()));

    let theirs = render(&[
        "--values",
        &format!("{}/ci/cert-manager.yaml", crate::helm::CHART),
    ]);
    assert_eq!(bundle(&theirs), [Value::Null]);
    assert!(!args(&theirs).contains(&"--webhook-configuration".to_owned()));
    let certificate = find(&theirs, "Certificate", "probity-admission");
    assert_eq!(
        webhooks(&theirs)[0]["metadata"]["annotations"]["cert-manager.io/inject-ca-from"],
        "probity-system/probity-admission"
    );
    assert_eq!(certificate["spec"]["secretName"], "probity-admission");
    assert_eq!(
        certificate["spec"]["dnsNames"],
        json!(["probity-webhook.probity-system.svc"])
    );
}

#[test]
fn two_replicas_are_kept_apart_and_one_of_them_alive() {
    let objects = render(&[]);
    let spec = &operator(&objects)["spec"];
    assert_eq!(spec["replicas"], 2);
    assert_eq!(
        spec["strategy"],
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}})
    );
    for spread in pod(&objects)["topologySpreadConstraints"].as_array().unwrap() {
        assert_eq!(
            spread["whenUnsatisfiable"], "ScheduleAnyway",
            "one node is enough"
        );
        assert_eq!(
            spread["labelSelector"]["matchLabels"],
            spec["selector"]["matchLabels"]
        );
    }
    let budget = find(&objects, "PodDisruptionBudget", "probity");
    assert_eq!(budget["spec"]["minAvailable"], 1);
    assert_eq!(budget["spec"]["selector"], spec["selector"]);

    let objects = render(&["--set", "replicas=1"]);
    assert!(
        !objects
            .iter()
            .any(|object| object["kind"] == "PodDisruptionBudget")
    );
    assert_eq!(pod(&objects)["topologySpreadConstraints"], Value::Null);
}

#[test]
fn the_relay_is_where_pods_are_told_it_is() {
    let objects = render(&["--set", "relay.enabled=true,registries.plainHTTP={10.0.0.5:5000}"]);
    let args = args(&objects);
    let at = args.iter().position(|arg| arg == "--relay-url").unwrap();
    assert_eq!(
        args[at + 1],
        format!("https://probity-relay.{NAMESPACE}.svc:8443")
    );
    assert_eq!(args[at + 2..at + 4], ["--relay-secret", "probity-relay"]);
    let service = find(&objects, "Service", "probity-relay");
    assert_eq!(service["spec"]["ports"][0]["port"], 8443);
    let template = &find(&objects, "Deployment", "probity-relay")["spec"]["template"];
    // As isolated models are let out to it.
    let labels = &template["metadata"]["labels"];
    assert_eq!(
        labels["app.kubernetes.io/component"],
        probity::workload::RELAY_COMPONENT
    );
    let ports = template["spec"]["containers"][0]["ports"].as_array().unwrap();
    let asked = ports.iter().find(|port| port["name"] == "relay").unwrap();
    assert_eq!(asked["containerPort"], probity::workload::RELAY_PORT);
    for (label, value) in service["spec"]["selector"].as_object().unwrap() {
        assert_eq!(&template["metadata"]["labels"][label], value);
    }
    assert_eq!(
        template["metadata"]["labels"]["app.kubernetes.io/component"],
        "relay"
    );
    let spec = &template["spec"];
    let relay = serde_json::to_string(&spec["containers"][0]["args"]).unwrap();
    for part in [
        r#""--cache-bytes","21474836480""#,
        r#""--plain-http","10.0.0.5:5000""#,
    ] {
        assert!(relay.contains(part), "{relay}");
    }
    assert_eq!(spec["volumes"][0]["secret"]["secretName"], "probity-relay");
    assert_eq!(spec["volumes"][1]["emptyDir"]["sizeLimit"], "21Gi");
    // The operator's own Services and budgets must not take the relay's pods for theirs.
    let operators = &find(&objects, "Deployment", "probity")["spec"]["selector"]["matchLabels"];
    assert_ne!(
        operators["app.kubernetes.io/component"],
        template["metadata"]["labels"]["app.kubernetes.io/component"]
    );
}

#[test]
fn without_the_relay_nothing_of_it_is_there() {
    let objects = render(&[]);
    let named = |object: &&Value| object["metadata"]["name"].as_str().unwrap().contains("relay");
    assert_eq!(objects.iter().filter(named).count(), 0);
    assert!(!args(&objects).iter().any(|arg| arg.contains("relay")));
}
