//! Reads a ModelPack manifest as a list of files.
//! Pure: it judges names, types and sizes, and reads no blob. Only raw layers are read, because a raw layer's digest
//! *is* its file's, so that a signature over files can be compared with the manifest alone.

use super::manifest::{Descriptor, Manifest};
use crate::{
    artifact::signature::{RelPath, printable},
    evidence::{Digest, Failure, Reason},
};

/// What a ModelPack manifest says it is.
const ARTIFACT_TYPE: &str = "application/vnd.cncf.model.manifest.v1+json";
/// The annotation with a layer's path in the model.
const FILE_PATH: &str = "org.cncf.model.filepath";
/// The path of the signature.
const SIGNATURE: &str = "model.sig";

/// One file of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFile {
    /// Its path in the model.
    pub path: RelPath,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// How many bytes it has.
    pub size: u64,
    /// What the manifest says it is.
    pub media_type: String,
}

/// The files of a model, as its manifest lists them. No two of them have the same path, and none is a folder of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelContent {
    /// The model's files in the order of their paths, without the signature.
    pub files: Vec<ModelFile>,
    /// The file `model.sig`.
    pub signature: Option<ModelFile>,
    /// Bytes of `files` together.
    pub size: u64,
}

impl ModelContent {
    /// Reads the files of a ModelPack manifest.
    ///
    /// # Errors
    /// [`Reason::NotAModel`] when the artifact is something else or has no file, [`Reason::UnsupportedMediaType`] when
    /// a layer is an archive, [`Reason::MalformedPath`] when a path is missing, hostile, or taken twice,
    /// [`Reason::LimitExceeded`] when the sizes together make no number.
    pub fn read(manifest: &Manifest) -> Result<Self, Failure> {
        let stated = manifest.artifact_type.as_deref();
        if stated != Some(ARTIFACT_TYPE) {
            let kind = printable(stated.unwrap_or(&manifest.config.media_type), 100);
            return Err(Failure::new(
                Reason::NotAModel,
                format!(
                    "the artifact is a `{kind}` and not a model: push it as a ModelPack artifact (artifactType {ARTIFACT_TYPE})"
                ),
            ));
        }
        let mut files = manifest
            .layers
            .iter()
            .map(read_layer)
            .collect::<Result<Vec<_>, _>>()?;
        refuse_collisions(&mut files)?;
        let signature = files
            .iter()
            .position(|file| file.path.as_str() == SIGNATURE)
            .map(|at| files.remove(at));
        if files.is_empty() {
            return Err(Failure::new(
                Reason::NotAModel,
                "the artifact has no file of a model: push the model's files as raw layers",
            ));
        }
        let size = files
            .iter()
            .try_fold(0_u64, |sum, file| sum.checked_add(file.size))
            .ok_or_else(|| {
                Failure::new(
                    Reason::LimitExceeded,
                    "the sizes in the manifest add up to no number: push the model again",
                )
            })?;
        Ok(Self {
            files,
            signature,
            size,
        })
    }
}

fn read_layer(layer: &Descriptor) -> Result<ModelFile, Failure> {
    let path = layer.annotations.get(FILE_PATH);
    if !is_raw(&layer.media_type) {
        let name = match path {
            Some(path) => format!("`{}`", printable(path, 120)),
            None => layer.digest.short(),
        };
        let media_type = printable(&layer.media_type, 100);
        return Err(Failure::new(
            Reason::UnsupportedMediaType,
            format!(
                "the layer {name} is a `{media_type}`, which is not read: push every file as a raw layer of its own, as in application/vnd.cncf.model.weight.v1.raw"
            ),
        ));
    }
    let path = path.ok_or_else(|| {
        Failure::new(
            Reason::MalformedPath,
            format!(
                "the layer {} says no path: push it with the annotation {FILE_PATH}",
                layer.digest.short()
            ),
        )
    })?;
    Ok(ModelFile {
        path: RelPath::parse(path)?,
        digest: layer.digest,
        size: layer.size,
        media_type: layer.media_type.clone(),
    })
}

/// `application/vnd.cncf.model.*.v1.raw`: weights, configuration, documentation, code and data sets alike.
fn is_raw(media_type: &str) -> bool {
    media_type
        .strip_prefix("application/vnd.cncf.model.")
        .and_then(|rest| rest.strip_suffix(".v1.raw"))
        .is_some_and(|kind| {
            kind.split('.')
                .all(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase()))
        })
}

