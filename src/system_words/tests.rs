//! Every sentence, as dashboards know it.

use std::sync::Arc;

use super::*;

use crate::sorted::SortedSet;
use crate::state::{
    ConfigHash, ContainerConfig, ContainerSpec, Force, HeldLock, Image, ImageId, Network, NetworkConfig, NetworkId, ServiceKey,
    ShutdownOrigin, ShutdownProgress, Volume, VolumeConfig,
};
use crate::testing::{container, status};

fn which(name: &str) -> ContainerRef {
    let it = container(name);
    ContainerRef { key: it.key, id: it.id }
}

fn network() -> Network {
    Network { id: NetworkId::default(), name: "u_default".into(), app: Some(AppId(1)), config: NetworkConfig::default() }
}

fn volume() -> Volume {
    Volume { name: "1_data".into(), app: AppId(1), config: VolumeConfig::default() }
}

/// The step that creates the container of `main`, with its image on the engine.
fn create() -> (Step, Current) {
    let reference = ImageRef::new("r/main:1");
    let names = SortedSet::from([reference.clone()]);
    let image = Image { id: ImageId("sha256:abc".into()), names, size_bytes: 1 };
    let spec = ContainerSpec {
        key: ServiceKey::new(AppId(1), "main"),
        app_uuid: "u".into(),
        networks: SortedMap::new(),
        service_id: 7,
        name: "main_1_2_c".into(),
        image: reference,
        ports: SortedMap::new(),
        owners: SortedMap::new(),
        env_at_creation: SortedMap::new(),
        config: ContainerConfig::default(),
        hash: ConfigHash(String::new()),
    };
    let current = Current { images: vec![image], ..Current::default() };
    (Step::Engine(EngineAction::Create(Arc::new(spec))), current)
}

/// What is said when a step begins, succeeds and fails.
fn said(step: &Step, current: &Current) -> [Option<String>; 3] {
    let mut words = SystemWords::default();
    let begun = words.on_event(&DeviceEvent::Begun(step.clone()), current);
    let succeeded = words.on_event(&DeviceEvent::Succeeded(step.clone()), current);
    words.on_event(&DeviceEvent::Begun(step.clone()), current);
    // A container may be gone by then.
    let gone = Current { containers: Vec::new(), images: current.images.clone(), ..Current::default() };
    let failed = words.on_event(&DeviceEvent::Failed { step: step.clone(), why: "it is so".into() }, &gone);
    assert_eq!(words.on_event(&DeviceEvent::Cancelled(step.clone()), current), None);
    [begun, succeeded, failed]
}

#[test]
fn every_step_is_said_in_the_words_of_other_supervisors() {
    let running = |phase| {
        let mut it = container("a");
        it.phase = phase;
        Current { containers: vec![it], ..Current::default() }
    };
    let there = running(ContainerPhase::Running);
    let (create, with_image) = create();
    let image = ImageRef::new("r/main:1");
    let engine = |action| Step::Engine(action);
    let locks = SortedSet::from(["main".to_owned()]);
    let hand_over = Step::HandOver { old: which("a"), timeout: Duration::from_secs(1) };
    let kill = engine(EngineAction::Kill(which("a")));
    let main = "main sha256:abc";
    for (step, current, object, expected) in [
        (engine(EngineAction::Pull(image.clone())), &there, "r/main:1", DOWNLOAD),
        (create, &with_image, main, INSTALL),
        (engine(EngineAction::Start(which("a"))), &there, main, START),
        (engine(EngineAction::Restart(which("a"))), &there, main, RESTART),
        (engine(EngineAction::Stop(which("a"))), &there, main, KILL),
        (kill.clone(), &there, main, KILL),
        (kill.clone(), &running(ContainerPhase::Exited(0)), main, STOPPED),
        (kill, &running(ContainerPhase::Dead), main, DEAD),
        (engine(EngineAction::Rename(which("a"), "b".into())), &there, main, UPDATE),
        (engine(EngineAction::RemoveImage(image)), &there, "r/main:1", DELETE),
        (engine(EngineAction::CreateNetwork(network())), &there, "u_default", NEW_NETWORK),
        (engine(EngineAction::RemoveNetwork("u_default".into(), NetworkId::default(), None)), &there, "u_default", NO_NETWORK),
        (engine(EngineAction::CreateVolume(volume())), &there, "1_data", NEW_VOLUME),
        (engine(EngineAction::RemoveVolume("1_data".into(), AppId(1))), &there, "1_data", NO_VOLUME),
        (hand_over, &there, main, ["", KILL[1], KILL[2]]),
        (engine(EngineAction::Retire(which("a"), "b".into())), &there, "", [""; 3]),
        (Step::Reboot, &there, "", [""; 3]),
    ] {
        let [begun, succeeded, failed] = expected;
        let text = |it: &str, cause| (!it.is_empty()).then(|| format!("{it} '{object}'{cause}"));
        let expected = [text(begun, ""), text(succeeded, ""), text(failed, " due to 'it is so'")];
        assert_eq!(said(&step, current), expected, "{step}");
    }
    assert_eq!(said(&Step::TakeLocks(AppId(1), locks, Force::No), &there)[0].as_deref(), Some("Taking update locks"));
    assert_eq!(said(&Step::ReleaseLocks(AppId(1)), &there)[0].as_deref(), Some("Releasing update locks"));
}

