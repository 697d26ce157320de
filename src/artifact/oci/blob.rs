//! The bytes of a blob, hashed while they pass: a stream that ends well only if they are the ones that were asked for.
//! It keeps nothing; whoever writes the bytes must not show them to anyone before the stream has ended well.

use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use futures::Stream;
use http::header;
use tokio::time::timeout;

use super::answer::{Asked, RegistryError};
use crate::{
    artifact::signature::finish,
    evidence::{Digest, Reason},
};

/// A blob on its way.
pub struct Blob {
    response: reqwest::Response,
    /// Gone once the stream has ended.
    hash: Option<Context>,
    verified: bool,
    expected: Digest,
    size: u64,
    received: u64,
    stall: Duration,
    host: String,
    asked: Asked,
}

impl Blob {
    pub(super) fn new(
        response: reqwest::Response,
        (expected, size): (Digest, u64),
        stall: Duration,
        (host, asked): (String, Asked),
    ) -> Self {
        Self {
            response,
            hash: Some(Context::new(&SHA256)),
            verified: false,
            expected,
            size,
            received: 0,
            stall,
            host,
            asked,
        }
    }

    /// The next bytes; `None` once all of them came and their digest is the expected one.
    ///
    /// # Errors
    /// [`Reason::DigestMismatch`] when there are more or fewer bytes than announced or their digest is another one,
    /// [`Reason::Timeout`] when nothing comes for a while, [`Reason::RegistryUnavailable`] when the connection breaks.
    pub async fn chunk(&mut self) -> Result<Option<bytes::Bytes>, RegistryError> {
        if self.hash.is_none() {
            // Asked again after the end: the answer stays what it was.
            return if self.verified {
                Ok(None)
            } else {
                Err(self.differs("not the bytes of that digest"))
            };
        }
        let chunk = timeout(self.stall, self.response.chunk())
            .await
            .map_err(|_| self.asked.slow(&self.host, "sending"))?
            .map_err(|error| self.asked.unreachable(&self.host, error))?;
        match chunk {
            Some(bytes) => {
                self.received = self.received.saturating_add(bytes.len() as u64);
                if self.received > self.size {
                    return Err(self.differs("longer than the manifest says"));
                }
                if let Some(hash) = &mut self.hash {
                    hash.update(&bytes);
                }
                Ok(Some(bytes))
            }
            None => self.end().map(|()| None),
        }
    }

    fn end(&mut self) -> Result<(), RegistryError> {
        if self.received < self.size {
            // A body that only ends with the connection looks complete when the connection breaks.
            let framed = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING]
                .iter()
                .any(|name| self.response.headers().contains_key(name));
            return Err(if framed {
                self.differs("shorter than the manifest says")
            } else {
                RegistryError::new(
                    Reason::RegistryUnavailable,
                    format!(
                        "{} broke off for {}: it is tried again",
                        self.host, self.asked.what
                    ),
                )
            });
        }
        self.verified = self.hash.take().map(finish) == Some(self.expected);
        if self.verified {
            Ok(())
        } else {
            Err(self.differs("not the bytes of that digest"))
        }
    }

    fn differs(&self, how: &str) -> RegistryError {
        RegistryError::new(
            Reason::DigestMismatch,
            format!(
                "what {} sends for {} is {how}: push the model again, and look for what altered it",
                self.host, self.asked.what
            ),
        )
    }

    /// All bytes at once, when the announced size is at most `cap`.
    ///
    /// # Errors
    /// [`Reason::LimitExceeded`] before anything is read, and those of [`Blob::chunk`].
    pub async fn read_all(mut self, cap: u64) -> Result<Vec<u8>, RegistryError> {
        if self.size > cap {
            return Err(RegistryError::new(
                Reason::LimitExceeded,
                format!(
                    "{} has {} bytes and at most {cap} are read: make it smaller",
                    self.asked.what, self.size
                ),
            ));
        }
        let mut all = Vec::new();
        while let Some(bytes) = self.chunk().await? {
            all.extend_from_slice(&bytes);
        }
        Ok(all)
    }

    /// The same as a stream, which ends after the first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<bytes::Bytes, RegistryError>> + Send {
        futures::stream::try_unfold(self, |mut blob| async move {
            Ok(blob.chunk().await?.map(|bytes| (bytes, blob)))
        })
    }
}
