//! The Kubernetes kinds of `probity.dev`: shapes, schema rules and names.
//! LAYER 0: serde and schema only, no behaviour.

pub mod v1alpha1;

/// The API group of every kind.
pub const GROUP: &str = "probity.dev";
/// Namespaces with this label set to `true` are governed.
pub const GOVERNED_LABEL: &str = "probity.dev/governed";
/// On everything the operator makes for a model: the model's name.
pub const MODEL_LABEL: &str = "probity.dev/model";
/// The operator's field manager for the objects it makes.
pub const FIELD_MANAGER: &str = "probity";
/// The operator's field manager for what a tag was resolved to.
pub const RESOLVER_FIELD_MANAGER: &str = "probity-resolver";

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;

/// Every custom resource definition, in the order they are installed.
pub fn custom_resource_definitions() -> Vec<CustomResourceDefinition> {
    vec![
        v1alpha1::TrustRoot::crd(),
        v1alpha1::ClusterDeploymentPolicy::crd(),
        v1alpha1::ModelDeployment::crd(),
        v1alpha1::ArtifactVerification::crd(),
    ]
}
