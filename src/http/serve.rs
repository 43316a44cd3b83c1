//! Serves each connection: reads requests, has the router answer them, and closes it in time.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Future, pending, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Context;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::response::Response;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::task::coop::unconstrained;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;
use tracing::{debug, info};

use super::Listener;
use super::limits::{ConnectionLimiter, Slot};
use super::stream_ref::{StreamActivity, StreamRef, Watched};
use crate::state::Status;
use crate::state::device::{
    AnswerDelay, ClientAddress, ConcurrentRequests, EndlessAnswer, LocalAddress, OpenConnections, ServerStop,
};

/// The most bytes of a request head, first line included: the limit of other supervisors. More is answered with 431.
const HEAD_BYTES: usize = 16 * 1024;
/// The most headers of a request: browsers send some twenty. More are answered with 431.
const HEADERS: usize = 64;
/// The read buffer of a connection. It bounds a connection's memory, and must hold a head.
const BUFFER_BYTES: usize = 20 * 1024;
/// A request's head must arrive within this time, or the connection is closed. An idle connection is closed after it too.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// A client that reads nothing of a response for this long is disconnected.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long responses in flight may take at shutdown.
const SHUTDOWN_GRACE: Duration = Duration::from_millis(500);

/// Serves requests until `shutdown` completes; then responses in flight are given half a second.
pub async fn serve(router: Router, listener: impl Listener, shutdown: impl Future<Output = ()>) {
    let (_publish, status) = watch::channel(Status::default());
    serve_while_up(router, listener, status, shutdown).await;
}

/// Like [`serve`], for an agent whose machine may shut down before the agent does: as soon as `status` says that logind has
/// accepted a reboot or power-off, connections are refused, and requests in flight are answered. If the shutdown is cancelled,
/// connections are accepted again.
pub async fn serve_while_up(
    router: Router,
    mut listener: impl Listener,
    mut status: watch::Receiver<Status>,
    shutdown: impl Future<Output = ()>,
) {
    let router = TowerToHyperService::new(router);
    let (mut stop, mut stopping) = watch::channel(());
    let limiter = ConnectionLimiter::default();
    let mut open = FuturesUnordered::new();
    let mut shutdown = pin!(shutdown);
    let mut is_accepting = true;
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(()) = open.next(), if !open.is_empty() => continue,
            () = accepting_changed(&mut status, is_accepting) => None,
            accepted = listener.accept() => Some(accepted),
        };
        let arrived = match accepted {
            Some(accepted) => vec![accepted],
            None if is_accepting => {
                is_accepting = false;
                listener.close().await
            }
            None => {
                info!("the machine does not shut down; the API accepts connections again");
                is_accepting = true;
                listener.reopen();
                continue;
            }
        };
        for (stream, peer) in arrived {
            let Some(slot) = limiter.admit(peer.addr) else {
                debug!(from = %peer.addr, "a connection was refused: all others have requests in flight");
                continue;
            };
            // Responses are small, and a client waits for each: no Nagle delay.
            let _ = stream.set_nodelay(true);
            let reached = stream.local_addr().ok().map(|it| LocalAddress(it.ip().to_canonical()));
            let service = Answering::new(router.clone(), peer, reached, slot, stopping.clone());
            // Each gives way after one response. A budget that all of them shared would be used up by the first of
            // many, and the same ones would always come last.
            open.push(unconstrained(serve_stream(stream, service, stopping.clone())));
        }
        if !is_accepting {
            info!("the machine shuts down; the API refuses new connections");
            // Each connection ends with the request that is in flight.
            (stop, stopping) = watch::channel(());
        }
    }
    drop(listener);
    drop(stop);
    let responses = async { while open.next().await.is_some() {} };
    if timeout(SHUTDOWN_GRACE, responses).await.is_err() {
        debug!("connections were cut off");
    }
}

