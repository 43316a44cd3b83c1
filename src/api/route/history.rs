//! What the agent did and saw, and why: the entries of the history, and the stream of events.
//!
//! ```text
//! events   the state and the history as they change              history/events.rs
//! patch    the difference of two states, as a merge patch          history/patch.rs
//! ```

use axum::http::StatusCode;
use serde::Serialize;

use crate::api::auth::AuthenticatedCallers;
use crate::api::response::{ApiResponse, failed, json};
use crate::api::{ApiRequest, form};
use crate::state::history::{HistoryEntry, HistoryOutcome};
use crate::state::utc::utc;

mod events;
mod patch;

pub(super) use events::events;

/// How many entries are sent where a request gives no number.
const DEFAULT_LIMIT: usize = 100;

#[derive(Serialize)]
struct HistoryBody<'a> {
    oldest: Option<u64>,
    newest: u64,
    entries: Vec<EntryBody<'a>>,
}

/// An entry, as `/agent/v1/history` and the events show it.
#[derive(Serialize)]
pub(super) struct EntryBody<'a> {
    id: u64,
    at: String,
    action: &'static str,
    object: &'static str,
    name: &'a str,
    app_id: Option<u32>,
    service: Option<&'a str>,
    why: &'a str,
    changes: Vec<ChangeBody<'a>>,
    asked_by: Option<&'a str>,
    outcome: &'static str,
    error: Option<&'a str>,
    milliseconds: Option<u64>,
    sentence: String,
}

#[derive(Serialize)]
struct ChangeBody<'a> {
    field: &'a str,
    old: Option<&'a str>,
    new: Option<&'a str>,
}

impl<'a> EntryBody<'a> {
    fn of(it: &'a HistoryEntry) -> Self {
        let change = |it: &'a crate::state::history::FieldChange| ChangeBody {
            field: &it.field,
            old: it.old.as_deref(),
            new: it.new.as_deref(),
        };
        Self {
            id: it.id,
            at: utc(it.at_ms.div_euclid(1000)),
            action: it.action.word(),
            object: it.object.word(),
            name: &it.name,
            app_id: it.app.map(|it| it.0),
            service: it.service.as_deref(),
            why: &it.why,
            changes: it.changes.iter().map(change).collect(),
            asked_by: it.asked_by.as_ref().map(crate::state::history::Requester::words),
            outcome: it.outcome.word(),
            error: if let HistoryOutcome::Failed(why) = &it.outcome { Some(why) } else { None },
            milliseconds: it.millis,
            sentence: it.sentence(),
        }
    }
}

/// Whether these callers may see an entry: what belongs to no app, everyone with a key may.
pub(super) fn may_see(callers: &AuthenticatedCallers, entry: &HistoryEntry) -> bool {
    entry.app.is_none_or(|app| callers.may_access(i64::from(app.0)))
}

/// `GET /agent/v1/history`: the newest entries, oldest first.
pub(super) fn history(call: &ApiRequest) -> ApiResponse {
    let filter = match HistoryFilter::of(call.request.uri().query().unwrap_or_default()) {
        Ok(filter) => filter,
        Err(why) => return failed(StatusCode::BAD_REQUEST, &why),
    };
    let history = call.api.history.borrow();
    let matching = history.after(filter.since).filter(|it| may_see(&call.callers, it) && filter.matches(it));
    let mut entries: Vec<_> = matching.rev().take(filter.limit).map(|it| EntryBody::of(it)).collect();
    entries.reverse();
    json(StatusCode::OK, &HistoryBody { oldest: history.oldest(), newest: history.newest(), entries })
}

/// Which entries a request asks for.
#[derive(Debug, PartialEq, Eq)]
struct HistoryFilter {
    app: Option<u32>,
    service: Option<String>,
    since: u64,
    limit: usize,
}

impl HistoryFilter {
    fn of(query: &str) -> Result<Self, String> {
        let mut filter = Self { app: None, service: None, since: 0, limit: DEFAULT_LIMIT };
        for (name, value) in form::pairs(query.as_bytes()) {
            let wrong = |what: &str| format!("{name} must be {what}, not `{}`", value.chars().take(40).collect::<String>());
            match name.as_str() {
                "app" => filter.app = Some(value.parse().map_err(|_| wrong("an app's number"))?),
                "service" => filter.service = Some(value),
                "since" => filter.since = value.parse().map_err(|_| wrong("the number of an entry"))?,
                "limit" => filter.limit = value.parse().map_err(|_| wrong("a number of entries"))?,
                // Clients send a key in the query, and parameters of their own.
                _ => {}
            }
        }
        Ok(filter)
    }

    fn matches(&self, entry: &HistoryEntry) -> bool {
        self.app.is_none_or(|it| entry.app.is_some_and(|app| app.0 == it))
            && self.service.as_ref().is_none_or(|it| entry.service.as_ref() == Some(it))
    }
}
