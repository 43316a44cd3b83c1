//! Which containers are listed or inspected after the agent's own actions.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::linux::engine::tests::scripted::{asked_of, empty};
use crate::port::{Engine as _, EngineSnapshot};
use crate::sorted::SortedMap;
use crate::state::{
    AppId, ConfigHash, ContainerConfig, ContainerPhase, ContainerRef, ContainerSpec, EngineAction, ImageRef, ServiceKey,
};

const CREATED: &str = "created";
const RUNNING: &str = "running";

/// What an engine does that is asked to create a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Creation {
    Succeeds,
    /// It is created, and the engine does not answer.
    Hangs,
    /// It is created, and the engine lists it only with all the others.
    SucceedsUnfiltered,
}

/// An engine with one container of the agent, and what was requested of it.
struct Lab {
    state: Cell<&'static str>,
    /// The state in its list: an engine may list a container as it was.
    listed: Cell<&'static str>,
    mode: &'static str,
    /// How it creates another one.
    creation: Creation,
    is_created: Cell<bool>,
    /// What it answers when it is to remove the first one.
    removal: (u16, &'static str),
    requested: RefCell<Vec<String>>,
}

impl Lab {
    fn new() -> Self {
        let (state, listed) = (Cell::new(CREATED), Cell::new(CREATED));
        let (creation, is_created, removal) = (Creation::Succeeds, Cell::new(false), (204, ""));
        Self { state, listed, mode: "bridge", creation, is_created, removal, requested: RefCell::default() }
    }