/// Completes when connections that are accepted now should be refused, or the other way round.
async fn accepting_changed(status: &mut watch::Receiver<Status>, is_accepting: bool) {
    if status.wait_for(|it| it.shutdown.is_accepted() == is_accepting).await.is_err() {
        // The reconciler is gone, and publishes no status any more.
        pending::<()>().await;
    }
}

/// Serves one connection until it ends, as [`serve`] does each of its own.
pub async fn serve_connection(stream: impl AsyncRead + AsyncWrite, router: Router, peer: ClientAddress) {
    let (_stop, stopping) = watch::channel(());
    let limiter = ConnectionLimiter::default();
    let Some(slot) = limiter.admit(peer.addr) else { return };
    let router = TowerToHyperService::new(router);
    let service = Answering::new(router, peer, None, slot, stopping.clone());
    answer(stream, async || (), (pending(), pending()), service, stopping).await;
}

async fn serve_stream(stream: TcpStream, service: Answering<'_>, stopping: watch::Receiver<()>) {
    let stream = StreamRef(&stream);
    let ends = (stream.broken(), stream.closed());
    answer(stream, async || stream.readable().await, ends, service, stopping).await;
}

/// `readable` completes when there may be something to read. `broken` completes when the client can no longer be answered:
/// while a response is pending, nothing else polls the connection. `closed` completes when the client sends nothing any more.
async fn answer(
    stream: impl AsyncRead + AsyncWrite,
    readable: impl AsyncFn(),
    (broken, closed): (impl Future<Output = ()>, impl Future<Output = ()>),
    service: Answering<'_>,
    stopping: watch::Receiver<()>,
) {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_TIMEOUT));
    let stream = pin!(stream);
    tokio::select! {
        biased;
        ended = answer_all(stream, readable, &service, stopping) => if let Err(error) = ended {
            debug!(%error, "a connection broke");
        },
        () = service.slot.displaced() => debug!(from = %service.peer.addr, "a connection made room for others"),
        () = async { service.endless.notified().await; closed.await } => {
            debug!(from = %service.peer.addr, "a client that was sent a stream has left");
        }
        () = broken => debug!(from = %service.peer.addr, "a client disconnected before the answer"),
    }
}

/// Answers requests until the client or `stopping` ends the connection.
///
/// An [`http1::Connection`] allocates two buffers of 8 KiB. So an idle connection has none: it is made when bytes arrive, and
/// dropped when the client waits for no response. Then a burst of requests needs the buffers of one connection at a time, and
/// the heap stays small; the allocator never returns less than 2 MiB to the kernel.
async fn answer_all<S: AsyncRead + AsyncWrite>(
    mut stream: Pin<&mut TimeoutStream<S>>,
    readable: impl AsyncFn(),
    service: &Answering<'_>,
    mut stopping: watch::Receiver<()>,
) -> hyper::Result<()> {
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    // A client that has shut down its sending side still waits for a response.
    server.half_close(true);
    server.max_header_size(HEAD_BYTES).max_headers(HEADERS).max_buf_size(BUFFER_BYTES);
    let mut unparsed = Bytes::new();
    loop {
        if unparsed.is_empty() && !arrives(&readable, &mut stopping).await {
            return Ok(());
        }
        let activity = Cell::new(StreamActivity::Fresh);
        let io = Watched { stream: stream.as_mut(), unparsed, activity: &activity, owed: Bytes::new() };
        let mut connection = Box::new(server.serve_connection(TokioIo::new(io), service));
        let mut poll = |context: &mut Context<'_>, stops: bool| {
            service.turn.set(Turn::Free);
            if stops {
                Pin::new(&mut *connection).graceful_shutdown();
            }
            let polled = connection.poll_without_shutdown(context).map_ok(|()| Next::Close);
            if polled.is_ready() || stops || activity.get() != StreamActivity::Idle || service.is_answering() {
                return polled;
            }
            // An idle HTTP connection ends at once.
            Pin::new(&mut *connection).graceful_shutdown();
            connection.poll_without_shutdown(context).map_ok(|()| Next::Wait)
        };
        let next = tokio::select! {
            biased;
            next = poll_fn(|context| poll(context, false)) => next,
            _ = stopping.changed() => poll_fn(|context| poll(context, true)).await,
        };
        let ended = match next {
            Ok(Next::Wait) => {
                let rest = connection.into_parts().read_buf;
                // An empty remainder would still keep its buffer allocated.
                unparsed = if rest.is_empty() { Bytes::new() } else { rest };
                continue;
            }
            Ok(Next::Close) => Ok(()),
            Err(error) => Err(error),
        };
        drop(connection);
        // An error only means that the client is gone.
        let _ = stream.shutdown().await;
        return ended;
    }
}

