//! What all tests share: the node, the operator installed with helm, server images, a registry that misbehaves and one
//! that wants a password. Made once a run; nothing here is changed by a test that is not alone.

use std::{
    collections::HashMap,
    fs::File,
    net::Ipv4Addr,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use kube::{Api, Client, api::PostParams};
use probity::api::v1alpha1::{ClusterDeploymentPolicy, TrustRoot};
use serde_json::json;
use tokio::{sync::watch, task::spawn_blocking};

use crate::{
    chart::Chart,
    fault_proxy::FaultProxy,
    models::{models, run, scratch},
    testbed::{self, Server},
};

/// Everything that tests use.
pub struct Bed {
    pub client: Client,
    pub node: Node,
    pub chart: Chart,
    /// Stands before the node's registry, and can misbehave.
    pub proxy: FaultProxy,
    pub guarded: Guarded,
    /// A server that answers `light` to everything, by digest.
    pub light: String,
    /// Each request on a connection of its own, as many clients do.
    pub http: reqwest::Client,
    digits: watch::Receiver<Option<String>>,
}

/// The node, and where it is.
pub struct Node {
    pub name: String,
    pub kubeconfig: PathBuf,
    /// Everything of it that is on the disk.
    pub directory: PathBuf,
    /// The registry, as everybody calls it.
    pub registry: String,
    /// This machine, as pods see it.
    pub host: Ipv4Addr,
    /// Its own address.
    pub address: Ipv4Addr,
    /// Its network namespace.
    pub network: PathBuf,
    /// The Service of the cluster's name servers.
    pub name_server: Ipv4Addr,
    /// The Service `kubernetes`.
    pub api: Ipv4Addr,
}

/// A registry that wants a password.
pub struct Guarded {
    /// From this machine.
    pub here: String,
    /// From pods: the proxy before it.
    pub proxy: FaultProxy,
    _server: Server,
}

pub const USER: &str = "puller";
pub const PASSWORD: &str = "s3cret-pass";
/// Made with `perl -e 'print crypt("s3cret-pass", q($2b$05$abcdefghijklmnopqrstuu))'`.
const HTPASSWD: &str = "puller:$2b$05$abcdefghijklmnopqrstuuV7fpPozvyqJfnY19y0802WTlXUm6Rjy\n";

/// A node of this run's alone. It ends when this is dropped, or with this process.
pub struct Held {
    _node: Server,
    _lock: File,
}

/// Starts the node anew: what somebody left on one of this name is no part of these tests.
pub fn start_node(name: &str) -> Result<Held, String> {
    let root = std::fs::metadata("/proc/self")
        .map_err(|error| error.to_string())?
        .uid()
        == 0;
    if !root {
        return Err(
            "these tests start a node (namespaces, mounts, control groups) and need root: \
                    run `sudo make test-cluster`, or `make test-api` for what needs none"
                .into(),
        );
    }
    let path = std::env::temp_dir().join(format!("probity-cluster-tests-{name}"));
    let lock = File::create(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    lock.try_lock().map_err(|_| {
        format!("another run has the node {name}: wait for it, or set PROBITY_TEST_NODE to another name")
    })?;
    // Meanwhile the models are made. What goes wrong there is said again when they are wanted.
    std::thread::spawn(models);
    run(Command::new(script("tests/testbed/node")).args(["down", name]));
    Ok(Held {
        _node: Server::node(name)?,
        _lock: lock,
    })
}

/// Makes everything that tests share.
pub async fn set_up(name: String) -> &'static Bed {
    let started = Instant::now();
    let say = |what: &str| eprintln!("cluster: {what} [{} s]", started.elapsed().as_secs());
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let node = Node::find(name);
    let client = client(&node).await;

    let (told, digits) = watch::channel(None);
    let to = format!("{}/servers/onnx:test", node.registry);
    // Long when it is built for the first time: only the tests that need it wait for it.
    let _server_image =
        spawn_blocking(move || told.send_replace(Some(last_line(&run(&mut build("server-image", &[&to]))))));

    let to = format!("{}/probity/probity:test", node.registry);
    // Not compressed: the debug build is large, and it does not travel far.
    let image = spawn_blocking(move || {
        run(build("image", &[env!("CARGO_BIN_EXE_probity"), &to]).env("COMPRESS", "no"))
    });
    let to = format!("{}/servers/light:test", node.registry);
    let light = spawn_blocking(move || light_image(&to));
    let (image, light) = (last_line(&image.await.unwrap()), light.await.unwrap());
    say("the images are pushed");

    let proxy = FaultProxy::at(node.host, &node.registry);
    let guarded = Guarded::start(node.host);
    let plain = [node.registry.clone(), proxy.address(), guarded.proxy.address()];
    let chart = Chart::new(&node.kubeconfig, &image, &plain, node.address);
    chart.install(&[]).await;
    say("the operator runs");
    spawn_blocking(models).await.expect("the models can be made");
    trust(&client, &plain).await;
    say("the models are signed");
    let http = reqwest::Client::builder()
        .no_proxy()
        .pool_max_idle_per_host(0)
        .build()
        .unwrap();
    Box::leak(Box::new(Bed {
        client,
        node,
        chart,
        proxy,
        guarded,
        light,
        http,
        digits,
    }))
}

impl Bed {
    /// The server of the demo, by digest: a real one, which reads the model.
    pub async fn digits_server(&self) -> String {
        let mut digits = self.digits.clone();
        let image = digits
            .wait_for(Option::is_some)
            .await
            .expect("build/server-image said what it could not do");
        image.clone().unwrap()
    }
}

impl Node {
    fn find(name: String) -> Self {
        let said = run(Command::new(script("tests/testbed/node")).args(["env", &name]));
        let facts: HashMap<_, _> = said
            .lines()
            .filter_map(|line| line.strip_prefix("export ")?.split_once('='))
            .collect();
        let kubeconfig = PathBuf::from(facts["KUBECONFIG"]);
        Self {
            directory: kubeconfig.parent().unwrap().to_owned(),
            kubeconfig,
            registry: facts["PROBITY_REGISTRY"].to_owned(),
            host: facts["PROBITY_HOST_IP"].parse().unwrap(),
            address: facts["PROBITY_NODE_IP"].parse().unwrap(),
            network: PathBuf::from(facts["PROBITY_NODE_NETNS"]),
            name_server: facts["PROBITY_CLUSTER_DNS"].parse().unwrap(),
            api: facts["PROBITY_CLUSTER_API"].parse().unwrap(),
            name,
        }
    }

    /// Where the registry keeps the bytes of a digest.
    pub fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").unwrap();
        let blobs = self.directory.join("registry/docker/registry/v2/blobs/sha256");
        blobs.join(&hex[..2]).join(hex).join("data")
    }
}

