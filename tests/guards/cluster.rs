//! A cluster with the chart's guards in force, people in it, and words for what they ask.
//! Everybody may do everything that RBAC can grant without a `*`: so whatever is refused, a guard refused it.

use std::{sync::OnceLock, time::Duration};

use kube::Client;
use serde_json::{Value, json};
use tokio::{sync::OnceCell, time::sleep};

use crate::testbed;

/// Somebody with every right that RBAC lets one grant verb by verb.
pub const JANE: &str = "jane@example.com";
pub use crate::testbed::OPERATOR;
pub const REPLICASETS: &str = "system:serviceaccount:kube-system:replicaset-controller";
pub const DEPLOYMENTS: &str = "system:serviceaccount:kube-system:deployment-controller";
pub const STATEFULSETS: &str = "system:serviceaccount:kube-system:statefulset-controller";
pub const DAEMONSETS: &str = "system:serviceaccount:kube-system:daemon-set-controller";
pub const JOBS: &str = "system:serviceaccount:kube-system:job-controller";
pub const CRONJOBS: &str = "system:serviceaccount:kube-system:cronjob-controller";
pub const COLLECTOR: &str = "system:serviceaccount:kube-system:generic-garbage-collector";
pub const NAMESPACES: &str = "system:serviceaccount:kube-system:namespace-controller";
pub const KUBELET: &str = "system:node:node-1";
/// A node by its group alone.
pub const NODE: &str = "kubelet-1";
/// The administrator, whom RBAC cannot refuse anything.
pub const ADMIN: &str = "system:admin";
/// Who belongs to this group may do everything but what takes a verb of its own.
const TEAM: &str = "team";
/// The image in the snapshots of what the operator plans, so that its own pods are the ones tried here.
pub const OUR_IMAGE: &str =
    "registry.example/probity@sha256:fefefefefefefefefefefefefefefefefefefefefefefefefefefefefefefefe";
/// How long the API server may take to see a change.
const PATIENCE: Duration = Duration::from_secs(60);

pub type Answer = Result<Value, String>;

/// The client of one person in these groups.
async fn client(user: &str, groups: &[&str]) -> Client {
    let config = testbed::config_as(testbed::kubeconfig(), user, groups).await;
    Client::try_from(config).unwrap()
}

async fn send(user: &str, groups: &[&str], method: &str, path: &str, content: &str, body: &Value) -> Answer {
    // An empty object would be options that say nothing of a dry run.
    let body = if body.is_null() {
        Vec::new()
    } else {
        body.to_string().into_bytes()
    };
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", content)
        .body(body)
        .unwrap();
    let text = client(user, groups).await.request_text(request).await;
    match text {
        Ok(text) => Ok(serde_json::from_str(&text).unwrap_or(Value::String(text))),
        Err(kube::Error::Api(status)) => Err(status.message),
        Err(other) => panic!("{method} {path}: the API server cannot be asked: {other}"),
    }
}

/// The groups in which somebody asks: the administrator's are above RBAC.
fn groups(user: &str) -> &'static [&'static str] {
    match user {
        ADMIN => &["system:masters"],
        NODE => &[TEAM, "system:nodes"],
        _ => &[TEAM],
    }
}

/// `kubectl create`: the path is the collection's.
pub async fn create(user: &str, path: &str, body: &Value) -> Answer {
    send(user, groups(user), "POST", path, "application/json", body).await
}

/// `kubectl patch --type merge`.
pub async fn merge(user: &str, path: &str, body: &Value) -> Answer {
    send(
        user,
        groups(user),
        "PATCH",
        path,
        "application/merge-patch+json",
        body,
    )
    .await
}

/// `kubectl patch --type json`.
pub async fn edit(user: &str, path: &str, body: &Value) -> Answer {
    send(
        user,
        groups(user),
        "PATCH",
        path,
        "application/json-patch+json",
        body,
    )
    .await
}

/// `kubectl apply --server-side --force-conflicts`.
pub async fn apply(user: &str, path: &str, body: &Value) -> Answer {
    let path = format!("{path}?fieldManager=tests&force=true");
    send(
        user,
        groups(user),
        "PATCH",
        &path,
        "application/apply-patch+yaml",
        body,
    )
    .await
}

