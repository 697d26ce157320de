//! How a registry's challenge is answered: with a password, or with a token that its realm gave for one.
//! It reads challenges and keeps tokens; whether a realm may see a password is decided in `hosts`.

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, header};
use serde::Deserialize;
use tokio::time::Instant;

use super::credentials::Basic;

/// What a registry wants to see with a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Challenge {
    /// A user name and a password.
    Basic,
    /// A token from a realm.
    Bearer {
        /// The realm's URL as the registry wrote it; not yet judged.
        realm: String,
        /// Which service the token is for.
        service: Option<String>,
    },
}

/// Realm and service are part of requests and cache keys.
const MAX_PARAMETER: usize = 2048;

impl Challenge {
    /// The challenge to answer: a token rather than a password, because it can do less. `None` when there is none that
    /// we can answer.
    pub(super) fn choose(headers: &HeaderMap) -> Option<Self> {
        let mut basic = None;
        for value in headers.get_all(header::WWW_AUTHENTICATE) {
            // One unreadable header does not hide a readable one.
            let Some(challenges) = value
                .to_str()
                .ok()
                .and_then(|text| http_auth::parse_challenges(text).ok())
            else {
                continue;
            };
            for challenge in challenges {
                let parameter = |name: &str| {
                    let mut found = challenge
                        .params
                        .iter()
                        .filter(|(key, _)| key.eq_ignore_ascii_case(name));
                    let value = found.next().map(|(_, value)| value.to_unescaped());
                    value.filter(|value| value.len() <= MAX_PARAMETER && found.next().is_none())
                };
                if challenge.scheme.eq_ignore_ascii_case("bearer") {
                    if let Some(realm) = parameter("realm") {
                        return Some(Self::Bearer {
                            realm,
                            service: parameter("service"),
                        });
                    }
                } else if challenge.scheme.eq_ignore_ascii_case("basic") {
                    basic = Some(Self::Basic);
                }
            }
        }
        basic
    }
}

/// `Basic …`, marked as a secret so that nothing prints it.
pub(super) fn basic_header(basic: &Basic) -> Option<HeaderValue> {
    secret(&format!(
        "Basic {}",
        STANDARD.encode(format!("{}:{}", basic.username, basic.password))
    ))
}

fn secret(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// What a token is good for. One for pulling from one repository is all that is ever asked for, whatever the
/// challenge proposes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct TokenKey {
    pub realm: String,
    pub service: Option<String>,
    pub scope: String,
}

impl TokenKey {
    pub(super) fn to_pull(realm: &str, service: Option<&str>, repository: &str) -> Self {
        Self {
            realm: realm.to_owned(),
            service: service.map(ToOwned::to_owned),
            scope: format!("repository:{repository}:pull"),
        }
    }
}

/// A token and when it ends.
#[derive(Clone)]
pub(super) struct Token {
    pub header: HeaderValue,
    until: Instant,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token { .. }")
    }
}

/// The token server's answer; both names occur in the wild and mean the same.
#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    expires_in: Option<u64>,
}

/// The distribution specification's lifetime of a token that states none.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);
/// No token is kept longer, whatever it says.
const MAX_LIFETIME: Duration = Duration::from_secs(60 * 60);
/// A token is not used in its last seconds: the request would arrive too late.
const MARGIN: Duration = Duration::from_secs(5);

impl Token {
    /// Reads a token server's answer received at `now`; `None` when there is no usable token in it.
    pub(super) fn read(json: &[u8], now: Instant) -> Option<Self> {
        let answer: TokenAnswer = serde_json::from_slice(json).ok()?;
        let text = [answer.token, answer.access_token]
            .into_iter()
            .flatten()
            .find(|text| !text.is_empty())?;
        let lifetime = answer
            .expires_in
            .map_or(DEFAULT_LIFETIME, Duration::from_secs)
            .min(MAX_LIFETIME);
        Some(Self {
            header: secret(&format!("Bearer {text}"))?,
            until: now + lifetime.saturating_sub(MARGIN),
        })
    }
}

/// What was learned from earlier challenges: which one each repository made, and the tokens got for them.
///
/// It belongs to one set of credentials: a token got with one secret must never answer for another.
#[derive(Default)]
pub(super) struct Sessions {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    challenges: HashMap<(String, String), Challenge>,
    tokens: HashMap<TokenKey, Token>,
}

