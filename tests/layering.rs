//! No module imports what is above it, and what decides cannot read, wait or look at a clock.
//! The edges are those of the table in `src/lib.rs`, which a person reads too; here is only what a table cannot say.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test"
)]

#[path = "layering/source.rs"]
mod source;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use source::{Named, Token, paths, tokens};
use test_case::test_case;

/// What each module may import of ours, by the module's path.
type Edges = BTreeMap<String, BTreeSet<String>>;

/// Layers in which nothing waits, reads or asks for the time.
const PURE: [&str; 4] = ["api", "evidence", "policy", "workload"];
/// Layers that have never heard of Kubernetes.
const CLUSTERLESS: [&str; 3] = ["evidence", "artifact", "evaluation"];
/// What every writing call to the API server is given.
const WRITERS: [&str; 5] = [
    "PostParams",
    "PatchParams",
    "DeleteParams",
    "EvictParams",
    "Patch",
];
/// The writing calls themselves.
const WRITING: [&str; 15] = [
    "create",
    "create_subresource",
    "delete",
    "delete_collection",
    "evict",
    "patch",
    "patch_metadata",
    "patch_metadata_status",
    "patch_scale",
    "patch_status",
    "patch_subresource",
    "replace",
    "replace_scale",
    "replace_status",
    "replace_subresource",
];

/// The table in the documentation of `src/lib.rs`: modules in the second column, what they import in the fourth.
fn edges(lib: &str) -> Edges {
    let quoted = |cell: &str| -> BTreeSet<String> {
        cell.split('`')
            .skip(1)
            .step_by(2)
            .map(ToOwned::to_owned)
            .collect()
    };
    let rows = lib
        .lines()
        .filter_map(|line| line.strip_prefix("//! |")?.strip_suffix('|'));
    rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>())
        .filter(|cells| cells[0].parse::<u8>().is_ok())
        .map(|cells| {
            let [_, module, _, imports, _] = cells[..] else {
                panic!("five columns: {cells:?}")
            };
            let module = quoted(module)
                .into_iter()
                .next()
                .unwrap_or_else(|| panic!("a module: {cells:?}"));
            (module, quoted(imports))
        })
        .collect()
}

/// The module that a file is.
fn module_of(file: &str) -> Vec<String> {
    let path = file
        .trim_start_matches("src/")
        .trim_end_matches(".rs")
        .trim_end_matches("/mod");
    if path == "lib" || path == "main" {
        Vec::new()
    } else {
        path.split('/').map(ToOwned::to_owned).collect()
    }
}

/// The longest row of the table that the module lies in.
fn row_of<'a>(edges: &'a Edges, module: &[String]) -> Option<(&'a str, &'a BTreeSet<String>)> {
    (1..=module.len()).rev().find_map(|length| {
        edges
            .get_key_value(&module[..length].join("::"))
            .map(|(name, imports)| (name.as_str(), imports))
    })
}

/// Where in our crate a path leads; none when it leads out of the crate, or is relative to something in scope.
fn resolve(file: &str, named: &Named) -> Option<Vec<String>> {
    let mut base: Vec<String> = module_of(file)
        .into_iter()
        .chain(named.within.iter().cloned())
        .collect();
    let mut rest = named.path.iter().map(String::as_str).peekable();
    match rest.next()? {
        "crate" => base.clear(),
        "probity" if file == "src/main.rs" => base.clear(),
        "self" => {}
        "super" => {
            base.pop();
            while rest.next_if_eq(&"super").is_some() {
                base.pop();
            }
        }
        _ => return None,
    }
    Some(base.into_iter().chain(rest.map(ToOwned::to_owned)).collect())
}