/// What follows a response.
#[derive(Debug, Clone, Copy)]
enum Next {
    /// The client may send another request.
    Wait,
    /// The connection ends.
    Close,
}

/// Whether something to read arrives in time. When the agent stops, bytes that the kernel already holds count.
async fn arrives(readable: impl AsyncFn(), stopping: &mut watch::Receiver<()>) -> bool {
    tokio::select! {
        biased;
        () = readable() => true,
        _ = stopping.changed() => {
            // So that the kernel is polled once more for pending bytes.
            yield_now().await;
            readable().now_or_never().is_some()
        }
        () = sleep(HEAD_TIMEOUT) => false,
    }
}

/// The service that answers one client's requests.
struct Answering<'a> {
    router: TowerToHyperService<Router>,
    peer: ClientAddress,
    reached: Option<LocalAddress>,
    slot: Slot<'a>,
    stop: ServerStop,
    turn: Rc<Cell<Turn>>,
    /// Notified when a response begins that goes on until the client leaves.
    endless: Rc<Notify>,
}

/// Whether a connection has begun a response since it was polled. A client that pipelines many requests, or sends the next one
/// as soon as it has a response, would have sixteen of them answered while all other connections wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// It has not.
    Free,
    /// It has. The next response waits until the other connections were polled.
    Taken,
}

impl<'a> Answering<'a> {
    fn new(
        router: TowerToHyperService<Router>,
        peer: ClientAddress,
        reached: Option<LocalAddress>,
        slot: Slot<'a>,
        stopping: watch::Receiver<()>,
    ) -> Self {
        let (turn, endless) = (Rc::new(Cell::new(Turn::Free)), Rc::default());
        Self { router, peer, reached, slot, stop: ServerStop(stopping), turn, endless }
    }

    /// Whether a request is in flight: each holds a clone of `turn`.
    fn is_answering(&self) -> bool {
        Rc::strong_count(&self.turn) > 1
    }
}

impl Service<Request<Incoming>> for Answering<'_> {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>>>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let (guard, concurrent) = self.slot.begin();
        request.extensions_mut().insert(self.peer);
        request.extensions_mut().insert(self.stop.clone());
        request.extensions_mut().insert(ConcurrentRequests(concurrent));
        request.extensions_mut().insert(OpenConnections(self.slot.open()));
        if let Some(reached) = self.reached {
            request.extensions_mut().insert(reached);
        }
        let answered = self.router.call(request);
        let (turn, endless) = (Rc::clone(&self.turn), Rc::clone(&self.endless));
        Box::pin(async move {
            while turn.replace(Turn::Taken) == Turn::Taken {
                yield_now().await;
            }
            let answer = answered.await;
            drop(guard);
            if answer.as_ref().is_ok_and(|it| it.extensions().get::<EndlessAnswer>().is_some()) {
                endless.notify_one();
            }
            // The connection counts as idle from here on: another one may displace it.
            if let Ok(Some(AnswerDelay(long))) = answer.as_ref().map(|it| it.extensions().get().copied()) {
                sleep(long).await;
            }
            answer
        })
    }
}
