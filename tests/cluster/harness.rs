//! Runs the table of tests on one node: those that disturb nobody at the same time, the others one by one.
//! It knows nothing of models; it understands the arguments of `cargo test` that name tests, and ignores the rest.

use std::{
    panic,
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{FutureExt as _, StreamExt as _, future::LocalBoxFuture, stream};
use tokio::{sync::Mutex, task::JoinSet, time::timeout};

use crate::bed::Bed;

/// No test takes this long, however busy the machine is.
const LONGEST: Duration = Duration::from_secs(480);
/// Tests at the same time: they mostly wait, but each starts processes.
const TOGETHER: usize = 6;

/// One test.
pub struct Test {
    pub name: &'static str,
    /// Restarts the operator, or wants it to have nothing else to do.
    pub alone: bool,
    pub run: fn(&'static Bed) -> LocalBoxFuture<'static, ()>,
}

/// Which tests somebody asked for.
pub struct Selection {
    list: bool,
    exact: bool,
    wanted: Vec<String>,
    skipped: Vec<String>,
}

impl Selection {
    /// From the arguments after the program's name.
    pub fn from_arguments(arguments: impl Iterator<Item = String>) -> Self {
        let mut selection = Self {
            list: false,
            exact: false,
            wanted: vec![],
            skipped: vec![],
        };
        let mut arguments = arguments.peekable();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--list" => selection.list = true,
                "--exact" => selection.exact = true,
                "--skip" => selection.skipped.extend(arguments.next()),
                // Their values must not be taken for names.
                "--test-threads" | "--format" | "--color" | "--logfile" | "-Z" => drop(arguments.next()),
                flag if flag.starts_with('-') => {}
                name => selection.wanted.push(name.to_owned()),
            }
        }
        selection
    }

    /// The selected ones, in the order of the table. When only a list was asked for it is printed, and none is selected.
    pub fn of(&self, table: &'static [Test]) -> Vec<&'static Test> {
        let says = |test: &Test, word: &String| {
            if self.exact {
                test.name == word
            } else {
                test.name.contains(word.as_str())
            }
        };
        let chosen = table
            .iter()
            .filter(|test| self.wanted.is_empty() || self.wanted.iter().any(|word| says(test, word)))
            .filter(|test| !self.skipped.iter().any(|word| says(test, word)));
        if self.list {
            chosen.for_each(|test| println!("{}: test", test.name));
            return Vec::new();
        }
        chosen.collect()
    }
}

tokio::task_local! {
    /// Whose panic it is.
    static NAME: &'static str;
}

/// Panics are told with the test's name, at once: the node is then still as it was.
pub fn name_panics() {
    panic::set_hook(Box::new(|panic| {
        let name = NAME.try_with(|name| *name).unwrap_or("cluster");
        eprintln!("\n---- {name}: {panic}\n");
    }));
}

/// Runs the tests, on a [`tokio::task::LocalSet`], and returns the names of those that failed.
pub async fn run(tests: Vec<&'static Test>, bed: &'static Bed) -> Vec<&'static str> {
    let logs = Arc::new(Mutex::new(()));
    let (alone, together): (Vec<_>, Vec<_>) = tests.into_iter().partition(|test| test.alone);
    let mut failed: Vec<_> = stream::iter(together)
        .map(|test| one(test, bed, logs.clone()))
        .buffer_unordered(TOGETHER)
        .filter_map(futures::future::ready)
        .collect()
        .await;
    for test in alone {
        failed.extend(one(test, bed, logs.clone()).await);
    }
    failed
}

/// The test's name when it failed.
async fn one(test: &'static Test, bed: &'static Bed, logs: Arc<Mutex<()>>) -> Option<&'static str> {
    let started = Instant::now();
    // On a task of its own, so that a panic ends the test and nothing else.
    let mut task = JoinSet::new();
    task.spawn_local(NAME.scope(test.name, async move {
        let run =
            timeout(LONGEST, (test.run)(bed)).map(|done| assert!(done.is_ok(), "not done after {LONGEST:?}"));
        run.await;
    }));
    let passed = task.join_next().await.is_some_and(|done| done.is_ok());
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "test {} ... {} ({seconds:.1} s)",
        test.name,
        if passed { "ok" } else { "FAILED" }
    );
    if passed {
        return None;
    }
    // One at a time: it asks the API for everything there is.
    let _turn = logs.lock().await;
    let _ = tokio::task::spawn_blocking(|| collect_logs(&bed.node.name, test.name)).await;
    Some(test.name)
}

/// What explains a failure, into a folder of its own under the target directory.
pub fn collect_logs(node: &str, failure: &str) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .with_file_name("cluster-logs")
        .join(failure.replace("::", "-"));
    let _ = std::fs::remove_dir_all(&folder);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/testbed/node");
    let collected = Command::new(script).args(["logs", node]).arg(&folder).status();
    if collected.is_ok_and(|status| status.success()) {
        eprintln!("---- {failure}: logs are in {}", folder.display());
    } else {
        eprintln!("---- {failure}: the logs of node {node} could not be collected");
    }
}
