//! Pods of workloads that other people run and a model governs: with the verifier that admission puts into them they are
//! let in, from whoever makes such pods, and in no other shape. The pods are those that Probity's own fitting makes.

use probity::{
    evidence::{Digest, Reference},
    workload::{AdoptedSource, Adoption, Pins, PodSettings, RunningModel, Terms, fit},
};
use serde_json::{Value, json};

use crate::{
    cluster::{
        ADMIN, Answer, COLLECTOR, CRONJOBS, DAEMONSETS, DEPLOYMENTS, JANE, JOBS, KUBELET, NODE, OPERATOR,
        OUR_IMAGE, REPLICASETS, STATEFULSETS, create, delete, governed, merge, model_pod, none_wrong,
        not_refused, other_pod, refused, with,
    },
    pods::Shape,
};

/// Who makes pods of what.
const MAKERS: [(&str, &str, &str); 4] = [
    (REPLICASETS, "apps/v1", "ReplicaSet"),
    (STATEFULSETS, "apps/v1", "StatefulSet"),
    (DAEMONSETS, "apps/v1", "DaemonSet"),
    (JOBS, "batch/v1", "Job"),
];
const MADE_BY: &[&str] = &[
    "a pod with the container probity-verify is made by the controller of a ReplicaSet, StatefulSet, DaemonSet or Job",
    "spec.workloadRef",
];
const STATUS: &[&str] = &[
    "status: how a model's pod is doing is written by its node",
    "delete the pod",
];

fn pods(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/pods")
}

async fn try_create(user: &str, namespace: &str, pod: &Value) -> Answer {
    create(user, &format!("{}?dryRun=All", pods(namespace)), pod).await
}

fn terms() -> Terms {
    Terms {
        image: OUR_IMAGE.to_owned(),
        keys: vec!["bank/release=AAAA".into()],
        digest: None,
        refuse: Vec::new(),
    }
}

fn claim() -> AdoptedSource {
    AdoptedSource::Claim {
        claim: "models".into(),
        path: Some("digits/1".into()),
        terms: terms(),
    }
}

fn registry() -> AdoptedSource {
    let digest = Digest::from_bytes([0xaa; 32]);
    let reference: Reference = format!("registry.example/models/digits@{digest}")
        .parse()
        .unwrap();
    AdoptedSource::Registry(RunningModel {
        reference,
        digest,
        size: 604_211,
        pull_secret: Some("pull".into()),
    })
}

/// The pod that a `StatefulSet`'s author wrote, as admission sends it on.
fn fitted(source: AdoptedSource, (version, kind): (&str, &str)) -> Value {
    let settings = PodSettings {
        fetch_image: OUR_IMAGE.to_owned(),
        host_arguments: Vec::new(),
        relay: None,
        previous_images: Vec::new(),
    };
    let adoption = Adoption {
        mount_path: "/mnt/models".into(),
        source,
        images: Pins::default(),
    };
    let tmp = json!({"name": "tmp", "mountPath": "/tmp"});
    let spec = json!({
        "containers": [
            {"name": "server", "image": "registry.example/server:1",
             "volumeMounts": [tmp, {"name": "models", "mountPath": "/mnt/models", "subPath": "digits/1"}]},
            {"name": "agent", "image": "registry.example/agent:1", "volumeMounts": [tmp]}],
        "initContainers": [{"name": "prepare", "image": "registry.example/prepare:1", "volumeMounts": [tmp]}],
        "restartPolicy": if kind == "Job" { "Never" } else { "Always" },
        "volumes": [{"name": "models", "persistentVolumeClaim": {"claimName": "models"}}, {"name": "tmp", "emptyDir": {}}],
    });
    let fitted = fit(&serde_json::from_value(spec).unwrap(), &adoption, &settings).unwrap();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "digits-0", "labels": {"app": "digits", "probity.dev/model": "digits"}, "ownerReferences": [
            {"apiVersion": version, "kind": kind, "name": "digits", "controller": true, "uid": "5a3cbb0e-0000-4000-8000-000000000004"}]},
        "spec": fitted,
    })
}

