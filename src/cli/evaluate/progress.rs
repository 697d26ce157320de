//! How far an evaluation is: a bar on a terminal, a line now and then elsewhere; and the signals that end it.

use std::{
    io::IsTerminal as _,
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};

use super::say;
use crate::{
    cli::screen,
    evaluation::attack::{SampleResult, Tally, Watch},
};

/// What takes less is over before anybody could read a bar.
const PATIENCE: Duration = Duration::from_millis(300);
/// Between two lines of a log.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Follows a run.
pub(super) struct Follow {
    /// Absent where nobody would see it.
    bar: Option<ProgressBar>,
    shown: bool,
    started: Instant,
    line: Instant,
    rows: u64,
    samples: usize,
    signalled: Arc<AtomicU8>,
}

impl Follow {
    /// Follows a run over so many samples. From now on a signal only asks the run to stop; a second one stops it.
    pub(super) fn new(samples: usize) -> Self {
        let watched = std::io::stderr().is_terminal() && !screen::is_dumb();
        let signalled = Arc::default();
        let heard = Arc::clone(&signalled);
        // An error means that nobody listens, and signals end the program as they always do.
        let _ = std::thread::Builder::new().spawn(move || listen(&heard));
        Self {
            bar: watched.then(|| hidden(samples)),
            shown: false,
            started: Instant::now(),
            line: Instant::now(),
            rows: 0,
            samples,
            signalled,
        }
    }

    /// Removes the bar; the number of the signal that asked to stop.
    pub(super) fn finish(self) -> Option<u8> {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        Some(self.signalled.load(Ordering::Relaxed)).filter(|number| *number > 0)
    }
}

fn hidden(samples: usize) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(samples as u64), ProgressDrawTarget::hidden());
    let style = ProgressStyle::with_template("{wide_bar} {pos} of {len} samples · {msg} · {elapsed}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

impl Watch for Follow {
    fn asked(&mut self, rows: u64) -> ControlFlow<()> {
        self.rows += rows;
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{} rows asked", self.rows));
            if !self.shown && self.started.elapsed() > PATIENCE {
                self.shown = true;
                bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(8));
                bar.enable_steady_tick(Duration::from_millis(200));
            }
        } else if self.line.elapsed() > LINE_EVERY {
            self.line = Instant::now();
            say(&format!("{} rows asked", self.rows));
        }
        if self.signalled.load(Ordering::Relaxed) > 0 {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn block(&mut self, results: &[SampleResult]) -> ControlFlow<()> {
        if let Some(bar) = &self.bar {
            bar.set_position(results.len() as u64);
        } else if self.started.elapsed() > LINE_EVERY {
            let tally = Tally::of(results);
            say(&format!(
                "{} of {} samples · {} read rightly, {} of them under attack",
                tally.samples, self.samples, tally.correct, tally.held
            ));
        }
        ControlFlow::Continue(())
    }
}

/// Counts signals: the first asks to stop, the second does not ask.
fn listen(signalled: &AtomicU8) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() else {
        return;
    };
    runtime.block_on(async {
        let (Ok(mut interrupt), Ok(mut terminate)) =
            (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return;
        };
        loop {
            let number = tokio::select! {
                Some(()) = interrupt.recv() => 2,
                Some(()) = terminate.recv() => 15,
                else => return,
            };
            if signalled.swap(number, Ordering::Relaxed) > 0 {
                #[expect(
                    clippy::disallowed_methods,
                    reason = "a model that never answers never asks whether to stop"
                )]
                std::process::exit(128 + i32::from(number));
            }
        }
    });
}
