//! `probity copy`: what ends up in the folder, the one line that is left, and the exit code, for each input.
//! What makes a model another one than the signed one is tested where it is found out.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use probity::evidence::{CopyReport, Failure, KeyArgument, Reason};
use test_case::test_case;

use super::models::{PROBITY, Place, Said, done, openssl};

impl Place {
    /// `--key` for one of the keys.
    fn key_argument(&self, name: &str) -> String {
        let pem = fs::read_to_string(self.at(format!("{name}.pub"))).unwrap();
        KeyArgument::from_pem(name, &pem).unwrap().to_string()
    }

    /// The command with a folder to copy into, a log to leave the line in, and further arguments; `release` and
    /// `stranger` among them stand for the keys.
    fn copying(&self, arguments: &str) -> Command {
        fs::create_dir_all(self.at("target")).unwrap();
        self.put("log", "what was there before");
        let mut command = self.command();
        command.args([
            "copy",
            "--from",
            "model",
            "--dir",
            "target",
            "--termination-log",
            "log",
        ]);
        for argument in arguments.split(' ').filter(|argument| !argument.is_empty()) {
            command.arg(match argument {
                "release" | "stranger" => self.key_argument(argument),
                other => other.to_owned(),
            });
        }
        command
    }

    fn copy(&self, arguments: &str) -> Said {
        Said::of(&self.copying(arguments).output().unwrap())
    }

    fn left(&self) -> String {
        fs::read_to_string(self.at("log")).unwrap()
    }

    /// The files in the target by their names, staging left out.
    fn copied(&self) -> BTreeMap<String, Vec<u8>> {
        let found = done(Command::new("find").current_dir(self.at("target")).args([
            ".",
            "-name",
            ".probity-fetch",
            "-prune",
            "-o",
            "!",
            "-type",
            "d",
            "-printf",
            "%P\n",
        ]));
        found
            .lines()
            .map(|name| {
                (
                    name.to_owned(),
                    fs::read(self.at(format!("target/{name}"))).unwrap(),
                )
            })
            .collect()
    }

    fn root(&self) -> String {
        let said = self.probity("verify model --key release.pub -o json");
        said.json()["digest"].as_str().unwrap().to_owned()
    }
}

