//! Bringing a model into a folder, from the library and as the process an init container runs.
//! Every test ends by looking at the folder: what is there is right, complete, and nothing more.

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use probity::{
    artifact::{
        fetch::{FetchOptions, FetchProgress, Unwatched, fetch},
        oci::RegistryError,
    },
    evidence::{Failure, Reason, Reference},
};
use tempfile::TempDir;

use super::artifacts::{MANIFEST, Model, WEIGHTS, client_for, sha256, through};
use crate::{
    fault_proxy::{Fault, FaultProxy, path},
    testbed,
};

const QUICK: FetchOptions = FetchOptions {
    max_bytes: None,
    parallel: 3,
    attempts: 3,
    pause: Duration::from_millis(20),
};

/// Every file below a folder with its content.
fn tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(root: &Path, at: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, found);
            } else {
                found.insert(
                    path.strip_prefix(root).unwrap().display().to_string(),
                    fs::read(&path).unwrap(),
                );
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(folder, folder, &mut found);
    found
}

/// The whole model and nothing else, readable for everybody and writable for nobody.
#[track_caller]
pub fn assert_is(folder: &Path, model: &Model) {
    let found = tree(folder);
    let names: Vec<_> = found.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        ["config.json", "labels/classes.txt", WEIGHTS],
        "no signature, nothing half"
    );
    for (name, content) in &found {
        assert!(content == model.content(name), "{name}");
        assert_eq!(mode(&folder.join(name)), 0o444, "{name}");
    }
    assert_eq!(mode(&folder.join("labels")), 0o555);
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

/// A signed model, a proxy before its registry, and an empty folder.
pub fn bench(name: &str) -> (Model, FaultProxy, Reference, TempDir) {
    let model = Model::signed();
    let pinned = model.push(&format!("fetching/{name}"));
    let proxy = FaultProxy::before(testbed::registry());
    let reference = through(&proxy, &pinned);
    (model, proxy, reference, tempfile::tempdir().unwrap())
}

async fn bring(reference: &Reference, folder: &TempDir) -> Result<(), RegistryError> {
    fetch(
        &client_for(reference),
        reference,
        folder.path(),
        &QUICK,
        &Unwatched,
    )
    .await
    .map(drop)
}

#[tokio::test]
async fn a_model() {
    let (model, _proxy, reference, folder) = bench("model");
    let fetched = fetch(
        &client_for(&reference),
        &reference,
        folder.path(),
        &QUICK,
        &Unwatched,
    )
    .await
    .unwrap();
    assert_eq!((fetched.files, fetched.size), (3, 600_021));
    assert_eq!(Some(fetched.digest), reference.digest());
    assert_is(folder.path(), &model);
    bring(&reference, &folder)
        .await
        .expect("again, over what is there");
    assert_is(folder.path(), &model);
}

#[tokio::test]
async fn bytes_that_differ_never_have_their_files_name() {
    let (model, proxy, reference, folder) = bench("swapped");
    let weights = model.digest(WEIGHTS).to_string();
    proxy.on(path(&weights), Fault::SwapByte(599_999));
    let error = bring(&reference, &folder).await.unwrap_err();
    assert_eq!(error.failure.reason, Reason::DigestMismatch);
    assert_eq!(
        proxy.count(path(&weights)),
        1,
        "wrong bytes are not asked for again"
    );
    assert!(!folder.path().join(WEIGHTS).exists());
    proxy.heal();
    bring(&reference, &folder).await.unwrap();
    assert_is(folder.path(), &model);
}

#[tokio::test]
async fn a_connection_that_breaks_is_taken_up_again() {
    struct Counted(Mutex<(u64, usize)>);
    impl FetchProgress for Counted {
        fn advance(&self, bytes: u64) {
            self.0.lock().unwrap().0 += bytes;
        }
        fn again(&self, _: &RegistryError, _: Duration, lost: u64) {
            let mut counted = self.0.lock().unwrap();
            counted.0 -= lost;
            counted.1 += 1;
        }
    }
    let (model, proxy, reference, folder) = bench("cut");
    let weights = model.digest(WEIGHTS).to_string();
    proxy.on(path("/manifests/"), Fault::status(503).times(1));
    proxy.on(path(&weights), Fault::CutAfter(300_000).times(1));
    proxy.on(path(&weights), Fault::status(500).times(1));
    let counted = Counted(Mutex::default());
    fetch(
        &client_for(&reference),
        &reference,
        folder.path(),
        &QUICK,
        &counted,
    )
    .await
    .unwrap();
    assert_is(folder.path(), &model);
    assert_eq!(
        *counted.0.lock().unwrap(),
        (600_021, 3),
        "bytes count once, however often they came"
    );
    assert_eq!(
        proxy.count(path("/blobs/")),
        5,
        "only the file that broke came again"
    );
}

