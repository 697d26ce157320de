//! `probity check`: what a cluster would say of these files, without a cluster.
//! It reads files and asks registries; the decision is the operator's own, so both always agree.

mod decode;
mod files;
mod input;
mod judge;
mod report;
mod schema;

use std::{collections::BTreeMap, io::Write as _, path::PathBuf, process::ExitCode};

use files::Trouble;
use input::{Given, Input};
use report::Report;

use super::{credentials::CredentialsArgs, hosts::HostArgs};
use crate::{
    artifact::oci::{Client, Timeouts},
    evidence::{Failure, Reason},
};

/// Check models against policies, without a cluster.
///
/// Reads manifests from files, folders (everything in them that ends in .yaml, .yml or .json) or standard input (-), and
/// says of each `ModelDeployment` what the operator would say: the same policies, the same signatures, the same sentences.
/// Registries are asked for manifests and signatures; weights are never downloaded.
///
/// Policies, trust roots and namespaces may be in the same files. Once --policy or --trust-root is given, policies and
/// keys in the checked files no longer count: a change to a model cannot bring along the key that it is checked with.
///
/// Exit codes: 0 every model may serve · otherwise the class of the worst reason: 10 policy · 20 not what was signed ·
/// 30 a file that makes no sense · 40 of a kind that is not read · 50 trust missing, broken or revoked · 60 not known
/// (a registry that could not be asked, or --offline) · 70 a defect · 2 the command line.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  Everything in one folder:
    probity check -f manifests/
  In a pull request, under the platform's own policy and keys:
    probity check -f manifests/ --policy platform/policy.yaml --trust-root platform/keys.yaml
  What Helm or Kustomize would apply, for a namespace with labels of its own:
    helm template digits | probity check -f - --policy policy.yaml --namespace-labels team=teller
  Without a network, as far as the files alone can tell:
    probity check -f manifests/ --policy policy.yaml --offline
  The digests and findings, for a program:
    probity check -f manifests/ --policy policy.yaml -o json \\
      | jq '.models[] | {name, digest, reason}'")]
pub struct Args {
    /// What to check: files, folders, or - for standard input.
    #[arg(short, long = "filename", value_name = "FILES", num_args = 1.., required = true)]
    files: Vec<PathBuf>,
    /// Check against these policies, and only these.
    #[arg(long, value_name = "FILES", num_args = 1..)]
    policy: Vec<PathBuf>,
    /// Believe the keys in these trust roots (and in the files of --policy), and only these.
    #[arg(long, value_name = "FILES", num_args = 1..)]
    trust_root: Vec<PathBuf>,
    /// The namespace of models that name none.
    #[arg(short, long, value_name = "NAME", default_value = "default")]
    namespace: String,
    /// Labels of namespaces that no file describes. They are taken as governed unless this says otherwise.
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',', value_parser = label)]
    namespace_labels: Vec<(String, String)>,
    /// Ask no registry. What cannot be told from the files is Unknown, with exit code 60.
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    hosts: HostArgs,
    #[command(flatten)]
    credentials: CredentialsArgs,
    /// How to show what was found.
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// How to show what was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// A table on standard output; notes and the sum on standard error.
    Table,
    /// One JSON object.
    Json,
    /// The same as YAML.
    Yaml,
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

impl Args {
    /// Runs the subcommand.
    pub fn run(self) -> ExitCode {
        match self
            .check()
            .and_then(|report| self.show(&report).map(|()| report.exit_code()))
        {
            Ok(code) => ExitCode::from(code),
            Err(failure) => {
                let _ = writeln!(std::io::stderr(), "probity check: {failure}");
                ExitCode::from(failure.reason.class().exit_code())
            }
        }
    }

    fn check(&self) -> Result<Report, Failure> {
        let mut troubles = Vec::new();
        let input = self.read(&mut troubles);
        if !troubles.is_empty() {
            return Ok(Report::of_troubles(troubles, input.notes));
        }
        let client = if self.offline || input.subjects.is_empty() {
            None
        } else {
            Some(self.client()?)
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::new(Reason::Internal, format!("cannot start: {error}")))?;
        let models = runtime.block_on(judge::judge(&input, client.as_ref(), now()));
        Ok(Report::of(models, &input.world.rules, input.notes))
    }

