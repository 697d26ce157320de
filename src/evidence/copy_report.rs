//! What `probity copy` says when it succeeded: one line that the pod's status carries to the operator.
//! Plain data with one way to write it and one to read it; whether it is to be believed is the reader's business.

use serde::{Deserialize, Serialize};

use super::{Digest, Failure, Reason, SignerIdentity};

/// Longest report, in bytes. The kubelet keeps 4096 of all containers of a pod together.
pub const MAX_REPORT: usize = 1024;

/// What was verified and copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CopyReport {
    /// The model's identity: the digest that the signature states over its files.
    pub digest: Digest,
    /// Bytes of its files.
    pub size: u64,
    /// How many files, the signature itself not counted.
    pub files: u64,
    /// Whose signature verified; at least one.
    pub signers: Vec<SignerIdentity>,
}

impl CopyReport {
    /// Reads a report, strictly: it comes out of a pod.
    ///
    /// # Errors
    /// [`Reason::Internal`] for everything that [`Self::line`] does not write: more than [`MAX_REPORT`] bytes, anything
    /// behind the object, a field that is missing, unknown, repeated or of another type, or no signer.
    pub fn read(text: &str) -> Result<Self, Failure> {
        if text.len() > MAX_REPORT {
            return Err(unreadable(&format!(
                "has {} bytes and at most {MAX_REPORT} are read",
                text.len()
            )));
        }
        let report: Self = serde_json::from_str(text).map_err(|error| unreadable(&error.to_string()))?;
        // A derived struct also takes an array of its fields, and the signer, which is shared, fields it does not know.
        let whole: Option<serde_json::Value> = serde_json::from_str(text).ok();
        if whole != serde_json::to_value(&report).ok() {
            return Err(unreadable("says more than it should, or in another form"));
        }
        if report.signers.is_empty() {
            return Err(unreadable("names no signer"));
        }
        Ok(report)
    }

    /// The report as one line of JSON, without a newline.
    ///
    /// # Errors
    /// [`Reason::Internal`] when it would be longer than [`MAX_REPORT`]. Names of keys that came as a
    /// [`KeyArgument`](super::KeyArgument) are short enough for one signer.
    pub fn line(&self) -> Result<String, Failure> {
        match serde_json::to_string(self) {
            Ok(line) if line.len() <= MAX_REPORT => Ok(line),
            _ => Err(Failure::new(
                Reason::Internal,
                format!("the report is longer than {MAX_REPORT} bytes: give the keys shorter names"),
            )),
        }
    }
}

fn unreadable(problem: &str) -> Failure {
    Failure::new(
        Reason::Internal,
        format!(
            "the report of `probity copy` {problem}: the pod runs another version of it, or something else; start the pod again with this version"
        ),
    )
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;

    fn report(key: &str) -> CopyReport {
        CopyReport {
            digest: Digest::from_bytes([1; 32]),
            size: 123,
            files: 4,
            signers: vec![SignerIdentity {
                key: key.into(),
                fingerprint: Digest::from_bytes([2; 32]),
            }],
        }
    }

    fn line() -> String {
        report("bank-keys/2026-q3").line().unwrap()
    }

    #[test]
    fn it_is_written_as_the_documentation_says_and_read_again() {
        let expected = format!(
            r#"{{"digest":"sha256:{}","size":123,"files":4,"signers":[{{"key":"bank-keys/2026-q3","fingerprint":"sha256:{}"}}]}}"#,
            "01".repeat(32),
            "02".repeat(32)
        );
        assert_eq!(line(), expected);
        assert_eq!(CopyReport::read(&line()).unwrap(), report("bank-keys/2026-q3"));
    }

    #[test]
    fn the_longest_name_that_an_argument_carries_fits() {
        let mut longest = report(&"n".repeat(512));
        (longest.size, longest.files) = (u64::MAX, u64::MAX);
        assert_eq!(CopyReport::read(&longest.line().unwrap()).unwrap(), longest);
        assert_eq!(
            report(&"n".repeat(1024)).line().unwrap_err().reason,
            Reason::Internal
        );
    }

    #[test_case(|line| line.replace(',', ", ") + "\n"; "other white space")]
    #[test_case(|_| format!(r#"{{"signers":[{{"fingerprint":"sha256:{0}","key":"k"}}],"files":4,"size":123,"digest":"sha256:{0}"}}"#, "02".repeat(32)); "another order")]
    fn reads(change: fn(String) -> String) {
        CopyReport::read(&change(line())).unwrap();
    }

    #[test_case(|_| String::new(); "nothing")]
    #[test_case(|_| "null".into(); "null")]
    #[test_case(|_| r#"{"reason":"Io","message":"x"}"#.into(); "a failure")]
    #[test_case(|line| line + "x"; "something behind it")]
    #[test_case(|line| line.clone() + "\n" + &line; "twice")]
    #[test_case(|line| line[..line.len() - 1].into(); "cut")]
    #[test_case(|line| line + &" ".repeat(1024); "more than a kibibyte")]
    #[test_case(|line| line.replace("123", "\"123\""); "a size that is text")]
    #[test_case(|line| line.replace("123", "-1"); "a size below nothing")]
    #[test_case(|line| line.replace("123", "1.5"); "half a byte")]
    #[test_case(|line| line.replace("123", "18446744073709551616"); "a size beyond all sizes")]
    #[test_case(|line| line.replace("123", "null"); "no size")]
    #[test_case(|line| line.replace("\"size\":123,", ""); "without a size")]
    #[test_case(|line| line.replace("\"size\":123", "\"size\":123,\"size\":123"); "a field twice")]
    #[test_case(|line| line.replace("\"size\":", "\"more\":1,\"size\":"); "a field nobody knows")]
    #[test_case(|line| line.replace("\"key\":", "\"more\":1,\"key\":"); "a field of a signer that nobody knows")]
    #[test_case(|line| line.replace("sha256:01", "sha512:01"); "another algorithm")]
    #[test_case(|line| line.replace("sha256:01", "sha256:1"); "a digest that is too short")]
    #[test_case(|line| line.replace("sha256:0202", "sha256:02AB"); "a fingerprint in upper case")]
    #[test_case(|line| line[..line.find("[{").unwrap()].to_owned() + "[]}"; "no signer")]
    #[test_case(|_| format!(r#"["sha256:{0}",1,1,[{{"key":"k","fingerprint":"sha256:{0}"}}]]"#, "01".repeat(32)); "fields without names")]
    #[test_case(|_| format!(r#"{{"digest":"sha256:{0}","size":1,"files":1,"signers":[["k","sha256:{0}"]]}}"#, "01".repeat(32)); "a signer without names")]
    fn refuses(change: fn(String) -> String) {
        let failure = CopyReport::read(&change(line())).unwrap_err();
        assert_eq!(failure.reason, Reason::Internal);
        assert!(
            failure.message.starts_with("the report of `probity copy` "),
            "{failure}"
        );
    }
}
