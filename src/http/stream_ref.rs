//! A connection as the server sees it: read and written by the HTTP server, and watched for errors beside it.

use std::cell::Cell;
use std::future::pending;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Bytes;
use rustix::net::{Shutdown, shutdown};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// Keeps browsers from guessing the type of a response; see the API's own layers.
const NOSNIFF: &[u8] = b"x-content-type-options: nosniff\r\n";

/// A connection by reference.
#[derive(Debug, Clone, Copy)]
pub(super) struct StreamRef<'a> {
    stream: &'a TcpStream,
    /// Whether the last read took all that there was.
    is_drained: &'a Cell<bool>,
}

impl<'a> StreamRef<'a> {
    /// `is_drained` is false for a new connection.
    pub(super) const fn new(stream: &'a TcpStream, is_drained: &'a Cell<bool>) -> Self {
        Self { stream, is_drained }
    }

    /// Ready when there is something to read, or the connection ends. Not a future of tokio's, which has room for a place in a
    /// list of those that wait: a connection is mostly idle.
    pub(super) fn poll_readable(self, context: &mut Context<'_>) -> Poll<()> {
        // Errors are reported by the read that follows.
        if self.is_drained.get() {
            self.stream.poll_read_ready(context).map(drop)
        } else {
            // tokio takes a new connection for readable until a read was tried.
            self.stream.poll_peek(context, &mut ReadBuf::new(&mut [0])).map(drop)
        }
    }

    /// Completes when the client has closed the connection or its sending side, unless it has sent something that was not read.
    pub(super) async fn closed(self) {
        if matches!(self.stream.peek(&mut [0]).await, Ok(1..)) {
            pending::<()>().await;
        }
    }

    /// Completes when the connection is broken: reset, or the client is gone. Not when the client only shuts down its sending
    /// side.
    pub(super) async fn broken(self) {
        // If readiness cannot be polled, the runtime is shutting down, and soon everything else.
        let _ = self.stream.ready(Interest::ERROR).await;
    }

    /// Has the runtime wait for the kernel's next event, without a read that says that there is nothing.
    fn drained(self) {
        let _ = self.stream.try_io(Interest::READABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
        self.is_drained.set(true);
    }
}

impl AsyncRead for StreamRef<'_> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let room = buffer.remaining();
        loop {
            ready!(self.stream.poll_read_ready(context))?;
            match self.stream.try_read_buf(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.is_drained.set(true),
                read => {
                    // The kernel has no more than a read that did not fill the buffer; what comes later is another event.
                    match read {
                        Ok(length) if 0 < length && length < room => self.drained(),
                        Ok(_) | Err(_) => self.is_drained.set(false),
                    }
                    return Poll::Ready(read.map(drop));
                }
            }
        }
    }
}

impl AsyncWrite for StreamRef<'_> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(self: Pin<&mut Self>, context: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(context))?;
            match self.stream.try_write_vectored(parts) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => (),
                written => return Poll::Ready(written),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(shutdown(self.stream, Shutdown::Write)?))
    }
}

/// What the HTTP server last did with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StreamActivity {
    /// It has written nothing yet.
    Fresh,
    /// It wrote, or has read since.
    Busy,
    /// It wrote, and now waits for something to read.
    Idle,
}

/// A connection that records the server's activity, and whose first bytes were read before.
pub(super) struct Watched<'a, S> {
    pub(super) stream: Pin<&'a mut S>,
    /// Bytes that were read before, and not parsed.
    pub(super) unparsed: Bytes,
    pub(super) activity: &'a Cell<StreamActivity>,
    /// What is still to be written of a response that hyper made itself.
    pub(super) owed: Bytes,
}

impl<S: AsyncWrite> Watched<'_, S> {
    /// Writes the rest of `owed`.
    fn poll_owed(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.owed.is_empty() {
            let written = ready!(self.stream.as_mut().poll_write(context, &self.owed))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            // An empty slice would keep its buffer allocated.
            self.owed = if written < self.owed.len() { self.owed.slice(written..) } else { Bytes::new() };
        }
        Poll::Ready(Ok(()))
    }
}

/// The head with which hyper rejects a request it cannot parse, with the header that all responses have. `None`: `head` is of
/// a response of the API.
fn completed(head: &[u8]) -> Option<Bytes> {
    let is_refusal = head.starts_with(b"HTTP/1.") && head.get(9) == Some(&b'4') && head.ends_with(b"\r\n\r\n");
    if !is_refusal || head.windows(NOSNIFF.len()).any(|it| it == NOSNIFF) {
        return None;
    }
    let first_line = head.windows(2).position(|it| it == b"\r\n")? + 2;
    Some([&head[..first_line], NOSNIFF, &head[first_line..]].concat().into())
}

impl<S: AsyncRead> AsyncRead for Watched<'_, S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.unparsed.is_empty() {
            let length = self.unparsed.len().min(buffer.remaining());
            buffer.put_slice(&self.unparsed.split_to(length));
            return Poll::Ready(Ok(()));
        }
        let read = self.stream.as_mut().poll_read(context, buffer);
        if self.activity.get() != StreamActivity::Fresh {
            self.activity.set(if read.is_pending() { StreamActivity::Idle } else { StreamActivity::Busy });
        }
        read
    }
}

impl<S: AsyncWrite> AsyncWrite for Watched<'_, S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.activity.set(StreamActivity::Busy);
        ready!(self.poll_owed(context))?;
        if let [head] = parts
            && let Some(owed) = completed(head)
        {
            self.owed = owed;
            return Poll::Ready(Ok(head.len()));
        }
        self.stream.as_mut().poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_owed(context))?;
        self.stream.as_mut().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_shutdown(context)
    }
}
