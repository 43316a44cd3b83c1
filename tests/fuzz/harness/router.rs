//! Whole connections: heads, bodies, chunks, and bytes that are none of these, through the server and the router.

use std::cell::OnceCell;
use std::net::{IpAddr, Ipv4Addr};

use boardkeeper::api::{self, ApiHandle};
use boardkeeper::http;
use boardkeeper::request::{LedHandle, LedRequest, Refusal, Request, respond};
use boardkeeper::sorted::SortedMap;
use boardkeeper::state::cloud::CloudStatus;
use boardkeeper::state::device::ClientAddress;
use boardkeeper::state::history::History;
use boardkeeper::state::host::HostConfig;
use boardkeeper::state::keys::{Grant, KeyScope};
use boardkeeper::state::local_engine::LocalEngine;
use boardkeeper::state::local_mode::LocalModeStatus;
use boardkeeper::state::{
    AppId, Connectivity, ContainerId, IdentifyOutcome, Keys, LedStatus, Secret, ServiceKey, Status, VpnState,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// Bytes between two pauses of a caller, where he makes pauses.
const PART: usize = 7;

/// The device's key: 64 of these.
const KEY: &str = "d";

/// The bytes of a connection, one after the other. Every answer begins as one does, and the connection ends.
pub fn router(data: &[u8]) {
    thread_local!(static RUNTIME: OnceCell<Runtime> = const { OnceCell::new() });
    RUNTIME.with(|runtime| {
        let made = || tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.get_or_init(|| made().expect("a runtime")).block_on(async {
            let answer = answered(data, data.len()).await;
            assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."), "{}", String::from_utf8_lossy(&answer));
            if data.len() < 512 {
                let again = answered(data, PART).await;
                assert!(again.is_empty() || again.starts_with(b"HTTP/1."), "{}", String::from_utf8_lossy(&again));
            }
        });
    });
}

async fn answered(data: &[u8], part: usize) -> Vec<u8> {
    let (mut caller, stream) = tokio::io::duplex(64 * 1024);
    let (intents, mut inbox) = mpsc::channel(16);
    let (requests, mut lights) = mpsc::channel(16);
    let (_show, panel) = watch::channel(LedStatus::default());
    let (_publish, status) = watch::channel(known());
    let (_report, connectivity) = watch::channel(Connectivity::Unknown);
    let (_cloud, cloud) = watch::channel(CloudStatus::default());
    let (_vpn, vpn) = watch::channel(VpnState::default());
    let (tags, _) = mpsc::channel(1);
    let (streams, _) = mpsc::channel(1);
    let (local_engine, _) = watch::channel(LocalEngine::default());
    let leds = LedHandle { requests, status: panel };
    let door = ApiHandle {
        requests: intents,
        status,
        connectivity,
        vpn,
        cloud,
        leds,
        history: watch::channel(History::default()).1,
        streams,
        tags,
        local_engine,
        started: Instant::now(),
    };
    let peer = ClientAddress { addr: IpAddr::V4(Ipv4Addr::LOCALHOST), local: true };
    let served = http::serve_connection(stream, api::router(door), peer);
    let asks = async {
        let mut answer = Vec::new();
        let (mut read, mut write) = tokio::io::split(&mut caller);
        let says = async {
            for part in data.chunks(part.max(1)) {
                if write.write_all(part).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        };
        // It ends by itself: an idle connection is closed.
        let ((), _) = tokio::join!(says, read.read_to_end(&mut answer));
        answer
    };
    let done = async {
        loop {
            tokio::select! {
                biased;
                Some(ask) = inbox.recv() => answer(ask),
                Some(LedRequest::Identify(reply)) = lights.recv() => drop(reply.send(IdentifyOutcome::By("ACT".to_owned()))),
                else => std::future::pending::<()>().await,
            }
        }
    };
    tokio::select! {
        biased;
        ((), answer) = async { tokio::join!(served, asks) } => answer,
        () = done => Vec::new(),
    }
}

fn known() -> Status {
    let keys = Keys {
        device: Secret::new(KEY.repeat(64)),
        root: Secret::new("r".repeat(64)),
        generations: SortedMap::new(),
        kept: SortedMap::new(),
    };
    let access =
        keys.access([Grant { service: ServiceKey::new(AppId(1), "main"), app_uuid: "1".to_owned(), reach: KeyScope::App }]);
    Status { access, ..Status::default() }
}

fn answer(request: Request) {
    match request {
        Request::By(_, request) => answer(*request),
        Request::Held(_)
        | Request::Identified(_)
        | Request::Target(_)
        | Request::Rejected(_)
        | Request::Account(_)
        | Request::PinSettled => (),
        Request::Restart { reply, .. } | Request::Purge { reply, .. } => respond(reply, Ok(Vec::new())),
        Request::RestartService { reply, .. } | Request::Stop { reply, .. } | Request::Start { reply, .. } => {
            respond(reply, Ok(ContainerId("c".repeat(64))));
        }
        Request::Lease { reply, .. } => respond(reply, Err(Refusal::Busy(AppId(1)))),
        Request::RenewKey { reply, .. } | Request::MakePageLink(reply) | Request::OpenPageLink { reply, .. } => {
            respond(reply, Ok(Secret::new("e".repeat(64))));
        }
        Request::SwitchLocalMode { reply, .. } => respond(reply, Ok(LocalModeStatus::default())),
        Request::ReadHost(reply) => respond(reply, Ok(HostConfig::default())),
        Request::Update { reply, .. }
        | Request::CleanUpVolumes { reply, .. }
        | Request::CheckConnectivity { reply, .. }
        | Request::ConfigureHost { reply, .. }
        | Request::Shutdown { reply, .. }
        | Request::PushTarget { reply, .. }
        | Request::EndLease { reply, .. }
        | Request::EndTargetTrial(reply)
        | Request::Probe(reply) => respond(reply, Ok(())),
        Request::TryTarget { reply, .. } | Request::KeepTarget(reply) => {
            respond(reply, Err(Refusal::Trial("none is on trial".to_owned())));
        }
    }
}
