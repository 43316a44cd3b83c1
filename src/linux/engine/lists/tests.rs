//! Which lists a snapshot requests.

use std::cell::{Cell, RefCell};
use std::pin::pin;

use futures_util::StreamExt;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::*;
use crate::linux::engine::json::EngineJson;
use crate::linux::engine::tests::scripted::{asked, asked_of, empty, engine, serve};
use crate::port::Engine as _;
use crate::sorted::SortedSet;
use crate::state::{AppId, ContainerId, ContainerRef, ServiceKey, VolumeConfig};

const ALL: [&str; 4] = ["containers", "images", "networks", "volumes"];

/// An engine whose events the test sends, and what was requested of it.
struct Lab<'a> {
    engine: &'a Engine,
    requested: &'a RefCell<SortedSet<String>>,
    events: mpsc::Sender<&'static str>,
}

impl Lab<'_> {
    /// The lists that a snapshot requests.
    async fn look(&self) -> SortedSet<String> {
        self.requested.borrow_mut().clear();
        self.engine.observe().await.unwrap();
        self.requested.take()
    }
}

/// Runs a test while the engine's events are read.
async fn watched(test: impl AsyncFnOnce(Lab<'_>)) {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let (engine, requested) = (engine(&socket), RefCell::new(SortedSet::new()));
    let (events, sent) = mpsc::channel::<&str>(1);
    let sent = RefCell::new(Some(sent));
    let answer = async |mut stream: UnixStream| {
        let request = asked(&mut stream).await;
        let path = request.split([' ', '?']).nth(1).unwrap();
        let path = path.strip_prefix("/v1.41").unwrap_or(path);
        if path == "/events" {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
            let taken = sent.take();
            let Some(mut sent) = taken else { return std::future::pending().await };
            while let Some(event) = sent.recv().await {
                let _ = stream.write_all(format!("{:x}\r\n{event}\n\r\n", event.len() + 1).as_bytes()).await;
            }
            return;
        }
        let verb = request.split(' ').next().unwrap();
        let kind = ALL.into_iter().find(|it| verb == "GET" && path.split('/').nth(1) == Some(it));
        requested.borrow_mut().extend(kind.map(str::to_owned));
        let (status, body) = empty(&format!("{verb} {path}"));
        let head = format!("HTTP/1.1 {status} So\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
        let _ = stream.write_all((head + &body).as_bytes()).await;
    };
    let reads = async {
        let mut items = pin!(engine.events());
        // The subscription is the first item.
        items.next().await;
        let rest = async { while items.next().await.is_some() {} };
        tokio::select! {
            () = test(Lab { engine: &engine, requested: &requested, events }) => {}
            () = rest => {}
        }
    };
    tokio::select! {
        () = serve(&socket, answer) => unreachable!("it serves without end"),
        () = reads => {}
    }
}

fn set(names: &[&str]) -> SortedSet<String> {
    names.iter().map(|it| (*it).to_owned()).collect()
}

#[tokio::test]
async fn only_what_may_have_changed_is_requested_again() {
    watched(async |lab| {
        assert_eq!(lab.look().await, set(&ALL));
        assert_eq!(lab.look().await, set(&[]), "nothing happened");
        for (event, lists) in [
            (r#"{"Type":"network","Action":"destroy","Actor":{"ID":"n","Attributes":{}}}"#, &["networks"][..]),
            (r#"{"Type":"image","Action":"untag","Actor":{"ID":"i","Attributes":{}}}"#, &["images"]),
            (r#"{"Type":"volume","Action":"create","Actor":{"ID":"v","Attributes":{}}}"#, &["volumes"]),
            (r#"{"Type":"container","Action":"die","Actor":{"ID":"c","Attributes":{}}}"#, &["containers"]),
            (r#"{"Type":"network","Action":"disconnect","Actor":{"ID":"n","Attributes":{"container":"c"}}}"#, &["containers"]),
            (r#"{"Type":"wormhole","Action":"open","Actor":{"ID":"w","Attributes":{}}}"#, &ALL),
            ("nonsense", &ALL),
        ] {
            lab.events.send(event).await.unwrap();
            while lab.engine.lists.borrow().images.known.is_some()
                && lab.engine.lists.borrow().containers.known.is_some()
                && lab.engine.lists.borrow().networks.known.is_some()
                && lab.engine.lists.borrow().volumes.known.is_some()
            {
                tokio::task::yield_now().await;
            }
            assert_eq!(lab.look().await, set(lists), "{event}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_agents_own_actions_count_at_once_and_a_failure_makes_all_doubtful() {
    watched(async |lab| {
        lab.look().await;
        let volume = Volume { name: "1_data".into(), app: AppId(1), config: VolumeConfig::default() };
        // The engine has no such route here: it fails.
        assert!(lab.engine.execute(&EngineAction::CreateVolume(volume), &|_| ()).await.is_err());
        assert_eq!(lab.look().await, set(&ALL));
        let which = ContainerRef { key: ServiceKey::new(AppId(1), "a"), id: ContainerId("c".into()) };
        // It is gone, which is what was wanted.
        lab.engine.execute(&EngineAction::Kill(which), &|_| ()).await.unwrap();
        assert_eq!(lab.look().await, set(&["containers"]));
    })
    .await;
}

#[tokio::test]
async fn what_changes_while_it_is_listed_is_listed_again() {
    watched(async |lab| {
        let changes = async { drop(lab.engine.changing(ListKind::Networks)) };
        let ((), ()) = tokio::join!(async { drop(lab.engine.observe().await) }, changes);
        assert_eq!(lab.look().await, set(&["networks"]));
    })
    .await;
}

#[tokio::test]
async fn without_events_and_after_a_while_every_list_is_requested() {
    watched(async |lab| {
        lab.look().await;
        tokio::time::pause();
        tokio::time::advance(FRESH_FOR).await;
        tokio::time::resume();
        assert_eq!(lab.look().await, set(&ALL));
        lab.engine.lists.borrow_mut().set_watched(false);
        lab.look().await;
        assert_eq!(lab.look().await, set(&ALL));
    })
    .await;
}

#[tokio::test]
async fn the_creation_of_what_is_listed_is_no_change() {
    let labels = json!({"io.balena.supervised": "true", "io.balena.app-id": "1"});
    let network = json!({"Id": "n1", "Name": "u_default", "Labels": labels});
    let volume = json!({"Name": "1_data", "Driver": "local", "Labels": labels});
    let answer = |asked: &str| {
        Some(match asked {
            "GET /networks" => (200, json!([network]).to_string()),
            "GET /volumes" => (200, json!({"Volumes": [volume]}).to_string()),
            other => empty(other),
        })
    };
    let asks = async |engine: &Engine| {
        engine.lists.borrow_mut().set_watched(true);
        let listed = engine.observe().await.unwrap();
        assert_eq!((listed.networks.len(), listed.volumes.len()), (1, 1));
        for (kind, action, id, is_news) in [
            ("network", "create", "n1", false),
            ("volume", "create", "1_data", false),
            ("network", "create", "n2", true),
            ("network", "destroy", "n1", true),
            ("volume", "create", "1_more", true),
            ("volume", "destroy", "1_data", true),
        ] {
            engine.observe().await.unwrap();
            let event = EngineJson(json!({"Type": kind, "Action": action, "Actor": {"ID": id, "Attributes": {}}}));
            assert_eq!(engine.concerns(&event), is_news, "{kind} {action} {id}");
        }
    };
    asked_of(answer, asks).await;
}

/// A bridge exists before its network is listed, and the snapshot that follows lists it anyway.
#[tokio::test]
async fn while_networks_change_their_bridges_come_with_the_next_snapshot() {
    let asked = Cell::new(0);
    let answer = |request: &str| {
        asked.set(asked.get() + usize::from(request == "GET /networks"));
        let bridges = r#"[{"Id":"0123456789abcdef","Name":"other","Driver":"bridge"}]"#;
        Some(if request == "GET /networks" { (200, bridges.to_owned()) } else { empty(request) })
    };
    asked_of(answer, async |engine| {
        let changes = engine.changing(ListKind::Networks);
        let (bridges, seen) = tokio::join!(engine.bridges(), engine.observe());
        assert_eq!(
            (bridges.unwrap()[0].interface.as_str(), seen.unwrap().networks, asked.get()),
            ("br-0123456789ab", vec![], 1)
        );
        assert_eq!((engine.bridges().await.unwrap().len(), asked.get()), (1, 2), "no snapshot comes");
        drop(changes);
        assert_eq!((engine.bridges().await.unwrap().len(), asked.get()), (1, 3), "none is to be expected");
    })
    .await;
}
