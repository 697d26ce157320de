//! All findings about one model, and what they come to.
//! Pure; policies are joined by plain conjunction, so a further one can only ever deny more.

use std::{cmp::Reverse, collections::BTreeSet};

use jiff::Timestamp;
use serde::Serialize;

use super::{
    Declared, Evidence, Facts, MAX_KEYS, NamespaceSelector, Rules, SignerRule, World, checks, requirements,
    selecting, waiver,
};
use crate::{
    api::{
        GOVERNED_LABEL,
        v1alpha1::{ModelDeploymentSpec, ServingSigner},
    },
    evidence::{Class, Digest, Effect, Failure, Finding, Origin, Reason, Reference, RuleId, Verdict},
};

/// At most this many findings are shown in a status; what failed comes first.
pub const MAX_FINDINGS: usize = 64;

/// At most this many signers, and this many people who vouch for content, are named in a status.
const MAX_SIGNERS: usize = 32;
const MAX_APPROVERS: usize = 8;

/// What the policies say of one model.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// The worst of the findings that count.
    pub verdict: Verdict,
    /// What each rule of each policy says: what denies comes first, then what would if it were enforced, then by policy and
    /// rule.
    pub findings: Vec<Finding>,
    /// Whose signature verified, by the policies' names for them.
    pub signers: Vec<ServingSigner>,
    /// Who vouches for the content beside its signatures, each name once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub approved_by: Vec<String>,
    /// Until when this can be said without looking at the clock again; absent when no time limits it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl Decision {
    /// Whether the model may serve: everything that is enforced holds, nothing of it is waited for or unknown.
    pub fn admits(&self) -> bool {
        self.verdict == Verdict::Pass
    }

    /// The finding that people should read first: of the worst verdict, the most severe reason.
    pub fn headline(&self) -> Option<&Finding> {
        let decides =
            |finding: &&Finding| finding.effect == Effect::Enforce && finding.verdict == self.verdict;
        // `min_by_key` keeps the first of equals, and the findings are in order.
        self.findings
            .iter()
            .filter(decides)
            .min_by_key(|finding| finding.reason.map(severity))
            // Where nothing is enforced, what is only observed is all there is to say.
            .or_else(|| self.findings.first())
    }

    /// The stable code for conditions; absent when it passed or only waits.
    pub fn reason(&self) -> Option<Reason> {
        self.headline()
            .filter(|_| !self.admits())
            .and_then(|finding| finding.reason)
    }

    /// The stable code for conditions, also of one that waits: for its content to be verified, or to be measured.
    pub fn code(&self) -> &'static str {
        let measured =
            |finding: &&Finding| matches!(finding.rule, RuleId::RobustnessRequire | RuleId::RobustnessGates);
        match (self.reason(), self.headline().filter(measured)) {
            (Some(reason), _) => reason.as_str(),
            (None, Some(_)) => "Measuring",
            (None, None) => "Verifying",
        }
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

    /// The findings that would deny if their policies did more than warn: what people are told though the model serves.
    pub fn warnings(&self) -> impl Iterator<Item = &Finding> {
        self.findings
            .iter()
            .filter(|finding| finding.effect == Effect::Warn && finding.verdict == Verdict::Fail)
    }

    /// The findings that would deny, had nobody taken them upon themselves.
    pub fn waived(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.waived_by.is_some())
    }

    /// The findings that fit into a status.
    pub fn shown(&self) -> &[Finding] {
        &self.findings[..self.findings.len().min(MAX_FINDINGS)]
    }

    /// The same with these among them, which count for nothing.
    pub fn shown_with(&self, told: &[Finding]) -> Vec<Finding> {
        let mut all = Self::of([&self.findings[..], told].concat()).findings;
        all.truncate(MAX_FINDINGS);
        all
    }

    /// The decision with what else was found.
    pub(super) fn with(mut self, more: Vec<Finding>) -> Self {
        if more.is_empty() {
            return self;
        }
        self.findings.extend(more);
        Self {
            signers: self.signers,
            approved_by: self.approved_by,
            until: self.until,
            ..Self::of(self.findings)
        }
    }

    /// The same, to be made again at this time at the latest.
    pub(super) fn until(self, until: Option<Timestamp>) -> Self {
        Self {
            until: self.until.into_iter().chain(until).min(),
            ..self
        }
    }

    pub(super) fn of(mut findings: Vec<Finding>) -> Self {
        fn order(finding: &Finding) -> impl Ord + '_ {
            let Finding {
                rule,
                policy,
                effect,
                verdict,
                reason,
                message,
                waived_by,
            } = finding;
            let worst_first = Reverse((finding.counts_as(), *verdict));
            (worst_first, policy, rule, effect, reason, message, waived_by)
        }
        findings.sort_by(|a, b| order(a).cmp(&order(b)));
        // Nothing found is nothing shown, and that is no admission.
        let verdict = findings
            .iter()
            .map(Finding::counts_as)
            .max()
            .unwrap_or(Verdict::Fail);
        Self {
            verdict,
            findings,
            signers: Vec::new(),
            approved_by: Vec::new(),
            until: None,
        }
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
/// `now` is for what expires: the decision says until when it holds. Without a policy that lets the namespace serve the
/// answer is `NoPolicy`, and evidence that an enforced policy still awaits or that could not be read never admits.
pub fn evaluate(facts: &Facts, world: &World, now: Timestamp) -> Decision {
    let rules: Vec<&Rules> = if facts.governed {
        selecting(&world.rules, &facts.namespace, &facts.namespace_labels).collect()
    } else {
        Vec::new()
    };
    let observed = facts.as_observed();
    let sees = |rules| {
        if requirements::is_enforced(rules) {
            facts
        } else {
            &*observed
        }
    };
    let seen: Vec<(&Facts, &Rules)> = rules.iter().map(|rules| (sees(rules), *rules)).collect();
    let mut findings: Vec<Finding> = seen
        .iter()
        .flat_map(|(facts, rules)| judge(facts, rules, now))
        .collect();
    findings.extend(no_policy(&facts.namespace, facts.governed, &rules));
    findings.extend(unresolved(facts, &rules));
    findings.extend(too_many_keys(&rules, Effect::Enforce));
    findings.extend(too_many_keys(&rules, Effect::Warn));
    let (measured, fresh) = measured(facts, &rules, world, now);
    findings.extend(measured);
    let waived = waiver::apply(&mut findings, &waiver::Subject::of(facts), world, now);
    let until = facts.digest.and_then(|digest| {
        let ends = |rules: &&Rules| checks::approval::until(digest, rules, now);
        rules.iter().filter_map(ends).min()
    });
    Decision {
        signers: signers(&seen),
        approved_by: approved_by(facts, &rules, now),
        until: until.into_iter().chain(waived).chain(fresh).min(),
        ..Decision::of(findings)
    }
}