    fn answer(&self, asked: &str) -> Option<(u16, String)> {
        let container = |id: &str, state: &str| {
            let labels = json!({"io.balena.supervised": "1", "io.balena.app-id": "1", "io.balena.service-name": id,
                "io.boardkeeper.config": "hash"});
            json!({"Id": id, "Names": [format!("/{id}_1_2_c")], "State": state, "Labels": labels,
                "ImageID": "sha256:1", "NetworkSettings": {"Networks": {}}, "Mounts": [],
                "HostConfig": {"NetworkMode": self.mode}})
        };
        if asked.contains("/containers/") {
            self.requested.borrow_mut().push(asked.to_owned());
        }
        Some(match asked {
            "GET /containers/json?filters" if self.creation == Creation::SucceedsUnfiltered => {
                (500, r#"{"message":"invalid filter"}"#.to_owned())
            }
            "GET /containers/json?filters" if !self.is_created.get() => (200, "[]".to_owned()),
            "GET /containers/json?filters" => (200, json!([container("b", CREATED)]).to_string()),
            "GET /containers/json" if self.is_created.get() => {
                (200, json!([container("a", self.listed.get()), container("b", CREATED)]).to_string())
            }
            "GET /containers/json" => (200, json!([container("a", self.listed.get())]).to_string()),
            "GET /containers/a/json" => {
                let host = json!({"NetworkMode": self.mode});
                (200, json!({"Id": "a", "State": {"Status": self.state.get()}, "HostConfig": host}).to_string())
            }
            "GET /containers/b/json" => (200, json!({"Id": "b", "State": {"Status": CREATED}}).to_string()),
            "POST /containers/a/start" if self.state.replace(RUNNING) == CREATED => (204, String::new()),
            "POST /containers/a/start" => (304, String::new()),
            "POST /containers/a/rename" | "POST /containers/a/stop" => (204, String::new()),
            "DELETE /containers/a" => (self.removal.0, self.removal.1.to_owned()),
            "GET /images/app:1/json" => (200, json!({"Id": "sha256:1", "Config": {}}).to_string()),
            "POST /containers/create" => {
                self.is_created.set(true);
                return (self.creation != Creation::Hangs).then(|| (201, json!({"Id": "b"}).to_string()));
            }
            other => empty(other),
        })
    }

    /// One whose container runs.
    fn running() -> Self {
        Self { state: Cell::new(RUNNING), listed: Cell::new(RUNNING), ..Self::new() }
    }

    /// Waits until this was requested.
    async fn until_requested(&self, what: &str) {
        while !self.requested.borrow().iter().any(|it| it == what) {
            tokio::task::yield_now().await;
        }
    }

    /// A snapshot, and what was requested of containers for it.
    async fn look(&self, engine: &Engine) -> (EngineSnapshot, Vec<String>) {
        self.requested.take();
        (engine.observe().await.unwrap(), self.requested.take())
    }
}

fn which(id: &str) -> ContainerRef {
    ContainerRef { key: ServiceKey::new(AppId(1), id), id: ContainerId(id.into()) }
}

fn start(id: &str) -> EngineAction {
    EngineAction::Start(which(id))
}

fn create() -> EngineAction {
    EngineAction::Create(Arc::new(ContainerSpec {
        key: ServiceKey::new(AppId(1), "b"),
        app_uuid: "u".into(),
        networks: SortedMap::new(),
        service_id: 1,
        name: "b_1_2_c".into(),
        image: ImageRef::new("app:1"),
        ports: SortedMap::new(),
        owners: SortedMap::new(),
        env_at_creation: SortedMap::new(),
        config: ContainerConfig::default(),
        hash: ConfigHash("hash".into()),
    }))
}

fn event(id: &str, action: &str) -> EngineJson {
    event_of(id, action, &format!("{id}_1_2_c"))
}

fn event_of(id: &str, action: &str, name: &str) -> EngineJson {
    let attributes = json!({"io.balena.supervised": "1", "name": name});
    EngineJson(json!({"Type": "container", "Action": action, "Actor": {"ID": id, "Attributes": attributes}}))
}

/// Runs a test whose engine's events are read, and that has seen it once.
async fn seen_once(lab: &Lab, test: impl AsyncFnOnce(&Engine)) {
    asked_of(
        |asked| lab.answer(asked),
        async |engine| {
            engine.lists.borrow_mut().set_watched(true);
            lab.look(engine).await;
            test(engine).await;
        },
    )
    .await;
}

#[tokio::test]
async fn after_a_start_the_container_is_inspected_and_no_list_is_requested() {
    let lab = Lab::new();
    seen_once(&lab, async |engine| {
        engine.execute(&start("a"), &|_| ()).await.unwrap();
        assert!(!engine.concerns(&event("a", "start")), "it is inspected anyway");
        let (snapshot, requested) = lab.look(engine).await;
        assert_eq!(
            (snapshot.containers[0].phase, &requested[..]),
            (ContainerPhase::Running, &["GET /containers/a/json".to_owned()][..])
        );
        assert!(!engine.concerns(&event("a", "start")), "it was seen");
        assert_eq!(lab.look(engine).await, (snapshot, vec![]), "nothing has changed since");
        assert!(engine.concerns(&event("a", "die")));
        assert_eq!(lab.look(engine).await.1, ["GET /containers/json", "GET /containers/a/json"]);
    })
    .await;
}

#[tokio::test]
async fn a_container_that_was_started_is_not_inspected_again_when_it_is_next_listed() {
    let lab = Lab::new();
    seen_once(&lab, async |engine| {
        engine.execute(&start("a"), &|_| ()).await.unwrap();
        lab.look(engine).await;
        lab.listed.set(RUNNING);
        engine.lists.borrow_mut().forget(ListKind::Containers);
        assert_eq!(lab.look(engine).await.1, ["GET /containers/json"]);
    })
    .await;
}

#[tokio::test]
async fn what_happens_to_a_container_after_its_start_has_it_listed() {
    for action in ["die", "destroy", "oom", "restart"] {
        let lab = Lab::new();
        seen_once(&lab, async |engine| {
            engine.execute(&start("a"), &|_| ()).await.unwrap();
            assert!(engine.concerns(&event("a", action)), "{action}");
            assert_eq!(lab.look(engine).await.1, ["GET /containers/json", "GET /containers/a/json"], "{action}");
        })
        .await;
    }
}

#[tokio::test]
async fn a_start_that_fails_and_one_that_shares_namespaces_have_all_listed() {
    let lab = Lab::new();
    seen_once(&lab, async |engine| {
        assert!(engine.execute(&start("gone"), &|_| ()).await.is_err());
        assert_eq!(lab.look(engine).await.1[0], "GET /containers/json");
    })
    .await;
    let lab = Lab { mode: "container:0123", ..Lab::new() };
    seen_once(&lab, async |engine| {
        engine.execute(&start("a"), &|_| ()).await.unwrap();
        assert_eq!(lab.look(engine).await.1[..2], ["GET /containers/json", "GET /containers/a/json"]);
    })
    .await;
}

#[tokio::test]
async fn a_container_that_is_being_created_is_neither_inspected_nor_news() {
    let (lab, create) = (Lab { creation: Creation::Hangs, ..Lab::new() }, create());
    seen_once(&lab, async |engine| {
        let looks = async {
            while !lab.is_created.get() {
                tokio::task::yield_now().await;
            }
            assert!(!engine.concerns(&event("b", "create")), "its end has the engine observed");
            engine.lists.borrow_mut().forget(ListKind::Containers);
            let (snapshot, requested) = lab.look(engine).await;
            assert_eq!((snapshot.containers.len(), &requested[..]), (1, &["GET /containers/json".to_owned()][..]));
        };
        tokio::select! {
            _ = engine.execute(&create, &|_| ()) => unreachable!("the engine does not answer"),
            () = looks => (),
        }
        // It was given up, and may have been created.
        let (snapshot, requested) = lab.look(engine).await;
        assert_eq!((snapshot.containers.len(), requested.len()), (2, 2), "{requested:?}");
    })
    .await;
}

const ALL: &str = "GET /containers/json";
const NEW: &str = "GET /containers/json?filters";

#[tokio::test]
async fn after_a_creation_only_the_new_container_is_listed() {
    let lab = Lab::new();
    seen_once(&lab, async |engine| {
        engine.execute(&create(), &|_| ()).await.unwrap();
        assert!(!engine.concerns(&event("b", "create")), "it is listed anyway");
        let (snapshot, requested) = lab.look(engine).await;
        let seen: Vec<_> = snapshot.containers.iter().map(|it| (it.id.0.as_str(), it.phase)).collect();
        assert_eq!(seen, [("a", ContainerPhase::Created), ("b", ContainerPhase::Created)]);
        assert_eq!(requested, [NEW]);
        assert!(!engine.concerns(&event("b", "create")), "it was seen");
        assert_eq!(lab.look(engine).await, (snapshot, vec![]), "nothing has changed since");
        assert!(engine.concerns(&event("b", "start")));
        assert_eq!(lab.look(engine).await.1, [ALL, "GET /containers/b/json"]);
    })
    .await;
}

#[tokio::test]
async fn a_new_container_that_is_listed_with_all_is_not_inspected() {
    let lab = Lab::new();
    seen_once(&lab, async |engine| {
        engine.execute(&create(), &|_| ()).await.unwrap();
        engine.lists.borrow_mut().forget(ListKind::Containers);
        assert_eq!(lab.look(engine).await.1, [ALL]);
        assert_eq!(lab.look(engine).await.1, [""; 0]);
    })
    .await;
}

#[tokio::test]
async fn new_containers_that_cannot_be_listed_by_themselves_are_listed_with_all() {
    let lab = Lab { creation: Creation::SucceedsUnfiltered, ..Lab::new() };
    seen_once(&lab, async |engine| {
        engine.execute(&create(), &|_| ()).await.unwrap();
        let (snapshot, requested) = lab.look(engine).await;
        assert_eq!((snapshot.containers.len(), &requested[..2]), (2, &[NEW.to_owned(), ALL.to_owned()][..]));
        assert_eq!(lab.look(engine).await.1, [""; 0]);
    })
    .await;
}

#[tokio::test]
async fn a_new_container_that_is_gone_before_it_is_listed_is_not_looked_for_again() {
    let lab = Lab::new();
    seen_once(&lab, async |engine| {
        engine.execute(&create(), &|_| ()).await.unwrap();
        lab.is_created.set(false);
        let (snapshot, requested) = lab.look(engine).await;
        assert_eq!((snapshot.containers.len(), &requested[..]), (1, &[NEW.to_owned(), ALL.to_owned()][..]));
        assert_eq!(lab.look(engine).await.1, [""; 0]);
    })
    .await;
}

#[tokio::test]
async fn what_happens_to_a_new_container_before_it_is_listed_has_all_listed() {
    for action in ["start", "die", "destroy", "rename"] {
        let lab = Lab::new();
        seen_once(&lab, async |engine| {
            engine.execute(&create(), &|_| ()).await.unwrap();
            assert!(engine.concerns(&event("b", action)), "{action}");
            assert_eq!(lab.look(engine).await.1[0], ALL, "{action}");
        })
        .await;
    }
}

#[tokio::test]
async fn a_new_container_that_changes_while_it_is_listed_is_inspected() {
    let lab = Lab::new();
    seen_once(&lab, async |engine| {
        engine.execute(&create(), &|_| ()).await.unwrap();
        let changes = async {
            lab.until_requested(NEW).await;
            assert!(!engine.concerns(&event("b", "die")), "it is judged when the snapshot is complete");
        };
        tokio::join!(async { engine.observe().await.unwrap() }, changes);
        assert_eq!(lab.look(engine).await.1, [ALL, "GET /containers/b/json"]);
    })
    .await;
}

#[tokio::test]
async fn after_a_container_was_renamed_no_list_is_requested() {
    let lab = Lab::new();
    seen_once(&lab, async |engine| {
        let renamed = async {
            let rename = EngineAction::Rename(which("a"), "a_1_3_d".into());
            engine.execute(&rename, &|_| ()).await.unwrap();
        };
        let told = async {
            lab.until_requested("POST /containers/a/rename").await;
            assert!(!engine.concerns(&event_of("a", "rename", "a_1_3_d")), "the agent does it");
        };
        tokio::join!(renamed, told);
        assert!(!engine.concerns(&event_of("a", "rename", "a_1_3_d")), "the agent did it");
        let (snapshot, requested) = lab.look(engine).await;
        assert_eq!((snapshot.containers[0].name.as_str(), &requested[..]), ("a_1_3_d", &[][..]));
        assert!(engine.concerns(&event_of("a", "rename", "other")));
        assert_eq!(lab.look(engine).await.1, [ALL]);
    })
    .await;
}

#[tokio::test]
async fn after_a_container_was_removed_no_list_is_requested() {
    let lab = Lab::running();
    seen_once(&lab, async |engine| {
        engine.execute(&EngineAction::Kill(which("a")), &|_| ()).await.unwrap();
        let (snapshot, requested) = lab.look(engine).await;
        assert_eq!((snapshot.containers.len(), &requested[..]), (0, &[][..]));
        let left = json!({"Type": "network", "Action": "disconnect", "Actor": {"ID": "n", "Attributes": {"container": "a"}}});
        for late in [event("a", "die"), event("a", "destroy"), EngineJson(left)] {
            assert!(!engine.concerns(&late), "{late:?}");
        }
        assert_eq!(lab.look(engine).await, (snapshot, vec![]));
    })
    .await;
}

#[tokio::test]
async fn a_container_that_may_be_there_still_has_all_listed() {
    for (code, why) in [(404, "No such container"), (409, "removal of container a is already in progress")] {
        let lab = Lab { removal: (code, why), ..Lab::running() };
        seen_once(&lab, async |engine| {
            engine.execute(&EngineAction::Kill(which("a")), &|_| ()).await.unwrap();
            assert_eq!(lab.look(engine).await.1[0], ALL, "{why}");
            assert!(engine.concerns(&event("a", "destroy")), "{why}");
        })
        .await;
    }
}

#[tokio::test]
async fn what_shares_the_namespaces_of_a_removed_container_has_all_listed() {
    let lab = Lab { mode: "container:a", ..Lab::running() };
    seen_once(&lab, async |engine| {
        engine.execute(&EngineAction::Kill(which("a")), &|_| ()).await.unwrap();
        assert_eq!(lab.look(engine).await.1[0], ALL);
    })
    .await;
}

#[tokio::test]
async fn a_container_that_was_removed_while_all_were_listed_is_gone() {
    let lab = Lab::running();
    seen_once(&lab, async |engine| {
        engine.lists.borrow_mut().forget(ListKind::Containers);
        engine.container_cache.borrow_mut().forget_all();
        let removed = async {
            // The list was answered, and the container is inspected.
            lab.until_requested("GET /containers/a/json").await;
            engine.note_removed(&ContainerId("a".into()), true);
        };
        tokio::join!(async { engine.observe().await.unwrap() }, removed);
        assert_eq!(lab.look(engine).await.1[0], ALL, "what was listed before does not count");
    })
    .await;
}
