//! What the operator may do is what it does: every verb the chart grants is used, and nothing it tries is refused.
//! A missing verb makes other tests fail too, because the operator runs with these rights in all of them.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use futures::{FutureExt as _, future::BoxFuture};
use http::{Method, Request, Response, StatusCode};
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::Pod,
    rbac::v1::{ClusterRole, Role},
};
use kube::{
    ResourceExt as _,
    api::{Api, DeleteParams, EvictParams, Patch, PatchParams},
};
use probity::{
    api::v1alpha1::{DeploymentPolicy, ModelDeployment},
    evidence::Digest,
};
use serde_json::{Value, json};
use tower::{Layer, Service};

use crate::{
    artifacts::Model,
    stage::{PATIENCE, Stage, apply, condition, guarded_registry, serves},
};

/// Workloads of every kind that a model can govern, one of them with a pod that is to be replaced.
async fn adopt(stage: &Stage) {
    let kinds = [
        ("apps/v1", "StatefulSet"),
        ("apps/v1", "DaemonSet"),
        ("batch/v1", "Job"),
        ("serving.kserve.io/v1beta1", "InferenceService"),
        ("apps/v1", "Deployment"),
    ];
    let meta = |name: &str| json!({"name": name, "namespace": stage.namespace, "labels": {"app": "server"}});
    for (version, kind) in kinds {
        let model = json!({
            "apiVersion": "probity.dev/v1alpha1", "kind": "ModelDeployment", "metadata": meta(&kind.to_lowercase()),
            "spec": {
                "model": {"source": {"volume": {"claimName": "models", "digest": FOLDER}}},
                "workloadRef": {"apiVersion": version, "kind": kind, "name": "server"},
            },
        });
        apply(&stage.client, model).await;
    }
    let pod = json!({
        "containers": [{"name": "server", "image": format!("registry.example/server@sha256:{}", "5e".repeat(32))}],
    });
    let spec = json!({
        "replicas": 0, "selector": {"matchLabels": {"app": "server"}},
        "template": {"metadata": {"labels": {"app": "server"}}, "spec": pod},
    });
    let owned = |version: &str, kind: &str, name: &str, uid: Option<String>| {
        let mut meta = meta(name);
        meta["ownerReferences"] =
            json!([{"apiVersion": version, "kind": kind, "name": "server", "uid": uid, "controller": true}]);
        meta
    };
    apply(
        &stage.client,
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta("server"), "spec": spec}),
    )
    .await;
    let deployment: Deployment = stage.api().get("server").await.unwrap();
    let set = owned("apps/v1", "Deployment", "server", deployment.uid());
    apply(
        &stage.client,
        json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": set, "spec": spec}),
    )
    .await;
    let set: ReplicaSet = stage.api().get("server").await.unwrap();
    // Nobody makes it here, and no pod is let in without one.
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta("default")});
    apply(&stage.client, account).await;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": owned("apps/v1", "ReplicaSet", "server-1", set.uid()), "spec": pod,
    });
    apply(&stage.client, pod.clone()).await;
    let replaces = json!({"spec": {"unprovenPods": "Evict"}});
    stage.change_policy(replaces).await;
    stage
        .until("deployment", "to have had its pod evicted", |model| {
            let workload = model.status.as_ref().and_then(|status| status.workload.as_ref());
            workload.is_some_and(|workload| workload.pods == 0)
        })
        .await;
    stop(stage, pod).await;
}

