//! The API description, as it is served: `openapi.json` without the blanks that are there for its readers in the repository.

use crate::api::ApiRequest;
use crate::api::packed::{first, pack, unpack};
use crate::api::response::ApiResponse;

const SOURCE: &[u8] = include_bytes!("../openapi.json");
const LENGTH: usize = compact::<{ SOURCE.len() }>(SOURCE).1;
static DESCRIPTION: [u8; LENGTH] = compact(SOURCE).0;
const PACKED: ([u8; LENGTH], usize) = pack(&DESCRIPTION);
static PACKED_DESCRIPTION: [u8; PACKED.1] = first(&PACKED.0);

/// `GET /agent/v1/openapi.json`.
pub(super) fn openapi(_: &ApiRequest) -> ApiResponse {
    ApiResponse::File(unpack(&PACKED_DESCRIPTION))
}

/// JSON without blanks outside of strings, and its length. The compiler runs it, so that a build script is not needed.
pub(super) const fn compact<const N: usize>(mut json: &[u8]) -> ([u8; N], usize) {
    let (mut text, mut length) = ([0; N], 0);
    let (mut in_string, mut escaped) = (false, false);
    while let [byte, rest @ ..] = json {
        if in_string || !byte.is_ascii_whitespace() {
            text[length] = *byte;
            length += 1;
        }
        in_string ^= *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        json = rest;
    }
    (text, length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_is_whole_once_it_is_unpacked() {
        assert_eq!(unpack(&PACKED_DESCRIPTION), DESCRIPTION);
        assert!(PACKED_DESCRIPTION.len() < LENGTH / 3, "{} of {LENGTH}", PACKED_DESCRIPTION.len());
    }

    #[test]
    fn only_blanks_between_tokens_are_left_out() {
        let (text, length) = compact::<64>(b" { \"a b\" :\n [ 1, \"\\\" \\\\\", \" c\" ] }\n");
        assert_eq!(&text[..length], b"{\"a b\":[1,\"\\\" \\\\\",\" c\"]}");
    }
}