/// Everything in a file that the layers forbid, as `file:line: what and why`.
fn violations(edges: &Edges, file: &str, text: &str) -> Vec<String> {
    let tokens = tokens(text);
    let named = paths(&tokens);
    let module = module_of(file);
    let mut found = Vec::new();
    let mut say = |line: usize, what: String| found.push(format!("{file}:{line}: {what}"));
    if module.is_empty() && file != "src/main.rs" {
        return found;
    }
    let top = module.first().map_or("main", String::as_str);
    let here = row_of(edges, &module);
    if here.is_none() && file != "src/main.rs" {
        say(
            1,
            format!("`{top}` is not in the table of src/lib.rs: say there what it is and what it may import"),
        );
    }

    for path in &named {
        let written = path.path.join("::");
        if let (Some(target), Some((name, allowed))) = (resolve(file, path), here) {
            let first = target.first().map_or("*", String::as_str);
            if matches!(first, "*" | "self") {
                // `pub(crate)` is a path to the root as well.
                if path.imported {
                    say(
                        path.line,
                        format!("imports the crate's root (`{written}`): name the module"),
                    );
                }
            } else if first != top && !allowed.contains(first) && (path.imported || edges.contains_key(first))
            {
                let allowed = allowed.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
                say(
                    path.line,
                    format!(
                        "`{name}` may not import `{written}`: of ours it imports {}",
                        if allowed.is_empty() { "nothing" } else { &allowed }
                    ),
                );
            }
        }
        let segments: Vec<&str> = path.path.iter().map(String::as_str).collect();
        if PURE.contains(&top)
            && let Some(what) = impure(&segments)
        {
            say(path.line, format!("`{top}` names `{written}`: {what}"));
        }
        if CLUSTERLESS.contains(&top) && matches!(segments[0], "kube" | "k8s_openapi") {
            say(
                path.line,
                format!("`{top}` names `{written}`: it knows no Kubernetes"),
            );
        }
        if top != "cluster"
            && segments[0] != "crate"
            && let Some(writer) = segments.iter().find(|segment| WRITERS.contains(segment))
        {
            say(
                path.line,
                format!("`{top}` names `{writer}`: only `cluster` writes to the API server"),
            );
        }
    }

    let speaks_kube = named
        .iter()
        .any(|path| path.path[0] == "kube" || path.path.iter().any(|word| word == "Api"));
    for (index, (line, token)) in tokens.iter().enumerate() {
        let Some(word) = token.word() else { continue };
        if PURE.contains(&top) && matches!(word, "async" | "await") {
            say(*line, format!("`{top}` has `{word}`: what decides does not wait"));
        }
        let called = index > 0 && tokens[index - 1].1 == Token::Sign('.');
        if top != "cluster"
            && speaks_kube
            && called
            && WRITING.contains(&word)
            && defaults(&tokens[index + 1..])
        {
            say(
                *line,
                format!("`{top}` calls `.{word}(…)`: only `cluster` writes to the API server"),
            );
        }
    }
    found
}

/// Why a path has no place where decisions are made.
fn impure(path: &[&str]) -> Option<&'static str> {
    match path {
        ["tokio" | "futures" | "reqwest" | "hyper" | "axum", ..] => Some("what decides does not wait"),
        [
            "kube",
            "Client" | "Api" | "client" | "runtime" | "discovery" | "Config" | "config" | "*",
            ..,
        ]
        | ["kube", "api", "Api" | "*", ..] => Some("what decides does not ask the API server"),
        ["std", "fs" | "env" | "process" | "thread", ..]
        | [
            "std",
            "net",
            "TcpStream" | "TcpListener" | "UdpSocket" | "ToSocketAddrs" | "*",
            ..,
        ] => Some("what decides reads nothing"),
        [.., "SystemTime" | "Instant", "now"] | [_, .., "now"] => Some("the clock is an argument"),
        _ => None,
    }
}

