//! Sees whether anything enforces NetworkPolicies, node by node: a canary on each listens on two ports, of which its
//! NetworkPolicy lets this operator in on one. What was seen is kept in memory; nothing is written.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures::{Stream, StreamExt as _, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::ListParams};
use tokio::{
    net::TcpStream,
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::super::{Context, world::paced};

/// The label of the canaries, in the operator's namespace.
pub const CANARIES: &str = "app.kubernetes.io/component=canary";
/// Where a canary lets the operator in.
pub const OPEN_PORT: u16 = 8081;
/// Where it must not.
pub const CLOSED_PORT: u16 = 8082;
/// How often every canary is tried.
const INTERVAL: Duration = Duration::from_secs(60);
/// What was seen longer ago than this is not known any more.
const KNOWN_FOR: Duration = Duration::from_secs(3 * 60);
/// How long a connection may take. Most networks drop what they refuse, without an answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Canaries tried at the same time.
const AT_ONCE: usize = 32;

/// Whether a node enforces NetworkPolicies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enforcement {
    /// What is allowed came through, and what is forbidden did not.
    Enforced,
    /// What is forbidden came through.
    NotEnforced,
}

/// What is known of each node.
pub(super) type Told = BTreeMap<String, Enforcement>;

/// What the last rounds saw; nodes of which nothing is known are not in it.
#[derive(Debug)]
pub(in crate::controller) struct Probes(watch::Sender<(u64, Arc<Told>)>);

impl Default for Probes {
    fn default() -> Self {
        Self(watch::Sender::new((0, Arc::default())))
    }
}

impl Probes {
    /// What is known now.
    pub(super) fn told(&self) -> Arc<Told> {
        self.0.borrow().1.clone()
    }

    /// A number that grows whenever something else is known.
    pub(in crate::controller) fn epoch(&self) -> u64 {
        self.0.borrow().0
    }

    /// An item whenever something else is known.
    pub(in crate::controller) fn changes(&self) -> impl Stream<Item = ()> + Send + 'static {
        paced(self.0.subscribe(), Duration::ZERO)
    }

    fn tell(&self, told: Told) {
        self.0.send_if_modified(|(epoch, old)| {
            let changed = **old != told;
            if changed {
                *epoch += 1;
                *old = Arc::new(told);
            }
            changed
        });
    }
}

/// Tries the canaries until `stop` resolves, where there are any to try.
pub(in crate::controller) async fn run(context: Arc<Context>, stop: impl Future<Output = ()> + Send) {
    let Some(namespace) = context.settings.canaries.clone() else {
        return;
    };
    let probing = async {
        let pods: Api<Pod> = context.api(&namespace);
        let mut seen = Memory::default();
        loop {
            match pods.list(&ListParams::default().labels(CANARIES)).await {
                Ok(listed) => {
                    let canaries: Vec<_> = listed.items.iter().filter_map(canary).collect();
                    let found: Vec<_> = stream::iter(canaries)
                        .map(async |(node, address)| (node, probe(address, OPEN_PORT, CLOSED_PORT).await))
                        .buffer_unordered(AT_ONCE)
                        .collect()
                        .await;
                    seen.learn(found, Instant::now());
                }
                // What is known grows old meanwhile, and is forgotten.
                Err(error) => tracing::warn!(%error, "cannot list the canaries"),
            }
            context.probes.tell(seen.known(Instant::now()));
            sleep(INTERVAL).await;
        }
    };
    tokio::select! {
        () = probing => {}
        () = stop => {}
    }
}

/// The node of a canary that runs, and its address.
fn canary(pod: &Pod) -> Option<(String, IpAddr)> {
    let status = pod.status.as_ref()?;
    let runs = status.phase.as_deref() == Some("Running") && pod.metadata.deletion_timestamp.is_none();
    let address = status.pod_ip.as_ref().filter(|_| runs)?.parse().ok()?;
    Some((pod.spec.as_ref()?.node_name.clone()?, address))
}