    fn read(&self, troubles: &mut Vec<Trouble>) -> Input {
        let all = || self.files.iter().chain(&self.policy).chain(&self.trust_root);
        if all().filter(|path| path.as_os_str() == "-").count() > 1 {
            troubles.push(Trouble::usage("-", "standard input can be read only once"));
            return Input::default();
        }
        let files = files::read(&self.files, troubles);
        let mut authority = files::read(&self.policy, troubles);
        // One file may hold both, and is no second time its own duplicate.
        let roots: Vec<PathBuf> = self
            .trust_root
            .iter()
            .filter(|path| !self.policy.contains(path))
            .cloned()
            .collect();
        authority.extend(files::read(&roots, troubles));
        let given = Given {
            policies: !self.policy.is_empty(),
            trust: !self.policy.is_empty() || !self.trust_root.is_empty(),
            namespace: self.namespace.clone(),
            now: now(),
            namespace_labels: self.namespace_labels.iter().cloned().collect::<BTreeMap<_, _>>(),
        };
        let input = input::gather(&files, &authority, &given, troubles);
        // A check that checked nothing must not look like one that passed.
        if troubles.is_empty() && input.subjects.is_empty() && input.world.rules.is_empty() {
            let message = "there is no ModelDeployment and no policy in these files";
            troubles.push(Trouble::usage("nothing to check", message));
        }
        input
    }

    fn client(&self) -> Result<Client, Failure> {
        let credentials = self.credentials.read()?;
        Ok(Client::new(self.hosts.policy(), Timeouts::default())?.with_credentials(credentials))
    }

    fn show(&self, report: &Report) -> Result<(), Failure> {
        let text = match self.output {
            Format::Table => report.table(),
            Format::Json => serde_json::to_string_pretty(report).map_err(unwritable)? + "\n",
            Format::Yaml => serde_saphyr::to_string(report).map_err(unwritable)?,
        };
        match std::io::stdout().write_all(text.as_bytes()) {
            // Whoever reads has read enough, as `head` does.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
            written => written.map_err(unwritable)?,
        }
        if self.output == Format::Table || !report.is_checked() {
            let _ = std::io::stderr().write_all(report.aside().as_bytes());
        }
        Ok(())
    }
}