/// Whether a call is given `…::default()`: how parameters are written when their type is not named.
fn defaults(call: &[(usize, Token)]) -> bool {
    let mut depth = 0;
    for (_, token) in call {
        match token {
            Token::Sign('(') => depth += 1,
            Token::Sign(')') => depth -= 1,
            Token::Word(word) if word == "default" => return true,
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    false
}

/// Every Rust file below a folder, as its path from the crate's root and its text.
fn sources(root: &Path, folder: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(root.join(folder)).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{folder}/{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            found.extend(sources(root, &name));
        } else if entry
            .path()
            .extension()
            .is_some_and(|extension| extension == "rs")
        {
            let text = std::fs::read_to_string(entry.path()).unwrap();
            found.insert(name, text);
        }
    }
    found
}

fn our_sources() -> BTreeMap<String, String> {
    sources(Path::new(env!("CARGO_MANIFEST_DIR")), "src")
}

#[test]
fn no_file_names_what_its_layer_may_not() {
    let sources = our_sources();
    let edges = edges(&sources["src/lib.rs"]);
    let found: Vec<_> = sources
        .iter()
        .flat_map(|(file, text)| violations(&edges, file, text))
        .collect();
    assert!(
        found.is_empty(),
        "{} violations:\n{}",
        found.len(),
        found.join("\n")
    );
}

#[test]
fn every_module_has_its_place_in_the_table() {
    let lib = &our_sources()["src/lib.rs"];
    let tokens = tokens(lib);
    let modules: BTreeSet<String> = tokens
        .windows(2)
        .filter(|pair| pair[0].1.word() == Some("mod"))
        .filter_map(|pair| pair[1].1.word().map(ToOwned::to_owned))
        .collect();
    let listed: BTreeSet<String> = edges(lib)
        .into_keys()
        .filter(|module| !module.contains("::"))
        .collect();
    assert_eq!(modules, listed);
}

#[test]
fn the_table_itself_never_goes_up() {
    let lib = &our_sources()["src/lib.rs"];
    let order: Vec<String> = lib
        .lines()
        .filter_map(|line| line.strip_prefix("//! | "))
        .filter_map(|row| row.split('`').nth(1))
        .map(ToOwned::to_owned)
        .collect();
    assert!(order.len() > 6, "{order:?}");
    for (module, imports) in edges(lib) {
        let place = order.iter().position(|name| *name == module).unwrap();
        for import in imports {
            let below = order.iter().position(|name| *name == import);
            assert!(
                below.is_some_and(|below| below < place),
                "{module} imports {import}, which is not above it in the table"
            );
        }
    }
}

const LIB: &str = "\
//! | 0 | [`evidence`] | values | | decide |
//! | 0 | [`api`] | shapes | `evidence` | behave |
//! | 1 | [`artifact`] | reads | `evidence` | know Kubernetes |
//! | 1 | [`policy`] | decides | `api`, `evidence` | read |
//! | 2 | [`cluster`] | writes | `api`, `evidence`, `policy` | decide |
//! | 2 | [`controller`] | reconciles | `api`, `evidence`, `artifact`, `policy`, `cluster` | write |
//! | 3 | [`cli`] | commands | `api`, `evidence`, `artifact`, `policy` | more |
//! | 3 | `cli::operator` | runs | `api`, `evidence`, `artifact`, `policy`, `cluster`, `controller` | more |
";

#[test_case("src/evidence/digest.rs", "use crate::api::GROUP;", "`evidence` may not import"; "evidence imports api")]
#[test_case("src/api/mod.rs", "use crate::policy::Decision;", "of ours it imports evidence"; "api imports policy")]
#[test_case("src/artifact/oci/client.rs", "use crate::api::v1alpha1::TrustRoot;", "may not import"; "artifact imports api")]
#[test_case("src/artifact/oci/client.rs", "use kube::Client;", "knows no Kubernetes"; "artifact knows kube")]
#[test_case("src/artifact/oci/client.rs", "fn f(x: &k8s_openapi::api::core::v1::Secret) {}", "knows no Kubernetes"; "a path in a type")]
#[test_case("src/policy/facts.rs", "use crate::artifact::oci;", "`policy` may not import"; "policy imports artifact")]
#[test_case("src/policy/facts.rs", "use crate::{api, evidence::{Digest, Reason}, artifact::{oci, signature}};", "crate::artifact::oci"; "in a group")]
#[test_case("src/policy/facts.rs", "fn f() { crate::artifact::oci::resolve(); }", "crate::artifact::oci::resolve"; "a path in an expression")]
#[test_case("src/policy/checks/signature.rs", "use super::super::super::artifact::oci;", "may not import"; "by climbing")]
#[test_case("src/policy/checks/signature.rs", "mod tests { use super::super::super::super::cluster::apply; }", "may not import"; "by climbing out of a module")]
#[test_case("src/policy/facts.rs", "macro_rules! m { () => { $crate::cluster::apply() } }", "may not import"; "in a macro")]
#[test_case("src/policy/facts.rs", "use crate as root;", "crate's root"; "the root under another name")]
#[test_case("src/policy/facts.rs", "use crate::*;", "crate's root"; "everything")]
#[test_case("src/policy/facts.rs", "use crate::{self as root};", "crate's root"; "the root in a group")]
#[test_case("src/policy/facts.rs", "use super::super::*;", "crate's root"; "everything by climbing")]
#[test_case("src/policy/facts.rs", "use kube::{ResourceExt, Client};", "does not ask the API server"; "policy has a client")]
#[test_case("src/policy/facts.rs", "fn f(api: &kube::Api<Pod>) {}", "does not ask the API server"; "policy has an api")]
#[test_case("src/policy/facts.rs", "fn f(api: &::kube::api::Api<Pod>) {}", "does not ask the API server"; "behind a leading join")]
#[test_case("src/policy/facts.rs", "use tokio::time;", "does not wait"; "policy has a runtime")]
#[test_case("src/policy/facts.rs", "pub async fn f() {}", "has `async`"; "policy waits")]
#[test_case("src/policy/facts.rs", "use std::{collections::BTreeMap, fs};", "reads nothing"; "policy reads files")]
#[test_case("src/policy/facts.rs", "let t = jiff::Timestamp::now();", "the clock is an argument"; "policy looks at a clock")]
#[test_case("src/policy/facts.rs", "let t = Timestamp::now();", "the clock is an argument"; "an imported clock")]
#[test_case("src/policy/facts.rs", "let t = std::time::SystemTime::now();", "the clock is an argument"; "the system's clock")]
#[test_case("src/cluster/apply.rs", "use crate::controller::model;", "may not import"; "cluster imports controller")]
#[test_case("src/controller/model/mod.rs", "api.patch(name, &PatchParams::apply(\"x\"), &p).await?;", "only `cluster` writes"; "a controller patches")]
#[test_case("src/controller/model/mod.rs", "use kube::api::{Api, Patch, PatchParams};", "only `cluster` writes"; "a controller imports what patches")]
#[test_case("src/controller/model/mod.rs", "use kube::Api;\nfn f() { api.delete(name, &Default::default()); }", "src/controller/model/mod.rs:2"; "a controller deletes")]
#[test_case("src/cli/fetch.rs", "use crate::cluster::apply;", "`cli` may not import"; "fetch imports cluster")]
#[test_case("src/cli/verify.rs", "use crate::controller;", "`cli` may not import"; "verify imports controller")]
#[test_case("src/cli/check/report.rs", "use crate::cluster::stores;", "`cli` may not import"; "a file of check imports cluster")]
#[test_case("src/helpers/mod.rs", "", "is not in the table"; "a new module")]
fn is_a_violation(file: &str, text: &str, says: &str) {
    let found = violations(&edges(LIB), file, text);
    assert!(
        found.iter().any(|violation| violation.contains(says)),
        "{found:#?}"
    );
    assert!(
        found.iter().all(|violation| violation.starts_with(file)),
        "{found:#?}"
    );
}

#[test_case("src/api/mod.rs", "use crate::evidence::Digest;"; "api imports evidence")]
#[test_case("src/policy/facts.rs", "use crate::{api::v1alpha1, evidence::{Digest, Reason}};"; "policy imports what it may")]
#[test_case("src/policy/facts.rs", "use super::world::World; use self::inner::X; use crate::policy::Rules;"; "its own layer")]
#[test_case("src/policy/checks/signature.rs", "mod tests { use super::super::super::api::GROUP; use super::*; }"; "climbing to what it may")]
#[test_case("src/policy/facts.rs", "// use crate::artifact::oci;\n/* use tokio::fs; /* async */ .await */ fn f() {}"; "in comments")]
#[test_case("src/policy/facts.rs", "//! See [`crate::artifact`].\n/// [`crate::cluster`]\nfn f() {}"; "in documentation")]
#[test_case("src/policy/facts.rs", "const X: &str = \"use crate::artifact; \\\" async\"; const Y: char = '\"'; const Z: &str = \"tokio::fs\";"; "in texts")]
#[test_case("src/policy/facts.rs", "const X: &str = r#\"crate::artifact::x \" async\"#; const Y: &[u8] = b\"crate::cluster::x\";"; "in raw texts")]
#[test_case("src/policy/facts.rs", "fn f<'a>(x: &'a str) -> &'a str { x } pub(crate) struct S; pub(in crate::policy) struct T;"; "lifetimes and visibilities")]
#[test_case("src/policy/facts.rs", "fn evaluate(now: jiff::Timestamp) -> bool { now > x.now }"; "the clock as an argument")]
#[test_case("src/policy/facts.rs", "use kube::ResourceExt as _; use kube::core::ObjectMeta;"; "shapes of kube")]
#[test_case("src/artifact/oci/client.rs", "use tokio::io; async fn f() { let t = std::time::Instant::now(); g().await }"; "artifact waits and looks at clocks")]
#[test_case("src/cluster/apply.rs", "use kube::api::{Api, Patch, PatchParams}; fn f() { api.patch(n, &PatchParams::default(), p); }"; "cluster writes")]
#[test_case("src/controller/model/mod.rs", "use kube::Api; fn f() { text.replace('a', \"b\"); set.replace(x); OpenOptions::new().create(true); crate::cluster::apply(x); }"; "other things of the same name")]
#[test_case("src/cli/operator.rs", "use crate::{cluster, controller::model};"; "the operator imports all")]
#[test_case("src/cli/fetch.rs", "use crate::artifact::oci; use super::fail;"; "fetch imports what it may")]
#[test_case("src/main.rs", "probity::cli::Cli::parse().run()"; "main calls the command line")]
fn is_no_violation(file: &str, text: &str) {
    let found = violations(&edges(LIB), file, text);
    assert!(found.is_empty(), "{found:#?}");
}
