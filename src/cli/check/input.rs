//! What the documents are together: the models to check, and what they are checked against.
//! It sorts and refuses; nothing is asked and nothing is decided here.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use jiff::Timestamp;

use super::{
    decode::{Object, decode},
    files::{Document, Trouble},
    schema::Schemas,
};
use crate::{
    api::{
        GOVERNED_LABEL,
        v1alpha1::{
            ArtifactVerification, ClusterDeploymentPolicy, DeploymentPolicy, ModelDeployment,
            RobustnessPolicy, TrustRoot, Waiver,
        },
    },
    artifact::signature::PublicKey,
    policy::{WaiverRule, World, compile, objects::trust_root, robustness::GateRule, trust},
};

/// The label that every namespace carries in a cluster.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// What the command line says beside the files.
#[derive(Debug, Clone, Default)]
pub(super) struct Given {
    /// `--policy` was given, so policies come from there alone.
    pub policies: bool,
    /// `--policy` or `--trust-root` was given, so trust comes from there alone.
    pub trust: bool,
    /// The namespace of models that name none.
    pub namespace: String,
    /// When it is: a waiver that is not applied yet would be made now.
    pub now: Timestamp,
    /// Labels of the namespaces that no file describes.
    pub namespace_labels: BTreeMap<String, String>,
}

/// A model to check.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    pub origin: String,
    pub name: String,
    pub namespace: String,
    pub model: ModelDeployment,
}

/// Everything there is to check, and to check it against.
#[derive(Debug, Default)]
pub(super) struct Input {
    pub subjects: Vec<Subject>,
    pub world: World,
    pub verifications: Vec<ArtifactVerification>,
    /// What people should know though it is no mistake.
    pub notes: Vec<String>,
}

/// Sorts the documents: `files` may hold anything, `authority` is what `--policy` and `--trust-root` named.
///
/// Where trust is given on the command line, what the checked files say of it is not believed: whoever changes a model
/// must not be able to bring along the key that it is checked with.
pub(super) fn gather(
    files: &[Document],
    authority: &[Document],
    given: &Given,
    troubles: &mut Vec<Trouble>,
) -> Input {
    let mut sorting = Sorting::default();
    let schemas = Schemas::installed();
    for (document, authority) in authority
        .iter()
        .map(|document| (document, true))
        .chain(files.iter().map(|document| (document, false)))
    {
        match decode(&schemas, &document.value) {
            Ok(object) => sorting.take(&document.origin, object, authority, given, troubles),
            Err(messages) => {
                let who = who(document);
                troubles.extend(
                    messages
                        .iter()
                        .map(|m| Trouble::content(&document.origin, format!("{who}{m}"))),
                );
            }
        }
    }
    sorting.finish(given)
}

/// `ModelDeployment/digits: `, as far as it is known.
fn who(document: &Document) -> String {
    let kind = document.value.get("kind").and_then(serde_json::Value::as_str);
    let name = document
        .value
        .pointer("/metadata/name")
        .and_then(serde_json::Value::as_str);
    match (kind, name) {
        (Some(kind), Some(name)) => format!("{kind}/{name}: "),
        _ => String::new(),
    }
}

#[derive(Default)]
struct Sorting {
    input: Input,
    policies: Vec<ClusterDeploymentPolicy>,
    own_policies: Vec<DeploymentPolicy>,
    roots: Vec<TrustRoot>,
    waivers: Vec<Waiver>,
    gates: Vec<RobustnessPolicy>,
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    seen: BTreeMap<String, String>,
    skipped: BTreeSet<String>,
}

