//! Says in a policy's status whether the policy can be applied, and if not, which field is wrong.
//! It judges nothing: the compiled policy already knows its problems.

#![expect(
    clippy::disallowed_types,
    reason = "the edge: here the client is made, gathered with, and handed to cluster"
)]

mod tally;

use std::{fmt::Debug, sync::Arc};

use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use kube::{Api, Client, ResourceExt as _, core::object::HasStatus, runtime::controller::Action};
use serde::de::DeserializeOwned;

use crate::{
    api::{
        FIELD_MANAGER,
        v1alpha1::{
            AuditedAccount, AuditedNetworkPolicies, AuditedNetworkPolicy, AuditedPods, AuditedRights,
            ClusterDeploymentPolicy, DeploymentPolicy, PolicyStatus,
        },
    },
    cluster::patch_status,
    evidence::Reason,
    policy::{Policy, Rules},
};

use super::{
    Context, Error, Note,
    condition::{State, Wanted, conditions},
    controller, readable,
    world::Guarded,
};
use tally::Denials;
pub use tally::{TallyView, count};

/// At most this many pods are named in an Event.
const NAMED: usize = 3;

/// Runs until `stop` resolves.
pub async fn run(
    client: Client,
    context: Arc<Context>,
    stop: impl Future<Output = ()> + Clone + Send + Sync + 'static,
) {
    tokio::join!(
        run_kind::<ClusterDeploymentPolicy>(client.clone(), context.clone(), stop.clone()),
        run_kind::<DeploymentPolicy>(client, context, stop),
    );
}

/// A kind of policy as the API server has it.
trait Kind:
    Policy + HasStatus<Status = PolicyStatus> + Clone + Debug + DeserializeOwned + Send + Sync + 'static
{
    /// Where this one is written.
    fn place(&self, client: &Client) -> Api<Self>;
}

impl Kind for ClusterDeploymentPolicy {
    fn place(&self, client: &Client) -> Api<Self> {
        Api::all(client.clone())
    }
}

impl Kind for DeploymentPolicy {
    fn place(&self, client: &Client) -> Api<Self> {
        Api::namespaced(client.clone(), &self.namespace().unwrap_or_default())
    }
}

async fn run_kind<P: Kind>(
    client: Client,
    context: Arc<Context>,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) {
    let (controller, observer) = controller::<P>(client, &context);
    let controller = controller.reconcile_all_on(stream::select_all([
        context.world.changes().boxed(),
        context.tally.changes().boxed(),
        context.audits.changes().boxed(),
    ]));
    observer.run(controller, reconcile, context, stop).await;
}

async fn reconcile<P: Kind>(policy: Arc<Guarded<P>>, context: Arc<Context>) -> Result<Action, Error> {
    let policy = readable(&policy)?;
    let world = context.world.current();
    // Until the world has this very generation there is nothing to say; its change wakes this reconciler.
    let meta = policy.meta();
    let compiled = world
        .rules
        .iter()
        .find(|rules| rules.uid == meta.uid && rules.generation == meta.generation);
    let Some(rules) = compiled else {
        return Ok(Action::await_change());
    };
    let counts = Counts {
        denials: context.tally.of(&rules.policy),
        pods: context.audits.of(&rules.policy),
        rights: context.audits.rights_of(&rules.policy),
        network_policies: context.audits.openers_of(&rules.policy),
    };
    let new = status(policy.status(), rules, counts, context.now());
    let api = policy.place(&context.client);
    if patch_status(&api, policy, FIELD_MANAGER, policy.status(), &new).await? {
        let notes = [
            refuses_more(policy.status(), &new),
            exceed_more(policy.status(), &new),
            opened_more(policy.status(), &new),
        ];
        for note in notes.into_iter().flatten() {
            context.publish(policy, note).await;
        }
    }
    context.succeeded(policy);
    tracing::debug!(policy = rules.policy, "looked at");
    Ok(Action::await_change())
}

/// What is counted for a policy, as far as it is.
#[derive(Debug, Default)]
struct Counts {
    /// The models it says no to.
    denials: Option<Denials>,
    /// The pods it says no to.
    pods: Option<AuditedPods>,
    /// The accounts that hold more than it allows.
    rights: Option<AuditedRights>,
    /// The network policies that open what it wants closed.
    network_policies: Option<AuditedNetworkPolicies>,
}

