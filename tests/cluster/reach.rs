//! Who can open a connection to whom, asked with real sockets in the network namespaces of pods, of the node, and of hosts
//! beyond it. A closed door proves something only where somebody answers behind it, so every matrix asks that as well.

use std::{
    fmt::{self, Write as _},
    fs::File,
    io::{self, ErrorKind},
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::AsFd as _,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt as _;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream, UdpSocket},
    task::AbortHandle,
    time::timeout,
};

use crate::container::Container;

/// Nobody on one machine takes this long to answer. A door that stays closed costs it.
const ANSWER: Duration = Duration::from_millis(1200);
/// How long a matrix may take to become as it should be: policies are enforced a little after they are made.
const SETTLED: Duration = Duration::from_secs(30);
/// A question that name servers answer, and that our own listeners send back: the address of `a.`.
const QUESTION: &[u8] = b"\x2a\x2a\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Tcp,
    Udp,
}
use Protocol::{Tcp, Udp};

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// Somebody answered.
    Open,
    /// Nothing came back at all, as when a policy drops what is sent.
    Closed,
    /// Something else came back: nobody listens there, or there is no way. That is no work of a policy.
    Neither(ErrorKind),
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.pad("open"),
            Self::Closed => f.pad("closed"),
            Self::Neither(error) => f.pad(&error.to_string()),
        }
    }
}

/// Where connections come from and go to: a network namespace, held open, and its address.
#[derive(Debug, Clone)]
pub struct Place {
    pub name: String,
    pub address: Ipv4Addr,
    namespace: Arc<File>,
}

impl Place {
    pub fn new(name: &str, address: Ipv4Addr, namespace: &Path) -> Self {
        let namespace =
            File::open(namespace).unwrap_or_else(|error| panic!("{}: {error}", namespace.display()));
        Self {
            name: name.to_owned(),
            address,
            namespace: Arc::new(namespace),
        }
    }

    /// A pod, by one of its running containers: they share its network.
    pub async fn pod(pod: &Pod, container: &str) -> Self {
        let address = pod.status.as_ref().and_then(|status| status.pod_ip.clone());
        let address = address.expect("a running pod has an address").parse().unwrap();
        let namespace = Container::of(pod, container).await.network();
        Self::new(
            &format!("{}/{}", pod.namespace().unwrap(), pod.name_any()),
            address,
            &namespace,
        )
    }

    /// Answers on these ports for as long as the result lives, whoever asks.
    pub fn listen(&self, ports: &[(Protocol, u16)]) -> Listeners {
        let listening = ports.iter().map(|&(protocol, port)| {
            self.listens(protocol, port)
                .unwrap_or_else(|error| panic!("{} {protocol} {port}: {error}", self.name))
        });
        Listeners(listening.collect())
    }

    fn listens(&self, protocol: Protocol, port: u16) -> io::Result<AbortHandle> {
        let here = SocketAddrV4::new(self.address, port);
        let task = match protocol {
            Tcp => {
                let socket = self.tcp(here)?.listen(64)?;
                tokio::spawn(async move {
                    while let Ok((mut stream, _)) = socket.accept().await {
                        // Whoever says something hears it again.
                        tokio::spawn(async move {
                            let (mut reads, mut writes) = stream.split();
                            let _ = tokio::io::copy(&mut reads, &mut writes).await;
                        });
                    }
                })
            }
            Udp => {
                let socket = self.udp(here)?;
                tokio::spawn(async move {
                    let mut said = [0; 512];
                    while let Ok((length, from)) = socket.recv_from(&mut said).await {
                        let _ = socket.send_to(&said[..length], from).await;
                    }
                })
            }
        };
        Ok(task.abort_handle())
    }

    /// A connection from here that stays open, and that the listeners of a place answer on.
    pub async fn talk(&self, to: &Place, port: u16) -> Talk {
        let there = SocketAddrV4::new(to.address, port);
        let socket = self.tcp(SocketAddrV4::new(self.address, 0)).unwrap();
        let connected = timeout(SETTLED, socket.connect(there.into())).await;
        Talk(connected.expect("it is let in").unwrap())
    }

    /// Tries to reach an address from here.
    async fn reach(&self, protocol: Protocol, to: SocketAddrV4) -> Reach {
        match timeout(ANSWER, self.answered(protocol, to)).await {
            Ok(Ok(())) => Reach::Open,
            Err(_) => Reach::Closed,
            Ok(Err(error)) => Reach::Neither(error.kind()),
        }
    }

    async fn answered(&self, protocol: Protocol, to: SocketAddrV4) -> io::Result<()> {
        let here = SocketAddrV4::new(self.address, 0);
        match protocol {
            Tcp => self.tcp(here)?.connect(to.into()).await.map(drop),
            Udp => {
                let socket = self.udp(here)?;
                socket.connect(to).await?;
                let mut answer = [0; 512];
                loop {
                    // Nobody sends again what got lost.
                    socket.send(QUESTION).await?;
                    if let Ok(answered) = timeout(ANSWER / 3, socket.recv(&mut answer)).await {
                        return answered.map(drop);
                    }
                }
            }
        }
    }

    /// A socket stays in the network it was made in, so that anybody may use it.
    fn tcp(&self, here: SocketAddrV4) -> io::Result<TcpSocket> {
        self.inside(move || {
            let socket = TcpSocket::new_v4()?;
            socket.bind(here.into())?;
            Ok(socket)
        })
    }

    fn udp(&self, here: SocketAddrV4) -> io::Result<UdpSocket> {
        let socket = self.inside(move || std::net::UdpSocket::bind(here))?;
        socket.set_nonblocking(true)?;
        UdpSocket::from_std(socket)
    }

