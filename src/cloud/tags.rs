//! The device's tags, as programs on the device read and set them.
//!
//! A tag that is set is kept until the cloud has it, or refuses it. What was set in the meantime goes along, in one request;
//! two of them are at least ten seconds apart. After a power cut a program sets its tags anew, so they are not saved.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use crate::cloud::pace::Pace;
use crate::port::{Cloud, CloudError};
use crate::request::{TagRefusal, TagRequest};
use crate::state::cloud::{CloudAccount, DeviceTag};

/// The shortest time between two requests that set tags.
const APART: Duration = Duration::from_secs(10);

/// The tags that the cloud does not have yet.
#[derive(Debug, Default)]
pub(super) struct PendingTags {
    tags: BTreeMap<String, String>,
    not_before: Option<Instant>,
}

/// Answers requests for as long as it is polled. Without an account each is refused. May be dropped at any await: the
/// tags that were not sent yet are in `kept`.
pub(super) async fn run<C: Cloud>(
    cloud: &C,
    mut account: watch::Receiver<Option<CloudAccount>>,
    pace: Option<&Pace>,
    inbox: &mut mpsc::Receiver<TagRequest>,
    kept: &mut PendingTags,
) -> Infallible {
    loop {
        let registered = account.borrow_and_update().clone();
        let access = registered.as_ref().zip(pace);
        let due = access.filter(|_| !kept.tags.is_empty()).map(|_| kept.not_before.unwrap_or_else(Instant::now));
        tokio::select! {
            biased;
            changed = account.changed() => if changed.is_err() {
                pending::<()>().await;
            },
            request = inbox.recv() => match (request, access) {
                // The API is gone, and so is the agent.
                (None, _) => pending().await,
                (Some(request), None) => request.reject(TagRefusal::NoCloud),
                (Some(TagRequest::Read(reply)), Some((account, pace))) => {
                    let _ = reply.send(read(cloud, account, pace).await); // The client may have gone.
                }
                (Some(TagRequest::Set(tags, reply)), Some(_)) => {
                    kept.tags.extend(tags);
                    let _ = reply.send(Ok(())); // The client may have gone.
                }
            },
            () = at(due) => if let Some((account, pace)) = access {
                send(cloud, account, pace, kept).await;
            },
        }
    }
}

async fn at(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => pending().await,
    }
}

async fn read<C: Cloud>(cloud: &C, account: &CloudAccount, pace: &Pace) -> Result<Vec<DeviceTag>, TagRefusal> {
    if let Some(next) = pace.next() {
        let wait = next.saturating_duration_since(Instant::now()).as_secs().saturating_add(1);
        return Err(TagRefusal::Failed(format!("the cloud failed before and is not asked for {wait} s; ask again then")));
    }
    let _turn = pace.turn().await;
    let answer = cloud.tags(account).await;
    pace.on_answer(&answer);
    answer.map_err(|error| TagRefusal::Failed(error.to_string()))
}

/// Sends the tags, and forgets those that the cloud has or will never take.
async fn send<C: Cloud>(cloud: &C, account: &CloudAccount, pace: &Pace, kept: &mut PendingTags) {
    let _turn = pace.turn().await;
    let sent = kept.tags.clone();
    let answer = cloud.set_tags(account, &sent).await;
    pace.on_answer(&answer);
    kept.not_before = Some(Instant::now() + APART);
    let is_final = match &answer {
        Ok(()) => true,
        Err(CloudError::Refused { status, retry_after, .. }) => {
            *status < 500 && ![408, 425, 429].contains(status) && retry_after.is_none()
        }
        Err(CloudError::Unreachable(_) | CloudError::Foreign(_)) => false,
    };
    if let Err(error) = &answer {
        let what = if is_final { "the tags are not set" } else { "the tags are not set yet; the agent tries again" };
        warn!(%error, "{what}");
    }
    if is_final {
        kept.tags.retain(|name, value| sent.get(name) != Some(value));
    }
}

#[cfg(test)]
mod tests;
