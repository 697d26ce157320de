//! What the tests run against: a real Kubernetes API and a real registry, each started at most once a test binary.
//! It builds nothing by itself and leaves nothing behind: the scripts beside it do the work, and they end with the
//! test binary, however that ends, because it holds their standard input.
//!
//! ```no_run
//! mod testbed;
//!
//! #[tokio::test]
//! async fn a_model_is_stored() {
//!     let client = testbed::client().await;
//!     let namespace = testbed::namespace(&client).await;
//!     // …
//! }
//! ```
// Every test binary has a copy of this file and uses what it needs.
#![allow(dead_code, reason = "no binary uses all of it")]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "only tests see it"
)]

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use k8s_openapi::{
    api::core::v1::Namespace, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, Config, ResourceExt as _,
    api::{ApiResource, DynamicObject, ObjectMeta, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
    runtime::wait::{await_condition, conditions::is_crd_established},
};
use serde_json::Value;
use tokio::{sync::OnceCell, time::timeout};

/// The account that the chart gives the operator.
pub const OPERATOR: &str = "system:serviceaccount:probity-system:probity";

/// The API server's client, with our definitions installed and established.
///
/// Make one in each test: a client does not outlive the runtime it was made in, and each test has its own.
pub async fn client() -> Client {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    let client = bare_client().await;
    INSTALLED.get_or_init(|| install(&client)).await;
    client
}

/// The API server's client; our definitions may be missing.
pub async fn bare_client() -> Client {
    Client::try_from(config(kubeconfig()).await).expect("a client can be made")
}

/// How the API server of a kubeconfig is asked, with every right.
pub async fn config(kubeconfig: &Path) -> Config {
    config_of(read(kubeconfig)).await
}

/// How it is asked as the account that the chart gives the operator, with the rights of that one and no other.
pub async fn operators_config(kubeconfig: &Path) -> Config {
    let groups = [
        "system:serviceaccounts",
        "system:serviceaccounts:probity-system",
        "system:authenticated",
    ];
    config_as(kubeconfig, OPERATOR, &groups).await
}

/// How it is asked as somebody in these groups, with the rights of theirs and no other.
pub async fn config_as(kubeconfig: &Path, user: &str, groups: &[&str]) -> Config {
    let mut kubeconfig = read(kubeconfig);
    let info = kubeconfig.auth_infos[0].auth_info.as_mut();
    let info = info.expect("a kubeconfig says who one is");
    info.impersonate = Some(user.to_owned());
    info.impersonate_groups = Some(groups.iter().map(ToString::to_string).collect());
    config_of(kubeconfig).await
}

fn read(kubeconfig: &Path) -> Kubeconfig {
    Kubeconfig::read_from(kubeconfig).expect("the test bed's kubeconfig can be read")
}

async fn config_of(kubeconfig: Kubeconfig) -> Config {
    // The second call in a binary finds the provider installed, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .expect("the test bed's kubeconfig is complete");
    // As the operator's: what was answered is what counts, and not what became of it when it was asked again.
    config.default_retry = false;
    config
}

/// The API server's kubeconfig, with which one may do everything: for programs that bring a client of their own.
pub fn kubeconfig() -> &'static Path {
    static SERVER: OnceLock<Result<Server, String>> = OnceLock::new();
    let server = shared(&SERVER, || Server::start("apiserver", &[], &[]));
    Path::new(&server.ready)
}

/// `127.0.0.1:PORT` of the registry: plain HTTP, anybody may push.
pub fn registry() -> &'static str {
    static SERVER: OnceLock<Result<Server, String>> = OnceLock::new();
    &shared(&SERVER, || Server::start("registry", &[], &[])).ready
}

/// A fresh namespace under a name that no other test has.
pub async fn namespace(client: &Client) -> String {
    labelled_namespace(client, &[]).await
}

/// A fresh namespace that policies apply to.
pub async fn governed_namespace(client: &Client) -> String {
    labelled_namespace(client, &[(probity::api::GOVERNED_LABEL, "true")]).await
}

