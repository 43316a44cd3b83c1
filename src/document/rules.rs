//! Rules for names.

/// Returns what a name should have been. `None`: the name is valid.
pub(super) type Rule = fn(&str) -> Option<&'static str>;

/// The longest name, in characters: the limit of file systems, and so of engines.
const LONGEST: usize = 255;

/// The longest reference to an image: a name of 255, a tag of 128 and a digest of 71, and the separators between them.
const LONGEST_IMAGE: usize = 456;

/// Limit of a variable or label, in bytes, with its name. The kernel passes no longer variable to a program.
pub(super) const PAIR_BYTES: usize = 128 * 1024 - 2;

/// Name of a service, volume or network, or a commit: it becomes part of a name on the engine.
pub(super) fn docker_name(name: &str) -> Option<&'static str> {
    let good = name.starts_with(|it: char| it.is_ascii_alphanumeric()) && all(name, |it| alphanumeric(it) || ".-".contains(it));
    expect(good, "letters, digits, `_`, `.` or `-`, beginning with a letter or digit, at most 255")
}

/// Name of an environment variable.
pub(super) fn variable(name: &str) -> Option<&'static str> {
    let good = name.starts_with(begins) && all(name, alphanumeric);
    expect(good, "letters, digits or `_`, not beginning with a digit, at most 255")
}

/// Name of a device-wide setting.
pub(super) fn setting(name: &str) -> Option<&'static str> {
    let good = name.starts_with(begins) && all(name, |it| alphanumeric(it) || it == ':');
    expect(good, "letters, digits, `_` or `:`, not beginning with a digit, at most 255")
}

/// Name of a label.
pub(super) fn label(name: &str) -> Option<&'static str> {
    let good = !name.is_empty() && all(name, |it| it.is_ascii_graphic() && !"\"'`".contains(it));
    expect(good, "printable ASCII without spaces and quotes, at most 255")
}

/// A name that the engine interprets, and that has no other rule.
pub(super) fn key(name: &str) -> Option<&'static str> {
    let good = !name.is_empty() && all(name, |it| !matches!(it, '=' | '\0'));
    expect(good, "some text without `=`, at most 255 characters")
}

/// A kernel parameter that a container has of its own. The others belong to the whole machine, and engines refuse to start a
/// container that would change them.
pub(super) fn sysctl(name: &str) -> Option<&'static str> {
    const IPC: [&str; 9] = ["msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced", "domainname"];
    let dotted = name.replace('/', ".");
    let own = dotted.strip_prefix("kernel.").is_some_and(|it| IPC.contains(&it));
    let good = own || ["net.", "fs.mqueue."].iter().any(|it| dotted.starts_with(it) && dotted.len() > it.len());
    expect(
        good && key(name).is_none(),
        "net.*, fs.mqueue.*, kernel.domainname or one of kernel.msg*, sem and shm*: others are the whole machine's",
    )
}

/// Name of the device.
pub(super) fn device(name: &str) -> Option<&'static str> {
    expect(all(name, |it| it != '\n'), "at most 255 characters on one line")
}

/// Human-readable name of an app.
pub(super) fn title(name: &str) -> Option<&'static str> {
    expect(all(name, |_| true), "at most 255 characters")
}

/// Reference to an image.
pub(super) fn image(name: &str) -> Option<&'static str> {
    let good = !name.is_empty() && name.len() <= LONGEST_IMAGE && name.chars().all(|it| it.is_ascii_graphic());
    expect(good, "the name of an image, at most 456 characters")
}

fn expect(good: bool, what: &'static str) -> Option<&'static str> {
    if good { None } else { Some(what) }
}

fn all(name: &str, good: fn(char) -> bool) -> bool {
    name.chars().count() <= LONGEST && name.chars().all(good)
}

fn alphanumeric(it: char) -> bool {
    it.is_ascii_alphanumeric() || it == '_'
}

fn begins(it: char) -> bool {
    it.is_ascii_alphabetic() || it == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_held_to_their_rule() {
        let long = "a".repeat(256);
        let table: [(Rule, &[&str], &[&str]); 8] = [
            (docker_name, &["main", "0a", "a_b.c-d"], &["", "_a", "-a", "a/b", "a b", "ä", &long]),
            (variable, &["A", "_a9"], &["", "9A", "A-B", "A.B", "A=", &long]),
            (setting, &["A:b", "_A"], &["", ":A", "9", "a b", &long]),
            (label, &["a", "io.x/y=z", "{}"], &["", "a b", "a\"", "a'", "a`", "ä", "a\n", &long]),
            (key, &["net.core.x", "a b"], &["", "a=b", "a\0", &long]),
            (sysctl, &["net.core.somaxconn", "kernel.shmmax"], &["vm.swappiness", "net.", "kernel.hostname", "net.a=b", ""]),
            (device, &["", "my board"], &["a\nb", &long]),
            (image, &["r/a@sha256:ab"], &["", "a b", "a\n", &"a".repeat(LONGEST_IMAGE + 1)]),
        ];
        for (rule, good, bad) in table {
            for name in good {
                assert_eq!(rule(name), None, "{name:?}");
            }
            for name in bad {
                assert!(rule(name).is_some(), "{name:?}");
            }
        }
    }
}
