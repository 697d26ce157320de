//! One model in a governed namespace, as the tests of this folder play it: what was asked for, what is there, what happens.
//! For tests only; a step is a whole look at the model, with the objects changed as the API server would.
#![allow(clippy::needless_pass_by_value, reason = "stories read better with values")]
#![allow(
    clippy::option_option,
    reason = "no candidate, or one that is not resolved yet"
)]

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::{Outcome, Plan, Snapshot, plan, rollout, status};
use crate::{
    api::v1alpha1::{
        ArtifactVerification, ClusterDeploymentPolicy, ModelDeployment, ModelDeploymentStatus, TrustedKey,
        ViolationAction,
    },
    artifact::oci::HostPolicy,
    controller::{Note, Settings, notes::notes},
    evidence::{Digest, Reason, Reference, Verdict},
    policy::{
        World, compile,
        pods::{PodRequest, Recorded, judge, samples::baseline},
        trust::TrustRoots,
    },
    workload::{Plans, running_model, samples},
};

/// The content that serves first, in most stories.
pub(super) const GOOD: Digest = Digest::from_bytes([0xaa; 32]);
/// The content that is asked for later.
pub(super) const NEXT: Digest = Digest::from_bytes([0xbb; 32]);
/// Content nobody asked for.
pub(super) const OTHER: Digest = Digest::from_bytes([0xcc; 32]);

pub(super) const REPOSITORY: &str = "registry.example/models/digits";
const NAMESPACE: &str = "bank";
const UID: &str = "5a3cbb0e-0000-4000-8000-000000000001";

/// A model, what there is for it, and the world it is judged in.
#[derive(Clone)]
pub(super) struct Scene {
    pub model: ModelDeployment,
    pub snapshot: Snapshot,
    pub world: World,
    pub settings: Settings,
    pub clock: i64,
    /// The Events of the last step.
    pub notes: Vec<Note>,
}

