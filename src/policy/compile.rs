//! From a policy as it is written to rules that can be applied.
//! Nothing is dropped in silence: what cannot be compiled is a problem that names the field, and denies.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use kube::core::ObjectMeta;

use super::{
    ApprovalRule, Exemption, IsolationRules, NamespaceSelector, Policy, Problem, Rules, SignerRule,
    checks::repositories::Repositories, robustness::floors, trust::TrustRoots, written::policy_name,
};
use crate::{
    api::v1alpha1::{
        MAX_GRACE_PERIOD_SECONDS, OnViolation, PolicyBody, SignerDefinition, UnmanagedPods, UnprovenPods,
        ViolationAction,
    },
    evidence::{Digest, Effect, Reason},
};

/// How long what serves is replaced after it turned bad, when the policy does not say.
pub const DEFAULT_GRACE_PERIOD: SignedDuration = SignedDuration::from_hours(24);

/// Compiles a policy of either kind against the trust roots there are.
///
/// A policy with a problem of its own (a selector, glob, threshold or signer's name that makes no sense) denies wherever
/// it selects. A signer without a usable key cannot sign; a policy none of whose signers can sign denies as well.
pub fn compile<P: Policy>(policy: &P, trust: &TrustRoots) -> Rules {
    let body = policy.body();
    let (namespaces, mut problems) = policy.reach();
    let signers = signers(body, trust, &mut problems);
    let threshold = threshold(body, &mut problems);
    let repositories = body.model.repositories.as_deref().map(|globs| {
        let (repositories, found) = Repositories::compile(globs);
        problems.extend(found);
        repositories
    });
    let mut revoked = BTreeMap::new();
    for revocation in body.model.revoked.iter().flatten() {
        revoked
            .entry(revocation.digest)
            .or_insert_with(|| revocation.reason.clone());
    }
    let effect = body.effect.unwrap_or(Effect::Enforce);
    let (robustness, found) = floors(body);
    problems.extend(found);
    Rules {
        effect,
        model_effect: body.model.effect.unwrap_or(effect),
        signers,
        threshold,
        repositories,
        approved: approvals(body, &mut problems),
        revoked,
        isolation: IsolationRules::compile(body, effect, &mut problems),
        robustness,
        robustness_effect: body
            .robustness
            .as_ref()
            .and_then(|section| section.effect)
            .unwrap_or(effect),
        unproven_pods: body.unproven_pods.unwrap_or(UnprovenPods::Report),
        unmanaged_pods: body.unmanaged_pods.unwrap_or(match effect {
            Effect::Enforce => UnmanagedPods::Deny,
            Effect::Warn => UnmanagedPods::Warn,
            Effect::Audit => UnmanagedPods::Allow,
        }),
        exempt: exemptions(body, &mut problems),
        on_violation: body
            .on_violation
            .as_ref()
            .map_or(ViolationAction::Alert, |on_violation| on_violation.action),
        grace_period: grace_period(body, &mut problems),
        problems,
        ..empty::<P>(policy.meta(), namespaces)
    }
}

/// The rules of a policy that this version cannot read: they deny wherever it may have been meant for, since what it asks
/// for, and whether it enforces that, is not known.
pub fn unreadable<P: Policy>(meta: &ObjectMeta, error: &str) -> Rules {
    let message =
        format!("this operator cannot read the policy: {error}; correct it, or update the operator");
    Rules {
        problems: vec![invalid("spec", message)],
        isolation: IsolationRules::unknown(),
        ..empty::<P>(meta, P::reach_of_unread(meta))
    }
}

/// Rules that ask for nothing and, with nobody to sign, admit nothing.
fn empty<P: Policy>(meta: &ObjectMeta, namespaces: NamespaceSelector) -> Rules {
    Rules {
        policy: policy_name::<P>(meta),
        uid: meta.uid.clone(),
        generation: meta.generation,
        namespaces,
        effect: Effect::Enforce,
        model_effect: Effect::Enforce,
        signers: Vec::new(),
        threshold: 1,
        repositories: None,
        approved: BTreeMap::new(),
        revoked: BTreeMap::new(),
        isolation: IsolationRules::none(Effect::Enforce),
        robustness: Vec::new(),
        robustness_effect: Effect::Enforce,
        unmanaged_pods: UnmanagedPods::Deny,
        unproven_pods: UnprovenPods::Report,
        exempt: Vec::new(),
        on_violation: ViolationAction::Alert,
        grace_period: DEFAULT_GRACE_PERIOD,
        problems: Vec::new(),
    }
}

