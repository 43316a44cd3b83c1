//! Containers and steps, as tests need them.

use boardkeeper::sorted::SortedMap;
use boardkeeper::state::config::RestartPolicy;
use boardkeeper::state::{
    AppId, ConfigHash, Container, ContainerId, ContainerPhase, ContainerRef, EngineAction, ImageId, ImageRef, Origin,
    ServiceKey, Step, StepKind,
};

use crate::test_device::COMMIT;

pub(crate) fn container(app: AppId, service: &str, id: char) -> Container {
    let keys = ["RESIN_API_KEY", "RESIN_SUPERVISOR_API_KEY", "BALENA_API_KEY", "BALENA_SUPERVISOR_API_KEY"];
    let mut env: SortedMap<_, _> = keys.map(|it| (it.to_owned(), "secret".to_owned())).into_iter().collect();
    env.insert("FOO".to_owned(), "bar".to_owned());
    Container {
        id: ContainerId(id.to_string().repeat(64)),
        name: format!("{service}_12_34_{COMMIT}"),
        key: ServiceKey::new(app, service),
        phase: ContainerPhase::Running,
        created_secs: 1_600_000_000,
        image: ImageId(format!("sha256:{}", "0".repeat(64))),
        image_ref: ImageRef::new("registry.resin.io/superapp/app@sha256:ab"),
        made: Origin::Ours(ConfigHash("h".to_owned())),
        outcome: None,
        env: env.into(),
        restart: RestartPolicy::Always,
        shares: SortedMap::new(),
        ports: boardkeeper::sorted::SortedSet::new(),
        is_port_taken: false,
        before_update: None,
        shares_since: None,
        is_orphaned: false,
        volumes: boardkeeper::sorted::SortedSet::new(),
        restarts: 0,
        is_out_of_memory: false,
        started: None,
        networks: None,
        error: None,
        health: None,
    }
}

/// A step of that kind, on a service.
pub(crate) fn step(kind: StepKind, key: ServiceKey) -> Step {
    let id = ContainerId("c".to_owned());
    let container = ContainerRef { key, id };
    Step::Engine(match kind {
        StepKind::Downloading => EngineAction::Pull(ImageRef::new("superapp")),
        StepKind::Installing => EngineAction::Rename(container, "new".to_owned()),
        StepKind::Starting => EngineAction::Start(container),
        StepKind::Stopping => EngineAction::Stop(container),
        StepKind::Housekeeping => EngineAction::RemoveImage(ImageRef::new("old")),
    })
}
