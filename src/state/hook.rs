//! The hook before an update: a command that a service has run in its container before an update replaces that.
//!
//! The labels stand on the container, so that those of the release that runs count, and not those of the one that is to come.

use std::time::Duration;

use crate::sorted::SortedMap;
use crate::state::ConfigHash;
use crate::state::labels::{BEFORE_UPDATE_LABEL, BEFORE_UPDATE_TIMEOUT_LABEL};
use crate::state::length::whole_seconds;

/// How long it may take where no label says it.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The longest time that a label may say, in seconds.
const LONGEST_HOOK_SECS: u64 = 60 * 60;
/// The most words of a command.
const MOST_WORDS: usize = 64;

/// A command that is run in a container before an update of its service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateHook {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// How long it may take.
    pub timeout: Duration,
}

/// A run of a hook, for one update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookRun {
    /// The hook.
    pub hook: UpdateHook,
    /// The configuration that the update leads to.
    pub wanted: ConfigHash,
}

/// What became of a hook's run for an update. Where there is nothing, it is to be run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum HookOutcome {
    /// It succeeded.
    Done,
    /// It failed for this reason, and is run again later.
    Failed(String),
}

impl UpdateHook {
    /// The hook that labels ask for. `None`: they ask for none. Error: what is wrong with a label.
    pub fn of_labels(labels: &SortedMap<String, String>) -> Result<Option<Self>, String> {
        let Some(command) = labels.get(BEFORE_UPDATE_LABEL) else { return Ok(None) };
        let command = words(command)?;
        let timeout = labels.get(BEFORE_UPDATE_TIMEOUT_LABEL).map_or(Ok(TIMEOUT), |it| hook_timeout(it))?;
        Ok(Some(Self { command, timeout }))
    }
}

/// Reads how long a hook may take: `45`, `45s`, `5m` or `1h`.
pub fn hook_timeout(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a time like 45s, 5m or 1h, from 1s to 1h");
    whole_seconds(text, 1..=LONGEST_HOOK_SECS).map(Duration::from_secs).ok_or_else(wrong)
}

/// The words of a command. They are divided by white space; quotes, single or double, hold words together, and a backslash
/// takes the next character as it is, but within single quotes. There is no shell: nothing else has a meaning.
pub fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut all = text.chars();
    while let Some(it) = all.next() {
        match (quote, it) {
            (Some(open), _) if it == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(it);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => {
                let next = all.next().ok_or("it ends with a backslash")?;
                word.get_or_insert_default().push(next);
            }
            (None, _) if it.is_whitespace() => words.extend(word.take()),
            (None | Some(_), _) => word.get_or_insert_default().push(it),
        }
    }
    if let Some(open) = quote {
        return Err(format!("a quote ({open}) is not closed"));
    }
    words.extend(word);
    match words.first().map(String::as_str) {
        None | Some("") => Err("it names no program".to_owned()),
        Some(_) if words.len() > MOST_WORDS => Err(format!("it has more than {MOST_WORDS} words")),
        Some(_) => Ok(words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_divided_without_a_shell() {
        for (text, expected) in [
            ("/bin/flush", vec!["/bin/flush"]),
            ("  flush   --all\tnow ", vec!["flush", "--all", "now"]),
            ("sh -c 'a && b \"c\"'", vec!["sh", "-c", "a && b \"c\""]),
            (r#"echo "a \"b\" \\ 'c'" d\ e"#, vec!["echo", r#"a "b" \ 'c'"#, "d e"]),
            ("echo '' $HOME ~ a*", vec!["echo", "", "$HOME", "~", "a*"]),
            ("a'b'\"c\"d", vec!["abcd"]),
        ] {
            assert_eq!(words(text).unwrap(), expected, "{text}");
        }
        for text in ["", "   ", "''", "sh -c 'a", "echo \"a", "echo \\", &"a ".repeat(65)] {
            words(text).unwrap_err();
        }
    }

    #[test]
    fn a_timeout_has_a_unit_and_bounds() {
        for (text, secs) in [("1", 1), ("45s", 45), ("5m", 300), ("1h", 3600), ("60m", 3600)] {
            assert_eq!(hook_timeout(text), Ok(Duration::from_secs(secs)), "{text}");
        }
        for text in ["", "0s", "s", "61m", "2h", "1d", "-1s", "1.5m", "99999999999999999999h"] {
            assert!(hook_timeout(text).unwrap_err().contains("from 1s to 1h"), "{text}");
        }
    }

    #[test]
    fn labels_ask_for_a_hook() {
        let labels = |all: &[(&str, &str)]| all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        assert_eq!(UpdateHook::of_labels(&labels(&[(BEFORE_UPDATE_TIMEOUT_LABEL, "5s")])), Ok(None));
        let hook = UpdateHook::of_labels(&labels(&[(BEFORE_UPDATE_LABEL, "flush now")])).unwrap().unwrap();
        assert_eq!((hook.command.len(), hook.timeout), (2, TIMEOUT));
        let hook = labels(&[(BEFORE_UPDATE_LABEL, "flush"), (BEFORE_UPDATE_TIMEOUT_LABEL, "5s")]);
        assert_eq!(UpdateHook::of_labels(&hook).unwrap().unwrap().timeout, Duration::from_secs(5));
        UpdateHook::of_labels(&labels(&[(BEFORE_UPDATE_LABEL, "flush"), (BEFORE_UPDATE_TIMEOUT_LABEL, "soon")])).unwrap_err();
    }
}
