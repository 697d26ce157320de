//! `probity verify` of folders: each input, the exit code it gives and the words that tell what to do.
//! The rows are the specification of the command; what makes a bundle hostile is tested where it is read.

use std::fs;

use serde_json::{Value, json};
use test_case::test_case;

use super::models::{Place, Said, done, openssl};

const VERIFY: &str = "verify model --key release.pub";

#[test_case(|_| {}, VERIFY, 0, &["Verdict  Verified\n", "Signer   release\n", "Content  3 files, 29 B\n"]; "as it was signed")]
#[test_case(|_| {}, "verify ./model/ --key release.pub", 0, &["Verified"]; "written as a path")]
#[test_case(|p| p.link("model", "link"), "verify link --key release.pub", 0, &["Verified"]; "a link to the folder")]
#[test_case(|_| {}, "verify model --key stranger.pub --key release.pub", 0, &["Signer   release\n"]; "any of several keys")]
#[test_case(|p| fs::rename(p.at("model/model.sig"), p.at("s")).unwrap(), "verify model --key release.pub --signature s", 0, &["Verified"]; "a signature elsewhere")]
#[test_case(|p| p.put("model/notes.txt", "x"), "verify model --key release.pub --ignore notes.txt", 0, &["Verified", "Ignored  notes.txt\n"]; "a file to leave alone")]
#[test_case(|p| p.put("model/notes/a/b.txt", "x"), "verify model --key release.pub --ignore notes", 0, &["Verified"]; "a folder to leave alone")]
#[test_case(|p| fs::create_dir(p.at("model/empty")).unwrap(), VERIFY, 0, &["Verified"]; "an empty folder in it")]
// Policy: it is nobody's, or another's.
#[test_case(|p| p.remove("model/model.sig"), VERIFY, 10, &["Refused: Unsigned", "no model.sig", "sign it with"]; "without a signature")]
#[test_case(|p| fs::create_dir(p.at("bare")).unwrap(), "verify bare --key release.pub", 10, &["Unsigned"]; "an empty folder")]
#[test_case(|_| {}, "verify model --key stranger.pub", 10, &["Refused: SignerMismatch", "none of the trusted keys (stranger)"]; "signed by another")]
// Integrity: it is not what was signed.
#[test_case(|p| p.put("model/model.onnx", "poison!"), VERIFY, 20, &["Refused: DigestMismatch", "model.onnx differs from what release signed (signed ", "roll back", "Differs  model.onnx: signed "]; "an altered file")]
#[test_case(|p| p.put("model/model.onnx", "poison!"), "verify model --key release.pub --ignore model.onnx", 20, &["DigestMismatch"]; "an altered file that was to be left alone")]
#[test_case(|p| p.remove("model/config.json"), VERIFY, 20, &["Refused: MissingFile", "config.json"]; "a file that is gone")]
#[test_case(|p| p.put("model/.git/hook.py", "x"), VERIFY, 20, &["Refused: UnsignedFile", ".git/hook.py"]; "a file where signers look away")]
#[test_case(|p| p.put("model/model.sig2", "x"), VERIFY, 20, &["Refused: UnsignedFile", "found 2d711642b726…"]; "a file that was added")]
#[test_case(|p| p.link("config.json", "model/other.json"), VERIFY, 20, &["Refused: NotARegularFile", "other.json is a symbolic link"]; "a link in it")]
#[test_case(|p| { fs::rename(p.at("model/labels"), p.at("labels")).unwrap(); p.link("../labels", "model/labels"); }, VERIFY, 20, &["NotARegularFile", "labels is a symbolic link"]; "a folder in it that is a link")]
#[test_case(|p| { fs::rename(p.at("model/model.sig"), p.at("s")).unwrap(); p.link("../s", "model/model.sig"); }, VERIFY, 20, &["NotARegularFile", "model.sig is a symbolic link"]; "a signature that is a link")]
#[test_case(|p| p.edit_signature("AAAA"), VERIFY, 20, &["Refused: SignatureInvalid", "release"]; "an altered signature")]
// Malformed.
#[test_case(|p| p.put("model/model.sig", "{"), VERIFY, 30, &["Refused: MalformedBundle"]; "a signature that was cut")]
#[test_case(|p| p.put("model/model.sig", ""), VERIFY, 30, &["MalformedBundle"]; "an empty signature")]
#[test_case(|p| p.sparse("model/model.sig", 33 << 20), VERIFY, 30, &["LimitExceeded"]; "a huge signature")]
#[test_case(|p| fs::write(p.raw("model", b"a\xff"), "x").unwrap(), VERIFY, 30, &["Refused: MalformedPath", "not UTF-8"]; "a file name that is not text")]
// Unsupported.
#[test_case(|p| p.put("model/model.sig", p.signature().replace("publicKey", "certificate")), VERIFY, 40, &["Refused: UnsupportedMethod"]; "signed in another way")]
#[test_case(|_| {}, "verify release.pub --key release.pub", 40, &["Refused: NotAModel", "is not a folder"]; "a file")]
#[test_case(|_| {}, "verify /dev/null --key release.pub", 40, &["NotAModel", "is not a folder"]; "a device")]
// Transient: it may be there next time.
#[test_case(|_| {}, "verify digits --key release.pub", 60, &["Unknown: Io", "there is no folder digits: give one, or an artifact as host/repository:tag"]; "no such folder")]
#[test_case(|_| {}, "verify models/digits --key release.pub", 60, &["Unknown: Io", "there is no folder models/digits"]; "no such folder in a folder")]
#[test_case(|p| p.link("nowhere", "link"), "verify link --key release.pub", 60, &["there is no folder link"]; "a link to nowhere")]
#[test_case(|_| {}, "verify model --key release.pub --signature model.sig", 60, &["there is no signature file model.sig: the path is taken from here"]; "no such signature")]
fn folders(prepare: fn(&Place), arguments: &str, code: i32, words: &[&str]) {
    let place = Place::new();
    prepare(&place);
    let said = place.probity(arguments);
    said.expect(code, words);
    assert!(said.stderr.is_empty(), "the table is all: {}", said.all());
}