/// `kubectl replace`.
pub async fn replace(user: &str, path: &str, body: &Value) -> Answer {
    send(user, groups(user), "PUT", path, "application/json", body).await
}

pub async fn get(path: &str) -> Value {
    send(
        ADMIN,
        groups(ADMIN),
        "GET",
        path,
        "application/json",
        &Value::Null,
    )
    .await
    .unwrap()
}

pub async fn delete(user: &str, path: &str) -> Answer {
    send(
        user,
        groups(user),
        "DELETE",
        path,
        "application/json",
        &Value::Null,
    )
    .await
}

/// Somebody who is in no group, and has what bindings give this one name.
pub async fn alone(user: &str, method: &str, path: &str, body: &Value) -> Answer {
    let content = if method == "PATCH" {
        "application/merge-patch+json"
    } else {
        "application/json"
    };
    send(user, &[], method, path, content, body).await
}

/// Opens a door that does not answer with an object: what comes back is the refusal, or why there was nobody behind it.
pub async fn connect(user: &str, groups: &[&str], method: &str, path: &str) -> String {
    match send(user, groups, method, path, "application/json", &Value::Null).await {
        Err(message) => message,
        Ok(answer) => panic!("{path} answered {answer}"),
    }
}

/// What is wrong with an answer that should be a refusal by this guard in these words.
pub fn not_refused(answer: &Answer, guard: &str, says: &[&str]) -> Option<String> {
    let Err(message) = answer else {
        return Some("ADMITTED".to_owned());
    };
    let by = format!("ValidatingAdmissionPolicy 'probity-{guard}'");
    let all = message.contains(&by) && says.iter().all(|words| message.contains(words));
    // An expression that cannot be evaluated also denies, but it is not what was meant.
    let meant = all && !message.contains("resulted in error");
    (!meant).then(|| format!("not `{by}` with {says:?}: {message:.700}"))
}

#[track_caller]
pub fn refused(answer: &Answer, guard: &str, says: &[&str]) {
    if let Some(wrong) = not_refused(answer, guard, says) {
        panic!("{wrong}");
    }
}

/// Fails with every line there is.
#[track_caller]
pub fn none_wrong(wrong: &[String]) {
    assert!(
        wrong.is_empty(),
        "{} rows:\n  {}",
        wrong.len(),
        wrong.join("\n  ")
    );
}

/// Asks until nothing is wrong: the API server learns of new rules and rights a moment after it took them.
pub async fn eventually<F: Future<Output = Option<String>>>(what: &str, ask: impl FnMut() -> F) {
    if let Err(never) = comes_true(what, ask).await {
        panic!("{never}");
    }
}

async fn comes_true<F: Future<Output = Option<String>>>(
    what: &str,
    mut ask: impl FnMut() -> F,
) -> Result<(), String> {
    let end = tokio::time::Instant::now() + PATIENCE;
    while let Some(wrong) = ask().await {
        if tokio::time::Instant::now() > end {
            return Err(format!("never: {what}: {wrong}"));
        }
        sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// The path of an object that is applied.
pub fn path(object: &Value) -> String {
    let version = object["apiVersion"].as_str().unwrap();
    let root = if version.contains('/') { "apis" } else { "api" };
    let plural = match object["kind"].as_str().unwrap() {
        kind if kind.ends_with("Policy") => format!("{}ies", kind.to_lowercase().trim_end_matches('y')),
        kind => format!("{}s", kind.to_lowercase()),
    };
    let namespace = match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("namespaces/{namespace}/"),
        None => String::new(),
    };
    let name = object["metadata"]["name"].as_str().unwrap();
    format!("/{root}/{version}/{namespace}{plural}/{name}")
}

/// What the chart renders.
fn rendered() -> &'static [Value] {
    static RENDERED: OnceLock<Vec<Value>> = OnceLock::new();
    RENDERED.get_or_init(|| {
        let (repository, digest) = OUR_IMAGE.split_once('@').unwrap();
        let output = testbed::tool("helm", &["helm"])
            .args(["template", "probity"])
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/charts/probity"))
            .args(["--namespace", "probity-system"])
            .args(["--set", &format!("image.repository={repository}")])
            .args(["--set", &format!("image.digest={digest}")])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_saphyr::from_multiple(std::str::from_utf8(&output.stdout).unwrap()).unwrap()
    })
}

