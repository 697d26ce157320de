//! What `probity verify` prints: a table for people, JSON for programs.
//! It shows what was found; nothing is decided here.

use serde::Serialize;

use crate::{
    artifact::signature::RelPath,
    cli::screen::{Colour, Screen, printable_json, size},
    evidence::{ArtifactReport, Class, Digest, Failure, FileDifference, Outcome, Reason, SignerIdentity},
};

/// What is printed. The fields are API, described in docs/cli.md; new ones may be added.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report<'a> {
    /// As it was asked for.
    target: &'a str,
    verified: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
    signers: &'a [SignerIdentity],
    files: usize,
    size: u64,
    ignored: &'a [RelPath],
    differing: usize,
    differences: &'a [FileDifference],
}

impl<'a> Report<'a> {
    pub(super) fn new(target: &'a str, ignored: &'a [RelPath], found: &'a ArtifactReport) -> Self {
        let failure = match &found.outcome {
            Outcome::Verified => None,
            Outcome::Refused(failure) => Some(failure),
        };
        Self {
            target,
            verified: failure.is_none(),
            reason: failure.map(|failure| failure.reason),
            message: failure.map(|failure| failure.message.as_str()),
            digest: found.digest,
            signers: &found.signers,
            files: found.files,
            size: found.size,
            ignored,
            differing: found.differing,
            differences: &found.differences,
        }
    }

    /// The exit code that goes with it.
    pub(super) fn exit_code(&self) -> u8 {
        self.reason.map_or(0, |reason| reason.class().exit_code())
    }

    /// Two columns, what and its value; lists one line each.
    pub(super) fn table(&self, screen: Screen) -> String {
        let (word, colour) = self.verdict();
        let reason = self.reason.map_or(String::new(), |reason| format!(": {reason}"));
        let mut rows = vec![("Verdict", format!("{word}{reason}"))];
        if let Some(message) = self.message {
            rows.push(("Message", message.to_owned()));
        }
        rows.push(("Model", self.target.to_owned()));
        rows.extend(self.digest.map(|digest| ("Digest", digest.to_string())));
        for signer in self.signers {
            rows.push(("Signer", signer.key.clone()));
            rows.push(("Key", signer.fingerprint.to_string()));
        }
        if self.files > 0 {
            let files = if self.files == 1 { "file" } else { "files" };
            rows.push(("Content", format!("{} {files}, {}", self.files, size(self.size))));
        }
        rows.extend(self.ignored.iter().map(|path| ("Ignored", path.to_string())));
        for FileDifference { path, signed, found } in self.differences {
            let side =
                |digest: &Option<Digest>| digest.map_or("nothing".to_owned(), |digest| digest.short() + "…");
            rows.push((
                "Differs",
                format!("{path}: signed {}, found {}", side(signed), side(found)),
            ));
        }
        if self.differing > self.differences.len() {
            rows.push(("Differs", format!("… {} files in all", self.differing)));
        }
        // Its first occurrence is the verdict: nothing but a label of ours is before it.
        screen.rows(&rows).replacen(word, &screen.paint(colour, word), 1)
    }

    /// The same for programs.
    pub(super) fn json(&self) -> Result<String, Failure> {
        serde_json::to_string_pretty(self)
            .map(|json| printable_json(&json) + "\n")
            .map_err(|error| {
                Failure::new(
                    Reason::Internal,
                    format!("cannot write JSON ({error}): please report this"),
                )
            })
    }

