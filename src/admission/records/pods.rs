//! The labels of the pods of models, by which network policies mean them. Read when one is written, in bounded time.

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::ListParams};

use super::{
    READ_TIMEOUT, Records, Unread,
    rights::{in_time, timely},
};
use crate::{
    api::MODEL_LABEL,
    controller::pages::next_page,
    policy::opening::{ModelPods, PodLabels},
};

/// How many pods are read at once.
const PAGE: u32 = 500;

impl Records {
    /// The pods of models that are there, each kind of them once.
    pub(in crate::admission) async fn model_pods(&self, namespace: &str) -> Result<ModelPods, Unread> {
        let what = "the Pods of";
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let reading = async {
            let mut params = ListParams::default().limit(PAGE).labels(MODEL_LABEL);
            let mut found = ModelPods::new();
            loop {
                let page = in_time(what, namespace, READ_TIMEOUT, api.list_metadata(&params)).await?;
                for pod in page.items {
                    let labels = pod.metadata.labels.unwrap_or_default();
                    let model = labels.get(MODEL_LABEL).cloned().unwrap_or_default();
                    found.insert((model, PodLabels::of(&labels)));
                }
                match next_page(params, &page.metadata) {
                    Some(next) => params = next,
                    None => return Ok(found),
                }
            }
        };
        timely(what, namespace, reading).await
    }
}
