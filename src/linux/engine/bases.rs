//! What an image and the engine give to a container that asks for nothing.

use std::sync::Arc;

use crate::linux::engine::connection::EngineConnection;
use crate::linux::engine::errors::if_described;
use crate::linux::engine::{Engine, decode};
use crate::port::EngineError;
use crate::state::{ContainerConfig, ImageId, ImageRef};

impl Engine {
    /// What an image and the engine give to a container that asks for nothing. An image never changes, so each is inspected
    /// once. `None`: the image is not present, or the engine cannot describe it.
    pub(super) async fn base_of(
        &self,
        connection: &EngineConnection,
        image: &ImageRef,
        on_host: bool,
    ) -> Result<Option<Arc<ContainerConfig>>, EngineError> {
        let id = self
            .lists
            .borrow()
            .images
            .known()
            .into_iter()
            .flatten()
            .find(|it| it.names.contains(image))
            .map(|it| it.id.clone());
        match id {
            Some(id) => self.base_of_id(connection, id, on_host).await,
            None => self.request_base(connection, image.as_str(), on_host).await,
        }
    }

    pub(super) async fn base_of_id(
        &self,
        connection: &EngineConnection,
        image: ImageId,
        on_host: bool,
    ) -> Result<Option<Arc<ContainerConfig>>, EngineError> {
        let of = (image, on_host);
        let known = || self.container_cache.borrow().bases.get(&of).map(Arc::clone);
        if let Some(known) = known() {
            return Ok(Some(known));
        }
        // One after another: services that are created together often have the same image. The semaphore is never closed.
        let _turn = self.base_turn.acquire().await.ok();
        if let Some(known) = known() {
            return Ok(Some(known));
        }
        let base = self.request_base(connection, &of.0.0, on_host).await?;
        Ok(base.map(|it| Arc::clone(self.container_cache.borrow_mut().bases.entry(of).or_insert(it))))
    }

    async fn request_base(
        &self,
        connection: &EngineConnection,
        image: &str,
        on_host: bool,
    ) -> Result<Option<Arc<ContainerConfig>>, EngineError> {
        let image = if_described(self.image(connection, image).await)?;
        Ok(image.map(|it| Arc::new(decode::base(&it, &connection.facts, on_host))))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures_util::future::join_all;
    use serde_json::json;

    use super::*;
    use crate::linux::engine::tests::scripted::{asked_of, empty};
    use crate::port::Engine as _;

    #[tokio::test]
    async fn an_image_of_many_services_is_inspected_once() {
        let inspected = Cell::new(0);
        let answer = |asked: &str| {
            Some(match asked {
                "GET /images/json" => (200, json!([{"Id": "sha256:1", "RepoTags": ["app:1"]}]).to_string()),
                "GET /images/sha256:1/json" => {
                    inspected.set(inspected.get() + 1);
                    (200, json!({"Id": "sha256:1", "Config": {"Env": ["A=b"]}}).to_string())
                }
                other => empty(other),
            })
        };
        asked_of(answer, async |engine| {
            engine.lists.borrow_mut().set_watched(true);
            engine.observe().await.unwrap();
            let connection = engine.connection().await.unwrap();
            let image = ImageRef::new("app:1");
            let bases = join_all((0..3).map(|_| engine.base_of(&connection, &image, false))).await;
            let bases: Vec<_> = bases.into_iter().map(|it| it.unwrap().unwrap()).collect();
            assert!(bases.iter().all(|it| it == &bases[0] && it.env[&"A".to_owned()] == "b"), "{bases:?}");
        })
        .await;
        assert_eq!(inspected.get(), 1);
    }
}
