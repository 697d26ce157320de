//! Copies a model that lies in a folder into another one, and shows on the way that it is the signed one: the bytes that
//! are hashed are the bytes that are written. It takes no trust from the folder, and gives no file its name before every
//! file is what was signed.

use std::{fs::File, io::Write as _, path::Path};

use super::{
    directory::read_signature,
    folder::{Folder, failure},
    signature::{KeyRing, Manifest, RelPath, Verified, compare, compare_names, oms},
    tree::{self, FoundFile, Progress, Sink, Skip, Tree},
};
use crate::evidence::{CopyReport, Digest, Failure, Reason};

/// Files copied at the same time.
const PARALLEL: usize = 2;
/// Left free beside the model: folders and the file system's own.
const SPARE: u64 = 1 << 20;

/// Which content is accepted, beyond being signed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CopyOptions {
    /// The only digest that is accepted; any, when absent.
    pub digest: Option<Digest>,
    /// Digests that are not, whoever signed them.
    pub refuse: Vec<Digest>,
    /// A larger model is refused before anything is copied.
    pub max_bytes: Option<u64>,
}

/// Copies the model in `from` into `dir`, which must exist and hold nothing but what an earlier copy of the same model
/// left there. What is accepted is what [`verify_directory`](super::directory::verify_directory) accepts with `keys`,
/// nothing ignored, and what `options` leave of that.
///
/// The signature is read once and not copied. Names, digest and size are looked at before any weights are read; the
/// first file that differs stops the rest. All files get their names at the end, files 0444 and folders 0555.
///
/// # Errors
/// What `verify_directory` refuses with; [`Reason::Revoked`] and [`Reason::DigestMismatch`] for digests that `options`
/// do not accept; [`Reason::LimitExceeded`] for too many bytes; [`Reason::Io`] when `dir` is not empty, not writable,
/// too small or no folder apart.
pub fn copy(
    from: &Path,
    dir: &Path,
    keys: &KeyRing,
    options: &CopyOptions,
    progress: &dyn Progress,
) -> Result<CopyReport, Failure> {
    let tree = Tree::open(from)?;
    let signature = read_signature(&tree, None)?;
    let signed = oms::verify(&signature.raw, keys)?;
    options.accept(signed.root, from)?;
    let skip = Skip {
        entry: Some((signature.folder, signature.name.as_str())),
        paths: &[],
    };
    let files = tree::walk(&tree, &skip)?;
    compare_names(&signed, files.iter().map(|file| &file.path))?;
    let size = files.iter().map(|file| file.size).fold(0, u64::saturating_add);
    options.fits(size, from)?;

    refuse_overlap(from, dir)?;
    let paths: Vec<&RelPath> = files.iter().map(|file| &file.path).collect();
    let folder = Folder::open(dir, &paths)?;
    let room = folder.room()?;
    if room < size.saturating_add(SPARE) {
        return Err(Failure::new(
            Reason::Io,
            format!(
                "the model in {} has {size} bytes and {} has room for {room}: enlarge the volume",
                from.display(),
                dir.display()
            ),
        ));
    }
    let staging = Staging {
        folder: &folder,
        files: &files,
        signed: &signed,
    };
    let digests = tree::hash_into(&tree, &files, &staging, PARALLEL, progress)?;
    let found = files.iter().map(|file| file.path.clone()).zip(digests);
    compare(&signed, found).into_result()?;

    folder.publish_all(&paths)?;
    folder.seal(&paths)?;
    Ok(CopyReport {
        digest: signed.root,
        size,
        files: files.len() as u64,
        signers: vec![signed.signer().clone()],
    })
}

impl CopyOptions {
    /// Revocation wins over everything.
    fn accept(&self, found: Digest, from: &Path) -> Result<(), Failure> {
        let from = from.display();
        if self.refuse.contains(&found) {
            return Err(Failure::new(
                Reason::Revoked,
                format!(
                    "the model in {from} is {}…, which was revoked: put another version there",
                    found.short()
                ),
            ));
        }
        match self.digest.filter(|wanted| *wanted != found) {
            Some(wanted) => Err(Failure::new(
                Reason::DigestMismatch,
                format!(
                    "the model in {from} is {}… and only {}… is accepted: put that version back, or have this one accepted by its digest or in a folder of its own",
                    found.short(),
                    wanted.short()
                ),
            )),
            None => Ok(()),
        }
    }

    fn fits(&self, size: u64, from: &Path) -> Result<(), Failure> {
        match self.max_bytes.filter(|most| size > *most) {
            Some(most) => Err(Failure::new(
                Reason::LimitExceeded,
                format!(
                    "the model in {} has {size} bytes and at most {most} are copied: raise --max-bytes",
                    from.display()
                ),
            )),
            None => Ok(()),
        }
    }
}

/// Refuses to write where it is read: what an earlier copy left is removed first, and must not be the model itself.
fn refuse_overlap(from: &Path, dir: &Path) -> Result<(), Failure> {
    // A folder that cannot be resolved is refused, in better words, when it is opened.
    if let (Ok(source), Ok(target)) = (from.canonicalize(), dir.canonicalize())
        && (target.starts_with(&source) || source.starts_with(&target))
    {
        return Err(Failure::new(
            Reason::Io,
            format!(
                "{} and {} lie in one another: give an empty folder apart from the model",
                from.display(),
                dir.display()
            ),
        ));
    }
    Ok(())
}

/// Writes what is hashed into files without names, each known by its place in the list.
struct Staging<'a> {
    folder: &'a Folder,
    files: &'a [FoundFile],
    signed: &'a Verified<Manifest>,
}

impl Sink for Staging<'_> {
    type File = File;

    fn begin(&self, index: usize) -> Result<File, Failure> {
        self.folder.stage(index)
    }

    fn take(&self, index: usize, file: &mut File, bytes: &[u8]) -> Result<(), Failure> {
        file.write_all(bytes)
            .map_err(|error| failure("write", self.files[index].path.as_str(), &error))
    }

    fn end(&self, index: usize, file: File, digest: Digest) -> Result<(), Failure> {
        let path = &self.files[index].path;
        if self.signed.get(path).map(|file| file.digest) != Some(digest) {
            // As if this one alone differed: nobody knows about the others, and the rest need not be read.
            let found = self.signed.files.iter().map(|file| {
                let digest = if file.path == *path { digest } else { file.digest };
                (file.path.clone(), digest)
            });
            return compare(self.signed, found).into_result();
        }
        Folder::finish(&file, path)
    }
}

#[cfg(test)]
mod tests;
