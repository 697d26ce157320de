//! Nobody answers in time: what is governed is refused and says by whom, and nobody else waits.

use std::time::{Duration, Instant};

use super::{
    bed::{Bed, Said, ask, refused},
    wire::Mode,
};
use crate::{renewal::may_have_pods, testbed};

/// What the chart's webhook gives an answer.
const GIVEN: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_comes_too_late_is_a_refusal_and_others_never_wait_for_it() {
    let bed = Bed::shared().await;
    let bed = bed.as_ref().unwrap();
    let client = bed.client().await;
    let operator = bed.operator("slow");
    bed.ready(&[&operator]).await;
    // One in which pods are let in: only that nobody said so in time refuses them.
    let governed = bed.governed(&client, "Allow").await;
    let strict = bed.governed(&client, "Deny").await;
    refused(&client, &strict, "UnmanagedPod").await;
    let free = testbed::namespace(&client).await;
    for namespace in [&*free, "kube-system"] {
        may_have_pods(&client, namespace).await;
    }

    bed.service.set(Mode::Late(GIVEN + Duration::from_secs(1)));
    let began = Instant::now();
    let (late, beside) = tokio::join!(ask(&client, &governed), async {
        let mut beside = Vec::new();
        for namespace in [&*free, "kube-system"] {
            beside.push(ask(&client, namespace).await);
        }
        (beside, began.elapsed())
    });
    let took = began.elapsed();
    let Said::Refused(why) = late else {
        panic!("nobody had answered: {late}")
    };
    for words in [
        "failed calling webhook",
        "\"pods.probity.dev\"",
        "deadline exceeded",
    ] {
        assert!(why.contains(words), "{why}");
    }
    assert!(
        took + Duration::from_millis(500) > GIVEN && took < GIVEN * 2,
        "{took:?}: {why}"
    );
    assert_eq!(beside.0, [Said::Admitted, Said::Admitted]);
    assert!(beside.1 < GIVEN / 2, "they waited {:?}", beside.1);

    // It is well again by itself.
    bed.service.set(Mode::Passes);
    refused(&client, &strict, "UnmanagedPod").await;
    super::bed::admitted(&client, &governed).await;
}
