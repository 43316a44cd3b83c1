//! The contract of `port::Engine`, tested on any implementation. `real` tests a real engine, and more of it.

mod fields;
mod hooks;
mod lab;
mod logs;
mod pull;
mod real;
mod snapshots;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use boardkeeper::port::{Engine, EngineError};
use boardkeeper::sorted::{SortedMap, SortedSet};
use boardkeeper::state::config::{Mount, MountMode, NetworkMode, RestartPolicy};
use boardkeeper::state::network::{NetworkAttachment, SUPERVISOR_NETWORK};
use boardkeeper::state::{
    AppId, Container, ContainerConfig, ContainerId, ContainerPhase, ContainerRef, ContainerSpec, DownloadProgress,
    EngineAction, ImageRef, Network, NetworkConfig, NetworkId, Origin, OutputStream, ServiceKey, Volume, VolumeConfig,
};
use futures_util::StreamExt;

/// The app that every case is about.
pub(crate) const APP: AppId = AppId(1234);
/// Its unique name.
pub(crate) const UUID: &str = "0123456789abcdef0123456789abcdef";

/// A world around an engine that a case can change.
pub(crate) trait Lab {
    /// The engine's adapter.
    type Engine: Engine;
    /// The engine.
    fn engine(&self) -> &Self::Engine;
    /// An image that is here, and has a `sleep`.
    fn image(&self) -> ImageRef;
    /// An image of several layers that is not here, and can be pulled.
    fn remote_image(&self) -> ImageRef;
    /// Another program creates something.
    fn create_foreign(&self, thing: Thing<'_>);
    /// What there is, by kind and name, ours or foreign.
    fn everything(&self) -> SortedSet<String>;
    /// A container prints lines.
    fn print(&self, container: &ContainerId, stream: OutputStream, lines: &[&str]);
    /// Another program writes a text into a volume, in place of the one before.
    fn write(&self, volume: &str, text: &str);
    /// The text that a volume has.
    fn read(&self, volume: &str) -> String;
    /// The engine dies without a warning.
    fn crash(&self);
    /// It comes back.
    fn revive(&self);
}

/// Something that was not made by a supervisor.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Thing<'a> {
    Container(&'a str),
    Network(&'a str),
    Volume(&'a str),
}

/// The key of a service of the app.
pub(crate) fn key(service: &str) -> ServiceKey {
    ServiceKey::new(APP, service)
}

/// A container that sleeps, and stops at once.
pub(crate) fn spec(lab: &impl Lab, service: &str) -> ContainerSpec {
    let config = ContainerConfig {
        command: Some(vec!["sleep".into(), "1000".into()]),
        env: SortedMap::from_iter([("COLOUR".into(), "red=green".into())]),
        stop_signal: Some("SIGKILL".into()),
        restart: RestartPolicy::UnlessStopped,
        network_mode: NetworkMode::None,
        ..ContainerConfig::default()
    };
    made_from(lab.image(), service, config)
}

/// A container made from a configuration.
pub(crate) fn made_from(image: ImageRef, service: &str, config: ContainerConfig) -> ContainerSpec {
    let hash = config.hash(image.as_str());
    let name = format!("{service}_1_2_abc");
    ContainerSpec {
        key: key(service),
        app_uuid: UUID.into(),
        service_id: 5,
        networks: SortedMap::new(),
        name,
        image,
        ports: SortedMap::new(),
        owners: SortedMap::new(),
        env_at_creation: SortedMap::new(),
        config,
        hash,
    }
}

/// A network of the app.
pub(crate) fn network(name: &str) -> Network {
    Network { id: NetworkId::default(), name: format!("{UUID}_{name}"), app: Some(APP), config: NetworkConfig::default() }
}

/// Networks without the ids that the engine chose.
pub(crate) fn bare(networks: Vec<Network>) -> Vec<Network> {
    networks.into_iter().map(|it| Network { id: NetworkId::default(), ..it }).collect()
}

/// A volume of the app.
pub(crate) fn volume(name: &str) -> Volume {
    Volume { name: format!("{APP}_{name}"), app: APP, config: VolumeConfig::default() }
}

/// Executes an action.
pub(crate) async fn take(lab: &impl Lab, mut action: EngineAction) -> Result<(), EngineError> {
    if let EngineAction::Create(spec) = &mut action {
        let own = |name: &String| name != SUPERVISOR_NETWORK;
        let name = |name: &String| (name.clone(), if own(name) { network(name).name } else { name.clone() });
        Arc::make_mut(spec).networks = spec.config.networks.keys().map(name).collect();
    }
    lab.engine().execute(&action, &|_| {}).await
}

/// Executes an action, and executes it again.
async fn twice(lab: &impl Lab, action: EngineAction) {
    for round in ["first", "second"] {
        assert_eq!(take(lab, action.clone()).await, Ok(()), "{action}, the {round} time");
    }
}

/// The container of a service, when there is one. Panics where there are several.
pub(crate) async fn seen(lab: &impl Lab, service: &str) -> Option<Container> {
    let mut all = lab.engine().observe().await.unwrap().containers;
    all.retain(|it| it.key == key(service));
    assert!(all.len() < 2, "two containers of one service: {all:?}");
    all.pop()
}

/// How far the container of a service is.
async fn phase(lab: &impl Lab, service: &str) -> Option<ContainerPhase> {
    seen(lab, service).await.map(|it| it.phase)
}

/// The container of a service, for an action.
pub(crate) async fn which(lab: &impl Lab, service: &str) -> ContainerRef {
    ContainerRef { key: key(service), id: seen(lab, service).await.unwrap().id }
}

pub(crate) async fn every_action_is_idempotent(lab: &impl Lab) {
    let mut spec = spec(lab, "main");
    spec.config.network_mode = NetworkMode::App;
    let attachment = NetworkAttachment { aliases: SortedSet::from(["main".into()]), ..NetworkAttachment::default() };
    spec.config.networks = SortedMap::from_iter([("default".into(), attachment.clone()), ("back".into(), attachment)]);
    spec.config.mounts.insert(Mount::Volume { name: "data".into(), path: "/data".into(), access: MountMode::Write });
    spec.hash = spec.config.hash(spec.image.as_str());

    twice(lab, EngineAction::CreateNetwork(network("default"))).await;
    twice(lab, EngineAction::CreateNetwork(network("back"))).await;
    twice(lab, EngineAction::CreateVolume(volume("data"))).await;
    let now = lab.engine().observe().await.unwrap();
    assert_eq!((bare(now.networks), now.volumes), (vec![network("default"), network("back")].sorted(), vec![volume("data")]));

    twice(lab, EngineAction::Create(Arc::new(spec.clone()))).await;
    let made = seen(lab, "main").await.unwrap();
    assert_eq!((made.phase, &made.name), (ContainerPhase::Created, &spec.name));
    assert_eq!(made.made, Origin::Ours(spec.hash.clone()));
    assert_eq!((made.image_ref, made.restart), (spec.image.clone(), RestartPolicy::UnlessStopped));
    assert_eq!(made.env[&"COLOUR".to_owned()], "red=green");

    let main = which(lab, "main").await;
    twice(lab, EngineAction::Start(main.clone())).await;
    assert_eq!(phase(lab, "main").await, Some(ContainerPhase::Running));
    twice(lab, EngineAction::Rename(main.clone(), "main_1_3_abd".into())).await;
    assert_eq!(seen(lab, "main").await.unwrap().name, "main_1_3_abd");
    twice(lab, EngineAction::Retire(main.clone(), "old_main_1_3_abd".into())).await;
    let retired = seen(lab, "main").await.unwrap();
    assert_eq!(
        (retired.name.as_str(), retired.restart, retired.phase),
        ("old_main_1_3_abd", RestartPolicy::No, ContainerPhase::Running)
    );
    twice(lab, EngineAction::Stop(main.clone())).await;
    assert_eq!(phase(lab, "main").await, Some(ContainerPhase::Exited(137)));
    match take(lab, EngineAction::RemoveVolume(volume("data").name, APP)).await {
        Err(EngineError::InUse(why)) => assert!(why.contains(&volume("data").name), "{why}"),
        other => panic!("a container has the volume, and its removal gives {other:?}"),
    }
    twice(lab, EngineAction::Kill(main)).await;
    assert_eq!(phase(lab, "main").await, None);

    twice(lab, EngineAction::RemoveVolume(volume("data").name, APP)).await;
    twice(lab, EngineAction::RemoveNetwork(network("default").name, NetworkId::default(), Some(APP))).await;
    twice(lab, EngineAction::RemoveNetwork(network("back").name, NetworkId::default(), Some(APP))).await;
    let now = lab.engine().observe().await.unwrap();
    assert_eq!((now.containers, now.networks, now.volumes), (vec![], vec![], vec![]));
}

pub(crate) async fn an_image_is_pulled_and_removed(lab: &impl Lab) {
    let image = lab.remote_image();
    for _ in 0..2 {
        let told = std::cell::RefCell::new(Vec::new());
        let progress = |now: DownloadProgress| told.borrow_mut().push(now);
        assert_eq!(lab.engine().execute(&EngineAction::Pull(image.clone()), &progress).await, Ok(()));
        let told = told.into_inner();
        assert!(told.is_sorted_by_key(|it| it.percent) && told.iter().all(|it| it.percent <= 100), "{told:?}");
        assert!(told.is_sorted_by_key(|it| it.bytes) && told.is_sorted_by_key(|it| it.total_bytes), "{told:?}");
        assert!(told.iter().all(|it| it.total_bytes.is_none() || it.bytes <= it.total_bytes), "{told:?}");
        assert_eq!(told.iter().position(|it| it.percent == 100), Some(told.len() - 1), "{told:?}");
    }
    let images = lab.engine().observe().await.unwrap().images;
    assert!(images.iter().any(|it| it.answers_to(&image) && it.size_bytes > 0), "{images:?}");
    twice(lab, EngineAction::RemoveImage(image.clone())).await;
    let images = lab.engine().observe().await.unwrap().images;
    assert!(!images.iter().any(|it| it.answers_to(&image)), "{images:?}");
}

pub(crate) async fn foreign_objects_are_neither_seen_nor_touched(lab: &impl Lab) {
    let spec = spec(lab, "main");
    let (network, volume) = (network("default"), volume("data"));
    lab.create_foreign(Thing::Container(&spec.name));
    lab.create_foreign(Thing::Network(&network.name));
    lab.create_foreign(Thing::Volume(&volume.name));
    let before = lab.everything();
    let now = lab.engine().observe().await.unwrap();
    assert_eq!((now.containers, now.networks, now.volumes), (vec![], vec![], vec![]));
    for (action, name) in [
        (EngineAction::Create(Arc::new(spec.clone())), &spec.name),
        (EngineAction::CreateNetwork(network.clone()), &network.name),
        (EngineAction::CreateVolume(volume.clone()), &volume.name),
        (EngineAction::RemoveNetwork(network.name.clone(), NetworkId::default(), Some(APP)), &network.name),
        (EngineAction::RemoveVolume(volume.name.clone(), APP), &volume.name),
    ] {
        match take(lab, action.clone()).await {
            Err(EngineError::Refused(why)) => assert!(why.contains(name.as_str()) && why.contains("no supervisor"), "{why}"),
            other => panic!("{action} gives {other:?}"),
        }
    }
    assert_eq!(lab.everything(), before);
}

pub(crate) async fn a_network_of_another_app_is_not_taken_for_ones_own(lab: &impl Lab) {
    let others = Network { app: Some(AppId(APP.0 + 1)), ..network("default") };
    take(lab, EngineAction::CreateNetwork(others.clone())).await.unwrap();
    match take(lab, EngineAction::CreateNetwork(network("default"))).await {
        Err(EngineError::Refused(why)) => assert!(why.contains(&others.name), "{why}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(bare(lab.engine().observe().await.unwrap().networks), std::slice::from_ref(&others));
    take(lab, EngineAction::RemoveNetwork(others.name, NetworkId::default(), others.app)).await.unwrap();
    take(lab, EngineAction::CreateNetwork(network("default"))).await.unwrap();
    assert_eq!(bare(lab.engine().observe().await.unwrap().networks), [network("default")]);
}

pub(crate) async fn what_is_not_there_cannot_be_started(lab: &impl Lab) {
    take(lab, EngineAction::Create(Arc::new(spec(lab, "main")))).await.unwrap();
    let gone = which(lab, "main").await;
    take(lab, EngineAction::Kill(gone.clone())).await.unwrap();
    for action in [
        EngineAction::Start(gone.clone()),
        EngineAction::Rename(gone.clone(), "other".into()),
        EngineAction::Retire(gone, "other".into()),
    ] {
        let result = take(lab, action.clone()).await;
        assert!(matches!(result, Err(EngineError::Refused(_))), "{action} gives {result:?}");
    }
    let mut without = spec(lab, "main");
    without.image = ImageRef::new("tests/missing:1");
    let result = take(lab, EngineAction::Create(Arc::new(without))).await;
    assert!(matches!(&result, Err(EngineError::Refused(why)) if why.contains("tests/missing:1")), "{result:?}");
}

/// An action that is dropped after that many polls. Whether it completed before.
async fn dropped(lab: &impl Lab, action: &EngineAction, polls: usize) -> bool {
    let mut left = polls;
    let mut taking = pin!(lab.engine().execute(action, &|_| {}));
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(false);
        }
        left -= 1;
        taking.as_mut().poll(context).map(|result| result.is_ok())
    })
    .await
}

pub(crate) async fn an_action_that_was_dropped_shows_in_the_next_observation(lab: &impl Lab) {
    let spec = spec(lab, "main");
    let create = EngineAction::Create(Arc::new(spec.clone()));
    for polls in 0..12 {
        let ended = dropped(lab, &create, polls).await;
        let found = seen(lab, "main").await;
        assert!(found.is_some() || !ended, "it was created, and is not there");
        assert!(found.is_none_or(|it| it.made == Origin::Ours(spec.hash.clone())));
        take(lab, create.clone()).await.unwrap();
        let main = which(lab, "main").await;
        dropped(lab, &EngineAction::Start(main.clone()), polls).await;
        take(lab, EngineAction::Start(main.clone())).await.unwrap();
        assert_eq!(phase(lab, "main").await, Some(ContainerPhase::Running));
        dropped(lab, &EngineAction::Kill(main.clone()), polls).await;
        take(lab, EngineAction::Kill(main)).await.unwrap();
        let left = phase(lab, "main").await;
        assert!(matches!(left, None | Some(ContainerPhase::Removing)), "{left:?}");
        dropped(lab, &EngineAction::CreateNetwork(network("default")), polls).await;
        take(lab, EngineAction::CreateNetwork(network("default"))).await.unwrap();
        assert_eq!(bare(lab.engine().observe().await.unwrap().networks), [network("default")]);
        take(lab, EngineAction::RemoveNetwork(network("default").name, NetworkId::default(), Some(APP))).await.unwrap();
    }
}

pub(crate) async fn an_engine_that_dies_is_unreachable_until_it_is_back(lab: &impl Lab) {
    let mut spec = spec(lab, "main");
    // It takes its time to stop, so that the engine dies in the middle.
    spec.config = ContainerConfig {
        command: Some(vec!["sh".into(), "-c".into(), "trap : TERM; while :; do sleep 1000 & wait; done".into()]),
        stop_signal: None,
        stop_grace: Duration::from_secs(20),
        ..spec.config
    };
    take(lab, EngineAction::Create(Arc::new(spec))).await.unwrap();
    let main = which(lab, "main").await;
    take(lab, EngineAction::Start(main.clone())).await.unwrap();
    let mut events = pin!(lab.engine().events());
    wait(events.next()).await;

    let stop = EngineAction::Stop(main);
    let ((), result) = tokio::join!(
        async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            lab.crash();
        },
        wait(take(lab, stop)),
    );
    assert!(matches!(result, Err(EngineError::Unreachable(_))), "{result:?}");
    wait(events.next()).await;
    let result = wait(lab.engine().observe()).await;
    assert!(matches!(result, Err(EngineError::Unreachable(_))), "{result:?}");

    let here = SortedSet::from([lab.image()]);
    let result = wait(lab.engine().check_room(&here)).await;
    assert!(matches!(result, Err(EngineError::Unreachable(_))), "{result:?}");

    lab.revive();
    wait(events.next()).await;
    assert!(phase(lab, "main").await.is_some());
    assert_eq!(wait(lab.engine().check_room(&here)).await, Ok(()));
}

/// What must come, and soon.
pub(crate) async fn wait<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(8), what).await.expect("it comes within 8 s")
}

