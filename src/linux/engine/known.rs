//! What was last seen of containers, so that the next snapshot inspects only those that changed.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use crate::linux::engine::Engine;
use crate::linux::engine::described::{in_state, state_of};
use crate::linux::engine::json::EngineJson;
use crate::linux::engine::lists::ListKind;
use crate::sorted::{SortedMap, SortedSet};
use crate::state::{Container, ContainerConfig, ContainerId, ContainerPhase, EngineAction, HealthStatus, ImageId, ImageRef};

/// The most events that are held back while a snapshot is made.
const MAX_EVENTS: usize = 512;

/// What was last seen of containers.
#[derive(Debug, Default)]
pub(super) struct ContainerCache {
    /// Containers that were inspected.
    pub(super) known: SortedMap<ContainerId, KnownContainer>,
    /// Containers that are being inspected, and that nothing is known to have changed since that began.
    inspecting: SortedSet<ContainerId>,
    /// The last error for each container that the engine cannot describe.
    pub(super) undescribed: SortedMap<ContainerId, String>,
    /// What images give, by image and by whether the container is on the host's network.
    pub(super) bases: SortedMap<(ImageId, bool), Arc<ContainerConfig>>,
    /// Foreign containers whose networks the agent's containers share.
    pub(super) owners: SortedSet<String>,
    /// What is known of containers that the agent created, and that were not seen yet.
    created: SortedMap<ContainerId, EngineJson>,
    /// What actions of the agent are changing.
    changing: Vec<ChangedContainer>,
    /// Containers that the agent has started, and that were not inspected since: what is known of them was true before.
    started: SortedSet<ContainerId>,
    /// Containers that the agent has removed since all were listed. No other gets the id of one of them.
    removed: SortedSet<ContainerId>,
    /// Containers of which events arrived while a snapshot is made, and their actions. `None`: none is made.
    events: Option<Vec<(ContainerId, String)>>,
}

/// What is listed of a container.
#[derive(Debug, Clone, Copy)]
pub(super) struct ListedState<'a> {
    pub(super) name: &'a str,
    /// Changes whenever something worth an inspection does.
    pub(super) state: &'a str,
}

/// A snapshot is being made: the events of containers are judged by what it has seen, once it is dropped.
#[derive(Debug)]
pub(super) struct EventsHeldBack<'a>(&'a Engine);

/// An action of the agent is changing a container, until it is dropped.
#[derive(Debug)]
pub(super) struct ContainerChange<'a> {
    engine: &'a Engine,
    of: ChangedContainer,
    /// The action has started the container, and that is all that it has changed.
    is_start: bool,
}

/// The container that an action changes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum ChangedContainer {
    /// It is being created, with this name.
    Created(String),
    Changed(ContainerId),
    /// It is being renamed, and nothing else is changed.
    Renamed(ContainerId, String),
}

/// A container that was inspected.
#[derive(Debug)]
pub(super) struct KnownContainer {
    /// Its listed state at that time.
    pub(super) state: String,
    /// Its label names further networks, which it is connected to before its start.
    pub(super) has_later_networks: bool,
    /// How long it has to end once it was asked to.
    pub(super) stop_grace: Duration,
    pub(super) container: Container,
}

impl ContainerCache {
    /// The image of a container that only has to be started: it was created or has ended when it was last seen, and nothing has
    /// changed it since.
    pub(super) fn startable(&self, id: &ContainerId) -> Option<&ImageRef> {
        let known = self.known.get(id).filter(|it| !it.has_later_networks && !self.started.contains(id))?;
        let is_startable = matches!(known.container.phase, ContainerPhase::Created | ContainerPhase::Exited(_));
        is_startable.then_some(&known.container.image_ref)
    }

