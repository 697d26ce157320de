//! The Kubernetes kinds of `probity.dev`: shapes, schema rules and names.
//! LAYER 0: serde and schema only, no behaviour.

pub mod cluster_network_policy;
mod definition;
pub mod openreports;
pub mod run;
pub mod v1alpha1;

pub use definition::custom_resource_definitions;

/// The API group of every kind.
pub const GROUP: &str = "probity.dev";
/// Namespaces with this label set to `true` are governed.
pub const GOVERNED_LABEL: &str = "probity.dev/governed";
/// On everything the operator makes for a model: the model's name.
pub const MODEL_LABEL: &str = "probity.dev/model";
/// The readiness gate of a model's pods: open while policy lets what they run take traffic.
pub const SERVING_GATE: &str = "probity.dev/serving";
/// On nothing at all: what the Service of a model selects besides while its pods take no traffic.
pub const CUT_OFF_LABEL: &str = "probity.dev/cut-off";
/// The operator's field manager for the readiness gate of a model's pods.
pub const GATE_FIELD_MANAGER: &str = "probity-gate";
/// For whom the token is made by which a pod asks the relay: nobody else takes it, and the relay takes no other.
pub const RELAY_AUDIENCE: &str = "probity-relay";
/// The operator's field manager for the objects it makes.
pub const FIELD_MANAGER: &str = "probity";
/// The operator's field manager for what a tag was resolved to.
pub const RESOLVER_FIELD_MANAGER: &str = "probity-resolver";
/// The operator's field manager for what the images of a workload were resolved to.
pub const IMAGES_FIELD_MANAGER: &str = "probity-images";
