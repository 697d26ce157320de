//! What to do next about the certificates: a pure function of what the Secret holds and of the time.
//! It reads and makes nothing; the order of its checks is the order in which they matter.

use std::time::Duration;

use jiff::Timestamp;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long an authority is valid.
pub(super) const AUTHORITY: Duration = DAY.saturating_mul(365);
/// How long a serving certificate is valid.
pub(super) const SERVING: Duration = DAY.saturating_mul(90);
/// How much earlier than made a certificate is valid: clocks of nodes differ.
pub(super) const BACKDATED: Duration = Duration::from_secs(60 * 60);
/// An authority with less left is followed by the next. More than a serving certificate lasts, so that none outlives the
/// authority that signed it.
const AUTHORITY_LEFT: Duration = DAY.saturating_mul(120);
/// A serving certificate with less left is renewed.
const SERVING_LEFT: Duration = DAY.saturating_mul(30);
/// How long an authority is published before it signs what is served: until every API server has heard of it.
const SETTLE: Duration = Duration::from_secs(10 * 60);
/// How long the former authority is published after the change: until every replica serves the new certificate.
const OVERLAP: Duration = Duration::from_secs(60 * 60);

/// From when until when something is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    pub from: Timestamp,
    pub until: Timestamp,
}

impl Validity {
    fn holds(self, now: Timestamp) -> bool {
        self.from <= now && now < self.until
    }

    fn left(self, now: Timestamp) -> Duration {
        between(now, self.until)
    }
}

/// What the Secret holds, as far as it matters here. What cannot be read is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Held {
    /// The authority that signs.
    pub authority: Option<Validity>,
    /// The one that will sign.
    pub next: Option<Validity>,
    /// Since when every webhook configuration carries the next one.
    pub published: Option<Timestamp>,
    /// The one that signed.
    pub former: Option<Validity>,
    /// What is served, if the authority signed it for the names that are asked for.
    pub serving: Option<Validity>,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing.
    Keep,
    /// A new authority and a serving certificate at once: there is nothing anybody could still trust.
    Begin,
    /// A serving certificate by the same authority.
    RenewServing,
    /// An authority to publish beside the one that signs.
    AddAuthority,
    /// The published next authority signs from now on; the former one stays published.
    Promote,
    /// The former authority is no longer published.
    Forget,
}

/// What to do next.
pub(super) fn step(held: &Held, now: Timestamp) -> Step {
    let Some(authority) = held.authority.filter(|authority| authority.holds(now)) else {
        return Step::Begin;
    };
    // Trusted by everybody for a while: what is signed by it is better than anything else that could be done.
    if held.next.is_some_and(|next| next.holds(now))
        && held
            .published
            .is_some_and(|published| between(published, now) >= SETTLE)
    {
        return Step::Promote;
    }
    let Some(serving) = held.serving.filter(|serving| serving.holds(now)) else {
        return Step::RenewServing;
    };
    if serving.left(now) < SERVING_LEFT {
        return Step::RenewServing;
    }
    if authority.left(now) < AUTHORITY_LEFT && held.next.is_none_or(|next| !next.holds(now)) {
        return Step::AddAuthority;
    }
    // Any serving certificate here is by the present authority, and made after the change.
    if held
        .former
        .is_some_and(|former| between(serving.from, now) >= BACKDATED + OVERLAP || !former.holds(now))
    {
        return Step::Forget;
    }
    Step::Keep
}

