//! Reads the pods of one namespace, page by page, and has each judged with what is recorded of its model. Reads only; no pod is
//! kept once its page is judged.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Debug,
};

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Resource, ResourceExt as _,
    api::{ApiResource, DynamicObject, ListParams},
    core::NamespaceResourceScope,
};
use serde::{Deserialize as _, de::DeserializeOwned};
use serde_json::Value;

use super::{
    super::{
        Context, Error,
        pages::{all, next_page},
        world::Guarded,
    },
    excesses::Runs,
    networks::{ClusterWide, networks},
    report::Report,
};
use crate::{
    api::v1alpha1::{ArtifactVerification, ModelDeployment, WorkloadRef},
    policy::{
        World,
        opening::{ModelPods, Opener, PodLabels},
        pods::{self, PodThere, Recorded, audit},
        rbac::{Account, Accounts},
        selecting,
    },
    workload::{DEFAULT_ACCOUNT, Plans, controller},
};

/// How many objects are read at once.
const PAGE: u32 = 500;
/// How many pods are judged before others get their turn: at admission somebody waits for each answer.
const AT_ONCE: usize = 16;

/// What a namespace was found to have.
#[derive(Debug, Default)]
pub(super) struct Walked {
    /// What is said of its pods.
    pub report: Report,
    /// The accounts that its models run under, where a policy asks what they may.
    pub accounts: Accounts,
    /// Which of its models runs under which of them: of several all.
    pub runs: Runs,
    /// The network policies that open what is to be closed, where a policy asks for that.
    pub openers: Vec<Opener>,
}

/// Judges every pod of the namespace.
pub(super) async fn walk(
    context: &Context,
    plans: &Plans,
    namespace: &str,
    world: &World,
    wide: &ClusterWide,
) -> Result<Walked, Error> {
    let labels = world.namespaces.get(namespace).cloned().unwrap_or_default();
    let rules: Vec<_> = selecting(&world.rules, namespace, &labels).collect();
    let now = context.now();
    let resource = ApiResource::erase::<Pod>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), namespace, &resource);
    let mut report = Report::default();
    let mut accounts = Accounts::new();
    let mut runs = Runs::new();
    let mut models: Option<Models> = None;
    let closed = rules.iter().any(|rules| rules.isolation.network.is_some());
    let mut labels_of_pods = ModelPods::new();
    if closed || rules.iter().any(|rules| rules.isolation.ceiling.is_some()) {
        let read = Models::read(context, namespace, world).await?;
        accounts = read.own_accounts(namespace);
        models = Some(read);
    }
    let mut params = ListParams::default().limit(PAGE);
    loop {
        // Decoded as they are: typed, a pod would lose what this version has no name for.
        let page = api.list(&params).await.map_err(|source| Error::Gather {
            what: "the namespace's Pods",
            source,
        })?;
        if models.is_none() && !page.items.is_empty() {
            models = Some(Models::read(context, namespace, world).await?);
        }
        let next = next_page(params, &page.metadata);
        for (at, object) in page.items.into_iter().enumerate() {
            if at % AT_ONCE == 0 {
                tokio::task::yield_now().await;
            }
            let (Some(models), Some(mut there)) = (&mut models, There::of(object)) else {
                continue;
            };
            let owners = models.owners(context, namespace, &there.pod).await;
            let record = models.of(&there.pod, &owners);
            if record.is_none_or(|record| record.model.spec.workload_ref.is_some()) {
                there.decode();
            }
            if let Some(record) = record {
                let account = there.account(namespace);
                runs.insert((account.clone(), record.model.name_any()));
                accounts.entry(account).or_insert_with(|| record.model.name_any());
                labels_of_pods.insert((record.model.name_any(), PodLabels::of(there.pod.labels())));
            }
            let judged = PodThere {
                namespace,
                pod: &there.pod,
                spec: &there.spec,
                owners: &owners,
            };
            let recorded = record.map(Record::recorded).unwrap_or_default();
            let audited = audit(&judged, recorded, world, plans, now);
            report.pod(namespace, &there.pod.name_any(), &audited, &rules);
        }
        match next {
            Some(next) => params = next,
            None => break,
        }
    }
    let openers = match &models {
        Some(models) if closed => {
            let models: Vec<&ModelDeployment> = models.all().collect();
            networks(context, namespace, &models, &labels_of_pods, wide, world).await?
        }
        _ => Vec::new(),
    };
    let own = accounts
        .iter()
        .map(|(account, model)| (account.clone(), model.clone()));
    runs.extend(own);
    Ok(Walked {
        report,
        accounts,
        runs,
        openers,
    })
}

/// A pod as it was read, decoded as far as somebody asks.
struct There {
    pod: Pod,
    spec: Value,
    status: Value,
}

