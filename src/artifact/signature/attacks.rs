//! Every way we know to make a reader accept what a signer did not mean, each a row. Hostile statements are signed by the
//! trusted key, so that it is never the signature that saves us.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proptest::prelude::*;
use serde_json::{Value, json};
use test_case::test_case;

use super::{
    KeyRing, PublicKey, dsse, oms, statement,
    testing::{Signer, digest, fixture, fixture_key, statement as statement_of},
};
use crate::evidence::Reason;

const FILES: &[(&str, &[u8])] = &[
    ("config.json", b"{}"),
    ("model.onnx", b"weights"),
    ("sub/x.txt", b"x"),
];

fn reason(raw: &[u8], keys: &KeyRing) -> Option<Reason> {
    oms::verify(raw, keys).err().map(|failure| {
        assert!(
            !failure.message.is_empty() && failure.message.contains(": "),
            "no remedy: {failure}"
        );
        failure.reason
    })
}

/// The outcome for a good bundle after `alter`.
fn altered_bundle(alter: impl FnOnce(&mut Value)) -> Option<Reason> {
    let signer = Signer::new("release");
    let mut bundle = signer.bundle(&serde_json::to_vec(&statement_of(FILES)).unwrap());
    alter(&mut bundle);
    reason(bundle.to_string().as_bytes(), &signer.ring())
}

/// The outcome for a good statement after `alter`, signed well.
fn altered_statement(alter: impl FnOnce(&mut Value)) -> Option<Reason> {
    let signer = Signer::new("release");
    let mut statement = statement_of(FILES);
    alter(&mut statement);
    reason(&signer.sign_statement(&statement), &signer.ring())
}

/// The outcome for a payload given as text, signed well.
fn signed_text(payload: &str) -> Option<Reason> {
    let signer = Signer::new("release");
    reason(
        signer.bundle(payload.as_bytes()).to_string().as_bytes(),
        &signer.ring(),
    )
}

#[test]
fn what_was_not_altered_verifies() {
    assert_eq!(altered_bundle(|_| {}), None);
    assert_eq!(altered_statement(|_| {}), None);
    assert_eq!(signed_text(&statement_of(FILES).to_string()), None);
}

// ---- the bundle

#[test]
fn a_bundle_cut_anywhere_is_malformed() {
    let signer = Signer::new("release");
    let raw = signer.sign_files(FILES);
    for end in 0..raw.len() {
        assert_eq!(
            reason(&raw[..end], &signer.ring()),
            Some(Reason::MalformedBundle),
            "cut at {end}"
        );
    }
}

#[test_case("application/vnd.dev.sigstore.bundle+json;version=0.1"; "version 0.1")]
#[test_case("application/vnd.dev.sigstore.bundle+json;version=0.3"; "the older spelling")]
#[test_case("application/vnd.dev.sigstore.bundle.v0.3+json "; "a space")]
#[test_case("application/vnd.dev.sigstore.bundle.v0.4+json"; "a later version")]
#[test_case("application/json"; "json")]
#[test_case(""; "empty")]
fn wrong_media_type(media_type: &str) {
    let outcome = altered_bundle(|bundle| bundle["mediaType"] = json!(media_type));
    assert_eq!(outcome, Some(Reason::UnsupportedMediaType));
}

#[test_case(0)]
#[test_case(2)]
fn another_number_of_signatures_than_one(count: usize) {
    let outcome = altered_bundle(|bundle| {
        let signature = bundle["dsseEnvelope"]["signatures"][0].clone();
        bundle["dsseEnvelope"]["signatures"] = vec![signature; count].into();
    });
    assert_eq!(outcome, Some(Reason::MalformedBundle));
}

