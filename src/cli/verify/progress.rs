//! How far hashing is: a bar on a terminal, nothing elsewhere; and Ctrl-C while there is a bar.
//! It shows and hears; stopping is the business of what is being shown.

use std::{
    io::IsTerminal as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};

use crate::{artifact::tree::Progress, cli::screen};

/// What takes less is over before anybody could read a bar.
const PATIENCE: Duration = Duration::from_millis(300);

/// The exit code of a program that Ctrl-C ended.
pub(super) const INTERRUPTED: u8 = 128 + 2;

/// A progress bar that appears when there is something to wait for.
pub(super) struct Bar {
    /// Absent where nobody would see it.
    drawn: Option<ProgressBar>,
    started: Instant,
    shown: AtomicBool,
    interrupts: Arc<AtomicU8>,
}

impl Bar {
    pub(super) fn new() -> Self {
        let watched = std::io::stderr().is_terminal() && !screen::is_dumb();
        Self {
            drawn: watched.then(hidden),
            started: Instant::now(),
            shown: AtomicBool::new(false),
            interrupts: Arc::default(),
        }
    }

    /// Removes the bar, and says whether Ctrl-C was pressed while it was there.
    pub(super) fn finish(self) -> bool {
        if let Some(bar) = &self.drawn {
            bar.finish_and_clear();
        }
        self.cancelled()
    }

    fn show(&self, bar: &ProgressBar) {
        // Whoever sees a bar and presses Ctrl-C gets the line back that the bar was on: it is heard before the bar is seen.
        let interrupts = Arc::clone(&self.interrupts);
        let (ready, is_ready) = mpsc::channel();
        let _ = std::thread::Builder::new().spawn(move || listen(&interrupts, &ready));
        // An error means that nobody listens, and Ctrl-C ends the program as it always does.
        let _ = is_ready.recv();
        bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(8));
        bar.enable_steady_tick(Duration::from_millis(200));
    }
}

fn hidden() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::hidden());
    let style =
        ProgressStyle::with_template("{wide_bar} {bytes} of {total_bytes} · {bytes_per_sec} · {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

impl Progress for Bar {
    fn begin(&self, _: usize, bytes: u64) {
        if let Some(bar) = &self.drawn {
            bar.set_length(bytes);
        }
    }

    fn advance(&self, bytes: u64) {
        let Some(bar) = &self.drawn else { return };
        bar.inc(bytes);
        if !self.shown.load(Ordering::Relaxed)
            && self.started.elapsed() > PATIENCE
            && !self.shown.swap(true, Ordering::Relaxed)
        {
            self.show(bar);
        }
    }

    fn cancelled(&self) -> bool {
        self.interrupts.load(Ordering::Relaxed) > 0
    }
}

/// Says that it is ready, and counts Ctrl-C from then on.
fn listen(interrupts: &AtomicU8, ready: &mpsc::Sender<()>) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() else {
        return;
    };
    runtime.block_on(async {
        let Ok(mut signals) = signal(SignalKind::interrupt()) else {
            return;
        };
        let _ = ready.send(());
        while signals.recv().await.is_some() {
            if interrupts.fetch_add(1, Ordering::Relaxed) > 0 {
                #[expect(
                    clippy::disallowed_methods,
                    reason = "a read that hangs in the kernel never asks whether to stop"
                )]
                std::process::exit(i32::from(INTERRUPTED));
            }
        }
    });
}
