//! What is done about what serves once policy no longer admits it: people are told, its traffic is cut, or it is stopped.
//! Pure; the operator carries it out, and admission refuses by it what would bring it back.

use jiff::Timestamp;

use super::grace::Grace;
use crate::{
    api::v1alpha1::{ServingModel, ViolationAction, ViolationResponse},
    evidence::{RuleId, Verdict},
    policy::{Decision, Rules, World},
};

/// What is done about what serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// What is done now.
    pub action: ViolationAction,
    /// The strictest that an enforced policy asks for. More than [`Self::action`] while the time to stop has not come: what
    /// goes on until then is not made again.
    pub asked: ViolationAction,
    /// The policy that asks for it; of several the first by name.
    pub policy: Option<String>,
    /// When it is stopped, while that is still to come.
    pub stops: Option<Timestamp>,
}

impl Response {
    const NONE: Self = Self {
        action: ViolationAction::Alert,
        asked: ViolationAction::Alert,
        policy: None,
        stops: None,
    };

    /// Whether its pods take no traffic.
    pub fn cuts(&self) -> bool {
        self.action > ViolationAction::Alert
    }

    /// What the status remembers of it; nothing while its pods may serve.
    pub fn remembered(&self) -> Option<ViolationResponse> {
        match self.action {
            ViolationAction::Alert => None,
            ViolationAction::Quarantine => Some(ViolationResponse::Quarantined),
            ViolationAction::Stop => Some(ViolationResponse::Stopped),
        }
    }
}

/// What is done about what serves, of which policy says `decision`, by the policies that select its namespace. `serving` is what
/// the status remembers of it.
///
/// Each enforced policy adds to it and none takes away: one that says `Quarantine` has the traffic cut at once, one that says
/// `Stop` has the server stopped when the shortest grace period is over. A decision that cannot be made just now changes
/// nothing: what was cut stays cut until it is known to be good, and what serves is not cut for a registry that is away.
pub fn response(
    decision: &Decision,
    serving: Option<&ServingModel>,
    world: &World,
    namespace: &str,
    now: Timestamp,
) -> Response {
    let rules: Vec<&Rules> = world.policies_of(namespace).collect();
    let since = serving.and_then(|serving| serving.unproven_since.as_ref());
    match decision.verdict {
        Verdict::Pass => Response::NONE,
        Verdict::Fail if violates(decision) => by(&rules, since.map(|since| since.0), now),
        // Nothing new is known of the model, or only that a policy cannot be applied.
        Verdict::Fail | Verdict::Wait | Verdict::Unknown => {
            goes_on(serving.and_then(|serving| serving.response))
        }
    }
}

/// Whether a policy may have the traffic of pods in this namespace cut, so that each has to have a gate for it.
pub fn may_quarantine(world: &World, namespace: &str) -> bool {
    let quarantines = |rules: &Rules| rules.enforces() && rules.on_violation == ViolationAction::Quarantine;
    world.policies_of(namespace).any(quarantines)
}

/// Whether a policy that can be applied refuses the model. A policy that makes no sense, or whose trust root is missing,
/// says nothing of what serves: a slip of the pen must not cut off every model there is.
fn violates(decision: &Decision) -> bool {
    let mut findings = decision.findings.iter();
    findings.any(|finding| finding.counts_as() == Verdict::Fail && finding.rule != RuleId::Policy)
}

fn goes_on(remembered: Option<ViolationResponse>) -> Response {
    let action = match remembered {
        None => ViolationAction::Alert,
        Some(ViolationResponse::Quarantined) => ViolationAction::Quarantine,
        Some(ViolationResponse::Stopped) => ViolationAction::Stop,
    };
    Response {
        action,
        asked: action,
        ..Response::NONE
    }
}

