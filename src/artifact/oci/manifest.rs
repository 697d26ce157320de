//! Manifests: bytes whose digest was compared, and what they say.
//! It decodes strictly and judges only the form; whether the manifest is a model is decided in `model_pack`.
//!
//! The `oci-spec` crate's types would do but for one thing: they read annotations into maps in which the last of two
//! equal keys wins, and a file's path is an annotation.

use bytes::Bytes;
use serde::Deserialize;

use super::unique::UniqueMap;
use crate::{
    artifact::signature::{finish, printable},
    evidence::{Digest, Failure, Reason},
};

/// At most this many bytes of a manifest are read, as the distribution specification suggests.
pub const MAX_MANIFEST: usize = 4 << 20;
/// At most this many layers.
pub const MAX_LAYERS: usize = 10_000;

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// What is asked for: indexes too, because "this is an index" says more than the 404 we would get without.
pub(super) const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json";

/// The bytes of a manifest whose SHA-256 is `digest`. Only the client makes one.
#[derive(Debug, Clone)]
pub struct VerifiedBytes {
    digest: Digest,
    bytes: Bytes,
    content_type: Option<String>,
}

impl VerifiedBytes {
    /// Hashes the bytes of an answer; `content_type` is its header.
    pub(super) fn hash(bytes: Vec<u8>, content_type: Option<&str>) -> Self {
        let mut hash = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        hash.update(&bytes);
        let content_type = content_type
            .map(|text| {
                text.split(';')
                    .next()
                    .unwrap_or_default()
                    .trim()
                    .to_ascii_lowercase()
            })
            .filter(|text| !text.is_empty());
        Self {
            digest: finish(hash),
            bytes: bytes.into(),
            content_type,
        }
    }

    /// The digest of exactly these bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The bytes. A copy shares them.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// As what they were sent; only a hint, as everything of an answer but its bytes.
    pub fn content_type(&self) -> Option<&str> {
        self.content_type.as_deref()
    }
}

/// A manifest of one artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// What the artifact is.
    pub artifact_type: Option<String>,
    /// The configuration.
    pub config: Descriptor,
    /// The contents, in order.
    pub layers: Vec<Descriptor>,
}

/// One blob that a manifest names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// What it is.
    pub media_type: String,
    /// The digest of its bytes.
    pub digest: Digest,
    /// How many bytes there are.
    pub size: u64,
    /// What else the manifest says about it. Descriptors may also name URLs to download from; they are not read.
    pub annotations: UniqueMap<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    artifact_type: Option<String>,
    config: WireDescriptor,
    layers: Vec<WireDescriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireDescriptor {
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    annotations: Option<UniqueMap<String>>,
}

/// Read first, because an index and a manifest of the first schema lack the fields of [`Wire`].
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    manifests: Option<serde::de::IgnoredAny>,
}

impl Manifest {
    /// Reads the manifest in these bytes.
    ///
    /// # Errors
    /// [`Reason::UnsupportedMediaType`] when they are another kind of document, [`Reason::MalformedManifest`] when they
    /// are not well-formed, [`Reason::LimitExceeded`] when there are too many layers,
    /// [`Reason::UnsupportedAlgorithm`] when a digest is not SHA-256.
    pub fn read(verified: &VerifiedBytes) -> Result<Self, Failure> {
        check_kind(verified)?;
        let wire: Wire =
            serde_json::from_slice(&verified.bytes).map_err(|error| malformed(verified, &error))?;
        let kind = Kind {
            schema_version: wire.schema_version,
            media_type: wire.media_type,
            manifests: None,
        };
        if kind.schema_version != 2 {
            return Err(malformed(verified, &"its schemaVersion is not 2"));
        }
        if wire.layers.len() > MAX_LAYERS {
            return Err(Failure::new(
                Reason::LimitExceeded,
                format!(
                    "manifest {} has {} layers and at most {MAX_LAYERS} are read: put fewer files into the artifact",
                    verified.digest.short(),
                    wire.layers.len()
                ),
            ));
        }
        let descriptor = |wire: WireDescriptor| {
            let digest = wire.digest.parse().map_err(|error| {
                if ["sha384:", "sha512:", "blake3:"]
                    .iter()
                    .any(|other| wire.digest.starts_with(other))
                {
                    Failure::new(
                        Reason::UnsupportedAlgorithm,
                        format!(
                            "manifest {} uses digests other than sha256: push it again with sha256",
                            verified.digest.short()
                        ),
                    )
                } else {
                    malformed(verified, &error)
                }
            })?;
            Ok(Descriptor {
                media_type: wire.media_type,
                digest,
                size: wire.size,
                annotations: wire.annotations.unwrap_or_default(),
            })
        };
        Ok(Self {
            artifact_type: wire.artifact_type,
            config: descriptor(wire.config)?,
            layers: wire
                .layers
                .into_iter()
                .map(descriptor)
                .collect::<Result<_, Failure>>()?,
        })
    }
}