    /// Follows the names of containers, and forgets those that are not listed any more, or are listed in another state. One
    /// that an action is changing stays as it was before: it is inspected when the action has ended.
    pub(super) fn follow_list(&mut self, listed: &SortedMap<&ContainerId, ListedState<'_>>) {
        let Self { changing, known, .. } = self;
        let started = mem::take(&mut self.started);
        self.removed.clear();
        known.retain(|id, it| {
            let is_as_it_was = |now: &ListedState<'_>| now.state == it.state && !started.contains(id);
            listed.get(id).is_some_and(|now| is_as_it_was(now) || is_changed(changing, id))
        });
        for (id, it) in &mut self.known {
            if let Some(now) = listed.get(id) {
                now.name.clone_into(&mut it.container.name);
            }
        }
    }

    /// Notes that containers are inspected from now on.
    pub(super) fn begin_inspections<'a>(&mut self, ids: impl Iterator<Item = &'a ContainerId>) {
        self.inspecting = ids.cloned().collect();
    }

    /// Keeps an inspected container. Gives it back if something changed it meanwhile: it may be as it was before, or after.
    pub(super) fn keep(&mut self, container: KnownContainer) -> Option<Container> {
        let id = &container.container.id;
        if !self.inspecting.remove(id) {
            return Some(container.container);
        }
        self.known.insert(id.clone(), container);
        None
    }

    /// The containers that the agent has started since they were inspected.
    pub(super) fn started(&self) -> SortedSet<ContainerId> {
        self.started.clone()
    }

    /// Keeps the inspection of a container that was started. Returns the container as it is now; `None`: something has changed
    /// it since it was started, or the inspection is not understood.
    pub(super) fn keep_started(&mut self, id: &ContainerId, seen: &EngineJson) -> Option<Container> {
        let is_unchanged = self.started.remove(id);
        let known = self.known.get_mut(id).filter(|_| is_unchanged)?;
        known.container = in_state(known.container.clone(), seen)?;
        known.state = state_of(seen);
        Some(known.container.clone())
    }

    /// Has the next snapshot inspect this container.
    pub(super) fn forget(&mut self, id: &ContainerId) {
        self.started.remove(id);
        self.inspecting.remove(id);
        self.known.remove(id);
        self.created.remove(id);
    }

    /// Has the next snapshot inspect every container.
    pub(super) fn forget_all(&mut self) {
        self.started.clear();
        self.inspecting.clear();
        self.known.clear();
        self.created.clear();
    }

    /// Notes what the engine will say of a container that the agent has just created, so that it need not be inspected before
    /// it is started.
    pub(super) fn note_created(&mut self, id: ContainerId, inspection: EngineJson) {
        self.created.insert(id, inspection);
    }

    /// The containers that the agent has created, and that were not seen yet.
    pub(super) fn created(&self) -> SortedSet<ContainerId> {
        self.created.keys().cloned().collect()
    }

    /// Forgets what was noted of containers that the agent created: they were seen, or are gone.
    pub(super) fn forget_created(&mut self, ids: &SortedSet<ContainerId>) {
        self.created.retain(|id, _| !ids.contains(id));
    }

    /// What was noted of a container that the agent created.
    pub(super) fn take_created(&mut self, id: &ContainerId) -> Option<EngineJson> {
        self.created.remove(id)
    }

    /// The name of a container, as it was last listed.
    pub(super) fn name(&self, id: &ContainerId) -> Option<&str> {
        self.known.get(id).map(|it| it.container.name.as_str())
    }

    /// How long a container that runs has to end once it was asked to. `None`: it is not known to run, or is paused.
    pub(super) fn stop_grace(&self, id: &ContainerId) -> Option<Duration> {
        let known = self.known.get(id)?;
        (known.container.phase == ContainerPhase::Running).then_some(known.stop_grace)
    }

    /// Notes that the agent has removed a container.
    pub(super) fn note_removed(&mut self, id: ContainerId) {
        self.removed.insert(id);
    }

    /// Whether an action of the agent is changing a container, or has removed it. The end of that has the engine observed
    /// again.
    pub(super) fn is_changing(&self, id: &ContainerId) -> bool {
        is_changed(&self.changing, id) || self.removed.contains(id)
    }

    /// Whether a container has this name, or is being renamed so by the agent.
    pub(super) fn is_named(&self, id: &ContainerId, name: &str) -> bool {
        let is_renamed = |it: &_| matches!(it, ChangedContainer::Renamed(of, new) if of == id && new == name);
        self.name(id) == Some(name) || self.changing.iter().any(is_renamed)
    }

    /// Whether the agent is creating a container of this name. The end of that has the engine observed again.
    pub(super) fn is_creating(&self, name: &str) -> bool {
        self.changing.iter().any(|it| matches!(it, ChangedContainer::Created(new) if new == name))
    }

    /// Keeps an event for the end of the snapshot that is being made. False: none is being made.
    pub(super) fn hold_back(&mut self, id: &ContainerId, action: &str) -> bool {
        let Some(events) = &mut self.events else { return false };
        // More than that say nothing new of any container.
        if events.len() < MAX_EVENTS {
            events.push((id.clone(), action.to_owned()));
        }
        true
    }

    /// Whether an event is about a change that the last inspection of the container has seen. An engine sends the events of a
    /// container in their order: no start follows a start, and no end an end, without the other between them, which has the
    /// container inspected again.
    pub(super) fn has_seen(&self, id: &ContainerId, action: &str) -> bool {
        let phase = self.known.get(id).map(|it| it.container.phase);
        if self.started.contains(id) {
            // It is inspected by the next snapshot.
            return action == "start";
        }
        match action {
            // What was noted of it at its creation is as good.
            "create" => phase.is_some() || self.created.contains_key(id),
            "start" => phase == Some(ContainerPhase::Running),
            "die" => matches!(phase, Some(ContainerPhase::Exited(_))),
            _ => false,
        }
    }

    /// Whether a container of the agent shares the network of this foreign container.
    pub(super) fn lends_its_network(&self, id: &str) -> bool {
        self.owners.contains(id)
    }

    /// Whether this is the health last seen of a container.
    pub(super) fn knows_health(&self, id: &str, health: Option<HealthStatus>) -> bool {
        self.known.iter().any(|(it, known)| it.0 == id && known.container.health == health)
    }

    /// Whether this is one of the agent's containers.
    pub(super) fn knows(&self, id: &str) -> bool {
        self.known.keys().any(|it| it.0 == id)
    }

    /// Whether there is a container that the engine cannot describe.
    pub(super) fn has_undescribed(&self) -> bool {
        !self.undescribed.is_empty()
    }

    /// Records an error for a container. Whether the last one was the same.
    pub(super) fn set_error(&mut self, id: &ContainerId, why: &str) -> bool {
        self.undescribed.insert(id.clone(), why.to_owned()).is_some_and(|it| it == why)
    }
}