/// The guards and roles of the chart are in force, and there are people. When they are not, no test waits again.
async fn guarded() {
    static GUARDED: OnceCell<Result<(), String>> = OnceCell::const_new();
    if let Err(never) = GUARDED.get_or_init(install).await {
        panic!("{never}");
    }
}

async fn install() -> Result<(), String> {
    // Our definitions, too.
    let _ = testbed::client().await;
    let kinds = [
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "ClusterRole",
        "ClusterRoleBinding",
    ];
    let ours = rendered()
        .iter()
        .filter(|object| kinds.iter().any(|kind| object["kind"] == *kind));
    let rbac = "rbac.authorization.k8s.io";
    let verbs = [
        "get",
        "list",
        "watch",
        "create",
        "update",
        "patch",
        "delete",
        "deletecollection",
    ];
    let team = [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "probity-system"}}),
        json!({"apiVersion": format!("{rbac}/v1"), "kind": "ClusterRole", "metadata": {"name": TEAM},
            "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": verbs}]}),
        json!({"apiVersion": format!("{rbac}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": TEAM},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": TEAM},
            "subjects": [{"apiGroup": rbac, "kind": "Group", "name": TEAM}]}),
        json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": "probe", "labels": {"probity.dev/governed": "true"}}}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "probe"}}),
    ];
    for object in ours.chain(&team) {
        apply(ADMIN, &path(object), object)
            .await
            .unwrap_or_else(|error| panic!("{}: {error}", path(object)));
    }
    // One request for each guard that it alone refuses.
    let marks = json!({"name": "probe", "labels": {"probity.dev/model": "probe"}});
    let core = "/api/v1/namespaces/probe";
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": marks,
        "spec": {"containers": [{"name": "x", "image": "x"}]}});
    let service =
        json!({"apiVersion": "v1", "kind": "Service", "metadata": marks, "spec": {"ports": [{"port": 1}]}});
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": marks,
        "target": {"kind": "Node", "name": "node-1"}});
    let namespace = json!({"metadata": {"labels": {"probity.dev/governed": null}}});
    let verdict = crate::verdicts::verdict("probe", "probe");
    let verdicts = "/apis/probity.dev/v1alpha1/namespaces/probe/artifactverifications?dryRun=All";
    let waiver = json!({"apiVersion": "probity.dev/v1alpha1", "kind": "Waiver", "metadata": {"name": "probe"},
        "spec": {"rules": ["model.signature"], "subject": {"modelDeployment": "probe"}, "expires": "2020-01-01T00:00:00Z",
            "reason": "x"}});
    let waivers = "/apis/probity.dev/v1alpha1/namespaces/probe/waivers?dryRun=All";
    comes_true("every guard is in force", async || {
        let answers = [
            (
                "pods",
                create(JANE, &format!("{core}/pods?dryRun=All"), &pod).await,
            ),
            (
                "workloads",
                create(JANE, &format!("{core}/services?dryRun=All"), &service).await,
            ),
            (
                "bindings",
                create(JANE, &format!("{core}/pods/probe/binding?dryRun=All"), &binding).await,
            ),
            (
                "namespaces",
                merge(JANE, &format!("{core}?dryRun=All"), &namespace).await,
            ),
            ("verdicts", create(JANE, verdicts, &verdict).await),
            ("waivers", create(JANE, waivers, &waiver).await),
            (
                "breakglass",
                Err(connect(JANE, &[TEAM], "POST", &format!("{core}/pods/x/exec?command=id")).await),
            ),
        ];
        answers
            .iter()
            .find_map(|(guard, answer)| not_refused(answer, guard, &[]))
    })
    .await
}

