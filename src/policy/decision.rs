//! All findings about one model, and what they come to.
//! Pure; policies are joined by plain conjunction, so a further one can only ever deny more.

use jiff::Timestamp;
use serde::Serialize;

use super::{Evidence, Facts, MAX_KEYS, Rules, World, checks, requirements, selecting};
use crate::{
    api::{GOVERNED_LABEL, v1alpha1::ServingSigner},
    evidence::{Class, Digest, Effect, Finding, Reason, Reference, RuleId, Verdict},
};

/// At most this many findings are shown in a status; what failed comes first.
pub const MAX_FINDINGS: usize = 64;

/// What the policies say of one model.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// The worst of the findings.
    pub verdict: Verdict,
    /// What each rule of each policy says: what failed comes first, then by policy and rule.
    pub findings: Vec<Finding>,
    /// Whose signature verified, by the policies' names for them.
    pub signers: Vec<ServingSigner>,
}

impl Decision {
    /// Whether the model may serve: everything holds, nothing is waited for or unknown.
    pub fn admits(&self) -> bool {
        self.verdict == Verdict::Pass
    }

    /// The finding that people should read first: of the worst verdict, the most severe reason.
    pub fn headline(&self) -> Option<&Finding> {
        // `min_by_key` keeps the first of equals, and the findings are in order.
        self.findings
            .iter()
            .filter(|finding| finding.verdict == self.verdict)
            .min_by_key(|finding| finding.reason.map(severity))
    }

    /// The stable code for conditions; absent when it passed or only waits.
    pub fn reason(&self) -> Option<Reason> {
        self.headline().and_then(|finding| finding.reason)
    }

    /// The one sentence for conditions.
    pub fn message(&self) -> &str {
        self.headline().map_or("", |finding| &finding.message)
    }

    /// The one sentence, and whose it is when several policies have a say.
    pub fn sentence(&self) -> String {
        let Some(headline) = self.headline() else {
            return String::new();
        };
        let others = self
            .findings
            .iter()
            .any(|finding| finding.policy.is_some() && finding.policy != headline.policy);
        match &headline.policy {
            // A policy that cannot be applied names itself.
            Some(policy) if others && !headline.message.starts_with(policy) => {
                format!("{} ({policy})", headline.message)
            }
            _ => headline.message.clone(),
        }
    }

    /// The findings that fit into a status.
    pub fn shown(&self) -> &[Finding] {
        &self.findings[..self.findings.len().min(MAX_FINDINGS)]
    }

    pub(super) fn of(mut findings: Vec<Finding>, signers: Vec<ServingSigner>) -> Self {
        findings.sort_by(|a, b| {
            b.verdict
                .cmp(&a.verdict)
                .then_with(|| (&a.policy, a.rule, &a.message).cmp(&(&b.policy, b.rule, &b.message)))
        });
        // Nothing found is nothing shown, and that is no admission.
        let verdict = findings.iter().map(counted).max().unwrap_or(Verdict::Fail);
        Self {
            verdict,
            findings,
            signers,
        }
    }
}

/// What a finding adds to the decision, under its policy's effect.
fn counted(finding: &Finding) -> Verdict {
    match finding.effect {
        Effect::Enforce => finding.verdict,
        Effect::Warn => Verdict::Pass,
    }
}

/// Which reason people should read first, the smallest number before others: that content is known to be bad, then that it is not what was signed, then
/// whatever they can change themselves.
pub fn severity(reason: Reason) -> u8 {
    match (reason, reason.class()) {
        (Reason::Revoked, _) => 0,
        (_, Class::Integrity) => 1,
        (_, Class::Trust) => 2,
        (_, Class::Policy) => 3,
        (_, Class::Malformed) => 4,
        (_, Class::Unsupported) => 5,
        (_, Class::Transient) => 6,
        (_, Class::Internal) => 7,
    }
}

/// Judges one model under every policy that selects its namespace, each by itself, and joins what they say.
///
/// `_now` is for what expires; no rule does yet. Without a policy that selects the namespace the answer is `NoPolicy`, and
/// evidence that is still awaited or could not be read never admits.
pub fn evaluate(facts: &Facts, world: &World, _now: Timestamp) -> Decision {
    let rules: Vec<&Rules> = if facts.governed {
        selecting(&world.rules, &facts.namespace_labels).collect()
    } else {
        Vec::new()
    };
    if rules.is_empty() {
        return Decision::of(vec![no_policy(&facts.namespace, facts.governed)], Vec::new());
    }
    let mut findings: Vec<Finding> = rules.iter().flat_map(|rules| judge(facts, rules)).collect();
    findings.extend(too_many_keys(&rules));
    Decision::of(findings, signers(facts, &rules))
}

/// The refusal that no evidence can change, if there is one: then no registry need be asked, and none is that the policy
/// does not allow. The digest is not needed either.
pub fn foregone(
    world: &World,
    namespace: &str,
    reference: &Reference,
    digest: Option<Digest>,
    now: Timestamp,
) -> Option<Decision> {
    let unasked = Evidence::Wait("not verified, since the model is refused already".to_owned());
    let facts = Facts::about(world, namespace, reference.clone(), digest, unasked);
    Some(evaluate(&facts, world, now)).filter(|decision| decision.verdict == Verdict::Fail)
}

