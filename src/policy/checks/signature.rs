//! Is the model signed by enough of the policy's signers, and is it what they signed?
//! Pure: signatures were verified in `artifact::signature`; here whoever made them meets the policy.

use std::{collections::BTreeSet, fmt::Write as _};

use jiff::Timestamp;

use super::{Says, approval, quorum};
use crate::{
    evidence::{Digest, Failure, FileDifference, Finding, KeyFingerprint, Reason, RuleId},
    policy::{ApprovalRule, Evidence, Facts, Rules, SignerRule, Verification},
};

/// Passes when at least `threshold` distinct signers of the policy signed exactly the deployed content, or people approved it
/// in their place.
///
/// Approvals count beside signatures, and where there are none or only strangers'. They never outweigh what a signature by
/// somebody the policies trust says: content that is not what they signed is refused, whoever approves of it.
///
/// A verification under way is `Wait`, one that could not be made `Unknown`. One of other content than the deployed one
/// counts as not made.
pub fn signed_by_trusted(facts: &Facts, rules: &Rules, now: Timestamp) -> Finding {
    let says = Says {
        rule: RuleId::ModelSignature,
        rules,
    };
    let verification = match &facts.verification {
        Evidence::Known(verification) => verification,
        Evidence::Wait(what) => return says.wait(what.clone()),
        Evidence::Unknown(failure) => return says.unknown(failure),
        Evidence::Owed(keys) => return owed(&says, keys, facts.digest, now),
    };
    if facts.digest != Some(verification.digest) {
        let message = "the verification speaks of other content than what is deployed";
        return says.unknown(&Failure::new(Reason::Internal, message));
    }
    let approvals = approval::standing(verification.digest, rules, now);
    // A threshold of 0 is a problem of the policy and denies there; here it must not pass by itself either.
    let threshold = rules.threshold.max(1);
    if let Some(failure) = &verification.failure {
        let open = nobody_signed(failure);
        if open && approvals.len() >= threshold {
            return says.pass(format!("approved by {}", names(&approvals)));
        }
        let mut text = explain_refusal(failure, verification, rules);
        if open {
            text.push_str(&explain_approvals(&approvals, verification, rules, now));
        } else if !approvals.is_empty() {
            let _ = write!(
                text,
                "; that {} approved it does not outweigh this",
                names(&approvals)
            );
        }
        return says.fail(failure.reason, text);
    }
    let signed: BTreeSet<KeyFingerprint> = verification
        .signers
        .iter()
        .map(|signer| signer.fingerprint)
        .collect();
    let count = quorum::count(&rules.signers, &signed);
    if count + approvals.len() >= threshold {
        let signed = known(rules, &signed).join(", ");
        return says.pass(match (signed.is_empty(), approvals.is_empty()) {
            (false, true) => format!("signed by {signed}"),
            (true, _) => format!("approved by {}", names(&approvals)),
            (false, false) => format!("signed by {signed}, approved by {}", names(&approvals)),
        });
    }
    let mut text = explain_too_few(verification, rules, &signed, count);
    text.push_str(&explain_approvals(&approvals, verification, rules, now));
    says.fail(Reason::SignerMismatch, text)
}

/// The pod looks for one signature by any of these keys: each of them, alone, must be enough for this policy.
fn owed(says: &Says<'_>, keys: &BTreeSet<KeyFingerprint>, digest: Option<Digest>, now: Timestamp) -> Finding {
    let rules = says.rules;
    let whom = rules.signer_names();
    if !keys.is_empty() && keys.iter().all(|key| is_enough(*key, digest, rules, now)) {
        return says.pass(format!(
            "the pod itself sees to it that {whom} signed, before anything reads the model"
        ));
    }
    let mut own = rules.signers.iter().flat_map(|signer| &signer.keys);
    let text = if own.any(|key| is_enough(key.fingerprint, digest, rules, now)) {
        format!(
            "a pod looks for one signature, and no key is enough for this policy ({whom}) and for every other that is enforced here: name a signer whom all of them accept, or deliver the model from a registry"
        )
    } else {
        format!(
            "a pod looks for one signature, and this policy asks for {} of {whom}: deliver the model from a registry, or lower model.threshold",
            rules.threshold
        )
    };
    says.fail(Reason::SignerMismatch, text)
}

