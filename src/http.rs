//! The HTTP server and its limits. It takes connections from a [`Listener`] and knows nothing of addresses or interfaces.
//!
//! All connections are polled by the one future that serves them: nothing is spawned. Which connections stay when there are too
//! many is in `http/limits.rs`.

mod limits;
mod serve;
mod stream_ref;
#[cfg(test)]
pub(crate) mod tests;

use tokio::net::TcpStream;

use crate::state::ClientAddress;

pub use serve::{serve, serve_connection, serve_while_up};

/// What connections come from.
#[expect(async_fn_in_trait, reason = "the agent is one thread, so nothing need be Send")]
pub trait Listener {
    /// The next connection. Cancel-safe: dropped at any await, it loses no connection.
    async fn accept(&mut self) -> (TcpStream, ClientAddress);
    /// Stops listening, so that new connections are refused. Returns the connections that the kernel has accepted already.
    async fn close(&mut self) -> Vec<(TcpStream, ClientAddress)>;
    /// Listens again.
    fn reopen(&mut self);
}
