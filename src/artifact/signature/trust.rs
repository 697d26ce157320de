//! The keys signatures are verified with, parsed from PEM.
//! Whether a key is to be trusted is the caller's word; nothing here comes from a bundle or a model.

use std::fmt;

use aws_lc_rs::{
    digest::{Context, SHA256, digest},
    encoding::{AsDer, PublicKeyX509Der},
    signature::{
        ECDSA_P256_SHA256_ASN1, ECDSA_P256K1_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ECDSA_P521_SHA512_ASN1,
        ED25519, ParsedPublicKey, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, UnparsedPublicKey,
        VerificationAlgorithm,
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::evidence::{
    Digest, Failure, KeyArgument, KeyFingerprint, NO_RSA, Reason, SignerIdentity, der_of_pem,
};

/// The curves, each with the one hash OMS pairs it with.
static CURVES: [(&str, &(dyn VerificationAlgorithm + Sync)); 3] = [
    ("P-256", &ECDSA_P256_SHA256_ASN1),
    ("P-384", &ECDSA_P384_SHA384_ASN1),
    ("P-521", &ECDSA_P521_SHA512_ASN1),
];

/// A public key that signatures may be verified with.
#[derive(Clone)]
pub struct PublicKey {
    identity: SignerIdentity,
    curve: &'static str,
    hint: String,
    key: UnparsedPublicKey<Vec<u8>>,
}

impl PublicKey {
    /// Parses `-----BEGIN PUBLIC KEY-----` with an ECDSA key on P-256, P-384 or P-521. `name` is what people call it.
    ///
    /// Every refusal has the reason [`Reason::TrustRootInvalid`], names the key and says what to put there instead.
    pub fn parse(name: &str, pem: &str) -> Result<Self, Failure> {
        let shown = super::printable(name, 512);
        let invalid =
            |problem: String| Failure::new(Reason::TrustRootInvalid, format!("the key {shown} {problem}"));
        let der = der_of_pem(pem).map_err(invalid)?;
        Self::of_der(shown, &der)
    }

    /// The key that `--key` of `probity copy` carries, under its name. Refused as [`Self::parse`] refuses.
    pub fn from_argument(argument: &KeyArgument) -> Result<Self, Failure> {
        Self::of_der(super::printable(argument.name(), 512), argument.der())
    }

    fn of_der(shown: String, der: &[u8]) -> Result<Self, Failure> {
        let (curve, algorithm, der) = parse_der(der).map_err(|problem| {
            Failure::new(Reason::TrustRootInvalid, format!("the key {shown} {problem}"))
        })?;
        let identity = SignerIdentity {
            key: shown,
            fingerprint: sha256(&der),
        };
        let hint = hint_of(to_pem(&der).as_bytes());
        Ok(Self {
            identity,
            curve,
            hint,
            key: UnparsedPublicKey::new(algorithm, der),
        })
    }

    /// Its name and fingerprint.
    pub fn identity(&self) -> &SignerIdentity {
        &self.identity
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        &self.identity.key
    }

    /// SHA-256 of its DER `SubjectPublicKeyInfo`.
    pub fn fingerprint(&self) -> KeyFingerprint {
        self.identity.fingerprint
    }

    /// `P-256`, `P-384` or `P-521`.
    pub fn curve(&self) -> &'static str {
        self.curve
    }

    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.key.verify(message, signature).is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicKey")
            .field("identity", &self.identity)
            .field("curve", &self.curve)
            .finish_non_exhaustive()
    }
}

/// The keys whose signatures count.
#[derive(Debug, Clone, Default)]
pub struct KeyRing {
    keys: Vec<PublicKey>,
}

impl KeyRing {
    /// Parses every key, each a name and a PEM; the first that cannot be used is the failure.
    pub fn from_pems<N: AsRef<str>, P: AsRef<str>>(
        keys: impl IntoIterator<Item = (N, P)>,
    ) -> Result<Self, Failure> {
        keys.into_iter()
            .map(|(name, pem)| PublicKey::parse(name.as_ref(), pem.as_ref()))
            .collect()
    }

