//! The verdict as the status says it.
//! Pure; the clock is an argument.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    api::v1alpha1::{ArtifactVerificationStatus, VerificationVerdict},
    artifact::oci::RegistryError,
    controller::condition::{State, Wanted, conditions},
    evidence::{ArtifactReport, Failure, Outcome},
};

impl VerificationVerdict {
    /// As the API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "Verified",
            Self::Refused => "Refused",
            Self::Unknown => "Unknown",
        }
    }
}

/// The status after one look. What could not be read is Unknown, never a verdict.
pub fn status(
    old: Option<&ArtifactVerificationStatus>,
    answer: &Result<ArtifactReport, RegistryError>,
    generation: Option<i64>,
    now: Timestamp,
) -> ArtifactVerificationStatus {
    let old_conditions = old.and_then(|old| old.conditions.as_deref());
    let base = |verdict, failure: Option<&Failure>, wanted| ArtifactVerificationStatus {
        observed_generation: generation,
        verdict: Some(verdict),
        reason: failure.map(|failure| failure.reason),
        message: failure.map(|failure| failure.message.clone()),
        conditions: Some(conditions(old_conditions, wanted, generation, now)),
        ..Default::default()
    };
    let report = match answer {
        Err(error) => {
            let failure = &error.failure;
            let wanted = vec![
                Wanted::new("Ready", State::Unknown, failure.reason.as_str(), &failure.message),
                Wanted::new(
                    "Reconciling",
                    State::True,
                    failure.reason.as_str(),
                    "it will be tried again",
                ),
            ];
            return base(VerificationVerdict::Unknown, Some(failure), wanted);
        }
        Ok(report) => report,
    };
    let judged = match &report.outcome {
        Outcome::Verified => {
            let signers: Vec<_> = report.signers.iter().map(|signer| signer.key.as_str()).collect();
            let message = format!("every file is what {} signed", signers.join(", "));
            base(
                VerificationVerdict::Verified,
                None,
                vec![Wanted::new("Ready", State::True, "Verified", message)],
            )
        }
        Outcome::Refused(failure) => {
            let code = failure.reason.as_str();
            let wanted = vec![
                Wanted::new("Ready", State::False, code, &failure.message),
                Wanted::new(
                    "Stalled",
                    State::True,
                    code,
                    "the verdict is final for this content and these keys",
                ),
            ];
            base(VerificationVerdict::Refused, Some(failure), wanted)
        }
    };
    ArtifactVerificationStatus {
        signers: (!report.signers.is_empty()).then(|| report.signers.clone()),
        differences: (!report.differences.is_empty()).then(|| report.differences.clone()),
        differing: (report.differing > 0).then(|| i32::try_from(report.differing).unwrap_or(i32::MAX)),
        files: Some(i32::try_from(report.files).unwrap_or(i32::MAX)),
        size: Some(i64::try_from(report.size).unwrap_or(i64::MAX)),
        verified_at: Some(Time(now)),
        ..judged
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Reason;

    #[test]
    fn what_could_not_be_read_is_no_verdict() {
        let failure = Failure::new(Reason::RegistryUnavailable, "registry.example does not answer");
        let status = status(None, &Err(failure.into()), Some(1), Timestamp::UNIX_EPOCH);
        assert_eq!(status.verdict, Some(VerificationVerdict::Unknown));
        assert!(status.verified_at.is_none());
        assert_eq!(status.conditions.unwrap()[0].status, "Unknown");
    }

    #[test]
    fn the_same_look_twice_writes_the_same_status() {
        let report = ArtifactReport {
            digest: None,
            outcome: Outcome::Refused(Failure::new(Reason::Unsigned, "no model.sig")),
            signers: vec![],
            differences: vec![],
            differing: 0,
            files: 3,
            size: 9,
        };
        let failing =
            || -> Result<ArtifactReport, RegistryError> { Err(Failure::new(Reason::Timeout, "slow").into()) };
        let first = status(None, &failing(), Some(1), Timestamp::from_second(1).unwrap());
        assert_eq!(
            status(
                Some(&first),
                &failing(),
                Some(1),
                Timestamp::from_second(9).unwrap()
            ),
            first
        );
        let refused = status(
            Some(&first),
            &Ok(report),
            Some(1),
            Timestamp::from_second(9).unwrap(),
        );
        assert_eq!(
            (refused.verdict, refused.files),
            (Some(VerificationVerdict::Refused), Some(3))
        );
    }
}
