//! `probity relay` and `probity fetch` as the processes they are, beside a real API server and a real registry: a disk that
//! is full, tokens that have ended, and a thousand who ask for one blob at once.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Child, Command},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures::{StreamExt as _, stream};
use k8s_openapi::api::{
    authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
    core::v1::{Pod, ServiceAccount},
};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, PostParams},
};
use probity::{
    api::RELAY_AUDIENCE,
    artifact::{
        fetch::{FetchOptions, Unwatched, fetch},
        oci::{self, Timeouts},
    },
    evidence::{Digest, Reference},
    relay::Identity,
};
use rustls::pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::stage::{PATIENCE, Stage, free_address, proxy};
use crate::{
    artifacts::{Model, WEIGHTS, sha256, through},
    fault_proxy::{Fault, FaultProxy, path},
    testbed,
};

const PROBITY: &str = env!("CARGO_BIN_EXE_probity");
const PLENTY: u64 = 100 << 20;
/// What it may need beyond what it has at its start, whoever asks for whatever: with the 8 MiB of the program that is
/// shipped, which is smaller than that of the tests, that is less than 64 MiB, if that takes 8 MiB by itself, which is assumed.
const MOST_MEMORY: u64 = 52 << 20;

/// A relay that runs as long as this lives.
struct Process {
    child: Child,
    url: String,
    admin: SocketAddr,
    key: Digest,
    files: TempDir,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// One that may ask this registry.
    async fn start(registry: &str) -> Self {
        Self::started(&[], registry).await
    }

    /// The same, started by this command, whose first argument is the cache's folder and the others the relay's command.
    async fn started(by: &[&str], registry: &str) -> Self {
        let files = tempfile::tempdir().unwrap();
        let (cache, key_file) = (files.path().join("cache"), files.path().join("key.pem"));
        fs::create_dir(&cache).unwrap();
        let identity = Identity::generate().unwrap();
        fs::write(&key_file, identity.pem()).unwrap();
        let (address, admin) = (free_address(), free_address());
        let mut command = match by {
            [] => Command::new(PROBITY),
            [program, arguments @ ..] => {
                let mut command = Command::new(program);
                command.args(arguments).arg(&cache).arg(PROBITY);
                command
            }
        };
        command
            .args(["relay", "--plain-http", registry, "--log-format", "text"])
            .args([
                "--address",
                &address.to_string(),
                "--admin-address",
                &admin.to_string(),
            ])
            .args(["--cache-bytes", &PLENTY.to_string(), "--cache-dir"])
            .arg(&cache)
            .arg("--key-file")
            .arg(&key_file)
            .env("KUBECONFIG", testbed::kubeconfig())
            .stderr(fs::File::create(files.path().join("log")).unwrap());
        let process = Self {
            child: command.spawn().unwrap(),
            url: format!("https://{address}"),
            admin,
            key: identity.fingerprint(),
            files,
        };
        process.shows("/readyz", "ok").await;
        process
    }

