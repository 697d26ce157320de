//! Lists that are longer than what is read at once.
use std::fmt::Debug;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta;
use kube::{Api, api::ListParams};
use serde::de::DeserializeOwned;

use super::Error;

/// What to ask for after this page; none after the last.
pub fn next_page(params: ListParams, page: &ListMeta) -> Option<ListParams> {
    let token = page.continue_.as_deref().filter(|token| !token.is_empty())?;
    Some(params.continue_token(token))
}

/// All objects of a list, read as many at a time as the parameters say.
pub(super) async fn all<K>(api: &Api<K>, what: &'static str, mut params: ListParams) -> Result<Vec<K>, Error>
where
    K: Clone + Debug + DeserializeOwned,
{
    let mut found = Vec::new();
    loop {
        let page = api.list(&params).await;
        let page = page.map_err(|source| Error::Gather { what, source })?;
        found.extend(page.items);
        match next_page(params, &page.metadata) {
            Some(next) => params = next,
            None => return Ok(found),
        }
    }
}