/// No path twice, none that is also a folder of another. Leaves the files in the order of their paths.
fn refuse_collisions(files: &mut [ModelFile]) -> Result<(), Failure> {
    // By components, a folder comes directly before what is in it.
    files.sort_by(|a, b| a.path.components().cmp(b.path.components()));
    for pair in files.windows(2) {
        let [first, second] = pair else { continue };
        if second.path.is_within(&first.path) {
            let problem = if first.path == second.path {
                format!("two layers are the file `{}`", first.path)
            } else {
                format!("`{}` is a file and, for `{}`, a folder", first.path, second.path)
            };
            return Err(Failure::new(
                Reason::MalformedPath,
                format!("{problem}: push the model again with one layer a file"),
            ));
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(())
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;
    use crate::artifact::oci::manifest::VerifiedBytes;

    const D: &str = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    const RAW: &str = "application/vnd.cncf.model.weight.v1.raw";

    fn layer(media_type: &str, path: &str, size: u64) -> String {
        format!(
            r#"{{"mediaType": "{media_type}", "digest": "{D}", "size": {size}, "annotations": {{"{FILE_PATH}": "{path}"}}}}"#
        )
    }

    fn read(artifact_type: &str, layers: &[String]) -> Result<ModelContent, Failure> {
        let config = layer("application/vnd.cncf.model.config.v1+json", "", 2);
        let json = format!(
            r#"{{"schemaVersion": 2, {artifact_type} "config": {config}, "layers": [{}]}}"#,
            layers.join(",")
        );
        ModelContent::read(&Manifest::read(&VerifiedBytes::hash(json.into_bytes(), None)).unwrap())
    }

    fn model(layers: &[String]) -> Result<ModelContent, Failure> {
        read(&format!(r#""artifactType": "{ARTIFACT_TYPE}","#), layers)
    }

    fn files(paths: &[&str]) -> Result<ModelContent, Failure> {
        model(&paths.iter().map(|path| layer(RAW, path, 10)).collect::<Vec<_>>())
    }

    #[test]
    fn reads_files_in_order_and_sets_the_signature_apart() {
        let content = files(&["sub/x.txt", "model.sig", "sub.txt", "model.onnx"]).unwrap();
        let paths: Vec<_> = content.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["model.onnx", "sub.txt", "sub/x.txt"]);
        assert_eq!(content.signature.unwrap().path.as_str(), "model.sig");
        assert_eq!(content.size, 30);
    }

    #[test_case("weight"; "weight")]
    #[test_case("weight.config"; "weight config")]
    #[test_case("doc"; "doc")]
    #[test_case("code"; "code")]
    #[test_case("dataset"; "dataset")]
    fn reads_every_raw_kind(kind: &str) {
        let content = model(&[layer(
            &format!("application/vnd.cncf.model.{kind}.v1.raw"),
            "a",
            1,
        )])
        .unwrap();
        assert_eq!(content.files.len(), 1);
        assert!(content.signature.is_none());
    }

    #[test_case("application/vnd.cncf.model.weight.v1.tar"; "tar")]
    #[test_case("application/vnd.cncf.model.weight.v1.tar+gzip"; "compressed tar")]
    #[test_case("application/vnd.oci.image.layer.v1.tar+gzip"; "image layer")]
    #[test_case("application/vnd.cncf.model..v1.raw"; "no kind")]
    #[test_case("application/vnd.cncf.model.weight.v2.raw"; "a later version")]
    #[test_case("application/vnd.cncf.model.weight.v1.raw+zstd"; "compressed raw")]
    #[test_case(""; "no type")]
    fn archives_are_not_read(media_type: &str) {
        let failure = model(&[layer(RAW, "a", 1), layer(media_type, "weights.bin", 1)]).unwrap_err();
        assert_eq!(failure.reason, Reason::UnsupportedMediaType);
        assert!(
            failure.message.contains("`weights.bin`") && failure.message.contains("push every file"),
            "{failure}"
        );
    }

    #[test_case("", "application/vnd.cncf.model.config.v1+json"; "no artifact type")]
    #[test_case(r#""artifactType": "application/vnd.oci.image.manifest.v1+json","#, "vnd.oci.image.manifest"; "an image")]
    #[test_case(r#""artifactType": "application/vnd.cncf.model.manifest.v2+json","#, "v2+json"; "a later version")]
    fn is_no_model(artifact_type: &str, named: &str) {
        let failure = read(artifact_type, &[layer(RAW, "a", 1)]).unwrap_err();
        assert_eq!(failure.reason, Reason::NotAModel);
        assert!(failure.message.contains(named), "{failure}");
    }

    #[test_case(&[]; "no layer")]
    #[test_case(&["model.sig"]; "only a signature")]
    fn has_no_files(paths: &[&str]) {
        assert_eq!(files(paths).unwrap_err().reason, Reason::NotAModel);
    }

    #[test_case(&["../evil"], "climbs out"; "climbing")]
    #[test_case(&["/etc/passwd"], "absolute"; "absolute")]
    #[test_case(&["a//b"], "empty component"; "doubled slash")]
    #[test_case(&["./model.sig", "a"], "component `.`"; "the signature by another spelling")]
    #[test_case(&["a", "b", "a"], "two layers are the file `a`"; "a file twice")]
    #[test_case(&["model.sig", "a", "model.sig"], "two layers are the file `model.sig`"; "two signatures")]
    #[test_case(&["a/b", "a-b", "a"], "`a` is a file and, for `a/b`, a folder"; "a file that is a folder")]
    #[test_case(&["model.sig/evil", "model.sig"], "a folder"; "a signature that is a folder")]
    #[test_case(&[""], "empty"; "empty")]
    fn hostile_paths(paths: &[&str], problem: &str) {
        let failure = files(paths).unwrap_err();
        assert_eq!(failure.reason, Reason::MalformedPath);
        assert!(failure.message.contains(problem), "{failure}");
    }

    #[test]
    fn a_layer_without_a_path() {
        let failure =
            model(&[format!(r#"{{"mediaType": "{RAW}", "digest": "{D}", "size": 1}}"#)]).unwrap_err();
        assert_eq!(failure.reason, Reason::MalformedPath);
        assert!(failure.message.contains(FILE_PATH), "{failure}");
    }

    #[test]
    fn sizes_that_overflow() {
        let failure = model(&[layer(RAW, "a", u64::MAX), layer(RAW, "b", 1)]).unwrap_err();
        assert_eq!(failure.reason, Reason::LimitExceeded);
    }
}
