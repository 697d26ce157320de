//! Compares the files that were found with the files that were signed.
//! Pure: where the digests come from (a tree that was hashed, a manifest in a registry) is the caller's business.

use super::{Manifest, RelPath, Verified};
use crate::evidence::{Digest, Failure, FileDifference, MAX_DIFFERENCES, Outcome, Reason};

/// How the files that were found differ from the signed ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// Verified when nothing differs; otherwise the reason and one sentence.
    pub outcome: Outcome,
    /// Up to [`MAX_DIFFERENCES`] differences in the order of their names. Of more, altered files are kept before unsigned
    /// ones and those before missing ones, so that many harmless files cannot push out the one that matters.
    pub differences: Vec<FileDifference>,
    /// How many files differ in all.
    pub differing: usize,
}

/// Compares the files of a model, without the signature itself, with the signed ones.
///
/// Every difference is counted. The reason is [`Reason::DigestMismatch`] when any content differs, else
/// [`Reason::UnsignedFile`] when any file was not signed, else [`Reason::MissingFile`]. A path that is found twice is
/// unsigned the second time: one of the two would be served, and nobody knows which.
pub fn compare(
    signed: &Verified<Manifest>,
    found: impl IntoIterator<Item = (RelPath, Digest)>,
) -> Comparison {
    let mut seen = vec![false; signed.files.len()];
    let mut altered = Vec::new();
    let mut unsigned = Vec::new();
    for (path, digest) in found {
        match signed.position(&path) {
            Some(index) if !seen[index] => {
                seen[index] = true;
                if signed.files[index].digest != digest {
                    altered.push(Difference {
                        path,
                        signed: Some(signed.files[index].digest),
                        found: Some(digest),
                    });
                }
            }
            _ => unsigned.push(Difference {
                path,
                signed: None,
                found: Some(digest),
            }),
        }
    }
    let missing: Vec<Difference> = signed
        .files
        .iter()
        .zip(&seen)
        .filter(|(_, seen)| !**seen)
        .map(|(file, _)| Difference {
            path: file.path.clone(),
            signed: Some(file.digest),
            found: None,
        })
        .collect();
    altered.sort_unstable();
    unsigned.sort_unstable();

    let outcome = match failure(signed, &altered, &unsigned, &missing) {
        Some(failure) => Outcome::Refused(failure),
        None => Outcome::Verified,
    };
    let differing = altered.len() + unsigned.len() + missing.len();
    let mut kept: Vec<Difference> = altered
        .into_iter()
        .chain(unsigned)
        .chain(missing)
        .take(MAX_DIFFERENCES)
        .collect();
    kept.sort_unstable();
    Comparison {
        outcome,
        differences: kept.into_iter().map(Into::into).collect(),
        differing,
    }
}

/// Refuses what `compare` would refuse whatever the files hold: a file that nobody signed, a signed one that is missing.
/// So a model that cannot verify is refused before its weights are read.
pub(in crate::artifact) fn compare_names<'a>(
    signed: &Verified<Manifest>,
    found: impl IntoIterator<Item = &'a RelPath>,
) -> Result<(), Failure> {
    // As if every signed file were good; an unsigned one is refused whatever its digest.
    let as_signed = |path: &RelPath| signed.get(path).map_or(signed.root, |file| file.digest);
    let found = found.into_iter().map(|path| (path.clone(), as_signed(path)));
    compare(signed, found).into_result()
}

