//! The models of the tests: made and signed once a run with the official signer, pushed by each test where it needs them.
//! Everything is in a folder of this run under the target directory; nothing of an earlier run is used.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use crate::testbed;

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/digits");
/// The file with a model's weights, in the small models.
pub const WEIGHTS: &str = "weights.bin";

/// A folder with a model.
pub struct Model {
    folder: PathBuf,
}

/// What a registry now has under a tag.
#[derive(Debug, Clone)]
pub struct Pushed {
    /// `host/repository:tag`
    pub tagged: String,
    /// `sha256:…`
    pub digest: String,
}

/// Every model there is.
pub struct Models {
    /// The classifier of handwritten digits.
    pub digits: Model,
    /// The same with one byte of the weights changed, under the signature of what it was.
    pub digits_altered: Model,
    /// Another version of it, signed.
    pub digits_next: Model,
    /// The same task, trained against attacks, signed.
    pub digits_robust: Model,
    /// Digits that neither of them was trained on, with their labels; signed by nobody.
    pub heldout: Model,
    /// Some bytes, for servers that do not look at them; two versions.
    pub small: Model,
    pub small_next: Model,
    /// The first of them, signed by nobody and by somebody else.
    pub unsigned: Model,
    pub strange: Model,
    /// Weights that no other model has: what is done to these bytes is done to this model alone.
    pub lonely: Model,
    /// More than fits into the buffers between a registry and a disk.
    pub large: Model,
    /// The public key that the policy trusts.
    pub release_key: String,
    /// One that it does not.
    pub stranger_key: String,
}

static MODELS: OnceLock<Models> = OnceLock::new();

/// The models, made now when they are not made yet.
pub fn models() -> &'static Models {
    MODELS.get_or_init(|| make(&scratch().join("models")))
}

/// A folder of this run's own; another run at the same time has another node, and so another folder.
pub fn scratch() -> PathBuf {
    let node = std::env::var("PROBITY_TEST_NODE").unwrap_or_else(|_| "test".into());
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cluster-{node}"))
}

fn make(at: &Path) -> Models {
    let _ = fs::remove_dir_all(at);
    fs::create_dir_all(at).unwrap();
    let key = |name: &str| {
        run(Command::new(format!("{EXAMPLES}/keygen")).arg(at.join(name)));
        at.join(format!("{name}.key"))
    };
    let (release, stranger) = (key("release"), key("stranger"));

    let digits = Model::copy(Path::new(&format!("{EXAMPLES}/model")), at.join("digits"));
    let digits_next = digits.another("digits-next");
    let config = fs::read_to_string(digits_next.path("config.json")).unwrap();
    fs::write(digits_next.path("config.json"), format!("{config}\n")).unwrap();
    let digits_robust = Model::copy(Path::new(&format!("{EXAMPLES}/robust")), at.join("digits-robust"));
    let heldout = Model {
        folder: at.join("heldout"),
    };
    fs::create_dir_all(&heldout.folder).unwrap();
    fs::copy(format!("{EXAMPLES}/heldout.npz"), heldout.path("heldout.npz")).unwrap();
    let small = Model::of_bytes(at.join("small"), 1, 64 << 10);
    let small_next = Model::of_bytes(at.join("small-next"), 2, 64 << 10);
    let unsigned = small.another("unsigned");
    let strange = small.another("strange");
    let lonely = Model::of_bytes(at.join("lonely"), 3, 64 << 10);
    let large = Model::of_bytes(at.join("large"), 4, 24 << 20);

    // The signer is a Python program that spends its second on one core.
    let signings = [
        (&digits, &release),
        (&digits_next, &release),
        (&digits_robust, &release),
        (&small, &release),
        (&small_next, &release),
        (&strange, &stranger),
        (&lonely, &release),
        (&large, &release),
    ];
    let (one, other) = signings.split_at(signings.len() / 2);
    std::thread::scope(|scope| {
        scope.spawn(|| one.iter().for_each(|(model, key)| model.sign(key)));
        for (model, key) in other {
            model.sign(key);
        }
    });

    let digits_altered = digits.another("digits-altered");
    let mut weights = fs::read(digits_altered.path("model.onnx")).unwrap();
    let middle = weights.len() / 2;
    weights[middle] ^= 0xff;
    fs::write(digits_altered.path("model.onnx"), weights).unwrap();
    let stranger_key = fs::read_to_string(at.join("stranger.pub")).unwrap();
    let release_key = fs::read_to_string(at.join("release.pub")).unwrap();
    Models {
        digits,
        digits_altered,
        digits_next,
        digits_robust,
        heldout,
        small,
        small_next,
        unsigned,
        strange,
        lonely,
        large,
        release_key,
        stranger_key,
    }
}

