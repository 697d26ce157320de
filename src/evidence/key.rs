//! A public key as text: in PEM, as people keep it, and as one argument of a command.
//! It reads and writes the text only; whether it is a key that can be used is found out where there is cryptography.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls_pki_types::pem::{PemObject as _, SectionKind};

use super::{Failure, Reason};

/// Longest name of a key, in bytes.
const MAX_NAME: usize = 512;
/// Longest key, in bytes of DER; one on the largest curve has 158.
const MAX_DER: usize = 4096;

/// What to do about a key of the most common other kind.
pub const NO_RSA: &str = "is an RSA key: ECDSA on P-256, P-384 or P-521 is needed (openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256)";

/// The DER `SubjectPublicKeyInfo` in the one `PUBLIC KEY` section of a PEM text.
///
/// # Errors
/// What is there instead and what to do about it, as the rest of a sentence that begins with the key's name.
pub fn der_of_pem(pem: &str) -> Result<Vec<u8>, String> {
    const WHOLE: &str = "give the whole file, from -----BEGIN PUBLIC KEY----- to -----END PUBLIC KEY-----";
    let labels: Vec<&str> = pem
        .lines()
        .filter_map(|line| line.strip_prefix("-----BEGIN ")?.trim_end().strip_suffix("-----"))
        .collect();
    match labels.as_slice() {
        ["PUBLIC KEY"] => {}
        [] => return Err(format!("is not PEM: {WHOLE}")),
        labels if labels.iter().any(|label| label.ends_with("PRIVATE KEY")) => {
            return Err("is a private key, which whoever reads it can sign with: make a new key pair and give its public half (openssl pkey -in NEW.key -pubout)".to_owned());
        }
        labels if labels.contains(&"CERTIFICATE") => {
            return Err(
                "is a certificate: give its public key (openssl x509 -in CERT -noout -pubkey)".to_owned(),
            );
        }
        ["RSA PUBLIC KEY"] => return Err(NO_RSA.to_owned()),
        [_] => return Err(format!("is PEM of another kind than PUBLIC KEY: {WHOLE}")),
        labels => return Err(format!("is {} keys in one: give each its own name", labels.len())),
    }
    match <(SectionKind, Vec<u8>)>::from_pem_slice(pem.as_bytes()) {
        Ok((SectionKind::PublicKey, der)) => Ok(der),
        _ => Err(format!("is PEM that cannot be decoded: {WHOLE}")),
    }
}

/// A key as `--key` of `probity copy` carries it: `NAME=BASE64`, the name people know it by and its DER
/// `SubjectPublicKeyInfo` in standard, padded base64. That is what stands between the lines of its PEM.
///
/// ```
/// use probity::evidence::KeyArgument;
///
/// let pem = "-----BEGIN PUBLIC KEY-----\nMAMC\nAQA=\n-----END PUBLIC KEY-----\n";
/// let argument = KeyArgument::from_pem("bank-keys/2026-q3", pem)?;
/// assert_eq!(argument.to_string(), "bank-keys/2026-q3=MAMCAQA=");
/// assert_eq!(argument.to_string().parse::<KeyArgument>()?, argument);
/// # Ok::<(), probity::evidence::Failure>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyArgument {
    name: String,
    der: Vec<u8>,
}

impl KeyArgument {
    /// The argument for the key `name` in a PEM text, such as the fields of a `TrustedKey`.
    ///
    /// # Errors
    /// [`Reason::TrustRootInvalid`], as for everything here: no such PEM, or a name that an argument cannot carry.
    pub fn from_pem(name: &str, pem: &str) -> Result<Self, Failure> {
        Self::new(name, der_of_pem(pem).map_err(|problem| invalid(name, &problem))?)
    }

