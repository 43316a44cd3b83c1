//! `POST /supervisor/URL`: a user's verb, on to a device, byte for byte as the real proxy sends it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::answer::Answer;
use super::model::Model;
use super::route::Request;
use super::{FakeCloud, Shared};

/// How long a device may take.
const PATIENCE: Duration = Duration::from_secs(50);

/// What a user gets.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Relayed {
    pub(crate) status: u16,
    /// JSON as it is, text as a JSON string, null where there is nothing.
    pub(crate) body: Value,
}

impl FakeCloud {
    /// The VPN says that a device is connected, and where its API answers; or that it is not.
    pub(crate) fn connects(&self, uuid: &str, address: Option<SocketAddr>) {
        self.state().model.device_mut(uuid).unwrap().address = address;
    }

    /// A user's verb: `POST /supervisor/URL`, for this device.
    pub(crate) fn relay(&self, uuid: &str, method: &Method, path: &str, data: Option<&Value>) -> Relayed {
        let way = Way::to(&self.state().model, uuid);
        way.map_or_else(no_device, |it| it.relay(method, path, data))
    }

    /// What the API itself sends after a change, within two seconds: an update without any data.
    pub(super) fn push(&self, uuid: &str) {
        if let Some(way) = Way::to(&self.state().model, uuid) {
            // The user is not waiting for it.
            std::thread::spawn(move || way.relay(&Method::POST, "/v1/update", None));
        }
    }
}

/// The same over HTTP, with the user's token.
pub(super) async fn answer(shared: &Shared, request: &Request) -> Answer {
    let body = request.json();
    let ways: Vec<_> = {
        let model = &shared.state().model;
        if request.key().as_ref() != Some(&model.user) {
            return Answer::key_required();
        }
        let wanted = |uuid: &str, id: u64, fleet: u64| {
            body["uuid"] == uuid
                || body["deviceId"] == id
                || body["deviceId"].is_null() && body["uuid"].is_null() && body["appId"] == fleet
        };
        let wanted = model.devices.iter().filter(|it| wanted(&it.uuid, it.id, it.fleet));
        wanted.filter_map(|it| Way::to(model, &it.uuid)).collect()
    };
    let method = body["method"].as_str().and_then(|it| it.parse().ok()).unwrap_or(Method::POST);
    let path = request.path.split('?').next().unwrap_or_default().trim_start_matches("/supervisor").to_owned();
    let data = body.get("data").cloned();
    let ask = move || ways.iter().map(|it| it.relay(&method, &path, data.as_ref())).collect::<Vec<_>>();
    let mut all = spawn_blocking(ask).await.unwrap_or_default();
    match all.len() {
        0 => given(&no_device()),
        1 => given(&all.remove(0)),
        _ => Answer::json(207, &all.iter().map(|it| json!({"statusCode": it.status, "body": it.body})).collect()),
    }
}

fn given(relayed: &Relayed) -> Answer {
    if relayed.body.is_null() { Answer::empty(relayed.status) } else { Answer::json(relayed.status, &relayed.body) }
}

/// What is needed to reach a device.
struct Way {
    uuid: String,
    address: SocketAddr,
    port: u64,
    secret: String,
}

impl Way {
    fn to(model: &Model, uuid: &str) -> Option<Self> {
        let device = model.active(uuid)?;
        let secret = device.fields.get("api_secret").and_then(Value::as_str).unwrap_or_default().to_owned();
        let port = device.fields.get("api_port").and_then(Value::as_u64).unwrap_or(80);
        Some(Self { uuid: uuid.to_owned(), address: device.address?, port, secret })
    }

    fn relay(&self, method: &Method, path: &str, data: Option<&Value>) -> Relayed {
        let failed = |why: &str| Relayed { status: 502, body: Value::from(why) };
        match self.ask(method, path, data) {
            Ok(bytes) => passed_on(&bytes).unwrap_or_else(|| failed("socket hang up")),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                failed("ESOCKETTIMEDOUT")
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                failed("tunneling socket could not be established, statusCode=500")
            }
            Err(_) => failed("socket hang up"),
        }
    }

    fn ask(&self, method: &Method, path: &str, data: Option<&Value>) -> io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.write_all(self.request(method, path, data).as_bytes())?;
        let end = Instant::now() + PATIENCE;
        let (mut bytes, mut piece) = (Vec::new(), [0; 8192]);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            match stream.read(&mut piece)? {
                0 => return Ok(bytes),
                read => bytes.extend_from_slice(&piece[..read]),
            }
        }
    }

    /// The bytes at the device. A query that the caller put into the URL is lost.
    pub(super) fn request(&self, method: &Method, path: &str, data: Option<&Value>) -> String {
        let path = path.split('?').next().unwrap_or_default();
        let data = data.map(Value::to_string);
        let length = match &data {
            Some(data) => {
                format!("accept: application/json\r\ncontent-type: application/json\r\ncontent-length: {}\r\n", data.len())
            }
            None if *method == Method::GET => String::new(),
            None => "content-length: 0\r\n".to_owned(),
        };
        format!(
            "{method} {path}?apikey={} HTTP/1.1\r\nhost: {}.balena:{}\r\n{length}\
             traceparent: 00-d3d819502763beaafede2a14bf3a6ccd-90f0dfb6704e8daf-01\r\n\
             sentry-trace: d3d819502763beaafede2a14bf3a6ccd-90f0dfb6704e8daf-1\r\nConnection: close\r\n\r\n{}",
            self.secret,
            self.uuid,
            self.port,
            data.unwrap_or_default(),
        )
    }
}

fn no_device() -> Relayed {
    Relayed { status: 404, body: Value::from("No online device(s) found") }
}

/// What of a device's answer is passed on: JSON that is JSON, text of harmless characters, a status without a type.
fn passed_on(bytes: &[u8]) -> Option<Relayed> {
    let at = bytes.windows(4).position(|it| it == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..at]).to_lowercase();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let header = |name: &str| head.lines().find_map(|it| it.strip_prefix(name)?.strip_prefix(':').map(str::trim));
    let body =
        if header("transfer-encoding") == Some("chunked") { unchunked(&bytes[at + 4..])? } else { bytes[at + 4..].to_vec() };
    let body = String::from_utf8_lossy(&body).into_owned();
    let kind = header("content-type").and_then(|it| it.split(';').next());
    let harmless = |it: char| it.is_ascii_alphanumeric() || it.is_whitespace() || ":'.?!,/-".contains(it);
    let body = match kind {
        None => Some(Value::Null),
        Some("application/json") => serde_json::from_str(&body).ok(),
        Some("text/plain" | "text/html") if body.chars().all(harmless) => Some(Value::from(body)),
        Some(_) => None,
    };
    Some(body.map_or_else(
        || Relayed { status: 500, body: Value::from("Bad API response from supervisor") },
        |body| Relayed { status, body },
    ))
}

fn unchunked(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let line = bytes.windows(2).position(|it| it == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..line]).ok()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(whole);
        }
        whole.extend_from_slice(bytes.get(line + 2..line + 2 + size)?);
        bytes = bytes.get(line + 4 + size..)?;
    }
}
