//! Connections: their bytes are counted, their requests recorded, and faults befall them here.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::net::TcpListener as Bound;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, interval, sleep};
use tokio_rustls::TlsAcceptor;

use super::answer::{Answer, Body, endless};
use super::fault::Fault;
use super::route::{self, Call, Request};
use super::{Order, Shared, logs};

/// How long a connection is kept without a request.
const KEPT: Duration = Duration::from_secs(5);

/// The bytes of a connection, payload of TCP.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    /// From the client.
    pub(crate) received: AtomicU64,
    /// To the client.
    pub(crate) sent: AtomicU64,
}

/// A request, and what was answered.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    /// Its place among all.
    pub(crate) number: usize,
    /// When its head arrived.
    pub(crate) at: Instant,
    pub(crate) call: Call,
    pub(crate) request: Request,
    /// 0: not answered.
    pub(crate) status: u16,
    pub(crate) wire: Arc<Wire>,
    /// What the connection had received and sent before it.
    pub(super) before: (u64, u64),
}

/// Serves until it is ordered to end.
pub(super) fn run(shared: &Arc<Shared>, listener: Bound, acceptor: &TlsAcceptor, mut orders: watch::Receiver<Order>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    runtime.block_on(LocalSet::new().run_until(async move {
        let mut listener = Some(TcpListener::from_std(listener).unwrap());
        loop {
            let order = *orders.borrow_and_update();
            match order {
                Order::End => return,
                Order::Refuse => {
                    listener = None;
                    // The sender lives as long as the cloud, which joins this thread.
                    let _ = orders.changed().await;
                }
                Order::Serve(_) => {
                    if listener.is_none() {
                        listener = Some(TcpListener::bind(address).await.unwrap());
                    }
                    let Some(listener) = &listener else { continue };
                    tokio::select! {
                        biased;
                        _ = orders.changed() => (),
                        never = accept(shared, listener, acceptor) => match never {},
                    }
                }
            }
        }
    }));
    runtime.shutdown_background();
}

