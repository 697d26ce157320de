//! Makes authorities and serving certificates: ECDSA P-256, for TLS servers alone.
//! It keeps nothing and looks at no clock; the time is an argument.

use std::time::Duration;

use super::rotation::{AUTHORITY, BACKDATED, SERVING};
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};

/// Making a certificate failed. Only a defect, or a machine without random numbers, gets here.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a certificate")]
pub struct IssueError(#[from] rcgen::Error);

/// A certificate and its key, in PEM.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Pair {
    pub certificate: String,
    pub key: String,
}

/// A new authority.
pub(super) fn authority(now: Timestamp) -> Result<Pair, IssueError> {
    let key = KeyPair::generate()?;
    let certificate = authority_parameters(now)?.self_signed(&key)?;
    Ok(Pair {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    })
}

/// A new serving certificate for these names, signed by this authority.
pub(super) fn serving(authority: &Pair, names: &[String], now: Timestamp) -> Result<Pair, IssueError> {
    // What of an authority goes into what it signs is its name and its key's identifier, and they are the same for all
    // times: nothing of its certificate has to be read back.
    let issuer = Issuer::new(authority_parameters(now)?, KeyPair::from_pem(&authority.key)?);
    let key = KeyPair::generate()?;
    let mut parameters = CertificateParams::new(names)?;
    parameters.distinguished_name = named("probity-admission");
    valid(&mut parameters, now, SERVING);
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    parameters.use_authority_key_identifier_extension = true;
    Ok(Pair {
        certificate: parameters.signed_by(&key, &issuer)?.pem(),
        key: key.serialize_pem(),
    })
}

fn authority_parameters(now: Timestamp) -> Result<CertificateParams, IssueError> {
    let mut parameters = CertificateParams::new([])?;
    parameters.distinguished_name = named("probity-admission-ca");
    valid(&mut parameters, now, AUTHORITY);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(parameters)
}

fn valid(parameters: &mut CertificateParams, now: Timestamp, length: Duration) {
    let since = Duration::from_secs(u64::try_from(now.as_second()).unwrap_or(0));
    let now = rcgen::date_time_ymd(1970, 1, 1) + since;
    parameters.not_before = now - BACKDATED;
    parameters.not_after = now + length;
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}
