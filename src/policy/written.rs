//! What the kinds of policy have in common, and the one thing they do not: which namespaces they are for.
//! It reads their shape; what is in their body is compiled the same for both.

use kube::{Resource, core::ObjectMeta};

use super::{NamespaceSelector, Problem};
use crate::api::v1alpha1::{ClusterDeploymentPolicy, DeploymentPolicy, PolicyBody};

/// A policy of either kind.
pub trait Policy: Resource<DynamicType = ()> {
    /// What must hold.
    fn body(&self) -> &PolicyBody;

    /// Which namespaces it is for, and what is wrong with how it says so.
    fn reach(&self) -> (NamespaceSelector, Vec<Problem>);

    /// Which namespaces one that cannot be read may have been meant for.
    fn reach_of_unread(meta: &ObjectMeta) -> NamespaceSelector;
}

impl Policy for ClusterDeploymentPolicy {
    fn body(&self) -> &PolicyBody {
        &self.spec.body
    }

    fn reach(&self) -> (NamespaceSelector, Vec<Problem>) {
        NamespaceSelector::compile(&self.spec.namespace_selector)
    }

    fn reach_of_unread(_: &ObjectMeta) -> NamespaceSelector {
        NamespaceSelector::Broken
    }
}

impl Policy for DeploymentPolicy {
    fn body(&self) -> &PolicyBody {
        &self.spec.body
    }

    fn reach(&self) -> (NamespaceSelector, Vec<Problem>) {
        (Self::reach_of_unread(&self.metadata), Vec::new())
    }

    fn reach_of_unread(meta: &ObjectMeta) -> NamespaceSelector {
        NamespaceSelector::Its(meta.namespace.clone().unwrap_or_default())
    }
}

/// What a policy is called in findings: `ClusterDeploymentPolicy/name` or `DeploymentPolicy/namespace/name`.
pub(super) fn policy_name<P: Policy>(meta: &ObjectMeta) -> String {
    let (kind, name) = (P::kind(&()), meta.name.as_deref().unwrap_or("(unnamed)"));
    match &meta.namespace {
        Some(namespace) => format!("{kind}/{namespace}/{name}"),
        None => format!("{kind}/{name}"),
    }
}
