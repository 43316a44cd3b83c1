//! One connection to the cloud: opened, perhaps through a proxy, used, and used again.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use futures_util::future::{Either, select};
use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::CONTENT_ENCODING;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::linux::cloud::answer::CloudAnswer;
use crate::linux::cloud::body;
use crate::linux::cloud::endpoint::Endpoint;
use crate::linux::cloud::proxy::ConnectProxy;
use crate::linux::cloud::tls_error;
use crate::linux::dial;
use crate::linux::traffic::TrafficMeter;
use crate::linux::trust::TrustStore;
use crate::state::cloud::TrafficPurpose;

/// The most bytes of an answer, unpacked. Targets of hundreds of services are shorter.
const REPLY_BYTES: usize = 4 * 1024 * 1024;
/// The most bytes that are read of a refusal, unpacked.
const REFUSAL_BYTES: usize = 64 * 1024;

/// A stream in both directions.
trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Duplex for S {}

type Driver = http1::Connection<TokioIo<Box<dyn Duplex>>, Full<Bytes>>;

/// Where a connection leads. One that leads elsewhere is not used again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Destination {
    pub endpoint: Endpoint,
    pub proxy: Option<ConnectProxy>,
    /// The generation of the certificates that were trusted when it was opened.
    pub generation: u64,
}

/// A connection to the cloud. Only while a request is in flight is it polled, so that it costs nothing at rest.
pub(super) struct CloudConnection {
    to: Destination,
    meter: TrafficMeter,
    sender: http1::SendRequest<Full<Bytes>>,
    /// `None`: the connection has ended.
    driver: Option<Pin<Box<Driver>>>,
    usable_until: Instant,
}

/// Why a request has no answer.
#[derive(Debug)]
pub(super) enum ExchangeError {
    /// The connection ended before the first byte of an answer.
    Unanswered(String),
    /// What arrived is no whole answer.
    Broken(String),
}

impl CloudConnection {
    /// Opens a connection. An error names the host, and says what to do.
    pub(super) async fn open(to: Destination, trust: &TrustStore, meter: TrafficMeter) -> Result<Self, String> {
        let endpoint = &to.endpoint;
        let stream = match &to.proxy {
            Some(proxy) => {
                let dialled = dial::connect(&proxy.host, proxy.port).await;
                let stream = dialled.map_err(|why| format!("{}: {why}", proxy.shown()))?;
                let mut stream = prepared(stream, &meter);
                if proxy.is_tls {
                    stream = tls(stream, &proxy.host, trust).await?;
                }
                proxy.tunnel(&mut stream, endpoint).await?;
                stream
            }
            None => prepared(dial::connect(&endpoint.host, endpoint.port).await.map_err(|why| why.to_string())?, &meter),
        };
        let stream = if endpoint.is_tls { tls(stream, &endpoint.host, trust).await? } else { stream };
        let (sender, driver) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| format!("{}: {error}", endpoint.authority))?;
        Ok(Self { to, meter, sender, driver: Some(Box::pin(driver)), usable_until: Instant::now() })
    }

    /// Whether it leads there, and can take another request.
    pub(super) async fn is_usable(&mut self, to: &Destination) -> bool {
        if self.to != *to || Instant::now() >= self.usable_until {
            return false;
        }
        // The server may have closed it meanwhile.
        let Some(driver) = &mut self.driver else { return false };
        if poll_fn(|context| Poll::Ready(driver.as_mut().poll(context).is_ready())).await {
            self.driver = None;
            return false;
        }
        drive(&mut self.driver, self.sender.ready()).await.is_ok() && self.driver.is_some()
    }

    /// Sends a request, and reads its answer to the end, or to a limit.
    pub(super) async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
        purpose: TrafficPurpose,
    ) -> Result<CloudAnswer, ExchangeError> {
        self.meter.count_for(purpose);
        let name = &self.to.endpoint.authority;
        let response = drive(&mut self.driver, self.sender.send_request(request)).await.map_err(|error| {
            let words = body::in_words(&error);
            if error.is_parse() {
                ExchangeError::Broken(format!("{name} answers, and not as HTTP servers do ({words})"))
            } else {
                ExchangeError::Unanswered(format!("{name} does not answer ({words})"))
            }
        })?;
        let (head, incoming) = response.into_parts();
        let broken = |why: &str| ExchangeError::Broken(format!("{name} sends half an answer: {why}"));
        let encoding = head.headers.get(CONTENT_ENCODING).and_then(|it| it.to_str().ok()).unwrap_or_default().trim();
        let is_gzip = encoding.eq_ignore_ascii_case("gzip") || encoding.eq_ignore_ascii_case("x-gzip");
        if !is_gzip && !encoding.is_empty() && !encoding.eq_ignore_ascii_case("identity") {
            return Err(broken("its encoding is one that was not asked for"));
        }
        let limit = if head.status.is_success() { REPLY_BYTES } else { REFUSAL_BYTES };
        let body = drive(&mut self.driver, body::read(incoming, is_gzip, limit)).await.map_err(|why| broken(&why))?;
        if body.is_cut && head.status.is_success() {
            return Err(broken(&format!("it is longer than {} MiB", REPLY_BYTES / 1024 / 1024)));
        }
        let answer = CloudAnswer { status: head.status, headers: head.headers, body };
        match answer.kept_for() {
            Some(kept) => self.usable_until = Instant::now() + kept,
            None => self.driver = None,
        }
        Ok(answer)
    }

    /// Whether another request can be sent, as far as is known.
    pub(super) fn is_open(&self) -> bool {
        self.driver.is_some()
    }
}

fn prepared(stream: tokio::net::TcpStream, meter: &TrafficMeter) -> Box<dyn Duplex> {
    // Only a matter of milliseconds if it fails.
    let _ = stream.set_nodelay(true);
    Box::new(meter.on(stream))
}

async fn tls(stream: Box<dyn Duplex>, host: &str, trust: &TrustStore) -> Result<Box<dyn Duplex>, String> {
    let config: Arc<ClientConfig> = trust.for_cloud().await?;
    let name = ServerName::try_from(host.to_owned()).map_err(|why| format!("{host} can have no certificate: {why}"))?;
    match TlsConnector::from(config).connect(name, stream).await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) => {
            if tls_error::is_of_certificate(&error) {
                trust.read_again();
            }
            Err(tls_error::in_words(host, &error))
        }
    }
}

/// Does some work over a connection, which makes progress only while it is polled.
async fn drive<T>(driver: &mut Option<Pin<Box<Driver>>>, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    if let Some(running) = driver {
        match select(work.as_mut(), running.as_mut()).await {
            Either::Left((done, _)) => return done,
            // What it brought is still to be read.
            Either::Right(_) => *driver = None,
        }
    }
    work.await
}