impl Engine {
    /// Has the events of containers wait until a snapshot is complete.
    pub(super) fn hold_events_back(&self) -> EventsHeldBack<'_> {
        self.container_cache.borrow_mut().events.get_or_insert_default();
        EventsHeldBack(self)
    }

    /// Notes that an action creates or changes a container until the returned value is dropped. The action has the container
    /// inspected when it ends.
    pub(super) fn changing_container(&self, action: &EngineAction) -> Option<ContainerChange<'_>> {
        let of = match action {
            EngineAction::Create(spec) => ChangedContainer::Created(spec.name.clone()),
            EngineAction::Start(which)
            | EngineAction::Stop(which)
            | EngineAction::Kill(which)
            | EngineAction::Restart(which)
            | EngineAction::Retire(which, _)
            | EngineAction::Connect(which, _) => ChangedContainer::Changed(which.id.clone()),
            EngineAction::Rename(which, name) => ChangedContainer::Renamed(which.id.clone(), name.clone()),
            _ => return None,
        };
        self.container_cache.borrow_mut().changing.push(of.clone());
        Some(ContainerChange { engine: self, of, is_start: false })
    }
}

impl ContainerChange<'_> {
    /// The action has started the container, and that is all that it has changed.
    pub(super) fn has_started(mut self) {
        self.is_start = true;
    }
}

