//! A body is sent until the cloud has it.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::warn;

use crate::backoff::Backoff;
use crate::cloud::logs::LogLinks;
use crate::cloud::logs::body::Body;
use crate::port::{Cloud, CloudError};

/// The first and the longest wait after a refusal that concerns logs alone: the device was deleted, or is frozen. The cloud
/// takes 55 s for that answer.
const FIRST_REFUSAL: Duration = Duration::from_secs(60);
const LONGEST_REFUSAL: Duration = Duration::from_secs(15 * 60);

/// How a body fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// The cloud has so many of its lines.
    Accepted(usize),
    /// The cloud refuses its first line, whatever is sent with it.
    Refused,
}

/// Since when the cloud accepts every body, and when it accepted the last one.
#[derive(Debug, Default)]
pub(super) struct Accepting {
    since: Cell<Option<Instant>>,
    last: Cell<Option<Instant>>,
}

impl Accepting {
    pub(super) const fn since(&self) -> Option<Instant> {
        self.since.get()
    }

    pub(super) const fn last(&self) -> Option<Instant> {
        self.last.get()
    }

    fn pause(&self) {
        self.since.set(None);
    }

    fn learn(&self, is_accepted: bool) {
        let now = Instant::now();
        self.since.set(is_accepted.then(|| self.since.get().unwrap_or(now)));
        if is_accepted {
            self.last.set(Some(now));
        }
    }
}

/// Sends a body, again and again, until the cloud has lines of it or refuses one for its content.
pub(super) async fn send<C: Cloud>(cloud: &C, links: &LogLinks<'_>, accepting: &Accepting, body: Body) -> (Body, Sent) {
    let mut count = body.lines().len();
    let mut has_asked = false;
    let mut refusals = Backoff::new(FIRST_REFUSAL, LONGEST_REFUSAL);
    loop {
        if links.pace.next().is_some() {
            // Another request failed, or the cloud asked to wait: lines grow old meanwhile, and not because they are many.
            accepting.pause();
        }
        links.pace.ready().await;
        let answer = cloud.upload_logs(links.account, body.lines().get(..count).unwrap_or_default()).await;
        links.pace.on_answer(&answer);
        let is_first = report(links, &answer);
        accepting.learn(answer.is_ok());
        match answer {
            Ok(()) => return (body, Sent::Accepted(count)),
            Err(error) => {
                if is_first {
                    warn!(%error, "logs are not uploaded; they wait");
                }
                match error {
                    // One of the lines: half of them is sent next.
                    CloudError::Refused { status: 400 | 413 | 422, .. } if count > 1 => count = count.div_ceil(2),
                    CloudError::Refused { status: 400 | 413 | 422, .. } => return (body, Sent::Refused),
                    // These are waited for together with all other requests.
                    CloudError::Unreachable(_)
                    | CloudError::Foreign(_)
                    | CloudError::Refused { status: 429 | 500.., .. }
                    | CloudError::Refused { retry_after: Some(_), .. } => (),
                    CloudError::Refused { status, .. } => {
                        // Once for each body: a device that is gone finds out by one poll.
                        if status == 401 && !has_asked {
                            has_asked = true;
                            links.request_refused.notify_one();
                        }
                        let wait = refusals.fail();
                        sleep(wait + links.pace.jitter().below(wait / 4)).await;
                    }
                }
            }
        }
    }
}

/// Publishes an answer. Whether it is the first failure after a success.
fn report(links: &LogLinks<'_>, answer: &Result<(), CloudError>) -> bool {
    let mut is_first = false;
    links.publish.send_modify(|status| {
        let upload = &mut status.log_upload;
        is_first = upload.why.is_none();
        match answer {
            Ok(()) => (upload.accepted, upload.why) = (Some(Instant::now()), None),
            Err(error) => upload.why = Some(error.to_string()),
        }
    });
    is_first && answer.is_err()
}
