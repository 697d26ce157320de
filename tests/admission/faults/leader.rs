//! The leader goes without a word: the other one takes over, and the door is looked after all the while.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use probity::{api::v1alpha1::ModelDeployment, operator::LEASE};

use super::{
    bed::{Bed, Said, led_by, model, since},
    load::{Answered, Load, shown},
};
use crate::renewal::{NAMESPACE, apply, eventually};

const A_SECOND: u32 = 50;
/// A Lease of fifteen seconds, seen up to three late, and looked at again up to three later.
const TAKEN_OVER: Duration = Duration::from_secs(25);
/// What the killed one was being asked is lost with it. Nothing that is asked later is.
const LOST_WITH_IT: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_is_replaced_and_the_other_answers_throughout() {
    let bed = Bed::shared().await;
    let bed = bed.as_ref().unwrap();
    let client = bed.client().await;
    let (one, two) = (bed.operator("one"), bed.operator("two"));
    let (open, closed) = bed.both_answer(&client, &one, &two).await;
    let leads = led_by(&client, &[&one, &two]).await.identity.clone();
    let (leader, other) = if leads == one.identity {
        (one, two)
    } else {
        (two, one)
    };
    let lease = async || {
        let leases: Api<Lease> = Api::namespaced(client.clone(), NAMESPACE);
        leases.get(LEASE).await.unwrap().spec.unwrap()
    };
    let transitions = lease().await.lease_transitions;
    let load = Load::start(&client, &[&open, &closed], A_SECOND);
    tokio::time::sleep(Duration::from_secs(1)).await;

    let killed = Instant::now();
    leader.kill();
    apply(&client, model(&open, "meanwhile")).await;
    let models: Api<ModelDeployment> = Api::namespaced(client.clone(), &open);
    eventually("the model is looked at", async || {
        let conditions = models.get("meanwhile").await.unwrap().status?.conditions?;
        conditions
            .iter()
            .any(|condition| condition.type_ == "Ready" && condition.status == "False")
            .then_some(())
    })
    .await;
    let took = killed.elapsed();
    let answers = load.stop().await;

    let spec = lease().await;
    assert_eq!(spec.holder_identity.as_deref(), Some(&*other.identity));
    assert!(spec.lease_transitions > transitions, "{spec:?}");
    assert!(took < TAKEN_OVER, "a killed leader was replaced after {took:?}");
    // Nobody is ever let in or refused who should not be; and who could not be answered asked while it died.
    let right = |answer: &Answered| match &answer.said {
        Said::Admitted => answer.namespace == open,
        Said::Refused(why) => answer.namespace == closed && why.contains("UnmanagedPod"),
        Said::Nothing(_) => false,
    };
    let dying = |answer: &Answered| {
        let asked_while = answer.asked < killed + LOST_WITH_IT && answer.asked + answer.took > killed;
        asked_while && matches!(&answer.said, Said::Refused(why) if why.contains("failed calling webhook"))
    };
    let wrong = answers.wrong(|answer| right(answer) || dying(answer));
    assert!(wrong.is_empty(), "{}", shown(&wrong, killed));
    let meanwhile = answers
        .all
        .iter()
        .filter(|answer| answer.asked > killed && right(answer))
        .count();
    assert!(meanwhile > 100, "{meanwhile} answers only while nobody led");
    println!(
        "a killed leader was replaced in {}; {answers}; {} were lost with it",
        since(killed),
        answers.all.iter().filter(|answer| dying(answer)).count()
    );
}
