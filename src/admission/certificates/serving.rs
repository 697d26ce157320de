//! A certificate and its key, ready to be served.
//! It reads what it is given; a key that is not the certificate's is an error here, not at a handshake.

use std::{fmt, sync::Arc};

use jiff::Timestamp;
use rustls::{crypto::aws_lc_rs, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use x509_cert::{Certificate, der::Decode as _};

/// Something in a Secret cannot be used. The message names the key and the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unusable(pub(super) String);

/// A certificate with its key and its end.
#[derive(Clone)]
pub struct Serving {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) expires: Timestamp,
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a certificate until {}", self.expires)
    }
}

impl Serving {
    /// Reads `tls.crt` (leaf first) and `tls.key`.
    pub fn read(certificate: &[u8], key: &[u8]) -> Result<Self, Unusable> {
        let chain = certificates("tls.crt", certificate)?;
        let (_, expires) = chain
            .first()
            .ok_or_else(|| Unusable("tls.crt has no certificate: put the PEM of one there".into()))
            .and_then(|leaf| validity("tls.crt", leaf))?;
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|error| Unusable(format!("tls.key is not a private key in PEM: {error}")))?;
        let key = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())
            .map_err(|error| Unusable(format!("tls.key cannot be used with tls.crt: {error}")))?;
        Ok(Self {
            key: Arc::new(key),
            expires,
        })
    }

    pub(super) fn same(&self, other: &Self) -> bool {
        self.key.cert == other.key.cert
    }
}

/// The certificates of a PEM text; `name` is the key it lies under.
pub(super) fn certificates(name: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Unusable(format!("{name} is not a certificate in PEM: {error}")))
}

/// From when until when a certificate is valid.
pub(super) fn validity(
    name: &str,
    certificate: &CertificateDer<'_>,
) -> Result<(Timestamp, Timestamp), Unusable> {
    let broken = |error: &dyn fmt::Display| Unusable(format!("{name} is not an X.509 certificate: {error}"));
    let certificate = Certificate::from_der(certificate).map_err(|error| broken(&error))?;
    let validity = certificate.tbs_certificate.validity;
    let time = |time: x509_cert::time::Time| {
        i64::try_from(time.to_unix_duration().as_secs())
            .map_err(|error| broken(&error))
            .and_then(|seconds| Timestamp::from_second(seconds).map_err(|error| broken(&error)))
    };
    Ok((time(validity.not_before)?, time(validity.not_after)?))
}
