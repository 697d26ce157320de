//! Who vouches for the content, and until when.
//! It only looks at names and the clock: whether an approval may count beside what a signature says is the signature check's.

use jiff::Timestamp;

use crate::{
    evidence::Digest,
    policy::{ApprovalRule, Rules},
};

/// The approvals of exactly this content that count at this time. One counts until just before it expires.
pub fn standing(digest: Digest, rules: &Rules, now: Timestamp) -> Vec<&ApprovalRule> {
    of(digest, rules)
        .filter(|approval| !lapsed(approval, now))
        .collect()
}

/// The approvals of exactly this content that no longer count.
pub fn expired(digest: Digest, rules: &Rules, now: Timestamp) -> Vec<&ApprovalRule> {
    of(digest, rules)
        .filter(|approval| lapsed(approval, now))
        .collect()
}

/// When the first of the approvals that count stops counting.
pub fn until(digest: Digest, rules: &Rules, now: Timestamp) -> Option<Timestamp> {
    standing(digest, rules, now)
        .into_iter()
        .filter_map(|approval| approval.expires)
        .min()
}

fn of(digest: Digest, rules: &Rules) -> impl Iterator<Item = &ApprovalRule> {
    rules.approved.get(&digest).into_iter().flatten()
}

fn lapsed(approval: &ApprovalRule, now: Timestamp) -> bool {
    approval.expires.is_some_and(|expires| expires <= now)
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;
    use crate::policy::samples::{OTHER, SUBJECT, approval, at, rules};

    #[test_case(SUBJECT, 0 => (2, 0, Some(10)); "both, until the first expires")]
    #[test_case(SUBJECT, 9 => (2, 0, Some(10)); "just before")]
    #[test_case(SUBJECT, 10 => (1, 1, None); "what expires at a time no longer counts at it")]
    #[test_case(SUBJECT, 11 => (1, 1, None); "nor after it")]
    #[test_case(OTHER, 0 => (0, 0, None); "other content")]
    fn counts(digest: Digest, now: i64) -> (usize, usize, Option<i64>) {
        let rules = Rules {
            approved: [(SUBJECT, vec![approval("Ada", Some(10)), approval("Bob", None)])].into(),
            ..rules(vec![])
        };
        let now = at(now);
        (
            standing(digest, &rules, now).len(),
            expired(digest, &rules, now).len(),
            until(digest, &rules, now).map(Timestamp::as_second),
        )
    }
}
