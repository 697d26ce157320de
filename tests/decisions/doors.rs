//! The operator, admission and `probity check` give one answer, whatever the policies, the trust and the evidence are.
//! They share the decision, and each brings its facts together by itself: what is tried here is that.

use std::{collections::BTreeMap, process::Command};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use probity::{
    api::{
        GOVERNED_LABEL,
        v1alpha1::{
            ArtifactVerification, ClusterDeploymentPolicy, DeploymentPolicy, ModelDeployment, TrustRoot,
        },
    },
    artifact::signature::PublicKey,
    controller::model_deployment::{Snapshot, plan},
    evidence::{Digest, Effect, Origin, Reason, Reference, Verdict},
    policy::{
        Decision, Evidence, Verifications, World, compile, foregone,
        pods::{PodRequest, Recorded, judge},
        trust,
    },
    workload::{Plans, PodSettings, RunningModel, Served, workload},
};
use proptest::{collection::vec, option, prelude::*, sample::select, sample::subsequence};
use serde_json::{Value, json};

const KEYS: [(&str, &str); 3] = [
    ("k1", include_str!("../fixtures/oms/p256.pub")),
    ("k2", include_str!("../fixtures/oms/p384.pub")),
    ("k3", include_str!("../fixtures/oms/stranger.pub")),
];
/// Names of keys as policies write them; the last one is in no trust root.
const NAMES: [&str; 4] = ["k1", "k2", "k3", "gone"];
/// One for each model of a case, so that no verification is about two of them: `check` finds one by content and keys.
const CONTENTS: [Digest; 4] = [
    Digest::from_bytes([0xaa; 32]),
    Digest::from_bytes([0xbb; 32]),
    Digest::from_bytes([0xcc; 32]),
    Digest::from_bytes([0xdd; 32]),
];
const REPOSITORIES: [&str; 2] = ["registry.example/models/digits", "registry.example/others/digits"];
/// The model's namespace, and one that is not it.
const NAMESPACES: [&str; 2] = ["bank", "shop"];
const MAKER: &str = "system:serviceaccount:kube-system:replicaset-controller";

/// What is found about content, before it is known which keys are looked for.
#[derive(Debug, Clone)]
struct Found {
    verdict: &'static str,
    reason: &'static str,
    /// Which of the keys that were looked for signed, a bit each.
    signed: u8,
}

/// A model, and what is found about it under the keys of enforced policies and under the others'.
#[derive(Debug, Clone)]
struct Asked {
    repository: &'static str,
    content: Digest,
    /// By a tag that nobody resolved yet.
    tagged: bool,
    found: [Option<Found>; 2],
}

/// Everything that is there, as people write it.
#[derive(Debug, Clone)]
struct Case {
    labels: BTreeMap<String, String>,
    policies: Vec<Value>,
    asked: Vec<Asked>,
}

fn effect() -> impl Strategy<Value = Value> {
    select(vec![
        json!("Enforce"),
        json!("Enforce"),
        json!(null),
        json!("Warn"),
        json!("Audit"),
    ])
}

