//! Rights and network policies that no admission has seen: what the operator says of them, by which chain, and that it says it
//! once. On an API server of their own, because everything is looked at every second.
#![allow(clippy::needless_pass_by_value, reason = "rows of a table are values")]

use std::{path::PathBuf, time::Duration};

use k8s_openapi::api::{
    core::v1::ObjectReference,
    events::v1::Event,
    networking::v1::NetworkPolicy,
    rbac::v1::{ClusterRoleBinding, RoleBinding},
};
use kube::{Api, Client, api::DeleteParams};
use probity::{
    api::{
        cluster_network_policy::ClusterNetworkPolicy,
        v1alpha1::{ClusterDeploymentPolicy, ModelDeployment, PolicyStatus},
    },
    evidence::{Effect, RuleId},
};
use serde_json::{Value, json};

use crate::{
    artifacts::release_pem,
    stage::{
        Operator, PATIENCE, admin, apply, bank, condition, grant, model, policy, shared_hosts, trust_root,
        until, until_any,
    },
    testbed::{self, Server},
};

const OFTEN: Duration = Duration::from_secs(1);
/// What a model says of its account.
const RIGHTS: &str = "RightsWithinCeiling";
const RBAC: &str = "rbac.authorization.k8s.io";

/// Waits until the policy's status is as wanted.
async fn says(client: &Client, what: &str, holds: impl Fn(&PolicyStatus) -> bool) -> PolicyStatus {
    let api: Api<ClusterDeploymentPolicy> = Api::all(client.clone());
    let found = until(&api, "platform", what, |policy| {
        policy.status.as_ref().is_some_and(&holds)
    })
    .await;
    found.status.unwrap()
}

/// So many accounts hold more than the ceiling.
fn exceed(status: &PolicyStatus, judged: i32, exceeding: i32) -> bool {
    let rights = status.rights.as_ref();
    rights.is_some_and(|rights| (rights.judged, rights.exceeding) == (judged, exceeding))
}

fn role(kind: &str, name: &str, resource: &str) -> Value {
    let mut role = json!({
        "apiVersion": format!("{RBAC}/v1"), "kind": kind, "metadata": {"name": name},
        "rules": [{"apiGroups": [""], "resources": [resource], "verbs": ["get"]}]
    });
    if kind == "Role" {
        role["metadata"]["namespace"] = json!("bank");
    }
    role
}

fn binding(kind: &str, name: &str, role: (&str, &str), subject: Value) -> Value {
    let mut binding = json!({
        "apiVersion": format!("{RBAC}/v1"), "kind": kind, "metadata": {"name": name},
        "roleRef": {"apiGroup": RBAC, "kind": role.0, "name": role.1}, "subjects": [subject]
    });
    if kind == "RoleBinding" {
        binding["metadata"]["namespace"] = json!("bank");
    }
    binding
}

