//! Judges every model: asks its registry what it is and the policies what they say of it.
//! The decision is [`policy::evaluate`](crate::policy::evaluate), as in the operator; here it only gets its facts.

use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use serde::Serialize;

use super::input::{Input, Subject};
use crate::{
    api::v1alpha1::{ArtifactVerification, ServingSigner, TrustedKey},
    artifact::{
        oci::{Client, verify_oci},
        signature::KeyRing,
    },
    evidence::{Digest, Failure, Finding, KeyFingerprint, Reason, Reference, Verdict},
    policy::{
        Decision, Declared, Evidence, Facts, Problem, Verification, accept, accept::accept_name, evaluate,
        foregone, objects::taken, observed_keys, pods::promised, required_keys,
    },
};

/// Models looked at at the same time.
const AT_ONCE: usize = 4;

/// What is said of one model.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Judged {
    pub name: String,
    pub namespace: String,
    /// The file it is from.
    pub origin: String,
    /// Where its content is from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Its content, when it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    pub verdict: Verdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    pub message: String,
    pub findings: Vec<Finding>,
    pub signers: Vec<ServingSigner>,
}

impl Judged {
    fn new(subject: &Subject) -> Self {
        Self {
            name: subject.name.clone(),
            namespace: subject.namespace.clone(),
            origin: subject.origin.clone(),
            reference: None,
            digest: None,
            verdict: Verdict::Fail,
            reason: None,
            message: String::new(),
            findings: Vec::new(),
            signers: Vec::new(),
        }
    }

    fn refused(subject: &Subject, problem: &Problem) -> Self {
        Self {
            reason: Some(problem.reason),
            message: problem.to_string(),
            ..Self::new(subject)
        }
    }

    fn decided(subject: &Subject, facts: &Facts, decision: Decision) -> Self {
        Self {
            reference: Some(facts.origin.to_string()),
            digest: facts.digest,
            verdict: decision.verdict,
            reason: decision.reason(),
            message: decision.sentence(),
            findings: decision.findings,
            signers: decision.signers,
            ..Self::new(subject)
        }
    }
}

/// Judges every model, in the order of the files. Without a client, recorded verifications are all that is known.
pub(super) async fn judge(input: &Input, client: Option<&Client>, now: Timestamp) -> Vec<Judged> {
    stream::iter(&input.subjects)
        .map(|subject| judge_one(subject, input, client, now))
        .buffered(AT_ONCE)
        .collect()
        .await
}

async fn judge_one(subject: &Subject, input: &Input, client: Option<&Client>, now: Timestamp) -> Judged {
    let origin = match accept_name(&subject.name).and_then(|()| accept(&subject.model.spec)) {
        Ok(origin) => origin,
        Err(problem) => return Judged::refused(subject, &problem),
    };
    let there = input
        .subjects
        .iter()
        .filter(|other| other.namespace == subject.namespace);
    let there: Vec<_> = there.map(|other| &other.model).collect();
    if let Some(problem) = taken(&subject.model, &there) {
        return Judged::refused(subject, &problem);
    }
    let (world, namespace, digest) = (&input.world, &subject.namespace, origin.digest());
    let refused = foregone(
        world,
        namespace,
        &subject.name,
        &origin,
        digest,
        Some(&subject.model.spec),
        now,
    );
    let unasked = Evidence::Wait("not verified yet".to_owned());
    let mut facts = Facts::about(world, namespace, &subject.name, origin, digest, unasked)
        .declared(Declared::by(&subject.model.spec));
    if let Some(decision) = refused {
        return Judged::decided(subject, &facts, decision);
    }
    let Some(reference) = facts.origin.reference().cloned() else {
        // What only its pods can see is judged by what they will see to, as admission does.
        let facts = promised(&subject.model, namespace, facts.origin, world, now);
        return Judged::decided(subject, &facts, evaluate(&facts, world, now));
    };
    if let Some(client) = client.filter(|_| facts.digest.is_none()) {
        resolve(client, &reference, &mut facts).await;
    }
    let keys = required_keys(world, namespace);
    facts.verification = verification(input, client, &reference, &facts, &keys).await;
    if let Some(keys) = observed_keys(world, namespace) {
        facts.observed = Some(verification(input, client, &reference, &facts, &keys).await);
    }
    Judged::decided(subject, &facts, evaluate(&facts, world, now))
}

/// Asks the registry which content the reference names.
async fn resolve(client: &Client, reference: &Reference, facts: &mut Facts) {
    match client.resolve(reference).await {
        Ok(digest) => facts.digest = Some(digest),
        Err(error) => facts.verification = Evidence::Unknown(error.failure),
    }
}

/// What is known about the content under these keys: from the registry, or without one from the files.
async fn verification(
    input: &Input,
    client: Option<&Client>,
    reference: &Reference,
    facts: &Facts,
    keys: &[TrustedKey],
) -> Evidence<Verification> {
    let Some(client) = client else {
        return recorded(&input.verifications, facts, reference, keys);
    };
    let Some(digest) = facts.digest else {
        // Why it is not known was said when it was looked for.
        return facts.verification.clone();
    };
    match KeyRing::from_pems(keys.iter().map(|key| (&key.name, &key.public_key))) {
        Err(failure) => Evidence::Unknown(failure),
        Ok(ring) => match verify_oci(client, &reference.pinned(digest), &ring).await {
            Ok(report) => Verification::reported(digest, &report),
            Err(error) => Evidence::Unknown(error.failure),
        },
    }
}

/// What the files record about exactly this content under exactly these keys.
fn recorded(
    verifications: &[ArtifactVerification],
    facts: &Facts,
    reference: &Reference,
    keys: &[TrustedKey],
) -> Evidence<Verification> {
    let Some(digest) = facts.digest else {
        return offline(format!(
            "what {reference} names can be told by its registry only: run it without --offline, or write the digest"
        ));
    };
    let asked = fingerprints(keys);
    let fits = |verification: &&ArtifactVerification| {
        let spec = &verification.spec;
        verification.metadata.namespace.as_ref() == Some(&facts.namespace)
            && spec
                .source
                .oci
                .as_ref()
                .is_some_and(|source| source.digest == digest)
            && fingerprints(&spec.keys) == asked
    };
    match verifications.iter().find(fits) {
        Some(found) => Verification::recorded(digest, &found.spec, found.status.as_ref()),
        None => offline(format!(
            "{reference} can be verified with its registry only: run it without --offline, or add the model's ArtifactVerification"
        )),
    }
}

fn fingerprints(keys: &[TrustedKey]) -> Vec<KeyFingerprint> {
    let mut all: Vec<_> = keys.iter().map(|key| key.fingerprint).collect();
    all.sort_unstable();
    all
}

fn offline(message: String) -> Evidence<Verification> {
    Evidence::Unknown(Failure::new(Reason::Offline, message))
}