/// Whether one signature by this key is enough for this policy, with who approves of the content, where that is known.
pub fn is_enough(key: KeyFingerprint, digest: Option<Digest>, rules: &Rules, now: Timestamp) -> bool {
    let approvals = digest.map_or(0, |digest| approval::standing(digest, rules, now).len());
    quorum::count(&rules.signers, &BTreeSet::from([key])) + approvals >= rules.threshold.max(1)
}

/// Whether nobody whom any policy trusts said anything about the content, so that there is nothing to outweigh.
fn nobody_signed(failure: &Failure) -> bool {
    matches!(failure.reason, Reason::Unsigned | Reason::SignerMismatch)
}

fn names(approvals: &[&ApprovalRule]) -> String {
    let names: Vec<_> = approvals.iter().map(|approval| approval.by.as_str()).collect();
    names.join(", ")
}

/// What approvals there are too few of, or were.
fn explain_approvals(
    standing: &[&ApprovalRule],
    verification: &Verification,
    rules: &Rules,
    now: Timestamp,
) -> String {
    let mut text = String::new();
    if !standing.is_empty() {
        let (who, count, needed) = (names(standing), standing.len(), rules.threshold);
        let _ = write!(
            text,
            "; approved by {who}, which counts as {count} of the {needed} needed"
        );
    }
    if let Some(expired) = approval::expired(verification.digest, rules, now).first() {
        let when = expired.expires.unwrap_or(now);
        let _ = write!(
            text,
            "; the approval by {} expired at {when}: have it renewed",
            expired.by
        );
    }
    text
}

/// The policy's names for whoever holds these keys.
fn known<'a>(rules: &'a Rules, signed: &BTreeSet<KeyFingerprint>) -> Vec<&'a str> {
    let holds = |signer: &&SignerRule| signed.iter().any(|key| signer.holds(*key));
    rules
        .signers
        .iter()
        .filter(holds)
        .map(|signer| signer.name.as_str())
        .collect()
}

fn explain_too_few(
    verification: &Verification,
    rules: &Rules,
    signed: &BTreeSet<KeyFingerprint>,
    count: usize,
) -> String {
    let all = rules.signer_names();
    let have = known(rules, signed).join(", ");
    let mut text = if have.is_empty() {
        let seen: Vec<_> = verification
            .signers
            .iter()
            .map(|signer| signer.key.as_str())
            .collect();
        let but = if seen.is_empty() {
            String::new()
        } else {
            format!(" but by {}", seen.join(", "))
        };
        format!("signed by none of the policy's signers ({all}){but}: sign it with a key of one of them")
    } else {
        format!(
            "signed by {have}, which is {count} of the {} needed among {all}, each with a key of their own: have another of them sign it too",
            rules.threshold
        )
    };
    text.push_str(&unusable(rules));
    text
}

fn explain_refusal(failure: &Failure, verification: &Verification, rules: &Rules) -> String {
    let all = rules.signer_names();
    match failure.reason {
        Reason::Unsigned => {
            let whom = if rules.signers.len() == 1 {
                all
            } else {
                format!("one of {all}")
            };
            format!(
                "the model carries no signature (no model.sig): sign it with {whom}{}",
                unusable(rules)
            )
        }
        Reason::SignerMismatch => {
            let said = &failure.message;
            format!("not signed by {all}: {said}{}", unusable(rules))
        }
        Reason::DigestMismatch | Reason::MissingFile | Reason::UnsignedFile => {
            match verification.differences.first() {
                Some(first) => explain_difference(first, verification, rules),
                None => failure.message.clone(),
            }
        }
        _ => failure.message.clone(),
    }
}

