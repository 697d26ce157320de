//! Values the tests of this layer share: a subject, signers known by the number of their key, verifications.
//! For tests only.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{
    ApprovalRule, Evidence, Facts, IsolationRules, NamespaceSelector, Problem, Rules, SignerRule,
    Verification,
};
use crate::{
    api::{
        GOVERNED_LABEL,
        v1alpha1::{Hardening, TrustedKey, UnmanagedPods},
    },
    evidence::{Digest, Effect, Failure, FileDifference, KeyFingerprint, Reason, SignerIdentity},
};

pub(super) const SUBJECT: Digest = Digest::from_bytes([0xaa; 32]);
pub(super) const OTHER: Digest = Digest::from_bytes([0xbb; 32]);

/// This many seconds into the time of the tests.
pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

pub(super) fn approval(by: &str, expires: Option<i64>) -> ApprovalRule {
    ApprovalRule {
        by: by.to_owned(),
        expires: expires.map(at),
    }
}

pub(super) fn fingerprint(n: u8) -> KeyFingerprint {
    Digest::from_bytes([n; 32])
}

pub(super) fn key(n: u8) -> TrustedKey {
    TrustedKey {
        fingerprint: fingerprint(n),
        name: format!("root/key-{n}"),
        public_key: format!("PEM {n}"),
    }
}

pub(super) fn signer(name: &str, keys: &[u8]) -> SignerRule {
    SignerRule {
        name: name.to_owned(),
        keys: keys.iter().map(|n| key(*n)).collect(),
        problems: Vec::new(),
    }
}

pub(super) fn broken_signer(name: &str) -> SignerRule {
    let field = format!("spec.signers[{name}].key.trustRoot");
    let problem = Problem::new(Reason::TrustRootMissing, field, "TrustRoot/gone does not exist");
    SignerRule {
        name: name.to_owned(),
        keys: Vec::new(),
        problems: vec![problem],
    }
}

pub(super) fn rules(signers: Vec<SignerRule>) -> Rules {
    Rules {
        policy: "ClusterDeploymentPolicy/baseline".to_owned(),
        uid: None,
        generation: None,
        namespaces: NamespaceSelector::Matching(Vec::new()),
        effect: Effect::Enforce,
        model_effect: Effect::Enforce,
        signers,
        threshold: 1,
        repositories: None,
        approved: BTreeMap::new(),
        revoked: BTreeMap::new(),
        isolation: super::IsolationRules::none(Effect::Enforce),
        robustness: Vec::new(),
        robustness_effect: Effect::Enforce,
        unmanaged_pods: UnmanagedPods::Deny,
        unproven_pods: crate::api::v1alpha1::UnprovenPods::Report,
        exempt: Vec::new(),
        on_violation: crate::api::v1alpha1::ViolationAction::Alert,
        grace_period: crate::policy::DEFAULT_GRACE_PERIOD,
        problems: Vec::new(),
    }
}

/// Rules that ask this of pods besides.
pub(super) fn isolated(effect: Effect, hardening: bool, runtime_classes: &[&str]) -> Rules {
    Rules {
        isolation: IsolationRules {
            hardening: hardening.then_some(Hardening::Restricted),
            runtime_classes: runtime_classes.iter().map(|name| (*name).to_owned()).collect(),
            ..IsolationRules::none(effect)
        },
        ..rules(vec![signer("release", &[1])])
    }
}

pub(super) fn facts(verification: Evidence<Verification>) -> Facts {
    Facts {
        namespace: "bank".to_owned(),
        model: "digits".to_owned(),
        governed: true,
        namespace_labels: [(GOVERNED_LABEL.to_owned(), "true".to_owned())].into(),
        origin: crate::evidence::Origin::Registry("registry.example/models/digits:1".parse().unwrap()),
        digest: Some(SUBJECT),
        verification,
        observed: None,
        server: None,
        egress: Vec::new(),
    }
}

pub(super) fn verified(keys: &[u8]) -> Verification {
    let identity = |n: &u8| SignerIdentity {
        key: key(*n).name,
        fingerprint: fingerprint(*n),
    };
    Verification {
        digest: SUBJECT,
        failure: None,
        signers: keys.iter().map(identity).collect(),
        differences: Vec::new(),
        differing: 0,
        files: 3,
        size: 604_211,
    }
}

pub(super) fn refused(keys: &[u8], reason: Reason, message: &str) -> Verification {
    Verification {
        failure: Some(Failure::new(reason, message)),
        ..verified(keys)
    }
}

pub(super) fn difference(path: &str, signed: Option<Digest>, found: Option<Digest>) -> FileDifference {
    FileDifference {
        path: path.to_owned(),
        signed,
        found,
    }
}
