//! Operators without their API server: one that is restarted under them, and one that a single operator no longer hears.

use std::time::{Duration, Instant};

use kube::{Api, Client};
use probity::api::v1alpha1::ModelDeployment;

use super::{
    bed::{Bed, Operator, Said, admitted, ask, led_by, model, policy, refused, since},
    wire::{Mode, Wire},
};
use crate::renewal::{apply, eventually};

/// As the kubelet keeps it: a leader that could not renew its Lease in time ends by itself, and is started again.
const KEPT: [&str; 4] = [
    "sh",
    "-c",
    "while ! setpriv --pdeathsig KILL \"$@\"; do sleep 1; done",
    "sh",
];
/// How soon all is followed again once the API server answers.
const FOLLOWED: Duration = Duration::from_secs(40);
/// How long an operator may answer from what it knew: thirty seconds, seen up to fifteen late.
const STALE: Duration = Duration::from_secs(46);

/// On an API server of its own, which is restarted; one story, because that costs seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_server_that_restarts_is_found_again_and_a_silent_one_is_not_spoken_for() {
    let mut bed = Bed::new().await;
    let client = bed.client().await;
    let own = ["--webhook-configuration", "probity"];
    let leads = bed.operator_with("leads", bed.api(), &own, &KEPT);
    bed.ready(&[&leads]).await;
    led_by(&client, &[&leads]).await;
    let wire = Wire::new();
    wire.leads_to(&[bed.api()]);
    let alone = bed.operator_with("alone", wire.address, &own, &KEPT);
    bed.ready(&[&leads, &alone]).await;
    let namespace = bed.governed(&client, "Allow").await;
    each(&bed, &[&leads, &alone], async || {
        admitted(&client, &namespace).await;
    })
    .await;

    // It is killed and comes back: what changes then is seen by both, and the leader goes on working.
    let began = Instant::now();
    let before = started(&client).await;
    bed.server.restart();
    let client = bed.client().await;
    eventually("another API server answers", async || {
        let now = started(&client).await;
        (now.is_some() && now != before).then_some(())
    })
    .await;
    let (away, back) = (since(began), Instant::now());
    policy(&client, &namespace, &namespace, "Deny").await;
    each(&bed, &[&leads, &alone], async || {
        refused(&client, &namespace, "UnmanagedPod").await;
    })
    .await;
    apply(&client, model(&namespace, "after")).await;
    let models: Api<ModelDeployment> = Api::namespaced(client.clone(), &namespace);
    eventually("a model is looked at", async || {
        models.get("after").await.unwrap().status?.conditions.map(|_| ())
    })
    .await;
    for operator in [&leads, &alone] {
        assert_eq!(operator.answers("/readyz", 200).await, "ok");
    }
    assert!(back.elapsed() < FOLLOWED, "{:?}", back.elapsed());
    println!(
        "the API server was away for {away}; all was followed again after {}",
        since(began)
    );

    // One is cut off while the policy lets pods in, and the policy changes.
    policy(&client, &namespace, &namespace, "Allow").await;
    each(&bed, &[&leads, &alone], async || {
        admitted(&client, &namespace).await;
    })
    .await;
    let began = Instant::now();
    wire.set(Mode::Silent);
    policy(&client, &namespace, &namespace, "Deny").await;
    bed.service.leads_to(&[leads.door]);
    refused(&client, &namespace, "UnmanagedPod").await;
    bed.service.leads_to(&[alone.door]);
    bed.service.cut();
    let text = alone.answers("/readyz", 503).await;
    let took = began.elapsed();
    assert!(
        text.contains("the API server has not answered for 30 s"),
        "{text}"
    );
    assert!(took < STALE, "it spoke for a world of {took:?} ago");
    // It is still asked, as on connections made before; what it knew would let the pod in.
    for _ in 0..20 {
        let Said::Refused(why) = ask(&client, &namespace).await else {
            panic!("it answered from what was");
        };
        assert!(
            why.contains("has not heard from the API server for 30 s"),
            "{why}"
        );
    }
    // Each such answer ends its connection: where the Service leads elsewhere by now, the next one is answered.
    bed.service.leads_to(&[leads.door]);
    ask(&client, &namespace).await;
    for _ in 0..20 {
        let said = ask(&client, &namespace).await;
        assert!(
            matches!(&said, Said::Refused(why) if why.contains("UnmanagedPod")),
            "{said}"
        );
    }
    println!("a silent API server was noticed after {took:.1?}");

    wire.set(Mode::Passes);
    alone.answers("/readyz", 200).await;
    bed.service.leads_to(&[alone.door]);
    bed.service.cut();
    refused(&client, &namespace, "UnmanagedPod").await;
}

/// When the API server that answers was started, as it says itself.
async fn started(client: &Client) -> Option<String> {
    let request = http::Request::get("/metrics").body(Vec::new()).unwrap();
    let text = client.request_text(request).await.ok()?;
    let line = text
        .lines()
        .find(|line| line.starts_with("process_start_time_seconds "))?;
    Some(line.to_owned())
}

/// Leads the Service to each of these alone, in turns, while this is done.
async fn each(bed: &Bed, operators: &[&Operator], act: impl AsyncFn()) {
    for operator in operators {
        bed.service.leads_to(&[operator.door]);
        bed.service.cut();
        act().await;
    }
}
