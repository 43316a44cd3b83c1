//! Request bodies: their types, limits and fields.

use std::time::Duration;

use axum::RequestExt;
use axum::body::{Bytes, HttpBody};
use axum::extract::{DefaultBodyLimit, Request as HttpRequest};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use serde_json::{Map, Value};
use tokio::time::timeout;

use crate::api::form;
use crate::api::response::{ApiResponse, failed};
use crate::json::{self, JsonError};
use crate::request::InProgress;
use crate::state::Force;
use crate::state::switch::is_on;

/// The most bytes of a body, where an endpoint takes no target document: the limit of the supervisors of 2017. The largest such
/// body has three fields.
pub(super) const LIMIT_BYTES: usize = 100 * 1024;

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// The fields of a body. An empty body has none, and neither has one of a type that is not read.
#[derive(Debug, Default)]
pub(super) struct BodyFields(Map<String, Value>);

/// The types of body that are read.
enum BodyType {
    Json,
    Form,
}

/// Reads a body of up to [`LIMIT_BYTES`] to its end.
pub(super) async fn read(request: HttpRequest) -> Result<BodyFields, ApiResponse> {
    read_up_to(request, LIMIT_BYTES).await
}

/// Reads a body of up to this many bytes to its end.
pub(super) async fn read_up_to(mut request: HttpRequest, most: usize) -> Result<BodyFields, ApiResponse> {
    let Some(kind) = kind(request.headers()) else { return Ok(BodyFields::default()) };
    let encoding = header(request.headers(), &CONTENT_ENCODING);
    if encoding.is_some_and(|it| !it.eq_ignore_ascii_case("identity")) {
        return Err(failed(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body is compressed; send it as it is"));
    }
    let too_large = || failed(StatusCode::PAYLOAD_TOO_LARGE, &format!("the body is longer than {} kB", most / 1024));
    // A body whose declared length is over the limit is rejected without being read.
    if request.body().size_hint().lower() > most as u64 {
        return Err(too_large());
    }
    DefaultBodyLimit::max(most).apply(&mut request);
    let bytes = match timeout(BODY_TIMEOUT, request.extract::<Bytes, _>()).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(refused)) if refused.status() == StatusCode::PAYLOAD_TOO_LARGE => return Err(too_large()),
        Ok(Err(_)) => return Err(failed(StatusCode::BAD_REQUEST, "the body ends too early")),
        Err(_) => return Err(failed(StatusCode::REQUEST_TIMEOUT, "the body did not arrive within 30 seconds")),
    };
    match kind {
        _ if bytes.is_empty() => Ok(BodyFields::default()),
        BodyType::Json => json(&bytes),
        BodyType::Form => Ok(fields(&bytes)),
    }
}

