//! Where credentials go, and where they never go.
//! What was sent is asserted on what the other side saw, not on what the client says it did.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use probity::{
    artifact::oci::{Client, Credentials, verify_oci},
    evidence::{Outcome, Reason, Reference},
};

use tempfile::NamedTempFile;

use super::artifacts::{Model, WEIGHTS, client, release, through};
use crate::{
    fault_proxy::{Fault, FaultProxy, Seen, any, path},
    testbed::{self, Server},
};

const USER: &str = "puller";
const PASSWORD: &str = "s3cret-pass";
/// Made with `perl -e 'print crypt("s3cret-pass", q($2b$05$abcdefghijklmnopqrstuu))'`.
const HTPASSWD: &str = "puller:$2b$05$abcdefghijklmnopqrstuuV7fpPozvyqJfnY19y0802WTlXUm6Rjy\n";

fn credentials(host: &str, password: &str) -> Credentials {
    let auth = STANDARD.encode(format!("{USER}:{password}"));
    let config = format!(r#"{{"auths": {{"{host}": {{"auth": "{auth}"}}}}}}"#);
    Credentials::from_docker_config(config.as_bytes()).unwrap()
}

fn with_authorization(seen: &Seen) -> bool {
    seen.header("authorization").is_some()
}

/// A registry that wants a password, a model in it, and a proxy before it.
struct Guarded {
    proxy: FaultProxy,
    reference: Reference,
    server: Server,
    /// The registry reads it at every login.
    _passwords: NamedTempFile,
}

fn guarded() -> Guarded {
    let passwords = NamedTempFile::new().unwrap();
    std::fs::write(passwords.path(), HTPASSWD).unwrap();
    let file = passwords.path().display().to_string();
    let server = Server::start("registry", &[], &[("REGISTRY_HTPASSWD", &file)]).unwrap();
    let login = ["--username", USER, "--password", PASSWORD];
    let pinned = Model::signed().push_with(&server.ready, "models/digits", &login);
    let proxy = FaultProxy::before(&server.ready);
    let reference = through(&proxy, &pinned);
    Guarded {
        proxy,
        reference,
        server,
        _passwords: passwords,
    }
}

#[tokio::test]
async fn a_registry_with_a_password() {
    let Guarded {
        proxy,
        reference,
        server: _server,
        _passwords,
    } = guarded();
    let host = proxy.address();
    let anonymous = client(&[&host], &[]);

    let error = verify_oci(&anonymous, &reference, &release()).await.unwrap_err();
    assert_eq!(error.failure.reason, Reason::RegistryDenied);
    assert!(error.failure.message.contains("name a pull secret"), "{error}");

    let wrong = anonymous.with_credentials(credentials(&host, "s3cret-wrong"));
    let error = verify_oci(&wrong, &reference, &release()).await.unwrap_err();
    assert_eq!(error.failure.reason, Reason::RegistryDenied, "{error}");
    assert!(
        error.failure.message.contains("refuses the credentials"),
        "{error}"
    );
    assert!(!error.failure.message.contains("s3cret"), "{error}");
    assert_eq!(
        proxy.count(with_authorization),
        1,
        "a wrong password is sent once, not until the account is locked"
    );

    let right = anonymous.with_credentials(credentials(&host, PASSWORD));
    assert_eq!(
        verify_oci(&right, &reference, &release()).await.unwrap().outcome,
        Outcome::Verified
    );
    let before = proxy.count(any);
    right.manifest(&reference).await.unwrap();
    assert_eq!(
        proxy.count(any),
        before + 1,
        "once known, the challenge is answered unasked"
    );

    let other = anonymous.with_credentials(credentials("127.0.0.1:1", PASSWORD));
    let sent = proxy.count(with_authorization);
    assert_eq!(
        other.manifest(&reference).await.unwrap_err().failure.reason,
        Reason::RegistryDenied
    );
    assert_eq!(
        proxy.count(with_authorization),
        sent,
        "another host's password stays at home"
    );
}

/// A proxy before the shared registry that wants the token `good` from this realm.
fn wants_token(name: &str, realm: &str) -> (FaultProxy, Reference) {
    let proxy = FaultProxy::before(testbed::registry());
    let reference = through(&proxy, &Model::signed().push(name));
    let challenge =
        format!(r#"Bearer realm="{realm}",service="the registry",scope="repository:*:pull,push,delete""#);
    proxy.on(
        |seen| seen.path.starts_with("/v2/") && seen.header("authorization") != Some("Bearer good"),
        Fault::status(401).with("WWW-Authenticate", &challenge),
    );
    (proxy, reference)
}

fn gives_token(token: &str) -> Fault {
    Fault::answer(
        200,
        "application/json",
        format!(r#"{{"token": "{token}", "expires_in": 300}}"#),
    )
}

fn is_basic(seen: &Seen) -> bool {
    seen.header("authorization")
        .is_some_and(|value| value.starts_with("Basic "))
}

async fn verdict(client: &Client, reference: &Reference) -> Outcome {
    verify_oci(client, reference, &release()).await.unwrap().outcome
}

#[tokio::test]
async fn a_token_from_the_registrys_own_host() {
    // The realm is named when the proxy's address is known.
    let (proxy, reference) = wants_token("secrets/own", "http://placeholder.invalid/token");
    proxy.heal();
    let host = proxy.address();
    let challenge = format!(r#"Bearer realm="http://{host}/token?a=b",service="the registry""#);
    proxy.on(
        |seen| seen.path.starts_with("/v2/") && seen.header("authorization") != Some("Bearer good"),
        Fault::status(401).with("WWW-Authenticate", &challenge),
    );
    proxy.on(path("/token"), gives_token("good"));

    let anonymous = client(&[&host], &[]);
    assert_eq!(verdict(&anonymous, &reference).await, Outcome::Verified);
    let tokens: Vec<_> = proxy
        .seen()
        .into_iter()
        .filter(|seen| seen.path.starts_with("/token"))
        .collect();
    assert_eq!(tokens.len(), 1, "one token for the manifest and the signature");
    assert_eq!(
        tokens[0].path, "/token?a=b&service=the+registry&scope=repository%3Asecrets%2Fown%3Apull",
        "the right to pull from this repository and nothing else, whatever the challenge proposes"
    );
    assert!(!with_authorization(&tokens[0]));

    let named = anonymous.with_credentials(credentials(&host, PASSWORD));
    assert_eq!(verdict(&named, &reference).await, Outcome::Verified);
    assert_eq!(
        proxy.count(path("/token")),
        2,
        "a token belongs to the credentials it was got with"
    );
    assert_eq!(proxy.count(is_basic), 1, "the password goes to the realm only");
    assert!(
        proxy
            .seen()
            .iter()
            .filter(|seen| is_basic(seen))
            .all(|seen| seen.path.starts_with("/token"))
    );
}

#[tokio::test]
async fn a_foreign_realm_gets_nothing_until_it_is_allowed() {
    let realm = FaultProxy::alone();
    realm.on(any, gives_token("good"));
    let at = realm.address();
    let (proxy, reference) = wants_token("secrets/foreign", &format!("http://{at}/token"));
    let host = proxy.address();

    for (plain, extra, flag) in [
        (vec![host.as_str()], vec![], format!("--allow-host {at}")),
        (vec![&host, &at], vec![], format!("--allow-host {at}")),
        (vec![&host], vec![at.as_str()], format!("--plain-http {at}")),
    ] {
        let named = client(&plain, &extra).with_credentials(credentials(&host, PASSWORD));
        let error = verify_oci(&named, &reference, &release()).await.unwrap_err();
        assert_eq!(error.failure.reason, Reason::HostNotAllowed);
        assert!(error.failure.message.contains(&flag), "{error}");
        assert_eq!(realm.count(any), 0, "not even a request without the password");
    }

    let named = client(&[&host, &at], &[&at]).with_credentials(credentials(&host, PASSWORD));
    assert_eq!(verdict(&named, &reference).await, Outcome::Verified);
    assert_eq!(realm.count(is_basic), 1);
    assert_eq!(
        proxy.count(is_basic),
        0,
        "a registry that wants a token does not see the password"
    );
}

#[tokio::test]
async fn a_realm_that_redirects_is_not_followed() {
    let thief = FaultProxy::alone();
    let realm = FaultProxy::alone();
    realm.on(any, Fault::Redirect(format!("http://{}", thief.address())));
    let at = realm.address();
    let (proxy, reference) = wants_token("secrets/redirecting-realm", &format!("http://{at}/token"));
    let (host, away) = (proxy.address(), thief.address());
    let named = client(&[&host, &at, &away], &[&at, &away]).with_credentials(credentials(&host, PASSWORD));
    let error = verify_oci(&named, &reference, &release()).await.unwrap_err();
    assert_eq!(error.failure.reason, Reason::HostNotAllowed);
    assert_eq!(thief.count(any), 0);
}

#[tokio::test]
async fn a_refused_token_is_replaced_once() {
    let realm = FaultProxy::alone();
    realm.on(any, gives_token("good"));
    realm.on(any, gives_token("stale").times(1));
    let at = realm.address();
    let (proxy, reference) = wants_token("secrets/stale", &format!("http://{at}/token"));
    let host = proxy.address();
    let anonymous = client(&[&host, &at], &[&at]);

    let error = anonymous.manifest(&reference).await.unwrap_err();
    assert_eq!(
        error.failure.reason,
        Reason::RegistryDenied,
        "a fresh token that is refused is not tried again"
    );
    anonymous.manifest(&reference).await.unwrap();
    assert_eq!(realm.count(any), 2);

    realm.heal();
    realm.on(any, gives_token("never good"));
    proxy.on(
        any,
        Fault::status(401).with(
            "WWW-Authenticate",
            &format!(r#"Bearer realm="http://{at}/token""#),
        ),
    );
    let before = proxy.count(any);
    assert!(anonymous.manifest(&reference).await.is_err());
    assert!(proxy.count(any) - before <= 2, "no endless asking");
}

#[tokio::test]
async fn what_a_realm_answers() {
    let realm = FaultProxy::alone();
    let at = realm.address();
    let (proxy, reference) = wants_token("secrets/answers", &format!("http://{at}/token"));
    let host = proxy.address();
    let client = client(&[&host, &at], &[&at]);
    for (fault, reason) in [
        (Fault::status(401), Reason::RegistryDenied),
        (Fault::status(403), Reason::RegistryDenied),
        (Fault::status(429).with("Retry-After", "9"), Reason::RateLimited),
        (Fault::status(500), Reason::RegistryUnavailable),
        (Fault::Drop, Reason::RegistryUnavailable),
        (Fault::Hang, Reason::Timeout),
        (
            Fault::answer(200, "application/json", "{}"),
            Reason::RegistryUnavailable,
        ),
        (
            Fault::answer(200, "application/json", r#"{"token": "a\r\nb: c"}"#),
            Reason::RegistryUnavailable,
        ),
        (
            Fault::Flood {
                content_type: "application/json",
                bytes: 400 << 20,
            },
            Reason::LimitExceeded,
        ),
    ] {
        realm.heal();
        realm.on(any, fault.clone());
        let error = client.manifest(&reference).await.unwrap_err();
        assert_eq!(error.failure.reason, reason, "{fault:?}: {error}");
        assert!(error.failure.message.contains(&at), "which host: {error}");
        assert_eq!(error.retry_after.is_some(), reason == Reason::RateLimited);
    }
    assert!(realm.flooded() < 40 << 20);
}

#[tokio::test]
async fn a_redirect_target_never_sees_the_password() {
    let Guarded {
        proxy,
        reference,
        server,
        _passwords,
    } = guarded();
    let storage = FaultProxy::before(&server.ready);
    storage.on(
        any,
        Fault::answer(200, "application/octet-stream", "no credentials needed"),
    );
    let (host, at) = (proxy.address(), storage.address());
    proxy.on(
        |seen| seen.path.contains("/blobs/") && with_authorization(seen),
        Fault::Redirect(format!("http://{at}")),
    );
    let model = Model::signed();
    let size = model.content(WEIGHTS).len() as u64;

    let named = client(&[&host], &[]).with_credentials(credentials(&host, PASSWORD));
    let error = named
        .blob(&reference, model.digest(WEIGHTS), size)
        .await
        .map(drop)
        .unwrap_err();
    assert_eq!(error.failure.reason, Reason::HostNotAllowed);
    assert_eq!(storage.count(any), 0);

    let allowed = client(&[&host, &at], &[&at]).with_credentials(credentials(&host, PASSWORD));
    allowed
        .blob(&reference, model.digest(WEIGHTS), size)
        .await
        .unwrap();
    assert_eq!(storage.count(any), 1);
    assert_eq!(storage.count(with_authorization), 0);
    assert!(proxy.count(with_authorization) > 0);
}

/// A redirect target that asks for a password does not get the registry's.
#[tokio::test]
async fn a_redirect_target_cannot_ask_for_the_password() {
    let Guarded {
        proxy,
        reference,
        server: _server,
        _passwords,
    } = guarded();
    let thief = FaultProxy::alone();
    thief.on(
        any,
        Fault::status(401).with("WWW-Authenticate", "Basic realm=\"give me\""),
    );
    let (host, at) = (proxy.address(), thief.address());
    proxy.on(path("/manifests/"), Fault::Redirect(format!("http://{at}")));
    let named = client(&[&host, &at], &[&at]).with_credentials(credentials(&host, PASSWORD));
    let error = named.manifest(&reference).await.unwrap_err();
    assert_eq!(error.failure.reason, Reason::RegistryDenied);
    assert_eq!((thief.count(any), thief.count(with_authorization)), (1, 0));
}