/// A right of the namespace for the account of `digits`, so that somebody looks at what it is.
async fn give(stage: &Stage) {
    let rbac = "rbac.authorization.k8s.io";
    let meta = json!({"name": "looks", "namespace": stage.namespace});
    let rule = json!({"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]});
    let account = json!({"kind": "ServiceAccount", "name": "digits", "namespace": stage.namespace});
    for object in [
        json!({"kind": "Role", "metadata": meta, "rules": [rule]}),
        json!({
            "kind": "RoleBinding", "metadata": meta, "subjects": [account],
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "looks"}
        }),
    ] {
        let mut object = object;
        object["apiVersion"] = json!(format!("{rbac}/v1"));
        apply(&stage.client, object).await;
    }
}

/// This pod is there again, and what served in its like is revoked: it is deleted, though a disruption budget would let nobody
/// evict it.
async fn stop(stage: &Stage, pod: Value) {
    let stops = json!({"spec": {
        "unprovenPods": "Report", "onViolation": {"action": "Stop", "gracePeriodSeconds": 0},
        "model": {"revoked": [{"digest": FOLDER, "reason": "poisoned"}]}
    }});
    stage.change_policy(stops).await;
    // Before that the pod would be evicted once more.
    stage
        .until("deployment", "to be revoked", |model| {
            condition(model, "Ready").is_some_and(|ready| ready.reason == "Revoked")
        })
        .await;
    let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
    apply(&stage.client, pod).await;
    // One that does not run yet is evicted whatever budgets say.
    let runs = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    stage
        .api::<Pod>()
        .patch_status(&name, &PatchParams::default(), &Patch::Merge(runs))
        .await
        .unwrap();
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": {"name": "none-may-go", "namespace": stage.namespace},
        "spec": {"maxUnavailable": 0, "selector": {}}
    });
    apply(&stage.client, budget).await;
    let evicted = stage.api::<Pod>().evict(&name, &EvictParams::default()).await;
    assert!(
        matches!(&evicted, Err(kube::Error::Api(status)) if status.code == 429),
        "{evicted:?}"
    );
    // What a pod that verified the model would have brought about.
    let serving = json!({"status": {"serving": {
        "digest": FOLDER, "version": "1", "reference": "models", "since": "2026-01-01T00:00:00Z", "size": 1, "files": 1,
        "signers": [], "signedBy": "release", "verification": "", "unprovenSince": "2026-01-01T00:00:00Z"
    }}});
    stage
        .api::<ModelDeployment>()
        .patch_status("deployment", &PatchParams::default(), &Patch::Merge(serving))
        .await
        .unwrap();
    stage.event("deployment", "Stopped").await;
    let alerts = json!({"spec": {"onViolation": null, "model": {"revoked": null}}});
    stage.change_policy(alerts).await;
}

/// The content on a claim.
const FOLDER: &str = "sha256:f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0";

/// One request: what was done to what, where, and how it went.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    pub verb: String,
    /// `group/resource` or `group/resource/status`; the core group is empty.
    pub resource: String,
    pub namespace: Option<String>,
    pub name: Option<String>,
    pub status: u16,
}

/// Every request of one operator.
#[derive(Debug, Clone, Default)]
pub struct Requests(Arc<Mutex<Vec<Asked>>>);

impl Requests {
    pub fn all(&self) -> Vec<Asked> {
        self.0.lock().unwrap().clone()
    }

    /// Requests that wrote something in this namespace.
    pub fn writes(&self, namespace: &str) -> Vec<Asked> {
        let reads = ["get", "list", "watch"];
        self.all()
            .into_iter()
            .filter(|asked| {
                asked.namespace.as_deref() == Some(namespace) && !reads.contains(&asked.verb.as_str())
            })
            .collect()
    }

    /// Everything that was written but the Lease.
    pub fn written(&self) -> Vec<Asked> {
        let reads = ["get", "list", "watch"];
        let mut all = self.all();
        all.retain(|asked| {
            !reads.contains(&asked.verb.as_str()) && asked.resource != "coordination.k8s.io/leases"
        });
        all
    }

    /// How many requests were about this namespace.
    pub fn of(&self, namespace: &str) -> usize {
        self.0
            .lock()
            .unwrap()
            .iter()
            .filter(|asked| asked.namespace.as_deref() == Some(namespace))
            .count()
    }

    /// Each verb on each resource.
    fn permissions(&self) -> BTreeSet<(String, String)> {
        self.all()
            .into_iter()
            .map(|asked| (asked.verb, asked.resource))
            .collect()
    }
}

