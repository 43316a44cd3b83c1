//! One life: the agent runs, dies and is started again, first with faults, then without.

use std::collections::BTreeSet;
use std::future::pending;
use std::pin::Pin;
use std::time::Duration;

use boardkeeper::cloud::{CloudProvisioning, CloudSettings};
use boardkeeper::notify;
use boardkeeper::plan::{inject_supervisor_env, plan};
use boardkeeper::port::{self, Notification};
use boardkeeper::reconcile::ReconcilerSettings;
use boardkeeper::state::cloud::TargetOrigin;
use boardkeeper::state::keys::DeviceAction;
use boardkeeper::state::release::ROLLBACK_SETTING;
use boardkeeper::state::service::Strategy;
use boardkeeper::state::{
    Activity, Condition, Connectivity, Container, ContainerPhase, Current, Dependency, Device, EngineAction, Force,
    HealthStatus, ReleaseTrial, Secret, Service, ServiceKey, Status, Step, Target, Trouble, Waiting,
};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::world::cloud::{ENDPOINT, PROVISIONING_KEY};
use crate::world::engine_model::EngineModel;
use crate::world::host::Net;
use crate::world::invariants::WATCHDOG;
use crate::world::marks::{Mark, Tally};
use crate::world::targets::VolumeLabels;
use crate::world::windows::often;
use crate::world::{FaultRates, Model, Sim, Trace, rng::Rng};

/// How a life went.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Everything that happened, if the trace is on.
    pub(crate) trace: String,
    /// Coverage marks hit in it.
    pub(crate) tally: Tally,
    /// How often the agent was polled in it: two lives that are the same do not differ in this.
    pub(crate) polls: u64,
    /// The first violation of an invariant.
    pub(crate) violation: Option<String>,
}

/// How long the agent may take to settle once all faults have ended.
const SETTLE_WITHIN: Duration = Duration::from_secs(90 * 60);

/// Lives the life of a seed.
pub(crate) fn live(seed: u64, trace: Trace) -> Outcome {
    in_world(seed, FaultRates::any(seed), trace, async |sim| {
        let foul = sim.with(|model| {
            let mut rng = Rng::of(seed, "life");
            model.targets.reboots = rng.happens(200);
            let has_cloud = rng.happens(400);
            if has_cloud {
                model.join_cloud();
            }
            if has_cloud && rng.happens(700) {
                let interval = rng.secs(10, 600);
                model.follow_cloud(interval);
            }
            // Its own stream, so that the lives without it are as they are.
            if has_cloud && Rng::of(seed, "registered beforehand").happens(150) {
                model.register_beforehand();
            }
            // Their own stream, too.
            let mut developer = Rng::of(seed, "developer");
            if developer.happens(200) {
                model.developer = Some(developer);
            }
            // As that.
            let mut trier = Rng::of(seed, "trials");
            model.trier = trier.happens(250).then_some(trier);
            model.leases.are_asked_for = Rng::of(seed, "leases").happens(400);
            model.targets.window = Rng::of(seed, "windows").happens(300).then(|| often(""));
            model.targets.settings =
                Rng::of(seed, "rollbacks").happens(300).then_some((ROLLBACK_SETTING, "true")).into_iter().collect();
            let mut hooks = Rng::of(seed, "hooks");
            model.targets.hook = hooks.happens(250).then_some("flush --all");
            model.hooks.chance = model.targets.hook.map(|_| hooks);
            if Rng::of(seed, "data").happens(600) {
                model.targets.labels = VolumeLabels::Snapshot;
            }
            model.targets.begin();
            rng.secs(600, 2700)
        });
        let events = async {
            sim.random_events(foul).await;
            sim.wait_until_settled(SETTLE_WITHIN).await;
        };
        tokio::select! {
            biased;
            () = sim.agent() => (),
            () = events => (),
        }
    })
}

/// Runs a scenario in the world of a seed, until it is done or an invariant is violated.
pub(crate) fn in_world(seed: u64, rates: FaultRates, trace: Trace, scenario: impl AsyncFnOnce(Sim)) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let sim = Sim::new(seed, rates, trace);
        run_world(&sim, Box::pin(scenario(sim.clone()))).await;
        let trace = sim.trace();
        sim.with(|model| Outcome {
            trace,
            tally: std::mem::take(&mut model.tally),
            polls: model.polls,
            violation: model.checker.violations.first().cloned(),
        })
    })
}

/// Runs a world with what happens in it. Compiled once, and not for each scenario.
async fn run_world(sim: &Sim, scenario: Pin<Box<dyn Future<Output = ()> + '_>>) {
    tokio::select! {
        biased;
        () = sim.over() => (),
        () = sim.jobs() => (),
        () = scenario => (),
    }
}

