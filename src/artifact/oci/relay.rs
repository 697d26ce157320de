//! How a relay is asked in a registry's place: where it is, by which key it is known, and the token it wants to see.
//! It knows one relay and no registry; what a relay sends is hashed like anybody's answer.

use std::{fmt, fs::File, io::Read as _, path::PathBuf, sync::Arc};

use http::HeaderValue;
use reqwest::Url;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{self, CryptoProvider, verify_tls12_signature, verify_tls13_signature},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_cert::{
    Certificate,
    der::{Decode as _, Encode as _},
};

use crate::{
    artifact::signature::sha256,
    evidence::{Digest, Failure, Reason, Reference},
};

/// A token of the API server has about one kilobyte.
const MAX_TOKEN: u64 = 16 << 10;

/// A relay that is asked instead of registries.
#[derive(Clone, PartialEq, Eq)]
pub struct Relay {
    url: Url,
    key: Digest,
    token: PathBuf,
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Relay({} by key {})", self.url, self.key)
    }
}

impl Relay {
    /// The relay at `url`, which is `https://host[:port]` and no more.
    ///
    /// `key` is the SHA-256 of its public key (`SubjectPublicKeyInfo` in DER). It alone says who the relay is: names and
    /// ends of certificates are not looked at, so that a new certificate for the same key changes nothing.
    /// `token` is a file, which is read for every request because the kubelet replaces it.
    ///
    /// # Errors
    /// [`Reason::SpecInvalid`] when it is no such URL.
    pub fn new(url: &str, key: Digest, token: PathBuf) -> Result<Self, Failure> {
        let refuse = || {
            Failure::new(
                Reason::SpecInvalid,
                format!("`{url}` is not where a relay is: write https://host:port"),
            )
        };
        let url = Url::parse(url).map_err(|_| refuse())?;
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        if url.scheme() != "https" || url.host_str().is_none() || !bare || !url.username().is_empty() {
            return Err(refuse());
        }
        Ok(Self { url, key, token })
    }

    /// Where something of a registry is asked for: `path` is what the registry itself would be asked, below `v2/`.
    pub(super) fn locate(&self, reference: &Reference, path: &str) -> Result<Url, Failure> {
        let below = path.strip_prefix("v2/").unwrap_or(path);
        self.url
            .join(&format!("v2/{}/{below}", reference.host()))
            .map_err(|_| {
                Failure::new(
                    Reason::MalformedReference,
                    format!("{reference} makes no URL: correct the reference"),
                )
            })
    }

    /// The token as a header.
    pub(super) fn authorization(&self) -> Result<HeaderValue, Failure> {
        let unreadable = |problem: &dyn fmt::Display| {
            Failure::new(
                Reason::CredentialsMissing,
                format!(
                    "cannot use the token in {} ({problem}): give a file with the account's token for the relay",
                    self.token.display()
                ),
            )
        };
        let mut token = String::new();
        File::open(&self.token)
            .and_then(|file| file.take(MAX_TOKEN).read_to_string(&mut token))
            .map_err(|error| unreadable(&error))?;
        let mut header = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
            .map_err(|_| unreadable(&"it is no token"))?;
        header.set_sensitive(true);
        Ok(header)
    }

    /// TLS that ends at whoever holds the key, and nowhere else.
    pub(super) fn tls(&self) -> Result<ClientConfig, Failure> {
        let provider = Arc::new(crypto::aws_lc_rs::default_provider());
        let verifier = Arc::new(HoldsKey {
            key: self.key,
            provider: provider.clone(),
        });
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Failure::new(Reason::Internal, format!("no TLS to the relay: {error}")))?;
        Ok(config
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth())
    }

    /// The sentence for a host that holds another key.
    pub(super) fn stranger(&self, host: &str) -> Failure {
        Failure::new(
            Reason::HostNotAllowed,
            format!(
                "{host} does not hold the relay's key {}, and is told nothing: see who answers there, or whether the relay's key was replaced",
                self.key
            ),
        )
    }
}

/// The SHA-256 of a certificate's public key.
pub fn key_of(certificate: &CertificateDer<'_>) -> Option<Digest> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let key = certificate
        .tbs_certificate
        .subject_public_key_info
        .to_der()
        .ok()?;
    Some(sha256(&key))
}

/// Takes one key for the relay's, whatever the certificate around it says.
#[derive(Debug)]
struct HoldsKey {
    key: Digest,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for HoldsKey {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if key_of(end_entity) == Some(self.key) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    // That the other side holds the key, and did not only copy the certificate, is shown by its signature.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;

    const KEY: Digest = Digest::from_bytes([7; 32]);

    #[test_case("https://relay.probity.svc:8443" => true; "a host and a port")]
    #[test_case("https://10.0.0.9" => true; "an address")]
    #[test_case("http://relay.probity.svc:8443" => false; "without TLS the token would be read by others")]
    #[test_case("https://relay/v2" => false; "a path")]
    #[test_case("https://relay/?a=b" => false; "a query")]
    #[test_case("https://me@relay/" => false; "a user")]
    #[test_case("relay:8443" => false; "no URL")]
    fn a_relay_is_a_host(url: &str) -> bool {
        Relay::new(url, KEY, "/token".into()).is_ok()
    }

    #[test]
    fn a_relay_is_told_the_registry_in_the_path() {
        let relay = Relay::new("https://relay:8443", KEY, "/token".into()).unwrap();
        let at = |reference: &str, path: &str| {
            let reference: Reference = reference.parse().unwrap();
            relay.locate(&reference, path).unwrap().to_string()
        };
        assert_eq!(
            at("r.example:5000/a/b:1", "v2/a/b/blobs/sha256:00"),
            "https://relay:8443/v2/r.example:5000/a/b/blobs/sha256:00"
        );
        assert_eq!(
            at("[::1]:5000/a:1", "v2/a/manifests/sha256:00"),
            "https://relay:8443/v2/[::1]:5000/a/manifests/sha256:00"
        );
    }

    #[test]
    fn a_token_is_read_anew_each_time_and_never_shown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let relay = Relay::new("https://relay", KEY, file.path().into()).unwrap();
        for token in ["first", "second"] {
            std::fs::write(file.path(), format!("{token}\n")).unwrap();
            let header = relay.authorization().unwrap();
            assert_eq!(header.as_bytes(), format!("Bearer {token}").as_bytes());
            assert!(!format!("{header:?}").contains(token));
        }
        std::fs::write(file.path(), "a\nb").unwrap();
        assert_eq!(
            relay.authorization().unwrap_err().reason,
            Reason::CredentialsMissing
        );
    }
}