/// The first of these examples that was not known, or the first at all when there is `more` than they show.
fn first_news<T>(examples: &[T], known: impl Fn(&T) -> bool, more: bool) -> Option<&T> {
    let news = examples.iter().find(|one| !known(one));
    news.or_else(|| examples.first().filter(|_| more))
}

/// Says that other network policies open models than when it was said last, and names the first.
fn opened_more(old: Option<&PolicyStatus>, new: &PolicyStatus) -> Option<Note> {
    let before = old.and_then(|old| old.network_policies.as_ref());
    let named = |policies: &AuditedNetworkPolicies| policies.examples.clone().unwrap_or_default();
    let known = before.map(named).unwrap_or_default();
    let now = new.network_policies.as_ref()?;
    let more = now.opening > before.map_or(0, |before| before.opening);
    let examples = now.examples.as_deref().unwrap_or_default();
    let first = first_news(examples, |one| known.contains(one), more)?;
    let AuditedNetworkPolicy {
        kind,
        namespace,
        name,
        allows,
        ..
    } = first;
    Some(Note {
        warning: true,
        reason: Reason::NetworkOpened.to_string(),
        action: "Audit",
        message: format!(
            "{} network policies allow traffic of models beside what is declared: {kind} {namespace}/{name} ({allows}); delete them, or have their selectors leave models out (status.networkPolicies)",
            now.opening
        ),
    })
}

/// Says that other accounts hold more than allowed than when it was said last, and names the first.
fn exceed_more(old: Option<&PolicyStatus>, new: &PolicyStatus) -> Option<Note> {
    let known = |account: &AuditedAccount| {
        let before = old.and_then(|old| old.rights.as_ref());
        let mut before = before
            .and_then(|rights| rights.examples.as_ref())
            .into_iter()
            .flatten();
        before.any(|one| {
            (&one.namespace, &one.name, &one.chain) == (&account.namespace, &account.name, &account.chain)
        })
    };
    let before = old
        .and_then(|old| old.rights.as_ref())
        .map_or(0, |rights| rights.exceeding);
    let rights = new.rights.as_ref()?;
    let examples = rights.examples.as_deref().unwrap_or_default();
    let first = first_news(examples, known, rights.exceeding > before)?;
    Some(Note {
        warning: true,
        reason: Reason::RightsExceeded.to_string(),
        action: "Audit",
        message: format!(
            "{} of {} accounts of models hold more than isolation.rbac.ceiling allows: {}/{} may {}, for {}; take it back, or add it to the ceiling (status.rights)",
            rights.exceeding, rights.judged, first.namespace, first.name, first.rights, first.chain
        ),
    })
}

/// Says that more pods are refused than when it was said last, and names some.
fn refuses_more(old: Option<&PolicyStatus>, new: &PolicyStatus) -> Option<Note> {
    let before = old
        .and_then(|old| old.pods.as_ref())
        .map_or(0, |pods| pods.refused);
    let pods = new.pods.as_ref().filter(|pods| pods.refused > before)?;
    let named: Vec<String> = pods
        .examples
        .iter()
        .flatten()
        .take(NAMED.min(usize::try_from(pods.refused).unwrap_or(NAMED)))
        .map(|pod| format!("{}/{} ({})", pod.namespace, pod.name, pod.reason))
        .collect();
    let and = if named.len() < usize::try_from(pods.refused).unwrap_or_default() {
        " and others"
    } else {
        ""
    };
    Some(Note {
        warning: true,
        reason: "PodsRefused".into(),
        action: "Audit",
        message: format!(
            "{} of {} pods that are there would be refused now: {}{and}; have them made anew, or taken away (status.pods)",
            pods.refused,
            pods.judged,
            named.join(", ")
        ),
    })
}