impl There {
    /// None of what has ended: it runs nothing, and never will again.
    fn of(mut object: DynamicObject) -> Option<Self> {
        let status = object.data.get_mut("status").map(Value::take).unwrap_or_default();
        let phase = status.get("phase").and_then(Value::as_str);
        if matches!(phase, Some("Succeeded" | "Failed")) {
            return None;
        }
        Some(Self {
            pod: Pod {
                metadata: object.metadata,
                ..Pod::default()
            },
            spec: object.data.get_mut("spec").map(Value::take).unwrap_or_default(),
            status,
        })
    }

    /// The account it runs under.
    fn account(&self, namespace: &str) -> Account {
        let named = self.spec.get("serviceAccountName").and_then(Value::as_str);
        Account {
            namespace: namespace.to_owned(),
            name: named.unwrap_or(DEFAULT_ACCOUNT).to_owned(),
        }
    }

    /// What cannot be decoded is left out, and missed by whoever asks for it.
    fn decode(&mut self) {
        self.pod.spec = Option::deserialize(&self.spec).unwrap_or_default();
        self.pod.status = Option::deserialize(&self.status).unwrap_or_default();
    }
}

/// A model, and the verdicts that its pods can rest on.
struct Record {
    model: ModelDeployment,
    verifications: Vec<ArtifactVerification>,
}

impl Record {
    fn recorded(&self) -> Recorded<'_> {
        Recorded {
            model: Some(&self.model),
            verifications: &self.verifications,
        }
    }
}

/// The models of a namespace by name, and what its pods go back to.
struct Models {
    records: BTreeMap<String, Record>,
    adopts: bool,
    owners: HashMap<String, Vec<WorkloadRef>>,
}

impl Models {
    async fn read(context: &Context, namespace: &str, world: &World) -> Result<Self, Error> {
        let models =
            readable::<ModelDeployment>(context, namespace, "the namespace's ModelDeployments").await?;
        let what = "the namespace's ArtifactVerifications";
        let verifications = if models.is_empty() {
            Vec::new()
        } else {
            readable::<ArtifactVerification>(context, namespace, what).await?
        };
        let by_name: HashMap<String, ArtifactVerification> = verifications
            .into_iter()
            .map(|verification| (verification.name_any(), verification))
            .collect();
        let record = |model: ModelDeployment| {
            let needed = pods::needed(&model, world);
            let verifications = needed.iter().filter_map(|name| by_name.get(name).cloned());
            let record = Record {
                verifications: verifications.collect(),
                model,
            };
            (record.model.name_any(), record)
        };
        let records: BTreeMap<String, Record> = models.into_iter().map(record).collect();
        Ok(Self {
            adopts: records
                .values()
                .any(|record| record.model.spec.workload_ref.is_some()),
            records,
            owners: HashMap::new(),
        })
    }

    fn all(&self) -> impl Iterator<Item = &ModelDeployment> {
        self.records.values().map(|record| &record.model)
    }

    /// The accounts of the models that Probity runs, whether or not pods of them are there.
    fn own_accounts(&self, namespace: &str) -> Accounts {
        let models = self.records.values().map(|record| &record.model);
        let own = models.filter(|model| model.spec.server.is_some());
        own.map(|model| {
            let account = Account {
                namespace: namespace.to_owned(),
                name: model.name_any(),
            };
            (account, model.name_any())
        })
        .collect()
    }

    /// The controllers that the pod goes back to, where a model governs workloads.
    async fn owners(&mut self, context: &Context, namespace: &str, pod: &Pod) -> Vec<WorkloadRef> {
        let Some(direct) = controller(pod.owner_references()).filter(|_| self.adopts) else {
            return Vec::new();
        };
        if let Some(owners) = self.owners.get(&direct.uid) {
            return owners.clone();
        }
        let models = || self.records.values().map(|record| &record.model);
        let known = |owners: &[WorkloadRef]| models().any(|model| pods::governs(model, owners));
        let read = context
            .owners
            .chain(&context.client, namespace, direct, known)
            .await;
        // What could not be read is asked for again with the next pod, and at the next round.
        let Ok(owners) = read else { return Vec::new() };
        self.owners.insert(direct.uid.clone(), owners.clone());
        owners
    }

    /// What is recorded of the model that the pod names, or that governs what it goes back to.
    fn of(&self, pod: &Pod, owners: &[WorkloadRef]) -> Option<&Record> {
        let models = || self.records.values().map(|record| &record.model);
        match pods::model(pod) {
            Some(name) => self.records.get(name),
            None => self.records.get(&pods::governing(models(), owners)?.name_any()),
        }
    }
}

/// Every object of a kind in the namespace that this version can read.
async fn readable<K>(context: &Context, namespace: &str, what: &'static str) -> Result<Vec<K>, Error>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let api: Api<Guarded<K>> = context.api(namespace);
    let found = all(&api, what, ListParams::default().limit(PAGE)).await?;
    Ok(found.into_iter().filter_map(|object| object.0.ok()).collect())
}