/// From one time to a later one; nothing when it is earlier.
fn between(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;

    const NOW: i64 = 1_800_000_000;
    const HOUR: i64 = 60 * 60;
    const MINUTE: i64 = 60;
    const DAYS: i64 = 24 * HOUR;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(NOW + seconds).unwrap()
    }

    /// From and until, in seconds from now.
    type Times = Option<(i64, i64)>;

    const YOUNG: Times = Some((-DAYS, 364 * DAYS));
    const OLD: Times = Some((-250 * DAYS, 115 * DAYS));
    const FRESH: Times = Some((-DAYS, 89 * DAYS));

    #[test_case(None, None, None, None, None => Step::Begin; "nothing is there")]
    #[test_case(None, YOUNG, Some(-DAYS), None, FRESH => Step::Begin; "no authority: what is next was never one")]
    #[test_case(Some((-365 * DAYS, 0)), None, None, None, FRESH => Step::Begin; "the authority ends this very second")]
    #[test_case(Some((HOUR, 365 * DAYS)), None, None, None, FRESH => Step::Begin; "the authority is of the future")]
    #[test_case(Some((0, 365 * DAYS)), None, None, None, FRESH => Step::Keep; "the authority begins this second")]
    #[test_case(YOUNG, None, None, None, None => Step::RenewServing; "nothing is served, or for another name, or by another authority")]
    #[test_case(YOUNG, None, None, None, Some((-90 * DAYS, 0)) => Step::RenewServing; "what is served ends this second")]
    #[test_case(YOUNG, None, None, None, Some((-90 * DAYS, -DAYS)) => Step::RenewServing; "what is served ended while nobody ran")]
    #[test_case(YOUNG, None, None, None, Some((-60 * DAYS, 30 * DAYS - 1)) => Step::RenewServing; "less than thirty days left")]
    #[test_case(YOUNG, None, None, None, Some((-60 * DAYS, 30 * DAYS)) => Step::Keep; "thirty days left")]
    #[test_case(YOUNG, None, None, None, FRESH => Step::Keep; "all is young")]
    #[test_case(Some((-245 * DAYS, 120 * DAYS)), None, None, None, FRESH => Step::Keep; "an authority with 120 days")]
    #[test_case(OLD, None, None, None, FRESH => Step::AddAuthority; "an authority with less")]
    #[test_case(OLD, Some((-400 * DAYS, -DAYS)), None, None, FRESH => Step::AddAuthority; "a next one that ended before it signed")]
    #[test_case(OLD, None, None, None, Some((-89 * DAYS, DAYS)) => Step::RenewServing; "both are old: what is served comes first")]
    #[test_case(OLD, YOUNG, None, None, FRESH => Step::Keep; "the next one is not published")]
    #[test_case(OLD, YOUNG, Some(-10 * MINUTE + 1), None, FRESH => Step::Keep; "published, and not every API server may know")]
    #[test_case(OLD, YOUNG, Some(-10 * MINUTE), None, FRESH => Step::Promote; "published for long enough")]
    #[test_case(OLD, YOUNG, Some(10 * MINUTE), None, FRESH => Step::Keep; "published in the future")]
    #[test_case(OLD, YOUNG, None, None, None => Step::RenewServing; "what is served is lost meanwhile: the trusted authority signs")]
    #[test_case(OLD, YOUNG, Some(-HOUR), None, None => Step::Promote; "what is served is lost after it was published")]
    #[test_case(YOUNG, None, None, OLD, Some((-HOUR, 90 * DAYS)) => Step::Keep; "just changed: the former stays")]
    #[test_case(YOUNG, None, None, OLD, Some((-2 * HOUR + 1, 90 * DAYS)) => Step::Keep; "changed less than an hour ago")]
    #[test_case(YOUNG, None, None, OLD, Some((-2 * HOUR, 90 * DAYS)) => Step::Forget; "changed an hour ago")]
    #[test_case(YOUNG, None, None, Some((-365 * DAYS, -1)), Some((-HOUR, 90 * DAYS)) => Step::Forget; "the former ended")]
    fn next(authority: Times, next: Times, published: Option<i64>, former: Times, serving: Times) -> Step {
        let validity = |times: Times| {
            times.map(|(from, until)| Validity {
                from: at(from),
                until: at(until),
            })
        };
        let held = Held {
            authority: validity(authority),
            next: validity(next),
            published: published.map(at),
            former: validity(former),
            serving: validity(serving),
        };
        step(&held, at(0))
    }

    /// Ten years, a look every hour: what is served is always valid and by an authority that was published long enough.
    #[test]
    fn at_no_time_is_something_served_that_an_api_server_does_not_trust() {
        let made = |now: Timestamp, length: Duration| Validity {
            from: now - BACKDATED,
            until: now + length,
        };
        let mut held = Held::default();
        let (mut promoted, mut begun) = (0, 0);
        for hour in 0..10 * 365 * 24 {
            let now = at(hour * HOUR);
            match step(&held, now) {
                Step::Keep => {}
                Step::Begin => {
                    begun += 1;
                    held = Held {
                        authority: Some(made(now, AUTHORITY)),
                        serving: Some(made(now, SERVING)),
                        ..Held::default()
                    };
                }
                Step::RenewServing => held.serving = Some(made(now, SERVING)),
                Step::AddAuthority => {
                    held.next = Some(made(now, AUTHORITY));
                    held.published = Some(now);
                }
                Step::Promote => {
                    promoted += 1;
                    assert!(between(held.published.unwrap(), now) >= SETTLE);
                    held.former = held.authority;
                    held.authority = held.next.take();
                    held.published = None;
                    held.serving = Some(made(now, SERVING));
                }
                Step::Forget => held.former = None,
            }
            let (authority, serving) = (held.authority.unwrap(), held.serving.unwrap());
            assert!(authority.holds(now) && serving.holds(now), "hour {hour}");
            assert!(
                serving.until <= authority.until,
                "hour {hour}: it outlives its authority"
            );
        }
        assert_eq!(begun, 1);
        assert!((13..=15).contains(&promoted), "{promoted}");
    }
}
