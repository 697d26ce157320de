//! Looks at every pod of every governed namespace, again and again: admission sees what is made, and only while it is there.
//! It reads and counts; what it found is told by the policies' own statuses and by the metrics.

mod excesses;
mod networks;
mod report;
mod rights;
mod told;
mod walk;

use std::{
    collections::BTreeMap,
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{Stream, StreamExt as _};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::{Context, cause, world::paced};
use crate::{
    api::v1alpha1::{AuditedNetworkPolicies, AuditedPods, AuditedRights},
    policy::{
        World,
        rbac::{Accounts, Excess},
    },
    workload::Plans,
};
pub(super) use excesses::{Beyond, Excesses};
use excesses::{Runs, by_model};
use networks::{ClusterWide, cluster_wide};
use report::Report;
use rights::rights;
use told::{opened, told};
use walk::{Walked, walk};

/// How soon after a change of the world those namespaces are looked at of which it says something else now: a policy is
/// seldom applied alone.
const SOON: Duration = Duration::from_secs(2);

/// What the last audit came to, by policy, and the same of each namespace; nothing before the first was done.
#[derive(Debug)]
pub(super) struct Audits {
    told: watch::Sender<Option<Arc<Told>>>,
    spaces: Mutex<Spaces>,
}

/// What there is to say of one policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Share {
    pub pods: AuditedPods,
    /// None where the policy does not say what accounts may hold, or where that could not be read yet; and of a namespace, whose
    /// models say it themselves.
    pub rights: Option<AuditedRights>,
    /// None where the policy does not ask for models to be shut off.
    pub openers: Option<AuditedNetworkPolicies>,
}

/// What there is to say of each policy, by its name in findings.
pub(super) type Told = BTreeMap<String, Share>;

/// What there is to say of each namespace.
type Spaces = BTreeMap<String, Arc<Told>>;

impl Default for Audits {
    fn default() -> Self {
        Self {
            told: watch::Sender::new(None),
            spaces: Mutex::default(),
        }
    }
}

impl Audits {
    /// What was found for the policy that findings call by this name; none before it was looked for.
    pub(super) fn of(&self, policy: &str) -> Option<AuditedPods> {
        Some(self.told.borrow().as_ref()?.get(policy)?.pods.clone())
    }

    /// The same of the rights that accounts of models hold.
    pub(super) fn rights_of(&self, policy: &str) -> Option<AuditedRights> {
        self.told.borrow().as_ref()?.get(policy)?.rights.clone()
    }

