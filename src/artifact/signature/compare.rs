//! Compares the files that were found with the files that were signed.
//! Pure: where the digests come from (a tree that was hashed, a manifest in a registry) is the caller's business.

use super::{Manifest, RelPath, Verified};
use crate::evidence::{Digest, Failure, FileDifference, MAX_DIFFERENCES, Outcome, Reason};

/// How the files that were found differ from the signed ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// Verified when nothing differs; otherwise the reason and one sentence.
    pub outcome: Outcome,
    /// The first [`MAX_DIFFERENCES`] differences in the order of their names.
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
    let mut all: Vec<Difference> = altered.into_iter().chain(unsigned).chain(missing).collect();
    all.sort_unstable();
    all.truncate(MAX_DIFFERENCES);
    Comparison {
        outcome,
        differences: all.into_iter().map(Into::into).collect(),
        differing,
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
    signed: &Verified<Manifest>,
    altered: &[Difference],
    unsigned: &[Difference],
    missing: &[Difference],
) -> Option<Failure> {
    let signer = &signed.signer().key;
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
        let ignored = signed
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
    } else if missing.first().is_some() {
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
