//! The API server accepts every file in `examples/`, and refuses a table of bad ones with a message that names the
//! field and says what to do. Each row is a good example with one change, so that only the change can be what it minds.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test"
)]

mod testbed;

use std::{collections::BTreeMap, path::Path};

use kube::{
    Client, Resource as _,
    api::{ApiResource, DynamicObject},
    core::GroupVersionKind,
};
use probity::{
    api::v1alpha1::{
        ArtifactVerification, ClusterDeploymentPolicy, DeploymentPolicy, ModelDeployment, RobustnessPolicy,
        TrustRoot, Waiver,
    },
    evidence::Reference,
};
use serde_json::{Value, json};

const DIGEST: &str = "sha256:8d5a16cf2883ed7e146112c86287e0b397aff2d5c2c69d60c686556846349d6e";

/// What is sent to the API server, and whether for real.
#[derive(Clone, Copy)]
enum Send {
    /// `kubectl create`, server-side dry run.
    TryCreate,
    /// `kubectl apply --server-side`, server-side dry run.
    TryApply,
    /// `kubectl create`.
    Create,
    /// `kubectl replace`.
    Replace,
}

/// Sends an object with strict field validation, as kubectl does by default.
async fn send(client: &Client, how: Send, object: &Value) -> Result<Value, String> {
    let kind: DynamicObject = serde_json::from_value(object.clone()).map_err(|error| error.to_string())?;
    let types = kind.types.as_ref().ok_or("no apiVersion and kind")?;
    let gvk = GroupVersionKind::try_from(types).map_err(|error| error.to_string())?;
    let resource = ApiResource::from_gvk(&gvk);
    let collection = DynamicObject::url_path(&resource, kind.metadata.namespace.as_deref());
    let named = format!(
        "{collection}/{}",
        kind.metadata.name.as_deref().unwrap_or_default()
    );
    let (method, url, content) = match how {
        Send::TryCreate => ("POST", format!("{collection}?dryRun=All"), "application/json"),
        Send::Create => ("POST", format!("{collection}?"), "application/json"),
        Send::TryApply => (
            "PATCH",
            format!("{named}?dryRun=All&fieldManager=tests"),
            "application/apply-patch+yaml",
        ),
        Send::Replace => ("PUT", format!("{named}?"), "application/json"),
    };
    let request = http::Request::builder()
        .method(method)
        .uri(format!("{url}&fieldValidation=Strict"))
        .header("content-type", content)
        .body(object.to_string().into_bytes())
        .unwrap();
    client.request(request).await.map_err(|error| match error {
        kube::Error::Api(status) => status.message,
        other => panic!("the API server cannot be asked: {other}"),
    })
}

/// Every file in `examples/`, by name, each as its documents.
fn examples() -> BTreeMap<String, Vec<Value>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let files = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    files
        .filter(|file| file.extension().is_some_and(|extension| extension == "yaml"))
        .map(|file| {
            let name = file.file_name().unwrap().to_str().unwrap().to_owned();
            let text = std::fs::read_to_string(&file).unwrap();
            let documents =
                serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
            (name, documents)
        })
        .collect()
}

/// The first object of a kind in an example.
fn example(file: &str, kind: &str) -> Value {
    let documents = examples()
        .remove(file)
        .unwrap_or_else(|| panic!("no examples/{file}"));
    let found = documents.into_iter().find(|document| document["kind"] == kind);
    found.unwrap_or_else(|| panic!("no {kind} in examples/{file}"))
}

/// What was sent and is not in what came back, by path: the server dropped or changed it.
fn lost(sent: &Value, stored: &Value, path: &str) -> Vec<String> {
    match (sent, stored) {
        (Value::Object(sent), Value::Object(stored)) => sent
            .iter()
            .flat_map(|(key, value)| {
                lost(
                    value,
                    stored.get(key).unwrap_or(&Value::Null),
                    &format!("{path}.{key}"),
                )
            })
            .collect(),
        (Value::Array(sent), Value::Array(stored)) if sent.len() == stored.len() => sent
            .iter()
            .zip(stored)
            .enumerate()
            .flat_map(|(i, (s, t))| lost(s, t, &format!("{path}[{i}]")))
            .collect(),
        _ if sent == stored => Vec::new(),
        _ => vec![path.to_owned()],
    }
}

