//! A cloud's server on a thread of its own: it answers as a test says, and remembers what it was asked.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use flate2::read::GzDecoder;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{HandshakeKind, ServerConfig, ServerConnection, StreamOwned, crypto};

// Of a certificate authority made for these tests, whose own key is thrown away; for 127.0.0.1, ::1 and localhost, by
// `openssl req -x509` and `openssl ca -startdate … -enddate …`.
pub(crate) const AUTHORITY: &str = include_str!("../../data/cloud-ca.pem");
const KEY: &str = include_str!("../../data/cloud-key.pem");
/// Valid until 2126.
pub(crate) const VALID: &str = include_str!("../../data/cloud-cert.pem");
/// Valid until 2020.
pub(crate) const EXPIRED: &str = include_str!("../../data/cloud-expired.pem");
/// Valid from 2100 on.
pub(crate) const NOT_YET_VALID: &str = include_str!("../../data/cloud-not-yet.pem");
/// Another authority.
pub(crate) const OTHER_AUTHORITY: &str = include_str!("../../data/registry-ca.pem");

/// A request, as it arrived.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heard {
    /// Which connection it came over, from 1 on.
    pub connection: usize,
    /// `GET /path`.
    pub line: String,
    pub headers: BTreeMap<String, String>,
    /// As it was sent, and unpacked.
    pub body: Vec<u8>,
    pub text: String,
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub bytes: Vec<u8>,
    pub then: Then,
}

/// What becomes of a connection after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    Keep,
    Close,
}

/// How many bytes a server received and sent, TLS included.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    pub received: AtomicU64,
    pub sent: AtomicU64,
}

type Says = Box<dyn Fn(&Heard, usize) -> Reply + Send + Sync>;

struct Shared {
    says: Says,
    heard: Mutex<Vec<Heard>>,
    opened: AtomicUsize,
    resumed: AtomicUsize,
    wire: Arc<Wire>,
}

/// A server that runs until the process ends.
pub(crate) struct CloudServer {
    pub at: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
}

impl Reply {
    /// An answer with a body, whose connection is kept as the cloud's are.
    pub(crate) fn new(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        let length = if status.starts_with("304") || status.starts_with("204") {
            String::new()
        } else {
            format!("Content-Length: {}\r\n", body.len())
        };
        let head = format!(
            "HTTP/1.1 {status}\r\n{headers}{length}Date: Mon, 23 Nov 2026 12:06:12 GMT\r\nConnection: keep-alive\r\n\
             Keep-Alive: timeout=5\r\n\r\n"
        );
        Self { bytes: [head.as_bytes(), body].concat(), then: Then::Keep }
    }

    /// Bytes, whatever they are, after which the connection is closed.
    pub(crate) fn raw(bytes: impl AsRef<[u8]>) -> Self {
        Self { bytes: bytes.as_ref().to_vec(), then: Then::Close }
    }
}

impl CloudServer {
    /// Speaks plain HTTP. `says` gets a request, and how many came before it.
    pub(crate) fn plain(says: impl Fn(&Heard, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::start("127.0.0.1:0", None, Box::new(says))
    }

    /// Speaks TLS, with this certificate.
    pub(crate) fn tls(certificate: &str, says: impl Fn(&Heard, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::start("127.0.0.1:0", Some(config(certificate)), Box::new(says))
    }

    /// The same at another address.
    pub(crate) fn tls_at(address: &str, says: impl Fn(&Heard, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(address, Some(config(VALID)), Box::new(says))
    }

    fn start(address: &str, config: Option<Arc<ServerConfig>>, says: Says) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let at = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            says,
            heard: Mutex::default(),
            opened: AtomicUsize::new(0),
            resumed: AtomicUsize::new(0),
            wire: Arc::default(),
        });
        let scheme = if config.is_some() { "https" } else { "http" };
        let server = Self { at, scheme, shared: shared.clone() };
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (shared, config) = (shared.clone(), config.clone());
                let connection = shared.opened.fetch_add(1, Ordering::Relaxed) + 1;
                // A client may hang up at any time.
                thread::spawn(move || _ = serve(stream, config, connection, &shared));
            }
        });
        server
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("{}://{}", self.scheme, self.at)
    }

    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.shared.heard.lock().unwrap().clone()
    }

    /// The requests' first lines.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.heard().into_iter().map(|it| it.line).collect()
    }

    /// How many connections were opened, and how many of them resumed a TLS session.
    pub(crate) fn connections(&self) -> (usize, usize) {
        (self.shared.opened.load(Ordering::Relaxed), self.shared.resumed.load(Ordering::Relaxed))
    }

    /// Bytes received and sent so far.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.shared.wire.received.load(Ordering::Relaxed), self.shared.wire.sent.load(Ordering::Relaxed))
    }
}

fn config(certificate: &str) -> Arc<ServerConfig> {
    let config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            CertificateDer::pem_slice_iter(certificate.as_bytes()).map(Result::unwrap).collect(),
            PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap(),
        )
        .unwrap();
    Arc::new(config)
}

/// A connection whose bytes are counted.
struct Counted(TcpStream, Arc<Wire>);

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(buffer)?;
        self.1.received.fetch_add(count.try_into().unwrap(), Ordering::Relaxed);
        Ok(count)
    }
}

impl Write for Counted {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        // Before it is written: the client may look at the count as soon as it has the bytes.
        self.1.sent.fetch_add(buffer.len().try_into().unwrap(), Ordering::Relaxed);
        self.0.write_all(buffer)?;
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn serve(stream: TcpStream, config: Option<Arc<ServerConfig>>, connection: usize, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = Counted(stream, shared.wire.clone());
    let Some(config) = config else { return answer(&mut stream, connection, shared) };
    let mut tls = ServerConnection::new(config).map_err(io::Error::other)?;
    while tls.is_handshaking() {
        tls.complete_io(&mut stream)?;
    }
    if tls.handshake_kind() == Some(HandshakeKind::Resumed) {
        shared.resumed.fetch_add(1, Ordering::Relaxed);
    }
    let mut stream = StreamOwned::new(tls, stream);
    answer(&mut stream, connection, shared)?;
    stream.conn.send_close_notify();
    stream.flush()
}

fn answer(stream: &mut (impl Read + Write), connection: usize, shared: &Shared) -> io::Result<()> {
    while let Some(heard) = hear(stream, connection)? {
        let before = {
            let mut all = shared.heard.lock().unwrap();
            all.push(heard.clone());
            all.len() - 1
        };
        let reply = (shared.says)(&heard, before);
        stream.write_all(&reply.bytes)?;
        stream.flush()?;
        if reply.then == Then::Close {
            return Ok(());
        }
    }
    Ok(())
}

/// `None`: the client hung up.
fn hear(stream: &mut impl Read, connection: usize) -> io::Result<Option<Heard>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte)? == 0 {
            return Ok(None);
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.trim_end().split("\r\n");
    let line = lines.next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
    let headers: BTreeMap<_, _> =
        lines.map(|it| it.split_once(": ").unwrap()).map(|(a, b)| (a.to_ascii_lowercase(), b.to_owned())).collect();
    let mut body = vec![0; headers.get("content-length").map_or(0, |it| it.parse().unwrap())];
    stream.read_exact(&mut body)?;
    let mut text = String::new();
    if headers.get("content-encoding").is_some_and(|it| it == "gzip") {
        GzDecoder::new(&body[..]).read_to_string(&mut text).unwrap();
    } else {
        text = String::from_utf8(body.clone()).unwrap();
    }
    Ok(Some(Heard { connection, line, headers, body, text }))
}
