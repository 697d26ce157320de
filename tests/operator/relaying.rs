//! A relay beside the operator, with exactly the rights the chart gives it: real tokens, a real private registry.
//! What it does with bytes is tried in `tests/registry`; here is whom it believes and what it finds out by itself.

use std::{path::PathBuf, sync::Arc};

use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::{Secret, ServiceAccount},
};
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams},
};
use probity::{
    api::RELAY_AUDIENCE,
    artifact::{
        fetch::{FetchOptions, Unwatched, fetch},
        oci::{self, RegistryError, Timeouts},
    },
    evidence::{Digest, Reason, Reference},
    operator::relay_key,
    relay::{ApiServer, Identity, Limits, Metrics, Relay, Settings, serve},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    secrets::{PASSWORD, pull_secret, push},
    stage::{Stage, apply, guarded_registry, shared_hosts},
};
use crate::{
    artifacts::{Model, WEIGHTS},
    testbed,
};

const ACCOUNT: &str = "system:serviceaccount:probity-system:probity-relay";

/// Applies what the chart renders of the relay's rights, and asks as its account.
async fn account(client: &Client) -> Client {
    let rendered = crate::artifacts::run(testbed::tool("helm", &["helm"]).args([
        "template",
        "probity",
        concat!(env!("CARGO_MANIFEST_DIR"), "/charts/probity"),
        "--namespace=probity-system",
        "--set=relay.enabled=true,image.repository=registry.example/probity",
        "--set=image.digest=sha256:00000000000000000000000000000000000000000000000000000000000000f0",
    ]));
    let objects: Vec<Value> = serde_saphyr::from_multiple(&rendered).unwrap();
    let rights = ["ServiceAccount", "ClusterRole", "ClusterRoleBinding"];
    for object in objects {
        let kind = object["kind"].as_str().unwrap_or_default();
        if object["metadata"]["name"] == "probity-relay" && rights.contains(&kind) {
            apply(client, object).await;
        }
    }
    let groups = ["system:serviceaccounts", "system:authenticated"];
    Client::try_from(testbed::config_as(testbed::kubeconfig(), ACCOUNT, &groups).await).unwrap()
}

/// A relay that serves as long as the test runs.
struct Bed {
    url: String,
    key: Digest,
    files: TempDir,
}

impl Bed {
    async fn start(stage: &Stage) -> Self {
        let files = tempfile::tempdir().unwrap();
        let settings = Settings {
            cache: files.path().join("cache"),
            capacity: 100 << 20,
            limits: Limits::default(),
        };
        let registries = oci::Client::new(shared_hosts(), Timeouts::default()).unwrap();
        let cluster = ApiServer::new(account(&stage.client).await);
        let relay = Relay::new(cluster, registries, &settings, Metrics::default()).unwrap();
        let identity = Identity::generate().unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        tokio::spawn(serve(
            listener,
            identity.server_config().unwrap(),
            Arc::new(relay),
            settings.limits,
            std::future::pending(),
        ));
        Self {
            url,
            key: identity.fingerprint(),
            files,
        }
    }

    /// Fetches as a pod that mounts this token would.
    async fn fetch(&self, token: &str, reference: &Reference) -> Result<PathBuf, RegistryError> {
        let (folder, file) = (
            tempfile::tempdir_in(self.files.path()).unwrap(),
            tempfile::NamedTempFile::new().unwrap(),
        );
        std::fs::write(file.path(), token).unwrap();
        let relay = oci::Relay::new(&self.url, self.key, file.path().into()).unwrap();
        let client = oci::Client::relayed(relay, Timeouts::through_relay()).unwrap();
        let options = FetchOptions::default();
        fetch(&client, reference, folder.path(), &options, &Unwatched).await?;
        Ok(folder.keep())
    }
}

/// A token of this account for this audience, as the kubelet would get it.
async fn token(stage: &Stage, account: &str, audience: &str) -> String {
    let request = TokenRequest {
        spec: TokenRequestSpec {
            audiences: vec![audience.into()],
            expiration_seconds: Some(600),
            ..TokenRequestSpec::default()
        },
        ..TokenRequest::default()
    };
    let accounts: Api<ServiceAccount> = stage.api();
    let made = accounts
        .create_token_request(account, &PostParams::default(), &request)
        .await;
    made.unwrap().status.unwrap().token
}