impl Place {
    fn signature(&self) -> String {
        fs::read_to_string(self.at("model/model.sig")).unwrap()
    }

    /// Writes over the first bytes of the signature proper, so that it is another one.
    fn edit_signature(&self, bytes: &str) {
        let mut bundle: Value = serde_json::from_str(&self.signature()).unwrap();
        let signature = &mut bundle["dsseEnvelope"]["signatures"][0]["sig"];
        let text = signature.as_str().unwrap().to_owned();
        let end = text.len() - 8 - bytes.len();
        *signature = json!(format!("{}{bytes}{}", &text[..end], &text[end + bytes.len()..]));
        self.put("model/model.sig", bundle.to_string());
    }
}

#[test_case(|_| {}, "absent.pub", "TrustRootMissing", "there is no key file absent.pub"; "missing")]
#[test_case(|p| fs::create_dir(p.at("k")).unwrap(), "k", "TrustRootInvalid", "is a folder"; "a folder")]
#[test_case(|p| p.put("k", ""), "k", "TrustRootInvalid", "is empty: give the signer's public key as PEM"; "empty")]
#[test_case(|p| p.put("k", "hello"), "k", "TrustRootInvalid", "the key k is not PEM"; "some text")]
#[test_case(|p| p.put("k", b"\x30\x59\xff\xfe"), "k", "TrustRootInvalid", "is not text: if it is a key in binary form, openssl"; "binary")]
#[test_case(|p| p.sparse("k", 1 << 40), "k", "TrustRootInvalid", "more than 64 KiB"; "huge")]
#[test_case(|_| {}, "/dev/zero", "TrustRootInvalid", "more than 64 KiB"; "endless")]
#[test_case(|p| p.openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out k"), "k", "TrustRootInvalid", "is a private key"; "private")]
#[test_case(|p| p.rsa("k"), "k", "TrustRootInvalid", "is an RSA key: ECDSA on P-256"; "of another algorithm")]
#[test_case(|p| p.openssl("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=x -keyout x -out k"), "k", "TrustRootInvalid", "is a certificate: give its public key"; "a certificate")]
#[test_case(|p| p.put("k", p.key("release.pub") + &p.key("stranger.pub")), "k", "TrustRootInvalid", "is 2 keys in one"; "two in one")]
#[test_case(|p| p.put("k", p.key("release.pub").replace('\n', "")), "k", "TrustRootInvalid", "the key k"; "without its lines")]
fn keys(prepare: fn(&Place), key: &str, reason: &str, words: &str) {
    let place = Place::new();
    prepare(&place);
    place
        .probity(&format!("verify model --key {key}"))
        .expect(50, &[&format!("Unknown: {reason}"), words]);
    let json = place.probity(&format!("verify model -o json --key release.pub --key {key}"));
    json.expect(50, &[words]);
    assert_eq!(
        json.json()["reason"],
        reason,
        "one that cannot be used is not passed over"
    );
}

impl Place {
    fn key(&self, name: &str) -> String {
        fs::read_to_string(self.at(name)).unwrap()
    }

    fn openssl(&self, arguments: &str) {
        done(openssl(arguments).current_dir(self.at("")));
    }

    fn rsa(&self, name: &str) {
        self.openssl("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out private");
        self.openssl(&format!("pkey -in private -pubout -out {name}"));
    }
}

#[test]
fn a_key_from_a_pipe() {
    let place = Place::new();
    let mut command = std::process::Command::new("bash");
    let line = format!("{} verify model --key <(cat release.pub)", super::models::PROBITY);
    let output = command
        .current_dir(place.at(""))
        .args(["-c", &line])
        .output()
        .unwrap();
    Said::of(&output).expect(0, &["Verified"]);
}

