//! Very many pods at once: each is answered as its namespace's policy says, and the operator's memory stays bounded.

use std::time::Instant;

use futures::{StreamExt as _, future::join_all, stream};

use super::bed::{Bed, Said, admitted, ask, policy, refused};
use crate::{renewal::may_have_pods, testbed};

const NAMESPACES: usize = 50;
const PODS: usize = 100;
/// As many changes as an API server works on at once unless it is told otherwise.
const AT_ONCE: usize = 200;
/// Bytes that a whole flood may leave behind.
const MOST_GROWTH: u64 = 64 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_pods_in_each_of_fifty_namespaces_are_each_answered_rightly() {
    let bed = Bed::shared().await;
    let bed = bed.as_ref().unwrap();
    let client = bed.client().await;
    let (operator, other) = (bed.operator("many"), bed.operator("more"));
    bed.ready(&[&operator, &other]).await;
    // Every second one lets pods in.
    let namespaces = join_all((0..NAMESPACES).map(|n| {
        let client = client.clone();
        async move {
            let name = testbed::governed_namespace(&client).await;
            may_have_pods(&client, &name).await;
            let unmanaged = if n % 2 == 0 { "Allow" } else { "Deny" };
            policy(&client, &name, &name, unmanaged).await;
            name
        }
    }))
    .await;
    for operator in [&operator, &other] {
        bed.service.leads_to(&[operator.door]);
        bed.service.cut();
        join_all(namespaces.iter().enumerate().map(async |(n, namespace)| {
            if n % 2 == 0 {
                admitted(&client, namespace).await;
            } else {
                refused(&client, namespace, "UnmanagedPod").await;
            }
        }))
        .await;
    }
    bed.service.leads_to(&[operator.door, other.door]);

    let memory = || operator.memory().max(other.memory());
    let before = memory();
    let began = Instant::now();
    let answers: Vec<(usize, Said)> = stream::iter(0..NAMESPACES * PODS)
        .map(|n| {
            let (client, namespaces) = (&client, &namespaces);
            async move {
                let at = n % NAMESPACES;
                (at, ask(client, &namespaces[at]).await)
            }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let took = began.elapsed().as_secs_f64();
    let after = memory();

    println!(
        "{} pods of {NAMESPACES} namespaces, {AT_ONCE} at once: all answered in {took:.1} s; an operator had {} MiB, then {} MiB",
        answers.len(),
        before >> 20,
        after >> 20
    );
    let wrong: Vec<_> = answers
        .iter()
        .filter(|(at, said)| match said {
            Said::Admitted => at % 2 == 1,
            Said::Refused(why) => {
                at % 2 == 0 || !why.contains("UnmanagedPod") || !why.contains(&namespaces[*at])
            }
            Said::Nothing(_) => true,
        })
        .collect();
    assert!(
        wrong.is_empty(),
        "{} of {}: {:?}",
        wrong.len(),
        answers.len(),
        wrong[0]
    );
    assert_eq!(answers.len(), NAMESPACES * PODS);
    assert!(after < before + MOST_GROWTH, "{before} bytes became {after}");
}
