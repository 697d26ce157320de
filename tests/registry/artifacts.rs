//! Makes models, signs them with the official signer, and pushes them with `oras`.
//! Signing happens once a test binary; every test pushes what it needs under a name of its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
    sync::OnceLock,
    time::Duration,
};

use probity::{
    artifact::{
        oci::{Client, HostPolicy, Timeouts},
        signature::KeyRing,
    },
    evidence::{Digest, Reference},
};

use crate::{fault_proxy::FaultProxy, testbed};

pub const MANIFEST: &str = "application/vnd.cncf.model.manifest.v1+json";
pub const WEIGHTS: &str = "model.onnx";

/// What the official signer made of [`Model::plain`]'s files, with two keys.
struct Signatures {
    release: Key,
    stranger: Key,
}

struct Key {
    pem: String,
    signature: Vec<u8>,
}

fn signatures() -> &'static Signatures {
    static ONCE: OnceLock<Signatures> = OnceLock::new();
    ONCE.get_or_init(|| {
        let model = Model::plain();
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("model");
        model.write_to(&folder);
        let sign = |name: &str| {
            let at = |end: &str| temp.path().join(format!("{name}.{end}")).display().to_string();
            run(Command::new("openssl")
                .args(["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out"])
                .arg(at("ec")));
            run(Command::new("openssl").args([
                "pkcs8",
                "-topk8",
                "-nocrypt",
                "-in",
                &at("ec"),
                "-out",
                &at("key"),
            ]));
            run(Command::new("openssl").args(["pkey", "-pubout", "-in", &at("key"), "-out", &at("pub")]));
            run(testbed::tool("model_signing", &["signer"])
                .args(["sign", "key"])
                .arg(&folder)
                .args(["--private_key", &at("key"), "--signature", &at("sig")]));
            Key {
                pem: fs::read_to_string(at("pub")).unwrap(),
                signature: fs::read(at("sig")).unwrap(),
            }
        };
        Signatures {
            release: sign("release"),
            stranger: sign("stranger"),
        }
    })
}

/// The key `release`, which tests trust.
pub fn release() -> KeyRing {
    KeyRing::from_pems([("release", &signatures().release.pem)]).unwrap()
}

/// The PEM of the key `release`.
#[allow(dead_code, reason = "for tests that hand keys to an operator")]
pub fn release_pem() -> &'static str {
    &signatures().release.pem
}

/// The PEM of the key `stranger`.
#[allow(dead_code, reason = "for tests that hand keys to an operator")]
pub fn stranger_pem() -> &'static str {
    &signatures().stranger.pem
}

/// Both keys.
pub fn release_and_stranger() -> KeyRing {
    let both = signatures();
    KeyRing::from_pems([("release", &both.release.pem), ("stranger", &both.stranger.pem)]).unwrap()
}

/// The files of a model, with or without its signature.
#[derive(Clone)]
pub struct Model {
    files: BTreeMap<String, Vec<u8>>,
    media_types: BTreeMap<String, String>,
    paths: BTreeMap<String, String>,
    artifact_type: String,
}

