//! Sees whether anything enforces NetworkPolicies, node by node: a canary on each listens on two ports, of which its
//! NetworkPolicy lets this operator in on one, and tries two of the operator's, of which it may reach one. What was seen is kept
//! in memory; nothing is written.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures::{Stream, StreamExt as _, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::ListParams};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
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
/// Where the operator listens for canaries that may reach it there.
pub const BACK_PORT: u16 = 8083;
/// Where it listens for canaries that must not.
pub const NOT_BACK_PORT: u16 = 8084;
/// How often every canary is tried.
const INTERVAL: Duration = Duration::from_secs(60);
/// What was seen longer ago than this is not known any more.
const KNOWN_FOR: Duration = Duration::from_secs(3 * 60);
/// How long a connection may take. Most networks drop what they refuse, without an answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a canary may take to say what became of the way back: it tries three times, for two seconds at most.
const ANSWER: Duration = Duration::from_secs(8);
/// Canaries tried at the same time.
const AT_ONCE: usize = 32;

/// Whether a node enforces NetworkPolicies, in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enforcement {
    /// What is allowed came through, and what is forbidden did not.
    Enforced,
    /// What is forbidden came through.
    NotEnforced,
}

/// What was seen of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// On the way into its pods.
    pub ingress: Enforcement,
    /// On the way out of them, where that could be seen.
    pub egress: Option<Enforcement>,
}

impl Seen {
    /// Whether what closes these directions was seen not to be enforced. What enforces nothing on the way in is not believed to
    /// do so on the way out.
    pub(super) fn breaks(self, ingress: bool, egress: bool) -> bool {
        let out = self.egress.unwrap_or(self.ingress);
        ingress && self.ingress == Enforcement::NotEnforced || egress && out == Enforcement::NotEnforced
    }

    /// Whether it was seen to be enforced, in each of these directions.
    pub(super) fn shows(self, ingress: bool, egress: bool) -> bool {
        (!ingress || self.ingress == Enforcement::Enforced)
            && (!egress || self.egress == Some(Enforcement::Enforced))
    }

    /// Of two canaries on one node, that which nothing guards counts, in each direction.
    fn worse(self, other: Self) -> Self {
        let worse = |one, other| match (one, other) {
            (Enforcement::Enforced, Enforcement::Enforced) => Enforcement::Enforced,
            (Enforcement::NotEnforced, _) | (_, Enforcement::NotEnforced) => Enforcement::NotEnforced,
        };
        Self {
            ingress: worse(self.ingress, other.ingress),
            egress: match (self.egress, other.egress) {
                (Some(one), Some(other)) => Some(worse(one, other)),
                (one, other) => one.or(other),
            },
        }
    }
}

/// What is known of each node.
pub(super) type Told = BTreeMap<String, Seen>;

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
        () = listen(BACK_PORT) => {}
        () = listen(NOT_BACK_PORT) => {}
        () = stop => {}
    }
}

