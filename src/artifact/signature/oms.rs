//! Verifies an `OpenSSF` Model Signing bundle made with the `key` method.
//! The only place where a [`Verified`] value is made; it compares no files, that is `compare`.

use std::ops::Deref;

use super::{KeyRing, Manifest, PublicKey, bundle, dsse, statement};
use crate::evidence::{Failure, Reason, SignerIdentity};

pub use super::bundle::MAX_BUNDLE;

/// A value that was read from bytes a trusted key signed. It can be made only in this module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T> {
    value: T,
    signer: SignerIdentity,
}

impl<T> Verified<T> {
    /// Whose signature verified.
    pub fn signer(&self) -> &SignerIdentity {
        &self.signer
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// Verifies the bundle `raw` with `keys` and reads the manifest from the very bytes that were signed.
///
/// # Errors
/// [`Reason::SignerMismatch`] when none of the keys made the signature; [`Reason::SignatureInvalid`] when the bundle
/// names one of the keys and that key did not make it. Before that `MalformedBundle`, `UnsupportedMediaType`,
/// `UnsupportedMethod`, `LimitExceeded`; after it `MalformedStatement`, `MalformedPath`, `RootDigestMismatch`,
/// `UnsupportedMethod`, `UnsupportedAlgorithm`, `LimitExceeded`. [`Reason::TrustRootInvalid`] without any key.
pub fn verify(raw: &[u8], keys: &KeyRing) -> Result<Verified<Manifest>, Failure> {
    if keys.is_empty() {
        return Err(Failure::new(
            Reason::TrustRootInvalid,
            "there is no key to verify with: give at least one public key",
        ));
    }
    let bundle = bundle::parse(raw)?;
    let message = dsse::pre_authentication_encoding(dsse::PAYLOAD_TYPE, &bundle.payload);
    let signer = signer(keys, bundle.hint.as_deref(), &message, &bundle.signature)?;
    Ok(Verified {
        value: statement::parse(&bundle.payload)?,
        signer: signer.identity().clone(),
    })
}

/// The key that made the signature. The hint only decides which key is tried, and which failure is reported.
fn signer<'a>(
    keys: &'a KeyRing,
    hint: Option<&str>,
    message: &[u8],
    signature: &[u8],
) -> Result<&'a PublicKey, Failure> {
    if let Some(key) = hint.and_then(|hint| keys.hinted(hint)) {
        return if key.verifies(message, signature) {
            Ok(key)
        } else {
            Err(Failure::new(
                Reason::SignatureInvalid,
                format!(
                    "the signature names the key {} but that key did not make it: the signature file was altered, fetch or sign it again",
                    key.name()
                ),
            ))
        };
    }
    keys.keys().iter().find(|key| key.verifies(message, signature)).ok_or_else(|| {
        let named = match hint {
            Some(hint) => format!("it names the key {}", super::printable(hint, 12)),
            None => "it names no key".to_owned(),
        };
        Failure::new(
            Reason::SignerMismatch,
            format!("the model is signed by none of the trusted keys ({}), {named}: have it signed with one of them, or trust that key", names(keys)),
        )
    })
}

/// The first few names.
fn names(keys: &KeyRing) -> String {
    const MOST: usize = 5;
    let mut shown: Vec<&str> = keys.keys().iter().take(MOST).map(PublicKey::name).collect();
    let more = format!("{} more", keys.keys().len().saturating_sub(MOST));
    if keys.keys().len() > MOST {
        shown.push(&more);
    }
    shown.join(", ")
}