/// So many looks at the bindings of the cluster are over.
async fn looks(operator: &Operator, wanted: usize) {
    let seen = || {
        let requests = operator.requests.all();
        let lists = requests
            .iter()
            .filter(|asked| asked.verb == "list" && asked.resource.ends_with("/clusterrolebindings"));
        lists.count()
    };
    let looking = async {
        while seen() < wanted {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking)
        .await
        .expect("rights are looked at again");
}

/// One story, because the steps need each other: an API server of its own costs seconds.
#[expect(clippy::too_many_lines, reason = "one story, in its order")]
#[tokio::test]
async fn rights_and_openings_that_no_admission_has_seen_are_found_with_what_gives_them() {
    let server = Server::start("apiserver", &[], &[]).unwrap();
    let kubeconfig: PathBuf = server.ready.clone().into();
    let client = admin(&kubeconfig).await;
    grant(&client).await;
    testbed::install(&client).await;
    apply(&client, bank(true)).await;
    apply(&client, trust_root("platform", &[("release", release_pem())])).await;
    let mut platform = policy("platform", "bank", json!({}));
    platform["spec"]["isolation"] = json!({
        "network": "DefaultDeny",
        "rbac": {"ceiling": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]}
    });
    apply(&client, platform).await;
    apply(
        &client,
        model("bank", "digits", "registry.invalid/models/digits:1", json!({})),
    )
    .await;
    let first = Operator::start_auditing(&kubeconfig, shared_hosts(), OFTEN);
    let quiet = |status: &PolicyStatus| {
        exceed(status, 1, 0)
            && status
                .network_policies
                .as_ref()
                .is_some_and(|policies| policies.opening == 0)
    };
    says(
        &client,
        "what Kubernetes gives to everybody is not counted",
        quiet,
    )
    .await;

    // Within the ceiling; a group in the whole cluster; the account itself, by a role of the namespace.
    let digits = || json!({"kind": "ServiceAccount", "name": "digits", "namespace": "bank"});
    for object in [
        role("ClusterRole", "reads", "configmaps"),
        role("ClusterRole", "knows", "secrets"),
        role("Role", "looks", "pods"),
        binding("ClusterRoleBinding", "fine", ("ClusterRole", "reads"), digits()),
        binding("RoleBinding", "nobody", ("Role", "not-there"), digits()),
        binding("RoleBinding", "looks", ("Role", "looks"), digits()),
    ] {
        apply(&client, object).await;
    }
    let found = says(&client, "one exceeds it", |status| exceed(status, 1, 1)).await;
    let example = |status: &PolicyStatus| status.rights.clone().unwrap().examples.unwrap()[0].clone();
    let account = example(&found);
    assert_eq!(
        (account.name.as_str(), account.model.as_str(), account.bindings),
        ("digits", "digits", 1)
    );
    assert_eq!(
        account.chain,
        "RoleBinding bank/looks gives Role bank/looks to ServiceAccount digits"
    );
    assert_eq!(account.rights, "get pods");
    let everybody = json!({"kind": "Group", "name": "system:serviceaccounts", "apiGroup": RBAC});
    apply(
        &client,
        binding(
            "ClusterRoleBinding",
            "everybody",
            ("ClusterRole", "knows"),
            everybody,
        ),
    )
    .await;
    let worse = |status: &PolicyStatus| exceed(status, 1, 1) && example(status).bindings == 2;
    let account = example(&says(&client, "a second binding, and worse", worse).await);
    assert_eq!(
        account.chain,
        "ClusterRoleBinding everybody gives ClusterRole knows to Group system:serviceaccounts"
    );
    // Each is told in its own words: an Event whose first sentence stands for all that follow tells of one.
    for chain in ["for RoleBinding bank/looks", "for ClusterRoleBinding everybody"] {
        until_any(&Api::<Event>::all(client.clone()), chain, |event| {
            let note = event.note.as_deref().unwrap_or_default();
            event.reason.as_deref() == Some("RightsExceeded") && note.contains(chain)
        })
        .await;
    }

    // The model itself says by which chains, is stopped by none of them, and is told of each in an Event of its own.
    let models: Api<ModelDeployment> = Api::namespaced(client.clone(), "bank");
    let told = until(&models, "digits", "it says that its account exceeds", |model| {
        let chains = ["ClusterRoleBinding everybody", "RoleBinding bank/looks"];
        condition(model, RIGHTS).is_some_and(|one| {
            one.reason == "RightsExceeded" && chains.iter().all(|chain| one.message.contains(chain))
        })
    })
    .await;
    let findings = told.status.as_ref().unwrap().findings.iter().flatten();
    let findings: Vec<_> = findings
        .filter(|finding| finding.rule == RuleId::IsolationRbac)
        .collect();
    assert_eq!(findings.len(), 2, "{findings:?}");
    assert!(findings.iter().all(|finding| finding.effect == Effect::Warn));
    assert_eq!(
        condition(&told, "PolicySatisfied").unwrap().reason,
        "Resolving",
        "what its account may do decides nothing"
    );
    let mut notes = Vec::new();
    for (kind, name) in [("RoleBinding", "looks"), ("ClusterRoleBinding", "everybody")] {
        let event = until_any(
            &Api::<Event>::all(client.clone()),
            &format!("an Event of the model about {kind} {name}"),
            |event| {
                let of = |object: &Option<ObjectReference>, kind: &str, name: &str| {
                    object.as_ref().is_some_and(|object| {
                        (object.kind.as_deref(), object.name.as_deref()) == (Some(kind), Some(name))
                    })
                };
                event.reason.as_deref() == Some("RightsExceeded")
                    && of(&event.regarding, "ModelDeployment", "digits")
                    && of(&event.related, kind, name)
            },
        )
        .await;
        notes.push(event.note.unwrap_or_default());
    }
    assert!(
        notes[0].contains("may get pods, for RoleBinding bank/looks"),
        "{notes:?}"
    );
    assert!(
        notes[1].contains("may get secrets") && notes[1].contains("for ClusterRoleBinding everybody"),
        "{notes:?}"
    );

    // A network policy of somebody's, and one that only looks as if it were the model's.
    let opens = |name: &str, selector: Value| {
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name, "namespace": "bank"},
            "spec": {"podSelector": selector, "ingress": [{}]}
        })
    };
    apply(&client, opens("open", json!({}))).await;
    apply(&client, opens("others", json!({"matchLabels": {"app": "web"}}))).await;
    let opened = |status: &PolicyStatus| {
        status
            .network_policies
            .as_ref()
            .is_some_and(|policies| policies.opening == 1)
    };
    let found = says(&client, "one opens it", opened).await;
    let one = found.network_policies.unwrap().examples.unwrap()[0].clone();
    assert_eq!(
        (one.name.as_str(), one.allows.as_str()),
        ("open", "spec.ingress[0]")
    );
    until_any(
        &Api::<Event>::all(client.clone()),
        "an Event tells of that",
        |event| event.reason.as_deref() == Some("NetworkOpened"),
    )
    .await;

    // One of the whole cluster, which is asked before all of those. It is the platform's to write, and told.
    testbed::install_policyapi(&client, &kubeconfig).await;
    let accepts = json!({
        "apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy", "metadata": {"name": "accepts"},
        "spec": {
            "tier": "Admin", "priority": 10, "subject": {"namespaces": {}},
            "egress": [{"action": "Accept", "to": [{"networks": ["0.0.0.0/0"]}]}]
        }
    });
    apply(&client, accepts).await;
    let opened = |status: &PolicyStatus| {
        let policies = status.network_policies.as_ref();
        policies.is_some_and(|policies| policies.opening == 2)
    };
    let found = says(&client, "a second one opens it", opened).await;
    let one = found.network_policies.unwrap().examples.unwrap()[0].clone();
    assert_eq!(
        (one.kind.as_str(), one.name.as_str(), one.namespace.as_str()),
        ("ClusterNetworkPolicy", "accepts", "bank")
    );
    Api::<ClusterNetworkPolicy>::all(client.clone())
        .delete("accepts", &DeleteParams::default())
        .await
        .unwrap();

    // Whoever takes it back is believed.
    let gone = DeleteParams::default();
    Api::<ClusterRoleBinding>::all(client.clone())
        .delete("everybody", &gone)
        .await
        .unwrap();
    Api::<RoleBinding>::namespaced(client.clone(), "bank")
        .delete("looks", &gone)
        .await
        .unwrap();
    Api::<NetworkPolicy>::namespaced(client.clone(), "bank")
        .delete("open", &gone)
        .await
        .unwrap();
    says(&client, "all is as it should be", quiet).await;
    let within = until(&models, "digits", "its account is within the ceiling", |model| {
        condition(model, RIGHTS).is_some_and(|one| one.reason == "WithinCeiling")
    })
    .await;
    let findings = within.status.unwrap().findings;
    assert!(
        findings
            .iter()
            .flatten()
            .all(|finding| finding.rule != RuleId::IsolationRbac)
    );
    first.end();
    // The next leader has nothing else to say, before it has looked and after it has.
    let second = Operator::start_auditing(&kubeconfig, shared_hosts(), OFTEN);
    looks(&second, 3).await;
    let mut written = second.requests.written();
    // It applies once what it did not apply itself, and the API server finds that it is so already.
    let network = ["networkpolicies", "clusternetworkpolicies"];
    written.retain(|asked| {
        !network
            .iter()
            .any(|kind| asked.resource.ends_with(&format!("/{kind}")))
    });
    assert_eq!(written, []);
    second.end();
    // What was given and opened while nobody ran is found as well.
    apply(
        &client,
        binding(
            "ClusterRoleBinding",
            "meanwhile",
            ("ClusterRole", "knows"),
            digits(),
        ),
    )
    .await;
    apply(&client, opens("meanwhile", json!({}))).await;
    let third = Operator::start_auditing(&kubeconfig, shared_hosts(), OFTEN);
    let found = says(&client, "both are found", |status| {
        exceed(status, 1, 1)
            && status
                .network_policies
                .as_ref()
                .is_some_and(|policies| policies.opening == 1)
    })
    .await;
    assert_eq!(
        example(&found).chain,
        "ClusterRoleBinding meanwhile gives ClusterRole knows to ServiceAccount digits"
    );
    until(&models, "digits", "it says so too", |model| {
        condition(model, RIGHTS).is_some_and(|one| one.message.contains("ClusterRoleBinding meanwhile"))
    })
    .await;
    third.end();
}
