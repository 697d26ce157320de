//! The documents against the program: every reason is explained, every link leads somewhere.
//! It reads the Markdown of the checkout and asks nobody outside it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use probity::{
    api::v1alpha1::{ClusterDeploymentPolicy, ModelDeployment, TrustRoot},
    evidence::{Class, Reason},
};
use serde::de::DeserializeOwned;
use serde_json::Value;

const TOP: &str = env!("CARGO_MANIFEST_DIR");

fn operations() -> String {
    fs::read_to_string(format!("{TOP}/docs/operations.md")).unwrap()
}

/// Every Markdown file of ours; what builds leave behind and hidden folders are not.
fn documents() -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
            if entry.file_type().unwrap().is_dir() {
                if !name.starts_with('.') && name != "target" {
                    walk(&path, found);
                }
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(Path::new(TOP), &mut found);
    found
}

/// The manifests in a document's blocks of YAML.
fn manifests(text: &str) -> Vec<Value> {
    let blocks = text
        .split("```yaml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap());
    blocks
        .flat_map(|block| serde_saphyr::from_multiple::<Value>(block).unwrap())
        .collect()
}

/// The fields of a manifest that its kind does not have, or why it cannot be read at all.
fn unknown_fields<K: DeserializeOwned>(manifest: Value) -> Vec<String> {
    let mut unknown = Vec::new();
    match serde_ignored::deserialize::<_, _, K>(manifest, |path| unknown.push(path.to_string())) {
        Ok(_) => unknown,
        Err(error) => vec![error.to_string()],
    }
}

/// The targets of `[text](target)` that are files of ours.
fn local_links(text: &str) -> Vec<&str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|target| !target.contains("://") && !target.starts_with('#'))
        .map(|target| target.split('#').next().unwrap())
        .collect()
}

#[test]
fn every_reason_is_explained_once_under_its_class() {
    let text = operations();
    for reason in Reason::ALL {
        let row = format!("| `{reason}` |");
        assert_eq!(
            text.matches(&row).count(),
            1,
            "docs/operations.md has not one row for {reason}"
        );
        let heading = text[..text.find(&row).unwrap()]
            .lines()
            .rev()
            .find(|line| line.starts_with("###"))
            .unwrap();
        let class = reason.class();
        let (name, code) = (
            format!("### {class:?}:"),
            format!("(exit code {})", class.exit_code()),
        );
        assert!(
            heading.starts_with(&name) && heading.ends_with(&code),
            "{reason} is {class:?}, not under `{heading}`"
        );
    }
}

#[test]
fn nothing_is_explained_that_is_not_there() {
    let text = operations();
    let of_a_class = text.split("\n#").filter(|section| {
        section
            .lines()
            .next()
            .is_some_and(|heading| heading.contains("(exit code "))
    });
    for row in of_a_class
        .flat_map(str::lines)
        .filter(|line| line.starts_with("| `"))
    {
        let code = row.split('`').nth(1).unwrap();
        assert!(
            Reason::ALL.iter().any(|reason| reason.as_str() == code),
            "`{code}` is no reason"
        );
    }
}

#[test]
fn every_exit_code_is_in_the_table_of_exit_codes() {
    let text = operations();
    for class in Reason::ALL.iter().map(|reason| reason.class()) {
        let again = if class == Class::Transient { "yes" } else { "no" };
        let row = format!("| {} | {class:?} | {again} |", class.exit_code());
        assert!(text.contains(&row), "docs/operations.md lacks `{row}`");
    }
}

#[test]
fn every_manifest_in_the_readme_can_be_read() {
    let manifests = manifests(&fs::read_to_string(format!("{TOP}/README.md")).unwrap());
    assert_eq!(manifests.len(), 4);
    for manifest in manifests {
        let Value::Object(mut manifest) = manifest else {
            panic!("no object: {manifest}")
        };
        assert_eq!(manifest.remove("apiVersion").unwrap(), "probity.dev/v1alpha1");
        let kind = manifest.remove("kind").unwrap();
        let (kind, manifest) = (kind.as_str().unwrap(), Value::Object(manifest));
        let unknown = match kind {
            "ModelDeployment" => unknown_fields::<ModelDeployment>(manifest),
            "ClusterDeploymentPolicy" => unknown_fields::<ClusterDeploymentPolicy>(manifest),
            "TrustRoot" => unknown_fields::<TrustRoot>(manifest),
            other => panic!("no kind {other}"),
        };
        assert!(unknown.is_empty(), "{kind}: {unknown:?}");
    }
}

#[test]
fn every_link_to_a_file_leads_to_one() {
    let documents = documents();
    assert!(documents.len() > 5, "{documents:?}");
    for document in documents {
        let text = fs::read_to_string(&document).unwrap();
        let folder = document.parent().unwrap().display();
        for target in local_links(&text) {
            let file = format!("{folder}/{target}");
            assert!(
                fs::exists(&file).unwrap(),
                "{} links to {target}, which is not there",
                document.display()
            );
        }
    }
}

/// The code spans `FILE::TEST` of a text.
fn named_tests(text: &str) -> Vec<(&str, &str)> {
    let spans = text.split('`').skip(1).step_by(2);
    spans.filter_map(|span| span.split_once(".rs::")).collect()
}

/// Whether a Rust source has a function of this name that a test runner calls.
fn has_test(source: &str, name: &str) -> bool {
    let lines: Vec<&str> = source.lines().map(str::trim_start).collect();
    let defines = |line: &str| {
        line.split_once(&format!("fn {name}"))
            .is_some_and(|(_, rest)| rest.starts_with(['(', '<']))
    };
    let is_test = |at: usize| {
        let above = lines[..at].iter().rev();
        above
            .take_while(|line| line.starts_with("#[") || line.starts_with("///"))
            .any(|line| {
                ["#[test]", "#[test_case(", "#[tokio::test"]
                    .iter()
                    .any(|mark| line.starts_with(mark))
            })
    };
    lines
        .iter()
        .enumerate()
        .any(|(at, line)| defines(line) && is_test(at))
}

#[test]
fn every_hole_of_others_is_kept_shut_by_tests_that_are_there() {
    let text = fs::read_to_string(format!("{TOP}/docs/threat-model.md")).unwrap();
    let section = text
        .split("\n## ")
        .find(|section| section.starts_with("Holes of others"));
    let applicable = section.unwrap().split("Not applicable here:").next().unwrap();
    let rows: Vec<&str> = applicable
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| hole |"))
        .collect();
    assert!(rows.len() > 30, "{} holes only", rows.len());
    let of_the_cluster = fs::read_to_string(format!("{TOP}/tests/cluster/main.rs")).unwrap();
    for row in rows {
        let tests = named_tests(row);
        assert!(!tests.is_empty(), "no test keeps this shut: {row}");
        for (file, test) in tests {
            let source = fs::read_to_string(format!("{TOP}/{file}.rs"))
                .unwrap_or_else(|error| panic!("{file}.rs: {error}"));
            // Those of the cluster are in a table of their own.
            let is_there = match file.strip_prefix("tests/cluster/") {
                Some(module) => {
                    source.contains(&format!("pub async fn {test}("))
                        && of_the_cluster.contains(&format!(" {module}::{test},"))
                }
                None => has_test(&source, test),
            };
            assert!(is_there, "{file}.rs has no test {test}");
        }
    }
}
