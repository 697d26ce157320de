//! What is told of each model, and when it is news.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::{
    api::{GOVERNED_LABEL, v1alpha1::ClusterDeploymentPolicy},
    policy::{compile, trust::TrustRoots},
};

fn account(namespace: &str, name: &str) -> Account {
    Account {
        namespace: namespace.into(),
        name: name.into(),
    }
}

/// Governed namespaces, of which `bank` has a ceiling.
fn world() -> World {
    let policy: ClusterDeploymentPolicy = serde_json::from_value(json!({
        "apiVersion": "probity.dev/v1alpha1", "kind": "ClusterDeploymentPolicy", "metadata": {"name": "p"},
        "spec": {
            "namespaceSelector": {"matchLabels": {"team": "bank"}},
            "signers": [{"name": "release", "key": {"trustRoot": "bank", "keys": ["release"]}}],
            "model": {"signers": ["release"]}, "isolation": {"rbac": {"ceiling": []}}
        }
    }))
    .unwrap();
    let labels = |team: &str| {
        let labels = [(GOVERNED_LABEL, "true"), ("team", team)];
        labels
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    };
    World {
        rules: vec![compile(&policy, &TrustRoots::new())],
        namespaces: [("bank", "bank"), ("shop", "shop")]
            .map(|(name, team)| (name.to_owned(), labels(team)))
            .into(),
        ..World::default()
    }
}

fn excess(account: Account, effect: Effect, bindings: &[&str]) -> Excess {
    let chain = |name: &&str| {
        Arc::new(Chain {
            text: format!("ClusterRoleBinding {name} gives ClusterRole all to Group everybody"),
            rights: "get secrets".into(),
            namespace: None,
            binding: (*name).to_owned(),
        })
    };
    Excess {
        policy: "ClusterDeploymentPolicy/p".into(),
        effect,
        account,
        model: "digits".into(),
        chains: bindings.iter().map(chain).collect(),
        bindings: bindings.len(),
    }
}

fn found(runs: &[(&str, &str, &str)], excess: &[Excess]) -> BTreeMap<(String, String), Vec<Beyond>> {
    let runs = runs
        .iter()
        .map(|(namespace, name, model)| (account(namespace, name), (*model).to_owned()));
    by_model(&runs.collect(), excess, &world())
}

#[test]
fn each_model_that_runs_under_an_account_is_told_of_each_binding() {
    let runs = [
        ("bank", "default", "digits"),
        ("bank", "default", "letters"),
        ("bank", "prices", "prices"),
        ("shop", "default", "digits"),
    ];
    let both = excess(account("bank", "default"), Effect::Enforce, &["one", "two"]);
    let models = found(&runs, &[both]);
    let told: Vec<_> = models
        .iter()
        .map(|((namespace, model), beyond)| (namespace.as_str(), model.as_str(), beyond.len()))
        .collect();
    assert_eq!(
        told,
        [
            ("bank", "digits", 2),
            ("bank", "letters", 2),
            ("bank", "prices", 0)
        ],
        "where no policy has a ceiling nothing is told"
    );
    let first = &models[&("bank".to_owned(), "digits".to_owned())][0];
    assert_eq!(
        first.finding.message,
        "ServiceAccount bank/default may get secrets, for ClusterRoleBinding one gives ClusterRole all to Group everybody: \
         take it back, or add it to isolation.rbac.ceiling"
    );
    assert_eq!(
        (first.binding.kind.as_deref(), first.binding.name.as_deref()),
        (Some("ClusterRoleBinding"), Some("one"))
    );
}

/// It is told, and nothing more: `Enforce` would say that it stops the model.
#[test]
fn it_counts_for_nothing_in_a_decision() {
    for effect in [Effect::Enforce, Effect::Warn, Effect::Audit] {
        let models = found(
            &[("bank", "digits", "digits")],
            &[excess(account("bank", "digits"), effect, &["one"])],
        );
        let finding = &models.values().next().unwrap()[0].finding;
        assert_eq!(finding.counts_as(), Verdict::Pass);
        assert_eq!(finding.effect == Effect::Audit, effect == Effect::Audit);
    }
}

#[test]
fn many_bindings_make_no_long_status() {
    let names: Vec<String> = (0..8).map(|n| format!("binding-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let digits = || account("bank", "digits");
    let twice = [
        excess(digits(), Effect::Enforce, &names),
        excess(digits(), Effect::Warn, &names),
    ];
    let models = found(&[("bank", "digits", "digits")], &twice);
    assert_eq!(models.values().next().unwrap().len(), MOST);
}

#[test]
fn only_models_of_which_something_else_is_found_are_news() {
    let told = Excesses::default();
    let runs = [("bank", "a", "a"), ("bank", "b", "b")];
    let exceeds = |names: &[&str]| vec![excess(account("bank", "a"), Effect::Enforce, names)];
    assert_eq!((told.of("bank", "a"), told.epoch("bank", "a")), (None, 0));
    told.tell(found(&runs, &[]));
    assert_eq!(told.of("bank", "a"), Some(Arc::default()));
    let before = (told.epoch("bank", "a"), told.epoch("bank", "b"));
    told.tell(found(&runs, &exceeds(&["one"])));
    let after = (told.epoch("bank", "a"), told.epoch("bank", "b"));
    assert!(after.0 > before.0 && after.1 == before.1, "{before:?} {after:?}");
    told.tell(found(&runs, &exceeds(&["one"])));
    assert_eq!(told.epoch("bank", "a"), after.0, "the same again");
    told.tell(found(&runs, &exceeds(&["one", "two"])));
    assert!(told.epoch("bank", "a") > after.0);
    told.tell(found(&[("bank", "b", "b")], &[]));
    assert_eq!(told.of("bank", "a"), None, "it is gone");
}