/// A private model that is deployed with its pull secret.
async fn private(stage: &Stage) -> Reference {
    pull_secret(stage, "regcred", guarded_registry(), PASSWORD).await;
    let reference = push(&Model::signed(), &format!("relaying/{}", stage.namespace));
    stage
        .model_with("digits", &reference.to_string(), json!({"pullSecret": "regcred"}))
        .await;
    stage.deployed("digits", reference.digest().unwrap()).await;
    reference
}

#[tokio::test]
async fn a_pod_gets_its_namespaces_model_and_no_other_pod_does() {
    let (stage, other) = (Stage::new().await, Stage::new().await);
    let reference = private(&stage).await;
    let theirs = private(&other).await;
    let bed = Bed::start(&stage).await;

    let own = token(&stage, "digits", RELAY_AUDIENCE).await;
    let folder = bed.fetch(&own, &reference).await.unwrap();
    let fetched = std::fs::read(folder.join(WEIGHTS)).unwrap();
    assert!(fetched == Model::signed().content(WEIGHTS));

    let refused = |outcome: Result<PathBuf, RegistryError>| {
        let failure = outcome.unwrap_err().failure;
        assert_eq!(failure.reason, Reason::RegistryDenied);
        failure.message
    };
    let says = refused(bed.fetch(&own, &theirs).await);
    assert!(
        says.contains(&format!("no ModelDeployment of namespace {}", stage.namespace)),
        "{says}"
    );
    // The same content is on the shelf; it lies in a repository that is not theirs.
    let foreign = token(&other, "digits", RELAY_AUDIENCE).await;
    let says = refused(bed.fetch(&foreign, &reference).await);
    assert!(says.contains(&other.namespace), "{says}");

    let for_the_server = token(&stage, "digits", "https://kubernetes.default.svc").await;
    let says = refused(bed.fetch(&for_the_server, &reference).await);
    assert!(says.contains("does not take the token"), "{says}");
    refused(bed.fetch("not.a.token", &reference).await);
}

#[tokio::test]
async fn a_token_ends_with_its_account() {
    let stage = Stage::new().await;
    let reference = private(&stage).await;
    let bed = Bed::start(&stage).await;
    apply(
        &stage.client,
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "gone", "namespace": stage.namespace}}),
    )
    .await;
    let held = token(&stage, "gone", RELAY_AUDIENCE).await;
    let accounts: Api<ServiceAccount> = stage.api();
    accounts.delete("gone", &DeleteParams::default()).await.unwrap();
    let failure = bed.fetch(&held, &reference).await.unwrap_err().failure;
    assert_eq!(failure.reason, Reason::RegistryDenied);
}

#[tokio::test]
async fn a_pull_secret_that_was_taken_away_opens_nothing() {
    let stage = Stage::new().await;
    let reference = private(&stage).await;
    let bed = Bed::start(&stage).await;
    let secrets: Api<Secret> = stage.api();
    secrets.delete("regcred", &DeleteParams::default()).await.unwrap();
    let own = token(&stage, "digits", RELAY_AUDIENCE).await;
    let failure = bed.fetch(&own, &reference).await.unwrap_err().failure;
    assert_eq!(failure.reason, Reason::CredentialsMissing);
    assert!(failure.message.contains("regcred"), "{failure}");
}

#[tokio::test]
async fn the_relays_key_is_made_once() {
    let stage = Stage::bare().await;
    let made = || relay_key(&stage.client, &stage.namespace, "relay");
    let (first, second, third) = tokio::join!(made(), made(), made());
    let key = first.unwrap();
    assert_eq!((second.unwrap(), third.unwrap()), (key, key));
    assert_eq!(made().await.unwrap(), key, "and never replaced");
    let secrets: Api<Secret> = stage.api();
    let secret = secrets.get("relay").await.unwrap();
    let pem = String::from_utf8(secret.data.unwrap()["key.pem"].0.clone()).unwrap();
    assert_eq!(Identity::read(&pem).unwrap().fingerprint(), key);
}
