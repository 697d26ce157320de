//! Looks at every pod of every governed namespace, again and again: admission sees what is made, and only while it is there.
//! It reads and counts; what it found is told by the policies' own statuses and by the metrics.

mod report;
mod walk;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::{Stream, StreamExt as _};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::{Context, world::paced};
use crate::{api::v1alpha1::AuditedPods, workload::Plans};
use report::Report;
use walk::walk;

/// How soon after a change of the world those namespaces are looked at of which it says something else now: a policy is
/// seldom applied alone.
const SOON: Duration = Duration::from_secs(2);

/// What the last audit came to, by policy; none before the first was done.
#[derive(Debug)]
pub(super) struct Audits(watch::Sender<Option<Arc<Told>>>);

type Told = BTreeMap<String, AuditedPods>;

impl Default for Audits {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Audits {
    /// What was found for the policy that findings call by this name; none before it was looked for.
    pub(super) fn of(&self, policy: &str) -> Option<AuditedPods> {
        self.0.borrow().as_ref()?.get(policy).cloned()
    }

    /// An item when something else was found.
    pub(super) fn changes(&self) -> impl Stream<Item = ()> + Send + 'static {
        paced(self.0.subscribe(), Duration::ZERO)
    }

    fn tell(&self, told: Told) {
        self.0.send_if_modified(|old| {
            let changed = old.as_deref() != Some(&told);
            if changed {
                *old = Some(Arc::new(told));
            }
            changed
        });
    }
}

/// Which namespaces are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    /// All that are governed.
    Whole,
    /// Those of which the world says something else than when they were looked at, or that could not be read then.
    Changed,
}

/// What was found in a namespace, and the number under which the world first said of it what it was judged by.
struct Kept {
    epoch: u64,
    report: Report,
}

/// Audits until `stop` resolves. It writes nothing, so that it may end anywhere.
pub(super) async fn run(context: Arc<Context>, stop: impl Future<Output = ()> + Send) {
    let auditing = async {
        let mut changes = context.world.changes().boxed();
        let mut audit = Audit {
            plans: Plans::new(context.settings.pods()),
            kept: BTreeMap::new(),
            failed: 0,
        };
        loop {
            let next = Instant::now() + context.settings.audit_interval;
            audit.round(&context, Round::Whole).await;
            loop {
                tokio::select! {
                    () = sleep_until(next) => break,
                    Some(()) = changes.next() => {
                        sleep(SOON).await;
                        audit.round(&context, Round::Changed).await;
                    }
                }
            }
        }
    };
    tokio::select! {
        () = auditing => {}
        () = stop => {}
    }
}

/// What is known from the last look at each namespace.
struct Audit {
    plans: Plans,
    kept: BTreeMap<String, Kept>,
    failed: usize,
}

impl Audit {
    async fn round(&mut self, context: &Context, round: Round) {
        let began = Instant::now();
        let world = context.world.current();
        let mut failed = 0;
        self.kept.retain(|namespace, _| world.governs(namespace));
        for namespace in world.namespaces.keys() {
            // As it is by now: a round takes a while.
            let (world, epoch) = context.world.about(namespace);
            let same = |kept: &Kept| kept.epoch == epoch;
            let known = self.kept.get(namespace).is_some_and(same);
            if !world.governs(namespace) || round == Round::Changed && known {
                continue;
            }
            match walk(context, &self.plans, namespace, &world).await {
                Ok(report) => {
                    self.kept.insert(namespace.clone(), Kept { epoch, report });
                }
                Err(error) => {
                    failed += 1;
                    context.metrics.audit_failed();
                    // What was found there last stays, and is looked for again in the next round.
                    if let Some(kept) = self.kept.get_mut(namespace) {
                        kept.epoch = 0;
                    }
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    let cause = cause.unwrap_or_default();
                    tracing::warn!(namespace, %error, cause, "cannot audit a namespace; trying again");
                }
            }
        }
        self.failed = failed;
        self.tell(context, round, began.elapsed());
    }

    fn tell(&self, context: &Context, round: Round, took: Duration) {
        let mut report = Report::default();
        for kept in self.kept.values() {
            report.add(&kept.report);
        }
        let whole = (round == Round::Whole && self.failed == 0).then(|| context.now());
        context
            .metrics
            .audited(|verdict| report.count(verdict), took, whole);
        let world = context.world.current();
        let told = world
            .rules
            .iter()
            .map(|rules| (rules.policy.clone(), report.of(&rules.policy)));
        context.audits.tell(told.collect());
        tracing::debug!(
            pods = report.pods(),
            namespaces = self.kept.len(),
            failed = self.failed,
            ?round,
            ?took,
            "audited"
        );
    }
}
