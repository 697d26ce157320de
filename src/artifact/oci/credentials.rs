//! User names and passwords of registries, as a pull secret holds them.
//! It decodes and looks up; where a secret may be sent is decided in `hosts`, and nothing here prints one.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;

use super::unique::UniqueMap;
use crate::evidence::{Failure, Reason};

/// A user name and a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Basic {
    /// The user name.
    pub username: String,
    /// The password or access token.
    pub password: String,
}

impl fmt::Debug for Basic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Basic { .. }")
    }
}

/// The credentials of a pull secret; the default holds none.
#[derive(Clone, Default)]
pub struct Credentials {
    entries: Vec<(Key, Entry)>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.entries.iter().map(|(key, _)| &key.host))
            .finish()
    }
}

/// Which repositories an entry is for: a registry, or what lies below a path in it.
#[derive(Clone)]
struct Key {
    host: String,
    path: String,
}

#[derive(Deserialize)]
struct DockerConfig {
    auths: UniqueMap<Entry>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
struct Entry {
    #[serde(default)]
    auth: Option<String>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    identitytoken: Option<String>,
    #[serde(default)]
    registrytoken: Option<String>,
}

/// Pull secrets are at most 1 MiB in the API server.
const MAX_CONFIG: usize = 1 << 20;

impl Credentials {
    /// No credentials: registries are asked anonymously.
    pub fn none() -> Self {
        Self::default()
    }

    /// Reads the value of `.dockerconfigjson` in a Secret of type `kubernetes.io/dockerconfigjson`.
    ///
    /// The content of an entry is looked at only when it is asked for, so that one unreadable entry harms only the
    /// registry it is for. Messages never quote the input.
    pub fn from_docker_config(json: &[u8]) -> Result<Self, Failure> {
        let refuse = |problem: &str| {
            Failure::new(
                Reason::MalformedCredentials,
                format!(
                    "the registry credentials {problem}: make them with `kubectl create secret docker-registry`, type kubernetes.io/dockerconfigjson"
                ),
            )
        };
        if json.len() > MAX_CONFIG {
            return Err(refuse("are larger than 1 MiB"));
        }
        let config: DockerConfig = serde_json::from_slice(json).map_err(|error| {
            use serde_json::error::Category;
            match error.classify() {
                Category::Data if error.to_string().contains("duplicate") => refuse("name a registry twice"),
                Category::Data => refuse("are JSON, but have no `auths` with one object for each registry"),
                Category::Io | Category::Syntax | Category::Eof => refuse("are not JSON"),
            }
        })?;
        let mut entries: Vec<_> = config
            .auths
            .iter()
            .map(|(key, entry)| (Key::read(key), entry.clone()))
            .collect();
        // The entry with the longest path is the one that is meant.
        entries.sort_by_key(|(key, _)| std::cmp::Reverse(key.path.len()));
        Ok(Self { entries })
    }

    /// The same of a pull secret: what type it says it is, and the value of `.dockerconfigjson` if it has one.
    ///
    /// # Errors
    /// [`Reason::MalformedCredentials`] when it is no pull secret.
    pub fn from_pull_secret(name: &str, kind: Option<&str>, config: Option<&[u8]>) -> Result<Self, Failure> {
        let malformed = |what: &str| {
            Failure::new(
                Reason::MalformedCredentials,
                format!(
                    "Secret {name} {what}: create it with `kubectl create secret docker-registry {name} …`"
                ),
            )
        };
        if kind != Some("kubernetes.io/dockerconfigjson") {
            return Err(malformed("is not of type kubernetes.io/dockerconfigjson"));
        }
        Self::from_docker_config(config.ok_or_else(|| malformed("has no key .dockerconfigjson"))?)
    }

