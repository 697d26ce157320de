//! The custom resource definitions: what is committed is what the program writes, and an API server serves it with
//! nothing to complain about. What their rules refuse is in `examples.rs`.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test"
)]

mod testbed;

use std::{collections::BTreeMap, path::Path, process::Command};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
    client::Body,
};
use probity::api::{custom_resource_definitions, v1alpha1::ModelDeployment};
use serde_json::{Value, json};

/// `kubectl apply` keeps a copy of the object in an annotation, and annotations end here.
const MOST_BYTES: usize = 256 * 1024;

/// The files of a folder, by name.
fn files(folder: &Path) -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries
        .map(|entry| entry.unwrap().path())
        .map(|file| {
            let name = file.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(&file).unwrap())
        })
        .collect()
}

/// Compares a committed folder with what `probity crds …` writes.
fn is_current(folder: &str, arguments: &[&str]) {
    let written = tempfile::tempdir().unwrap();
    let mut probity = Command::new(env!("CARGO_BIN_EXE_probity"));
    let status = probity
        .arg("crds")
        .args(arguments)
        .arg("--dir")
        .arg(written.path())
        .status();
    assert!(status.unwrap().success());
    let (written, committed) = (
        files(written.path()),
        files(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)),
    );
    let remedy = format!(
        "run `cargo run -- crds {} --dir {folder}` and commit it",
        arguments.join(" ")
    );
    assert!(
        written.keys().eq(committed.keys()),
        "{:?} ≠ {:?}; {remedy}",
        written.keys(),
        committed.keys()
    );
    for (name, text) in written {
        assert!(
            text == committed[&name],
            "{folder}/{name} is not what the program writes; {remedy}"
        );
    }
}

#[test]
fn the_committed_definitions_are_what_the_program_writes() {
    is_current("crds", &[]);
}

#[test]
fn the_committed_reference_is_what_the_program_writes() {
    is_current("docs/reference", &["--markdown"]);
}

#[test]
fn every_definition_fits_into_an_annotation() {
    for (name, text) in files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("crds")) {
        let value: Value = serde_saphyr::from_str(&text).unwrap();
        let bytes = text.len().max(value.to_string().len());
        assert!(bytes < MOST_BYTES, "{name} has {bytes} bytes");
    }
}

/// Every schema below the root, with its path.
fn schemas() -> Vec<(String, JSONSchemaProps)> {
    fn walk(path: String, schema: &JSONSchemaProps, into: &mut Vec<(String, JSONSchemaProps)>) {
        for (name, property) in schema.properties.iter().flatten() {
            walk(format!("{path}.{name}"), property, into);
        }
        if let Some(JSONSchemaPropsOrArray::Schema(item)) = &schema.items {
            walk(format!("{path}[]"), item, into);
        }
        if let Some(JSONSchemaPropsOrBool::Schema(value)) = &schema.additional_properties {
            walk(format!("{path}{{}}"), value, into);
        }
        into.push((path, schema.clone()));
    }
    let mut schemas = Vec::new();
    for definition in custom_resource_definitions() {
        for version in &definition.spec.versions {
            let root = version
                .schema
                .as_ref()
                .unwrap()
                .open_api_v3_schema
                .as_ref()
                .unwrap();
            walk(definition.spec.names.kind.clone(), root, &mut schemas);
        }
    }
    assert!(schemas.len() > 100, "the walk finds the fields");
    schemas
}

/// Kubernetes' own shape, with Kubernetes' own bounds.
fn is_condition(path: &str) -> bool {
    path.contains(".conditions[]")
}

#[test]
fn no_field_has_a_default() {
    // A default would be written into what people keep in git, as if they had asked for it.
    for (path, schema) in schemas() {
        assert!(schema.default.is_none(), "{path} has a default");
    }
}

#[test]
fn every_field_says_what_it_is() {
    for (path, schema) in schemas() {
        let is_field = !path.ends_with(']') && !path.ends_with('}');
        let description = schema.description.unwrap_or_default();
        assert!(!is_field || description.len() > 5, "{path} has no description");
        assert!(
            !description.contains("[`"),
            "{path}: a link that only rustdoc follows: {description}"
        );
        let ours = is_field && !is_condition(&path);
        assert!(
            !ours || description.ends_with('.'),
            "{path}: not a sentence: {description}"
        );
    }
}

