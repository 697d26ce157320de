//! The file `model.sig`: a Sigstore bundle v0.3 with one DSSE envelope, read strictly.
//! Nothing in it is believed here; `oms` verifies what it carries.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, de::IgnoredAny};

use super::{dsse, object::Object, printable};
use crate::evidence::{Failure, Reason};

/// Largest bundle: room for 100,000 files with long names.
pub const MAX_BUNDLE: usize = 32 << 20;

/// The media type of the only bundle version that is read.
const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// What a bundle signed with a key carries. Nothing of it is verified yet.
pub(super) struct KeyBundle {
    /// The signer's own word on which key it used: to find the key faster, never to trust it.
    pub(super) hint: Option<String>,
    /// The signed bytes: an in-toto statement.
    pub(super) payload: Vec<u8>,
    /// The signature over [`dsse::PAYLOAD_TYPE`] and the payload.
    pub(super) signature: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Bundle {
    #[serde(rename = "mediaType")]
    _media_type: String,
    verification_material: Object<VerificationMaterial>,
    dsse_envelope: Option<Object<Envelope>>,
    message_signature: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct VerificationMaterial {
    public_key: Option<Object<PublicKeyIdentifier>>,
    x509_certificate_chain: Option<IgnoredAny>,
    certificate: Option<IgnoredAny>,
    tlog_entries: Option<Vec<IgnoredAny>>,
    timestamp_verification_data: Option<IgnoredAny>,
}

/// `hint` since v1.1 of the official signer; before that the key itself as PEM.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PublicKeyIdentifier {
    hint: Option<String>,
    raw_bytes: Option<String>,
    #[serde(rename = "keyDetails")]
    _key_details: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<Object<Signature>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    sig: String,
    keyid: Option<String>,
}

/// Enough of a bundle to tell another version or kind of file from a broken one.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    media_type: String,
}

/// Reads a bundle that was signed with the `key` method.
pub(super) fn parse(raw: &[u8]) -> Result<KeyBundle, Failure> {
    if raw.len() > MAX_BUNDLE {
        return Err(Failure::new(
            Reason::LimitExceeded,
            format!(
                "the signature file is larger than {} MiB: sign fewer files at once",
                MAX_BUNDLE >> 20
            ),
        ));
    }
    let Object(head): Object<Head> =
        serde_json::from_slice(raw).map_err(|error| malformed(&error.to_string()))?;
    if head.media_type != MEDIA_TYPE {
        return Err(Failure::new(
            Reason::UnsupportedMediaType,
            format!(
                "the signature file has the media type `{}`, this version reads `{MEDIA_TYPE}`: sign with model_signing 1.0 or newer",
                printable(&head.media_type, 120)
            ),
        ));
    }
    let Object(bundle): Object<Bundle> =
        serde_json::from_slice(raw).map_err(|error| malformed(&error.to_string()))?;
    let hint = key_hint(bundle.verification_material.0)?;
    let Some(Object(envelope)) = bundle.dsse_envelope else {
        return Err(match bundle.message_signature {
            Some(_) => Failure::new(
                Reason::UnsupportedMethod,
                "the signature file signs a blob, not a model: sign the model's folder with model_signing",
            ),
            None => malformed("it has no dsseEnvelope"),
        });
    };
    if bundle.message_signature.is_some() {
        return Err(malformed("it has both a dsseEnvelope and a messageSignature"));
    }
    open(&envelope, hint)
}

/// Accepts the `key` method and names the others.
fn key_hint(material: VerificationMaterial) -> Result<Option<String>, Failure> {
    let certificate = material.x509_certificate_chain.is_some() || material.certificate.is_some();
    let Some(Object(key)) = material.public_key else {
        return Err(if certificate {
            Failure::new(
                Reason::UnsupportedMethod,
                "the model is signed with a certificate, this version verifies keys: sign it with `model_signing sign key`",
            )
        } else {
            malformed("its verificationMaterial names neither key nor certificate")
        });
    };
    if certificate {
        return Err(malformed(
            "its verificationMaterial has more than one of publicKey, x509CertificateChain and certificate",
        ));
    }
    let logged = material.tlog_entries.is_some_and(|entries| !entries.is_empty());
    if logged || material.timestamp_verification_data.is_some() {
        return Err(Failure::new(
            Reason::UnsupportedMethod,
            "the signature file has log entries or timestamps beside a key, which this version does not verify: sign it with `model_signing sign key`",
        ));
    }
    let spelled = match (key.hint, key.raw_bytes) {
        (Some(hint), _) => Some(hint),
        // The older form carries the PEM; the hint of the newer form is the hash of just that text.
        (None, Some(raw)) => Some(super::trust::hint_of(&decode("publicKey.rawBytes", &raw)?)),
        (None, None) => None,
    };
    Ok(spelled.filter(|hint| !hint.is_empty()))
}

fn open(envelope: &Envelope, hint: Option<String>) -> Result<KeyBundle, Failure> {
    if envelope.payload_type != dsse::PAYLOAD_TYPE {
        return Err(Failure::new(
            Reason::UnsupportedMediaType,
            format!(
                "the signature file signs a `{}`, this version reads `{}`: sign the model's folder with model_signing",
                printable(&envelope.payload_type, 120),
                dsse::PAYLOAD_TYPE
            ),
        ));
    }
    let [Object(signature)] = envelope.signatures.as_slice() else {
        return Err(malformed(&format!(
            "it has {} signatures, exactly one is needed",
            envelope.signatures.len()
        )));
    };
    if signature.keyid.as_ref().is_some_and(|keyid| !keyid.is_empty()) {
        return Err(malformed(
            "its signature has a keyid, which the format leaves empty",
        ));
    }
    Ok(KeyBundle {
        hint,
        payload: decode("dsseEnvelope.payload", &envelope.payload)?,
        signature: decode("dsseEnvelope.signatures[0].sig", &signature.sig)?,
    })
}

/// Standard base64 with padding and no stray bits: one content, one spelling.
fn decode(field: &str, text: &str) -> Result<Vec<u8>, Failure> {
    STANDARD
        .decode(text)
        .map_err(|error| malformed(&format!("{field} is not base64: {error}")))
}

fn malformed(problem: &str) -> Failure {
    Failure::new(
        Reason::MalformedBundle,
        format!(
            "the signature file is not a well-formed Sigstore bundle ({}): fetch or sign it again",
            printable(problem, 300)
        ),
    )
}
