//! Brings a pinned model from a registry into a folder, comparing every byte with the manifest's digests on the way.
//! It verifies no signature: the digest it is given is one that was verified. It exposes the model's files and nothing
//! else, above all not what nobody signed.

use std::{path::Path, time::Duration};

use futures::{StreamExt as _, TryStreamExt as _};
use tokio::io::{AsyncWriteExt as _, BufWriter};

use super::{
    folder::{Folder, failure},
    oci::{Client, Manifest, ModelContent, ModelFile, RegistryError},
    signature::{RelPath, printable},
};
use crate::evidence::{Digest, Failure, Reason, Reference};

/// How a fetch goes about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchOptions {
    /// A larger model is refused before anything is downloaded.
    pub max_bytes: Option<u64>,
    /// Files downloaded at the same time.
    pub parallel: usize,
    /// How often one thing is asked for before giving up.
    pub attempts: u32,
    /// The pause before the second attempt; it doubles each time, give or take a half. A registry that names a pause
    /// gets at least that.
    pub pause: Duration,
}

impl Default for FetchOptions {
    fn default() -> Self {
        Self {
            max_bytes: None,
            parallel: 3,
            attempts: 6,
            pause: Duration::from_millis(500),
        }
    }
}

/// What was brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fetched {
    /// The manifest's digest.
    pub digest: Digest,
    /// How many files.
    pub files: usize,
    /// How many bytes.
    pub size: u64,
}

/// Told how far a fetch is.
pub trait FetchProgress: Sync {
    /// Called once, before the first file.
    fn begin(&self, files: usize, bytes: u64) {
        let _ = (files, bytes);
    }

    /// So many more bytes came.
    fn advance(&self, bytes: u64) {
        let _ = bytes;
    }

    /// A file is complete and proven.
    fn complete(&self, path: &str) {
        let _ = path;
    }

    /// Something failed and is tried again after `pause`; `lost` bytes that were counted come again.
    fn again(&self, error: &RegistryError, pause: Duration, lost: u64) {
        let _ = (error, pause, lost);
    }
}

/// Shows nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwatched;

impl FetchProgress for Unwatched {}

/// Bytes written at once.
const BUFFER: usize = 256 << 10;
/// Left free beside the model: folders and the file system's own.
const SPARE: u64 = 1 << 20;

/// Brings the files of a pinned reference into `dir`, without `model.sig`: files are 0444 and folders 0555, so that any
/// user may read them.
///
/// `dir` must exist and hold nothing but what an earlier fetch of the same model left there, which is removed first: a
/// fetch that was killed is simply run again. A file has its name only once it is complete and has the manifest's
/// digest. Nothing is flushed to the disk by force: whoever loses power fetches again.
///
/// # Errors
/// What the registry's answers mean; [`Reason::LimitExceeded`] when the model is too large for the options;
/// [`Reason::Io`] when the folder is not empty, not writable or too small.
pub async fn fetch(
    client: &Client,
    reference: &Reference,
    dir: &Path,
    options: &FetchOptions,
    progress: &dyn FetchProgress,
) -> Result<Fetched, RegistryError> {
    let verified = patiently(options, progress, || async {
        client
            .manifest(reference)
            .await
            .map_err(|error| Interrupted { error, lost: 0 })
    })
    .await?;
    let content = ModelContent::read(&Manifest::read(&verified)?)?;
    if let Some(most) = options.max_bytes.filter(|most| content.size > *most) {
        return Err(RegistryError::new(
            Reason::LimitExceeded,
            format!(
                "{reference} has {} bytes and at most {most} are fetched: raise --max-bytes",
                content.size
            ),
        ));
    }
    let paths: Vec<_> = content.files.iter().map(|file| &file.path).collect();
    let folder = Folder::open(dir, &paths)?;
    let room = folder.room()?;
    if room < content.size.saturating_add(SPARE) {
        return Err(RegistryError::new(
            Reason::Io,
            format!(
                "{reference} has {} bytes and {} has room for {room}: enlarge the volume",
                content.size,
                dir.display()
            ),
        ));
    }
    progress.begin(content.files.len(), content.size);
    let job = Job {
        client,
        reference,
        folder: &folder,
        options,
        progress,
    };
    // The largest first, so that none of them is still under way when all others are done.
    let mut files: Vec<(usize, &ModelFile)> = content.files.iter().enumerate().collect();
    files.sort_by_key(|(_, file)| std::cmp::Reverse(file.size));
    futures::stream::iter(files.into_iter().map(|(number, file)| job.bring(number, file)))
        .buffer_unordered(options.parallel.max(1))
        .try_collect::<()>()
        .await?;
    folder.seal(&paths)?;
    Ok(Fetched {
        digest: verified.digest(),
        files: content.files.len(),
        size: content.size,
    })
}

struct Job<'a> {
    client: &'a Client,
    reference: &'a Reference,
    folder: &'a Folder,
    options: &'a FetchOptions,
    progress: &'a dyn FetchProgress,
}

