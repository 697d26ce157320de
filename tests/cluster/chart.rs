//! The chart on a cluster with models in it: installing, upgrading, uninstalling and what stays behind.
//! What it renders and refuses is tested without a cluster.

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
};

use k8s_openapi::{
    api::{
        admissionregistration::v1::{
            MutatingWebhookConfiguration, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
            ValidatingWebhookConfiguration,
        },
        apps::v1::Deployment,
        coordination::v1::Lease,
        core::v1::{Namespace, Pod},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, PostParams},
};
use probity::{
    api::v1alpha1::{
        ArtifactVerification, ClusterDeploymentPolicy, DeploymentPolicy, Evaluation, ModelDeployment,
        RobustnessPolicy, TrustRoot, Waiver,
    },
    operator::LEASE,
};
use serde_json::json;

use crate::{
    bed::Bed,
    door::harmless,
    load::{Load, light},
    models::{models, run, scratch},
    space::{Space, eventually, gone, is_ready, uids},
    testbed,
};

/// Where the operator is installed.
pub const NAMESPACE: &str = "probity-system";
/// How many operators the chart runs when it is not told.
pub const REPLICAS: usize = 2;
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/probity");

/// The release of this run.
pub struct Chart {
    kubeconfig: PathBuf,
    values: Vec<String>,
    /// What opens the registries to isolated models.
    open: Vec<String>,
}

impl Chart {
    /// With an image by digest, registries that speak plain HTTP and are open to isolated models, and addresses of the API
    /// server that are open to none.
    pub fn new(kubeconfig: &Path, image: &str, plain: &[String], api: Ipv4Addr) -> Self {
        let (repository, digest) = image.split_once('@').unwrap();
        let values = vec![
            format!("image.repository={repository}"),
            format!("image.digest={digest}"),
            format!("registries.plainHTTP={{{}}}", plain.join(",")),
            format!("isolation.neverOpen={{{api}/32}}"),
            "isolation.canary.enabled=true".into(),
            "evaluation.enabled=true".into(),
        ];
        let mut open = Vec::new();
        for (at, registry) in plain.iter().enumerate() {
            let (address, port) = registry.split_once(':').unwrap();
            let rule = format!("isolation.egress[{at}]");
            open.push(format!("{rule}.to[0].ipBlock.cidr={address}/32"));
            open.push(format!("{rule}.ports[0].port={port}"));
        }
        Self {
            kubeconfig: kubeconfig.to_owned(),
            values,
            open,
        }
    }

    /// Installs or upgrades it and waits until the operator is ready.
    pub async fn install(&self, more: &[&str]) {
        let open: Vec<_> = self.open.iter().map(String::as_str).collect();
        self.upgrade(&[open.as_slice(), more].concat()).await;
    }

    /// The same with a relay, and with no registry open to isolated models.
    pub async fn install_with_relay(&self) {
        self.upgrade(&["relay.enabled=true"]).await;
    }

    async fn upgrade(&self, more: &[&str]) {
        let mut helm = self.helm();
        helm.args([
            "upgrade",
            "--install",
            "probity",
            CHART,
            "--create-namespace",
            "--wait",
            "--timeout",
            "4m",
        ]);
        for value in self.values.iter().map(String::as_str).chain(more.iter().copied()) {
            helm.args(["--set", value]);
        }
        tokio::task::spawn_blocking(move || run(&mut helm))
            .await
            .expect("helm installs the chart");
    }

    /// Uninstalls it. Helm waits for what it deletes itself, and the operator's pod goes a little later.
    pub async fn uninstall(&self) {
        let mut helm = self.helm();
        helm.args(["uninstall", "probity", "--wait", "--timeout", "4m"]);
        tokio::task::spawn_blocking(move || run(&mut helm))
            .await
            .expect("helm uninstalls the chart");
    }

    /// Reads nothing of the machine's user.
    fn helm(&self) -> Command {
        let mut command = testbed::tool("helm", &["helm"]);
        for (variable, folder) in [
            ("HELM_CACHE_HOME", "cache"),
            ("HELM_CONFIG_HOME", "config"),
            ("HELM_DATA_HOME", "data"),
        ] {
            command.env(variable, scratch().join(format!("helm-{folder}")));
        }
        command
            .env("KUBECONFIG", &self.kubeconfig)
            .args(["--namespace", NAMESPACE]);
        command
    }
}

/// The operator's pods, those that are going among them.
pub async fn operator_pods(bed: &Bed) -> Vec<Pod> {
    let pods: Api<Pod> = Api::namespaced(bed.client.clone(), NAMESPACE);
    pods.list(
        &ListParams::default().labels("app.kubernetes.io/name=probity,app.kubernetes.io/component=operator"),
    )
    .await
    .unwrap()
    .items
}

/// The Deployments beside the operator's own.
pub fn operator_deployment(bed: &Bed) -> Api<Deployment> {
    Api::namespaced(bed.client.clone(), NAMESPACE)
}

/// The pod that leads, once all are ready, there are as many as the chart asks for, and one of them leads.
pub async fn operator_pod(bed: &Bed) -> Pod {
    let leases: Api<Lease> = Api::namespaced(bed.client.clone(), NAMESPACE);
    eventually("the operators to be ready, and one to lead", async || {
        let mut pods = operator_pods(bed).await;
        let lease = leases.get_opt(LEASE).await.unwrap()?;
        let leads = lease.spec?.holder_identity?;
        let settled = pods.len() == REPLICAS && pods.iter().all(is_ready);
        let leading = pods.iter().position(|pod| pod.name_any() == leads)?;
        settled.then(|| pods.remove(leading))
    })
    .await
}

