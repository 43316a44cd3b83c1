//! Files of variables: `.env` beside a compose file, and those that `env_file` names.
//!
//! The rules are those of `docker compose`: `NAME=value` lines, `export` before them or not, comments after `#`; in single
//! quotes a text is taken as it is, in double quotes `\n` and the like and variables are replaced, and both may go on over
//! several lines.

use std::cell::RefCell;

use super::interpolate::{Variables, substitute};
use crate::sorted::SortedMap;

/// Names and values.
pub(super) type Environment = SortedMap<String, String>;

/// Whether variables in values are replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Syntax {
    /// As of a `.env` file.
    Quoted,
    /// `format: raw`: everything after the `=` is the value.
    Raw,
}

/// What a file says: values, names that are to be taken from the environment, and what is wrong in which line.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) values: Environment,
    pub(super) names: Vec<String>,
    pub(super) mistakes: Vec<(usize, String)>,
    /// Variables without a value that were replaced by nothing, with the line.
    pub(super) unset: Vec<(usize, String)>,
}

/// Reads a file. `outer`: variables that its values may name, which win over the file's own.
pub(super) fn read(text: &str, syntax: Syntax, outer: &Environment, most_bytes: usize) -> Lines {
    let mut lines = Lines::default();
    let text = text.trim_start_matches('\u{feff}').replace("\r\n", "\n");
    let mut rest = text.as_str();
    let mut number = 0;
    while !rest.is_empty() {
        number += 1;
        let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
        let bare = line.trim_start();
        if bare.is_empty() || bare.starts_with('#') {
            rest = after;
            continue;
        }
        let bare = bare.strip_prefix("export").filter(|it| it.starts_with([' ', '\t'])).map_or(bare, str::trim_start);
        let Some((name, value)) = split(bare) else {
            let name = bare.split('#').next().unwrap_or_default().trim();
            if is_name(name) {
                lines.names.push(name.to_owned());
            } else {
                lines.mistakes.push((number, "expected NAME=value".to_owned()));
            }
            rest = after;
            continue;
        };
        if !is_name(name) {
            lines.mistakes.push((number, "the name before `=` must be without spaces and quotes".to_owned()));
            rest = after;
            continue;
        }
        let (taken, left) = match syntax {
            Syntax::Raw => (Ok(value.to_owned()), after),
            Syntax::Quoted => {
                let seen = Scope { file: &lines.values, outer, unset: RefCell::default() };
                // A value in quotes may go on in the lines below.
                let start = line.len() - value.len();
                let (taken, left) = quoted(&rest[start..], &seen, most_bytes);
                lines.unset.extend(seen.unset.take().into_iter().map(|it| (number, it)));
                (taken, left)
            }
        };
        let read = &rest[..rest.len() - left.len()];
        match taken {
            Ok(value) => drop(lines.values.insert(name.to_owned(), value)),
            Err(why) => lines.mistakes.push((number, why)),
        }
        number += read.matches('\n').count().saturating_sub(1);
        rest = left;
    }
    lines
}

/// The name and the value of a line. A `:` in place of `=` is taken too.
fn split(line: &str) -> Option<(&str, &str)> {
    let at = line.find(['=', ':', '#'])?;
    if line[at..].starts_with('#') {
        return None;
    }
    Some((line[..at].trim_end(), &line[at + 1..]))
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|it| it.is_alphanumeric() || "_.-[]".contains(it))
}

struct Scope<'s> {
    file: &'s Environment,
    outer: &'s Environment,
    unset: RefCell<Vec<String>>,
}

impl Variables for Scope<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.outer.get(name).or_else(|| self.file.get(name)).map(String::as_str)
    }

    fn on_unset(&self, name: &str) {
        self.unset.borrow_mut().push(name.to_owned());
    }
}

/// A value, and the text after its line.
fn quoted<'t>(text: &'t str, scope: &Scope<'_>, most_bytes: usize) -> (Result<String, String>, &'t str) {
    let bare = text.trim_start_matches([' ', '\t']);
    let quote = bare.chars().next().filter(|it| matches!(it, '"' | '\''));
    let Some(quote) = quote else {
        let (line, after) = bare.split_once('\n').unwrap_or((bare, ""));
        return (substitute(without_comment(line), scope, most_bytes), after);
    };
    let Some(end) = end_of_quote(&bare[1..], quote) else {
        let after = bare.split_once('\n').map_or("", |(_, after)| after);
        return (Err("a quote is left open".to_owned()), after);
    };
    let inner = &bare[1..=end];
    let after = bare[end + 2..].split_once('\n').map_or("", |(_, after)| after);
    if quote == '\'' {
        return (Ok(inner.replace("\\'", "'")), after);
    }
    (substitute(&unescaped(inner), scope, most_bytes), after)
}

/// Where the closing quote is.
fn end_of_quote(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, it)| {
        let ends = it == quote && !escaped;
        escaped = it == '\\' && !escaped;
        ends.then_some(at)
    })
}

/// Escapes of a value in double quotes. `\$` becomes `$$`, which stands for a `$` when variables are replaced.
fn unescaped(text: &str) -> String {
    let mut all = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(it) = rest.next() {
        if it != '\\' {
            all.push(it);
            continue;
        }
        match rest.next() {
            Some('n') => all.push('\n'),
            Some('r') => all.push('\r'),
            Some('t') => all.push('\t'),
            Some('$') => all.push_str("$$"),
            Some(it @ ('"' | '\\' | '\'')) => all.push(it),
            Some(it) => all.extend(['\\', it]),
            None => all.push('\\'),
        }
    }
    all
}

/// A value without quotes, up to a `#` after a space.
fn without_comment(line: &str) -> &str {
    let comment = line.char_indices().find(|(at, it)| *it == '#' && (*at == 0 || line[..*at].ends_with([' ', '\t'])));
    line[..comment.map_or(line.len(), |(at, _)| at)].trim()
}
