//! What is known about one model when it is decided on, and what is not known yet.
//! Values only, with the conversions from a recorded verification; none of them trusts a verification of other content.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use super::{World, hardening::limits_memory, world};
use crate::{
    api::v1alpha1::{
        ArtifactVerificationSpec, ArtifactVerificationStatus, EgressRule, ModelDeploymentSpec, Server,
        VerificationVerdict,
    },
    evidence::{
        ArtifactReport, Digest, Failure, FileDifference, KeyFingerprint, Origin, Outcome, Reason,
        SignerIdentity,
    },
};

/// A fact that may not be known. Only [`Evidence::Known`] can ever admit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence<T> {
    /// It is known.
    Known(T),
    /// Somebody else must act first; the sentence says who or what.
    Wait(String),
    /// It could not be read.
    Unknown(Failure),
    /// The check can only be made inside the pod, and the pod brings exactly what makes it before anything reads the model:
    /// only whoever has seen that of the very pod may say so. One signature is looked for, by any one of these keys.
    Owed(BTreeSet<KeyFingerprint>),
}

/// What a finished verification found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// The content it speaks of.
    pub digest: Digest,
    /// Why it was refused; absent when every file is exactly what the signers signed.
    pub failure: Option<Failure>,
    /// Whose signature verified, whether or not the content then matched it.
    pub signers: Vec<SignerIdentity>,
    /// The first few files that differ from what was signed.
    pub differences: Vec<FileDifference>,
    /// How many files differ in all.
    pub differing: usize,
    /// Files of the model, the signature itself not counted.
    pub files: usize,
    /// Bytes of those files.
    pub size: u64,
}

impl Verification {
    /// What a recorded verification says about `subject`.
    ///
    /// One of other content says nothing, nor does one that contradicts itself. Signers whose key the specification does
    /// not list are left out: the status cannot widen what was asked for.
    pub fn recorded(
        subject: Digest,
        spec: &ArtifactVerificationSpec,
        status: Option<&ArtifactVerificationStatus>,
    ) -> Evidence<Self> {
        let Some(source) = &spec.source.oci else {
            return defect("the verification has no source".into());
        };
        if source.digest != subject {
            return defect(other_content(source.digest, subject));
        }
        let waiting = || Evidence::Wait(format!("sha256:{}… is being verified", subject.short()));
        let Some(status) = status else { return waiting() };
        let Some(verdict) = status.verdict else {
            return waiting();
        };
        let stated = status.reason.map(|reason| {
            let message = status
                .message
                .clone()
                .unwrap_or_else(|| format!("the verification ended with {reason}"));
            Failure::new(reason, message)
        });
        let differing = status
            .differing
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(0);
        let differences = status.differences.clone().unwrap_or_default();
        let failure = match (verdict, stated) {
            (VerificationVerdict::Verified, None) if differing == 0 && differences.is_empty() => None,
            (VerificationVerdict::Refused, Some(failure)) => Some(failure),
            (VerificationVerdict::Unknown, Some(failure)) => return Evidence::Unknown(failure),
            (VerificationVerdict::Unknown, None) => {
                return defect("the verification is Unknown without a reason".into());
            }
            (VerificationVerdict::Verified | VerificationVerdict::Refused, _) => {
                return defect("the verification's status contradicts itself".into());
            }
        };
        let asked: BTreeSet<Digest> = spec.keys.iter().map(|key| key.fingerprint).collect();
        let signers = status
            .signers
            .iter()
            .flatten()
            .filter(|s| asked.contains(&s.fingerprint))
            .cloned()
            .collect();
        Evidence::Known(Self {
            digest: subject,
            failure,
            signers,
            differences,
            differing,
            files: status.files.and_then(|n| usize::try_from(n).ok()).unwrap_or(0),
            size: status.size.and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
        })
    }