#[test]
fn a_signed_model() {
    let place = Place::new();
    // The umask of whoever starts us must not matter.
    let mut command = Command::new("sh");
    let inner = place.copying("--key stranger --key release");
    command
        .current_dir(place.at(""))
        .args(["-c", r#"umask 077; exec "$0" "$@""#, PROBITY])
        .args(inner.get_args());
    let said = Said::of(&command.output().unwrap());
    said.expect(0, &["3 files, 29 B, all as release signed", "100 %"]);
    assert_eq!(
        place.copied().keys().collect::<Vec<_>>(),
        ["config.json", "labels/classes.txt", "model.onnx"]
    );
    assert_eq!(place.copied()["model.onnx"], b"weights");
    let mode = |name: &str| fs::metadata(place.at(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("target/model.onnx"), mode("target/labels")), (0o444, 0o555));
    // The line is the same in both places, and what `verify` says.
    assert_eq!(said.stdout, place.left() + "\n");
    let report = CopyReport::read(&place.left()).unwrap();
    let verified = place.probity("verify model --key release.pub -o json").json();
    assert_eq!(verified["digest"], report.digest.to_string());
    assert_eq!(
        verified["signers"],
        serde_json::to_value(&report.signers).unwrap()
    );
    assert_eq!(
        (verified["files"].as_u64(), verified["size"].as_u64()),
        (Some(report.files), Some(report.size))
    );
    // What was copied needs only its signature to be the model again; and once more is harmless.
    place.copy("--key release").expect(0, &[]);
    let signature = place.at("model/model.sig").display().to_string();
    place
        .probity(&format!(
            "verify target --key release.pub --signature {signature}"
        ))
        .expect(0, &["Verified"]);
}

/// What the help tells to write on a command line.
#[test]
fn the_key_that_openssl_writes() {
    let place = Place::new();
    place.copying("");
    let line = format!(
        r#"{PROBITY} copy --from model --dir target --key "release=$(openssl pkey -pubin -in release.pub -outform DER | base64 -w0)""#
    );
    done(Command::new("bash").current_dir(place.at("")).args(["-c", &line]));
}

const RELEASE: &str = "--key release";

#[test_case(|_| {}, "--key stranger", 10, Reason::SignerMismatch, "none of the trusted keys (stranger)"; "signed by another")]
#[test_case(|p| p.remove("model/model.sig"), RELEASE, 10, Reason::Unsigned, "no model.sig"; "without a signature")]
#[test_case(|p| { fs::remove_dir_all(p.at("model")).unwrap(); fs::create_dir(p.at("model")).unwrap(); }, RELEASE, 10, Reason::Unsigned, "no model.sig"; "an empty folder")]
#[test_case(|p| p.put("model/model.onnx", "poison!"), RELEASE, 20, Reason::DigestMismatch, "model.onnx differs from what release signed (signed "; "altered")]
#[test_case(|p| p.put("model/notes.txt", "x"), RELEASE, 20, Reason::UnsignedFile, "notes.txt is not among"; "added")]
#[test_case(|p| p.put("model/.git/hook.py", "x"), RELEASE, 20, Reason::UnsignedFile, ".git/hook.py"; "added where signers look away")]
#[test_case(|p| p.remove("model/config.json"), RELEASE, 20, Reason::MissingFile, "config.json"; "removed")]
#[test_case(|p| p.link("config.json", "model/other.json"), RELEASE, 20, Reason::NotARegularFile, "other.json is a symbolic link"; "a link")]
#[test_case(|p| done(Command::new("mkfifo").arg(p.at("model/pipe"))).clear(), RELEASE, 20, Reason::NotARegularFile, "pipe is a pipe"; "a pipe")]
#[test_case(|_| {}, "--key release --digest sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", 20, Reason::DigestMismatch, "and only 9f86d081884c… is accepted"; "another digest")]
#[test_case(|p| fs::write(p.raw("model", b"a\xff"), "x").unwrap(), RELEASE, 30, Reason::MalformedPath, "not UTF-8"; "a file name that is not text")]
#[test_case(|p| p.put("model/model.sig", "{"), RELEASE, 30, Reason::MalformedBundle, ""; "a signature that was cut")]
#[test_case(|_| {}, "--key release --max-bytes 28", 30, Reason::LimitExceeded, "has 29 bytes and at most 28 are copied: raise --max-bytes"; "too large")]
#[test_case(|p| { fs::remove_dir_all(p.at("model")).unwrap(); p.put("model", "x"); }, RELEASE, 40, Reason::NotAModel, "is not a folder"; "a file")]
#[test_case(|_| {}, "--key release.pub", 50, Reason::TrustRootInvalid, "is not written as NAME=BASE64"; "a key that is a file")]
#[test_case(|_| {}, "--key release --key x=AAAA", 50, Reason::TrustRootInvalid, "the key x is not a public key"; "a key that is none beside one that is")]
#[test_case(|p| fs::remove_dir_all(p.at("model")).unwrap(), RELEASE, 60, Reason::Io, "there is no folder model"; "no such folder")]
#[test_case(|p| fs::remove_dir(p.at("target")).unwrap(), RELEASE, 60, Reason::Io, "make the folder first"; "no folder to copy into")]
#[test_case(|p| p.put("target/thesis.txt", "x"), RELEASE, 60, Reason::Io, "holds `thesis.txt`, which is no file of the model: give an empty folder"; "a folder with something else in it")]
#[test_case(|p| p.sparse("model/model.onnx", 1 << 43), RELEASE, 60, Reason::Io, "enlarge the volume"; "no room")]
fn refused(prepare: fn(&Place), arguments: &str, code: i32, reason: Reason, words: &str) {
    let place = Place::new();
    let mut command = place.copying(arguments);
    prepare(&place);
    let said = Said::of(&command.output().unwrap());
    said.expect(code, &[]);
    let failure: Failure = serde_json::from_str(&place.left()).expect("one line of JSON");
    assert_eq!(failure.reason, reason, "{}", said.all());
    assert!(failure.message.contains(words), "{}", said.all());
    assert_eq!(said.stdout, place.left() + "\n");
    assert!(said.stderr.contains(&failure.message), "{}", said.all());
    if place.at("target").exists() {
        let foreign: Vec<_> = place
            .copied()
            .into_keys()
            .filter(|name| name != "thesis.txt")
            .collect();
        assert!(foreign.is_empty(), "{foreign:?} have names");
    }
}

#[test]
fn the_digest_that_was_asked_for_and_one_that_is_revoked() {
    let place = Place::new();
    let root = place.root();
    place
        .copy(&format!("--key release --digest {root}"))
        .expect(0, &[&root]);
    let said = place.copy(&format!("--key release --digest {root} --refuse {root}"));
    said.expect(50, &["which was revoked", r#"{"reason":"Revoked","#]);
}

#[test_case("copy --from model --dir target", "--key <NAME=BASE64>"; "no key")]
#[test_case("copy --dir target --key release=AAAA", "--from <DIR>"; "no source")]
#[test_case("copy --from model --key release=AAAA", "--dir <DIR>"; "no target")]
#[test_case("copy --from model --dir target --key release=AAAA --digest 9f86", "64 lower-case hex digits"; "no digest")]
#[test_case("copy --from model --dir target --key release=AAAA --refuse sha512:00", "64 lower-case hex digits"; "no digest to refuse")]
fn misused(arguments: &str, words: &str) {
    Place::new().probity(arguments).expect(2, &[words]);
}

#[test]
fn outside_a_pod_no_log_is_made() {
    let place = Place::new();
    let mut command = place.copying("--key release");
    place.remove("log");
    Said::of(&command.output().unwrap()).expect(0, &["\"files\":3"]);
    assert!(!place.at("log").exists());
}

/// Whoever waits for the line must not take a copy for done that could not be reported.
#[test]
fn a_success_that_cannot_be_told_is_none() {
    let place = Place::new();
    let mut command = place.copying("--key release");
    place.remove("log");
    fs::create_dir(place.at("log")).unwrap();
    Said::of(&command.output().unwrap()).expect(60, &["cannot write log"]);
}

/// Without the privilege to read everything, which a test that runs as root has and a pod has not.
fn unprivileged(command: &Command) -> Output {
    let mut dropped = Command::new("setpriv");
    dropped
        .current_dir(command.get_current_dir().unwrap())
        .stdin(Stdio::null())
        .args(["--bounding-set", "-all", "--inh-caps", "-all"])
        .arg(command.get_program())
        .args(command.get_args());
    let is_root = done(Command::new("id").arg("-u")).trim() == "0";
    let mut plain = Command::new(command.get_program());
    plain
        .current_dir(command.get_current_dir().unwrap())
        .args(command.get_args());
    if is_root { dropped.output() } else { plain.output() }.unwrap()
}

#[test_case("model/model.onnx", "cannot open model.onnx"; "a file")]
#[test_case("model/labels", "cannot open labels"; "a folder")]
#[test_case("model/model.sig", "cannot open model.sig"; "the signature")]
#[test_case("target", "make the folder writable for this user"; "a target that is not writable")]
fn what_cannot_be_read(name: &str, words: &str) {
    let place = Place::new();
    let command = place.copying("--key release");
    let mode = if name == "target" { 0o555 } else { 0 };
    fs::set_permissions(place.at(name), fs::Permissions::from_mode(mode)).unwrap();
    Said::of(&unprivileged(&command)).expect(60, &[words, "Permission denied"]);
    fs::set_permissions(place.at(name), fs::Permissions::from_mode(0o755)).unwrap();
    assert!(place.copied().is_empty());
}

/// A model that takes a while: more than fits into the time in which a signal arrives.
fn large() -> Place {
    let place = Place::new();
    fs::remove_dir_all(place.at("model")).unwrap();
    fs::create_dir(place.at("model")).unwrap();
    for name in ["a.bin", "b.bin", "c.bin", "d.bin"] {
        place.sparse(&format!("model/{name}"), 128 << 20);
    }
    done(
        openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out own.key")
            .current_dir(place.at("")),
    );
    done(openssl("pkey -in own.key -pubout -out release.pub").current_dir(place.at("")));
    done(
        crate::testbed::tool("model_signing", &["signer"])
            .current_dir(place.at(""))
            .args([
                "sign",
                "key",
                "model",
                "--private_key",
                "own.key",
                "--signature",
                "model/model.sig",
            ]),
    );
    place
}

#[test]
fn stopped_half_way_and_run_again() {
    let place = large();
    for (signal, code) in [("-TERM", Some(143)), ("-INT", Some(130)), ("-KILL", None)] {
        // What the last one left would look like progress of this one.
        let _ = fs::remove_dir_all(place.at("target"));
        let mut child = place
            .copying("--key release")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let started = Instant::now();
        let staged = || {
            fs::read_dir(place.at("target/.probity-fetch")).is_ok_and(|entries| {
                entries
                    .flatten()
                    .any(|entry| entry.metadata().is_ok_and(|meta| meta.len() > 1 << 20))
            })
        };
        while !staged() {
            assert!(started.elapsed() < Duration::from_secs(30), "nothing is copied");
            std::thread::sleep(Duration::from_millis(1));
        }
        done(Command::new("kill").args([signal, &child.id().to_string()]));
        assert_eq!(child.wait().unwrap().code(), code, "{signal}");
        assert!(place.copied().is_empty(), "{signal}: no file has a name yet");
        assert_eq!(
            place.left(),
            "what was there before",
            "being stopped is no failure"
        );
    }
    place.copy("--key release").expect(0, &["4 files, 512.0 MiB"]);
    assert_eq!(place.copied().len(), 4);
    assert!(!place.at("target/.probity-fetch").exists());
}