#[tokio::test]
async fn every_example_is_accepted_as_it_is_written() {
    let client = testbed::client().await;
    testbed::install_kserve(&client, testbed::kubeconfig()).await;
    let examples = examples();
    assert!(
        examples.len() >= 5,
        "the examples are gone: {:?}",
        examples.keys()
    );
    for (file, documents) in examples {
        for object in documents {
            let name = format!("{file}: {} {}", object["kind"], object["metadata"]["name"]);
            // What comes after it needs the namespace to be there; nothing else is kept.
            let ways: &[Send] = if object["kind"] == "Namespace" {
                &[Send::Create]
            } else {
                &[Send::TryCreate, Send::TryApply]
            };
            for how in ways {
                let stored = send(&client, *how, &object)
                    .await
                    .unwrap_or_else(|error| panic!("{name}: {error}"));
                let mut lost = lost(&object, &stored, "");
                // A Secret's texts are stored as bytes.
                lost.retain(|path| !path.starts_with(".stringData"));
                assert_eq!(lost, Vec::<String>::new(), "{name}: not stored as written");
            }
        }
    }
}

#[test]
fn every_example_reads_the_same_in_the_program() {
    fn check<K: serde::de::DeserializeOwned + serde::Serialize>(name: &str, object: &Value) {
        let typed: K =
            serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let lost = lost(object, &serde_json::to_value(typed).unwrap(), "");
        assert_eq!(lost, Vec::<String>::new(), "{name}: not read as written");
    }
    for (file, documents) in examples() {
        for object in documents {
            match object["kind"].as_str() {
                Some("ModelDeployment") => check::<ModelDeployment>(&file, &object),
                Some("ClusterDeploymentPolicy") => check::<ClusterDeploymentPolicy>(&file, &object),
                Some("DeploymentPolicy") => check::<DeploymentPolicy>(&file, &object),
                Some("TrustRoot") => check::<TrustRoot>(&file, &object),
                Some("Waiver") => check::<Waiver>(&file, &object),
                Some("RobustnessPolicy") => check::<RobustnessPolicy>(&file, &object),
                Some("Namespace" | "Secret" | "Role" | "RoleBinding" | "InferenceService" | "Deployment") => {
                }
                other => panic!("{file}: an example of {other:?}"),
            }
        }
    }
}

/// The good object that a row changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
enum Good {
    Model,
    FollowingModel,
    Policy,
    OwnPolicy,
    TrustRoot,
    Verification,
    Waiver,
    Gates,
    Evaluation,
}

impl Good {
    const ALL: [Self; 9] = [
        Self::Model,
        Self::FollowingModel,
        Self::Policy,
        Self::OwnPolicy,
        Self::TrustRoot,
        Self::Verification,
        Self::Waiver,
        Self::Gates,
        Self::Evaluation,
    ];

    fn object(self, namespace: &str) -> Value {
        let mut object = match self {
            Self::Model => example("quickstart.yaml", "ModelDeployment"),
            Self::FollowingModel => example("follow.yaml", "ModelDeployment"),
            Self::Policy => example("several-signers.yaml", "ClusterDeploymentPolicy"),
            Self::OwnPolicy => example("own-policy.yaml", "DeploymentPolicy"),
            Self::TrustRoot => example("quickstart.yaml", "TrustRoot"),
            Self::Verification => verification(),
            Self::Waiver => example("waiver.yaml", "Waiver"),
            Self::Gates => example("robustness.yaml", "RobustnessPolicy"),
            Self::Evaluation => json!({
                "apiVersion": "probity.dev/v1alpha1", "kind": "Evaluation",
                "metadata": {"name": "now", "namespace": "to be set"}, "spec": {"model": "digits", "policy": "digits"}
            }),
        };
        if let Some(place) = object.pointer_mut("/metadata/namespace") {
            *place = json!(namespace);
        }
        object
    }
}