#[test_case("\"mediaType\"")]
#[test_case("\"verificationMaterial\"")]
#[test_case("\"publicKey\"")]
#[test_case("\"hint\"")]
#[test_case("\"tlogEntries\"")]
#[test_case("\"dsseEnvelope\"")]
#[test_case("\"payload\"")]
#[test_case("\"payloadType\"")]
#[test_case("\"signatures\"")]
#[test_case("\"sig\"")]
#[test_case("\"keyid\"")]
fn duplicate_json_key_in_the_bundle(key: &str) {
    let signer = Signer::new("release");
    let bundle = signer
        .bundle(&serde_json::to_vec(&statement_of(FILES)).unwrap())
        .to_string();
    let doubled = double_key(&bundle, key);
    assert_eq!(
        reason(doubled.as_bytes(), &signer.ring()),
        Some(Reason::MalformedBundle)
    );
}

/// Writes the member with this key twice, the very same value.
fn double_key(json: &str, key: &str) -> String {
    let start = json.find(&format!("{key}:")).unwrap();
    let value = start + key.len() + 1;
    let mut rest = serde_json::Deserializer::from_str(&json[value..]).into_iter::<Value>();
    rest.next().unwrap().unwrap();
    let end = value + rest.byte_offset();
    format!("{}{},{}", &json[..start], &json[start..end], &json[start..])
}

#[test_case("/verificationMaterial/certificate", json!({"rawBytes": "AA=="}) => Some(Reason::MalformedBundle); "key and certificate")]
#[test_case("/verificationMaterial/x509CertificateChain", json!({"certificates": []}) => Some(Reason::MalformedBundle); "key and chain")]
#[test_case("/verificationMaterial/tlogEntries", json!([{}]) => Some(Reason::UnsupportedMethod); "a log entry beside a key")]
#[test_case("/verificationMaterial/timestampVerificationData", json!({}) => Some(Reason::UnsupportedMethod); "a timestamp beside a key")]
#[test_case("/verificationMaterial/tlogEntries", json!(null) => None; "log entries null")]
#[test_case("/verificationMaterial/publicKey", json!(null) => Some(Reason::MalformedBundle); "no material")]
#[test_case("/verificationMaterial/publicKey", json!({}) => None; "no hint")]
#[test_case("/verificationMaterial/publicKey", json!({"hint": ""}) => None; "an empty hint")]
#[test_case("/verificationMaterial/publicKey", json!({"hint": "another spelling"}) => None; "a hint that names no key of ours is only a hint")]
#[test_case("/verificationMaterial/publicKey", json!({"rawBytes": "not base64"}) => Some(Reason::MalformedBundle); "raw bytes that are no base64")]
#[test_case("/verificationMaterial/publicKey", json!([null, null, null]) => Some(Reason::MalformedBundle); "an array for an object")]
#[test_case("/messageSignature", json!({}) => Some(Reason::MalformedBundle); "two contents")]
#[test_case("/extra", json!(1) => Some(Reason::MalformedBundle); "an unknown field")]
#[test_case("/dsseEnvelope/signatures/0/keyid", json!(null) => None; "keyid null")]
#[test_case("/dsseEnvelope/signatures/0/keyid", json!("release") => Some(Reason::MalformedBundle); "a keyid")]
#[test_case("/dsseEnvelope/signatures/0/sig", json!("") => Some(Reason::SignatureInvalid); "an empty signature")]
#[test_case("/dsseEnvelope/signatures/0/sig", json!("AAA") => Some(Reason::MalformedBundle); "a signature without padding")]
#[test_case("/dsseEnvelope/payloadType", json!("application/json") => Some(Reason::UnsupportedMediaType); "another payload type")]
#[test_case("/dsseEnvelope/payload", json!("e30=") => Some(Reason::SignatureInvalid); "another payload")]
#[test_case("/dsseEnvelope/payload", json!("e31=") => Some(Reason::MalformedBundle); "stray bits in base64")]
#[test_case("/dsseEnvelope", json!(null) => Some(Reason::MalformedBundle); "no envelope")]
fn altered(pointer: &str, value: Value) -> Option<Reason> {
    altered_bundle(|bundle| {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        match bundle.pointer_mut(parent).unwrap() {
            Value::Array(items) => items[key.parse::<usize>().unwrap()] = value,
            object => object[key] = value,
        }
    })
}