fn stateful() -> Value {
    fitted(claim(), ("apps/v1", "StatefulSet"))
}

/// A pod of a `StatefulSet` that is there, by its path.
async fn running(namespace: &str) -> String {
    create(STATEFULSETS, &pods(namespace), &stateful()).await.unwrap();
    format!("{}/digits-0", pods(namespace))
}

#[tokio::test]
async fn a_pod_with_the_verifier_is_let_in_from_whoever_makes_such_pods() {
    let namespace = governed().await;
    let mounted = || AdoptedSource::Mounted { terms: terms() };
    let mut wrong = Vec::new();
    for (maker, version, kind) in MAKERS {
        for (what, source) in [
            ("claim", claim()),
            ("mounted", mounted()),
            ("registry", registry()),
        ] {
            let pod = fitted(source, (version, kind));
            if let Err(error) = try_create(maker, &namespace, &pod).await {
                wrong.push(format!("{kind} {what}: {error}"));
            }
        }
    }
    // What is its author's business.
    for (pointer, value) in [
        ("/spec/automountServiceAccountToken", json!(true)),
        (
            "/spec/containers/1/securityContext",
            json!({"capabilities": {"add": ["NET_BIND_SERVICE"]}}),
        ),
        (
            "/spec/containers/1/volumeDevices",
            json!([{"name": "models", "devicePath": "/dev/x"}]),
        ),
        (
            "/spec/initContainers/-",
            json!({"name": "beside", "image": "registry.example/x:1", "restartPolicy": "Always",
                "volumeMounts": [{"name": "probity-model", "mountPath": "/mnt/models", "readOnly": true}]}),
        ),
    ] {
        let pod = with(stateful(), pointer, value);
        if let Err(error) = try_create(STATEFULSETS, &namespace, &pod).await {
            wrong.push(format!("{pointer}: {error}"));
        }
    }
    none_wrong(&wrong);
}

#[tokio::test]
async fn no_other_maker_and_no_other_owner_makes_such_a_pod() {
    let namespace = governed().await;
    let mut wrong = Vec::new();
    for (maker, version, kind) in MAKERS {
        let pod = fitted(claim(), (version, kind));
        let others = MAKERS
            .map(|(other, ..)| other)
            .into_iter()
            .filter(|other| *other != maker);
        let strangers = [JANE, ADMIN, OPERATOR, DEPLOYMENTS, CRONJOBS, KUBELET];
        let foreign = ["system:serviceaccount:other:statefulset-controller"];
        for user in others.chain(strangers).chain(foreign) {
            let answer = try_create(user, &namespace, &pod).await;
            wrong.extend(
                not_refused(&answer, "pods", MADE_BY).map(|text| format!("{kind} by {user}: {text}")),
            );
        }
    }
    let owner = "/metadata/ownerReferences/0";
    for forged in [
        with(stateful(), "/metadata/ownerReferences", Value::Null),
        with(stateful(), &format!("{owner}/controller"), json!(false)),
        with(stateful(), &format!("{owner}/kind"), json!("ReplicaSet")),
        with(
            stateful(),
            &format!("{owner}/apiVersion"),
            json!("example.com/v1"),
        ),
        with(stateful(), "/metadata/labels/probity.dev~1model", Value::Null),
    ] {
        let answer = try_create(STATEFULSETS, &namespace, &forged).await;
        wrong.extend(
            not_refused(&answer, "pods", MADE_BY).map(|text| format!("{}: {text}", forged["metadata"])),
        );
    }
    none_wrong(&wrong);
}

