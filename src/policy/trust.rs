//! The keys of a `TrustRoot` as plain data: each one usable, or the sentence that says why not.
//! Reading a PEM is the caller's: it takes cryptography, and what decides has none.

use std::collections::BTreeMap;

use crate::{
    api::v1alpha1::{TrustRoot, TrustedKey},
    evidence::KeyFingerprint,
};

/// The keys of one trust root by their names: each one usable, or why not.
pub type Keys = BTreeMap<String, Result<TrustedKey, String>>;

/// Trust roots by their names.
pub type TrustRoots = BTreeMap<String, Keys>;

/// The keys of `root`, each read by `parse`, which gets `trustRoot/key` and the PEM. Its refusal is shown as it is, so it
/// should name the key.
///
/// Two keys under one name make that name unusable: which of them is meant cannot be told.
pub fn read(root: &TrustRoot, parse: impl Fn(&str, &str) -> Result<KeyFingerprint, String>) -> Keys {
    let root_name = root.metadata.name.as_deref().unwrap_or_default();
    let mut keys = Keys::new();
    for key in &root.spec.keys {
        let name = format!("{root_name}/{}", key.name);
        let read = if keys.contains_key(&key.name) {
            Err(format!("the key {name} shares its name with another: rename one"))
        } else {
            let public_key = key.public_key.clone();
            parse(&name, &public_key).map(|fingerprint| TrustedKey {
                fingerprint,
                name,
                public_key,
            })
        };
        keys.insert(key.name.clone(), read);
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::v1alpha1::{PublicKey, TrustRootSpec},
        evidence::Digest,
    };

    fn root(keys: &[(&str, &str)]) -> TrustRoot {
        let keys = keys.iter().map(|(name, pem)| PublicKey {
            name: (*name).into(),
            public_key: (*pem).into(),
        });
        TrustRoot::new("bank-keys", TrustRootSpec { keys: keys.collect() })
    }

    fn parse(_: &str, pem: &str) -> Result<KeyFingerprint, String> {
        match pem {
            "good" => Ok(Digest::from_bytes([1; 32])),
            _ => Err("is not PEM".into()),
        }
    }

    #[test]
    fn a_key_is_named_by_its_root_and_itself() {
        let keys = read(&root(&[("q3", "good")]), parse);
        assert_eq!(keys["q3"].as_ref().unwrap().name, "bank-keys/q3");
    }

    #[test]
    fn one_bad_key_harms_only_itself() {
        let keys = read(&root(&[("q3", "good"), ("q4", "bad")]), parse);
        assert!(keys["q3"].is_ok());
        assert_eq!(keys["q4"], Err("is not PEM".into()));
    }

    #[test]
    fn a_name_given_twice_means_neither() {
        let keys = read(&root(&[("q3", "good"), ("q3", "good")]), parse);
        assert!(keys["q3"].as_ref().unwrap_err().contains("shares its name"));
    }
}
