//! Counts, for each policy, the models that it denies and those that it would deny if it were enforced.
//! It reads what the models' own statuses say and judges nothing again.

#![expect(
    clippy::disallowed_types,
    reason = "the edge: here the client is made, gathered with, and handed to cluster"
)]

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use futures::{Stream, StreamExt as _};
use kube::{
    Api, Client, ResourceExt as _,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, watcher},
    },
};
use tokio::sync::watch;

use super::super::world::{Guarded, paced};
use crate::{
    api::v1alpha1::ModelDeployment,
    evidence::{Effect, Finding, RuleId, Verdict},
};

/// Many models change in a row, when their policy does most of all, and every count is a status that is written.
const BETWEEN_COUNTS: Duration = Duration::from_secs(2);

/// How many models one policy denies, and how many it would.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Denials {
    pub denies: i32,
    pub would_deny: i32,
}

/// The counts of every policy; none before every model was read once.
#[derive(Debug, Clone)]
pub struct TallyView {
    receiver: watch::Receiver<Option<BTreeMap<String, Denials>>>,
}

impl TallyView {
    /// The counts of the policy that findings call by this name.
    pub(super) fn of(&self, policy: &str) -> Option<Denials> {
        let counts = self.receiver.borrow();
        counts
            .as_ref()
            .map(|counts| counts.get(policy).copied().unwrap_or_default())
    }

    /// An item when a count changed.
    pub(super) fn changes(&self) -> impl Stream<Item = ()> + Send + 'static {
        paced(self.receiver.clone(), BETWEEN_COUNTS)
    }
}

/// Starts counting. The future counts and never ends by itself.
pub fn count(client: &Client) -> (TallyView, impl Future<Output = ()> + Send + 'static) {
    let (sender, receiver) = watch::channel(None);
    let api = Api::<Guarded<ModelDeployment>>::all(client.clone());
    let run = async move {
        let events = watcher(api, watcher::Config::default()).default_backoff();
        futures::pin_mut!(events);
        let mut tally = Tally::default();
        while let Some(event) = events.next().await {
            let whole = match event {
                Ok(event) => tally.take(event),
                Err(error) => {
                    tracing::warn!(kind = "ModelDeployment", %error, "a watch failed; trying again");
                    continue;
                }
            };
            if whole {
                sender.send_if_modified(|counts| {
                    let changed = counts.as_ref() != Some(&tally.counts);
                    if changed {
                        *counts = Some(tally.counts.clone());
                    }
                    changed
                });
            }
        }
    };
    (TallyView { receiver }, run)
}

/// The policies that say no to one model, and whether that denies it.
type Share = BTreeSet<(String, bool)>;

#[derive(Debug, Default)]
struct Tally {
    models: HashMap<String, Share>,
    counts: BTreeMap<String, Denials>,
    /// A list that is being read again, and is not whole yet.
    listing: Option<Box<Self>>,
}

impl Tally {
    /// Takes in what happened to a model. Returns whether the counts are those of all models.
    fn take(&mut self, event: watcher::Event<Guarded<ModelDeployment>>) -> bool {
        match event {
            watcher::Event::Init => self.listing = Some(Box::default()),
            watcher::Event::InitApply(model) => {
                if let Some(listing) = &mut self.listing {
                    listing.set(&model);
                }
            }
            watcher::Event::InitDone => {
                if let Some(listing) = self.listing.take() {
                    *self = *listing;
                }
            }
            watcher::Event::Apply(model) => self.set(&model),
            watcher::Event::Delete(model) => self.replace(key(&model), Share::new()),
        }
        self.listing.is_none()
    }

    fn set(&mut self, model: &Guarded<ModelDeployment>) {
        let status = model.0.as_ref().ok().and_then(|model| model.status.as_ref());
        let findings = status.and_then(|status| status.findings.as_deref());
        self.replace(key(model), share(findings.unwrap_or_default()));
    }

    fn replace(&mut self, model: String, share: Share) {
        for (policy, denies) in &share {
            self.add(policy, *denies, 1);
        }
        let old = if share.is_empty() {
            self.models.remove(&model)
        } else {
            self.models.insert(model, share)
        };
        for (policy, denies) in old.iter().flatten() {
            self.add(policy, *denies, -1);
        }
    }