#[tokio::test]
async fn such_a_pod_of_another_shape_is_refused() {
    let namespace = governed().await;
    let shapes: Vec<Shape> = serde_saphyr::from_str(include_str!("adopted.yaml")).unwrap();
    assert!(shapes.len() > 30, "the table is gone");
    let mut wrong = Vec::new();
    for Shape { what, set, to, says } in shapes {
        let answer = try_create(STATEFULSETS, &namespace, &with(stateful(), &set, to)).await;
        wrong.extend(not_refused(&answer, "pods", &[&says]).map(|text| format!("{what}: {text}")));
    }
    let secret = json!({"name": "probity-credentials", "mountPath": "/x", "readOnly": true});
    let fetching = fitted(registry(), ("apps/v1", "StatefulSet"));
    let fetching = with(fetching, "/spec/containers/1/volumeMounts/-", secret);
    let answer = try_create(STATEFULSETS, &namespace, &fetching).await;
    let says = &["probity-credentials is for probity-verify alone"];
    wrong.extend(not_refused(&answer, "pods", says).map(|text| format!("pull secret: {text}")));
    let open = with(stateful(), "/spec/hostUsers", json!(false));
    let open = with(
        open,
        "/spec/containers/1/securityContext",
        json!({"procMount": "Unmasked"}),
    );
    let answer = try_create(STATEFULSETS, &namespace, &open).await;
    wrong.extend(not_refused(&answer, "pods", &["unmasks /proc"]).map(|text| format!("proc: {text}")));
    // What starts before the verifier and stays reads what is not verified.
    let mut early = stateful();
    let sidecar = json!({"name": "early", "image": "registry.example/x:1", "restartPolicy": "Always",
        "volumeMounts": [{"name": "probity-model", "mountPath": "/mnt/models", "readOnly": true}]});
    early["spec"]["initContainers"]
        .as_array_mut()
        .unwrap()
        .insert(0, sidecar);
    let answer = try_create(STATEFULSETS, &namespace, &early).await;
    let says = &["a sidecar that reads the model starts after probity-verify"];
    wrong.extend(not_refused(&answer, "pods", says).map(|text| format!("early: {text}")));
    // The pod that Probity plans is not let off anything by another maker.
    let answer = try_create(STATEFULSETS, &namespace, &model_pod(&namespace, "digits-1")).await;
    let says = &["whose pods only the ReplicaSet controller makes"];
    wrong.extend(not_refused(&answer, "pods", says).map(|text| format!("planned: {text}")));
    none_wrong(&wrong);
}

#[tokio::test]
async fn such_a_pod_lives_and_stays_what_it_is() {
    let namespace = governed().await;
    let url = running(&namespace).await;
    let dry = format!("{url}?dryRun=All");
    let orphaned = json!({"metadata": {"ownerReferences": null}});
    for user in [STATEFULSETS, COLLECTOR] {
        merge(user, &dry, &orphaned).await.unwrap();
    }
    for user in [JANE, ADMIN, DEPLOYMENTS] {
        refused(
            &merge(user, &dry, &orphaned).await,
            "pods",
            &["metadata.ownerReferences: a model's pod stays with"],
        );
    }
    let unmarked = json!({"metadata": {"labels": {"probity.dev/model": null}}});
    refused(
        &merge(STATEFULSETS, &dry, &unmarked).await,
        "pods",
        &["stay as they are"],
    );
    // Also who may break the glass leaves the model and where it comes from alone.
    let debug = format!("{url}/ephemeralcontainers?dryRun=All");
    let mounts = |mounts: Value| json!({"spec": {"ephemeralContainers": [{"name": "debug", "image": "busybox", "volumeMounts": mounts}]}});
    merge(ADMIN, &debug, &mounts(json!([]))).await.unwrap();
    for (mount, says) in [
        (
            json!({"name": "probity-model", "mountPath": "/x"}),
            "set readOnly to true",
        ),
        (
            json!({"name": "probity-source", "mountPath": "/x", "readOnly": true}),
            "for probity-verify alone",
        ),
    ] {
        refused(
            &merge(ADMIN, &debug, &mounts(json!([mount]))).await,
            "pods",
            &[says],
        );
    }
    delete(JANE, &format!("{url}?gracePeriodSeconds=0"))
        .await
        .unwrap();
}

