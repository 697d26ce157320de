//! Somebody takes every place at the leader's door and says nothing: it goes on leading, nobody gets in meanwhile who should
//! not, and once they go the door answers as before.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::api::{coordination::v1::Lease, core::v1::Secret};
use kube::Api;
use probity::{admission::Limits, operator::LEASE};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use super::{
    bed::{Bed, Said, admitted, led_by, refused},
    load::{Answered, Load, shown},
};
use crate::renewal::{NAMESPACE, eventually};

/// Longer than anybody leads without renewing its Lease.
const FLOODED: Duration = Duration::from_secs(16);
/// Files that a program may have open unless it asks for more: as many as there are places, and none for anything else.
const FILES: &str = "--nofile=1024:";
const MOST_MEMORY: u64 = 128 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_takes_every_place_at_the_door_takes_nobodys_lease() {
    let bed = Bed::shared().await;
    let bed = bed.as_ref().unwrap();
    let client = bed.client().await;
    let own = ["--webhook-configuration", "probity"];
    let operator = bed.operator_with("flooded", bed.api(), &own, &["prlimit", FILES]);
    bed.ready(&[&operator]).await;
    let (open, closed) = (
        bed.governed(&client, "Allow").await,
        bed.governed(&client, "Deny").await,
    );
    admitted(&client, &open).await;
    refused(&client, &closed, "UnmanagedPod").await;
    led_by(&client, &[&operator]).await;
    let leases: Api<Lease> = Api::namespaced(client.clone(), NAMESPACE);
    let before = (leases.get(LEASE).await.unwrap().spec.unwrap(), operator.memory());

    let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    let authority = secrets
        .get("probity-admission")
        .await
        .unwrap()
        .data
        .unwrap()
        .remove("ca.crt")
        .unwrap();
    // What the API server had open before would still be served, and would have a place.
    bed.service.cut();
    let flood = flood(operator.door, &authority.0).await;
    let places = Limits::default().connections;
    assert_eq!(flood.len(), places, "every place is taken");
    let began = Instant::now();
    let load = Load::start(&client, &[&open, &closed], 10);
    tokio::time::sleep(FLOODED).await;
    let answers = load.stop().await;

    let after = leases.get(LEASE).await.unwrap().spec.unwrap();
    assert_eq!(after.holder_identity.as_deref(), Some("flooded"));
    assert_eq!(after.lease_transitions, before.0.lease_transitions);
    let renewed = after
        .renew_time
        .unwrap()
        .0
        .duration_since(before.0.renew_time.unwrap().0);
    assert!(renewed.as_secs() >= 10, "it was renewed for {renewed:?}");
    assert_eq!(operator.asks("/readyz").await, (200, "ok".to_owned()));
    let memory = operator.memory();
    assert!(memory < MOST_MEMORY, "{memory} bytes with every place taken");
    let right = |answer: &Answered| match &answer.said {
        Said::Admitted => answer.namespace == open,
        Said::Refused(why) => {
            why.contains("failed calling webhook")
                || answer.namespace == closed && why.contains("UnmanagedPod")
        }
        Said::Nothing(_) => false,
    };
    let wrong = answers.wrong(right);
    assert!(wrong.is_empty(), "{}", shown(&wrong, began));
    let unanswered = answers.wrong(|answer| !answer.said.to_string().contains("failed calling webhook"));
    assert!(!unanswered.is_empty(), "there was a place left");
    println!(
        "every place taken: {} of {} questions failed closed, {} MiB before, {} MiB then",
        unanswered.len(),
        answers.all.len(),
        before.1 >> 20,
        memory >> 20
    );

    drop(flood);
    eventually("the door answers again", async || {
        let said = super::bed::ask(&client, &closed).await;
        matches!(said, Said::Refused(why) if why.contains("UnmanagedPod")).then_some(())
    })
    .await;
    admitted(&client, &open).await;
}

/// Connections over TLS that ask nothing, more than there are places; those that got one.
async fn flood(door: std::net::SocketAddr, authority: &[u8]) -> Vec<impl Sized> {
    let mut roots = rustls::RootCertStore::empty();
    for one in rustls_pki_types::pem::PemObject::pem_slice_iter(authority) {
        roots.add(one.unwrap()).unwrap();
    }
    let config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..Limits::default().connections + 50 {
        let connector = connector.clone();
        tasks.spawn(async move {
            let connecting = async {
                let stream = TcpStream::connect(door).await.ok()?;
                connector
                    .connect("127.0.0.1".try_into().unwrap(), stream)
                    .await
                    .ok()
            };
            timeout(Duration::from_secs(10), connecting).await.ok().flatten()
        });
    }
    tasks.join_all().await.into_iter().flatten().collect()
}
