//! Which verification answers for a model's content, and what it says.
//! Pure: it names the verification that is needed; asking registries is its controller's.

use aws_lc_rs::digest::{SHA256, digest as sha256};
use kube::{ResourceExt as _, core::ObjectMeta};

use super::{
    Declared, Evidence, Facts, Verification, World, decision::is_elsewhere, observed_keys, required_keys,
};
use crate::{
    api::v1alpha1::{
        ArtifactSource, ArtifactVerification, ArtifactVerificationSpec, ModelDeployment, PinnedOciSource,
        TrustedKey,
    },
    evidence::{Digest, Failure, Reason},
    workload::{RunningModel, child_meta},
};

/// The verifications that answer for a model's content: one under the keys that enforced policies name, and one under the
/// others', where those are not among them. So a policy that only warns holds up nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Verifications {
    /// Under the keys of the policies that are enforced; none when they name none.
    pub required: Option<ArtifactVerification>,
    /// Under the keys of the others.
    pub observed: Option<ArtifactVerification>,
    /// No policy allows the repository: its registry is not asked, and gets no credentials.
    elsewhere: bool,
}

impl Verifications {
    /// Those of this content.
    pub fn of(model: &ModelDeployment, world: &World, runs: &RunningModel) -> Self {
        let namespace = model.namespace().unwrap_or_default();
        let elsewhere = is_elsewhere(world, &namespace, &model.name_any(), &runs.reference);
        if elsewhere {
            return Self {
                elsewhere,
                ..Self::default()
            };
        }
        Self {
            required: verification(model, runs, required_keys(world, &namespace)),
            observed: observed_keys(world, &namespace).and_then(|keys| verification(model, runs, keys)),
            elsewhere,
        }
    }

    /// What is known of the content, as these verifications found it, and what is `declared` of what runs it.
    pub fn facts(
        &self,
        model: &ModelDeployment,
        world: &World,
        runs: &RunningModel,
        declared: Declared,
        there: &[ArtifactVerification],
    ) -> Facts {
        let found = |wanted| self.found(wanted, there, runs.digest);
        let namespace = model.namespace().unwrap_or_default();
        let (reference, digest) = (runs.reference.clone(), Some(runs.digest));
        Facts {
            observed: self.observed.as_ref().map(|wanted| found(Some(wanted))),
            ..Facts::about(
                world,
                &namespace,
                &model.name_any(),
                reference,
                digest,
                found(self.required.as_ref()),
            )
            .declared(declared)
        }
    }

    /// What there is to show: where no enforced policy asks, what the others found.
    pub fn evidence(&self, there: &[ArtifactVerification], runs: &RunningModel) -> Evidence<Verification> {
        self.found(self.shown(), there, runs.digest)
    }

    /// The one whose evidence is shown.
    pub fn shown(&self) -> Option<&ArtifactVerification> {
        self.required.as_ref().or(self.observed.as_ref())
    }

    /// All of them.
    pub fn into_all(self) -> Vec<ArtifactVerification> {
        self.required.into_iter().chain(self.observed).collect()
    }

    fn found(
        &self,
        wanted: Option<&ArtifactVerification>,
        there: &[ArtifactVerification],
        digest: Digest,
    ) -> Evidence<Verification> {
        if self.elsewhere {
            return Evidence::Wait("not verified, since its repository is not allowed".into());
        }
        evidence(wanted, there, digest)
    }
}

/// The verification that would show this content under these keys. None when there are none.
fn verification(
    model: &ModelDeployment,
    runs: &RunningModel,
    keys: Vec<TrustedKey>,
) -> Option<ArtifactVerification> {
    if keys.is_empty() {
        return None;
    }
    let source = PinnedOciSource {
        repository: runs.reference.name(),
        digest: runs.digest,
        pull_secret: runs.pull_secret.clone(),
    };
    let spec = ArtifactVerificationSpec {
        source: ArtifactSource { oci: Some(source) },
        keys,
    };
    let name = verification_name(&model.name_any(), &spec);
    Some(ArtifactVerification {
        metadata: ObjectMeta {
            name: Some(name),
            ..child_meta(model)
        },
        spec,
        status: None,
    })
}

/// The name of the verification with this specification: the model's name and a hash of everything the verdict rests on.
fn verification_name(model: &str, spec: &ArtifactVerificationSpec) -> String {
    let text = serde_json::to_string(spec).unwrap_or_default();
    let hash = hex::encode(&sha256(&SHA256, text.as_bytes()).as_ref()[..5]);
    format!("{model}-{hash}")
}

/// What the verification's status says, if it is exactly the planned one.
fn evidence(
    wanted: Option<&ArtifactVerification>,
    there: &[ArtifactVerification],
    digest: Digest,
) -> Evidence<Verification> {
    let Some(wanted) = wanted else {
        let message = "no policy names a key that can be used, so nothing can be verified";
        return Evidence::Unknown(Failure::new(Reason::TrustRootMissing, message));
    };
    let found = there
        .iter()
        .find(|there| there.name_any() == wanted.name_any() && there.spec == wanted.spec);
    found.map_or_else(
        || Evidence::Wait("the artifact is about to be verified".into()),
        |found| Verification::recorded(digest, &found.spec, found.status.as_ref()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::samples::key;

    fn digest(byte: u8) -> Digest {
        Digest::from_bytes([byte; 32])
    }

    #[test]
    fn the_name_of_a_verification_covers_everything_the_verdict_rests_on() {
        let source = PinnedOciSource {
            repository: "registry.example/models/digits".into(),
            digest: digest(0xaa),
            pull_secret: None,
        };
        let spec = |source: PinnedOciSource, keys: Vec<_>| ArtifactVerificationSpec {
            source: ArtifactSource { oci: Some(source) },
            keys,
        };
        let base = spec(source.clone(), vec![key(1)]);
        let name = verification_name("digits", &base);
        assert_eq!(name, verification_name("digits", &base.clone()));
        assert!(
            name.starts_with("digits-") && name.len() == "digits-".len() + 10,
            "{name}"
        );
        let renamed = TrustedKey {
            name: "other/current".into(),
            ..key(1)
        };
        let others = [
            spec(
                PinnedOciSource {
                    repository: "registry.example/other".into(),
                    ..source.clone()
                },
                vec![key(1)],
            ),
            spec(
                PinnedOciSource {
                    digest: digest(0xbb),
                    ..source.clone()
                },
                vec![key(1)],
            ),
            spec(
                PinnedOciSource {
                    pull_secret: Some("regcred".into()),
                    ..source.clone()
                },
                vec![key(1)],
            ),
            spec(source.clone(), vec![key(2)]),
            spec(source.clone(), vec![key(1), key(2)]),
            spec(source, vec![renamed]),
        ];
        let mut names: Vec<_> = others
            .iter()
            .map(|spec| verification_name("digits", spec))
            .collect();
        names.push(name);
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count, "{names:?}");
        assert!(
            verification_name(&"d".repeat(52), &base).len() <= 63,
            "it is also a label's value"
        );
    }
}