/// A fresh governed namespace under the guards, with the accounts that pods need.
pub async fn governed() -> String {
    namespace(true).await
}

/// A fresh namespace that is not governed.
pub async fn free() -> String {
    namespace(false).await
}

async fn namespace(governed: bool) -> String {
    guarded().await;
    let admin = testbed::bare_client().await;
    let name = if governed {
        testbed::governed_namespace(&admin).await
    } else {
        testbed::namespace(&admin).await
    };
    let account = |account: &str| json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account, "namespace": name}});
    for account in [account("default"), account("digits")] {
        apply(ADMIN, &path(&account), &account).await.unwrap();
    }
    // Selectors are matched against what the API server has seen of the namespace.
    let pods = format!("/api/v1/namespaces/{name}/pods?dryRun=All");
    let marked = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe", "labels": {"probity.dev/x": "y"}},
        "spec": {"containers": [{"name": "x", "image": "x"}]}});
    eventually("the guards know the namespace", async || {
        let answer = create(JANE, &pods, &marked).await;
        (answer.is_err() != governed).then(|| format!("{answer:?}"))
    })
    .await;
    name
}

/// What the operator plans for a model, from the snapshots that its own tests hold it to.
pub fn planned(kind: &str, namespace: &str) -> Value {
    let text = match kind {
        "Deployment" => include_str!("../snapshots/workload_deployment.snap"),
        "Service" => include_str!("../snapshots/workload_service.snap"),
        "ServiceAccount" => include_str!("../snapshots/workload_service_account.snap"),
        other => panic!("the operator plans no {other}"),
    };
    let (_, yaml) = text.split_once("\n---\n").unwrap();
    let mut object: Value = serde_saphyr::from_str(yaml).unwrap();
    object["metadata"]["namespace"] = json!(namespace);
    object
}

/// What the Deployment controller makes of the planned Deployment.
pub fn replica_set(namespace: &str) -> Value {
    let deployment = planned("Deployment", namespace);
    let mut template = deployment["spec"]["template"].clone();
    template["metadata"]["labels"]["pod-template-hash"] = json!("6d4c5b7f89");
    let labels = &template["metadata"]["labels"];
    json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"name": "digits-6d4c5b7f89", "namespace": namespace, "labels": labels, "ownerReferences": [{
            "apiVersion": "apps/v1", "kind": "Deployment", "name": "digits", "controller": true,
            "blockOwnerDeletion": true, "uid": "5a3cbb0e-0000-4000-8000-000000000002"}]},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template},
    })
}

/// What the `ReplicaSet` controller makes of that.
pub fn model_pod(namespace: &str, name: &str) -> Value {
    let set = replica_set(namespace);
    let template = &set["spec"]["template"];
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": template["metadata"]["labels"], "ownerReferences": [{
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "digits-6d4c5b7f89", "controller": true,
            "blockOwnerDeletion": true, "uid": "5a3cbb0e-0000-4000-8000-000000000003"}]},
        "spec": template["spec"],
    })
}

/// A pod that has nothing to do with models.
pub fn other_pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "shop"}},
        "spec": {"containers": [{"name": "shop", "image": "registry.example/shop:1"}]}})
}

/// An object with something at a JSON pointer that may not be there yet.
pub fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let (parent, last) = pointer.rsplit_once('/').unwrap();
    let mut place = &mut object;
    for key in parent.split('/').skip(1) {
        place = match key.parse::<usize>() {
            Ok(index) => &mut place[index],
            Err(_) => &mut place[key.replace("~1", "/")],
        };
    }
    match last.parse::<usize>() {
        _ if last == "-" => match place {
            Value::Array(list) => list.push(value),
            other => *other = json!([value]),
        },
        Ok(0) if value.is_null() => {
            place.as_array_mut().unwrap().remove(0);
        }
        Ok(index) => place[index] = value,
        Err(_) => {
            let last = last.replace("~1", "/");
            if value.is_null() {
                place.as_object_mut().unwrap().remove(&last).unwrap();
            } else {
                place[last] = value;
            }
        }
    }
    object
}
