//! Pauses between tries, per object: growing while it fails, with jitter so that many do not come back at once.
//! It only keeps time; who waits, and for what, is decided elsewhere.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    sync::Mutex,
    time::{Duration, Instant},
};

/// The longest pause after a failure.
const LONGEST: Duration = Duration::from_secs(300);
/// How long a key that nobody asks about any more is remembered: its object is gone.
const FORGOTTEN: Duration = Duration::from_secs(3600);

#[derive(Debug, Clone, Copy)]
struct Entry {
    tries: u32,
    until: Instant,
}

/// The pause, give or take a quarter.
pub(super) fn jittered(pause: Duration) -> Duration {
    // A fresh RandomState is seeded by the standard library: enough chance for jitter, and no dependency.
    let percent = u32::try_from(RandomState::new().hash_one(()) % 51).unwrap_or(25) + 75;
    pause * percent / 100
}

/// How often each key failed, and until when it is left alone.
#[derive(Debug, Default)]
pub(super) struct Retry {
    entries: Mutex<HashMap<String, Entry>>,
}

impl Retry {
    /// The key failed: the pause before the next try, 1 s, 2 s, 4 s … up to five minutes, give or take a quarter. A longer
    /// pause that the other side asked for is kept, up to the same bound.
    pub(super) fn failed(&self, key: &str, asked: Option<Duration>) -> Duration {
        let tries = self.entry(key).map_or(0, |entry| entry.tries);
        let pause = Duration::from_secs(1 << tries.min(9)).min(LONGEST);
        let pause = jittered(pause).max(asked.unwrap_or_default().min(LONGEST));
        self.set(key, tries.saturating_add(1), pause);
        pause
    }

    /// The key succeeded, and is left alone for this long.
    pub(super) fn succeeded(&self, key: &str, pause: Duration) {
        self.set(key, 0, pause);
    }

    /// The key is left alone for no longer than this.
    pub(super) fn shorten(&self, key: &str, pause: Duration) {
        let until = Instant::now() + pause;
        if let Ok(mut entries) = self.entries.lock()
            && let Some(entry) = entries.get_mut(key)
        {
            entry.until = entry.until.min(until);
        }
    }

    /// The key is well again: nothing is remembered of it.
    pub(super) fn forget(&self, key: &str) {
        if let Ok(mut entries) = self.entries.lock() {
            entries.remove(key);
        }
    }

    /// What is left of the key's pause.
    pub(super) fn left(&self, key: &str) -> Option<Duration> {
        let left = self.entry(key)?.until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    fn entry(&self, key: &str) -> Option<Entry> {
        self.entries.lock().ok()?.get(key).copied()
    }

    fn set(&self, key: &str, tries: u32, pause: Duration) {
        let now = Instant::now();
        if let Ok(mut entries) = self.entries.lock() {
            if entries.len() == entries.capacity() {
                entries.retain(|_, entry| now.saturating_duration_since(entry.until) < FORGOTTEN);
            }
            entries.insert(
                key.to_owned(),
                Entry {
                    tries,
                    until: now + pause,
                },
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_start_over() {
        let retry = Retry::default();
        let pauses: Vec<_> = (0..20).map(|_| retry.failed("a", None)).collect();
        assert!(
            pauses[0] <= Duration::from_millis(1250) && pauses[4] >= Duration::from_secs(12),
            "{pauses:?}"
        );
        assert!(pauses.iter().all(|pause| *pause <= LONGEST + LONGEST / 4));
        retry.succeeded("a", Duration::ZERO);
        assert_eq!(retry.left("a"), None);
        assert!(retry.failed("a", None) <= Duration::from_millis(1250));
        assert!(retry.left("a").is_some() && retry.left("b").is_none());
        retry.failed("a", None);
        retry.forget("a");
        assert!(retry.failed("a", None) <= Duration::from_millis(1250));
    }

    #[test]
    fn a_pause_the_registry_asks_for_is_kept_but_bounded() {
        let retry = Retry::default();
        assert_eq!(
            retry.failed("a", Some(Duration::from_secs(30))),
            Duration::from_secs(30)
        );
        assert!(retry.failed("a", Some(Duration::from_secs(999_999))) <= LONGEST);
    }

    #[test]
    fn a_pause_can_be_shortened_and_not_lengthened() {
        let retry = Retry::default();
        retry.succeeded("a", Duration::from_secs(300));
        retry.shorten("a", Duration::from_secs(5));
        assert!(retry.left("a").unwrap() <= Duration::from_secs(5));
        retry.shorten("a", Duration::from_secs(100));
        assert!(retry.left("a").unwrap() <= Duration::from_secs(5));
        retry.shorten("b", Duration::from_secs(5));
        assert_eq!(retry.left("b"), None);
    }
}
