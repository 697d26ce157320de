//! Keeps the plain data that decisions rest on: policies compiled against trust roots, and the labels of namespaces.
//! It watches and rebuilds; it never decides, and a decision always sees one consistent snapshot.

#![expect(
    clippy::disallowed_types,
    reason = "the edge: here the client is made, gathered with, and handed to cluster"
)]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::{Stream, StreamExt as _, stream};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, Resource, ResourceExt as _,
    core::{DeserializeGuard, PartialObjectMeta},
    runtime::{
        WatchStreamExt as _,
        reflector::{self, Store},
        watcher::{self, watcher},
    },
};
use tokio::sync::watch;

use crate::{
    api::{
        GOVERNED_LABEL,
        v1alpha1::{
            ClusterDeploymentPolicy, DeploymentPolicy, Evaluation, RobustnessPolicy, TrustRoot, Waiver,
        },
    },
    artifact::signature::PublicKey,
    policy::{
        Policy, Rules, WaiverRule, World, compile,
        robustness::{GateRule, Measured},
        selecting,
        trust::{self, Keys, TrustRoots},
        unreadable,
    },
};

/// The current snapshot, and word of each new one.
#[derive(Debug, Clone)]
pub struct WorldView {
    receiver: watch::Receiver<Option<Arc<Edition>>>,
    trust: watch::Receiver<Arc<TrustRoots>>,
    missing: watch::Receiver<Vec<&'static str>>,
}

/// Every item is a look at every model, so many changes in a row make one.
const BETWEEN_CHANGES: Duration = Duration::from_millis(250);

/// How long one watch is asked for, in seconds. The client gives one up that ends later than it should, so a watch that
/// hangs on a dead connection is replaced within a minute; left to the default it would be five.
const WATCH: u32 = 60;

/// What has to be read before anything can be decided.
const KINDS: [&str; 7] = [
    "ClusterDeploymentPolicies",
    "DeploymentPolicies",
    "TrustRoots",
    "Waivers",
    "RobustnessPolicies",
    "Evaluations",
    "Namespaces",
];

impl WorldView {
    /// The newest snapshot; an empty world, in which nothing is admitted, before the first one.
    pub fn current(&self) -> Arc<World> {
        self.receiver
            .borrow()
            .as_ref()
            .map(|edition| edition.world.clone())
            .unwrap_or_default()
    }

    /// The newest snapshot, and the number under which what it says of this namespace first said so.
    pub fn about(&self, namespace: &str) -> (Arc<World>, u64) {
        match self.receiver.borrow().as_ref() {
            Some(edition) => (
                edition.world.clone(),
                edition.epochs.get(namespace).copied().unwrap_or(0),
            ),
            None => (Arc::default(), 0),
        }
    }

    /// The trust roots there are, with what each key is: for whoever compiles a policy that is not stored yet.
    pub fn trust(&self) -> Arc<TrustRoots> {
        self.trust.borrow().clone()
    }

    /// Whether everything was read at least once.
    pub fn is_ready(&self) -> bool {
        self.receiver.borrow().is_some()
    }

    /// What was never read, in the words of `kubectl`.
    pub fn missing(&self) -> Vec<&'static str> {
        self.missing.borrow().clone()
    }

    /// Resolves when everything was read at least once.
    pub async fn ready(&self) {
        // An error means that the watches ended, and with them the process.
        let _ = self.receiver.clone().wait_for(Option::is_some).await;
    }

    /// An item when there is a new snapshot: at once for the first of several, and for the last of them.
    pub fn changes(&self) -> impl Stream<Item = ()> + Send + 'static {
        paced(self.receiver.clone(), BETWEEN_CHANGES)
    }
}

/// An item when there is a new value: at once for the first of several, and for the last of them, with pauses between.
pub(super) fn paced<T: Send + Sync + 'static>(
    mut receiver: watch::Receiver<T>,
    between: Duration,
) -> impl Stream<Item = ()> + Send + 'static {
    receiver.mark_unchanged();
    stream::unfold(
        (receiver, Duration::ZERO),
        move |(mut receiver, pause)| async move {
            tokio::time::sleep(pause).await;
            receiver.changed().await.ok().map(|()| ((), (receiver, between)))
        },
    )
}

