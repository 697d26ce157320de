//! A proxy, on loopback unless told otherwise, that passes HTTP on to a real server until it is told to misbehave.
//! It speaks plain HTTP/1.1, one request a connection, on a thread of its own: any test, async or not, can hold one. It
//! ends when it is dropped.
//!
//! ```no_run
//! # mod fault_proxy; use fault_proxy::*;
//! let proxy = FaultProxy::before("127.0.0.1:5000");
//! proxy.on(path("/blobs/"), Fault::status(500).times(2));
//! // … a client that asks proxy.address() …
//! assert_eq!(proxy.count(path("/blobs/")), 3);
//! ```
// Every test binary has a copy of this file and uses what it needs.
#![allow(dead_code, reason = "no binary uses all of it")]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "only tests see it"
)]

use std::{
    fmt::Write as _,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// What happens to a request instead of being passed on.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Nothing: it is passed on. For exceptions in front of a wider rule.
    Pass,
    /// The connection closes without a word.
    Drop,
    /// This answer.
    Answer {
        status: u16,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
    },
    /// No answer, for as long as the client waits.
    Hang,
    /// Passed on after a while.
    Delay(Duration),
    /// The real answer, cut off after so many bytes of its body.
    CutAfter(usize),
    /// The real answer, silent after so many bytes of its body for as long as the client waits.
    StallAfter(usize),
    /// The real answer, with the bits of one byte of its body turned over.
    SwapByte(usize),
    /// A redirect to the same path and query under this `http://host:port`.
    Redirect(String),
    /// A body of this type and so many bytes, whose length is not announced.
    Flood { content_type: &'static str, bytes: u64 },
}

impl Fault {
    /// An answer with this status and an empty body.
    pub fn status(status: u16) -> Self {
        Self::Answer {
            status,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// An answer with this body.
    pub fn answer(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::Answer {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
        .with("Content-Type", content_type)
    }

    /// The same answer with one more header.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        if let Self::Answer { headers, .. } = &mut self {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// The fault for the first so many requests that a rule matches; later ones go to the next rule.
    pub fn times(self, times: usize) -> Limited {
        Limited {
            fault: self,
            left: Some(times),
        }
    }
}

/// A fault, and for how many requests.
#[derive(Debug, Clone)]
pub struct Limited {
    fault: Fault,
    left: Option<usize>,
}

impl From<Fault> for Limited {
    fn from(fault: Fault) -> Self {
        Self { fault, left: None }
    }
}

/// A request as the proxy saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// `GET`, …
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
}

impl Seen {
    /// The first header of this (lower-case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Requests whose path and query contain `text`.
pub fn path(text: &str) -> impl Fn(&Seen) -> bool + Send + 'static {
    let text = text.to_owned();
    move |seen| seen.path.contains(&text)
}

/// Every request.
pub fn any(_: &Seen) -> bool {
    true
}

struct Rule {
    matches: Box<dyn Fn(&Seen) -> bool + Send>,
    limited: Limited,
}

#[derive(Default)]
struct Script {
    rules: Mutex<Vec<Rule>>,
    seen: Mutex<Vec<Seen>>,
    flooded: AtomicU64,
}

impl Script {
    /// Writes the request down and finds what happens to it: the newest rule that matches.
    fn judge(&self, seen: Seen) -> Fault {
        let mut rules = self.rules.lock().unwrap();
        let rule = rules
            .iter_mut()
            .rev()
            .find(|rule| rule.limited.left != Some(0) && (rule.matches)(&seen));
        let fault = rule.map_or(Fault::Pass, |rule| {
            rule.limited.left = rule.limited.left.map(|left| left - 1);
            rule.limited.fault.clone()
        });
        self.seen.lock().unwrap().push(seen);
        fault
    }
}

/// A running proxy.
pub struct FaultProxy {
    address: SocketAddr,
    script: Arc<Script>,
    mode: watch::Sender<Mode>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Listening,
    Refusing,
    Ended,
}

impl FaultProxy {
    /// Starts a proxy before the server at `upstream`, `host:port`.
    pub fn before(upstream: &str) -> Self {
        Self::at(Ipv4Addr::LOCALHOST, upstream)
    }

    /// The same on another address of this machine, for clients that are not on it.
    pub fn at(address: Ipv4Addr, upstream: &str) -> Self {
        let (mode, watched) = watch::channel(Mode::Listening);
        let script = Arc::new(Script::default());
        let (tell, told) = mpsc::channel();
        let thread = std::thread::spawn({
            let (script, upstream) = (script.clone(), Arc::<str>::from(upstream));
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(run(script, address, upstream, watched, tell));
                // Connections that hang end here.
                runtime.shutdown_background();
            }
        });
        let address = told.recv().expect("the proxy listens");
        Self {
            address,
            script,
            mode,
            thread: Some(thread),
        }
    }

    /// A server with no other behind it: everything it says is scripted, the rest is 404.
    pub fn alone() -> Self {
        let proxy = Self::before("127.0.0.1:1");
        proxy.on(any, Fault::status(404));
        proxy
    }

    /// `ADDRESS:PORT`, to be asked in place of the real server.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// From now on, requests that match meet this fault; newer rules come before older ones.
    pub fn on(&self, matches: impl Fn(&Seen) -> bool + Send + 'static, fault: impl Into<Limited>) {
        self.script.rules.lock().unwrap().push(Rule {
            matches: Box::new(matches),
            limited: fault.into(),
        });
    }

    /// From now on, everything is passed on.
    pub fn heal(&self) {
        self.script.rules.lock().unwrap().clear();
        self.mode.send_replace(Mode::Listening);
    }

    /// From now on, connections are refused.
    pub fn refuse(&self) {
        self.mode.send_replace(Mode::Refusing);
    }

    /// Every request so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.script.seen.lock().unwrap().clone()
    }

    /// How many requests so far match.
    pub fn count(&self, matches: impl Fn(&Seen) -> bool) -> usize {
        self.seen().iter().filter(|seen| matches(seen)).count()
    }

    /// Bytes of floods that were taken off our hands so far.
    pub fn flooded(&self) -> u64 {
        self.script.flooded.load(Ordering::Relaxed)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.mode.send_replace(Mode::Ended);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn run(
    script: Arc<Script>,
    address: Ipv4Addr,
    upstream: Arc<str>,
    mut mode: watch::Receiver<Mode>,
    tell: mpsc::Sender<SocketAddr>,
) {
    let mut address: SocketAddr = (address, 0).into();
    loop {
        let listener = TcpListener::bind(address).await.expect("a free port");
        address = listener.local_addr().unwrap();
        let _ = tell.send(address);
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let Ok((client, _)) = accepted else { continue };
                    let (script, upstream) = (script.clone(), upstream.clone());
                    // An error is a peer that went away: the client sees it as one, too.
                    tokio::spawn(async move { let _ = serve(client, &script, &upstream).await; });
                }
                _ = mode.wait_for(|mode| *mode != Mode::Listening) => break,
            }
        }
        drop(listener);
        match mode
            .wait_for(|mode| *mode != Mode::Refusing)
            .await
            .map(|mode| *mode)
        {
            Ok(Mode::Listening) => {}
            _ => return,
        }
    }
}