/// Made by the operator only, and so in no example.
fn verification() -> Value {
    let key = &example("quickstart.yaml", "TrustRoot")["spec"]["keys"][0];
    json!({
        "apiVersion": "probity.dev/v1alpha1",
        "kind": "ArtifactVerification",
        "metadata": {"name": "digits-8c1f", "namespace": "to be set"},
        "spec": {
            "source": {"oci": {"repository": "registry.example/models/digits", "digest": DIGEST}},
            "keys": [{"fingerprint": DIGEST, "name": "bank-keys/2026-q3", "publicKey": key["publicKey"]}],
        },
    })
}

/// One change of a good object, and what the refusal must contain.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    set: Option<String>,
    #[serde(default)]
    to: Value,
    remove: Option<String>,
    says: Vec<String>,
}

impl Row {
    fn apply(&self, object: &mut Value) {
        let path = self.set.as_ref().or(self.remove.as_ref()).expect("set or remove");
        let (parent, last) = path.rsplit_once('/').expect("a pointer begins with a slash");
        let mut place = object;
        for key in parent.split('/').skip(1) {
            place = match key.parse::<usize>() {
                Ok(index) => &mut place[index],
                Err(_) => &mut place[key],
            };
        }
        if self.remove.is_some() {
            let removed = place.as_object_mut().and_then(|fields| fields.remove(last));
            assert!(removed.is_some(), "{path} is not there");
        } else if last == "-" {
            place.as_array_mut().expect("a list").push(self.to.clone());
        } else {
            place[last] = self.to.clone();
        }
    }
}

/// The rows of `tests/fixtures/refused.yaml`, and those that are too long to write down.
fn rows() -> Vec<(Good, Row)> {
    let text = include_str!("fixtures/refused.yaml");
    let table: BTreeMap<Good, Vec<Row>> = serde_saphyr::from_str(text).expect("the table can be read");
    let long = |path: &str, to: Value, says: &[&str]| {
        let says = says.iter().map(ToString::to_string).collect();
        (
            Good::Model,
            Row {
                set: Some(path.to_owned()),
                to,
                remove: None,
                says,
            },
        )
    };
    let word = "x".repeat(4097);
    let variables: BTreeMap<_, _> = (0..129)
        .map(|number| (format!("VARIABLE_{number}"), "x"))
        .collect();
    let mut rows: Vec<_> = table
        .into_iter()
        .flat_map(|(good, rows)| rows.into_iter().map(move |row| (good, row)))
        .collect();
    rows.extend([
        long("/spec/server/env", json!(variables), &["spec.server.env", "128"]),
        long(
            "/spec/server/env",
            json!({"A": word}),
            &["spec.server.env.A", "than 4096"],
        ),
        long(
            "/spec/server/args",
            json!([word]),
            &["spec.server.args[0]", "than 4096"],
        ),
    ]);
    rows
}

