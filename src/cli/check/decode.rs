//! From a document to one of our kinds, strictly: a field nobody reads is a mistake, not a comment.
//! It decodes and refuses; what the objects mean together is for `input`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Namespace;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::schema::{Schemas, Step, nearest, unknown, written};
use crate::api::{
    GROUP,
    v1alpha1::{
        ArtifactVerification, ClusterDeploymentPolicy, DeploymentPolicy, Evaluation, ModelDeployment,
        RobustnessPolicy, TrustRoot, Waiver,
    },
};

/// The version of our group that this program reads.
const VERSION: &str = "v1alpha1";

/// What a document is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Object {
    Model(Box<ModelDeployment>),
    Policy(Box<ClusterDeploymentPolicy>),
    OwnPolicy(Box<DeploymentPolicy>),
    TrustRoot(Box<TrustRoot>),
    Waiver(Box<Waiver>),
    Gates(Box<RobustnessPolicy>),
    Verification(Box<ArtifactVerification>),
    Namespace {
        name: String,
        labels: BTreeMap<String, String>,
    },
    /// Of a kind that decides nothing here.
    Other(String),
}

/// Decodes one document.
///
/// # Errors
/// Everything that is wrong with it, each a sentence that names the field.
pub(super) fn decode(schemas: &Schemas, value: &Value) -> Result<Object, Vec<String>> {
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    let (Some(api_version), Some(kind)) = (text("apiVersion"), text("kind")) else {
        return Err(vec![
            "apiVersion and kind are needed: is it a Kubernetes object?".to_owned(),
        ]);
    };
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    let ours = schemas.kinds().any(|known| known == kind);
    match (group, kind) {
        ("", "Namespace") if version == "v1" => {
            let namespace: Namespace = *checked(schemas, kind, value)?;
            let name = namespace.metadata.name.unwrap_or_default();
            Ok(Object::Namespace {
                name,
                labels: namespace.metadata.labels.unwrap_or_default(),
            })
        }
        (GROUP, _) if ours && version != VERSION => Err(vec![format!(
            "apiVersion: {api_version} is not known: write {GROUP}/{VERSION}"
        )]),
        (GROUP, "ModelDeployment") => checked(schemas, kind, value).map(Object::Model),
        (GROUP, "ClusterDeploymentPolicy") => checked(schemas, kind, value).map(Object::Policy),
        (GROUP, "DeploymentPolicy") => checked(schemas, kind, value).map(Object::OwnPolicy),
        (GROUP, "TrustRoot") => checked(schemas, kind, value).map(Object::TrustRoot),
        (GROUP, "Waiver") => checked(schemas, kind, value).map(Object::Waiver),
        (GROUP, "RobustnessPolicy") => checked(schemas, kind, value).map(Object::Gates),
        // What it says is the operator's to write, and only in a cluster.
        (GROUP, "Evaluation") => {
            checked::<Evaluation>(schemas, kind, value).map(|_| Object::Other(kind.to_owned()))
        }
        (GROUP, "ArtifactVerification") => checked(schemas, kind, value).map(Object::Verification),
        (GROUP, _) => {
            let meant = nearest(kind, schemas.kinds()).map(|kind| format!("; did you mean {kind}?"));
            Err(vec![format!(
                "kind: {GROUP} has no kind {kind}{}",
                meant.unwrap_or_default()
            )])
        }
        // The group forgotten, or mistyped: skipping a policy for that would loosen what is checked.
        _ if ours && (group.is_empty() || nearest(group, [GROUP].into_iter()).is_some()) => {
            Err(vec![format!(
                "apiVersion: a {kind} is of {GROUP}/{VERSION}, not of {api_version}"
            )])
        }
        _ => Ok(Object::Other(kind.to_owned())),
    }
}

/// An object, if its schema, its type and its fields are all as they should be.
fn checked<T: DeserializeOwned>(schemas: &Schemas, kind: &str, value: &Value) -> Result<Box<T>, Vec<String>> {
    let mut wrong = schemas.violations(kind, value);
    let name = value.pointer("/metadata/name").and_then(Value::as_str);
    if name.is_none_or(str::is_empty) {
        wrong.push("metadata.name: is required".to_owned());
    }
    let read: Result<T, _> = serde_ignored::deserialize(value, |path| {
        let path = steps(&path);
        let field = written(&path);
        // The kind's own type holds neither, for it is the type that says them.
        let typed = field == "apiVersion" || field == "kind";
        let known = format!("{field}: unknown field");
        if !typed && !wrong.iter().any(|message| message.starts_with(&known)) {
            wrong.push(format!("{field}: {}", unknown(schemas.like(kind, &path))));
        }
    });
    match read {
        Ok(object) if wrong.is_empty() => Ok(Box::new(object)),
        // The schema's sentences name the field; the type's do not, so they are for what no schema describes.
        Err(error) if wrong.is_empty() => Err(vec![error.to_string()]),
        Ok(_) | Err(_) => Err(wrong),
    }
}

