//! The certificate's whole life against a real API server, which asks all the while and trusts what it is told to.
//! Time is moved by the test; only the present of the API server is real, so the past is where certificates begin.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
    core::v1::{Pod, Secret},
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use probity::admission::{
    Limits,
    certificates::{Names, follow, renew},
};
use serde_json::{Value, json};

pub use crate::testbed::apply;
use crate::{
    door::{Door, client, review},
    testbed,
};

pub const NAMESPACE: &str = "probity-system";
const OFTEN: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(60);
const DAY: i64 = 24 * 60 * 60;

/// The chart's objects, with webhooks that are asked for here and not through a Service, for there are no pods.
pub async fn install(admin: &Client, address: SocketAddr, mutate: bool) {
    let rendered = testbed::tool("helm", &["helm"])
        .args([
            "template",
            "probity",
            concat!(env!("CARGO_MANIFEST_DIR"), "/charts/probity"),
            "--namespace",
            NAMESPACE,
        ])
        .args(["--set", "image.repository=registry.example/probity"])
        .args([
            "--set",
            "image.digest=sha256:00000000000000000000000000000000000000000000000000000000000000f0",
        ])
        .args([
            "--set",
            &format!("admission.enabled=true,admission.mutate={mutate}"),
        ])
        .output()
        .unwrap();
    let rendered = String::from_utf8(rendered.stdout).unwrap();
    apply(
        admin,
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}),
    )
    .await;
    for mut object in serde_saphyr::from_multiple::<Value>(&rendered).unwrap() {
        let kind = object["kind"].as_str().unwrap_or_default().to_owned();
        if kind.ends_with("WebhookConfiguration") {
            asked_at(&mut object, address);
        } else if ![
            "ServiceAccount",
            "ClusterRole",
            "ClusterRoleBinding",
            "Role",
            "RoleBinding",
        ]
        .contains(&&*kind)
        {
            continue;
        }
        apply(admin, object).await;
    }
}

/// The webhooks of this configuration, asked here.
pub fn asked_at(configuration: &mut Value, address: SocketAddr) {
    for hook in configuration["webhooks"].as_array_mut().unwrap() {
        let path = hook["clientConfig"]["service"]["path"].as_str().unwrap();
        let url = format!("https://{address}{path}");
        hook["clientConfig"] = json!({"url": url});
    }
}

pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking)
        .await
        .unwrap_or_else(|_| panic!("never happened: {what}"))
}

struct Life {
    admin: Client,
    clock: Arc<AtomicI64>,
}

impl Life {
    async fn secret(&self) -> Option<BTreeMap<String, String>> {
        let api: Api<Secret> = Api::namespaced(self.admin.clone(), NAMESPACE);
        let data = api.get_opt("probity-admission").await.unwrap()?.data?;
        Some(
            data.into_iter()
                .map(|(key, value)| (key, String::from_utf8(value.0).unwrap()))
                .collect(),
        )
    }

    /// Waits until the Secret is as wanted.
    async fn until(
        &self,
        what: &str,
        holds: impl Fn(&BTreeMap<String, String>) -> bool,
    ) -> BTreeMap<String, String> {
        eventually(what, async || self.secret().await.filter(|secret| holds(secret))).await
    }

    async fn bundle(&self) -> Option<String> {
        let api: Api<ValidatingWebhookConfiguration> = Api::all(self.admin.clone());
        let hooks = api.get("probity").await.unwrap().webhooks.unwrap();
        Some(String::from_utf8(hooks[0].client_config.ca_bundle.clone()?.0).unwrap())
    }

    async fn mutating_bundle(&self) -> Option<String> {
        let api: Api<MutatingWebhookConfiguration> = Api::all(self.admin.clone());
        let hooks = api.get("probity").await.unwrap().webhooks.unwrap();
        Some(String::from_utf8(hooks[0].client_config.ca_bundle.clone()?.0).unwrap())
    }

    fn at(&self, seconds: i64) {
        self.clock.store(seconds, Ordering::Relaxed);
    }
}

fn pod() -> Pod {
    serde_json::from_value(json!({
        "metadata": {"generateName": "pod-"},
        "spec": {"containers": [{"name": "a", "image": "a"}]}
    }))
    .unwrap()
}

