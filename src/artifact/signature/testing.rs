//! Makes keys and signatures for tests, hostile ones included: whatever is signed here is signed well.
//! Only for tests; the product signs nothing.

use aws_lc_rs::{
    encoding::AsDer as _,
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING,
        EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _,
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{KeyRing, Manifest, PublicKey, Verified, dsse, manifest, oms, trust};
use crate::evidence::Digest;

/// Somebody who signs.
pub(crate) struct Signer {
    pair: EcdsaKeyPair,
    /// What it is called in the key ring.
    pub(crate) name: &'static str,
}

impl Signer {
    pub(crate) fn new(name: &'static str) -> Self {
        Self::on(name, &ECDSA_P256_SHA256_ASN1_SIGNING)
    }

    pub(crate) fn p384(name: &'static str) -> Self {
        Self::on(name, &ECDSA_P384_SHA384_ASN1_SIGNING)
    }

    pub(crate) fn p521(name: &'static str) -> Self {
        Self::on(name, &ECDSA_P521_SHA512_ASN1_SIGNING)
    }

    fn on(name: &'static str, algorithm: &'static EcdsaSigningAlgorithm) -> Self {
        Self {
            pair: EcdsaKeyPair::generate(algorithm).unwrap(),
            name,
        }
    }

    /// The public key as PEM.
    pub(crate) fn pem(&self) -> String {
        trust::to_pem(self.pair.public_key().as_der().unwrap().as_ref())
    }

    pub(crate) fn key(&self) -> PublicKey {
        PublicKey::parse(self.name, &self.pem()).unwrap()
    }

    /// A ring with only this key.
    pub(crate) fn ring(&self) -> KeyRing {
        KeyRing::from_iter([self.key()])
    }

    /// The signature over a payload, DER.
    pub(crate) fn sign(&self, payload: &[u8]) -> Vec<u8> {
        self.sign_raw(&dsse::pre_authentication_encoding(dsse::PAYLOAD_TYPE, payload))
    }

    /// The signature over just these bytes, DER.
    pub(crate) fn sign_raw(&self, signed: &[u8]) -> Vec<u8> {
        self.pair
            .sign(&SystemRandom::new(), signed)
            .unwrap()
            .as_ref()
            .to_vec()
    }

    /// A bundle as the official signer writes it, as JSON to alter.
    pub(crate) fn bundle(&self, payload: &[u8]) -> Value {
        json!({
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {
                "publicKey": {"hint": trust::hint_of(self.pem().as_bytes())},
                "tlogEntries": [],
            },
            "dsseEnvelope": {
                "payload": STANDARD.encode(payload),
                "payloadType": dsse::PAYLOAD_TYPE,
                "signatures": [{"sig": STANDARD.encode(self.sign(payload)), "keyid": ""}],
            },
        })
    }

    /// The bundle's bytes for a statement given as JSON.
    pub(crate) fn sign_statement(&self, statement: &Value) -> Vec<u8> {
        self.bundle(&serde_json::to_vec(statement).unwrap())
            .to_string()
            .into_bytes()
    }

    /// The bundle's bytes for files, each a name and a content.
    pub(crate) fn sign_files(&self, files: &[(&str, &[u8])]) -> Vec<u8> {
        self.sign_statement(&statement(files))
    }

    /// What [`oms::verify`] makes of these files.
    pub(crate) fn manifest(&self, files: &[(&str, &[u8])]) -> Verified<Manifest> {
        oms::verify(&self.sign_files(files), &self.ring()).unwrap()
    }
}

/// A file that the official signer made.
pub(crate) fn fixture(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/fixtures/oms/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A key the official signer signed with, under the name of its file.
pub(crate) fn fixture_key(name: &str) -> PublicKey {
    PublicKey::parse(name, &String::from_utf8(fixture(&format!("{name}.pub"))).unwrap()).unwrap()
}

/// The digest of some content.
pub(crate) fn digest(content: &[u8]) -> Digest {
    trust::sha256(content)
}

/// The statement the official signer writes for these files, as JSON to alter.
pub(crate) fn statement(files: &[(&str, &[u8])]) -> Value {
    let root = manifest::root_digest(files.iter().map(|(_, content)| digest(content)));
    let resources: Vec<Value> = files
        .iter()
        .map(|(name, content)| json!({"name": name, "algorithm": "sha256", "digest": digest(content).hex()}))
        .collect();
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "digits", "digest": {"sha256": root.hex()}}],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {
            "resources": resources,
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": false,
                "ignore_paths": ["model.sig", ".git", ".gitignore", ".gitattributes", ".github"],
            },
        },
    })
}