/// The verifier's report is in the status, and so is the address that clients are sent to.
#[tokio::test]
async fn how_a_models_pod_is_doing_is_written_by_nodes_and_controllers_alone() {
    let namespace = governed().await;
    create(REPLICASETS, &pods(&namespace), &model_pod(&namespace, "digits-1"))
        .await
        .unwrap();
    create(JANE, &pods(&namespace), &other_pod("shop")).await.unwrap();
    let adopted = running(&namespace).await;
    let planned = format!("{}/digits-1", pods(&namespace));
    let report = json!({"status": {"initContainerStatuses": [{"name": "probity-verify", "image": "x", "imageID": "x", "ready": true,
        "restartCount": 0, "state": {"terminated": {"exitCode": 0, "message": "signed"}}}]}});
    let condition =
        json!({"status": {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "x"}]}});
    let gate = json!({"type": "probity.dev/serving", "status": "False", "reason": "x"});
    let (shut, both) = (
        json!({"status": {"conditions": [gate]}}),
        json!({"status": {"conditions": [gate, condition["status"]["conditions"][0]]}}),
    );
    let mut wrong = Vec::new();
    for url in [&adopted, &planned] {
        let status = format!("{url}/status?dryRun=All");
        let strangers = [
            JANE,
            ADMIN,
            OPERATOR,
            "system:serviceaccount:other:node-lifecycle",
        ];
        for user in strangers {
            // The readiness gate is the operator's to open and to shut, and nothing beside it.
            let forbidden = [&report, &condition, &both, &shut];
            let forbidden = &forbidden[..if user == OPERATOR { 3 } else { 4 }];
            for patch in forbidden {
                let answer = merge(user, &status, patch).await;
                wrong
                    .extend(not_refused(&answer, "pods", STATUS).map(|text| format!("{user} {url}: {text}")));
            }
        }
        if let Err(error) = merge(OPERATOR, &status, &shut).await {
            wrong.push(format!("the operator's gate of {url}: {error}"));
        }
        let taints = "system:serviceaccount:kube-system:taint-eviction-controller";
        for user in [KUBELET, NODE, "system:kube-scheduler", taints, JOBS] {
            for patch in [&report, &condition] {
                if let Err(error) = merge(user, &status, patch).await {
                    wrong.push(format!("{user} {url}: {error}"));
                }
            }
        }
    }
    // Other pods are not our business.
    merge(JANE, &format!("{}/shop/status", pods(&namespace)), &condition)
        .await
        .unwrap();
    none_wrong(&wrong);
}

/// An expression that costs too much denies, so the largest pods there are must cost less.
#[tokio::test]
async fn such_a_pod_of_very_many_parts_is_judged_within_the_budget() {
    let namespace = governed().await;
    let model = json!({"name": "probity-model", "mountPath": "/mnt/models", "readOnly": true});
    let part = |number: usize, more: Value| {
        let mounts = (0..60).map(|n| json!({"name": format!("part-{n}"), "mountPath": format!("/{n}")}));
        let mounts: Vec<Value> = mounts.chain([model.clone()]).collect();
        let mut part = json!({"image": "registry.example/x:1", "volumeMounts": mounts,
            "securityContext": {"capabilities": {"add": ["NET_BIND_SERVICE"]}}});
        part["name"] = json!(format!("part-{number}"));
        part.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        part
    };
    let mut pod = stateful();
    for number in 0..60 {
        let volume = json!({"name": format!("part-{number}"), "emptyDir": {}});
        pod = with(pod, "/spec/volumes/-", volume);
        pod = with(pod, "/spec/containers/-", part(number, json!({})));
        let sidecar = part(100 + number, json!({"restartPolicy": "Always"}));
        pod = with(pod, "/spec/initContainers/-", sidecar);
    }
    let url = format!("{}/digits-0", pods(&namespace));
    create(STATEFULSETS, &pods(&namespace), &pod).await.unwrap();
    let note = json!({"metadata": {"labels": {"team": "fraud"}}});
    merge(JANE, &url, &note).await.unwrap();
    let status = json!({"status": {"phase": "Running"}});
    merge(KUBELET, &format!("{url}/status"), &status).await.unwrap();
}
