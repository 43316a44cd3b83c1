//! Loading images of an archive, as `docker save` writes it: streamed, and only if it fits.

use std::io;
use std::pin::pin;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use hyper::body::Bytes;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::linux::engine::room::room_for;
use crate::linux::engine::{CALL, Engine, errors, transport};
use crate::port::EngineError;
use crate::state::ImageRef;

/// How long a whole archive may take. The slowest memory cards write a gigabyte in some ten minutes.
const LOAD: Duration = Duration::from_secs(2 * 60 * 60);

impl Engine {
    /// Those of some images that the engine lacks.
    pub(in crate::linux) async fn missing_images(&self, images: Vec<ImageRef>) -> Result<Vec<ImageRef>, EngineError> {
        let missing = async {
            let connection = self.connection().await?;
            let mut missing = Vec::new();
            for image in images {
                if self.image(&connection, image.as_str()).await?.is_none() {
                    missing.push(image);
                }
            }
            Ok(missing)
        };
        self.within(CALL, missing).await
    }

    /// Loads the images of an archive of so many bytes, which arrives in parts. The engine unpacks the archive beside its
    /// images before it loads them, so that an archive whose last part is an error adds none.
    pub(in crate::linux) async fn load_archive(
        &self,
        name: &str,
        size_bytes: u64,
        parts: mpsc::Receiver<io::Result<Bytes>>,
    ) -> Result<(), EngineError> {
        let connection = self.within(CALL, self.connection()).await?;
        let what = format!("load {name}");
        self.has_room(&connection, &what, |_| true, room_for(size_bytes))?;
        let body = stream::unfold(parts, async |mut parts| Some((parts.recv().await?, parts)));
        let path = format!("{}/images/load?quiet=true", connection.version_path());
        let load = async {
            let answer = transport::upload(connection.facts.host(), &path, body).await;
            let mut answer = pin!(answer.map_err(|error| errors::sort(&what, &error))?);
            while let Some(line) = answer.next().await {
                line.map_err(|error| errors::sort(&what, &error))?;
            }
            Ok(())
        };
        let late = |_| Err(EngineError::Refused(format!("cannot {what}: not done within {} minutes", LOAD.as_secs() / 60)));
        timeout(LOAD, load).await.unwrap_or_else(late)
    }
}