/// Lets canaries see that they reached this operator. Where it cannot, the way out of pods is not known, and never ends.
async fn listen(port: u16) {
    match TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await {
        Ok(listener) => loop {
            if let Err(error) = listener.accept().await {
                tracing::debug!(%error, port, "a canary's connection broke");
                sleep(PATIENCE).await;
            }
        },
        Err(error) => {
            tracing::warn!(%error, port, "cannot listen for canaries: whether the way out of pods is closed is not known");
            std::future::pending::<()>().await;
        }
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
async fn probe(address: IpAddr, open: u16, closed: u16) -> Option<Seen> {
    if !connects(address, open).await {
        return None;
    }
    let ingress = if connects(address, closed).await {
        Enforcement::NotEnforced
    } else {
        connects(address, open).await.then_some(Enforcement::Enforced)?
    };
    let egress = ask(address, open).await;
    Some(Seen { ingress, egress })
}

/// Asks a canary what became of the way back; none when it does not know, or says nothing.
async fn ask(address: IpAddr, open: u16) -> Option<Enforcement> {
    let asking = async {
        let mut stream = TcpStream::connect(SocketAddr::new(address, open)).await?;
        stream.write_u8(b'?').await?;
        stream.read_u8().await
    };
    match timeout(ANSWER, asking).await {
        Ok(Ok(b'y')) => Some(Enforcement::Enforced),
        Ok(Ok(b'n')) => Some(Enforcement::NotEnforced),
        _ => None,
    }
}

async fn connects(address: IpAddr, port: u16) -> bool {
    let connecting = TcpStream::connect(SocketAddr::new(address, port));
    matches!(timeout(PATIENCE, connecting).await, Ok(Ok(_)))
}

/// What was seen of each node, and when.
#[derive(Debug, Default)]
struct Memory(BTreeMap<String, (Seen, Instant)>);

impl Memory {
    fn learn(&mut self, found: Vec<(String, Option<Seen>)>, now: Instant) {
        let mut round = Told::new();
        for (node, seen) in found {
            let Some(seen) = seen else { continue };
            let known = round.entry(node).or_insert(seen);
            *known = known.worse(seen);
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

    use super::*;

    /// A port of this machine, with a canary behind it that answers so, or silence.
    async fn port(answers: Option<&'static [u8]>) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        if let Some(answer) = answers {
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    if matches!(stream.read_u8().await, Ok(b'?')) {
                        let _ = stream.write_all(answer).await;
                    }
                }
            });
        }
        port
    }

    #[test_case(Some(b"y"), false => Some((Enforcement::Enforced, Some(Enforcement::Enforced))); "what is forbidden does not come through, in neither direction")]
    #[test_case(Some(b"n"), false => Some((Enforcement::Enforced, Some(Enforcement::NotEnforced))); "it comes out")]
    #[test_case(Some(b"n"), true => Some((Enforcement::NotEnforced, Some(Enforcement::NotEnforced))); "it comes through in both")]
    #[test_case(Some(b""), false => Some((Enforcement::Enforced, None)); "the way out is not known")]
    #[test_case(Some(b"x"), false => Some((Enforcement::Enforced, None)); "an answer that is none")]
    #[test_case(None, false => None; "nothing comes through")]
    #[test_case(None, true => None; "without the control nothing is known")]
    #[tokio::test]
    async fn one_canary(
        open: Option<&'static [u8]>,
        closed: bool,
    ) -> Option<(Enforcement, Option<Enforcement>)> {
        let (open, closed) = (port(open).await, port(closed.then_some(b"")).await);
        let seen = probe("127.0.0.1".parse().unwrap(), open, closed).await?;
        Some((seen.ingress, seen.egress))
    }

    const BOTH: Seen = Seen {
        ingress: Enforcement::Enforced,
        egress: Some(Enforcement::Enforced),
    };
    const IN: Seen = Seen { egress: None, ..BOTH };
    const NOT_OUT: Seen = Seen {
        egress: Some(Enforcement::NotEnforced),
        ..BOTH
    };
    const NONE: Seen = Seen {
        ingress: Enforcement::NotEnforced,
        egress: None,
    };

    #[test_case(BOTH, true, true => (false, true); "both")]
    #[test_case(IN, true, true => (false, false); "the way out is not known")]
    #[test_case(IN, true, false => (false, true); "and not closed")]
    #[test_case(IN, false, true => (false, false); "the way out alone is closed, and not known")]
    #[test_case(NOT_OUT, true, true => (true, false); "the way out is open")]
    #[test_case(NOT_OUT, true, false => (false, true); "the way out is open, and meant to be")]
    #[test_case(NOT_OUT, false, true => (true, false); "the way out alone is closed, and open")]
    #[test_case(NONE, false, true => (true, false); "what enforces nothing on the way in")]
    fn directions(seen: Seen, ingress: bool, egress: bool) -> (bool, bool) {
        (seen.breaks(ingress, egress), seen.shows(ingress, egress))
    }

    #[test]
    fn what_was_seen_is_forgotten_and_the_worse_counts() {
        let seen = |node: &str, what| (node.to_owned(), Some(what));
        let (start, mut memory) = (Instant::now(), Memory::default());
        memory.learn(
            vec![
                seen("a", IN),
                seen("b", NOT_OUT),
                seen("b", BOTH),
                ("c".to_owned(), None),
            ],
            start,
        );
        let told: Told = [("a".into(), IN), ("b".into(), NOT_OUT)].into();
        assert_eq!(memory.known(start + KNOWN_FOR), told);
        memory.learn(vec![seen("b", BOTH), ("a".to_owned(), None)], start + KNOWN_FOR);
        let later = memory.known(start + KNOWN_FOR + Duration::from_secs(1));
        assert_eq!(later, [("b".into(), BOTH)].into());
    }

    #[test]
    fn models_are_woken_by_what_is_new_alone() {
        let probes = Probes::default();
        let told: Told = [("a".into(), BOTH)].into();
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