/// The refusal that no evidence can change, if there is one: then no registry need be asked, and none is that the policy
/// does not allow. The digest is not needed either; `declared` is what the model's specification says by itself.
pub fn foregone(
    world: &World,
    namespace: &str,
    model: &str,
    origin: &Origin,
    digest: Option<Digest>,
    declared: Option<&ModelDeploymentSpec>,
    now: Timestamp,
) -> Option<Decision> {
    let unasked = Evidence::Wait("not verified, since the model is refused already".to_owned());
    let facts = Facts::about(world, namespace, model, origin.clone(), digest, unasked);
    let facts = match declared {
        Some(spec) => facts.declared(Declared::by(spec)),
        None => facts,
    };
    Some(evaluate(&facts, world, now)).filter(|decision| decision.verdict == Verdict::Fail)
}

/// Whether an enforced policy refuses the repository: then its registry is not asked, whatever else is wrong. Where somebody
/// waived that it is, also after that is over: what the registry says is known by then.
pub(super) fn is_elsewhere(world: &World, namespace: &str, model: &str, reference: &Reference) -> bool {
    let waived =
        |rules: &Rules| waiver::is_waived(RuleId::ModelRepositories, &rules.policy, namespace, model, world);
    let refuses = |rules: &Rules| {
        rules.effect_of(RuleId::ModelRepositories) == Effect::Enforce
            && rules.namespaces != NamespaceSelector::Broken
            && checks::repositories::refuses(reference, rules)
            && !waived(rules)
    };
    world.policies_of(namespace).any(refuses)
}