#[test]
fn every_list_map_and_text_has_an_end() {
    for (path, schema) in schemas() {
        let bounded = match schema.type_.as_deref() {
            Some("array") => schema.max_items.is_some(),
            Some("object") => schema.additional_properties.is_none() || schema.max_properties.is_some(),
            Some("string") => {
                schema.max_length.is_some()
                    || schema.enum_.is_some()
                    || schema.format.as_deref() == Some("date-time")
            }
            _ => true,
        };
        assert!(bounded || is_condition(&path), "{path} has no upper bound");
    }
}

#[test]
fn nothing_is_kept_that_no_schema_knows() {
    for (path, schema) in schemas() {
        assert_ne!(
            schema.x_kubernetes_preserve_unknown_fields,
            Some(true),
            "{path} keeps what nobody checks"
        );
        assert_ne!(schema.nullable, Some(true), "{path} stores null");
    }
}

#[test]
fn every_kind_is_found_by_the_category_and_a_short_name() {
    for definition in custom_resource_definitions() {
        let names = definition.spec.names;
        assert!(
            names
                .categories
                .unwrap_or_default()
                .contains(&"probity".to_owned()),
            "{}",
            names.kind
        );
        assert_eq!(names.short_names.unwrap_or_default().len(), 1, "{}", names.kind);
    }
}

#[tokio::test]
async fn the_api_server_takes_every_definition_without_a_warning() {
    let client = testbed::client().await;
    for definition in custom_resource_definitions() {
        // Sent once more, because warnings are shown only to who sends.
        let name = definition.metadata.name.as_deref().unwrap();
        let request = http::Request::patch(format!(
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}?fieldManager=tests&fieldValidation=Strict"
        ))
        .header("content-type", "application/apply-patch+yaml")
        .body(Body::from(serde_json::to_vec(&definition).unwrap()))
        .unwrap();
        let answer = client.send(request).await.unwrap();
        assert!(answer.status().is_success(), "{name}: {answer:?}");
        let warnings: Vec<_> = answer.headers().get_all("warning").iter().collect();
        assert!(warnings.is_empty(), "{name}: {warnings:?}");

        let stored: CustomResourceDefinition = Api::all(client.clone()).get(name).await.unwrap();
        let conditions = stored
            .status
            .and_then(|status| status.conditions)
            .unwrap_or_default();
        for condition in &conditions {
            let wanted = if condition.type_ == "NonStructuralSchema" {
                "False"
            } else {
                "True"
            };
            assert_eq!(condition.status, wanted, "{name}: {condition:?}");
        }
        assert!(
            conditions
                .iter()
                .any(|condition| condition.type_ == "Established"),
            "{name}: {conditions:?}"
        );
    }
}

fn model(name: &str, replicas: Option<i32>) -> ModelDeployment {
    let mut server = json!({
        "image": "registry.example/onnx@sha256:8d5a16cf2883ed7e146112c86287e0b397aff2d5c2c69d60c686556846349d6e",
        "protocol": "OpenInference",
        "port": 8080,
    });
    if let Some(replicas) = replicas {
        server["replicas"] = json!(replicas);
    }
    serde_json::from_value(json!({
        "apiVersion": "probity.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": name},
        "spec": {"model": {"source": {"oci": {"reference": "registry.example/digits:1"}}}, "server": server},
    }))
    .unwrap()
}

/// The cells of `kubectl get modeldeployment NAME`, by column; wide ones too.
async fn row(client: &Client, namespace: &str, name: &str) -> BTreeMap<String, Value> {
    let request = http::Request::get(format!(
        "/apis/probity.dev/v1alpha1/namespaces/{namespace}/modeldeployments/{name}"
    ))
    .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
    .body(Vec::new())
    .unwrap();
    let table: Value = client.request(request).await.unwrap();
    let columns = table["columnDefinitions"].as_array().unwrap().iter();
    let names = columns.map(|column| column["name"].as_str().unwrap().to_owned());
    names
        .zip(table["rows"][0]["cells"].as_array().unwrap().iter().cloned())
        .collect()
}