/// What one policy says.
fn judge(facts: &Facts, rules: &Rules) -> Vec<Finding> {
    let applicable = checks::applicable(rules);
    if rules.namespaces == super::NamespaceSelector::Broken {
        // Who it was meant for is not known, so what it would say of this model is not either.
        return applicable.into_iter().collect();
    }
    let can_sign = rules.signers.iter().any(|signer| !signer.keys.is_empty());
    [
        applicable,
        // Without anyone who could sign, the policy's problem says it better; without a problem it must be asked.
        (can_sign || rules.blocking().is_empty()).then(|| checks::signature::signed_by_trusted(facts, rules)),
        checks::repositories::allowed(facts, rules),
        checks::revoked::not_revoked(facts, rules),
    ]
    .into_iter()
    .flatten()
    .collect()
}

pub(super) fn no_policy(namespace: &str, governed: bool) -> Finding {
    let message = if governed {
        format!(
            "no policy selects the namespace {namespace}: apply a ClusterDeploymentPolicy whose spec.namespaceSelector matches its labels"
        )
    } else {
        format!(
            "the namespace {namespace} is not governed, so no policy applies: label it {GOVERNED_LABEL}=true"
        )
    };
    deny_all(Reason::NoPolicy, message)
}

fn too_many_keys(rules: &[&Rules]) -> Option<Finding> {
    let keys = requirements::union(rules.iter().copied()).len();
    (keys > MAX_KEYS).then(|| {
        let message = format!("the policies of this namespace accept {keys} keys together, and at most {MAX_KEYS} can be looked for: remove signers or keys");
        deny_all(Reason::PolicyInvalid, message)
    })
}

fn deny_all(reason: Reason, message: String) -> Finding {
    let (rule, effect, verdict) = (RuleId::Policy, Effect::Enforce, Verdict::Fail);
    Finding {
        rule,
        policy: None,
        effect,
        verdict,
        reason: Some(reason),
        message,
    }
}

