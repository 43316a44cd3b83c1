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

use std::time::Duration;

use bollard::query_parameters::ListImagesOptions;
use tracing::{debug, info};

use crate::linux::engine::link::Link;
use crate::linux::engine::login::Login;
use crate::linux::engine::{Engine, pull};
use crate::port::EngineError;
use crate::state::ImageRef;

pub(super) use manifest::Machine;
pub(super) use place::Registries;

/// The most that is waited for a registry's documents: a few kilobytes, in at most ten answers.
const ASK: Duration = Duration::from_secs(20);

/// Compressed bytes of an image, from a document that tells of it.
pub(super) fn weighs(document: &[u8]) -> Option<u64> {
    let machine = Machine { arch: "arm".to_owned(), kernel: "armv7l".to_owned() };
    match manifest::read(document, &machine) {
        Ok(manifest::Told::Image(found)) => Some(found.bytes()),
        Ok(manifest::Told::Index(_)) | Err(_) => None,
    }
}

impl Engine {
    /// Refuses an image that is known not to fit, before a byte of its layers is pulled.
    pub(super) async fn fits(&self, image: &ImageRef, link: &Link, login: &Login) -> Result<(), EngineError> {
        if !self.settings.asks_registries || self.free(link).is_none() {
            return Ok(());
        }
        match tokio::time::timeout(ASK, self.missing(image, link, login)).await {
            Ok(Ok(bytes)) => {
                debug!(%image, bytes, "its registry told how much of it is missing");
                self.claim(image, link, pull::room_for(bytes))
            }
            Ok(Err(why)) => {
                info!(%image, why, "how large it is is not known; it is pulled, and given up should it not fit");
                Ok(())
            }
            Err(_) => {
                info!(%image, "its registry did not say within {} s how large it is; it is pulled all the same", ASK.as_secs());
                Ok(())
            }
        }
    }

    /// Compressed bytes of the layers that are not here, or why they are not known.
    async fn missing(&self, image: &ImageRef, link: &Link, login: &Login) -> Result<u64, String> {
        let place = place::Place::of(image.as_str()).ok_or("it is not named as registries name images")?;
        let way = link.facts.registries.way(&place.host)?;
        let client = client::Client::new(&self.settings.root, &place.host, way, login).await?;
        let found = client.image(&place, &link.facts.machine()).await?;
        let whole = found.bytes();
        // Of what is here already the registry is asked only where it matters.
        if self.claim(image, link, pull::room_for(whole)).is_ok() {
            return Ok(whole);
        }
        let ids = client.diff_ids(&place, &found).await?;
        found.missing(&ids, &self.here(link).await?)
    }

    /// The layers of each image that is here, the lowest first.
    async fn here(&self, link: &Link) -> Result<Vec<Vec<String>>, String> {
        let options = ListImagesOptions { all: true, ..ListImagesOptions::default() };
        let list = link.docker.list_images(Some(options)).await.map_err(|error| error.to_string())?;
        let mut here = Vec::new();
        for summary in list {
            // One that vanished meanwhile has no layers here.
            if let Ok(Some(image)) = self.image(link, &summary.id).await {
                here.extend(image.root_fs.and_then(|it| it.layers));
            }
        }
        Ok(here)
    }
}
