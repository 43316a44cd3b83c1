//! Where a device's targets come from: one file or one URL, and removable media beside it.
//!
//! The newest document wins, wherever it is: a signed one that is older than what was accepted is refused, whichever source has
//! it. Media need a key, so with media every source is signed; without, there is one source.

use std::future::pending;
use std::path::PathBuf;
use std::time::Duration;

use crate::linux::cloud::CloudClient;
use crate::linux::engine::Engine;
use crate::linux::media::TargetMedia;
use crate::linux::signed::TargetVerifier;
use crate::linux::signed_file::SignedFile;
use crate::linux::store;
use crate::linux::target_file::{TargetFile, parse_off_thread};
use crate::linux::target_url::{TargetUrl, TargetUrlSettings};
use crate::port::Targets;
use crate::state::{Target, TargetError};

/// Where targets come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceSettings {
    /// The file.
    pub file: Option<PathBuf>,
    /// The URL, in place of a file.
    pub url: Option<String>,
    /// The time between two requests to it.
    pub interval: Duration,
    /// The key whose signature a target must have, in base64.
    pub key: Option<String>,
    /// The root of the host whose removable media have targets too. `None`: media have none.
    pub media_of: Option<PathBuf>,
    /// The state directory, which has the device's uuid and what was accepted under the key.
    pub state_dir: PathBuf,
    /// The uuid of a device whose state directory has none yet.
    pub uuid: Option<String>,
}

/// The document that `--target` names.
pub enum NamedTarget {
    /// A file.
    File(TargetFile),
    /// A file that needs a signature.
    Signed(SignedFile),
    /// A URL.
    Url(Box<TargetUrl>),
}

/// All sources of a device's targets.
pub struct TargetSources {
    /// What `--target` names.
    pub named: Option<NamedTarget>,
    /// Removable media.
    pub media: Option<TargetMedia>,
}

impl SourceSettings {
    /// The sources. `None`: there is none. A URL is asked through a client as `client` is, and images are loaded into the same
    /// engine as `engine` is, each over connections of its own.
    #[must_use]
    pub fn open(&self, client: &CloudClient, engine: &Engine) -> Option<TargetSources> {
        let uuid = store::uuid(&self.state_dir).or_else(|| self.uuid.clone());
        let key = self.key.as_deref();
        let verifier = key.map(|key| TargetVerifier::new(key, &self.state_dir).expect("the configuration has been checked"));
        let named = match (&self.url, &self.file, &verifier) {
            (Some(url), _, verifier) => {
                Some(NamedTarget::Url(Box::new(TargetUrl::new(self.polled(url), verifier.clone(), client.beside()))))
            }
            (None, Some(file), Some(verifier)) => {
                Some(NamedTarget::Signed(SignedFile::new(file, verifier.clone(), uuid.as_deref())))
            }
            (None, Some(file), None) => Some(NamedTarget::File(TargetFile::new(file, uuid.as_deref()))),
            (None, None, _) => None,
        };
        let media = self
            .media_of
            .as_ref()
            .zip(verifier)
            .map(|(root, verifier)| TargetMedia::new(root, verifier, engine.beside(), &self.state_dir, self.uuid.clone()));
        (named.is_some() || media.is_some()).then_some(TargetSources { named, media })
    }

    fn polled(&self, url: &str) -> TargetUrlSettings {
        TargetUrlSettings {
            url: url.to_owned(),
            interval: self.interval,
            state_dir: self.state_dir.clone(),
            uuid: self.uuid.clone(),
        }
    }

    /// In words. `None`: there is no source.
    #[must_use]
    pub fn shown(&self) -> Option<String> {
        let without_query = |url: &String| url.split(['?', '#']).next().unwrap_or_default().to_owned();
        let file = || self.file.as_ref().map(|it| it.display().to_string());
        let named = self.url.as_ref().map(without_query).or_else(file);
        let media = self.media_of.as_ref().map(|_| "removable media".to_owned());
        let places: Vec<_> = named.into_iter().chain(media).collect();
        let signed = if self.key.is_some() { ", where it is signed" } else { "" };
        (!places.is_empty()).then(|| format!("{}{signed}", places.join(" and ")))
    }
}

impl Targets for TargetSources {
    async fn next(&self) -> Result<Target, TargetError> {
        let media = async {
            match &self.media {
                Some(media) => media.next().await,
                None => pending().await,
            }
        };
        // Both may be dropped at any time: a document that was accepted is accepted once more.
        tokio::select! {
            biased;
            news = self.next_named() => news,
            news = media => news,
        }
    }

    async fn parse(&self, document: String) -> Result<Target, TargetError> {
        parse_off_thread(document).await
    }

    fn look_again(&self) {
        match &self.named {
            Some(NamedTarget::File(file)) => file.look_again(),
            Some(NamedTarget::Signed(file)) => file.look_again(),
            Some(NamedTarget::Url(url)) => url.look_again(),
            None => (),
        }
        if let Some(media) = &self.media {
            media.look_again();
        }
    }
}

impl TargetSources {
    async fn next_named(&self) -> Result<Target, TargetError> {
        match &self.named {
            Some(NamedTarget::File(file)) => file.next().await,
            Some(NamedTarget::Signed(file)) => file.next().await,
            Some(NamedTarget::Url(url)) => url.next().await,
            None => pending().await,
        }
    }
}