impl Model {
    /// Three files, the largest several hundred kilobytes, no signature.
    pub fn plain() -> Self {
        let weights = (0_u32..150_000)
            .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
            .collect();
        let files = [
            (WEIGHTS, weights),
            ("config.json", br#"{"classes": 10}"#.to_vec()),
            ("labels/classes.txt", b"0\n1\n2\n".to_vec()),
        ];
        Self {
            files: files.map(|(name, content)| (name.to_owned(), content)).into(),
            media_types: BTreeMap::new(),
            paths: BTreeMap::new(),
            artifact_type: MANIFEST.to_owned(),
        }
    }

    /// Signed by `release`.
    pub fn signed() -> Self {
        Self::plain().with("model.sig", &signatures().release.signature)
    }

    /// Signed by somebody else.
    pub fn signed_by_stranger() -> Self {
        Self::plain().with("model.sig", &signatures().stranger.signature)
    }

    /// With this file, or this content of it.
    pub fn with(mut self, name: &str, content: impl AsRef<[u8]>) -> Self {
        self.files.insert(name.to_owned(), content.as_ref().to_vec());
        self
    }

    /// Without this file.
    pub fn without(mut self, name: &str) -> Self {
        self.files.remove(name).expect("the file was there");
        self
    }

    /// With the bits of one byte of a file turned over.
    pub fn altered(self, name: &str) -> Self {
        let mut content = self.content(name).to_vec();
        content[1] ^= 0xff;
        self.with(name, content)
    }

    /// With one file pushed as another type of layer.
    pub fn layered_as(mut self, name: &str, media_type: &str) -> Self {
        self.media_types.insert(name.to_owned(), media_type.to_owned());
        self
    }

    /// With one file said to be at another path.
    pub fn at_path(mut self, name: &str, path: &str) -> Self {
        self.paths.insert(name.to_owned(), path.to_owned());
        self
    }

    /// Pushed as another kind of artifact.
    pub fn of_type(mut self, artifact_type: &str) -> Self {
        artifact_type.clone_into(&mut self.artifact_type);
        self
    }

    pub fn content(&self, name: &str) -> &[u8] {
        &self.files[name]
    }

    /// The digest of a file, which is its layer's.
    pub fn digest(&self, name: &str) -> Digest {
        sha256(self.content(name))
    }

    pub fn write_to(&self, folder: &Path) {
        for (name, content) in &self.files {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    }

    /// Pushes to the shared registry under `name:1`; pinned.
    pub fn push(&self, name: &str) -> Reference {
        self.push_with(testbed::registry(), name, &[])
    }

    pub fn push_with(&self, registry: &str, name: &str, arguments: &[&str]) -> Reference {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("model");
        self.write_to(&folder);
        fs::write(temp.path().join("config"), "{}").unwrap();
        let annotations: BTreeMap<_, _> = self
            .files
            .keys()
            .map(|file| {
                let path = self.paths.get(file).unwrap_or(file);
                (file, BTreeMap::from([("org.cncf.model.filepath", path)]))
            })
            .collect();
        fs::write(
            temp.path().join("annotations"),
            serde_json::to_string(&annotations).unwrap(),
        )
        .unwrap();
        let layers = self.files.keys().map(|file| {
            let kind = match file.as_str() {
                "config.json" => "weight.config",
                "model.sig" => "doc",
                "labels/classes.txt" => "dataset",
                _ => "weight",
            };
            let raw = format!("application/vnd.cncf.model.{kind}.v1.raw");
            format!("{file}:{}", self.media_types.get(file).unwrap_or(&raw))
        });
        let digest = run(testbed::tool("oras", &["oras"])
            .current_dir(&folder)
            .env("HOME", temp.path())
            .args([
                "push",
                "--plain-http",
                "--no-tty",
                "--format",
                "go-template={{.digest}}",
            ])
            .args([
                "--artifact-type",
                &self.artifact_type,
                "--annotation-file",
                "../annotations",
            ])
            .args([
                "--config",
                "../config:application/vnd.cncf.model.config.v1+json",
                "--disable-path-validation",
            ])
            .args(arguments)
            .arg(format!("{registry}/{name}:1"))
            .args(layers));
        format!("{registry}/{name}@{}", digest.trim()).parse().unwrap()
    }
}

pub fn sha256(bytes: &[u8]) -> Digest {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    Digest::from_bytes(hash.as_ref().try_into().unwrap())
}

/// The same artifact, asked of the proxy.
pub fn through(proxy: &FaultProxy, reference: &Reference) -> Reference {
    let digest = reference.digest().unwrap();
    format!("{}/{}@{digest}", proxy.address(), reference.repository())
        .parse()
        .unwrap()
}

/// Long enough for a busy machine, short enough for a test that waits for it.
pub const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(2),
    headers: Duration::from_secs(3),
    stall: Duration::from_secs(3),
    manifest: Duration::from_secs(10),
};

/// An anonymous client that may ask these hosts over plain HTTP, and be sent to `extra` by them.
pub fn client(plain_http: &[&str], extra: &[&str]) -> Client {
    let set = |hosts: &[&str]| {
        hosts
            .iter()
            .map(|host| host.parse().unwrap())
            .collect::<BTreeSet<_>>()
    };
    let hosts = HostPolicy {
        plain_http: set(plain_http),
        extra: set(extra),
        registries: None,
    };
    Client::new(hosts, TIMEOUTS).unwrap()
}

/// A client that may ask this host.
pub fn client_for(reference: &Reference) -> Client {
    client(&[reference.host()], &[])
}

/// Runs a program and returns what it printed.
pub fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}
