//! The composition root: arguments, board, world, run, exit code.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use boardkeeper::cli::run::Run;
use boardkeeper::cli::{Cli, Command, Failure, board, gpio, led, log};
use boardkeeper::config::Config;
use boardkeeper::linux::clock::{Chance, Clock};
use boardkeeper::linux::engine::{self, Engine};
use boardkeeper::linux::locks::Locks;
use boardkeeper::linux::net::{self, Listeners};
use boardkeeper::linux::notify::Notify;
use boardkeeper::linux::power::Power;
use boardkeeper::linux::store::{self, Store};
use boardkeeper::linux::target::{self, TargetFile};
use boardkeeper::linux::{Linux, host};
use boardkeeper::notify;
use boardkeeper::port::{Manager, Word};
use boardkeeper::reconcile::Settings;
use boardkeeper::state::Device;
use clap::Parser;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::info;

/// Time between two looks at the engine when nothing happens: it is the net under its events.
const OBSERVE_EVERY: Duration = Duration::from_secs(180);
/// What work on the disk is given at the end.
const LAST_WORK: Duration = Duration::from_millis(300);

fn main() -> ExitCode {
    let ended = match Cli::parse().command {
        Command::Run(run) => live(run),
        Command::State(state) => state.show(),
        Command::Key(key) => key.show(),
        Command::Board(args) => return board::run(&args),
        Command::Led(args) => return led::run(args),
        Command::Gpio(args) => return gpio::run(args),
    };
    let Err(failure) = ended else { return ExitCode::SUCCESS };
    for line in failure.to_string().lines() {
        eprintln!("boardkeeper: {line}");
    }
    ExitCode::from(failure.code())
}

/// Runs the agent until it is told to stop.
fn live(run: Run) -> Result<(), Failure> {
    let config = run.config()?;
    log::begin(&config.log);
    let failed = |why: io::Error| Failure::Failed(format!("cannot begin: {why}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let ended = runtime.block_on(agent(&config));
    runtime.shutdown_timeout(LAST_WORK);
    ended
}

async fn agent(config: &Config) -> Result<(), Failure> {
    let failed = |why: io::Error| Failure::Failed(format!("cannot listen for signals: {why}"));
    let (stop, at_once) = (Stop::new().map_err(failed)?, Stop::new().map_err(failed)?);
    let listeners =
        Listeners::bind(&config.root, &config.listen, config.bridges).map_err(|why| Failure::Failed(why.to_string()))?;
    let engines = engine::hosts(config.docker_host.as_deref(), &config.root);
    let device = device(config, &engines);
    greet(config, host::engine(&engines), &listeners);
    let world = world(config, engines, &device);
    let settings = Settings {
        observe_every: OBSERVE_EVERY,
        device,
        uuid: config.provisioning.uuid.clone(),
        device_key: config.device_key.clone(),
        force: config.force,
    };
    let manager = Notify::new(&|name| std::env::var_os(name));
    let running = boardkeeper::run(&world, settings, async |router, door| {
        tokio::select! {
            biased;
            () = net::serve(router, listeners, stop.signalled(1)) => (),
            never = notify::run(&manager, door.intents, door.status) => match never {},
        }
    });
    tokio::select! {
        biased;
        // Whoever presses Ctrl-C twice does not want to wait.
        () = at_once.signalled(2) => (),
        () = running => (),
    }
    manager.tell(&Word::Stopping);
    info!("stopped; the containers run on");
    Ok(())
}

fn world(config: &Config, hosts: Vec<String>, device: &Device) -> Linux<Engine, Option<TargetFile>> {
    // Documents of the third kind say by uuid whose they are.
    let uuid = store::identity(&config.state_dir).map(|it| it.uuid).or_else(|| config.provisioning.uuid.clone());
    let targets = config.target.as_deref().map(|path| TargetFile::new(path, uuid.as_deref()));
    let engine = Engine::connect(engine::Settings {
        hosts,
        root: config.root.clone(),
        logins: Some(config.registry_auth.clone()),
        floor_bytes: config.disk_floor_bytes,
        arch: device.arch.clone(),
    });
    Linux {
        engine,
        store: Store::new(&config.state_dir, Box::new(move |text| target::parse(text, uuid.as_deref()))),
        locks: Locks::new(&config.root),
        targets,
        power: Power::new(&config.root, config.bus.as_deref()),
        clock: Clock::new(&config.root),
        chance: Chance,
    }
}

fn device(config: &Config, engines: &[String]) -> Device {
    let told = &config.provisioning;
    host::device(
        &config.root,
        host::Known {
            uuid: told.uuid.clone(),
            name: told.name.clone(),
            device_type: told.device_type.clone().or_else(|| config.device_type.clone()),
            api_port: config.api_port(),
            api_endpoint: told.api_endpoint.clone(),
            engines: engines.to_vec(),
        },
    )
}

/// What a person wants to know first when they look at a log.
fn greet(config: &Config, engine: &str, listeners: &Listeners) {
    let at: Vec<_> = listeners.addresses().iter().map(ToString::to_string).collect();
    let target = config.target.as_ref().map_or_else(|| "the last one kept".to_owned(), |it| it.display().to_string());
    info!("boardkeeper {}, state in {}", env!("CARGO_PKG_VERSION"), config.state_dir.display());
    info!("engine {engine}, target {target}");
    info!("the API answers at {}; `boardkeeper key` prints the device's key", at.join(", "));
}

/// SIGTERM and SIGINT, from the moment this was made.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Over when so many have come.
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
