//! Which hosts may be asked, over what, and which of them may be told a secret.
//! Pure: it judges names that a reference, a challenge or a redirect brings, and connects to nothing.
//!
//! A registry may send us anywhere: to a token realm, to a storage host. Each of these is a request that leaves with
//! our network position and perhaps our credentials, so only the operator's list opens a host that the reference does
//! not name. There are no built-in exceptions.

use std::{collections::BTreeSet, fmt, str::FromStr};

use reqwest::Url;

use crate::evidence::{Failure, Reason};

/// Docker Hub, as images name it.
const DOCKER_HUB: &str = "docker.io";
/// Where Docker Hub is asked.
const DOCKER_HUB_API: &str = "registry-1.docker.io";

/// A host with an optional port, as the operator writes it on the command line: `registry.example`, `10.0.0.5:5000`,
/// `[::1]:5000`. Without a port the default port of the scheme is meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host {
    name: String,
    port: Option<u16>,
}

/// Why a text is not a [`Host`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a host: write a name or an address and at most a port, as in registry.example:5000")]
pub struct HostError(String);

impl FromStr for Host {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        let refuse = || HostError(text.chars().take(200).collect());
        if text.is_empty() || text.len() > 270 || text.contains(['/', '@', '?', '#', '\\', '%']) {
            return Err(refuse());
        }
        // The URL parser decides what a host is, because it also reads the URLs that are compared with this one.
        let url = Url::parse(&format!("foreign://{text}/")).map_err(|_| refuse())?;
        let https = Url::parse(&format!("https://{text}/")).map_err(|_| refuse())?;
        match https.host_str() {
            Some(name) if url.path() == "/" && name.is_ascii() => Ok(Self {
                name: name.to_owned(),
                port: url.port(),
            }),
            _ => Err(refuse()),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl Host {
    /// Whether this is where `url` points: the same name and the same port.
    fn is_at(&self, url: &Url) -> bool {
        let default = if url.scheme() == "http" { 80 } else { 443 };
        url.host_str() == Some(self.name.as_str())
            && url.port_or_known_default() == Some(self.port.unwrap_or(default))
    }
}

/// Which hosts may be asked. The default allows any registry over TLS and no other host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostPolicy {
    /// Hosts that are spoken to without TLS, credentials included. A registry here is always asked over plain HTTP.
    pub plain_http: BTreeSet<Host>,
    /// Token realms and redirect targets allowed beside the registry's own host. Token realms here get credentials,
    /// redirect targets never do.
    pub extra: BTreeSet<Host>,
    /// The registries that may be asked at all; `None` is any.
    pub registries: Option<BTreeSet<Host>>,
}

impl HostPolicy {
    /// The same policy as arguments of a subcommand, in an order that does not change: how the operator hands its own
    /// list to what it starts.
    pub fn arguments(&self) -> Vec<String> {
        let flag = |name: &'static str, hosts: &BTreeSet<Host>| {
            hosts
                .iter()
                .map(|host| format!("--{name}={host}"))
                .collect::<Vec<_>>()
        };
        let mut arguments = flag("plain-http", &self.plain_http);
        arguments.extend(flag("allow-host", &self.extra));
        arguments.extend(
            self.registries
                .iter()
                .flat_map(|hosts| flag("allow-registry", hosts)),
        );
        arguments
    }

