//! The signed payload: an in-toto statement with the OMS v1.0 predicate.
//! It is read only after the signature over these very bytes verified, and strictly all the same: a trusted signer may sign nonsense.

use serde::Deserialize;

use super::{
    Manifest, RelPath, SignedFile,
    manifest::{self, MAX_FILES},
    object::Object,
    printable,
};
use crate::evidence::{Digest, Failure, Reason};

const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const PREDICATE: &str = "https://model_signing/signature/v1.0";

/// The fields that say what the rest means; others are read only when these are known.
#[derive(Deserialize)]
struct Head {
    #[serde(rename = "_type")]
    kind: String,
    #[serde(rename = "predicateType")]
    predicate_type: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Statement {
    #[serde(rename = "_type")]
    _kind: String,
    #[serde(rename = "predicateType")]
    _predicate_type: String,
    subject: Vec<Object<Subject>>,
    predicate: Object<Predicate>,
}

/// The schema lets a subject and a resource carry more; what they carry is not used.
#[derive(Deserialize)]
struct Subject {
    name: String,
    digest: Object<RootDigest>,
}

#[derive(Deserialize)]
struct RootDigest {
    sha256: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Predicate {
    resources: Vec<Object<Resource>>,
    serialization: Object<Serialization>,
}

#[derive(Deserialize)]
struct Resource {
    name: String,
    digest: String,
    algorithm: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Serialization {
    method: String,
    hash_type: String,
    /// The official signer writes an integer as `100.0`.
    shard_size: Option<serde_json::Number>,
    /// Irrelevant to us: links are never followed, so a tree with links does not verify either way.
    #[serde(rename = "allow_symlinks")]
    _allow_symlinks: bool,
    #[serde(default)]
    ignore_paths: Vec<String>,
}

/// Reads the statement and recomputes its root digest.
pub(super) fn parse(payload: &[u8]) -> Result<Manifest, Failure> {
    let Object(head): Object<Head> =
        serde_json::from_slice(payload).map_err(|error| malformed(&error.to_string()))?;
    if head.kind != STATEMENT {
        return Err(malformed(&format!(
            "its _type is `{}`, not `{STATEMENT}`",
            printable(&head.kind, 120)
        )));
    }
    if head.predicate_type != PREDICATE {
        return Err(Failure::new(
            Reason::UnsupportedMethod,
            format!(
                "the signature states `{}`, this version reads `{PREDICATE}`: sign the model's folder with model_signing 1.0 or newer",
                printable(&head.predicate_type, 120)
            ),
        ));
    }
    let Object(statement): Object<Statement> =
        serde_json::from_slice(payload).map_err(|error| malformed(&error.to_string()))?;
    let [Object(subject)] = statement.subject.as_slice() else {
        return Err(malformed(&format!(
            "it has {} subjects, exactly one is needed",
            statement.subject.len()
        )));
    };
    let Object(predicate) = statement.predicate;
    supported(&predicate.serialization.0)?;
    let root = Digest::from_hex(&subject.digest.0.sha256)
        .map_err(|_| malformed("the digest of its subject is not 64 lower-case hex digits"))?;
    let files = files(&predicate.resources, &subject.name)?;
    root_matches(&files, root)?;
    let ignore_paths = predicate
        .serialization
        .0
        .ignore_paths
        .iter()
        .map(|path| RelPath::parse(path))
        .collect::<Result<Vec<_>, _>>()?;
    manifest::Manifest::new(printable(&subject.name, 255), files, root, ignore_paths)
}

/// Whole files hashed with SHA-256, and nothing else.
fn supported(serialization: &Serialization) -> Result<(), Failure> {
    if serialization.method != "files" {
        return Err(Failure::new(
            Reason::UnsupportedMethod,
            format!(
                "the signature lists the model by `{}`, this version reads `files`: sign it with the file serialization, model_signing's default",
                printable(&serialization.method, 40)
            ),
        ));
    }
    if serialization.hash_type != "sha256" {
        return Err(Failure::new(
            Reason::UnsupportedAlgorithm,
            format!(
                "the signature hashes files with `{}`, this version with `sha256`: sign it with sha256, model_signing's default",
                printable(&serialization.hash_type, 40)
            ),
        ));
    }
    if serialization.shard_size.is_some() {
        return Err(malformed("it has a shard_size although it lists whole files"));
    }
    Ok(())
}

/// The resources in the order they are listed: that order decides the root digest.
fn files(resources: &[Object<Resource>], model: &str) -> Result<Vec<SignedFile>, Failure> {
    if resources.is_empty() {
        return Err(malformed("it lists no file"));
    }
    if resources.len() > MAX_FILES {
        return Err(Failure::new(
            Reason::LimitExceeded,
            format!(
                "the signature lists {} files, at most {MAX_FILES} are read: sign fewer files at once",
                resources.len()
            ),
        ));
    }
    let alone = resources.len() == 1;
    resources
        .iter()
        .map(|Object(resource)| {
            // A model that is one file has been listed as `.` by every official signer so far; its name is the subject's.
            let name = if alone && resource.name == "." {
                model
            } else {
                &resource.name
            };
            let path = RelPath::parse(name)?;
            if resource.algorithm != "sha256" {
                return Err(malformed(&format!(
                    "the algorithm of `{path}` is `{}`, of the whole `sha256`",
                    printable(&resource.algorithm, 40)
                )));
            }
            let digest = Digest::from_hex(&resource.digest)
                .map_err(|_| malformed(&format!("the digest of `{path}` is not 64 lower-case hex digits")))?;
            Ok(SignedFile { path, digest })
        })
        .collect()
}

fn root_matches(files: &[SignedFile], root: Digest) -> Result<(), Failure> {
    let computed = manifest::root_digest(files.iter().map(|file| file.digest));
    if computed == root {
        return Ok(());
    }
    Err(Failure::new(
        Reason::RootDigestMismatch,
        format!(
            "the signature states the model digest {}… but the files it lists give {}…: sign the model again",
            root.short(),
            computed.short()
        ),
    ))
}

fn malformed(problem: &str) -> Failure {
    Failure::new(
        Reason::MalformedStatement,
        format!(
            "the signed statement is not well-formed ({}): sign the model again",
            printable(problem, 300)
        ),
    )
}
