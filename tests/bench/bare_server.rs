//! A server of the same libraries that answers every request at once: the minimum cost of a response.

use std::env;
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};

use axum::Router;
use tokio::net::TcpListener;

use crate::agent::wait_until;
use crate::requests::is_answered;

/// Its port; in the lab no other program uses it.
pub(crate) const PORT: u16 = 48485;
/// With this argument the benchmark is the server.
const ARGUMENT: &str = "--bare-server";

/// The running server: a process of its own, so that the kernel counts its processor time apart from the clients'.
pub(crate) struct BareServer(Child);

impl BareServer {
    pub(crate) fn start() -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        let server = Self(command.arg(ARGUMENT).stdin(Stdio::null()).spawn().unwrap());
        wait_until("the bare server answers", || is_answered(PORT));
        server
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for BareServer {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Whether this process is to be the server.
pub(crate) fn is_wanted() -> bool {
    env::args().any(|it| it == ARGUMENT)
}

/// Serves until it is killed.
pub(crate) fn serve() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)).await.unwrap();
        axum::serve(listener, Router::new().fallback(async || "OK")).await.unwrap();
    });
}
