//! What the command line reads from the agent.

use boardkeeper::cli::sse::{SseEvent, SseParser};

/// A stream of Server-Sent Events, the first byte of which says how it is cut: the pieces make no difference, and no event is
/// longer than what came.
pub fn events(data: &[u8]) {
    let Some((how, stream)) = data.split_first() else { return };
    let whole = parsed([stream]);
    assert_eq!(parsed(stream.chunks(1 + usize::from(*how))), whole);
    for event in &whole {
        // A byte that is no UTF-8 becomes a character of three.
        assert!(event.data.len() + event.id.len() + event.kind.len() <= 6 * stream.len() + "message".len(), "{event:?}");
        assert!(!event.id.contains(['\n', '\r', '\0']) && !event.kind.contains(['\n', '\r']), "{event:?}");
    }
}

fn parsed<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Vec<SseEvent> {
    let (mut parser, mut events) = (SseParser::default(), Vec::new());
    for part in parts {
        parser.parse(part, &mut |it| events.push(it)).expect("inputs are short");
    }
    events
}
