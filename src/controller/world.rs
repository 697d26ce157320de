//! Keeps the plain data that decisions rest on: policies compiled against trust roots, and the labels of namespaces.
//! It watches and rebuilds; it never decides, and a decision always sees one consistent snapshot.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::{Stream, StreamExt as _, stream};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, Resource, ResourceExt as _,
    core::{DeserializeGuard, PartialObjectMeta, error_boundary::InvalidObject},
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
        v1alpha1::{ClusterDeploymentPolicy, TrustRoot},
    },
    artifact::signature::PublicKey,
    evidence::{Effect, Reason},
    policy::{
        NamespaceSelector, Problem, Rules, World, compile,
        trust::{self, Keys, TrustRoots},
    },
};

/// The current snapshot, and word of each new one.
#[derive(Debug, Clone)]
pub struct WorldView {
    receiver: watch::Receiver<Option<Arc<World>>>,
    missing: watch::Receiver<Vec<&'static str>>,
}

/// Every item is a look at every model, so many changes in a row make one.
const BETWEEN_CHANGES: Duration = Duration::from_millis(250);

/// What has to be read before anything can be decided.
const KINDS: [&str; 3] = ["ClusterDeploymentPolicies", "TrustRoots", "Namespaces"];

impl WorldView {
    /// The newest snapshot; an empty world, in which nothing is admitted, before the first one.
    pub fn current(&self) -> Arc<World> {
        self.receiver.borrow().clone().unwrap_or_default()
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
        let mut receiver = self.receiver.clone();
        receiver.mark_unchanged();
        stream::unfold((receiver, Duration::ZERO), async |(mut receiver, pause)| {
            tokio::time::sleep(pause).await;
            receiver.changed().await.ok().map(|()| ((), (receiver, BETWEEN_CHANGES)))
        })
    }
}

type Guarded<K> = DeserializeGuard<K>;

/// Starts the watches. The future runs them and never ends by itself.
#[expect(clippy::disallowed_types, reason = "starts the watches")]
pub fn watch_world(client: &Client) -> (WorldView, impl Future<Output = ()> + Send + 'static) {
    let (sender, receiver) = watch::channel(None);
    let (missing_sender, missing) = watch::channel(KINDS.to_vec());
    let (policies, policy_changes) = follow::<Guarded<ClusterDeploymentPolicy>>(Api::all(client.clone()), 0);
    let (roots, root_changes) = follow::<Guarded<TrustRoot>>(Api::all(client.clone()), 1);
    let (namespaces, namespace_changes) = follow::<PartialObjectMeta<Namespace>>(Api::all(client.clone()), 2);
    let run = async move {
        let changes = stream::select_all([policy_changes, root_changes, namespace_changes]).ready_chunks(4096);
        futures::pin_mut!(changes);
        let mut listed = [false; 3];
        while let Some(batch) = changes.next().await {
            for kind in batch {
                listed[kind] = true;
            }
            let missing: Vec<_> = KINDS.iter().zip(listed).filter(|(_, listed)| !listed).map(|(kind, _)| *kind).collect();
            if missing.is_empty() {
                let world = Arc::new(build(&policies.state(), &roots.state(), &namespaces.state()));
                // Every new world is a look at every model: a status that was written, ours most of all, is none.
                sender.send_if_modified(|current| {
                    let changed = current.as_ref() != Some(&world);
                    *current = Some(world);
                    changed
                });
            }
            missing_sender.send_replace(missing);
        }
    };
    (WorldView { receiver, missing }, run)
}

/// A store that follows one kind, and the kind's number each time the store is complete and changed.
fn follow<K>(api: Api<K>, number: usize) -> (Store<K>, stream::BoxStream<'static, usize>)
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + Sync + 'static,
{
    let (store, writer) = reflector::store();
    let changes = watcher(api, watcher::Config::default())
        .default_backoff()
        .modify(|object| object.managed_fields_mut().clear())
        .reflect(writer)
        .filter_map(move |event| async move {
            match event {
                Ok(watcher::Event::InitDone | watcher::Event::Apply(_) | watcher::Event::Delete(_)) => Some(number),
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

fn build(
    policies: &[Arc<Guarded<ClusterDeploymentPolicy>>],
    roots: &[Arc<Guarded<TrustRoot>>],
    namespaces: &[Arc<PartialObjectMeta<Namespace>>],
) -> World {
    let keys: TrustRoots = roots
        .iter()
        .filter_map(|root| root.0.as_ref().ok())
        .map(|root| (root.name_any(), read_keys(root)))
        .collect();
    World {
        rules: policies
            .iter()
            .map(|policy| match &policy.0 {
                Ok(policy) => compile(policy, &keys),
                Err(invalid) => unreadable(invalid),
            })
            .collect(),
        // The others serve nothing whatever their labels are, and clusters have many.
        namespaces: namespaces
            .iter()
            .filter(|namespace| namespace.labels().contains_key(GOVERNED_LABEL))
            .map(|namespace| (namespace.name_any(), namespace.labels().clone()))
            .collect(),
    }
}

/// What each key of a trust root is, or why it cannot be used.
pub fn read_keys(root: &TrustRoot) -> Keys {
    trust::read(root, |name, pem| {
        PublicKey::parse(name, pem).map(|key| key.fingerprint()).map_err(|failure| failure.message)
    })
}

/// A policy this version cannot read denies in every governed namespace: which it selects is not known.
fn unreadable(invalid: &InvalidObject) -> Rules {
    let message = format!("this operator cannot read the policy: {}; correct it, or update the operator", invalid.error);
    Rules {
        policy: format!("ClusterDeploymentPolicy/{}", invalid.metadata.name.as_deref().unwrap_or_default()),
        uid: invalid.metadata.uid.clone(),
        generation: invalid.metadata.generation,
        namespaces: NamespaceSelector::Broken,
        effect: Effect::Enforce,
        signers: Vec::new(),
        threshold: 1,
        repositories: None,
        revoked: BTreeMap::new(),
        problems: vec![Problem::new(Reason::PolicyInvalid, "spec", message)],
    }
}