    /// Whether there is no key, so that nothing can verify.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys, in the order they were given, each key material once.
    pub fn keys(&self) -> &[PublicKey] {
        &self.keys
    }

    /// The key a bundle's hint speaks of.
    pub(super) fn hinted(&self, hint: &str) -> Option<&PublicKey> {
        self.keys.iter().find(|key| key.hint == hint)
    }
}

/// The same key material under a second name is left out: a signature has one signer.
impl FromIterator<PublicKey> for KeyRing {
    fn from_iter<I: IntoIterator<Item = PublicKey>>(keys: I) -> Self {
        let mut ring = Self::default();
        for key in keys {
            if ring
                .keys
                .iter()
                .all(|known| known.fingerprint() != key.fingerprint())
            {
                ring.keys.push(key);
            }
        }
        ring
    }
}

/// The hint the official signer writes: the hash of the key's PEM text.
pub(super) fn hint_of(pem: &[u8]) -> String {
    sha256(pem).hex()
}

/// The SHA-256 of these bytes.
pub fn sha256(bytes: &[u8]) -> Digest {
    to_digest(&digest(&SHA256, bytes))
}

pub(in crate::artifact) fn finish(context: Context) -> Digest {
    to_digest(&context.finish())
}

fn to_digest(digest: &aws_lc_rs::digest::Digest) -> Digest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    Digest::from_bytes(bytes)
}

type Curve = (&'static str, &'static dyn VerificationAlgorithm, Vec<u8>);

/// The curve, and the key in its one canonical encoding: compressed points and the like do not give a key a second fingerprint.
fn parse_der(der: &[u8]) -> Result<Curve, String> {
    // The library also takes a bare point, which is not what PUBLIC KEY says.
    if der.first() != Some(&0x30) {
        return Err("is not a public key: make it again with `openssl pkey -in KEY -pubout`".to_owned());
    }
    for (curve, algorithm) in CURVES {
        let Ok(key) = ParsedPublicKey::new(algorithm, der) else {
            continue;
        };
        let canonical: PublicKeyX509Der<'_> = key.as_der().map_err(|_| {
            "cannot be encoded again: make it again with `openssl pkey -in KEY -pubout`".to_owned()
        })?;
        return Ok((curve, algorithm, canonical.as_ref().to_vec()));
    }
    Err(
        if ParsedPublicKey::new(&RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, der).is_ok() {
            NO_RSA.to_owned()
        } else if ParsedPublicKey::new(&ED25519, der).is_ok() {
            "is an Ed25519 key, which model signatures do not use: ECDSA on P-256, P-384 or P-521 is needed"
                .to_owned()
        } else if ParsedPublicKey::new(&ECDSA_P256K1_SHA256_ASN1, der).is_ok() {
            "is on the curve secp256k1, which model signatures do not use: P-256, P-384 or P-521 is needed"
                .to_owned()
        } else {
            "is no ECDSA key on P-256, P-384 or P-521: make it again with `openssl pkey -in KEY -pubout`"
                .to_owned()
        },
    )
}

