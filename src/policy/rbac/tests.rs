//! What is said of bindings and roles, at admission and in the audit.

use serde_json::{Value, json};
use test_case::test_case;

use super::{
    Accounts, Binding, Excess, Given, NewBinding, NewRole, RoleName, audit, judge_binding, judge_role,
    samples::{account, accounts, cluster_role_binding, digits, policy, role_binding, rule, rules, world},
    spoken_of,
};
use crate::{
    api::v1alpha1::ClusterDeploymentPolicy,
    evidence::{Reason, Verdict},
    policy::{Decision, World},
};

/// Reading pods may be given.
fn reading() -> World {
    let ceiling = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]);
    world(vec![policy("baseline", &json!({"rbac": {"ceiling": ceiling}}))])
}

/// Binds a role with this rule to these subjects.
fn bound(subjects: &Value, given: &Value) -> Decision {
    let binding = role_binding("Role", "r", subjects);
    let given = Given::Rules(rules(given));
    let new = NewBinding {
        binding: &binding,
        given: &given,
    };
    judge_binding(new, &accounts(), &reading())
}

fn subject(kind: &str, name: &str) -> Value {
    json!([{"kind": kind, "name": name}])
}

#[test_case(&digits(), "pods", "get" => Verdict::Pass; "what the ceiling allows")]
#[test_case(&digits(), "pods", "list" => Verdict::Fail; "more than it allows")]
#[test_case(&digits(), "secrets", "get" => Verdict::Fail; "secrets")]
#[test_case(&digits(), "pods/exec", "create" => Verdict::Fail; "exec")]
#[test_case(&digits(), "serviceaccounts/token", "create" => Verdict::Fail; "tokens")]
#[test_case(&digits(), "users", "impersonate" => Verdict::Fail; "impersonate")]
#[test_case(&digits(), "*", "*" => Verdict::Fail; "everything")]
#[test_case(&subject("ServiceAccount", "other"), "secrets", "get" => Verdict::Pass; "an account that no model runs under")]
#[test_case(&subject("User", "jane"), "*", "*" => Verdict::Pass; "a person")]
#[test_case(&subject("User", "system:serviceaccount:bank:digits"), "secrets", "get" => Verdict::Fail; "the account as a user")]
#[test_case(&subject("Group", "system:serviceaccounts:bank"), "secrets", "get" => Verdict::Fail; "all of the namespace")]
#[test_case(&subject("Group", "system:serviceaccounts:shop"), "secrets", "get" => Verdict::Fail; "all of another governed namespace")]
#[test_case(&subject("Group", "system:serviceaccounts:wild"), "secrets", "get" => Verdict::Pass; "all of one that is not governed")]
#[test_case(&subject("Group", "system:authenticated"), "secrets", "get" => Verdict::Fail; "everybody")]
#[test_case(&subject("Group", "system:authenticated"), "pods", "get" => Verdict::Pass; "what the ceiling allows, for everybody")]
#[test_case(&json!([{"kind": "User", "name": "jane"}, {"kind": "ServiceAccount", "name": "digits"}]), "secrets", "get" => Verdict::Fail; "among others")]
fn a_binding(subjects: &Value, resource: &str, verb: &str) -> Verdict {
    bound(subjects, &rule(resource, verb)).verdict
}

#[test]
fn a_refusal_says_who_would_hold_what_and_what_to_do() {
    let both = json!([{"apiGroups": [""], "resources": ["pods", "secrets"], "verbs": ["get", "list"]}]);
    let decision = bound(&digits(), &both);
    assert_eq!(decision.reason(), Some(Reason::RightsExceeded));
    assert_eq!(
        decision.findings[0].policy.as_deref(),
        Some("ClusterDeploymentPolicy/baseline")
    );
    assert_eq!(
        decision.message(),
        "RoleBinding bank/gives would let ServiceAccount bank/digits, under which ModelDeployment digits runs, get secrets (which reaches passwords and keys), list secrets (which reaches passwords and keys), list pods, through Role bank/r: bind a role that gives less, or add it to isolation.rbac.ceiling"
    );
}