impl Comparison {
    /// The failure, when anything differs.
    pub fn into_result(self) -> Result<(), Failure> {
        match self.outcome {
            Outcome::Verified => Ok(()),
            Outcome::Refused(failure) => Err(failure),
        }
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Difference {
    path: RelPath,
    signed: Option<Digest>,
    found: Option<Digest>,
}

impl From<Difference> for FileDifference {
    fn from(difference: Difference) -> Self {
        let path = difference.path.as_str().chars().take(255).collect();
        Self {
            path,
            signed: difference.signed,
            found: difference.found,
        }
    }
}

fn failure(
    manifest: &Verified<Manifest>,
    altered: &[Difference],
    unsigned: &[Difference],
    missing: &[Difference],
) -> Option<Failure> {
    let signer = &manifest.signer().key;
    let (reason, sentence, remedy) = if let Some(first) = altered.first() {
        let of = if altered.len() == 1 { "" } else { " for the first" };
        (
            Reason::DigestMismatch,
            format!(
                "{} what {signer} signed (signed {}, found {}{of})",
                subject(altered, "differs from", "differ from"),
                short(first.signed),
                short(first.found),
            ),
            "sign the new version or roll back",
        )
    } else if let Some(first) = unsigned.first() {
        let ignored = manifest
            .ignore_paths
            .iter()
            .any(|ignored| first.path.is_within(ignored));
        let why = if ignored {
            " (the signature leaves it out on purpose, so nobody vouches for it)"
        } else {
            ""
        };
        (
            Reason::UnsignedFile,
            format!(
                "{} among the files that {signer} signed{why}",
                subject(unsigned, "is not", "are not")
            ),
            "remove it or sign the model with it",
        )
    } else if !missing.is_empty() {
        (
            Reason::MissingFile,
            format!(
                "{} although {signer} signed {}",
                subject(missing, "is missing", "are missing"),
                it(missing)
            ),
            "restore it or sign the model without it",
        )
    } else {
        return None;
    };
    let mut also = Vec::new();
    if reason != Reason::UnsignedFile && !unsigned.is_empty() {
        also.push(format!("{} not signed", subject(unsigned, "is", "are")));
    }
    if reason != Reason::MissingFile && !missing.is_empty() {
        also.push(subject(missing, "is missing", "are missing"));
    }
    let also = if also.is_empty() {
        String::new()
    } else {
        format!("; also {}", also.join(" and "))
    };
    Some(Failure::new(reason, format!("{sentence}{also}: {remedy}")))
}

/// `a.bin differs from`, `a.bin and b.bin differ from`, `a.bin, b.bin and 3 more files differ from`.
fn subject(differences: &[Difference], one: &str, many: &str) -> String {
    let name = |difference: &Difference| super::printable(difference.path.as_str(), 120);
    match differences {
        [] => String::new(),
        [a] => format!("{} {one}", name(a)),
        [a, b] => format!("{} and {} {many}", name(a), name(b)),
        [a, b, rest @ ..] => {
            let files = if rest.len() == 1 { "file" } else { "files" };
            format!("{}, {} and {} more {files} {many}", name(a), name(b), rest.len())
        }
    }
}

fn it(differences: &[Difference]) -> &'static str {
    if differences.len() == 1 { "it" } else { "them" }
}

fn short(digest: Option<Digest>) -> String {
    digest.map_or_else(|| "none".to_owned(), |digest| format!("{}…", digest.short()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use test_case::test_case;

    use super::{
        super::testing::{Signer, digest},
        *,
    };

    fn list(files: &BTreeMap<String, bool>) -> Vec<(&str, &[u8])> {
        files
            .iter()
            .map(|(name, good)| (name.as_str(), if *good { &b"good"[..] } else { b"bad" }))
            .collect()
    }

    type Files<'a> = &'a [(&'a str, &'a [u8])];

    const SIGNED: Files<'_> = &[
        ("config.json", b"{}"),
        ("model.onnx", b"weights"),
        ("sub/x.txt", b"x"),
    ];

    fn compared(signed: Files<'_>, found: Files<'_>) -> Comparison {
        let found = found
            .iter()
            .map(|(name, content)| (RelPath::parse(name).unwrap(), digest(content)));
        compare(&Signer::new("release").manifest(signed), found)
    }

    #[test]
    fn the_order_of_what_is_found_does_not_matter() {
        let backwards: Vec<_> = SIGNED.iter().rev().copied().collect();
        let comparison = compared(SIGNED, &backwards);
        assert_eq!(
            comparison,
            Comparison {
                outcome: Outcome::Verified,
                differences: vec![],
                differing: 0
            }
        );
    }

    #[test_case(&[("config.json", b"{}"), ("model.onnx", b"bad"), ("sub/x.txt", b"x")] =>
        (Reason::DigestMismatch, "model.onnx differs from what release signed (signed 9a129038d9a0…, found 2f05d4b689d2…): sign the new version or roll back".to_owned(), 1); "altered")]
    #[test_case(&[("config.json", b"bad"), ("model.onnx", b"bad"), ("sub/x.txt", b"x")] =>
        (Reason::DigestMismatch, "config.json and model.onnx differ from what release signed (signed 44136fa355b3…, found 2f05d4b689d2… for the first): sign the new version or roll back".to_owned(), 2); "two altered")]
    #[test_case(&[("config.json", b"{}"), ("model.onnx", b"weights")] =>
        (Reason::MissingFile, "sub/x.txt is missing although release signed it: restore it or sign the model without it".to_owned(), 1); "missing")]
    #[test_case(&[] =>
        (Reason::MissingFile, "config.json, model.onnx and 1 more file are missing although release signed them: restore it or sign the model without it".to_owned(), 3); "all missing")]
    #[test_case(&[("config.json", b"{}"), ("evil.pkl", b"!"), ("model.onnx", b"weights"), ("sub/x.txt", b"x")] =>
        (Reason::UnsignedFile, "evil.pkl is not among the files that release signed: remove it or sign the model with it".to_owned(), 1); "unsigned")]
    #[test_case(&[(".git/evil.pkl", b"!"), ("config.json", b"{}"), ("model.onnx", b"weights"), ("sub/x.txt", b"x")] =>
        (Reason::UnsignedFile, ".git/evil.pkl is not among the files that release signed (the signature leaves it out on purpose, so nobody vouches for it): remove it or sign the model with it".to_owned(), 1); "left out on purpose")]
    #[test_case(&[("config.json", b"{}"), ("model.onnx", b"weights"), ("model.onnx", b"weights"), ("sub/x.txt", b"x")] =>
        (Reason::UnsignedFile, "model.onnx is not among the files that release signed: remove it or sign the model with it".to_owned(), 1); "found twice")]
    #[test_case(&[("config.json", b"{}"), ("MODEL.onnx", b"weights"), ("sub/x.txt", b"x")] =>
        (Reason::UnsignedFile, "MODEL.onnx is not among the files that release signed; also model.onnx is missing: remove it or sign the model with it".to_owned(), 2); "another case")]
    #[test_case(&[("evil.pkl", b"!"), ("model.onnx", b"bad"), ("sub/x.txt", b"x")] =>
        (Reason::DigestMismatch, "model.onnx differs from what release signed (signed 9a129038d9a0…, found 2f05d4b689d2…); also evil.pkl is not signed and config.json is missing: sign the new version or roll back".to_owned(), 3); "everything at once")]
    fn differs(found: Files<'_>) -> (Reason, String, usize) {
        let comparison = compared(SIGNED, found);
        let Outcome::Refused(failure) = comparison.outcome else {
            panic!("verified")
        };
        assert_eq!(
            comparison.differences.len(),
            comparison.differing.min(MAX_DIFFERENCES)
        );
        (failure.reason, failure.message, comparison.differing)
    }

    #[test]
    fn all_are_counted_and_the_first_are_kept() {
        let names: Vec<String> = (0..200).map(|n| format!("{n:03}")).collect();
        let signed: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"good"[..])).collect();
        let found: Vec<(&str, &[u8])> = names
            .iter()
            .rev()
            .map(|name| (name.as_str(), &b"bad"[..]))
            .collect();
        let comparison = compared(&signed, &found);
        assert_eq!(comparison.differing, 200);
        let kept: Vec<_> = comparison
            .differences
            .iter()
            .map(|difference| difference.path.as_str())
            .collect();
        assert_eq!(kept, ["000", "001", "002", "003", "004"]);
        assert_eq!(comparison.differences[0].signed, Some(digest(b"good")));
        assert_eq!(comparison.differences[0].found, Some(digest(b"bad")));
    }

    #[test]
    fn many_added_files_do_not_push_out_the_altered_one() {
        let names: Vec<String> = (0..50).map(|n| format!("added{n:02}")).collect();
        let mut found: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"!"[..])).collect();
        found.push(("model.onnx", b"bad"));
        let comparison = compared(SIGNED, &found);
        assert_eq!(comparison.differing, 53);
        let kept: Vec<_> = comparison
            .differences
            .iter()
            .map(|difference| difference.path.as_str())
            .collect();
        assert_eq!(kept, ["added00", "added01", "added02", "added03", "model.onnx"]);
    }

    proptest! {
        #[test]
        fn only_exactly_the_signed_files_verify(
            signed in proptest::collection::btree_map("[a-d]", any::<bool>(), 1..4),
            found in proptest::collection::btree_map("[a-d]", any::<bool>(), 0..4),
        ) {
            let comparison = compared(&list(&signed), &list(&found));
            prop_assert_eq!(comparison.outcome == Outcome::Verified, signed == found);
            prop_assert_eq!(comparison.differing == 0, signed == found);
        }
    }
}
