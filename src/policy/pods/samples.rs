//! A Deployment whose model lies on a claim, and the model that governs it. For tests only.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::{
    api::{
        GOVERNED_LABEL,
        v1alpha1::{ClusterDeploymentPolicy, ModelDeployment, TrustedKey},
    },
    evidence::{Digest, Origin, SignerIdentity},
    policy::{Rules, World, accept, compile, trust::TrustRoots},
    workload::{PodSettings, samples},
};

use super::{PodStanding, Recorded, Standing, Way, additions, ways};

/// What the server runs from.
const SERVER: Digest = Digest::from_bytes([0x5e; 32]);
/// What the folder holds.
pub(crate) const CONTENT: Digest = Digest::from_bytes([0xaa; 32]);

/// Key number `n` of the trust root.
fn key(n: u8) -> TrustedKey {
    TrustedKey {
        fingerprint: Digest::from_bytes([n; 32]),
        name: format!("bank-keys/{n}"),
        public_key: "-----BEGIN PUBLIC KEY-----\nMAMCAQA=\n-----END PUBLIC KEY-----\n".into(),
    }
}

/// The policy `baseline`: signer `release` with this key, and this in its `model` section.
pub(crate) fn baseline(key: TrustedKey, more: &Value) -> Rules {
    let mut policy = json!({
        "apiVersion": "probity.dev/v1alpha1",
        "kind": "ClusterDeploymentPolicy",
        "metadata": {"name": "baseline", "uid": "policy", "generation": 1},
        "spec": {
            "namespaceSelector": {},
            "signers": [{"name": "release", "key": {"trustRoot": "bank-keys", "keys": ["current"]}}],
            "model": {"signers": ["release"]}
        }
    });
    policy["spec"]["model"]
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let policy: ClusterDeploymentPolicy = serde_json::from_value(policy).unwrap();
    let keys = [("current".to_owned(), Ok(key))].into();
    compile(&policy, &TrustRoots::from([("bank-keys".to_owned(), keys)]))
}

/// The object after a JSON Patch of additions (RFC 6902).
pub(crate) fn with_additions(mut object: Value, patch: &Value) -> Value {
    for one in patch.as_array().unwrap() {
        let (parent, key) = one["path"].as_str().unwrap().rsplit_once('/').unwrap();
        match object.pointer_mut(parent).unwrap() {
            Value::Array(items) => items.insert(key.parse().unwrap(), one["value"].clone()),
            fields => fields[key.replace("~1", "/")] = one["value"].clone(),
        }
    }
    object
}

#[derive(Clone)]
pub(crate) struct Scene {
    pub model: ModelDeployment,
    pub world: World,
    pub settings: PodSettings,
    pub now: Timestamp,
}

impl Scene {
    pub fn new() -> Self {
        let model = json!({
            "apiVersion": "probity.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": "digits", "namespace": "bank", "uid": "md", "generation": 1},
            "spec": {
                "model": {"source": {"volume": {"claimName": "models", "path": "digits/1"}}},
                "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "server"}
            }
        });
        let mut scene = Self {
            model: serde_json::from_value(model).unwrap(),
            world: World::default(),
            settings: samples::settings(),
            now: Timestamp::from_second(1_700_000_000).unwrap(),
        };
        scene.world.namespaces = [(
            "bank".to_owned(),
            [(GOVERNED_LABEL.to_owned(), "true".to_owned())].into(),
        )]
        .into();
        scene.policy(1, &json!({}));
        scene
    }

    /// There is one policy: signer `release` with key number `n`, and this in its `model` section.
    pub fn policy(&mut self, n: u8, more: &Value) {
        self.world.rules = vec![baseline(key(n), more)];
    }

    pub fn recorded(&self) -> Recorded<'_> {
        Recorded {
            model: Some(&self.model),
            verifications: &[],
        }
    }

    pub fn origin(&self) -> Origin {
        accept(&self.model.spec).unwrap()
    }

    pub fn ways(&self) -> Vec<Way> {
        ways(
            &self.model,
            self.recorded(),
            &self.world,
            &self.settings,
            self.now,
        )
    }

    pub fn standing(&self, pods: &[Pod]) -> Vec<PodStanding> {
        let ways = self.ways();
        let standing = Standing {
            model: &self.model,
            origin: &self.origin(),
            world: &self.world,
            settings: &self.settings,
            now: self.now,
            ways: &ways,
            recorded: self.recorded(),
        };
        standing.of(pods)
    }

    /// The images of the workload as they are written down.
    pub fn images(&mut self, images: &Value) {
        let status = json!({"workload": {"pods": 0, "proven": 0, "images": images}});
        self.model.status = Some(serde_json::from_value(status).unwrap());
    }

    /// A pod as its author wrote it.
    pub fn bare(name: &str) -> Value {
        json!({
            "metadata": {"name": name, "namespace": "bank", "uid": name, "labels": {"app": "server"}},
            "spec": {
                "containers": [{"name": "server", "image": format!("registry.example/server@{SERVER}"), "volumeMounts": [
                    {"name": "models", "mountPath": "/mnt/models", "subPath": "digits/1"}
                ]}],
                "volumes": [{"name": "models", "persistentVolumeClaim": {"claimName": "models"}}]
            },
            "status": {"conditions": [{"type": "Ready", "status": "True"}]}
        })
    }

    /// The same as admission lets it in now.
    pub fn fitted(&self, name: &str) -> Value {
        let pod = Self::bare(name);
        let typed: Pod = serde_json::from_value(pod.clone()).unwrap();
        let patch = additions(
            Some(&self.model),
            "bank",
            &typed,
            self.recorded(),
            &self.world,
            &self.settings,
            self.now,
        );
        with_additions(pod, &patch.unwrap())
    }

    /// The same after its verifier said this when it ended.
    pub fn ended(&self, name: &str, code: i32, says: &str) -> Value {
        let mut pod = self.fitted(name);
        pod["status"]["initContainerStatuses"] = json!([{
            "name": "probity-verify", "image": "", "imageID": "", "ready": true, "restartCount": 0,
            "state": {"terminated": {"exitCode": code, "message": says, "finishedAt": "2023-11-14T22:13:20Z"}}
        }]);
        pod
    }

    /// The same after it found this content to be signed with key number `n`.
    pub fn verified(&self, name: &str, content: Digest, n: u8) -> Value {
        let signer = SignerIdentity {
            key: key(n).name,
            fingerprint: key(n).fingerprint,
        };
        let report = json!({"digest": content, "size": 9, "files": 3, "signers": [signer]});
        self.ended(name, 0, &report.to_string())
    }
}

pub(crate) fn pod(value: Value) -> Pod {
    serde_json::from_value(value).unwrap()
}
