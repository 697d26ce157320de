use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink},
        net::UnixListener,
    },
    path::PathBuf,
    sync::Mutex,
};

use proptest::prelude::*;
use rustix::fs::{CWD, FileType, Mode, mkfifoat, mknodat};
use tempfile::TempDir;
use test_case::test_case;

use super::*;
use crate::{
    artifact::{
        directory::verify_directory,
        signature::testing::{digest, fixture_key},
        testing::{FILES, Model, OnFirstRead},
        tree::Silent,
    },
    evidence::Outcome,
};

/// What a folder holds, staging left out: each file's name and content.
fn exposed(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(folder: &Path, above: &str, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{above}{}", entry.file_name().to_str().unwrap());
            if name == ".probity-fetch" {
            } else if entry.file_type().unwrap().is_dir() {
                walk(&entry.path(), &format!("{name}/"), found);
            } else {
                found.insert(name, fs::read(entry.path()).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(folder, "", &mut found);
    found
}

fn contents(files: &[(&str, &[u8])]) -> BTreeMap<String, Vec<u8>> {
    files
        .iter()
        .map(|(name, content)| ((*name).to_owned(), content.to_vec()))
        .collect()
}

/// The model in a folder of its own, and an empty one beside it.
struct Bench {
    model: Model,
    target: TempDir,
    options: CopyOptions,
}

impl Bench {
    fn new(files: &[(&str, &[u8])]) -> Self {
        Self {
            model: Model::signed(files),
            target: tempfile::tempdir().unwrap(),
            options: CopyOptions::default(),
        }
    }

    fn copy(&self) -> Result<CopyReport, Failure> {
        self.copy_while(&Silent)
    }

    fn copy_while(&self, progress: &dyn Progress) -> Result<CopyReport, Failure> {
        copy(
            self.model.folder.path(),
            self.target.path(),
            &self.model.signer.ring(),
            &self.options,
            progress,
        )
    }

    #[track_caller]
    fn assert_refused(&self, result: Result<CopyReport, Failure>, reason: Reason, words: &str) {
        let failure = result.unwrap_err();
        assert_eq!(failure.reason, reason, "{failure}");
        assert!(failure.message.contains(words), "{failure}");
        assert_eq!(exposed(self.target.path()), BTreeMap::new(), "nothing has a name");
    }

    fn target(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("{}/{name}", self.target.path().display()))
    }

    fn mode(&self, name: &str) -> u32 {
        fs::symlink_metadata(self.target(name))
            .unwrap()
            .permissions()
            .mode()
            & 0o7777
    }
}

#[test]
fn the_signed_files_and_nothing_else() {
    let bench = Bench::new(FILES);
    fs::create_dir_all(bench.model.path("left/empty")).unwrap();
    let report = bench.copy().unwrap();
    assert_eq!(report.digest, bench.model.signer.manifest(FILES).root);
    assert_eq!((report.files, report.size), (5, 11));
    assert_eq!(report.signers, [bench.model.signer.key().identity().clone()]);
    assert_eq!(exposed(bench.target.path()), contents(FILES));
    let mut entries: Vec<_> = fs::read_dir(bench.target.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    entries.sort();
    assert_eq!(
        entries,
        ["config.json", "empty.bin", "model.onnx", "sub", "sub.txt"]
    );
    assert_eq!((bench.mode("sub/x.txt"), bench.mode("sub")), (0o444, 0o555));
}

#[test]
fn many_small_files_deep_folders_and_a_large_file() {
    let deep = ["d"; 64].join("/");
    let large: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    let names: Vec<String> = (0..5000).map(|n| format!("{}/{n}", n % 70)).collect();
    let mut files: Vec<(&str, &[u8])> = names
        .iter()
        .map(|name| (name.as_str(), name.as_bytes()))
        .collect();
    files.push((&deep, b"deep"));
    files.push(("large.bin", &large));
    files.push(("gewichte/größe ☃.bin", b"odd"));
    files.push(("-rf", b""));
    let bench = Bench::new(&files);
    assert_eq!(bench.copy().unwrap().files, 5004);
    assert_eq!(exposed(bench.target.path()), contents(&files));
}

#[test_case("p256", "p256", 7)]
#[test_case("p384", "p384", 7)]
#[test_case("p521", "p521", 7)]
#[test_case("single", "p256", 1; "a model that is one file")]
fn the_official_signers_models(case: &str, key: &str, files: u64) {
    let target = tempfile::tempdir().unwrap();
    let report = official(case, key, target.path()).unwrap();
    assert_eq!(report.files, files);
    assert_eq!(exposed(target.path()).len() as u64, files);
}

#[test]
fn what_the_official_signer_left_out_is_unsigned() {
    let target = tempfile::tempdir().unwrap();
    let failure = official("ignoring", "p256", target.path()).unwrap_err();
    assert_eq!(failure.reason, Reason::UnsignedFile);
    assert!(failure.message.contains("on purpose"), "{failure}");
    let failure = official("p256", "stranger", target.path()).unwrap_err();
    assert_eq!(failure.reason, Reason::SignerMismatch);
    assert_eq!(exposed(target.path()), BTreeMap::new());
}

fn official(case: &str, key: &str, target: &Path) -> Result<CopyReport, Failure> {
    let folder = format!("{}/tests/fixtures/oms/{case}", env!("CARGO_MANIFEST_DIR"));
    let keys = KeyRing::from_iter([fixture_key(key)]);
    copy(
        Path::new(&folder),
        target,
        &keys,
        &CopyOptions::default(),
        &Silent,
    )
}

// ---- what verifying a folder refuses, in the same words

fn raw(model: &Model, name: &[u8]) {
    let mut path = model.path("").into_bytes();
    path.extend_from_slice(name);
    fs::write(std::ffi::OsStr::from_bytes(&path), b"!").unwrap();
}

fn instead(model: &Model, name: &str, make: impl Fn(&str)) {
    fs::remove_file(model.path(name)).unwrap();
    make(&model.path(name));
}

#[test_case(|m| m.write("model.onnx", b"weightz") => Reason::DigestMismatch; "altered")]
#[test_case(|m| m.write("model.onnx", b"longer weights") => Reason::DigestMismatch; "longer")]
#[test_case(|m| m.write("empty.bin", b"!") => Reason::DigestMismatch; "no longer empty")]
#[test_case(|m| m.write("model.onnx", b"") => Reason::DigestMismatch; "emptied")]
#[test_case(|m| m.write("sub/evil.pkl", b"!") => Reason::UnsignedFile; "added")]
#[test_case(|m| m.write(".git/evil.pkl", b"!") => Reason::UnsignedFile; "added where signers look away")]
#[test_case(|m| m.write(".gitattributes", b"!") => Reason::UnsignedFile; "a name that signers leave out")]
#[test_case(|m| m.write("model.sig.bak", b"!") => Reason::UnsignedFile; "beside the signature")]
#[test_case(|m| fs::remove_file(m.path("empty.bin")).unwrap() => Reason::MissingFile; "removed")]
#[test_case(|m| fs::rename(m.path("model.onnx"), m.path("Model.onnx")).unwrap() => Reason::UnsignedFile; "renamed")]
#[test_case(|m| instead(m, "model.onnx", |path| symlink("/etc/passwd", path).unwrap()) => Reason::NotARegularFile; "a link out")]
#[test_case(|m| instead(m, "model.onnx", |path| symlink("config.json", path).unwrap()) => Reason::NotARegularFile; "a link within")]
#[test_case(|m| { fs::rename(m.path("sub"), m.path("real")).unwrap(); symlink("real", m.path("sub")).unwrap(); } => Reason::NotARegularFile; "a link to a folder")]
#[test_case(|m| instead(m, "model.onnx", |path| mkfifoat(CWD, path, Mode::RUSR).unwrap()) => Reason::NotARegularFile; "a pipe")]
#[test_case(|m| instead(m, "model.onnx", |path| drop(UnixListener::bind(path).unwrap())) => Reason::NotARegularFile; "a socket")]
// The one device that needs no privilege.
#[test_case(|m| instead(m, "model.onnx", |path| mknodat(CWD, path, FileType::CharacterDevice, Mode::RUSR, 0).unwrap()) => Reason::NotARegularFile; "a device")]
#[test_case(|m| instead(m, "model.onnx", |path| fs::create_dir(path).unwrap()) => Reason::MissingFile; "a folder")]
#[test_case(|m| instead(m, "model.onnx", |path| fs::hard_link(m.path("config.json"), path).unwrap()) => Reason::DigestMismatch; "a hard link to something else")]
#[test_case(|m| fs::hard_link(m.path("model.sig"), m.path("sub/model.sig")).unwrap() => Reason::UnsignedFile; "a second link to the signature")]
#[test_case(|m| raw(m, b"a\nb") => Reason::MalformedPath; "a newline in a name")]
#[test_case(|m| raw(m, b"a\\..\\b") => Reason::MalformedPath; "a backslash in a name")]
#[test_case(|m| raw(m, b"a\xffb") => Reason::MalformedPath; "a name that is no text")]
#[test_case(|m| m.write(&["d"; 66].join("/"), b"!") => Reason::MalformedPath; "too deep")]
#[test_case(|m| fs::remove_file(m.path("model.sig")).unwrap() => Reason::Unsigned; "without a signature")]
#[test_case(|m| for entry in fs::read_dir(m.folder.path()).unwrap() { let _ = fs::remove_file(entry.unwrap().path()); } => Reason::Unsigned; "emptied of files")]
#[test_case(|m| instead(m, "model.sig", |path| symlink("config.json", path).unwrap()) => Reason::NotARegularFile; "a signature that is a link")]
#[test_case(|m| instead(m, "model.sig", |path| mkfifoat(CWD, path, Mode::RUSR).unwrap()) => Reason::NotARegularFile; "a signature that is a pipe")]
#[test_case(|m| fs::File::create(m.path("model.sig")).unwrap().set_len(1 << 40).unwrap() => Reason::LimitExceeded; "a signature over the cap")]
#[test_case(|m| m.write("model.sig", b"{") => Reason::MalformedBundle; "a signature that was cut")]
fn refused_as_verify_refuses(alter: fn(&Model)) -> Reason {
    let bench = Bench::new(FILES);
    alter(&bench.model);
    let failure = bench.copy().unwrap_err();
    assert_eq!(
        exposed(bench.target.path()),
        BTreeMap::new(),
        "nothing has a name"
    );
    let verified = verify_directory(
        bench.model.folder.path(),
        None,
        &bench.model.signer.ring(),
        &[],
        &Silent,
    );
    assert_eq!(verified.outcome, Outcome::Refused(failure.clone()));
    failure.reason
}

#[test]
fn a_name_that_climbs_out_cannot_be_signed() {
    let bench = Bench::new(FILES);
    let signer = &bench.model.signer;
    bench
        .model
        .write("model.sig", &signer.sign_files(&[("../evil", b"x")]));
    bench.assert_refused(bench.copy(), Reason::MalformedPath, "climbs out");
}

#[test]
fn what_cannot_verify_is_refused_before_anything_is_read() {
    struct Unread;
    impl Progress for Unread {
        fn begin(&self, _: usize, _: u64) {
            panic!("files are read");
        }
    }
    let bench = Bench::new(FILES);
    bench.model.write("model.onnx", b"altered");
    bench.model.write("evil.pkl", b"!");
    bench.assert_refused(bench.copy_while(&Unread), Reason::UnsignedFile, "evil.pkl");
    assert!(!bench.target(".probity-fetch").exists(), "nothing is touched");
}

#[test]
fn a_hard_link_is_copied_as_a_file_of_its_own() {
    let bench = Bench::new(FILES);
    let outside = TempDir::new().unwrap();
    let other = outside.path().display().to_string() + "/weights";
    fs::hard_link(bench.model.path("model.onnx"), &other).unwrap();
    bench.copy().unwrap();
    fs::write(&other, "evil").unwrap();
    assert_eq!(fs::read(bench.target("model.onnx")).unwrap(), b"weights");
    assert_eq!(fs::metadata(bench.target("model.onnx")).unwrap().nlink(), 1);
}

// ---- what is accepted beyond being signed

#[test]
fn only_the_digest_that_was_asked_for() {
    let mut bench = Bench::new(FILES);
    let root = bench.model.signer.manifest(FILES).root;
    let other = digest(b"another model");
    bench.options.digest = Some(other);
    let words = format!(
        "is {}… and only {}… is accepted: put",
        root.short(),
        other.short()
    );
    bench.assert_refused(bench.copy(), Reason::DigestMismatch, &words);
    bench.options.digest = Some(root);
    bench.options.refuse = vec![other];
    bench.copy().unwrap();
}

#[test]
fn a_revoked_digest_wins_over_everything() {
    let mut bench = Bench::new(FILES);
    let root = bench.model.signer.manifest(FILES).root;
    bench.options.digest = Some(root);
    bench.options.refuse = vec![digest(b"x"), root];
    bench.assert_refused(bench.copy(), Reason::Revoked, &root.short());
}

#[test_case(11 => None; "exactly as much")]
#[test_case(10 => Some(Reason::LimitExceeded); "a byte too many")]
#[test_case(0 => Some(Reason::LimitExceeded); "nothing at all")]
fn limits(most: u64) -> Option<Reason> {
    let mut bench = Bench::new(FILES);
    bench.options.max_bytes = Some(most);
    bench.copy().err().map(|failure| {
        assert!(failure.message.contains("11 bytes and at most"), "{failure}");
        failure.reason
    })
}

#[test]
fn no_room() {
    let bench = Bench::new(FILES);
    fs::File::create(bench.model.path("model.onnx"))
        .unwrap()
        .set_len(1 << 43)
        .unwrap();
    bench.assert_refused(bench.copy(), Reason::Io, "enlarge the volume");
}

// ---- the folder it is copied into

#[test]
fn twice_is_harmless() {
    let bench = Bench::new(FILES);
    let first = bench.copy().unwrap();
    assert_eq!(bench.copy().unwrap(), first);
    assert_eq!(exposed(bench.target.path()), contents(FILES));
}

#[test]
fn interrupted_and_run_again() {
    struct AfterOne(Mutex<usize>);
    impl Progress for AfterOne {
        fn complete(&self) {
            *self.0.lock().unwrap() += 1;
        }
        fn cancelled(&self) -> bool {
            *self.0.lock().unwrap() > 0
        }
    }
    let bench = Bench::new(FILES);
    let stopped = bench.copy_while(&AfterOne(Mutex::default()));
    bench.assert_refused(stopped, Reason::Io, "interrupted");
    assert!(
        fs::read_dir(bench.target(".probity-fetch")).unwrap().count() > 0,
        "something is left of it"
    );
    bench.copy().unwrap();
    assert_eq!(exposed(bench.target.path()), contents(FILES));
    assert!(!bench.target(".probity-fetch").exists());
}

#[test]
fn killed_while_files_got_their_names() {
    let bench = Bench::new(FILES);
    fs::create_dir_all(bench.target("sub")).unwrap();
    fs::create_dir_all(bench.target(".probity-fetch")).unwrap();
    fs::write(bench.target("sub/x.txt"), "old").unwrap();
    fs::write(bench.target(".probity-fetch/3"), "half").unwrap();
    fs::set_permissions(bench.target("sub"), fs::Permissions::from_mode(0o555)).unwrap();
    bench.copy().unwrap();
    assert_eq!(exposed(bench.target.path()), contents(FILES));
}

#[test]
fn what_is_somebodys_is_left_alone() {
    let bench = Bench::new(FILES);
    fs::write(bench.target("thesis.txt"), "x").unwrap();
    fs::write(bench.target("config.json"), "mine").unwrap();
    let failure = bench.copy().unwrap_err();
    assert_eq!(failure.reason, Reason::Io);
    assert!(failure.message.contains("holds `thesis.txt`"), "{failure}");
    assert_eq!(fs::read(bench.target("config.json")).unwrap(), b"mine");
}

#[test]
fn not_into_itself() {
    // Names that make each folder look like what an earlier copy of the other left.
    let bench = Bench::new(&[("a", b"x"), ("sub/a", b"x")]);
    let source = bench.model.folder.path();
    for name in ["", "sub", "sub/.."] {
        let target = PathBuf::from(bench.model.path(name));
        let keys = bench.model.signer.ring();
        let failure = copy(source, &target, &keys, &bench.options, &Silent).unwrap_err();
        assert_eq!(failure.reason, Reason::Io);
        assert!(failure.message.contains("apart from the model"), "{failure}");
        assert_eq!(fs::read(bench.model.path("sub/a")).unwrap(), b"x");
    }
}

#[test_case("absent", "no-such" => Reason::Io; "no source")]
#[test_case("model.onnx", "no-such" => Reason::NotAModel; "a source that is a file")]
#[test_case("", "no-such" => Reason::Io; "no target")]
#[test_case("", "file" => Reason::Io; "a target that is a file")]
fn folders_that_are_none(from: &str, dir: &str) -> Reason {
    let bench = Bench::new(FILES);
    fs::write(bench.target("file"), "x").unwrap();
    let (from, dir) = (bench.model.path(from), bench.target(dir));
    let keys = bench.model.signer.ring();
    copy(Path::new(&from), &dir, &keys, &bench.options, &Silent)
        .unwrap_err()
        .reason
}

// ---- while somebody else writes to the source

/// Does something once the files are listed and before any is opened.
struct OnceListed<F>(F);

impl<F: Fn() + Sync> Progress for OnceListed<F> {
    fn begin(&self, _: usize, _: u64) {
        (self.0)();
    }
}

#[test_case(|m| m.write("model.onnx", b"weightz") => Reason::DigestMismatch; "altered")]
#[test_case(|m| m.write("model.onnx", b"weights and more") => Reason::ChangedDuringVerify; "longer")]
#[test_case(|m| m.write("model.onnx", b"weight") => Reason::ChangedDuringVerify; "shorter")]
#[test_case(|m| fs::remove_file(m.path("model.onnx")).unwrap() => Reason::Io; "removed")]
#[test_case(|m| instead(m, "model.onnx", |path| symlink("/etc/passwd", path).unwrap()) => Reason::NotARegularFile; "made a link")]
#[test_case(|m| instead(m, "model.onnx", |path| mkfifoat(CWD, path, Mode::RUSR).unwrap()) => Reason::NotARegularFile; "made a pipe")]
#[test_case(|m| instead(m, "model.onnx", |path| mknodat(CWD, path, FileType::CharacterDevice, Mode::RUSR, 0).unwrap()) => Reason::NotARegularFile; "made a device")]
#[test_case(|m| { fs::rename(m.path("sub"), m.path("real")).unwrap(); symlink("real", m.path("sub")).unwrap(); } => Reason::NotARegularFile; "its folder made a link")]
fn altered_once_listed(alter: fn(&Model)) -> Reason {
    let bench = Bench::new(FILES);
    let failure = bench.copy_while(&OnceListed(|| alter(&bench.model))).unwrap_err();
    assert_eq!(
        exposed(bench.target.path()),
        BTreeMap::new(),
        "nothing has a name"
    );
    failure.reason
}

#[test]
fn what_is_added_meanwhile_is_not_copied_and_the_signature_is_read_once() {
    let bench = Bench::new(FILES);
    let model = &bench.model;
    bench
        .copy_while(&OnceListed(|| {
            model.write("evil.pkl", b"!");
            model.write("model.sig", &model.signer.sign_files(&[("evil.pkl", b"!")]));
        }))
        .unwrap();
    assert_eq!(exposed(bench.target.path()), contents(FILES));
}

#[test]
fn a_file_that_grows_is_not_followed() {
    let weights = vec![7; 1 << 20];
    let bench = Bench::new(&[("model.onnx", &weights)]);
    let grow = OnFirstRead::new(|| {
        let mut file = fs::OpenOptions::new()
            .append(true)
            .open(bench.model.path("model.onnx"))
            .unwrap();
        file.write_all(&vec![7; 4 << 20]).unwrap();
    });
    let result = bench.copy_while(&grow);
    bench.assert_refused(result, Reason::ChangedDuringVerify, "model.onnx changed");
    let staged = fs::metadata(bench.target(".probity-fetch/0")).unwrap().len();
    assert!(staged <= 1 << 20, "{staged}");
}

#[test]
fn a_file_that_is_rewritten_behind_or_before_the_reader() {
    for at in [0, (1 << 20) - 4] {
        let weights = vec![7; 1 << 20];
        let bench = Bench::new(&[("model.onnx", &weights)]);
        let rewrite = OnFirstRead::new(|| {
            let file = fs::OpenOptions::new()
                .write(true)
                .open(bench.model.path("model.onnx"))
                .unwrap();
            // A clock tick later at the latest the file system shows another time of change.
            let before = file.metadata().unwrap().modified().unwrap();
            while file.metadata().unwrap().modified().unwrap() == before {
                file.write_at(b"evil", at).unwrap();
            }
        });
        let result = bench.copy_while(&rewrite);
        bench.assert_refused(result, Reason::ChangedDuringVerify, "model.onnx changed");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_bit_of_a_file_can_be_flipped(file in 0usize..FILES.len(), byte in any::<usize>(), bit in 0u8..8, listed in any::<bool>()) {
        let bench = Bench::new(FILES);
        let (name, content) = FILES[file];
        let mut flipped = content.to_vec();
        if flipped.is_empty() {
            flipped.push(0);
        } else {
            let byte = byte % flipped.len();
            flipped[byte] ^= 1 << bit;
        }
        let alter = || bench.model.write(name, &flipped);
        let result = if listed {
            bench.copy_while(&OnceListed(alter))
        } else {
            alter();
            bench.copy()
        };
        let reason = result.unwrap_err().reason;
        prop_assert!(matches!(reason, Reason::DigestMismatch | Reason::ChangedDuringVerify), "{reason}");
        prop_assert_eq!(exposed(bench.target.path()), BTreeMap::new());
    }
}