/// The uids of everything that people made and of the definitions.
async fn kept(bed: &Bed, space: &Space) -> Vec<String> {
    let definitions: Api<CustomResourceDefinition> = Api::all(bed.client.clone());
    let definitions = definitions.list_metadata(&ListParams::default()).await.unwrap();
    let ours = definitions
        .items
        .iter()
        .filter(|definition| definition.name_any().ends_with(".probity.dev"));
    let mut kept: Vec<_> = ours.map(|definition| definition.uid().unwrap()).collect();
    assert_eq!(kept.len(), 8);
    kept.push(
        space
            .api::<ModelDeployment>()
            .get("kept")
            .await
            .unwrap()
            .uid()
            .unwrap(),
    );
    kept.push(
        Api::<TrustRoot>::all(bed.client.clone())
            .get("cluster-tests")
            .await
            .unwrap()
            .uid()
            .unwrap(),
    );
    kept.push(
        Api::<ClusterDeploymentPolicy>::all(bed.client.clone())
            .get("cluster-tests")
            .await
            .unwrap()
            .uid()
            .unwrap(),
    );
    kept.extend(
        space
            .verifications("kept")
            .await
            .iter()
            .map(|verification| verification.uid().unwrap()),
    );
    kept
}

/// After an uninstallation nobody is asked who is not there, and nothing waits for somebody who is gone: in what was governed
/// pods are made, and a namespace with a model in it goes.
async fn nothing_is_in_the_way(bed: &Bed, leaves: &Space) {
    let all = ListParams::default();
    let mut left = Vec::new();
    let mut look = |kind: &str, names: Vec<String>| {
        left.extend(
            names
                .into_iter()
                .filter(|name| name.contains("probity"))
                .map(|name| format!("{kind} {name}")),
        );
    };
    macro_rules! look {
        ($($kind:ty),+) => {$(
            let list = Api::<$kind>::all(bed.client.clone()).list(&all).await.unwrap();
            look(stringify!($kind), list.iter().map(|one| one.name_any()).collect());
        )+};
    }
    look!(
        ValidatingWebhookConfiguration,
        MutatingWebhookConfiguration,
        ValidatingAdmissionPolicy,
        ValidatingAdmissionPolicyBinding
    );
    assert!(left.is_empty(), "{left:?}");
    macro_rules! hold {
        ($($kind:ty),+) => {$(
            let list = Api::<$kind>::all(bed.client.clone()).list_metadata(&all).await.unwrap();
            for one in list {
                assert_eq!(one.finalizers(), [] as [&str; 0], "{} {}", stringify!($kind), one.name_any());
            }
        )+};
    }
    hold!(
        ModelDeployment,
        ArtifactVerification,
        DeploymentPolicy,
        ClusterDeploymentPolicy,
        TrustRoot,
        Waiver,
        RobustnessPolicy,
        Evaluation
    );

    let bare: Pod =
        serde_json::from_value(json!({"metadata": {"name": "bare"}, "spec": harmless(&bed.light)})).unwrap();
    let pods: Api<Pod> = leaves.api();
    // The API server forgets whom to ask a moment after it was told to.
    eventually("a pod of nobody to be made where it was governed", async || {
        pods.create(&PostParams::default(), &bare).await.ok()
    })
    .await;
    let namespaces: Api<Namespace> = Api::all(bed.client.clone());
    namespaces
        .delete(&leaves.namespace, &DeleteParams::default())
        .await
        .unwrap();
    gone(&namespaces, &leaves.namespace).await;
}

/// Upgrade, uninstallation, and a new installation that takes over: the same pod serves all the time.
pub async fn models_outlive_upgrade_and_reinstallation(bed: &'static Bed) {
    let space = Space::new(bed, "chart").await;
    let pushed = models().small.push(&bed.node.registry, "models/chart", "1").await;
    space.model("kept", &pushed.tagged).await;
    space.serves("kept", &pushed.digest).await;
    let pod = space.only_pod("kept").await;
    let leaves = Space::new(bed, "leaves").await;
    leaves.model("goes", &pushed.tagged).await;
    leaves.serves("goes", &pushed.digest).await;
    let load = Load::start(bed, light(&space.service("kept").await)).await;
    let (objects, operator) = (kept(bed, &space).await, operator_pod(bed).await);

    bed.chart.install(&["log.level=debug"]).await;
    assert_ne!(
        operator_pod(bed).await.uid(),
        operator.uid(),
        "the upgrade reached the operator"
    );
    assert_eq!(kept(bed, &space).await, objects, "an upgrade keeps every object");

    bed.chart.uninstall().await;
    eventually("the operator to be gone", async || {
        operator_pods(bed).await.is_empty().then_some(())
    })
    .await;
    assert_eq!(
        kept(bed, &space).await,
        objects,
        "uninstalling keeps definitions and objects"
    );
    load.answered(20).await;
    assert_eq!(
        uids(&space.pods("kept").await),
        [pod.uid().unwrap()],
        "models serve without the operator"
    );
    nothing_is_in_the_way(bed, &leaves).await;
    load.answered(20).await;

    bed.chart.install(&[]).await;
    operator_pod(bed).await;
    assert_eq!(kept(bed, &space).await, objects);
    // It has taken over when it does what it is asked to do next.
    space.edit("kept", json!({"server": {"replicas": 2}})).await;
    space.serves("kept", &pushed.digest).await;
    let pods = space.settled_pods("kept", 2).await;
    assert!(uids(&pods).contains(&pod.uid().unwrap()), "no pod was restarted");
    load.answered(20).await;
    load.stop_flawless();
    space.done().await;
}