    /// Waits until this page says this, and returns all of it.
    async fn shows(&self, page: &str, says: &str) -> String {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("http://{}{page}", self.admin);
        let asking = async {
            loop {
                if let Ok(answer) = http.get(&url).send().await
                    && let Ok(text) = answer.text().await
                    && text.contains(says)
                {
                    return text;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let shown = tokio::time::timeout(PATIENCE, asking).await;
        shown.unwrap_or_else(|_| panic!("{page} never said {says}; it logged:\n{}", self.log()))
    }

    fn log(&self) -> String {
        fs::read_to_string(self.files.path().join("log")).unwrap()
    }

    /// The most memory it ever had, in bytes.
    fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib: u64 = peak.unwrap().trim().trim_end_matches(" kB").parse().unwrap();
        kib << 10
    }

    /// Fetches as a pod with this token does, and gives the folder that it is in.
    async fn fetch(&self, token: &str, reference: &Reference) -> Result<TempDir, oci::RegistryError> {
        let folder = tempfile::tempdir_in(self.files.path()).unwrap();
        let file = tempfile::NamedTempFile::new_in(self.files.path()).unwrap();
        fs::write(file.path(), token).unwrap();
        let relay = oci::Relay::new(&self.url, self.key, file.path().into()).unwrap();
        let client = oci::Client::relayed(relay, Timeouts::through_relay()).unwrap();
        fetch(
            &client,
            reference,
            folder.path(),
            &FetchOptions::default(),
            &Unwatched,
        )
        .await?;
        Ok(folder)
    }

    /// What `probity fetch` says of a token, and leaves for the kubelet.
    fn refuses(&self, token: &str, reference: &Reference) -> (String, Value) {
        let at = |name: &str| self.files.path().join(name);
        fs::write(at("token"), token).unwrap();
        fs::write(at("termination-log"), "").unwrap();
        let output = Command::new(PROBITY)
            .args(["fetch", "--reference", &reference.to_string(), "--dir"])
            .arg(tempfile::tempdir_in(self.files.path()).unwrap().path())
            .args([
                "--relay",
                &self.url,
                "--relay-key",
                &self.key.to_string(),
                "--relay-token",
            ])
            .arg(at("token"))
            .arg("--termination-log")
            .arg(at("termination-log"))
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{said}");
        let left = fs::read_to_string(at("termination-log")).unwrap();
        (said, serde_json::from_str(&left).unwrap())
    }
}

/// A model that the namespace has, behind a proxy, and an account whose pods may ask for it.
async fn deployed(stage: &Stage, model: &Model) -> (FaultProxy, Reference) {
    let proxy = proxy();
    let reference = through(&proxy, &model.push(&format!("relayed/{}", stage.namespace)));
    stage.model("digits", &reference.to_string()).await;
    stage
        .create::<ServiceAccount>(
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "puller"}}),
        )
        .await;
    (proxy, reference)
}

/// A token as the kubelet gets it for a pod.
async fn token(stage: &Stage, pod: Option<&Pod>) -> String {
    let request = TokenRequest {
        spec: TokenRequestSpec {
            audiences: vec![RELAY_AUDIENCE.into()],
            expiration_seconds: Some(600),
            bound_object_ref: pod.map(|pod| BoundObjectReference {
                api_version: Some("v1".into()),
                kind: Some("Pod".into()),
                name: Some(pod.name_any()),
                uid: pod.uid(),
            }),
        },
        ..TokenRequest::default()
    };
    let accounts: Api<ServiceAccount> = stage.api();
    let made = accounts
        .create_token_request("puller", &PostParams::default(), &request)
        .await;
    made.unwrap().status.unwrap().token
}

