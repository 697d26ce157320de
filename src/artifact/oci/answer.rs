//! What an answer of a registry means when it is not what was asked for: a reason, one sentence, and how long to wait.
//! Pure: it looks at status, headers and errors; asking and asking again is done by others.

use std::{error::Error as _, fmt::Write as _, time::Duration};

use http::{HeaderMap, StatusCode, header};

use crate::evidence::{Failure, Reason, Reference};

/// A registry may ask us to stay away for this long at most; what it says beyond is not kept.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(15 * 60);

/// Why a registry could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{failure}")]
pub struct RegistryError {
    /// The code and the sentence.
    pub failure: Failure,
    /// How long the registry asked us to stay away, at most [`MAX_RETRY_AFTER`].
    pub retry_after: Option<Duration>,
}

impl From<Failure> for RegistryError {
    fn from(failure: Failure) -> Self {
        Self {
            failure,
            retry_after: None,
        }
    }
}

impl RegistryError {
    /// A failure without a wait.
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Failure::new(reason, message).into()
    }

    /// Whether the same request may succeed when it is simply made again: the registry was away, busy or
    /// slow, or a relay does not know yet.
    /// A refusal and an absence are transient too, but only people end them.
    pub fn is_worth_repeating(&self) -> bool {
        matches!(
            self.failure.reason,
            Reason::RegistryUnavailable | Reason::RateLimited | Reason::Timeout | Reason::NotReadYet
        )
    }
}

/// What is being asked, for messages.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// What is wanted: `registry.example/models/digits:1`, with the blob's digest where it is a blob.
    pub what: String,
}

impl Asked {
    pub(super) fn manifest(reference: &Reference) -> Self {
        Self {
            what: reference.to_string(),
        }
    }

    pub(super) fn blob(reference: &Reference, digest: &crate::evidence::Digest) -> Self {
        Self {
            what: format!("blob {} of {}", digest.short(), reference.name()),
        }
    }

    /// The error that an unsuccessful status of `host` means. `authenticated` tells whether credentials were sent.
    pub(super) fn status(
        &self,
        host: &str,
        status: StatusCode,
        headers: &HeaderMap,
        authenticated: bool,
    ) -> RegistryError {
        let what = &self.what;
        let code = status.as_u16();
        let (reason, message) = match code {
            401 | 403 if authenticated => (
                Reason::RegistryDenied,
                format!(
                    "{host} refuses the credentials for {what} ({code}): correct the pull secret, or the account's rights"
                ),
            ),
            401 | 403 => (
                Reason::RegistryDenied,
                format!("{host} wants credentials for {what} ({code}): name a pull secret that has them"),
            ),
            404 => (
                Reason::NotFound,
                format!("{host} does not have {what} (404): push it, or correct the reference"),
            ),
            429 => (
                Reason::RateLimited,
                format!(
                    "{host} asks us to come back later for {what} (429): it is tried again, or use a registry with a higher limit"
                ),
            ),
            500..=599 => (
                Reason::RegistryUnavailable,
                format!(
                    "{host} answered {code} for {what}: it is tried again; if it stays, look at the registry"
                ),
            ),
            _ => (
                Reason::RegistryUnavailable,
                format!("{host} answered {code} for {what}, which no registry should: check that it is one"),
            ),
        };
        let retry_after = matches!(code, 429 | 503).then(|| retry_after(headers)).flatten();
        RegistryError {
            failure: Failure::new(reason, message),
            retry_after,
        }
    }

    /// The error that a failed request to `host` means.
    pub(super) fn unreachable(&self, host: &str, error: reqwest::Error) -> RegistryError {
        // A URL may carry a signature in its query; the chain of causes does not repeat it.
        let error = error.without_url();
        let what = &self.what;
        if error.is_timeout() {
            return self.slow(host, "connecting");
        }
        let causes = causes(&error);
        // What rustls says when the other side does not speak TLS.
        let message = if error.is_connect() && causes.contains("InvalidContentType") {
            format!(
                "{host} does not speak TLS: serve {what} over TLS, or allow plain HTTP with --plain-http {host}"
            )
        } else {
            let verb = if error.is_connect() {
                "cannot be reached"
            } else {
                "broke off"
            };
            format!(
                "{host} {verb} for {what} ({causes}): it is tried again; if it stays, look at the registry and the network"
            )
        };
        RegistryError::new(Reason::RegistryUnavailable, message)
    }

