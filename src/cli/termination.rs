//! What an init container leaves for the kubelet to report: one line, in the pod's status.
//! It writes where it is told to and creates nothing.

use std::{fs::OpenOptions, io::Write as _, path::Path};

use serde::Serialize;

use crate::evidence::{Failure, Reason};

/// Where the kubelet looks.
pub const LOG: &str = "/dev/termination-log";
/// At most this many bytes are written; the kubelet keeps 4096 of all containers together.
const MAX_LINE: usize = 1024;

/// Leaves a line where the kubelet looks for it. Nothing is created: outside a pod there is no such file, and that is
/// no failure.
pub fn leave(path: &Path, line: &str) -> Result<(), Failure> {
    let written = OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(path)
        .and_then(|mut file| file.write_all(line.as_bytes()));
    match written {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Failure::new(
            Reason::Io,
            format!(
                "cannot write {} ({error}): give a file that can be written",
                path.display()
            ),
        )),
        _ => Ok(()),
    }
}

/// `{"reason":…,"message":…}` of at most [`MAX_LINE`] bytes, the message shortened as need be.
pub fn line(failure: &Failure) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        reason: Reason,
        message: &'a str,
    }
    let mut message = failure.message.as_str();
    loop {
        let line = serde_json::to_string(&Line {
            reason: failure.reason,
            message,
        })
        .unwrap_or_default();
        if line.len() <= MAX_LINE || message.is_empty() {
            return line;
        }
        // One byte becomes six at most, so that a sixth of the excess is never too much to cut.
        let mut keep = message.len().saturating_sub((line.len() - MAX_LINE).div_ceil(6));
        while !message.is_char_boundary(keep) {
            keep -= 1;
        }
        message = &message[..keep];
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the names are the test's own")]
mod tests {
    use test_case::test_case;

    use super::*;

    #[test_case("short" => 45; "short")]
    #[test_case(&"x".repeat(900) => 940; "as it is")]
    #[test_case(&"\u{1}".repeat(900) => matches 1000..=1024; "escapes make it longer")]
    #[test_case(&"é".repeat(1000) => matches 1000..=1024; "cut between characters")]
    fn lines(message: &str) -> usize {
        let line = line(&Failure::new(Reason::DigestMismatch, message));
        let read: Failure = serde_json::from_str(&line).unwrap();
        assert_eq!(read.reason, Reason::DigestMismatch);
        assert!(message.starts_with(&read.message) && !read.message.is_empty());
        line.len()
    }

    #[test]
    fn it_is_written_only_where_there_is_a_file() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("termination-log");
        let failure = Failure::new(Reason::NotFound, "x: y");
        leave(&path, &line(&failure)).unwrap();
        assert!(!path.exists());
        std::fs::write(
            &path,
            "what was there before, which is longer than a short line of JSON would be by itself",
        )
        .unwrap();
        leave(&path, &line(&failure)).unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            r#"{"reason":"NotFound","message":"x: y"}"#
        );
        assert_eq!(
            leave(temp.path(), "x").unwrap_err().reason,
            Reason::Io,
            "a folder"
        );
    }
}