    /// The URL under which a registry is asked: its scheme follows from [`HostPolicy::plain_http`] alone.
    pub(super) fn registry(&self, host: &str) -> Result<Url, Failure> {
        let unreadable = || {
            Failure::new(
                Reason::MalformedReference,
                format!("`{host}` is not a registry's host: correct the reference"),
            )
        };
        // What everybody calls by this name answers at another; it is allowed by either.
        let at = if host == DOCKER_HUB { DOCKER_HUB_API } else { host };
        let plain = Url::parse(&format!("http://{at}/")).map_err(|_| unreadable())?;
        let url = if self.plain_http.iter().any(|allowed| allowed.is_at(&plain)) {
            plain
        } else {
            Url::parse(&format!("https://{at}/")).map_err(|_| unreadable())?
        };
        let named = Url::parse(&format!("{}://{host}/", url.scheme())).map_err(|_| unreadable())?;
        if url.host_str().is_none() || url.path() != "/" || !url.username().is_empty() {
            return Err(unreadable());
        }
        match &self.registries {
            Some(registries)
                if !registries
                    .iter()
                    .any(|allowed| allowed.is_at(&url) || allowed.is_at(&named)) =>
            {
                Err(Failure::new(
                    Reason::HostNotAllowed,
                    format!(
                        "{host} is not among the registries this operator may ask: use one of them, or allow it with --allow-registry {host}"
                    ),
                ))
            }
            _ => Ok(url),
        }
    }

    /// The token realm a registry's challenge names, if credentials may go there.
    pub(super) fn realm(&self, registry: &Url, realm: &str) -> Result<Url, Failure> {
        let url = Url::parse(realm).map_err(|_| {
            Failure::new(
                Reason::RegistryUnavailable,
                format!(
                    "{} names a token realm that is no URL: correct the registry's configuration",
                    host_of(registry)
                ),
            )
        })?;
        self.judge(registry, &url, "sends for a token to")?;
        Ok(url)
    }

    /// Where an answer of `current` redirects to, if it may be followed on behalf of `registry`.
    pub(super) fn redirect(&self, registry: &Url, current: &Url, location: &str) -> Result<Url, Failure> {
        let url = current.join(location).map_err(|_| {
            Failure::new(
                Reason::RegistryUnavailable,
                format!(
                    "{} redirects to something that is no URL: correct its configuration",
                    host_of(current)
                ),
            )
        })?;
        self.judge(registry, &url, "redirects to")?;
        Ok(url)
    }

    fn judge(&self, registry: &Url, target: &Url, verb: &str) -> Result<(), Failure> {
        let (from, to) = (host_of(registry), host_of(target));
        let refuse = |message: String| Err(Failure::new(Reason::HostNotAllowed, message));
        if !matches!(target.scheme(), "http" | "https") || target.host_str().is_none() {
            return refuse(format!(
                "{from} {verb} a URL of scheme `{}`: only https is followed",
                target.scheme()
            ));
        }
        if !target.username().is_empty() || target.password().is_some() {
            return refuse(format!(
                "{from} {verb} {to} with a user name in the URL: correct the registry's configuration"
            ));
        }
        let own = target.host_str() == registry.host_str()
            && target.port_or_known_default() == registry.port_or_known_default();
        if !own && !self.extra.iter().any(|allowed| allowed.is_at(target)) {
            return refuse(format!(
                "{from} {verb} {to}, which is not on the operator's list: allow it with --allow-host {to}"
            ));
        }
        if target.scheme() == "http" && !self.plain_http.iter().any(|allowed| allowed.is_at(target)) {
            return refuse(format!(
                "{from} {verb} {to} over plain HTTP: serve it over TLS, or allow it with --plain-http {to}"
            ));
        }
        Ok(())
    }
}

/// `host` or `host:port` of a URL, for messages and flags; never its path or query, which may hold secrets.
pub(super) fn host_of(url: &Url) -> String {
    match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        (None, _) => "(no host)".to_owned(),
    }
}

