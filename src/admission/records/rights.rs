//! What a binding's judgement rests on: its role, whom else that role is bound to, and which accounts models run under.
//! Nobody follows these: bindings are seldom written, so each is read when one is, in bounded time.

use std::{collections::BTreeSet, fmt::Debug, time::Duration};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::{
    Api, Resource, ResourceExt as _,
    api::{ApiResource, DynamicObject, ListParams},
    core::{GroupVersionKind, NamespaceResourceScope},
};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::{Guarded, READ_TIMEOUT, Records, Unread};
use crate::{
    api::v1alpha1::{ModelDeployment, WorkloadRef},
    controller::{pages::next_page, roles::rules_of},
    policy::rbac::{Account, Accounts, Binding, Given, RoleName},
    workload::accounts,
};

/// How many objects are read at once.
const PAGE: u32 = 500;
/// How many workloads are asked about at the same time.
const AT_ONCE: usize = 16;
/// At most so many namespaces are looked into for one binding.
const MOST_NAMESPACES: usize = 8;

impl Records {
    /// What this role gives now.
    pub(in crate::admission) async fn given(&self, role: &RoleName) -> Given {
        let kind = match role.namespace {
            Some(_) => "Role",
            None => "ClusterRole",
        };
        let reading = rules_of(&self.client, role);
        match in_time(kind, &role.name, READ_TIMEOUT, reading).await {
            Ok(Some(rules)) => Given::Rules(rules),
            Ok(None) => Given::Missing,
            Err(unread) => Given::Unread(unread.to_string()),
        }
    }

    /// The bindings of the role's namespace that give it.
    pub(in crate::admission) async fn bindings(&self, role: &RoleName) -> Result<Vec<Binding>, Unread> {
        let namespace = role.namespace.as_deref().unwrap_or_default();
        let listed = self.all::<RoleBinding>("the RoleBindings of", namespace).await?;
        let bindings = listed.into_iter().map(Binding::from);
        Ok(bindings
            .filter(|binding| binding.role.as_ref() == Some(role))
            .collect())
    }

    /// Those of these accounts that models run under: of one that Probity runs, that of its name; of a workload that exists,
    /// those that it names.
    pub(in crate::admission) async fn accounts(&self, asked: &BTreeSet<Account>) -> Result<Accounts, Unread> {
        let namespaces: BTreeSet<&str> = asked.iter().map(|account| account.namespace.as_str()).collect();
        if namespaces.len() > MOST_NAMESPACES {
            return Err(Unread {
                kind: "the ModelDeployments of".into(),
                name: format!(
                    "{} namespaces, which is more than {MOST_NAMESPACES} for one binding",
                    namespaces.len()
                ),
            });
        }
        let mut found = Accounts::new();
        for namespace in namespaces {
            let what = "the ModelDeployments of";
            let models = self.all::<Guarded<ModelDeployment>>(what, namespace).await?;
            let mut add = |account: &str, model: &str| {
                let account = Account {
                    namespace: namespace.to_owned(),
                    name: account.to_owned(),
                };
                if asked.contains(&account) {
                    found.entry(account).or_insert_with(|| model.to_owned());
                }
            };
            let mut adopted = Vec::new();
            for model in models {
                match &model.0 {
                    Ok(read) if read.spec.workload_ref.is_some() => {
                        adopted.extend(
                            read.spec
                                .workload_ref
                                .clone()
                                .map(|workload| (model.name_any(), workload)),
                        );
                    }
                    // One that cannot be read may be of either kind.
                    _ => add(&model.name_any(), &model.name_any()),
                }
            }
            let reads = stream::iter(adopted).map(|(model, workload)| async move {
                let accounts = self.workload_accounts(namespace, &workload).await?;
                Ok::<_, Unread>((model, accounts))
            });
            let reading = reads.buffer_unordered(AT_ONCE).try_collect::<Vec<_>>();
            for (model, accounts) in timely(what, namespace, reading).await? {
                for account in &accounts {
                    add(account, &model);
                }
            }
        }
        Ok(found)
    }

    /// The accounts that the workload names; none when it is not there.
    async fn workload_accounts(
        &self,
        namespace: &str,
        workload: &WorkloadRef,
    ) -> Result<BTreeSet<String>, Unread> {
        let WorkloadRef {
            api_version,
            kind,
            name,
        } = workload;
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &resource);
        let object = in_time(kind, name, READ_TIMEOUT, api.get_opt(name)).await?;
        Ok(object.map_or_else(BTreeSet::new, |object| accounts(kind, &object.data["spec"])))
    }

    /// Every object of a kind in the namespace.
    async fn all<K>(&self, what: &str, namespace: &str) -> Result<Vec<K>, Unread>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        let reading = async {
            let mut params = ListParams::default().limit(PAGE);
            let mut found = Vec::new();
            loop {
                let page = in_time(what, namespace, READ_TIMEOUT, api.list(&params)).await?;
                found.extend(page.items);
                match next_page(params, &page.metadata) {
                    Some(next) => params = next,
                    None => return Ok(found),
                }
            }
        };
        timely(what, namespace, reading).await
    }
}

/// The answer, if there is one in time.
pub(super) async fn in_time<T>(
    kind: &str,
    name: &str,
    within: Duration,
    reading: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Unread> {
    let unread = || Unread {
        kind: kind.to_owned(),
        name: name.to_owned(),
    };
    let read = timeout(within, reading).await.map_err(|_| unread())?;
    read.map_err(|error| {
        tracing::warn!(kind, name, %error, "cannot read what an answer rests on");
        unread()
    })
}

/// The whole of several reads, if it is there in the time of one.
pub(super) async fn timely<T>(
    what: &str,
    namespace: &str,
    reading: impl Future<Output = Result<T, Unread>>,
) -> Result<T, Unread> {
    timeout(READ_TIMEOUT, reading).await.unwrap_or_else(|_| {
        Err(Unread {
            kind: what.to_owned(),
            name: namespace.to_owned(),
        })
    })
}
