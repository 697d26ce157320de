//! How many signers signed, when keys and signers may overlap.
//! It counts; what count is enough is the signature check's.

use std::collections::{BTreeMap, BTreeSet};

use crate::{evidence::KeyFingerprint, policy::SignerRule};

/// The largest number of signers that each signed with a key none of the others is counted by.
///
/// One key under two names is one signature, and one signer with two keys is one signer: so neither distinct keys nor
/// distinct names may be counted alone, nor the smaller of the two (with `a: k1`, `b: k1`, `c: k2, k3` and all three keys
/// there are three of each, and two parties). It is a maximum matching, found by making room along alternating paths.
pub fn count(signers: &[SignerRule], keys: &BTreeSet<KeyFingerprint>) -> usize {
    let mut holder = BTreeMap::new();
    (0..signers.len())
        .filter(|&signer| claim(signer, signers, keys, &mut holder, &mut BTreeSet::new()))
        .count()
}

/// Gives `signer` a key of its own, moving earlier signers to other keys of theirs where that makes room.
fn claim(
    signer: usize,
    signers: &[SignerRule],
    keys: &BTreeSet<KeyFingerprint>,
    holder: &mut BTreeMap<KeyFingerprint, usize>,
    tried: &mut BTreeSet<KeyFingerprint>,
) -> bool {
    for key in signers[signer]
        .keys
        .iter()
        .map(|key| key.fingerprint)
        .filter(|key| keys.contains(key))
    {
        // Each key is tried once a signer: that bounds depth and work by the number of keys.
        if !tried.insert(key) {
            continue;
        }
        let free = match holder.get(&key).copied() {
            None => true,
            Some(other) => claim(other, signers, keys, holder, tried),
        };
        if free {
            holder.insert(key, signer);
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;
    use crate::policy::samples::{fingerprint, signer};

    #[test_case(&[], &[1] => 0; "no signers")]
    #[test_case(&[&[1]], &[] => 0; "nobody signed")]
    #[test_case(&[&[1]], &[1] => 1; "one signer")]
    #[test_case(&[&[1]], &[2] => 0; "a stranger")]
    #[test_case(&[&[1], &[1]], &[1] => 1; "one key under two names counts once")]
    #[test_case(&[&[1, 2]], &[1, 2] => 1; "one signer with two keys counts once")]
    #[test_case(&[&[1], &[2]], &[1, 2] => 2; "two signers")]
    #[test_case(&[&[1, 2], &[1]], &[1, 2] => 2; "the first makes room for the second")]
    #[test_case(&[&[1], &[1], &[2, 3]], &[1, 2, 3] => 2; "three keys and three names can be two parties")]
    #[test_case(&[&[1, 2], &[2, 3], &[1]], &[1, 2, 3] => 3; "room is made along a chain")]
    fn counts(signers: &[&[u8]], signed: &[u8]) -> usize {
        let signers: Vec<_> = signers
            .iter()
            .enumerate()
            .map(|(at, keys)| signer(&format!("s{at}"), keys))
            .collect();
        count(&signers, &signed.iter().map(|n| fingerprint(*n)).collect())
    }
}
