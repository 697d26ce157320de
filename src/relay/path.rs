//! What a request asks for, read from its path: `/v2/HOST/REPOSITORY/manifests/DIGEST` or `…/blobs/DIGEST`.
//! Pure. By digest alone: what a tag means is for the operator to find out.

use crate::evidence::{Digest, Reference};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The manifest of an artifact.
    Manifest,
    /// One of the blobs that a manifest lists.
    Blob,
}

/// One thing in one repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// What it is.
    pub kind: Kind,
    /// The repository, pinned to the thing's digest.
    pub at: Reference,
    /// The thing's digest.
    pub digest: Digest,
}

impl Asked {
    /// Reads a path; none when it is no such path.
    pub fn read(path: &str) -> Option<Self> {
        let rest = path.strip_prefix("/v2/")?;
        let (rest, digest) = rest.rsplit_once('/')?;
        let (name, kind) = rest.rsplit_once('/')?;
        let kind = match kind {
            "manifests" => Kind::Manifest,
            "blobs" => Kind::Blob,
            _ => return None,
        };
        Some(Self {
            kind,
            digest: digest.parse().ok()?,
            // The grammar of references has no escapes and no climbing.
            at: format!("{name}@{digest}").parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;

    const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    #[test_case("/v2/r.example/digits/manifests/", Kind::Manifest, "r.example/digits"; "a manifest")]
    #[test_case("/v2/r.example:5000/a/b/c/blobs/", Kind::Blob, "r.example:5000/a/b/c"; "a blob")]
    #[test_case("/v2/[::1]:5000/blobs/manifests/blobs/", Kind::Blob, "[::1]:5000/blobs/manifests"; "a repository of that name")]
    fn is_read(path: &str, kind: Kind, name: &str) {
        let asked = Asked::read(&format!("{path}{DIGEST}")).unwrap();
        assert_eq!((asked.kind, asked.at.name().as_str()), (kind, name));
        assert_eq!(asked.at.digest(), Some(asked.digest));
    }

    #[test_case("/v2/"; "the API's root")]
    #[test_case("/v2/r.example/digits/manifests/latest"; "a tag")]
    #[test_case("/v2/r.example/digits/tags/list"; "tags")]
    #[test_case("/v2/r.example/digits/manifests/sha512:00"; "another hash")]
    #[test_case("/v2/manifests/sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"; "no repository")]
    #[test_case("/v2/r.example/../x/blobs/sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"; "climbing")]
    #[test_case("/v2/r.example/a%2fb/blobs/sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"; "escapes")]
    #[test_case("/v2/u@r.example/a/blobs/sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"; "a user")]
    #[test_case("/metrics"; "something else")]
    fn is_not_read(path: &str) {
        assert_eq!(Asked::read(path), None);
    }
}
