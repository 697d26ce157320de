//! A reference to an artifact in a registry: `host[:port]/repository[:tag][@sha256:…]`.
//! It parses strictly and guesses nothing: no default registry, no default tag.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::Digest;

/// Where an artifact is. At least one of `tag` and `digest` is set; the digest wins.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Reference {
    host: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is not a [`Reference`]. The message quotes the text and says what to write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a reference: {problem}; write host/repository:tag or host/repository@sha256:…")]
pub struct ReferenceError {
    text: String,
    problem: &'static str,
}

impl Reference {
    /// The registry, `host` or `host:port`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The repository within the registry, without a leading slash.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// `host/repository`, what `repositories` in a policy is matched with.
    pub fn name(&self) -> String {
        format!("{}/{}", self.host, self.repository)
    }

    /// The tag, if one was written.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if one was written.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// The same artifact pinned: the tag is dropped, the digest set.
    #[must_use]
    pub fn pinned(&self, digest: Digest) -> Self {
        Self {
            tag: None,
            digest: Some(digest),
            ..self.clone()
        }
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let refuse = |problem| ReferenceError {
            text: text.chars().take(200).collect(),
            problem,
        };
        if text.len() > 1024 {
            return Err(refuse("it is longer than 1024 characters"));
        }
        if text.contains("://") {
            return Err(refuse("it has a scheme"));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (
                rest,
                Some(
                    digest
                        .parse()
                        .map_err(|_| refuse("its digest is not sha256: and 64 lower-case hex digits"))?,
                ),
            ),
            None => (text, None),
        };
        let (host, path) = rest
            .split_once('/')
            .ok_or_else(|| refuse("it names no registry"))?;
        if !is_host(host) {
            return Err(refuse("its first part is not a registry's host name"));
        }
        let (repository, tag) = match path.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (path, None),
        };
        if !repository.split('/').all(is_path_component) {
            return Err(refuse(
                "its repository is not lower-case words joined by / . _ or -",
            ));
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(refuse("its tag is not 1 to 128 letters, digits, `_`, `.` or `-`"));
        }
        if tag.is_none() && digest.is_none() {
            return Err(refuse("it has neither tag nor digest"));
        }
        Ok(Self {
            host: host.to_owned(),
            repository: repository.to_owned(),
            tag: tag.map(ToOwned::to_owned),
            digest,
        })
    }
}

/// `name.example`, `localhost`, `10.0.0.1` or `[::1]`, each with an optional port; lower case, one spelling a host.
fn is_host(text: &str) -> bool {
    let (name, port) = match text.strip_prefix('[') {
        Some(v6) => match v6.split_once(']') {
            Some((name, rest)) if name.parse::<std::net::Ipv6Addr>().is_ok() => {
                return rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port);
            }
            _ => return false,
        },
        None => match text.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        },
    };
    let named = name == "localhost" || name.contains('.') || port.is_some();
    named
        && port.is_none_or(is_port)
        && name.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        })
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok_and(|port| port > 0) && !text.starts_with('0') && !text.starts_with('+')
}

/// Distribution's grammar: alphanumerics joined by one `.`, one or two `_`, or any number of `-`.
fn is_path_component(text: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    alphanumeric(*first)
        && alphanumeric(*last)
        && bytes
            .split(|b| alphanumeric(*b))
            .all(|joint| matches!(joint, b"" | b"." | b"_" | b"__") || joint.iter().all(|b| *b == b'-'))
}

fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (1..=128).contains(&text.len())
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

impl TryFrom<String> for Reference {
    type Error = ReferenceError;

    fn try_from(text: String) -> Result<Self, ReferenceError> {
        text.parse()
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.to_string()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;

    const DIGEST: &str = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    #[test_case("registry.example/models/digits:1.2.0")]
    #[test_case("localhost/digits:1")]
    #[test_case("localhost:5000/a/b/c:v1_x.y-z")]
    #[test_case("10.0.0.1:5000/digits:1")]
    #[test_case("[::1]:5000/digits:1")]
    #[test_case("registry.example/a--b/c__d/e.f:1")]
    fn prints_what_it_parsed(text: &str) {
        assert_eq!(text.parse::<Reference>().unwrap().to_string(), text);
    }

    #[test]
    fn a_digest_pins() {
        let reference: Reference = format!("registry.example/digits:1@{DIGEST}").parse().unwrap();
        let digest = reference.digest().unwrap();
        assert_eq!(
            reference.pinned(digest).to_string(),
            format!("registry.example/digits@{DIGEST}")
        );
        assert_eq!(reference.name(), "registry.example/digits");
    }

    #[test_case("", "no registry"; "empty")]
    #[test_case("digits:1", "no registry"; "no host")]
    #[test_case("models/digits:1", "host name"; "a word is not a host")]
    #[test_case("https://registry.example/digits:1", "scheme"; "scheme")]
    #[test_case("registry.example/digits", "neither tag nor digest"; "no tag")]
    #[test_case("registry.example/Digits:1", "repository"; "upper case")]
    #[test_case("registry.example/../digits:1", "repository"; "climbing")]
    #[test_case("registry.example//digits:1", "repository"; "empty component")]
    #[test_case("registry.example/a___b:1", "repository"; "three underscores")]
    #[test_case("registry.example/digits:", "tag"; "empty tag")]
    #[test_case("registry.example/digits:-1", "tag"; "tag starts with a dash")]
    #[test_case("registry.example/digits@sha256:12", "digest"; "short digest")]
    #[test_case("registry.example:99999/digits:1", "host name"; "port too large")]
    #[test_case("registry.example:0/digits:1", "host name"; "port zero")]
    #[test_case("user@registry.example/digits:1", "digest"; "user info")]
    #[test_case("REGISTRY.example/digits:1", "host name"; "upper-case host")]
    fn refuses(text: &str, problem: &str) {
        let error = text.parse::<Reference>().unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
}