/// Writes down every request that a client makes.
#[derive(Clone)]
pub struct Recorder(pub Requests);

impl<S> Layer<S> for Recorder {
    type Service = Recording<S>;

    fn layer(&self, inner: S) -> Recording<S> {
        Recording {
            inner,
            requests: self.0.clone(),
        }
    }
}

#[derive(Clone)]
pub struct Recording<S> {
    inner: S,
    requests: Requests,
}

impl<S, A, B> Service<Request<A>> for Recording<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    B: Send + 'static,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<B>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let (asking, requests) = (self.inner.call(request), self.requests.clone());
        async move {
            let answer = asking.await?;
            if let Some(asked) = read(
                &method,
                uri.path(),
                uri.query().unwrap_or_default(),
                answer.status(),
            ) {
                // An apply that makes the object needs both rights.
                let created = asked.verb == "patch" && asked.status == 201;
                let mut requests = requests.0.lock().unwrap();
                if created {
                    requests.push(Asked {
                        verb: "create".into(),
                        ..asked.clone()
                    });
                }
                requests.push(asked);
            }
            Ok(answer)
        }
        .boxed()
    }
}

/// Reads a request the way the API server's authorizer does.
fn read(method: &Method, path: &str, query: &str, status: StatusCode) -> Option<Asked> {
    let mut parts = path.trim_matches('/').split('/');
    let group = match parts.next()? {
        "api" => String::new(),
        "apis" => parts.next()?.to_owned(),
        _ => return None,
    };
    parts.next()?;
    let mut rest: Vec<&str> = parts.collect();
    let mut namespace = None;
    if rest.first() == Some(&"namespaces") && rest.len() > 2 {
        namespace = Some(rest[1].to_owned());
        rest.drain(..2);
    }
    let (kind, name, part) = (rest.first()?, rest.get(1), rest.get(2));
    let resource = match part {
        Some(part) => format!("{group}/{kind}/{part}"),
        None => format!("{group}/{kind}"),
    };
    let verb = match (method.as_str(), name) {
        ("GET", None) if query.contains("watch=true") => "watch",
        ("GET", None) => "list",
        ("GET", Some(_)) => "get",
        ("POST", _) => "create",
        ("PATCH", _) => "patch",
        ("DELETE", _) => "delete",
        _ => "update",
    };
    let name = name.map(ToString::to_string);
    Some(Asked {
        verb: verb.to_owned(),
        resource,
        namespace,
        name,
        status: status.as_u16(),
    })
}

#[test]
fn requests_are_read_as_the_authorizer_does() {
    let asked = |method, path, query| {
        let asked = read(&method, path, query, StatusCode::OK).unwrap();
        (
            asked.verb,
            asked.resource,
            asked.namespace.unwrap_or_default(),
            asked.name.unwrap_or_default(),
        )
    };
    let words = |a: &str, b: &str, c: &str, d: &str| (a.to_owned(), b.to_owned(), c.to_owned(), d.to_owned());
    assert_eq!(
        asked(
            Method::PATCH,
            "/apis/probity.dev/v1alpha1/namespaces/bank/modeldeployments/digits/status",
            ""
        ),
        words("patch", "probity.dev/modeldeployments/status", "bank", "digits")
    );
    assert_eq!(
        asked(Method::GET, "/api/v1/namespaces", "&watch=true&x=1"),
        words("watch", "/namespaces", "", "")
    );
    assert_eq!(
        asked(Method::GET, "/api/v1/namespaces/bank", ""),
        words("get", "/namespaces", "", "bank")
    );
    assert_eq!(
        asked(Method::GET, "/api/v1/namespaces/bank/pods", ""),
        words("list", "/pods", "bank", "")
    );
}

