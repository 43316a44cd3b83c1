//! The device's tags, as programs on the device read and set them.
//!
//! A tag that is set is kept until the cloud has it, or refuses it. What was set in the meantime goes along, in one request;
//! two of them are at least ten seconds apart. After a power cut a program sets its tags anew, so they are not saved.
//!
//! A cloud that answers 404 has no such endpoint yet, or does not know the device for now. It refuses nothing: the tags are
//! kept. While the cloud gives no tags, a program reads those that it gave last; the log says how old they are.

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use crate::cloud::pace::Pace;
use crate::port::{Cloud, CloudError};
use crate::request::{TagRefusal, TagRequest};
use crate::sorted::SortedMap;
use crate::state::cloud::{CloudAccount, DeviceTag};

/// The shortest time between two requests that set tags.
const APART: Duration = Duration::from_secs(10);

/// The time between two requests that set tags at a cloud that answered 404.
const AFTER_404: Duration = Duration::from_secs(15 * 60);
/// The most tags that wait for the cloud.
const PENDING_TAGS: usize = 256;

/// The tags that the cloud does not have yet, and those that it had.
#[derive(Debug, Default)]
pub(super) struct KeptTags {
    pending: SortedMap<String, String>,
    not_before: Option<Instant>,
    /// The last answer to a request that set tags was 404.
    has_no_endpoint: bool,
    known: Option<KnownTags>,
}

/// The tags as a cloud had them.
#[derive(Debug)]
struct KnownTags {
    account: CloudAccount,
    tags: Vec<DeviceTag>,
    since: Instant,
    /// They were given to a program since the cloud gave none.
    was_used: bool,
}

/// Answers requests for as long as it is polled. Without an account each is refused. May be dropped at any await: the
/// tags that were not sent yet are in `kept`.
pub(super) async fn run<C: Cloud>(
    cloud: &C,
    mut account: watch::Receiver<Option<CloudAccount>>,
    pace: Option<&Pace>,
    inbox: &mut mpsc::Receiver<TagRequest>,
    kept: &mut KeptTags,
) -> Infallible {
    loop {
        let registered = account.borrow_and_update().clone();
        let access = registered.as_ref().zip(pace);
        let due = access.filter(|_| !kept.pending.is_empty()).map(|_| kept.not_before.unwrap_or_else(Instant::now));
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
                    let _ = reply.send(read(cloud, account, pace, kept).await); // The client may have gone.
                }
                (Some(TagRequest::Set(tags, reply)), Some(_)) => {
                    let _ = reply.send(kept.set(tags)); // The client may have gone.
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

/// The tags as the cloud has them, or as it had them last.
async fn read<C: Cloud>(
    cloud: &C,
    account: &CloudAccount,
    pace: &Pace,
    kept: &mut KeptTags,
) -> Result<Vec<DeviceTag>, TagRefusal> {
    if let Some(next) = pace.next() {
        let wait = next.saturating_duration_since(Instant::now()).as_secs().saturating_add(1);
        let why = format!("the cloud failed before and is not asked for {wait} s; ask again then");
        return kept.last_known(account, why);
    }
    let _turn = pace.turn().await;
    let answer = cloud.tags(account).await;
    pace.on_answer(&answer);
    match answer {
        Ok(tags) => {
            let since = Instant::now();
            kept.known = Some(KnownTags { account: account.clone(), tags: tags.clone(), since, was_used: false });
            Ok(tags)
        }
        Err(error) if is_temporary(&error) => kept.last_known(account, error.to_string()),
        Err(error) => Err(TagRefusal::Failed(error.to_string())),
    }
}

/// Sends the tags, and forgets those that the cloud has or will never take.
async fn send<C: Cloud>(cloud: &C, account: &CloudAccount, pace: &Pace, kept: &mut KeptTags) {
    let _turn = pace.turn().await;
    let sent = kept.pending.clone();
    let answer = cloud.set_tags(account, &sent).await;
    pace.on_answer(&answer);
    let is_404 = matches!(&answer, Err(CloudError::Refused { status: 404, .. }));
    kept.not_before = Some(Instant::now() + if is_404 { AFTER_404 } else { APART });
    let is_final = answer.as_ref().err().is_none_or(|error| !is_temporary(error));
    match &answer {
        Ok(()) => {}
        Err(error) if is_404 && kept.has_no_endpoint => debug!(%error, "the tags are not set yet"),
        Err(error) if is_final => warn!(%error, "the tags are not set"),
        Err(error) => warn!(%error, "the tags are not set yet; the agent tries again"),
    }
    kept.has_no_endpoint = is_404;
    if is_final {
        kept.pending.retain(|name, value| sent.get(name) != Some(value));
    }
}

/// Whether the cloud may answer the same request otherwise later.
fn is_temporary(error: &CloudError) -> bool {
    match error {
        CloudError::Unreachable(_) | CloudError::Foreign(_) => true,
        CloudError::Refused { status, retry_after, .. } => {
            *status >= 500 || [404, 408, 425, 429].contains(status) || retry_after.is_some()
        }
    }
}

impl KeptTags {
    fn set(&mut self, tags: SortedMap<String, String>) -> Result<(), TagRefusal> {
        let new = tags.keys().filter(|it| !self.pending.contains_key(*it)).count();
        if self.pending.len() + new > PENDING_TAGS {
            let why = format!("more than {PENDING_TAGS} tags would wait for the cloud; set them when it has these");
            return Err(TagRefusal::Failed(why));
        }
        self.pending.extend(tags);
        Ok(())
    }

    /// The tags as this cloud had them last. Error: it never gave any, and this is why it gives none now.
    fn last_known(&mut self, account: &CloudAccount, why: String) -> Result<Vec<DeviceTag>, TagRefusal> {
        // A device that moved to another cloud has other tags.
        let is_of = |it: &&mut KnownTags| (&it.account.endpoint, &it.account.uuid) == (&account.endpoint, &account.uuid);
        let Some(known) = self.known.as_mut().filter(is_of) else { return Err(TagRefusal::Failed(why)) };
        let age_seconds = known.since.elapsed().as_secs();
        // A program may ask every second.
        if known.was_used {
            debug!(age_seconds, why, "a program gets the tags that the cloud had");
        } else {
            info!(age_seconds, why, "a program gets the tags that the cloud had");
        }
        known.was_used = true;
        Ok(known.tags.clone())
    }
}

#[cfg(test)]
mod tests;
