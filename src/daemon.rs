//! The composition root: builds the adapters, joins them with the loops, and handles signals.

use std::cell::OnceCell;
use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use boardkeeper::apart;
use boardkeeper::board::{BoardHints, DetectedBoard};
use boardkeeper::cli::CommandError;
use boardkeeper::cli::log::{self, Verbosity};
use boardkeeper::cli::run::{RunArgs, device};
use boardkeeper::cloud::{CloudProvisioning, CloudSettings, wait_for_farewell};
use boardkeeper::config::{self, Config};
use boardkeeper::document;
use boardkeeper::http;
use boardkeeper::linux::board::detect;
use boardkeeper::linux::clock::{Clock, Random};
use boardkeeper::linux::cloud::{CloudClient, CloudClientSettings};
use boardkeeper::linux::engine::{self, Engine, RegistryAccess};
use boardkeeper::linux::flash::FlashCounter;
use boardkeeper::linux::host::boot_file::BootFiles;
use boardkeeper::linux::leds::host::{HostPaths, LedHost, SIMULATED};
use boardkeeper::linux::locks::Locks;
use boardkeeper::linux::mdns::Mdns;
use boardkeeper::linux::net::engine_forward::EngineForward;
use boardkeeper::linux::net::networks::{self, EngineNetworks};
use boardkeeper::linux::net::{self, Listeners};
use boardkeeper::linux::notify::NotifySocket;
use boardkeeper::linux::power::Power;
use boardkeeper::linux::preload::Preload;
use boardkeeper::linux::registry_login::CloudLogin;
use boardkeeper::linux::store::{self, Store};
use boardkeeper::linux::swappable_source::SwappableSource;
use boardkeeper::linux::target_sources::{SourceSettings, TargetSources};
use boardkeeper::linux::traffic::TrafficCounter;
use boardkeeper::linux::trust::TrustStore;
use boardkeeper::linux::{Linux, host};
use boardkeeper::notify;
use boardkeeper::port::{Leds, Notification, Record, ServiceManager, Store as _, Targets as _};
use boardkeeper::reconcile::ReconcilerSettings;
use boardkeeper::state::cloud::TargetOrigin;
use boardkeeper::state::{Device, Status};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{error, info, warn};

/// Full resync interval. Events trigger a resync sooner; this one catches events that were lost.
const OBSERVE_EVERY: Duration = Duration::from_secs(180);
/// How long shutdown waits for the LED's driver. What the driver has not restored, the next start restores.
const LAST_LIGHT: Duration = Duration::from_millis(500);
/// How long shutdown waits for disk writes.
const LAST_WORK: Duration = Duration::from_millis(300);

