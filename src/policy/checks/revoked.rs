//! Was the content revoked?
//! Pure; it looks at the digest alone: no signature, approval or other policy outweighs a revocation.

use super::Says;
use crate::{
    evidence::{Digest, Finding, Reason, RuleId},
    policy::{Evidence, Facts, Rules},
};

/// Fails when the content is on the policy's list. Absent when the list is empty.
///
/// Content that is not resolved yet waits. A reference that names its digest is judged by it before anything is fetched,
/// and a verification of revoked content denies whichever digest it was looked up for.
pub fn not_revoked(facts: &Facts, rules: &Rules) -> Option<Finding> {
    if rules.revoked.is_empty() {
        return None;
    }
    let says = Says {
        rule: RuleId::ModelRevoked,
        rules,
    };
    let digests: Vec<Digest> = [facts.digest, facts.origin.digest(), verified(facts)]
        .into_iter()
        .flatten()
        .collect();
    let revoked = digests
        .iter()
        .find_map(|digest| rules.revoked.get(digest).map(|why| (digest, why)));
    Some(match revoked {
        Some((digest, why)) => says.fail(
            Reason::Revoked,
            format!(
                "sha256:{}… was revoked: {why}; deploy another version",
                digest.short()
            ),
        ),
        None if matches!(facts.verification, Evidence::Owed(_)) => {
            says.pass("the pod itself refuses what is revoked".to_owned())
        }
        None if digests.is_empty() => {
            says.wait("it is not known yet which content the reference names".to_owned())
        }
        None => says.pass("not revoked".to_owned()),
    })
}

fn verified(facts: &Facts) -> Option<Digest> {
    match &facts.verification {
        Evidence::Known(verification) => Some(verification.digest),
        Evidence::Wait(_) | Evidence::Unknown(_) | Evidence::Owed(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;
    use crate::{
        evidence::Verdict,
        policy::samples::{OTHER, SUBJECT, facts, rules, signer, verified},
    };

    fn revoking(digests: &[Digest]) -> Rules {
        let revoked = digests
            .iter()
            .map(|digest| (*digest, "trained on poisoned data".to_owned()))
            .collect();
        Rules {
            revoked,
            ..rules(vec![signer("release", &[1])])
        }
    }

    #[test_case(&[] => None; "nothing is revoked")]
    #[test_case(&[SUBJECT] => Some(Verdict::Fail); "revoked, though signed")]
    #[test_case(&[OTHER] => Some(Verdict::Pass); "something else is revoked")]
    #[test_case(&[OTHER, SUBJECT] => Some(Verdict::Fail); "among others")]
    fn verdict(digests: &[Digest]) -> Option<Verdict> {
        not_revoked(&facts(Evidence::Known(verified(&[1]))), &revoking(digests))
            .map(|finding| finding.verdict)
    }

    #[test]
    fn unresolved_content_waits() {
        let facts = Facts {
            digest: None,
            ..facts(Evidence::Wait("resolving".into()))
        };
        assert_eq!(
            not_revoked(&facts, &revoking(&[OTHER])).unwrap().verdict,
            Verdict::Wait
        );
    }

    #[test]
    fn a_reference_that_names_revoked_content_is_refused_before_it_is_resolved() {
        let waiting = facts(Evidence::Wait("resolving".into()));
        let facts = Facts {
            digest: None,
            origin: waiting.origin.reference().unwrap().pinned(SUBJECT).into(),
            ..waiting
        };
        assert_eq!(
            not_revoked(&facts, &revoking(&[SUBJECT])).unwrap().verdict,
            Verdict::Fail
        );
    }

    #[test]
    fn the_recorded_reason_is_told() {
        let finding = not_revoked(&facts(Evidence::Known(verified(&[1]))), &revoking(&[SUBJECT])).unwrap();
        assert_eq!(finding.reason, Some(Reason::Revoked));
        assert_eq!(
            finding.message,
            "sha256:aaaaaaaaaaaa… was revoked: trained on poisoned data; deploy another version"
        );
    }
}
