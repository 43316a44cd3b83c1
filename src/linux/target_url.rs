//! A target-state document at a URL, asked for again and again: for devices that have a web server and no cloud.
//!
//! - Every request but the first has the ETag of the last document, so that an unchanged one costs a header. The ETag is kept
//!   in memory only: after a start the document is fetched once, which repairs a state directory that has lost its target.
//! - Requests are spread by a tenth, so that devices that were switched on together do not come together for ever.
//! - After a failure the next request comes sooner, then later and later, up to the interval; and never before `Retry-After`.
//! - No key and no cookie is sent. `http` is for signed targets only, which the configuration checks.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::debug;
use url::{Position, Url};

use crate::backoff::Backoff;
use crate::linux::clock::Random;
use crate::linux::cloud::CloudClient;
use crate::linux::cloud::fetch::{FetchError, FetchedDocument};
use crate::linux::signed::{PAUSE, ReadDocument, SUFFIX, TRIES, TargetVerifier, UnverifiedTarget};
use crate::linux::store;
use crate::linux::target_file::parse_off_thread;
use crate::port::{Random as _, Targets};
use crate::state::{Target, TargetError};

/// What a URL has in place of the device's uuid.
const UUID: &str = "{uuid}";
/// The first wait after a failure.
const FIRST_RETRY: Duration = Duration::from_secs(15);
/// How often it is looked for the uuid of a device that starts for the first time.
const UUID_WAIT: Duration = Duration::from_secs(1);

/// Settings of a [`TargetUrl`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetUrlSettings {
    /// The URL. `{uuid}` in it stands for the device's uuid.
    pub url: String,
    /// The time between two requests.
    pub interval: Duration,
    /// The state directory, which has the device's uuid.
    pub state_dir: PathBuf,
    /// The uuid of a device whose state directory has none yet.
    pub uuid: Option<String>,
}

/// A polled target-state document. One future at a time may wait in [`Targets::next`].
pub struct TargetUrl {
    settings: TargetUrlSettings,
    verifier: Option<TargetVerifier>,
    client: CloudClient,
    /// The ETag of the document that was returned last.
    etag: RefCell<Option<String>>,
    /// Hash of the document that was returned last. `None`: none was, or an error after it.
    given: Cell<Option<[u8; 32]>>,
    /// Why there is no document, as last reported.
    complained: RefCell<Option<String>>,
    backoff: RefCell<Backoff>,
    /// When the next request is due. `None`: now.
    due: Cell<Option<Instant>>,
    asked: Notify,
}

impl TargetUrl {
    /// The document at a URL. `client` is used for nothing else.
    #[must_use]
    pub fn new(settings: TargetUrlSettings, verifier: Option<TargetVerifier>, client: CloudClient) -> Self {
        let backoff = RefCell::new(Backoff::new(FIRST_RETRY.min(settings.interval), settings.interval));
        Self {
            settings,
            verifier,
            client,
            etag: RefCell::default(),
            given: Cell::default(),
            complained: RefCell::default(),
            backoff,
            due: Cell::default(),
            asked: Notify::new(),
        }
    }

    async fn is_due(&self) {
        let Some(due) = self.due.get() else { return };
        tokio::select! {
            biased;
            () = self.asked.notified() => {}
            () = sleep_until(due) => {}
        }
        self.due.set(None);
    }

    /// Asks once, and says when to ask again. `None`: there is nothing new.
    async fn poll(&self) -> Option<Result<Target, TargetError>> {
        let polled = self.document().await;
        let wait = match &polled {
            Ok(_) => {
                self.backoff.borrow_mut().succeed();
                self.settings.interval
            }
            Err(error) => self.backoff.borrow_mut().fail().max(error.retry_after.unwrap_or_default()),
        };
        self.due.set(Some(Instant::now() + spread(wait, Random.bytes()[0])));
        match polled {
            Ok(target) => {
                self.complained.take();
                target.map(Ok)
            }
            Err(FetchError { why, .. }) => {
                // The next document is returned even if it is the last one again: it puts an end to the error.
                self.etag.take();
                self.given.set(None);
                if self.complained.replace(Some(why.clone())).as_ref() == Some(&why) {
                    debug!(why, "as before");
                    return None;
                }
                Some(Err(TargetError(why)))
            }
        }
    }