/// What one policy says.
fn judge(facts: &Facts, rules: &Rules, now: Timestamp) -> Vec<Finding> {
    let applicable = checks::applicable(rules);
    if rules.namespaces == NamespaceSelector::Broken {
        // Who it was meant for is not known, so what it would say of this model is not either.
        return applicable.into_iter().collect();
    }
    let can_sign = rules.signers.iter().any(|signer| !signer.keys.is_empty());
    [
        applicable,
        // Without anyone who could sign, the policy's problem says it better; without a problem it must be asked.
        (can_sign || rules.blocking().is_empty())
            .then(|| checks::signature::signed_by_trusted(facts, rules, now)),
        checks::repositories::allowed(facts, rules),
        checks::revoked::not_revoked(facts, rules),
        checks::hardening::of_server(facts, rules),
        checks::runtime_class::of_server(facts, rules),
        checks::network::below_ceiling(facts, rules),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What was measured of the model, under each policy that asks for that; until when it can be said. Where nobody governs, no
/// policy has a say.
fn measured(
    facts: &Facts,
    rules: &[&Rules],
    world: &World,
    now: Timestamp,
) -> (Vec<Finding>, Option<Timestamp>) {
    let asking: Vec<_> = world
        .gates_of(&facts.namespace)
        .filter(|rule| facts.governed && rule.is_for(&facts.namespace, &facts.model))
        .collect();
    // Most namespaces ask for none, and this is asked of every pod.
    if asking.is_empty() && rules.iter().all(|rules| rules.robustness.is_empty()) {
        return (Vec::new(), None);
    }
    let runs: Vec<_> = world.measured_in(&facts.namespace).collect();
    let mut findings = Vec::new();
    let mut until = Vec::new();
    for rules in rules
        .iter()
        .filter(|rules| rules.namespaces != NamespaceSelector::Broken)
    {
        let (found, fresh) = checks::robustness::floors(facts, rules, &runs, now);
        findings.extend(found);
        until.extend(fresh);
    }
    for rule in asking {
        let (finding, fresh) = checks::robustness::gates(facts, rule, &runs, now);
        findings.push(finding);
        until.extend(fresh);
    }
    (findings, until.into_iter().min())
}

/// Nothing serves where no policy of the platform's is in force. One of a namespace's own can deny and never admits, or
/// whoever may write one there could let in what the platform never spoke about; nor does one whose selector cannot be
/// read and that would not even deny.
pub(super) fn no_policy(namespace: &str, governed: bool, rules: &[&Rules]) -> Option<Finding> {
    let in_force = |rules: &&Rules| match rules.namespaces {
        NamespaceSelector::Matching(_) => true,
        NamespaceSelector::Broken => rules.enforces(),
        NamespaceSelector::Its(_) => false,
    };
    if rules.iter().any(in_force) {
        return None;
    }
    let message = if !governed {
        format!(
            "the namespace {namespace} is not governed, so no policy applies: label it {GOVERNED_LABEL}=true"
        )
    } else if rules.is_empty() {
        format!(
            "no policy selects the namespace {namespace}: apply a ClusterDeploymentPolicy whose spec.namespaceSelector matches its labels"
        )
    } else {
        format!(
            "no ClusterDeploymentPolicy selects the namespace {namespace}, and policies of its own can only deny more: have one applied whose spec.namespaceSelector matches its labels"
        )
    };
    Some(deny_all(Reason::NoPolicy, message))
}

/// Content that is not known cannot serve, also where no enforced policy asks for it.
fn unresolved(facts: &Facts, rules: &[&Rules]) -> Option<Finding> {
    let asked_for = rules.iter().any(|rules| requirements::is_enforced(rules));
    if facts.digest.is_some() || rules.is_empty() || asked_for {
        return None;
    }
    let (verdict, reason, message) = match &facts.verification {
        Evidence::Wait(what) => (Verdict::Wait, None, what.clone()),
        Evidence::Unknown(failure) => (Verdict::Unknown, Some(failure.reason), failure.message.clone()),
        Evidence::Owed(_) => return None,
        Evidence::Known(_) => {
            let message = "what the reference names is not known, and yet it was verified";
            (Verdict::Unknown, Some(Reason::Internal), message.to_owned())
        }
    };
    Some(Finding {
        verdict,
        reason,
        ..deny_all(Reason::Internal, message)
    })
}

/// Policies that are not enforced are counted by themselves, for their keys are looked for by themselves.
fn too_many_keys(rules: &[&Rules], effect: Effect) -> Option<Finding> {
    let enforced = effect == Effect::Enforce;
    let counted = rules
        .iter()
        .copied()
        .filter(|rules| requirements::is_enforced(rules) == enforced);
    let keys = requirements::union(counted).len();
    (keys > MAX_KEYS).then(|| {
        let message = format!("the policies of this namespace accept {keys} keys together, and at most {MAX_KEYS} can be looked for: remove signers or keys");
        Finding {
            effect,
            ..deny_all(Reason::PolicyInvalid, message)
        }
    })
}

/// Nothing stands against it, and no policy has to say so.
pub(super) fn pass(rule: RuleId, message: impl Into<String>) -> Finding {
    Finding {
        rule,
        policy: None,
        effect: Effect::Enforce,
        verdict: Verdict::Pass,
        reason: None,
        // What tenants write is quoted, and must not make a sentence long.
        message: Failure::new(Reason::Internal, message).message,
        waived_by: None,
    }
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
        waived_by: None,
    }
}

/// The policies' names for whoever signed: each name and key once, in order, as many as a status holds.
fn signers(seen: &[(&Facts, &Rules)]) -> Vec<ServingSigner> {
    let mut signers: Vec<ServingSigner> = Vec::new();
    for (facts, rules) in seen {
        let Evidence::Known(verification) = &facts.verification else {
            continue;
        };
        for identity in &verification.signers {
            let holds = |signer: &&SignerRule| signer.holds(identity.fingerprint);
            signers.extend(rules.signers.iter().filter(holds).map(|signer| ServingSigner {
                name: signer.name.clone(),
                identity: identity.clone(),
            }));
        }
    }
    signers.sort_by(|a, b| (&a.name, &a.identity).cmp(&(&b.name, &b.identity)));
    signers.dedup();
    signers.truncate(MAX_SIGNERS);
    signers
}

/// Who vouches for the content by name, each once, as many as a status holds.
fn approved_by(facts: &Facts, rules: &[&Rules], now: Timestamp) -> Vec<String> {
    let approvals = facts.digest.into_iter().flat_map(|digest| {
        rules
            .iter()
            .flat_map(move |rules| checks::approval::standing(digest, rules, now))
    });
    let names: BTreeSet<String> = approvals.map(|approval| approval.by.clone()).collect();
    names.into_iter().take(MAX_APPROVERS).collect()
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
            samples::{SUBJECT, approval, at, broken_signer, facts, refused, rules, signer, verified},
        },
    };

    fn decide(facts: &Facts, rules: Vec<Rules>) -> Decision {
        evaluate(
            facts,
            &World {
                rules,
                ..World::default()
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

    fn under(effect: Effect, rules: Rules) -> Rules {
        Rules {
            effect,
            model_effect: effect,
            isolation: crate::policy::IsolationRules::none(effect),
            ..rules
        }
    }

    fn of_its_own(namespace: &str, rules: Rules) -> Rules {
        Rules {
            policy: format!("DeploymentPolicy/{namespace}/strict"),
            namespaces: NamespaceSelector::Its(namespace.to_owned()),
            ..rules
        }
    }

    #[test_case(Effect::Warn, 1)]
    #[test_case(Effect::Audit, 0)]
    fn where_nothing_is_enforced_the_model_serves_and_the_findings_say_what_would_deny_it(
        effect: Effect,
        warnings: usize,
    ) {
        let policy = under(effect, revoking(rules(vec![signer("release", &[1])])));
        let decision = decide(&known(verified(&[1])), vec![policy]);
        assert!(decision.admits());
        assert_eq!(decision.reason(), None);
        let finding = &decision.findings[0];
        assert_eq!(
            (finding.verdict, finding.reason, finding.effect),
            (Verdict::Fail, Some(Reason::Revoked), effect)
        );
        assert_eq!(decision.warnings().count(), warnings);
    }

    #[test_case(Evidence::Wait("under way".into()); "under way")]
    #[test_case(Evidence::Unknown(Failure::new(Reason::Timeout, "slow")); "unreadable")]
    fn what_is_not_enforced_is_not_waited_for(observed: Evidence<Verification>) {
        let policies = vec![
            named("a", rules(vec![signer("release", &[1])])),
            named("b", under(Effect::Warn, rules(vec![signer("vault", &[2])]))),
        ];
        let mut facts = known(verified(&[1]));
        facts.observed = Some(observed);
        let decision = decide(&facts, policies);
        assert!(decision.admits());
        assert_eq!(decision.message(), "signed by release");
        assert!(decision.findings[0].verdict > Verdict::Pass);
    }

    #[test]
    fn a_policy_that_only_warns_does_not_soften_another() {
        let policies = vec![
            named("a", under(Effect::Warn, rules(vec![signer("release", &[1])]))),
            named("b", rules(vec![signer("release", &[1])])),
        ];
        let decision = decide(&known(refused(&[], Reason::Unsigned, "")), policies);
        assert_eq!(decision.verdict, Verdict::Fail);
        assert_eq!(
            decision.findings[0].policy.as_deref(),
            Some("ClusterDeploymentPolicy/b")
        );
    }

    #[test]
    fn a_policy_of_the_namespace_denies_more_and_admits_nothing_by_itself() {
        let own = of_its_own("bank", rules(vec![signer("vault", &[2])]));
        let satisfied = decide(&known(verified(&[2])), vec![own.clone()]);
        assert_eq!(
            (satisfied.verdict, satisfied.reason()),
            (Verdict::Fail, Some(Reason::NoPolicy))
        );
        assert!(
            satisfied.message().contains("can only deny more"),
            "{}",
            satisfied.message()
        );
        let platform = rules(vec![signer("release", &[1])]);
        let decision = decide(&known(verified(&[1])), vec![platform.clone(), own]);
        assert_eq!(
            (decision.verdict, decision.reason()),
            (Verdict::Fail, Some(Reason::SignerMismatch))
        );
        let others = of_its_own("shop", rules(vec![signer("vault", &[2])]));
        let decision = decide(&known(verified(&[1])), vec![platform, others]);
        assert!(decision.admits());
        assert_eq!(decision.findings.len(), 1);
    }

    #[test_case(Effect::Enforce => Some(Reason::PolicyInvalid); "enforced")]
    #[test_case(Effect::Warn => Some(Reason::NoPolicy); "not enforced")]
    fn a_selector_that_cannot_be_read_never_lets_a_namespace_serve(effect: Effect) -> Option<Reason> {
        let broken = Rules {
            namespaces: NamespaceSelector::Broken,
            problems: vec![Problem::new(
                Reason::PolicyInvalid,
                "spec.namespaceSelector",
                "what is this",
            )],
            ..under(effect, rules(vec![signer("release", &[1])]))
        };
        let decision = decide(&known(verified(&[1])), vec![broken]);
        assert_eq!(decision.verdict, Verdict::Fail);
        decision.reason()
    }

    #[test]
    fn what_is_not_resolved_does_not_serve_though_nothing_is_enforced() {
        let mut facts = facts(Evidence::Unknown(Failure::new(Reason::NotFound, "no such tag")));
        facts.digest = None;
        let decision = decide(
            &facts,
            vec![under(Effect::Audit, rules(vec![signer("release", &[1])]))],
        );
        assert_eq!(
            (decision.verdict, decision.reason()),
            (Verdict::Unknown, Some(Reason::NotFound))
        );
    }

    #[test]
    fn more_keys_than_can_be_looked_for_only_warn_where_they_are_not_enforced() {
        let many: Vec<u8> = (0..=64).collect();
        let policies = vec![
            named("a", rules(vec![signer("release", &[1])])),
            named("b", under(Effect::Audit, rules(vec![signer("all", &many)]))),
        ];
        let decision = decide(&known(verified(&[1])), policies);
        assert!(decision.admits());
        assert!(
            decision
                .findings
                .iter()
                .any(|finding| finding.reason == Some(Reason::PolicyInvalid))
        );
    }

    #[test]
    fn a_decision_says_until_when_an_approval_holds() {
        let approved = Rules {
            approved: [(
                SUBJECT,
                vec![approval("Ada", Some(10)), approval("Bob", Some(20))],
            )]
            .into(),
            ..rules(vec![signer("release", &[1])])
        };
        let world = World {
            rules: vec![approved],
            namespaces: BTreeMap::new(),
            ..World::default()
        };
        let facts = known(refused(&[], Reason::Unsigned, ""));
        let says = |now| {
            let decision = evaluate(&facts, &world, at(now));
            (decision.admits(), decision.until, decision.approved_by.join(", "))
        };
        assert_eq!(says(0), (true, Some(at(10)), "Ada, Bob".to_owned()));
        assert_eq!(says(10), (true, Some(at(20)), "Bob".to_owned()));
        assert_eq!(says(20), (false, None, String::new()));
    }

    #[test]
    fn a_revocation_outweighs_every_approval() {
        let approved = Rules {
            approved: [(SUBJECT, vec![approval("Ada", None)])].into(),
            ..revoking(rules(vec![signer("release", &[1])]))
        };
        let decision = decide(&known(verified(&[1])), vec![approved]);
        assert_eq!(
            (decision.verdict, decision.reason()),
            (Verdict::Fail, Some(Reason::Revoked))
        );
    }

    #[test]
    fn finding_nothing_is_no_admission() {
        assert_eq!(Decision::of(Vec::new()).verdict, Verdict::Fail);
    }
}