    /// Runs something in this network, on a thread that ends with it: a thread does not find its way back.
    fn inside<T: Send + 'static>(
        &self,
        act: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let namespace = self.namespace.clone();
        let thread = std::thread::spawn(move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            act()
        });
        thread.join().expect("it does not panic")
    }
}

/// A connection that stays open.
pub struct Talk(TcpStream);

impl Talk {
    /// Whether what is said is still heard, and answered.
    pub async fn goes_on(&mut self) -> bool {
        let said = async {
            self.0.write_all(b"!").await?;
            self.0.read_exact(&mut [0; 1]).await
        };
        matches!(timeout(ANSWER, said).await, Ok(Ok(_)))
    }
}

/// What answers on a place's ports; it stops when this is dropped.
pub struct Listeners(Vec<AbortHandle>);

impl Drop for Listeners {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

/// What is to be reached.
#[derive(Debug, Clone)]
pub struct Target {
    name: String,
    protocol: Protocol,
    address: SocketAddrV4,
    /// From where it must answer whatever any policy says: there, nothing that is sent leaves the pod.
    own: Option<Place>,
}

impl Target {
    /// A port of a place.
    pub fn port(of: &Place, protocol: Protocol, port: u16) -> Self {
        Self {
            name: of.name.clone(),
            protocol,
            address: SocketAddrV4::new(of.address, port),
            own: Some(of.clone()),
        }
    }

    /// A port of something that runs by itself.
    pub fn at(name: &str, protocol: Protocol, address: Ipv4Addr, port: u16) -> Self {
        Self {
            name: name.to_owned(),
            protocol,
            address: SocketAddrV4::new(address, port),
            own: None,
        }
    }

    /// A Service's port, by the cluster's own address for it.
    pub fn service(service: &Service, protocol: Protocol, port: u16) -> Self {
        let address = service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_ref());
        let address = address
            .expect("a Service has an address")
            .parse::<Ipv4Addr>()
            .unwrap();
        Self {
            name: format!("Service {}/{}", service.namespace().unwrap(), service.name_any()),
            protocol,
            address: SocketAddrV4::new(address, port),
            own: None,
        }
    }
}

/// Who should reach what, and who should not.
#[derive(Debug, Clone, Default)]
pub struct Matrix(Vec<(Place, Target, Reach)>);

impl Matrix {
    pub fn open(mut self, from: &[&Place], to: &[Target]) -> Self {
        self.add(from, to, &Reach::Open);
        self
    }

    pub fn closed(mut self, from: &[&Place], to: &[Target]) -> Self {
        self.add(from, to, &Reach::Closed);
        self
    }

    fn add(&mut self, from: &[&Place], to: &[Target], wanted: &Reach) {
        for place in from {
            self.0.extend(
                to.iter()
                    .map(|target| ((*place).clone(), target.clone(), wanted.clone())),
            );
        }
    }

    /// The same pairs, with every door open: what must hold where no policy is.
    pub fn without_policies(&self) -> Self {
        let open = |(from, to, _): &(Place, Target, Reach)| (from.clone(), to.clone(), Reach::Open);
        Self(self.0.iter().map(open).collect())
    }

    /// Waits until every pair is as it should be, and says how long that took.
    ///
    /// # Panics
    /// With the whole table, when that is not so after [`SETTLED`]; at once when a matrix has no door that is open, because
    /// then a broken network would look like a strict one.
    pub async fn holds(&self, what: &str) -> Duration {
        assert!(
            self.0.iter().any(|(_, _, wanted)| *wanted == Reach::Open),
            "{what}: a matrix needs a pair that can talk"
        );
        let started = Instant::now();
        loop {
            let asked = Instant::now();
            let got = self.ask().await;
            if self.0.iter().zip(&got).all(|((_, _, wanted), got)| got == wanted) {
                return asked - started;
            }
            assert!(
                started.elapsed() < SETTLED,
                "{what}: not so after {SETTLED:?}\n{}",
                self.table(&got)
            );
        }
    }

    /// Every pair at once. What is closed must be answered from within.
    async fn ask(&self) -> Vec<Reach> {
        let asking = self.0.iter().map(async |(from, to, wanted)| {
            let got = from.reach(to.protocol, to.address).await;
            let own = to.own.as_ref().filter(|_| *wanted == Reach::Closed);
            match own {
                Some(own) if own.reach(to.protocol, to.address).await != Reach::Open => {
                    Reach::Neither(ErrorKind::NotConnected)
                }
                _ => got,
            }
        });
        futures::future::join_all(asking).await
    }

    fn table(&self, got: &[Reach]) -> String {
        let row = |(from, to, wanted): &(Place, Target, Reach), got: &Reach| {
            let port = format!("{} {}", to.protocol, to.address.port());
            let wrong = if got == wanted { "" } else { "  <--" };
            [
                from.name.clone(),
                to.name.clone(),
                port,
                wanted.to_string(),
                format!("{got}{wrong}"),
            ]
        };
        let head = ["from", "to", "port", "should be", "is"].map(ToOwned::to_owned);
        let rows: Vec<_> = std::iter::once(head)
            .chain(self.0.iter().zip(got).map(|(pair, got)| row(pair, got)))
            .collect();
        let widths: Vec<_> = (0..5)
            .map(|column| rows.iter().map(|row| row[column].len()).max().unwrap())
            .collect();
        rows.iter().fold(String::new(), |mut table, row| {
            for (cell, width) in row.iter().zip(&widths) {
                let _ = write!(table, "{cell:width$}  ");
            }
            table.truncate(table.trim_end().len());
            table.push('\n');
            table
        })
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Tcp => "tcp",
            Udp => "udp",
        })
    }
}