#[test]
fn a_name_binds_nobody_in_silence_and_a_long_role_stays_one_sentence() {
    let resources: Vec<String> = (0..500)
        .map(|n| format!("things{n}{}", "x".repeat(200)))
        .collect();
    let decision = bound(
        &digits(),
        &json!([{"apiGroups": ["a"], "resources": resources, "verbs": ["get"]}]),
    );
    assert!(decision.message().chars().count() <= 1001);
}

#[test_case("Role", &Given::Missing => (Verdict::Pass, None); "a role that comes later is judged then")]
#[test_case("ClusterRole", &Given::Missing => (Verdict::Unknown, Some(Reason::NotReadYet)); "of a cluster role that comes later nobody is asked")]
#[test_case("Role", &Given::Unread("timed out".into()) => (Verdict::Unknown, Some(Reason::NotReadYet)); "what cannot be read is not admitted")]
#[test_case("Secret", &Given::Rules(Vec::new()) => (Verdict::Pass, None); "no role at all")]
fn what_a_binding_gives_is_not_known(kind: &str, given: &Given) -> (Verdict, Option<Reason>) {
    let binding = role_binding(kind, "r", &digits());
    let decision = judge_binding(
        NewBinding {
            binding: &binding,
            given,
        },
        &accounts(),
        &reading(),
    );
    (decision.verdict, decision.reason())
}

#[test_case("Enforce" => (Verdict::Fail, 0); "refused")]
#[test_case("Warn" => (Verdict::Pass, 1); "warned about")]
#[test_case("Audit" => (Verdict::Pass, 0); "on record")]
fn the_section_has_an_effect_of_its_own(effect: &str) -> (Verdict, usize) {
    let world = world(vec![policy(
        "p",
        &json!({"effect": effect, "rbac": {"ceiling": []}}),
    )]);
    let binding = role_binding("Role", "r", &digits());
    let given = Given::Rules(rules(&rule("pods", "get")));
    let decision = judge_binding(
        NewBinding {
            binding: &binding,
            given: &given,
        },
        &accounts(),
        &world,
    );
    (decision.verdict, decision.warnings().count())
}

#[test]
fn without_a_ceiling_nothing_is_asked() {
    let world = world(vec![policy("p", &json!(null))]);
    let everybody = role_binding("Role", "r", &subject("Group", "system:authenticated"));
    assert_eq!(spoken_of(&[everybody], &world), None);
}

#[test_case(&digits(), &["digits"]; "one account")]
#[test_case(&json!([{"kind": "ServiceAccount", "name": "digits", "namespace": "wild"}, {"kind": "Group", "name": "system:serviceaccounts"}]), &[]; "of a namespace that is not governed, and a group")]
fn only_accounts_of_governed_namespaces_are_looked_up(subjects: &Value, names: &[&str]) {
    let asked = spoken_of(&[role_binding("Role", "r", subjects)], &reading()).unwrap();
    let found: Vec<&str> = asked.iter().map(|account| account.name.as_str()).collect();
    assert_eq!(found, names);
}

#[test]
fn what_a_binding_gave_already_is_not_asked_again() {
    let old = role_binding("Role", "r", &digits());
    let more = json!([digits()[0], {"kind": "ServiceAccount", "name": "new", "namespace": "bank"}]);
    let beyond = role_binding("Role", "r", &more).beyond(Some(&old));
    assert_eq!(beyond.subjects.len(), 1);
    assert_eq!(beyond.subjects[0].name, "new");
    assert_eq!(
        role_binding("Role", "r", &digits()).beyond(Some(&old)).subjects,
        []
    );
    assert_eq!(
        role_binding("Role", "other", &digits())
            .beyond(Some(&old))
            .subjects
            .len(),
        1
    );
}

