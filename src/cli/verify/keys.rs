//! Public keys from files, as `--key` names them.
//! It reads a bounded number of bytes and gives them a name; what is a usable key is decided in `artifact::signature`.

use std::{
    fs::File,
    io::{ErrorKind, Read as _},
    path::{Path, PathBuf},
};

use crate::{
    artifact::signature::KeyRing,
    evidence::{Failure, Reason},
};

/// A key file is a few hundred bytes; whatever is longer is none.
const MAX_KEY: u64 = 64 << 10;

/// The keys in these files; the first that cannot be used is the failure.
pub(super) fn read(paths: &[PathBuf]) -> Result<KeyRing, Failure> {
    let pems = paths.iter().map(|path| Ok((name(path, paths), text(path)?)));
    KeyRing::from_pems(pems.collect::<Result<Vec<_>, Failure>>()?)
}

/// People know a key by its file; the folder it lies in says something only when another key has the same name.
fn name(path: &Path, all: &[PathBuf]) -> String {
    let stem = path.file_stem().unwrap_or(path.as_os_str());
    let is_taken = all
        .iter()
        .any(|other| other != path && other.file_stem() == Some(stem));
    let name = if is_taken { path.as_os_str() } else { stem };
    name.to_string_lossy().into_owned()
}

fn text(path: &Path) -> Result<String, Failure> {
    let invalid = |problem: &str| {
        Failure::new(
            Reason::TrustRootInvalid,
            format!("the key file {} {problem}", path.display()),
        )
    };
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_KEY + 1).read_to_end(&mut bytes));
    if let Err(error) = read {
        return Err(match error.kind() {
            ErrorKind::NotFound => Failure::new(
                Reason::TrustRootMissing,
                format!(
                    "there is no key file {}: give the signer's public key as PEM",
                    path.display()
                ),
            ),
            ErrorKind::IsADirectory => {
                invalid("is a folder: give the public key (PEM) in it, and --key again for each further one")
            }
            _ => Failure::new(
                Reason::TrustRootMissing,
                format!(
                    "cannot read the key file {} ({error}): give a file that can be read",
                    path.display()
                ),
            ),
        });
    }
    if bytes.is_empty() {
        return Err(invalid("is empty: give the signer's public key as PEM"));
    }
    if bytes.len() as u64 > MAX_KEY {
        return Err(invalid(
            "has more than 64 KiB: a public key as PEM has a few hundred bytes",
        ));
    }
    String::from_utf8(bytes).map_err(|_| {
        invalid("is not text: if it is a key in binary form, openssl pkey -pubin -inform DER -in FILE makes PEM of it")
    })
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;

    #[test_case("release.pub", &["release.pub"] => "release"; "by its file")]
    #[test_case("keys/release.pub", &["keys/release.pub", "keys/vault.pub"] => "release"; "whatever the folder")]
    #[test_case("a/release.pub", &["a/release.pub", "b/release.pub"] => "a/release.pub"; "unless two have one name")]
    #[test_case("a.pub", &["a.pub", "a.pub"] => "a"; "the same file twice is one key")]
    #[test_case("release", &["release"] => "release"; "without an extension")]
    fn names(path: &str, all: &[&str]) -> String {
        name(
            Path::new(path),
            &all.iter().map(PathBuf::from).collect::<Vec<_>>(),
        )
    }
}
