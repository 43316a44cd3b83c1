//! Serves each connection: reads requests, has the router answer them, and closes it in time.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Future, pending, poll_fn};
use std::mem;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{self, Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::StatusCode;
use axum::http::header::{CONNECTION, X_CONTENT_TYPE_OPTIONS};
use axum::response::{IntoResponse, Response};
use futures_util::future::{BoxFuture, Either, LocalBoxFuture, Ready, ready};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::task::coop::unconstrained;
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};
use tokio_io_timeout::TimeoutWriter;
use tracing::{debug, info};

use super::Listener;
use super::limits::{ConnectionLimiter, Slot};
use super::stream_ref::{StreamActivity, StreamRef, Watched};
use crate::apart::apart;
use crate::state::Status;
use crate::state::device::{AnswerDelay, ClientAddress, EndlessAnswer, ServedConnection, ServerStop};
use crate::state::keys::FirstKey;

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
    let router = TowerToHyperService::new(router);
    serve_while_up(|request| routed(router.call(request)), listener, status, shutdown).await;
}

fn routed(answered: impl Future<Output = Result<Response, Infallible>> + Send + 'static) -> Answer {
    Either::Right(Box::pin(answered.map(|Ok(response)| response)))
}

/// A response, or what waits for it.
type Answer = Either<Ready<Response>, BoxFuture<'static, Response>>;

/// Like [`serve`], with a function that answers requests, and for an agent whose machine may shut down before the agent does:
/// as soon as `status` says that logind has accepted a reboot or power-off, connections are refused, and requests in flight are
/// answered. If the shutdown is cancelled, connections are accepted again.
pub async fn serve_while_up(
    answer: impl Fn(Request<Body>) -> Answer,
    mut listener: impl Listener,
    mut status: watch::Receiver<Status>,
    shutdown: impl Future<Output = ()>,
) {
    let (mut stop, mut stopping) = watch::channel(());
    let limiter = ConnectionLimiter::default();
    let mut open = FuturesUnordered::new();
    // When all of them have been polled, the task is woken once more. One that never is leaves it asleep.
    open.push(Either::Left(pending()));
    let mut shutdown = pin!(apart(shutdown));
    let mut is_accepting = true;
    loop {
        let arrival = async {
            tokio::select! {
                biased;
                () = accepting_changed(&mut status, is_accepting) => None,
                accepted = listener.accept() => Some(accepted),
            }
        };
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(()) = open.next() => continue,
            accepted = apart(arrival) => accepted,
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
            let reached = stream.local_addr().ok().map(|it| it.ip().to_canonical());
            let service = Answering::new(&answer, peer, reached, slot, stopping.clone());
            // Each gives way after one response. A budget that all of them shared would be used up by the first of
            // many, and the same ones would always come last.
            open.push(Either::Right(unconstrained(serve_stream(stream, service, stopping.clone()))));
        }
        if !is_accepting {
            info!("the machine shuts down; the API refuses new connections");
            // Each connection ends with the request that is in flight.
            (stop, stopping) = watch::channel(());
        }
    }
    drop(listener);
    drop(stop);
    let responses = async { while open.len() > 1 && open.next().await.is_some() {} };
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
    let by_router = |request| routed(router.call(request));
    let service = Answering::new(&by_router, peer, None, slot, stopping.clone());
    let ends = (async || pending().await, async || pending().await);
    answer(stream, |_| Poll::Ready(()), ends, &service, stopping).await;
}

#[expect(clippy::manual_async_fn, reason = "the future of an async fn has room for each argument twice")]
fn serve_stream(
    stream: TcpStream,
    service: Answering<'_, impl Fn(Request<Body>) -> Answer>,
    stopping: watch::Receiver<()>,
) -> impl Future<Output = ()> {
    async move {
        let is_drained = Cell::new(false);
        let stream = StreamRef::new(&stream, &is_drained);
        let ends = (async || stream.broken().await, async || stream.closed().await);
        answer(stream, |context| stream.poll_readable(context), ends, &service, stopping).await;
    }
}

