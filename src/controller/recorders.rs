//! Events for people: what says something else than the last of its reason about the same object is a new Event, and the same
//! again is counted. A recorder of kube's counts by reason alone, and would leave the first sentence standing for ever.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use kube::{
    Client,
    runtime::events::{Recorder, Reporter},
};

/// So many reasons of objects are remembered; then all are forgotten, and begin anew.
const MOST: usize = 8192;

/// The recorder of each object and reason, with the sentence that it counts.
pub(super) struct Recorders {
    client: Client,
    reporter: Reporter,
    last: Mutex<BTreeMap<(String, String), (String, Recorder)>>,
}

impl Recorders {
    pub fn new(client: Client, reporter: Reporter) -> Self {
        Self {
            client,
            reporter,
            last: Mutex::default(),
        }
    }

    /// The recorder for this sentence about the object with this uid.
    pub fn of(&self, uid: String, reason: &str, note: &str) -> Recorder {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() >= MOST {
            last.clear();
        }
        let key = (uid, reason.to_owned());
        if let Some((said, recorder)) = last.get(&key)
            && said == note
        {
            return recorder.clone();
        }
        let recorder = Recorder::new(self.client.clone(), self.reporter.clone());
        last.insert(key, (note.to_owned(), recorder.clone()));
        recorder
    }
}
