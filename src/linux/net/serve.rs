//! Answering. Connections are futures of the one future that serves them: nothing is spawned.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Future, pending, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;
use tracing::{debug, info};

use super::Listeners;
use super::crowd::{Crowd, Place};
use super::shared::Shared;
use crate::state::Status;
use crate::state::device::{Beside, HeldBack, Peer, Reached};

/// Bytes of a request's head, its first line included: what the servers of other supervisors take. More is answered with 431.
const HEAD_BYTES: usize = 16 * 1024;
/// Headers of a request: browsers send some twenty. More are answered with 431.
const HEADERS: usize = 64;
/// What is read ahead and held back of a connection. It bounds a connection's memory, and must hold a head.
const BUFFER_BYTES: usize = 20 * 1024;
/// A request's head is here by then, or the connection is closed. An idle one is closed then too.
const HEAD: Duration = Duration::from_secs(10);
/// Who takes nothing of an answer for so long is not waited for.
const UNREAD: Duration = Duration::from_secs(10);
/// What answers under way are given at the end.
const GRACE: Duration = Duration::from_millis(500);

/// Answers requests until `shutdown` is over; then answers under way are given half a second.
pub async fn serve(router: Router, listeners: Listeners, shutdown: impl Future<Output = ()>) {
    let (_tell, status) = watch::channel(Status::default());
    serve_while_up(router, listeners, status, shutdown).await;
}

/// The same for an agent whose machine may end before it does: as soon as `status` says that logind has accepted that, connections
/// are refused, and requests under way are answered. Where the end is called off, connections are taken again.
pub async fn serve_while_up(
    router: Router,
    mut listeners: Listeners,
    mut status: watch::Receiver<Status>,
    shutdown: impl Future<Output = ()>,
) {
    let router = TowerToHyperService::new(router);
    let (mut stop, mut stopping) = watch::channel(());
    let crowd = Crowd::default();
    let mut open = FuturesUnordered::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(()) = open.next(), if !open.is_empty() => continue,
            () = turned(&mut status, listeners.is_open()) => None,
            accepted = listeners.accept() => Some(accepted),
        };
        let arrived = match accepted {
            Some(accepted) => vec![accepted],
            None if listeners.is_open() => listeners.last().await,
            None => {
                info!("the machine does not end; the API answers again");
                listeners.reopen();
                continue;
            }
        };
        for (stream, peer) in arrived {
            let Some(place) = crowd.admit(peer.addr) else {
                debug!(from = %peer.addr, "a connection was closed: all others wait for answers");
                continue;
            };
            // Replies are small, and somebody waits for each.
            let _ = stream.set_nodelay(true);
            let reached = stream.local_addr().ok().map(|it| Reached(it.ip().to_canonical()));
            open.push(attend(stream, Answering::new(router.clone(), peer, reached, place), stopping.clone()));
        }
        if !listeners.is_open() {
            info!("the machine ends; the API takes no connection any more");
            // Connections end with the request that is under way.
            (stop, stopping) = watch::channel(());
        }
    }
    drop(listeners);
    drop(stop);
    let rest = async { while open.next().await.is_some() {} };
    if timeout(GRACE, rest).await.is_err() {
        debug!("connections were cut off");
    }
}

/// Over when connections should be refused although they are taken now, or the other way round.
async fn turned(status: &mut watch::Receiver<Status>, is_open: bool) {
    if status.wait_for(|it| it.shutdown.is_accepted() == is_open).await.is_err() {
        // Nobody says any more how the machine is.
        pending::<()>().await;
    }
}

/// Answers one connection until it ends, as [`serve`] does each of its own.
pub async fn converse(stream: impl AsyncRead + AsyncWrite, router: Router, peer: Peer) {
    let (_stop, stopping) = watch::channel(());
    let crowd = Crowd::default();
    let Some(place) = crowd.admit(peer.addr) else { return };
    let router = TowerToHyperService::new(router);
    answer(stream, pending(), Answering::new(router, peer, None, place), stopping).await;
}

async fn attend(stream: TcpStream, service: Answering<'_>, stopping: watch::Receiver<()>) {
    let stream = Shared(&stream);
    answer(stream, stream.broken(), service, stopping).await;
}

/// `broken` is over when nobody can be answered any more. While an answer is waited for, nothing else looks at the connection.
async fn answer(
    stream: impl AsyncRead + AsyncWrite,
    broken: impl Future<Output = ()>,
    service: Answering<'_>,
    mut stopping: watch::Receiver<()>,
) {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(UNREAD));
    let stream = pin!(stream);
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD);
    // Who says that he has no more to say waits for an answer all the same.
    server.half_close(true);
    server.max_header_size(HEAD_BYTES).max_headers(HEADERS).max_buf_size(BUFFER_BYTES);
    let service = &service;
    let mut connection = pin!(server.serve_connection(TokioIo::new(stream), service));
    let polled = poll_fn(|context| {
        service.turn.set(Turn::Free);
        connection.as_mut().poll(context)
    });
    let ended = tokio::select! {
        biased;
        ended = polled => ended,
        () = service.place.displaced() => {
            debug!(from = %service.peer.addr, "a connection made room for others");
            return;
        }
        () = broken => {
            debug!(from = %service.peer.addr, "a caller was gone before the answer");
            return;
        }
        _ = stopping.changed() => {
            connection.as_mut().graceful_shutdown();
            poll_fn(|context| {
                service.turn.set(Turn::Free);
                connection.as_mut().poll(context)
            })
            .await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a connection broke");
    }
}

/// The API, to one caller.
struct Answering<'a> {
    router: TowerToHyperService<Router>,
    peer: Peer,
    reached: Option<Reached>,
    place: Place<'a>,
    turn: Rc<Cell<Turn>>,
}

/// Whether a connection has begun an answer since it was polled. A client that sends many requests at once, or the next one as soon as
/// it has an answer, would have sixteen of them answered while all other connections wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// It has not.
    Free,
    /// It has. The next answer waits until the others had their turn.
    Taken,
}

impl<'a> Answering<'a> {
    fn new(router: TowerToHyperService<Router>, peer: Peer, reached: Option<Reached>, place: Place<'a>) -> Self {
        Self { router, peer, reached, place, turn: Rc::new(Cell::new(Turn::Free)) }
    }
}

impl Service<Request<Incoming>> for Answering<'_> {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>>>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let (wait, beside) = self.place.begin();
        request.extensions_mut().insert(self.peer);
        request.extensions_mut().insert(Beside(beside));
        if let Some(reached) = self.reached {
            request.extensions_mut().insert(reached);
        }
        let answered = self.router.call(request);
        let turn = Rc::clone(&self.turn);
        Box::pin(async move {
            while turn.replace(Turn::Taken) == Turn::Taken {
                yield_now().await;
            }
            let answer = answered.await;
            drop(wait);
            // From now on any other connection may have this one's place.
            if let Ok(Some(HeldBack(long))) = answer.as_ref().map(|it| it.extensions().get().copied()) {
                sleep(long).await;
            }
            answer
        })
    }
}