/// What a document of a registry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Document {
    /// The manifest of one artifact.
    Manifest,
    /// A list of several.
    Index,
}

/// Whether the document is one artifact's manifest.
pub(super) fn check_kind(verified: &VerifiedBytes) -> Result<(), Failure> {
    match document(verified)? {
        Document::Manifest => Ok(()),
        Document::Index => Err(unsupported(
            verified,
            "an index of several manifests",
            "reference the model's own manifest by its digest",
        )),
    }
}

/// Whether the document is what a node pulls: an image, or an index from which it takes the one for its kind of machine.
pub(super) fn check_image(verified: &VerifiedBytes) -> Result<(), Failure> {
    document(verified).map(|_| ())
}

fn unsupported(verified: &VerifiedBytes, what: &str, remedy: &str) -> Failure {
    Failure::new(
        Reason::UnsupportedMediaType,
        format!("{} is {what}: {remedy}", verified.digest.short()),
    )
}

/// What the document is by its header and by its own word, which must agree: a document read as one thing here and as
/// another elsewhere is how two readers are shown two models.
fn document(verified: &VerifiedBytes) -> Result<Document, Failure> {
    let header = verified.content_type.as_deref();
    let kind: Kind = match serde_json::from_slice(&verified.bytes) {
        Ok(kind) => kind,
        Err(_) if header.is_some_and(|header| !header.ends_with("json")) => {
            return Err(unsupported(
                verified,
                &format!(
                    "a document of type `{}`, not a manifest",
                    printable(header.unwrap_or_default(), 100)
                ),
                "check that the host is a registry",
            ));
        }
        Err(error) => return Err(malformed(verified, &error)),
    };
    let stated = kind.media_type.as_deref();
    if let (Some(header), Some(stated)) = (header, stated)
        && header != stated
    {
        return Err(malformed(
            verified,
            &format_args!(
                "it says `{}` and is served as `{}`",
                printable(stated, 100),
                printable(header, 100)
            ),
        ));
    }
    match (stated.or(header), kind.manifests.is_some()) {
        (None | Some(OCI_MANIFEST | DOCKER_MANIFEST), false) => Ok(Document::Manifest),
        (Some(OCI_MANIFEST | DOCKER_MANIFEST), true) => {
            Err(malformed(verified, &"it is a manifest and an index at once"))
        }
        (Some(OCI_INDEX | DOCKER_LIST), _) | (None, true) => Ok(Document::Index),
        (Some(other), _) => Err(unsupported(
            verified,
            &format!("of type `{}`, which is not read", printable(other, 100)),
            "push it as an OCI image manifest",
        )),
    }
}

