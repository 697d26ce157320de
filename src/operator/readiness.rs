//! Whether this replica may be asked: what it has read, whether the API server still answers it, its certificate.
//! It says what is lacking and what to do; it changes nothing.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use crate::{
    admission::{AdmissionRequest, Answer, Judge, certificates::Certificates},
    controller::world::WorldView,
};

/// Between two questions.
const EVERY: Duration = Duration::from_secs(10);
/// For one answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Silent for longer, and what this replica knows may be old.
const SILENT: Duration = Duration::from_secs(30);

/// When the API server answered last.
///
/// Silence of a watch says nothing: where nothing changes, nothing is told. So the API server is asked something small
/// every ten seconds. That shows that it can be reached and knows us; a single watch that hangs on a dead connection is
/// replaced by the client within a minute (see `controller::world`).
#[derive(Debug, Clone, Default)]
pub(super) struct Heartbeat(Arc<Mutex<Option<Instant>>>);

impl Heartbeat {
    /// Asks for ever.
    pub(super) async fn listen<E: std::fmt::Display>(self, ask: impl AsyncFn() -> Result<(), E>) {
        loop {
            match timeout(PATIENCE, ask()).await {
                Ok(Ok(())) => *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now()),
                Ok(Err(error)) => tracing::warn!(%error, "the API server does not answer as it should"),
                Err(_) => tracing::warn!("the API server did not answer within {PATIENCE:?}"),
            }
            sleep(EVERY).await;
        }
    }

    fn is_silent(&self) -> bool {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_none_or(|last| last.elapsed() > SILENT)
    }
}

/// A judge that decides only while the API server answers this replica.
///
/// Not being ready is not enough: connections that were made before go on bringing questions.
#[derive(Debug)]
pub(super) struct InTouch<J> {
    judge: J,
    heartbeat: Heartbeat,
}

impl<J> InTouch<J> {
    pub(super) fn new(judge: J, heartbeat: Heartbeat) -> Self {
        Self { judge, heartbeat }
    }

    /// The answer when what this replica knows may be old.
    fn out_of_touch(&self) -> Option<Answer> {
        self.heartbeat.is_silent().then(|| {
            let message = format!(
                "this operator has not heard from the API server for {} s and may not know what holds now: try again, another one may answer",
                SILENT.as_secs()
            );
            Answer::deny(503, message)
        })
    }
}

impl<J: Judge> Judge for InTouch<J> {
    async fn validate(&self, request: &AdmissionRequest) -> Answer {
        match self.out_of_touch() {
            Some(answer) => answer,
            None => self.judge.validate(request).await,
        }
    }

    async fn mutate(&self, request: &AdmissionRequest) -> Answer {
        match self.out_of_touch() {
            Some(answer) => answer,
            None => self.judge.mutate(request).await,
        }
    }
}

/// What readiness is made of.
#[derive(Debug, Clone)]
pub(super) struct Readiness {
    pub world: WorldView,
    pub heartbeat: Heartbeat,
    /// None where no admission is served.
    pub certificates: Option<Certificates>,
    pub stopping: watch::Receiver<bool>,
    pub now: fn() -> Timestamp,
}

impl Readiness {
    /// What is lacking, one sentence each.
    pub(super) fn lacking(&self) -> Vec<String> {
        let mut lacking = Vec::new();
        if *self.stopping.borrow() {
            lacking.push("it is stopping".to_owned());
        }
        if !self.world.is_ready() {
            let missing = self.world.missing();
            if missing.is_empty() {
                lacking.push("what was read is being put together".into());
            } else {
                let missing = missing.join(", ");
                lacking.push(format!("{missing} cannot be read yet (are the CRDs installed, and may the operator list and watch them?)"));
            }
        }
        if self.heartbeat.is_silent() {
            lacking.push(format!(
                "the API server has not answered for {} s (can the pod reach it, and may the operator get its Lease?)",
                SILENT.as_secs()
            ));
        }
        if let Some(certificates) = &self.certificates {
            match certificates.expires() {
                None => lacking.push(
                    "there is no serving certificate yet (the log names the Secret it is waited for in)"
                        .into(),
                ),
                Some(expires) if expires <= (self.now)() => {
                    lacking.push(format!(
                        "the serving certificate ended at {expires} (who renews it?)"
                    ));
                }
                Some(_) => {}
            }
        }
        lacking
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silent_api_server_is_noticed_within_half_a_minute_and_forgiven_at_once() {
        let (heart, answers) = (Heartbeat::default(), Cell::new(true));
        assert!(heart.is_silent(), "nothing was heard yet");
        let listening = heart.clone().listen(async || {
            if answers.get() {
                Ok(())
            } else {
                std::future::pending::<()>().await;
                Err("never")
            }
        });
        let story = async {
            sleep(Duration::from_secs(1)).await;
            assert!(!heart.is_silent());
            answers.set(false);
            sleep(Duration::from_secs(28)).await;
            assert!(!heart.is_silent());
            sleep(Duration::from_secs(4)).await;
            assert!(heart.is_silent());
            answers.set(true);
            sleep(PATIENCE + EVERY).await;
            assert!(!heart.is_silent());
        };
        tokio::select! {
            () = listening => {}
            () = story => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_an_error_is_no_answer() {
        let heart = Heartbeat::default();
        let listening = heart.clone().listen(async || Err("forbidden"));
        let _ = timeout(Duration::from_secs(60), listening).await;
        assert!(heart.is_silent());
    }
}