fn selector() -> impl Strategy<Value = Value> {
    select(vec![
        json!({}),
        json!({}),
        json!({"matchLabels": {"team": "bank"}}),
        json!({"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]}),
        // No label has such a key, so the selector cannot be read.
        json!({"matchExpressions": [{"key": "a team", "operator": "Exists"}]}),
    ])
}

/// What both kinds of policies have in common: an API server would take it, and it need not make sense.
fn body() -> impl Strategy<Value = Value> {
    let signers = vec(subsequence(NAMES.to_vec(), 1..3), 1..4);
    let approved = (
        subsequence(CONTENTS.to_vec(), 0..=2),
        select(vec![
            json!(null),
            json!("2000-01-01T00:00:00Z"),
            json!("2999-01-01T00:00:00Z"),
        ]),
    );
    let repositories = option::weighted(0.3, select(vec!["registry.example/models/*", "**"]));
    let revoked = prop_oneof![5 => Just(Vec::new()), 1 => subsequence(CONTENTS.to_vec(), 1..=2)];
    let (root, threshold) = (
        select(vec!["root", "root", "root", "root", "nowhere"]),
        select(vec![1, 1, 1, 2_usize]),
    );
    ((effect(), effect()), signers, root, threshold, repositories, approved, revoked).prop_map(
        |((effect, model_effect), signers, root, threshold, repositories, (approved, expires), revoked)| {
            let names: Vec<_> = (0..signers.len()).map(|at| format!("s{at}")).collect();
            let defined: Vec<_> = names
                .iter()
                .zip(signers)
                .map(|(name, keys)| json!({"name": name, "key": {"trustRoot": root, "keys": keys}}))
                .collect();
            let mut body = json!({
                "signers": defined,
                "model": {
                    "threshold": threshold.min(names.len()), "signers": names,
                    "revoked": revoked.iter().map(|digest| json!({"digest": digest, "reason": "poisoned"})).collect::<Vec<_>>(),
                    "approved": approved.iter().map(|digest| without_null(json!({"digest": digest, "by": "Ada", "expires": expires}))).collect::<Vec<_>>(),
                }
            });
            body["effect"] = effect;
            body["model"]["effect"] = model_effect;
            if let Some(glob) = repositories {
                body["model"]["repositories"] = json!([glob]);
            }
            body["model"] = without_null(body["model"].take());
            without_null(body)
        },
    )
}

fn without_null(mut object: Value) -> Value {
    object
        .as_object_mut()
        .unwrap()
        .retain(|_, value| !value.is_null());
    object
}

fn policies() -> impl Strategy<Value = Vec<Value>> {
    let cluster = (body(), selector()).prop_map(|(mut spec, selector)| {
        spec["namespaceSelector"] = selector;
        json!({"apiVersion": "probity.dev/v1alpha1", "kind": "ClusterDeploymentPolicy", "metadata": {}, "spec": spec})
    });
    let own = (body(), select(NAMESPACES.to_vec())).prop_map(|(spec, namespace)| {
        json!({"apiVersion": "probity.dev/v1alpha1", "kind": "DeploymentPolicy", "metadata": {"namespace": namespace}, "spec": spec})
    });
    let platform = prop_oneof![1 => Just(Vec::new()), 6 => vec(cluster, 1..3)];
    (platform, vec(own, 0..2)).prop_map(|(cluster, own)| {
        let mut all = [cluster, own].concat();
        for (at, policy) in all.iter_mut().enumerate() {
            policy["metadata"]["name"] = json!(format!("p{at}"));
        }
        all
    })
}

fn asked() -> impl Strategy<Value = Asked> {
    let found = || {
        option::weighted(
            0.9,
            prop_oneof![
                3 => Just(Found { verdict: "Verified", reason: "", signed: 7 }),
                4 => (1..8_u8).prop_map(|signed| Found { verdict: "Verified", reason: "", signed }),
                3 => (0..8_u8, select(vec!["Unsigned", "SignerMismatch", "DigestMismatch", "SignatureInvalid", "NotAModel"]))
                    .prop_map(|(signed, reason)| Found { verdict: "Refused", reason, signed }),
                1 => select(vec!["Timeout", "RegistryUnavailable"]).prop_map(|reason| Found { verdict: "Unknown", reason, signed: 0 }),
                1 => Just(Found { verdict: "", reason: "", signed: 0 }),
            ],
        )
    };
    let tagged = prop::bool::weighted(0.1);
    (select(REPOSITORIES.to_vec()), tagged, found(), found()).prop_map(
        |(repository, tagged, required, observed)| Asked {
            repository,
            content: CONTENTS[0],
            tagged,
            found: [required, observed],
        },
    )
}

fn case() -> impl Strategy<Value = Case> {
    let team = option::of(select(vec!["bank", "shop"]));
    (
        team,
        prop::bool::weighted(0.9),
        policies(),
        vec(asked(), CONTENTS.len()),
    )
        .prop_map(|(team, governed, policies, mut asked)| {
            for (asked, content) in asked.iter_mut().zip(CONTENTS) {
                asked.content = content;
            }
            let mut labels =
                BTreeMap::from([("kubernetes.io/metadata.name".to_owned(), NAMESPACES[0].to_owned())]);
            labels.extend(team.map(|team| ("team".to_owned(), team.to_owned())));
            if governed {
                labels.insert(GOVERNED_LABEL.to_owned(), "true".to_owned());
            }
            Case {
                labels,
                policies,
                asked,
            }
        })
}

fn trust_root() -> Value {
    let keys: Vec<_> = KEYS
        .iter()
        .map(|(name, pem)| json!({"name": name, "publicKey": pem}))
        .collect();
    json!({"apiVersion": "probity.dev/v1alpha1", "kind": "TrustRoot", "metadata": {"name": "root"}, "spec": {"keys": keys}})
}

/// The world as the operator and admission see it.
fn world(case: &Case) -> World {
    let root: TrustRoot = serde_json::from_value(trust_root()).unwrap();
    let keys = trust::read(&root, |name, pem| {
        let key = PublicKey::parse(name, pem).map_err(|failure| failure.message)?;
        Ok(key.fingerprint())
    });
    let roots = [("root".to_owned(), keys)].into();
    let compiled = |policy: &Value| {
        if policy["kind"] == "DeploymentPolicy" {
            compile::<DeploymentPolicy>(&serde_json::from_value(policy.clone()).unwrap(), &roots)
        } else {
            compile::<ClusterDeploymentPolicy>(&serde_json::from_value(policy.clone()).unwrap(), &roots)
        }
    };
    World {
        rules: case.policies.iter().map(compiled).collect(),
        namespaces: [(NAMESPACES[0].to_owned(), case.labels.clone())].into(),
        ..World::default()
    }
}

impl Asked {
    fn model(&self, name: &str) -> ModelDeployment {
        let version = if self.tagged {
            ":1".to_owned()
        } else {
            format!("@{}", self.content)
        };
        serde_json::from_value(json!({
            "apiVersion": "probity.dev/v1alpha1", "kind": "ModelDeployment",
            "metadata": {"name": name, "namespace": NAMESPACES[0], "uid": format!("uid-{name}"), "generation": 1},
            "spec": {
                "model": {"source": {"oci": {"reference": format!("{}{version}", self.repository)}}},
                "server": {
                    "image": format!("registry.example/servers/onnx@{}", Digest::from_bytes([0x5e; 32])),
                    "protocol": "HTTP", "port": 8080, "replicas": 1
                }
            }
        }))
        .unwrap()
    }

    fn reference(&self) -> Reference {
        format!("{}@{}", self.repository, self.content).parse().unwrap()
    }

    /// What runs if it is admitted: of the size that was found, as planned.
    fn runs(&self, size: u64) -> RunningModel {
        RunningModel {
            reference: self.reference(),
            digest: self.content,
            size,
            pull_secret: None,
        }
    }

    /// The verifications that are recorded.
    fn recorded(&self, model: &ModelDeployment, world: &World) -> Vec<ArtifactVerification> {
        let wanted = Verifications::of(model, world, &self.runs(0));
        let [required, observed] = &self.found;
        [(wanted.required, required), (wanted.observed, observed)]
            .into_iter()
            .filter_map(|(wanted, found)| Some((wanted?, found.as_ref()?)))
            .map(|(mut verification, found)| {
                verification.status = found.status(&verification);
                verification
            })
            .collect()
    }
}

impl Found {
    fn status(
        &self,
        of: &ArtifactVerification,
    ) -> Option<probity::api::v1alpha1::ArtifactVerificationStatus> {
        let keys = of.spec.keys.iter().enumerate();
        let signers: Vec<_> = keys
            .filter(|(at, _)| self.signed >> at & 1 == 1)
            .map(|(_, key)| json!({"key": key.name, "fingerprint": key.fingerprint}))
            .collect();
        let status = match self.verdict {
            "" => return None,
            "Unknown" => json!({"verdict": "Unknown", "reason": self.reason, "message": "it is away"}),
            "Verified" => json!({"verdict": "Verified", "signers": signers, "files": 3, "size": 604_211}),
            verdict => json!({"verdict": verdict, "reason": self.reason, "message": "as it was found",
                "signers": signers, "files": 3, "size": 604_211}),
        };
        Some(serde_json::from_value(status).unwrap())
    }
}

/// What `probity check` says of every model, from files alone: whether it admits, and its reason.
fn checked(objects: &[Value]) -> BTreeMap<String, (bool, Option<String>)> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("all.json");
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    std::fs::write(&file, list.to_string()).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_probity"))
        .args(["check", "--offline", "-o", "json", "-f"])
        .arg(&file)
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(report["errors"], json!([]), "an API server would take all of it");
    let models = report["models"].as_array().unwrap();
    models
        .iter()
        .map(|model| {
            let name = model["name"].as_str().unwrap().to_owned();
            let reason = model["reason"].as_str().map(str::to_owned);
            (name, (model["verdict"] == "Pass", reason))
        })
        .collect()
}

/// What admission says of the pod that the `ReplicaSet` controller makes from what the operator plans, or would plan.
fn at_the_door(
    model: &ModelDeployment,
    runs: &RunningModel,
    verifications: &[ArtifactVerification],
    world: &World,
    now: Timestamp,
) -> Decision {
    let served = Served::of(model).unwrap();
    let planned = workload(model, &served, runs, &settings(), Some(1));
    let template = planned.deployment.spec.unwrap().template;
    let mut pod = Pod {
        metadata: template.metadata.unwrap(),
        spec: template.spec,
        status: None,
    };
    pod.metadata.owner_references = serde_json::from_value(json!([{
        "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": "rs", "controller": true
    }]))
    .unwrap();
    let request = PodRequest {
        namespace: NAMESPACES[0],
        requester: MAKER,
        pod: &pod,
        spec: &serde_json::to_value(&pod.spec).unwrap(),
        old: None,
        owners: &[],
    };
    assert_eq!(request.model(), Some(&*model.name_any()));
    let recorded = Recorded {
        model: Some(model),
        verifications,
    };
    judge(&request, recorded, world, &Plans::new(settings()), now)
}

fn settings() -> PodSettings {
    PodSettings {
        fetch_image: format!("registry.example/probity@{}", Digest::from_bytes([0xfe; 32])),
        host_arguments: Vec::new(),
        relay: None,
        previous_images: Vec::new(),
    }
}

/// Every reason that denies.
fn reasons(decision: &Decision) -> Vec<&'static str> {
    let denies = decision.findings.iter().filter(|one| {
        one.effect == Effect::Enforce && matches!(one.verdict, Verdict::Fail | Verdict::Unknown)
    });
    denies.filter_map(|one| one.reason).map(Reason::as_str).collect()
}