fn invalid(field: impl Into<String>, message: impl Into<String>) -> Problem {
    Problem::new(Reason::PolicyInvalid, field, message)
}

fn threshold(body: &PolicyBody, problems: &mut Vec<Problem>) -> usize {
    let threshold = usize::try_from(body.model.threshold.unwrap_or(1)).unwrap_or(usize::MAX);
    if threshold == 0 {
        problems.push(invalid(
            "spec.model.threshold",
            "0 signatures would admit anything: write 1 or more",
        ));
    } else if threshold > body.model.signers.len() && !body.model.signers.is_empty() {
        let message = format!(
            "{threshold} is more than the {} signers in spec.model.signers, so nothing could ever pass: lower it or name more signers",
            body.model.signers.len()
        );
        problems.push(invalid("spec.model.threshold", message));
    }
    threshold
}

/// Who vouches for which content. A name counts once for each content, so that nobody becomes two signers.
fn approvals(body: &PolicyBody, problems: &mut Vec<Problem>) -> BTreeMap<Digest, Vec<ApprovalRule>> {
    let mut approved: BTreeMap<Digest, Vec<ApprovalRule>> = BTreeMap::new();
    for (at, approval) in body.model.approved.iter().flatten().enumerate() {
        let by = &approval.by;
        let field = format!("spec.model.approved[{at}].by");
        if by.is_empty() || by.trim() != by || by.contains(char::is_control) {
            problems.push(invalid(
                field,
                "is nobody: write the name of whoever vouches for it, on one line",
            ));
            continue;
        }
        let people = approved.entry(approval.digest).or_default();
        if people.iter().any(|known| known.by == *by) {
            let message = format!("{by} vouches for this content twice: leave one of the two out");
            problems.push(invalid(field, message));
            continue;
        }
        people.push(ApprovalRule {
            by: by.clone(),
            expires: approval.expires.as_ref().map(|time| time.0),
        });
    }
    approved
}

/// For how long what serves is replaced after it turned bad. A time that makes no sense is a mistake like any other, and
/// never the longer for it.
fn grace_period(body: &PolicyBody, problems: &mut Vec<Problem>) -> SignedDuration {
    let Some(OnViolation {
        action: _,
        grace_period_seconds: seconds,
    }) = &body.on_violation
    else {
        return DEFAULT_GRACE_PERIOD;
    };
    if *seconds > MAX_GRACE_PERIOD_SECONDS {
        let message =
            format!("{seconds} seconds are more than thirty days: write at most {MAX_GRACE_PERIOD_SECONDS}");
        problems.push(invalid("spec.onViolation.gracePeriodSeconds", message));
        return DEFAULT_GRACE_PERIOD;
    }
    SignedDuration::from_secs(i64::from(*seconds))
}

/// The exemptions. One that could not be met is a mistake, and one that half the world could meet would be worse.
fn exemptions(body: &PolicyBody, problems: &mut Vec<Problem>) -> Vec<Exemption> {
    let mut exempt = Vec::new();
    for (at, exemption) in body.exempt.iter().flatten().enumerate() {
        let mut refuse = |field: &str, message: &str| {
            problems.push(invalid(format!("spec.exempt[{at}].{field}"), message));
        };
        if exemption.image_digests.is_empty() {
            refuse(
                "imageDigests",
                "no image is exempt: name its digest, or leave the exemption out",
            );
        }
        let requester = &exemption.requester;
        if requester.is_empty() || requester.contains(|c: char| c == '*' || c.is_whitespace()) {
            refuse(
                "requester",
                "is no account: write one by its full name, such as system:serviceaccount:kube-system:daemon-set-controller",
            );
        }
        if exemption.reason.trim().is_empty() {
            refuse("reason", "nobody will know why these pods run: write the reason");
        }
        exempt.push(Exemption {
            image_digests: exemption.image_digests.iter().copied().collect(),
            requester: requester.clone(),
        });
    }
    exempt
}