/// Lists in an order.
trait Sorted {
    /// By name.
    fn sorted(self) -> Self;
}

impl Sorted for Vec<Network> {
    fn sorted(mut self) -> Self {
        self.sort_by(|a, b| a.name.cmp(&b.name));
        self
    }
}

/// Holds every fact of this suite against a world, with a macro of the world's: the list is here, and nowhere else. Not among
/// them is that an image is pulled, for which a world has to have a registry first.
macro_rules! every_fact {
    ($hold:ident) => {
        $hold! {
            every_action_is_idempotent
            foreign_objects_are_neither_seen_nor_touched
            a_network_of_another_app_is_not_taken_for_ones_own
            what_is_not_there_cannot_be_started
            an_action_that_was_dropped_shows_in_the_next_observation
            an_engine_that_dies_is_unreachable_until_it_is_back
            lines_arrive_once_from_any_cursor_on
            a_log_ends_with_its_container_and_goes_on_with_its_next_start
            a_log_goes_on_after_the_engine_died
            what_is_written_already_ends_and_is_gone_on_from
            a_hook_is_seen_and_run_to_its_exit_code_or_its_time
            data_is_copied_and_put_back_and_nothing_is_left_of_it
            a_copy_that_was_dropped_is_made_anew
            a_foreign_volume_is_not_taken_for_a_copy
        }
    };
}
pub(crate) use every_fact;
pub(crate) use hooks::a_hook_is_seen_and_run_to_its_exit_code_or_its_time;
pub(crate) use logs::{
    a_log_ends_with_its_container_and_goes_on_with_its_next_start, a_log_goes_on_after_the_engine_died,
    lines_arrive_once_from_any_cursor_on, what_is_written_already_ends_and_is_gone_on_from,
};
pub(crate) use snapshots::{
    a_copy_that_was_dropped_is_made_anew, a_foreign_volume_is_not_taken_for_a_copy,
    data_is_copied_and_put_back_and_nothing_is_left_of_it,
};