impl Sorting {
    fn take(
        &mut self,
        origin: &str,
        object: Object,
        authority: bool,
        given: &Given,
        troubles: &mut Vec<Trouble>,
    ) {
        let (kind, name) = identity(&object, &given.namespace);
        let full = format!("{kind}/{name}");
        let unbelieved = match object {
            // Who may let something pass is for those to say who may forbid it.
            Object::Policy(_) | Object::OwnPolicy(_) | Object::Waiver(_) | Object::Gates(_) => {
                given.policies && !authority
            }
            Object::TrustRoot(_) | Object::Verification(_) => given.trust && !authority,
            Object::Model(_) | Object::Namespace { .. } | Object::Other(_) => false,
        };
        if unbelieved {
            let option = if matches!(
                object,
                Object::Policy(_) | Object::OwnPolicy(_) | Object::Waiver(_) | Object::Gates(_)
            ) {
                "--policy"
            } else {
                "--trust-root"
            };
            self.input.notes.push(format!(
                "{full} in {origin} is not used, since the command line says whom to believe: name the file with {option} if it is to count"
            ));
            return;
        }
        if authority && matches!(object, Object::Model(_)) {
            self.input.notes.push(format!(
                "{full} in {origin} is not checked: name the file with -f if it is to be"
            ));
            return;
        }
        if !matches!(object, Object::Other(_))
            && let Some(before) = self.seen.insert(full.clone(), origin.to_owned())
        {
            troubles.push(Trouble::content(
                origin,
                format!("{full} is in {before} already: leave one of them out"),
            ));
            return;
        }
        match object {
            Object::Model(model) => {
                let namespace = model
                    .metadata
                    .namespace
                    .clone()
                    .unwrap_or_else(|| given.namespace.clone());
                let name = model.metadata.name.clone().unwrap_or_default();
                self.input.subjects.push(Subject {
                    origin: origin.to_owned(),
                    name,
                    namespace,
                    model: *model,
                });
            }
            Object::Policy(policy) => self.policies.push(*policy),
            Object::OwnPolicy(mut policy) => {
                let namespace = &mut policy.metadata.namespace;
                namespace.get_or_insert_with(|| given.namespace.clone());
                self.own_policies.push(*policy);
            }
            Object::TrustRoot(root) => self.roots.push(*root),
            Object::Waiver(mut waiver) => {
                let namespace = &mut waiver.metadata.namespace;
                namespace.get_or_insert_with(|| given.namespace.clone());
                self.waivers.push(*waiver);
            }
            Object::Gates(mut policy) => {
                let namespace = &mut policy.metadata.namespace;
                namespace.get_or_insert_with(|| given.namespace.clone());
                self.gates.push(*policy);
            }
            Object::Verification(verification) => self.input.verifications.push(*verification),
            Object::Namespace { name, mut labels } => {
                labels.insert(NAME_LABEL.to_owned(), name.clone());
                self.namespaces.insert(name, labels);
            }
            Object::Other(kind) => {
                self.skipped.insert(kind);
            }
        }
    }

    fn finish(self, given: &Given) -> Input {
        let Self {
            mut input,
            policies,
            own_policies,
            roots,
            waivers,
            gates,
            mut namespaces,
            skipped,
            ..
        } = self;
        let mut trust = trust::TrustRoots::new();
        for root in &roots {
            let parse = |name: &str, pem: &str| match PublicKey::parse(name, pem) {
                Ok(key) => Ok(key.fingerprint()),
                Err(failure) => Err(failure.message),
            };
            let keys = trust::read(root, parse);
            let name = root.metadata.name.clone().unwrap_or_default();
            let remarks = trust_root(root, &keys);
            let refused = remarks.refused.iter();
            input
                .notes
                .extend(refused.map(|problem| format!("a cluster would refuse TrustRoot/{name}: {problem}")));
            trust.insert(name, keys);
        }
        let mut assumed = BTreeSet::new();
        for subject in &input.subjects {
            if !namespaces.contains_key(&subject.namespace) {
                assumed.insert(subject.namespace.clone());
                namespaces.insert(
                    subject.namespace.clone(),
                    assume(&subject.namespace, &given.namespace_labels),
                );
            }
        }
        if !assumed.is_empty() && given.namespace_labels.is_empty() {
            input.notes.push(format!(
                "no file describes the namespace {}: taken as governed, with no other labels (add its manifest, or --namespace-labels)",
                join(&assumed)
            ));
        }
        if !skipped.is_empty() {
            input.notes.push(format!(
                "objects of other kinds were left alone: {}",
                join(&skipped)
            ));
        }
        input.world = World {
            rules: policies
                .iter()
                .map(|policy| compile(policy, &trust))
                .chain(own_policies.iter().map(|policy| compile(policy, &trust)))
                .collect(),
            namespaces,
            // What was measured is not in manifests: a cluster measures by itself.
            measured: BTreeMap::new(),
            gates: gates.iter().map(GateRule::of).collect(),
            waivers: waivers
                .into_iter()
                .filter_map(|mut waiver| {
                    // In a cluster whoever applies it is written there.
                    let unknown = || "whoever applies it".to_owned();
                    waiver.spec.approved_by.get_or_insert_with(unknown);
                    WaiverRule::of(&waiver, given.now)
                })
                .collect(),
        };
        input
    }
}

