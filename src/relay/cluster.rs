//! What the relay asks of the cluster: whose token something is, which models a namespace has, what a pull secret holds.
//! It reads; a `TokenReview` is a question too, which is asked by creating it and which nothing keeps.

#![expect(
    clippy::disallowed_types,
    reason = "the edge: here the client is made, gathered with, and nothing is written"
)]

use std::time::Duration;

use http::{Request, header};
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus},
    core::v1::Secret,
};
use kube::{Api, Client, api::ListParams};
use tokio::time::timeout;

use super::{Grant, grants};
use crate::{
    api::{RELAY_AUDIENCE, v1alpha1::ModelDeployment},
    artifact::oci::Credentials,
    evidence::{Failure, Reason},
};

/// For one answer of the API server.
const PATIENCE: Duration = Duration::from_secs(10);
/// Models that are listed at a time.
const PAGE: u32 = 100;

/// Who holds a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenHolder {
    /// The namespace of its service account.
    pub namespace: String,
    /// The pod it was made for, for the log.
    pub pod: Option<String>,
}

/// What the relay asks of the cluster.
pub trait Cluster: Send + Sync + 'static {
    /// Who holds this token, if it is one for the relay and still holds; else why not.
    fn holder(&self, token: &str) -> impl Future<Output = Result<TokenHolder, Failure>> + Send;

    /// What the models of a namespace give it.
    fn grants(&self, namespace: &str) -> impl Future<Output = Result<Vec<Grant>, Failure>> + Send;

    /// The credentials in a pull secret.
    fn credentials(
        &self,
        namespace: &str,
        secret: &str,
    ) -> impl Future<Output = Result<Credentials, Failure>> + Send;
}

/// The API server.
///
/// Needs `create` of tokenreviews, `list` of modeldeployments and `get` of secrets.
#[derive(Clone)]
pub struct ApiServer {
    client: Client,
}

impl std::fmt::Debug for ApiServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiServer").finish_non_exhaustive()
    }
}

impl ApiServer {
    /// Asks by this client.
    pub fn new(client: Client) -> Self {
        Self { client }
    }
}

impl Cluster for ApiServer {
    async fn holder(&self, token: &str) -> Result<TokenHolder, Failure> {
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: Some(token.to_owned()),
                audiences: Some(vec![RELAY_AUDIENCE.into()]),
            },
            ..TokenReview::default()
        };
        let question = serde_json::to_vec(&review)
            .ok()
            .and_then(|body| {
                Request::post("/apis/authentication.k8s.io/v1/tokenreviews")
                    .header(header::CONTENT_TYPE, "application/json")
                    .body(body)
                    .ok()
            })
            .ok_or_else(|| {
                Failure::new(
                    Reason::Internal,
                    "no question can be made of the token: please report it",
                )
            })?;
        let answer: TokenReview = patiently("whose the token is", self.client.request(question)).await?;
        judge(answer.status.as_ref())
    }

    async fn grants(&self, namespace: &str) -> Result<Vec<Grant>, Failure> {
        let api: Api<ModelDeployment> = Api::namespaced(self.client.clone(), namespace);
        let mut found = Vec::new();
        let mut page = ListParams::default().limit(PAGE);
        loop {
            let list = patiently("the models of the namespace", api.list(&page)).await?;
            found.extend(grants(&list.items));
            match list.metadata.continue_.filter(|next| !next.is_empty()) {
                Some(next) => page = page.continue_token(&next),
                None => return Ok(found),
            }
        }
    }

    async fn credentials(&self, namespace: &str, secret: &str) -> Result<Credentials, Failure> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let found = patiently("the pull secret", api.get_opt(secret)).await?;
        let found = found.ok_or_else(|| {
            Failure::new(
                Reason::CredentialsMissing,
                format!("there is no Secret {secret} in namespace {namespace}: create it with `kubectl create secret docker-registry {secret} …`"),
            )
        })?;
        let config = found.data.as_ref().and_then(|data| data.get(".dockerconfigjson"));
        Credentials::from_pull_secret(secret, found.type_.as_deref(), config.map(|bytes| &*bytes.0))
    }
}

