use proptest::prelude::*;

use super::*;

fn events(parts: &[&[u8]]) -> Vec<SseEvent> {
    let (mut parser, mut all) = (SseParser::default(), Vec::new());
    for part in parts {
        parser.parse(part, &mut |it| all.push(it)).unwrap();
    }
    all
}

fn event(kind: &str, id: &str, data: &str) -> SseEvent {
    SseEvent { kind: kind.to_owned(), id: id.to_owned(), data: data.to_owned() }
}

#[test]
fn events_are_read_as_the_agent_writes_them() {
    let stream = b"id: 16\nevent: state\ndata: {\"a\":1}\n\n:\n\nid: 17\nevent: history\ndata: {}\n\nevent: change\ndata: {\"b\":2}\n\nevent: cut";
    let expected = [event("state", "16", "{\"a\":1}"), event("history", "17", "{}"), event("change", "17", "{\"b\":2}")];
    assert_eq!(events(&[stream]), expected);
}

#[test]
fn the_standards_own_cases() {
    // Every line end counts, several lines are one text, one blank after the colon belongs to the field.
    assert_eq!(events(&[b"data: one\r\ndata:  two\rdata\n\r\n"]), [event("message", "", "one\n two\n")]);
    assert_eq!(events(&[b"\xef\xbb\xbfdata: x\n\n"]), [event("message", "", "x")]);
    assert_eq!(events(&[b"event: nothing\n\ndata\n\n"]), [event("message", "", "")]);
    assert_eq!(events(&[b"id: a\0b\ndata: x\n\nid\ndata: y\n\n"]), [event("message", "", "x"), event("message", "", "y")]);
    assert_eq!(events(&[b"retry: 10\nunknown: z\n : y\ndata: x\n\n"]), [event("message", "", "x")]);
    assert_eq!(events(&[b"data: \xff\n\n"]), [event("message", "", "\u{fffd}")]);
    assert_eq!(events(&[b"data: x\r", b"\n\r", b"\n", b"data: y\n\n"]), [event("message", "", "x"), event("message", "", "y")]);
}

#[test]
fn an_event_without_end_is_given_up() {
    let mut parser = SseParser::default();
    let part = vec![b'x'; 1 << 20];
    let mut given = 0;
    let parsed = (0..64).try_for_each(|_| parser.parse(&part, &mut |_| given += 1));
    assert_eq!((parsed, given), (Err(EventTooLong), 0));
    let mut parser = SseParser::default();
    let line = [b"data: ", &part[..], b"\n"].concat();
    assert_eq!((0..64).try_for_each(|_| parser.parse(&line, &mut |_| given += 1)), Err(EventTooLong));
}

proptest! {
    #[test]
    fn no_bytes_break_it_and_cuts_make_no_difference(
        bytes in prop::collection::vec(prop_oneof![prop::sample::select(b"\r\n: dataideventretry\0".to_vec()), any::<u8>()], 0..300),
        cut in 0..300_usize,
    ) {
        let (one, other) = bytes.split_at(cut.min(bytes.len()));
        prop_assert_eq!(events(&[&bytes]), events(&[one, other]));
    }
}