#[test_case("certificate" => Some(Reason::UnsupportedMethod); "keyless")]
#[test_case("x509CertificateChain" => Some(Reason::UnsupportedMethod); "a chain")]
#[test_case("nothing" => Some(Reason::MalformedBundle))]
fn material_other_than_a_key(name: &str) -> Option<Reason> {
    altered_bundle(|bundle| {
        bundle["verificationMaterial"] = match name {
            "nothing" => json!({"tlogEntries": []}),
            name => json!({name: {}, "tlogEntries": [{}]}),
        };
    })
}

#[test]
fn a_blob_signature_is_another_method() {
    let outcome = altered_bundle(|bundle| {
        bundle.as_object_mut().unwrap().remove("dsseEnvelope");
        bundle["messageSignature"] = json!({});
    });
    assert_eq!(outcome, Some(Reason::UnsupportedMethod));
}

#[test_case(b"" => Some(Reason::MalformedBundle); "empty")]
#[test_case(b"null" => Some(Reason::MalformedBundle); "null")]
#[test_case(b"[]" => Some(Reason::MalformedBundle); "an array")]
#[test_case(b"\xff\xfe" => Some(Reason::MalformedBundle); "no text")]
#[test_case(b"<html>" => Some(Reason::MalformedBundle); "a page")]
fn no_bundle_at_all(raw: &[u8]) -> Option<Reason> {
    reason(raw, &Signer::new("release").ring())
}

#[test]
fn nothing_may_follow_or_precede_the_bundle() {
    let signer = Signer::new("release");
    let raw = signer.sign_files(FILES);
    assert_eq!(
        reason(&[&raw[..], b"{}"].concat(), &signer.ring()),
        Some(Reason::MalformedBundle)
    );
    assert_eq!(
        reason(&[b"\xef\xbb\xbf", &raw[..]].concat(), &signer.ring()),
        Some(Reason::MalformedBundle)
    );
}

#[test]
fn a_bundle_over_the_cap_is_not_parsed() {
    let mut raw = Signer::new("release").sign_files(FILES);
    raw.resize(oms::MAX_BUNDLE + 1, b' ');
    assert_eq!(
        reason(&raw, &Signer::new("release").ring()),
        Some(Reason::LimitExceeded)
    );
}