/// No controller runs here that would make a namespace's account.
pub async fn may_have_pods(admin: &Client, namespace: &str) {
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": namespace}});
    apply(admin, account).await;
}

#[expect(
    clippy::too_many_lines,
    reason = "one story, because the steps need each other"
)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_an_expired_certificate_to_the_next_authority_without_a_request_that_fails() {
    let admin = testbed::client().await;
    let door = Arc::new(Door::open(Limits::default()).await);
    install(&admin, door.address, true).await;
    let clock = Arc::new(AtomicI64::new(-250 * DAY));
    let names = Names {
        namespace: NAMESPACE.into(),
        secret: "probity-admission".into(),
        host: "127.0.0.1".into(),
        webhooks: "probity".into(),
    };
    let theirs = Client::try_from(testbed::operators_config(testbed::kubeconfig()).await).unwrap();
    let following = tokio::spawn(follow(
        theirs.clone(),
        NAMESPACE.into(),
        names.secret.clone(),
        door.certificates.clone(),
        OFTEN,
    ));
    let now = {
        let clock = clock.clone();
        move || Timestamp::now() + SignedDuration::from_secs(clock.load(Ordering::Relaxed))
    };
    let renewing = tokio::spawn(renew(theirs, names, door.certificates.clone(), now, OFTEN));
    let life = Life {
        admin: admin.clone(),
        clock,
    };

    // It was made 250 days ago, and nobody ran since: what is served ended long ago, and is renewed at once.
    let old = life
        .until("a certificate", |secret| secret.contains_key("tls.crt"))
        .await;
    eventually("it is served", async || door.certificates.expires()).await;
    eventually("it is trusted", async || life.bundle().await).await;
    assert!(door.certificates.expires().unwrap() < Timestamp::now());
    let governed = testbed::governed_namespace(&admin).await;
    may_have_pods(&admin, &governed).await;
    let pods: Api<Pod> = Api::namespaced(admin.clone(), &governed);
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let refused = pods.create(&dry, &pod()).await.unwrap_err().to_string();
    assert!(refused.contains("failed calling webhook"), "{refused}");
    let elsewhere = testbed::namespace(&admin).await;
    may_have_pods(&admin, &elsewhere).await;
    let free: Api<Pod> = Api::namespaced(admin.clone(), &elsewhere);
    free.create(&dry, &pod())
        .await
        .expect("who is not governed is not asked about");

    // The present. From here on, the API server asks all the while, and so does a client that connects anew each time
    // and trusts what the webhook configuration said a moment ago.
    life.at(0);
    life.until("another certificate", |secret| {
        secret["tls.crt"] != old["tls.crt"] && secret["authority.crt"] == old["authority.crt"]
    })
    .await;
    eventually("the API server can ask", async || {
        pods.create(&dry, &pod()).await.ok()
    })
    .await;
    let (going, asked) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let load: Vec<_> = (0..3)
        .map(|n| {
            let (going, asked, pods, dry, door) = (
                going.clone(),
                asked.clone(),
                pods.clone(),
                dry.clone(),
                door.clone(),
            );
            let life = Life {
                admin: life.admin.clone(),
                clock: life.clock.clone(),
            };
            tokio::spawn(async move {
                let mut failures = Vec::new();
                while going.load(Ordering::Relaxed) {
                    let outcome = if n == 0 {
                        let bundle = life.bundle().await.unwrap();
                        let url = format!("https://{}/validate", door.address);
                        let asking = client(&bundle, door.address)
                            .post(url)
                            .body(review("u", "fine").to_string());
                        asking
                            .send()
                            .await
                            .map(|_| ())
                            .map_err(|error| format!("{error:?}"))
                    } else {
                        let made = pods.create(&dry, &pod()).await;
                        made.map(|pod| assert_eq!(pod.metadata.labels.unwrap()["seen"], "yes"))
                            .map_err(|error| error.to_string())
                    };
                    asked.fetch_add(1, Ordering::Relaxed);
                    failures.extend(outcome.err());
                }
                failures
            })
        })
        .collect();
    let some_more = async || {
        let goal = asked.load(Ordering::Relaxed) + 30;
        eventually("more requests", async || {
            (asked.load(Ordering::Relaxed) >= goal).then_some(())
        })
        .await;
    };
    some_more().await;

    // Its authority has 115 days left: the next one is published, and signs nothing yet.
    let both = life
        .until("a next authority", |secret| {
            secret.contains_key("next-authority.crt")
        })
        .await;
    eventually("both are trusted", async || {
        life.bundle()
            .await
            .filter(|bundle| *bundle == both["ca.crt"] && bundle.matches("BEGIN").count() == 2)
    })
    .await;
    assert_eq!(life.mutating_bundle().await.unwrap(), both["ca.crt"]);
    // That nothing happens is seen by waiting alone: it is looked at every OFTEN.
    tokio::time::sleep(OFTEN * 8).await;
    some_more().await;
    let still = life.secret().await.unwrap();
    assert_eq!(
        still["authority.crt"], old["authority.crt"],
        "ten minutes have not passed"
    );

    // Ten minutes later it signs; an hour later the former one is forgotten.
    life.at(11 * 60);
    let changed = life
        .until("the next authority signs", |secret| {
            secret["authority.crt"] == both["next-authority.crt"]
        })
        .await;
    assert!(changed["tls.crt"] != both["tls.crt"] && changed["ca.crt"].contains(&old["authority.crt"]));
    some_more().await;
    life.at(11 * 60 + 3 * 60 * 60);
    life.until("the former one is forgotten", |secret| {
        secret["ca.crt"] == both["next-authority.crt"]
    })
    .await;
    eventually("it is trusted no more", async || {
        life.bundle()
            .await
            .filter(|bundle| *bundle == both["next-authority.crt"])
    })
    .await;
    some_more().await;

    going.store(false, Ordering::Relaxed);
    let mut failures = Vec::new();
    for load in load {
        failures.extend(load.await.unwrap());
    }
    let asked = asked.load(Ordering::Relaxed);
    println!("{asked} requests while certificates and authorities changed");
    assert!(
        failures.is_empty(),
        "{} of {asked} requests failed: {:#?}",
        failures.len(),
        &failures[..1]
    );

    // Somebody breaks what is trusted, then what is kept: both are mended.
    let api: Api<ValidatingWebhookConfiguration> = Api::all(admin.clone());
    let broken = json!([{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]);
    let broken = Patch::Json::<()>(serde_json::from_value(broken).unwrap());
    api.patch("probity", &PatchParams::default(), &broken)
        .await
        .unwrap();
    eventually("it is published again", async || life.bundle().await).await;
    let secrets: Api<Secret> = Api::namespaced(admin.clone(), NAMESPACE);
    secrets
        .delete("probity-admission", &kube::api::DeleteParams::default())
        .await
        .unwrap();
    let begun = life.until("it is made again", |_| true).await;
    eventually("and trusted", async || {
        life.bundle().await.filter(|bundle| *bundle == begun["ca.crt"])
    })
    .await;
    // And then nothing is written.
    let version = async || {
        let secret = secrets.get("probity-admission").await.unwrap();
        let hooks = api.get("probity").await.unwrap();
        (secret.metadata.resource_version, hooks.metadata.resource_version)
    };
    let before = version().await;
    tokio::time::sleep(OFTEN * 10).await;
    assert_eq!(version().await, before);
    let managed = api.get("probity").await.unwrap().metadata.managed_fields.unwrap();
    let ours = managed
        .iter()
        .find(|entry| entry.manager.as_deref() == Some("probity-certificates"))
        .unwrap();
    let owned = json!({".": {}, "f:clientConfig": {"f:caBundle": {}}, "f:name": {}});
    assert_eq!(
        serde_json::to_value(ours.fields_v1.clone().unwrap()).unwrap(),
        json!({"f:webhooks": {
            "k:{\"name\":\"pods.probity.dev\"}": owned,
            "k:{\"name\":\"rights.probity.dev\"}": owned,
            "k:{\"name\":\"networks.probity.dev\"}": owned,
            "k:{\"name\":\"templates.probity.dev\"}": owned,
            "k:{\"name\":\"objects.probity.dev\"}": owned
        }})
    );
    renewing.abort();
    following.abort();
}