/// What these policies do about what policy has not admitted since `since`; when that is not written down yet, just now.
fn by(rules: &[&Rules], since: Option<Timestamp>, now: Timestamp) -> Response {
    let asks = |action| {
        let mut asking = rules
            .iter()
            .filter(|rules| rules.enforces() && rules.on_violation == action);
        asking.next().map(|rules| rules.policy.clone())
    };
    let (stop, quarantine) = (asks(ViolationAction::Stop), asks(ViolationAction::Quarantine));
    let grace = stop
        .as_ref()
        .and_then(|_| Grace::of(rules.iter().copied(), since, now));
    let stops = grace.and_then(|grace| grace.lasts(now));
    let action = match (&stop, &quarantine) {
        (Some(_), _) if stops.is_none() => ViolationAction::Stop,
        (_, Some(_)) => ViolationAction::Quarantine,
        (_, None) => ViolationAction::Alert,
    };
    let asked = match (&stop, &quarantine) {
        (Some(_), _) => ViolationAction::Stop,
        (None, Some(_)) => ViolationAction::Quarantine,
        (None, None) => ViolationAction::Alert,
    };
    Response {
        action,
        asked,
        policy: if action == ViolationAction::Quarantine {
            quarantine
        } else {
            stop
        },
        stops,
    }
}

#[cfg(test)]
mod tests {
    use ViolationAction::{Alert, Quarantine, Stop};
    use jiff::SignedDuration;
    use proptest::{collection::vec, option, prelude::*, sample::select};
    use test_case::test_case;

    use super::*;
    use crate::{
        evidence::{Effect, Finding, Reason},
        policy::samples::{at, rules},
    };

    fn policy(action: ViolationAction, seconds: i64) -> Rules {
        Rules {
            policy: format!("{action:?}-{seconds}"),
            on_violation: action,
            grace_period: SignedDuration::from_secs(seconds),
            ..rules(Vec::new())
        }
    }

    fn warning(action: ViolationAction) -> Rules {
        Rules {
            effect: Effect::Warn,
            model_effect: Effect::Warn,
            isolation: crate::policy::isolation::IsolationRules::none(Effect::Warn),
            ..policy(action, 0)
        }
    }

    fn world(rules: Vec<Rules>) -> World {
        let label = (crate::api::GOVERNED_LABEL.to_owned(), "true".to_owned());
        World {
            rules,
            namespaces: [("bank".to_owned(), [label].into())].into(),
            ..World::default()
        }
    }

    fn decision(rule: RuleId, verdict: Verdict) -> Decision {
        Decision::of(vec![Finding {
            rule,
            policy: None,
            effect: Effect::Enforce,
            verdict,
            reason: (verdict == Verdict::Fail).then_some(Reason::Revoked),
            message: "it is not what it was".into(),
            waived_by: None,
        }])
    }