    /// The credentials for a repository: the host is compared exactly, its port included.
    ///
    /// # Errors
    /// [`Reason::MalformedCredentials`] when there is an entry for it that cannot be used.
    pub fn for_repository(&self, host: &str, repository: &str) -> Result<Option<Basic>, Failure> {
        match self.entries.iter().find(|(key, _)| key.is_for(host, repository)) {
            Some((_, entry)) => entry.read(host),
            None => Ok(None),
        }
    }
}

impl Key {
    /// Docker writes keys as hosts, as URLs, and with the API's version behind: all of them mean the host.
    fn read(text: &str) -> Self {
        let text = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"))
            .unwrap_or(text);
        let (host, path) = text.split_once('/').unwrap_or((text, ""));
        let path = match path.trim_end_matches('/') {
            "v1" | "v2" => "",
            path => path,
        };
        Self {
            host: one_name(host).to_owned(),
            path: path.to_owned(),
        }
    }

    fn is_for(&self, host: &str, repository: &str) -> bool {
        self.host == one_name(host)
            && (self.path.is_empty()
                || repository
                    .strip_prefix(self.path.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
    }
}

/// Docker Hub goes by several names: `docker login` writes the second, images have the first, and the third answers.
fn one_name(host: &str) -> &str {
    match host {
        "docker.io" | "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    }
}

impl Entry {
    fn read(&self, host: &str) -> Result<Option<Basic>, Failure> {
        let refuse = |problem: &str| {
            Err(Failure::new(
                Reason::MalformedCredentials,
                format!(
                    "the credentials for {host} {problem}: give it a user name and a password or access token"
                ),
            ))
        };
        let given = |field: &Option<String>| {
            field
                .as_deref()
                .filter(|text| !text.is_empty())
                .map(ToOwned::to_owned)
        };
        if given(&self.identitytoken).is_some() || given(&self.registrytoken).is_some() {
            return refuse("are an identity token, which is not supported");
        }
        let basic = if let Some(auth) = given(&self.auth) {
            let Some(text) = STANDARD
                .decode(auth.trim())
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok())
            else {
                return refuse("have an `auth` that is not base64 of text");
            };
            // Docker pads with NUL.
            let Some((username, password)) = text.trim_end_matches('\0').split_once(':') else {
                return refuse("have an `auth` that is not base64 of name:password");
            };
            Basic {
                username: username.to_owned(),
                password: password.to_owned(),
            }
        } else {
            match (given(&self.username), given(&self.password)) {
                (Some(username), Some(password)) => Basic { username, password },
                (None, None) => return Ok(None),
                _ => return refuse("have only one of user name and password"),
            }
        };
        if basic.username.contains(':')
            || [&basic.username, &basic.password]
                .iter()
                .any(|t| t.contains(char::is_control))
        {
            return refuse("hold characters that HTTP cannot carry");
        }
        Ok(Some(basic))
    }
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;

    /// `user:pass`
    const AUTH: &str = "dXNlcjpwYXNz";

    fn look(config: &str, host: &str, repository: &str) -> Result<Option<Basic>, Failure> {
        Credentials::from_docker_config(config.as_bytes())?.for_repository(host, repository)
    }

    fn user(name: &str) -> Basic {
        Basic {
            username: name.to_owned(),
            password: "pass".to_owned(),
        }
    }

    #[test_case("registry.example", "registry.example" => Some(user("user")); "the host")]
    #[test_case("https://registry.example", "registry.example" => Some(user("user")); "a URL")]
    #[test_case("https://registry.example/v1/", "registry.example" => Some(user("user")); "a URL with a version")]
    #[test_case("registry.example/v2", "registry.example" => Some(user("user")); "a version")]
    #[test_case("registry.example:5000", "registry.example:5000" => Some(user("user")); "with a port")]
    #[test_case("registry.example", "registry.example:5000" => None; "no port is not any port")]
    #[test_case("registry.example:5000", "registry.example" => None; "a port is not no port")]
    #[test_case("registry.example", "evil-registry.example" => None; "a name that ends alike")]
    #[test_case("registry.example", "registry.example.evil.example" => None; "a name that begins alike")]
    #[test_case("*.example", "registry.example" => None; "no wildcards")]
    #[test_case("registry.example/models", "registry.example" => Some(user("user")); "below a path")]
    #[test_case("registry.example/models/digits", "registry.example" => Some(user("user")); "the repository itself")]
    #[test_case("registry.example/model", "registry.example" => None; "a path is compared by components")]
    fn hosts(key: &str, host: &str) -> Option<Basic> {
        look(
            &format!(r#"{{"auths": {{"{key}": {{"auth": "{AUTH}"}}}}}}"#),
            host,
            "models/digits",
        )
        .unwrap()
    }

    #[test]
    fn the_longest_path_wins() {
        let config = r#"{"auths": {"r.example": {"username": "any", "password": "pass"},
            "r.example/models/digits": {"username": "digits", "password": "pass"},
            "r.example/models": {"username": "models", "password": "pass"}}}"#;
        assert_eq!(
            look(config, "r.example", "models/digits/v1").unwrap(),
            Some(user("digits"))
        );
        assert_eq!(
            look(config, "r.example", "models/letters").unwrap(),
            Some(user("models"))
        );
        assert_eq!(look(config, "r.example", "other").unwrap(), Some(user("any")));
    }

    #[test_case(&format!(r#"{{"auth": "{AUTH}"}}"#) => Some(user("user")); "auth")]
    #[test_case(r#"{"username": "user", "password": "pass"}"# => Some(user("user")); "name and password")]
    #[test_case(&format!(r#"{{"auth": "{AUTH}", "username": "other", "password": "other", "email": "a@b"}}"#) => Some(user("user")); "auth wins")]
    #[test_case(r#"{"auth": "", "username": "user", "password": "pass", "identitytoken": ""}"# => Some(user("user")); "empty fields are absent")]
    #[test_case("{}" => None; "an empty entry is anonymous")]
    fn entries(entry: &str) -> Option<Basic> {
        look(
            &format!(r#"{{"auths": {{"r.example": {entry}}}}}"#),
            "r.example",
            "a",
        )
        .unwrap()
    }

    #[test_case("", "not JSON"; "empty")]
    #[test_case("SECRET", "not JSON"; "text")]
    #[test_case(r#"{"r.example": {"auth": "SECRET"}}"#, "no `auths`"; "the older dockercfg")]
    #[test_case(r#"{"auths": "SECRET"}"#, "no `auths`"; "auths is text")]
    #[test_case(r#"{"auths": {"r.example": {"auth": ["SECRET"]}}}"#, "no `auths`"; "auth is a list")]
    #[test_case(r#"{"auths": {"r.example": {}, "r.example": {"auth": "SECRET"}}}"#, "twice"; "a registry twice")]
    #[test_case(r#"{"auths": {"r.example": {"auth": "SECRET!"}}}"#, "not base64"; "auth is not base64")]
    #[test_case(r#"{"auths": {"r.example": {"auth": "dXNlcg=="}}}"#, "name:password"; "auth without a colon")]
    #[test_case(r#"{"auths": {"r.example": {"password": "SECRET"}}}"#, "only one"; "a password alone")]
    #[test_case(r#"{"auths": {"r.example": {"identitytoken": "SECRET"}}}"#, "identity token"; "identity token")]
    #[test_case(r#"{"auths": {"r.example": {"username": "a", "password": "SECRET\nX-Evil: 1"}}}"#, "HTTP cannot carry"; "a header in the password")]
    fn refuses(config: &str, problem: &str) {
        let failure = look(config, "r.example", "a").unwrap_err();
        assert_eq!(failure.reason, Reason::MalformedCredentials);
        assert!(failure.message.contains(problem), "{failure}");
        assert!(!failure.message.contains("SECRET"), "{failure}");
    }

    #[test]
    fn a_broken_entry_harms_only_its_own_registry() {
        let config =
            format!(r#"{{"auths": {{"bad.example": {{"auth": "!"}}, "r.example": {{"auth": "{AUTH}"}}}}}}"#);
        assert_eq!(look(&config, "r.example", "a").unwrap(), Some(user("user")));
    }

    #[test]
    fn debug_shows_no_secret() {
        let config = format!(r#"{{"auths": {{"r.example": {{"auth": "{AUTH}"}}}}}}"#);
        let credentials = Credentials::from_docker_config(config.as_bytes()).unwrap();
        let shown = format!(
            "{credentials:?} {:?}",
            credentials.for_repository("r.example", "a")
        );
        assert!(!shown.contains(AUTH) && !shown.contains("pass"), "{shown}");
    }
}
