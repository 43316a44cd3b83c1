//! `POST /device/v2/UUID/log-stream`: lines of JSON, read as they arrive.
//!
//! Every connection has a buffer of 50 lines, which is emptied every 500 ms and at the body's end. What does not fit pushes the
//! oldest out, and a line of the system says how many.

use std::io::Write;
use std::time::Duration;

use flate2::write::GzDecoder;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::Shared;
use super::answer::Answer;
use super::model::{LogLine, milliseconds};
use super::route::Request;

/// Lines that a connection's buffer holds.
const BUFFER: usize = 50;
/// How often it is emptied.
const FLUSH: Duration = Duration::from_millis(500);

/// Answers; and the bytes of the body.
pub(super) async fn answer(shared: &Shared, request: &Request, mut body: Incoming) -> (Answer, Vec<u8>) {
    let uuid = request.part(2).to_owned();
    if let Err((refusal, brake)) = admitted(shared, request, &uuid) {
        if brake {
            let brake = shared.state().brake;
            sleep(brake).await;
        }
        return (refusal, Vec::new());
    }
    let packed = request.header("content-encoding") == Some("gzip");
    let (mut whole, mut lines, mut buffer) = (Vec::new(), Lines::new(packed), Buffer::default());
    let mut ticks = interval(FLUSH);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let frame = tokio::select! {
            biased;
            frame = body.frame() => frame,
            _ = ticks.tick() => {
                buffer.flush(shared, &uuid);
                continue;
            }
        };
        let Some(Ok(frame)) = frame else { break };
        let Ok(data) = frame.into_data() else { continue };
        whole.extend_from_slice(&data);
        for line in lines.take(&data) {
            if let Err(refusal) = buffer.push(&line) {
                return (refusal, whole);
            }
        }
    }
    if let Some(Err(refusal)) = lines.rest().map(|it| buffer.push(&it)) {
        return (refusal, whole);
    }
    buffer.flush(shared, &uuid);
    (Answer::empty(201), whole)
}

/// Whether the device may; a refusal of a device that is gone is held back by a brake.
fn admitted(shared: &Shared, request: &Request, uuid: &str) -> Result<(), (Answer, bool)> {
    let state = shared.state();
    let Some(device) = state.model.active(uuid) else { return Err((Answer::empty(401), true)) };
    if request.key().as_ref() != Some(&device.key) {
        return Err((Answer::key_required(), false));
    }
    if request.header("content-type") != Some("application/x-ndjson") {
        let why = "Streaming requests require Content-Type application/x-ndjson";
        return Err((Answer::words(415, why), false));
    }
    Ok(())
}

/// Splits a body into lines. What cannot be unpacked ends it silently.
struct Lines {
    packed: Option<GzDecoder<Vec<u8>>>,
    rest: Vec<u8>,
    broken: bool,
}

impl Lines {
    fn new(packed: bool) -> Self {
        Self { packed: packed.then(|| GzDecoder::new(Vec::new())), rest: Vec::new(), broken: false }
    }

    fn take(&mut self, data: &[u8]) -> Vec<Vec<u8>> {
        match &mut self.packed {
            Some(_) if self.broken => (),
            Some(decoder) => {
                self.broken = decoder.write_all(data).and_then(|()| decoder.flush()).is_err();
                self.rest.append(decoder.get_mut());
            }
            None => self.rest.extend_from_slice(data),
        }
        let mut lines: Vec<_> = self.rest.split(|it| *it == b'\n').map(<[u8]>::to_vec).collect();
        self.rest = lines.pop().unwrap_or_default();
        lines
    }

    fn rest(&mut self) -> Option<Vec<u8>> {
        (!self.rest.is_empty() && !self.broken).then(|| std::mem::take(&mut self.rest))
    }
}

/// A connection's buffer.
#[derive(Default)]
struct Buffer {
    lines: Vec<LogLine>,
    suppressed: usize,
}

impl Buffer {
    /// Takes a line. One without a time or a message is dropped silently; one that is no JSON is refused.
    fn push(&mut self, line: &[u8]) -> Result<(), Answer> {
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        let shown: String = String::from_utf8_lossy(line).chars().take(80).collect();
        let line: Value =
            serde_json::from_slice(line).map_err(|_| Answer::words(400, &format!("Could not parse row {shown}...")))?;
        let Some(message) = line["message"].as_str().filter(|_| line["timestamp"].is_number()) else { return Ok(()) };
        if self.lines.len() == BUFFER {
            self.lines.remove(0);
            self.suppressed += 1;
        }
        self.lines.push(LogLine {
            created_at: 0,
            timestamp: line["timestamp"].as_u64().unwrap_or_default(),
            is_system: line["isSystem"] == true,
            is_stderr: line["isStdErr"] == true,
            service: line["serviceId"].as_u64(),
            message: message.to_owned(),
        });
        Ok(())
    }

    /// Gives the lines to the store.
    fn flush(&mut self, shared: &Shared, uuid: &str) {
        let now = milliseconds();
        if self.suppressed > 0 {
            let message =
                format!("Warning: Suppressed {} message(s) due to rate limiting", std::mem::take(&mut self.suppressed));
            let timestamp = self.lines.last().map_or(0, |it| it.timestamp);
            let (is_system, is_stderr, service) = (true, false, None);
            self.lines.push(LogLine { created_at: now, timestamp, is_system, is_stderr, service, message });
        }
        if let Some(device) = shared.state().model.device_mut(uuid) {
            device.logs.extend(self.lines.drain(..).map(|it| LogLine { created_at: now, ..it }));
        }
    }
}

/// Unpacks a whole body. One that is broken is what of it can be unpacked.
pub(super) fn unpacked(bytes: &[u8]) -> Vec<u8> {
    let mut decoder = GzDecoder::new(Vec::new());
    // What follows a broken part is lost, as at the real cloud.
    let _ = decoder.write_all(bytes).and_then(|()| decoder.flush());
    std::mem::take(decoder.get_mut())
}
