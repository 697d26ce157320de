//! A signed model in a folder of its own, and the binary run beside it.
//! Signing happens once a test binary, with the official signer; every test alters a copy.

use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::OnceLock,
};

use tempfile::TempDir;

use crate::testbed;

pub const PROBITY: &str = env!("CARGO_BIN_EXE_probity");

const FILES: [(&str, &str); 3] = [
    ("config.json", "{\"classes\": 10}\n"),
    ("labels/classes.txt", "0\n1\n2\n"),
    ("model.onnx", "weights"),
];

/// What the official signer made, once.
struct Signed {
    release: String,
    stranger: String,
    signature: Vec<u8>,
}

fn signed() -> &'static Signed {
    static ONCE: OnceLock<Signed> = OnceLock::new();
    ONCE.get_or_init(|| {
        let temp = TempDir::new().unwrap();
        let at = |name: &str| temp.path().join(name).display().to_string();
        for name in ["release", "stranger"] {
            let (key, public) = (at(&format!("{name}.key")), at(&format!("{name}.pub")));
            done(openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out").arg(&key));
            done(openssl("pkey -pubout").args(["-in", &key, "-out", &public]));
        }
        write_files(&temp.path().join("model"));
        done(testbed::tool("model_signing", &["signer"]).args([
            "sign",
            "key",
            &at("model"),
            "--private_key",
            &at("release.key"),
            "--signature",
            &at("sig"),
        ]));
        Signed {
            release: fs::read_to_string(at("release.pub")).unwrap(),
            stranger: fs::read_to_string(at("stranger.pub")).unwrap(),
            signature: fs::read(at("sig")).unwrap(),
        }
    })
}

pub fn openssl(arguments: &str) -> Command {
    let mut command = Command::new("openssl");
    command.args(arguments.split(' '));
    command
}

fn write_files(folder: &Path) {
    for (name, content) in FILES {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

/// Runs a program that must succeed, and returns what it printed.
pub fn done(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = Said::of(&output);
    assert_eq!(said.code, 0, "{command:?}: {}", said.stderr);
    said.stdout
}

/// A folder with a signed `model`, and the keys `release.pub`, which signed it, and `stranger.pub`, which did not.
pub struct Place(TempDir);

impl Place {
    pub fn new() -> Self {
        let place = Self(TempDir::new().unwrap());
        write_files(&place.at("model"));
        place.put("model/model.sig", &signed().signature);
        place.put("release.pub", &signed().release);
        place.put("stranger.pub", &signed().stranger);
        place
    }

    pub fn at(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.0.path().join(name.as_ref())
    }

    /// Writes a file, and the folders it needs.
    pub fn put(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.at(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn remove(&self, name: &str) {
        fs::remove_file(self.at(name)).unwrap();
    }

    pub fn link(&self, target: &str, name: &str) {
        std::os::unix::fs::symlink(target, self.at(name)).unwrap();
    }

    /// A file of zeros that takes no room but long to read.
    pub fn sparse(&self, name: &str, bytes: u64) {
        fs::File::create(self.at(name)).unwrap().set_len(bytes).unwrap();
    }

    /// The name of a file as bytes.
    pub fn raw(&self, folder: &str, name: &[u8]) -> PathBuf {
        self.at(folder).join(OsStr::from_bytes(name))
    }

    /// The binary in this folder, with the environment of a script.
    pub fn command(&self) -> Command {
        let mut command = Command::new(PROBITY);
        command.current_dir(self.0.path()).stdin(Stdio::null());
        command
            .env_remove("NO_COLOR")
            .env_remove("PROBITY_LOG")
            .env("TERM", "xterm-256color");
        command
    }

    /// Runs `probity` with these arguments, separated by single spaces.
    pub fn probity(&self, arguments: &str) -> Said {
        Said::of(&self.command().args(arguments.split(' ')).output().unwrap())
    }
}

/// What a program said, and its exit code.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Said {
    pub fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let code = output
            .status
            .code()
            .unwrap_or_else(|| panic!("it ended by {}", output.status));
        Self {
            code,
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// Everything that was said, for messages of tests and for words that may be on either side.
    pub fn all(&self) -> String {
        format!("exit code {}\n{}\n{}", self.code, self.stdout, self.stderr)
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.all()))
    }

    pub fn expect(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{}", self.all());
        for word in words {
            assert!(self.all().contains(word), "`{word}` is not in:\n{}", self.all());
        }
    }
}
