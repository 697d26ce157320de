//! What is decided about models, policies and trust as people write them: each fixture a set of files one could apply.
//! The real binary checks them without a network; the recorded verification in the fixture stands for the registry.
#![allow(clippy::disallowed_methods, clippy::panic, clippy::unwrap_used, reason = "only tests see it")]

use std::{path::Path, process::Command};

use serde_json::{Value, json};

/// Every fixture in `tests/fixtures/decisions` is decided as its snapshot says.
#[test]
fn every_fixture_is_decided_as_recorded() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/decisions");
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    files.sort();
    assert!(files.len() > 20, "the fixtures are in {}", folder.display());
    for file in files {
        let file = file.to_str().unwrap();
        let name = file.strip_suffix(".yaml").unwrap_or_else(|| panic!("{file} is no fixture"));
        let what = std::fs::read_to_string(folder.join(file)).unwrap();
        let what = what.lines().next().and_then(|line| line.strip_prefix("# ")).expect("a first line that says what it is");
        insta::with_settings!({ snapshot_path => "snapshots/decisions", prepend_module_to_snapshot => false, description => what, omit_expression => true }, {
            insta::assert_yaml_snapshot!(name, decided(&folder, file));
        });
    }
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
    let unready: Vec<_> = report["policies"].as_array().unwrap().iter().filter(|policy| policy["ready"] == false).collect();
    json!({ "exit": output.status.code(), "models": report["models"], "policiesNotReady": unready, "notes": report["notes"] })
}
