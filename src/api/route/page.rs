//! The page: a web page that shows the device and calls this API. It is static files, served without a key, because they say
//! nothing of the device; the page's own requests carry the key that a person typed.
//!
//! The files in `src/web` are written for readers; the compiler leaves out their indentation and comments.

mod links;

use axum::http::header::IF_NONE_MATCH;
use axum::http::{HeaderMap, StatusCode};

use crate::api::ApiRequest;
use crate::api::packed::first;
use crate::api::response::{ApiResponse, WebFile, failed};
use crate::api::route::openapi;

pub(super) use links::{make_link, open_link};

/// A file of `src/web`, as it is served.
macro_rules! web_file {
    ($name:literal, $kind:literal) => {
        web_file!($name, $kind, compact)
    };
    ($name:literal, $kind:literal, $($compact:ident)::+) => {{
        const SOURCE: &[u8] = include_bytes!(concat!("../../web/", $name));
        const LENGTH: usize = $($compact)::+::<{ SOURCE.len() }>(SOURCE).1;
        static BODY: [u8; LENGTH] = first(&$($compact)::+::<{ SOURCE.len() }>(SOURCE).0);
        static TAG: [u8; TAG_LENGTH] = tag(&BODY);
        WebFile { name: $name, kind: concat!($kind, "; charset=utf-8"), body: &BODY, tag: &TAG }
    }};
}

static INDEX: WebFile = web_file!("index.html", "text/html");
static FILES: [WebFile; 13] = [
    web_file!("icon.svg", "image/svg+xml"),
    web_file!("style.css", "text/css", compact_css),
    web_file!("texts.json", "application/json", openapi::compact),
    web_file!("app.js", "text/javascript"),
    web_file!("agent.js", "text/javascript"),
    web_file!("board.js", "text/javascript"),
    web_file!("bringup.js", "text/javascript"),
    web_file!("device.js", "text/javascript"),
    web_file!("dom.js", "text/javascript"),
    web_file!("format.js", "text/javascript"),
    web_file!("history.js", "text/javascript"),
    web_file!("services.js", "text/javascript"),
    web_file!("start.js", "text/javascript"),
];

/// `GET /`.
pub(super) fn index(call: &ApiRequest) -> ApiResponse {
    answer(&INDEX, call)
}

/// `GET /web/:file`.
pub(super) fn file(call: &ApiRequest) -> ApiResponse {
    match FILES.iter().find(|it| it.name == call.param) {
        Some(file) => answer(file, call),
        None => failed(StatusCode::NOT_FOUND, "the page has no such file; GET / is the page"),
    }
}

fn answer(file: &'static WebFile, call: &ApiRequest) -> ApiResponse {
    if has(call.request.headers(), file.tag) { ApiResponse::PageUnchanged(file) } else { ApiResponse::Page(file) }
}

/// Whether the client has the version of a file with this tag. A proxy may have made the tag a weak one.
fn has(headers: &HeaderMap, tag: &[u8]) -> bool {
    let tags = headers.get_all(IF_NONE_MATCH).iter().flat_map(|it| it.as_bytes().split(|it| *it == b','));
    tags.map(<[u8]>::trim_ascii).any(|it| it == b"*" || it.strip_prefix(b"W/").unwrap_or(it) == tag)
}

/// Lines without indentation, and without those that are empty or only a comment; and the length. Such a comment begins with
/// `//`, `/*` or `<!--`. The compiler runs it, so that a build script is not needed.
const fn compact<const N: usize>(text: &[u8]) -> ([u8; N], usize) {
    let (mut kept, mut length) = ([0; N], 0);
    let mut at = 0;
    while at < text.len() {
        while at < text.len() && (text[at] == b' ' || text[at] == b'\n') {
            at += 1;
        }
        let is_comment = begins(text, at, b"//") || begins(text, at, b"/*") || begins(text, at, b"<!--");
        while at < text.len() {
            if !is_comment {
                kept[length] = text[at];
                length += 1;
            }
            at += 1;
            if text[at - 1] == b'\n' {
                break;
            }
        }
    }
    (kept, length)
}

/// The same of a style sheet, also without blanks and ends of lines beside its marks, and without the last semicolon of a rule.
const fn compact_css<const N: usize>(text: &[u8]) -> ([u8; N], usize) {
    let (lines, end) = compact::<N>(text);
    let (mut kept, mut length) = ([0; N], 0);
    let mut at = 0;
    while at < end {
        let is_blank = matches!(lines[at], b' ' | b'\n');
        let follows_mark = length > 0 && matches!(kept[length - 1], b'{' | b'}' | b':' | b';' | b',' | b'>');
        let precedes_mark = at + 1 < end && matches!(lines[at + 1], b'{' | b'}' | b'>');
        if lines[at] == b'}' && length > 0 && kept[length - 1] == b';' {
            length -= 1;
        }
        if !(is_blank && (follows_mark || precedes_mark)) {
            kept[length] = lines[at];
            length += 1;
        }
        at += 1;
    }
    (kept, length)
}

const fn begins(text: &[u8], at: usize, with: &[u8]) -> bool {
    let mut i = 0;
    while i < with.len() {
        if at + i >= text.len() || text[at + i] != with[i] {
            return false;
        }
        i += 1;
    }
    true
}

/// 16 hex digits between quotes.
const TAG_LENGTH: usize = 18;

/// The entity tag of a file: its 64-bit FNV-1a hash. It only tells one version of the agent from the next.
const fn tag(body: &[u8]) -> [u8; TAG_LENGTH] {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut at = 0;
    while at < body.len() {
        hash = (hash ^ body[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    let mut tag = [b'"'; TAG_LENGTH];
    at = 1;
    while at < TAG_LENGTH - 1 {
        tag[at] = b"0123456789abcdef"[(hash >> 60) as usize];
        hash <<= 4;
        at += 1;
    }
    tag
}

#[cfg(test)]
mod tests;
