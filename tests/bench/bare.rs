//! A client that makes the same calls to the engine without any logic: the minimum cost of bringing services up.

use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bollard::Docker;
use bollard::models::{ContainerCreateBody, EndpointSettings, HostConfig, NetworkCreateRequest, NetworkingConfig};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, EventsOptionsBuilder, ListContainersOptionsBuilder, RemoveContainerOptions,
    StopContainerOptions,
};
use futures_util::StreamExt;
use futures_util::future::join_all;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::agent::{CROWD, IMAGE};

const NETWORK: &str = "bare_default";
/// How long a container may take to start.
const LONGEST: Duration = Duration::from_secs(120);

/// Creates the network, then creates and starts all containers concurrently; returns the time it took.
pub(crate) fn bring_up(socket: &Path, services: u32) -> Duration {
    let starts = Starts::from_now_on(socket);
    let begun = wait(async {
        let docker = connect(socket);
        let begun = Instant::now();
        let network = NetworkCreateRequest { name: NETWORK.to_owned(), ..NetworkCreateRequest::default() };
        docker.create_network(network).await.unwrap();
        join_all((0..services).map(|it| run(&docker, it))).await;
        begun
    });
    starts.nth(services).duration_since(begun)
}

/// Stops a container, and puts one with another environment in its place; returns the time it took.
pub(crate) fn replace_one(socket: &Path) -> Duration {
    let starts = Starts::from_now_on(socket);
    let begun = wait(async {
        let docker = connect(socket);
        let begun = Instant::now();
        docker.stop_container("bare_0", None::<StopContainerOptions>).await.unwrap();
        docker.remove_container("bare_0", None::<RemoveContainerOptions>).await.unwrap();
        run(&docker, 0).await;
        begun
    });
    starts.nth(1).duration_since(begun)
}

/// Creates containers of other programs, which are not started.
pub(crate) fn crowd(socket: &Path, containers: u32) {
    wait(async {
        let docker = connect(socket);
        for it in 0..containers {
            let body = ContainerCreateBody { image: Some(IMAGE.to_owned()), ..ContainerCreateBody::default() };
            let name = CreateContainerOptionsBuilder::new().name(&format!("{CROWD}_{it}")).build();
            docker.create_container(Some(name), body).await.unwrap();
        }
    });
}

/// When the engine starts containers, by its events. To list them all the time would hold up the engine.
pub(crate) struct Starts {
    times: mpsc::Receiver<Instant>,
    /// Dropped with this, which ends the listening.
    _stop: oneshot::Sender<()>,
}

impl Starts {
    pub(crate) fn from_now_on(socket: &Path) -> Self {
        let since = clock_gettime(ClockId::Realtime);
        let since = format!("{}.{:09}", since.tv_sec, since.tv_nsec);
        let docker = connect(socket);
        let (seen, times) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        thread::spawn(move || {
            let filters = [("type", vec!["container"]), ("event", vec!["start"])].into_iter().collect();
            let mut events = docker.events(Some(EventsOptionsBuilder::new().since(&since).filters(&filters).build()));
            let listens = async {
                while let Some(event) = events.next().await {
                    event.unwrap();
                    // The measurement may have ended.
                    let _ = seen.send(Instant::now());
                }
            };
            wait(async {
                tokio::select! { () = listens => (), _ = stopped => () }
            });
        });
        Self { times, _stop: stop }
    }

    /// When it had started this many.
    pub(crate) fn nth(self, containers: u32) -> Instant {
        let next = |_| self.times.recv_timeout(LONGEST).expect("the engine starts all containers");
        (0..containers).map(next).max().expect("it waits for one")
    }
}

/// The number of running containers.
pub(crate) fn running(socket: &Path) -> u32 {
    running_named(socket, "")
}

/// The number of running containers whose name ends so.
pub(crate) fn running_named(socket: &Path, end: &str) -> u32 {
    wait(async {
        let found = connect(socket).list_containers(Some(ListContainersOptionsBuilder::new().build())).await.unwrap();
        let names = found.iter().filter_map(|it| it.names.as_ref()?.first());
        u32::try_from(names.filter(|it| it.ends_with(end)).count()).unwrap()
    })
}

async fn run(docker: &Docker, number: u32) {
    let name = format!("bare_{number}");
    let endpoints = [(NETWORK.to_owned(), EndpointSettings::default())].into_iter().collect();
    let body = ContainerCreateBody {
        image: Some(IMAGE.to_owned()),
        tty: Some(true),
        host_config: Some(HostConfig { network_mode: Some(NETWORK.to_owned()), ..HostConfig::default() }),
        networking_config: Some(NetworkingConfig { endpoints_config: Some(endpoints) }),
        ..ContainerCreateBody::default()
    };
    docker.create_container(Some(CreateContainerOptionsBuilder::new().name(&name).build()), body).await.unwrap();
    docker.start_container(&name, None).await.unwrap();
}

fn connect(socket: &Path) -> Docker {
    Docker::connect_with_unix(socket.to_str().unwrap(), 60, bollard::API_DEFAULT_VERSION).unwrap()
}

fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}
