//! The blobs that are kept on disk: each fetched once however many ask, read by many while it still grows.
//! Until its digest was compared the end of a blob is held back, so that nobody has all bytes of something else.

mod flight;
mod item;

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Semaphore, time::Instant};

pub(super) use flight::Flight;
pub(super) use item::Reader;

use self::item::{Item, Room};
use super::metrics::{Metrics, Source};
use crate::{
    artifact::oci::RegistryError,
    evidence::{Digest, Reference},
};

/// Files of ours begin like this.
const PREFIX: &str = "blob-";
/// Blobs that are fetched at a time; others wait for their turn.
const AT_ONCE: usize = 16;
/// How long a repository that sent wrong bytes is not asked for them again.
const REMEMBERED: Duration = Duration::from_secs(30);
/// At most this many such failures are remembered.
const MOST_FAILED: usize = 256;
/// How long nothing new is kept after the disk was full.
const FULL: Duration = Duration::from_secs(30);

/// What is kept, and what is on its way. Cloning gives another hand on the same.
#[derive(Debug, Clone)]
pub(super) struct Shelf(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    room: Arc<Room>,
    state: Mutex<State>,
    turns: Semaphore,
    metrics: Metrics,
}

/// A blob of a repository. Only what is complete is shared between repositories: whoever has a slow or lying one shall
/// harm nobody else.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Route {
    name: String,
    digest: Digest,
}

#[derive(Debug, Default)]
struct State {
    kept: HashMap<Digest, Kept>,
    flights: HashMap<Route, Arc<Item>>,
    failed: HashMap<Route, (Instant, RegistryError)>,
    full: Option<Instant>,
    /// Counts looks, so that it is known what was not looked at for longest.
    looks: u64,
    /// Counts files, which makes their names.
    files: u64,
}

#[derive(Debug)]
struct Kept {
    item: Arc<Item>,
    look: u64,
}

impl Kept {
    fn is_idle(&self) -> bool {
        // Readers have a hand on it; new ones get theirs under the same lock that this is asked under.
        Arc::strong_count(&self.item) == 1
    }
}

/// Where a blob is to be had.
#[derive(Debug)]
pub(super) enum Found {
    /// Here, or on its way here.
    Here(Reader),
    /// It is to be fetched: whoever is told this lets the flight fly.
    Fetch(Flight, Reader),
    /// There is no room for it.
    NoRoom,
    /// The repository just sent something else under this digest.
    Failed(RegistryError),
}

impl Shelf {
    /// An empty shelf in this folder, where what an earlier relay left is removed: nobody could say that it is still what
    /// was verified.
    pub fn open(folder: &Path, capacity: u64, metrics: Metrics) -> std::io::Result<Self> {
        fs::create_dir_all(folder)?;
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(PREFIX) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(Self(Arc::new(Inner {
            folder: folder.to_owned(),
            room: Arc::new(Room::new(capacity, metrics.clone())),
            state: Mutex::default(),
            turns: Semaphore::new(AT_ONCE),
            metrics,
        })))
    }

    /// Finds the blob of this digest and size, which a manifest in the reference's repository lists.
    pub fn find(&self, reference: &Reference, digest: Digest, size: u64) -> Found {
        let route = Route {
            name: reference.name(),
            digest,
        };
        let mut state = self.0.state();
        state.looks += 1;
        let look = state.looks;
        if let Some(kept) = state.kept.get_mut(&digest).filter(|kept| kept.item.size == size) {
            kept.look = look;
            self.0.metrics.blob(Source::Shelf);
            return Found::Here(Reader::new(kept.item.clone()));
        }
        if let Some(item) = state.flights.get(&route) {
            self.0.metrics.blob(Source::Shared);
            return Found::Here(Reader::new(item.clone()));
        }
        state.failed.retain(|_, (at, _)| at.elapsed() < REMEMBERED);
        if let Some((_, error)) = state.failed.get(&route) {
            return Found::Failed(error.clone());
        }
        let Some(item) = self.0.place(&mut state, size) else {
            self.0.metrics.blob(Source::Unkept);
            return Found::NoRoom;
        };
        let item = Arc::new(item);
        state.flights.insert(route.clone(), item.clone());
        self.0.metrics.blob(Source::Registry);
        let reader = Reader::new(item.clone());
        Found::Fetch(Flight::new(self.0.clone(), route, item), reader)
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A file with room for so many bytes, for which what nobody reads makes room.
    fn place(&self, state: &mut State, size: u64) -> Option<Item> {
        if state.full.is_some_and(|since| since.elapsed() < FULL) {
            return None;
        }
        self.clear(state, size)?;
        let reserved = Room::reserve(&self.room, size)?;
        state.files += 1;
        #[expect(clippy::disallowed_methods, reason = "the name is ours")]
        let path = self.folder.join(format!("{PREFIX}{}", state.files));
        match Item::create(path, reserved) {
            Ok(item) => Some(item),
            Err(error) => {
                self.unwritable(state, &error);
                None
            }
        }
    }

    /// The disk took something not, or no more of it: nothing new is kept for a while.
    fn unwritable(&self, state: &mut State, error: &std::io::Error) {
        tracing::warn!(%error, folder = %self.folder.display(), "the cache cannot be written: blobs are passed on without being kept");
        state.full = Some(Instant::now());
    }

    /// Lets go of what nobody reads, the longest unused first, until so many bytes have room. Nothing is let go of when
    /// that would not be enough.
    fn clear(&self, state: &mut State, size: u64) -> Option<()> {
        let mut idle: Vec<_> = state
            .kept
            .iter()
            .filter(|(_, kept)| kept.is_idle())
            .map(|(digest, kept)| (kept.look, *digest, kept.item.size))
            .collect();
        let idle_bytes: u64 = idle.iter().map(|(_, _, size)| size).sum();
        let mut free = self.room.free();
        if free.saturating_add(idle_bytes) < size {
            return None;
        }
        idle.sort_unstable();
        for (_, digest, bytes) in idle {
            if free >= size {
                break;
            }
            state.kept.remove(&digest);
            self.metrics.evicted();
            free += bytes;
        }
        Some(())
    }

    /// A flight has ended.
    fn landed(&self, route: &Route, item: &Arc<Item>, outcome: Result<(), RegistryError>) {
        let mut state = self.state();
        state.flights.remove(route);
        match &outcome {
            Ok(()) => {
                let look = state.looks;
                state.kept.entry(route.digest).or_insert_with(|| Kept {
                    item: item.clone(),
                    look,
                });
            }
            Err(error) => {
                self.metrics.broken();
                tracing::warn!(%error, digest = %route.digest, "a blob could not be fetched");
                if !error.is_worth_repeating() {
                    if state.failed.len() >= MOST_FAILED {
                        state.failed.clear();
                    }
                    state
                        .failed
                        .insert(route.clone(), (Instant::now(), error.clone()));
                }
            }
        }
        drop(state);
        item.end(outcome);
    }
}

#[cfg(test)]
mod tests;