#[tokio::test]
async fn a_model_is_shown_with_what_serves_and_what_does_not() {
    const SERVING: &str = "sha256:8d5a16cf2883ed7e146112c86287e0b397aff2d5c2c69d60c686556846349d6e";
    const CANDIDATE: &str = "sha256:e240e882bd0ac77c435f119a24dc7cad01fbbb4822f366f3fd8537037fe2fdec";
    let client = testbed::client().await;
    let namespace = testbed::namespace(&client).await;
    let models: Api<ModelDeployment> = Api::namespaced(client.clone(), &namespace);
    models
        .create(&PostParams::default(), &model("digits", Some(1)))
        .await
        .unwrap();
    let identity = json!({"key": "bank-keys/2026-q3", "fingerprint": SERVING});
    let status = json!({"status": {
        "serving": {
            "digest": SERVING, "version": "1@8d5a16cf2883", "reference": "registry.example/digits:1", "since": "2026-01-01T00:00:00Z",
            "size": 604_211, "files": 3, "verification": "digits-8c1f",
            "signers": [{"name": "release", "identity": identity}], "signedBy": "release, audit",
        },
        "candidate": {
            "digest": CANDIDATE, "version": "1@e240e882bd0a", "reference": "registry.example/digits:1",
            "reason": "DigestMismatch",
        },
        "conditions": [{
            "type": "Ready", "status": "False", "reason": "DigestMismatch", "message": "model.onnx differs",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }],
    }});
    models
        .patch_status("digits", &PatchParams::default(), &Patch::Merge(status))
        .await
        .unwrap();

    let row = row(&client, &namespace, "digits").await;
    for (column, cell) in [
        ("Name", "digits"),
        ("Ready", "False"),
        ("Serving", "1@8d5a16cf2883"),
        ("Candidate", "1@e240e882bd0a"),
        ("Signer", "release, audit"),
        ("Reason", "DigestMismatch"),
        ("Digest", SERVING),
        ("Message", "model.onnx differs"),
    ] {
        assert_eq!(row[column], json!(cell), "{column}: {row:?}");
    }
    assert!(row.contains_key("Age"), "{row:?}");
}

#[tokio::test]
async fn an_autoscaler_can_scale_a_model_that_has_replicas() {
    let client = testbed::client().await;
    let namespace = testbed::namespace(&client).await;
    let models: Api<ModelDeployment> = Api::namespaced(client, &namespace);
    models
        .create(&PostParams::default(), &model("digits", Some(2)))
        .await
        .unwrap();
    let status = json!({"status": {"replicas": 2, "selector": "probity.dev/model=digits"}});
    models
        .patch_status("digits", &PatchParams::default(), &Patch::Merge(status))
        .await
        .unwrap();

    let scale = serde_json::to_value(models.get_scale("digits").await.unwrap()).unwrap();
    assert_eq!(scale["spec"]["replicas"], 2);
    assert_eq!(
        scale["status"],
        json!({"replicas": 2, "selector": "probity.dev/model=digits"})
    );

    let wanted = json!({"spec": {"replicas": 5}});
    models
        .patch_scale("digits", &PatchParams::default(), &Patch::Merge(wanted))
        .await
        .unwrap();
    assert_eq!(
        models.get("digits").await.unwrap().spec.server.unwrap().replicas,
        Some(5)
    );

    let too_many = json!({"spec": {"replicas": 1001}});
    let refused = models
        .patch_scale("digits", &PatchParams::default(), &Patch::Merge(too_many))
        .await;
    assert!(refused.unwrap_err().to_string().contains("spec.server.replicas"));

    // Kubernetes offers the subresource only while the field has a value; its description says so.
    models
        .create(&PostParams::default(), &model("unscaled", None))
        .await
        .unwrap();
    assert!(
        models
            .get_scale("unscaled")
            .await
            .unwrap_err()
            .to_string()
            .contains("does not exist")
    );
}
