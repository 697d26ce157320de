//! An API server with the chart's rights and webhooks, operators beside it as the chart starts them, and words for what is
//! asked at the door. Tests that share the bed have it one after the other: each starts operators of its own.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api, Client, Config,
    api::DeleteParams,
    config::{KubeConfigOptions, Kubeconfig},
};
use probity::operator::LEASE;
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};

use super::wire::Wire;
use crate::{
    renewal::{NAMESPACE, apply, eventually, install, may_have_pods},
    testbed::{self, Server},
};

/// The operator's own image, as it would be told.
const FETCH_IMAGE: &str =
    "registry.example/probity@sha256:00000000000000000000000000000000000000000000000000000000000000f0";

/// Where a test has an API server for itself while it lasts.
pub struct Bed {
    pub server: Server,
    /// The Service before the operators, which the webhooks name.
    pub service: Wire,
    folder: tempfile::TempDir,
}

impl Bed {
    /// The one that tests share.
    pub async fn shared() -> MutexGuard<'static, Option<Bed>> {
        static BED: Mutex<Option<Bed>> = Mutex::const_new(None);
        let mut bed = BED.lock().await;
        match &*bed {
            None => *bed = Some(Self::new().await),
            Some(bed) => {
                // Whoever led in the test before was killed: nobody has to wait until its Lease runs out.
                let leases: Api<Lease> = Api::namespaced(bed.client().await, NAMESPACE);
                let _ = leases.delete(LEASE, &DeleteParams::default()).await;
            }
        }
        bed
    }

    /// One of the caller's own.
    pub async fn new() -> Self {
        Self::with(false).await
    }

    /// One of the caller's own, where the pods of adopted workloads get what they lack.
    pub async fn mutating() -> Self {
        Self::with(true).await
    }

    async fn with(mutate: bool) -> Self {
        let server = Server::start("apiserver", &[], &[]).unwrap();
        let bed = Self {
            server,
            service: Wire::new(),
            folder: tempfile::tempdir().unwrap(),
        };
        let client = bed.client().await;
        testbed::install(&client).await;
        install(&client, bed.service.address, mutate).await;
        bed
    }

    pub fn kubeconfig(&self) -> &Path {
        Path::new(&self.server.ready)
    }

    /// A client that may do everything, and asks each question once.
    pub async fn client(&self) -> Client {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig()).unwrap();
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .unwrap();
        // What was answered is what counts, and not what became of it when it was asked again.
        config.default_retry = false;
        Client::try_from(config).unwrap()
    }

    /// Where the API server is.
    pub fn api(&self) -> SocketAddr {
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig()).unwrap();
        let url = kubeconfig.clusters[0]
            .cluster
            .as_ref()
            .unwrap()
            .server
            .clone()
            .unwrap();
        url.strip_prefix("https://").unwrap().parse().unwrap()
    }

    /// An operator with the chart's rights, which makes its own certificates.
    pub fn operator(&self, name: &str) -> Operator {
        self.operator_with(name, self.api(), &["--webhook-configuration", "probity"], &[])
    }

    /// An operator that reaches the API server here, with these arguments, started by this command.
    pub fn operator_with(&self, name: &str, api: SocketAddr, arguments: &[&str], by: &[&str]) -> Operator {
        let mut kubeconfig = Kubeconfig::read_from(self.kubeconfig()).unwrap();
        let cluster = kubeconfig.clusters[0].cluster.as_mut().unwrap();
        cluster.server = Some(format!("https://{api}"));
        let info = kubeconfig.auth_infos[0].auth_info.as_mut().unwrap();
        info.impersonate = Some(format!("system:serviceaccount:{NAMESPACE}:probity"));
        let config = self.folder.path().join(format!("{name}.kubeconfig"));
        std::fs::write(&config, serde_json::to_vec(&kubeconfig).unwrap()).unwrap();
        Operator::start(
            name,
            &config,
            self.folder.path().join(format!("{name}.log")),
            arguments,
            by,
        )
    }

    /// Waits until all of these are ready, and leads the Service to them.
    pub async fn ready(&self, operators: &[&Operator]) {
        for operator in operators {
            operator.answers("/readyz", 200).await;
        }
        let doors: Vec<_> = operators.iter().map(|operator| operator.door).collect();
        self.service.leads_to(&doors);
    }

    /// Sees that each of two operators answers by itself, and leads the Service to both. Returns a governed namespace in which
    /// pods of no model may run, and one in which they may not.
    pub async fn both_answer(&self, client: &Client, one: &Operator, two: &Operator) -> (String, String) {
        self.ready(&[one, two]).await;
        let (open, closed) = (
            self.governed(client, "Allow").await,
            self.governed(client, "Deny").await,
        );
        for operator in [one, two] {
            self.service.leads_to(&[operator.door]);
            self.service.cut();
            admitted(client, &open).await;
            refused(client, &closed, "UnmanagedPod").await;
        }
        self.service.leads_to(&[one.door, two.door]);
        (open, closed)
    }

    /// A governed namespace with a policy of its name, under which pods of no model are refused (`Deny`) or not (`Allow`).
    pub async fn governed(&self, client: &Client, unmanaged: &str) -> String {
        let namespace = testbed::governed_namespace(client).await;
        may_have_pods(client, &namespace).await;
        policy(client, &namespace, &namespace, unmanaged).await;
        namespace
    }
}

