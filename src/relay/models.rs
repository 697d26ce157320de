//! What a namespace may have: the content its models were found to be or serve, and by which pull secret it is read.
//! [`grants`] is pure; around it only a list that is not asked for again and again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex as Sync, PoisonError},
    time::Duration,
};

use tokio::{sync::Mutex, time::Instant};

use super::Cluster;
use crate::{
    api::v1alpha1::ModelDeployment,
    evidence::{Failure, Reference},
};

/// How long a list of models is good for.
const FRESH: Duration = Duration::from_secs(10);
/// What is not in a list may have come since: it is asked for again, but not more often than this.
const BETWEEN: Duration = Duration::from_secs(1);
/// At most this many namespaces are remembered.
const MOST: usize = 1024;

/// One content that a namespace may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The manifest, pinned.
    pub reference: Reference,
    /// The Secret of the namespace by which it is read.
    pub pull_secret: Option<String>,
}

/// What a namespace with these models may have: of each the content that its reference was resolved to, and what serves.
///
/// That a model names something does not show that its namespace may read it. The registry is asked for that, with the
/// namespace's own secret.
pub fn grants<'a>(models: impl IntoIterator<Item = &'a ModelDeployment>) -> Vec<Grant> {
    let mut grants = Vec::new();
    for grant in models.into_iter().flat_map(of_model) {
        if !grants.contains(&grant) {
            grants.push(grant);
        }
    }
    grants
}

fn of_model(model: &ModelDeployment) -> Vec<Grant> {
    let status = model.status.as_ref();
    let oci = model.spec.model.source.oci.as_ref();
    let mut grants = Vec::new();
    if let Some(oci) = oci
        && let Ok(reference) = oci.reference.parse::<Reference>()
    {
        let resolved = status.and_then(|status| status.resolved.as_ref()?.digest);
        for digest in [reference.digest(), resolved].into_iter().flatten() {
            grants.push(Grant {
                reference: reference.pinned(digest),
                pull_secret: oci.pull_secret.clone(),
            });
        }
    }
    // What serves may be something else than what is asked for by now, found elsewhere and by another secret.
    if let Some(serving) = status.and_then(|status| status.serving.as_ref())
        && let Ok(reference) = serving.reference.parse::<Reference>()
    {
        let pull_secret = match &serving.template {
            Some(template) => template.pull_secret.clone(),
            None => oci.and_then(|oci| oci.pull_secret.clone()),
        };
        grants.push(Grant {
            reference: reference.pinned(serving.digest),
            pull_secret,
        });
    }
    grants
}

/// What was listed, and when.
type Listed = Option<(Instant, Arc<Vec<Grant>>)>;

/// The namespaces' grants, listed when somebody asks.
#[derive(Debug)]
pub(super) struct Models<C> {
    cluster: Arc<C>,
    known: Sync<HashMap<String, Arc<Mutex<Listed>>>>,
}

impl<C: Cluster> Models<C> {
    pub fn new(cluster: Arc<C>) -> Self {
        Self {
            cluster,
            known: Sync::default(),
        }
    }

    /// Those grants of a namespace that `wanted` takes.
    pub async fn granted(
        &self,
        namespace: &str,
        wanted: impl Fn(&Grant) -> bool,
    ) -> Result<Vec<Grant>, Failure> {
        let place = self.place(namespace);
        // Whoever comes meanwhile waits for the same list.
        let mut listed = place.lock().await;
        if let Some((at, grants)) = &*listed
            && at.elapsed() < FRESH
        {
            let found: Vec<_> = grants.iter().filter(|grant| wanted(grant)).cloned().collect();
            if !found.is_empty() || at.elapsed() < BETWEEN {
                return Ok(found);
            }
        }
        let grants = Arc::new(self.cluster.grants(namespace).await?);
        let found = grants.iter().filter(|grant| wanted(grant)).cloned().collect();
        *listed = Some((Instant::now(), grants));
        Ok(found)
    }

    fn place(&self, namespace: &str) -> Arc<Mutex<Listed>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST && !known.contains_key(namespace) {
            // Those who are at it keep theirs.
            known.clear();
        }
        known.entry(namespace.to_owned()).or_default().clone()
    }
}

#[cfg(test)]
#[allow(clippy::needless_pass_by_value, reason = "rows of a table are values")]
mod tests {
    use serde_json::{Value, json};
    use test_case::test_case;

    use super::*;

    fn digest(letter: char) -> String {
        format!("sha256:{}", letter.to_string().repeat(64))
    }

    fn model(oci: Value, status: Value) -> ModelDeployment {
        serde_json::from_value(json!({
            "apiVersion": "probity.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": "digits", "namespace": "bank"},
            "spec": {
                "model": {"source": oci},
                "server": {"image": format!("r.example/s@{}", digest('0')), "protocol": "HTTP", "port": 80},
            },
            "status": status,
        }))
        .unwrap()
    }

    fn oci(reference: &str) -> Value {
        json!({"oci": {"reference": reference, "pullSecret": "regcred"}})
    }

    fn resolved(letter: char) -> Value {
        json!({"resolved": {"source": digest('f'), "digest": digest(letter)}})
    }

    fn serving(letter: char, template: &Value) -> Value {
        json!({"serving": {
            "digest": digest(letter), "version": "1", "reference": format!("r.example/old@{}", digest(letter)),
            "since": "2026-01-01T00:00:00Z", "size": 1, "files": 1, "signers": [], "signedBy": "x", "verification": "v",
            "template": template,
        }})
    }

    #[test_case(&oci("r.example/digits:1"), &json!({}), &[]; "nothing is known of a tag that was not resolved")]
    #[test_case(&oci("r.example/digits:1"), &resolved('a'), &["r.example/digits a regcred"]; "what it was resolved to")]
    #[test_case(&oci(&format!("r.example/digits@{}", digest('a'))), &resolved('a'), &["r.example/digits a regcred"]; "once, whoever says it")]
    #[test_case(&oci("r.example/digits:2"), &serving('b', &Value::Null), &["r.example/old b regcred"]; "what serves")]
    #[test_case(
        &oci("r.example/digits:2"),
        &serving('b', &json!({"server": {"image": "x@y", "protocol": "HTTP", "port": 1}})),
        &["r.example/old b -"];
        "by the secret it was fetched by"
    )]
    #[test_case(&json!({"volume": {"claimName": "models"}}), &json!({}), &[]; "no registry's model")]
    #[test_case(&oci("no reference"), &resolved('a'), &[]; "no reference at all")]
    fn what_a_model_gives(source: &Value, status: &Value, expected: &[&str]) {
        let found: Vec<_> = grants([&model(source.clone(), status.clone())])
            .iter()
            .map(|grant| {
                let digest = grant.reference.digest().unwrap().hex();
                let secret = grant.pull_secret.as_deref().unwrap_or("-");
                format!("{} {} {secret}", grant.reference.name(), &digest[..1])
            })
            .collect();
        assert_eq!(found, expected);
    }
}