/// `model.onnx differs from what release signed (signed 41d0…, found 9f2c…): sign the new version or roll back`.
fn explain_difference(first: &FileDifference, verification: &Verification, rules: &Rules) -> String {
    let signed: BTreeSet<_> = verification
        .signers
        .iter()
        .map(|signer| signer.fingerprint)
        .collect();
    let names = known(rules, &signed).join(", ");
    let whom = match verification.signers.first() {
        _ if !names.is_empty() => names,
        // Another policy's signer: this one knows the key only by where it is from.
        Some(identity) => identity.key.clone(),
        None => "the signer".to_owned(),
    };
    let path = &first.path;
    let mut text = match (first.signed, first.found) {
        (Some(signed), Some(found)) => {
            format!(
                "{path} differs from what {whom} signed (signed {}…, found {}…)",
                signed.short(),
                found.short()
            )
        }
        (Some(signed), None) => format!("{path}, which {whom} signed ({}…), is missing", signed.short()),
        (None, _) => format!("{path} is not among the files that {whom} signed"),
    };
    let more = verification.differing.max(verification.differences.len()) - 1;
    if more > 0 {
        let _ = write!(
            text,
            ", and {more} more {} not what was signed",
            if more == 1 { "file is" } else { "files are" }
        );
    }
    text.push_str(": sign the new version or roll back");
    text
}

