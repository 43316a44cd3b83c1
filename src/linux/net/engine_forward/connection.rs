//! One connection: its first request is checked, then bytes are copied in both directions.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional_with_sizes};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::head::{self, ForwardRefusal, Verdict};
use crate::linux::engine::{Engine, EngineStream};
use crate::state::Status;
use crate::state::own_names::OwnNames;

/// Bytes that are read ahead of a slower receiver, in each direction.
pub(super) const BUFFER_BYTES: usize = 16 * 1024;
/// How long a client may take for the head of its first request. Browsers open connections before they need them.
const HEAD_WAIT: Duration = Duration::from_secs(10);
/// How long a refused client may take to read why. What it still sends is discarded, because a connection that is closed with
/// unread bytes is reset, and the client would lose the response.
const FAREWELL: Duration = Duration::from_secs(1);

/// Forwards a connection until both sides have ended it.
pub(super) async fn forward(mut client: TcpStream, from: SocketAddr, engine: &Engine, status: &watch::Receiver<Status>) {
    let ended = match timeout(HEAD_WAIT, first_request(&mut client, status)).await {
        Ok(Ok(Ok(sent))) => join(client, from, &sent, engine).await,
        Ok(Ok(Err(refusal))) => {
            warn!(%from, "a request to the engine was refused: {}", refusal.why);
            refuse(&mut client, &refusal).await
        }
        Ok(Err(error)) => Err(error),
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no request came")),
    };
    if let Err(error) = ended {
        debug!(%from, %error, "a connection to the engine broke");
    }
}

/// Reads until the head of the first request is complete. Returns every byte that was read.
async fn first_request(
    client: &mut TcpStream,
    status: &watch::Receiver<Status>,
) -> io::Result<Result<Vec<u8>, ForwardRefusal>> {
    let reached = client.local_addr()?.ip().to_canonical();
    let mut sent = Vec::new();
    loop {
        if client.read_buf(&mut sent).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match head::check(&sent, OwnNames { status: &status.borrow(), reached: Some(reached) }) {
            Verdict::Incomplete => (),
            Verdict::Admitted => return Ok(Ok(sent)),
            Verdict::Refused(refusal) => return Ok(Err(refusal)),
        }
    }
}

async fn join(mut client: TcpStream, from: SocketAddr, sent: &[u8], engine: &Engine) -> io::Result<()> {
    debug!(%from, "{} is forwarded to the engine", head::summary(sent));
    match engine.dial().await {
        Ok(EngineStream::Unix(stream)) => copy(client, stream, sent).await,
        Ok(EngineStream::Tcp(stream)) => copy(client, stream, sent).await,
        Err(why) => refuse(&mut client, &ForwardRefusal { status: "502 Bad Gateway", why }).await,
    }
}

/// An end in one direction leaves the other open: `docker attach` ends its input, and reads on.
async fn copy(mut client: TcpStream, mut engine: impl AsyncRead + AsyncWrite + Unpin, sent: &[u8]) -> io::Result<()> {
    engine.write_all(sent).await?;
    copy_bidirectional_with_sizes(&mut client, &mut engine, BUFFER_BYTES, BUFFER_BYTES).await.map(drop)
}

async fn refuse(client: &mut TcpStream, refusal: &ForwardRefusal) -> io::Result<()> {
    let farewell = async {
        client.write_all(refusal.response().as_bytes()).await?;
        client.shutdown().await?;
        let mut discarded = [0; 1024];
        while client.read(&mut discarded).await? > 0 {}
        Ok(())
    };
    timeout(FAREWELL, farewell).await.unwrap_or(Ok(()))
}