/// A fresh namespace with these labels.
///
/// Nobody deletes it: it goes with the API server, and a deleted one would stay `Terminating` there anyway.
pub async fn labelled_namespace(client: &Client, labels: &[(&str, &str)]) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let name = format!("test-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let labels: BTreeMap<_, _> = labels
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    let metadata = ObjectMeta {
        name: Some(name.clone()),
        labels: Some(labels),
        ..ObjectMeta::default()
    };
    let namespace = Namespace {
        metadata,
        ..Namespace::default()
    };
    Api::all(client.clone())
        .create(&PostParams::default(), &namespace)
        .await
        .expect("a namespace can be made");
    name
}

/// The directories of these groups of tools, joined like a `PATH`; what is missing is built first, which takes minutes.
///
/// `PROBITY_TOOLS`, when it is set, is taken as the answer.
pub fn tools(groups: &[&str]) -> String {
    if let Ok(path) = std::env::var("PROBITY_TOOLS") {
        return path;
    }
    let script = script("tools");
    let output = Command::new(&script)
        .arg("--path")
        .args(groups)
        .stderr(Stdio::inherit())
        .output();
    let path = output
        .ok()
        .filter(|output| output.status.success())
        .map(|output| output.stdout);
    let path = path
        .and_then(|path| String::from_utf8(path).ok())
        .unwrap_or_else(|| {
            panic!(
                "the tools {groups:?} are missing and could not be built; run `{} {}` and see why",
                script.display(),
                groups.join(" ")
            )
        });
    path.trim_end().to_owned()
}

/// A command that finds these groups of tools before anything else.
pub fn tool(program: &str, groups: &[&str]) -> Command {
    let directories = tools(groups);
    // `Command` looks a program up in the parent's PATH, so the child's alone is not enough.
    let mut command = Command::new(among(&directories, program));
    command.env(
        "PATH",
        format!("{directories}:{}", std::env::var("PATH").unwrap_or_default()),
    );
    command
}

/// A file that one of these groups of tools has.
pub fn file(name: &str, groups: &[&str]) -> PathBuf {
    among(&tools(groups), name)
}

fn among(directories: &str, name: &str) -> PathBuf {
    std::env::split_paths(directories)
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
        .unwrap_or_else(|| panic!("`{name}` is in none of {directories}"))
}

/// A server of the test bed. It ends, and its folder goes, when this is dropped or the process that holds it ends.
pub struct Server {
    /// What the script said is ready: the path of a kubeconfig, or the address of a registry.
    pub ready: String,
    child: Child,
    held: Option<ChildStdin>,
}

impl Server {
    /// Starts `tests/testbed/SCRIPT DIR ARGUMENTS…` in a folder of its own and waits until it is ready.
    ///
    /// # Errors
    /// One sentence with the remedy; what the script itself has to say is on standard error.
    pub fn start(name: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Result<Self, String> {
        let remedy = format!(
            "see what it says above; `{} {name}` builds what it needs",
            script("tools").display()
        );
        let directory = tempfile::Builder::new().prefix("probity-").tempdir();
        // The script removes it, also when we are killed and could not.
        let directory = directory
            .map_err(|error| format!("no folder for {name}: {error}"))?
            .keep();
        let mut command = Command::new(script(name));
        command
            .arg(&directory)
            .args(arguments)
            .envs(environment.iter().copied());
        Self::hold(name, &mut command, &remedy)
    }

    /// Ends the API server as a power cut would, and starts it again at the same address with all it had stored.
    ///
    /// It is under way when this returns; whoever needs the API asks until it answers.
    pub fn restart(&mut self) {
        let held = self.held.as_mut().expect("it is held until it is dropped");
        held.write_all(b"restart\n").expect("the script listens");
    }

    /// Starts a whole node (`tests/testbed/node run NAME`) and waits until it is ready; needs root.
    ///
    /// # Errors
    /// One sentence with the remedy; what the script itself has to say is on standard error.
    pub fn node(name: &str) -> Result<Self, String> {
        let remedy = format!(
            "see what it says above; `{} down {name}` removes what is left of it",
            script("node").display()
        );
        Self::hold("node", Command::new(script("node")).args(["run", name]), &remedy)
    }

    fn hold(name: &str, command: &mut Command, remedy: &str) -> Result<Self, String> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("tests/testbed/{name} cannot be run: {error}"))?;
        let held = child.stdin.take();
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            // An error reads like a script that said nothing.
            let _ = BufReader::new(stdout).read_line(&mut line);
        }
        if let Some(ready) = line.trim_end().strip_prefix("ready ") {
            return Ok(Self {
                ready: ready.to_owned(),
                child,
                held,
            });
        }
        drop(held);
        let _ = child.wait();
        Err(format!("tests/testbed/{name} did not come up: {remedy}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.held = None;
        let _ = self.child.wait();
    }
}