fn malformed(verified: &VerifiedBytes, problem: &dyn std::fmt::Display) -> Failure {
    Failure::new(
        Reason::MalformedManifest,
        format!(
            "manifest {} is not well-formed ({problem}): push the model again with another tool",
            verified.digest.short()
        ),
    )
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;

    const D: &str = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    fn read(json: &str, content_type: Option<&str>) -> Result<Manifest, Failure> {
        Manifest::read(&VerifiedBytes::hash(json.as_bytes().to_vec(), content_type))
    }

    fn layer(extra: &str) -> String {
        format!(r#"{{"mediaType": "m", "digest": "{D}", "size": 1{extra}}}"#)
    }

    fn manifest(extra: &str) -> String {
        format!(
            r#"{{"schemaVersion": 2, "config": {}, "layers": [{}]{extra}}}"#,
            layer(""),
            layer("")
        )
    }

    #[test]
    fn hashes_its_bytes() {
        assert_eq!(
            VerifiedBytes::hash(b"test".to_vec(), None).digest().to_string(),
            D
        );
    }

    #[test_case(Some(OCI_MANIFEST), ""; "header only")]
    #[test_case(Some("Application/vnd.oci.image.manifest.v1+json; charset=utf-8"), ""; "header in capitals with a parameter")]
    #[test_case(None, r#", "mediaType": "application/vnd.oci.image.manifest.v1+json""#; "field only")]
    #[test_case(Some(OCI_MANIFEST), r#", "mediaType": "application/vnd.oci.image.manifest.v1+json""#; "both")]
    #[test_case(Some(DOCKER_MANIFEST), r#", "mediaType": "application/vnd.docker.distribution.manifest.v2+json""#; "the older type")]
    #[test_case(Some(OCI_MANIFEST), r#", "artifactType": "a", "subject": {}, "annotations": {"x": "y"}, "other": 1"#; "fields we do not need")]
    fn reads(header: Option<&str>, extra: &str) {
        let manifest = read(&manifest(extra), header).unwrap();
        assert_eq!((manifest.layers.len(), manifest.config.size), (1, 1));
    }

    #[test_case(Some(OCI_INDEX), r#"{"schemaVersion": 2, "manifests": []}"# => Reason::UnsupportedMediaType; "an index")]
    #[test_case(Some(DOCKER_LIST), r#"{"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.list.v2+json", "manifests": []}"# => Reason::UnsupportedMediaType; "a list")]
    #[test_case(None, r#"{"schemaVersion": 2, "manifests": []}"# => Reason::UnsupportedMediaType; "an index that does not say so")]
    #[test_case(Some("text/html"), "<html>" => Reason::UnsupportedMediaType; "a web page")]
    #[test_case(Some("application/vnd.docker.distribution.manifest.v1+json"), r#"{"schemaVersion": 1}"# => Reason::UnsupportedMediaType; "the first schema")]
    #[test_case(Some(OCI_MANIFEST), "{" => Reason::MalformedManifest; "cut")]
    #[test_case(Some(OCI_MANIFEST), "[]" => Reason::MalformedManifest; "a list of nothing")]
    #[test_case(Some(OCI_MANIFEST), r#"{"schemaVersion": 2}"# => Reason::MalformedManifest; "nothing in it")]
    #[test_case(Some(OCI_MANIFEST), r#"{"schemaVersion": 2, "schemaVersion": 2}"# => Reason::MalformedManifest; "a key twice")]
    fn refuses(header: Option<&str>, json: &str) -> Reason {
        let failure = read(json, header).unwrap_err();
        assert!(failure.message.contains(": "), "no remedy: {failure}");
        failure.reason
    }

    #[test_case(Some(OCI_INDEX), r#"{"schemaVersion": 2, "manifests": []}"# => None; "an index")]
    #[test_case(Some(OCI_MANIFEST), r#"{"schemaVersion": 2}"# => None; "a manifest, whatever is in it")]
    #[test_case(Some(OCI_MANIFEST), r#"{"schemaVersion": 2, "manifests": []}"# => Some(Reason::MalformedManifest); "both at once")]
    #[test_case(Some("text/html"), "<html>" => Some(Reason::UnsupportedMediaType); "a web page")]
    fn an_image_is_a_manifest_or_an_index(header: Option<&str>, json: &str) -> Option<Reason> {
        check_image(&VerifiedBytes::hash(json.as_bytes().to_vec(), header))
            .err()
            .map(|failure| failure.reason)
    }

    #[test_case(&manifest(r#", "mediaType": "application/vnd.docker.distribution.manifest.v2+json""#) => Reason::MalformedManifest; "type and header disagree")]
    #[test_case(&manifest(r#", "manifests": []"#) => Reason::MalformedManifest; "manifest and index at once")]
    #[test_case(&manifest(r#", "layers": []"#) => Reason::MalformedManifest; "layers twice")]
    #[test_case(&manifest("").replace("\"schemaVersion\": 2", "\"schemaVersion\": 1") => Reason::MalformedManifest; "another schema")]
    #[test_case(&manifest("").replace("\"size\": 1", "\"size\": -1") => Reason::MalformedManifest; "negative size")]
    #[test_case(&manifest("").replace("\"size\": 1", "\"size\": 1, \"size\": 2") => Reason::MalformedManifest; "size twice")]
    #[test_case(&manifest("").replace("sha256:9f", "sha256:9F") => Reason::MalformedManifest; "digest in capitals")]
    #[test_case(&manifest("").replace("sha256:", "sha512:") => Reason::UnsupportedAlgorithm; "another hash")]
    fn refuses_in_detail(json: &str) -> Reason {
        read(json, Some(OCI_MANIFEST)).unwrap_err().reason
    }

    #[test]
    fn refuses_an_annotation_that_is_said_twice() {
        let layers = layer(r#", "annotations": {"path": "a", "path": "b"}"#);
        let json = format!(
            r#"{{"schemaVersion": 2, "config": {}, "layers": [{layers}]}}"#,
            layer("")
        );
        let failure = read(&json, Some(OCI_MANIFEST)).unwrap_err();
        assert!(failure.message.contains("duplicate key `path`"), "{failure}");
    }

    #[test]
    fn refuses_too_many_layers() {
        let layers = vec![layer(""); MAX_LAYERS + 1].join(",");
        let json = format!(
            r#"{{"schemaVersion": 2, "config": {}, "layers": [{layers}]}}"#,
            layer("")
        );
        assert_eq!(
            read(&json, Some(OCI_MANIFEST)).unwrap_err().reason,
            Reason::LimitExceeded
        );
    }
}