/// Tries one canary; none when the way that is allowed is closed too, which says nothing about the other.
///
/// The allowed way is tried again at last, so that a canary which went away in between is not taken for one that is guarded.
async fn probe(address: IpAddr, open: u16, closed: u16) -> Option<Enforcement> {
    if !connects(address, open).await {
        return None;
    }
    if connects(address, closed).await {
        return Some(Enforcement::NotEnforced);
    }
    connects(address, open).await.then_some(Enforcement::Enforced)
}

async fn connects(address: IpAddr, port: u16) -> bool {
    let connecting = TcpStream::connect(SocketAddr::new(address, port));
    matches!(timeout(PATIENCE, connecting).await, Ok(Ok(_)))
}

/// What was seen of each node, and when.
#[derive(Debug, Default)]
struct Memory(BTreeMap<String, (Enforcement, Instant)>);

impl Memory {
    /// Of two canaries on one node the one that nothing guards counts.
    fn learn(&mut self, found: Vec<(String, Option<Enforcement>)>, now: Instant) {
        let mut round = Told::new();
        for (node, seen) in found {
            let Some(seen) = seen else { continue };
            let known = round.entry(node).or_insert(seen);
            if seen == Enforcement::NotEnforced {
                *known = seen;
            }
        }
        self.0
            .extend(round.into_iter().map(|(node, seen)| (node, (seen, now))));
    }

    /// What is not too old.
    fn known(&mut self, now: Instant) -> Told {
        self.0.retain(|_, (_, at)| now.duration_since(*at) <= KNOWN_FOR);
        self.0
            .iter()
            .map(|(node, (seen, _))| (node.clone(), *seen))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use test_case::test_case;
    use tokio::net::TcpListener;

    use super::*;

    #[test_case(true, false => Some(Enforcement::Enforced); "what is forbidden does not come through")]
    #[test_case(true, true => Some(Enforcement::NotEnforced); "what is forbidden comes through")]
    #[test_case(false, false => None; "nothing comes through")]
    #[test_case(false, true => None; "without the control nothing is known")]
    #[tokio::test]
    async fn one_canary(open: bool, closed: bool) -> Option<Enforcement> {
        let (a, b) = (
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
        );
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
        let (a_port, b_port) = (port(&a), port(&b));
        let kept = (open.then_some(a), closed.then_some(b));
        let found = probe("127.0.0.1".parse().unwrap(), a_port, b_port).await;
        drop(kept);
        found
    }

    #[test]
    fn what_was_seen_is_forgotten_and_the_worse_counts() {
        let seen = |node: &str, what| (node.to_owned(), Some(what));
        let (start, mut memory) = (Instant::now(), Memory::default());
        memory.learn(
            vec![
                seen("a", Enforcement::Enforced),
                seen("b", Enforcement::NotEnforced),
                seen("b", Enforcement::Enforced),
                ("c".to_owned(), None),
            ],
            start,
        );
        let told: Told = [
            ("a".into(), Enforcement::Enforced),
            ("b".into(), Enforcement::NotEnforced),
        ]
        .into();
        assert_eq!(memory.known(start + KNOWN_FOR), told);
        memory.learn(
            vec![seen("b", Enforcement::Enforced), ("a".to_owned(), None)],
            start + KNOWN_FOR,
        );
        let later = memory.known(start + KNOWN_FOR + Duration::from_secs(1));
        assert_eq!(later, [("b".into(), Enforcement::Enforced)].into());
    }

    #[test]
    fn models_are_woken_by_what_is_new_alone() {
        let probes = Probes::default();
        let told: Told = [("a".into(), Enforcement::Enforced)].into();
        probes.tell(Told::new());
        assert_eq!(probes.epoch(), 0);
        probes.tell(told.clone());
        probes.tell(told.clone());
        assert_eq!((probes.epoch(), &*probes.told()), (1, &told));
    }

    #[test_case(&json!({"phase": "Running", "podIP": "192.0.2.1"}) => true; "one that runs")]
    #[test_case(&json!({"phase": "Pending", "podIP": "192.0.2.1"}) => false; "one that does not")]
    #[test_case(&json!({"phase": "Running"}) => false; "one without an address")]
    fn which_are_tried(status: &Value) -> bool {
        let pod = json!({"spec": {"nodeName": "a", "containers": []}, "status": status});
        canary(&serde_json::from_value(pod).unwrap()).is_some()
    }
}
