//! What a registry says of an image before it is pulled: how many bytes each layer has.
//!
//! ```text
//! place      where an image is kept, from how people name it     registry/place.rs
//! manifest   what a registry's documents say                     registry/manifest.rs
//! client     asking, with whatever the registry wants first      registry/client.rs
//! ```
//!
//! It is asked as the engine asks it: with the same credentials, and without TLS only where the engine goes without. Whatever is not
//! known is no hindrance: the image is pulled then, and given up as soon as the engine tells of more than fits.

mod client;
mod manifest;
mod place;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;
use tracing::{debug, info};

use crate::linux::engine::connection::EngineConnection;
use crate::linux::engine::login::RegistryLogin;
use crate::linux::engine::registry::client::RegistryClient;
use crate::linux::engine::registry::place::ImageLocation;
use crate::linux::engine::{CALL, Engine, pull};
use crate::port::EngineError;
use crate::state::ImageRef;

pub(super) use manifest::{EngineMachine, RemoteImage};
pub(super) use place::Registries;

/// The most that is waited for a registry's documents: a few kilobytes, in at most ten answers.
const ASK: Duration = Duration::from_secs(20);
/// How long an answer will do. Some registries count requests; and a pull is asked about with its update first, then by itself.
const REMEMBERED: Duration = Duration::from_secs(10 * 60);

/// Compressed bytes of an image, from a document that tells of it.
pub(super) fn weighs(document: &[u8]) -> Option<u64> {
    let machine = EngineMachine { arch: "arm".to_owned(), kernel: "armv7l".to_owned() };
    match manifest::read(document, &machine) {
        Ok(manifest::ManifestKind::Image(found)) => Some(manifest::bytes(&found.layers)),
        Ok(manifest::ManifestKind::Index(_)) | Err(_) => None,
    }
}

impl Engine {
    /// Refuses an image that is known not to fit, before a byte of its layers is pulled. Otherwise says how many compressed bytes that
    /// may take, as far as it is known.
    pub(super) async fn fits(
        &self,
        image: &ImageRef,
        link: &EngineConnection,
        login: &RegistryLogin,
    ) -> Result<u64, EngineError> {
        if !self.asks_registries(link) {
            return Ok(0);
        }
        let does = |bytes| self.claim(image, link, pull::room_for(bytes), 0);
        let bytes = self.missing([(image, login)], link, |bytes| does(bytes).is_ok()).await;
        does(bytes).map(|()| bytes)
    }

    /// Refuses images that are known not to fit beside each other. Those that are being pulled have claimed what they need.
    pub(super) async fn fit_together(&self, images: &BTreeSet<ImageRef>) -> Result<(), EngineError> {
        let link = self.within(CALL, self.link()).await?;
        if !self.asks_registries(&link) {
            return Ok(());
        }
        let mut wanted = Vec::new();
        for image in images.iter().filter(|it| !self.claims.borrow().contains_key(*it)) {
            let login = self.within(CALL, self.prepare(image)).await?.map(|(_, login)| login);
            wanted.extend(login.map(|login| (image, login)));
        }
        let names = images.iter().map(ImageRef::as_str).collect::<Vec<_>>().join(", ");
        let what = if images.len() > 1 { format!("{names}, which are of use only together") } else { names };
        let does = |bytes| self.has_room(&link, &what, |_| true, pull::room_for(bytes));
        let wanted = wanted.iter().map(|(image, login)| (*image, login));
        does(self.missing(wanted, &link, |bytes| does(bytes).is_ok()).await)
    }

    /// Not where that would be of no use.
    fn asks_registries(&self, link: &EngineConnection) -> bool {
        self.settings.asks_registries && self.free(link).is_some()
    }

    /// Compressed bytes of images that are not here, as far as they are known. Of what is here already registries are asked only
    /// where the whole does not do.
    async fn missing<'a>(
        &self,
        images: impl IntoIterator<Item = (&'a ImageRef, &'a RegistryLogin)>,
        link: &EngineConnection,
        does: impl Fn(u64) -> bool,
    ) -> u64 {
        let told = images.into_iter().map(async |(image, login)| {
            let found = in_time(image, self.told(image, link, login)).await?;
            Some((image, login, found))
        });
        let told: Vec<_> = join_all(told).await.into_iter().flatten().collect();
        let whole = manifest::bytes(told.iter().flat_map(|(_, _, found)| &found.layers));
        let Some((first, ..)) = told.first().filter(|_| !does(whole)) else { return whole };
        let Some(here) = in_time(first, self.here(link)).await else { return 0 };
        let missing = told.iter().map(async |(image, login, found)| {
            in_time(image, async { found.missing(&self.ids(image, link, login, found).await?, &here) }).await
        });
        let missing = join_all(missing).await;
        let bytes = manifest::bytes(missing.into_iter().flatten().flatten());
        debug!(images = told.len(), bytes, "registries told how much is missing");
        bytes
    }

    /// What its registry says of an image, or said a moment ago.
    async fn told(&self, image: &ImageRef, link: &EngineConnection, login: &RegistryLogin) -> Result<Rc<RemoteImage>, String> {
        let is_fresh = |(at, _): &(Instant, Rc<RemoteImage>)| at.elapsed() < REMEMBERED;
        if let Some((_, found)) = self.told.borrow().get(image).filter(|it| is_fresh(it)) {
            return Ok(found.clone());
        }
        let (client, place) = self.client(image, link, login).await?;
        let found = Rc::new(client.image(&place, &link.facts.machine()).await?);
        let mut told = self.told.borrow_mut();
        told.retain(|_, it| is_fresh(it));
        told.insert(image.clone(), (Instant::now(), found.clone()));
        Ok(found)
    }

    /// How the layers of an image are named once they are here.
    async fn ids(
        &self,
        image: &ImageRef,
        link: &EngineConnection,
        login: &RegistryLogin,
        found: &RemoteImage,
    ) -> Result<Vec<String>, String> {
        let (client, place) = self.client(image, link, login).await?;
        client.diff_ids(&place, found).await
    }

    async fn client(
        &self,
        image: &ImageRef,
        link: &EngineConnection,
        login: &RegistryLogin,
    ) -> Result<(RegistryClient, ImageLocation), String> {
        let place = ImageLocation::of(image.as_str()).ok_or("it is not named as registries name images")?;
        let way = link.facts.registries.way(&place.host)?;
        let client = RegistryClient::new(&self.settings.root, &place.host, way, login).await?;
        Ok((client, place))
    }

    /// The layers of each image that is here, the lowest first.
    async fn here(&self, link: &EngineConnection) -> Result<Vec<Vec<String>>, String> {
        let list = self.list(link, "list images", "/images/json?all=true").await.map_err(|error| error.to_string())?;
        let mut here = Vec::new();
        for summary in list {
            // One that vanished meanwhile has no layers here.
            if let Ok(Some(image)) = self.image(link, summary.text("/Id")).await {
                here.extend(image.root_fs.and_then(|it| it.layers));
            }
        }
        Ok(here)
    }
}

/// What is known of an image in time. Nothing else comes of it when it is not.
async fn in_time<T>(image: &ImageRef, known: impl Future<Output = Result<T, String>>) -> Option<T> {
    match tokio::time::timeout(ASK, known).await {
        Ok(Ok(known)) => return Some(known),
        Ok(Err(why)) => info!(%image, why, "how large it is is not known; it is pulled, and given up should it not fit"),
        Err(_) => {
            info!(%image, "its registry did not say within {} s how large it is; it is pulled all the same", ASK.as_secs());
        }
    }
    None
}
