//! Durations, sizes and command lines, as users write them.

use std::time::Duration;

use crate::state::config::RestartPolicy;

use super::at::quoted;

const NANOS: u128 = 1_000_000_000;
/// The longest time that a release may be on trial.
const LONGEST_TRIAL: Duration = Duration::from_secs(24 * 60 * 60);

/// `1m30s`, `1.5h`, `500ms`. A bare number is in seconds.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    let mut nanos: u128 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, after) = split_at(rest, |it| !it.is_ascii_digit() && it != '.');
        let (unit, after) = split_at(after, |it| it.is_ascii_digit() || it == '.' || it.is_whitespace());
        // Only a number that stands alone may lack its unit: `1m30` is a mistake.
        let unit = if unit.is_empty() && number == text { "s" } else { unit };
        nanos = nanos.checked_add(scaled(number, nanos_of(unit)?)?)?;
        rest = after.trim_start();
    }
    // The engine stores nanoseconds in a signed 64-bit number.
    i64::try_from(nanos).ok().and_then(|it| u64::try_from(it).ok()).map(Duration::from_nanos)
}

/// `true` or `false`, as labels say it.
pub(super) fn yes_or_no(text: &str) -> Result<bool, String> {
    match text.trim() {
        "true" | "1" | "on" => Ok(true),
        "false" | "0" | "off" => Ok(false),
        _ => Err(format!("`true` or `false` is expected, and {} is given", quoted(text))),
    }
}

/// How long a release may be on trial, as labels say it.
pub(super) fn time_on_trial(text: &str) -> Result<Duration, String> {
    let given = duration(text).filter(|it| *it <= LONGEST_TRIAL);
    given.ok_or_else(|| format!("a time such as `90s` or `5m` is expected, at most 24h, and {} is given", quoted(text)))
}

fn nanos_of(unit: &str) -> Option<u128> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" => 1_000,
        "ms" => 1_000_000,
        "s" => NANOS,
        "m" => 60 * NANOS,
        "h" => 3_600 * NANOS,
        "d" => 86_400 * NANOS,
        _ => return None,
    })
}

/// `64m`, `1.5g`, `1024`, in bytes. Units are powers of 1024.
pub(super) fn size(text: &str) -> Option<i64> {
    let text = text.trim().to_ascii_lowercase();
    let (number, unit) = split_at(&text, |it| !it.is_ascii_digit() && it != '.');
    let unit: u128 = match unit.trim_start() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        _ => return None,
    };
    i64::try_from(scaled(number, unit)?).ok()
}

/// A decimal number times a unit, rounded down.
fn scaled(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.len() <= 18 && text.bytes().all(|it| it.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let value = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<u128>().ok() };
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    value(whole)?.checked_mul(unit)?.checked_add(value(fraction)?.checked_mul(unit)? / scale)
}

fn split_at(text: &str, end: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(end).unwrap_or(text.len()))
}

/// Splits a command line into words as a shell would, expanding nothing. `None`: a quote is left open, or a backslash stands
/// last.
pub(super) fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = line.chars();
    while let Some(it) = rest.next() {
        match it {
            '\'' => take_single(&mut rest, word.get_or_insert_default())?,
            '"' => take_double(&mut rest, word.get_or_insert_default())?,
            '\\' => word.get_or_insert_default().push(rest.next()?),
            _ if it.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(it),
        }
    }
    words.extend(word);
    Some(words)
}

fn take_single(rest: &mut std::str::Chars<'_>, word: &mut String) -> Option<()> {
    loop {
        match rest.next()? {
            '\'' => return Some(()),
            it => word.push(it),
        }
    }
}

fn take_double(rest: &mut std::str::Chars<'_>, word: &mut String) -> Option<()> {
    loop {
        match rest.next()? {
            '"' => return Some(()),
            '\\' => match rest.next()? {
                it @ ('"' | '\\' | '$' | '`') => word.push(it),
                it => word.extend(['\\', it]),
            },
            it => word.push(it),
        }
    }
}

/// Parses a restart policy: `no`, `always`, `unless-stopped`, `on-failure`, `on-failure:3`.
pub(super) fn restart(text: &str) -> Option<RestartPolicy> {
    let text = text.trim().to_ascii_lowercase();
    Some(match text.as_str() {
        // YAML reads a bare `no` as false.
        "no" | "false" | "" => RestartPolicy::No,
        "always" => RestartPolicy::Always,
        "unless-stopped" => RestartPolicy::UnlessStopped,
        "on-failure" => RestartPolicy::OnFailure(0),
        _ => RestartPolicy::OnFailure(text.strip_prefix("on-failure:")?.parse().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_in_every_spelling() {
        for (text, millis) in [
            ("90s", 90_000),
            ("1m30s", 90_000),
            ("1m 30s", 90_000),
            ("1.5m", 90_000),
            ("90", 90_000),
            ("0", 0),
            ("2h", 7_200_000),
            ("1d", 86_400_000),
            ("1500ms", 1_500),
            ("2000us", 2),
            (".5s", 500),
        ] {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "1x", "1m30", "-1s", "1..5s", ".s", "99999999999999999d"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_read_in_every_spelling() {
        for (text, bytes) in [
            ("64m", 64 << 20),
            ("64MB", 64 << 20),
            ("64 MiB", 64 << 20),
            ("1g", 1 << 30),
            // More than 32 bits can hold.
            ("6g", 6 << 30),
            ("4294967297", 4_294_967_297),
            ("1.5k", 1536),
            ("7", 7),
            ("7b", 7),
            ("0", 0),
        ] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in ["", "m", "1x", "-1", "1e3", "999999999999999999g"] {
            assert_eq!(size(text), None, "{text}");
        }
    }

    #[test]
    fn command_lines_are_split_as_a_shell_does() {
        for (line, expected) in [
            ("", vec![]),
            ("  a  b ", vec!["a", "b"]),
            (r#"sh -c "echo $HOME \"x\"""#, vec!["sh", "-c", r#"echo $HOME "x""#]),
            (r"a 'b c' d\ e", vec!["a", "b c", "d e"]),
            (r#"'' "" x''y"#, vec!["", "", "xy"]),
            (r#""a\nb""#, vec![r"a\nb"]),
        ] {
            assert_eq!(words(line).unwrap(), expected, "{line}");
        }
        assert_eq!(words("'a"), None);
        assert_eq!(words("\"a"), None);
        assert_eq!(words("a\\"), None);
    }

    #[test]
    fn restart_policies_are_read_as_people_write_them() {
        for (text, expected) in [
            ("no", Some(RestartPolicy::No)),
            ("false", Some(RestartPolicy::No)),
            (" Always ", Some(RestartPolicy::Always)),
            ("unless-stopped", Some(RestartPolicy::UnlessStopped)),
            ("on-failure", Some(RestartPolicy::OnFailure(0))),
            ("on-failure:5", Some(RestartPolicy::OnFailure(5))),
            ("on-failure:x", None),
            ("sometimes", None),
        ] {
            assert_eq!(restart(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".*") {
            let _ = (duration(&text), size(&text), words(&text), restart(&text));
        }

        #[test]
        fn a_duration_is_the_same_in_every_unit(seconds in 0..100_000_u64) {
            let same = Some(Duration::from_secs(seconds));
            prop_assert_eq!(duration(&format!("{seconds}s")), same);
            prop_assert_eq!(duration(&format!("{seconds}000ms")), same);
            prop_assert_eq!(duration(&format!("{}m{}s", seconds / 60, seconds % 60)), same);
            prop_assert_eq!(duration(&seconds.to_string()), same);
        }
    }
}
