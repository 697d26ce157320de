//! What is found about models, as Reports of `openreports.io`: written where that API is served, once, and nowhere missed. On an
//! API server of their own, because its kinds change under the operator.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams},
};
use probity::api::{
    openreports::{Outcome, Report},
    v1alpha1::ModelDeployment,
};
use serde_json::{Value, json};

use crate::{
    artifacts::release_pem,
    stage::{
        Operator, PATIENCE, admin, apply, bank, condition, grant_with, model, policy, shared_hosts,
        trust_root, until, until_gone,
    },
    testbed::{self, Server},
};

const OFTEN: Duration = Duration::from_secs(1);
const REPORTS: &str = "openreports.io/reports";

/// A model that policy refuses for where it lies, so that no registry is asked.
fn elsewhere(name: &str) -> Value {
    let reference = format!("registry.example/models/{name}@sha256:{}", "aa".repeat(32));
    model("bank", name, &reference, json!({}))
}

fn platform(effect: &str) -> Value {
    let mut policy = policy(
        "platform",
        "bank",
        json!({"repositories": ["elsewhere.example/**"]}),
    );
    policy["spec"]["effect"] = json!(effect);
    policy
}

fn result<'a>(report: &'a Report, rule: &str) -> Option<&'a probity::api::openreports::ReportResult> {
    report
        .results
        .iter()
        .find(|one| one.rule.as_deref() == Some(rule))
}

fn outcome(report: &Report, rule: &str) -> Option<Outcome> {
    result(report, rule)?.result
}

async fn reported(reports: &Api<Report>, name: &str, outcome_of: Outcome) -> Report {
    let what = format!("model.repositories is {outcome_of:?}");
    until(reports, name, &what, |report| {
        outcome(report, "model.repositories") == Some(outcome_of)
    })
    .await
}

