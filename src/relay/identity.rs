//! The key by which the relay is known, and the certificate it shows with it.
//! The key stays for as long as nobody replaces it on purpose; the certificate is made anew at every start and means nothing.

use std::{fmt, sync::Arc};

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PublicKeyData as _};
use rustls::{ServerConfig, crypto::aws_lc_rs};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::{
    artifact::{oci::key_of, signature::sha256},
    evidence::Digest,
};

/// The key cannot be used, or none can be made.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The text is no key.
    #[error(
        "the relay's key cannot be read: remove its Secret, and every model's pods are made anew with another"
    )]
    Unreadable(#[source] rcgen::Error),
    /// A defect, or a machine without random numbers.
    #[error("the relay's key cannot be made or shown")]
    Unusable(#[source] rcgen::Error),
    /// TLS does not take it.
    #[error("the relay's key cannot be served with")]
    Tls(#[from] rustls::Error),
}

/// The relay's key.
pub struct Identity {
    key: KeyPair,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.fingerprint())
    }
}

impl Identity {
    /// A new one: ECDSA P-256.
    pub fn generate() -> Result<Self, IdentityError> {
        let key = KeyPair::generate().map_err(IdentityError::Unusable)?;
        Ok(Self { key })
    }

    /// The one in this PEM text (PKCS#8).
    pub fn read(pem: &str) -> Result<Self, IdentityError> {
        let key = KeyPair::from_pem(pem).map_err(IdentityError::Unreadable)?;
        Ok(Self { key })
    }

    /// As PEM, to be read again. It is a secret.
    pub fn pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// The SHA-256 of the public key (`SubjectPublicKeyInfo` in DER): what `probity fetch --relay-key` wants to see.
    pub fn fingerprint(&self) -> Digest {
        sha256(&self.key.subject_public_key_info())
    }

    /// The settings of a TLS server that holds it.
    pub fn server_config(&self) -> Result<Arc<ServerConfig>, IdentityError> {
        let mut parameters =
            CertificateParams::new(["probity-relay".to_owned()]).map_err(IdentityError::Unusable)?;
        let mut name = DistinguishedName::new();
        name.push(DnType::CommonName, "probity-relay");
        parameters.distinguished_name = name;
        let certificate = parameters
            .self_signed(&self.key)
            .map_err(IdentityError::Unusable)?;
        let certificate = certificate.der().clone();
        debug_assert_eq!(key_of(&certificate), Some(self.fingerprint()));
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_same_after_it_was_written_down() {
        let made = Identity::generate().unwrap();
        let read = Identity::read(&made.pem()).unwrap();
        assert_eq!(made.fingerprint(), read.fingerprint());
        assert_ne!(made.fingerprint(), Identity::generate().unwrap().fingerprint());
        read.server_config().unwrap();
        assert!(!format!("{made:?}").contains("PRIVATE"));
    }

    #[test]
    fn what_is_no_key_says_what_to_do() {
        let error = Identity::read("-----BEGIN CERTIFICATE-----").unwrap_err();
        assert!(error.to_string().contains("remove its Secret"), "{error}");
    }
}
