//! What is drawn on a terminal: colours, and a text that is drawn anew in its place.

use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;

use rustix::termios::tcgetwinsize;

use crate::cli::CommandError;

/// Columns and rows of a terminal that does not say how large it is.
const COLUMNS: usize = 80;
const ROWS: usize = 24;

/// Whether standard output is a terminal that takes control sequences.
pub(super) fn is_terminal() -> bool {
    io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|it| it != "dumb")
}

/// Whether what is written to standard output is coloured.
pub(super) fn has_colours() -> bool {
    is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty())
}

/// Writes to standard output. `Break`: the reader has closed the pipe, and no more is to be written.
pub(super) fn print_on(text: &str) -> Result<ControlFlow<()>, CommandError> {
    let mut out = io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(ControlFlow::Continue(())),
        Err(why) if why.kind() == io::ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
        Err(why) => Err(CommandError::Failed(format!("cannot print: {why}"))),
    }
}

/// A text on the terminal that is drawn anew in its place. The cursor is hidden until this is dropped.
pub(super) struct Screen {
    rows: usize,
    drawn: String,
}

impl Screen {
    pub(super) fn begin() -> Result<Self, CommandError> {
        print_on("\x1b[?25l").map(|_| Self { rows: 0, drawn: String::new() })
    }

    /// Draws the text in place of the last one, as far as it fits.
    pub(super) fn draw(&mut self, text: &str) -> Result<ControlFlow<()>, CommandError> {
        let size = tcgetwinsize(io::stdout()).ok().filter(|it| it.ws_col > 0 && it.ws_row > 1);
        let (columns, rows) = size.map_or((COLUMNS, ROWS), |it| (it.ws_col.into(), it.ws_row.into()));
        let text = fitted(text, columns, rows - 1);
        if text == self.drawn {
            return Ok(ControlFlow::Continue(()));
        }
        let frame = frame(&text, self.rows);
        (self.rows, self.drawn) = (text.lines().count(), text);
        print_on(&frame)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs no cursor.
        let _ = print_on("\x1b[?25h");
    }
}

/// What draws a text over one of so many rows.
fn frame(text: &str, rows_before: usize) -> String {
    let up = if rows_before == 0 { String::new() } else { format!("\x1b[{rows_before}A") };
    let lines = text.lines().fold(String::new(), |lines, line| lines + line + "\x1b[K\n");
    format!("\r{up}{lines}\x1b[J")
}

/// The rows of a text that fit; a longer line takes several. The last row says if lines are left out.
fn fitted(text: &str, columns: usize, rows: usize) -> String {
    let lines: Vec<String> = text.lines().flat_map(|line| folded(line, columns)).collect();
    let shown = if lines.len() > rows { rows.saturating_sub(1) } else { lines.len() };
    let left = lines.len() - shown;
    let mut text = lines.into_iter().take(shown).fold(String::new(), |text, line| text + &line + "\n");
    if left > 0 {
        text.extend(format!("… {left} more lines").chars().take(columns).chain(['\n']));
    }
    text
}

fn folded(line: &str, columns: usize) -> Vec<String> {
    let characters: Vec<char> = line.chars().collect();
    if characters.is_empty() {
        return vec![String::new()];
    }
    characters.chunks(columns.max(1)).map(|it| it.iter().collect()).collect()
}

/// The text of another program, in which only colours are left of its control sequences, or not even those.
pub(super) fn harmless(text: &str, colours: bool) -> String {
    let (mut shown, mut rest, mut is_coloured) = (String::with_capacity(text.len()), text, false);
    while let Some(at) = rest.find(|c: char| c.is_control() && c != '\t') {
        let (before, from) = rest.split_at(at);
        shown.push_str(before);
        let length = sequence_bytes(from);
        let (sequence, after) = from.split_at(length);
        if sequence.ends_with('m') && sequence.starts_with("\x1b[") && colours {
            shown.push_str(sequence);
            is_coloured = true;
        }
        rest = after;
    }
    shown.push_str(rest);
    if is_coloured {
        shown.push_str("\x1b[0m");
    }
    shown
}

/// How many bytes the control character or sequence takes that a text begins with.
fn sequence_bytes(text: &str) -> usize {
    let Some(body) = text.strip_prefix("\x1b[") else { return text.chars().next().map_or(0, char::len_utf8) };
    let parameters = body.bytes().take_while(|it| (b' '..=b'?').contains(it)).count();
    let has_end = body.as_bytes().get(parameters).is_some_and(|it| (b'@'..=b'~').contains(it));
    2 + parameters + usize::from(has_end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_drawn_over_the_last_one() {
        assert_eq!(frame("a\nb\n", 0), "\ra\x1b[K\nb\x1b[K\n\x1b[J");
        assert_eq!(frame("a\n", 2), "\r\x1b[2Aa\x1b[K\n\x1b[J");
    }

    #[test]
    fn a_long_line_is_folded_and_what_does_not_fit_is_counted() {
        assert_eq!(fitted("abc\n\nd\n", 2, 9), "ab\nc\n\nd\n");
        assert_eq!(fitted("abcdefghijkl\nb\nc\nd\n", 12, 3), "abcdefghijkl\nb\n… 2 more lin\n");
        assert_eq!(fitted("ä€\n", 1, 2), "ä\n€\n");
        assert_eq!(fitted("a\nb\n", 80, 1), "… 2 more lines\n");
    }

    #[test]
    fn a_containers_output_cannot_control_the_terminal() {
        let text = "\x1b[1;31mred\x1b[0m \x1b[2Jgone\x1b]0;title\x07 \x1b7x\ttab\x1b[";
        assert_eq!(harmless(text, true), "\x1b[1;31mred\x1b[0m gone]0;title 7x\ttab\x1b[0m");
        assert_eq!(harmless(text, false), "red gone]0;title 7x\ttab");
        assert_eq!(harmless("plain", true), "plain");
        assert_eq!(harmless("\u{9b}31mx\x1b[3é", true), "31mxé");
    }
}
