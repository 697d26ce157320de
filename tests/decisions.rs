//! What is decided about models, policies and trust as people write them: each fixture a set of files one could apply.
//! The real binary checks them without a network; the recorded verification in the fixture stands for the registry.
#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::unwrap_used,
    reason = "only tests see it"
)]

#[path = "decisions/doors.rs"]
mod doors;

use std::{path::Path, process::Command};

use serde_json::{Value, json};

/// Every fixture in `tests/fixtures/decisions` is decided as its snapshot says.
#[test]
fn every_fixture_is_decided_as_recorded() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/decisions");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    files.sort();
    assert!(files.len() > 20, "the fixtures are in {}", folder.display());
    for file in files {
        let file = file.to_str().unwrap();
        let name = file
            .strip_suffix(".yaml")
            .unwrap_or_else(|| panic!("{file} is no fixture"));
        let what = std::fs::read_to_string(folder.join(file)).unwrap();
        let what = what
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("# "))
            .expect("a first line that says what it is");
        insta::with_settings!({ snapshot_path => "snapshots/decisions", prepend_module_to_snapshot => false, description => what, omit_expression => true }, {
            insta::assert_yaml_snapshot!(name, decided(&folder, file));
        });
    }
}

/// What an API server refuses, `probity check` refuses as well: the same table that `tests/examples.rs` shows the server.
#[test]
fn what_an_api_server_refuses_is_refused_here() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| -> Vec<Value> {
        serde_saphyr::from_multiple(&std::fs::read_to_string(root.join(path)).unwrap()).unwrap()
    };
    let table = read("tests/fixtures/refused.yaml").remove(0);
    // Each section: the example it changes, and the kind in it. What a model is judged by comes from the quickstart.
    let sections = [
        ("model", "examples/quickstart.yaml", "ModelDeployment"),
        ("followingModel", "examples/follow.yaml", "ModelDeployment"),
        (
            "policy",
            "examples/several-signers.yaml",
            "ClusterDeploymentPolicy",
        ),
        ("ownPolicy", "examples/own-policy.yaml", "DeploymentPolicy"),
        ("trustRoot", "examples/quickstart.yaml", "TrustRoot"),
    ];
    let mut accepted = Vec::new();
    for (section, example, kind) in sections {
        let mut objects = read(example);
        if ["followingModel", "ownPolicy"].contains(&section) {
            objects.extend(
                read("examples/quickstart.yaml")
                    .into_iter()
                    .filter(|object| object["kind"] == "TrustRoot"),
            );
        }
        let at = objects.iter().position(|object| object["kind"] == kind).unwrap();
        if kind != "ModelDeployment" {
            // Without a model the policies are checked for themselves.
            objects.retain(|object| object["kind"] != "ModelDeployment");
        }
        let sound = refusal(&objects);
        assert!(sound.is_none(), "{example} itself is refused: {sound:?}");
        for row in table[section].as_array().unwrap() {
            let mut changed = objects.clone();
            change(&mut changed[at], row);
            if refusal(&changed).is_none() {
                accepted.push(format!("{section}: {row}"));
            }
        }
    }
    assert!(accepted.is_empty(), "not refused:\n{}", accepted.join("\n"));
}

/// Applies `{set: POINTER, to: VALUE}` or `{remove: POINTER}`.
fn change(object: &mut Value, row: &Value) {
    let pointer = row
        .get("set")
        .or(row.get("remove"))
        .and_then(Value::as_str)
        .unwrap();
    let (parents, last) = pointer.rsplit_once('/').unwrap();
    let mut parent = object;
    for step in parents.split('/').skip(1) {
        parent = match parent {
            Value::Array(items) => &mut items[step.parse::<usize>().unwrap()],
            other => &mut other[step],
        };
    }
    match (parent, row.get("to")) {
        (Value::Array(items), Some(to)) if last == "-" => items.push(to.clone()),
        (Value::Array(items), Some(to)) => items[last.parse::<usize>().unwrap()] = to.clone(),
        (parent, Some(to)) => parent[last] = to.clone(),
        (parent, None) => drop(parent.as_object_mut().unwrap().remove(last).unwrap()),
    }
}

/// Why `probity check` refuses these objects without a network; nothing when they only lack one.
fn refusal(objects: &[Value]) -> Option<i32> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("all.json");
    std::fs::write(
        &file,
        json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string(),
    )
    .unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_probity"))
        .args(["check", "--offline", "-o", "json", "-f"])
        .arg(&file)
        .output()
        .unwrap();
    let code = output.status.code().unwrap();
    assert!(
        !output.stdout.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    (code != 0 && code != 60).then_some(code)
}

/// What `probity check` says of one fixture.
fn decided(folder: &Path, file: &str) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_probity"))
        .current_dir(folder)
        .args(["check", "-f", file, "--offline", "-o", "json"])
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{file}: {error}: {}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(report["errors"], json!([]), "{file}");
    let unready: Vec<_> = report["policies"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|policy| policy["ready"] == false)
        .collect();
    json!({ "exit": output.status.code(), "models": report["models"], "policiesNotReady": unready, "notes": report["notes"] })
}