#[test]
fn a_deeply_nested_bundle_is_refused_without_recursion() {
    let nested = "[".repeat(1 << 20);
    let raw = format!(r#"{{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","extra":{nested}"#);
    assert_eq!(
        reason(raw.as_bytes(), &Signer::new("release").ring()),
        Some(Reason::MalformedBundle)
    );
}

// ---- who signed

#[test]
fn a_stranger_is_named_by_its_hint_and_the_trusted_keys_by_name() {
    let (release, vault, stranger) = (
        Signer::new("release"),
        Signer::new("vault"),
        Signer::new("stranger"),
    );
    let keys = KeyRing::from_iter([release.key(), vault.key()]);
    let failure = oms::verify(&stranger.sign_files(FILES), &keys).unwrap_err();
    assert_eq!(failure.reason, Reason::SignerMismatch);
    let hint = super::trust::hint_of(stranger.pem().as_bytes());
    assert!(failure.message.contains("(release, vault)"), "{failure}");
    assert!(
        failure.message.contains(&format!("{}…", &hint[..12])),
        "{failure}"
    );
}

#[test]
fn a_strangers_signature_under_a_trusted_hint_is_invalid() {
    let (release, stranger) = (Signer::new("release"), Signer::new("stranger"));
    let payload = serde_json::to_vec(&statement_of(FILES)).unwrap();
    let mut bundle = release.bundle(&payload);
    bundle["dsseEnvelope"]["signatures"][0]["sig"] = json!(STANDARD.encode(stranger.sign(&payload)));
    let failure = oms::verify(bundle.to_string().as_bytes(), &release.ring()).unwrap_err();
    assert_eq!(failure.reason, Reason::SignatureInvalid);
    assert!(failure.message.contains("release"), "{failure}");
}

#[test]
fn a_trusted_hint_is_not_a_way_around_the_other_keys() {
    // The hint says release, vault signed: whoever wrote the hint did not make the signature, so it was altered.
    let (release, vault) = (Signer::new("release"), Signer::new("vault"));
    let keys = KeyRing::from_iter([release.key(), vault.key()]);
    let mut bundle = vault.bundle(&serde_json::to_vec(&statement_of(FILES)).unwrap());
    bundle["verificationMaterial"]["publicKey"]["hint"] =
        json!(super::trust::hint_of(release.pem().as_bytes()));
    assert_eq!(
        reason(bundle.to_string().as_bytes(), &keys),
        Some(Reason::SignatureInvalid)
    );
}

#[test]
fn the_signer_is_the_key_that_verified() {
    let (release, vault) = (Signer::p384("release"), Signer::p521("vault"));
    let keys = KeyRing::from_iter([release.key(), vault.key()]);
    for signer in [release, vault] {
        let verified = oms::verify(&signer.sign_files(FILES), &keys).unwrap();
        assert_eq!(verified.signer(), signer.key().identity());
    }
}

#[test]
fn the_key_in_the_bundle_is_never_trusted() {
    let (release, stranger) = (Signer::new("release"), Signer::new("stranger"));
    let mut bundle = stranger.bundle(&serde_json::to_vec(&statement_of(FILES)).unwrap());
    bundle["verificationMaterial"]["publicKey"] =
        json!({"rawBytes": STANDARD.encode(stranger.pem()), "keyDetails": "PKIX_ECDSA_P256_SHA_256"});
    assert_eq!(
        reason(bundle.to_string().as_bytes(), &release.ring()),
        Some(Reason::SignerMismatch)
    );
}

#[test]
fn without_keys_nothing_verifies() {
    let raw = Signer::new("release").sign_files(FILES);
    assert_eq!(reason(&raw, &KeyRing::default()), Some(Reason::TrustRootInvalid));
}

/// Version 0.2.0 of the official signer signed another encoding by mistake, and its reader still accepts that.
#[test]
fn the_broken_encoding_of_an_early_signer_is_not_accepted() {
    let signer = Signer::new("release");
    let payload = statement_of(FILES).to_string();
    let broken = format!(
        "DSSEV1 {} {} {} b'{payload}'",
        dsse::PAYLOAD_TYPE.len(),
        dsse::PAYLOAD_TYPE,
        payload.len()
    );
    let mut bundle = signer.bundle(payload.as_bytes());
    bundle["dsseEnvelope"]["signatures"][0]["sig"] =
        json!(STANDARD.encode(signer.sign_raw(broken.as_bytes())));
    assert_eq!(
        reason(bundle.to_string().as_bytes(), &signer.ring()),
        Some(Reason::SignatureInvalid)
    );
}

#[test]
fn a_signature_over_the_bare_payload_is_not_accepted() {
    let signer = Signer::new("release");
    let payload = statement_of(FILES).to_string();
    let mut bundle = signer.bundle(payload.as_bytes());
    bundle["dsseEnvelope"]["signatures"][0]["sig"] =
        json!(STANDARD.encode(signer.sign_raw(payload.as_bytes())));
    assert_eq!(
        reason(bundle.to_string().as_bytes(), &signer.ring()),
        Some(Reason::SignatureInvalid)
    );
}

// ---- the statement, signed by the trusted key

#[test_case("/_type", json!("https://in-toto.io/Statement/v0.1") => Some(Reason::MalformedStatement); "an older statement")]
#[test_case("/predicateType", json!("https://model_signing/Digests/v0.1") => Some(Reason::UnsupportedMethod); "an older predicate")]
#[test_case("/predicateType", json!("https://slsa.dev/provenance/v1") => Some(Reason::UnsupportedMethod); "another predicate")]
#[test_case("/subject", json!([]) => Some(Reason::MalformedStatement); "no subject")]
#[test_case("/subject/0/digest/sha256", json!("00") => Some(Reason::MalformedStatement); "a short root digest")]
#[test_case("/subject/0/digest", json!({"sha512": "00"}) => Some(Reason::MalformedStatement); "another root digest")]
#[test_case("/subject/0/digest/sha256", json!("00".repeat(32)) => Some(Reason::RootDigestMismatch); "a wrong root digest")]
#[test_case("/subject/0/name", json!("anything at all") => None; "the subject's name binds nothing")]
#[test_case("/predicate/extra", json!(1) => Some(Reason::MalformedStatement); "an unknown field of the predicate")]
#[test_case("/predicate/resources", json!([]) => Some(Reason::MalformedStatement); "no files")]
#[test_case("/predicate/resources/0/annotations", json!({}) => None; "an unknown field of a resource")]
#[test_case("/predicate/resources/0/algorithm", json!("sha512") => Some(Reason::MalformedStatement); "another algorithm")]
#[test_case("/predicate/resources/0/algorithm", json!("sha256-sharded-4") => Some(Reason::MalformedStatement); "a shard among files")]
#[test_case("/predicate/serialization/method", json!("shards") => Some(Reason::UnsupportedMethod); "shards")]
#[test_case("/predicate/serialization/hash_type", json!("blake3") => Some(Reason::UnsupportedAlgorithm); "blake3")]
#[test_case("/predicate/serialization/hash_type", json!("SHA256") => Some(Reason::UnsupportedAlgorithm); "upper case")]
#[test_case("/predicate/serialization/shard_size", json!(4.0) => Some(Reason::MalformedStatement); "shard size without shards")]
#[test_case("/predicate/serialization/allow_symlinks", json!(true) => None; "links allowed: they are refused in the tree")]
#[test_case("/predicate/serialization/allow_symlinks", json!("no") => Some(Reason::MalformedStatement); "a text for a truth value")]
#[test_case("/predicate/serialization/ignore_paths", json!(["../x"]) => Some(Reason::MalformedPath); "an ignored path that climbs")]
#[test_case("/predicate/serialization/extra", json!(1) => Some(Reason::MalformedStatement); "an unknown field of the serialization")]
fn statement_with(pointer: &str, value: Value) -> Option<Reason> {
    altered_statement(|statement| {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        statement.pointer_mut(parent).unwrap()[key] = value;
    })
}

#[test]
fn two_subjects() {
    let outcome = altered_statement(|statement| {
        let subject = statement["subject"][0].clone();
        statement["subject"] = json!([subject, subject]);
    });
    assert_eq!(outcome, Some(Reason::MalformedStatement));
}

#[test]
fn upper_case_hex() {
    let outcome = altered_statement(|statement| {
        let digest = &mut statement["predicate"]["resources"][1]["digest"];
        *digest = json!(digest.as_str().unwrap().to_uppercase());
    });
    assert_eq!(outcome, Some(Reason::MalformedStatement));
}

#[test]
fn more_files_than_are_read() {
    let names: Vec<String> = (0..=100_000).map(|n| format!("{n}")).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b""[..])).collect();
    let signer = Signer::new("release");
    assert_eq!(reason(&signer.sign_files(&files[1..]), &signer.ring()), None);
    assert_eq!(
        reason(&signer.sign_files(&files), &signer.ring()),
        Some(Reason::LimitExceeded)
    );
}

