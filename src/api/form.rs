//! Percent-encoded names and values of queries and forms.

/// The pairs of a query or a form. No input is an error: what cannot be decoded stays as it is.
pub(super) fn pairs(form: &[u8]) -> impl Iterator<Item = (String, String)> {
    form.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()).map(|pair| {
        let mut halves = pair.splitn(2, |byte| *byte == b'=');
        let mut half = || spaced(halves.next().unwrap_or_default());
        (half(), half())
    })
}

/// The text with its `%XX` escapes decoded.
pub(super) fn text(spelled: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(spelled.len());
    let mut rest = spelled;
    while let [first, after @ ..] = rest {
        let (byte, after) = match (first, after) {
            (b'%', [high, low, after @ ..]) => digits(*high, *low).map_or((b'%', &rest[1..]), |byte| (byte, after)),
            _ => (*first, after),
        };
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn spaced(spelled: &[u8]) -> String {
    let spelled: Vec<u8> = spelled.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    text(&spelled)
}

fn digits(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|it| u8::try_from(it).ok());
    Some(digit(high)? * 16 + digit(low)?)
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
