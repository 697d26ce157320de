//! A client that asks a Service all the time and counts what went wrong.
//! Each request has a connection of its own, so that every one of them is routed anew; none is tried again.

use std::{
    fmt,
    time::{Duration, Instant},
};

use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{MissedTickBehavior, interval, timeout},
};

use crate::{
    bed::Bed,
    space::{PATIENCE, eventually},
};

/// A request, and what its answer must be.
#[derive(Clone)]
pub struct Request {
    pub url: String,
    /// Posted when it is not empty.
    pub body: String,
    pub is_right: fn(&str) -> bool,
}

/// How it went so far.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    pub right: usize,
    /// When it was, in seconds since the start, and what.
    pub wrong: Vec<(f64, String)>,
}

/// A client at work, until it is stopped.
pub struct Load {
    tally: watch::Receiver<Tally>,
    task: JoinHandle<()>,
}

impl Request {
    /// Waits until it is answered rightly. A Service that is new is no address until the node has heard of it, and what
    /// is sent there before is lost.
    pub async fn answered(&self, http: &reqwest::Client) {
        let what = format!("a right answer of {}", self.url);
        eventually(&what, async || self.once(http, Duration::from_secs(3)).await.ok()).await;
    }

    /// Whether one request is answered rightly in time; otherwise what came instead.
    async fn once(&self, http: &reqwest::Client, limit: Duration) -> Result<(), String> {
        let request = if self.body.is_empty() {
            http.get(&self.url)
        } else {
            http.post(&self.url)
                .header("Content-Type", "application/json")
                .body(self.body.clone())
        };
        let chain = |error: reqwest::Error| {
            let causes =
                std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
            causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
        };
        let response = request.timeout(limit).send().await.map_err(chain)?;
        let status = response.status();
        let text = response.text().await.map_err(chain)?;
        if status.is_success() && (self.is_right)(&text) {
            Ok(())
        } else {
            Err(format!("{status}: {text:.200}"))
        }
    }
}

impl Load {
    /// Starts asking, some twenty times a second, once the Service is known.
    pub async fn start(bed: &'static Bed, request: Request) -> Self {
        request.answered(&bed.http).await;
        let (tell, tally) = watch::channel(Tally::default());
        let http = bed.http.clone();
        let started = Instant::now();
        let task = tokio::spawn(async move {
            let mut pace = interval(Duration::from_millis(50));
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                pace.tick().await;
                let answer = request.once(&http, Duration::from_secs(30)).await;
                tell.send_modify(|tally| match answer {
                    Ok(()) => tally.right += 1,
                    Err(error) => tally.wrong.push((started.elapsed().as_secs_f64(), error)),
                });
            }
        });
        Self { tally, task }
    }

    /// Waits until so many more requests were answered rightly: it is so now, not only earlier.
    pub async fn answered(&self, more: usize) {
        let mut tally = self.tally.clone();
        let goal = tally.borrow().right + more;
        let waited = timeout(PATIENCE, tally.wait_for(|tally| tally.right >= goal)).await;
        assert!(
            waited.is_ok_and(|done| done.is_ok()),
            "no {more} right answers: {}",
            *self.tally.borrow()
        );
    }

    /// Stops asking.
    ///
    /// # Panics
    /// When a single request went wrong.
    pub fn stop_flawless(self) -> usize {
        self.task.abort();
        let tally = self.tally.borrow().clone();
        assert!(tally.wrong.is_empty() && tally.right > 0, "{tally}");
        tally.right
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} requests were right and {} wrong",
            self.right,
            self.wrong.len()
        )?;
        for (when, what) in self.wrong.iter().take(10) {
            write!(f, "\n  after {when:.2} s: {what}")?;
        }
        Ok(())
    }
}

/// The light server's answer.
pub fn light(base: &str) -> Request {
    Request {
        url: base.to_owned(),
        body: String::new(),
        is_right: |text| text.trim() == "light",
    }
}

/// Ten handwritten digits, of which every one must be seen for what it is.
pub fn digits(base: &str) -> Request {
    let body = include_str!("../../examples/digits/samples.json").to_owned();
    Request {
        url: format!("{base}/v2/models/digits/infer"),
        body,
        is_right: are_right,
    }
}

fn are_right(answer: &str) -> bool {
    let labels = |answer: &serde_json::Value| {
        let outputs = answer["outputs"].as_array()?;
        let label = outputs.iter().find(|output| output["name"] == "label")?;
        let words: Option<Vec<_>> = label["data"]
            .as_array()?
            .iter()
            .map(serde_json::Value::as_str)
            .collect();
        Some(words?.join(","))
    };
    serde_json::from_str(answer)
        .ok()
        .and_then(|answer| labels(&answer))
        .as_deref()
        == Some("0,1,2,3,4,5,6,7,8,9")
}
