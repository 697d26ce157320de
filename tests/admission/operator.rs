//! The whole operator with admission: when it says that it is ready, whom it answers, and how it ends.
//! The certificate is somebody else's here; that of its own is in `renewal`.

use std::{net::SocketAddr, time::Duration};

use k8s_openapi::api::{coordination::v1::Lease, core::v1::Secret};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use probity::{
    admission::Limits,
    artifact::oci::HostPolicy,
    controller,
    operator::{Admission, LEASE, MakeJudge, OperatorError, Settings, run},
};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::{
    door::{HOST, Obedient, certificate, client, review},
    renewal::eventually,
    testbed,
};

fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

pub fn settings(namespace: &str) -> Settings {
    Settings {
        controllers: controller::Settings {
            previous_images: Vec::new(),
            fetch_image: format!("registry.example/probity@sha256:{}", "f0".repeat(32)),
            hosts: HostPolicy::default(),
            concurrency: 4,
            relay: None,
            audit_interval: std::time::Duration::from_secs(300),
            network: controller::NetworkSettings::default(),
            canaries: None,
            evaluations: None,
            evaluations_at_once: 1,
            reports: true,
        },
        admin_address: free_address(),
        namespace: namespace.into(),
        identity: "only".into(),
        admission: Some(Admission {
            address: free_address(),
            host: HOST.into(),
            secret: "brought-along".into(),
            webhooks: None,
            limits: Limits {
                drain: Duration::from_millis(1500),
                ..Limits::default()
            },
        }),
    }
}

pub async fn asks(admin: SocketAddr, path: &str) -> (u16, String) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    match client.get(format!("http://{admin}{path}")).send().await {
        Ok(answer) => (answer.status().as_u16(), answer.text().await.unwrap_or_default()),
        Err(error) => (0, error.to_string()),
    }
}

#[tokio::test]
async fn it_is_ready_with_a_certificate_and_answers_to_the_last() {
    let kube = testbed::client().await;
    let namespace = testbed::namespace(&kube).await;
    let settings = settings(&namespace);
    let (admin, door) = (
        settings.admin_address,
        settings.admission.clone().unwrap().address,
    );
    let judge: MakeJudge<Obedient> = Box::new(|_, _| Obedient::default());
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(Box::pin(run(kube.clone(), settings, Some(judge), async {
        let _ = stopped.await;
    })));

    let text = eventually("all is there but the certificate", async || {
        let (status, text) = asks(admin, "/readyz").await;
        (status == 503 && !text.contains("API server") && !text.contains("CRDs")).then_some(text)
    })
    .await;
    assert!(text.contains("no serving certificate yet"), "{text}");

    let pair = certificate();
    let secret: Secret = serde_json::from_value(json!({
        "metadata": {"name": "brought-along"}, "type": "kubernetes.io/tls",
        "stringData": {"tls.crt": pair.0, "tls.key": pair.1}
    }))
    .unwrap();
    let secrets: Api<Secret> = Api::namespaced(kube.clone(), &namespace);
    secrets.create(&PostParams::default(), &secret).await.unwrap();
    eventually("it is ready", async || {
        (asks(admin, "/readyz").await == (200, "ok".into())).then_some(())
    })
    .await;
    let asker = client(&pair.0, door);
    let url = format!("https://{HOST}:{}/validate", door.port());
    let ask = async |name: &str| {
        let answer = asker
            .post(&url)
            .body(review("u", name).to_string())
            .send()
            .await
            .unwrap();
        serde_json::from_str::<Value>(&answer.text().await.unwrap()).unwrap()["response"]["allowed"].clone()
    };
    assert_eq!(ask("fine").await, true);
    assert_eq!(ask("deny").await, false);
    let (_, metrics) = asks(admin, "/metrics").await;
    for name in [
        "probity_admission_certificate_expiry_seconds",
        "probity_admission_requests_total",
        "probity_build_info",
    ] {
        assert!(metrics.contains(name), "{name} is not in:\n{metrics}");
    }

    stop.send(()).unwrap();
    let text = eventually("it says that it stops", async || {
        let (status, text) = asks(admin, "/readyz").await;
        (status == 503).then_some(text)
    })
    .await;
    assert!(text.contains("it is stopping"), "{text}");
    assert_eq!(ask("fine").await, true, "not every node knows yet");
    running.await.unwrap().unwrap();
    assert_eq!(asks(admin, "/livez").await.0, 0);
}

#[tokio::test]
async fn without_a_judge_it_does_not_start() {
    let kube = testbed::bare_client().await;
    let judge: Option<MakeJudge<Obedient>> = None;
    let ended = Box::pin(run(kube, settings("nowhere"), judge, std::future::pending())).await;
    assert!(matches!(ended, Err(OperatorError::NoJudge)), "{ended:?}");
}

/// Somebody else leads: whoever led works no more, and says why it ends.
#[tokio::test]
async fn a_lost_lease_ends_it() {
    let kube = testbed::client().await;
    let namespace = testbed::namespace(&kube).await;
    let settings = Settings {
        admission: None,
        ..settings(&namespace)
    };
    let judge: Option<MakeJudge<Obedient>> = None;
    let running = tokio::spawn(Box::pin(run(
        kube.clone(),
        settings,
        judge,
        std::future::pending(),
    )));
    let leases: Api<Lease> = Api::namespaced(kube, &namespace);
    eventually("it leads", async || {
        let lease = leases.get_opt(LEASE).await.unwrap()?;
        (lease.spec?.holder_identity? == "only").then_some(())
    })
    .await;
    let thief = Patch::Merge(json!({"spec": {"holderIdentity": "thief"}}));
    leases
        .patch(LEASE, &PatchParams::default(), &thief)
        .await
        .unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(20), running)
        .await
        .expect("it ends")
        .unwrap();
    assert!(matches!(ended, Err(OperatorError::LeaseLost)), "{ended:?}");
    let lease = leases.get(LEASE).await.unwrap().spec.unwrap();
    assert_eq!(
        lease.holder_identity.as_deref(),
        Some("thief"),
        "what is not its own it does not give back"
    );
}
