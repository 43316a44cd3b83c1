//! Links to the page that log in by themselves. A link has a token; the page exchanges it for the device's key, once.
//!
//! The token is in the fragment of the page's URL, which browsers send to no server. Tokens that are not known are delayed like
//! wrong keys.

use axum::http::StatusCode;
use serde::Serialize;
use tokio::time::Instant;

use crate::api::ApiRequest;
use crate::api::response::{ApiResponse, failed, json};
use crate::request::{Refusal, Request};
use crate::state::Secret;
use crate::state::page_link::PAGE_LINK_FOR;

#[derive(Serialize)]
struct PageLink {
    /// The path of the page, with the token.
    path: String,
    seconds: u64,
}

#[derive(Serialize)]
struct DeviceKey<'a> {
    key: &'a str,
}

/// `POST /agent/v1/page-links`: makes a link.
pub(in crate::api) async fn make_link(call: ApiRequest) -> Result<ApiResponse, ApiResponse> {
    let token = call.api.send(Request::MakePageLink).await?.map_err(|why| refused(&why))?;
    let path = format!("/#link={}", token.reveal());
    Ok(json(StatusCode::OK, &PageLink { path, seconds: PAGE_LINK_FOR.as_secs() }))
}

/// `POST /agent/v1/page-links/:token`: opens it. Only a token that may be known reaches the reconciler, so that callers
/// without a key cannot fill its inbox.
pub(in crate::api) async fn open_link(call: ApiRequest) -> Result<ApiResponse, ApiResponse> {
    let token = Secret::new(call.param);
    if !call.api.status.borrow().page_links.has(&token, Instant::now()) {
        return Err(refused(&Refusal::UnknownLink));
    }
    let key = call.api.send(|reply| Request::OpenPageLink { token, reply }).await?.map_err(|why| refused(&why))?;
    Ok(json(StatusCode::OK, &DeviceKey { key: key.reveal() }))
}

fn refused(why: &Refusal) -> ApiResponse {
    let status = if *why == Refusal::UnknownLink { StatusCode::FORBIDDEN } else { StatusCode::SERVICE_UNAVAILABLE };
    failed(status, &why.to_string())
}
