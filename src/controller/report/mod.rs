//! Writes what is found about models as Reports of `openreports.io`, a namespace at a time, where that API is served.
//! It judges nothing and nobody waits for it: where the API is absent, or writing fails, reports are missing and nothing else.

mod audited;
mod bounds;
mod content;

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, ResourceExt,
    api::ListParams,
    core::{DeserializeGuard, PartialObjectMeta},
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    api::{
        openreports::{GROUP, Report, VERSION},
        v1alpha1::ModelDeployment,
    },
    cluster::{Applied, is_controlled_by},
};

use super::{
    Context, Error, cause,
    pages::{all, next_page},
    served::is_served,
};

/// How long after a model changed the reports of its namespace are written: more changes follow, as a rule.
const SOON: Duration = Duration::from_secs(2);
/// At most so long is the API not looked for.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// So many objects are read at a time.
const PAGE: u32 = 250;
/// By this label ours are found; whose they are is said by their owner.
const OURS: &str = "app.kubernetes.io/managed-by=probity";

/// The namespaces in which something changed that reports tell.
#[derive(Debug, Default)]
pub(super) struct Touched {
    namespaces: Mutex<BTreeSet<String>>,
    news: Notify,
}

impl Touched {
    /// The status of a model of this namespace changed, the model is gone, or the audit found something else there.
    pub(super) fn touch(&self, namespace: &str) {
        let mut namespaces = self.namespaces.lock().unwrap_or_else(PoisonError::into_inner);
        if !namespaces.contains(namespace) {
            namespaces.insert(namespace.to_owned());
            drop(namespaces);
            self.news.notify_one();
        }
    }