    /// The error for a registry that did not go on in time.
    pub(super) fn slow(&self, host: &str, doing: &str) -> RegistryError {
        RegistryError::new(
            Reason::Timeout,
            format!(
                "{host} took too long {doing} for {}: it is tried again; if it stays, look at the registry and the network",
                self.what
            ),
        )
    }
}

/// The innermost causes of an error, which say more than its outer layers; at most 300 characters.
fn causes(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut source = error.source();
    while let Some(cause) = source {
        text.clear();
        let _ = write!(text, "{cause}");
        source = cause.source();
    }
    if text.is_empty() {
        text = error.to_string();
    }
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}

/// What `Retry-After` asks for: seconds, or a date, which is compared with the server's own clock in `Date` so that
/// ours does not matter. Anything unreadable is nothing.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if let Ok(seconds) = text.parse::<u64>() {
        Duration::from_secs(seconds)
    } else {
        let date = |text: &str| jiff::fmt::rfc2822::parse(text).ok().map(|date| date.timestamp());
        let now = date(headers.get(header::DATE)?.to_str().ok()?)?;
        date(text)?
            .duration_since(now)
            .try_into()
            .unwrap_or(Duration::ZERO)
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use test_case::test_case;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
            .collect()
    }

    const DATE: (&str, &str) = ("date", "Wed, 21 Oct 2026 07:28:00 GMT");

    #[test_case(&[] => None; "absent")]
    #[test_case(&[("retry-after", "7")] => Some(7); "seconds")]
    #[test_case(&[("retry-after", " 7 ")] => Some(7); "seconds with spaces")]
    #[test_case(&[("retry-after", "0")] => Some(0); "now")]
    #[test_case(&[("retry-after", "86400")] => Some(900); "a day is capped")]
    #[test_case(&[("retry-after", "18446744073709551615")] => Some(900); "a very large number is capped")]
    #[test_case(&[("retry-after", "99999999999999999999999")] => None; "a number beyond reading")]
    #[test_case(&[("retry-after", "-7")] => None; "a negative number")]
    #[test_case(&[("retry-after", "soon")] => None; "a word")]
    #[test_case(&[("retry-after", "Wed, 21 Oct 2026 07:28:09 GMT"), DATE] => Some(9); "a date")]
    #[test_case(&[("retry-after", "Wed, 21 Oct 2026 07:27:00 GMT"), DATE] => Some(0); "a date in the past")]
    #[test_case(&[("retry-after", "Wed, 21 Oct 2099 07:28:00 GMT"), DATE] => Some(900); "a far date is capped")]
    #[test_case(&[("retry-after", "Wed, 21 Oct 2026 07:28:09 GMT")] => None; "a date without the server's clock")]
    fn waits(pairs: &[(&'static str, &'static str)]) -> Option<u64> {
        retry_after(&headers(pairs)).map(|wait| wait.as_secs())
    }

    #[test_case(401, false => (Reason::RegistryDenied, false); "wants credentials")]
    #[test_case(401, true => (Reason::RegistryDenied, false); "refuses credentials")]
    #[test_case(403, true => (Reason::RegistryDenied, false); "forbidden")]
    #[test_case(404, true => (Reason::NotFound, false); "not found")]
    #[test_case(429, false => (Reason::RateLimited, true); "limited")]
    #[test_case(500, false => (Reason::RegistryUnavailable, true); "broken")]
    #[test_case(503, false => (Reason::RegistryUnavailable, true); "away")]
    #[test_case(418, false => (Reason::RegistryUnavailable, true); "strange")]
    fn statuses(status: u16, authenticated: bool) -> (Reason, bool) {
        let asked = Asked {
            what: "r.example/digits:1".to_owned(),
        };
        let status = StatusCode::from_u16(status).unwrap();
        let error = asked.status("r.example", status, &HeaderMap::new(), authenticated);
        let message = &error.failure.message;
        assert!(
            message.contains("r.example/digits:1") && message.contains(": "),
            "{message}"
        );
        assert!(error.failure.is_transient());
        (error.failure.reason, error.is_worth_repeating())
    }
}
