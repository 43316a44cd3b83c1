//! What a registry says of an image before it is pulled: the size of each layer.
//!
//! ```text
//! place      where an image is kept, from its reference           registry/place.rs
//! manifest   a registry's documents                               registry/manifest.rs
//! client     requests to a registry, with authentication          registry/client.rs
//! ```
//!
//! The requests match the engine's own: the same credentials, and plain HTTP only where the engine uses it. Missing knowledge
//! prevents no pull: the image is pulled then, and the pull is cancelled as soon as the engine reports more than fits.

mod client;
pub(super) mod manifest;
mod place;

#[cfg(test)]
mod tests;

use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;
use tracing::{debug, info};

use crate::linux::engine::connection::EngineConnection;
use crate::linux::engine::login::RegistryLogin;
use crate::linux::engine::registry::client::RegistryClient;
use crate::linux::engine::registry::place::ImageLocation;
use crate::linux::engine::{CALL, Engine, room};
use crate::port::EngineError;
use crate::sorted::SortedSet;
use crate::state::ImageRef;

pub(super) use manifest::{EngineMachine, RemoteImage};
pub(super) use place::Registries;

/// Timeout for a registry's documents: a few kilobytes, in at most ten responses.
const ASK: Duration = Duration::from_secs(20);
/// How long a response is cached. Some registries rate-limit requests, and a pull causes two: one for its update, one by
/// itself.
const REMEMBERED: Duration = Duration::from_secs(10 * 60);

impl Engine {
    /// Rejects an image that is known not to fit, before a byte of its layers is pulled. Otherwise returns its compressed
    /// bytes, as far as they are known.
    pub(super) async fn fits(
        &self,
        image: &ImageRef,
        connection: &EngineConnection,
        login: &RegistryLogin,
    ) -> Result<u64, EngineError> {
        if !self.asks_registries(connection) {
            return Ok(0);
        }
        let does = |bytes| self.reserve(image, connection, room::room_for(bytes), 0);
        let bytes = self.missing([(image, login)], connection, |bytes| does(bytes).is_ok()).await;
        does(bytes).map(|()| bytes)
    }

    /// Rejects images that are known not to fit together. Pulls in flight have reserved what they need.
    pub(super) async fn fit_together(&self, images: &SortedSet<ImageRef>) -> Result<(), EngineError> {
        let connection = self.within(CALL, self.connection()).await?;
        if !self.asks_registries(&connection) {
            return Ok(());
        }
        let mut wanted = Vec::new();
        for image in images.iter().filter(|it| !self.reserved_bytes.borrow().contains_key(*it)) {
            let login = self.within(CALL, self.prepare(image)).await?.map(|(_, login)| login);
            wanted.extend(login.map(|login| (image, login)));
        }
        let names = images.iter().map(ImageRef::as_str).collect::<Vec<_>>().join(", ");
        let together = if images.len() > 1 { ", which are of use only together" } else { "" };
        let what = format!("pull {names}{together}");
        let does = |bytes| self.has_room(&connection, &what, |_| true, room::room_for(bytes));
        let wanted = wanted.iter().map(|(image, login)| (*image, login));
        does(self.missing(wanted, &connection, |bytes| does(bytes).is_ok()).await)
    }

    /// Not if asking would be of no use, because free space is unknown.
    fn asks_registries(&self, connection: &EngineConnection) -> bool {
        self.settings.registries.is_some() && self.free(connection).is_some()
    }

    /// Compressed bytes of images that are not present, as far as they are known. What is present already matters only if all
    /// layers together do not fit; only then registries are asked for layer names.
    async fn missing<'a>(
        &self,
        images: impl IntoIterator<Item = (&'a ImageRef, &'a RegistryLogin)>,
        connection: &EngineConnection,
        does: impl Fn(u64) -> bool,
    ) -> u64 {
        let known = images.into_iter().map(async |(image, login)| {
            let found = in_time(image, self.remote_image(image, connection, login)).await?;
            Some((image, login, found))
        });
        let known: Vec<_> = join_all(known).await.into_iter().flatten().collect();
        let whole = manifest::bytes(known.iter().flat_map(|(_, _, found)| &found.layers));
        let Some((first, ..)) = known.first().filter(|_| !does(whole)) else { return whole };
        let Some(here) = in_time(first, self.here(connection)).await else { return 0 };
        let missing = known.iter().map(async |(image, login, found)| {
            in_time(image, async { found.missing(&self.ids(image, connection, login, found).await?, &here) }).await
        });
        let missing = join_all(missing).await;
        let bytes = manifest::bytes(missing.into_iter().flatten().flatten());
        debug!(images = known.len(), bytes, "registries told how much is missing");
        bytes
    }

    /// What the registry says of an image, or said less than [`REMEMBERED`] ago.
    async fn remote_image(
        &self,
        image: &ImageRef,
        connection: &EngineConnection,
        login: &RegistryLogin,
    ) -> Result<Rc<RemoteImage>, String> {
        let is_fresh = |(at, _): &(Instant, Rc<RemoteImage>)| at.elapsed() < REMEMBERED;
        if let Some((_, found)) = self.remote_images.borrow().get(image).filter(|it| is_fresh(it)) {
            return Ok(found.clone());
        }
        let (client, place) = self.client(image, connection, login).await?;
        let found = Rc::new(client.image(&place, &connection.facts.machine()).await?);
        let mut known = self.remote_images.borrow_mut();
        known.retain(|_, it| is_fresh(it));
        known.insert(image.clone(), (Instant::now(), found.clone()));
        Ok(found)
    }

    /// The engine's names (diff ids) of an image's layers.
    async fn ids(
        &self,
        image: &ImageRef,
        connection: &EngineConnection,
        login: &RegistryLogin,
        found: &RemoteImage,
    ) -> Result<Vec<String>, String> {
        let (client, place) = self.client(image, connection, login).await?;
        client.diff_ids(&place, found).await
    }

    async fn client(
        &self,
        image: &ImageRef,
        connection: &EngineConnection,
        login: &RegistryLogin,
    ) -> Result<(RegistryClient, ImageLocation), String> {
        let place = ImageLocation::of(image.as_str()).ok_or("it is not named as registries name images")?;
        let way = connection.facts.registries.way(&place.host)?;
        let access = self.settings.registries.as_ref().ok_or("registries are not asked")?;
        let client = RegistryClient::new(access, &place.host, way, login).await?;
        Ok((client, place))
    }

    /// The layers of each image that is present, the lowest first.
    async fn here(&self, connection: &EngineConnection) -> Result<Vec<Vec<String>>, String> {
        let list = self.list(connection, "list images", "/images/json?all=true", |it| Some(it.text("/Id").to_owned()));
        let mut here = Vec::new();
        for id in list.await.map_err(|error| error.to_string())? {
            // An image that was removed meanwhile has no layers here.
            if let Ok(Some(image)) = self.image(connection, &id).await {
                here.extend(image.at("/RootFS/Layers").map(|_| image.texts("/RootFS/Layers")));
            }
        }
        Ok(here)
    }
}

/// A result, if it arrives within [`ASK`]. A failure or a timeout is only logged.
async fn in_time<T>(image: &ImageRef, known: impl Future<Output = Result<T, String>>) -> Option<T> {
    match tokio::time::timeout(ASK, known).await {
        Ok(Ok(known)) => return Some(known),
        Ok(Err(why)) => info!(%image, why, "the image's size is unknown; the agent pulls it, and stops if it does not fit"),
        Err(_) => {
            info!(%image, "the registry did not give the image's size within {} s; the agent pulls it anyway", ASK.as_secs());
        }
    }
    None
}