impl Guarded {
    fn start(host: Ipv4Addr) -> Self {
        let file = scratch().join("htpasswd");
        std::fs::write(&file, HTPASSWD).unwrap();
        let server =
            Server::start("registry", &[], &[("REGISTRY_HTPASSWD", file.to_str().unwrap())]).unwrap();
        Self {
            here: server.ready.clone(),
            proxy: FaultProxy::at(host, &server.ready),
            _server: server,
        }
    }
}

async fn client(node: &Node) -> Client {
    Client::try_from(testbed::config(&node.kubeconfig).await).unwrap()
}

/// The one policy of all tests: the release team's models, from these registries.
async fn trust(client: &Client, registries: &[String]) {
    let root: TrustRoot = serde_json::from_value(json!({
        "apiVersion": "probity.dev/v1alpha1", "kind": "TrustRoot", "metadata": {"name": "cluster-tests"},
        "spec": {"keys": [{"name": "release", "publicKey": models().release_key}]},
    }))
    .unwrap();
    let policy: ClusterDeploymentPolicy = serde_json::from_value(json!({
        "apiVersion": "probity.dev/v1alpha1", "kind": "ClusterDeploymentPolicy", "metadata": {"name": "cluster-tests"},
        "spec": {
            "namespaceSelector": {},
            "signers": [{"name": "release", "key": {"trustRoot": "cluster-tests", "keys": ["release"]}}],
            "model": {
                "signers": ["release"],
                "repositories": registries.iter().map(|registry| format!("{registry}/models/*")).chain(["volume:models/**".into()]).collect::<Vec<_>>(),
            },
        },
    }))
    .unwrap();
    Api::all(client.clone())
        .create(&PostParams::default(), &root)
        .await
        .unwrap();
    Api::all(client.clone())
        .create(&PostParams::default(), &policy)
        .await
        .unwrap();
}

/// The test bed's probe as a server's image.
fn light_image(to: &str) -> String {
    let layout = tempfile::tempdir().unwrap();
    let probe = testbed::tools(&["node"]);
    run(Command::new("tar")
        .arg("-C")
        .arg(layout.path())
        .arg("-xf")
        .arg(Path::new(&probe).join("images/probe.tar")));
    last_line(&run(testbed::tool("crane", &["crane"])
        .arg("push")
        .arg(layout.path())
        .arg(to)))
}

fn build(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(script(&format!("build/{name}")));
    command.args(arguments);
    command
}

fn script(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn last_line(text: &str) -> String {
    text.lines().last().expect("it prints a reference").to_owned()
}
