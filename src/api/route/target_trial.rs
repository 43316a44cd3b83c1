//! A target on trial: a person tries one, keeps it, or goes back.

use axum::http::StatusCode;
use serde::Serialize;
use tokio::time::Instant;

use crate::api::ApiRequest;
use crate::api::body;
use crate::api::response::{ApiResponse, failed, json};
use crate::request::{Refusal, Request};
use crate::state::target_trial::{LONGEST_TRIAL_SECS, SHORTEST_TRIAL_SECS, TargetTrialStatus};

/// The most bytes of a request with a document: a release of a hundred services takes some 200 kB.
const DOCUMENT_BYTES: usize = 1024 * 1024;

/// A target on trial, or kept after its trial.
#[derive(Debug, Serialize)]
pub(super) struct TargetTrial<'a> {
    /// `trial` or `kept`.
    state: &'static str,
    /// How long it is on trial still.
    seconds_left: Option<u64>,
    /// Since the trial began, the device was given another target, which it applies when the trial ends.
    newer: bool,
    warnings: &'a [String],
}

impl<'a> From<&'a TargetTrialStatus> for TargetTrial<'a> {
    fn from(status: &'a TargetTrialStatus) -> Self {
        let left = |ends: Instant| ends.saturating_duration_since(Instant::now()).as_secs();
        Self {
            state: if status.ends.is_some() { "trial" } else { "kept" },
            seconds_left: status.ends.map(left),
            newer: status.has_newer,
            warnings: &status.warnings,
        }
    }
}

/// `POST /agent/v1/target-trial`: answered as soon as the document is saved, before it is applied.
pub(super) async fn begin(call: ApiRequest) -> Result<ApiResponse, ApiResponse> {
    let fields = body::read_up_to(call.request, DOCUMENT_BYTES).await?;
    let length = fields.number("seconds").and_then(|it| u32::try_from(it).ok());
    let length = length.filter(|it| (SHORTEST_TRIAL_SECS..=LONGEST_TRIAL_SECS).contains(it));
    let wrong = |why: &str| failed(StatusCode::BAD_REQUEST, why);
    let why = format!("`seconds` must be a whole number from {SHORTEST_TRIAL_SECS} to {LONGEST_TRIAL_SECS}");
    let length_secs = length.ok_or_else(|| wrong(&why))?;
    let document = fields.value("document").filter(|it| it.is_object() || it.is_array());
    let document = document.ok_or_else(|| wrong("`document` must be a target document: a JSON object"))?.to_string();
    answer(&call.api.send(|reply| Request::TryTarget { document, length_secs, reply }).await?)
}

/// `POST /agent/v1/target-trial/keep`.
pub(super) async fn keep(call: ApiRequest) -> Result<ApiResponse, ApiResponse> {
    answer(&call.api.send(Request::KeepTarget).await?)
}

/// `DELETE /agent/v1/target-trial`.
pub(super) async fn end(call: ApiRequest) -> Result<ApiResponse, ApiResponse> {
    match call.api.send(Request::EndTargetTrial).await? {
        Ok(()) => Ok(ApiResponse::Nothing),
        Err(why) => Err(refused(&why)),
    }
}

fn answer(got: &Result<TargetTrialStatus, Refusal>) -> Result<ApiResponse, ApiResponse> {
    match got {
        Ok(status) => Ok(json(StatusCode::OK, &TargetTrial::from(status))),
        Err(why) => Err(refused(why)),
    }
}

fn refused(why: &Refusal) -> ApiResponse {
    let status = match why {
        Refusal::Document(_) => StatusCode::BAD_REQUEST,
        Refusal::Trial(_) => StatusCode::CONFLICT,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    failed(status, &why.to_string())
}