#[test]
fn the_words_are_those_of_other_supervisors() {
    // Spelled out, so that a slip above is seen.
    let all = [
        DOWNLOAD,
        INSTALL,
        START,
        RESTART,
        KILL,
        STOPPED,
        DEAD,
        UPDATE,
        DELETE,
        NEW_VOLUME,
        NO_VOLUME,
        NEW_NETWORK,
        NO_NETWORK,
    ];
    let known = "Downloading image|Downloaded image|Failed to download image|Installing service|Installed service|Failed to \
                 install service|Starting service|Started service|Failed to start service|Restarting service|Killing \
                 service|Killed service|Failed to kill service|Service is already stopped, removing container|Service is \
                 already stopped and the container removed|Removing dead container|Error removing dead container|Updating \
                 config for service|Updated config for service|Failed to update config for service|Deleting image|Deleted \
                 image|Failed to delete image|Creating volume|Error creating volume|Removing volume|Error removing \
                 volume|Creating network|Error creating network|Removing network|Error removing network";
    let known: SortedSet<_> = known.split('|').collect();
    let used: SortedSet<_> = all.into_iter().flatten().filter(|it| !it.is_empty()).collect();
    assert_eq!(used, known);
    assert_eq!(STARTING, "Supervisor starting");
}

#[tokio::test(start_paused = true)]
async fn what_is_new_in_the_status_is_said_once() {
    let mut words = SystemWords::default();
    let mut now = status(vec![container("a")], r#"{"SUPERVISOR_POLL_INTERVAL": "900000"}"#);
    assert_eq!(words.on_status(&now), Vec::<String>::new());
    let mut says = |now: &Status, expected: &[&str]| {
        assert_eq!(words.on_status(now), expected);
        assert_eq!(words.on_status(now), Vec::<String>::new());
    };

    now.rejected = Some("an app has no name".into());
    says(&now, &["Could not move to new release: an app has no name"]);

    let held = HeldLock { service: "main".into(), path: "/tmp/x/updates.lock".into(), since_secs: 0 };
    now.waiting = vec![Waiting::Lock(AppId(1), held)];
    says(&now, &["Updates are locked, retrying in 3m. Reason: app 1 is locked by its service main (/tmp/x/updates.lock)"]);
    now.waiting.clear();
    now.troubles = vec![Trouble::Step {
        step: Box::new(Step::TakeLocks(AppId(1), SortedSet::new(), Force::No)),
        why: StepFault::Failed("read-only".into()),
        failures: 1,
        again: Instant::now() + Duration::from_secs(30),
    }];
    says(&now, &["Updates are locked, retrying in 30s. Reason: read-only"]);

    now.target = status(Vec::new(), r#"{"SUPERVISOR_POLL_INTERVAL": "60000"}"#).target;
    let change = r#"configuration change {"SUPERVISOR_POLL_INTERVAL":"60000"}"#;
    says(&now, &[&format!("Applying {change}"), &format!("Applied {change}")]);

    let set = |now: &mut Status, phase| {
        let mut it = container("a");
        it.phase = phase;
        now.current = Arc::new(Current { containers: vec![it], ..Current::default() });
    };
    set(&mut now, ContainerPhase::Exited(1));
    says(&now, &["Service exited 'main sha256:abc'"]);
    set(&mut now, ContainerPhase::Running);
    says(&now, &[]);
    now.overrides.stopped.insert(ServiceKey::new(AppId(1), "main"));
    set(&mut now, ContainerPhase::Exited(0));
    says(&now, &[]);

    for (ending, line) in [(Some(PowerAction::Reboot), "Rebooting"), (Some(PowerAction::PowerOff), "Shutting down")] {
        let (by, progress) = (ShutdownOrigin::Request, ShutdownProgress::Asked);
        now.shutdown = ShutdownStatus::UnderWay { ending, by, since: Instant::now(), progress };
        says(&now, &[line]);
        now.shutdown = ShutdownStatus::No;
        says(&now, &[]);
    }
}