/// The agent's settings.
pub(crate) fn settings(endpoint: bool) -> ReconcilerSettings {
    let api_endpoint = endpoint.then(|| "https://api.example.com".to_owned());
    let device = Device {
        api_endpoint,
        name: "board".into(),
        device_type: "raspberrypi3".into(),
        arch: "armv7hf".into(),
        ..Device::default()
    };
    ReconcilerSettings {
        observe_every: Duration::from_secs(5 * 60),
        device: Device { api_port: 48484, ..device },
        uuid: None,
        device_key: None,
        force: Force::No,
        update_window: None,
        rollback: false,
        service_verbs: DeviceAction::ALL.into(),
    }
}

/// The settings of the loops that talk to the cloud.
pub(crate) fn cloud_settings(net: &Net, targets_from: TargetOrigin) -> CloudSettings {
    let written = net.provisioned.as_ref();
    let provisioning_key = || Secret::new(PROVISIONING_KEY.to_owned());
    let provisioning = net.endpoint.then(|| CloudProvisioning {
        endpoint: ENDPOINT.to_owned(),
        logs_endpoint: None,
        registry_endpoint: None,
        fleet: Some(1),
        user: None,
        provisioning_key: written.is_none().then(provisioning_key),
        uuid: written.map(|it| it.uuid.clone()).or_else(|| net.registered_uuid.clone()),
        device_key: written.map(|it| it.key.clone()),
        device_id: written.and_then(|it| it.device_id),
        registered_at_ms: written.map(|it| it.registered_at_ms),
        registration_retry: None,
        poll_interval: None,
        is_development: false,
    });
    CloudSettings { provisioning: watch::channel(provisioning).1, targets_from }
}

impl Sim {
    /// The agent and its API clients, from one start to the next, for ever.
    pub(crate) async fn agent(&self) {
        let clients = async |sim: Self, router: axum::Router| {
            tokio::select! {
                biased;
                () = sim.clients(router.clone()) => (),
                () = sim.programs(router) => (),
            }
        };
        Box::pin(self.agent_with(clients)).await;
    }

    /// The agent and the clients of its API.
    pub(crate) async fn agent_with(&self, clients: impl AsyncFn(Sim, axum::Router)) {
        loop {
            let settings = settings(self.with(|model| {
                model.locks.agent_starts();
                model.agent_starts();
                model.net.endpoint
            }));
            let cloud = self.with(|model| cloud_settings(&model.net, model.cloud.targets_from));
            let run = boardkeeper::run(self, settings, cloud, async |api, door| {
                self.with(|model| {
                    model.status = Some(door.status.clone());
                    model.connectivity = Some(door.connectivity.clone());
                    model.cloud.status = Some(door.cloud.clone());
                });
                let manager = Manager(self);
                tokio::select! {
                    biased;
                    never = notify::run(&manager, door.requests, door.status) => match never {},
                    () = clients(self.clone(), api.router()) => (),
                }
            });
            let cut = tokio::select! {
                biased;
                cut = self.cut() => cut,
                () = self.run_until_crash(run) => return,
            };
            self.after_crash(cut);
            let down = self.with(|model| model.rngs.events.millis(100, 20_000));
            sleep(down).await;
            self.with(|model| {
                model.hit(Mark::StartedAgain);
                model.note("the agent starts");
            });
        }
    }

    /// Waits until everything is as wanted; that it never comes is wrong.
    pub(crate) async fn wait_until_settled(&self, patience: Duration) {
        let settled = async {
            while self.unsettled().is_some() {
                sleep(Duration::from_secs(20)).await;
            }
        };
        if tokio::time::timeout(patience, settled).await.is_err() {
            let why = self.unsettled().unwrap_or_default();
            self.with(|model| model.violation(format_args!("not settled after {patience:?} of fair weather: {why}")));
            pending::<()>().await;
        }
        self.with(|model| {
            model.hit(Mark::Settled);
            model.mark_releases();
            model.note("settled");
        });
    }

