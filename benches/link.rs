//! A link of a bounded rate, for `benches/relay`: what a server sends passes at so many bytes a second, over all
//! connections together, as through the one cable of a registry. What it is asked passes as it comes.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Mutex,
    time::{Instant, sleep_until},
};

/// Bytes that pass at once.
const PIECE: usize = 64 << 10;
/// So much may be made up for after a pause: clocks are no finer.
const BURST: Duration = Duration::from_millis(4);

/// When the link is free again.
struct Link {
    rate: f64,
    free: Mutex<Instant>,
}

impl Link {
    /// Waits for the turn of so many bytes.
    async fn turn(&self, bytes: usize) {
        let takes = Duration::from_secs_f64(f64::from(u32::try_from(bytes).unwrap_or(u32::MAX)) / self.rate);
        let at = {
            let mut free = self.free.lock().await;
            let earliest = Instant::now().checked_sub(BURST).unwrap_or(*free);
            *free = (*free).max(earliest) + takes;
            *free
        };
        sleep_until(at).await;
    }

    async fn pass(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> std::io::Result<()> {
        let mut piece = vec![0; PIECE];
        loop {
            let length = from.read(&mut piece).await?;
            if length == 0 {
                return to.shutdown().await;
            }
            self.turn(length).await;
            to.write_all(&piece[..length]).await?;
        }
    }
}

/// `link LISTEN UPSTREAM BYTES_PER_SECOND`; it passes on until it is killed.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [listen, upstream, rate] = arguments.as_slice() else {
        return Err("usage: link LISTEN UPSTREAM BYTES_PER_SECOND".into());
    };
    let (listen, upstream): (SocketAddr, SocketAddr) = (listen.parse()?, upstream.parse()?);
    let link = Arc::new(Link {
        rate: rate.parse()?,
        free: Mutex::new(Instant::now()),
    });
    let listener = TcpListener::bind(listen).await?;
    loop {
        let (near, _) = listener.accept().await?;
        let link = link.clone();
        tokio::spawn(async move {
            let far = TcpStream::connect(upstream).await?;
            let ((mut asks, answers), (from, mut to)) = (near.into_split(), far.into_split());
            tokio::try_join!(link.pass(from, answers), async {
                copy(&mut asks, &mut to).await?;
                to.shutdown().await
            })
        });
    }
}