    /// The document, if it differs from the one returned last.
    async fn document(&self) -> Result<Option<Target>, FetchError> {
        let (url, uuid) = self.url().await?;
        let refused = |why: String| FetchError { why: format!("{}: {why}", shown(&url)), retry_after: None };
        let mut tries = 0;
        loop {
            tries += 1;
            let etag = self.etag.borrow().clone();
            let FetchedDocument::Document { bytes, etag } =
                self.client.fetch(&url, etag.as_deref()).await.map_err(|it| it.of(&url))?
            else {
                return Ok(None);
            };
            let print = Sha256::digest(&bytes).into();
            if self.given.get() == Some(print) {
                self.etag.replace(etag);
                return Ok(None);
            }
            let signature = match &self.verifier {
                Some(_) => Some(self.signature(&url).await?),
                None => None,
            };
            let key = self.verifier.as_ref();
            match (ReadDocument { bytes, signature }).verified(key, uuid.as_deref()).await {
                Ok(verified) => {
                    let target = verified.accepted(key).await.map_err(refused)?;
                    self.etag.replace(etag);
                    self.given.set(Some(print));
                    return Ok(Some(target));
                }
                // The server may just be given the other of the two files.
                Err(UnverifiedTarget::Mismatch(_)) if tries < TRIES => sleep(PAUSE).await,
                Err(UnverifiedTarget::Mismatch(why) | UnverifiedTarget::Refused(why)) => return Err(refused(why)),
            }
        }
    }

    /// The signature's file, which is beside the document.
    async fn signature(&self, url: &Url) -> Result<Vec<u8>, FetchError> {
        let mut beside = url.clone();
        beside.set_path(&format!("{}{SUFFIX}", url.path()));
        let fetched = self.client.fetch(&beside, None).await.map_err(|it| it.of(&beside))?;
        match fetched {
            FetchedDocument::Document { bytes, .. } => Ok(bytes),
            FetchedDocument::NotModified => Ok(Vec::new()),
        }
    }

    /// The URL for this device, and its uuid.
    async fn url(&self) -> Result<(Url, Option<String>), FetchError> {
        let TargetUrlSettings { url, state_dir, uuid, .. } = &self.settings;
        let mut known;
        loop {
            known = store::uuid(state_dir).or_else(|| uuid.clone());
            if known.is_some() || !url.contains(UUID) {
                break;
            }
            sleep(UUID_WAIT).await;
        }
        let text = url.replace(UUID, known.as_deref().unwrap_or_default());
        let url = Url::parse(&text).map_err(|why| FetchError {
            why: format!("the URL of --target cannot be used: {why}; correct it"),
            retry_after: None,
        })?;
        Ok((url, known))
    }
}

impl Targets for TargetUrl {
    async fn next(&self) -> Result<Target, TargetError> {
        loop {
            self.is_due().await;
            if let Some(news) = self.poll().await {
                return news;
            }
        }
    }

    async fn parse(&self, document: String) -> Result<Target, TargetError> {
        parse_off_thread(document).await
    }

    fn look_again(&self) {
        self.asked.notify_one();
    }
}

impl FetchError {
    /// The same error, with the URL before it.
    fn of(self, url: &Url) -> Self {
        Self { why: format!("{}: {}", shown(url), self.why), ..self }
    }
}

/// A URL without its query, which may have a secret in it.
fn shown(url: &Url) -> &str {
    &url[..Position::AfterPath]
}

/// A wait that is up to a tenth longer. `chance`: any byte.
fn spread(wait: Duration, chance: u8) -> Duration {
    wait + wait / 10 * u32::from(chance) / u32::from(u8::MAX)
}

#[cfg(test)]
mod tests;
