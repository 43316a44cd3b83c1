//! Pins the device on the release that it was preloaded with, as `pinDevice` of its `apps.json` asks.
//!
//! The first poll waits until that is settled: if the fleet has moved on, the cloud's target would update the device away from
//! its preload. It is settled when the cloud has pinned the device, or refuses to. Until then it is asked for again, over
//! restarts and power cuts; afterwards never: a device that has followed its fleet must not go back to an old release.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{error, info, warn};

use crate::cloud::pace::Pace;
use crate::cloud::poll::PollLinks;
use crate::port::{Cloud, CloudError};
use crate::request::Request;
use crate::state::cloud::{CloudAccount, Pinning, ReleasePin};

/// The wait after a failure that delays no other request.
const RETRY: Duration = Duration::from_secs(30);

/// Returns when the device is pinned, or its cloud refuses to pin it, or it is not to be pinned.
pub(super) async fn settle<C: Cloud>(
    cloud: &C,
    (account, device_id): (&CloudAccount, Option<u64>),
    pace: &Pace,
    links: &PollLinks,
) {
    let Some(release) = links.status.borrow().pin.clone() else { return };
    let calls = PinCalls { cloud, account, device_id: device_id.into(), pace, release: &release, release_id: Cell::default() };
    let commit = &release.commit;
    let mut last = None;
    publish(cloud, links, Pinning::Pending { commit: commit.clone(), why: None, next: None });
    let outcome = loop {
        match calls.pin().await {
            Ok(()) => {
                info!(commit, "the cloud has pinned the device on its preloaded release");
                break Pinning::Pinned(commit.clone());
            }
            Err(PinError::Refused(why)) => {
                error!(commit, "the device is not pinned on its preloaded release: {why}");
                break Pinning::Refused { commit: commit.clone(), why };
            }
            Err(PinError::Failed(why)) => {
                if last.as_ref() != Some(&why) {
                    warn!(
                        commit,
                        why, "the device is not pinned on its preloaded release yet; until then no target is requested"
                    );
                }
                let next = pace.next().unwrap_or_else(|| Instant::now() + RETRY);
                publish(cloud, links, Pinning::Pending { commit: commit.clone(), why: Some(why.clone()), next: Some(next) });
                last = Some(why);
                wait(pace, links).await;
            }
        }
    };
    publish(cloud, links, outcome);
    // The reconciler lives as long as this loop.
    let _ = links.requests.send(Request::PinSettled).await;
}

/// Waits until the next attempt may begin. An update request ends the back-off, as it does that of polls.
async fn wait(pace: &Pace, links: &PollLinks) {
    let mut status = links.status.clone();
    let before = status.borrow().update_requests;
    let back_off = async {
        match pace.next() {
            Some(_) => pace.ready().await,
            None => sleep(RETRY).await,
        }
    };
    tokio::select! {
        biased;
        Ok(_) = status.wait_for(|it| it.update_requests != before) => pace.reset(),
        () = back_off => (),
    }
}

fn publish<C: Cloud>(cloud: &C, links: &PollLinks, pin: Pinning) {
    let traffic = cloud.traffic();
    links.publish.send_modify(|it| (it.pin, it.traffic) = (pin, traffic));
}

/// Why the device is not pinned, in words.
enum PinError {
    /// It never will be.
    Refused(String),
    /// It may be later.
    Failed(String),
}

struct PinCalls<'a, C> {
    cloud: &'a C,
    account: &'a CloudAccount,
    device_id: Cell<Option<u64>>,
    pace: &'a Pace,
    release: &'a ReleasePin,
    release_id: Cell<Option<u64>>,
}

impl<C: Cloud> PinCalls<'_, C> {
    /// Tries once to pin the device. A number that was found is not asked for again: its answer would end the back-off.
    async fn pin(&self) -> Result<(), PinError> {
        let device = match self.device_id.get() {
            Some(id) => id,
            None => self.found_device().await?,
        };
        let release = match self.release_id.get() {
            Some(id) => id,
            None => self.found_release().await?,
        };
        self.sent(self.cloud.pin(self.account, device, release)).await
    }

    /// The device's number. The provisioning file of a device that was registered by tools may lack it.
    async fn found_device(&self) -> Result<u64, PinError> {
        let CloudAccount { endpoint, key, uuid, .. } = self.account;
        let found = self.sent(self.cloud.device_id(endpoint, key, uuid)).await?;
        self.device_id.set(found);
        found.ok_or_else(|| PinError::Refused("the cloud does not show the device to its key; pin it in the cloud".to_owned()))
    }

    async fn found_release(&self) -> Result<u64, PinError> {
        let ReleasePin { fleet, commit } = self.release;
        let found = self.sent(self.cloud.release_id(self.account, self.release)).await?;
        self.release_id.set(found);
        found.ok_or_else(|| {
            PinError::Refused(format!(
                "the cloud shows the device no successful release {commit} of fleet {fleet}; preload it for the fleet that it \
                 joins, or pin it in the cloud"
            ))
        })
    }

    async fn sent<T>(&self, call: impl Future<Output = Result<T, CloudError>>) -> Result<T, PinError> {
        let _turn = self.pace.turn().await;
        let answer = call.await;
        self.pace.on_answer(&answer);
        answer.map_err(|error| match error {
            CloudError::Refused { status: 408 | 425 | 429, .. } => PinError::Failed(error.to_string()),
            CloudError::Refused { status: 300..=499, retry_after: None, .. } => {
                PinError::Refused(format!("{error}; pin it in the cloud"))
            }
            CloudError::Refused { .. } | CloudError::Unreachable(_) | CloudError::Foreign(_) => {
                PinError::Failed(error.to_string())
            }
        })
    }
}

#[cfg(test)]
mod tests;
