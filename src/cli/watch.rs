//! Long work of an init container: how far it is, as lines of a log, and an end when a signal asks for one.
//! It shows and hears; what is being done is the caller's.

use std::{
    io::Write as _,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::signal::unix::{SignalKind, signal};

use super::screen::size;
use crate::{
    artifact::tree::Progress,
    evidence::{Failure, Reason},
};

/// How a run ended.
pub enum End<T> {
    /// Well.
    Done(T),
    /// For this reason.
    Failed(Failure),
    /// Asked to stop, by this signal's number.
    Stopped(u8),
}

/// Runs `work` until it ends or the process is asked to stop, and shows a line now and then.
///
/// A process that is the first of its container gets no signal that it does not listen to.
pub fn watch<T>(lines: &Lines, work: impl Future<Output = Result<T, Failure>>) -> Result<End<T>, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Reason::Internal, format!("cannot start: {error}")))?;
    let end = runtime.block_on(attend(lines, work));
    // A read or write that hangs in the kernel must not keep a stopped process alive.
    runtime.shutdown_background();
    end
}

async fn attend<T>(lines: &Lines, work: impl Future<Output = Result<T, Failure>>) -> Result<End<T>, Failure> {
    let listen = |kind| {
        signal(kind).map_err(|error| Failure::new(Reason::Internal, format!("cannot hear signals: {error}")))
    };
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let mut tick = tokio::time::interval(LINE_EVERY);
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return Ok(done.map_or_else(End::Failed, End::Done)),
            _ = terminate.recv() => return Ok(End::Stopped(15)),
            _ = interrupt.recv() => return Ok(End::Stopped(2)),
            _ = tick.tick() => lines.tick(),
        }
    }
}

/// A line is shown this often at least, while anything is under way.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Progress as lines: a log has no cursor to move.
#[derive(Debug)]
pub struct Lines {
    command: &'static str,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    files: usize,
    complete: usize,
    bytes: u64,
    done: u64,
    /// The last tenth that was shown.
    tenth: u64,
    shown: Option<Instant>,
}

impl Lines {
    /// Lines that begin with `probity` and this subcommand.
    pub fn new(command: &'static str) -> Self {
        Self {
            command,
            state: Mutex::default(),
        }
    }

    /// Shows a line of the caller's.
    pub fn say(&self, text: &str) {
        let _ = writeln!(std::io::stderr(), "probity {}: {text}", self.command);
    }

    /// So much is to be done.
    pub fn expect(&self, files: usize, bytes: u64) {
        let mut state = self.lock();
        (state.files, state.bytes) = (files, bytes);
        self.show(&mut state);
    }

    /// So many more bytes are done.
    pub fn more(&self, bytes: u64) {
        let mut state = self.lock();
        state.done += bytes;
        let tenth = state.percent() / 10;
        if tenth > state.tenth {
            state.tenth = tenth;
            self.show(&mut state);
        }
    }

    /// So many bytes that were done must be done again.
    pub fn less(&self, bytes: u64) {
        let mut state = self.lock();
        state.done = state.done.saturating_sub(bytes);
        state.tenth = state.percent() / 10;
    }

    /// Another file is complete.
    pub fn another(&self) {
        self.lock().complete += 1;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows a line when nothing was shown for a while.
    fn tick(&self) {
        let mut state = self.lock();
        if state.shown.is_some_and(|shown| shown.elapsed() >= LINE_EVERY) {
            self.show(&mut state);
        }
    }

    fn show(&self, state: &mut State) {
        state.shown = Some(Instant::now());
        self.say(&format!(
            "{:3} % · {} of {} · {} of {} files",
            state.percent(),
            size(state.done),
            size(state.bytes),
            state.complete,
            state.files
        ));
    }
}

impl State {
    fn percent(&self) -> u64 {
        u64::try_from(u128::from(self.done) * 100 / u128::from(self.bytes.max(1)))
            .unwrap_or(100)
            .min(100)
    }
}

impl Progress for Lines {
    fn begin(&self, files: usize, bytes: u64) {
        self.expect(files, bytes);
    }

    fn advance(&self, bytes: u64) {
        self.more(bytes);
    }

    fn complete(&self) {
        self.another();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_is_counted_again() {
        let lines = Lines::new("test");
        lines.expect(2, 100);
        lines.more(60);
        lines.less(60);
        lines.more(100);
        assert_eq!(lines.lock().percent(), 100);
    }
}
