//! `POST /v1/reboot` and `POST /v1/shutdown`. Every outcome has the shape the reference shows.

use axum::http::StatusCode;
use serde::Serialize;

use crate::api::response::{ApiResponse, json};
use crate::api::{ApiRequest, body};
use crate::request::{Refusal, Request};
use crate::state::{AppId, HeldLock, PowerAction};

/// The body of the endpoints that were first written in Go.
#[derive(Serialize)]
struct Outcome<'a> {
    #[serde(rename = "Data")]
    data: &'a str,
    #[serde(rename = "Error")]
    error: &'a str,
}

/// Reboots or powers off the machine. 202 means that logind can do it, and that the agent requests it in a second.
pub(in crate::api) async fn end(call: ApiRequest, ending: PowerAction) -> Result<ApiResponse, ApiResponse> {
    let fields = body::read(call.request).await?;
    match call.api.send(|reply| Request::Shutdown { ending, force: fields.force(), reply }).await? {
        Ok(()) => Ok(json(StatusCode::ACCEPTED, &Outcome { data: "OK", error: "" })),
        Err(why) => {
            let (status, error) = status_and_text(&why);
            Err(json(status, &Outcome { data: "", error: &error }))
        }
    }
}

fn status_and_text(why: &Refusal) -> (StatusCode, String) {
    match why {
        Refusal::LockedApp(app, held) => (StatusCode::LOCKED, locked(*app, held)),
        Refusal::HostUpdate(_) => (StatusCode::LOCKED, why.to_string()),
        Refusal::ShuttingDown => (StatusCode::SERVICE_UNAVAILABLE, why.to_string()),
        Refusal::Locked(_)
        | Refusal::UnknownApp(_)
        | Refusal::SeveralServices
        | Refusal::NoContainer
        | Refusal::NotInTarget
        | Refusal::NotToRun(_)
        | Refusal::Failed(_)
        | Refusal::UnknownKey => (StatusCode::INTERNAL_SERVER_ERROR, why.to_string()),
    }
}

/// Begins as later supervisors write it, then adds the lock's path and since when it is held.
fn locked(app: AppId, held: &HeldLock) -> String {
    let HeldLock { service, path, since_secs } = held;
    format!("Lockfile exists for {{ appId: {app}, service: {service} }}: {path} since {}", utc(*since_secs))
}

/// A time in the form `2026-11-23T16:40:05Z`. After Hinnant, "chrono-compatible low-level date algorithms".
fn utc(secs: i64) -> String {
    let (days, second) = (secs.div_euclid(86_400) + 719_468, secs.rem_euclid(86_400));
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_as_a_calendar_has_them() {
        for (secs, said) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (951_827_696, "2000-02-29T12:34:56Z"),
            (1_700_000_000, "2023-11-14T22:13:20Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(utc(secs), said);
        }
    }
}