async fn serve(mut client: TcpStream, script: &Script, upstream: &str) -> io::Result<()> {
    let (head, rest) = read_head(&mut client).await?;
    let Some(seen) = parse(&head) else { return Ok(()) };
    let target = seen.path.clone();
    match script.judge(seen) {
        Fault::Drop => Ok(()),
        Fault::Hang => wait_until_gone(&mut client).await,
        Fault::Answer {
            status,
            headers,
            body,
        } => {
            let mut answer = format!(
                "HTTP/1.1 {status} Scripted\r\nConnection: close\r\nContent-Length: {}\r\n",
                body.len()
            );
            for (name, value) in headers {
                let _ = write!(answer, "{name}: {value}\r\n");
            }
            answer.push_str("\r\n");
            client.write_all(answer.as_bytes()).await?;
            client.write_all(&body).await?;
            client.shutdown().await
        }
        Fault::Redirect(base) => {
            let answer = format!(
                "HTTP/1.1 307 Scripted\r\nConnection: close\r\nContent-Length: 0\r\nLocation: {base}{target}\r\n\r\n"
            );
            client.write_all(answer.as_bytes()).await?;
            client.shutdown().await
        }
        Fault::Flood { content_type, bytes } => flood(&mut client, script, content_type, bytes).await,
        Fault::Delay(pause) => {
            tokio::time::sleep(pause).await;
            pass(client, upstream, &head, &rest, &Fault::Pass).await
        }
        fault @ (Fault::Pass | Fault::CutAfter(_) | Fault::StallAfter(_) | Fault::SwapByte(_)) => {
            pass(client, upstream, &head, &rest, &fault).await
        }
    }
}