    /// What could not be looked at is not refused for what it is.
    fn verdict(&self) -> (&'static str, Colour) {
        match self.reason.map(Reason::class) {
            None => ("Verified", Colour::Green),
            Some(Class::Transient | Class::Trust | Class::Internal) => ("Unknown", Colour::Yellow),
            Some(_) => ("Refused", Colour::Red),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use serde_json::json;
    use test_case::test_case;

    use super::*;

    fn digest(byte: u8) -> Digest {
        Digest::from_bytes([byte; 32])
    }

    fn verified() -> ArtifactReport {
        ArtifactReport {
            digest: Some(digest(1)),
            outcome: Outcome::Verified,
            signers: vec![SignerIdentity {
                key: "release".into(),
                fingerprint: digest(2),
            }],
            differences: Vec::new(),
            differing: 0,
            files: 3,
            size: 600_021,
        }
    }

    fn refused(reason: Reason) -> ArtifactReport {
        let side = |byte| Some(digest(byte));
        ArtifactReport {
            digest: None,
            outcome: Outcome::Refused(Failure::new(
                reason,
                "model.onnx differs from what release signed: roll back",
            )),
            differences: vec![
                FileDifference {
                    path: "extra.bin".into(),
                    signed: None,
                    found: side(3),
                },
                FileDifference {
                    path: "model.onnx".into(),
                    signed: side(4),
                    found: side(5),
                },
            ],
            differing: 9,
            ..verified()
        }
    }

    #[test]
    fn a_table_of_what_was_verified() {
        let ignored = [RelPath::parse("notes").unwrap()];
        let table = Report::new("digits", &ignored, &verified()).table(Screen::default());
        let mut expected = "Verdict  Verified\nModel    digits\n".to_owned();
        let _ = writeln!(expected, "Digest   sha256:{}", "01".repeat(32));
        let _ = writeln!(expected, "Signer   release\nKey      sha256:{}", "02".repeat(32));
        expected += "Content  3 files, 586.0 KiB\nIgnored  notes\n";
        assert_eq!(table, expected);
    }

    #[test]
    fn a_table_of_what_was_refused() {
        let table = Report::new("digits", &[], &refused(Reason::DigestMismatch)).table(Screen::default());
        for line in [
            "Verdict  Refused: DigestMismatch",
            "Message  model.onnx differs from what release signed: roll back",
            "Differs  extra.bin: signed nothing, found 030303030303…",
            "Differs  model.onnx: signed 040404040404…, found 050505050505…",
            "Differs  … 9 files in all",
        ] {
            assert!(
                table.lines().any(|shown| shown == line),
                "{line} is not in\n{table}"
            );
        }
    }

    #[test_case(None => "\u{1b}[1;32mVerified\u{1b}[0m"; "verified")]
    #[test_case(Some(Reason::Unsigned) => "\u{1b}[1;31mRefused\u{1b}[0m: Unsigned"; "refused")]
    #[test_case(Some(Reason::Timeout) => "\u{1b}[1;33mUnknown\u{1b}[0m: Timeout"; "nobody answered")]
    #[test_case(Some(Reason::TrustRootInvalid) => "\u{1b}[1;33mUnknown\u{1b}[0m: TrustRootInvalid"; "no key to look with")]
    fn verdicts(reason: Option<Reason>) -> String {
        let found = reason.map_or_else(verified, refused);
        let table = Report::new("digits", &[], &found).table(Screen {
            width: None,
            colour: true,
        });
        table
            .lines()
            .next()
            .unwrap()
            .strip_prefix("Verdict  ")
            .unwrap()
            .to_owned()
    }

    #[test]
    fn json_of_what_was_refused() {
        let found = refused(Reason::DigestMismatch);
        let report = Report::new("digits", &[], &found);
        let shown: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
        let expected = json!({
            "target": "digits", "verified": false, "reason": "DigestMismatch",
            "message": "model.onnx differs from what release signed: roll back",
            "signers": [{"key": "release", "fingerprint": digest(2)}],
            "files": 3, "size": 600_021, "ignored": [], "differing": 9,
            "differences": [
                {"path": "extra.bin", "found": digest(3)},
                {"path": "model.onnx", "signed": digest(4), "found": digest(5)},
            ],
        });
        assert_eq!(shown, expected);
        assert_eq!(report.exit_code(), 20);
    }
}