/// The signers whose signatures count. Definitions that `model.signers` does not name grant nothing and are left alone.
fn signers(body: &PolicyBody, trust: &TrustRoots, problems: &mut Vec<Problem>) -> Vec<SignerRule> {
    let mut definitions: BTreeMap<&str, &SignerDefinition> = BTreeMap::new();
    for definition in &body.signers {
        if !is_local_name(&definition.name) {
            let field = format!("spec.signers[{}].name", definition.name);
            problems.push(invalid(
                field,
                "is no name: lower-case letters, digits, dashes and dots",
            ));
        }
        if definitions.insert(&definition.name, definition).is_some() {
            let field = format!("spec.signers[{}]", definition.name);
            problems.push(invalid(field, "two signers have this name: rename one"));
        }
    }
    if body.model.signers.is_empty() {
        problems.push(invalid(
            "spec.model.signers",
            "nobody's signature counts: name at least one signer",
        ));
    }
    let mut named = BTreeSet::new();
    let mut rules = Vec::new();
    for (at, name) in body.model.signers.iter().enumerate() {
        let field = format!("spec.model.signers[{at}]");
        if !named.insert(name.as_str()) {
            problems.push(invalid(
                field,
                format!("{name} is named twice: name each signer once"),
            ));
            continue;
        }
        if let Some(definition) = definitions.get(name.as_str()) {
            rules.push(resolve(definition, trust));
        } else {
            let known = definitions.keys().copied().collect::<Vec<_>>().join(", ");
            let message = format!(
                "spec.signers defines no signer {name} (it defines {known}): define it or name another"
            );
            problems.push(invalid(field, message));
        }
    }
    rules
}

/// A name that other fields refer to.
fn is_local_name(name: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (1..=63).contains(&name.len())
        && name.bytes().next().is_some_and(word)
        && name.bytes().last().is_some_and(word)
        && name.bytes().all(|b| word(b) || b == b'-' || b == b'.')
}

