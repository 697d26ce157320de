//! Who signed which files: `OpenSSF` Model Signing v1.0 bundles, and the keys they are verified with.
//! Pure: it takes bytes and keys and reads no file, no network and no clock.

#[cfg(test)]
mod attacks;
mod bundle;
mod compare;
mod dsse;
mod manifest;
mod object;
pub mod oms;
mod path;
mod statement;
#[cfg(test)]
pub(crate) mod testing;
mod trust;

pub(in crate::artifact) use compare::compare_names;
pub use compare::{Comparison, compare};
pub use manifest::{Manifest, SignedFile};
pub use oms::Verified;
pub use path::{RelPath, RelPathError};
pub(in crate::artifact) use trust::finish;
pub use trust::{KeyRing, PublicKey, sha256};

/// Input made fit for a message: no control characters, no more than `most` characters.
pub(in crate::artifact) fn printable(text: &str, most: usize) -> String {
    let mut shown: String = text
        .chars()
        .take(most)
        .map(|c| if path::is_deceptive(c) { '\u{fffd}' } else { c })
        .collect();
    if text.chars().nth(most).is_some() {
        shown.push('…');
    }
    shown
}
