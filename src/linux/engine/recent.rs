//! Containers that the agent has just created, started, renamed or removed. Those that it created are listed by themselves,
//! each that it started is inspected, and the list of all is corrected instead of requested: an engine may have a thousand
//! foreign containers.

use futures_util::{StreamExt, TryStreamExt, stream, try_join};
use serde_json::json;

use crate::linux::engine::Engine;
use crate::linux::engine::connection::EngineConnection;
use crate::linux::engine::described::ListedContainer;
use crate::linux::engine::errors::if_described;
use crate::linux::engine::json::EngineJson;
use crate::linux::engine::lists::ListKind;
use crate::linux::engine::observe::AT_ONCE;
use crate::linux::escaped;
use crate::port::EngineError;
use crate::sorted::{SortedSet, sort_by};
use crate::state::{Container, ContainerId};

impl Engine {
    /// Corrects the list of containers by those that the agent has created or started since they were listed. Where that does
    /// not do, the list is requested again.
    pub(super) async fn correct_containers(&self, connection: &EngineConnection) -> Result<(), EngineError> {
        let (created, started) = {
            let cache = self.container_cache.borrow();
            (cache.created(), cache.started())
        };
        if created.is_empty() && started.is_empty() {
            return Ok(());
        }
        if !self.lists.borrow_mut().containers.fresh().is_some_and(|it| are_independent(it)) {
            self.lists.borrow_mut().forget(ListKind::Containers);
            return Ok(());
        }
        try_join!(self.list_created(connection, &created), self.inspect_started(connection, started)).map(drop)
    }

    /// Notes that a container was renamed.
    pub(super) fn note_renamed(&self, id: &ContainerId, name: &str) {
        if let Some(known) = self.container_cache.borrow_mut().known.get_mut(id) {
            name.clone_into(&mut known.container.name);
        }
        if let Some(listed) =
            self.lists.borrow_mut().containers.correct().and_then(|all| all.iter_mut().find(|it| it.id == *id))
        {
            name.clone_into(&mut listed.name);
        }
    }

    /// Notes that a container is gone, if that is sure. Otherwise all are listed again.
    pub(super) fn note_removed(&self, id: &ContainerId, is_gone: bool) {
        let mut lists = self.lists.borrow_mut();
        match lists.containers.correct() {
            Some(all) if is_gone && are_independent(all) => {
                all.retain(|it| it.id != *id);
                self.container_cache.borrow_mut().note_removed(id.clone());
            }
            Some(_) | None => lists.forget(ListKind::Containers),
        }
    }

    async fn list_created(&self, connection: &EngineConnection, created: &SortedSet<ContainerId>) -> Result<(), EngineError> {
        if created.is_empty() {
            return Ok(());
        }
        let ids: Vec<_> = created.iter().map(|it| it.0.as_str()).collect();
        let path = format!("/containers/json?all=true&filters={}", escaped(&json!({"id": ids}).to_string()));
        let listed = self.list(connection, "list new containers", &path, |it| ListedContainer::new(&it)).await;
        let listed = if_described(listed.map(Some))?.unwrap_or_default();
        let seen = self.keep_created(connection, listed, created).await?;
        let is_all = seen.len() == created.len() && are_independent(&seen);
        let mut lists = self.lists.borrow_mut();
        if let Some(all) = lists.containers.fresh().filter(|_| is_all) {
            all.extend(seen);
            sort_by(all, |a, b| a.id.cmp(&b.id));
        } else {
            lists.forget(ListKind::Containers);
        }
        Ok(())
    }

    async fn inspect_started(&self, connection: &EngineConnection, started: SortedSet<ContainerId>) -> Result<(), EngineError> {
        let inspected = started.into_iter().map(|it| self.inspect_started_one(connection, it));
        let inspected: Vec<_> = stream::iter(inspected).buffer_unordered(AT_ONCE).try_collect().await?;
        for (id, seen) in inspected {
            self.correct(&id, seen.as_ref());
        }
        Ok(())
    }

    /// `None`: it is gone, or the engine cannot describe it.
    async fn inspect_started_one(
        &self,
        connection: &EngineConnection,
        id: ContainerId,
    ) -> Result<(ContainerId, Option<EngineJson>), EngineError> {
        let seen = self.details_of(connection, &id.0, "look at a container that was started").await;
        Ok((id, if_described(seen)?))
    }

    fn correct(&self, id: &ContainerId, seen: Option<&EngineJson>) {
        let mut cache = self.container_cache.borrow_mut();
        let mut lists = self.lists.borrow_mut();
        let container = seen.and_then(|it| cache.keep_started(id, it)).filter(|it| it.shares.is_empty());
        let entry = lists.containers.fresh().and_then(|all| all.iter_mut().find(|it| it.id == *id));
        if let (Some(entry), Some(container)) = (entry, container) {
            *entry = container;
        } else {
            cache.forget(id);
            lists.forget(ListKind::Containers);
        }
    }
}

/// Whether no container shares namespaces: one that does depends on when their owners were started, and whether they exist.
fn are_independent(all: &[Container]) -> bool {
    all.iter().all(|it| it.shares.is_empty())
}

#[cfg(test)]
mod tests;