impl Job<'_> {
    async fn bring(&self, number: usize, file: &ModelFile) -> Result<(), RegistryError> {
        patiently(self.options, self.progress, || async {
            let mut received = 0;
            self.attempt(number, file, &mut received)
                .await
                .map_err(|error| Interrupted {
                    error,
                    lost: received,
                })
        })
        .await
        .map_err(|error| about(&file.path, error))?;
        self.progress.complete(file.path.as_str());
        Ok(())
    }

    async fn attempt(
        &self,
        number: usize,
        file: &ModelFile,
        received: &mut u64,
    ) -> Result<(), RegistryError> {
        let mut blob = self.client.blob(self.reference, file.digest, file.size).await?;
        let io = |error: std::io::Error| failure("write", file.path.as_str(), &error);
        let staged = tokio::fs::File::from_std(self.folder.stage(number)?);
        let mut out = BufWriter::with_capacity(BUFFER, staged);
        while let Some(bytes) = blob.chunk().await? {
            out.write_all(&bytes).await.map_err(io)?;
            *received += bytes.len() as u64;
            self.progress.advance(bytes.len() as u64);
        }
        out.flush().await.map_err(io)?;
        // The stream has ended well, so these are the bytes of the digest.
        let staged = out.into_inner().into_std().await;
        Folder::finish(&staged, &file.path)?;
        Ok(self.folder.publish(number, &file.path)?)
    }
}

/// A registry knows digests; people know files.
fn about(path: &RelPath, mut error: RegistryError) -> RegistryError {
    error.failure = Failure::new(
        error.failure.reason,
        format!("`{}`: {}", printable(path.as_str(), 120), error.failure.message),
    );
    error
}

/// A failed attempt, and how many bytes of it were counted.
struct Interrupted {
    error: RegistryError,
    lost: u64,
}

/// Makes attempts until one succeeds, fails for good, or there were enough of them.
async fn patiently<T, F: Future<Output = Result<T, Interrupted>>>(
    options: &FetchOptions,
    progress: &dyn FetchProgress,
    mut attempt: impl FnMut() -> F,
) -> Result<T, RegistryError> {
    let mut pause = options.pause;
    for left in (0..options.attempts.max(1)).rev() {
        let Interrupted { error, lost } = match attempt().await {
            Ok(done) => return Ok(done),
            Err(interrupted) => interrupted,
        };
        if left == 0 || !error.is_worth_repeating() {
            return Err(error);
        }
        let wait = jittered(pause).max(error.retry_after.unwrap_or_default());
        progress.again(&error, wait, lost);
        tokio::time::sleep(wait).await;
        pause = pause.saturating_mul(2);
    }
    Err(RegistryError::new(
        Reason::Internal,
        "a fetch ended without an outcome: please report it",
    ))
}

/// Between a half and one and a half of a pause, so that many that failed together do not come back together.
fn jittered(pause: Duration) -> Duration {
    let mut random = [0; 2];
    // Without randomness the pause is merely not jittered.
    let _ = aws_lc_rs::rand::fill(&mut random);
    pause.mul_f64(0.5 + f64::from(u16::from_le_bytes(random)) / f64::from(u16::MAX))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use test_case::test_case;

    use super::*;

    #[tokio::test(start_paused = true)]
    #[test_case(Reason::RegistryUnavailable => 3; "an absence is tried again")]
    #[test_case(Reason::Timeout => 3; "slowness is tried again")]
    #[test_case(Reason::RateLimited => 3; "a limit is tried again")]
    #[test_case(Reason::DigestMismatch => 1; "wrong bytes are not")]
    #[test_case(Reason::NotFound => 1; "nor what is not there")]
    #[test_case(Reason::RegistryDenied => 1; "nor a refusal")]
    #[test_case(Reason::Io => 1; "nor a full disk")]
    async fn attempts(reason: Reason) -> u32 {
        let options = FetchOptions {
            attempts: 3,
            ..FetchOptions::default()
        };
        let count = AtomicU32::new(0);
        let outcome: Result<(), _> = patiently(&options, &Unwatched, || async {
            count.fetch_add(1, Ordering::Relaxed);
            Err(Interrupted {
                error: RegistryError::new(reason, "x: y"),
                lost: 0,
            })
        })
        .await;
        assert_eq!(outcome.unwrap_err().failure.reason, reason);
        count.into_inner()
    }

    #[tokio::test(start_paused = true)]
    async fn waits_as_long_as_the_registry_asks() {
        let options = FetchOptions {
            attempts: 2,
            ..FetchOptions::default()
        };
        let started = tokio::time::Instant::now();
        let outcome: Result<(), _> = patiently(&options, &Unwatched, || async {
            let mut error = RegistryError::new(Reason::RateLimited, "x: y");
            error.retry_after = Some(Duration::from_secs(77));
            Err(Interrupted { error, lost: 0 })
        })
        .await;
        assert!(outcome.is_err());
        assert_eq!(started.elapsed().as_secs(), 77);
    }

    #[test]
    fn jitter_stays_around_the_pause() {
        for _ in 0..1000 {
            let pause = jittered(Duration::from_secs(2));
            assert!(
                pause >= Duration::from_secs(1) && pause <= Duration::from_secs(3),
                "{pause:?}"
            );
        }
    }
}
