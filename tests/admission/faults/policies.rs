//! Policies that go while pods are asked for. Whatever is answered is the answer of a world that was: no pod is let in by
//! nobody.

use std::time::Instant;

use kube::{Api, api::DeleteParams};
use probity::api::v1alpha1::ClusterDeploymentPolicy;

use super::{
    bed::{Bed, Said, admitted, policy, refused},
    load::{Answered, Load, shown},
};
use crate::{renewal::may_have_pods, testbed};

/// So many times, because what is looked for would be a matter of microseconds.
const TIMES: usize = 5;
const A_SECOND: u32 = 400;

fn no_policy(said: &Said) -> bool {
    matches!(said, Said::Refused(why) if why.contains("NoPolicy"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_goes_leaves_its_own_answer_or_that_of_no_policy() {
    let bed = Bed::shared().await;
    let bed = bed.as_ref().unwrap();
    let client = bed.client().await;
    let operator = bed.operator("forgets");
    bed.ready(&[&operator]).await;
    let policies: Api<ClusterDeploymentPolicy> = Api::all(client.clone());
    let goes = async |name: &str| {
        policies.delete(name, &DeleteParams::default()).await.unwrap();
    };

    // The one that lets pods in goes before the one that refuses them: between the two, and after, none gets in.
    let both = testbed::governed_namespace(&client).await;
    may_have_pods(&client, &both).await;
    let (lax, strict) = (format!("{both}-lax"), format!("{both}-strict"));
    let began = Instant::now();
    let mut asked = 0;
    for _ in 0..TIMES {
        policy(&client, &strict, &both, "Deny").await;
        policy(&client, &lax, &both, "Allow").await;
        refused(&client, &both, "UnmanagedPod").await;
        let load = Load::start(&client, &[&both], A_SECOND);
        load.answered().await;
        goes(&lax).await;
        goes(&strict).await;
        refused(&client, &both, "NoPolicy").await;
        let answers = load.stop().await;
        let by_strict = |said: &Said| matches!(said, Said::Refused(why) if why.contains("UnmanagedPod") && why.contains(&strict));
        let wrong = answers.wrong(|answer| by_strict(&answer.said) || no_policy(&answer.said));
        assert!(wrong.is_empty(), "{}", shown(&wrong, began));
        assert!(
            answers.all.iter().any(|answer| by_strict(&answer.said)),
            "it was asked before"
        );
        never_back(&answers.of_each().into_values().collect::<Vec<_>>());
        asked += answers.all.len();
    }

    // The only one goes, and it let pods in: nobody does afterwards.
    let only = bed.governed(&client, "Allow").await;
    for _ in 0..TIMES {
        policy(&client, &only, &only, "Allow").await;
        admitted(&client, &only).await;
        let load = Load::start(&client, &[&only], A_SECOND);
        load.answered().await;
        goes(&only).await;
        refused(&client, &only, "NoPolicy").await;
        let answers = load.stop().await;
        let wrong = answers.wrong(|answer| answer.said == Said::Admitted || no_policy(&answer.said));
        assert!(wrong.is_empty(), "{}", shown(&wrong, began));
        assert!(
            answers.all.iter().any(|answer| answer.said == Said::Admitted),
            "it was asked before"
        );
        never_back(&answers.of_each().into_values().collect::<Vec<_>>());
        asked += answers.all.len();
    }
    println!("{asked} pods were asked for while {} policies went", TIMES * 3);
}

/// Whoever was told that there is no policy is not told otherwise afterwards.
fn never_back(each: &[Vec<&Answered>]) {
    for answers in each {
        let gone = answers.iter().skip_while(|answer| !no_policy(&answer.said));
        let back: Vec<_> = gone.filter(|answer| !no_policy(&answer.said)).collect();
        assert!(back.is_empty(), "{back:?}");
    }
}