    fn add(&mut self, policy: &str, denies: bool, n: i32) {
        let count = self.counts.entry(policy.to_owned()).or_default();
        *(if denies {
            &mut count.denies
        } else {
            &mut count.would_deny
        }) += n;
        if *count == Denials::default() {
            self.counts.remove(policy);
        }
    }
}

fn key(model: &Guarded<ModelDeployment>) -> String {
    format!("{}/{}", model.namespace().unwrap_or_default(), model.name_any())
}

fn share(findings: &[Finding]) -> Share {
    findings
        .iter()
        // Rights are counted by the audit, an account at a time.
        .filter(|finding| finding.verdict == Verdict::Fail && finding.rule != RuleId::IsolationRbac)
        .filter_map(|finding| Some((finding.policy.clone()?, finding.effect == Effect::Enforce)))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use watcher::Event;

    use super::*;

    fn model(name: &str, findings: &[(&str, &str, &str)]) -> Guarded<ModelDeployment> {
        let findings: Vec<Value> = findings
            .iter()
            .map(|(policy, effect, verdict)| {
                json!({"rule": "model.signature", "policy": policy, "effect": effect, "verdict": verdict, "message": "m"})
            })
            .collect();
        let image = format!("registry.example/s@sha256:{}", "0".repeat(64));
        serde_json::from_value(json!({
            "apiVersion": "probity.dev/v1alpha1", "kind": "ModelDeployment",
            "metadata": {"name": name, "namespace": "bank"},
            "spec": {
                "model": {"source": {"oci": {"reference": "registry.example/models/digits:1"}}},
                "server": {"image": image, "protocol": "HTTP", "port": 80}
            },
            "status": {"findings": findings}
        }))
        .unwrap()
    }

    fn counts(tally: &Tally) -> Vec<(&str, i32, i32)> {
        let counts = tally.counts.iter();
        counts
            .map(|(policy, count)| (policy.as_str(), count.denies, count.would_deny))
            .collect()
    }

    #[test]
    fn models_are_counted_once_for_each_policy_and_effect() {
        let mut tally = Tally::default();
        let twice = [
            ("a", "Enforce", "Fail"),
            ("a", "Enforce", "Fail"),
            ("b", "Warn", "Fail"),
        ];
        assert!(tally.take(Event::Apply(model("one", &twice))));
        tally.take(Event::Apply(model(
            "two",
            &[("a", "Enforce", "Pass"), ("b", "Audit", "Fail")],
        )));
        assert_eq!(counts(&tally), [("a", 1, 0), ("b", 0, 2)]);
        tally.take(Event::Apply(model(
            "one",
            &[("a", "Enforce", "Wait"), ("b", "Warn", "Fail")],
        )));
        assert_eq!(counts(&tally), [("b", 0, 2)]);
        tally.take(Event::Delete(model("two", &[])));
        assert_eq!(counts(&tally), [("b", 0, 1)]);
    }

    #[test]
    fn a_list_counts_when_it_is_whole() {
        let mut tally = Tally::default();
        tally.take(Event::Apply(model("gone", &[("a", "Enforce", "Fail")])));
        assert!(!tally.take(Event::Init));
        assert!(!tally.take(Event::InitApply(model("one", &[("b", "Enforce", "Fail")]))));
        assert_eq!(counts(&tally), [("a", 1, 0)]);
        assert!(tally.take(Event::InitDone));
        assert_eq!(counts(&tally), [("b", 1, 0)]);
    }

    #[test]
    fn a_model_that_cannot_be_read_counts_for_nobody() {
        let mut tally = Tally::default();
        let mut broken = model("one", &[("a", "Enforce", "Fail")]);
        tally.take(Event::Apply(broken.clone()));
        broken = serde_json::from_value(json!({
            "apiVersion": "probity.dev/v1alpha1", "kind": "ModelDeployment",
            "metadata": {"name": "one", "namespace": "bank"}, "spec": 7
        }))
        .unwrap();
        tally.take(Event::Apply(broken));
        assert_eq!(counts(&tally), []);
    }
}