fn changed(before: &Value, after: &Value, subjects: &Value) -> Decision {
    let role = RoleName {
        namespace: Some("bank".into()),
        name: "r".into(),
    };
    let bindings = [role_binding("Role", "r", subjects)];
    let (before, after) = (rules(before), rules(after));
    let new = NewRole {
        role: &role,
        rules: &after,
        before: &before,
        bindings: Ok(&bindings),
    };
    judge_role(new, &accounts(), &reading())
}

#[test_case(&json!([]), &rule("secrets", "get") => Verdict::Fail; "made after its binding")]
#[test_case(&rule("pods", "get"), &rule("secrets", "get") => Verdict::Fail; "made wider")]
#[test_case(&rule("pods", "get"), &rule("pods", "*") => Verdict::Fail; "made as wide as can be")]
#[test_case(&rule("secrets", "*"), &rule("secrets", "get") => Verdict::Pass; "made narrower, though not enough")]
#[test_case(&rule("secrets", "get"), &rule("secrets", "get") => Verdict::Pass; "left as it is")]
#[test_case(&rule("secrets", "get"), &json!([]) => Verdict::Pass; "made empty")]
#[test_case(&json!([]), &rule("pods", "get") => Verdict::Pass; "made within the ceiling")]
fn a_role(before: &Value, after: &Value) -> Verdict {
    changed(before, after, &digits()).verdict
}

#[test]
fn a_role_that_gives_more_names_the_binding_that_gives_it() {
    let decision = changed(&json!([]), &rule("secrets", "get"), &digits());
    let says = "Role bank/r would let ServiceAccount bank/digits, under which ModelDeployment digits runs, get secrets (which reaches passwords and keys), through RoleBinding bank/gives: leave it out of the role";
    assert!(decision.message().starts_with(says), "{}", decision.message());
    assert!(changed(&json!([]), &rule("secrets", "get"), &subject("User", "jane")).admits());
}

#[test]
fn a_role_whose_bindings_cannot_be_read_is_not_admitted() {
    let role = RoleName {
        namespace: Some("bank".into()),
        name: "r".into(),
    };
    let new = NewRole {
        role: &role,
        rules: &[],
        before: &[],
        bindings: Err("timed out"),
    };
    let decision = judge_role(new, &Accounts::new(), &reading());
    assert_eq!(
        (decision.verdict, decision.reason()),
        (Verdict::Unknown, Some(Reason::NotReadYet))
    );
}

/// The audit's answer on these bindings, where the role `all` gives everything, `read` pods and `scale` a little too much.
fn audited(bindings: &[Binding]) -> Vec<Excess> {
    let role = |namespace: Option<&str>, name: &str| RoleName {
        namespace: namespace.map(Into::into),
        name: name.into(),
    };
    let everything = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]);
    let roles = [
        (role(None, "all"), rules(&everything)),
        (role(None, "read"), rules(&rule("pods", "get"))),
        (role(None, "scale"), rules(&rule("pods", "list"))),
        (role(Some("bank"), "all"), rules(&everything)),
    ];
    let mut accounts = accounts();
    accounts.insert(account("shop", "prices"), "prices".into());
    audit(&accounts, bindings, &roles.into(), &reading())
}

#[test]
fn the_audit_tells_the_chain_that_gives_it() {
    let found = audited(&[
        cluster_role_binding("harmless", "read", &subject("Group", "system:authenticated")),
        cluster_role_binding("little", "scale", &digits()),
        cluster_role_binding(
            "everybody",
            "all",
            &subject("Group", "system:serviceaccounts:bank"),
        ),
        cluster_role_binding("gone", "is-not-there", &digits()),
    ]);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].account, account("bank", "digits"));
    assert_eq!(found[0].model, "digits");
    assert_eq!(found[0].bindings, 2);
    let chains: Vec<_> = found[0]
        .chains
        .iter()
        .map(|chain| (chain.text.as_str(), chain.rights.as_str(), chain.binding.as_str()))
        .collect();
    assert_eq!(
        chains,
        [
            (
                "ClusterRoleBinding everybody gives ClusterRole all to Group system:serviceaccounts:bank",
                "* *.* (which gives what nobody named)",
                "everybody"
            ),
            (
                "ClusterRoleBinding little gives ClusterRole scale to ServiceAccount digits",
                "list pods",
                "little"
            ),
        ],
        "the worst first, whatever their order"
    );
}