/// Runs the agent until a signal stops it.
pub(crate) fn live(run: &RunArgs) -> Result<(), CommandError> {
    let config = run.clone().config()?;
    let verbosity = log::begin(&config.log);
    let failed = |why: io::Error| CommandError::Failed(format!("cannot begin: {why}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let ended = runtime.block_on(agent(&config, run, &verbosity));
    runtime.shutdown_timeout(LAST_WORK);
    ended
}

async fn agent(config: &Config, run: &RunArgs, verbosity: &Verbosity) -> Result<(), CommandError> {
    let failed = |why: io::Error| CommandError::Failed(format!("cannot listen for signals: {why}"));
    let (stop, at_once) = (Stop::new().map_err(failed)?, Stop::new().map_err(failed)?);
    let hangups = signal(SignalKind::hangup()).map_err(failed)?;
    let (tell_networks, networks) = watch::channel(EngineNetworks::default());
    let listeners = Listeners::bind(&config.root, &config.listen, config.bridges, networks)
        .map_err(|why| CommandError::Failed(why.to_string()))?;
    let containers = tell_networks.subscribe();
    let _only_one = store::hold(&config.state_dir).map_err(|why| CommandError::Failed(why.to_string()))?;
    keep_provisioned(config);
    let engines = engine::hosts(config.docker_host.as_deref(), &config.root);
    let board = board(config);
    let device = Device { board: board.facts(), ..device(config, &engines) };
    greet(config, host::engine(&engines), &listeners, &device);
    let world = world(config, engines, &device, &board);
    let settings = ReconcilerSettings {
        observe_every: OBSERVE_EVERY,
        device,
        uuid: config.provisioning.uuid.clone(),
        device_key: config.device_key.clone(),
        force: config.force,
        update_window: config.update_window.clone(),
        rollback: config.rollback,
        service_verbs: config.service_verbs.clone(),
    };
    let manager = NotifySocket::new(&|name| std::env::var_os(name));
    let (provision, provisioning) = watch::channel(cloud(config));
    let seen = OnceCell::new();
    let cloud_settings = CloudSettings { provisioning, targets_from: config.targets_from };
    let running = boardkeeper::run(&world, settings, cloud_settings, async |api, door| {
        // `boardkeeper::run` calls this once.
        let _ = seen.set(door.status.clone());
        let (status, mut cloud) = (door.status.clone(), door.cloud);
        let forward = EngineForward {
            engine: &world.engine,
            root: &config.root,
            networks: &config.local_engine,
            containers,
            status: door.status.clone(),
            publish: door.local_engine,
        };
        let mdns = Mdns::new(&config.root, config.bus.as_deref()).run(door.status.clone());
        tokio::select! {
            biased;
            () = http::serve_while_up(|request| api.answer(request), listeners, door.status.clone(), stop.signalled(1)) => (),
            never = apart(notify::run(&manager, door.requests, door.status)) => match never {},
            never = apart(forward.run()) => match never {},
            never = apart(mdns) => match never {},
        }
        wait_for_farewell(&status, &mut cloud).await;
    });
    tokio::select! {
        biased;
        // A second Ctrl-C ends the agent at once.
        () = apart(at_once.signalled(2)) => (),
        never = apart(reload(hangups, run, config, verbosity, (&world, &provision))) => match never {},
        never = apart(networks::follow(async || world.engine.bridges().await, tell_networks)) => match never {},
        () = running => (),
    }
    manager.notify(&Notification::Stopping);
    end_in_good_order(&world.store, seen.get()).await;
    match timeout(LAST_LIGHT, world.leds.restore_all()).await {
        Ok(Ok(())) => (),
        Ok(Err(error)) => error!(%error, "the LED is not restored; the next start restores it"),
        Err(_) => error!("the LED's driver does not answer; the next start restores the LED"),
    }
    info!("stopped; the containers run on");
    Ok(())
}

/// Caches the provisioning file's fields for a start at which it cannot be read.
fn keep_provisioned(config: &Config) {
    if config.troubles.is_empty()
        && config.provisioning.path.is_some()
        && let Err(error) = store::keep_provisioned(&config.state_dir, &config.provisioning.to_keep())
    {
        warn!(%error, "the copy of config.json, for starts at which it cannot be read, cannot be saved");
    }
}

/// Takes this start off the counts on a requested end: neither a target nor a boot configuration caused it.
async fn end_in_good_order(store: &Store, status: Option<&watch::Receiver<Status>>) {
    let Some(status) = status.map(|it| it.borrow().clone()) else { return };
    let trial = status.start_count.is_some_and(|it| !it.is_over()).then_some(Record::Trial(None));
    let boot = status.boot_config.on_trial.map(|mut record| {
        record.starts = record.starts.saturating_sub(1);
        Record::BootConfig(Box::new(record))
    });
    for record in trial.into_iter().chain(boot) {
        // If it cannot be saved now, this start counts as one more; there is no other consequence.
        let _ = timeout(LAST_WORK, store.save(&record)).await;
    }
}

/// Reads the configuration again at each SIGHUP. The registries' credentials are read anew by every pull anyway.
async fn reload(
    mut hangups: Signal,
    run: &RunArgs,
    config: &Config,
    verbosity: &Verbosity,
    (world, provision): (&Linux<Engine, SwappableSource<TargetSources>>, &watch::Sender<Option<CloudProvisioning>>),
) -> Infallible {
    let mut before = sources(config);
    loop {
        if hangups.recv().await.is_none() {
            pending::<()>().await;
        }
        let new = match run.clone().config() {
            Ok(new) => new,
            Err(failure) => {
                for line in failure.to_string().lines() {
                    error!("{line}");
                }
                error!("the configuration is wrong; the old one stays");
                continue;
            }
        };
        for trouble in &new.troubles {
            warn!("{trouble}");
        }
        verbosity.set(&new.log);
        info!("the configuration was read again");
        // Where there is a cloud, the source of targets changes at the next start: two at once would contradict each other.
        let may_follow = !config.has_cloud() || new.targets_from == config.targets_from;
        let wanted = if may_follow { sources(&new) } else { SourceSettings::default() };
        if wanted != before {
            world.targets.replace(wanted.open(&world.cloud, &world.engine));
            let from = wanted.shown().unwrap_or_else(|| "nowhere: the last one stays".to_owned());
            info!("targets come from {from}");
            before = wanted;
        }
        world.targets.look_again();
        keep_provisioned(&new);
        world.cloud.set_root_ca(new.provisioning.root_ca.clone());
        world.cloud.set_registry(new.provisioning.registry_endpoint.clone());
        let cloud = cloud(&new);
        if provision.send_if_modified(|it| std::mem::replace(it, cloud.clone()) != cloud) {
            info!("the cloud is {}", cloud.map_or_else(|| "none".to_owned(), |it| it.endpoint));
        }
        if !new.has_cloud() {
            world.cloud.forget_account();
        }
        let later = config.wants_a_restart(&new);
        if !later.is_empty() {
            warn!("other changes count from the agent's next start: {}", later.join(", "));
        }
    }
}

/// The device's uuid, by which v3 target documents list devices.
fn uuid(config: &Config) -> Option<String> {
    store::uuid(&config.state_dir).or_else(|| config.provisioning.uuid.clone())
}

/// The device's cloud, as its provisioning says.
fn cloud(config: &Config) -> Option<CloudProvisioning> {
    let provisioning = &config.provisioning;
    Some(CloudProvisioning {
        endpoint: provisioning.cloud()?.to_owned(),
        logs_endpoint: provisioning.logs_endpoint.clone(),
        registry_endpoint: provisioning.registry_endpoint.clone(),
        fleet: provisioning.fleet,
        user: provisioning.user,
        provisioning_key: provisioning.provisioning_key.clone(),
        uuid: provisioning.uuid.clone(),
        device_key: provisioning.device_key.clone(),
        device_id: provisioning.device_id,
        registered_at_ms: provisioning.registered_at_ms,
        registration_retry: provisioning.registration_retry,
        poll_interval: provisioning.poll_interval,
        is_development: provisioning.is_development,
    })
}

/// Where targets come from, as configured.
fn sources(config: &Config) -> SourceSettings {
    SourceSettings {
        file: config.applied_file().map(ToOwned::to_owned),
        url: config.applied_url().map(ToOwned::to_owned),
        interval: config.target_interval,
        key: config.target_key.clone(),
        media_of: config.applies_media().then(|| config.root.clone()),
        state_dir: config.state_dir.clone(),
        uuid: config.provisioning.uuid.clone(),
    }
}

/// The preloaded target, unless the target file has one.
fn preload(config: &Config) -> Option<Preload> {
    let has_file = config.applied_file().is_some_and(Path::exists);
    let provisioning = config.provisioning.path.as_deref();
    (!has_file).then(|| Preload::new(&config.root, provisioning, &config.state_dir, uuid(config).as_deref()))
}

fn world(
    config: &Config,
    hosts: Vec<String>,
    device: &Device,
    board: &LedHost,
) -> Linux<Engine, SwappableSource<TargetSources>> {
    let uuid = uuid(config);
    let trust = Rc::new(TrustStore::new(&config.root, config.provisioning.root_ca.clone()));
    let traffic = TrafficCounter::default();
    let access = RegistryAccess { trust: trust.clone(), traffic: traffic.clone() };
    let registry_login = CloudLogin::new(config.provisioning.registry_endpoint.clone());
    let engine = Engine::connect(engine::EngineSettings {
        hosts,
        root: config.root.clone(),
        logins: Some(config.registry_auth.clone()),
        floor_bytes: config.disk_floor_bytes,
        registries: config.asks_registries.then_some(access),
        arch: device.arch.clone(),
    })
    .with_cloud_login(registry_login.clone());
    let cloud = CloudClient::new(CloudClientSettings {
        root: config.root.clone(),
        trust,
        traffic,
        user_agent: format!("Supervisor/{}", device.reported.supervisor_version),
        proxies: config.proxies.clone(),
    })
    .with_registry_login(registry_login);
    let targets = SwappableSource::new(sources(config).open(&cloud, &engine)).with_preload(preload(config));
    Linux {
        engine,
        store: Store::new(&config.state_dir, Box::new(move |text| document::parse_kept(text, uuid.as_deref())))
            .with_complaints(config.troubles.iter().cloned().chain(replaces()).collect())
            .with_flash_counter(FlashCounter::of_process())
            .with_runtime_directory(&config.runtime_dir),
        locks: Locks::new(&config.root),
        targets,
        power: Power::new(&config.root, config.bus.as_deref()),
        leds: board.leds("boardkeeper run"),
        clock: Clock::new(&config.root),
        chance: Random,
        cloud,
        net: net::NetAdapter::new(&config.root, &config.state_dir, config.bus.as_deref()),
        host: host::LiveHost::new(
            &config.root,
            &config.state_dir,
            config.provisioning.path.as_deref(),
            board_name(config),
            config.bus.as_deref(),
        )
        .with_boot_files(boot_files(config)),
    }
}

/// What is said if this version runs in place of a newer one: `boardkeeper.service` gives that one's version to the agent.
fn replaces() -> Option<String> {
    let installed = std::env::var("BOARDKEEPER_REPLACES").ok().filter(|it| !it.is_empty())?;
    let own = env!("CARGO_PKG_VERSION");
    Some(format!(
        "boardkeeper {installed} is installed and did not become ready; boardkeeper {own} runs in its place until a working \
         package is installed (`journalctl -u boardkeeper` says why)"
    ))
}

/// Detects the board. If records cannot be written, no LED is driven, and everything else works.
fn board(config: &Config) -> LedHost {
    let board = match &config.board {
        config::BoardChoice::Auto => None,
        config::BoardChoice::Simulated => Some(SIMULATED.to_owned()),
        config::BoardChoice::Slug(slug) => Some(slug.clone()),
    };
    let place = HostPaths {
        root: config.root.clone(),
        runtime: config.runtime_dir.clone(),
        board,
        device_type: config.device_type.clone(),
        led_file: config.led_file.as_ref().map(|path| path.to_string_lossy().into_owned()),
    };
    let complain = |error: io::Error| {
        let runtime = config.runtime_dir.display();
        error!(%error, "cannot write to the runtime directory `{runtime}`, so no LED is driven; name another with --runtime-dir");
    };
    let host = LedHost::open(place.clone());
    match (host, std::fs::create_dir_all(config.runtime_dir.join("leds"))) {
        (Ok(host), Ok(())) => host,
        (Ok(host), Err(error)) => {
            complain(error);
            host
        }
        (Err(error), _) => {
            complain(error);
            LedHost::bare(place)
        }
    }
}

/// The board's display name.
fn board_name(config: &Config) -> Option<String> {
    match detected(config) {
        Some(detected) => detected.board.map(|it| it.name.to_owned()).or(detected.model),
        None => Some("simulated".to_owned()),
    }
}

/// Where the board's firmware or boot loader is configured.
fn boot_files(config: &Config) -> BootFiles {
    let kind = detected(config).and_then(|it| it.boot_config());
    BootFiles::new(&config.root, config.provisioning.path.as_deref(), kind)
}

/// The board. `None`: it is simulated.
fn detected(config: &Config) -> Option<DetectedBoard> {
    let board = match &config.board {
        config::BoardChoice::Auto => None,
        config::BoardChoice::Simulated => return None,
        config::BoardChoice::Slug(slug) => Some(slug.clone()),
    };
    Some(detect(&config.root, &BoardHints { board, device_type: config.device_type.clone() }))
}

/// Logs what a reader of a log needs first.
fn greet(config: &Config, engine: &str, listeners: &Listeners, device: &Device) {
    let at: Vec<_> = listeners.addresses().iter().map(ToString::to_string).collect();
    let target = match (sources(config).shown(), config.provisioning.cloud()) {
        (Some(source), None) => source,
        (Some(source), Some(_)) => format!("{source}; the cloud's is not applied (--target-from)"),
        (None, Some(cloud)) if config.targets_from == TargetOrigin::Cloud => format!("of the cloud at {cloud}"),
        (None, _) => "the last one kept".to_owned(),
    };
    info!("boardkeeper {}, state in {}", env!("CARGO_PKG_VERSION"), config.state_dir.display());
    info!("board: {}; LED: {}", device.board.recognised, device.board.led.as_deref().unwrap_or("none"));
    info!("engine {engine}, target {target}");
    info!("the API answers at {}; `boardkeeper key` prints the device's key", at.join(", "));
}

/// SIGTERM and SIGINT, counted from the creation of this value.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Returns after this many signals.
    async fn signalled(mut self, times: usize) {
        for _ in 0..times {
            tokio::select! {
                biased;
                _ = self.terminate.recv() => (),
                _ = self.interrupt.recv() => (),
            }
        }
    }
}