    /// An item when something else was found.
    pub(super) fn changes(&self) -> impl Stream<Item = ()> + Send + 'static {
        paced(self.told.subscribe(), Duration::ZERO)
    }

    /// The same of the network policies that open what is to be closed.
    pub(super) fn openers_of(&self, policy: &str) -> Option<AuditedNetworkPolicies> {
        self.told.borrow().as_ref()?.get(policy)?.openers.clone()
    }

    /// What was found in this namespace; none before it was looked at.
    pub(super) fn space(&self, namespace: &str) -> Option<Arc<Told>> {
        let spaces = self.spaces.lock().unwrap_or_else(PoisonError::into_inner);
        spaces.get(namespace).cloned()
    }

    /// Takes in what was found in each namespace, and returns those of which it is something else than before.
    fn tell_spaces(&self, spaces: Spaces) -> Vec<String> {
        let mut told = self.spaces.lock().unwrap_or_else(PoisonError::into_inner);
        let old = mem::replace(&mut *told, spaces);
        let news = told.iter().filter(|(name, space)| old.get(*name) != Some(*space));
        news.map(|(name, _)| name.clone()).collect()
    }

    fn tell(&self, told: Told) {
        self.told.send_if_modified(|old| {
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
    walked: Walked,
}

/// Audits until `stop` resolves. It writes nothing, so that it may end anywhere.
pub(super) async fn run(context: Arc<Context>, stop: impl Future<Output = ()> + Send) {
    let auditing = async {
        let mut changes = context.world.changes().boxed();
        let mut audit = Audit {
            plans: Plans::new(context.settings.pods()),
            kept: BTreeMap::new(),
            failed: 0,
            wide: ClusterWide::new(),
            rights: None,
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
    /// The network policies of the whole cluster, as they could be read last.
    wide: ClusterWide,
    /// The accounts that were looked at, and what they hold beyond ceilings; none before that could be read.
    rights: Option<(Accounts, Vec<Excess>)>,
}

impl Audit {
    /// Which model runs under which account.
    fn runs(&self) -> Runs {
        let runs = self.kept.values().flat_map(|kept| &kept.walked.runs);
        runs.cloned().collect()
    }

    async fn round(&mut self, context: &Context, round: Round) {
        let began = Instant::now();
        let world = context.world.current();
        let mut failed = 0;
        self.kept.retain(|namespace, _| world.governs(namespace));
        match cluster_wide(context).await {
            Ok(found) => self.wide = found,
            Err(error) => {
                failed += 1;
                context.metrics.audit_failed();
                tracing::warn!(%error, cause = cause(&error), "cannot audit network policies of the whole cluster; trying again");
            }
        }
        for namespace in world.namespaces.keys() {
            // As it is by now: a round takes a while.
            let (world, epoch) = context.world.about(namespace);
            let same = |kept: &Kept| kept.epoch == epoch;
            let known = self.kept.get(namespace).is_some_and(same);
            if !world.governs(namespace) || round == Round::Changed && known {
                continue;
            }
            match walk(context, &self.plans, namespace, &world, &self.wide).await {
                Ok(walked) => {
                    self.kept.insert(namespace.clone(), Kept { epoch, walked });
                }
                Err(error) => {
                    failed += 1;
                    context.metrics.audit_failed();
                    // What was found there last stays, and is looked for again in the next round.
                    if let Some(kept) = self.kept.get_mut(namespace) {
                        kept.epoch = 0;
                    }
                    tracing::warn!(namespace, %error, cause = cause(&error), "cannot audit a namespace; trying again");
                }
            }
        }
        // Bindings are nobody's who is followed: each round looks at all of them.
        let accounts = self.kept.values().flat_map(|kept| kept.walked.accounts.clone());
        let accounts: Accounts = accounts.collect();
        let world = context.world.current();
        match rights(context, &accounts, &world).await {
            Ok(found) => {
                context.excesses.tell(by_model(&self.runs(), &found, &world));
                self.rights = Some((accounts, found));
            }
            Err(error) => {
                failed += 1;
                context.metrics.audit_failed();
                tracing::warn!(%error, cause = cause(&error), "cannot audit the rights of accounts; trying again");
            }
        }
        self.failed = failed;
        self.tell(context, round, began.elapsed());
    }

    /// What each policy says of each namespace that it selects.
    fn spaces(&self, world: &World) -> Spaces {
        let space = |(namespace, kept): (&String, &Kept)| {
            let policies = world.policies_of(namespace).map(|rules| {
                let openers = opened(rules, kept.walked.openers.iter(), world);
                let share = Share {
                    pods: kept.walked.report.of(&rules.policy),
                    rights: None,
                    openers,
                };
                (rules.policy.clone(), share)
            });
            (namespace.clone(), Arc::new(policies.collect()))
        };
        self.kept.iter().map(space).collect()
    }

    fn tell(&self, context: &Context, round: Round, took: Duration) {
        let mut report = Report::default();
        for kept in self.kept.values() {
            report.add(&kept.walked.report);
        }
        let whole = (round == Round::Whole && self.failed == 0).then(|| context.now());
        context
            .metrics
            .audited(|verdict| report.count(verdict), took, whole);
        let world = context.world.current();
        let rights = self.rights.as_ref();
        let shares = world.rules.iter().map(|rules| {
            let rights = rights.and_then(|(accounts, found)| told(rules, accounts, found, &world));
            let pods = report.of(&rules.policy);
            let openers = self.kept.values().flat_map(|kept| &kept.walked.openers);
            let openers = opened(rules, openers, &world);
            let share = Share {
                pods,
                rights,
                openers,
            };
            (rules.policy.clone(), share)
        });
        context.audits.tell(shares.collect());
        for namespace in context.audits.tell_spaces(self.spaces(&world)) {
            context.touched.touch(&namespace);
        }
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