/// What a namespace is taken to be that no file describes: governed, for that is the question asked here.
fn assume(name: &str, labels: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut all = BTreeMap::from([(GOVERNED_LABEL.to_owned(), "true".to_owned())]);
    all.extend(labels.clone());
    all.insert(NAME_LABEL.to_owned(), name.to_owned());
    all
}

/// Kind and name by which an object can be there only once.
fn identity(object: &Object, default_namespace: &str) -> (&'static str, String) {
    let of = |meta: &kube::core::ObjectMeta| meta.name.clone().unwrap_or_default();
    let within = |meta: &kube::core::ObjectMeta| {
        format!(
            "{}/{}",
            meta.namespace.as_deref().unwrap_or(default_namespace),
            of(meta)
        )
    };
    match object {
        Object::Model(object) => ("ModelDeployment", within(&object.metadata)),
        Object::Verification(object) => ("ArtifactVerification", within(&object.metadata)),
        Object::OwnPolicy(object) => ("DeploymentPolicy", within(&object.metadata)),
        Object::Policy(object) => ("ClusterDeploymentPolicy", of(&object.metadata)),
        Object::Waiver(object) => ("Waiver", within(&object.metadata)),
        Object::Gates(object) => ("RobustnessPolicy", within(&object.metadata)),
        Object::TrustRoot(object) => ("TrustRoot", of(&object.metadata)),
        Object::Namespace { name, .. } => ("Namespace", name.clone()),
        Object::Other(kind) => ("", kind.clone()),
    }
}