fn unwritable(error: impl std::error::Error) -> Failure {
    Failure::new(Reason::Io, format!("cannot write what was found: {error}"))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the edge: here the clock is read, and passed on"
)]
fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use axum::{
        extract::{Path, State},
        http::StatusCode,
    };
    use clap::Parser as _;
    use serde_json::json;

    use test_case::test_case;

    use super::*;
    use crate::{
        artifact::signature::testing::{Signer, digest},
        evidence::Verdict,
    };

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    /// A registry of one repository: contents by tag or digest, and how often it was asked.
    #[derive(Clone, Default)]
    struct Registry {
        contents: BTreeMap<String, Vec<u8>>,
        asked: Arc<AtomicUsize>,
    }

    impl Registry {
        /// Puts in a model with these files under a tag.
        fn push(&mut self, tag: &str, files: &[(&str, &[u8])]) {
            let mut layer = |media_type: &str, path: &str, content: &[u8]| {
                let digest = digest(content).to_string();
                self.contents.insert(digest.clone(), content.to_vec());
                json!({
                    "mediaType": media_type, "digest": digest, "size": content.len(),
                    "annotations": {"org.cncf.model.filepath": path},
                })
            };
            let config = layer("application/vnd.cncf.model.config.v1+json", "", b"{}");
            let raw = "application/vnd.cncf.model.weight.v1.raw";
            let layers: Vec<_> = files
                .iter()
                .map(|(path, content)| layer(raw, path, content))
                .collect();
            let manifest = json!({
                "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "artifactType": "application/vnd.cncf.model.manifest.v1+json", "config": config, "layers": layers,
            });
            let manifest = manifest.to_string().into_bytes();
            self.contents
                .insert(digest(&manifest).to_string(), manifest.clone());
            self.contents.insert(tag.to_owned(), manifest);
        }

        /// Serves on a port of its own, for as long as the test lives.
        fn serve(&self) -> String {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.set_nonblocking(true).unwrap();
            let host = listener.local_addr().unwrap().to_string();
            let registry = self.clone();
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(async {
                    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                    let app = axum::Router::new()
                        .route("/v2/models/digits/{kind}/{name}", axum::routing::get(answer))
                        .with_state(registry);
                    axum::serve(listener, app).await.unwrap();
                });
            });
            host
        }
    }

    async fn answer(
        State(registry): State<Registry>,
        Path((kind, name)): Path<(String, String)>,
    ) -> Result<([(&'static str, &'static str); 1], Vec<u8>), StatusCode> {
        registry.asked.fetch_add(1, Ordering::Relaxed);
        let media_type = match kind.as_str() {
            "manifests" => "application/vnd.oci.image.manifest.v1+json",
            _ => "application/octet-stream",
        };
        let content = registry
            .contents
            .get(&name)
            .cloned()
            .ok_or(StatusCode::NOT_FOUND)?;
        Ok(([("content-type", media_type)], content))
    }

    /// A trust root with this signer's key, a policy that trusts it, and a model.
    fn manifests(signer: &Signer, reference: &str, model_rules: &str) -> String {
        let pem = signer.pem().replace('\n', "\n      ");
        format!(
            "
apiVersion: probity.dev/v1alpha1
kind: TrustRoot
metadata: {{name: bank-keys}}
spec:
  keys:
  - name: q3
    publicKey: |
      {pem}
---
apiVersion: probity.dev/v1alpha1
kind: ClusterDeploymentPolicy
metadata: {{name: baseline}}
spec:
  namespaceSelector: {{}}
  signers: [{{name: release, key: {{trustRoot: bank-keys, keys: [q3]}}}}]
  model: {{signers: [release]{model_rules}}}
---
apiVersion: probity.dev/v1alpha1
kind: ModelDeployment
metadata: {{name: digits, namespace: bank}}
spec:
  model: {{source: {{oci: {{reference: '{reference}'}}}}}}
  server:
    image: registry.example/s@sha256:0000000000000000000000000000000000000000000000000000000000000000
    protocol: HTTP
    port: 80
"
        )
    }

    /// What the command says of this text, with these further arguments.
    #[expect(clippy::disallowed_methods, reason = "the name is the test's own")]
    fn checked(text: &str, arguments: &[&str]) -> Report {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("all.yaml");
        std::fs::write(&file, text).unwrap();
        let line = ["check", "-f", file.to_str().unwrap()]
            .into_iter()
            .chain(arguments.iter().copied());
        Line::parse_from(line).args.check().unwrap()
    }

    /// What the command says of a model whose files are `pushed`, when the signer signed `contents`.
    fn verdict(
        signer: &Signer,
        contents: Option<&[(&str, &[u8])]>,
        pushed: &[(&str, &[u8])],
    ) -> (u8, Report) {
        let release = Signer::new("release");
        let trusted = if signer.name == "release" {
            signer
        } else {
            &release
        };
        let mut registry = Registry::default();
        let bundle = contents.map(|files| signer.sign_files(files));
        let mut files = pushed.to_vec();
        files.extend(bundle.as_deref().map(|bundle| ("model.sig", bundle)));
        registry.push("1", &files);
        let host = registry.serve();
        let report = checked(
            &manifests(trusted, &format!("{host}/models/digits:1"), ""),
            &["--plain-http", &host],
        );
        assert!(report.is_checked(), "{}", report.aside());
        (report.exit_code(), report)
    }

    const FILES: &[(&str, &[u8])] = &[("config.json", b"{}"), ("model.onnx", b"weights")];

    #[test]
    fn a_signed_model_may_serve() {
        let (code, report) = verdict(&Signer::new("release"), Some(FILES), FILES);
        assert_eq!(
            (code, report.models[0].verdict),
            (0, Verdict::Pass),
            "{}",
            report.table()
        );
        assert_eq!(report.models[0].message, "signed by release");
        assert_eq!(report.models[0].signers[0].name, "release");
        assert!(report.models[0].digest.is_some());
    }

    #[test]
    fn an_altered_model_may_not_and_the_file_and_signer_are_named() {
        let (code, report) = verdict(
            &Signer::new("release"),
            Some(FILES),
            &[("config.json", b"{}"), ("model.onnx", b"poison")],
        );
        assert_eq!(
            (code, report.models[0].reason),
            (20, Some(Reason::DigestMismatch))
        );
        let message = &report.models[0].message;
        assert!(
            message.starts_with("model.onnx differs from what release signed (signed "),
            "{message}"
        );
    }

    #[test]
    fn an_unsigned_model_may_not() {
        let (code, report) = verdict(&Signer::new("release"), None, FILES);
        assert_eq!((code, report.models[0].reason), (10, Some(Reason::Unsigned)));
    }

    #[test]
    fn a_model_signed_by_a_stranger_may_not() {
        let (code, report) = verdict(&Signer::new("stranger"), Some(FILES), FILES);
        assert_eq!(
            (code, report.models[0].reason),
            (10, Some(Reason::SignerMismatch))
        );
        let message = &report.models[0].message;
        assert!(message.starts_with("not signed by release: "), "{message}");
    }

    #[test]
    fn a_registry_that_cannot_be_asked_is_not_a_verdict() {
        let text = manifests(&Signer::new("release"), "127.0.0.1:1/models/digits:1", "");
        let report = checked(&text, &["--plain-http", "127.0.0.1:1"]);
        assert_eq!(
            (report.exit_code(), report.models[0].verdict),
            (60, Verdict::Unknown)
        );
        assert_eq!(report.models[0].reason, Some(Reason::RegistryUnavailable));
    }

    #[test]
    fn a_registry_the_policy_does_not_allow_is_not_asked() {
        let registry = Registry::default();
        let host = registry.serve();
        let text = manifests(
            &Signer::new("release"),
            &format!("{host}/models/digits:1"),
            ", repositories: ['registry.example/**']",
        );
        let report = checked(&text, &["--plain-http", &host]);
        assert_eq!(report.models[0].reason, Some(Reason::RepositoryNotAllowed));
        assert_eq!(registry.asked.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn offline_nothing_is_asked_and_nothing_is_claimed() {
        let registry = Registry::default();
        let host = registry.serve();
        let text = manifests(&Signer::new("release"), &format!("{host}/models/digits:1"), "");
        let report = checked(&text, &["--plain-http", &host, "--offline"]);
        assert_eq!(
            (report.exit_code(), report.models[0].reason),
            (60, Some(Reason::Offline))
        );
        assert_eq!(registry.asked.load(Ordering::Relaxed), 0);
    }

    /// The same manifests with a model that only its pods can see, under these rules for models.
    fn in_a_volume(model_rules: &str) -> String {
        let text = manifests(
            &Signer::new("release"),
            "registry.example/models/digits:1",
            model_rules,
        );
        let (rest, _) = text.split_once("spec:\n  model: {source").unwrap();
        format!(
            "{rest}spec:
  model: {{source: {{volume: {{claimName: models, path: digits/1}}}}}}
  workloadRef: {{apiVersion: apps/v1, kind: Deployment, name: server}}
"
        )
    }

    #[test_case("" => (0, None); "which its pods verify")]
    #[test_case(", repositories: ['volume:models/**']" => (0, None); "from an allowed claim")]
    #[test_case(", repositories: ['registry.example/**']" => (10, Some(Reason::RepositoryNotAllowed)); "from a claim that is not allowed")]
    fn a_model_in_a_volume_is_judged_by_what_its_pods_will_see_to(rules: &str) -> (u8, Option<Reason>) {
        let report = checked(&in_a_volume(rules), &["--offline"]);
        (report.exit_code(), report.models[0].reason)
    }

    #[test]
    fn one_file_may_hold_policies_and_keys() {
        let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
        std::fs::write(file.path(), in_a_volume("")).unwrap();
        let file = file.path().to_str().unwrap();
        let report = checked(
            &in_a_volume(""),
            &["--policy", file, "--trust-root", file, "--offline"],
        );
        assert_eq!(report.exit_code(), 0, "{}", report.aside());
    }

    #[test]
    fn a_check_of_nothing_does_not_pass() {
        let report = checked("{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}", &[]);
        assert_eq!(report.exit_code(), 2);
        assert!(
            report.aside().contains("no ModelDeployment"),
            "{}",
            report.aside()
        );
    }

    #[test]
    fn policies_can_be_checked_for_themselves() {
        let text = manifests(&Signer::new("release"), "registry.example/models/digits:1", "");
        let sound = text.split("\n---\n").take(2).collect::<Vec<_>>().join("\n---\n");
        assert_eq!(checked(&sound, &[]).exit_code(), 0);
        let broken = text.split("\n---\n").nth(1).unwrap();
        let report = checked(broken, &[]);
        assert_eq!(report.exit_code(), 50);
        assert!(
            report.aside().contains("TrustRoot/bank-keys does not exist"),
            "{}",
            report.aside()
        );
    }

    #[test]
    fn a_field_nobody_reads_is_an_error() {
        let text = manifests(
            &Signer::new("release"),
            "registry.example/models/digits:1",
            ", revokd: []",
        );
        let report = checked(&text, &["--offline"]);
        assert_eq!((report.exit_code(), report.models.len()), (30, 0));
        assert!(
            report
                .aside()
                .contains("spec.model.revokd: unknown field; did you mean revoked?"),
            "{}",
            report.aside()
        );
    }

    #[test]
    fn the_same_in_json() {
        let text = manifests(&Signer::new("release"), "registry.example/models/digits:1", "");
        let shown = serde_json::to_value(checked(&text, &["--offline"])).unwrap();
        assert_eq!(shown["models"][0]["verdict"], "Unknown");
        assert_eq!(shown["models"][0]["reason"], "Offline");
        assert_eq!(shown["models"][0]["findings"][0]["rule"], "model.signature");
        assert_eq!(
            shown["policies"][0],
            json!({"policy": "ClusterDeploymentPolicy/baseline", "ready": true})
        );
    }
}
