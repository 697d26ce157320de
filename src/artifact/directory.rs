//! Verifies a model that lies in a folder: its signature and every file.
//! It only reads; what follows from the report is decided elsewhere.

use std::{io::Read as _, path::Path};

use super::{
    signature::{
        Comparison, KeyRing, RelPath, compare,
        oms::{self, MAX_BUNDLE},
    },
    tree::{self, Identity, Progress, Skip, Tree},
};
use crate::evidence::{ArtifactReport, Digest, Failure, Outcome, Reason};

/// Where the signature lies unless said otherwise.
pub(super) const SIGNATURE: &str = "model.sig";

/// Verifies that the folder `dir` holds exactly the files that one of `keys` signed.
///
/// `signature`: the signature file, `model.sig` in the folder when absent; it must be a regular file and is not one of
/// the model's files. `ignore_paths`: what is left alone, each with everything below it. What the signer chose to leave
/// out is not left alone for that: nobody vouches for it, so it is an unsigned file when it exists. A path that holds a
/// signed file is never left alone. Folders without files are not covered by signatures and are not looked for.
pub fn verify_directory(
    dir: &Path,
    signature: Option<&Path>,
    keys: &KeyRing,
    ignore_paths: &[RelPath],
    progress: &dyn Progress,
) -> ArtifactReport {
    let mut report = ArtifactReport {
        digest: None,
        outcome: Outcome::Verified,
        signers: Vec::new(),
        differences: Vec::new(),
        differing: 0,
        files: 0,
        size: 0,
    };
    match inspect(&mut report, dir, signature, keys, ignore_paths, progress) {
        Ok((root, comparison)) => {
            // A folder that is not what was signed is not the model the signature names.
            report.digest = (comparison.outcome == Outcome::Verified).then_some(root);
            report.outcome = comparison.outcome;
            report.differences = comparison.differences;
            report.differing = comparison.differing;
        }
        Err(failure) => report.outcome = Outcome::Refused(failure),
    }
    report
}

fn inspect(
    report: &mut ArtifactReport,
    dir: &Path,
    signature: Option<&Path>,
    keys: &KeyRing,
    ignore_paths: &[RelPath],
    progress: &dyn Progress,
) -> Result<(Digest, Comparison), Failure> {
    let tree = Tree::open(dir)?;
    let signature = read_signature(&tree, signature)?;
    let signed = oms::verify(&signature.raw, keys)?;
    report.signers = vec![signed.signer().clone()];

    let ignored: Vec<RelPath> = ignore_paths
        .iter()
        .filter(|path| !signed.signs_within(path))
        .cloned()
        .collect();
    let skip = Skip {
        entry: Some((signature.folder, signature.name.as_str())),
        paths: &ignored,
    };
    let files = tree::walk(&tree, &skip)?;
    report.files = files.len();
    report.size = files.iter().map(|file| file.size).fold(0, u64::saturating_add);

    let digests = tree::hash(&tree, &files, progress)?;
    let found = files.into_iter().map(|file| file.path).zip(digests);
    Ok((signed.root, compare(&signed, found)))
}

/// A signature file, and where it lies: exactly that entry is not one of the model's files.
pub(super) struct SignatureFile {
    pub(super) raw: Vec<u8>,
    pub(super) folder: Identity,
    pub(super) name: RelPath,
}

/// Reads the signature, once: what lies there later has no say.
pub(super) fn read_signature(tree: &Tree, elsewhere: Option<&Path>) -> Result<SignatureFile, Failure> {
    match elsewhere {
        None => read_signature_in(tree, RelPath::parse(SIGNATURE)?),
        Some(path) => {
            let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(|| {
                Failure::new(
                    Reason::Io,
                    format!("{} names no signature file: give the file itself", path.display()),
                )
            })?;
            let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            read_signature_in(
                &Tree::open(folder.unwrap_or(Path::new(".")))?,
                RelPath::parse(name)?,
            )
        }
    }
}