impl Drop for EventsHeldBack<'_> {
    fn drop(&mut self) {
        let mut cache = self.0.container_cache.borrow_mut();
        let events = cache.events.take().unwrap_or_default();
        let is_full = events.len() >= MAX_EVENTS;
        let mut is_news = is_full;
        for (id, action) in events {
            if !cache.has_seen(&id, &action) {
                cache.forget(&id);
                is_news = true;
            }
        }
        if is_full {
            cache.forget_all();
        }
        if is_news {
            self.0.lists.borrow_mut().forget(ListKind::Containers);
            self.0.news.notify_one();
        }
    }
}

impl Drop for ContainerChange<'_> {
    fn drop(&mut self) {
        let mut cache = self.engine.container_cache.borrow_mut();
        if let Some(place) = cache.changing.iter().position(|it| *it == self.of) {
            cache.changing.remove(place);
        }
        let ChangedContainer::Changed(id) = &self.of else { return };
        if self.is_start {
            cache.started.insert(id.clone());
        } else {
            cache.forget(id);
        }
    }
}

/// Whether one of these changes more of the container than its name.
fn is_changed(changing: &[ChangedContainer], id: &ContainerId) -> bool {
    changing.iter().any(|it| matches!(it, ChangedContainer::Changed(of) if of == id))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use serde_json::json;

    use super::*;
    use crate::linux::engine::tests::scripted::{asked_of, empty};
    use crate::port::Engine as _;

    /// An engine that has one container of the agent, in a state; counts how often it was inspected.
    fn one<'a>(state: &'a str, inspected: &'a Cell<u32>) -> impl Fn(&str) -> Option<(u16, String)> + 'a {
        move |asked| {
            Some(match asked {
                "GET /containers/json" => {
                    let labels = json!({"io.balena.supervised": "1", "io.balena.app-id": "1", "io.balena.service-name": "a",
                        "io.boardkeeper.config": "hash"});
                    (200, json!([{"Id": "a", "Names": ["/a_1_2_c"], "State": state, "Labels": labels}]).to_string())
                }
                "GET /containers/a/json" => {
                    inspected.set(inspected.get() + 1);
                    (200, json!({"Id": "a", "State": {"Status": state}}).to_string())
                }
                other => empty(other),
            })
        }
    }

    fn event(action: &str) -> EngineJson {
        let labels = json!({"io.balena.supervised": "1"});
        EngineJson(json!({"Type": "container", "Action": action, "Actor": {"ID": "a", "Attributes": labels}}))
    }

    #[tokio::test]
    async fn an_event_about_what_was_seen_has_nothing_inspected_again() {
        for (state, action, is_news) in [
            ("created", "create", false),
            ("created", "start", true),
            ("created", "die", true),
            ("running", "create", false),
            ("running", "start", false),
            ("running", "die", true),
            ("running", "restart", true),
            ("running", "oom", true),
            ("paused", "start", true),
            ("restarting", "die", true),
            ("restarting", "start", true),
            ("exited", "create", false),
            ("exited", "die", false),
            ("exited", "start", true),
            ("exited", "destroy", true),
        ] {
            let inspected = Cell::new(0);
            let asks = async |engine: &Engine| {
                engine.observe().await.unwrap();
                assert_eq!(engine.concerns(&event(action)), is_news, "{action} of one that is {state}");
                engine.observe().await.unwrap();
            };
            asked_of(one(state, &inspected), asks).await;
            assert_eq!(inspected.get(), 1 + u32::from(is_news), "{action} of one that is {state}");
        }
    }

    #[tokio::test]
    async fn a_container_that_changes_while_it_is_inspected_is_inspected_again() {
        for (action, inspections) in [("die", 2), ("health_status: healthy", 2), ("start", 1), ("create", 1)] {
            let inspected = Cell::new(0);
            let asks = async |engine: &Engine| {
                let changes = async {
                    while inspected.get() == 0 {
                        tokio::task::yield_now().await;
                    }
                    engine.concerns(&event(action));
                };
                let (seen, ()) = tokio::join!(engine.observe(), changes);
                assert_eq!(seen.unwrap().containers.len(), 1, "it is seen all the same");
                engine.observe().await.unwrap();
                engine.observe().await.unwrap();
            };
            asked_of(one("running", &inspected), asks).await;
            assert_eq!(inspected.get(), inspections, "{action}");
        }
    }
}