async fn flood(client: &mut TcpStream, script: &Script, content_type: &str, bytes: u64) -> io::Result<()> {
    let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: {content_type}\r\n\r\n");
    client.write_all(head.as_bytes()).await?;
    let block = vec![b' '; 64 << 10];
    let mut left = bytes;
    while left > 0 {
        let now = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
        client.write_all(&block[..now]).await?;
        script.flooded.fetch_add(now as u64, Ordering::Relaxed);
        left -= now as u64;
    }
    client.shutdown().await
}

/// Passes a request on, and the answer back with whatever is wrong with its body.
async fn pass(
    mut client: TcpStream,
    upstream: &str,
    head: &str,
    rest: &[u8],
    fault: &Fault,
) -> io::Result<()> {
    let mut server = TcpStream::connect(upstream).await?;
    let (request_line, headers) = head.split_once("\r\n").unwrap_or((head, ""));
    // One request a connection, so that the end of an answer needs no understanding.
    let mut request = format!("{request_line}\r\nConnection: close\r\n");
    for line in headers
        .split("\r\n")
        .filter(|line| !line.to_ascii_lowercase().starts_with("connection:"))
    {
        if !line.is_empty() {
            request.push_str(line);
            request.push_str("\r\n");
        }
    }
    request.push_str("\r\n");
    server.write_all(request.as_bytes()).await?;
    server.write_all(rest).await?;

    let (mut from_server, mut to_server) = server.split();
    let (mut from_client, mut to_client) = client.split();
    let back = async {
        let (head, first) = read_head(&mut from_server).await?;
        to_client.write_all(format!("{head}\r\n\r\n").as_bytes()).await?;
        let mut passed = 0;
        let mut buffer = vec![0; 64 << 10];
        let mut first = Some(first);
        loop {
            let mut bytes = match first.take() {
                Some(first) => first,
                None => match from_server.read(&mut buffer).await? {
                    0 => return to_client.shutdown().await,
                    n => buffer[..n].to_vec(),
                },
            };
            let end = passed + bytes.len();
            match *fault {
                Fault::CutAfter(limit) if end > limit => {
                    return to_client.write_all(&bytes[..limit - passed]).await;
                }
                Fault::StallAfter(limit) if end > limit => {
                    to_client.write_all(&bytes[..limit - passed]).await?;
                    return std::future::pending().await;
                }
                Fault::SwapByte(at) if (passed..end).contains(&at) => bytes[at - passed] ^= 0xff,
                _ => {}
            }
            to_client.write_all(&bytes).await?;
            passed = end;
        }
    };
    let forth = async {
        let copied = tokio::io::copy(&mut from_client, &mut to_server).await;
        if copied.is_ok() && !matches!(fault, Fault::StallAfter(_)) {
            // The client has sent everything and still wants its answer.
            return std::future::pending::<io::Result<()>>().await;
        }
        copied.map(drop)
    };
    tokio::select! {
        done = back => done,
        done = forth => done,
    }
}

/// Everything up to the empty line, without it, and what came after it.
async fn read_head(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> io::Result<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let mut buffer = [0; 8 << 10];
    loop {
        if let Some(end) = all.windows(4).position(|window| window == b"\r\n\r\n") {
            let rest = all.split_off(end + 4);
            all.truncate(end);
            return Ok((String::from_utf8_lossy(&all).into_owned(), rest));
        }
        match stream.read(&mut buffer).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => all.extend_from_slice(&buffer[..n]),
        }
    }
}

fn parse(head: &str) -> Option<Seen> {
    let mut lines = head.split("\r\n");
    let mut request = lines.next()?.split(' ');
    let (method, path) = (request.next()?.to_owned(), request.next()?.to_owned());
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Some(Seen {
        method,
        path,
        headers,
    })
}

async fn wait_until_gone(client: &mut TcpStream) -> io::Result<()> {
    let mut buffer = [0; 1024];
    while client.read(&mut buffer).await? > 0 {}
    Ok(())
}