/// `readable` is ready when there may be something to read. `broken` completes when the client can no longer be answered:
/// while a response is pending, nothing else polls the connection. `closed` completes when the client sends nothing any more.
async fn answer(
    stream: impl AsyncRead + AsyncWrite,
    readable: impl Fn(&mut Context<'_>) -> Poll<()>,
    (broken, closed): (impl AsyncFn(), impl AsyncFn()),
    service: &Answering<'_, impl Fn(Request<Body>) -> Answer>,
    stopping: watch::Receiver<()>,
) {
    let mut stream = pin!(TimeoutWriter::new(stream));
    stream.as_mut().set_timeout_pinned(Some(WRITE_TIMEOUT));
    let ends = async {
        tokio::select! {
            biased;
            () = service.slot.displaced() => "a connection made room for others",
            () = async { service.endless.notified().await; Box::pin(closed()).await } => "a client that was sent a stream has left",
            () = broken() => "a client disconnected before the answer",
        }
    };
    tokio::select! {
        biased;
        ended = answer_all(stream, readable, service, stopping) => if let Err(error) = ended {
            debug!(%error, "a connection broke");
        },
        why = apart(ends) => debug!(from = %service.peer.addr, "{why}"),
    }
}

/// Answers requests until the client or `stopping` ends the connection.
///
/// An [`http1::Connection`] allocates two buffers of 8 KiB. So an idle connection has none: it is made when bytes arrive, and
/// dropped when the client waits for no response. Then a burst of requests needs the buffers of one connection at a time, and
/// the heap stays small; the allocator never returns less than 2 MiB to the kernel.
async fn answer_all<S: AsyncRead + AsyncWrite>(
    mut stream: Pin<&mut TimeoutWriter<S>>,
    readable: impl Fn(&mut Context<'_>) -> Poll<()>,
    service: &Answering<'_, impl Fn(Request<Body>) -> Answer>,
    mut stopping: watch::Receiver<()>,
) -> hyper::Result<()> {
    let mut stop = Stop { is_begun: false, changed: pin!(apart(stopping.changed().map(drop))) };
    let mut unparsed = Bytes::new();
    let mut deadline = Deadline::new();
    loop {
        deadline.start();
        if unparsed.is_empty() && !arrives(&readable, &mut stop, &mut deadline).await {
            return Ok(());
        }
        let mut is_partial = false;
        let activity = Cell::new(StreamActivity::Fresh);
        let io = Watched { stream: stream.as_mut(), unparsed, activity: &activity, owed: Bytes::new() };
        let mut connection = Box::new(server().serve_connection(TokioIo::new(io), service));
        let mut poll = |context: &mut Context<'_>, stops: bool| {
            service.turn.set(Turn::Free);
            if stops {
                Pin::new(&mut *connection).graceful_shutdown();
            }
            let polled = connection.poll_without_shutdown(context).map_ok(|()| Next::Close);
            let is_answering = service.is_answering();
            if polled.is_pending() && activity.get() == StreamActivity::Fresh && !is_answering {
                if !mem::replace(&mut is_partial, true) {
                    deadline.start();
                }
                return deadline.poll_passed(context).map(|()| Ok(Next::Close));
            }
            if polled.is_ready() || stops || activity.get() != StreamActivity::Idle || is_answering {
                return polled;
            }
            // An idle HTTP connection ends at once.
            Pin::new(&mut *connection).graceful_shutdown();
            connection.poll_without_shutdown(context).map_ok(|()| Next::Wait)
        };
        let next = tokio::select! {
            biased;
            next = poll_fn(|context| poll(context, false)) => next,
            () = &mut stop => poll_fn(|context| poll(context, true)).await,
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

fn server() -> http1::Builder {
    let mut server = http1::Builder::new();
    // A client that has shut down its sending side still waits for a response.
    server.half_close(true);
    server.max_header_size(HEAD_BYTES).max_buf_size(BUFFER_BYTES);
    server
}

/// The response to a request of more than [`HEADERS`]. A limit below hyper's own hundred would have hyper clear a table of that
/// many headers for each request.
fn too_many_headers() -> Response {
    let head = [(X_CONTENT_TYPE_OPTIONS, "nosniff"), (CONNECTION, "close")];
    (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, head).into_response()
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
async fn arrives(
    readable: impl Fn(&mut Context<'_>) -> Poll<()>,
    stop: &mut (impl Future<Output = ()> + Unpin),
    deadline: &mut Deadline,
) -> bool {
    tokio::select! {
        biased;
        () = poll_fn(&readable) => true,
        () = stop => {
            // So that the kernel is polled once more for pending bytes.
            yield_now().await;
            poll_fn(&readable).now_or_never().is_some()
        }
        () = poll_fn(|context| deadline.poll_passed(context)) => false,
    }
}

/// Completes when the server stops, each time that it is awaited.
struct Stop<'a, F> {
    is_begun: bool,
    changed: Pin<&'a mut F>,
}

impl<F: Future<Output = ()>> Future for Stop<'_, F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if !self.is_begun {
            task::ready!(self.changed.as_mut().poll(context));
            self.is_begun = true;
        }
        Poll::Ready(())
    }
}

/// The time until which a client must have sent a head. To start it anew costs no more than to read the clock: the runtime's
/// timer, which is registered until it fires, is only set again when it has fired too early.
struct Deadline {
    timer: Pin<Box<Sleep>>,
    at: Instant,
}

impl Deadline {
    fn new() -> Self {
        let at = Instant::now() + HEAD_TIMEOUT;
        Self { timer: Box::pin(sleep_until(at)), at }
    }

    /// Gives the client the whole time again.
    fn start(&mut self) {
        self.at = Instant::now() + HEAD_TIMEOUT;
    }

    fn poll_passed(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            task::ready!(self.timer.as_mut().poll(context));
            if self.at <= Instant::now() {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(self.at);
        }
    }
}

/// The service that answers one client's requests.
struct Answering<'a, F> {
    answer: &'a F,
    peer: ClientAddress,
    reached: Option<IpAddr>,
    slot: Slot<'a>,
    first_key: Arc<FirstKey>,
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

impl<'a, F> Answering<'a, F> {
    fn new(answer: &'a F, peer: ClientAddress, reached: Option<IpAddr>, slot: Slot<'a>, stopping: watch::Receiver<()>) -> Self {
        let (turn, endless) = (Rc::new(Cell::new(Turn::Free)), Rc::default());
        Self { answer, peer, reached, slot, first_key: Arc::default(), stop: ServerStop(stopping), turn, endless }
    }

    /// Whether a request is in flight: each holds a clone of `turn`.
    fn is_answering(&self) -> bool {
        Rc::strong_count(&self.turn) > 1
    }
}

impl<F: Fn(Request<Body>) -> Answer> Service<Request<Incoming>> for Answering<'_, F> {
    type Response = Response;
    type Error = Infallible;
    type Future = Either<Ready<Result<Response, Infallible>>, LocalBoxFuture<'static, Result<Response, Infallible>>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (guard, concurrent) = self.slot.begin();
        if request.headers().len() > HEADERS {
            return Either::Left(ready(Ok(too_many_headers())));
        }
        let mut request = request.map(|it| if it.is_end_stream() { Body::empty() } else { Body::new(it) });
        request.extensions_mut().insert(self.peer);
        request.extensions_mut().insert(ServedConnection {
            reached: self.reached,
            concurrent_requests: concurrent,
            open_connections: Some(self.slot.open()),
            first_key: Arc::clone(&self.first_key),
            stop: Some(self.stop.clone()),
        });
        let answered = match (self.answer)(request) {
            Either::Left(answer) => {
                let answer = answer.into_inner();
                if self.turn.get() == Turn::Free && !is_special(&answer) {
                    self.turn.set(Turn::Taken);
                    return Either::Left(ready(Ok(answer)));
                }
                Either::Left(ready(answer))
            }
            later @ Either::Right(_) => later,
        };
        let (turn, endless) = (Rc::clone(&self.turn), Rc::clone(&self.endless));
        Either::Right(Box::pin(async move {
            while turn.replace(Turn::Taken) == Turn::Taken {
                yield_now().await;
            }
            let answer = answered.await;
            drop(guard);
            if answer.extensions().get::<EndlessAnswer>().is_some() {
                endless.notify_one();
            }
            // The connection counts as idle from here on: another one may displace it.
            if let Some(AnswerDelay(long)) = answer.extensions().get().copied() {
                sleep(long).await;
            }
            Ok(answer)
        }))
    }
}

/// Whether the server does more with a response than to send it.
fn is_special(answer: &Response) -> bool {
    let extensions = answer.extensions();
    extensions.get::<EndlessAnswer>().is_some() || extensions.get::<AnswerDelay>().is_some()
}
