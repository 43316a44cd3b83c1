//! docs/limits.md says what the constants say.

use crate::page::{quoted, sources, table};

/// What a constant is: a number, or a time in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Value {
    Number(u64),
    Millis(u64),
}

/// What `const NAME` is, wherever a file has one.
fn constants(sources: &[String], name: &str) -> Vec<Value> {
    let lines = sources.iter().flat_map(|it| it.lines()).map(str::trim_start);
    let declared = lines.filter_map(|it| it.split_once(&format!("const {name}: "))).filter_map(|(_, it)| it.split_once(" = "));
    declared.filter_map(|(_, value)| evaluated(value.trim_end_matches(';'))).collect()
}

/// A number, a product, a shift or a difference of them, or a time of one.
fn evaluated(text: &str) -> Option<Value> {
    let times = [("Duration::from_secs(", 1000), ("Duration::from_millis(", 1)];
    for (prefix, millis) in times {
        if let Some(inner) = text.strip_prefix(prefix) {
            return number(inner.strip_suffix(')')?).map(|it| Value::Millis(it * millis));
        }
    }
    number(text).map(Value::Number)
}

fn number(text: &str) -> Option<u64> {
    if let Some((left, right)) = text.split_once(" - ") {
        return number(left)?.checked_sub(number(right)?);
    }
    if let Some((left, right)) = text.split_once(" << ") {
        return Some(number(left)? << number(right)?);
    }
    text.split(" * ").try_fold(1_u64, |all, it| Some(all * it.replace('_', "").parse::<u64>().ok()?))
}

/// With commas between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let groups = digits.as_bytes().iter().enumerate().map(|(at, digit)| {
        let comma = at != 0 && at % 3 == first && number >= 10_000;
        format!("{}{}", if comma { "," } else { "" }, char::from(*digit))
    });
    groups.collect()
}

impl Value {
    /// How a page may write it.
    fn written(self) -> Vec<String> {
        let units: &[(u64, &str)] = match self {
            Self::Number(_) => &[(1, ""), (1024, " KiB"), (1024 * 1024, " MiB")],
            Self::Millis(_) => &[(1, " ms"), (1000, " s"), (60_000, " minutes")],
        };
        let (Self::Number(whole) | Self::Millis(whole)) = self;
        let fitting = units.iter().filter(|(size, _)| whole % size == 0);
        fitting.map(|(size, unit)| format!("{}{unit}", grouped(whole / size))).collect()
    }
}

/// As a word of its own: `6` is not in `16`.
fn says(text: &str, word: &str) -> bool {
    let mut found = text.match_indices(word).map(|(at, _)| (&text[..at], &text[at + word.len()..]));
    found.any(|(before, after)| {
        let joined = |it: char| it.is_ascii_alphanumeric() || it == ',';
        !before.ends_with(joined) && !after.starts_with(|it: char| it.is_ascii_alphanumeric())
    })
}

#[test]
fn every_limit_is_that_of_its_constant() {
    let sources = sources();
    for row in table("docs/limits.md", "of") {
        let text = format!("{} {}", row[1], row[2]);
        for name in quoted(&row[3]) {
            let values = constants(&sources, name);
            assert!(!values.is_empty(), "docs/limits.md: no constant is called {name}");
            let written: Vec<_> = values.iter().flat_map(|it| it.written()).collect();
            assert!(written.iter().any(|it| says(&text, it)), "{}: {name} is one of {written:?}, not `{}`", row[0], row[1]);
        }
    }
}

#[test]
fn constants_are_read_as_rust_writes_them() {
    assert_eq!(evaluated("128 * 1024 - 2"), Some(Value::Number(131_070)));
    assert_eq!(evaluated("4 << 20").map(Value::written).unwrap().last().unwrap(), "4 MiB");
    assert_eq!(evaluated("Duration::from_secs(15 * 60)").map(Value::written).unwrap().last().unwrap(), "15 minutes");
    assert_eq!([grouped(4096), grouped(10_000), grouped(131_070)], ["4096", "10,000", "131,070"]);
    assert!(says("64 apps, 256 services", "256") && !says("64 apps, 256 services", "56") && !says("131,070 bytes", "070"));
}