#[tokio::test]
async fn a_rate_limit_is_waited_out() {
    let (model, proxy, reference, folder) = bench("limit");
    proxy.on(
        path("/blobs/"),
        Fault::status(429).with("Retry-After", "1").times(1),
    );
    let started = Instant::now();
    bring(&reference, &folder).await.unwrap();
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert_is(folder.path(), &model);
}

#[tokio::test]
async fn a_registry_that_stays_away() {
    let (_model, proxy, reference, folder) = bench("away");
    proxy.on(path("/blobs/"), Fault::status(500));
    let error = bring(&reference, &folder).await.unwrap_err();
    assert_eq!(error.failure.reason, Reason::RegistryUnavailable);
    assert!(
        tree(folder.path())
            .keys()
            .all(|name| name.starts_with(".probity-fetch/"))
    );
}

#[tokio::test]
async fn a_model_that_is_too_large_is_not_begun() {
    let (_model, proxy, reference, folder) = bench("large");
    let options = FetchOptions {
        max_bytes: Some(600_020),
        ..QUICK
    };
    let error = fetch(
        &client_for(&reference),
        &reference,
        folder.path(),
        &options,
        &Unwatched,
    )
    .await
    .unwrap_err();
    assert_eq!(error.failure.reason, Reason::LimitExceeded);
    assert!(error.failure.message.contains("--max-bytes"), "{error}");
    assert_eq!(proxy.count(path("/blobs/")), 0);
}

#[tokio::test]
async fn a_model_that_does_not_fit_is_not_begun() {
    let registry = FaultProxy::alone();
    let digest = sha256(b"");
    let manifest = format!(
        r#"{{"schemaVersion": 2, "artifactType": "{MANIFEST}", "config": {{"mediaType": "x", "digest": "{digest}", "size": 0}},
        "layers": [{{"mediaType": "application/vnd.cncf.model.weight.v1.raw", "digest": "{digest}", "size": 1125899906842624,
        "annotations": {{"org.cncf.model.filepath": "model.onnx"}}}}]}}"#
    );
    let pinned = sha256(manifest.as_bytes());
    registry.on(
        path("/manifests/"),
        Fault::answer(200, "application/vnd.oci.image.manifest.v1+json", manifest),
    );
    let reference: Reference = format!("{}/fetching/huge@{pinned}", registry.address())
        .parse()
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let error = bring(&reference, &folder).await.unwrap_err();
    assert_eq!(error.failure.reason, Reason::Io);
    assert!(error.failure.message.contains("enlarge the volume"), "{error}");
    assert_eq!(registry.count(path("/blobs/")), 0);
}

#[tokio::test]
async fn somebody_elses_folder_is_left_alone() {
    let (_model, proxy, reference, folder) = bench("foreign");
    fs::write(folder.path().join("thesis.txt"), "x").unwrap();
    let error = bring(&reference, &folder).await.unwrap_err();
    assert!(error.failure.message.contains("thesis.txt"), "{error}");
    assert_eq!(tree(folder.path()).len(), 1);
    assert_eq!(proxy.count(path("/blobs/")), 0);
}

/// `probity fetch` with the folder and host of a bench.
struct Process {
    child: Child,
    log: TempDir,
}

impl Process {
    fn start(reference: &str, host: &str, folder: &Path, more: &[&str]) -> Self {
        let log = tempfile::tempdir().unwrap();
        fs::write(log.path().join("termination"), "").unwrap();
        // The umask of whoever starts us must not matter.
        let child = Command::new("sh")
            .args([
                "-c",
                r#"umask 077; exec "$0" "$@""#,
                env!("CARGO_BIN_EXE_probity"),
                "fetch",
            ])
            .args(["--reference", reference, "--plain-http", host, "--dir"])
            .arg(folder)
            .arg("--termination-log")
            .arg(log.path().join("termination"))
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child, log }
    }

    fn wait(self) -> (Output, String) {
        let output = self.child.wait_with_output().unwrap();
        let left = fs::read_to_string(self.log.path().join("termination")).unwrap();
        (output, left)
    }
}

/// Waits until something holds, at most half a minute.
#[track_caller]
pub fn until(what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(30), "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn staged_bytes(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder.join(".probity-fetch")) else {
        return 0;
    };
    entries
        .filter_map(|entry| entry.ok()?.metadata().ok())
        .map(|meta| meta.len())
        .sum()
}

