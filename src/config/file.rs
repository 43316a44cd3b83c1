//! The configuration file: lines of `NAME=value` with the names of the environment variables, as systemd reads them too.

use std::path::Path;

use super::values;
use crate::sorted::SortedMap;

/// The settings of a configuration file, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SettingsFile {
    values: SortedMap<String, String>,
    /// A warning: a problem that does not keep the agent from starting.
    trouble: Option<String>,
}

impl SettingsFile {
    /// Reads a file. All mistakes are returned.
    pub fn read(path: &Path) -> Result<Self, Vec<String>> {
        let shown = path.display();
        let cannot = |why: String| vec![format!("--config: cannot read `{shown}`: {why}; name a file of NAME=value lines")];
        let bytes = values::read(path).map_err(|why| cannot(why.to_string()))?;
        // UTF-8 is checked line by line below: in a comment, other bytes do no harm.
        Self::parse(&String::from_utf8_lossy(values::without_mark(&bytes)), &shown.to_string())
    }

    /// Parses a file's text. `shown`: the file's name in messages.
    pub fn parse(text: &str, shown: &str) -> Result<Self, Vec<String>> {
        let mut values = SortedMap::new();
        let mut mistakes = Vec::new();
        // A power cut during a write leaves zeros in the file.
        let zeros = text.contains('\0');
        let trouble =
            zeros.then(|| format!("--config: `{shown}` has zero bytes, where settings may have been; write it again"));
        for (number, line) in text.lines().enumerate() {
            let line = line.trim_matches(|it: char| it.is_whitespace() || it == '\0');
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            if line.contains(char::REPLACEMENT_CHARACTER) {
                mistakes.push(format!("--config: line {} of `{shown}` is not UTF-8 text", number + 1));
                continue;
            }
            match line.split_once('=') {
                Some((name, value)) if is_name(name.trim()) => {
                    values.insert(name.trim().to_owned(), unquoted(value.trim()).to_owned());
                }
                // The line is not repeated: it may contain a secret.
                Some(_) | None => mistakes.push(format!("--config: line {} of `{shown}` is not NAME=value", number + 1)),
            }
        }
        if mistakes.is_empty() { Ok(Self { values, trouble }) } else { Err(mistakes) }
    }

    /// A warning: a problem that does not keep the agent from starting.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// A value. An empty one counts as not given.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str).filter(|it| !it.is_empty())
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|it| it.is_ascii_uppercase() || it.is_ascii_digit() || it == b'_')
}

fn unquoted(value: &str) -> &str {
    let quoted = |quote| value.strip_prefix(quote).and_then(|it: &str| it.strip_suffix(quote));
    quoted('"').or_else(|| quoted('\'')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<SettingsFile, Vec<String>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("boardkeeper");
        std::fs::write(&path, text).unwrap();
        SettingsFile::read(&path)
    }

    #[test]
    fn it_is_read_as_systemd_reads_it() {
        let file = read("# why\n\n; too\n BOARDKEEPER_LOG = \"debug\" \nDOCKER_HOST='unix:///x=y'\nLED_FILE=\n").unwrap();
        assert_eq!((file.get("BOARDKEEPER_LOG"), file.get("DOCKER_HOST")), (Some("debug"), Some("unix:///x=y")));
        assert_eq!((file.get("LED_FILE"), file.get("X")), (None, None));
    }

    #[test]
    fn it_is_read_whatever_the_editor_and_a_power_cut_made_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("boardkeeper");
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            SettingsFile::read(&path)
        };
        for bytes in [
            &b"\xef\xbb\xbfBOARDKEEPER_LOG=debug\r\n"[..],
            b"# Ger\xe4t im Keller\nBOARDKEEPER_LOG=debug\n",
            b"BOARDKEEPER_LOG=debug\n\0\0\0\0",
        ] {
            let file = read(bytes).unwrap();
            assert_eq!(file.get("BOARDKEEPER_LOG"), Some("debug"), "{bytes:?}");
            assert_eq!(file.trouble().is_some(), bytes.contains(&0));
        }
        let zeros = read(&[0; 4096]).unwrap();
        assert!(zeros.get("BOARDKEEPER_LOG").is_none() && zeros.trouble().unwrap().contains("has zero bytes"));
        let mistakes = read(b"BOARDKEEPER_LOG=debug\nBOARDKEEPER_TARGET=/etc/ger\xe4t.json\n").unwrap_err();
        assert!(mistakes[0].contains("line 2") && mistakes[0].contains("UTF-8"), "{mistakes:?}");
    }

    #[test]
    fn every_mistake_is_told_and_no_value() {
        let mistakes = read("sesame\nBOARDKEEPER_LOG=info\nnot a name=sesame\n").unwrap_err();
        assert_eq!(mistakes.len(), 2);
        assert!(mistakes[1].contains("line 3") && !mistakes.concat().contains("sesame"), "{mistakes:?}");
        assert!(SettingsFile::read(Path::new("/dev/zero")).unwrap_err()[0].contains("it is longer than 1024 kB"));
        assert!(SettingsFile::read(Path::new("/nowhere")).unwrap_err()[0].contains("--config"));
    }
}
