//! People who ask for pods all the while, and write down what became of each question.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use kube::Client;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use super::bed::{Said, ask};

/// As many at once as there are kubelets and controllers in a small cluster.
const ASKERS: u32 = 16;

/// A question, and what became of it.
#[derive(Debug, Clone)]
pub struct Answered {
    pub asker: u32,
    pub namespace: String,
    pub asked: Instant,
    pub took: Duration,
    pub said: Said,
}

pub struct Load {
    stop: watch::Sender<bool>,
    answered: watch::Receiver<bool>,
    askers: JoinSet<Vec<Answered>>,
    began: Instant,
}

impl Load {
    /// So many questions a second, about these namespaces by turns, until it is stopped. What is late is caught up with.
    pub fn start(client: &Client, namespaces: &[&String], a_second: u32) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (answer, answered) = watch::channel(false);
        let mut askers = JoinSet::new();
        for asker in 0..ASKERS {
            let (client, stopped, answer) = (client.clone(), stopped.clone(), answer.clone());
            let namespaces: Vec<String> = namespaces.iter().map(ToString::to_string).collect();
            askers.spawn(async move {
                let mut pace = interval(Duration::from_secs(1) * ASKERS / a_second);
                pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
                let mut answers = Vec::new();
                for namespace in namespaces.iter().cycle().skip(asker as usize) {
                    pace.tick().await;
                    if *stopped.borrow() {
                        break;
                    }
                    let asked = Instant::now();
                    let said = ask(&client, namespace).await;
                    answers.push(Answered {
                        asker,
                        namespace: namespace.clone(),
                        asked,
                        took: asked.elapsed(),
                        said,
                    });
                    answer.send_replace(true);
                }
                answers
            });
        }
        Self {
            stop,
            answered,
            askers,
            began: Instant::now(),
        }
    }

    /// Waits until somebody was answered.
    pub async fn answered(&self) {
        let answered = self.answered.clone().wait_for(|answered| *answered).await.is_ok();
        assert!(answered, "those who ask have ended");
    }

    /// Ends it. Every answer, in the order of the questions.
    pub async fn stop(self) -> Answers {
        self.stop.send_replace(true);
        let took = self.began.elapsed();
        let mut all: Vec<_> = self.askers.join_all().await.into_iter().flatten().collect();
        all.sort_by_key(|answer| answer.asked);
        Answers { all, took }
    }
}

/// What became of all questions.
pub struct Answers {
    pub all: Vec<Answered>,
    pub took: Duration,
}

impl Answers {
    /// Those that are not as they should be.
    pub fn wrong(&self, is_right: impl Fn(&Answered) -> bool) -> Vec<&Answered> {
        self.all.iter().filter(|answer| !is_right(answer)).collect()
    }

    /// Answers a second.
    pub fn a_second(&self) -> f64 {
        f64::from(u32::try_from(self.all.len()).unwrap()) / self.took.as_secs_f64()
    }

    /// The time that so many of a hundred did not exceed.
    pub fn within(&self, percent: usize) -> Duration {
        let mut took: Vec<_> = self.all.iter().map(|answer| answer.took).collect();
        took.sort_unstable();
        took[(took.len() - 1) * percent / 100]
    }

    /// The answers of each asker, in order.
    pub fn of_each(&self) -> BTreeMap<u32, Vec<&Answered>> {
        let mut each = BTreeMap::<_, Vec<_>>::new();
        for answer in &self.all {
            each.entry(answer.asker).or_default().push(answer);
        }
        each
    }
}

/// As a sentence for output.
impl std::fmt::Display for Answers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} questions in {:.1} s, {:.0} a second, half within {} ms, 99 of 100 within {} ms",
            self.all.len(),
            self.took.as_secs_f64(),
            self.a_second(),
            self.within(50).as_millis(),
            self.within(99).as_millis()
        )
    }
}

/// The first few of what went wrong, with when it did.
pub fn shown(wrong: &[&Answered], since: Instant) -> String {
    let lines = wrong.iter().take(5).map(|answer| {
        let after = answer.asked.saturating_duration_since(since).as_secs_f64();
        format!(
            "after {after:.2} s, {}: {:.300}",
            answer.namespace,
            answer.said.to_string()
        )
    });
    format!("{} wrong:\n{}", wrong.len(), lines.collect::<Vec<_>>().join("\n"))
}