    /// What a report made just now says about `subject`; one of other content says nothing.
    pub fn reported(subject: Digest, report: &ArtifactReport) -> Evidence<Self> {
        let failure = match &report.outcome {
            Outcome::Verified => None,
            Outcome::Refused(failure) if failure.is_transient() => return Evidence::Unknown(failure.clone()),
            Outcome::Refused(failure) => Some(failure.clone()),
        };
        match report.digest {
            Some(digest) if digest == subject => {}
            Some(other) => return defect(other_content(other, subject)),
            // A refusal can come before the content's own digest is known; what verified must say what it is.
            None if failure.is_some() => {}
            None => return defect("the report does not say which content it speaks of".into()),
        }
        Evidence::Known(Self {
            digest: subject,
            failure,
            signers: report.signers.clone(),
            differences: report.differences.clone(),
            differing: report.differing,
            files: report.files,
            size: report.size,
        })
    }
}

fn defect<T>(message: String) -> Evidence<T> {
    Evidence::Unknown(Failure::new(Reason::Internal, message))
}

fn other_content(found: Digest, subject: Digest) -> String {
    format!(
        "the verification speaks of sha256:{}…, not of sha256:{}…",
        found.short(),
        subject.short()
    )
}

/// What is known about one model.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// The model's namespace.
    pub namespace: String,
    /// The model's name: what waivers are for.
    pub model: String,
    /// Whether that namespace is labelled as governed.
    pub governed: bool,
    /// The labels of that namespace: what selects policies. The model's own labels never do.
    pub namespace_labels: BTreeMap<String, String>,
    /// Where the model comes from.
    pub origin: Origin,
    /// Its content, once the reference is resolved.
    pub digest: Option<Digest>,
    /// What verifying that content found, under the keys of the policies that are enforced.
    pub verification: Evidence<Verification>,
    /// The same under the keys of those that are not, where that is another question: their keys must not decide how soon,
    /// or whether, the others are answered.
    pub observed: Option<Evidence<Verification>>,
    /// What the model declares that its pods may reach; of what serves, what it began to serve with.
    pub egress: Vec<EgressRule>,
    /// How Probity runs its server; none when somebody else does, and then its pods are judged.
    pub server: Option<ServerFacts>,
}

/// What a model says by itself and policies have a say in.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Declared {
    /// How Probity runs its server; none when somebody else does, and then its pods are judged.
    pub server: Option<ServerFacts>,
    /// What its pods are to reach.
    pub egress: Vec<EgressRule>,
}

impl Declared {
    /// What this specification says.
    pub fn by(spec: &ModelDeploymentSpec) -> Self {
        Self {
            server: spec.server.as_ref().map(ServerFacts::of),
            egress: spec.egress.clone().unwrap_or_default(),
        }
    }
}

/// How a model's server runs, as far as its author chooses that and policies have a say in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFacts {
    /// Whether its memory is limited.
    pub memory_limited: bool,
    /// The `RuntimeClass` it asks for.
    pub runtime_class: Option<String>,
}

impl ServerFacts {
    /// Those of this server.
    pub fn of(server: &Server) -> Self {
        Self {
            memory_limited: limits_memory(server.resources.as_ref()),
            runtime_class: server.runtime_class_name.clone(),
        }
    }
}

impl Facts {
    /// Facts about a model of this name in `namespace`, whose labels are looked up in `world`.
    pub fn about(
        world: &World,
        namespace: &str,
        model: &str,
        origin: impl Into<Origin>,
        digest: Option<Digest>,
        verification: Evidence<Verification>,
    ) -> Self {
        let namespace_labels = world.namespaces.get(namespace).cloned().unwrap_or_default();
        let governed = world::governed(&namespace_labels);
        Self {
            namespace: namespace.to_owned(),
            model: model.to_owned(),
            governed,
            namespace_labels,
            origin: origin.into(),
            digest,
            verification,
            observed: None,
            server: None,
            egress: Vec::new(),
        }
    }

    /// The same, of a model that says this by itself.
    #[must_use]
    pub fn declared(self, declared: Declared) -> Self {
        let Declared { server, egress } = declared;
        Self {
            egress,
            server,
            ..self
        }
    }

