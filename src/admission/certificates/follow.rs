//! Looks at the Secret every few seconds and serves what it holds: in every replica, whoever writes it.
//! It only reads; a Secret that cannot be used leaves what was served before.

#![expect(
    clippy::disallowed_types,
    reason = "the edge: here the client is made, gathered with, and handed to cluster"
)]

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use tokio::time::{sleep, timeout};

use super::{Certificates, Serving};

/// Until there is something to serve.
const AT_FIRST: Duration = Duration::from_secs(1);
/// For one look.
const PATIENCE: Duration = Duration::from_secs(5);

/// Serves what `secret` of `namespace` holds, and what it will hold; `every` so often it looks. A watch would tell sooner,
/// and would need the right to watch secrets. Never ends by itself.
pub async fn follow(
    client: Client,
    namespace: String,
    secret: String,
    certificates: Certificates,
    every: Duration,
) {
    let api: Api<Secret> = Api::namespaced(client, &namespace);
    let mut told = String::new();
    loop {
        let trouble = look(&api, &secret, &certificates).await.err().unwrap_or_default();
        // Once, and again when it is another one: not every ten seconds.
        if trouble != told && !trouble.is_empty() {
            tracing::warn!(
                namespace,
                secret,
                trouble,
                "the serving certificate cannot be read"
            );
        }
        told = trouble;
        let pause = match certificates.expires() {
            Some(_) => every,
            None => every.min(AT_FIRST),
        };
        sleep(pause).await;
    }
}

async fn look(api: &Api<Secret>, name: &str, certificates: &Certificates) -> Result<(), String> {
    let secret = timeout(PATIENCE, api.get_opt(name))
        .await
        .map_err(|_| "the API server does not answer".to_owned())?
        .map_err(|error| error.to_string())?
        .ok_or_else(|| "there is no such Secret (yet)".to_owned())?;
    let data = secret.data.unwrap_or_default();
    let bytes = |key: &str| {
        data.get(key)
            .map(|bytes| bytes.0.as_slice())
            .ok_or_else(|| format!("it has no key {key}"))
    };
    let serving = Serving::read(bytes("tls.crt")?, bytes("tls.key")?).map_err(|error| error.to_string())?;
    certificates.serve(serving);
    Ok(())
}