/// How many of everything that was tried there were, so that the worlds are not all alike.
#[derive(Debug, Default)]
struct Tried {
    admitted: usize,
    refused: usize,
    same_reason: usize,
}

fn agree(case: &Case, tried: &mut Tried) -> Result<(), TestCaseError> {
    let (world, now) = (world(case), Timestamp::now());
    let mut objects = vec![
        trust_root(),
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACES[0], "labels": case.labels}}),
    ];
    objects.extend(case.policies.clone());
    let mut models = Vec::new();
    for (at, asked) in case.asked.iter().enumerate() {
        let model = asked.model(&format!("m{at}"));
        let verifications = asked.recorded(&model, &world);
        objects.push(serde_json::to_value(&model).unwrap());
        objects.extend(verifications.iter().map(|one| serde_json::to_value(one).unwrap()));
        models.push((asked, model, verifications));
    }
    let said = checked(&objects);
    for (asked, model, verifications) in &models {
        let (check, check_reason) = &said[&model.name_any()];
        let snapshot = Snapshot {
            verifications: verifications.clone(),
            ..Snapshot::default()
        };
        let planned = plan(model, &snapshot, &world, &settings(), now);
        let operator = planned.desired.workload.is_some();

        let size =
            match Verifications::of(model, &world, &asked.runs(0)).evidence(verifications, &asked.runs(0)) {
                Evidence::Known(found) if found.size > 0 => found.size,
                _ => 1 << 40,
            };
        let door = at_the_door(model, &asked.runs(size), verifications, &world, now);

        prop_assert_eq!(
            operator,
            door.admits(),
            "operator and admission: {:#?} {:#?}",
            planned.requested,
            door
        );
        prop_assert_eq!(
            operator,
            *check,
            "operator and check: {:#?} {:?}",
            planned.requested,
            said
        );
        let Some(requested) = planned.requested.map(|judged| judged.decision) else {
            // By a tag that nobody resolved: none of them knows what it is.
            prop_assert!(asked.tagged && !operator);
            continue;
        };
        *(if operator {
            &mut tried.admitted
        } else {
            &mut tried.refused
        }) += 1;
        if operator {
            continue;
        }
        let all = reasons(&requested);
        // Where nothing could change the answer, `check` asks nobody for what else is wrong.
        let (namespace, origin) = (NAMESPACES[0], Origin::Registry(asked.reference()));
        if let (Some(reason), Some(headline)) = (check_reason, requested.reason()) {
            let name = model.name_any();
            let early = foregone(&world, namespace, &name, &origin, Some(asked.content), None, now).is_some();
            let same = reason == headline.as_str() || early && all.contains(&&**reason);
            prop_assert!(same, "check says {reason}, the operator {headline}: {all:?}");
        }
        if let (Some(reason), Some(headline)) = (door.reason(), requested.reason()) {
            // The door is not asked where nothing is governed, and looks at nothing where no policy applies.
            let same = reason == headline
                || reason == Reason::NotReadYet && !world.governs(namespace)
                || reason == Reason::NoPolicy && all.contains(&reason.as_str());
            prop_assert!(same, "admission says {reason}, the operator {headline}: {all:?}");
            tried.same_reason += 1;
        }
    }
    Ok(())
}

#[test]
fn operator_admission_and_check_agree() {
    let mut tried = Tried::default();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let tally = std::cell::RefCell::new(&mut tried);
    runner
        .run(&case(), |case| agree(&case, &mut tally.borrow_mut()))
        .unwrap_or_else(|error| panic!("{error}"));
    assert!(
        tried.admitted > 10 && tried.refused > 50 && tried.same_reason > 30,
        "too few of some kind: {tried:?}"
    );
}
