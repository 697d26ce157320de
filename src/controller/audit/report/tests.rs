use super::*;
use crate::{
    policy::pods::Said,
    policy::{compile, trust::TrustRoots},
};

fn rules(name: &str) -> Rules {
    let policy = serde_json::json!({
        "apiVersion": "probity.dev/v1alpha1", "kind": "ClusterDeploymentPolicy", "metadata": {"name": name},
        "spec": {"namespaceSelector": {}, "signers": [], "model": {"signers": []}}
    });
    let policy: crate::api::v1alpha1::ClusterDeploymentPolicy = serde_json::from_value(policy).unwrap();
    Rules {
        policy: name.to_owned(),
        ..compile(&policy, &TrustRoots::new())
    }
}

fn said(policy: Option<&str>, effect: Effect, reason: &str) -> Said {
    Said {
        policy: policy.map(ToOwned::to_owned),
        effect,
        reason: reason.to_owned(),
    }
}

fn refused(said: Vec<Said>) -> Audited {
    Audited {
        verdict: Verdict::Fail,
        said,
    }
}

fn admitted() -> Audited {
    Audited {
        verdict: Verdict::Pass,
        said: Vec::new(),
    }
}

fn named(pods: &AuditedPods) -> Vec<&str> {
    pods.examples
        .iter()
        .flatten()
        .map(|pod| pod.name.as_str())
        .collect()
}

fn counts(pods: &AuditedPods) -> (i32, i32, i32) {
    (pods.judged, pods.refused, pods.would_refuse)
}

#[test]
fn a_policy_counts_what_it_selects_and_says_itself() {
    let (one, other) = (rules("one"), rules("other"));
    let mut report = Report::default();
    report.pod("bank", "a", &admitted(), &[&one, &other]);
    let by_one = refused(vec![said(Some("one"), Effect::Enforce, "UnmanagedPod")]);
    report.pod("bank", "b", &by_one, &[&one, &other]);
    let by_all = refused(vec![said(None, Effect::Enforce, "PodNotAsPlanned")]);
    report.pod("shop", "c", &by_all, &[&one]);
    let warned = Audited {
        verdict: Verdict::Pass,
        said: vec![said(Some("other"), Effect::Warn, "UnmanagedPod")],
    };
    report.pod("bank", "d", &warned, &[&one, &other]);
    assert_eq!(counts(&report.of("one")), (4, 2, 0));
    assert_eq!(named(&report.of("one")), ["b", "c"]);
    assert_eq!(counts(&report.of("other")), (3, 0, 1));
    assert_eq!(report.of("third"), AuditedPods::default());
    assert_eq!((report.count(Verdict::Fail), report.count(Verdict::Pass)), (2, 2));
}

#[test]
fn a_refusal_counts_before_a_warning_of_the_same_policy() {
    let one = rules("one");
    let mut report = Report::default();
    let both = refused(vec![
        said(Some("one"), Effect::Warn, "Unsigned"),
        said(None, Effect::Enforce, "PodNotAsPlanned"),
    ]);
    report.pod("bank", "a", &both, &[&one]);
    assert_eq!(counts(&report.of("one")), (1, 1, 0));
}

#[test]
fn however_many_there_are_ten_are_named_and_always_the_same() {
    let one = rules("one");
    let no = refused(vec![said(None, Effect::Enforce, "UnmanagedPod")]);
    let warns = Audited {
        verdict: Verdict::Pass,
        said: vec![said(Some("one"), Effect::Warn, "UnmanagedPod")],
    };
    let report = |order: &mut dyn Iterator<Item = usize>| {
        let (mut bank, mut shop) = (Report::default(), Report::default());
        for n in order {
            bank.pod("bank", &format!("warned-{n:03}"), &warns, &[&one]);
            shop.pod("shop", &format!("refused-{n:03}"), &no, &[&one]);
        }
        bank.add(&shop);
        bank.of("one")
    };
    let (up, down) = (report(&mut (0..200)), report(&mut (0..200).rev()));
    assert_eq!(up, down);
    assert_eq!(counts(&up), (400, 200, 200));
    let wanted: Vec<String> = (0..10).map(|n| format!("refused-{n:03}")).collect();
    assert_eq!(named(&up), wanted);
    let few = report(&mut (0..2));
    assert_eq!(
        named(&few),
        ["refused-000", "refused-001", "warned-000", "warned-001"]
    );
}
