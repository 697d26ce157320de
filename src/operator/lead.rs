//! Does the work while this replica holds the Lease, and gives it back at the end.
//! The election is k8s-controller's; here is only when to stop.

#![expect(
    clippy::disallowed_types,
    reason = "the edge: here the client is made, gathered with, and handed to cluster"
)]

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use k8s_controller::LeaderElection;
use kube::Client;
use tokio::{sync::Notify, time::timeout};

use super::{LEASE, OperatorError};

/// Nobody renews for so long, and somebody else may take the Lease.
const LEASE_TIME: Duration = Duration::from_secs(15);
/// Whoever could not renew for so long no longer leads: before somebody else may.
const RENEW_TIME: Duration = Duration::from_secs(10);
/// Between two tries.
const RETRY: Duration = Duration::from_secs(2);
/// For giving the Lease back; if it cannot be, it runs out.
const RELEASE: Duration = Duration::from_secs(3);

/// Waits for the Lease, then works until `work` is done. `stop` ends the waiting; the work hears of it by itself.
///
/// When the Lease is lost, `work` is dropped where it stands.
pub(super) async fn lead(
    client: &Client,
    namespace: &str,
    identity: &str,
    work: impl Future<Output = ()>,
    stop: impl Future<Output = ()>,
) -> Result<(), OperatorError> {
    let election = LeaderElection::new(client.clone(), namespace, LEASE, identity)
        .with_lease_duration(LEASE_TIME)
        .with_renew_deadline(RENEW_TIME)
        .with_retry_period(RETRY);
    let (leading, done) = (AtomicBool::new(false), Notify::new());
    let held = election.with_lease(async {
        leading.store(true, Ordering::Relaxed);
        work.await;
        done.notify_one();
        // Whoever holds the Lease gives it back below, in bounded time.
        std::future::pending::<()>().await;
    });
    let stopped_while_waiting = async {
        stop.await;
        if leading.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    let led = tokio::select! {
        _ = held => Err(OperatorError::LeaseLost),
        () = done.notified() => Ok(()),
        () = stopped_while_waiting => Ok(()),
    };
    if led.is_ok() {
        // Also when it was only waited for: the stop may have come while it was being taken.
        let _ = timeout(RELEASE, election.release()).await;
    }
    led
}
