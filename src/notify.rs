//! Service manager notifications (`sd_notify`): ready, the current activity, and the watchdog heartbeat.
//!
//! The heartbeat depends on a probe request that the reconciler answers like any other. A stuck reconciler does not answer,
//! and the manager restarts the agent; one whose download is slow or whose engine hangs does answer, for it waits for
//! neither.

use std::convert::Infallible;
use std::future::pending;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep;

use crate::port::{Notification, ServiceManager};
use crate::request::Request;
use crate::state::{Activity, EngineState, Status, Trouble};

/// Notifies the manager, for as long as it is polled.
pub async fn run(
    manager: &impl ServiceManager,
    requests: mpsc::Sender<Request>,
    status: watch::Receiver<Status>,
) -> Infallible {
    tokio::select! {
        never = report_activity(manager, status) => never,
        never = send_heartbeats(manager, requests) => never,
    }
}

/// Sends the activity, whenever it changes.
async fn report_activity(manager: &impl ServiceManager, mut status: watch::Receiver<Status>) -> Infallible {
    let mut sent = String::new();
    loop {
        let text = activity_text(&status.borrow_and_update());
        if text != sent {
            manager.notify(&Notification::Status(text.clone()));
            sent = text;
        }
        if status.changed().await.is_err() {
            return pending().await;
        }
    }
}

/// Sends "ready" when the reconciler first answers, and then the heartbeat, three times per watchdog timeout.
async fn send_heartbeats(manager: &impl ServiceManager, requests: mpsc::Sender<Request>) -> Infallible {
    await_probe(&requests).await;
    manager.notify(&Notification::Ready);
    let Some(watchdog_timeout) = manager.watchdog_timeout() else { return pending().await };
    loop {
        manager.notify(&Notification::Watchdog);
        // A heartbeat that is late by as much again still arrives in time.
        sleep(watchdog_timeout / 3).await;
        await_probe(&requests).await;
    }
}

/// Waits until the reconciler has answered a probe.
async fn await_probe(requests: &mpsc::Sender<Request>) {
    let (reply, answer) = oneshot::channel();
    let delivered = requests.send(Request::Probe(reply)).await;
    if delivered.is_err() || answer.await.is_err() {
        // There is no reconciler any more: no heartbeat.
        pending::<()>().await;
    }
}

/// The agent's activity, in one line.
fn activity_text(status: &Status) -> String {
    if status.shutdown.is_under_way() {
        return "shutting down: nothing is changed any more".to_owned();
    }
    if let EngineState::Down { why, .. } = &status.engine {
        return why.clone();
    }
    match status.activity {
        Activity::Waiting => "waiting for a target".to_owned(),
        Activity::Settled => {
            let alive = status.current.containers.iter().filter(|it| it.phase.is_alive()).count();
            format!("as wanted; running: {alive}")
        }
        Activity::Applying => {
            let failed = status.troubles.iter().rev().find_map(|it| match it {
                Trouble::Step { step, why, .. } => Some(format!("{step}: {}", why.text())),
                Trouble::Difference(_) => None,
            });
            let doing: Vec<String> = status.steps_in_flight.iter().map(ToString::to_string).collect();
            match (doing.as_slice(), failed, status.waiting.first()) {
                ([], Some(failed), _) => failed,
                ([], None, Some(waiting)) => waiting.to_string(),
                ([], None, None) => "reading the engine's state".to_owned(),
                (doing, ..) => doing.join(", "),
            }
        }
    }
}

#[cfg(test)]
mod tests;
