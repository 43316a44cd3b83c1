//! The real world: the ports, on a Linux board.

pub mod board;
pub mod clock;
pub mod doctor;
pub mod engine;
pub mod host;
pub mod leds;
pub mod locks;
pub mod net;
pub mod notify;
pub mod power;
pub mod store;
mod systemd;
pub mod target;
mod watch;
pub mod world;

pub use world::Linux;

/// Runs what may block beside the one thread. Fails only where it fell over, or the agent is about to end.
async fn off_thread<T: Send + 'static>(deed: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(deed).await.map_err(|why| format!("work on the disk was broken off: {why}"))
}