#[test]
fn of_many_bindings_the_worst_are_named_and_all_counted() {
    let harmless = (0..20).map(|n| cluster_role_binding(&format!("a-{n:02}"), "scale", &digits()));
    let worst = cluster_role_binding("z", "all", &digits());
    let found = audited(&harmless.chain([worst]).collect::<Vec<_>>());
    let names: Vec<_> = found[0].chains.iter().map(|one| one.binding.as_str()).collect();
    assert_eq!(
        names,
        ["z", "a-00", "a-01", "a-02", "a-03", "a-04", "a-05", "a-06"]
    );
    assert_eq!(found[0].bindings, 21);
}

#[test]
fn everybody_is_every_models_account() {
    let found = audited(&[cluster_role_binding(
        "everybody",
        "all",
        &subject("Group", "system:authenticated"),
    )]);
    let names: Vec<_> = found.iter().map(|one| one.account.name.as_str()).collect();
    assert_eq!(names, ["digits", "prices"]);
}

#[test]
fn one_binding_counts_once_however_often_it_means_the_account() {
    let twice = json!([digits()[0], {"kind": "Group", "name": "system:serviceaccounts"}]);
    let found = audited(&[cluster_role_binding("twice", "all", &twice)]);
    let of_digits: Vec<_> = found.iter().filter(|one| one.model == "digits").collect();
    assert_eq!((of_digits.len(), of_digits[0].bindings), (1, 1));
}

#[test]
fn a_role_of_another_namespace_is_another_role() {
    assert_eq!(audited(&[role_binding("Role", "read", &digits())]), []);
    assert_eq!(audited(&[role_binding("Role", "all", &digits())]).len(), 1);
}

/// What Kubernetes gives to everybody at its start is in no audit.
#[test]
fn what_kubernetes_gives_everybody_is_not_counted() {
    let given = json!([
        {"apiGroups": ["authorization.k8s.io"], "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"], "verbs": ["create"]},
        {"apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"], "verbs": ["create"]},
        {"nonResourceURLs": ["/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*", "/readyz", "/version", "/version/"], "verbs": ["get"]},
        {"nonResourceURLs": ["/.well-known/openid-configuration", "/.well-known/openid-configuration/", "/openid/v1/jwks", "/openid/v1/jwks/"], "verbs": ["get"]}
    ]);
    let name = RoleName {
        namespace: None,
        name: "system:discovery".into(),
    };
    let binding = cluster_role_binding(
        "system:discovery",
        "system:discovery",
        &subject("Group", "system:authenticated"),
    );
    let none = world(vec![policy("p", &json!({"rbac": {"ceiling": []}}))]);
    assert_eq!(
        audit(&accounts(), &[binding], &[(name, rules(&given))].into(), &none),
        []
    );
}

#[test]
fn a_policy_that_cannot_be_read_allows_nothing_new() {
    let meta = kube::core::ObjectMeta {
        name: Some("broken".into()),
        ..kube::core::ObjectMeta::default()
    };
    let unread = crate::policy::unreadable::<ClusterDeploymentPolicy>(&meta, "spec.model: is a number");
    let binding = role_binding("Role", "r", &digits());
    let given = Given::Rules(rules(&rule("pods", "get")));
    let new = NewBinding {
        binding: &binding,
        given: &given,
    };
    assert!(!judge_binding(new, &accounts(), &world(vec![unread])).admits());
}