#[test]
fn killed_half_way_and_run_again() {
    let (model, proxy, reference, folder) = bench("killed");
    let weights = model.digest(WEIGHTS).to_string();
    proxy.on(path(&weights), Fault::StallAfter(550_000));
    let mut process = Process::start(&reference.to_string(), &proxy.address(), folder.path(), &[]);
    until("half a file is there", || staged_bytes(folder.path()) > 200_000);
    until("the other files are there", || {
        folder.path().join("labels/classes.txt").exists()
    });
    process.child.kill().unwrap();
    process.wait();
    assert!(!folder.path().join(WEIGHTS).exists());

    proxy.heal();
    let (output, left) = Process::start(&reference.to_string(), &proxy.address(), folder.path(), &[]).wait();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(left, "");
    assert_is(folder.path(), &model);
}

#[test]
fn a_signal_ends_it_at_once() {
    let (_model, proxy, reference, folder) = bench("signal");
    proxy.on(path("/blobs/"), Fault::Hang);
    let process = Process::start(&reference.to_string(), &proxy.address(), folder.path(), &[]);
    until("it asks for blobs", || proxy.count(path("/blobs/")) > 0);
    let started = Instant::now();
    Command::new("kill")
        .args(["-TERM", &process.child.id().to_string()])
        .status()
        .unwrap();
    let (output, left) = process.wait();
    assert_eq!(output.status.code(), Some(128 + 15));
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(left, "", "being stopped is no failure");
}

#[test]
fn a_failure_is_one_line_for_the_kubelet() {
    let (model, proxy, reference, folder) = bench("line");
    proxy.on(path(&model.digest(WEIGHTS).to_string()), Fault::SwapByte(7));
    let (output, left) = Process::start(&reference.to_string(), &proxy.address(), folder.path(), &[]).wait();
    assert_eq!(output.status.code(), Some(20));
    let failure: Failure = serde_json::from_str(&left).expect("one line of JSON");
    assert_eq!(failure.reason, Reason::DigestMismatch);
    assert!(left.len() <= 1024);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains(&failure.message) && stderr.contains("DigestMismatch"),
        "{stderr}"
    );
}

#[test]
fn exit_codes_follow_the_class() {
    let (_model, proxy, reference, folder) = bench("codes");
    let pinned = reference.to_string();
    let host = proxy.address();
    let code = |reference: &str, host: &str, more: &[&str]| {
        Process::start(reference, host, folder.path(), more)
            .wait()
            .0
            .status
            .code()
    };
    assert_eq!(
        code(&format!("{}:1", reference.name()), &host, &[]),
        Some(30),
        "not pinned"
    );
    assert_eq!(code(&pinned, &host, &["--max-bytes", "1"]), Some(30), "too large");
    assert_eq!(
        code(&pinned, &host, &["--allow-registry", "registry.example"]),
        Some(10),
        "a registry not allowed"
    );
    assert_eq!(
        code(&pinned, &host, &["--credentials-file", "/nonexistent"]),
        Some(60),
        "no credentials"
    );
    proxy.on(path("/manifests/"), Fault::status(404));
    assert_eq!(code(&pinned, &host, &[]), Some(60), "not there");
    assert_eq!(code("digits:1", &host, &[]), Some(2), "no reference at all");
}

#[test]
fn credentials_come_from_a_file() {
    let (model, proxy, reference, folder) = bench("credentials");
    let host = proxy.address();
    proxy.on(
        |seen| seen.header("authorization").is_none(),
        Fault::status(401).with("WWW-Authenticate", "Basic realm=\"registry\""),
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(
        file.path(),
        format!(r#"{{"auths": {{"{host}": {{"username": "a", "password": "s3cret"}}}}}}"#),
    )
    .unwrap();
    let given = ["--credentials-file", &file.path().display().to_string()];
    let (output, _) = Process::start(&reference.to_string(), &host, folder.path(), &given).wait();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.contains("100 %") && !stderr.contains("s3cret"), "{stderr}");
    assert_is(folder.path(), &model);
}

#[test]
fn help_teaches() {
    let mut help = String::new();
    let mut child = Command::new(env!("CARGO_BIN_EXE_probity"))
        .args(["fetch", "--help"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdout.take().unwrap().read_to_string(&mut help).unwrap();
    assert!(child.wait().unwrap().success());
    for part in [
        "Bring a pinned model",
        "Exit codes",
        "--plain-http",
        "--allow-host",
        "pull secret",
        "Example:",
    ] {
        assert!(help.contains(part), "{part}\n{help}");
    }
}
