//! Percent-encoded names and values of queries and forms. No input is an error: what cannot be decoded stays as it is.

use percent_encoding::percent_decode;
use url::form_urlencoded;

/// The pairs of a query or a form.
pub(super) fn pairs(form: &[u8]) -> impl Iterator<Item = (String, String)> {
    form_urlencoded::parse(form).into_owned()
}

/// The text with its `%XX` escapes decoded.
pub(super) fn text(encoded: &[u8]) -> String {
    percent_decode(encoded).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_as_browsers_write_it() {
        let read: Vec<_> = pairs(b"a=1&b=x+y%2Bz&&c&=d&e=f=g").collect();
        let expected = [("a", "1"), ("b", "x y+z"), ("c", ""), ("", "d"), ("e", "f=g")];
        assert_eq!(read, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn what_is_not_an_escape_stays() {
        assert_eq!(text(b"100%"), "100%");
        assert_eq!(text(b"%zz%4"), "%zz%4");
        assert_eq!(text(b"%C3%A4%ff"), "ä\u{fffd}");
    }
}