/// The PEM text OpenSSL and the official signer write: lines of 64, a final newline.
pub(super) fn to_pem(der: &[u8]) -> String {
    let encoded = STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN PUBLIC KEY-----\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, next) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = next;
    }
    pem.push_str("-----END PUBLIC KEY-----\n");
    pem
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::{
        super::testing::{Signer, fixture, fixture_key},
        *,
    };

    fn text(name: &str) -> String {
        String::from_utf8(fixture(name)).unwrap()
    }

    #[test_case("p256", "P-256")]
    #[test_case("p384", "P-384")]
    #[test_case("p521", "P-521")]
    fn knows_the_curve(name: &str, curve: &str) {
        let key = fixture_key(name);
        assert_eq!(key.curve(), curve);
        assert_eq!(key.name(), name);
        assert_eq!(
            key.hint,
            hint_of(&fixture(&format!("{name}.pub"))),
            "the hint is the hash of what OpenSSL writes"
        );
    }

    #[test]
    fn the_same_key_has_one_fingerprint_however_it_is_written() {
        let usual = fixture_key("p256");
        let windows = text("p256.pub").replace('\n', "\r\n");
        let noted = format!("made in 2026\n{}\n\n", text("p256.pub").trim_end());
        for other in [text("p256-compressed.pub"), windows, noted] {
            let other = PublicKey::parse("other", &other).unwrap();
            assert_eq!(
                (other.fingerprint(), &other.hint),
                (usual.fingerprint(), &usual.hint)
            );
        }
        assert_ne!(usual.fingerprint(), fixture_key("stranger").fingerprint());
    }

    #[test]
    fn the_same_key_under_two_names_is_one_key() {
        let (release, other) = (Signer::new("release"), Signer::new("other"));
        let ring =
            KeyRing::from_pems([("a", release.pem()), ("b", release.pem()), ("c", other.pem())]).unwrap();
        assert_eq!(
            ring.keys().iter().map(PublicKey::name).collect::<Vec<_>>(),
            ["a", "c"]
        );
    }

    #[test_case("", "is not PEM"; "empty")]
    #[test_case("release", "is not PEM"; "a word")]
    #[test_case("MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE", "is not PEM"; "only the middle")]
    #[test_case("-----BEGIN PRIVATE KEY-----\n", "is a private key"; "private key")]
    #[test_case("-----BEGIN EC PARAMETERS-----\nAA==\n-----END EC PARAMETERS-----\n-----BEGIN EC PRIVATE KEY-----\n", "is a private key"; "what openssl ecparam writes")]
    #[test_case("-----BEGIN ENCRYPTED PRIVATE KEY-----\n", "is a private key"; "encrypted private key")]
    #[test_case("-----BEGIN RSA PUBLIC KEY-----\n", "RSA"; "rsa in its own form")]
    #[test_case("-----BEGIN SSH2 PUBLIC KEY-----\n", "another kind"; "ssh key")]
    #[test_case("-----BEGIN PUBLIC KEY-----\n", "cannot be decoded"; "cut")]
    #[test_case("-----BEGIN PUBLIC KEY-----\n!!\n-----END PUBLIC KEY-----\n", "cannot be decoded"; "no base64")]
    #[test_case("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "is not a public key"; "no key")]
    #[test_case("-----BEGIN PUBLIC KEY-----\nMAA=\n-----END PUBLIC KEY-----\n", "is no ECDSA key"; "an empty sequence")]
    #[test_case(&text("rsa.pub"), "is an RSA key"; "rsa")]
    #[test_case(&text("ed25519.pub"), "Ed25519"; "ed25519")]
    #[test_case(&text("secp256k1.pub"), "secp256k1"; "secp256k1")]
    #[test_case(&text("certificate.pem"), "is a certificate"; "certificate")]
    #[test_case(&format!("{}{}", text("p256.pub"), text("p384.pub")), "2 keys in one"; "two keys")]
    fn refuses(pem: &str, problem: &str) {
        let failure = PublicKey::parse("bank-keys/2026-q3", pem).unwrap_err();
        assert_eq!(failure.reason, Reason::TrustRootInvalid);
        assert!(
            failure.message.starts_with("the key bank-keys/2026-q3 "),
            "{failure}"
        );
        assert!(
            failure.message.contains(problem) && failure.message.contains(": "),
            "{failure}"
        );
    }

    #[test]
    fn a_bare_point_is_no_public_key() {
        let point = vec![4; 65];
        let pem = format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            STANDARD.encode(point)
        );
        assert!(
            PublicKey::parse("point", &pem)
                .unwrap_err()
                .message
                .contains("is not a public key")
        );
    }
}
