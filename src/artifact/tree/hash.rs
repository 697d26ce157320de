//! SHA-256 of many files on all cores.
//! It reads each file once, front to back, and refuses one that changes meanwhile.

use std::{
    io::{ErrorKind, Read as _},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use aws_lc_rs::digest::{Context, SHA256};
use rustix::fs::{Advice, Stat, fadvise, fstat};

use super::{FoundFile, RelPath, Tree, io_failure};
use crate::{
    artifact::signature::finish,
    evidence::{Digest, Failure, Reason},
};

/// Fits the second-level cache; larger reads were slower.
const BUFFER: usize = 128 << 10;
/// A cache line, where the buffer begins: into one that began 16 bytes later the kernel copied three times as slowly.
const LINE: usize = 64;
/// For less than this another thread costs more than it saves.
const PER_THREAD: u64 = 1 << 20;

/// Told how far hashing is, from several threads at once.
pub trait Progress: Sync {
    /// Called once, before anything is read.
    fn begin(&self, files: usize, bytes: u64) {
        let _ = (files, bytes);
    }

    /// Called often: so many more bytes were hashed.
    fn advance(&self, bytes: u64) {
        let _ = bytes;
    }

    /// Asked often; once true, hashing stops with a failure.
    fn cancelled(&self) -> bool {
        false
    }
}

/// Shows nothing and never cancels.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {}

/// Hashes the files and returns their digests in the same order. The first failure stops the rest.
pub fn hash(tree: &Tree, files: &[FoundFile], progress: &dyn Progress) -> Result<Vec<Digest>, Failure> {
    let bytes = files.iter().map(|file| file.size).fold(0, u64::saturating_add);
    progress.begin(files.len(), bytes);
    let work = Work::new(tree, files, progress);
    let worthwhile = usize::try_from(bytes / PER_THREAD + 1).unwrap_or(usize::MAX);
    let threads = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(files.len())
        .min(worthwhile);
    thread::scope(|scope| {
        for _ in 1..threads {
            // Without another thread it takes longer, that is all: this one works through the whole list.
            let _ = thread::Builder::new().spawn_scoped(scope, || work.run());
        }
        work.run();
    });
    let results = work.results.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(failure) = results.failure {
        return Err(failure);
    }
    results
        .digests
        .into_iter()
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| {
            Failure::new(
                Reason::Internal,
                "a file was listed but not hashed: please report this",
            )
        })
}

struct Work<'a> {
    tree: &'a Tree,
    files: &'a [FoundFile],
    /// Largest first, so that no thread starts on the largest when the others are done.
    order: Vec<usize>,
    next: AtomicUsize,
    stop: AtomicBool,
    progress: &'a dyn Progress,
    results: Mutex<Results>,
}

struct Results {
    digests: Vec<Option<Digest>>,
    failure: Option<Failure>,
}

impl<'a> Work<'a> {
    fn new(tree: &'a Tree, files: &'a [FoundFile], progress: &'a dyn Progress) -> Self {
        let mut order: Vec<usize> = (0..files.len()).collect();
        order.sort_by_key(|&index| std::cmp::Reverse(files[index].size));
        let results = Mutex::new(Results {
            digests: vec![None; files.len()],
            failure: None,
        });
        Self {
            tree,
            files,
            order,
            next: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            progress,
            results,
        }
    }

    fn run(&self) {
        let mut space = vec![0; BUFFER + LINE];
        let start = space.as_ptr().align_offset(LINE).min(LINE);
        let buffer = &mut space[start..start + BUFFER];
        while !self.stop.load(Ordering::Relaxed) {
            let Some(&index) = self.order.get(self.next.fetch_add(1, Ordering::Relaxed)) else {
                return;
            };
            let result = self.one(&self.files[index], buffer);
            let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
            match result {
                Ok(digest) => results.digests[index] = Some(digest),
                Err(failure) => {
                    self.stop.store(true, Ordering::Relaxed);
                    results.failure.get_or_insert(failure);
                }
            }
        }
    }

    fn one(&self, found: &FoundFile, buffer: &mut [u8]) -> Result<Digest, Failure> {
        let path = &found.path;
        let mut file = self.tree.open_file(path)?;
        let before = fstat(&file).map_err(|error| io_failure("look at", path.as_str(), error.into()))?;
        if found.size > BUFFER as u64 {
            // Only a hint; what it says is true anyway.
            let _ = fadvise(&file, 0, None, Advice::Sequential);
        }
        let mut context = Context::new(&SHA256);
        let mut read: u64 = 0;
        loop {
            if self.stop.load(Ordering::Relaxed) || self.progress.cancelled() {
                return Err(Failure::new(
                    Reason::Io,
                    "verifying was interrupted before every file was read: run it again",
                ));
            }
            match file.read(buffer) {
                Ok(0) => break,
                Ok(count) => {
                    context.update(&buffer[..count]);
                    read += count as u64;
                    self.progress.advance(count as u64);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(io_failure("read", path.as_str(), error)),
            }
        }
        let after = fstat(&file).map_err(|error| io_failure("look at", path.as_str(), error.into()))?;
        if !is_same(&before, &after) || u64::try_from(after.st_size) != Ok(read) || read != found.size {
            return Err(changed(path));
        }
        Ok(finish(context))
    }
}

/// Whether nobody wrote between the two looks, as far as the file system says.
fn is_same(before: &Stat, after: &Stat) -> bool {
    let times = |stat: &Stat| {
        (
            stat.st_mtime,
            stat.st_mtime_nsec,
            stat.st_ctime,
            stat.st_ctime_nsec,
        )
    };
    before.st_size == after.st_size && times(before) == times(after)
}

fn changed(path: &RelPath) -> Failure {
    Failure::new(
        Reason::ChangedDuringVerify,
        format!("{path} changed while it was read: verify again when nothing writes there"),
    )
}