fn read_signature_in(folder: &Tree, name: RelPath) -> Result<SignatureFile, Failure> {
    let file = folder.find_file(&name)?.ok_or_else(|| {
        Failure::new(
            Reason::Unsigned,
            format!("the model carries no signature (no {name}): sign it with `model_signing sign key`"),
        )
    })?;
    let cannot = |error: std::io::Error| Failure::new(Reason::Io, format!("cannot read {name}: {error}"));
    // One byte more than is read of a bundle, so that `oms` sees that it is too large.
    let most = MAX_BUNDLE as u64 + 1;
    let size = file.metadata().map_err(cannot)?.len().min(most);
    let mut raw = Vec::with_capacity(usize::try_from(size).unwrap_or(MAX_BUNDLE) + 1);
    file.take(most).read_to_end(&mut raw).map_err(cannot)?;
    Ok(SignatureFile {
        raw,
        folder: folder.identity()?,
        name,
    })
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::{fs::symlink, net::UnixListener},
    };

    use proptest::prelude::*;
    use rustix::fs::{CWD, Mode, mkfifoat};
    use test_case::test_case;

    use super::*;
    use crate::artifact::{
        signature::testing::{digest, fixture_key},
        testing::{FILES, Model, OnFirstRead},
        tree::Silent,
    };

    impl Model {
        fn verify(&self) -> ArtifactReport {
            self.verify_with(None, &[])
        }

        fn verify_with(&self, signature: Option<&Path>, ignored: &[&str]) -> ArtifactReport {
            let ignored: Vec<RelPath> = ignored.iter().map(|path| RelPath::parse(path).unwrap()).collect();
            verify_directory(
                self.folder.path(),
                signature,
                &self.signer.ring(),
                &ignored,
                &Silent,
            )
        }

        /// The reason and sentence it is refused with.
        fn refusal(&self) -> (Reason, String) {
            refusal(self.verify())
        }
    }

    fn refusal(report: ArtifactReport) -> (Reason, String) {
        assert_eq!(report.digest, None, "what does not verify has no identity");
        match report.outcome {
            Outcome::Refused(failure) => (failure.reason, failure.message),
            Outcome::Verified => panic!("verified"),
        }
    }

    #[track_caller]
    fn assert_refused(model: &Model, reason: Reason, words: &str) {
        let refused = model.refusal();
        assert_eq!(refused.0, reason, "{}", refused.1);
        assert!(refused.1.contains(words), "{}", refused.1);
    }

    #[test]
    fn the_signed_files_verify() {
        let model = Model::signed(FILES);
        let report = model.verify();
        assert_eq!(report.outcome, Outcome::Verified);
        assert_eq!(report.signers, [model.signer.key().identity().clone()]);
        assert_eq!(report.digest, Some(model.signer.manifest(FILES).root));
        assert_eq!((report.files, report.size), (5, 11));
    }

    #[test]
    fn many_files_on_all_cores() {
        let names: Vec<String> = (0..600).map(|n| format!("{}/{n}", n % 7)).collect();
        let contents: Vec<Vec<u8>> = (0..600)
            .map(|n: usize| vec![u8::try_from(n % 251).unwrap(); n * 997])
            .collect();
        let files: Vec<(&str, &[u8])> = names
            .iter()
            .map(String::as_str)
            .zip(contents.iter().map(Vec::as_slice))
            .collect();
        let report = Model::signed(&files).verify();
        assert_eq!(report.outcome, Outcome::Verified);
        assert_eq!(
            report.size,
            contents.iter().map(|content| content.len() as u64).sum::<u64>()
        );
    }

    #[test]
    fn folders_without_files_are_not_part_of_a_model() {
        let model = Model::signed(FILES);
        fs::create_dir_all(model.path("left/empty")).unwrap();
        assert_eq!(model.verify().outcome, Outcome::Verified);
    }

    // ---- what was added, removed, changed

    #[test]
    fn a_changed_file_names_itself_both_digests_and_the_signer() {
        let model = Model::signed(FILES);
        model.write("model.onnx", b"other weights");
        let report = model.verify();
        assert_eq!(report.signers.len(), 1, "the signature itself verified");
        assert_eq!(report.differences[0].signed, Some(digest(b"weights")));
        assert_eq!(report.differences[0].found, Some(digest(b"other weights")));
        assert_refused(
            &model,
            Reason::DigestMismatch,
            "model.onnx differs from what release signed (signed 9a129038d9a0…, found ",
        );
    }

    #[test]
    fn a_file_added_after_signing() {
        let model = Model::signed(FILES);
        model.write("sub/evil.pkl", b"!");
        assert_refused(
            &model,
            Reason::UnsignedFile,
            "sub/evil.pkl is not among the files that release signed",
        );
    }

    #[test]
    fn a_file_added_in_dot_git_after_signing() {
        let model = Model::signed(FILES);
        model.write(".git/evil.pkl", b"!");
        assert_refused(&model, Reason::UnsignedFile, ".git/evil.pkl is not among");
        assert_eq!(
            model.verify_with(None, &[".git"]).outcome,
            Outcome::Verified,
            "allowed by name"
        );
        let other = model.verify_with(None, &[".github", ".gi"]);
        assert_eq!(refusal(other).0, Reason::UnsignedFile, "allowed by another name");
    }

    #[test_case(".gitignore")]
    #[test_case(".gitattributes")]
    #[test_case(".github/workflows/x.yml")]
    fn a_name_that_signers_leave_out(name: &str) {
        let model = Model::signed(FILES);
        model.write(name, b"!");
        assert_refused(&model, Reason::UnsignedFile, name);
    }

    #[test]
    fn an_allowed_path_does_not_hide_what_was_signed() {
        let model = Model::signed(FILES);
        model.write("sub/x.txt", b"changed");
        let report = model.verify_with(None, &["sub"]);
        assert_eq!(refusal(report).0, Reason::DigestMismatch);
        fs::remove_file(model.path("sub/x.txt")).unwrap();
        assert_eq!(refusal(model.verify_with(None, &["sub"])).0, Reason::MissingFile);
    }

    #[test]
    fn a_removed_file() {
        let model = Model::signed(FILES);
        fs::remove_file(model.path("empty.bin")).unwrap();
        assert_refused(
            &model,
            Reason::MissingFile,
            "empty.bin is missing although release signed it",
        );
    }

    #[test]
    fn a_renamed_file() {
        let model = Model::signed(FILES);
        fs::rename(model.path("model.onnx"), model.path("Model.onnx")).unwrap();
        assert_refused(&model, Reason::UnsignedFile, "Model.onnx is not among");
    }

    #[test]
    fn two_files_swapped() {
        let model = Model::signed(FILES);
        fs::rename(model.path("sub.txt"), model.path("tmp")).unwrap();
        fs::rename(model.path("sub/x.txt"), model.path("sub.txt")).unwrap();
        fs::rename(model.path("tmp"), model.path("sub/x.txt")).unwrap();
        assert_refused(&model, Reason::DigestMismatch, "sub.txt and sub/x.txt differ");
    }

    /// A signature says that these files belong together, not which model they are: the root digest tells the two apart.
    #[test]
    fn another_model_of_the_same_signer_has_another_identity() {
        let mut model = Model::signed(FILES);
        let before = model.verify().digest.unwrap();
        let mut other = FILES.to_vec();
        other[2].1 = b"older weights";
        let signer = model.signer;
        model = Model {
            folder: tempfile::tempdir().unwrap(),
            signer,
        };
        for (name, content) in &other {
            model.write(name, content);
        }
        model.write(SIGNATURE, &model.signer.sign_files(&other));
        assert_ne!(model.verify().digest.unwrap(), before);
    }

    // ---- what is no regular file

    #[test]
    fn a_link_to_a_file() {
        let model = Model::signed(FILES);
        fs::rename(model.path("model.onnx"), model.path("sub/weights")).unwrap();
        symlink("sub/weights", model.path("model.onnx")).unwrap();
        assert_refused(&model, Reason::NotARegularFile, "model.onnx is a symbolic link");
    }

    #[test]
    fn a_link_to_a_folder() {
        let model = Model::signed(FILES);
        fs::rename(model.path("sub"), model.path("real")).unwrap();
        symlink("real", model.path("sub")).unwrap();
        assert_refused(&model, Reason::NotARegularFile, "sub is a symbolic link");
    }

    #[test]
    fn a_pipe_does_not_make_it_wait() {
        let model = Model::signed(FILES);
        fs::remove_file(model.path("model.onnx")).unwrap();
        mkfifoat(CWD, model.path("model.onnx"), Mode::RUSR).unwrap();
        assert_refused(&model, Reason::NotARegularFile, "model.onnx is a pipe");
    }

    #[test]
    fn a_socket() {
        let model = Model::signed(FILES);
        let _socket = UnixListener::bind(model.path("s")).unwrap();
        assert_refused(&model, Reason::NotARegularFile, "s is a socket");
    }

    #[test]
    fn a_file_where_a_folder_was_signed_and_the_reverse() {
        let model = Model::signed(FILES);
        fs::remove_dir_all(model.path("sub")).unwrap();
        model.write("sub", b"x");
        assert_refused(&model, Reason::UnsignedFile, "sub is not among");
        fs::remove_file(model.path("model.onnx")).unwrap();
        model.write("model.onnx/x", b"weights");
        assert_refused(&model, Reason::UnsignedFile, "model.onnx/x and sub are not among");
    }

    #[test_case(b"a\nb" => Reason::MalformedPath; "newline")]
    #[test_case(b"a\xffb" => Reason::MalformedPath; "no utf-8")]
    #[test_case(b"a\\b" => Reason::MalformedPath; "backslash")]
    fn a_name_nobody_can_sign(name: &[u8]) -> Reason {
        use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};
        let model = Model::signed(FILES);
        let mut path = model.path("").into_bytes();
        path.extend_from_slice(name);
        fs::write(OsStr::from_bytes(&path), b"!").unwrap();
        model.refusal().0
    }

    #[test]
    fn deeper_than_any_signed_name() {
        let model = Model::signed(FILES);
        model.write(&["d"; 66].join("/"), b"!");
        assert_refused(&model, Reason::MalformedPath, "deeper than 64");
    }

    // ---- the signature file

    #[test]
    fn no_signature() {
        let model = Model::signed(FILES);
        fs::remove_file(model.path(SIGNATURE)).unwrap();
        assert_refused(&model, Reason::Unsigned, "no model.sig");
    }

    /// The reference skips the ignored name even when it became a folder.
    #[test]
    fn a_signature_that_became_a_folder_with_a_payload() {
        let model = Model::signed(FILES);
        fs::rename(model.path(SIGNATURE), model.path("moved")).unwrap();
        let elsewhere = tempfile::NamedTempFile::new().unwrap();
        fs::copy(model.path("moved"), elsewhere.path()).unwrap();
        fs::remove_file(model.path("moved")).unwrap();
        model.write("model.sig/evil.pkl", b"!");
        assert_refused(&model, Reason::NotARegularFile, "model.sig is a folder");
        assert_eq!(
            refusal(model.verify_with(Some(elsewhere.path()), &[])).0,
            Reason::UnsignedFile
        );
    }

    #[test]
    fn a_signature_that_is_a_link() {
        let model = Model::signed(FILES);
        fs::rename(model.path(SIGNATURE), model.path("real.sig")).unwrap();
        symlink("real.sig", model.path(SIGNATURE)).unwrap();
        assert_refused(&model, Reason::NotARegularFile, "model.sig is a symbolic link");
        let elsewhere = tempfile::tempdir().unwrap();
        let link = format!("{}/x.sig", elsewhere.path().display());
        symlink(model.path("real.sig"), &link).unwrap();
        assert_eq!(
            refusal(model.verify_with(Some(Path::new(&link)), &[])).0,
            Reason::NotARegularFile
        );
    }

    #[test]
    fn a_signature_that_is_a_pipe() {
        let model = Model::signed(FILES);
        fs::remove_file(model.path(SIGNATURE)).unwrap();
        mkfifoat(CWD, model.path(SIGNATURE), Mode::RUSR).unwrap();
        assert_refused(&model, Reason::NotARegularFile, "model.sig is a pipe");
    }

    #[test]
    fn a_signature_over_the_cap() {
        let model = Model::signed(FILES);
        fs::File::create(model.path(SIGNATURE))
            .unwrap()
            .set_len(1 << 40)
            .unwrap();
        assert_refused(&model, Reason::LimitExceeded, "larger than 32 MiB");
    }

    #[test]
    fn a_signature_by_another_name_or_in_another_folder() {
        let model = Model::signed(FILES);
        fs::rename(model.path(SIGNATURE), model.path("sub/v1.sig")).unwrap();
        let inside = model.path("sub/v1.sig");
        assert_eq!(
            model.verify_with(Some(Path::new(&inside)), &[]).outcome,
            Outcome::Verified
        );
        let outside = tempfile::NamedTempFile::new().unwrap();
        fs::copy(&inside, outside.path()).unwrap();
        let report = model.verify_with(Some(outside.path()), &[]);
        assert!(
            refusal(report).1.contains("sub/v1.sig is not among"),
            "it is not the signature then, but a file like any other"
        );
        fs::remove_file(&inside).unwrap();
        assert_eq!(
            model.verify_with(Some(outside.path()), &[]).outcome,
            Outcome::Verified
        );
    }

    #[test]
    fn a_second_link_to_the_signature_is_a_file_like_any_other() {
        let model = Model::signed(FILES);
        fs::hard_link(model.path(SIGNATURE), model.path("sub/model.sig")).unwrap();
        assert_refused(&model, Reason::UnsignedFile, "sub/model.sig is not among");
    }

    // ---- while it is read

    #[test]
    fn a_file_that_grows_while_it_is_read() {
        let weights = vec![7; 1 << 20];
        let model = Model::signed(&[("model.onnx", &weights)]);
        let grow = OnFirstRead::new(|| {
            use std::io::Write as _;
            let mut file = fs::OpenOptions::new()
                .append(true)
                .open(model.path("model.onnx"))
                .unwrap();
            file.write_all(b"more").unwrap();
        });
        let report = verify_directory(model.folder.path(), None, &model.signer.ring(), &[], &grow);
        let (reason, sentence) = refusal(report);
        assert_eq!(reason, Reason::ChangedDuringVerify);
        assert!(sentence.contains("model.onnx changed"), "{sentence}");
    }

    /// What was read is good, what lies there now is not.
    #[test]
    fn a_file_that_is_rewritten_behind_the_reader() {
        let weights = vec![7; 1 << 20];
        let model = Model::signed(&[("model.onnx", &weights)]);
        let rewrite = OnFirstRead::new(|| {
            use std::os::unix::fs::FileExt as _;
            let file = fs::OpenOptions::new()
                .write(true)
                .open(model.path("model.onnx"))
                .unwrap();
            // A clock tick later at the latest the file system shows another time of change.
            let before = file.metadata().unwrap().modified().unwrap();
            while file.metadata().unwrap().modified().unwrap() == before {
                file.write_at(b"evil", 0).unwrap();
            }
        });
        let report = verify_directory(model.folder.path(), None, &model.signer.ring(), &[], &rewrite);
        assert_eq!(refusal(report).0, Reason::ChangedDuringVerify);
    }

    struct Cancelled;

    impl Progress for Cancelled {
        fn cancelled(&self) -> bool {
            true
        }
    }

    #[test]
    fn it_can_be_interrupted() {
        let model = Model::signed(FILES);
        let report = verify_directory(model.folder.path(), None, &model.signer.ring(), &[], &Cancelled);
        let (reason, sentence) = refusal(report);
        assert_eq!(reason, Reason::Io);
        assert!(sentence.contains("interrupted"), "{sentence}");
    }

    // ---- the folder

    #[test]
    fn the_folder_itself() {
        let model = Model::signed(FILES);
        let keys = model.signer.ring();
        let absent = verify_directory(Path::new(&model.path("absent")), None, &keys, &[], &Silent);
        assert_eq!(refusal(absent).0, Reason::Io);
        let file = verify_directory(Path::new(&model.path("model.onnx")), None, &keys, &[], &Silent);
        assert_eq!(refusal(file).0, Reason::NotAModel);
        let links = tempfile::tempdir().unwrap();
        let link = format!("{}/model", links.path().display());
        symlink(model.folder.path(), &link).unwrap();
        let linked = verify_directory(Path::new(&link), None, &keys, &[], &Silent);
        assert_eq!(
            linked.outcome,
            Outcome::Verified,
            "the caller's own path may be a link"
        );
    }

    // ---- by the official signer

    fn official(case: &str, key: &str) -> ArtifactReport {
        let folder = format!("{}/tests/fixtures/oms/{case}", env!("CARGO_MANIFEST_DIR"));
        verify_directory(
            Path::new(&folder),
            None,
            &KeyRing::from_iter([fixture_key(key)]),
            &[],
            &Silent,
        )
    }

    #[test_case("p256", "p256", 7)]
    #[test_case("p384", "p384", 7)]
    #[test_case("p521", "p521", 7)]
    #[test_case("old", "p256", 7; "a bundle that carries the key")]
    #[test_case("single", "p256", 1; "a model that is one file")]
    fn the_official_signers_models_verify(case: &str, key: &str, files: usize) {
        let report = official(case, key);
        assert_eq!(report.outcome, Outcome::Verified);
        assert_eq!(report.files, files);
    }

    #[test]
    fn what_the_official_signer_left_out_is_unsigned() {
        let (reason, sentence) = refusal(official("ignoring", "p256"));
        assert_eq!(reason, Reason::UnsignedFile);
        assert!(
            sentence.contains("notes.txt") && sentence.contains("on purpose"),
            "{sentence}"
        );
    }

    #[test]
    fn a_stranger_is_refused() {
        let report = official("p256", "stranger");
        assert!(report.signers.is_empty());
        assert_eq!(refusal(report).0, Reason::SignerMismatch);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_bit_of_a_file_can_be_flipped(file in 0usize..FILES.len(), byte in any::<usize>(), bit in 0u8..8) {
            let model = Model::signed(FILES);
            let (name, content) = FILES[file];
            let mut flipped = content.to_vec();
            if flipped.is_empty() {
                flipped.push(0);
            } else {
                let byte = byte % flipped.len();
                flipped[byte] ^= 1 << bit;
            }
            model.write(name, &flipped);
            prop_assert_eq!(model.refusal().0, Reason::DigestMismatch);
        }
    }
}