/// Accepts connections. They close with it.
async fn accept(shared: &Arc<Shared>, listener: &TcpListener, acceptor: &TlsAcceptor) -> Infallible {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (shared, acceptor) = (Arc::clone(shared), acceptor.clone());
        connections.spawn_local(async move { connection(shared, stream, acceptor).await });
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(shared: Arc<Shared>, stream: TcpStream, acceptor: TlsAcceptor) {
    let wire = Arc::new(Wire::default());
    shared.state().wires.push(Arc::clone(&wire));
    let counted = Counted { stream, wire: Arc::clone(&wire) };
    // A client that does not trust the certificate ends here.
    let Ok(stream) = acceptor.accept(counted).await else { return };
    let use_of = Rc::new(Usage {
        busy: Cell::new(0),
        since: Cell::new(Instant::now()),
        received: Cell::new(0),
        closes: Cell::new(false),
    });
    let service = service_fn(|request| {
        let (shared, wire, use_of) = (Arc::clone(&shared), Arc::clone(&wire), Rc::clone(&use_of));
        async move {
            use_of.busy.set(use_of.busy.get() + 1);
            let answer = exchange(&shared, &wire, &use_of, request).await;
            use_of.busy.set(use_of.busy.get() - 1);
            use_of.since.set(Instant::now());
            use_of.received.set(wire.received.load(Ordering::Relaxed));
            answer
        }
    });
    let mut serving = pin!(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    let mut ticks = interval(Duration::from_millis(50));
    loop {
        tokio::select! {
            biased;
            // Broken on purpose, or by the client.
            _ = serving.as_mut() => return,
            _ = ticks.tick(), if use_of.busy.get() == 0 => {
                let idle = use_of.since.get().elapsed();
                if use_of.closes.get() && idle > Duration::from_millis(100) {
                    return;
                }
                if idle > KEPT {
                    serving.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

/// How a connection is used.
struct Usage {
    busy: Cell<u32>,
    since: Cell<Instant>,
    /// What it had received when the last request was done.
    received: Cell<u64>,
    /// It closes after the answer, without a word.
    closes: Cell<bool>,
}

async fn exchange(
    shared: &Shared,
    wire: &Arc<Wire>,
    usage: &Usage,
    request: hyper::Request<Incoming>,
) -> io::Result<Response<Body>> {
    let (head, body) = request.into_parts();
    let path = head.uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string);
    let text = |it: &hyper::header::HeaderValue| String::from_utf8_lossy(it.as_bytes()).into_owned();
    let headers = head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    let mut request = Request { method: head.method, path, headers, body: Vec::new() };
    let call = Call::of(&request.method, &request.path);
    let (number, fault) = {
        let state = &mut *shared.state();
        let number = state.exchanges.len();
        let before = (usage.received.get(), wire.sent.load(Ordering::Relaxed));
        let (at, wire) = (Instant::now(), Arc::clone(wire));
        state.exchanges.push(Exchange { number, at, call, request: request.clone(), status: 0, wire, before });
        (number, state.faults.take(call))
    };
    let mut body = Some(body);
    if call != Call::Logs || fault.as_ref().is_some_and(is_instead) {
        request.body = body.take().expect("it is there").collect().await.map_err(io::Error::other)?.to_bytes().to_vec();
        shared.state().exchanges[number].request.body.clone_from(&request.body);
    }
    let answer = match &fault {
        Some(Fault::Stalls) => pending().await,
        Some(Fault::EndlessBody) => {
            shared.state().exchanges[number].status = 200;
            return Ok(endless());
        }
        Some(fault) if is_instead(fault) => instead(fault),
        fault => {
            if let Some(Fault::Slow(by)) = fault {
                sleep(*by).await;
            }
            match body.take() {
                Some(body) => {
                    let (answer, bytes) = logs::answer(shared, &request, body).await;
                    shared.state().exchanges[number].request.body = bytes;
                    answer
                }
                None => route::answer(shared, call, &request, fault.as_ref()).await,
            }
        }
    };
    if fault == Some(Fault::LosesAnswer) {
        return Err(io::Error::other("the answer is lost on purpose"));
    }
    usage.closes.set(usage.closes.get() || fault == Some(Fault::ClosesKept));
    shared.state().exchanges[number].status = answer.status;
    let takes_gzip = request.header("accept-encoding").is_some_and(|it| it.contains("gzip"));
    let mut response = if fault == Some(Fault::DiesMidBody) { answer.broken() } else { answer.response(takes_gzip) };
    if request.header("connection").is_none_or(|it| !it.eq_ignore_ascii_case("close")) {
        // As a server of node says it.
        response.headers_mut().insert("keep-alive", "timeout=5".parse().unwrap());
        response.headers_mut().insert("connection", "keep-alive".parse().unwrap());
    }
    Ok(response)
}

/// Whether the call is not done at all.
fn is_instead(fault: &Fault) -> bool {
    match fault {
        Fault::Stalls
        | Fault::Unavailable(_)
        | Fault::TooMany(_)
        | Fault::Portal
        | Fault::Moved(_)
        | Fault::RefusesKeys
        | Fault::EndlessBody => true,
        Fault::LosesAnswer
        | Fault::DiesMidBody
        | Fault::Slow(_)
        | Fault::OldTarget
        | Fault::StaleEtag
        | Fault::RefusesApp(_)
        | Fault::ClosesKept => false,
    }
}

fn instead(fault: &Fault) -> Answer {
    let later = |answer: Answer, seconds: &Option<u64>| match seconds {
        Some(seconds) => answer.with("Retry-After", seconds.to_string()),
        None => answer,
    };
    match fault {
        Fault::Unavailable(seconds) => later(Answer::html(503, "Service Unavailable"), seconds),
        Fault::TooMany(seconds) => later(Answer::words(429, "Too Many Requests"), seconds),
        Fault::Portal => Answer::html(200, "<!DOCTYPE html><html><body>Welcome! Please accept our terms.</body></html>"),
        Fault::Moved(to) => Answer::html(301, "Moved Permanently").with("Location", to),
        _ => Answer::empty(401),
    }
}

/// A stream whose bytes are counted.
struct Counted {
    stream: TcpStream,
    wire: Arc<Wire>,
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        self.wire.received.fetch_add((buffer.filled().len() - before) as u64, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        self.wire.sent.fetch_add(written as u64, Ordering::Relaxed);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