    fn serving(since: Option<i64>, response: Option<ViolationResponse>) -> ServingModel {
        let mut serving: ServingModel = serde_json::from_value(serde_json::json!({
            "digest": crate::policy::samples::SUBJECT, "version": "1", "reference": "registry.example/models/digits:1",
            "since": "2026-01-01T00:00:00Z", "size": 1, "files": 1, "signers": [], "signedBy": "", "verification": ""
        }))
        .unwrap();
        serving.unproven_since =
            since.map(|since| k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(since)));
        serving.response = response;
        serving
    }

    #[test_case(&[] => (Alert, None); "no policy")]
    #[test_case(&[policy(Alert, 0)] => (Alert, None); "people are told")]
    #[test_case(&[policy(Quarantine, 60)] => (Quarantine, None); "cut off at once, whatever the grace")]
    #[test_case(&[policy(Stop, 60)] => (Alert, Some(160)); "goes on until it is stopped")]
    #[test_case(&[policy(Stop, 5)] => (Stop, None); "the grace is over")]
    #[test_case(&[policy(Stop, 0)] => (Stop, None); "stopped at once")]
    #[test_case(&[policy(Alert, 0), policy(Quarantine, 60)] => (Quarantine, None); "the stricter of two")]
    #[test_case(&[policy(Quarantine, 60), policy(Stop, 60)] => (Quarantine, Some(160)); "cut off until it is stopped")]
    #[test_case(&[policy(Alert, 0), policy(Stop, 60)] => (Stop, None); "the shortest grace is anybody's")]
    #[test_case(&[policy(Alert, 60), warning(Stop)] => (Alert, None); "one that only warns has no say")]
    fn of_what_is_refused_since_a_time(rules: &[Rules]) -> (ViolationAction, Option<i64>) {
        let refused = decision(RuleId::ModelSignature, Verdict::Fail);
        let response = response(
            &refused,
            Some(&serving(Some(100), None)),
            &world(rules.to_vec()),
            "bank",
            at(105),
        );
        (response.action, response.stops.map(Timestamp::as_second))
    }

    #[test_case(RuleId::ModelRevoked, Verdict::Fail => Quarantine; "refused")]
    #[test_case(RuleId::ModelRevoked, Verdict::Pass => Alert; "admitted")]
    #[test_case(RuleId::ModelSignature, Verdict::Wait => Alert; "being verified")]
    #[test_case(RuleId::ModelSignature, Verdict::Unknown => Alert; "the registry is away")]
    #[test_case(RuleId::Policy, Verdict::Fail => Alert; "a policy that cannot be applied")]
    fn of_each_decision(rule: RuleId, verdict: Verdict) -> ViolationAction {
        let world = world(vec![policy(Quarantine, 60)]);
        response(
            &decision(rule, verdict),
            Some(&serving(None, None)),
            &world,
            "bank",
            at(5),
        )
        .action
    }

    #[test_case(Verdict::Wait => Quarantine; "while it is verified anew")]
    #[test_case(Verdict::Unknown => Quarantine; "while nobody can say")]
    #[test_case(Verdict::Pass => Alert; "until it is known to be good")]
    fn what_is_cut_off_stays_so(verdict: Verdict) -> ViolationAction {
        let serving = serving(Some(0), Some(ViolationResponse::Quarantined));
        let world = world(vec![policy(Quarantine, 60)]);
        response(
            &decision(RuleId::ModelSignature, verdict),
            Some(&serving),
            &world,
            "bank",
            at(5),
        )
        .action
    }

    #[test]
    fn in_a_namespace_that_is_not_governed_nothing_is_cut() {
        let mut world = world(vec![policy(Quarantine, 60)]);
        world.namespaces.clear();
        let refused = decision(RuleId::ModelRevoked, Verdict::Fail);
        assert_eq!(
            response(&refused, Some(&serving(None, None)), &world, "bank", at(5)),
            Response::NONE
        );
    }

    #[test]
    fn it_says_who_asks_for_it_and_what_is_to_come() {
        let world = world(vec![policy(Quarantine, 60), policy(Stop, 60)]);
        let refused = decision(RuleId::ModelRevoked, Verdict::Fail);
        let found = response(&refused, Some(&serving(Some(0), None)), &world, "bank", at(5));
        assert_eq!(
            (found.policy.as_deref(), found.asked),
            (Some("Quarantine-60"), Stop)
        );
        let found = response(&refused, Some(&serving(Some(0), None)), &world, "bank", at(60));
        assert_eq!((found.policy.as_deref(), found.action), (Some("Stop-60"), Stop));
    }

    fn any_policy() -> impl Strategy<Value = Rules> {
        let action = select(vec![Alert, Quarantine, Stop]);
        (action, 0_i64..5, any::<bool>()).prop_map(|(action, seconds, enforced)| {
            if enforced {
                policy(action, seconds)
            } else {
                warning(action)
            }
        })
    }

    proptest! {
        #[test]
        fn a_further_policy_never_softens_it(
            rules in vec(any_policy(), 0..4), further in any_policy(), since in option::of(0_i64..3), now in 3_i64..8
        ) {
            let refused = decision(RuleId::ModelRevoked, Verdict::Fail);
            let of = |rules: Vec<Rules>| response(&refused, Some(&serving(since, None)), &world(rules), "bank", at(now));
            let (before, after) = (of(rules.clone()), of([rules, vec![further]].concat()));
            prop_assert!(after.action >= before.action && after.asked >= before.asked);
            if let Some(stops) = before.stops {
                prop_assert!(after.action == Stop || after.stops.is_some_and(|after| after <= stops));
            }
        }
    }
}
