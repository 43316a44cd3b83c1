//! What `boardkeeper state` prints of the cloud.

use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct CloudSummary {
    registration: Registration,
    pin: Option<Pin>,
    polling: Polling,
    reporting: Reporting,
    log_upload: LogUpload,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Registration {
    state: String,
    why: Option<String>,
    next_in_seconds: Option<u64>,
    endpoint: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Pin {
    state: String,
    commit: String,
    why: Option<String>,
    next_in_seconds: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Polling {
    targets_from: String,
    last: Option<PollAnswer>,
    why: Option<String>,
    next_in_seconds: Option<u64>,
    next_cause: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PollAnswer {
    answer: String,
    why: Option<String>,
    seconds_ago: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Reporting {
    accepted_seconds_ago: Option<u64>,
    why: Option<String>,
    refused: Vec<RefusedPart>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RefusedPart {
    part: String,
    why: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LogUpload {
    why: Option<String>,
    dropped_lines: u64,
}

impl CloudSummary {
    /// A line each. None where the device has no cloud.
    pub(super) fn lines(&self) -> Vec<String> {
        match self.registration.state.as_str() {
            "registered" => {
                let mut lines = vec![format!("registered at {}", self.registration.endpoint)];
                lines.extend(self.pin.as_ref().and_then(Pin::line));
                lines.push(self.polling.line());
                lines.extend(self.reporting.lines());
                lines.extend(self.log_upload.lines());
                lines
            }
            "pending" => vec![self.registration.pending()],
            _ => Vec::new(),
        }
    }
}

impl Registration {
    fn pending(&self) -> String {
        let again = self.next_in_seconds.map(|it| format!(" (again in {it} s)")).unwrap_or_default();
        match &self.why {
            Some(why) => format!("not registered: {why}{again}"),
            None => "not registered yet".to_owned(),
        }
    }
}

impl Pin {
    /// What is not as the preloaded target asks.
    fn line(&self) -> Option<String> {
        let (commit, why) = (&self.commit, self.why.as_deref());
        let again = self.next_in_seconds.map(|it| format!(" (again in {it} s)")).unwrap_or_default();
        match self.state.as_str() {
            "pending" => Some(format!("not pinned on its preloaded release {commit} yet: {}{again}", why.unwrap_or("asking"))),
            "refused" => Some(format!("not pinned on its preloaded release {commit}: {}", why.unwrap_or("reason unknown"))),
            _ => None,
        }
    }
}

impl Polling {
    fn line(&self) -> String {
        let last = match (&self.why, &self.last) {
            (Some(why), _) => format!("no answer: {why}"),
            (None, None) => "not polled yet".to_owned(),
            (None, Some(PollAnswer { answer, why, seconds_ago })) => {
                let result = match (answer.as_str(), why) {
                    ("unchanged", _) => "no new target".to_owned(),
                    ("new", _) => "a new target".to_owned(),
                    ("gone", _) => "the cloud has no such device".to_owned(),
                    (other, why) => format!("{other}: {}", why.as_deref().unwrap_or("reason unknown")),
                };
                format!("polled {seconds_ago} s ago: {result}")
            }
        };
        let why = match self.next_cause.as_str() {
            "retry" => "to try again",
            "update" => "for an update request",
            "refused_request" => "for a refused request",
            _ => "as usual",
        };
        let next = self.next_in_seconds.map(|it| format!("; next in {it} s, {why}")).unwrap_or_default();
        let from = if self.targets_from == "file" { "; its targets are not applied, a file's are" } else { "" };
        format!("{last}{next}{from}")
    }
}

impl Reporting {
    fn lines(&self) -> Vec<String> {
        let since = self.accepted_seconds_ago.map_or_else(|| "never".to_owned(), |it| format!("{it} s ago"));
        let failed = self.why.iter().map(|why| format!("the last report failed: {why}; accepted {since}"));
        let refused = self.refused.iter().map(|it| format!("refuses the report of {}: {}", it.part, it.why));
        failed.chain(refused).collect()
    }
}

impl LogUpload {
    fn lines(&self) -> Vec<String> {
        let failed = self.why.iter().map(|why| format!("logs are not uploaded: {why}"));
        let dropped = (self.dropped_lines > 0).then(|| format!("{} lines of logs were dropped", self.dropped_lines));
        failed.chain(dropped).collect()
    }
}
