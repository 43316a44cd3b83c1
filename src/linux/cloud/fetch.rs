//! A document at a URL: no key is sent, an ETag is, and redirects are followed to `https` only.

use std::time::Duration;

use hyper::header::{ETAG, LOCATION};
use hyper::{Method, StatusCode};
use url::{Position, Url};

use crate::linux::cloud::answer::CloudAnswer;
use crate::linux::cloud::{CloudClient, CloudRequest};
use crate::port::CloudError;
use crate::state::cloud::TrafficPurpose;

/// How many redirects are followed. Storage services need one or two.
const REDIRECTS: usize = 5;

/// The answer to a request for a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::linux) enum FetchedDocument {
    /// It has the ETag that was sent.
    NotModified,
    /// Its bytes.
    Document {
        /// At most 4 MiB.
        bytes: Vec<u8>,
        /// Its ETag.
        etag: Option<String>,
    },
}

/// Why there is no document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::linux) struct FetchError {
    /// In words, with what to do.
    pub(in crate::linux) why: String,
    /// How long the server wants to be left alone.
    pub(in crate::linux) retry_after: Option<Duration>,
}

impl CloudClient {
    /// The document at a URL of scheme `http` or `https`.
    pub(in crate::linux) async fn fetch(&self, url: &Url, etag: Option<&str>) -> Result<FetchedDocument, FetchError> {
        let mut at = url.clone();
        for _ in 0..=REDIRECTS {
            let (endpoint, path) = (&at[..Position::AfterPort], &at[Position::BeforePath..Position::AfterQuery]);
            let request = CloudRequest::new(Method::GET, endpoint, path, TrafficPurpose::Poll);
            let (_, answer) = self.answer(&CloudRequest { etag, ..request }).await.map_err(|why| failed(&why))?;
            match next_place(&at, &answer)? {
                Some(next) => at = next,
                None => return judged(&at, answer, etag.is_some()),
            }
        }
        Err(wrong(format!("{} redirects more than {REDIRECTS} times; correct --target", host(url))))
    }
}

/// Where an answer redirects to.
fn next_place(at: &Url, answer: &CloudAnswer) -> Result<Option<Url>, FetchError> {
    let place = answer.text(LOCATION);
    if !matches!(answer.status.as_u16(), 301 | 302 | 303 | 307 | 308) || place.is_empty() {
        return Ok(None);
    }
    match at.join(place) {
        Ok(next) if next.scheme() == "https" && next.has_host() => Ok(Some(next)),
        Ok(_) | Err(_) => Err(wrong(format!(
            "{} redirects to {}, and redirects are followed to https only; correct --target, or sign in to the network",
            host(at),
            place.escape_debug()
        ))),
    }
}

fn judged(at: &Url, answer: CloudAnswer, has_etag: bool) -> Result<FetchedDocument, FetchError> {
    if answer.status == StatusCode::NOT_MODIFIED && has_etag {
        return Ok(FetchedDocument::NotModified);
    }
    if answer.is_portal() {
        return Err(wrong(format!(
            "{} answers with a web page, so it is a captive portal or another site: sign in to the network, or correct --target",
            host(at)
        )));
    }
    if !answer.status.is_success() {
        return Err(failed(&answer.refusal(&[])));
    }
    let etag = Some(answer.text(ETAG).to_owned()).filter(|it| !it.is_empty());
    Ok(FetchedDocument::Document { bytes: answer.body.bytes, etag })
}

fn failed(error: &CloudError) -> FetchError {
    let retry_after = match error {
        CloudError::Refused { retry_after, .. } => *retry_after,
        CloudError::Unreachable(_) | CloudError::Foreign(_) => None,
    };
    // The client is the cloud's, and names the setting of its address.
    let why = error.to_string().replace("apiEndpoint in config.json", "--target").replace("the cloud", "the server");
    FetchError { why, retry_after }
}

fn wrong(why: String) -> FetchError {
    FetchError { why, retry_after: None }
}

fn host(url: &Url) -> &str {
    url.host_str().unwrap_or_default()
}