async fn patiently<T>(
    what: &str,
    asking: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Failure> {
    let unknown = |why: String| {
        Failure::new(
            Reason::NotReadYet,
            format!(
                "the relay cannot read {what} from the API server ({why}): it is tried again; if it stays, look at the relay's log and rights"
            ),
        )
    };
    timeout(PATIENCE, asking)
        .await
        .map_err(|_| unknown("it took too long".into()))?
        .map_err(|error| unknown(error.to_string()))
}

/// Who holds the token, by the API server's word.
fn judge(status: Option<&TokenReviewStatus>) -> Result<TokenHolder, Failure> {
    let refuse = |why: &str| {
        Err(Failure::new(
            Reason::RegistryDenied,
            format!(
                "the relay does not take the token ({why}): it is for pods, as a projected token with the audience {RELAY_AUDIENCE}"
            ),
        ))
    };
    let Some(status) = status.filter(|status| status.authenticated == Some(true)) else {
        let why = status.and_then(|status| status.error.as_deref());
        return refuse(why.unwrap_or("it has ended, or its pod has"));
    };
    // A server that knows nothing of audiences would take any token, those for itself too.
    if !status
        .audiences
        .iter()
        .flatten()
        .any(|audience| audience == RELAY_AUDIENCE)
    {
        return refuse("it is not for the relay");
    }
    let user = status.user.as_ref();
    let name = user.and_then(|user| user.username.as_deref()).unwrap_or_default();
    let account = name
        .strip_prefix("system:serviceaccount:")
        .and_then(|rest| rest.split_once(':'));
    let Some((namespace, _)) = account else {
        return refuse("it is no service account's");
    };
    Ok(TokenHolder {
        namespace: namespace.to_owned(),
        pod: user.and_then(|user| {
            let pods = user
                .extra
                .as_ref()?
                .get("authentication.kubernetes.io/pod-name")?;
            pods.first().cloned()
        }),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use test_case::test_case;

    use super::*;

    const ACCOUNT: &str = "system:serviceaccount:bank:digits";

    #[test_case(json!({"authenticated": true, "audiences": [RELAY_AUDIENCE], "user": {"username": ACCOUNT}}) => Ok("bank".to_owned()); "an account's token for the relay")]
    #[test_case(json!({"authenticated": true, "user": {"username": ACCOUNT}}) => Err("not for the relay"); "a server without audiences")]
    #[test_case(json!({"authenticated": true, "audiences": ["https://kubernetes.default.svc"], "user": {"username": ACCOUNT}}) => Err("not for the relay"); "a token for the API server")]
    #[test_case(json!({"authenticated": true, "audiences": [RELAY_AUDIENCE], "user": {"username": "admin"}}) => Err("no service account's"); "a person")]
    #[test_case(json!({"authenticated": true, "audiences": [RELAY_AUDIENCE], "user": {"username": "system:serviceaccount:bank"}}) => Err("no service account's"); "half a name")]
    #[test_case(json!({"authenticated": false, "error": "token expired"}) => Err("token expired"); "the server's own word")]
    #[test_case(json!({"authenticated": false, "audiences": [RELAY_AUDIENCE], "user": {"username": ACCOUNT}}) => Err("has ended"); "without a word")]
    #[test_case(json!({}) => Err("has ended"); "nothing")]
    fn who_holds_a_token(status: Value) -> Result<String, &'static str> {
        let status: TokenReviewStatus = serde_json::from_value(status).unwrap();
        judge(Some(&status))
            .map(|holder| holder.namespace)
            .map_err(|failure| {
                assert_eq!(failure.reason, Reason::RegistryDenied);
                [
                    "not for the relay",
                    "no service account's",
                    "token expired",
                    "has ended",
                ]
                .into_iter()
                .find(|why| failure.message.contains(why))
                .unwrap()
            })
    }
}