/// So many further looks at the reports of the namespace are over.
pub async fn looks(operator: &Operator, further: usize) {
    let seen = || {
        let asked = operator.requests.all();
        asked
            .iter()
            .filter(|one| one.verb == "list" && one.resource == REPORTS)
            .count()
    };
    let wanted = seen() + further;
    let looking = async {
        while seen() < wanted {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking)
        .await
        .expect("reports are looked at again");
}

async fn metric(operator: &Operator, line: &str) {
    let shown = async {
        while !operator.answers("/metrics", 200).await.contains(line) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, shown)
        .await
        .unwrap_or_else(|_| panic!("the metrics never say {line}"));
}

fn verbs(operator: &Operator) -> BTreeSet<String> {
    let asked = operator.requests.all();
    let about = asked.into_iter().filter(|one| one.resource == REPORTS);
    about
        .inspect(|one| assert_ne!(one.status, 403, "{one:?}"))
        .map(|one| one.verb)
        .collect()
}

async fn prepare(client: &Client) {
    grant_with(client, "reports.enabled=true").await;
    testbed::install(client).await;
    apply(client, bank(true)).await;
    apply(client, trust_root("platform", &[("release", release_pem())])).await;
    apply(client, platform("Enforce")).await;
    for name in ["digits", "letters"] {
        apply(client, elsewhere(name)).await;
    }
}

/// One story, because the steps need each other: an API server of its own costs seconds.
#[expect(clippy::too_many_lines, reason = "one story, in its order")]
#[tokio::test]
async fn what_is_found_is_reported_where_reports_are_served_and_written_on_change_alone() {
    let server = Server::start("apiserver", &[], &[]).unwrap();
    let kubeconfig: PathBuf = server.ready.clone().into();
    let client = admin(&kubeconfig).await;
    prepare(&client).await;

    // Nobody knows what a report is, and nothing else is lacking.
    let operator = Operator::start_auditing(&kubeconfig, shared_hosts(), OFTEN);
    let models: Api<ModelDeployment> = Api::namespaced(client.clone(), "bank");
    for name in ["digits", "letters"] {
        until(&models, name, "it is refused", |model| {
            condition(model, "Ready").is_some_and(|ready| ready.reason == "RepositoryNotAllowed")
        })
        .await;
    }
    metric(&operator, "probity_reports_served 0").await;
    assert_eq!(verbs(&operator), BTreeSet::new());

    // It comes, and a report that is somebody else's is there first.
    testbed::install_openreports(&client, &kubeconfig).await;
    let theirs = json!({
        "apiVersion": "openreports.io/v1alpha1", "kind": "Report", "source": "somebody",
        "metadata": {"name": "probity-letters", "namespace": "bank"},
        "results": [{"source": "somebody", "policy": "theirs", "result": "pass"}]
    });
    apply(&client, theirs).await;
    let reports: Api<Report> = Api::namespaced(client.clone(), "bank");
    let report = reported(&reports, "probity-digits", Outcome::Fail).await;
    let digits = models.get("digits").await.unwrap();
    let owner = &report.owner_references()[0];
    assert_eq!(
        (owner.kind.as_str(), Some(&owner.uid), owner.controller),
        ("ModelDeployment", digits.uid().as_ref(), Some(true))
    );
    let failed = result(&report, "model.repositories").unwrap();
    assert_eq!(failed.policy, "ClusterDeploymentPolicy/platform");
    assert_eq!(failed.properties["reason"], "RepositoryNotAllowed");
    assert_eq!(report.scope.as_ref().unwrap().uid, digits.uid());
    let whole = reported(&reports, "probity", Outcome::Fail).await;
    assert_eq!(
        result(&whole, "model.repositories").unwrap().properties["models"],
        "2"
    );
    metric(&operator, "probity_reports_served 1").await;

    // Looking again writes nothing.
    looks(&operator, 2).await;
    let written = operator.requests.written();
    let versions = async || {
        let all = reports.list(&kube::api::ListParams::default()).await.unwrap();
        let version = |one: &Report| (one.name_any(), one.resource_version());
        all.items.iter().map(version).collect::<Vec<_>>()
    };
    let before = versions().await;
    looks(&operator, 4).await;
    assert_eq!(operator.requests.written(), written);
    assert_eq!(versions().await, before);

    // What policy says now is said; what did not change keeps its time.
    apply(&client, platform("Warn")).await;
    let changed = reported(&reports, "probity-digits", Outcome::Warn).await;
    let accepted = |report: &Report| result(report, "Accepted").unwrap().timestamp;
    assert_eq!(accepted(&changed), accepted(&report));

    // What the audit finds beside the models is in the namespace's own.
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "bank"}});
    apply(&client, account).await;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "alien", "namespace": "bank"},
        "spec": {"automountServiceAccountToken": false, "containers": [{"name": "main", "image": "registry.example/alien:1"}]}
    });
    apply(&client, pod).await;
    let whole = until(&reports, "probity", "it names the pod", |report| {
        outcome(report, "pods.audit") == Some(Outcome::Warn)
    })
    .await;
    let alien = result(&whole, "pods.audit").unwrap();
    assert_eq!(alien.properties["wouldRefuse"], "1");
    assert_eq!(alien.resources[0].name.as_deref(), Some("alien"));
    assert!(alien.message.as_ref().unwrap().contains("alien (UnmanagedPod)"));
    assert_eq!(outcome(&whole, "model.repositories"), Some(Outcome::Warn));

    // The next leader has nothing else to say, before its audit and after it.
    looks(&operator, 2).await;
    operator.end();
    let before = versions().await;
    let operator = Operator::start_auditing(&kubeconfig, shared_hosts(), OFTEN);
    looks(&operator, 4).await;
    // It applies once what it did not apply itself; of reports nothing.
    let mut written = operator.requests.written();
    written.retain(|asked| asked.resource == REPORTS);
    assert_eq!(written, []);
    assert_eq!(versions().await, before);
    let now = DeleteParams::default().grace_period(0);
    let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(client.clone(), "bank");
    pods.delete("alien", &now).await.unwrap();
    until(&reports, "probity", "it has no pods", |report| {
        result(report, "pods.audit").is_none()
    })
    .await;

    // What others do to it is mended, and theirs is left alone.
    let empty = json!({"results": []});
    reports
        .patch("probity-digits", &PatchParams::default(), &Patch::Merge(empty))
        .await
        .unwrap();
    reported(&reports, "probity-digits", Outcome::Warn).await;
    let gone = reports.get("probity-digits").await.unwrap();
    reports
        .delete("probity-digits", &DeleteParams::default())
        .await
        .unwrap();
    until(&reports, "probity-digits", "it is made again", |report| {
        report.uid() != gone.uid() && outcome(report, "model.repositories") == Some(Outcome::Warn)
    })
    .await;
    let theirs = reports.get("probity-letters").await.unwrap();
    assert_eq!(theirs.source.as_deref(), Some("somebody"));

    // A model that is gone is counted no more. Its report goes with its owner, which is not this API server's to see to.
    models.delete("letters", &DeleteParams::default()).await.unwrap();
    let one = until(&reports, "probity", "it counts one model", |report| {
        result(report, "model.repositories").is_some_and(|one| one.properties["models"] == "1")
    })
    .await;
    let owner = &one.owner_references()[0];
    assert_eq!((owner.kind.as_str(), owner.name.as_str()), ("Namespace", "bank"));

    // A namespace that is governed no more has no report of its own.
    apply(&client, bank(false)).await;
    until_gone(&reports, &one).await;
    until(
        &reports,
        "probity-digits",
        "it says that nobody governs",
        |report| result(report, "Ready").is_some_and(|ready| ready.properties["reason"] == "NoPolicy"),
    )
    .await;

    let used = verbs(&operator);
    let granted = ["get", "list", "create", "patch", "delete"];
    assert_eq!(used, granted.map(ToOwned::to_owned).into());
}
