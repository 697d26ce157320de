//! The network between one who asks and those who answer: a Service before operators, the way from an operator to the API
//! server. It passes on bytes of any protocol until it is told to misbehave, on a thread of its own, and ends when dropped.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// What becomes of bytes, in both directions and on every connection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mode {
    /// They arrive.
    Passes,
    /// They arrive later.
    Late(Duration),
    /// They arrive when the mode is another one. Connections are accepted all the while, and none is closed.
    Silent,
}

pub struct Wire {
    /// Where it listens.
    pub address: SocketAddr,
    ends: Arc<Mutex<Vec<SocketAddr>>>,
    mode: watch::Sender<Mode>,
    cut: watch::Sender<()>,
    end: watch::Sender<bool>,
}

impl Wire {
    /// One that leads nowhere yet.
    pub fn new() -> Self {
        let ends = Arc::<Mutex<Vec<SocketAddr>>>::default();
        let (mode, watched) = watch::channel(Mode::Passes);
        let (cut, cuts) = watch::channel(());
        let (end, mut ended) = watch::channel(false);
        let (tell, told) = mpsc::channel();
        std::thread::spawn({
            let ends = ends.clone();
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(async {
                    tokio::select! {
                        () = accept(ends, watched, cuts, tell) => {}
                        _ = ended.wait_for(|ended| *ended) => {}
                    }
                });
                runtime.shutdown_background();
            }
        });
        Self {
            address: told.recv().expect("it listens"),
            ends,
            mode,
            cut,
            end,
        }
    }

    /// From now on, connections are led to these in turns; one that refuses is passed over.
    pub fn leads_to(&self, ends: &[SocketAddr]) {
        *self.ends.lock().unwrap() = ends.to_vec();
    }

    /// Every connection ends; others can be made.
    pub fn cut(&self) {
        self.cut.send_replace(());
    }

    /// From now on.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.end.send_replace(true);
    }
}

async fn accept(
    ends: Arc<Mutex<Vec<SocketAddr>>>,
    mode: watch::Receiver<Mode>,
    cuts: watch::Receiver<()>,
    tell: mpsc::Sender<SocketAddr>,
) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _ = tell.send(listener.local_addr().unwrap());
    for turn in 0.. {
        let Ok((near, _)) = listener.accept().await else {
            continue;
        };
        let mut ends = ends.lock().unwrap().clone();
        let (mode, mut cut) = (mode.clone(), cuts.clone());
        cut.mark_unchanged();
        tokio::spawn(async move {
            let turn = turn % ends.len().max(1);
            ends.rotate_left(turn);
            for end in ends {
                if let Ok(far) = TcpStream::connect(end).await {
                    let _ = (near.set_nodelay(true), far.set_nodelay(true));
                    tokio::select! {
                        () = lead(near, far, mode) => {}
                        _ = cut.changed() => {}
                    }
                    return;
                }
            }
        });
    }
}

async fn lead(near: TcpStream, far: TcpStream, mode: watch::Receiver<Mode>) {
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    // Whichever ends first ends both, as a reset would: nobody here half-closes.
    tokio::select! {
        () = pass(near_read, far_write, mode.clone()) => {}
        () = pass(far_read, near_write, mode) => {}
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut mode: watch::Receiver<Mode>,
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = from.read(&mut buffer).await.unwrap_or(0);
        let now = *mode.borrow_and_update();
        if let Mode::Late(pause) = now {
            tokio::time::sleep(pause).await;
        }
        if mode.wait_for(|mode| *mode != Mode::Silent).await.is_err()
            || read == 0
            || to.write_all(&buffer[..read]).await.is_err()
        {
            return;
        }
    }
}