impl Model {
    fn of_bytes(folder: PathBuf, seed: u64, size: usize) -> Self {
        fs::create_dir_all(folder.join("labels")).unwrap();
        let mut state = seed;
        let weights: Vec<u8> = (0..size / 8)
            .flat_map(|_| {
                // Bytes that no compression makes fewer of, the same ones each time.
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (state ^ (state >> 29)).to_le_bytes()
            })
            .collect();
        fs::write(folder.join(WEIGHTS), weights).unwrap();
        fs::write(
            folder.join("config.json"),
            format!("{{\"name\": \"bytes\", \"seed\": {seed}}}\n"),
        )
        .unwrap();
        fs::write(folder.join("labels/classes.txt"), "no\nyes\n").unwrap();
        Self { folder }
    }

    fn copy(from: &Path, to: PathBuf) -> Self {
        run(Command::new("cp").arg("-r").arg(from).arg(&to));
        Self { folder: to }
    }

    fn another(&self, name: &str) -> Self {
        Self::copy(&self.folder, self.folder.with_file_name(name))
    }

    /// Puts its files, the signature among them, into a folder that is not there yet.
    pub fn copy_to(&self, folder: &Path) {
        fs::create_dir_all(folder.parent().unwrap()).unwrap();
        run(Command::new("cp").arg("-r").arg(&self.folder).arg(folder));
    }

    fn sign(&self, key: &Path) {
        run(testbed::tool("model_signing", &["signer"])
            .args(["sign", "key"])
            .arg(&self.folder)
            .arg("--private_key")
            .arg(key)
            .arg("--signature")
            .arg(self.path("model.sig")));
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    /// The bytes of one of its files.
    pub fn content(&self, file: &str) -> Vec<u8> {
        fs::read(self.path(file)).unwrap()
    }

    /// The digest of one of its files, `sha256:…`, which is its layer's too.
    pub fn digest(&self, file: &str) -> String {
        sha256(&self.content(file))
    }

    /// Pushes it as people do.
    pub async fn push(&'static self, registry: &str, repository: &str, tag: &str) -> Pushed {
        self.push_as(registry, repository, tag, None).await
    }

    /// The same with the credentials in this folder's `config.json`.
    pub async fn push_as(
        &'static self,
        registry: &str,
        repository: &str,
        tag: &str,
        login: Option<&Path>,
    ) -> Pushed {
        let tagged = format!("{registry}/{repository}:{tag}");
        let mut command = Command::new(format!("{EXAMPLES}/push"));
        command.arg(&self.folder).arg(&tagged).env("PLAIN_HTTP", "1");
        if let Some(login) = login {
            command.env("DOCKER_CONFIG", login);
        }
        let said = tokio::task::spawn_blocking(move || run(&mut command))
            .await
            .unwrap();
        let digest = said
            .lines()
            .last()
            .and_then(|line| line.split_once('@'))
            .expect("push prints a reference")
            .1;
        Pushed {
            tagged,
            digest: digest.to_owned(),
        }
    }
}

impl Pushed {
    /// The same artifact, asked of another host that stands before its registry.
    pub fn through(&self, host: &str) -> Self {
        let (_, rest) = self.tagged.split_once('/').unwrap();
        Self {
            tagged: format!("{host}/{rest}"),
            digest: self.digest.clone(),
        }
    }

    /// `host/repository@sha256:…`
    pub fn pinned(&self) -> String {
        let (name, _) = self.tagged.rsplit_once(':').unwrap();
        format!("{name}@{}", self.digest)
    }
}

/// The digest of these bytes, `sha256:…`.
pub fn sha256(bytes: &[u8]) -> String {
    format!(
        "sha256:{}",
        hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes))
    )
}

/// Runs a program and returns what it printed; what it says otherwise is shown when it fails.
pub fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "{command:?}: {}\n{out}{err}",
        output.status
    );
    out.into_owned()
}