fn kind(headers: &HeaderMap) -> Option<BodyType> {
    let essence = header(headers, &CONTENT_TYPE)?.split(';').next()?.trim();
    if essence.eq_ignore_ascii_case("application/json") {
        Some(BodyType::Json)
    } else if essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        Some(BodyType::Form)
    } else {
        None
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn json(bytes: &[u8]) -> Result<BodyFields, ApiResponse> {
    let found = match json::read(bytes) {
        Ok(Value::Object(fields)) => return Ok(BodyFields(fields)),
        // Other supervisors accept a list, and find no field in it.
        Ok(Value::Array(_)) => return Ok(BodyFields::default()),
        Ok(Value::Null) => "null",
        Ok(Value::Bool(_)) => "a boolean",
        Ok(Value::Number(_)) => "a number",
        Ok(Value::String(_)) => "a string",
        Err(JsonError::NotJson(why)) => return Err(failed(StatusCode::BAD_REQUEST, &format!("the body is not JSON: {why}"))),
        // A duplicate key is rejected: either value may have been meant.
        Err(JsonError::Twice(why)) => return Err(failed(StatusCode::BAD_REQUEST, &format!("the body: {why}"))),
    };
    Err(failed(StatusCode::BAD_REQUEST, &format!("the body must be a JSON object, and is {found} at line 1 column 1")))
}

fn fields(bytes: &[u8]) -> BodyFields {
    let mut fields = Map::new();
    for (name, value) in form::pairs(bytes) {
        // A field that is given twice has no one value.
        let twice = fields.contains_key(&name);
        fields.insert(name, if twice { Value::Null } else { Value::String(value) });
    }
    BodyFields(fields)
}

impl BodyFields {
    /// Whether update locks are overridden.
    pub(super) fn force(&self) -> Force {
        if self.is_true("force") { Force::Yes } else { Force::No }
    }

    /// Whether work in flight is cancelled.
    pub(super) fn cancel(&self) -> InProgress {
        if self.is_true("cancel") { InProgress::Cancel } else { InProgress::Keep }
    }

    /// The ID of the app the request is about.
    pub(super) fn app(&self) -> Option<i64> {
        self.number("appId")
    }

    /// Whether the body has this field.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// All fields.
    pub(super) const fn all(&self) -> &Map<String, Value> {
        &self.0
    }

    /// A field.
    pub(super) fn value(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// A field that is a string.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    /// A field that is an integer, or a string of one.
    pub(super) fn number(&self, name: &str) -> Option<i64> {
        match self.0.get(name)? {
            Value::Number(number) => integer(&number.to_string()),
            Value::String(text) => integer(text),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// The whole, as a target document: without what is about the request.
    pub(super) fn into_document(self) -> String {
        let mut fields = self.0;
        fields.remove("force");
        Value::Object(fields).to_string()
    }

    /// The host configuration that is requested.
    pub(super) fn network(&self) -> Option<&Map<String, Value>> {
        self.0.get("network")?.as_object()
    }

    /// Whether a field is true, in one of the spellings of clients.
    pub(super) fn is_true(&self, name: &str) -> bool {
        match self.0.get(name) {
            Some(Value::Bool(is)) => *is,
            Some(Value::Number(number)) => ["1", "1.0"].contains(&number.to_string().as_str()),
            Some(Value::String(text)) => is_on(text),
            Some(Value::Null | Value::Array(_) | Value::Object(_)) | None => false,
        }
    }
}

/// An integer as clients write it: `200`, `-3`, `200.00`. Not `0x11`, not `50.55`, not the empty string.
pub(super) fn integer(text: &str) -> Option<i64> {
    let end = text.find('.').unwrap_or(text.len());
    let (whole, zeros) = text.split_at(end);
    let digits = whole.strip_prefix('-').unwrap_or(whole);
    let is_whole = !digits.is_empty() && digits.bytes().all(|it| it.is_ascii_digit());
    let is_zero = zeros.bytes().skip(1).all(|it| it == b'0');
    (is_whole && is_zero).then(|| whole.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(body: &str) -> BodyFields {
        json(body.as_bytes()).expect("an object")
    }

    #[test]
    fn an_app_is_a_whole_number_or_text_that_looks_like_one() {
        for (written, number) in [
            ("200", 200),
            ("\"200\"", 200),
            ("\"200.00\"", 200),
            ("\"200.\"", 200),
            ("200.0", 200),
            ("2e2", 200),
            ("-3", -3),
            ("\"-3\"", -3),
            ("0", 0),
        ] {
            assert_eq!(of(&format!("{{\"appId\":{written}}}")).app(), Some(number), "{written}");
        }
        for written in [
            "\"\"",
            "\"0x11\"",
            "50.55",
            "\"50.55\"",
            "[]",
            "{}",
            "null",
            "true",
            "\" 1\"",
            "\"1e3\"",
            "1e30",
            "\"-\"",
            "\"+1\"",
        ] {
            assert_eq!(of(&format!("{{\"appId\":{written}}}")).app(), None, "{written}");
        }
        assert_eq!(of("{}").app(), None);
    }

    #[test]
    fn a_field_that_is_given_twice_is_refused() {
        assert!(json(br#"{"appId": 1, "force": false, "appId": 2}"#).is_err());
        assert!(json(br#"{"network": {"hostname": "a", "hostname": "b"}}"#).is_err());
    }

    #[test]
    fn true_has_many_spellings() {
        for written in ["true", "1", "1.0", "\"1\"", "\"true\"", "\"TRUE\"", "\"on\"", "\"On\""] {
            assert_eq!(of(&format!("{{\"force\":{written}}}")).force(), Force::Yes, "{written}");
            assert_eq!(of(&format!("{{\"cancel\":{written}}}")).cancel(), InProgress::Cancel, "{written}");
        }
        for written in ["false", "0", "2", "\"yes\"", "\"\"", "null", "[]", "[true]", "{}"] {
            assert_eq!(of(&format!("{{\"force\":{written}}}")).force(), Force::No, "{written}");
        }
    }

    #[test]
    fn a_form_has_texts_and_a_field_given_twice_has_no_value() {
        let read = fields(b"appId=12&force=true&cancel=1&cancel=1");
        assert_eq!((read.app(), read.force(), read.cancel()), (Some(12), Force::Yes, InProgress::Keep));
        assert_eq!(fields(b"appId=1&appId=1&appId=1").app(), None);
    }
}