/// The steps of a path without those that people do not write.
fn steps(path: &serde_ignored::Path<'_>) -> Vec<Step> {
    use serde_ignored::Path;
    match path {
        Path::Root => Vec::new(),
        Path::Seq { parent, index } => [steps(parent), vec![Step::Index(*index)]].concat(),
        Path::Map { parent, key } => [steps(parent), vec![Step::Key(key.clone())]].concat(),
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
            steps(parent)
        }
    }
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;

    const MODEL: &str = "
apiVersion: probity.dev/v1alpha1
kind: ModelDeployment
metadata: {name: digits, namespace: bank}
spec:
  model: {source: {oci: {reference: 'registry.example/models/digits:1'}}}
  server:
    image: registry.example/s@sha256:0000000000000000000000000000000000000000000000000000000000000000
    protocol: HTTP
    port: 80
";

    fn decoded(text: &str) -> Result<Object, Vec<String>> {
        decode(&Schemas::installed(), &serde_saphyr::from_str(text).unwrap())
    }

    fn refused(from: &str, to: &str) -> String {
        assert!(MODEL.contains(from));
        decoded(&MODEL.replace(from, to)).unwrap_err().join(" | ")
    }

    #[test]
    fn a_model_is_decoded() {
        let Object::Model(model) = decoded(MODEL).unwrap() else {
            panic!()
        };
        assert_eq!(model.metadata.namespace.as_deref(), Some("bank"));
        assert_eq!(model.spec.server.unwrap().port, 80);
    }

    #[test_case("source:", "sorce:" => "spec.model.source: is required | spec.model.sorce: unknown field; did you mean source?"; "a slip")]
    #[test_case("oci:", "bucket:" => "spec.model.source.bucket: unknown field"; "a source there is not")]
    #[test_case("port: 80", "port: '80'" => "spec.server.port: must be a whole number, not the string \"80\": write it without quotes"; "a string for a number")]
    #[test_case("port: 80", "port: 80\n    imge: x" => "spec.server.imge: unknown field; did you mean image?"; "one letter short")]
    #[test_case("name: digits", "name: digits, lables: {}" => "metadata.lables: unknown field; did you mean labels?"; "in the metadata")]
    #[test_case("name: digits, ", "" => "metadata.name: is required"; "no name")]
    #[test_case("spec:", "spce:" => "spec: is required | spce: unknown field; did you mean spec?"; "at the top")]
    #[test_case("v1alpha1", "v1" => "apiVersion: probity.dev/v1 is not known: write probity.dev/v1alpha1"; "another version")]
    #[test_case("probity.dev/v1alpha1", "v1alpha1" => "apiVersion: a ModelDeployment is of probity.dev/v1alpha1, not of v1alpha1"; "no group")]
    #[test_case("probity.dev/v1alpha1", "probity.io/v1alpha1" => "apiVersion: a ModelDeployment is of probity.dev/v1alpha1, not of probity.io/v1alpha1"; "a group that is nearly ours")]
    #[test_case("ModelDeployment", "ModelDeploymnet" => "kind: probity.dev has no kind ModelDeploymnet; did you mean ModelDeployment?"; "a kind that is nearly ours")]
    #[test_case("kind: ModelDeployment", "" => "apiVersion and kind are needed: is it a Kubernetes object?"; "no kind")]
    fn is_refused(from: &str, to: &str) -> String {
        refused(from, to)
    }

    #[test]
    fn a_namespace_is_its_name_and_labels() {
        let namespace =
            decoded("{apiVersion: v1, kind: Namespace, metadata: {name: bank, labels: {team: a}}}").unwrap();
        let labels = [("team".to_owned(), "a".to_owned())].into();
        assert_eq!(
            namespace,
            Object::Namespace {
                name: "bank".into(),
                labels
            }
        );
    }

    #[test_case("{apiVersion: apps/v1, kind: Deployment}" => "Deployment")]
    #[test_case("{apiVersion: policy.sigstore.dev/v1alpha1, kind: TrustRoot}" => "TrustRoot"; "somebody else's trust root")]
    fn others_are_left_alone(text: &str) -> String {
        let Object::Other(kind) = decoded(text).unwrap() else {
            panic!()
        };
        kind
    }
}