#[test_case("\"_type\"")]
#[test_case("\"subject\"")]
#[test_case("\"sha256\"")]
#[test_case("\"predicateType\"")]
#[test_case("\"predicate\"")]
#[test_case("\"resources\"")]
#[test_case("\"name\"")]
#[test_case("\"algorithm\"")]
#[test_case("\"digest\"")]
#[test_case("\"serialization\"")]
#[test_case("\"method\"")]
#[test_case("\"hash_type\"")]
#[test_case("\"allow_symlinks\"")]
#[test_case("\"ignore_paths\"")]
fn duplicate_json_key_in_the_statement(key: &str) {
    let doubled = double_key(&statement_of(FILES).to_string(), key);
    assert_eq!(signed_text(&doubled), Some(Reason::MalformedStatement));
}

#[test]
fn arrays_in_place_of_objects() {
    let text = statement_of(FILES).to_string();
    let resource = format!(r#"["config.json","{}","sha256"]"#, digest(b"{}").hex());
    let first = text.find("\"resources\":[").unwrap() + "\"resources\":[".len();
    let end = first + text[first..].find('}').unwrap() + 1;
    assert_eq!(
        signed_text(&format!("{}{resource}{}", &text[..first], &text[end..])),
        Some(Reason::MalformedStatement)
    );
}

#[test_case(&["/etc/passwd"]; "absolute")]
#[test_case(&["../model.onnx"]; "climbing")]
#[test_case(&["a/../b"]; "climbing within")]
#[test_case(&["./model.onnx"]; "a leading dot")]
#[test_case(&["a//b"]; "an empty component")]
#[test_case(&["a/"]; "a trailing slash")]
#[test_case(&["a\\b"]; "a backslash")]
#[test_case(&["a\u{0}b"]; "nul")]
#[test_case(&["a\nb"]; "a newline")]
#[test_case(&[""]; "empty")]
#[test_case(&["a", "."]; "a dot that is not the only file")]
#[test_case(&["model.onnx", "model.onnx"]; "doubled")]
#[test_case(&["Model.onnx", "model.onnx"]; "case-colliding")]
#[test_case(&["a", "a/b"]; "a file and a folder")]
fn hostile_name(names: &[&str]) {
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (*name, &b"x"[..])).collect();
    let signer = Signer::new("release");
    assert_eq!(
        reason(&signer.sign_files(&files), &signer.ring()),
        Some(Reason::MalformedPath)
    );
}

