//! Whose the connections are, so that no namespace takes every place: it may have as many as it leaves free.
//! It counts and says no; whoever is refused is asked to come back, and leaves.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    artifact::oci::RegistryError,
    evidence::{Failure, Reason},
};

/// So many a namespace may have whoever else is there.
const ALWAYS: usize = 16;
/// When those who were refused are to come back.
const COME_BACK: Duration = Duration::from_secs(5);

/// Whether a namespace that has so many places may have one more, which leaves so many free.
const fn may_have(already: usize, leaves: usize) -> bool {
    already < ALWAYS || already < leaves
}

/// The places there are.
#[derive(Debug)]
pub(super) struct Places {
    all: usize,
    taken: Mutex<HashMap<String, usize>>,
}

impl Places {
    pub fn new(all: usize) -> Arc<Self> {
        Arc::new(Self {
            all,
            taken: Mutex::default(),
        })
    }

    /// For a connection of which nobody knows yet whose it is.
    pub fn come(self: &Arc<Self>) -> Place {
        Place {
            places: self.clone(),
            of: Mutex::default(),
        }
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(&self, namespace: &str) {
        let mut taken = self.taken();
        if let Some(count) = taken.get_mut(namespace) {
            *count -= 1;
            if *count == 0 {
                taken.remove(namespace);
            }
        }
    }
}

/// The place of one connection. Dropped, it is free again.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    of: Mutex<Option<String>>,
}

impl Place {
    /// From now on it counts as this namespace's.
    ///
    /// # Errors
    /// [`Reason::RateLimited`] when the namespace has enough without it.
    pub fn take(&self, namespace: &str) -> Result<(), RegistryError> {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        if of.as_deref() == Some(namespace) {
            return Ok(());
        }
        // Somebody else's token on the same connection: it is no longer the one's.
        if let Some(before) = of.take() {
            self.places.give_back(&before);
        }
        let mut taken = self.places.taken();
        let already = taken.get(namespace).copied().unwrap_or_default();
        let others: usize = taken.values().sum();
        if !may_have(already, self.places.all.saturating_sub(others + 1)) {
            return Err(too_many(namespace, already));
        }
        taken.insert(namespace.to_owned(), already + 1);
        drop(taken);
        *of = Some(namespace.to_owned());
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let of = self.of.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(namespace) = of.take() {
            self.places.give_back(&namespace);
        }
    }
}

fn too_many(namespace: &str, already: usize) -> RegistryError {
    let failure = Failure::new(
        Reason::RateLimited,
        format!(
            "namespace {namespace} has {already} connections to the relay, and others need places too: it is tried again; if it stays, start fewer pods at a time or run more relays"
        ),
    );
    RegistryError {
        retry_after: Some(COME_BACK),
        ..failure.into()
    }
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;

    #[test_case(0, 0 => true; "the first, though nothing is left then")]
    #[test_case(15, 0 => true; "some, in any case")]
    #[test_case(16, 0 => false; "more, and nothing is left then")]
    #[test_case(16, 17 => true; "less than it leaves")]
    #[test_case(200, 200 => false; "as many as it leaves already")]
    fn a_namespace_with_so_many(already: usize, leaves: usize) -> bool {
        may_have(already, leaves)
    }

    /// As many places as the namespace gets when it takes whatever it can.
    fn fill(places: &Arc<Places>, namespace: &str) -> Vec<Place> {
        std::iter::repeat_with(|| places.come())
            .take_while(|place| place.take(namespace).is_ok())
            .collect()
    }

    #[test]
    fn one_alone_gets_half_and_each_that_comes_gets_half_of_the_rest() {
        let places = Places::new(512);
        let first = fill(&places, "bank");
        let second = fill(&places, "shop");
        let third = fill(&places, "mill");
        assert_eq!((first.len(), second.len(), third.len()), (256, 128, 64));
        drop(first);
        let more = fill(&places, "shop");
        assert_eq!(more.len(), 96, "what one gives back the others may have");
    }

    #[test]
    fn whoever_is_refused_hears_why_and_when_to_come_back() {
        let places = Places::new(40);
        let held = fill(&places, "bank");
        let error = places.come().take("bank").unwrap_err();
        assert_eq!(error.failure.reason, Reason::RateLimited);
        assert!(error.failure.message.contains("namespace bank has 20"), "{error}");
        assert_eq!(error.retry_after, Some(COME_BACK));
        drop(held);
        assert!(places.taken().is_empty(), "nothing is remembered of who has gone");
    }

    #[test]
    fn a_connection_is_one_place_however_often_it_asks_and_whoever_asks_by_it() {
        let places = Places::new(512);
        let place = places.come();
        for namespace in ["bank", "bank", "shop"] {
            place.take(namespace).unwrap();
        }
        assert_eq!(*places.taken(), HashMap::from([("shop".to_owned(), 1)]));
    }
}