/// More than this many repositories or tokens are not remembered; forgetting costs one more request.
const MAX_REMEMBERED: usize = 1024;

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, Known> {
        // Every update is a single insertion or removal, so a poisoned map is still a good one.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The challenge a repository of a registry made last.
    pub(super) fn challenge(&self, registry: &str, repository: &str) -> Option<Challenge> {
        self.lock()
            .challenges
            .get(&(registry.to_owned(), repository.to_owned()))
            .cloned()
    }

    /// Remembers a repository's challenge.
    pub(super) fn remember(&self, registry: &str, repository: &str, challenge: Challenge) {
        let mut known = self.lock();
        if known.challenges.len() >= MAX_REMEMBERED {
            known.challenges.clear();
        }
        known
            .challenges
            .insert((registry.to_owned(), repository.to_owned()), challenge);
    }

    /// A token that is still good at `now`.
    pub(super) fn token(&self, key: &TokenKey, now: Instant) -> Option<Token> {
        self.lock()
            .tokens
            .get(key)
            .filter(|token| now < token.until)
            .cloned()
    }

    /// Keeps a token.
    pub(super) fn keep(&self, key: TokenKey, token: Token) {
        let mut known = self.lock();
        if known.tokens.len() >= MAX_REMEMBERED {
            known.tokens.clear();
        }
        known.tokens.insert(key, token);
    }

    /// Drops a token that a registry refused.
    pub(super) fn forget(&self, key: &TokenKey) {
        self.lock().tokens.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;

    fn bearer(realm: &str, service: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(ToOwned::to_owned),
        }
    }

    #[test_case(&[r#"Basic realm="x""#] => Some(Challenge::Basic); "basic")]
    #[test_case(&[r#"bAsIc realm="x""#] => Some(Challenge::Basic); "schemes have no case")]
    #[test_case(&[r#"Bearer realm="https://a/t",service="s",scope="repository:a:pull,push""#] => Some(bearer("https://a/t", Some("s"))); "bearer")]
    #[test_case(&[r#"Bearer realm="https://a/t""#] => Some(bearer("https://a/t", None)); "bearer without service")]
    #[test_case(&[r#"Basic realm="x", Bearer realm="https://a/t""#] => Some(bearer("https://a/t", None)); "a token rather than a password")]
    #[test_case(&[r#"Basic realm="x""#, r#"Bearer realm="https://a/t""#] => Some(bearer("https://a/t", None)); "in two headers")]
    #[test_case(&["Bearer =", r#"Basic realm="x""#] => Some(Challenge::Basic); "an unreadable header is passed over")]
    #[test_case(&["Bearer service=s"] => None; "bearer without realm")]
    #[test_case(&[r#"Bearer realm="https://a/t",realm="https://evil/t""#] => None; "two realms")]
    #[test_case(&[r#"Digest realm="x", nonce="y""#] => None; "another scheme")]
    #[test_case(&[] => None; "none")]
    fn chooses(values: &[&'static str]) -> Option<Challenge> {
        let headers = values
            .iter()
            .map(|v| (header::WWW_AUTHENTICATE, HeaderValue::from_static(v)))
            .collect::<HeaderMap>();
        Challenge::choose(&headers)
    }

    #[test_case(r#"{"token": "abc"}"# => Some(55); "the default lifetime")]
    #[test_case(r#"{"access_token": "abc", "expires_in": 300}"# => Some(295); "the other name")]
    #[test_case(r#"{"token": "", "access_token": "abc", "expires_in": 300}"# => Some(295); "an empty one does not count")]
    #[test_case(r#"{"token": "abc", "expires_in": 99999999999}"# => Some(3595); "a very long life is cut")]
    #[test_case(r#"{"token": "abc", "expires_in": 0}"# => Some(0); "no life")]
    #[test_case(r#"{"token": "a\nb"}"# => None; "a header in it")]
    #[test_case("{}" => None; "none")]
    #[test_case("<html>" => None; "no JSON")]
    fn tokens(json: &str) -> Option<u64> {
        let now = Instant::now();
        Token::read(json.as_bytes(), now).map(|token| (token.until - now).as_secs())
    }

    #[test]
    fn a_token_is_used_until_it_ends_and_for_its_own_repository_only() {
        let sessions = Sessions::default();
        let now = Instant::now();
        let key = TokenKey::to_pull("https://a/t", Some("s"), "models/digits");
        sessions.keep(key.clone(), Token::read(br#"{"token": "abc"}"#, now).unwrap());
        assert!(sessions.token(&key, now + Duration::from_secs(54)).is_some());
        assert!(sessions.token(&key, now + Duration::from_secs(55)).is_none());
        let other = TokenKey::to_pull("https://a/t", Some("s"), "models/letters");
        assert!(sessions.token(&other, now).is_none());
        sessions.forget(&key);
        assert!(sessions.token(&key, now).is_none());
    }

    #[test]
    fn secrets_do_not_print() {
        let token = Token::read(br#"{"token": "s3cret"}"#, Instant::now()).unwrap();
        let basic = basic_header(&Basic {
            username: "u".to_owned(),
            password: "p".to_owned(),
        })
        .unwrap();
        let shown = format!("{token:?} {:?} {basic:?}", token.header);
        assert!(!shown.contains("s3cret") && !shown.contains("dTpw"), "{shown}");
    }
}