/// The status of a policy with these rules.
///
/// What is not counted yet stays as it was told last.
fn status(old: Option<&PolicyStatus>, rules: &Rules, counts: Counts, now: Timestamp) -> PolicyStatus {
    let problems: Vec<_> = rules.all_problems().collect();
    let ready = match (problems.first(), rules.blocking().first()) {
        (None, _) => Wanted::new(
            "Ready",
            State::True,
            "Applied",
            "the policy is applied in every namespace it selects",
        ),
        (Some(problem), None) => {
            let message = format!("applied, but {problem}");
            Wanted::new("Ready", State::True, problem.reason.as_str(), message)
        }
        (Some(_), Some(blocking)) => {
            let so = if rules.enforces() {
                "until then it denies wherever it selects"
            } else {
                "if it were enforced, it would deny wherever it selects"
            };
            let message = format!("{blocking}; {so}");
            Wanted::new("Ready", State::False, blocking.reason.as_str(), message)
        }
    };
    let stalled = (ready.state == State::False).then(|| Wanted {
        kind: "Stalled",
        state: State::True,
        ..ready.clone()
    });
    let wanted = [Some(ready), stalled].into_iter().flatten().collect();
    let conditions_before = old.and_then(|old| old.conditions.as_deref());
    let counted = |new: fn(Denials) -> i32, last: fn(&PolicyStatus) -> Option<i32>| {
        counts.denials.map(new).or_else(|| old.and_then(last))
    };
    PolicyStatus {
        observed_generation: rules.generation,
        denies: counted(|denials| denials.denies, |old| old.denies),
        would_deny: counted(|denials| denials.would_deny, |old| old.would_deny),
        pods: counts.pods.or_else(|| old.and_then(|old| old.pods.clone())),
        // A policy that says nothing of rights any more has nothing to tell either.
        rights: rules.isolation.ceiling.as_ref().and_then(|_| {
            let before = || old.and_then(|old| old.rights.clone());
            counts.rights.or_else(before)
        }),
        network_policies: rules.isolation.network.as_ref().and_then(|_| {
            let before = || old.and_then(|old| old.network_policies.clone());
            counts.network_policies.or_else(before)
        }),
        conditions: Some(conditions(conditions_before, wanted, rules.generation, now)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use test_case::test_case;

    use super::*;
    use crate::{
        api::v1alpha1::AuditedPod,
        policy::{compile, trust::TrustRoots},
    };

    fn rules(effect: &str) -> Rules {
        let policy = json!({
            "apiVersion": "probity.dev/v1alpha1", "kind": "DeploymentPolicy",
            "metadata": {"name": "p", "namespace": "bank", "generation": 3},
            "spec": {
                "effect": effect,
                "signers": [{"name": "release", "key": {"trustRoot": "gone", "keys": ["a"]}}],
                "model": {"signers": ["release"]}
            }
        });
        let policy: DeploymentPolicy = serde_json::from_value(policy).unwrap();
        compile(&policy, &TrustRoots::new())
    }

    fn says(old: Option<&PolicyStatus>, effect: &str, denials: Option<Denials>) -> PolicyStatus {
        let counts = Counts {
            denials,
            ..Counts::default()
        };
        status(old, &rules(effect), counts, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn what_is_not_counted_yet_is_as_it_was_told_last() {
        let new = says(None, "Enforce", None);
        assert_eq!((new.denies, new.would_deny), (None, None));
        let counted = Denials {
            denies: 2,
            would_deny: 0,
        };
        let told = says(None, "Enforce", Some(counted));
        assert_eq!((told.denies, told.would_deny), (Some(2), Some(0)));
        assert_eq!(
            says(Some(&told), "Enforce", None),
            told,
            "a restart writes nothing"
        );
    }

    #[test]
    fn a_policy_that_cannot_be_applied_says_what_that_does() {
        let message = |effect| says(None, effect, None).conditions.unwrap()[0].message.clone();
        assert!(message("Enforce").ends_with("until then it denies wherever it selects"));
        assert!(message("Warn").ends_with("if it were enforced, it would deny wherever it selects"));
    }

    /// A status in which so many pods are refused, all of them by name.
    fn refuses(refused: usize) -> PolicyStatus {
        let pod = |n: usize| AuditedPod {
            namespace: "bank".into(),
            name: format!("pod-{n}"),
            reason: "UnmanagedPod".into(),
        };
        let pods = AuditedPods {
            judged: 20,
            refused: i32::try_from(refused).unwrap(),
            would_refuse: 1,
            examples: Some((0..=refused).map(pod).take(10).collect()),
        };
        PolicyStatus {
            pods: Some(pods),
            ..PolicyStatus::default()
        }
    }

    #[test_case(None, 0 => None; "nothing is refused")]
    #[test_case(Some(2), 2 => None; "as many as before")]
    #[test_case(Some(3), 2 => None; "fewer than before")]
    #[test_case(None, 1 => Some("1 of 20 pods that are there would be refused now: bank/pod-0 (UnmanagedPod); have".into()); "the first, and not the one that only would")]
    #[test_case(Some(2), 5 => Some("5 of 20 pods that are there would be refused now: bank/pod-0 (UnmanagedPod), bank/pod-1 (UnmanagedPod), bank/pod-2 (UnmanagedPod) and others; have".into()); "more than are named")]
    fn an_event_tells_that_more_are_refused(before: Option<usize>, after: usize) -> Option<String> {
        let note = refuses_more(before.map(refuses).as_ref(), &refuses(after))?;
        Some(note.message.split(" them").next().unwrap().to_owned())
    }

    #[test]
    fn what_is_not_audited_yet_is_as_it_was_told_last() {
        let told = PolicyStatus {
            conditions: says(None, "Enforce", None).conditions,
            observed_generation: Some(3),
            ..refuses(2)
        };
        assert_eq!(says(Some(&told), "Enforce", None), told);
    }

    /// A status in which these bindings, each of another account, give too much.
    fn exceed(chains: &[&str]) -> PolicyStatus {
        let account = |chain: &&str| AuditedAccount {
            namespace: "bank".into(),
            name: (*chain).to_owned(),
            model: "digits".into(),
            rights: "get secrets".into(),
            chain: (*chain).to_owned(),
            bindings: 1,
        };
        let rights = AuditedRights {
            judged: 9,
            exceeding: i32::try_from(chains.len()).unwrap(),
            examples: Some(chains.iter().take(2).map(account).collect()),
        };
        PolicyStatus {
            rights: Some(rights),
            ..PolicyStatus::default()
        }
    }

    #[test_case(None, &[] => None; "none")]
    #[test_case(Some(&["a"]), &["a"] => None; "as before")]
    #[test_case(Some(&["a", "b"]), &["a"] => None; "one fewer")]
    #[test_case(None, &["a", "b"] => Some("2 of 9 accounts of models hold more than isolation.rbac.ceiling allows: bank/a may get secrets, for a".into()); "the first")]
    #[test_case(Some(&["a"]), &["b"] => Some("1 of 9 accounts of models hold more than isolation.rbac.ceiling allows: bank/b may get secrets, for b".into()); "another, as many as before")]
    #[test_case(Some(&["a", "b"]), &["a", "b", "c"] => Some("3 of 9 accounts of models hold more than isolation.rbac.ceiling allows: bank/a may get secrets, for a".into()); "more than are named")]
    fn an_event_tells_who_holds_too_much(before: Option<&[&str]>, after: &[&str]) -> Option<String> {
        let note = exceed_more(before.map(exceed).as_ref(), &exceed(after))?;
        Some(note.message.split("; take it back").next().unwrap().to_owned())
    }

    #[test_case(0, 0 => false; "none")]
    #[test_case(1, 1 => false; "as before")]
    #[test_case(2, 1 => false; "one fewer")]
    #[test_case(0, 1 => true; "the first")]
    #[test_case(1, 2 => true; "one more")]
    fn an_event_tells_of_what_opens_models(before: usize, after: usize) -> bool {
        let status = |many: usize| {
            let policy = |n: usize| AuditedNetworkPolicy {
                kind: "NetworkPolicy".into(),
                namespace: "bank".into(),
                name: format!("open-{n}"),
                model: None,
                allows: "spec.ingress[0]".into(),
            };
            let policies = AuditedNetworkPolicies {
                opening: i32::try_from(many).unwrap(),
                examples: (many > 0).then(|| (0..many).map(policy).collect()),
            };
            PolicyStatus {
                network_policies: Some(policies),
                ..PolicyStatus::default()
            }
        };
        opened_more(Some(&status(before)), &status(after)).is_some()
    }
}
