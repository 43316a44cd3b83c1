//! Server-Sent Events, parsed from bytes as they come, as the HTML standard says (section 9.2.6).

/// Size limit of an event: the state of a board with a hundred containers takes some hundred kilobytes.
const EVENT_BYTES: usize = 16 * 1024 * 1024;

/// An event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SseEvent {
    /// What kind of event it is; `message` where the stream does not say.
    pub kind: String,
    /// The last id that the stream gave. Empty: it gave none.
    pub id: String,
    /// Its lines, joined by line feeds.
    pub data: String,
}

/// An event is larger than 16 MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event is larger than 16 MiB")]
pub struct EventTooLong;

/// Splits a byte stream into events, however it is cut into parts.
#[derive(Debug, Default)]
pub struct SseParser {
    line: Vec<u8>,
    /// The last byte was a carriage return; a line feed after it belongs to it.
    after_cr: bool,
    /// The first line is over, before which a byte order mark may stand.
    has_begun: bool,
    kind: String,
    data: String,
    has_data: bool,
    id: String,
}

impl SseParser {
    /// Gives each event that the bytes complete.
    ///
    /// # Errors
    /// An event is too long. What comes after it must not be parsed.
    pub fn parse(&mut self, bytes: &[u8], take: &mut impl FnMut(SseEvent)) -> Result<(), EventTooLong> {
        for byte in bytes {
            let ends_cr = std::mem::replace(&mut self.after_cr, *byte == b'\r');
            match byte {
                b'\n' if ends_cr => {}
                b'\n' | b'\r' => {
                    let line = std::mem::take(&mut self.line);
                    self.on_line(&line, take);
                }
                _ => self.line.push(*byte),
            }
            if self.line.len() + self.data.len() > EVENT_BYTES {
                return Err(EventTooLong);
            }
        }
        Ok(())
    }

    fn on_line(&mut self, line: &[u8], take: &mut impl FnMut(SseEvent)) {
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        let line = if is_first { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line };
        if line.is_empty() {
            return self.dispatch(take);
        }
        let line = String::from_utf8_lossy(line);
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.kind),
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            "id" if !value.contains('\0') => value.clone_into(&mut self.id),
            // A comment, the time after which to connect again, and fields of later standards.
            _ => {}
        }
    }

    fn dispatch(&mut self, take: &mut impl FnMut(SseEvent)) {
        let (kind, data) = (std::mem::take(&mut self.kind), std::mem::take(&mut self.data));
        if std::mem::take(&mut self.has_data) {
            let kind = if kind.is_empty() { "message".to_owned() } else { kind };
            take(SseEvent { kind, id: self.id.clone(), data });
        }
    }
}

#[cfg(test)]
mod tests;
