//! A response of the agent's API that is read as it comes.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::cli::tool::interrupted;
use crate::cli::{CommandError, client};
use crate::config::Config;
use crate::state::Secret;

/// How long the agent has for the head of its response: it waits at most 5 s for its keys when it starts.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Size limit of the head, and of a refusal.
const HEAD_BYTES: u64 = 64 * 1024;

/// Where the agent is, and the request.
#[derive(Debug, Clone)]
pub(super) struct FollowRequest {
    at: SocketAddr,
    head: String,
    config: Config,
}

/// The body of a response.
#[derive(Debug)]
pub(super) struct BodyStream(BufReader<TcpStream>);

/// Why there is no response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum FollowError {
    /// The agent does not answer, or not now. A later attempt may succeed.
    #[error("{0}")]
    Later(String),
    /// The agent refuses the request.
    #[error("{0}")]
    Refused(String),
}

/// Runs a command until it is done, or until Ctrl-C, which is no error.
pub(super) fn run(command: impl Future<Output = Result<(), CommandError>>) -> Result<(), CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|why| CommandError::Failed(format!("cannot begin: {why}")))?;
    runtime.block_on(async {
        tokio::select! {
            biased;
            () = interrupted() => Ok(()),
            done = command => done,
        }
    })
}

impl FollowRequest {
    /// A `GET` of a path.
    pub(super) fn get(config: &Config, key: &Secret, path: &str) -> Self {
        let at = client::address(config);
        // HTTP/1.0, so that the body comes without chunks and ends where the connection does.
        let head = format!("GET {path} HTTP/1.0\r\nHost: {at}\r\nAuthorization: Bearer {}\r\n", key.reveal());
        Self { at, head, config: config.clone() }
    }

    /// Sends the request, with this header if there is one, and waits for the head of the response.
    pub(super) async fn open(self, header: Option<(&'static str, String)>) -> Result<BodyStream, FollowError> {
        let header = header.map(|(name, value)| format!("{name}: {value}\r\n")).unwrap_or_default();
        let request = format!("{}{header}\r\n", self.head);
        let exchange = async {
            let mut stream = TcpStream::connect(self.at).await?;
            stream.write_all(request.as_bytes()).await?;
            let mut stream = BufReader::new(stream);
            let head = read_head(&mut stream).await?;
            Ok::<_, io::Error>((stream, head))
        };
        let silent = || Err(io::Error::new(io::ErrorKind::TimedOut, "it sends nothing"));
        let answered = timeout(HEAD_TIMEOUT, exchange).await.unwrap_or_else(|_| silent());
        let (stream, head) = answered.map_err(|why| FollowError::Later(client::unreachable(self.at, &why)))?;
        if client::status(&head) == Some("200") {
            return Ok(BodyStream(stream));
        }
        let mut body = Vec::new();
        // A refusal that is cut off is shown as far as it came.
        let _ = timeout(HEAD_TIMEOUT, stream.take(HEAD_BYTES).read_to_end(&mut body)).await;
        let why = client::refusal(&self.config, self.at, &head, &String::from_utf8_lossy(&body));
        Err(match client::status(&head) {
            Some("429" | "503") => FollowError::Later(why),
            _ => FollowError::Refused(why),
        })
    }
}

async fn read_head(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let (mut head, mut limited) = (Vec::new(), stream.take(HEAD_BYTES));
    while !head.ends_with(b"\r\n\r\n") {
        if limited.read_until(b'\n', &mut head).await? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it breaks off the connection"));
        }
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

impl BodyStream {
    /// The bytes that come next; none at the end. May be dropped: none is lost.
    pub(super) async fn part(&mut self) -> io::Result<Vec<u8>> {
        let part = self.0.fill_buf().await?.to_vec();
        self.0.consume(part.len());
        Ok(part)
    }
}

/// Splits parts into lines of at most so many bytes; a longer one is cut.
#[derive(Debug)]
pub(super) struct LineSplitter {
    line: Vec<u8>,
    limit_bytes: usize,
}

impl LineSplitter {
    pub(super) const fn new(limit_bytes: usize) -> Self {
        Self { line: Vec::new(), limit_bytes }
    }

    /// Gives each line that the part completes, without its line end. `Break` ends it.
    pub(super) fn split<B>(&mut self, part: &[u8], mut take: impl FnMut(&str) -> ControlFlow<B>) -> ControlFlow<B> {
        for piece in part.split_inclusive(|it| *it == b'\n') {
            let (text, ends) = piece.strip_suffix(b"\n").map_or((piece, false), |it| (it, true));
            let room = self.limit_bytes.saturating_sub(self.line.len());
            self.line.extend_from_slice(text.get(..room).unwrap_or(text));
            if ends {
                let line = std::mem::take(&mut self.line);
                take(&String::from_utf8_lossy(&line))?;
            }
        }
        ControlFlow::Continue(())
    }
}