fn resolve(definition: &SignerDefinition, trust: &TrustRoots) -> SignerRule {
    let SignerDefinition { name, key: signer } = definition;
    let mut rule = SignerRule {
        name: name.clone(),
        keys: Vec::new(),
        problems: Vec::new(),
    };
    let field = format!("spec.signers[{name}].key");
    let root = &signer.trust_root;
    let Some(keys) = trust.get(root) else {
        let message = format!("TrustRoot/{root} does not exist: apply it, or name one that exists");
        rule.problems.push(Problem::new(
            Reason::TrustRootMissing,
            format!("{field}.trustRoot"),
            message,
        ));
        return rule;
    };
    if signer.keys.is_empty() {
        rule.problems.push(invalid(
            format!("{field}.keys"),
            "a signer without keys can sign nothing: name its keys",
        ));
    }
    for key in &signer.keys {
        let message = match keys.get(key) {
            Some(Ok(usable)) => {
                if !rule
                    .keys
                    .iter()
                    .any(|known| known.fingerprint == usable.fingerprint)
                {
                    rule.keys.push(usable.clone());
                }
                continue;
            }
            Some(Err(why)) => why.clone(),
            None if keys.is_empty() => format!("TrustRoot/{root} has no keys: add the key to it"),
            None => {
                let known = keys.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                format!("TrustRoot/{root} has no key of this name (it has {known}): add it, or name another")
            }
        };
        rule.problems.push(Problem::new(
            Reason::TrustRootInvalid,
            format!("{field}.keys[{key}]"),
            message,
        ));
    }
    rule
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use test_case::test_case;

    use super::*;
    use crate::{
        api::v1alpha1::{ClusterDeploymentPolicy, DeploymentPolicy},
        evidence::RuleId,
        policy::samples::key,
    };

    fn trust() -> TrustRoots {
        let keys = [
            ("q3", Ok(key(3))),
            ("q4", Ok(key(4))),
            ("again", Ok(key(3))),
            ("rsa", Err("the key bank-keys/rsa is RSA: use ECDSA".to_owned())),
        ];
        [
            (
                "bank-keys".to_owned(),
                keys.map(|(name, key)| (name.to_owned(), key)).into(),
            ),
            ("empty".to_owned(), BTreeMap::new()),
        ]
        .into()
    }

    /// A policy that compiles without a problem.
    fn sound() -> Value {
        json!({
            "namespaceSelector": {},
            "exempt": [],
            "onViolation": null,
            "signers": [
                {"name": "release", "key": {"trustRoot": "bank-keys", "keys": ["q3"]}},
                {"name": "vault", "key": {"trustRoot": "bank-keys", "keys": ["q4"]}},
            ],
            "model": {
                "signers": ["release", "vault"],
                "threshold": 2,
                "repositories": ["registry.example/models/*"],
                "approved": [],
                "revoked": [{"digest": format!("sha256:{}", "ab".repeat(32)), "reason": "poisoned"}],
            },
        })
    }

    /// The same, with the value at `pointer` replaced.
    fn compiled(pointer: &str, value: Value) -> Rules {
        let mut spec = sound();
        if !pointer.is_empty() {
            *spec.pointer_mut(pointer).unwrap() = value;
        }
        policy(spec)
    }

    #[test]
    fn a_sound_policy_has_no_problem() {
        let rules = compiled("", Value::Null);
        assert_eq!(rules.ready(), Ok(()));
        assert_eq!(
            (rules.policy.as_str(), rules.generation),
            ("ClusterDeploymentPolicy/baseline", Some(7))
        );
        assert_eq!(rules.threshold, 2);
        assert_eq!(
            rules
                .signers
                .iter()
                .map(|signer| signer.name.as_str())
                .collect::<Vec<_>>(),
            ["release", "vault"]
        );
        assert_eq!(rules.revoked[&Digest::from_bytes([0xab; 32])], "poisoned");
    }

    #[test]
    fn what_is_left_out_is_one_signature_from_anywhere() {
        let rules = compiled("/model", json!({"signers": ["release"]}));
        assert_eq!(
            (rules.threshold, rules.repositories.is_none(), rules.revoked.len()),
            (1, true, 0)
        );
    }

    #[test]
    fn exemptions_are_plain_data() {
        let digest = format!("sha256:{}", "cd".repeat(32));
        let rules = compiled(
            "/exempt",
            json!([{"imageDigests": [digest, digest], "requester": "system:node:a", "reason": "an agent"}]),
        );
        assert_eq!(rules.ready(), Ok(()));
        let image_digests = [Digest::from_bytes([0xcd; 32])].into();
        let requester = "system:node:a".to_owned();
        assert_eq!(
            rules.exempt,
            [Exemption {
                image_digests,
                requester
            }]
        );
    }

    fn policy(spec: Value) -> Rules {
        let mut policy = ClusterDeploymentPolicy::new("baseline", serde_json::from_value(spec).unwrap());
        policy.metadata.generation = Some(7);
        compile(&policy, &trust())
    }

    #[test_case(json!(null), json!(null) => UnmanagedPods::Deny; "left out")]
    #[test_case(json!("Warn"), json!(null) => UnmanagedPods::Warn; "as it is written")]
    #[test_case(json!(null), json!("Warn") => UnmanagedPods::Warn; "left out of a policy that warns")]
    #[test_case(json!(null), json!("Audit") => UnmanagedPods::Allow; "left out of a policy that only looks")]
    #[test_case(json!("Deny"), json!("Audit") => UnmanagedPods::Deny; "a section has an effect of its own")]
    fn unmanaged_pods(unmanaged: Value, effect: Value) -> UnmanagedPods {
        let mut spec = sound();
        spec["unmanagedPods"] = unmanaged;
        spec["effect"] = effect;
        policy(spec).unmanaged_pods
    }

    #[test_case(json!(null) => 24 * 60 * 60; "left out")]
    #[test_case(json!({"action": "Alert", "gracePeriodSeconds": 600}) => 600; "ten minutes")]
    #[test_case(json!({"action": "Alert", "gracePeriodSeconds": 0}) => 0; "none")]
    #[test_case(json!({"action": "Alert", "gracePeriodSeconds": 2_592_000}) => 2_592_000; "thirty days")]
    #[test_case(json!({"action": "Stop", "gracePeriodSeconds": 60}) => 60; "until it is stopped")]
    fn grace_periods(on_violation: Value) -> i64 {
        let mut spec = sound();
        spec["onViolation"] = on_violation;
        let rules = policy(spec);
        assert_eq!(rules.ready(), Ok(()));
        rules.grace_period.as_secs()
    }

    #[test_case(json!(null), json!(null) => (Effect::Enforce, Effect::Enforce); "left out")]
    #[test_case(json!("Warn"), json!(null) => (Effect::Warn, Effect::Warn); "of the whole policy")]
    #[test_case(json!(null), json!("Audit") => (Effect::Enforce, Effect::Audit); "of a section")]
    #[test_case(json!("Audit"), json!("Enforce") => (Effect::Enforce, Effect::Enforce); "of a section that is stricter")]
    fn effects_of_the_policy_and_of_its_model_section(whole: Value, model: Value) -> (Effect, Effect) {
        let mut spec = sound();
        spec["effect"] = whole;
        spec["model"]["effect"] = model;
        let rules = policy(spec);
        (
            rules.effect_of(RuleId::Policy),
            rules.effect_of(RuleId::ModelRevoked),
        )
    }

    #[test]
    fn a_policy_in_a_namespace_is_for_that_one() {
        let mut spec = sound();
        spec.as_object_mut().unwrap().remove("namespaceSelector");
        let mut policy = DeploymentPolicy::new("strict", serde_json::from_value(spec).unwrap());
        policy.metadata.namespace = Some("bank".into());
        let rules = compile(&policy, &trust());
        assert_eq!(rules.ready(), Ok(()));
        assert_eq!(rules.policy, "DeploymentPolicy/bank/strict");
        assert_eq!(rules.namespaces, NamespaceSelector::Its("bank".into()));
        let unread = unreadable::<DeploymentPolicy>(&policy.metadata, "what is this");
        assert_eq!(unread.namespaces, rules.namespaces);
        assert!(unread.enforces() && unread.ready().is_err());
    }

    #[test]
    fn whoever_vouches_counts_once_for_each_content() {
        let (one, other) = (Digest::from_bytes([1; 32]), Digest::from_bytes([2; 32]));
        let rules = compiled(
            "/model/approved",
            json!([
                {"digest": one, "by": "Ada", "expires": "2026-01-02T03:04:05Z"},
                {"digest": one, "by": "Bob", "reason": "tried it"},
                {"digest": other, "by": "Ada"},
            ]),
        );
        assert_eq!(rules.ready(), Ok(()));
        let people = |digest| {
            rules.approved[&digest]
                .iter()
                .map(|approval| approval.by.as_str())
                .collect::<Vec<_>>()
        };
        assert_eq!((people(one), people(other)), (vec!["Ada", "Bob"], vec!["Ada"]));
        assert_eq!(
            rules.approved[&one][0].expires,
            Some("2026-01-02T03:04:05Z".parse().unwrap())
        );
    }

    #[test]
    fn a_definition_grants_nothing_by_itself() {
        let rules = compiled("/model", json!({"signers": ["release"]}));
        assert_eq!(rules.signers.len(), 1);
    }

    #[test]
    fn one_key_under_two_names_is_one_key() {
        let rules = compiled("/signers/0/key/keys", json!(["q3", "again"]));
        assert_eq!(rules.signers[0].keys, [key(3)]);
    }

    #[test_case("/model/signers", json!(["release", "stranger"]), "spec.model.signers[1]", "defines no signer stranger (it defines release, vault)"; "signer that is not defined")]
    #[test_case("/model/signers", json!(["release", "release"]), "spec.model.signers[1]", "named twice"; "signer named twice")]
    #[test_case("/signers/1/name", json!("release"), "spec.signers[release]", "two signers have this name"; "two definitions of one name")]
    #[test_case("/signers/1/name", json!("Vault Team"), "spec.signers[Vault Team].name", "is no name"; "a signer's name that is none")]
    #[test_case("/model/threshold", json!(0), "spec.model.threshold", "would admit anything"; "threshold of nothing")]
    #[test_case("/model/threshold", json!(3), "spec.model.threshold", "more than the 2 signers"; "threshold too high")]
    #[test_case("/model/signers", json!([]), "spec.model.signers", "name at least one"; "nobody's signature counts")]
    #[test_case("/model/repositories", json!(["registry.example/models/*", "https://a/b"]), "spec.model.repositories[1]", "scheme"; "bad glob")]
    #[test_case("/namespaceSelector", json!({"matchExpressions": [{"key": "a", "operator": "Like"}]}), "spec.namespaceSelector.matchExpressions[0].operator", "no operator"; "bad selector")]
    #[test_case("/model/approved", json!([{"digest": format!("sha256:{}", "ab".repeat(32)), "by": " "}]), "spec.model.approved[0].by", "is nobody"; "approved by nobody")]
    #[test_case("/model/approved", json!([{"digest": format!("sha256:{}", "ab".repeat(32)), "by": "a\nb"}]), "spec.model.approved[0].by", "on one line"; "approved on two lines")]
    #[test_case("/model/approved", json!([{"digest": format!("sha256:{}", "ab".repeat(32)), "by": "Ada"}, {"digest": format!("sha256:{}", "ab".repeat(32)), "by": "Ada"}]), "spec.model.approved[1].by", "vouches for this content twice"; "approved twice by one person")]
    #[test_case("/exempt", json!([{"imageDigests": [], "requester": "a", "reason": "r"}]), "spec.exempt[0].imageDigests", "no image"; "an exemption of nothing")]
    #[test_case("/exempt", json!([{"imageDigests": [format!("sha256:{}", "ab".repeat(32))], "requester": "system:*", "reason": "r"}]), "spec.exempt[0].requester", "is no account"; "an exemption of half the world")]
    #[test_case("/exempt", json!([{"imageDigests": [format!("sha256:{}", "ab".repeat(32))], "requester": "", "reason": "r"}]), "spec.exempt[0].requester", "is no account"; "an exemption of nobody")]
    #[test_case("/exempt", json!([{"imageDigests": [format!("sha256:{}", "ab".repeat(32))], "requester": "a", "reason": " "}]), "spec.exempt[0].reason", "write the reason"; "an exemption without a reason")]
    #[test_case("/onViolation", json!({"action": "Alert", "gracePeriodSeconds": 2_592_001}), "spec.onViolation.gracePeriodSeconds", "more than thirty days"; "a grace period without an end")]
    fn a_problem_of_the_policy_itself_blocks_it(pointer: &str, value: Value, field: &str, words: &str) {
        let rules = compiled(pointer, value);
        let problem = rules.blocking()[0];
        assert_eq!(
            (problem.reason, problem.field.as_str()),
            (Reason::PolicyInvalid, field)
        );
        assert!(problem.message.contains(words), "{problem}");
        assert!(rules.ready().is_err());
    }

    #[test_case("/signers/1/key/trustRoot", json!("gone"), Reason::TrustRootMissing, "spec.signers[vault].key.trustRoot", "TrustRoot/gone does not exist: apply it"; "trust root absent")]
    #[test_case("/signers/1/key/trustRoot", json!("empty"), Reason::TrustRootInvalid, "spec.signers[vault].key.keys[q4]", "has no keys"; "trust root empty")]
    #[test_case("/signers/1/key/keys", json!(["q9"]), Reason::TrustRootInvalid, "spec.signers[vault].key.keys[q9]", "no key of this name (it has again, q3, q4, rsa)"; "key not in the trust root")]
    #[test_case("/signers/1/key/keys", json!(["rsa"]), Reason::TrustRootInvalid, "spec.signers[vault].key.keys[rsa]", "the key bank-keys/rsa is RSA: use ECDSA"; "key that cannot be used")]
    fn a_signer_that_cannot_sign_harms_only_itself(
        pointer: &str,
        value: Value,
        reason: Reason,
        field: &str,
        words: &str,
    ) {
        let rules = compiled(pointer, value);
        assert_eq!(rules.blocking(), Vec::<&Problem>::new());
        assert!(rules.signers[1].keys.is_empty());
        let failure = rules.ready().unwrap_err();
        assert_eq!(failure.reason, reason);
        assert!(failure.message.starts_with(field), "{failure}");
        assert!(failure.message.contains(words), "{failure}");
    }

    #[test]
    fn a_policy_none_of_whose_signers_can_sign_is_blocked() {
        let rules = compiled(
            "/signers",
            json!([
                {"name": "release", "key": {"trustRoot": "gone", "keys": ["q3"]}},
                {"name": "vault", "key": {"trustRoot": "bank-keys", "keys": ["rsa"]}},
            ]),
        );
        assert_eq!(
            rules.blocking().iter().map(|p| p.reason).collect::<Vec<_>>(),
            [Reason::TrustRootMissing, Reason::TrustRootInvalid]
        );
    }

    #[test]
    fn a_bad_key_beside_a_good_one_leaves_the_good_one() {
        let rules = compiled("/signers/0/key/keys", json!(["q3", "rsa"]));
        assert_eq!(rules.signers[0].keys, [key(3)]);
        assert_eq!(rules.ready().unwrap_err().reason, Reason::TrustRootInvalid);
    }
}