/// Signers that could not have signed, whatever the model: said where a signature is missed.
fn unusable(rules: &Rules) -> String {
    let mut text = String::new();
    for signer in rules.signers.iter().filter(|signer| signer.keys.is_empty()) {
        if let Some(problem) = signer.problems.first() {
            let _ = write!(text, "; {} cannot sign: {problem}", signer.name);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;
    use crate::{
        evidence::Verdict,
        policy::samples::{
            OTHER, SUBJECT, approval, at, broken_signer, difference, facts, fingerprint, refused, rules,
            signer, verified,
        },
    };

    fn signed_by_trusted(facts: &Facts, rules: &Rules) -> Finding {
        super::signed_by_trusted(facts, rules, at(0))
    }

    fn two_signers(threshold: usize) -> Rules {
        Rules {
            threshold,
            ..rules(vec![signer("release", &[1, 3]), signer("vault", &[2])])
        }
    }

    #[test_case(&[], 1 => Verdict::Fail; "nobody signed")]
    #[test_case(&[1], 1 => Verdict::Pass; "one signer of the policy")]
    #[test_case(&[1], 2 => Verdict::Fail; "one where two are needed")]
    #[test_case(&[1, 1], 2 => Verdict::Fail; "the same key twice counts once")]
    #[test_case(&[1, 3], 2 => Verdict::Fail; "the same signer with two keys counts once")]
    #[test_case(&[1, 2], 2 => Verdict::Pass; "two signers")]
    #[test_case(&[9], 1 => Verdict::Fail; "a valid signature by someone else")]
    #[test_case(&[9, 1], 1 => Verdict::Pass; "someone else's signature beside it does no harm")]
    #[test_case(&[], 0 => Verdict::Fail; "a threshold of nothing is not met by nothing")]
    fn threshold(keys: &[u8], threshold: usize) -> Verdict {
        signed_by_trusted(&facts(Evidence::Known(verified(keys))), &two_signers(threshold)).verdict
    }

    #[test]
    fn one_key_under_two_names_counts_once() {
        let rules = Rules {
            threshold: 2,
            ..rules(vec![signer("release", &[1]), signer("again", &[1])])
        };
        let finding = signed_by_trusted(&facts(Evidence::Known(verified(&[1]))), &rules);
        assert_eq!(finding.verdict, Verdict::Fail);
        assert_eq!(
            finding.message,
            "signed by release, again, which is 1 of the 2 needed among release, again, each with a key of their own: \
             have another of them sign it too"
        );
    }

    #[test]
    fn a_verification_of_other_content_is_none() {
        let other = Verification {
            digest: OTHER,
            ..verified(&[1])
        };
        let finding = signed_by_trusted(&facts(Evidence::Known(other)), &two_signers(1));
        assert_eq!(
            (finding.verdict, finding.reason),
            (Verdict::Unknown, Some(Reason::Internal))
        );
    }

    #[test]
    fn content_that_is_not_resolved_is_not_verified() {
        let facts = Facts {
            digest: None,
            ..facts(Evidence::Known(verified(&[1])))
        };
        assert_eq!(
            signed_by_trusted(&facts, &two_signers(1)).verdict,
            Verdict::Unknown
        );
    }

    #[test_case(Evidence::Wait("it is being verified".into()) => (Verdict::Wait, None); "under way")]
    #[test_case(Evidence::Unknown(Failure::new(Reason::Timeout, "slow")) => (Verdict::Unknown, Some(Reason::Timeout)); "could not be made")]
    fn without_evidence(verification: Evidence<Verification>) -> (Verdict, Option<Reason>) {
        let finding = signed_by_trusted(&facts(verification), &two_signers(1));
        (finding.verdict, finding.reason)
    }

    fn said(verification: Verification, rules: &Rules) -> (Option<Reason>, String) {
        let finding = signed_by_trusted(&facts(Evidence::Known(verification)), rules);
        assert_eq!(finding.verdict, Verdict::Fail);
        (finding.reason, finding.message)
    }

    #[test]
    fn an_altered_file_is_named_with_who_signed_it() {
        let altered = Verification {
            differences: vec![difference(
                "model.onnx",
                Some(fingerprint(0x41)),
                Some(fingerprint(0x9f)),
            )],
            differing: 1,
            ..refused(&[1], Reason::DigestMismatch, "as the artifact says it")
        };
        let (reason, message) = said(altered, &two_signers(1));
        assert_eq!(reason, Some(Reason::DigestMismatch));
        assert_eq!(
            message,
            "model.onnx differs from what release signed (signed 414141414141…, found 9f9f9f9f9f9f…): sign the new \
             version or roll back"
        );
    }

    #[test_case(Some(1), None, 1 => "model.onnx, which release signed (010101010101…), is missing: sign the new version or roll back"; "missing")]
    #[test_case(None, Some(2), 1 => "model.onnx is not among the files that release signed: sign the new version or roll back"; "not signed")]
    #[test_case(None, Some(2), 2 => "model.onnx is not among the files that release signed, and 1 more file is not what was signed: sign the new version or roll back"; "one more")]
    #[test_case(None, Some(2), 9 => "model.onnx is not among the files that release signed, and 8 more files are not what was signed: sign the new version or roll back"; "many more")]
    fn differences(signed: Option<u8>, found: Option<u8>, differing: usize) -> String {
        let altered = Verification {
            differences: vec![difference(
                "model.onnx",
                signed.map(fingerprint),
                found.map(fingerprint),
            )],
            differing,
            ..refused(&[1], Reason::DigestMismatch, "")
        };
        said(altered, &two_signers(1)).1
    }

    #[test]
    fn a_signer_of_another_policy_is_named_by_the_key() {
        let altered = Verification {
            differences: vec![difference("model.onnx", None, Some(SUBJECT))],
            differing: 1,
            ..refused(&[9], Reason::UnsignedFile, "")
        };
        let (_, message) = said(altered, &two_signers(1));
        assert!(message.contains("the files that root/key-9 signed"), "{message}");
    }

    #[test]
    fn no_signature_says_who_can_sign() {
        let (reason, message) = said(refused(&[], Reason::Unsigned, ""), &two_signers(1));
        assert_eq!(reason, Some(Reason::Unsigned));
        assert_eq!(
            message,
            "the model carries no signature (no model.sig): sign it with one of release, vault"
        );
    }

    #[test]
    fn a_stranger_is_told_apart_from_the_policys_signers() {
        let (reason, message) = said(verified(&[9]), &two_signers(1));
        assert_eq!(reason, Some(Reason::SignerMismatch));
        assert_eq!(
            message,
            "signed by none of the policy's signers (release, vault) but by root/key-9: sign it with a key of one of them"
        );
    }

    #[test]
    fn a_signer_that_cannot_sign_is_mentioned_where_a_signature_is_missed() {
        let rules = rules(vec![signer("release", &[1]), broken_signer("vault")]);
        let (_, message) = said(refused(&[], Reason::Unsigned, ""), &rules);
        assert!(message.ends_with(
            "; vault cannot sign: spec.signers[vault].key.trustRoot: TrustRoot/gone does not exist"
        ));
    }

    #[test]
    fn what_is_broken_is_said_as_it_was_found() {
        let (reason, message) = said(
            refused(&[], Reason::MalformedBundle, "model.sig is no JSON"),
            &two_signers(1),
        );
        assert_eq!(
            (reason, message.as_str()),
            (Some(Reason::MalformedBundle), "model.sig is no JSON")
        );
    }

    fn approving(people: &[(&str, Option<i64>)], rules: Rules) -> Rules {
        let people = people
            .iter()
            .map(|(by, expires)| approval(by, *expires))
            .collect();
        Rules {
            approved: [(SUBJECT, people)].into(),
            ..rules
        }
    }

    const ADA: &[(&str, Option<i64>)] = &[("Ada", None)];
    const TWO: &[(&str, Option<i64>)] = &[("Ada", None), ("Bob", Some(9))];
    const LATE: &[(&str, Option<i64>)] = &[("Ada", Some(0))];

    #[test_case(refused(&[], Reason::Unsigned, ""), 1, ADA => (Verdict::Pass, "approved by Ada".to_owned()); "unsigned and approved")]
    #[test_case(refused(&[], Reason::SignerMismatch, "by a stranger"), 1, ADA => (Verdict::Pass, "approved by Ada".to_owned()); "signed by a stranger and approved")]
    #[test_case(verified(&[9]), 1, ADA => (Verdict::Pass, "approved by Ada".to_owned()); "signed by somebody another policy trusts")]
    #[test_case(verified(&[1]), 2, ADA => (Verdict::Pass, "signed by release, approved by Ada".to_owned()); "an approval is as good as a second signer")]
    #[test_case(refused(&[], Reason::Unsigned, ""), 2, TWO => (Verdict::Pass, "approved by Ada, Bob".to_owned()); "two people are two")]
    #[test_case(refused(&[], Reason::Unsigned, ""), 2, ADA => (Verdict::Fail, "the model carries no signature (no model.sig): sign it with one of release, vault; approved by Ada, which counts as 1 of the 2 needed".to_owned()); "one person is one")]
    #[test_case(refused(&[], Reason::Unsigned, ""), 1, LATE => (Verdict::Fail, "the model carries no signature (no model.sig): sign it with one of release, vault; the approval by Ada expired at 1970-01-01T00:00:00Z: have it renewed".to_owned()); "expired")]
    #[test_case(refused(&[], Reason::Unsigned, ""), 0, &[] => (Verdict::Fail, "the model carries no signature (no model.sig): sign it with one of release, vault".to_owned()); "a threshold of nothing is not met by nobody")]
    #[test_case(refused(&[1], Reason::DigestMismatch, "altered"), 1, ADA => (Verdict::Fail, "altered; that Ada approved it does not outweigh this".to_owned()); "altered")]
    #[test_case(refused(&[], Reason::NotAModel, "no model"), 1, ADA => (Verdict::Fail, "no model; that Ada approved it does not outweigh this".to_owned()); "not a model")]
    fn approvals(found: Verification, threshold: usize, people: &[(&str, Option<i64>)]) -> (Verdict, String) {
        let rules = approving(people, two_signers(threshold));
        let finding = signed_by_trusted(&facts(Evidence::Known(found)), &rules);
        (finding.verdict, finding.message)
    }

    #[test_case(Evidence::Wait("under way".into()) => Verdict::Wait; "under way")]
    #[test_case(Evidence::Unknown(Failure::new(Reason::Timeout, "slow")) => Verdict::Unknown; "could not be made")]
    fn an_approval_stands_in_for_a_signature_and_not_for_a_verification(
        found: Evidence<Verification>,
    ) -> Verdict {
        signed_by_trusted(&facts(found), &approving(ADA, two_signers(1))).verdict
    }

    #[test]
    fn an_approval_is_for_exactly_one_content() {
        let mut facts = facts(Evidence::Known(Verification {
            digest: OTHER,
            ..refused(&[], Reason::Unsigned, "")
        }));
        facts.digest = Some(OTHER);
        assert_eq!(
            signed_by_trusted(&facts, &approving(ADA, two_signers(1))).verdict,
            Verdict::Fail
        );
    }
}
