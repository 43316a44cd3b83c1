//! Time zones, from the host's zone database.

use std::fs;
use std::io;
use std::ops::Range;
use std::path::Path;

use tz::TimeZone;

use crate::linux::read_small;
use crate::state::window::{ZoneOffset, fixed_offset};

/// Where hosts keep the database, below their root.
const DATABASES: [&str; 3] = ["usr/share/zoneinfo", "usr/lib/zoneinfo", "etc/zoneinfo"];
/// The file of the device's own zone.
const LOCALTIME: &str = "etc/localtime";
/// Zones change their offsets at most once in this time, in seconds.
const STEP: i64 = 3600;

/// The offsets of a zone of the host whose root is `root`; `None`: of the device's own. They cover the range.
pub(super) fn offsets(root: &Path, zone: Option<&str>, range: Range<i64>) -> Result<Vec<ZoneOffset>, String> {
    let fixed = |offset| vec![ZoneOffset { begins: range.start, ends: range.end, offset }];
    if let Some(offset) = zone.and_then(fixed_offset) {
        return Ok(fixed(offset));
    }
    let read = match zone {
        Some(name) => named(root, name),
        None => match local(root) {
            // Without the file the C library has UTC, too.
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(fixed(0)),
            read => read,
        },
    };
    let shown = zone.map_or_else(|| format!("`/{LOCALTIME}`"), |name| format!("the time zone `{name}`"));
    let bytes = read.map_err(|why| match why.kind() {
        io::ErrorKind::NotFound => {
            format!("{shown} is not in the host's /usr/share/zoneinfo; install tzdata, or write an offset such as +01:00")
        }
        _ => format!("{shown} cannot be read: {why}"),
    })?;
    let zone = TimeZone::from_tz_data(&bytes).map_err(|why| format!("{shown} is damaged ({why}); install tzdata again"))?;
    spans(&range, |secs| {
        let found = zone.as_ref().find_local_time_type(secs).map(|it| i64::from(it.ut_offset()));
        found.map_err(|why| format!("{shown} does not reach to the present ({why}); install a newer tzdata"))
    })
}

/// The file of a zone. The name was checked: it leads out of no directory.
fn named(root: &Path, name: &str) -> io::Result<Vec<u8>> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for database in DATABASES {
        match read_small(&root.join(database).join(name)) {
            Ok(bytes) => return Ok(bytes),
            Err(why) if last.kind() == io::ErrorKind::NotFound => last = why,
            Err(_) => (),
        }
    }
    Err(last)
}

/// The device's own zone. A link to the database is absolute, and is followed below the host's root.
fn local(root: &Path) -> io::Result<Vec<u8>> {
    let path = root.join(LOCALTIME);
    let link = fs::read_link(&path).ok();
    let name = link.as_ref().and_then(|it| it.to_str()?.split_once("zoneinfo/").map(|(_, name)| name.to_owned()));
    match name.filter(|it| it.split('/').all(|part| !part.is_empty() && part != "..")) {
        Some(name) => named(root, &name),
        None => read_small(&path),
    }
}

/// The offsets in a range, by looking an hour ahead each time, and for the second where the offset changes.
fn spans(range: &Range<i64>, at: impl Fn(i64) -> Result<i64, String>) -> Result<Vec<ZoneOffset>, String> {
    let mut spans = Vec::new();
    let (mut begins, mut offset) = (range.start, at(range.start)?);
    let mut now = range.start;
    while now < range.end {
        let next = (now + STEP).min(range.end);
        if at(next)? != offset {
            let (mut same, mut other) = (now, next);
            while other - same > 1 {
                let middle = i64::midpoint(same, other);
                if at(middle)? == offset { same = middle } else { other = middle }
            }
            spans.push(ZoneOffset { begins, ends: other, offset });
            (begins, offset) = (other, at(other)?);
        }
        now = next;
    }
    spans.push(ZoneOffset { begins, ends: range.end, offset });
    Ok(spans)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// Berlin's clocks go ahead at this second.
    const SPRING: i64 = 1_774_746_000;

    /// A file of Berlin's rules, without transitions: the rules are in its last line, as current databases have them.
    fn berlin() -> Vec<u8> {
        let header = |version: u8| {
            let counts = [0_u32, 0, 0, 0, 1, 4];
            let counts = counts.iter().flat_map(|it| it.to_be_bytes());
            [b"TZif".as_slice(), &[version], &[0; 15]].concat().into_iter().chain(counts).collect::<Vec<u8>>()
        };
        let block = [3600_i32.to_be_bytes().as_slice(), &[0, 0], b"CET\0"].concat();
        [header(b'2'), block.clone(), header(b'2'), block, b"\nCET-1CEST,M3.5.0,M10.5.0/3\n".to_vec()].concat()
    }

    fn host() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let zones = root.path().join("usr/share/zoneinfo/Europe");
        fs::create_dir_all(&zones).unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(zones.join("Berlin"), berlin()).unwrap();
        root
    }

    fn around(root: &Path, zone: Option<&str>) -> Result<Vec<ZoneOffset>, String> {
        offsets(root, zone, SPRING - 86_400..SPRING + 86_400)
    }

    fn changing() -> Vec<ZoneOffset> {
        let of = |begins, ends, offset| ZoneOffset { begins, ends, offset };
        vec![of(SPRING - 86_400, SPRING, 3600), of(SPRING, SPRING + 86_400, 7200)]
    }

    #[test]
    fn a_zone_changes_its_offset_at_the_right_second() {
        assert_eq!(around(host().path(), Some("Europe/Berlin")), Ok(changing()));
    }

    #[test]
    fn the_devices_zone_is_a_link_below_its_root_or_a_copy_or_utc() {
        let root = host();
        let utc = vec![ZoneOffset { begins: SPRING - 86_400, ends: SPRING + 86_400, offset: 0 }];
        assert_eq!(around(root.path(), None), Ok(utc.clone()));
        let localtime = root.path().join(LOCALTIME);
        for target in ["/usr/share/zoneinfo/Europe/Berlin", "../usr/share/zoneinfo/Europe/Berlin"] {
            symlink(target, &localtime).unwrap();
            assert_eq!(around(root.path(), None), Ok(changing()), "{target}");
            fs::remove_file(&localtime).unwrap();
        }
        fs::write(&localtime, berlin()).unwrap();
        assert_eq!(around(root.path(), None), Ok(changing()));
        assert_eq!(around(Path::new("/nowhere"), None), Ok(utc.clone()));
        assert_eq!(around(Path::new("/nowhere"), Some("UTC")), Ok(utc));
        assert_eq!(around(Path::new("/nowhere"), Some("-03:30")).unwrap()[0].offset, -12_600);
    }

    #[test]
    fn a_zone_that_the_host_does_not_know_says_what_to_do() {
        let root = host();
        let said = |zone: &str| around(root.path(), Some(zone)).unwrap_err();
        assert!(said("Europe/Bern").contains("`Europe/Bern` is not in the host's /usr/share/zoneinfo; install tzdata"));
        assert!(said("Europe").contains("cannot be read"), "{}", said("Europe"));
        let damaged = root.path().join("usr/share/zoneinfo/Damaged");
        for bytes in [Vec::new(), b"TZif2".to_vec(), berlin()[..60].to_vec(), vec![b'x'; 1000]] {
            fs::write(&damaged, bytes).unwrap();
            assert!(said("Damaged").contains("is damaged"), "{}", said("Damaged"));
        }
    }
}