/// Whether two URLs have the same scheme, host and port: only there an `Authorization` header may be sent again.
pub(super) fn same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme()
        && a.host_str() == b.host_str()
        && a.port_or_known_default() == b.port_or_known_default()
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;

    fn set(hosts: &[&str]) -> BTreeSet<Host> {
        hosts.iter().map(|host| host.parse().unwrap()).collect()
    }

    #[test_case("registry.example", "registry.example"; "a name")]
    #[test_case("Registry.Example:5000", "registry.example:5000"; "case does not matter")]
    #[test_case("10.0.0.5:5000", "10.0.0.5:5000"; "an address")]
    #[test_case("[::1]:5000", "[::1]:5000"; "version six")]
    #[test_case("registry.example:443", "registry.example:443"; "a default port written out stays")]
    fn parses(text: &str, printed: &str) {
        assert_eq!(text.parse::<Host>().unwrap().to_string(), printed);
    }

    #[test_case(""; "empty")]
    #[test_case("https://registry.example"; "scheme")]
    #[test_case("registry.example/models"; "path")]
    #[test_case("user@registry.example"; "user")]
    #[test_case("registry.example:99999"; "port too large")]
    #[test_case("registry example"; "space")]
    #[test_case("*.example%2fx"; "escapes")]
    fn is_no_host(text: &str) {
        assert!(text.parse::<Host>().is_err());
    }

    #[test_case("registry.example", &[], "https://registry.example/"; "TLS unless said otherwise")]
    #[test_case("localhost:5000", &[], "https://localhost:5000/"; "loopback is no exception")]
    #[test_case("localhost:5000", &["localhost:5000"], "http://localhost:5000/"; "plain by the list")]
    #[test_case("localhost:5001", &["localhost:5000"], "https://localhost:5001/"; "another port")]
    #[test_case("registry.example", &["registry.example"], "http://registry.example/"; "without a port")]
    #[test_case("registry.example:80", &["registry.example"], "http://registry.example/"; "the default port")]
    #[test_case("registry.example:5000", &["registry.example"], "https://registry.example:5000/"; "no port is not any port")]
    #[test_case("docker.io", &[], "https://registry-1.docker.io/"; "Docker Hub answers at another name")]
    #[test_case("a.docker.io", &[], "https://a.docker.io/"; "a name below it does not")]
    fn a_registrys_scheme(host: &str, plain: &[&str], url: &str) {
        let policy = HostPolicy {
            plain_http: set(plain),
            ..HostPolicy::default()
        };
        assert_eq!(policy.registry(host).unwrap().as_str(), url);
    }

    #[test_case("a.example" => true; "listed")]
    #[test_case("a.example:443" => true; "listed, with the port written out")]
    #[test_case("a.example:444" => false; "another port")]
    #[test_case("b.a.example" => false; "a name below it")]
    fn only_listed_registries(host: &str) -> bool {
        let policy = HostPolicy {
            registries: Some(set(&["a.example"])),
            ..HostPolicy::default()
        };
        match policy.registry(host) {
            Ok(_) => true,
            Err(failure) => {
                assert_eq!(failure.reason, Reason::HostNotAllowed);
                assert!(failure.message.contains("--allow-registry"), "{failure}");
                false
            }
        }
    }

    #[test_case("docker.io"; "as images name it")]
    #[test_case("registry-1.docker.io"; "as it is asked")]
    fn docker_hub_is_allowed_by_either_name(listed: &str) {
        let policy = HostPolicy {
            registries: Some(set(&[listed])),
            ..HostPolicy::default()
        };
        assert!(policy.registry("docker.io").is_ok());
        assert!(policy.registry("index.docker.io").is_err());
    }

    // registry, --allow-host, --plain-http, target, what the refusal must say ("" = allowed)
    #[test_case("r.example", &[], &[], "https://r.example/token", ""; "the registry's own host")]
    #[test_case("r.example", &[], &[], "https://r.example:443/token", ""; "the default port written out")]
    #[test_case("r.example", &[], &[], "https://r.example:8443/token", "--allow-host r.example:8443"; "another port of the host")]
    #[test_case("r.example", &[], &[], "https://auth.r.example/token", "--allow-host auth.r.example"; "a name below the host")]
    #[test_case("r.example", &[], &[], "https://r.example.evil.example/", "--allow-host r.example.evil.example"; "a name that begins like the host")]
    #[test_case("r.example", &["auth.example"], &[], "https://auth.example/token", ""; "by the list")]
    #[test_case("r.example", &["auth.example"], &[], "https://AUTH.example/token", ""; "by the list, in capitals")]
    #[test_case("r.example", &["auth.example"], &[], "https://auth.example:444/token", "--allow-host auth.example:444"; "the list means the default port")]
    #[test_case("r.example", &["auth.example"], &[], "http://auth.example/token", "--plain-http auth.example"; "the list does not allow plain HTTP")]
    #[test_case("r.example", &["auth.example"], &["auth.example"], "http://auth.example/token", ""; "both lists")]
    #[test_case("r.example", &[], &["auth.example"], "http://auth.example/token", "--allow-host auth.example"; "plain HTTP alone opens no host")]
    #[test_case("r.example", &[], &[], "http://r.example/token", "--allow-host r.example"; "a step down to plain HTTP on the same name")]
    #[test_case("r.example", &[], &[], "http://r.example:443/token", "--plain-http r.example:443"; "a step down on the same port")]
    #[test_case("10.0.0.5:5000", &[], &["10.0.0.5:5000"], "http://10.0.0.5:5000/token", ""; "a plain registry's own realm")]
    #[test_case("10.0.0.5:5000", &[], &["10.0.0.5:5000"], "http://169.254.169.254/latest", "--allow-host 169.254.169.254"; "a cloud's metadata service")]
    #[test_case("r.example", &["auth.example"], &[], "https://u:p@auth.example/", "user name"; "user info")]
    #[test_case("r.example", &[], &[], "ftp://r.example/token", "scheme"; "another scheme")]
    #[test_case("r.example", &[], &[], "file:///etc/passwd", "scheme"; "a file")]
    #[test_case("r.example", &["auth.example"], &[], "https://auth.example./token", "--allow-host"; "a trailing dot is another host")]
    fn realms_and_redirects(registry: &str, extra: &[&str], plain: &[&str], target: &str, problem: &str) {
        let policy = HostPolicy {
            extra: set(extra),
            plain_http: set(plain),
            registries: None,
        };
        let base = policy.registry(registry).unwrap();
        for outcome in [policy.realm(&base, target), policy.redirect(&base, &base, target)] {
            match outcome {
                Ok(_) => assert_eq!(problem, "", "allowed"),
                Err(failure) => {
                    assert_eq!(failure.reason, Reason::HostNotAllowed);
                    assert!(
                        !problem.is_empty() && failure.message.contains(problem),
                        "{failure}"
                    );
                }
            }
        }
    }

    #[test]
    fn arguments_say_the_whole_policy() {
        let policy = HostPolicy {
            plain_http: set(&["b.example:5000", "a.example"]),
            extra: set(&["auth.example"]),
            registries: Some(set(&["a.example"])),
        };
        assert_eq!(
            policy.arguments(),
            [
                "--plain-http=a.example",
                "--plain-http=b.example:5000",
                "--allow-host=auth.example",
                "--allow-registry=a.example"
            ]
        );
    }

    #[test]
    fn a_relative_redirect_stays_where_it_is() {
        let policy = HostPolicy::default();
        let base = policy.registry("r.example").unwrap();
        let current = base.join("/v2/a/blobs/x").unwrap();
        assert_eq!(
            policy.redirect(&base, &current, "../y").unwrap().as_str(),
            "https://r.example/v2/a/y"
        );
        assert!(policy.redirect(&base, &current, "//evil.example/y").is_err());
    }

    #[test]
    fn messages_do_not_repeat_a_urls_query() {
        let policy = HostPolicy::default();
        let base = policy.registry("r.example").unwrap();
        let failure = policy
            .redirect(&base, &base, "https://s3.example/x?signature=SECRET")
            .unwrap_err();
        assert!(!failure.message.contains("SECRET"), "{failure}");
    }
}