/// A snapshot, and for each governed namespace since which edition it says the same of it.
#[derive(Debug)]
struct Edition {
    number: u64,
    world: Arc<World>,
    epochs: BTreeMap<String, u64>,
}

impl Edition {
    fn after(old: Option<&Self>, world: World) -> Self {
        let number = old.map_or(0, |old| old.number) + 1;
        let epochs = world
            .namespaces
            .iter()
            .map(|(name, labels)| {
                let same = old.filter(|old| {
                    old.world.namespaces.get(name) == Some(labels)
                        && selecting(&old.world.rules, name, labels).eq(selecting(&world.rules, name, labels))
                        && old.world.waivers_of(name).eq(world.waivers_of(name))
                        && old.world.gates_of(name).eq(world.gates_of(name))
                        && old.world.measured_in(name).eq(world.measured_in(name))
                });
                (
                    name.clone(),
                    same.and_then(|old| old.epochs.get(name))
                        .copied()
                        .unwrap_or(number),
                )
            })
            .collect();
        Self {
            number,
            world: Arc::new(world),
            epochs,
        }
    }
}

/// An object that is there even when this version cannot read it.
pub(super) type Guarded<K> = DeserializeGuard<K>;

/// Starts the watches. The future runs them and never ends by itself.
pub fn watch_world(client: &Client) -> (WorldView, impl Future<Output = ()> + Send + 'static) {
    let (sender, receiver) = watch::channel(None);
    let (trust_sender, trust) = watch::channel(Arc::new(TrustRoots::new()));
    let (missing_sender, missing) = watch::channel(KINDS.to_vec());
    let (policies, policy_changes) = follow::<Guarded<ClusterDeploymentPolicy>>(Api::all(client.clone()), 0);
    let (own, own_changes) = follow::<Guarded<DeploymentPolicy>>(Api::all(client.clone()), 1);
    let (roots, root_changes) = follow::<Guarded<TrustRoot>>(Api::all(client.clone()), 2);
    let (namespaces, namespace_changes) = follow::<PartialObjectMeta<Namespace>>(Api::all(client.clone()), 6);
    let (waivers, waiver_changes) = follow::<Guarded<Waiver>>(Api::all(client.clone()), 3);
    let (gates, gate_changes) = follow::<Guarded<RobustnessPolicy>>(Api::all(client.clone()), 4);
    let (runs, run_changes) = follow::<Guarded<Evaluation>>(Api::all(client.clone()), 5);
    let run = async move {
        let changes = stream::select_all([
            policy_changes,
            own_changes,
            root_changes,
            waiver_changes,
            gate_changes,
            run_changes,
            namespace_changes,
        ])
        .ready_chunks(4096);
        futures::pin_mut!(changes);
        let mut listed = [false; KINDS.len()];
        while let Some(batch) = changes.next().await {
            for kind in batch {
                listed[kind] = true;
            }
            let missing: Vec<_> = KINDS
                .iter()
                .zip(listed)
                .filter(|(_, listed)| !listed)
                .map(|(kind, _)| *kind)
                .collect();
            if missing.is_empty() {
                let keys = keys(&roots.state());
                let world = build(
                    &policies.state(),
                    &own.state(),
                    &keys,
                    &waivers.state(),
                    &namespaces.state(),
                );
                let world = World {
                    gates: gate_rules(&gates.state()),
                    measured: measured(&runs.state()),
                    ..world
                };
                trust_sender.send_replace(Arc::new(keys));
                // A status that was written, ours most of all, makes no new world.
                sender.send_if_modified(|current| {
                    let changed = current
                        .as_ref()
                        .is_none_or(|current: &Arc<Edition>| *current.world != world);
                    if changed {
                        *current = Some(Arc::new(Edition::after(current.as_deref(), world)));
                    }
                    changed
                });
            }
            missing_sender.send_replace(missing);
        }
    };
    let view = WorldView {
        receiver,
        trust,
        missing,
    };
    (view, run)
}

/// A store that follows one kind, and the kind's number each time the store is complete and changed. A watch that hangs is
/// replaced within a minute, so that nobody decides by what is older.
pub fn follow<K>(api: Api<K>, number: usize) -> (Store<K>, stream::BoxStream<'static, usize>)
where
    K: Resource<DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    follow_and(api, number, |_| ())
}

