//! One blob in a file, growing until it is complete, and its readers, none of whom gets more than is there.
//! The file goes with the last hand on it.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use rustix::{
    buffer::spare_capacity,
    fs::{FallocateFlags, fallocate},
    io::{Errno, pread, retry_on_intr},
};
use tokio::{sync::watch, task::spawn_blocking};

use super::super::metrics::Metrics;
use crate::{
    artifact::oci::RegistryError,
    evidence::{Failure, Reason},
};

/// So much of the end is held back until the digest was compared. A blob that is not longer is shown whole or not at all.
pub(in crate::relay) const HELD_BACK: u64 = 64 << 10;
/// Bytes of all pieces that are being read, and of one.
const BUDGET: usize = 8 << 20;
const PIECE: std::ops::RangeInclusive<usize> = 16 << 10..=256 << 10;

/// How many bytes there may be, and how many there are.
#[derive(Debug)]
pub(super) struct Room {
    capacity: u64,
    used: AtomicU64,
    readers: AtomicUsize,
    metrics: Metrics,
}

impl Room {
    pub fn new(capacity: u64, metrics: Metrics) -> Self {
        Self {
            capacity,
            used: AtomicU64::new(0),
            readers: AtomicUsize::new(0),
            metrics,
        }
    }

    pub fn free(&self) -> u64 {
        self.capacity.saturating_sub(self.used.load(Ordering::Relaxed))
    }

    pub fn reserve(room: &Arc<Self>, size: u64) -> Option<Reserved> {
        if room.free() < size {
            return None;
        }
        // One at a time reserves: whoever does holds the shelf's lock. Others only give back.
        room.count(room.used.fetch_add(size, Ordering::Relaxed) + size);
        Some(Reserved {
            room: room.clone(),
            size,
        })
    }

    fn count(&self, used: u64) {
        self.metrics.kept(used);
    }

    /// How large a piece may be while so many read.
    fn piece(&self) -> usize {
        let readers = self.readers.load(Ordering::Relaxed).max(1);
        (BUDGET / readers).clamp(*PIECE.start(), *PIECE.end())
    }
}

/// Room that is given back in the end.
#[derive(Debug)]
pub(super) struct Reserved {
    room: Arc<Room>,
    size: u64,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let room = &self.room;
        room.count(room.used.fetch_sub(self.size, Ordering::Relaxed) - self.size);
    }
}

/// How far a blob is.
#[derive(Debug, Clone)]
enum Progress {
    /// So many bytes are there.
    Growing(u64),
    /// All are there, and they are the ones of the digest.
    Complete,
    /// They never will be.
    Failed(RegistryError),
}

#[derive(Debug)]
pub(super) struct Item {
    pub size: u64,
    path: PathBuf,
    file: File,
    progress: watch::Sender<Progress>,
    reserved: Reserved,
}

impl Item {
    pub fn create(path: PathBuf, reserved: Reserved) -> io::Result<Self> {
        let size = reserved.size;
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        let item = Self {
            size,
            path,
            file,
            progress: watch::Sender::new(Progress::Growing(0)),
            reserved,
        };
        // That the disk is full is found out here, and not when half of it was shown to others.
        if size > 0 {
            match fallocate(&item.file, FallocateFlags::empty(), 0, size) {
                Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(item)
    }

    /// Puts bytes where the last ones ended, and shows them to the readers.
    pub async fn append(item: &Arc<Self>, at: u64, bytes: Bytes) -> io::Result<()> {
        let end = at + bytes.len() as u64;
        let file = item.clone();
        spawn_blocking(move || file.file.write_all_at(&bytes, at))
            .await
            .map_err(io::Error::other)??;
        item.progress.send_replace(Progress::Growing(end));
        Ok(())
    }

    pub fn end(&self, outcome: Result<(), RegistryError>) {
        self.progress.send_replace(match outcome {
            Ok(()) => Progress::Complete,
            Err(error) => Progress::Failed(error),
        });
    }

    /// How many bytes may be shown.
    fn shown(&self, progress: &Progress) -> u64 {
        match progress {
            Progress::Growing(there) => (*there).min(self.size.saturating_sub(HELD_BACK)),
            Progress::Complete => self.size,
            Progress::Failed(_) => 0,
        }
    }
}

impl Drop for Item {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "a file of the cache cannot be removed");
        }
    }
}

/// Reads a blob from its beginning, waiting where it is not there yet.
#[derive(Debug)]
pub(in crate::relay) struct Reader {
    item: Arc<Item>,
    progress: watch::Receiver<Progress>,
    offset: u64,
}

impl Reader {
    pub(super) fn new(item: Arc<Item>) -> Self {
        item.reserved.room.readers.fetch_add(1, Ordering::Relaxed);
        Self {
            progress: item.progress.subscribe(),
            offset: 0,
            item,
        }
    }

    /// The next bytes; none once all were read and are the ones of the digest.
    pub async fn next(&mut self) -> Result<Option<Bytes>, RegistryError> {
        let (item, offset) = (self.item.clone(), self.offset);
        let shown = {
            let progress = self
                .progress
                .wait_for(|progress| match progress {
                    Progress::Growing(_) => item.shown(progress) > offset,
                    Progress::Complete | Progress::Failed(_) => true,
                })
                .await
                .map_err(|_| broken(&"its flight is lost"))?;
            if let Progress::Failed(error) = &*progress {
                return Err(error.clone());
            }
            item.shown(&progress)
        };
        let left = usize::try_from(shown - offset).unwrap_or(usize::MAX);
        if left == 0 {
            return Ok(None);
        }
        let length = left.min(item.reserved.room.piece());
        // Made here and not there: what one thread makes and another lets go of is memory that each thread keeps.
        let piece = Vec::with_capacity(length);
        let piece = spawn_blocking(move || read_exact_at(&item.file, offset, length, piece))
            .await
            .map_err(|error| broken(&error))?
            .map_err(|error| broken(&error))?;
        self.offset += piece.len() as u64;
        Ok(Some(piece.into()))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let readers = &self.item.reserved.room.readers;
        readers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// So many bytes from there, into memory that has room for them. Not as `read_exact_at` of the file, which would have it
/// filled with zeros first.
fn read_exact_at(file: &File, offset: u64, length: usize, mut bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    while bytes.len() < length {
        let at = offset + bytes.len() as u64;
        if retry_on_intr(|| pread(file, spare_capacity(&mut bytes), at))? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    // There may be more room than was asked for, and more in the file than may be shown.
    bytes.truncate(length);
    Ok(bytes)
}

/// The relay's own disk failed: somebody who asks again may have more luck.
pub(super) fn broken(why: &dyn std::fmt::Display) -> RegistryError {
    Failure::new(
        Reason::RegistryUnavailable,
        format!("the relay cannot use its cache ({why}): it is tried again; if it stays, look at the relay's volume"),
    )
    .into()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn no_more_is_read_than_may_be_shown() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        let read = |offset, length| read_exact_at(&file, offset, length, Vec::with_capacity(8));
        assert_eq!(read(2, 3).unwrap(), b"234");
        assert_eq!(read(7, 3).unwrap(), b"789");
        assert!(read(8, 3).is_err(), "what is missing is no zeros");
    }
}