#[tokio::test]
async fn what_is_bad_is_refused_by_field_and_remedy() {
    let client = testbed::client().await;
    let namespace = testbed::namespace(&client).await;
    let mut wrong = Vec::new();
    for (good, row) in rows() {
        let mut object = good.object(&namespace);
        row.apply(&mut object);
        let answer = send(&client, Send::TryCreate, &object).await;
        let Err(message) = answer else {
            wrong.push(format!("{good:?} {row:?}\n    ACCEPTED"));
            continue;
        };
        if !row.says.iter().all(|words| message.contains(words)) {
            wrong.push(format!("{good:?} {row:.300?}\n    {message:.600}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} rows:\n  {}",
        wrong.len(),
        wrong.join("\n  ")
    );
}

#[tokio::test]
async fn what_the_rows_change_is_good_before() {
    let client = testbed::client().await;
    let namespace = testbed::namespace(&client).await;
    for good in Good::ALL {
        let stored = send(&client, Send::TryCreate, &good.object(&namespace)).await;
        stored.unwrap_or_else(|error| panic!("{good:?}: {error}"));
    }
}

#[tokio::test]
async fn what_was_verified_cannot_be_exchanged_under_its_verdict() {
    let client = testbed::client().await;
    let object = Good::Verification.object(&testbed::namespace(&client).await);
    let mut stored = send(&client, Send::Create, &object).await.unwrap();

    stored["metadata"]["labels"] = json!({"still": "ours"});
    let mut stored = send(&client, Send::Replace, &stored)
        .await
        .expect("labels are no part of what was verified");

    stored["spec"]["source"]["oci"]["digest"] = json!(DIGEST.replace("8d5a", "0000"));
    let message = send(&client, Send::Replace, &stored).await.unwrap_err();
    for words in ["spec: ", "cannot be changed", "another object"] {
        assert!(message.contains(words), "{message}");
    }
}

/// The API server's grammar and the program's must agree: what one lets through the other has to read.
#[tokio::test]
async fn a_reference_is_good_for_the_server_when_it_is_for_the_program() {
    let client = testbed::client().await;
    let namespace = testbed::namespace(&client).await;
    let long_tag = format!("registry.example/digits:{}", "t".repeat(128));
    let too_long_tag = format!("{long_tag}t");
    let digest = format!("registry.example/digits@{DIGEST}");
    let both = format!("registry.example/digits:1@{DIGEST}");
    let upper = format!("registry.example/digits@{}", DIGEST.to_uppercase());
    let texts = [
        "registry.example/models/digits:1.2.0",
        "localhost/digits:1",
        "localhost:5000/a/b/c:v1_x.y-z",
        "registry:5000/digits:1",
        "10.0.0.1:5000/digits:1",
        "[::1]:5000/digits:1",
        "[2001:DB8::1]/digits:1",
        "registry.example/a--b/c__d/e.f:1",
        "a-b.example/digits:_x",
        &long_tag,
        &digest,
        &both,
        // bad ones
        &too_long_tag,
        &upper,
        "digits:1",
        "models/digits:1",
        "https://registry.example/digits:1",
        "oci://registry.example/digits:1",
        "registry.example/digits",
        "registry.example:5000/digits",
        "registry.example/Digits:1",
        "REGISTRY.example/digits:1",
        "registry.example/../digits:1",
        "registry.example/./digits:1",
        "registry.example//digits:1",
        "registry.example/digits/:1",
        "/digits:1",
        "registry.example/a___b:1",
        "registry.example/a._b:1",
        "registry.example/_a:1",
        "registry.example/a_:1",
        "registry.example/digits:",
        "registry.example/digits:-1",
        "registry.example/digits:.1",
        "registry.example/digits:1:2",
        "registry.example/digits@sha256:12",
        "registry.example/digits@sha512:12",
        "registry.example:0/digits:1",
        "registry.example:05/digits:1",
        "registry.example:/digits:1",
        "-registry.example/digits:1",
        "registry-.example/digits:1",
        "registry..example/digits:1",
        ".registry.example/digits:1",
        "user@registry.example/digits:1",
        "registry.example/digits:1 ",
        " registry.example/digits:1",
        "registry.example/digits:1\n",
        "registry.example/dïgits:1",
    ];
    let mut model = Good::Model.object(&namespace);
    for text in texts {
        model["spec"]["model"]["source"]["oci"]["reference"] = json!(text);
        let server = send(&client, Send::TryCreate, &model).await;
        let program = text.parse::<Reference>();
        assert_eq!(
            server.is_ok(),
            program.is_ok(),
            "{text:?}\n  server: {server:?}\n  program: {program:?}"
        );
    }
}

#[test]
fn a_verification_reads_the_same_in_the_program() {
    let typed: ArtifactVerification = serde_json::from_value(verification()).unwrap();
    assert_eq!(
        lost(&verification(), &serde_json::to_value(typed).unwrap(), ""),
        Vec::<String>::new()
    );
}
