//! What the Secret of the certificates holds: the authorities, what is served, and what has been published.
//! What cannot be read is not there; what is not ours in the Secret is kept.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::core::ObjectMeta;
use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
    crypto::aws_lc_rs,
};
use rustls_pki_types::{ServerName, UnixTime};

use super::{
    issue::{self, IssueError, Pair},
    rotation::{Held, Step, Validity},
    serving::{Serving, certificates, validity},
};

/// Since when every webhook configuration carries the next authority.
const PUBLISHED: &str = "probity.dev/next-authority-published";
/// The keys of `kubernetes.io/tls`, and `ca.crt` as others write it: all that is to be trusted.
const SERVING: (&str, &str) = ("tls.crt", "tls.key");
const BUNDLE: &str = "ca.crt";
const AUTHORITY: (&str, &str) = ("authority.crt", "authority.key");
const NEXT: (&str, &str) = ("next-authority.crt", "next-authority.key");
const FORMER: &str = "former-authority.crt";

/// Marks a Secret as ours.
const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "probity");

/// Whether we made the Secret; another one is left alone.
pub(super) fn is_ours(secret: &Secret) -> bool {
    let labels = secret.metadata.labels.as_ref();
    labels
        .and_then(|labels| labels.get(MANAGED_BY.0))
        .map(String::as_str)
        == Some(MANAGED_BY.1)
}

/// What the Secret holds.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Material {
    authority: Option<Pair>,
    next: Option<Pair>,
    /// A certificate without its key: it signs nothing any more.
    former: Option<String>,
    published: Option<Timestamp>,
    serving: Option<Pair>,
}

impl Material {
    pub(super) fn read(secret: &Secret) -> Self {
        let text = |key: &str| {
            let bytes = secret.data.as_ref()?.get(key)?;
            String::from_utf8(bytes.0.clone()).ok()
        };
        let pair = |(certificate, key): (&str, &str)| {
            let pair = Pair {
                certificate: text(certificate)?,
                key: text(key)?,
            };
            // A key that is another certificate's signs what nobody trusts.
            valid(&pair).is_some().then_some(pair)
        };
        let annotation = secret
            .metadata
            .annotations
            .as_ref()
            .and_then(|all| all.get(PUBLISHED));
        Self {
            authority: pair(AUTHORITY),
            next: pair(NEXT),
            former: text(FORMER).filter(|former| first_validity(former).is_some()),
            published: annotation.and_then(|time| time.parse().ok()),
            serving: pair(SERVING),
        }
    }

    /// The Secret that holds this, from the one that is there.
    pub(super) fn write(&self, existing: Option<&Secret>, name: &str) -> Secret {
        let mut secret = existing.cloned().unwrap_or_else(|| Secret {
            metadata: ObjectMeta {
                name: Some(name.into()),
                labels: Some(BTreeMap::from([(MANAGED_BY.0.into(), MANAGED_BY.1.into())])),
                ..ObjectMeta::default()
            },
            type_: Some("kubernetes.io/tls".into()),
            ..Secret::default()
        });
        let data = secret.data.get_or_insert_default();
        let mut put = |key: &str, text: Option<&str>| {
            match text {
                Some(text) => data.insert(key.into(), ByteString(text.as_bytes().to_vec())),
                None => data.remove(key),
            };
        };
        for ((certificate, key), pair) in [
            (SERVING, &self.serving),
            (AUTHORITY, &self.authority),
            (NEXT, &self.next),
        ] {
            put(certificate, pair.as_ref().map(|pair| &*pair.certificate));
            put(key, pair.as_ref().map(|pair| &*pair.key));
        }
        put(FORMER, self.former.as_deref());
        put(BUNDLE, Some(&self.bundle()));
        let annotations = secret.metadata.annotations.get_or_insert_default();
        match self.published {
            Some(published) => annotations.insert(PUBLISHED.into(), published.to_string()),
            None => annotations.remove(PUBLISHED),
        };
        secret
    }