    fn take(&self) -> BTreeSet<String> {
        mem::take(&mut *self.namespaces.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Writes reports until `stop` resolves. Each is one request, so that it may end anywhere.
pub(super) async fn run(context: Arc<Context>, stop: impl Future<Output = ()> + Send) {
    if !context.settings.reports {
        return;
    }
    tokio::select! {
        () = report(&context) => {}
        () = stop => {}
    }
}

async fn report(context: &Context) {
    let mut served = None;
    let mut known = BTreeSet::new();
    loop {
        let next = Instant::now() + context.settings.audit_interval.min(LOOK_AGAIN);
        let group = format!("{GROUP}/{VERSION}");
        let is_served = is_served(context, &group, "reports").await;
        let is_served = is_served.or(served).unwrap_or(false);
        if served != Some(is_served) {
            say(context, is_served);
            served = Some(is_served);
            if is_served {
                known.extend(with_models(context).await);
            }
        }
        if is_served {
            // What others did to reports is found only by looking: nobody watches them.
            let mut namespaces = known.clone();
            let world = context.world.current();
            let governed = world.namespaces.keys().filter(|one| world.governs(one));
            namespaces.extend(governed.cloned());
            namespaces.extend(context.touched.take());
            round(context, namespaces, &mut known).await;
        }
        loop {
            tokio::select! {
                () = sleep_until(next) => break,
                () = context.touched.news.notified() => {}
            }
            sleep(SOON).await;
            if is_served {
                round(context, context.touched.take(), &mut known).await;
            } else {
                // All of them are written once it is.
                known.extend(context.touched.take());
            }
        }
    }
}

fn say(context: &Context, served: bool) {
    context.metrics.reports_served(served);
    if served {
        tracing::info!("{GROUP}/{VERSION} is served: reports are written");
    } else {
        tracing::info!(
            "{GROUP}/{VERSION} is not served, so no reports are written; install its definitions, or set reports.enabled=false. It is looked for again"
        );
    }
}

/// Writes the reports of these namespaces. `known` are those that have models or a report.
async fn round(context: &Context, namespaces: BTreeSet<String>, known: &mut BTreeSet<String>) {
    for namespace in namespaces {
        match of_namespace(context, &namespace).await {
            Ok(true) => {
                known.insert(namespace);
            }
            Ok(false) => {
                known.remove(&namespace);
            }
            Err(error) => {
                // Tried again in the next round over all.
                known.insert(namespace.clone());
                context.metrics.failed("Report", error.category());
                tracing::warn!(namespace, %error, cause = cause(&error), "cannot write the reports of a namespace; trying again");
            }
        }
    }
}

/// The namespaces that have models, also those that nobody governs.
async fn with_models(context: &Context) -> BTreeSet<String> {
    let models: Api<ModelDeployment> = Api::all(context.client.clone());
    let mut found = BTreeSet::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let list = match models.list_metadata(&page).await {
            Ok(list) => list,
            Err(error) => {
                // Those that are governed, and those where anything changes, are written all the same.
                tracing::warn!(%error, "cannot list models to report about");
                return found;
            }
        };
        found.extend(list.items.iter().filter_map(ResourceExt::namespace));
        match next_page(page, &list.metadata) {
            Some(next) => page = next,
            None => return found,
        }
    }
}

/// Brings the reports of one namespace to what there is to say; whether there is anything.
async fn of_namespace(context: &Context, namespace: &str) -> Result<bool, Error> {
    let Some(uid) = uid(context, namespace).await? else {
        return Ok(false);
    };
    let models: Api<DeserializeGuard<ModelDeployment>> = context.api(namespace);
    let models: Vec<ModelDeployment> = all(&models, "the models", ListParams::default().limit(PAGE))
        .await?
        .into_iter()
        // What cannot be read is said by its own reconciler.
        .filter_map(|model| model.0.ok())
        .filter(|model| model.metadata.deletion_timestamp.is_none())
        .collect();
    let reports: Api<Report> = context.api(namespace);
    let stored = all(
        &reports,
        "the reports",
        ListParams::default().labels(OURS).limit(PAGE),
    )
    .await?;
    let stored: BTreeMap<String, Report> = stored.into_iter().map(|one| (one.name_any(), one)).collect();
    for model in &models {
        let owner = model.uid().unwrap_or_default();
        write(context, &reports, &stored, &owner, content::of_model(model)).await?;
    }
    let governed = context.world.current().governs(namespace);
    if governed {
        let audited = match context.audits.space(namespace) {
            Some(found) => audited::results(&found),
            None => audited::kept(stored.get(content::NAME)),
        };
        let wanted = content::of_namespace(namespace, &uid, &models, audited);
        write(context, &reports, &stored, &uid, wanted).await?;
    } else if let Some(there) = stored
        .get(content::NAME)
        .filter(|there| is_controlled_by(*there, &uid))
    {
        context.applier.delete(&reports, there).await?;
    }
    Ok(governed || !models.is_empty())
}

/// Writes one report, unless it is there as it should be, or its name is somebody else's.
async fn write(
    context: &Context,
    api: &Api<Report>,
    stored: &BTreeMap<String, Report>,
    owner: &str,
    wanted: Report,
) -> Result<(), Error> {
    let there = stored.get(&wanted.name_any());
    let wanted = bounds::with_times(wanted, there, context.now());
    if there.is_some_and(|there| is_controlled_by(there, owner) && bounds::is_as_wanted(there, &wanted)) {
        return Ok(());
    }
    let name = wanted.name_any();
    // Without our label it is not among those that were listed, and would be somebody else's.
    let taken = match there {
        Some(_) => None,
        None => context.applier.read(api, &name).await?,
    };
    let existing = there.or(taken.as_ref());
    match context.applier.apply(api, existing, owner, wanted).await? {
        Applied::Done(_) => context.metrics.succeeded("Report"),
        Applied::NameTaken => tracing::debug!(report = name, "the name is somebody else's"),
    }
    Ok(())
}

/// The namespace's uid; none when it is not there.
async fn uid(context: &Context, namespace: &str) -> Result<Option<String>, Error> {
    let api: Api<Namespace> = Api::all(context.client.clone());
    let named = ListParams::default().fields(&format!("metadata.name={namespace}"));
    let found = api.list_metadata(&named).await.map_err(|source| Error::Gather {
        what: "the namespace",
        source,
    })?;
    let there = found
        .items
        .into_iter()
        .find(|one: &PartialObjectMeta<Namespace>| one.metadata.deletion_timestamp.is_none());
    Ok(there.and_then(|one| one.metadata.uid))
}
