//! What becomes of a container for which the engine's response is strange.

use std::cell::{Cell, RefCell};

use futures_util::future::join_all;

use super::*;
use crate::port::Engine as _;
use crate::state::{
    AppId, ConfigHash, Container, ContainerConfig, ContainerId, ContainerPhase, ContainerRef, ContainerSpec, Origin, ServiceKey,
};
use scripted::{HELLO, asked_of, asked_with_bodies_of, empty};

pub(super) mod scripted;

/// dockerd's error for a container whose layer is gone.
const NO_LAYER: &str = r#"{"message":"RWLayer of container a is unexpectedly nil"}"#;

/// A container, as listed.
fn listed(id: &str, state: &str) -> String {
    let labels = format!(
        r#"{{"io.balena.supervised":"1","io.balena.app-id":"1","io.balena.service-name":"{id}","io.boardkeeper.config":"hash"}}"#
    );
    format!(
        r#"{{"Id":"{id}","Names":["/{id}_1_2_c"],"Image":"app:1","ImageID":"sha256:1","State":"{state}","Labels":{labels}}}"#
    )
}

/// Responds for container `a` as the test wants, and lists it so; container `b` beside it is fine.
fn troubled(asked: &str, state: &str, trouble: &(u16, &str)) -> (u16, String) {
    let well = r#"{"Id":"b","State":{"Status":"running","Running":true}}"#;
    match asked {
        "GET /containers/json" => (200, format!("[{},{}]", listed("a", state), listed("b", "running"))),
        "GET /containers/a/json" => (trouble.0, trouble.1.to_owned()),
        "GET /containers/b/json" => (200, well.to_owned()),
        "POST /containers/a/stop" => (304, String::new()),
        "DELETE /containers/a" => (204, String::new()),
        other => empty(other),
    }
}

fn a() -> ContainerRef {
    ContainerRef { key: ServiceKey::new(AppId(1), "a"), id: ContainerId("a".into()) }
}

async fn containers(engine: &Engine) -> Vec<Container> {
    engine.observe().await.unwrap().containers
}

