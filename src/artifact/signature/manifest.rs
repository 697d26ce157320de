//! Which files were signed, each with its digest, as a set without traps.
//! Plain data: whether somebody trusted signed it is what [`super::Verified`] says.

use aws_lc_rs::digest::{Context, SHA256};

use super::RelPath;
use crate::evidence::{Digest, Failure, Reason};

/// Most files a signature may list.
pub(super) const MAX_FILES: usize = 100_000;

/// One signed file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedFile {
    /// Its path in the model.
    pub path: RelPath,
    /// SHA-256 of its content.
    pub digest: Digest,
}

/// The signed files of one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// What the signer called the model; for people only, nothing binds it to anything.
    pub name: String,
    /// The files, ordered by path; no two collide.
    pub files: Vec<SignedFile>,
    /// SHA-256 over the raw digests in the order they were listed.
    pub root: Digest,
    /// What the signer left out on purpose. Nobody vouches for content there, so it is not skipped because it is listed here.
    pub ignore_paths: Vec<RelPath>,
}

impl Manifest {
    /// Refuses names that are one file to some file systems or readers and two to others.
    pub(super) fn new(
        name: String,
        mut files: Vec<SignedFile>,
        root: Digest,
        ignore_paths: Vec<RelPath>,
    ) -> Result<Self, Failure> {
        refuse_collisions(&files)?;
        files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(Self {
            name,
            files,
            root,
            ignore_paths,
        })
    }

    /// The signed file at `path`.
    pub fn get(&self, path: &RelPath) -> Option<&SignedFile> {
        self.position(path).map(|index| &self.files[index])
    }

    /// Where in `files` the path is.
    pub(super) fn position(&self, path: &RelPath) -> Option<usize> {
        self.files.binary_search_by(|file| file.path.cmp(path)).ok()
    }

    /// Whether any signed file is at or below `path`.
    pub fn signs_within(&self, path: &RelPath) -> bool {
        self.files.iter().any(|file| file.path.is_within(path))
    }
}

/// SHA-256 over raw digests in the given order: how OMS names a whole model.
pub(super) fn root_digest(digests: impl Iterator<Item = Digest>) -> Digest {
    let mut context = Context::new(&SHA256);
    for digest in digests {
        context.update(digest.as_bytes());
    }
    super::trust::finish(context)
}

/// No name twice, none that differs from another only by case, none that is also a folder of another.
fn refuse_collisions(files: &[SignedFile]) -> Result<(), Failure> {
    let mut folded: Vec<(String, &RelPath)> =
        files.iter().map(|file| (fold(&file.path), &file.path)).collect();
    folded.sort_unstable_by(|(a, _), (b, _)| by_component(a).cmp(by_component(b)));
    for pair in folded.windows(2) {
        let [(a, first), (b, second)] = pair else { continue };
        let problem = if first == second {
            format!("the signature lists `{first}` twice")
        } else if a == b {
            format!("the signed names `{first}` and `{second}` differ only by case")
        } else if b
            .strip_prefix(a.as_str())
            .is_some_and(|rest| rest.starts_with('/'))
        {
            format!("the signed name `{first}` is a file and, for `{second}`, a folder")
        } else {
            continue;
        };
        return Err(Failure::new(
            Reason::MalformedPath,
            format!("{problem}: rename the file and sign the model again"),
        ));
    }
    Ok(())
}

/// The same text for names that a case-insensitive file system takes as one. Through upper case, because `ſ` and `s` meet only there.
fn fold(path: &RelPath) -> String {
    path.as_str().to_uppercase().to_lowercase()
}

/// Orders a folder directly before what is in it: a name has no control characters, so 0 is below every other byte.
fn by_component(text: &str) -> impl Iterator<Item = u8> {
    text.bytes().map(|byte| if byte == b'/' { 0 } else { byte })
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;

    fn manifest(names: &[&str]) -> Result<Manifest, Failure> {
        let digest = Digest::from_bytes([7; 32]);
        let files = names
            .iter()
            .map(|name| SignedFile {
                path: RelPath::parse(name).unwrap(),
                digest,
            })
            .collect();
        Manifest::new(String::new(), files, digest, vec![])
    }

    #[test_case(&["a", "b", "a"], "`a` twice"; "a name twice")]
    #[test_case(&["a.txt", "b", "A.TXT"], "differ only by case"; "case")]
    #[test_case(&["größe", "GRÖSSE"], "differ only by case"; "sharp s")]
    #[test_case(&["K", "\u{212a}"], "differ only by case"; "kelvin sign")]
    #[test_case(&["s", "ſ"], "differ only by case"; "long s")]
    #[test_case(&["a/b", "a"], "a folder"; "a file that is a folder")]
    #[test_case(&["a/b/c", "a-b", "a.b", "A"], "a folder"; "the folder by another case")]
    fn refuses(names: &[&str], problem: &str) {
        let failure = manifest(names).unwrap_err();
        assert!(failure.message.contains(problem), "{failure}");
        assert_eq!(failure.reason, Reason::MalformedPath);
    }

    #[test]
    fn similar_names_do_not_collide() {
        let names = ["sub/x.txt", "sub.txt", "sub-x", "sub1/x.txt", "x", "xx"];
        let manifest = manifest(&names).unwrap();
        assert!(manifest.files.is_sorted_by(|a, b| a.path < b.path));
        for name in names {
            assert!(manifest.get(&RelPath::parse(name).unwrap()).is_some());
        }
        assert!(manifest.get(&RelPath::parse("sub").unwrap()).is_none());
        assert!(manifest.signs_within(&RelPath::parse("sub").unwrap()));
        assert!(!manifest.signs_within(&RelPath::parse("su").unwrap()));
    }
}
