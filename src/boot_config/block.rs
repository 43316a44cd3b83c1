//! The agent's own block in the file, and the lines that it disables.

/// The line before the block.
const BEGIN: &[u8] = b"# boardkeeper: begin";
/// The same, where the line before it had no end: its end belongs to the block.
const BEGIN_AFTER_OPEN_LINE: &[u8] = b"# boardkeeper: begin, after a line without an end";
/// The first line of the block.
const EXPLAINED: &[u8] = b"# From the target's HOST_ variables. The agent overwrites what is changed in here.";
/// The line after the block.
const END: &[u8] = b"# boardkeeper: end";
/// What disables a line.
const DISABLED: &[u8] = b"#boardkeeper-off# ";

/// The lines of a file, each with its end.
pub(super) fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split_inclusive(|it| *it == b'\n')
}

/// The file without blocks, and with its disabled lines enabled.
pub(super) fn without(bytes: &[u8]) -> Vec<u8> {
    let mut kept: Vec<u8> = Vec::with_capacity(bytes.len());
    let all: Vec<&[u8]> = lines(bytes).collect();
    let mut at = 0;
    while let Some(line) = all.get(at) {
        at += 1;
        let content = line.trim_ascii_end();
        if content == BEGIN || content == BEGIN_AFTER_OPEN_LINE {
            if content == BEGIN_AFTER_OPEN_LINE {
                kept.pop_if(|it| *it == b'\n');
            }
            // An editor may have removed the end; then the block is a part of the file.
            let rest = all.get(at..).unwrap_or_default();
            let length = rest.iter().take_while(|it| !is_begin(it)).position(|it| it.trim_ascii_end() == END);
            at += length.map_or(0, |it| it + 1);
        } else {
            kept.extend_from_slice(line.strip_prefix(DISABLED).unwrap_or(line));
        }
    }
    kept
}

fn is_begin(line: &[u8]) -> bool {
    [BEGIN, BEGIN_AFTER_OPEN_LINE].contains(&line.trim_ascii_end())
}

/// Adds a line of the file, as a comment.
pub(super) fn disable(file: &mut Vec<u8>, line: &[u8]) {
    file.extend_from_slice(DISABLED);
    file.extend_from_slice(line);
}

/// Adds the block with these lines.
pub(super) fn add(file: &mut Vec<u8>, lines: &[String]) {
    let is_open = file.last().is_some_and(|it| *it != b'\n');
    if is_open {
        file.push(b'\n');
    }
    let begin = if is_open { BEGIN_AFTER_OPEN_LINE } else { BEGIN };
    for line in [begin, EXPLAINED].into_iter().chain(lines.iter().map(String::as_bytes)).chain([END]) {
        file.extend_from_slice(line);
        file.push(b'\n');
    }
}

/// The key and the value of a line `key=value`, without the white space around them.
pub(super) fn pair(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let line = line.trim_ascii();
    let at = line.iter().position(|it| *it == b'=').filter(|_| !line.starts_with(b"#") && !line.starts_with(b"["))?;
    Some((line[..at].trim_ascii_end(), line[at + 1..].trim_ascii_start()))
}