    /// What matters of it for the next step.
    pub(super) fn held(&self, name: &str, now: Timestamp) -> Held {
        Held {
            authority: self.authority.as_ref().and_then(valid),
            next: self.next.as_ref().and_then(valid),
            published: self.published,
            former: self.former.as_deref().and_then(first_validity),
            serving: self
                .serving
                .as_ref()
                .filter(|serving| {
                    self.authority
                        .as_ref()
                        .is_some_and(|authority| trusted(serving, authority, name, now))
                })
                .and_then(valid),
        }
    }

    /// Carries a step out.
    pub(super) fn after(mut self, step: Step, names: &[String], now: Timestamp) -> Result<Self, IssueError> {
        match step {
            Step::Keep => {}
            Step::Begin => {
                // Other replicas may serve for a moment what the old one signed.
                self.former = self.authority.take().map(|authority| authority.certificate);
                (self.next, self.published) = (None, None);
                self.sign(issue::authority(now)?, names, now)?;
            }
            Step::RenewServing => match self.authority.take() {
                Some(authority) => self.sign(authority, names, now)?,
                None => return self.after(Step::Begin, names, now),
            },
            Step::AddAuthority => {
                self.next = Some(issue::authority(now)?);
                self.published = None;
            }
            Step::Promote => {
                if let Some(next) = self.next.take() {
                    self.former = self.authority.take().map(|authority| authority.certificate);
                    self.published = None;
                    self.sign(next, names, now)?;
                }
            }
            Step::Forget => self.former = None,
        }
        Ok(self)
    }

    fn sign(&mut self, authority: Pair, names: &[String], now: Timestamp) -> Result<(), IssueError> {
        self.serving = Some(issue::serving(&authority, names, now)?);
        self.authority = Some(authority);
        Ok(())
    }

    /// Every webhook configuration carries the bundle. Returns whether that is news.
    pub(super) fn was_published(&mut self, now: Timestamp) -> bool {
        let news = self.next.is_some() && self.published.is_none();
        if news {
            self.published = Some(now);
        }
        news
    }

    /// All that is to be trusted, in PEM.
    pub(super) fn bundle(&self) -> String {
        let mut bundle = String::new();
        let pairs = [&self.authority, &self.next].into_iter().flatten();
        for certificate in pairs.map(|pair| &pair.certificate).chain(&self.former) {
            bundle.push_str(certificate.trim_end());
            bundle.push('\n');
        }
        bundle
    }

    /// What is to be served.
    pub(super) fn serving(&self) -> Option<Serving> {
        let serving = self.serving.as_ref()?;
        Serving::read(serving.certificate.as_bytes(), serving.key.as_bytes()).ok()
    }
}

/// The validity of a pair whose key is its certificate's.
fn valid(pair: &Pair) -> Option<Validity> {
    Serving::read(pair.certificate.as_bytes(), pair.key.as_bytes()).ok()?;
    first_validity(&pair.certificate)
}

fn first_validity(pem: &str) -> Option<Validity> {
    let certificates = certificates("", pem.as_bytes()).ok()?;
    let (from, until) = validity("", certificates.first()?).ok()?;
    Some(Validity { from, until })
}