#[tokio::test]
async fn a_container_the_engine_cannot_tell_of_is_one_services_trouble() {
    for trouble in [(500, NO_LAYER), (200, r#"{"Id":"a","State":{"Status":"undead"}}"#), (200, r#"{"Id":7}"#)] {
        for (word, phase) in [
            ("created", ContainerPhase::Dead),
            ("exited", ContainerPhase::Dead),
            ("dead", ContainerPhase::Dead),
            ("removing", ContainerPhase::Removing),
            // A running container is not killed for it: its locks count, and its label says what it was created from.
            ("running", ContainerPhase::Running),
        ] {
            let seen = asked_of(|asked| Some(troubled(asked, word, &trouble)), containers).await;
            let [a, b] = seen.as_slice() else { panic!("{trouble:?}: {seen:?}") };
            assert_eq!((a.key.service.as_str(), a.name.as_str(), a.phase), ("a", "a_1_2_c", phase), "{trouble:?}");
            assert_eq!((a.made.clone(), a.image.0.as_str()), (Origin::Ours(ConfigHash("hash".into())), "sha256:1"));
            assert!(a.error.as_deref().is_some_and(|it| it.contains("look at container a_1_2_c")), "{:?}", a.error);
            assert_eq!((b.key.service.as_str(), b.phase), ("b", ContainerPhase::Running), "{trouble:?}");
        }
    }
}

#[tokio::test]
async fn a_foreign_thing_that_is_not_understood_hides_nothing_of_ours() {
    let odd_container = r#"{"Id":"z","Names":["/z"],"State":"initialized","Labels":null,"Health":{"Status":"dazed"}}"#;
    for (list, odd) in [
        ("GET /containers/json", format!("[{odd_container},{}]", listed("b", "running"))),
        ("GET /containers/json", format!(r#"[{{"Id":7}},{}]"#, listed("b", "running"))),
        ("GET /images/json", r#"[{"Id":"i"},{"RepoTags":7}]"#.to_owned()),
        ("GET /networks", r#"[{"Name":"n","IPAM":[]}]"#.to_owned()),
        ("GET /volumes", r#"{"Volumes":[{"Name":"v","Driver":"x","Mountpoint":"/","Labels":{},"Scope":"galaxy"}]}"#.to_owned()),
    ] {
        let answer =
            |asked: &str| Some(if asked == list { (200, odd.clone()) } else { troubled(asked, "running", &(404, "{}")) });
        let seen = asked_of(answer, containers).await;
        assert_eq!(seen.iter().map(|it| it.id.0.as_str()).collect::<Vec<_>>(), ["b"], "{list}: {odd}");
    }
}

#[tokio::test]
async fn a_container_the_engine_tells_of_again_is_as_it_says() {
    let well = RefCell::new(false);
    let answer = |asked: &str| {
        let trouble = if *well.borrow() { (200, r#"{"Id":"a","State":{"Status":"created"}}"#) } else { (500, NO_LAYER) };
        Some(troubled(asked, "created", &trouble))
    };
    asked_of(answer, async |engine: &Engine| {
        assert_eq!(containers(engine).await[0].phase, ContainerPhase::Dead);
        well.replace(true);
        assert_eq!(containers(engine).await[0].phase, ContainerPhase::Created);
    })
    .await;
}

#[tokio::test]
async fn a_container_the_engine_cannot_tell_of_is_stopped_and_removed() {
    for trouble in [(500, NO_LAYER), (200, r#"{"Id":7}"#)] {
        let done = RefCell::new(Vec::new());
        let answer = |asked: &str| {
            done.borrow_mut().extend(asked.contains("/a").then(|| asked.to_owned()));
            Some(troubled(asked, "dead", &trouble))
        };
        let killed = asked_of(answer, async |engine: &Engine| engine.execute(&EngineAction::Kill(a()), &|_| ()).await).await;
        assert_eq!(killed, Ok(()), "{trouble:?}");
        assert_eq!(done.into_inner(), ["GET /containers/a/json", "POST /containers/a/stop", "DELETE /containers/a"]);
    }
}

#[tokio::test]
async fn an_engine_that_is_lost_while_it_tells_of_a_container_is_lost() {
    let lost = (503, r#"{"message":"shutting down"}"#);
    let seen = asked_of(|asked| Some(troubled(asked, "running", &lost)), async |engine: &Engine| engine.observe().await).await;
    assert!(matches!(seen, Err(EngineError::Unreachable(_))), "{seen:?}");
}

#[test]
fn an_image_has_no_say_in_networks() {
    let (config, image) = (ContainerConfig::default(), ImageRef::new("app:1"));
    let hash = config.hash(image.as_str());
    let name = "a_1_2_c".to_owned();
    let spec = ContainerSpec {
        key: a().key,
        app_uuid: "u".into(),
        networks: SortedMap::new(),
        service_id: 5,
        name,
        image,
        ports: SortedMap::new(),
        owners: SortedMap::new(),
        env_at_creation: SortedMap::new(),
        config,
        hash,
    };
    // An engine takes from the image every label that a container is not given.
    let mut labels = labels::Labels::from_iter([(labels::NETWORKS.to_owned(), r#"{"u_other":{}}"#.to_owned())]);
    assert_eq!(encode::later(&labels).len(), 1);
    labels.extend(json::EngineJson(encode::body(&spec, None)).labels("/Labels"));
    assert_eq!(encode::later(&labels).len(), 0, "{labels:?}");
}

#[tokio::test(start_paused = true)]
async fn no_deed_waits_for_ever_for_a_container_the_engine_never_tells_of() {
    for action in [
        EngineAction::Start(a()),
        EngineAction::Stop(a()),
        EngineAction::Kill(a()),
        EngineAction::Restart(a()),
        EngineAction::Rename(a(), "b".into()),
        EngineAction::Retire(a(), "b".into()),
    ] {
        let answer = |asked: &str| match asked {
            "GET /containers/a/json" => None,
            "POST /containers/a/update" => Some((200, "{}".to_owned())),
            other => Some(empty(other)),
        };
        let began = Instant::now();
        let done = asked_of(answer, async |engine: &Engine| engine.execute(&action, &|_| ()).await).await;
        assert!(matches!(done, Err(EngineError::Unreachable(_))), "{action} gives {done:?}");
        assert!(began.elapsed() <= CALL + Duration::from_secs(1), "{action} takes {:?}", began.elapsed());
    }
}

/// All objects on the engine are foreign and in an unknown form, except one container of the agent.
fn strange(asked: &str) -> (u16, String) {
    let odd = r#"{"Id":"f","Names":null,"State":"initialized","Created":1e300,"Labels":{"a":null,"b":7},"ImageID":[],
        "NetworkSettings":{"Networks":{"n":null}},"HostConfig":7},{"State":{}},null,7,
        {"Id":99999999999999999999999,"Names":["/x"],"Labels":"none"}"#;
    let well = listed("b", "running");
    let body = match asked {
        "GET /containers/json" => format!("[{odd},{well},{odd}]"),
        "GET /containers/b/json" => {
            r#"{"Id":"b","State":{"Status":"running","Running":true},"Config":{"Env":["A=b",null,7]}}"#.into()
        }
        "GET /images/json" => r#"[{"Id":"sha256:1","RepoTags":["app:1"],"Size":18446744073709551615},{"RepoTags":null},null,
            {"Id":"sha256:2","RepoTags":null,"RepoDigests":[null],"Size":"big","Containers":1e99}]"#
            .into(),
        "GET /networks" => {
            r#"[{"Name":"n","Id":"1","Scope":"galaxy","IPAM":{"Config":[null,{"Subnet":7}]},"Options":{"a":null}},
            {"Name":"u_default","Id":"2","Labels":{"io.balena.supervised":"1","io.balena.app-id":"1","odd":null},
            "Driver":"bridge","Created":"yesterday"},null]"#
                .into()
        }
        "GET /volumes" => r#"{"Volumes":[{"Name":"v","Scope":"galaxy","Labels":{"a":1}},null,
            {"Name":"1_data","Driver":"local","Scope":"galaxy","UsageData":{"Size":1e99},"Options":{"o":null},
            "Labels":{"io.balena.supervised":"1"}}],"Warnings":7}"#
            .into(),
        other => return empty(other),
    };
    (200, body)
}

#[tokio::test]
async fn what_others_have_on_the_engine_hides_nothing_of_ours() {
    let seen = asked_of(|asked| Some(strange(asked)), async |engine: &Engine| engine.observe().await).await.unwrap();
    let [b] = seen.containers.as_slice() else { panic!("{seen:?}") };
    assert_eq!((b.key.service.as_str(), b.phase, b.env[&"A".to_owned()].as_str()), ("b", ContainerPhase::Running, "b"));
    assert_eq!(seen.images.len(), 2);
    assert_eq!(seen.networks.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["u_default"]);
    assert_eq!(seen.volumes.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["1_data"]);
}

#[tokio::test]
async fn the_owner_of_a_namespace_is_inspected_if_it_is_foreign() {
    let running = r#"{"Id":"f","State":{"Status":"running","StartedAt":"2026-11-23T15:34:12Z"}}"#;
    let exited = r#"{"Id":"f","State":{"Status":"exited","StartedAt":"2026-11-23T15:34:12Z"}}"#;
    for (owner, is_orphaned, is_since) in [
        ((404, "{}"), true, false),
        ((200, running), false, true),
        ((200, exited), false, false),
        ((500, NO_LAYER), false, false),
    ] {
        let shares = r#"{"Id":"a","State":{"Status":"running"},"HostConfig":{"NetworkMode":"container:f"}}"#;
        let answer = |asked: &str| match asked {
            "GET /containers/f/json" => Some((owner.0, owner.1.to_owned())),
            asked => Some(troubled(asked, "running", &(200, shares))),
        };
        let seen = asked_of(answer, containers).await;
        assert_eq!((seen[0].is_orphaned, seen[0].shares_since.is_some()), (is_orphaned, is_since), "{owner:?}");
        assert!(!seen[1].is_orphaned, "{owner:?}");
    }
}

#[tokio::test]
async fn a_container_of_ours_in_an_unknown_state_is_left_to_the_engine() {
    for (word, details, phase) in [
        // podman's term for a container that was prepared.
        ("initialized", r#"{"Id":"a","State":{"Status":"initialized"}}"#, ContainerPhase::Created),
        ("frozen-in-carbonite", r#"{"Id":"a","State":{"Status":"frozen-in-carbonite","Paused":true}}"#, ContainerPhase::Paused),
        ("undead", r#"{"Id":"a","State":{"Status":"undead","Running":true}}"#, ContainerPhase::Running),
        ("undead", r#"{"Id":"a","State":{"Status":"undead"}}"#, ContainerPhase::Removing),
    ] {
        let seen = asked_of(|asked| Some(troubled(asked, word, &(200, details))), containers).await;
        assert_eq!(seen.iter().map(|it| it.phase).collect::<Vec<_>>(), [phase, ContainerPhase::Running], "{details}");
        let told = seen[0].error.as_deref().is_some_and(|it| it.contains("undead"));
        assert_eq!(told, details.ends_with(r#""undead"}}"#), "{:?}", seen[0].error);
    }
}

#[tokio::test]
async fn an_engine_that_allows_two_networks_of_one_name_is_asked_not_to() {
    // Engines from API 1.44 on know no such field, and allow none.
    for (api, asks_for_it) in [("1.24", true), ("1.41", true), ("1.43", true), ("1.44", false), ("1.51", false)] {
        let sent = RefCell::new(Vec::new());
        let answer = |asked: &str, body: &str| {
            let there = !sent.borrow().is_empty();
            let labels = r#"{"io.balena.supervised":"true","io.balena.app-id":"1"}"#;
            Some(match asked {
                "GET /version" => (200, HELLO.replace("1.41", api)),
                "GET /networks" if there => (200, format!(r#"[{{"Name":"u_default","Id":"1","Labels":{labels}}}]"#)),
                "POST /networks/create" => {
                    sent.borrow_mut().push(serde_json::from_str::<serde_json::Value>(body).unwrap());
                    (201, r#"{"Id":"1","Warning":""}"#.to_owned())
                }
                other => empty(other),
            })
        };
        let config = crate::state::NetworkConfig::default();
        let id = crate::state::NetworkId::default();
        let network = crate::state::Network { id, name: "u_default".into(), app: Some(AppId(1)), config };
        let action = EngineAction::CreateNetwork(network);
        let done = asked_with_bodies_of(answer, async |engine: &Engine| engine.execute(&action, &|_| ()).await).await;
        assert_eq!(done, Ok(()), "{api}");
        let [sent] = &sent.into_inner()[..] else { panic!("{api}: it is created once") };
        assert_eq!(sent.get("CheckDuplicate"), asks_for_it.then_some(&true.into()), "{api}: {sent}");
        assert_eq!(sent["Name"], "u_default");
    }
}

#[tokio::test]
async fn the_engine_is_asked_for_a_volume_with_all_its_labels() {
    let sent = RefCell::new(Vec::new());
    let answer = |asked: &str, body: &str| {
        Some(match asked {
            "POST /volumes/create" => {
                sent.borrow_mut().push(serde_json::from_str::<serde_json::Value>(body).unwrap());
                let made = r#"{"Name":"1_data","Driver":"local","Mountpoint":"/d","Scope":"local","Options":{},
                    "Labels":{"io.balena.supervised":"true"}}"#;
                (201, made.to_owned())
            }
            other => empty(other),
        })
    };
    let labels = [("io.balena.app-uuid", "u"), ("mine", "yes")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    let config = crate::state::VolumeConfig { labels: labels.into_iter().collect(), ..crate::state::VolumeConfig::default() };
    let action = EngineAction::CreateVolume(crate::state::Volume { name: "1_data".into(), app: AppId(1), config });
    let done = asked_with_bodies_of(answer, async |engine: &Engine| engine.execute(&action, &|_| ()).await).await;
    assert_eq!(done, Ok(()));
    let [sent] = &sent.into_inner()[..] else { panic!("it is created once") };
    assert_eq!(sent["Name"], "1_data");
    // Without the app's number: a balena supervisor deletes a volume that has it.
    let labels = serde_json::json!({"io.balena.app-uuid": "u", "io.balena.supervised": "true", "mine": "yes"});
    assert_eq!(sent["Labels"], labels);
}

#[tokio::test]
async fn few_containers_are_started_at_once_and_the_others_have_their_turn() {
    let (hangs, asked_for) = (Cell::new(true), Cell::new(0));
    let answer = |asked: &str| {
        if !asked.starts_with("GET /containers/s") {
            return Some(empty(asked));
        }
        asked_for.set(asked_for.get() + 1);
        (!hangs.get()).then(|| (200, r#"{"State":{"Status":"running","Running":true}}"#.to_owned()))
    };
    let which = |it: usize| ContainerRef { key: ServiceKey::new(AppId(1), "s"), id: ContainerId(format!("s{it}")) };
    let actions: Vec<_> = (0..3 * MOST_BROUGHT_UP).map(|it| EngineAction::Start(which(it))).collect();
    let run = async |engine: &Engine| join_all(actions.iter().map(|it| engine.execute(it, &|_| ()))).await;
    asked_of(answer, async |engine: &Engine| {
        let as_many_as_may = async {
            while asked_for.get() < MOST_BROUGHT_UP {
                tokio::task::yield_now().await;
            }
            // Meanwhile others would have been asked for, too, and other calls wait for no turn.
            engine.observe().await.unwrap();
        };
        tokio::select! {
            _ = run(engine) => panic!("the engine does not answer"),
            () = as_many_as_may => assert_eq!(asked_for.get(), MOST_BROUGHT_UP),
        }
        // Those that gave up have given their turns back.
        hangs.set(false);
        assert!(run(engine).await.iter().all(Result::is_ok));
    })
    .await;
}