/// The same, for who wants to be told of each event once the store has it.
pub fn follow_and<K>(
    api: Api<K>,
    number: usize,
    mut tell: impl FnMut(&watcher::Event<K>) + Send + 'static,
) -> (Store<K>, stream::BoxStream<'static, usize>)
where
    K: Resource<DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let (store, writer) = reflector::store();
    let changes = watcher(api, watcher::Config::default().timeout(WATCH))
        .default_backoff()
        .modify(|object| object.managed_fields_mut().clear())
        .reflect(writer)
        .inspect(move |event| {
            if let Ok(event) = event {
                tell(event);
            }
        })
        .filter_map(move |event| async move {
            match event {
                Ok(watcher::Event::InitDone | watcher::Event::Apply(_) | watcher::Event::Delete(_)) => {
                    Some(number)
                }
                Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => None,
                Err(error) => {
                    tracing::warn!(kind = %K::kind(&()), %error, "a watch failed; trying again");
                    None
                }
            }
        })
        .boxed();
    (store, changes)
}

fn keys(roots: &[Arc<Guarded<TrustRoot>>]) -> TrustRoots {
    roots
        .iter()
        .filter_map(|root| root.0.as_ref().ok())
        .map(|root| (root.name_any(), read_keys(root)))
        .collect()
}

fn build(
    policies: &[Arc<Guarded<ClusterDeploymentPolicy>>],
    own: &[Arc<Guarded<DeploymentPolicy>>],
    keys: &TrustRoots,
    waivers: &[Arc<Guarded<Waiver>>],
    namespaces: &[Arc<PartialObjectMeta<Namespace>>],
) -> World {
    let mut rules: Vec<_> = compiled(policies, keys).chain(compiled(own, keys)).collect();
    // The store has no order of its own, and another order is no other world.
    rules.sort_by(|a, b| a.policy.cmp(&b.policy));
    // One that cannot be read waives nothing, as one that nobody made.
    let readable = waivers.iter().filter_map(|waiver| waiver.0.as_ref().ok());
    let mut waivers: Vec<_> = readable
        .filter_map(|waiver| WaiverRule::of(waiver, Timestamp::UNIX_EPOCH))
        .collect();
    waivers.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    World {
        rules,
        waivers,
        // The others serve nothing whatever their labels are, and clusters have many.
        namespaces: namespaces
            .iter()
            .filter(|namespace| namespace.labels().contains_key(GOVERNED_LABEL))
            .map(|namespace| (namespace.name_any(), namespace.labels().clone()))
            .collect(),
        ..World::default()
    }
}

/// What namespaces want measured. One that cannot be read holds the models of its namespace, and no others.
fn gate_rules(policies: &[Arc<Guarded<RobustnessPolicy>>]) -> Vec<GateRule> {
    let mut rules: Vec<_> = policies
        .iter()
        .map(|policy| match &policy.0 {
            Ok(policy) => GateRule::of(policy),
            Err(invalid) => {
                let meta = &invalid.metadata;
                let namespace = meta.namespace.as_deref().unwrap_or_default();
                GateRule::unreadable(
                    namespace,
                    meta.name.as_deref().unwrap_or_default(),
                    &invalid.error,
                )
            }
        })
        .collect();
    rules.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    rules
}

/// The runs that have ended. One that cannot be read shows nothing.
fn measured(evaluations: &[Arc<Guarded<Evaluation>>]) -> BTreeMap<String, Vec<Measured>> {
    let mut all: BTreeMap<String, Vec<Measured>> = BTreeMap::new();
    for evaluation in evaluations
        .iter()
        .filter_map(|evaluation| evaluation.0.as_ref().ok())
    {
        if let Some(run) = Measured::of(evaluation) {
            all.entry(evaluation.namespace().unwrap_or_default())
                .or_default()
                .push(run);
        }
    }
    for runs in all.values_mut() {
        runs.sort_by(|a, b| a.name.cmp(&b.name));
    }
    all
}

/// What each key of a trust root is, or why it cannot be used.
pub fn read_keys(root: &TrustRoot) -> Keys {
    trust::read(root, |name, pem| {
        PublicKey::parse(name, pem)
            .map(|key| key.fingerprint())
            .map_err(|failure| failure.message)
    })
}