/// Whether a client that trusts this authority alone takes the certificate for this name.
fn trusted(serving: &Pair, authority: &Pair, name: &str, now: Timestamp) -> bool {
    let parsed = |pair: &Pair| certificates("", pair.certificate.as_bytes()).unwrap_or_default();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(parsed(authority));
    let provider = Arc::new(aws_lc_rs::default_provider());
    let Ok(verifier) = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build() else {
        return false;
    };
    let serving = parsed(serving);
    let (Some((leaf, rest)), Ok(name)) = (serving.split_first(), ServerName::try_from(name)) else {
        return false;
    };
    let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now.as_second()).unwrap_or(0)));
    verifier.verify_server_cert(leaf, rest, &name, &[], now).is_ok()
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;
    use crate::admission::certificates::rotation::step;

    const NAME: &str = "probity-webhook.probity-system.svc";

    fn now() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    fn names() -> Vec<String> {
        vec![NAME.into()]
    }

    fn begun() -> Material {
        Material::default().after(Step::Begin, &names(), now()).unwrap()
    }

    #[test]
    fn what_is_written_is_read_back_and_needs_nothing() {
        let material = begun();
        let secret = material.write(None, "probity-admission");
        let again = Material::read(&secret);
        assert!(again == material && is_ours(&secret) && !is_ours(&Secret::default()));
        assert_eq!(step(&again.held(NAME, now()), now()), Step::Keep);
        assert!(again.serving().is_some());
        let data = secret.data.unwrap();
        let keys: Vec<&str> = data.keys().map(String::as_str).collect();
        assert_eq!(
            keys,
            ["authority.crt", "authority.key", "ca.crt", "tls.crt", "tls.key"]
        );
    }

    #[test]
    fn an_authority_is_followed_without_a_moment_of_distrust() {
        let first = begun();
        let both = first.clone().after(Step::AddAuthority, &names(), now()).unwrap();
        assert!(both.serving == first.serving, "the next one signs nothing yet");
        assert_eq!(both.bundle().matches("BEGIN").count(), 2);
        let mut both = Material::read(&both.write(None, "x"));
        assert!(both.was_published(now()) && !both.was_published(now()));
        let both = Material::read(&both.write(None, "x"));
        assert_eq!(both.published, Some(now()));
        let next = both.next.clone().unwrap();
        let changed = both.clone().after(Step::Promote, &names(), now()).unwrap();
        assert!(changed.authority.as_ref() == Some(&next) && changed.next.is_none());
        assert!(trusted(changed.serving.as_ref().unwrap(), &next, NAME, now()));
        // Whoever has the bundle of before trusts what is served now, and the other way round.
        assert!(both.bundle().contains(&next.certificate));
        assert!(changed.bundle().contains(&first.authority.unwrap().certificate));
        let last = changed.after(Step::Forget, &names(), now()).unwrap();
        assert!(last.bundle() == next.certificate);
        assert!(last.write(None, "x").metadata.annotations.unwrap().is_empty());
    }

    #[test_case(|data| drop(data.remove("tls.key")), Step::RenewServing; "the key is gone")]
    #[test_case(|data| drop(data.insert("tls.crt".into(), ByteString(b"garbage".to_vec()))), Step::RenewServing; "the certificate is garbage")]
    #[test_case(|data| { let other = data["authority.key"].clone(); data.insert("tls.key".into(), other); }, Step::RenewServing; "the key of another certificate")]
    #[test_case(|data| drop(data.remove("authority.key")), Step::Begin; "the authority's key is gone")]
    #[test_case(|data| { let other = data["tls.key"].clone(); data.insert("authority.key".into(), other); }, Step::Begin; "the authority has another key")]
    #[test_case(|data| drop(data.remove("authority.crt")), Step::Begin; "the authority's certificate is gone")]
    #[test_case(std::collections::BTreeMap::clear, Step::Begin; "all is gone")]
    #[test_case(|data| drop(data.remove("ca.crt")), Step::Keep; "what can be told from the rest")]
    fn a_secret_that_somebody_changed(change: impl Fn(&mut BTreeMap<String, ByteString>), expected: Step) {
        let mut secret = begun().write(None, "x");
        change(secret.data.as_mut().unwrap());
        let held = Material::read(&secret).held(NAME, now());
        assert_eq!(step(&held, now()), expected);
    }

    #[test]
    fn another_name_or_another_authority_is_not_what_is_to_be_served() {
        let material = begun();
        assert!(material.held("other.probity-system.svc", now()).serving.is_none());
        let mut foreign = material.clone();
        foreign.authority = begun().authority;
        assert!(foreign.held(NAME, now()).serving.is_none());
        assert!(material.held(NAME, now()).serving.is_some());
    }

    #[test]
    fn what_others_put_into_the_secret_stays() {
        let mut secret = begun().write(None, "x");
        secret
            .metadata
            .annotations
            .get_or_insert_default()
            .insert("a".into(), "b".into());
        secret
            .data
            .as_mut()
            .unwrap()
            .insert("more".into(), ByteString(b"1".to_vec()));
        let after = begun().write(Some(&secret), "x");
        assert_eq!(after.metadata.annotations.unwrap()["a"], "b");
        assert!(after.data.unwrap().contains_key("more"));
    }
}