    /// Why not everything is as wanted, if so. Never asks the agent what it should do: only what it thinks it is doing.
    pub(crate) fn unsettled(&self) -> Option<String> {
        let (status, wanted, truth, keys) = self.with(|model| {
            let status = model.status.as_ref().map(|it| it.borrow().clone());
            (status, model.goal(), model.truth(), model.disk.kept.keys.clone())
        });
        let Some(status) = status else { return Some("the agent does not run".into()) };
        let Some(keys) = keys else { return Some("the device has no keys".into()) };
        if let Some(why) = self.with(|model| {
            model
                .wrongly_booted()
                .or_else(|| model.led.unsettled())
                .or_else(|| model.gpio_line.unsettled())
                .or_else(|| model.still())
                .or_else(|| model.engine.lost_network())
                .or_else(|| model.cloud.unsettled())
                .or_else(|| model.lost_line())
                .or_else(|| model.journal_unsettled())
        }) {
            return Some(why);
        }
        let connectivity = self.with(|model| model.connectivity.as_ref().map(|it| it.borrow().clone()));
        if let Some(Connectivity::Offline { why, .. }) = connectivity {
            return Some(format!("the cloud is reached, and the agent says: {why}"));
        }
        let target = inject_supervisor_env(&wanted, &status.device, &keys);
        let blocked = held_back(&target, &status, &truth);
        let why = says_unsettled(&status, &blocked)
            .or_else(|| looks_unsettled(&target, &status, &truth, &blocked))
            .or_else(|| left_to_do(&target, &status, &truth, &blocked));
        if why.is_none() && !blocked.is_empty() {
            self.with(|model| model.hit(Mark::Blocked));
        }
        why.or_else(|| self.with(|model| model.reported_otherwise(!blocked.is_empty())))
    }
}

/// A service manager with a watchdog.
struct Manager<'a>(&'a Sim);

impl port::ServiceManager for Manager<'_> {
    fn notify(&self, word: &Notification) {
        match word {
            Notification::Watchdog => self.0.with(Model::check_watchdog),
            Notification::Ready | Notification::Status(_) | Notification::Stopping => (),
        }
    }

    fn watchdog_timeout(&self) -> Option<Duration> {
        Some(WATCHDOG)
    }
}

/// Compares the agent's status with a settled one.
fn says_unsettled(status: &Status, blocked: &BTreeSet<ServiceKey>) -> Option<String> {
    let Status { activity, update_pending, update_downloaded, update_failed, .. } = status;
    let has_failed = status.releases.values().any(|it| it.failure().is_some());
    let flags = *update_pending || *update_downloaded || *update_failed != has_failed;
    let goes_on_trying = status.releases.values().any(|it| matches!(it, ReleaseTrial::Failed(_)));
    let settled = if goes_on_trying {
        *activity == Activity::Applying && *update_failed && status.steps_in_flight.is_empty()
    } else if blocked.is_empty() {
        *activity == Activity::Settled && !flags
    } else {
        // It says that it waits, for whom, and that this does not come.
        let told = |key: &ServiceKey| status.unmet_dependency(key).is_some_and(|it| it.never.is_some());
        // A difference that only the owner resolves stays, whatever is blocked.
        let none_fails = status.troubles.iter().all(|it| matches!(it, Trouble::Difference(_)));
        let at_rest = status.steps_in_flight.is_empty() && none_fails && *update_failed;
        *activity == Activity::Applying && at_rest && blocked.iter().all(told)
    };
    (!settled).then(|| {
        let doing: Vec<_> = status.steps_in_flight.iter().map(ToString::to_string).collect();
        let waiting: Vec<_> = status.waiting.iter().map(ToString::to_string).collect();
        let (troubles, releases) = (&status.troubles, &status.releases);
        format!(
            "{activity:?}, pending {update_pending}, downloaded {update_downloaded}, failed {update_failed}; \
             doing {doing:?}, waiting {waiting:?}, troubles {troubles:?}, releases {releases:?}"
        )
    })
}

/// What the planner would still do.
fn left_to_do(target: &Target, status: &Status, truth: &Current, blocked: &BTreeSet<ServiceKey>) -> Option<String> {
    let left = plan(target, &status.overrides, truth);
    // What a release that was not reached replaces is kept to fall back on.
    let is_proven = status.releases.values().all(|it| *it == ReleaseTrial::Good);
    let kept = |it: &&Step| !(blocked.is_empty() && is_proven) && matches!(it, Step::Engine(EngineAction::RemoveImage(_)));
    let steps: Vec<_> = left.steps.iter().filter(|it| !kept(it)).map(ToString::to_string).collect();
    let waits = |it: &&Waiting| match it {
        Waiting::Boot(_) | Waiting::Configured(_) => false,
        Waiting::Dependency(key, unmet) => unmet.never.is_none() || !blocked.contains(key),
        _ => true,
    };
    let waiting: Vec<_> = left.waiting.iter().filter(waits).map(ToString::to_string).collect();
    (!steps.is_empty() || !waiting.is_empty())
        .then(|| format!("left to do: {steps:?}, waiting for {waiting:?}, releases {:?}", status.releases))
}

