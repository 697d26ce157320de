//! The Kubernetes kinds of `probity.dev`: shapes, schema rules and names.
//! LAYER 0: serde and schema only, no behaviour.

mod definition;
pub mod v1alpha1;

pub use definition::custom_resource_definitions;

/// The API group of every kind.
pub const GROUP: &str = "probity.dev";
/// Namespaces with this label set to `true` are governed.
pub const GOVERNED_LABEL: &str = "probity.dev/governed";
/// On everything the operator makes for a model: the model's name.
pub const MODEL_LABEL: &str = "probity.dev/model";
/// For whom the token is made by which a pod asks the relay: nobody else takes it, and the relay takes no other.
pub const RELAY_AUDIENCE: &str = "probity-relay";
/// The operator's field manager for the objects it makes.
pub const FIELD_MANAGER: &str = "probity";
/// The operator's field manager for what a tag was resolved to.
pub const RESOLVER_FIELD_MANAGER: &str = "probity-resolver";
/// The operator's field manager for what the images of a workload were resolved to.
pub const IMAGES_FIELD_MANAGER: &str = "probity-images";