/// Policies ready to be applied. One that cannot be read harms the namespaces it may be meant for, and only those.
fn compiled<P: Policy>(policies: &[Arc<Guarded<P>>], keys: &TrustRoots) -> impl Iterator<Item = Rules> {
    policies.iter().map(|policy| match &policy.0 {
        Ok(policy) => compile(policy, keys),
        Err(invalid) => unreadable::<P>(&invalid.metadata, &invalid.error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world(namespaces: &[(&str, &str)], revoked: &[(&str, u8)]) -> World {
        let policy = |namespace: &str, n: u8| {
            let digest = crate::evidence::Digest::from_bytes([n; 32]);
            serde_json::from_value::<ClusterDeploymentPolicy>(serde_json::json!({
                "apiVersion": "probity.dev/v1alpha1", "kind": "ClusterDeploymentPolicy",
                "metadata": {"name": namespace},
                "spec": {
                    "namespaceSelector": {"matchLabels": {"name": namespace}},
                    "signers": [{"name": "release", "key": {"trustRoot": "bank", "keys": ["release"]}}],
                    "model": {"signers": ["release"], "revoked": [{"digest": digest, "reason": "poisoned"}]}
                }
            }))
            .unwrap()
        };
        let labels = |name: &str, team: &str| {
            [(GOVERNED_LABEL, "true"), ("name", name), ("team", team)]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into()
        };
        World {
            rules: revoked
                .iter()
                .map(|(namespace, n)| compile(&policy(namespace, *n), &TrustRoots::new()))
                .collect(),
            namespaces: namespaces
                .iter()
                .map(|(name, team)| ((*name).to_owned(), labels(name, team)))
                .collect(),
            ..World::default()
        }
    }

    #[test]
    fn only_what_a_new_world_says_of_a_namespace_makes_it_new_there() {
        let (both, rules) = ([("bank", "a"), ("shop", "a")], [("bank", 1), ("shop", 1)]);
        let first = Edition::after(None, world(&both, &rules));
        assert_eq!(first.epochs, [("bank".into(), 1), ("shop".into(), 1)].into());
        let second = Edition::after(Some(&first), world(&both, &[("bank", 2), ("shop", 1)]));
        assert_eq!(
            second.epochs,
            [("bank".into(), 2), ("shop".into(), 1)].into(),
            "another policy for bank"
        );
        let third = Edition::after(
            Some(&second),
            world(&[("bank", "a"), ("shop", "b")], &[("bank", 2), ("shop", 1)]),
        );
        assert_eq!(
            third.epochs,
            [("bank".into(), 2), ("shop".into(), 3)].into(),
            "another label of shop"
        );
        let fourth = Edition::after(Some(&third), world(&[("shop", "b")], &[("shop", 1)]));
        assert_eq!(fourth.epochs, [("shop".into(), 3)].into(), "bank is gone");
        let fifth = Edition::after(
            Some(&fourth),
            world(&[("bank", "a"), ("shop", "b")], &[("shop", 1)]),
        );
        assert_eq!(
            fifth.epochs,
            [("bank".into(), 5), ("shop".into(), 3)].into(),
            "and back without a policy"
        );
    }

    #[test]
    fn a_policy_that_cannot_be_read_denies_where_it_may_be_meant_for_and_nowhere_else() {
        fn broken<P: serde::de::DeserializeOwned + Resource<DynamicType = ()>>(
            kind: &str,
            metadata: &serde_json::Value,
        ) -> Vec<Arc<Guarded<P>>> {
            let object = serde_json::json!({
                "apiVersion": "probity.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": {"model": 7}
            });
            vec![Arc::new(serde_json::from_value(object).unwrap())]
        }
        let meta = &serde_json::json!({"name": "p", "namespace": "bank"});
        let nobody = TrustRoots::new();
        let own = build(&[], &broken("DeploymentPolicy", meta), &nobody, &[], &[]);
        let denied = |world: &World| {
            ["bank", "shop"].map(|name| selecting(&world.rules, name, &BTreeMap::new()).any(Rules::enforces))
        };
        assert_eq!(own.rules[0].policy, "DeploymentPolicy/bank/p");
        assert_eq!(denied(&own), [true, false]);
        let all = build(
            &broken("ClusterDeploymentPolicy", &serde_json::json!({"name": "p"})),
            &[],
            &nobody,
            &[],
            &[],
        );
        assert_eq!(denied(&all), [true, true]);
    }
}