/// What an observer sees without the planner: containers, images, locks.
fn looks_unsettled(target: &Target, status: &Status, truth: &Current, blocked: &BTreeSet<ServiceKey>) -> Option<String> {
    if let Some((app, _)) = truth.locks.iter().find(|(_, it)| it.has_ours()) {
        return Some(format!("the agent still holds the locks of {app}"));
    }
    let mut wanted = BTreeSet::new();
    for app in target.apps.values().filter(|app| app.commit.is_some()) {
        for (name, service) in &app.services {
            let key = ServiceKey::new(app.id, name);
            if let Some(why) = service_unsettled(&key, service, status, truth, blocked.contains(&key)) {
                return Some(format!("{key}: {why}"));
            }
            wanted.insert(key);
        }
    }
    let extra = truth.containers.iter().find(|it| !wanted.contains(&it.key));
    extra.map(|it| format!("{} has a container, and nobody wants it", it.key))
}

/// Services that cannot be started, because what they depend on never fulfils its condition, as far as an observer can see.
fn held_back(target: &Target, status: &Status, truth: &Current) -> BTreeSet<ServiceKey> {
    let mut blocked = BTreeSet::new();
    let is_stopped = |key: &ServiceKey, it: &Service| !it.running || status.overrides.stopped.contains(key);
    // Once for each service that may wait for the one before.
    for _ in 0..4 {
        for (app, name, service) in target.services() {
            let key = ServiceKey::new(app.id, name);
            // The one of the release before may still run, where it is handed over from.
            let waits = truth.containers.iter().filter(|it| it.key == key).any(|own| match own.phase {
                ContainerPhase::Created => true,
                ContainerPhase::Exited(_) => own.restart.restarts_always() || own.error.is_some(),
                _ => false,
            });
            let fails = |(on, it): (&String, &Dependency)| {
                let other = ServiceKey::new(app.id, on);
                let stopped = is_stopped(&other, &app.services[on]);
                let seen = truth.containers.iter().filter(|it| it.key == other).max_by_key(|it| it.created_secs);
                it.required && (blocked.contains(&other) || seen.is_some_and(|seen| never(seen, it.condition, stopped)))
            };
            if waits && !is_stopped(&key, service) && service.depends_on.iter().any(fails) {
                blocked.insert(key);
            }
        }
    }
    blocked
}

/// Whether a container will not fulfil a condition by itself.
fn never(seen: &Container, condition: Condition, stopped: bool) -> bool {
    let ended = matches!(seen.phase, ContainerPhase::Exited(_)) && !seen.restart.restarts_always() && seen.error.is_none();
    match condition {
        Condition::Started => false,
        Condition::Healthy if seen.phase == ContainerPhase::Running && !stopped => {
            matches!(seen.health, None | Some(HealthStatus::Unhealthy))
        }
        Condition::Healthy => stopped || ended,
        Condition::Completed => {
            let done = seen.phase == ContainerPhase::Exited(0) && ended;
            !done && (stopped || ended || seen.restart.restarts_always())
        }
    }
}

fn service_unsettled(key: &ServiceKey, service: &Service, status: &Status, truth: &Current, blocked: bool) -> Option<String> {
    // The container of the release before runs on until the one that is handed over to is started.
    let handed_over = blocked && service.strategy == Strategy::HandOver;
    let serves = |it: &&Container| handed_over && it.phase.is_alive();
    let mut all: Vec<_> = truth.containers.iter().filter(|it| it.key == *key).collect();
    if all.len() == 2 {
        all.retain(|it| !serves(it));
    }
    let [it] = all[..] else { return Some(format!("{} containers", all.len())) };
    if it.image != EngineModel::registry(&service.image).id {
        return Some(format!("runs {}, not {}", it.image_ref, service.image));
    }
    if it.env.get("REV") != service.config.env.get("REV") || it.restart != service.config.restart {
        return Some("has another configuration".into());
    }
    let stopped = status.overrides.stopped.contains(key) || !service.running;
    let right = match it.phase {
        ContainerPhase::Running | ContainerPhase::Restarting => !stopped,
        ContainerPhase::Exited(_) => stopped || blocked || !it.restart.restarts_always(),
        ContainerPhase::Created => stopped || blocked || service.requires_reboot,
        ContainerPhase::Paused | ContainerPhase::Removing | ContainerPhase::Dead => false,
    };
    (!right).then(|| format!("is {:?}, and should be stopped: {stopped}", it.phase))
}