fn join(names: &BTreeSet<String>) -> String {
    let mut text = String::new();
    for name in names {
        let _ = write!(text, "{}{name}", if text.is_empty() { "" } else { ", " });
    }
    text
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::{super::files::parse, *};

    const POLICY: &str = "
apiVersion: probity.dev/v1alpha1
kind: ClusterDeploymentPolicy
metadata: {name: baseline}
spec:
  namespaceSelector: {}
  signers: [{name: release, key: {trustRoot: bank-keys, keys: [q3]}}]
  model: {signers: [release]}
";
    const ROOT: &str = "
apiVersion: probity.dev/v1alpha1
kind: TrustRoot
metadata: {name: bank-keys}
spec:
  keys:
  - name: q3
    publicKey: |
      -----BEGIN PUBLIC KEY-----
      MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEJlow8f7azEi7yRIQ/awfMNv/rT1O
      hdOMYDnatrV2FtOyl+euxDhNJ4/9/JmlxdLkqIAuY691VrquPdcKLBfBFw==
      -----END PUBLIC KEY-----
";
    const MODEL: &str = "
apiVersion: probity.dev/v1alpha1
kind: ModelDeployment
metadata: {name: digits}
spec:
  model: {source: {oci: {reference: 'registry.example/models/digits:1'}}}
  server:
    image: registry.example/s@sha256:0000000000000000000000000000000000000000000000000000000000000000
    protocol: HTTP
    port: 80
";
    const NAMESPACE: &str = "{apiVersion: v1, kind: Namespace, metadata: {name: bank, labels: {team: a}}}";

    fn gathered(files: &[&str], authority: &[&str], given: &Given) -> (Input, Vec<Trouble>) {
        let mut troubles = Vec::new();
        let documents = |texts: &[&str]| -> Vec<Document> {
            texts
                .iter()
                .enumerate()
                .flat_map(|(at, text)| parse(&format!("{at}.yaml"), text).unwrap())
                .collect()
        };
        let input = gather(&documents(files), &documents(authority), given, &mut troubles);
        (input, troubles)
    }

    fn given() -> Given {
        Given {
            namespace: "bank".into(),
            ..Given::default()
        }
    }

    #[test]
    fn everything_may_be_in_the_files() {
        let (input, troubles) = gathered(&[MODEL, POLICY, ROOT, NAMESPACE], &[], &given());
        assert_eq!(troubles, []);
        assert_eq!(input.notes, Vec::<String>::new());
        assert_eq!(input.world.rules[0].ready(), Ok(()));
        assert_eq!(input.subjects[0].namespace, "bank");
        assert_eq!(input.world.namespaces["bank"]["team"], "a");
        assert_eq!(input.world.namespaces["bank"][NAME_LABEL], "bank");
        assert!(
            !input.world.governs("bank"),
            "a manifest says what its namespace is, also when it is not governed"
        );
    }

    #[test_case("" => "DeploymentPolicy/bank/own"; "the namespace of the command line")]
    #[test_case(", namespace: shop" => "DeploymentPolicy/shop/own"; "its own")]
    fn a_policy_is_in_a_namespace(namespace: &str) -> String {
        let own = POLICY
            .replace("ClusterDeploymentPolicy", "DeploymentPolicy")
            .replace("  namespaceSelector: {}\n", "")
            .replace("name: baseline", &format!("name: own{namespace}"));
        let (input, troubles) = gathered(&[&own, ROOT], &[], &given());
        assert_eq!(troubles, []);
        assert_eq!(input.world.rules[0].ready(), Ok(()));
        input.world.rules[0].policy.clone()
    }

    #[test]
    fn a_model_cannot_bring_along_the_key_it_is_checked_with() {
        let given = Given {
            policies: true,
            trust: true,
            ..given()
        };
        let (input, troubles) = gathered(&[MODEL, ROOT, POLICY], &[POLICY], &given);
        assert_eq!(troubles, []);
        assert_eq!(input.world.rules.len(), 1);
        assert!(input.world.rules[0].ready().is_err());
        assert!(
            input
                .notes
                .iter()
                .any(|note| note.starts_with("TrustRoot/bank-keys in 1.yaml is not used")),
            "{:?}",
            input.notes
        );
        assert!(
            input
                .notes
                .iter()
                .any(|note| note.contains("with --policy if it is to count")),
            "{:?}",
            input.notes
        );
    }

    #[test]
    fn a_model_among_the_policies_is_not_checked() {
        let (input, _) = gathered(
            &[],
            &[POLICY, ROOT, MODEL],
            &Given {
                policies: true,
                trust: true,
                ..given()
            },
        );
        assert_eq!(input.subjects.len(), 0);
        assert!(
            input.notes[0].contains("ModelDeployment/bank/digits in 2.yaml is not checked"),
            "{:?}",
            input.notes
        );
    }

    #[test]
    fn a_namespace_nobody_describes_is_taken_as_governed() {
        let (input, _) = gathered(&[MODEL], &[], &given());
        assert!(input.world.governs("bank"));
        assert!(input.notes[0].contains("taken as governed"), "{:?}", input.notes);
    }

    #[test_case("probity.dev/governed", "false" => false)]
    #[test_case("team", "a" => true)]
    fn labels_of_the_command_line_are_for_namespaces_nobody_describes(key: &str, value: &str) -> bool {
        let given = Given {
            namespace_labels: [(key.to_owned(), value.to_owned())].into(),
            ..given()
        };
        let (input, _) = gathered(&[MODEL], &[], &given);
        assert_eq!(input.world.namespaces["bank"][key], value);
        input.world.governs("bank")
    }

    #[test]
    fn the_same_object_twice_is_refused() {
        let (_, troubles) = gathered(&[POLICY, POLICY], &[], &given());
        assert!(
            troubles[0]
                .message
                .contains("ClusterDeploymentPolicy/baseline is in 0.yaml already"),
            "{troubles:?}"
        );
    }

    #[test]
    fn what_is_wrong_names_file_object_and_field() {
        let (_, troubles) = gathered(&[&MODEL.replace("port", "prt")], &[], &given());
        assert_eq!(troubles[0].origin, "0.yaml");
        assert_eq!(
            troubles[0].message,
            "ModelDeployment/digits: spec.server.port: is required"
        );
        assert_eq!(
            troubles[1].message,
            "ModelDeployment/digits: spec.server.prt: unknown field; did you mean port?"
        );
    }
}