    /// The facts as policies see them that are not enforced.
    pub(super) fn as_observed(&self) -> Cow<'_, Self> {
        match &self.observed {
            None => Cow::Borrowed(self),
            Some(observed) => Cow::Owned(Self {
                verification: observed.clone(),
                ..self.clone()
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use test_case::test_case;

    use super::*;
    use crate::policy::samples::{OTHER, SUBJECT, fingerprint, key};

    fn spec(digest: Digest) -> ArtifactVerificationSpec {
        let source = json!({"oci": {"repository": "registry.example/models/digits", "digest": digest}});
        serde_json::from_value(json!({"source": source, "keys": [key(1)]})).unwrap()
    }

    fn recorded(status: Value) -> Evidence<Verification> {
        Verification::recorded(
            SUBJECT,
            &spec(SUBJECT),
            Some(&serde_json::from_value(status).unwrap()),
        )
    }

    fn verdict(evidence: &Evidence<Verification>) -> &'static str {
        match evidence {
            Evidence::Known(Verification { failure: None, .. }) => "verified",
            Evidence::Known(_) => "refused",
            Evidence::Wait(_) | Evidence::Owed(_) => "wait",
            Evidence::Unknown(Failure {
                reason: Reason::Internal,
                ..
            }) => "defect",
            Evidence::Unknown(_) => "unknown",
        }
    }

    #[test_case(json!({}) => "wait"; "not looked at yet")]
    #[test_case(json!({"verdict": "Verified", "signers": [], "files": 3, "size": 9}) => "verified")]
    #[test_case(json!({"verdict": "Refused", "reason": "Unsigned", "message": "no signature"}) => "refused")]
    #[test_case(json!({"verdict": "Unknown", "reason": "Timeout", "message": "slow"}) => "unknown"; "could not be looked at")]
    #[test_case(json!({"verdict": "Unknown"}) => "defect"; "unknown without a reason")]
    #[test_case(json!({"verdict": "Refused"}) => "defect"; "refused without a reason")]
    #[test_case(json!({"verdict": "Verified", "reason": "Unsigned"}) => "defect"; "verified and yet a reason")]
    #[test_case(json!({"verdict": "Verified", "differing": 1}) => "defect"; "verified and yet different")]
    #[test_case(json!({"verdict": "Verified", "differences": [{"path": "a"}]}) => "defect"; "verified and yet a difference")]
    fn a_recorded_verification(status: Value) -> &'static str {
        verdict(&recorded(status))
    }

    #[test]
    fn a_verification_without_a_status_waits() {
        assert_eq!(
            verdict(&Verification::recorded(SUBJECT, &spec(SUBJECT), None)),
            "wait"
        );
    }

    #[test]
    fn a_verification_of_other_content_says_nothing() {
        let status = serde_json::from_value(json!({"verdict": "Verified"})).unwrap();
        assert_eq!(
            verdict(&Verification::recorded(SUBJECT, &spec(OTHER), Some(&status))),
            "defect"
        );
    }

    #[test]
    fn a_status_cannot_name_signers_that_were_not_asked_for() {
        let signers = [1, 2].map(|n| json!({"key": format!("root/key-{n}"), "fingerprint": fingerprint(n)}));
        let Evidence::Known(verification) = recorded(json!({"verdict": "Verified", "signers": signers}))
        else {
            panic!()
        };
        assert_eq!(
            verification.signers,
            [SignerIdentity {
                key: "root/key-1".into(),
                fingerprint: fingerprint(1)
            }]
        );
    }

    fn report(digest: Option<Digest>, outcome: Outcome) -> ArtifactReport {
        ArtifactReport {
            digest,
            outcome,
            signers: vec![],
            differences: vec![],
            differing: 0,
            files: 3,
            size: 9,
        }
    }

    fn failed(reason: Reason) -> Outcome {
        Outcome::Refused(Failure::new(reason, "as it was found"))
    }

    #[test_case(Some(SUBJECT), Outcome::Verified => "verified")]
    #[test_case(Some(SUBJECT), failed(Reason::Unsigned) => "refused"; "refused")]
    #[test_case(None, failed(Reason::NotAModel) => "refused"; "refused before its digest is known")]
    #[test_case(None, failed(Reason::Timeout) => "unknown"; "could not be looked at")]
    #[test_case(None, Outcome::Verified => "defect"; "verified, but what")]
    #[test_case(Some(OTHER), Outcome::Verified => "defect"; "other content")]
    fn a_report(digest: Option<Digest>, outcome: Outcome) -> &'static str {
        verdict(&Verification::reported(SUBJECT, &report(digest, outcome)))
    }
}