/// A reader that keeps the last of two would take the good one and hide the bad one.
#[test]
fn a_name_twice_with_a_bad_digest_first() {
    let signer = Signer::new("release");
    let raw = signer.sign_files(&[("model.onnx", b"bad"), ("model.onnx", b"good")]);
    assert_eq!(reason(&raw, &signer.ring()), Some(Reason::MalformedPath));
}

#[test]
fn one_file_called_dot_has_the_subjects_name() {
    let signer = Signer::new("release");
    let mut statement = statement_of(&[(".", b"weights")]);
    statement["subject"][0]["name"] = json!("model.onnx");
    let verified = oms::verify(&signer.sign_statement(&statement), &signer.ring()).unwrap();
    assert_eq!(verified.files[0].path.as_str(), "model.onnx");
    statement["subject"][0]["name"] = json!("../model.onnx");
    assert_eq!(
        reason(&signer.sign_statement(&statement), &signer.ring()),
        Some(Reason::MalformedPath)
    );
}

#[test]
fn files_may_be_listed_in_any_order() {
    let signer = Signer::new("release");
    let backwards: Vec<_> = FILES.iter().rev().copied().collect();
    let (forth, back) = (signer.manifest(FILES), signer.manifest(&backwards));
    assert_eq!(forth.files, back.files);
    assert_ne!(forth.root, back.root);
}

// ---- by the official signer

#[test_case("p256", "p256")]
#[test_case("p384", "p384")]
#[test_case("p521", "p521")]
#[test_case("old", "p256"; "a bundle that carries the key")]
#[test_case("single", "p256"; "one file")]
#[test_case("ignoring", "p256"; "a path left out")]
fn official(case: &str, key: &str) {
    let verified = oms::verify(
        &fixture(&format!("{case}/model.sig")),
        &KeyRing::from_iter([fixture_key(key)]),
    )
    .unwrap();
    for file in &verified.files {
        assert_eq!(
            file.digest,
            digest(&fixture(&format!("{case}/{}", file.path))),
            "{}",
            file.path
        );
    }
    assert_eq!(verified.signer().key, key);
    let others = ["p256", "p384", "p521", "stranger"]
        .iter()
        .filter(|other| **other != key)
        .map(|other| fixture_key(other));
    let failure = oms::verify(&fixture(&format!("{case}/model.sig")), &others.collect()).unwrap_err();
    assert_eq!(failure.reason, Reason::SignerMismatch);
}