/// The policies' names for whoever signed: each name and key once, in order.
fn signers(facts: &Facts, rules: &[&Rules]) -> Vec<ServingSigner> {
    let Evidence::Known(verification) = &facts.verification else {
        return Vec::new();
    };
    let mut signers: Vec<ServingSigner> = Vec::new();
    for identity in &verification.signers {
        for signer in rules
            .iter()
            .flat_map(|rules| &rules.signers)
            .filter(|signer| signer.holds(identity.fingerprint))
        {
            signers.push(ServingSigner {
                name: signer.name.clone(),
                identity: identity.clone(),
            });
        }
    }
    signers.sort_by(|a, b| (&a.name, &a.identity).cmp(&(&b.name, &b.identity)));
    signers.dedup();
    signers
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use test_case::test_case;

    use super::*;
    use crate::{
        evidence::Failure,
        policy::{
            Problem, Verification,
            samples::{SUBJECT, broken_signer, facts, refused, rules, signer, verified},
        },
    };

    fn decide(facts: &Facts, rules: Vec<Rules>) -> Decision {
        evaluate(
            facts,
            &World {
                rules,
                namespaces: BTreeMap::new(),
            },
            Timestamp::UNIX_EPOCH,
        )
    }

    fn named(name: &str, rules: Rules) -> Rules {
        Rules {
            policy: format!("ClusterDeploymentPolicy/{name}"),
            ..rules
        }
    }

    fn revoking(rules: Rules) -> Rules {
        Rules {
            revoked: [(SUBJECT, "poisoned".to_owned())].into(),
            ..rules
        }
    }

    fn known(verification: Verification) -> Facts {
        facts(Evidence::Known(verification))
    }

    #[test]
    fn a_satisfied_policy_admits_and_says_who_signed() {
        let decision = decide(&known(verified(&[1])), vec![rules(vec![signer("release", &[1])])]);
        assert!(decision.admits());
        assert_eq!(
            (decision.reason(), decision.message()),
            (None, "signed by release")
        );
        assert_eq!(decision.signers[0].name, "release");
        assert_eq!(decision.signers[0].identity.key, "root/key-1");
    }

    #[test]
    fn every_policy_must_be_satisfied_by_itself() {
        let policies = vec![
            named("a", rules(vec![signer("release", &[1])])),
            named("b", rules(vec![signer("vault", &[2])])),
        ];
        let decision = decide(&known(verified(&[1])), policies);
        assert_eq!(decision.verdict, Verdict::Fail);
        assert_eq!(
            decision.headline().unwrap().policy.as_deref(),
            Some("ClusterDeploymentPolicy/b")
        );
    }

    #[test_case(true => "no policy selects the namespace bank: apply a ClusterDeploymentPolicy whose spec.namespaceSelector matches its labels"; "governed")]
    #[test_case(false => "the namespace bank is not governed, so no policy applies: label it probity.dev/governed=true"; "not governed")]
    fn without_a_policy_nothing_serves(governed: bool) -> String {
        let policies = if governed {
            vec![]
        } else {
            vec![rules(vec![signer("release", &[1])])]
        };
        let decision = decide(
            &Facts {
                governed,
                ..known(verified(&[1]))
            },
            policies,
        );
        assert_eq!(
            (decision.verdict, decision.reason()),
            (Verdict::Fail, Some(Reason::NoPolicy))
        );
        decision.message().to_owned()
    }

    #[test_case(Evidence::Wait("it is being verified".into()) => (Verdict::Wait, None, "it is being verified".to_owned()); "under way")]
    #[test_case(Evidence::Unknown(Failure::new(Reason::Timeout, "too slow")) => (Verdict::Unknown, Some(Reason::Timeout), "too slow".to_owned()); "unreadable")]
    fn without_evidence(verification: Evidence<Verification>) -> (Verdict, Option<Reason>, String) {
        let decision = decide(&facts(verification), vec![rules(vec![signer("release", &[1])])]);
        (decision.verdict, decision.reason(), decision.message().to_owned())
    }

    #[test]
    fn what_is_certain_is_not_waited_for() {
        let waiting = facts(Evidence::Wait("it is being verified".into()));
        let decision = decide(&waiting, vec![revoking(rules(vec![signer("release", &[1])]))]);
        assert_eq!(
            (decision.verdict, decision.reason()),
            (Verdict::Fail, Some(Reason::Revoked))
        );
    }

    #[test]
    fn the_most_severe_reason_is_the_headline_wherever_it_is_in_the_list() {
        let policies = vec![
            named("a", rules(vec![signer("release", &[1])])),
            named("z", revoking(rules(vec![signer("release", &[1])]))),
        ];
        let decision = decide(&known(refused(&[], Reason::Unsigned, "")), policies);
        assert_eq!(decision.findings[0].reason, Some(Reason::Unsigned));
        assert_eq!(decision.reason(), Some(Reason::Revoked));
    }

    #[test]
    fn failures_come_first_and_then_policies_in_the_order_of_their_names() {
        let strict = Rules {
            threshold: 2,
            ..rules(vec![signer("release", &[1]), signer("vault", &[2])])
        };
        let policies = vec![
            named("c", strict.clone()),
            named("a", rules(vec![signer("release", &[1])])),
            named("b", strict),
        ];
        let decision = decide(&known(verified(&[1])), policies);
        let order: Vec<_> = decision
            .findings
            .iter()
            .map(|f| (f.verdict, f.policy.as_deref().unwrap()))
            .collect();
        let path = |name: &'static str| name;
        assert_eq!(
            order,
            [
                (Verdict::Fail, path("ClusterDeploymentPolicy/b")),
                (Verdict::Fail, path("ClusterDeploymentPolicy/c")),
                (Verdict::Pass, path("ClusterDeploymentPolicy/a")),
            ]
        );
    }

    #[test]
    fn a_policy_with_a_problem_denies_with_its_reason() {
        let problem = Problem::new(
            Reason::PolicyInvalid,
            "spec.model.threshold",
            "0 would admit anything",
        );
        let broken = Rules {
            problems: vec![problem],
            ..rules(vec![signer("release", &[1])])
        };
        let decision = decide(&known(verified(&[1])), vec![broken]);
        assert_eq!(
            (decision.verdict, decision.reason()),
            (Verdict::Fail, Some(Reason::PolicyInvalid))
        );
        assert_eq!(
            decision.message(),
            "ClusterDeploymentPolicy/baseline cannot be applied: spec.model.threshold: 0 would admit anything"
        );
    }

    #[test]
    fn a_policy_nobody_can_sign_for_says_so_instead_of_blaming_the_model() {
        let policies = vec![rules(vec![broken_signer("release"), broken_signer("vault")])];
        let decision = decide(&known(refused(&[], Reason::Unsigned, "")), policies);
        assert_eq!(decision.findings.len(), 1);
        assert_eq!(decision.reason(), Some(Reason::TrustRootMissing));
        assert!(
            decision
                .message()
                .ends_with("TrustRoot/gone does not exist (and 1 more: see the policy's status)")
        );
    }

    #[test]
    fn one_broken_signer_of_two_leaves_the_other() {
        let policies = vec![rules(vec![broken_signer("vault"), signer("release", &[1])])];
        assert!(decide(&known(verified(&[1])), policies).admits());
    }

    #[test]
    fn more_keys_than_can_be_looked_for_deny() {
        let many: Vec<u8> = (0..=64).collect();
        let decision = decide(
            &known(verified(&[1])),
            vec![rules(vec![signer("release", &many)])],
        );
        assert_eq!(decision.reason(), Some(Reason::PolicyInvalid));
        assert!(
            decision.message().contains("accept 65 keys together"),
            "{}",
            decision.message()
        );
    }

    #[test]
    fn rules_with_nobody_to_sign_and_no_problem_do_not_admit() {
        assert!(!decide(&known(verified(&[])), vec![rules(vec![])]).admits());
    }

    #[test]
    fn finding_nothing_is_no_admission() {
        assert_eq!(Decision::of(Vec::new(), Vec::new()).verdict, Verdict::Fail);
    }
}
