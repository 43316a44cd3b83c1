//! Counts the bytes that are sent and received, by purpose.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::state::cloud::{ByteCount, Traffic, TrafficPurpose};

/// The bytes since the agent started. Its clones share one count.
#[derive(Debug, Clone, Default)]
pub struct TrafficCounter(Rc<RefCell<Traffic>>);

/// What counts one connection's bytes. Its clones share the purpose.
#[derive(Debug, Clone)]
pub(in crate::linux) struct TrafficMeter {
    counter: TrafficCounter,
    purpose: Rc<Cell<TrafficPurpose>>,
}

/// A connection whose bytes are counted.
#[derive(Debug)]
pub(in crate::linux) struct Metered<S> {
    stream: S,
    meter: TrafficMeter,
}

impl TrafficCounter {
    /// The bytes so far.
    #[must_use]
    pub fn so_far(&self) -> Traffic {
        self.0.borrow().clone()
    }

    /// A meter for a connection that is opened for this purpose.
    pub(in crate::linux) fn meter(&self, purpose: TrafficPurpose) -> TrafficMeter {
        TrafficMeter { counter: self.clone(), purpose: Rc::new(Cell::new(purpose)) }
    }
}

impl TrafficMeter {
    /// Counts the bytes from now on for another purpose.
    pub(in crate::linux) fn count_for(&self, purpose: TrafficPurpose) {
        self.purpose.set(purpose);
    }

    /// A connection whose bytes it counts.
    pub(in crate::linux) fn on<S>(&self, stream: S) -> Metered<S> {
        Metered { stream, meter: self.clone() }
    }

    fn add(&self, sent: usize, received: usize) {
        let bytes = |it| u64::try_from(it).unwrap_or(u64::MAX);
        let more = ByteCount { sent: bytes(sent), received: bytes(received) };
        self.counter.0.borrow_mut().add(self.purpose.get(), more);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.meter.add(0, buffer.filled().len().saturating_sub(before));
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.count_sent(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, buffers);
        self.count_sent(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S> Metered<S> {
    fn count_sent(&self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(sent)) = polled {
            self.meter.add(sent, 0);
        }
        polled
    }
}