/// A policy for one namespace, and its trust root, both of this name.
pub async fn policy(client: &Client, name: &str, namespace: &str, unmanaged: &str) {
    let key = rcgen::KeyPair::generate().unwrap().public_key_pem();
    let root = json!({
        "apiVersion": "probity.dev/v1alpha1", "kind": "TrustRoot", "metadata": {"name": name},
        "spec": {"keys": [{"name": "release", "publicKey": key}]}
    });
    let policy = json!({
        "apiVersion": "probity.dev/v1alpha1", "kind": "ClusterDeploymentPolicy", "metadata": {"name": name},
        "spec": {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "signers": [{"name": "release", "key": {"trustRoot": name, "keys": ["release"]}}],
            "model": {"signers": ["release"]},
            "unmanagedPods": unmanaged
        }
    });
    apply(client, root).await;
    apply(client, policy).await;
}

/// `probity operator`, for as long as this lives.
pub struct Operator {
    child: Child,
    /// What the Lease calls it.
    pub identity: String,
    pub admin: SocketAddr,
    /// Where it answers the API server.
    pub door: SocketAddr,
    log: PathBuf,
}

impl Operator {
    fn start(name: &str, kubeconfig: &Path, log: PathBuf, arguments: &[&str], by: &[&str]) -> Self {
        let (admin, door) = (free_address(), free_address());
        // The kernel ends it with the test's thread, whatever ends that.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .args(by)
            .arg(env!("CARGO_BIN_EXE_probity"))
            .args(["operator", "--fetch-image", FETCH_IMAGE])
            .args(["--admin-address", &admin.to_string()])
            .args(["--admission-address", &door.to_string()])
            .args(["--admission-host", "127.0.0.1"])
            .args(["--namespace", NAMESPACE, "--identity", name])
            .args(arguments)
            .env("KUBECONFIG", kubeconfig)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .expect("setpriv of util-linux, and the program");
        Self {
            child,
            identity: name.to_owned(),
            admin,
            door,
            log,
        }
    }

    /// What it answers at this path: the status, and the text.
    pub async fn asks(&self, path: &str) -> (u16, String) {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        match client.get(format!("http://{}{path}", self.admin)).send().await {
            Ok(answer) => (answer.status().as_u16(), answer.text().await.unwrap_or_default()),
            Err(error) => (0, error.to_string()),
        }
    }

    /// Asks until the answer has this status, and returns the text.
    pub async fn answers(&self, path: &str, status: u16) -> String {
        eventually(
            &format!("{} answers {path} with {status}", self.identity),
            async || {
                let (found, text) = self.asks(path).await;
                (found == status).then_some(text)
            },
        )
        .await
    }

    /// The number of this metric, labels and all.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        let (_, text) = self.asks("/metrics").await;
        let line = text
            .lines()
            .find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    /// All it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Bytes of memory it has at this moment.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// As the kubelet ends it. Returns when it has ended.
    pub async fn end(mut self) {
        let told = Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status();
        assert!(told.unwrap().success());
        let status = eventually("it ends", async || self.child.try_wait().unwrap()).await;
        assert!(status.success(), "{status}: {}", self.log());
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().rev().take(30).collect();
            let last: Vec<_> = lines.into_iter().rev().collect();
            eprintln!("--- {}\n{}", self.identity, last.join("\n"));
        }
    }
}

fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

/// What became of a pod that somebody wanted to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    Admitted,
    /// In these words.
    Refused(String),
    /// The API server itself did not answer.
    Nothing(String),
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Admitted => f.write_str("admitted"),
            Self::Refused(why) => write!(f, "refused: {why}"),
            Self::Nothing(why) => write!(f, "no answer: {why}"),
        }
    }
}

/// Asks for a pod of no model, without making it.
pub async fn ask(client: &Client, namespace: &str) -> Said {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "pod-"},
        "spec": {"containers": [{"name": "main", "image": "registry.example/main:1"}]}
    });
    let request = http::Request::post(format!("/api/v1/namespaces/{namespace}/pods?dryRun=All"))
        .header("content-type", "application/json")
        .body(pod.to_string().into_bytes())
        .unwrap();
    match client.request_text(request).await {
        Ok(_) => Said::Admitted,
        Err(kube::Error::Api(status)) => Said::Refused(status.message.clone()),
        Err(error) => Said::Nothing(format!("{error:?}")),
    }
}

/// Waits until a pod is refused in these words, and returns all of them.
pub async fn refused(client: &Client, namespace: &str, words: &str) -> String {
    let mut last = None;
    let looking = tokio::time::timeout(Duration::from_secs(60), async {
        loop {
            match ask(client, namespace).await {
                Said::Refused(said) if said.contains(words) => return said,
                other => last = Some(other),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    looking
        .await
        .unwrap_or_else(|_| panic!("never refused with {words:?}, but {last:?}"))
}

/// Waits until a pod is admitted.
pub async fn admitted(client: &Client, namespace: &str) {
    eventually("a pod is admitted", async || {
        (ask(client, namespace).await == Said::Admitted).then_some(())
    })
    .await;
}

/// Who holds the Lease.
pub async fn leader(client: &Client) -> Option<String> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), NAMESPACE);
    leases.get_opt(LEASE).await.ok()??.spec?.holder_identity
}

/// Waits until the Lease is held by one of these.
pub async fn led_by<'a>(client: &Client, operators: &[&'a Operator]) -> &'a Operator {
    eventually("one of them leads", async || {
        let leads = leader(client).await?;
        operators
            .iter()
            .find(|operator| operator.identity == leads)
            .copied()
    })
    .await
}

/// A model whose registry nobody may ask, so that one look at it settles it.
pub fn model(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "probity.dev/v1alpha1", "kind": "ModelDeployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "model": {"source": {"oci": {"reference": format!("registry.invalid/models/{name}:1")}}},
            "server": {"image": format!("registry.example/s@sha256:{}", "5e".repeat(32)), "protocol": "HTTP", "port": 80}
        }
    })
}

/// How long it is since then, for output.
pub fn since(then: Instant) -> String {
    format!("{:.1} s", then.elapsed().as_secs_f64())
}