#[test_case("shards.sig" => Some(Reason::UnsupportedMethod))]
#[test_case("blake2.sig" => Some(Reason::UnsupportedAlgorithm))]
#[test_case("blake3.sig" => Some(Reason::UnsupportedAlgorithm))]
#[test_case("certificate.sig" => Some(Reason::UnsupportedMethod))]
fn official_but_not_ours(file: &str) -> Option<Reason> {
    reason(&fixture(file), &KeyRing::from_iter([fixture_key("p256")]))
}

// ---- anything

/// Where the hint stands in a bundle. A hint is no claim, so what it says changes nothing about what verifies.
fn hint_range(raw: &[u8]) -> std::ops::Range<usize> {
    let text = std::str::from_utf8(raw).unwrap();
    let start = text.find("\"hint\":\"").unwrap() + "\"hint\":\"".len();
    start..start + 64
}

#[test]
fn no_single_bit_of_a_bundle_can_be_flipped() {
    let keys = KeyRing::from_iter([fixture_key("p256")]);
    let good = fixture("p256/model.sig");
    let expected = oms::verify(&good, &keys).unwrap();
    let hint = hint_range(&good);
    for byte in 0..good.len() {
        for bit in 0..8 {
            let mut raw = good.clone();
            raw[byte] ^= 1 << bit;
            match oms::verify(&raw, &keys) {
                Ok(verified) => assert!(
                    hint.contains(&byte) && verified == expected,
                    "byte {byte} bit {bit}"
                ),
                Err(failure) => assert_ne!(failure.reason, Reason::Internal),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn arbitrary_bytes_never_verify(raw in proptest::collection::vec(any::<u8>(), 0..256)) {
        prop_assert!(oms::verify(&raw, &KeyRing::from_iter([fixture_key("p256")])).is_err());
        prop_assert!(statement::parse(&raw).is_err());
        prop_assert!(PublicKey::parse("any", &String::from_utf8_lossy(&raw)).is_err());
    }

    /// Anywhere in a good bundle, something is replaced by something JSON-like.
    #[test]
    fn a_mangled_bundle_never_verifies_as_something_else(
        at in 0usize..4096, cut in 0usize..64, put in "[\\[\\]{}\",:0-9a-zA-Z\\\\ ]{0,16}",
    ) {
        let keys = KeyRing::from_iter([fixture_key("p256")]);
        let good = fixture("p256/model.sig");
        let expected = oms::verify(&good, &keys).unwrap();
        let start = at % good.len();
        let end = (start + cut).min(good.len());
        let raw = [&good[..start], put.as_bytes(), &good[end..]].concat();
        if let Ok(verified) = oms::verify(&raw, &keys) {
            prop_assert_eq!(verified, expected);
        }
    }

    #[test]
    fn a_mangled_statement_never_panics(at in 0usize..4096, cut in 0usize..64, put in "[\\[\\]{}\",:0-9a-z./\\\\ ]{0,16}") {
        let good = statement_of(FILES).to_string();
        let start = at % good.len();
        let end = (start + cut).min(good.len());
        if let Ok(manifest) = statement::parse(format!("{}{put}{}", &good[..start], &good[end..]).as_bytes()) {
            prop_assert!(manifest.files.iter().all(|file| !file.path.as_str().starts_with('/')));
        }
    }

    #[test]
    fn a_mangled_key_never_panics(at in 0usize..200, put in any::<u8>()) {
        let mut pem = Signer::new("release").pem().into_bytes();
        let at = at % pem.len();
        pem[at] = put;
        let _ = PublicKey::parse("any", &String::from_utf8_lossy(&pem));
    }
}