/// What the role that the operator runs with grants, as (verb, resource).
async fn granted(stage: &Stage) -> BTreeSet<(String, String)> {
    let cluster: ClusterRole = Api::all(stage.client.clone()).get("probity").await.unwrap();
    let own: Role = Api::namespaced(stage.client.clone(), "probity-system")
        .get("probity")
        .await
        .unwrap();
    let measuring: Role = Api::namespaced(stage.client.clone(), "probity-evaluations")
        .get("probity-evaluation")
        .await
        .unwrap();
    let roles = [cluster.rules, own.rules, measuring.rules];
    let mut all = BTreeSet::new();
    for rule in roles.into_iter().flatten().flatten() {
        for group in rule.api_groups.as_deref().unwrap() {
            for resource in rule.resources.as_deref().unwrap() {
                for verb in &rule.verbs {
                    all.insert((verb.clone(), format!("{group}/{resource}")));
                }
            }
        }
    }
    all
}

/// A life with everything in it: under two kinds of policies, served, revoked, admitted again, revoked again, from a registry with a password.
#[tokio::test]
async fn everything_granted_is_used_and_nothing_tried_is_refused() {
    let stage = Stage::new().await;
    give(&stage).await;
    let mut own = super::policies::own(&stage, "Audit", "**");
    own["spec"]["isolation"] = json!({"network": "DefaultDeny", "rbac": {"ceiling": []}});
    apply(&stage.client, own).await;
    super::secrets::pull_secret(&stage, "regcred", guarded_registry(), super::secrets::PASSWORD).await;
    let reference = super::secrets::push(&Model::signed(), "rights/digits");
    let digest = reference.digest().unwrap();
    stage
        .model_with("digits", &reference.to_string(), json!({"pullSecret": "regcred"}))
        .await;
    stage.roll_out("digits", digest).await;
    stage.reason("digits", "Serving").await;
    let isolation = json!({"spec": {"isolation": {"network": "DefaultDeny"}}});
    stage.change_policy(isolation).await;
    super::responses::pod(&stage, "digits", "digits-1").await;
    super::responses::gate(&stage, "digits-1", true).await;
    adopt(&stage).await;
    super::evaluations::measure(&stage, "letters").await;
    let revoked = json!({"revoked": [{"digest": digest, "reason": "poisoned"}]});
    for _ in 0..2 {
        // The second time is a series of the same Event.
        stage.policy(revoked.clone()).await;
        stage.reason("digits", "Revoked").await;
        stage.policy(json!({})).await;
        stage.reason("digits", "Serving").await;
    }
    // What denies all traffic of it comes and goes.
    super::responses::on_violation(&stage, "Quarantine", 3600).await;
    stage.policy(revoked.clone()).await;
    stage.reason("digits", "QuarantinePartial").await;
    stage.event("digits", "NetworkShut").await;
    stage.policy(json!({})).await;
    stage.event("digits", "NetworkReleased").await;
    stage.reason("digits", "Serving").await;
    // Without a policy nobody needs the verdict any more.
    stage
        .policies()
        .delete(&stage.namespace, &DeleteParams::default())
        .await
        .unwrap();
    Api::<DeploymentPolicy>::namespaced(stage.client.clone(), &stage.namespace)
        .delete("own", &DeleteParams::default())
        .await
        .unwrap();
    stage.reason("digits", "NoPolicy").await;

    let granted = granted(&stage).await;
    let requests = &stage.operator.requests;
    let used = async {
        while !granted.is_subset(&requests.permissions()) {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, used).await.is_err() {
        let unused: Vec<_> = granted.difference(&requests.permissions()).cloned().collect();
        panic!("the chart grants what the operator never uses: {unused:?}");
    }
    let refused: Vec<_> = requests
        .all()
        .into_iter()
        .filter(|asked| asked.status == 403)
        .collect();
    assert!(
        refused.is_empty(),
        "the chart does not grant what the operator uses: {refused:?}"
    );
    let beyond: Vec<_> = requests.permissions().difference(&granted).cloned().collect();
    assert!(
        beyond.is_empty(),
        "granted by something else than the chart: {beyond:?}"
    );
    let model = stage.api().get("digits").await.unwrap();
    assert_eq!(serves(&model), Some::<Digest>(digest));
}
