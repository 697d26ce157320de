//! Brings one blob from its registry onto the shelf, whoever still waits for it.
//! It alone writes the file, and says in the end whether what is in it may be believed.

use std::sync::Arc;

use bytes::BytesMut;

use super::{
    Inner, Route,
    item::{Item, broken},
};
use crate::{
    artifact::oci::{Client, RegistryError},
    evidence::Reference,
};

/// Bytes written at once.
const PIECE: usize = 256 << 10;

/// A blob that is to be fetched. Dropped before it has landed, it has failed.
#[derive(Debug)]
pub(in crate::relay) struct Flight {
    shelf: Arc<Inner>,
    route: Route,
    item: Arc<Item>,
    landed: bool,
}

impl Flight {
    pub(super) fn new(shelf: Arc<Inner>, route: Route, item: Arc<Item>) -> Self {
        Self {
            shelf,
            route,
            item,
            landed: false,
        }
    }

    /// Fetches it by this client, from the repository of this reference.
    pub async fn fly(mut self, registry: Client, reference: Reference) {
        let outcome = self.pour(&registry, &reference).await;
        self.landed = true;
        self.shelf.landed(&self.route, &self.item, outcome);
    }

    async fn pour(&self, registry: &Client, reference: &Reference) -> Result<(), RegistryError> {
        // Closed never.
        let _turn = self.shelf.turns.acquire().await;
        let mut blob = registry
            .blob(reference, self.route.digest, self.item.size)
            .await?;
        let (mut written, mut waiting) = (0, BytesMut::new());
        loop {
            let bytes = blob.chunk().await?;
            let ended = bytes.is_none();
            waiting.extend_from_slice(&bytes.unwrap_or_default());
            if waiting.len() >= PIECE || (ended && !waiting.is_empty()) {
                let piece = waiting.split().freeze();
                let length = piece.len() as u64;
                Item::append(&self.item, written, piece).await.map_err(|error| {
                    // Not every file system keeps the room that a file was given. Whoever asks again is passed it on.
                    self.shelf.unwritable(&mut self.shelf.state(), &error);
                    broken(&error)
                })?;
                written += length;
            }
            if ended {
                // Ended well: these are the bytes of the digest.
                return Ok(());
            }
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if !self.landed {
            let error = broken(&"fetching was broken off");
            self.shelf.landed(&self.route, &self.item, Err(error));
        }
    }
}
