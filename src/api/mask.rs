//! A caller's text for the log: without what may be a key, and not longer than a line.

use crate::api::form;

/// The most characters that are logged: our paths are shorter, and an unauthenticated caller must not fill the log.
const MAX_CHARS: usize = 100;
/// The shortest run of letters, digits and underscores that may be a key of this device. The longest such run in a path of
/// ours has 12.
const KEY_CHARS: usize = 16;
/// The shortest run that may be another system's key, which may also contain the marks of tokens. `regenerate-api-key` has 18.
const TOKEN_CHARS: usize = 20;
/// How often escapes are decoded: each proxy on the way may have escaped a path again. What is still escaped then counts as a
/// mark.
const MAX_ESCAPES: usize = 3;
/// What a key is replaced with.
const MASK: char = '…';

/// A path with `…` in place of its keys, also those that are escaped, of another system, or would be cut off at the end.
pub(super) fn mask(written: &str) -> String {
    let mut text = written.to_owned();
    for _ in 0..MAX_ESCAPES {
        text = form::text(text.as_bytes());
    }
    let mut masked = String::new();
    let mut rest = text.as_str();
    while let Some(first) = rest.chars().next() {
        let token = rest.split(|it| !is_of_token(it)).next().unwrap_or_default();
        let (word, after) = rest.split_at(if token.is_empty() { first.len_utf8() } else { token.len() });
        if may_be_key(word) {
            masked.push(MASK);
        } else {
            masked.push_str(word);
        }
        rest = after;
    }
    masked.chars().take(MAX_CHARS).collect()
}

/// A short word, such as a method, or `…`.
pub(super) fn mask_word(written: &str) -> String {
    if may_be_key(written) || written.contains('%') { MASK.to_string() } else { written.to_owned() }
}

fn may_be_key(word: &str) -> bool {
    word.len() >= TOKEN_CHARS || word.split(|it| !is_of_key(it)).any(|it| it.len() >= KEY_CHARS)
}

/// Keys of this device consist of these, as `BOARDKEEPER_API_KEY` must.
fn is_of_key(it: char) -> bool {
    it.is_ascii_alphanumeric() || it == '_'
}

/// Tokens of other systems may also contain these; a `%` is what is left of an escape.
fn is_of_token(it: char) -> bool {
    is_of_key(it) || "-.~+=%".contains(it)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::routes;

    #[test]
    fn paths_of_ours_are_shown_as_they_are() {
        for route in routes() {
            let path = route.path.replace("{appId}", "4294967295").replace("{name}", "mmc0::");
            assert_eq!(mask(&path), path);
        }
    }

    #[test]
    fn keys_are_masked_wherever_they_stand() {
        let hex = "0123456789abcdef".repeat(4);
        let escaped = |text: &str| text.bytes().map(|it| format!("%{it:02x}")).collect::<Vec<_>>().concat();
        for (written, masked) in [
            (format!("/v1/restart/{hex}"), "/v1/restart/…"),
            (format!("/{hex}/v1/restart"), "/…/v1/restart"),
            (format!("/v1/restart&apikey={hex}"), "/v1/restart&…"),
            (format!("/v1/restart/{}", &hex[..32]), "/v1/restart/…"),
            (format!("/v1/restart/{}", hex.to_uppercase()), "/v1/restart/…"),
            (format!("/v1/restart/{}", escaped(&hex)), "/v1/restart/…"),
            (format!("/v1/restart/{}", escaped(&escaped(&hex))), "/v1/restart/…"),
            (format!("/v1/restart/{}", escaped(&escaped(&escaped(&escaped(&hex))))), "/v1/restart/…"),
            ("/v1/restart/sesame_sesame_16".to_owned(), "/v1/restart/…"),
            ("/v1/eyJhbGciOi.eyJzdWIiOi.SflKxwRJSM-9".to_owned(), "/v1/…"),
            (format!("{hex}/é"), "…/é"),
        ] {
            assert_eq!(mask(&written), masked, "{written}");
        }
    }

    #[test]
    fn a_key_that_would_be_cut_off_is_masked_too() {
        let masked = mask(&format!("/{}{}", "ab/".repeat(30), "0123456789abcdef".repeat(4)));
        assert!(masked.chars().count() <= MAX_CHARS && masked.ends_with("ab/…"), "{masked}");
    }
}