/// Every test that needs a server which did not come up fails with the same words, and does not try again.
fn shared(
    cell: &'static OnceLock<Result<Server, String>>,
    start: fn() -> Result<Server, String>,
) -> &'static Server {
    cell.get_or_init(start)
        .as_ref()
        .unwrap_or_else(|error| panic!("{error}"))
}

/// A script of the test bed.
fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/testbed")
        .join(name)
}

/// Installs our definitions and waits until the API server serves them.
pub async fn install(client: &Client) {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let ours = probity::api::custom_resource_definitions();
    for definition in &ours {
        let name = definition.metadata.name.as_deref().unwrap();
        let apply = PatchParams::apply("tests").force();
        definitions
            .patch(name, &apply, &Patch::Apply(definition))
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    for definition in &ours {
        established(client, definition.metadata.name.as_deref().unwrap()).await;
    }
}

/// KServe's own definition of an `InferenceService`: a megabyte, which no `kubectl apply` could carry in an annotation.
pub async fn install_kserve(client: &Client, kubeconfig: &Path) {
    let made = tool("kubectl", &["apiserver"])
        .env("KUBECONFIG", kubeconfig)
        .args(["create", "-f"])
        .arg(file("inferenceservices.yaml", &["kserve"]))
        .output()
        .expect("kubectl can be run");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    established(client, "inferenceservices.serving.kserve.io").await;
}

/// The `OpenReports` project's own definition of a `Report`.
pub async fn install_openreports(client: &Client, kubeconfig: &Path) {
    let made = tool("kubectl", &["apiserver"])
        .env("KUBECONFIG", kubeconfig)
        .args(["create", "-f"])
        .arg(file("reports.yaml", &["openreports"]))
        .output()
        .expect("kubectl can be run");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    established(client, "reports.openreports.io").await;
}

/// The network policy API's own definition of a `ClusterNetworkPolicy`.
pub async fn install_policyapi(client: &Client, kubeconfig: &Path) {
    let made = tool("kubectl", &["apiserver"])
        .env("KUBECONFIG", kubeconfig)
        .args(["create", "-f"])
        .arg(file("clusternetworkpolicies.yaml", &["policyapi"]))
        .output()
        .expect("kubectl can be run");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    established(client, "clusternetworkpolicies.policy.networking.k8s.io").await;
}

/// Waits until the API server serves the kind that this definition is of.
pub async fn established(client: &Client, name: &str) {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let established = await_condition(definitions, name, is_crd_established());
    let waited = timeout(Duration::from_secs(30), established).await;
    waited
        .unwrap_or_else(|_| panic!("{name} is not established after 30 s"))
        .expect("definitions can be watched");
}

/// Applies one object, whatever it is.
pub async fn apply(client: &Client, object: Value) {
    let object: DynamicObject = serde_json::from_value(object).unwrap();
    let types = object.types.clone().unwrap();
    let (group, version) = types
        .api_version
        .split_once('/')
        .unwrap_or(("", &types.api_version));
    let resource = ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: types.api_version.clone(),
        plural: format!("{}s", types.kind.to_lowercase()).replace("policys", "policies"),
        kind: types.kind.clone(),
    };
    let api: Api<DynamicObject> = match object.namespace() {
        Some(namespace) => Api::namespaced_with(client.clone(), &namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let name = object.name_any();
    api.patch(
        &name,
        &PatchParams::apply("tests").force(),
        &Patch::Apply(&object),
    )
    .await
    .unwrap_or_else(|error| panic!("{} {name}: {error}", types.kind));
}