/// The same token as it would have been an hour earlier, signed by the API server's own key: it has ended since.
fn an_hour_older(token: &str) -> String {
    let parts: Vec<_> = token.split('.').collect();
    let mut claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
    for time in ["iat", "nbf", "exp"] {
        claims[time] = (claims[time].as_i64().unwrap() - 3600).into();
    }
    let signed = format!("{}.{}", parts[0], URL_SAFE_NO_PAD.encode(claims.to_string()));
    let key = testbed::kubeconfig().parent().unwrap().join("pki/sa.key");
    let key = PrivatePkcs8KeyDer::from_pem_file(key).unwrap();
    let key = aws_lc_rs::signature::EcdsaKeyPair::from_pkcs8(
        &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING,
        key.secret_pkcs8_der(),
    )
    .unwrap();
    let signature = key
        .sign(&aws_lc_rs::rand::SystemRandom::new(), signed.as_bytes())
        .unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn content(folder: &Path) -> Digest {
    sha256(&fs::read(folder.join(WEIGHTS)).unwrap())
}

#[tokio::test]
async fn a_full_disk_is_no_outage() {
    let stage = Stage::new().await;
    let model = Model::plain().with(WEIGHTS, vec![3; 3 << 20]);
    let (proxy, reference) = deployed(&stage, &model).await;
    // A disk of one megabyte, which the relay's process alone sees. Who is not root needs namespaces of users for it.
    let root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let private: &[&str] = if root { &[] } else { &["--user", "--map-root-user"] };
    let mount = "mount -t tmpfs -o size=1m none \"$0\" && exec \"$@\"";
    let by = [&["unshare", "--mount"], private, &["sh", "-c", mount]].concat();
    let relay = Process::started(&by, &proxy.address()).await;

    let pod = token(&stage, None).await;
    for _ in 0..2 {
        let folder = relay.fetch(&pod, &reference).await.unwrap();
        assert_eq!(content(folder.path()), model.digest(WEIGHTS));
    }
    let weights = path(&model.digest(WEIGHTS).to_string());
    assert_eq!(proxy.count(weights), 2, "what is not kept is asked for again");
    let metrics = relay.shows("/metrics", "probity_relay_blobs_total").await;
    assert!(
        metrics.contains("probity_relay_blobs_total{source=\"Unkept\"}"),
        "{metrics}"
    );
    let log = relay.log();
    assert!(
        log.contains("No space left on device") && log.contains("passed on without being kept"),
        "{log}"
    );
}

#[tokio::test]
async fn a_token_that_has_ended_is_refused_and_fetch_says_why() {
    let stage = Stage::new().await;
    let (proxy, reference) = deployed(&stage, &Model::plain()).await;
    let relay = Process::start(&proxy.address()).await;
    let good = token(&stage, None).await;
    relay.fetch(&good, &reference).await.unwrap();

    let (said, left) = relay.refuses(&an_hour_older(&good), &reference);
    assert!(said.contains("the relay does not take the token"), "{said}");
    assert!(said.contains("expired"), "{said}");
    assert_eq!(left["reason"], "RegistryDenied");
}

#[tokio::test]
async fn a_token_ends_with_its_pod() {
    let stage = Stage::new().await;
    let (proxy, reference) = deployed(&stage, &Model::plain()).await;
    let relay = Process::start(&proxy.address()).await;
    let pod: Pod = stage
        .create(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"},
            "spec": {
                "serviceAccountName": "puller", "automountServiceAccountToken": false,
                "containers": [{"name": "main", "image": "registry.example/main"}],
            },
        }))
        .await;
    let (held, unused) = (token(&stage, Some(&pod)).await, token(&stage, Some(&pod)).await);
    relay.fetch(&held, &reference).await.unwrap();
    let pods: Api<Pod> = stage.api();
    pods.delete("one", &DeleteParams::default().grace_period(0))
        .await
        .unwrap();
    // What was good is believed for a minute; what was not asked about before is not taken for a moment.
    let (said, left) = relay.refuses(&unused, &reference);
    assert!(said.contains("the relay does not take the token"), "{said}");
    assert_eq!(left["reason"], "RegistryDenied");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_pods_ask_for_one_blob_at_once() {
    let stage = Stage::new().await;
    let model = Model::plain()
        .with(WEIGHTS, vec![7; 1 << 20])
        .without("config.json")
        .without("labels/classes.txt");
    let (proxy, reference) = deployed(&stage, &model).await;
    let blob = model.digest(WEIGHTS).to_string();
    // Until many of them have asked.
    proxy.on(path(&blob), Fault::Delay(Duration::from_secs(2)));
    let relay = Process::start(&proxy.address()).await;
    let before = relay.memory();
    let tokens: Vec<_> = stream::iter(0..1000)
        .map(|_| token(&stage, None))
        .buffer_unordered(16)
        .collect()
        .await;
    let fetching = tokens.iter().map(|token| async {
        let folder: PathBuf = relay.fetch(token, &reference).await.unwrap().keep();
        let fetched = content(&folder);
        fs::remove_dir_all(folder).unwrap();
        fetched
    });
    let fetched: Vec<_> = stream::iter(fetching).buffer_unordered(1000).collect().await;
    assert!(fetched.iter().all(|digest| *digest == model.digest(WEIGHTS)));
    assert_eq!(fetched.len(), 1000);
    assert_eq!(proxy.count(path(&blob)), 1, "one request to the registry");
    let more = relay.memory() - before;
    println!("relayed: {} KiB more than at the start", more >> 10);
    assert!(more < MOST_MEMORY, "{} KiB more than at the start", more >> 10);
}
