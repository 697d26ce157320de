//! SHA-256 of many files on all cores, and whoever wants them gets the very bytes that are hashed.
//! It reads each file once, front to back, no further than it was when found, and refuses one that changes meanwhile.

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

    /// Called when a file is done.
    fn complete(&self) {}

    /// Asked often; once true, hashing stops with a failure.
    fn cancelled(&self) -> bool {
        false
    }
}

/// Shows nothing and never cancels.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {}

/// Takes the bytes of files while they are hashed, from several threads at once. Files are known by their place in the
/// list that is hashed.
pub(in crate::artifact) trait Sink: Sync {
    /// What takes the bytes of one file.
    type File;

    /// A file begins.
    fn begin(&self, index: usize) -> Result<Self::File, Failure>;

    /// The next bytes of it; they are hashed already.
    fn take(&self, index: usize, file: &mut Self::File, bytes: &[u8]) -> Result<(), Failure>;

    /// It is complete, did not change meanwhile, and has this digest.
    fn end(&self, index: usize, file: Self::File, digest: Digest) -> Result<(), Failure>;
}

/// Wants nothing.
struct Nobody;

impl Sink for Nobody {
    type File = ();

    fn begin(&self, _: usize) -> Result<(), Failure> {
        Ok(())
    }

    fn take(&self, _: usize, (): &mut (), _: &[u8]) -> Result<(), Failure> {
        Ok(())
    }

    fn end(&self, _: usize, (): (), _: Digest) -> Result<(), Failure> {
        Ok(())
    }
}

/// Hashes the files and returns their digests in the same order. The first failure stops the rest.
pub fn hash(tree: &Tree, files: &[FoundFile], progress: &dyn Progress) -> Result<Vec<Digest>, Failure> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    hash_into(tree, files, &Nobody, cores, progress)
}

/// The same, at most `parallel` files at a time, and every byte that was hashed goes into `sink`.
pub(in crate::artifact) fn hash_into<S: Sink>(
    tree: &Tree,
    files: &[FoundFile],
    sink: &S,
    parallel: usize,
    progress: &dyn Progress,
) -> Result<Vec<Digest>, Failure> {
    let bytes = files.iter().map(|file| file.size).fold(0, u64::saturating_add);
    progress.begin(files.len(), bytes);
    let work = Work::new(tree, files, sink, progress);
    let worthwhile = usize::try_from(bytes / PER_THREAD + 1).unwrap_or(usize::MAX);
    let threads = parallel.min(files.len()).min(worthwhile);
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

struct Work<'a, S> {
    tree: &'a Tree,
    files: &'a [FoundFile],
    sink: &'a S,
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

impl<'a, S: Sink> Work<'a, S> {
    fn new(tree: &'a Tree, files: &'a [FoundFile], sink: &'a S, progress: &'a dyn Progress) -> Self {
        let mut order: Vec<usize> = (0..files.len()).collect();
        order.sort_by_key(|&index| std::cmp::Reverse(files[index].size));
        let results = Mutex::new(Results {
            digests: vec![None; files.len()],
            failure: None,
        });
        Self {
            tree,
            files,
            sink,
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
            let result = self.one(index, buffer);
            if result.is_ok() {
                self.progress.complete();
            }
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

    fn one(&self, index: usize, buffer: &mut [u8]) -> Result<Digest, Failure> {
        let found = &self.files[index];
        let path = &found.path;
        let mut file = self.tree.open_file(path)?;
        let before = fstat(&file).map_err(|error| io_failure("look at", path.as_str(), error.into()))?;
        if u64::try_from(before.st_size) != Ok(found.size) {
            return Err(changed(path));
        }
        if found.size > BUFFER as u64 {
            // Only a hint; what it says is true anyway.
            let _ = fadvise(&file, 0, None, Advice::Sequential);
        }
        let mut context = Context::new(&SHA256);
        let mut taken = self.sink.begin(index)?;
        let mut left = found.size;
        loop {
            if self.stop.load(Ordering::Relaxed) || self.progress.cancelled() {
                return Err(Failure::new(
                    Reason::Io,
                    "verifying was interrupted before every file was read: run it again",
                ));
            }
            // Once all was read, a byte more shows whether somebody appends: it is never waited for, and nobody gets it.
            let wanted = usize::try_from(left).unwrap_or(BUFFER).clamp(1, BUFFER);
            match file.read(&mut buffer[..wanted]) {
                Ok(0) => break,
                Ok(_) if left == 0 => return Err(changed(path)),
                Ok(count) => {
                    context.update(&buffer[..count]);
                    self.sink.take(index, &mut taken, &buffer[..count])?;
                    left -= count as u64;
                    self.progress.advance(count as u64);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(io_failure("read", path.as_str(), error)),
            }
        }
        let after = fstat(&file).map_err(|error| io_failure("look at", path.as_str(), error.into()))?;
        if !is_same(&before, &after) || left != 0 {
            return Err(changed(path));
        }
        let digest = finish(context);
        self.sink.end(index, taken, digest)?;
        Ok(digest)
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
        format!("{path} changed while it was read: run it again when nothing writes there"),
    )
}