impl Scene {
    /// The model asks for [`GOOD`]; a policy wants it signed by `release`; nothing is there yet.
    pub fn new() -> Self {
        let model = json!({
            "apiVersion": "probity.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": "digits", "namespace": NAMESPACE, "uid": UID, "generation": 1},
            "spec": {
                "model": {"source": {"oci": {"reference": format!("{REPOSITORY}@{GOOD}")}}},
                "server": {
                    "image": format!("registry.example/servers/onnx@{}", Digest::from_bytes([0x5e; 32])),
                    "protocol": "OpenInference",
                    "port": 8080,
                    "replicas": 2
                }
            }
        });
        let mut scene = Self {
            model: serde_json::from_value(model).unwrap(),
            snapshot: Snapshot::default(),
            world: World::default(),
            settings: Settings {
                previous_images: Vec::new(),
                fetch_image: format!("registry.example/probity@{}", Digest::from_bytes([0xfe; 32])),
                hosts: HostPolicy::default(),
                concurrency: 1,
                relay: None,
                audit_interval: std::time::Duration::from_secs(300),
                network: crate::controller::NetworkSettings::default(),
                canaries: None,
                evaluations: None,
                evaluations_at_once: 1,
                reports: true,
            },
            clock: 1_700_000_000,
            notes: Vec::new(),
        };
        scene.govern(true);
        scene.policy(1, &json!({}));
        scene
    }

    /// A scene in which [`GOOD`] serves.
    pub fn serving() -> Self {
        let mut scene = Self::new();
        scene.step();
        scene.verified(GOOD);
        scene.step();
        scene.roll_out();
        scene.step();
        assert_eq!(scene.ready(), ("True".into(), "Serving".into()));
        scene
    }

    /// The namespace gets or loses its label.
    pub fn govern(&mut self, governed: bool) {
        let label = (crate::api::GOVERNED_LABEL.to_owned(), governed.to_string());
        self.world.namespaces = [(NAMESPACE.to_owned(), [label].into())].into();
    }

    /// There is one policy: signer `release` with key number `n`, and this in its `model` section.
    pub fn policy(&mut self, n: u8, more: &Value) {
        self.world.rules = vec![baseline(key(n), more)];
    }

    /// Another policy beside the others, of this effect: signer `auditor` with key number `n`.
    pub fn another_policy(&mut self, n: u8, effect: &str) {
        let policy = json!({
            "apiVersion": "probity.dev/v1alpha1",
            "kind": "ClusterDeploymentPolicy",
            "metadata": {"name": "another"},
            "spec": {
                "namespaceSelector": {},
                "effect": effect,
                "signers": [{"name": "auditor", "key": {"trustRoot": "bank-keys", "keys": ["current"]}}],
                "model": {"signers": ["auditor"]}
            }
        });
        let policy: ClusterDeploymentPolicy = serde_json::from_value(policy).unwrap();
        let roots: TrustRoots = [(
            "bank-keys".to_owned(),
            [("current".to_owned(), Ok(key(n)))].into(),
        )]
        .into();
        self.world.rules.push(compile(&policy, &roots));
    }

    /// The model's specification changes at this pointer.
    pub fn edit(&mut self, pointer: &str, value: Value) {
        let mut spec = serde_json::to_value(&self.model.spec).unwrap();
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        spec.pointer_mut(parent).unwrap()[field] = value;
        self.model.spec = serde_json::from_value(spec).unwrap();
        self.model.metadata.generation = self.model.metadata.generation.map(|generation| generation + 1);
    }

    /// The model asks for other content of its repository.
    pub fn ask(&mut self, digest: Digest) {
        self.edit(
            "/model/source/oci/reference",
            json!(format!("{REPOSITORY}@{digest}")),
        );
    }

    /// The model asks for a tag, which was looked up with this result; `null`: not looked up yet.
    pub fn ask_for_tag(&mut self, tag: &str, resolved: Value) {
        self.edit(
            "/model/source/oci/reference",
            json!(format!("{REPOSITORY}:{tag}")),
        );
        let mut status = self.model.status.clone().unwrap_or_default();
        status.resolved = match resolved {
            Value::Null => None,
            mut resolved => {
                let source = self.model.spec.model.source.oci.as_ref().unwrap();
                resolved["source"] = json!(crate::policy::source_hash(source));
                Some(serde_json::from_value(resolved).unwrap())
            }
        };
        self.model.status = Some(status);
    }

    /// One look: plans, changes the objects as planned, writes the status.
    pub fn step(&mut self) -> Plan {
        self.clock += 1;
        let plan = self.plan();
        for verification in &plan.desired.obsolete {
            self.snapshot.verifications.retain(|there| there != verification);
        }
        for verification in &plan.desired.verifications {
            if self
                .snapshot
                .verifications
                .iter()
                .all(|there| there.name_any() != verification.name_any())
            {
                self.snapshot.verifications.push(verification.clone());
            }
        }
        if let Some(workload) = plan.desired.workload.clone() {
            let mut deployment = workload.deployment;
            let old = self.snapshot.deployment.as_ref();
            deployment.metadata.generation = old.map_or(Some(1), |old| {
                let generation = old.metadata.generation.unwrap_or(0);
                Some(if old.spec == deployment.spec {
                    generation
                } else {
                    generation + 1
                })
            });
            deployment.status = old.and_then(|old| old.status.clone());
            self.snapshot.deployment = Some(deployment);
            self.snapshot.service = Some(workload.service);
            self.snapshot.service_account = Some(workload.service_account);
        }
        for gate in &plan.desired.gates {
            let pod = self
                .snapshot
                .pods
                .iter_mut()
                .find(|pod| pod.name_any() == gate.pod)
                .unwrap();
            let status = pod.status.get_or_insert_default();
            let conditions = status.conditions.get_or_insert_default();
            conditions.retain(|there| there.type_ != gate.condition.type_);
            conditions.push(gate.condition.clone());
        }
        let outcome = Outcome {
            name_taken: None,
            rollout: rollout(self.snapshot.deployment.as_ref(), &self.snapshot.pods),
            ..Outcome::default()
        };
        self.write_status(&plan, &outcome);
        plan
    }

    /// Writes the status as the reconciler does, leaving what the tag was resolved to to its own manager.
    pub fn write_status(&mut self, plan: &Plan, outcome: &Outcome) {
        let new = status(&self.model, plan, outcome, self.now());
        self.notes = notes(self.model.status.as_ref(), &new);
        let resolved = self.model.status.take().and_then(|status| status.resolved);
        self.model.status = Some(ModelDeploymentStatus { resolved, ..new });
    }

    /// Steps until nothing changes any more.
    pub fn settle(&mut self) -> Plan {
        for _ in 0..8 {
            let before = (
                self.snapshot.deployment.clone(),
                self.snapshot.verifications.len(),
                self.model.status.clone(),
            );
            let plan = self.step();
            if before
                == (
                    self.snapshot.deployment.clone(),
                    self.snapshot.verifications.len(),
                    self.model.status.clone(),
                )
            {
                self.the_door_agrees(&plan);
                return plan;
            }
        }
        panic!("it does not settle");
    }

    /// Admission lets in just what is planned to run, by the same decision. What is revoked or no longer governed goes on
    /// running and is not started again, and half a rollout waits while it is verified anew.
    fn the_door_agrees(&self, plan: &Plan) {
        let Some(workload) = &plan.desired.workload else {
            return;
        };
        let deployment = workload.deployment.spec.clone().unwrap();
        let template = deployment.template.spec.unwrap();
        let runs = running_model(&template).unwrap();
        let pod = samples::created(&self.model, &runs);
        let pod = Pod {
            spec: Some(samples::as_stored(&template)),
            ..pod
        };
        let request = PodRequest {
            namespace: NAMESPACE,
            requester: samples::REPLICASET_CONTROLLER,
            pod: &pod,
            spec: &serde_json::to_value(&pod.spec).unwrap(),
            old: None,
            owners: &[],
        };
        let recorded = Recorded {
            model: Some(&self.model),
            verifications: &self.snapshot.verifications,
        };
        let decision = judge(
            &request,
            recorded,
            &self.world,
            &Plans::new(self.settings.pods()),
            self.now(),
        );
        let never_again = [Some(Reason::Revoked), Some(Reason::NotReadYet)].contains(&decision.reason());
        let not_yet = matches!(decision.verdict, Verdict::Wait | Verdict::Unknown);
        let held = plan.held.as_ref().filter(|held| held.digest == runs.digest);
        let cut = held.is_some_and(|held| held.response.asked > ViolationAction::Alert);
        let stops = deployment.replicas == Some(0) || cut;
        assert!(
            decision.admits() != (never_again || not_yet || stops),
            "{decision:#?}"
        );
    }

    pub fn plan(&self) -> Plan {
        plan(
            &self.model,
            &self.snapshot,
            &self.world,
            &self.settings.pods(),
            self.now(),
        )
    }

    pub fn now(&self) -> Timestamp {
        Timestamp::from_second(self.clock).unwrap()
    }

    /// Every pod of the Deployment comes up.
    pub fn roll_out(&mut self) {
        let deployment = self.snapshot.deployment.as_mut().unwrap();
        let wanted = deployment.spec.as_ref().unwrap().replicas.unwrap_or(1);
        self.set_rollout(wanted, wanted, wanted);
    }

    /// The Deployment controller saw the newest template and got this far with it.
    pub fn set_rollout(&mut self, replicas: i32, updated: i32, available: i32) {
        let deployment = self.snapshot.deployment.as_mut().unwrap();
        deployment.status = serde_json::from_value(json!({
            "observedGeneration": deployment.metadata.generation,
            "replicas": replicas,
            "updatedReplicas": updated,
            "availableReplicas": available
        }))
        .unwrap();
    }

    /// The verifications of this content end like this.
    pub fn looked_at(&mut self, digest: Digest, status: &Value) {
        let mut any = false;
        for verification in self.of(digest) {
            verification.status = serde_json::from_value(status.clone()).unwrap();
            any = true;
        }
        assert!(any, "nobody asked for a verification of {digest}");
    }

    /// Every key that was looked for signed this content.
    pub fn verified(&mut self, digest: Digest) {
        let keys = self
            .of(digest)
            .next()
            .map(|verification| verification.spec.keys.clone())
            .unwrap();
        let signers: Vec<_> = keys
            .iter()
            .map(|key| json!({"key": key.name, "fingerprint": key.fingerprint}))
            .collect();
        self.looked_at(
            digest,
            &json!({"verdict": "Verified", "signers": signers, "files": 3, "size": 604_211}),
        );
    }

    /// The verification of this content under key number `n` ends well; others go on.
    pub fn verified_under(&mut self, digest: Digest, n: u8) {
        let signer = key(n);
        let asked = |verification: &&mut ArtifactVerification| verification.spec.keys == [signer.clone()];
        let verification = self.of(digest).find(asked).unwrap();
        verification.status = serde_json::from_value(json!({
            "verdict": "Verified", "files": 3, "size": 604_211,
            "signers": [{"key": signer.name, "fingerprint": signer.fingerprint}]
        }))
        .unwrap();
    }

    /// A file of this content is not the signed one.
    pub fn refused(&mut self, digest: Digest) {
        let message = "model.onnx differs from what bank-keys/current signed (signed 41d0…, found 9f2c…): sign the new version or roll back";
        self.looked_at(
            digest,
            &json!({
                "verdict": "Refused", "reason": "DigestMismatch", "message": message, "files": 3, "size": 604_211,
                "signers": [{"key": "bank-keys/current", "fingerprint": key(1).fingerprint}],
                "differences": [{"path": "model.onnx", "signed": GOOD, "found": NEXT}], "differing": 1
            }),
        );
    }

    /// The registry cannot be asked about this content.
    pub fn unreadable(&mut self, digest: Digest) {
        let message = "registry.example does not answer: it is tried again";
        self.looked_at(
            digest,
            &json!({"verdict": "Unknown", "reason": "RegistryUnavailable", "message": message}),
        );
    }

    fn of(&mut self, digest: Digest) -> impl Iterator<Item = &mut ArtifactVerification> {
        let about = move |verification: &&mut ArtifactVerification| {
            verification.spec.source.oci.as_ref().unwrap().digest == digest
        };
        self.snapshot.verifications.iter_mut().filter(about)
    }

    /// Somebody edits the Deployment at this pointer; its controller sees it and rolls it out.
    pub fn tamper(&mut self, pointer: &str, value: Value) {
        let deployment = self.snapshot.deployment.as_mut().unwrap();
        let mut json = serde_json::to_value(&deployment).unwrap();
        *json.pointer_mut(pointer).unwrap() = value;
        *deployment = serde_json::from_value(json).unwrap();
        deployment.metadata.generation = deployment.metadata.generation.map(|generation| generation + 1);
        self.roll_out();
    }

    /// A pod of the Deployment's template, with this status.
    pub fn pod(&self, name: &str, status: Value) -> Pod {
        let template = &self
            .snapshot
            .deployment
            .as_ref()
            .unwrap()
            .spec
            .as_ref()
            .unwrap()
            .template;
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": NAMESPACE, "creationTimestamp": self.now()},
            "spec": template.spec,
            "status": status
        }))
        .unwrap()
    }

    /// What the Deployment's template runs, and how many of it are wanted; none without a Deployment.
    pub fn runs(&self) -> Option<(Digest, i32)> {
        let rollout = rollout(self.snapshot.deployment.as_ref(), &[]);
        rollout.template.map(|template| (template.digest, rollout.wanted))
    }

    /// Status and reason of `Ready`.
    pub fn ready(&self) -> (String, String) {
        let ready = self.condition("Ready");
        (ready.0, ready.1)
    }

    /// Status, reason and message of a condition.
    pub fn condition(&self, kind: &str) -> (String, String, String) {
        let conditions = self.model.status.as_ref().unwrap().conditions.as_deref();
        let found =
            super::super::condition::find(conditions, kind).unwrap_or_else(|| panic!("no condition {kind}"));
        (found.status.clone(), found.reason.clone(), found.message.clone())
    }

    /// What the status says serves, and what it says is asked for and does not.
    pub fn says(&self) -> (Option<Digest>, Option<Option<Digest>>) {
        let status = self.model.status.as_ref().unwrap();
        let serving = status.serving.as_ref().map(|serving| serving.digest);
        (
            serving,
            status.candidate.as_ref().map(|candidate| candidate.digest),
        )
    }
}

/// The key with this number.
pub(super) fn key(n: u8) -> TrustedKey {
    TrustedKey {
        fingerprint: Digest::from_bytes([n; 32]),
        name: "bank-keys/current".into(),
        public_key: format!("-----BEGIN PUBLIC KEY-----\nkey {n}\n-----END PUBLIC KEY-----\n"),
    }
}

/// The reference to this content.
pub(super) fn reference(digest: Digest) -> Reference {
    format!("{REPOSITORY}@{digest}").parse().unwrap()
}
