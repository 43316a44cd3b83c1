//! A cloud for tests: the API that devices and users of open-balena talk to, as it was recorded of version 49.
//!
//! It serves TLS with a certificate authority of its own, in a thread of its own. Tests play the user by calling its methods,
//! and make it fail with [`FakeCloud::fails`]. Every request is recorded, with the bytes on the wire.
//!
//! ```text
//! model       fleets, releases, devices, keys                     fake/model.rs
//! user        what a user does: fleets, variables, pins, moves    fake/user.rs
//! tls         certificates                                        fake/tls.rs
//! serve       connections, their bytes, and faults                fake/serve.rs
//! answer      answers with the headers of the recorded ones       fake/answer.rs
//! fault       what may go wrong, and with which calls             fake/fault.rs
//! route       which call a request is, and who sent it            fake/route.rs
//! register    POST /device/register                               fake/register.rs
//! target      GET /device/v3/UUID/state                           fake/target.rs
//! report      PATCH /device/v3/state                              fake/report.rs
//! logs        POST /device/v2/UUID/log-stream                     fake/logs.rs
//! odata       /v7 and the other small ones                        fake/odata.rs
//! token       GET /auth/v1/token, for the registry                fake/token.rs
//! relay       POST /supervisor/URL, on to a device                fake/relay.rs
//! ```

mod answer;
mod fault;
mod logs;
mod model;
mod odata;
mod register;
mod relay;
mod report;
mod route;
mod serve;
mod target;
mod tls;
mod token;
mod user;

use std::net::TcpListener;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;

pub(crate) use answer::gzip;
pub(crate) use fault::Fault;
pub(crate) use model::Service;
pub(crate) use relay::Relayed;
pub(crate) use route::Call;
pub(crate) use serve::{Exchange, Wire};

use model::Model;

/// The cloud, which runs until it is dropped.
pub(crate) struct FakeCloud {
    shared: Arc<Shared>,
    port: u16,
    root: String,
    orders: watch::Sender<Order>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread that serves, and the tests, both see.
pub(crate) struct Shared {
    state: Mutex<State>,
}

/// Everything that changes.
pub(crate) struct State {
    model: Model,
    faults: fault::Faults,
    exchanges: Vec<Exchange>,
    wires: Vec<Arc<Wire>>,
    /// How long a deleted device waits for the refusal of its logs.
    brake: Duration,
}

/// What the thread does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Serves. A new number closes all connections.
    Serve(u64),
    /// Refuses connections.
    Refuse,
    /// Ends.
    End,
}

impl FakeCloud {
    /// Starts it at a port of the kernel's choice.
    pub(crate) fn start() -> Self {
        Self::start_at(0)
    }

    /// Starts it at this port of 127.0.0.1.
    pub(crate) fn start_at(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let chain = tls::Chain::new();
        let (orders, ordered) = watch::channel(Order::Serve(0));
        let state = State {
            model: Model::new(port),
            faults: fault::Faults::default(),
            exchanges: Vec::new(),
            wires: Vec::new(),
            brake: Duration::from_secs(55),
        };
        let shared = Arc::new(Shared { state: Mutex::new(state) });
        let (root, acceptor, served) = (chain.root.clone(), chain.acceptor(), Arc::clone(&shared));
        let thread = thread::spawn(move || serve::run(&served, listener, &acceptor, ordered));
        Self { shared, port, root, orders, thread: Some(thread) }
    }

    /// The API's address, as config.json has it.
    pub(crate) fn endpoint(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The port.
    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// The certificate of its authority, in PEM.
    pub(crate) fn root(&self) -> &str {
        &self.root
    }

    /// The config.json of a device that is to join a fleet, as the cloud's tools write it.
    pub(crate) fn config_json(&self, fleet: u64, provisioning_key: &str) -> Value {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        json!({"applicationId": fleet, "deviceType": "raspberrypi3", "userId": 2, "appUpdatePollInterval": 600_000,
            "listenPort": 48484, "vpnPort": 443, "apiEndpoint": self.endpoint(), "vpnEndpoint": "localhost",
            "registryEndpoint": "localhost:5000", "deltaEndpoint": self.endpoint(), "mixpanelToken": "x",
            "apiKey": provisioning_key, "logsEndpoint": self.endpoint(), "balenaRootCA": STANDARD.encode(&self.root)})
    }

    /// Refuses connections from now on, and closes those there are.
    pub(crate) fn goes_down(&self) {
        self.orders.send_replace(Order::Refuse);
    }

    /// Accepts connections again.
    pub(crate) fn comes_up(&self) {
        self.orders.send_replace(Order::Serve(0));
    }

    /// Closes all connections without a word.
    pub(crate) fn closes_connections(&self) {
        self.orders.send_modify(|it| {
            if let Order::Serve(number) = it {
                *number += 1;
            }
        });
    }

    /// Calls of this kind fail so from now on, until [`Self::is_well`].
    pub(crate) fn fails(&self, call: Call, fault: Fault) {
        self.state().faults.add(call, fault, u32::MAX);
    }

    /// The next calls of this kind fail so.
    pub(crate) fn fails_times(&self, times: u32, call: Call, fault: Fault) {
        self.state().faults.add(call, fault, times);
    }

    /// No call fails any more.
    pub(crate) fn is_well(&self) {
        self.state().faults = fault::Faults::default();
    }

    /// How long a deleted device waits for the refusal of its logs; 55 s where this is not called.
    pub(crate) fn brakes_for(&self, brake: Duration) {
        self.state().brake = brake;
    }

    /// All requests, in the order in which they arrived.
    pub(crate) fn exchanges(&self) -> Vec<Exchange> {
        self.state().exchanges.clone()
    }

    /// The requests of one kind.
    pub(crate) fn calls(&self, call: Call) -> Vec<Exchange> {
        self.state().exchanges.iter().filter(|it| it.call == call).cloned().collect()
    }

    /// How many connections there were, and the payload bytes that they brought and took.
    pub(crate) fn traffic(&self) -> (usize, u64, u64) {
        let state = self.state();
        let sum = |of: fn(&Wire) -> u64| state.wires.iter().map(|it| of(it)).sum();
        (state.wires.len(), sum(|it| it.received.load(Ordering::Relaxed)), sum(|it| it.sent.load(Ordering::Relaxed)))
    }

    /// The bytes that one request cost, in and out: a new connection's handshake counts for its first request.
    pub(crate) fn bytes_of(&self, exchange: &Exchange) -> (u64, u64) {
        let state = self.state();
        let on_it = || state.exchanges.iter().filter(|it| Arc::ptr_eq(&it.wire, &exchange.wire));
        let before = if on_it().any(|it| it.number < exchange.number) { exchange.before } else { (0, 0) };
        let now = (exchange.wire.received.load(Ordering::Relaxed), exchange.wire.sent.load(Ordering::Relaxed));
        let to = on_it().find(|it| it.number > exchange.number).map_or(now, |it| it.before);
        (to.0 - before.0, to.1 - before.1)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

impl Shared {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for FakeCloud {
    fn drop(&mut self) {
        self.orders.send_replace(Order::End);
        if let Some(thread) = self.thread.take() {
            // A panic there is in the test's output already.
            let _ = thread.join();
        }
    }
}
