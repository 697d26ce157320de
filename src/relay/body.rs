//! What an answer carries: a blob on its way from the shelf or straight from its registry, or a few bytes.
//! A blob that turns out to be another ends in an error, which breaks the connection off before its end.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use tokio::sync::OwnedSemaphorePermit;

use super::shelf::Reader;
use crate::artifact::oci::{Blob, RegistryError};

/// The body of every answer.
pub(super) type Body = UnsyncBoxBody<Bytes, RegistryError>;

/// These bytes.
pub(super) fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// A blob that is being read.
pub(super) enum Flow {
    /// From the shelf.
    Shelf(Reader),
    /// From the registry, of which nothing is kept but what comes next.
    Registry {
        blob: Box<Blob>,
        next: Option<Bytes>,
        /// One of few that may do this at a time.
        _turn: OwnedSemaphorePermit,
    },
}

impl Flow {
    /// The next bytes; none once all came, and are the ones of the digest.
    pub async fn next(&mut self) -> Result<Option<Bytes>, RegistryError> {
        match self {
            Self::Shelf(reader) => reader.next().await,
            // What came last is given away only when what comes after it is there, or the end is: good.
            Self::Registry { blob, next, .. } => loop {
                let after = blob.chunk().await?;
                let ended = after.is_none();
                let now = std::mem::replace(next, after);
                if now.is_some() || ended {
                    return Ok(now);
                }
            },
        }
    }

    /// As a body that begins with these bytes, which were read already.
    pub fn beginning(self, first: Option<Bytes>) -> Body {
        let stream = futures::stream::try_unfold((self, first), |(mut flow, first)| async move {
            let bytes = match first {
                Some(bytes) => Some(bytes),
                None => flow.next().await?,
            };
            Ok(bytes.map(|bytes| (Frame::data(bytes), (flow, None))))
        });
        StreamBody::new(stream).boxed_unsync()
    }
}
