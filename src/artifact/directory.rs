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
const SIGNATURE: &str = "model.sig";

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
struct SignatureFile {
    raw: Vec<u8>,
    folder: Identity,
    name: RelPath,
}

fn read_signature(tree: &Tree, elsewhere: Option<&Path>) -> Result<SignatureFile, Failure> {
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
    let mut raw = Vec::new();
    // One byte more than is read of a bundle, so that `oms` sees that it is too large.
    file.take(MAX_BUNDLE as u64 + 1)
        .read_to_end(&mut raw)
        .map_err(|error| Failure::new(Reason::Io, format!("cannot read {name}: {error}")))?;
    Ok(SignatureFile {
        raw,
        folder: folder.identity()?,
        name,
    })
}