    fn new(name: &str, der: Vec<u8>) -> Result<Self, Failure> {
        // A report that names the key must not outgrow its line, so nothing is in a name that JSON writes at length.
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'=' | b'"' | b'\\');
        if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(is_plain) {
            return Err(invalid(
                name,
                "has a name that cannot be used: 1 to 512 ASCII letters, digits and signs are, without spaces, `=`, `\"` and `\\`",
            ));
        }
        if der.is_empty() || der.len() > MAX_DER {
            return Err(invalid(name, "has no key in it: give its DER in base64"));
        }
        Ok(Self {
            name: name.to_owned(),
            der,
        })
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its DER `SubjectPublicKeyInfo`, as it was written: it may be no key at all.
    pub fn der(&self) -> &[u8] {
        &self.der
    }
}

impl fmt::Display for KeyArgument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, STANDARD.encode(&self.der))
    }
}

impl FromStr for KeyArgument {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let (name, key) = text.split_once('=').ok_or_else(|| {
            invalid(
                text,
                "is not written as NAME=BASE64: give its name, `=`, and its DER in base64",
            )
        })?;
        if key.len() > MAX_DER * 4 / 3 + 4 {
            return Err(invalid(
                name,
                "is larger than any key: give its DER in base64, nothing else",
            ));
        }
        let der = STANDARD.decode(key).map_err(|_| {
            invalid(
                name,
                "is not in standard base64 with padding: give what stands between the lines of its PEM, in one line",
            )
        })?;
        Self::new(name, der)
    }
}

fn invalid(name: &str, problem: &str) -> Failure {
    let shown: String = name
        .chars()
        .take(80)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    Failure::new(Reason::TrustRootInvalid, format!("the key {shown} {problem}"))
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;

    const P256: &str = include_str!("../../tests/fixtures/oms/p256.pub");

    #[test]
    fn what_is_written_is_read_again() {
        let written = KeyArgument::from_pem("bank-keys/2026-q3", P256).unwrap();
        let between: String = P256.lines().filter(|line| !line.starts_with('-')).collect();
        assert_eq!(written.to_string(), format!("bank-keys/2026-q3={between}"));
        assert_eq!(written.to_string().parse::<KeyArgument>().unwrap(), written);
        assert_eq!(written.name(), "bank-keys/2026-q3");
    }

    #[test]
    fn the_longest_name_is_carried() {
        let name = "n".repeat(512);
        let written = KeyArgument::from_pem(&name, P256).unwrap();
        assert_eq!(written.to_string().parse::<KeyArgument>().unwrap().name(), name);
    }

    #[test_case("release", "NAME=BASE64"; "no key")]
    #[test_case("=AAAA", "name"; "no name")]
    #[test_case("a b=AAAA", "name"; "a space in the name")]
    #[test_case("a\"b=AAAA", "name"; "a quote in the name")]
    #[test_case("ä=AAAA", "name"; "a letter that is not ASCII")]
    #[test_case("a\u{1b}[2J=AAAA", "name"; "a terminal escape")]
    #[test_case(&format!("{}=AAAA", "n".repeat(513)), "name"; "too long a name")]
    #[test_case("release=", "no key"; "empty")]
    #[test_case("release=AAA", "padding"; "without its padding")]
    #[test_case("release=AAB=", "padding"; "bits beyond the end")]
    #[test_case("release=AA-_", "padding"; "the other alphabet")]
    #[test_case("release=AAAA\n", "padding"; "a newline")]
    #[test_case("release= AAAA", "padding"; "a space")]
    #[test_case("release==AAAA", "padding"; "two equal signs")]
    #[test_case(&format!("release={}", "A".repeat(6000)), "larger"; "too long a key")]
    fn refuses(text: &str, problem: &str) {
        let failure = text.parse::<KeyArgument>().unwrap_err();
        assert_eq!(failure.reason, Reason::TrustRootInvalid);
        assert!(failure.message.contains(problem), "{failure}");
        assert!(!failure.message.chars().any(char::is_control), "{failure:?}");
    }

    #[test_case("a=b", P256, "name"; "a name that would be cut")]
    #[test_case("release", "-----BEGIN PRIVATE KEY-----\n", "private key"; "a private key")]
    #[test_case("release", "x", "is not PEM"; "no PEM")]
    fn not_written(name: &str, pem: &str, problem: &str) {
        let failure = KeyArgument::from_pem(name, pem).unwrap_err();
        assert!(failure.message.contains(problem), "{failure}");
    }
}
