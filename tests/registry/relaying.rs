//! A relay between `probity fetch` and a real registry: who gets what, what is asked of the registry how often, and what
//! happens when the registry, the relay, the disk or somebody who asks misbehaves.
//! Only the API server is played here; `tests/operator` asks a real one.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream};
use probity::{
    artifact::{
        fetch::{FetchOptions, Unwatched, fetch},
        oci::{Client, Credentials, RegistryError, Relay as Asked, Timeouts},
    },
    evidence::{Digest, Failure, Reason, Reference},
    relay::{Cluster, Grant, Identity, Limits, Metrics, Relay, Settings, Source, TokenHolder, serve},
};
use tempfile::TempDir;
use test_case::test_case;
use tokio::{io::AsyncWriteExt as _, runtime::Runtime};

use super::{
    artifacts::{Model, WEIGHTS, client, through},
    fetching::{assert_is, bench, until},
};
use crate::fault_proxy::{Fault, FaultProxy, any, path};

const QUICK: FetchOptions = FetchOptions {
    max_bytes: None,
    parallel: 3,
    attempts: 5,
    pause: Duration::from_millis(100),
};

/// A cluster in which a token is its namespace's name.
#[derive(Clone, Default)]
struct Namespaces {
    grants: BTreeMap<String, Vec<Grant>>,
    secrets: BTreeMap<(String, String), Credentials>,
    asked: Arc<Mutex<BTreeMap<&'static str, usize>>>,
}

impl Namespaces {
    fn with(mut self, namespace: &str, reference: &Reference, pull_secret: Option<&str>) -> Self {
        let grant = Grant {
            reference: reference.clone(),
            pull_secret: pull_secret.map(ToOwned::to_owned),
        };
        self.grants.entry(namespace.into()).or_default().push(grant);
        self
    }

    fn with_secret(mut self, namespace: &str, name: &str, host: &str, password: &str) -> Self {
        let config =
            format!(r#"{{"auths": {{"{host}": {{"username": "{namespace}", "password": "{password}"}}}}}}"#);
        let credentials = Credentials::from_docker_config(config.as_bytes()).unwrap();
        self.secrets.insert((namespace.into(), name.into()), credentials);
        self
    }

    fn count(&self, what: &'static str) {
        *self.asked.lock().unwrap().entry(what).or_default() += 1;
    }

    fn asked(&self, what: &'static str) -> usize {
        self.asked.lock().unwrap().get(what).copied().unwrap_or_default()
    }
}

impl Cluster for Namespaces {
    async fn holder(&self, token: &str) -> Result<TokenHolder, Failure> {
        self.count("holder");
        if !self.grants.contains_key(token) {
            let message = "the relay does not take the token (it is nobody's)";
            return Err(Failure::new(Reason::RegistryDenied, message));
        }
        Ok(TokenHolder {
            namespace: token.into(),
            pod: None,
        })
    }

    async fn grants(&self, namespace: &str) -> Result<Vec<Grant>, Failure> {
        self.count("grants");
        Ok(self.grants.get(namespace).cloned().unwrap_or_default())
    }

    async fn credentials(&self, namespace: &str, secret: &str) -> Result<Credentials, Failure> {
        self.count("credentials");
        let found = self.secrets.get(&(namespace.into(), secret.into()));
        found
            .cloned()
            .ok_or_else(|| Failure::new(Reason::CredentialsMissing, "there is no such Secret"))
    }
}

/// A relay on threads of its own, which ends at once when it is dropped.
struct Bed {
    address: SocketAddr,
    key: Digest,
    pem: String,
    metrics: Metrics,
    cluster: Namespaces,
    hosts: Vec<String>,
    runtime: Option<Runtime>,
    files: TempDir,
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Bed {
    fn start(cluster: Namespaces, proxy: &FaultProxy, capacity: u64, limits: Limits) -> Self {
        let mut bed = Self {
            address: "127.0.0.1:0".parse().unwrap(),
            key: Digest::from_bytes([0; 32]),
            pem: Identity::generate().unwrap().pem(),
            metrics: Metrics::default(),
            cluster,
            hosts: vec![proxy.address()],
            runtime: None,
            files: tempfile::tempdir().unwrap(),
        };
        bed.revive(capacity, limits);
        bed
    }

    fn revive(&mut self, capacity: u64, limits: Limits) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let identity = Identity::read(&self.pem).unwrap();
        let hosts: Vec<_> = self.hosts.iter().map(String::as_str).collect();
        let settings = Settings {
            cache: self.cache(),
            capacity,
            limits,
        };
        let relay = Relay::new(
            self.cluster.clone(),
            client(&hosts, &[]),
            &settings,
            self.metrics.clone(),
        )
        .unwrap();
        // The one before may not have let go of the address yet.
        let listener = (0..500)
            .find_map(|_| {
                std::net::TcpListener::bind(self.address)
                    .inspect_err(|_| std::thread::sleep(Duration::from_millis(10)))
                    .ok()
            })
            .expect("the address is free");
        listener.set_nonblocking(true).unwrap();
        let entered = runtime.enter();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        drop(entered);
        self.address = listener.local_addr().unwrap();
        self.key = identity.fingerprint();
        let tls = identity.server_config().unwrap();
        runtime.spawn(serve(
            listener,
            tls,
            Arc::new(relay),
            limits,
            std::future::pending(),
        ));
        self.runtime = Some(runtime);
    }

    fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    fn cache(&self) -> PathBuf {
        self.files.path().join("cache")
    }

    /// A client that holds this token.
    fn asking_as(&self, token: &str) -> Client {
        self.asking(token, self.key)
    }

    fn asking(&self, token: &str, key: Digest) -> Client {
        let file = self.files.path().join(format!("token-{token}"));
        std::fs::write(&file, token).unwrap();
        let relay = Asked::new(&format!("https://{}", self.address), key, file).unwrap();
        let timeouts = Timeouts {
            stall: Duration::from_secs(20),
            ..Timeouts::through_relay()
        };
        Client::relayed(relay, timeouts).unwrap()
    }
}

const PLENTY: u64 = 100 << 20;

/// A model in a registry behind a proxy, and a relay for namespace `bank` that may have it.
fn between(name: &str, capacity: u64) -> (Model, FaultProxy, Reference, TempDir, Bed) {
    let (model, proxy, reference, folder) = bench(&format!("relaying-{name}"));
    let bed = Bed::start(
        Namespaces::default().with("bank", &reference, None),
        &proxy,
        capacity,
        Limits::default(),
    );
    (model, proxy, reference, folder, bed)
}

async fn bring(client: &Client, reference: &Reference, folder: &TempDir) -> Result<(), RegistryError> {
    fetch(client, reference, folder.path(), &QUICK, &Unwatched)
        .await
        .map(drop)
}

async fn weights(client: &Client, model: &Model, reference: &Reference) -> Result<Vec<u8>, RegistryError> {
    let size = model.content(WEIGHTS).len() as u64;
    let blob = client.blob(reference, model.digest(WEIGHTS), size).await?;
    blob.read_all(size).await
}

/// The same by somebody who comes back when asked to, as `probity fetch` does.
async fn patient_weights(client: &Client, model: &Model, reference: &Reference) -> Vec<u8> {
    loop {
        match weights(client, model, reference).await {
            Ok(content) => return content,
            Err(error) => {
                assert_eq!(error.failure.reason, Reason::RateLimited, "{error}");
                tokio::time::sleep(error.retry_after.unwrap()).await;
            }
        }
    }
}

#[tokio::test]
async fn a_model() {
    let (model, proxy, reference, folder, bed) = between("model", PLENTY);
    let pod = bed.asking_as("bank");
    bring(&pod, &reference, &folder).await.unwrap();
    assert_is(folder.path(), &model);
    let asked = proxy.count(any);
    let second = tempfile::tempdir().unwrap();
    bring(&pod, &reference, &second).await.unwrap();
    assert_is(second.path(), &model);
    assert_eq!(proxy.count(any), asked, "the registry is not asked again");
    assert_eq!(bed.metrics.blobs(Source::Shelf), 3);
    assert_eq!(bed.cluster.asked("holder"), 1, "a token is asked about once");
    assert_eq!(bed.cluster.asked("grants"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_that_ask_at_once_are_one_to_the_registry() {
    let small = Model::plain().with(WEIGHTS, vec![7; 100_000]);
    let pinned = small.push("relaying/thousand");
    let proxy = FaultProxy::before(crate::testbed::registry());
    let reference = through(&proxy, &pinned);
    let blob = small.digest(WEIGHTS).to_string();
    // Until all of them have asked.
    proxy.on(path(&blob), Fault::Delay(Duration::from_secs(2)));
    let bed = Bed::start(
        Namespaces::default().with("bank", &reference, None),
        &proxy,
        PLENTY,
        Limits::default(),
    );
    let pod = bed.asking_as("bank");
    let got: Vec<_> = stream::iter(0..1000)
        .map(|_| patient_weights(&pod, &small, &reference))
        .buffer_unordered(1000)
        .collect()
        .await;
    for content in got {
        assert_eq!(content, small.content(WEIGHTS));
    }
    assert_eq!(proxy.count(path(&blob)), 1);
    assert_eq!(proxy.count(path("/manifests/")), 1);
    assert_eq!(bed.cluster.asked("holder"), 1);
}

#[tokio::test]
async fn wrong_bytes_reach_nobody_whole() {
    let (model, proxy, reference, folder, bed) = between("swapped", PLENTY);
    let blob = model.digest(WEIGHTS).to_string();
    proxy.on(path(&blob), Fault::SwapByte(3));
    let pod = bed.asking_as("bank");
    let outcomes: Vec<_> = stream::iter(0..20)
        .map(|_| weights(&pod, &model, &reference))
        .buffer_unordered(20)
        .collect()
        .await;
    assert!(outcomes.iter().all(Result::is_err));
    let error = bring(&pod, &reference, &folder).await.unwrap_err();
    assert_eq!(error.failure.reason, Reason::DigestMismatch, "{error}");
    assert!(error.failure.message.contains(&proxy.address()), "{error}");
    assert!(!folder.path().join(WEIGHTS).exists());
    assert_eq!(
        proxy.count(path(&blob)),
        1,
        "nobody asks again soon for what was wrong"
    );
}

#[tokio::test]
async fn a_small_blob_that_is_wrong_is_not_begun() {
    let (model, proxy, reference, _folder, bed) = between("small", PLENTY);
    let small = model.digest("config.json");
    proxy.on(path(&small.to_string()), Fault::SwapByte(3));
    let size = model.content("config.json").len() as u64;
    let outcome = bed.asking_as("bank").blob(&reference, small, size).await;
    assert_eq!(outcome.err().unwrap().failure.reason, Reason::DigestMismatch);
}

#[tokio::test]
async fn a_registry_that_breaks_off_is_asked_again() {
    let (model, proxy, reference, folder, bed) = between("cut", PLENTY);
    let blob = model.digest(WEIGHTS).to_string();
    proxy.on(path(&blob), Fault::CutAfter(300_000).times(1));
    proxy.on(path("/manifests/"), Fault::status(503).times(1));
    bring(&bed.asking_as("bank"), &reference, &folder).await.unwrap();
    assert_is(folder.path(), &model);
    assert_eq!(proxy.count(path(&blob)), 2);
}

#[test]
fn a_relay_that_is_killed_half_way_is_asked_again() {
    let (model, proxy, reference, folder, mut bed) = between("killed", PLENTY);
    let blob = model.digest(WEIGHTS).to_string();
    proxy.on(path(&blob), Fault::StallAfter(300_000).times(1));
    let pod = bed.asking_as("bank");
    std::thread::scope(|scope| {
        let fetching = scope.spawn(|| Runtime::new().unwrap().block_on(bring(&pod, &reference, &folder)));
        until("it has begun", || {
            proxy.count(path(&blob)) > 0 && folder.path().join("config.json").exists()
        });
        bed.kill();
        // As a process that was killed leaves it.
        std::fs::write(bed.cache().join("blob-77"), "half").unwrap();
        bed.revive(PLENTY, Limits::default());
        fetching.join().unwrap().unwrap();
    });
    assert_is(folder.path(), &model);
    assert_eq!(proxy.count(path(&blob)), 2);
    assert!(
        !bed.cache().join("blob-77").exists(),
        "nothing of the one before is kept"
    );
    assert_eq!(bed.metrics.blobs(Source::Shelf), 0, "nor believed");
}

#[tokio::test]
async fn what_has_no_room_is_passed_on() {
    let (model, proxy, reference, folder, bed) = between("room", 100_000);
    let blob = model.digest(WEIGHTS).to_string();
    proxy.on(path(&blob), Fault::SwapByte(599_999).times(1));
    let pod = bed.asking_as("bank");
    assert!(
        weights(&pod, &model, &reference).await.is_err(),
        "also what is passed on is compared before it ends"
    );
    bring(&pod, &reference, &folder).await.unwrap();
    assert_is(folder.path(), &model);
    assert_eq!(bed.metrics.blobs(Source::Unkept), 2);
    assert_eq!(bed.metrics.blobs(Source::Registry), 2, "the small files are kept");
}

/// More than the buffers of a connection hold.
const LARGE: usize = 30_000_000;

#[tokio::test]
async fn what_is_read_is_never_let_go_of() {
    let (model, proxy, reference, _folder) = bench("relaying-evicted");
    let large = Model::plain().with(WEIGHTS, vec![9; LARGE]);
    let pushed = through(&proxy, &large.push("fetching/relaying-evicted-large"));
    let cluster = Namespaces::default()
        .with("bank", &reference, None)
        .with("bank", &pushed, None);
    let bed = Bed::start(cluster, &proxy, LARGE as u64, Limits::default());
    let pod = bed.asking_as("bank");
    let mut reading = pod
        .blob(&pushed, large.digest(WEIGHTS), LARGE as u64)
        .await
        .unwrap();
    let mut content = reading.chunk().await.unwrap().unwrap().to_vec();
    assert_eq!(
        weights(&pod, &model, &reference).await.unwrap(),
        model.content(WEIGHTS)
    );
    assert_eq!(
        (bed.metrics.evictions(), bed.metrics.blobs(Source::Unkept)),
        (0, 1)
    );
    while let Some(bytes) = reading.chunk().await.unwrap() {
        content.extend_from_slice(&bytes);
    }
    assert!(content == large.content(WEIGHTS));
    drop(reading);
    let started = Instant::now();
    while bed.metrics.evictions() == 0 {
        assert!(started.elapsed() < Duration::from_secs(20), "nothing makes room");
        weights(&pod, &model, &reference).await.unwrap();
    }
    let files = std::fs::read_dir(bed.cache()).unwrap().count();
    assert_eq!(files, 1, "what was let go of is off the disk");
}

#[tokio::test]
async fn who_takes_nothing_keeps_nobody_waiting() {
    let (model, proxy, reference, folder) = bench("relaying-slow");
    let limits = Limits {
        connections: 8,
        stall: Duration::from_secs(2),
        ..Limits::default()
    };
    let large = Model::plain().with(WEIGHTS, vec![5; LARGE]);
    let pushed = through(&proxy, &large.push("fetching/relaying-slow-large"));
    let cluster = Namespaces::default()
        .with("bank", &reference, None)
        .with("bank", &pushed, None);
    let bed = Bed::start(cluster, &proxy, PLENTY, limits);
    let mut idle = Vec::new();
    for _ in 0..7 {
        let client = bed.asking_as("bank");
        let blob = client
            .blob(&pushed, large.digest(WEIGHTS), LARGE as u64)
            .await
            .unwrap();
        idle.push((client, blob));
    }
    // Connections that never say anything take no place for long either.
    let mut silent = tokio::net::TcpStream::connect(bed.address).await.unwrap();
    silent.write_all(b"\x16").await.unwrap();
    let started = Instant::now();
    bring(&bed.asking_as("bank"), &reference, &folder).await.unwrap();
    assert_is(folder.path(), &model);
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "{:?}",
        started.elapsed()
    );
    // The first of them has taken nothing for longest, and made way.
    let (_, mut first) = idle.remove(0);
    let end = loop {
        match first.chunk().await {
            Ok(Some(_)) => {}
            end => break end,
        }
    };
    assert!(end.is_err());
}

#[tokio::test]
async fn a_namespace_leaves_places_for_others() {
    let (model, proxy, reference, folder) = bench("relaying-places");
    let large = Model::plain().with(WEIGHTS, vec![6; LARGE]);
    let pushed = through(&proxy, &large.push("fetching/relaying-places-large"));
    let cluster = Namespaces::default()
        .with("bank", &pushed, None)
        .with("shop", &reference, None);
    let limits = Limits {
        connections: 40,
        ..Limits::default()
    };
    let bed = Bed::start(cluster, &proxy, PLENTY, limits);
    // Each by a connection of its own, which is busy for as long as nobody reads.
    let another = async || {
        let pod = bed.asking_as("bank");
        let blob = pod.blob(&pushed, large.digest(WEIGHTS), LARGE as u64).await?;
        Ok::<_, RegistryError>((pod, blob))
    };
    let mut held = Vec::new();
    let refused = loop {
        match another().await {
            Ok(one) => held.push(one),
            Err(error) => break error,
        }
    };
    assert_eq!(held.len(), 20, "as many as are left");
    assert_eq!(refused.failure.reason, Reason::RateLimited);
    assert!(
        refused.failure.message.contains("namespace bank has 20"),
        "{refused}"
    );
    assert!(refused.retry_after.is_some());

    bring(&bed.asking_as("shop"), &reference, &folder).await.unwrap();
    assert_is(folder.path(), &model);
    drop(held.pop());
    let started = Instant::now();
    while let Err(error) = another().await {
        assert_eq!(error.failure.reason, Reason::RateLimited);
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "no place is given back"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[test_case("nobody", Reason::RegistryDenied, "does not take the token"; "a token that is not good")]
#[test_case("", Reason::CredentialsMissing, "wants a token"; "no token")]
#[test_case("shop", Reason::RegistryDenied, "no ModelDeployment of namespace shop"; "another namespace's")]
#[tokio::test]
async fn who_may_not_have_it_hears_why(token: &str, reason: Reason, says: &str) {
    let (model, proxy, reference, folder, bed) = between("denied", PLENTY);
    let elsewhere: Reference = reference
        .to_string()
        .replace("denied", "elsewhere")
        .parse()
        .unwrap();
    let bed = Bed::start(
        bed.cluster.clone().with("shop", &elsewhere, None),
        &proxy,
        PLENTY,
        Limits::default(),
    );
    let owner = bed.asking_as("bank");
    bring(&owner, &reference, &folder).await.unwrap();
    let asked = proxy.count(any);
    let other = bed.asking_as(token);
    let folder = tempfile::tempdir().unwrap();
    let error = bring(&other, &reference, &folder).await.unwrap_err();
    assert_eq!(error.failure.reason, reason);
    assert!(error.failure.message.contains(says), "{error}");
    let error = weights(&other, &model, &reference).await.unwrap_err();
    assert_eq!(error.failure.reason, reason, "the same for a blob that is there");
    assert_eq!(proxy.count(any), asked, "the registry hears nothing of it");
}

#[tokio::test]
async fn what_a_namespace_names_it_must_be_able_to_read() {
    let (model, proxy, reference, folder) = bench("relaying-private");
    let host = proxy.address();
    let basic = |user: &str, password: &str| {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
    };
    let good = basic("bank", "s3cret");
    proxy.on(
        move |seen| seen.header("authorization") != Some(&good),
        Fault::status(401).with("WWW-Authenticate", "Basic realm=\"registry\""),
    );
    // Both name the same private model; the shop has a secret too, which the registry does not take.
    let cluster = Namespaces::default()
        .with("bank", &reference, Some("regcred"))
        .with("shop", &reference, Some("regcred"))
        .with("mill", &reference, None)
        .with_secret("bank", "regcred", &host, "s3cret")
        .with_secret("shop", "regcred", &host, "guess");
    let bed = Bed::start(cluster, &proxy, PLENTY, Limits::default());
    bring(&bed.asking_as("bank"), &reference, &folder).await.unwrap();
    assert_is(folder.path(), &model);
    for (namespace, says) in [("shop", "refuses the credentials"), ("mill", "wants credentials")] {
        let error = weights(&bed.asking_as(namespace), &model, &reference)
            .await
            .unwrap_err();
        assert_eq!(error.failure.reason, Reason::RegistryDenied);
        assert!(error.failure.message.contains(says), "{error}");
    }
}

#[tokio::test]
async fn who_does_not_hold_the_key_is_told_nothing() {
    let (_model, proxy, reference, folder, bed) = between("stranger", PLENTY);
    let other = Identity::generate().unwrap().fingerprint();
    let error = bring(&bed.asking("bank", other), &reference, &folder)
        .await
        .unwrap_err();
    assert_eq!(error.failure.reason, Reason::HostNotAllowed);
    assert!(
        error.failure.message.contains("does not hold the relay's key"),
        "{error}"
    );
    assert_eq!(bed.cluster.asked("holder"), 0);
    assert_eq!(proxy.count(any), 0);
}
