//! Runs helm on the chart of this checkout and reads what it renders.
//! It reads no configuration, plugin or repository of the machine's user.

use std::{
    fs,
    process::{Command, Stdio},
    sync::OnceLock,
};

use serde_json::Value;

pub const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/probity");
pub const CRDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/crds");
pub const NAMESPACE: &str = "probity-system";
pub const DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000001";

/// A tool of the test bed, built when it is missing. `PROBITY_TOOLS` (a PATH) says where to look instead.
pub fn tool(name: &str) -> Command {
    static PATH: OnceLock<String> = OnceLock::new();
    let path = PATH.get_or_init(|| {
        if let Some(path) = std::env::var_os("PROBITY_TOOLS") {
            return path.into_string().expect("PROBITY_TOOLS is a PATH");
        }
        let output = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/testbed/tools"))
            .args(["--path", "helm", "apiserver"])
            .stderr(Stdio::inherit())
            .output()
            .expect("tests/testbed/tools can be run");
        assert!(
            output.status.success(),
            "the test bed has no helm or no API server: run `make tools` and read why"
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    });
    let program = path
        .split(':')
        .map(|directory| format!("{directory}/{name}"))
        .find(|program| fs::exists(program).unwrap_or(false))
        .unwrap_or_else(|| panic!("no {name} in {path}: run `make tools`, or set PROBITY_TOOLS"));
    let mut command = Command::new(program);
    for (variable, folder) in [
        ("HELM_CACHE_HOME", "cache"),
        ("HELM_CONFIG_HOME", "config"),
        ("HELM_DATA_HOME", "data"),
    ] {
        command.env(variable, format!("{}/helm-{folder}", env!("CARGO_TARGET_TMPDIR")));
    }
    command
}

/// What a finished program said, and whether it succeeded.
pub struct Outcome {
    pub ok: bool,
    pub out: String,
    pub err: String,
}

/// Runs to the end.
pub fn run(command: &mut Command) -> Outcome {
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    Outcome {
        ok: output.status.success(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs to the end and returns what it printed.
///
/// # Panics
/// When the program fails, with what it said.
pub fn must(command: &mut Command) -> String {
    let outcome = run(command);
    assert!(outcome.ok, "{command:?} failed:\n{}{}", outcome.out, outcome.err);
    outcome.out
}

/// `--set` for what has no default.
pub fn image() -> [String; 4] {
    [
        "--set",
        "image.repository=registry.example/probity",
        "--set",
        &format!("image.digest={DIGEST}"),
    ]
    .map(ToOwned::to_owned)
}

/// `helm template`, with exactly these arguments after the chart.
pub fn template(args: &[&str]) -> Outcome {
    run(tool("helm")
        .args(["template", "probity", CHART, "--namespace", NAMESPACE])
        .args(args))
}

/// The objects rendered for these further arguments.
pub fn render(args: &[&str]) -> Vec<Value> {
    let image = image();
    let all: Vec<&str> = image
        .iter()
        .map(String::as_str)
        .chain(args.iter().copied())
        .collect();
    let outcome = template(&all);
    assert!(outcome.ok, "helm template {args:?}: {}", outcome.err);
    decode(&outcome.out)
}

/// Every document; a duplicate key is an error.
pub fn decode(yaml: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).unwrap();
    documents
        .into_iter()
        .filter(|document| !document.is_null())
        .collect()
}

/// The one object of this kind and name.
pub fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let mut found = objects
        .iter()
        .filter(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    let one = found.next().unwrap_or_else(|| panic!("no {kind} {name}"));
    assert!(found.next().is_none(), "two of {kind} {name}");
    one
}

/// The files of `charts/probity/ci`: sets of values that every check of rendering goes through.
pub fn value_files() -> Vec<String> {
    let mut files: Vec<String> = fs::read_dir(format!("{CHART}/ci"))
        .unwrap()
        .map(|entry| entry.unwrap().path().into_os_string().into_string().unwrap())
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}
