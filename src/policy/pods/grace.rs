//! Until when pods of what serves are replaced after it turned bad: nodes come and go, and neither must end it before time.
//! Pure; it knows nothing of pods, and content that is revoked never comes here.

use jiff::Timestamp;

use crate::policy::Rules;

/// The grace that the policies of a namespace give what serves there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Grace<'a> {
    /// The policy that gives the least; it counts.
    policy: &'a str,
    /// From then on nothing is replaced.
    until: Timestamp,
}

impl<'a> Grace<'a> {
    /// What these policies, which select the namespace, give what policy has not admitted since `since`; when that is not
    /// written down yet it turned bad just now.
    ///
    /// Policies that enforce nothing refuse nothing, so they have no say.
    pub fn of(
        rules: impl Iterator<Item = &'a Rules>,
        since: Option<Timestamp>,
        now: Timestamp,
    ) -> Option<Self> {
        let shortest = rules
            .filter(|rules| rules.enforces())
            .min_by_key(|rules| (rules.grace_period, &rules.policy))?;
        Some(Self {
            policy: &shortest.policy,
            // A time that cannot be written down is none that was given.
            until: since.unwrap_or(now).checked_add(shortest.grace_period).ok()?,
        })
    }

    /// Until when pods are replaced; absent once that is over.
    pub fn lasts(&self, now: Timestamp) -> Option<Timestamp> {
        (now < self.until).then_some(self.until)
    }

    /// What is said of a pod that comes too late.
    pub fn over(&self) -> String {
        format!(
            "what serves was replaced until {} (spec.onViolation.gracePeriodSeconds of {}), and is no more",
            self.until, self.policy
        )
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use proptest::{collection::vec, option, prelude::*, sample::select};
    use test_case::test_case;

    use super::*;
    use crate::{
        evidence::Effect,
        policy::{
            NamespaceSelector,
            samples::{at, rules},
        },
    };

    const CLUSTER: NamespaceSelector = NamespaceSelector::Matching(Vec::new());

    /// A policy of this effect that gives so many seconds.
    fn gives(namespaces: NamespaceSelector, effect: Effect, seconds: i64) -> Rules {
        Rules {
            policy: format!("policy-{seconds}"),
            namespaces,
            effect,
            model_effect: effect,
            isolation: crate::policy::IsolationRules::none(effect),
            grace_period: SignedDuration::from_secs(seconds),
            ..rules(Vec::new())
        }
    }

    fn platform(effect: Effect, seconds: i64) -> Rules {
        gives(CLUSTER, effect, seconds)
    }

    fn own(effect: Effect, seconds: i64) -> Rules {
        gives(NamespaceSelector::Its("bank".into()), effect, seconds)
    }

    #[test_case(&[] => None; "no policy at all")]
    #[test_case(&[platform(Effect::Enforce, 60)] => Some(160); "one policy")]
    #[test_case(&[platform(Effect::Enforce, 0)] => Some(100); "none is given")]
    #[test_case(&[platform(Effect::Enforce, 60), platform(Effect::Enforce, 30)] => Some(130); "the shortest of two")]
    #[test_case(&[platform(Effect::Enforce, 60), own(Effect::Enforce, 30)] => Some(130); "shorter in the namespace")]
    #[test_case(&[platform(Effect::Enforce, 60), own(Effect::Enforce, 90)] => Some(160); "longer in the namespace")]
    #[test_case(&[platform(Effect::Enforce, 60), platform(Effect::Warn, 0)] => Some(160); "one that warns refuses nothing")]
    #[test_case(&[platform(Effect::Audit, 0), own(Effect::Enforce, 90)] => Some(190); "the platform only looks")]
    #[test_case(&[platform(Effect::Audit, 0)] => None; "nobody enforces")]
    fn until_when(rules: &[Rules]) -> Option<i64> {
        let grace = Grace::of(rules.iter(), Some(at(100)), at(105));
        grace.map(|grace| grace.until.as_second())
    }

    #[test_case(Some(100), 159 => Some(160); "the last second")]
    #[test_case(Some(100), 160 => None; "it is over")]
    #[test_case(None, 1_000 => Some(1_060); "it turned bad just now")]
    fn lasts(since: Option<i64>, now: i64) -> Option<i64> {
        let rules = [platform(Effect::Enforce, 60)];
        let grace = Grace::of(rules.iter(), since.map(at), at(now)).unwrap();
        grace.lasts(at(now)).map(Timestamp::as_second)
    }

    fn policy() -> impl Strategy<Value = Rules> {
        let effect = select(vec![Effect::Enforce, Effect::Warn, Effect::Audit]);
        (any::<bool>(), effect, 0_i64..5).prop_map(|(cluster, effect, seconds)| {
            if cluster {
                platform(effect, seconds)
            } else {
                own(effect, seconds)
            }
        })
    }

    proptest! {
        /// Without any that enforces there is nothing to lengthen: then nothing is refused either.
        #[test]
        fn a_further_policy_never_lengthens(rules in vec(policy(), 0..4), further in policy(), since in option::of(0_i64..3)) {
            let until = |rules: &[Rules]| Grace::of(rules.iter(), since.map(at), at(2)).map(|grace| grace.until);
            let (before, more) = (until(&rules), [rules.clone(), vec![further]].concat());
            match before {
                Some(before) => prop_assert!(until(&more) <= Some(before)),
                None => prop_assert!(!rules.iter().any(Rules::enforces)),
            }
        }
    }

    #[test]
    fn without_grace_it_is_over_at_once() {
        let rules = [platform(Effect::Enforce, 0)];
        assert_eq!(Grace::of(rules.iter(), None, at(7)).unwrap().lasts(at(7)), None);
    }

    #[test]
    fn what_is_over_says_since_when_and_by_whom() {
        let rules = [platform(Effect::Enforce, 60)];
        let said = Grace::of(rules.iter(), Some(at(0)), at(90)).unwrap().over();
        assert!(
            said.contains("1970-01-01T00:01:00Z") && said.contains("of policy-60"),
            "{said}"
        );
    }
}
