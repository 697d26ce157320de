//! When a source is looked at, and what a look leaves in the status.
//! Pure: time comes in as what is left of a pause.

use std::time::Duration;

use crate::{
    api::v1alpha1::{OciSource, ResolvedSource, UpdateMode},
    evidence::{Digest, Failure},
};

/// How often a followed tag is looked at when the model does not say.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(300);

/// When to look at a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// It is pinned.
    Never,
    /// After this pause.
    In(Duration),
    /// Now.
    Now,
}

/// How often a followed tag is looked at.
pub(super) fn interval(source: &OciSource) -> Duration {
    source
        .interval_seconds
        .map_or(DEFAULT_INTERVAL, |seconds| Duration::from_secs(seconds.into()))
}

/// When to look, given what the status has and what is left of the last pause.
pub(super) fn look(
    source: &OciSource,
    hash: Digest,
    old: Option<&ResolvedSource>,
    left: Option<Duration>,
) -> Look {
    let known = old.is_some_and(|old| old.source == hash && old.digest.is_some());
    if known && source.update.unwrap_or_default() == UpdateMode::Pinned {
        return Look::Never;
    }
    match left {
        // An interval made shorter meanwhile counts at once.
        Some(left) if known => Look::In(left.min(interval(source))),
        Some(left) => Look::In(left),
        None => Look::Now,
    }
}

/// What the status says after a look. A failed look at a known source keeps the digest: not knowing whether the tag moved
/// changes nothing about what was pinned.
pub(super) fn resolved(
    hash: Digest,
    old: Option<&ResolvedSource>,
    answer: Result<Digest, &Failure>,
) -> ResolvedSource {
    match answer {
        Ok(digest) => ResolvedSource {
            source: hash,
            digest: Some(digest),
            reason: None,
            message: None,
        },
        Err(failure) => ResolvedSource {
            source: hash,
            digest: old.filter(|old| old.source == hash).and_then(|old| old.digest),
            reason: Some(failure.reason),
            message: Some(failure.message.clone()),
        },
    }
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;
    use crate::{evidence::Reason, policy::source_hash};

    fn source(update: UpdateMode) -> OciSource {
        OciSource {
            reference: "registry.example/digits:1".into(),
            pull_secret: None,
            update: Some(update),
            interval_seconds: Some(60),
        }
    }

    fn known(hash: Digest) -> ResolvedSource {
        resolved(hash, None, Ok(Digest::from_bytes([7; 32])))
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test_case(UpdateMode::Pinned, false, None => Look::Now; "an unknown source is looked at")]
    #[test_case(UpdateMode::Pinned, true, None => Look::Never; "a pinned one never again")]
    #[test_case(UpdateMode::Follow, true, None => Look::Now; "a followed one after a restart")]
    #[test_case(UpdateMode::Follow, true, Some(SECOND) => Look::In(SECOND); "a followed one after its interval")]
    #[test_case(UpdateMode::Follow, true, Some(SECOND * 600) => Look::In(SECOND * 60); "an interval made shorter counts")]
    #[test_case(UpdateMode::Pinned, false, Some(SECOND) => Look::In(SECOND); "a failed one after its pause")]
    fn looks(update: UpdateMode, is_known: bool, left: Option<Duration>) -> Look {
        let source = source(update);
        let hash = source_hash(&source);
        look(&source, hash, is_known.then(|| known(hash)).as_ref(), left)
    }

    #[test]
    fn another_reference_is_resolved_again() {
        let old = known(source_hash(&source(UpdateMode::Pinned)));
        let mut other = source(UpdateMode::Pinned);
        other.reference = "registry.example/digits:2".into();
        assert_eq!(look(&other, source_hash(&other), Some(&old), None), Look::Now);
    }

    #[test]
    fn a_failed_look_keeps_the_pin_of_the_same_source_only() {
        let hash = source_hash(&source(UpdateMode::Follow));
        let failure = Failure::new(Reason::RegistryUnavailable, "gone");
        assert_eq!(
            resolved(hash, Some(&known(hash)), Err(&failure)).digest,
            known(hash).digest
        );
        let other = Digest::from_bytes([1; 32]);
        assert_eq!(resolved(other, Some(&known(hash)), Err(&failure)).digest, None);
    }
}
