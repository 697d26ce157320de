//! The name of a file within a model: relative, canonical, one spelling a file.
//! A signed or remote name becomes a [`RelPath`] or an error; it never goes through `Path::join`, which an absolute name would replace.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::evidence::{Failure, Reason};

/// Longest name, in bytes: what Linux takes as one path.
const MAX_PATH: usize = 4096;
/// Longest component, in bytes: what Linux file systems take as one name.
const MAX_COMPONENT: usize = 255;
/// Most components.
const MAX_DEPTH: usize = 64;

/// A canonical relative path: components joined by `/`, none empty, `.` or `..`; no control characters, no backslash.
///
/// Ordered by code points, as names in a signature are.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct RelPath(Box<str>);

/// Why a text is not a [`RelPath`]. The message quotes the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the file name `{name}` {problem}")]
pub struct RelPathError {
    name: String,
    problem: &'static str,
}

impl RelPath {
    /// Parses a name strictly: nothing is normalised, because a file has one spelling.
    pub fn parse(text: &str) -> Result<Self, RelPathError> {
        match problem(text) {
            None => Ok(Self(text.into())),
            Some(problem) => Err(RelPathError {
                name: super::printable(text, 120),
                problem,
            }),
        }
    }

    /// The entry `name` of the folder `parent`, or of the root when there is none.
    pub fn child(parent: Option<&Self>, name: &str) -> Result<Self, RelPathError> {
        if name.contains('/') {
            return Err(RelPathError {
                name: super::printable(name, 120),
                problem: "has a slash in one component",
            });
        }
        match parent {
            Some(parent) => Self::parse(&format!("{parent}/{name}")),
            None => Self::parse(name),
        }
    }

    /// The path as it is written in a signature.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The components, outermost first; there is at least one.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }

    /// Whether this is `other` or lies in the folder `other`.
    pub fn is_within(&self, other: &Self) -> bool {
        self.0
            .strip_prefix(&*other.0)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

fn problem(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        return Some("is empty");
    }
    if text.len() > MAX_PATH {
        return Some("is longer than 4096 bytes");
    }
    if text.starts_with('/') {
        return Some("is absolute");
    }
    if text.ends_with('/') {
        return Some("ends with a slash");
    }
    if text.contains('\\') {
        return Some("has a backslash");
    }
    if text.chars().any(is_deceptive) {
        return Some("has control characters");
    }
    for (depth, component) in text.split('/').enumerate() {
        match component {
            "" => return Some("has an empty component"),
            "." => return Some("has the component `.`"),
            ".." => return Some("climbs out with `..`"),
            _ if component.len() > MAX_COMPONENT => return Some("has a component longer than 255 bytes"),
            _ if depth >= MAX_DEPTH => return Some("is deeper than 64 folders"),
            _ => {}
        }
    }
    None
}

/// Control characters, and those that reorder, hide or break the text of a message or a terminal.
pub(super) fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

impl FromStr for RelPath {
    type Err = RelPathError;

    fn from_str(text: &str) -> Result<Self, RelPathError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for RelPath {
    type Error = RelPathError;

    fn try_from(text: String) -> Result<Self, RelPathError> {
        Self::parse(&text)
    }
}

impl From<RelPath> for String {
    fn from(path: RelPath) -> Self {
        path.0.into()
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl From<RelPathError> for Failure {
    fn from(error: RelPathError) -> Self {
        Self::new(
            Reason::MalformedPath,
            format!("{error}: write relative names without `.` and `..`, joined by single slashes"),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Component, Path};

    use proptest::prelude::*;
    use test_case::test_case;

    use super::*;

    #[test_case("model.onnx")]
    #[test_case("sub/x.txt")]
    #[test_case(".gitignore"; "a leading dot")]
    #[test_case("..."; "three dots")]
    #[test_case("a..b/c."; "dots within")]
    #[test_case("gewichte/größe ☃.bin"; "unicode and spaces")]
    #[test_case("a:0:100"; "colons")]
    #[test_case("-rf"; "a leading dash")]
    fn prints_what_it_parsed(text: &str) {
        assert_eq!(RelPath::parse(text).unwrap().to_string(), text);
    }

    #[test_case("", "empty"; "empty")]
    #[test_case("/etc/passwd", "absolute"; "absolute")]
    #[test_case("//x", "absolute"; "two leading slashes")]
    #[test_case("..", "climbs out"; "only climbing")]
    #[test_case("../x", "climbs out"; "climbing first")]
    #[test_case("a/../../x", "climbs out"; "climbing within")]
    #[test_case("a/..", "climbs out"; "climbing last")]
    #[test_case(".", "component `.`"; "only a dot")]
    #[test_case("./a", "component `.`"; "leading dot slash")]
    #[test_case("a/./b", "component `.`"; "dot within")]
    #[test_case("a//b", "empty component"; "doubled slash")]
    #[test_case("a/", "ends with a slash"; "trailing slash")]
    #[test_case("a\0b", "control"; "nul")]
    #[test_case("a\nb", "control"; "newline")]
    #[test_case("a\u{1b}[2Jb", "control"; "terminal escape")]
    #[test_case("exe.\u{202e}xnno", "control"; "right-to-left override")]
    #[test_case("a\\b", "backslash"; "backslash")]
    #[test_case("C:\\x", "backslash"; "drive letter")]
    #[test_case(&"a/".repeat(2048), "ends with"; "long and trailing")]
    #[test_case(&"x".repeat(4097), "4096"; "too long")]
    #[test_case(&"x".repeat(256), "255"; "long component")]
    #[test_case(&["a"; 65].join("/"), "deeper"; "too deep")]
    fn refuses(text: &str, problem: &str) {
        let failure: Failure = RelPath::parse(text).unwrap_err().into();
        assert!(failure.message.contains(problem), "{failure}");
        assert_eq!(failure.reason, Reason::MalformedPath);
        assert!(!failure.message.chars().any(is_deceptive), "{failure:?}");
    }

    #[test]
    fn limits_are_inclusive() {
        assert!(RelPath::parse(&["a"; 64].join("/")).is_ok());
        assert!(RelPath::parse(&"x".repeat(255)).is_ok());
    }

    #[test]
    fn a_component_has_no_slash() {
        assert!(RelPath::child(None, "a/b").is_err());
        let a = RelPath::child(None, "a").unwrap();
        assert_eq!(RelPath::child(Some(&a), "b").unwrap().as_str(), "a/b");
        assert!(RelPath::child(Some(&a), "..").is_err());
    }

    #[test_case("a/b", "a" => true)]
    #[test_case("a", "a" => true; "the same")]
    #[test_case("ab", "a" => false; "only a prefix of the text")]
    #[test_case("a", "a/b" => false; "the parent")]
    fn within(path: &str, folder: &str) -> bool {
        RelPath::parse(path)
            .unwrap()
            .is_within(&RelPath::parse(folder).unwrap())
    }

    proptest! {
        #[test]
        fn a_path_never_escapes(text in r"(a|ä|\.|\.\.|/|\.\./|\\|\x00| ){0,8}") {
            if let Ok(path) = RelPath::parse(&text) {
                prop_assert!(Path::new(path.as_str()).components().all(|c| matches!(c, Component::Normal(_))));
                prop_assert_eq!(Path::new(path.as_str()).components().count(), path.components().count());
                prop_assert_eq!(path.as_str(), text);
            }
        }

        #[test]
        fn any_text_parses_or_is_refused(text in any::<String>()) {
            let _ = RelPath::parse(&text);
        }
    }
}
