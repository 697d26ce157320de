//! Whether the API server knows a kind that somebody else may install, or not. Reads only.

use super::Context;

/// Whether this resource of `group/version` is served; nothing when the API server did not say.
pub(super) async fn is_served(context: &Context, group_version: &str, plural: &str) -> Option<bool> {
    match context.client.list_api_group_resources(group_version).await {
        Ok(list) => Some(list.resources.iter().any(|one| one.name == plural)),
        Err(kube::Error::Api(status)) if status.is_not_found() => Some(false),
        Err(error) => {
            tracing::debug!(%error, group_version, plural, "cannot ask whether a kind is served");
            None
        }
    }
}
