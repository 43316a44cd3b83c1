//! Whether the cloud can be reached, and whether the VPN service should run.
//!
//! While the VPN is down and the check is enabled, a TCP connection to the cloud's API is opened every 10 s and closed again.
//! Only changes are reported: one log line, and [`Connectivity`], which drives the LED. No wall time is used, so a
//! clock that jumps changes nothing.

use std::convert::Infallible;
use std::future::pending;
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{info, warn};

use crate::port::{Net, UnitChange};
use crate::state::connectivity::host_and_port;
use crate::state::{Connectivity, ConnectivityCheck, Status, VpnState};

/// From the end of one attempt to the next. Supervisors have used this value since 2015.
const ATTEMPT_EVERY: Duration = Duration::from_secs(10);
/// Timeout of an attempt, including name resolution.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// Minimum interval between two commands to the VPN service.
const VPN_COMMAND_EVERY: Duration = Duration::from_secs(60 * 60);

/// What the checks publish.
#[derive(Debug, Clone)]
pub struct ConnectivityPublishers {
    /// Whether the cloud is reached.
    pub connectivity: watch::Sender<Connectivity>,
    /// Whether the VPN is up.
    pub vpn: watch::Sender<VpnState>,
}

/// Checks for as long as it is polled, and publishes the result. `status` says what to check.
pub async fn run(net: &impl Net, status: watch::Receiver<Status>, publish: ConnectivityPublishers) -> Infallible {
    tokio::select! {
        biased;
        never = check(net, status.clone(), &publish) => never,
        never = control_vpn(net, status) => never,
    }
}

/// What to check, and whether the check is enabled.
#[derive(Debug, Clone, PartialEq, Eq)]
struct CheckTarget {
    endpoint: Option<(String, u16)>,
    check: ConnectivityCheck,
}

async fn check(net: &impl Net, mut status: watch::Receiver<Status>, publish: &ConnectivityPublishers) -> Infallible {
    let mut changes = pin!(net.vpn());
    let mut vpn = VpnState::Down;
    loop {
        let target = CheckTarget::of(&status.borrow_and_update());
        // Biased, so that a simulation is reproducible; an attempt is cancel-safe.
        tokio::select! {
            biased;
            Some(now) = changes.next() => {
                if now != vpn {
                    info!("the VPN is {}", if now == VpnState::Up { "up" } else { "down" });
                }
                vpn = now;
                publish.vpn.send_replace(now);
            }
            () = differs(&mut status, CheckTarget::of, &target) => (),
            never = attempt(net, &publish.connectivity, &target, vpn) => match never {},
        }
    }
}

/// Checks again and again, for as long as the check's target and the VPN stay as they are.
async fn attempt(net: &impl Net, publish: &watch::Sender<Connectivity>, target: &CheckTarget, vpn: VpnState) -> Infallible {
    match (&target.endpoint, target.check, vpn) {
        (None, _, _) | (_, ConnectivityCheck::Off, _) => {
            report(publish, Connectivity::Unknown);
            pending().await
        }
        (Some(_), ConnectivityCheck::On, VpnState::Up) => {
            report(publish, Connectivity::Online);
            pending().await
        }
        (Some((host, port)), ConnectivityCheck::On, VpnState::Down) => loop {
            let reached = match timeout(ATTEMPT_TIMEOUT, net.dial(host, *port)).await {
                Ok(reached) => reached.map_err(|error| error.to_string()),
                Err(_) => Err(format!("no connection to {host} port {port} within {} s", ATTEMPT_TIMEOUT.as_secs())),
            };
            report(
                publish,
                match reached {
                    Ok(()) => Connectivity::Online,
                    Err(why) => Connectivity::Offline { why, since: Instant::now() },
                },
            );
            sleep(ATTEMPT_EVERY).await;
        },
    }
}

/// Publishes the result, and logs it if it changed.
fn report(publish: &watch::Sender<Connectivity>, now: Connectivity) {
    publish.send_if_modified(|before| {
        match (&*before, &now) {
            (Connectivity::Unknown, Connectivity::Unknown) | (Connectivity::Online, Connectivity::Online) => return false,
            // `since` does not change here; `why` goes to the status only and is not logged.
            (Connectivity::Offline { since, .. }, Connectivity::Offline { why, .. }) => {
                let still = Connectivity::Offline { why: why.clone(), since: *since };
                let changed = *before != still;
                *before = still;
                return changed;
            }
            (_, Connectivity::Online) => info!("Internet Connectivity: OK"),
            (_, Connectivity::Offline { why, .. }) => warn!(why, "Waiting for connectivity..."),
            (_, Connectivity::Unknown) => info!("Internet Connectivity: not checked any more"),
        }
        *before = now;
        true
    });
}

/// Starts or stops the VPN service as the target says. A target without that setting changes nothing.
async fn control_vpn(net: &impl Net, mut status: watch::Receiver<Status>) -> Infallible {
    let mut not_before = Instant::now();
    loop {
        let wanted = vpn_wanted(&status.borrow_and_update());
        let action = async {
            let Some(to) = wanted else { return pending().await };
            sleep_until(not_before).await;
            let steered = net.ensure_vpn(to).await;
            // Only now: a target that changes while systemd is being called cancels this call, and must be applied at once.
            if steered != Ok(UnitChange::Already) {
                not_before = Instant::now() + VPN_COMMAND_EVERY;
            }
            match steered {
                Ok(UnitChange::Already) => (),
                Ok(UnitChange::Now) => {
                    info!("systemd was asked to {} the VPN's service", if to == VpnState::Up { "start" } else { "stop" });
                }
                Err(error) => warn!(%error, "the VPN's service does not follow the target; the agent tries again in an hour"),
            }
            // Another program may start or stop the service in the meantime.
            sleep(VPN_COMMAND_EVERY).await;
        };
        tokio::select! {
            biased;
            () = differs(&mut status, vpn_wanted, &wanted) => (),
            () = action => (),
        }
    }
}

fn vpn_wanted(status: &Status) -> Option<VpnState> {
    status.target.as_ref()?.vpn_wanted()
}

/// Waits until a part of the status differs from `now`.
async fn differs<T: PartialEq>(status: &mut watch::Receiver<Status>, part: impl Fn(&Status) -> T, now: &T) {
    if status.wait_for(|status| part(status) != *now).await.is_err() {
        // The publisher is gone: the agent ends.
        pending::<()>().await;
    }
}

impl CheckTarget {
    fn of(status: &Status) -> Self {
        Self { endpoint: status.device.api_endpoint.as_deref().and_then(host_and_port), check: status.check }
    }
}

#[cfg(test)]
mod tests;