#[test]
fn keys_of_one_name_are_told_apart() {
    let place = Place::new();
    place.put("a/key.pub", place.key("stranger.pub"));
    place.put("b/key.pub", place.key("release.pub"));
    place
        .probity("verify model --key a/key.pub --key b/key.pub")
        .expect(0, &["Signer   b/key.pub\n"]);
}

#[test]
fn a_folder_or_file_that_cannot_be_read() {
    for name in ["model", "model/config.json", "model/model.sig", "release.pub"] {
        let place = Place::new();
        let mut permissions = fs::metadata(place.at(name)).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0);
        fs::set_permissions(place.at(name), permissions).unwrap();
        if place
            .command()
            .args(["verify", "model", "--key", "release.pub"])
            .output()
            .unwrap()
            .status
            .success()
        {
            eprintln!("for root everything can be read; nothing was tested");
            return;
        }
        let said = place.probity(VERIFY);
        said.expect(
            if name == "release.pub" { 50 } else { 60 },
            &["Unknown: ", "ermission denied"],
        );
    }
}

/// What programs may rely on: these fields and no others, whatever is found.
#[test]
fn json_of_what_was_verified() {
    let place = Place::new();
    let said = place.probity("verify model --key release.pub -o json");
    let shown = said.json();
    let hex = |value: &Value| value.as_str().unwrap().strip_prefix("sha256:").unwrap().len();
    assert_eq!(hex(&shown["digest"]), 64);
    assert_eq!(hex(&shown["signers"][0]["fingerprint"]), 64);
    let expected = json!({
        "target": "model", "verified": true, "digest": shown["digest"],
        "signers": [{"key": "release", "fingerprint": shown["signers"][0]["fingerprint"]}],
        "files": 3, "size": 29, "ignored": [], "differing": 0, "differences": [],
    });
    assert_eq!(shown, expected);
    assert_eq!((said.code, said.stderr.as_str()), (0, ""));
}

#[test]
fn json_of_what_was_refused() {
    let place = Place::new();
    place.put("model/model.onnx", "poison!");
    for n in 0..6 {
        place.put(&format!("model/extra-{n}"), "x");
    }
    let said = place.probity("verify model --key release.pub -o json");
    let shown = said.json();
    let fields: Vec<_> = shown.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "differences",
        "differing",
        "files",
        "ignored",
        "message",
        "reason",
        "signers",
        "size",
        "target",
        "verified",
    ];
    assert_eq!(
        fields, expected,
        "no digest: it is not the model the signature names"
    );
    assert_eq!(
        (&shown["verified"], &shown["reason"]),
        (&json!(false), &json!("DigestMismatch"))
    );
    assert_eq!((&shown["differing"], &shown["files"]), (&json!(7), &json!(9)));
    let differences = shown["differences"].as_array().unwrap();
    assert_eq!(differences.len(), 5, "the first ones");
    assert_eq!(differences[0]["path"], "extra-0");
    assert!(differences[0].get("signed").is_none() && differences[0].get("found").is_some());
    said.expect(20, &[]);
    assert_eq!(
        said.stderr,
        format!(
            "probity verify: {} (DigestMismatch)\n",
            shown["message"].as_str().unwrap()
        ),
        "a pipe loses the exit code, people should not lose the reason"
    );
}

#[test]
fn json_of_what_was_not_looked_at() {
    let said = Place::new().probity("verify nowhere --key release.pub -o json");
    let shown = said.json();
    assert_eq!(
        (&shown["verified"], &shown["reason"]),
        (&json!(false), &json!("Io"))
    );
    assert_eq!((&shown["files"], &shown["signers"]), (&json!(0), &json!([])));
}

#[test_case("verify model", &["--key <FILE>", "Usage"]; "no key")]
#[test_case("verify --key release.pub", &["DIR|REFERENCE"]; "nothing to verify")]
#[test_case("verify model --key release.pub -o xml", &["table, json"]; "an output that there is none")]
#[test_case("verify model --key release.pub --ignore ../x", &["climbs out"]; "a path that climbs out")]
#[test_case("verify model --key release.pub --ignore /x", &["is absolute"]; "an absolute path")]
#[test_case("verify model --key release.pub --plain-http https://x", &["--plain-http"]; "a host that is none")]
#[test_case("verify model --key release.pub --keys x", &["--key"]; "an option that there is none")]
#[test_case("verify registry.example/m:1 --key release.pub --signature s", &["are for folders", "Usage: probity verify"]; "a signature for an artifact")]
#[test_case("verify registry.example/m:1 --key release.pub --ignore s", &["are for folders"]; "a path to ignore in an artifact")]
#[test_case("verfy", &["verify"]; "a word mistyped")]
fn command_lines(arguments: &str, words: &[&str]) {
    let said = Place::new().probity(arguments);
    said.expect(2, words);
    assert!(said.stdout.is_empty(), "{}", said.all());
}
