//! Single values: parsing, and what is wrong with them.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use minisign_verify::PublicKey;
use rustix::fs::OFlags;
use tracing::level_filters::LevelFilter;
use url::Url;

use super::{BoardChoice, LogFilter, TargetPlace};
use crate::sorted::SortedSet;
use crate::state::Secret;
use crate::state::cloud::TargetOrigin;
use crate::state::keys::{DEVICE_KEY, DeviceAction, is_device_key};
use crate::state::private_network::PrivateNetwork;
use crate::state::window::{UpdateWindow, WindowError};

/// The longest configuration file that is read: a hundred times the longest one seen.
const FILE_BYTES: u64 = 1024 * 1024;

/// The times that may be between two requests for a target, in seconds.
const INTERVAL_SECS: RangeInclusive<u64> = 10..=7 * 24 * 60 * 60;

/// A whole configuration file. Reading stops at the limit, in case the file never ends.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // Without `NONBLOCK`, opening a pipe would block until a program opens its other end.
    let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?;
    if file.metadata()?.file_type().is_fifo() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is a pipe, not a file"));
    }
    file.take(FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("it is longer than {} kB", FILE_BYTES / 1024)));
    }
    Ok(bytes)
}

/// The text without the byte order mark that Windows editors put before UTF-8.
pub(super) fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)
}

/// A path; an empty one counts as not given.
pub(super) fn path(given: &OsStr) -> Option<PathBuf> {
    // Watches and mounts must not depend on the agent's working directory.
    (!given.is_empty()).then(|| std::path::absolute(given).unwrap_or_else(|_| PathBuf::from(given)))
}

/// A URL or a path; an empty one counts as not given.
pub(super) fn place(given: &OsStr) -> Option<TargetPlace> {
    match given.to_str() {
        Some(text) if text.contains("://") => Some(TargetPlace::Url(text.trim().to_owned())),
        Some(_) | None => path(given).map(TargetPlace::File),
    }
}

/// The URL of a target, in which `{uuid}` may stand for the device's.
pub(super) fn target_url(text: &str) -> Result<String, String> {
    let wrong =
        |why: &str| format!("it is no URL of a target: {why}; write one like https://example.com/targets/{{uuid}}.json");
    // What stands for the uuid is no part of a host's name, nor of a port.
    let url = Url::parse(&text.replace("{uuid}", "0")).map_err(|why| wrong(&why.to_string()))?;
    if !["https", "http"].contains(&url.scheme()) || !url.has_host() {
        return Err(wrong("it is neither https nor http"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("a user or a password in it is not sent"));
    }
    Ok(text.to_owned())
}

/// A time of ten seconds to a week, with s, m, h or d after it.
pub(super) fn interval(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a time from 10s to 7d; write one like `90s`, `15m` or `2h`");
    let trimmed = text.trim();
    let digits = trimmed.trim_end_matches(|it: char| it.is_ascii_alphabetic());
    let unit: u64 = match &trimmed[digits.len()..] {
        "" | "s" => 1,
        "m" | "min" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return Err(wrong()),
    };
    let secs = digits.parse::<u64>().ok().and_then(|it| it.checked_mul(unit)).filter(|it| INTERVAL_SECS.contains(it));
    secs.map(Duration::from_secs).ok_or_else(wrong)
}

/// A public key of minisign: its line of base64, or a file with it. An empty value: none.
pub(super) fn target_key(given: &str) -> Result<Option<String>, String> {
    let given = given.trim();
    if given.is_empty() {
        return Ok(None);
    }
    if PublicKey::from_base64(given).is_ok() {
        return Ok(Some(given.to_owned()));
    }
    let advice = "give the line of base64 of a public key as `minisign -G` prints it, or its .pub file";
    let bytes = read(Path::new(given))
        .map_err(|why| format!("`{given}` is neither a key nor a file that can be read ({why}); {advice}"))?;
    let text = String::from_utf8_lossy(without_mark(&bytes)).into_owned();
    let key = text.lines().map(str::trim).find(|it| PublicKey::from_base64(it).is_ok());
    key.map(|it| Some(it.to_owned())).ok_or_else(|| format!("`{given}` has no public key of minisign in it; {advice}"))
}

/// `on` or `off`; an empty value is off.
pub(super) fn on_or_off(text: &str) -> Result<bool, String> {
    match text.trim() {
        "on" | "true" | "1" => Ok(true),
        "" | "off" | "false" | "0" => Ok(false),
        other => Err(format!("`{other}` is neither `on` nor `off`")),
    }
}

/// When updates may disturb services. `None`: it is not given.
pub(super) fn update_window(text: &str) -> Result<Option<UpdateWindow>, String> {
    if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(|why: WindowError| why.to_string()) }
}

pub(super) fn is_directory(path: &Path) -> Result<(), String> {
    let wrong = || format!("`{}` is not a directory; name one that exists", path.display());
    if path.is_dir() { Ok(()) } else { Err(wrong()) }
}

pub(super) fn is_login_file(path: &Path) -> Result<(), String> {
    let wrong = || format!("`{}` is not a file; make it with `docker login`", path.display());
    if path.is_file() { Ok(()) } else { Err(wrong()) }
}

/// Whether a switch is on: any text but an empty one and a word for no.
pub(super) fn is_on(given: &OsStr) -> bool {
    !["", "0", "false", "off", "no", "n", "f"].contains(&given.to_string_lossy().to_lowercase().as_str())
}

/// An address, with or without a port.
pub(super) fn address(text: &str, port: u16) -> Result<SocketAddr, String> {
    let bare = text.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(text);
    let with_port = || bare.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, port));
    text.parse()
        .or_else(|_| with_port())
        .map_err(|_| format!("`{text}` is not an address; write one like `127.0.0.1:{port}`, `[::1]:{port}` or `0.0.0.0`"))
}

/// `yes` or `no`; an empty value counts as `yes`.
pub(super) fn yes_or_no(given: &str) -> Result<bool, String> {
    match given {
        "" | "yes" => Ok(true),
        "no" => Ok(false),
        other => Err(format!("`{other}` is neither `yes` nor `no`")),
    }
}

/// `cloud` or `file`. `None`: an empty value.
pub(super) fn target_origin(given: &str) -> Result<Option<TargetOrigin>, String> {
    match given {
        "" => Ok(None),
        "cloud" => Ok(Some(TargetOrigin::Cloud)),
        "file" => Ok(Some(TargetOrigin::File)),
        other => Err(format!("`{other}` is neither `cloud` nor `file`")),
    }
}

pub(super) fn board(given: &str) -> Result<BoardChoice, String> {
    match given {
        "" | "auto" => Ok(BoardChoice::Auto),
        "simulated" => Ok(BoardChoice::Simulated),
        slug if slug.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || b"-_".contains(&it)) => {
            Ok(BoardChoice::Slug(slug.to_owned()))
        }
        other => Err(format!("`{other}` is not a board; write a slug like `raspberrypi3`, `auto` or `simulated`")),
    }
}

/// For example `info`, or `warn,boardkeeper::linux=debug`.
pub(super) fn log(given: &str) -> Result<LogFilter, String> {
    let mut log = LogFilter::default();
    for part in given.split(',').map(str::trim).filter(|it| !it.is_empty()) {
        let (module, level) = part.split_once('=').map_or((None, part), |(module, level)| (Some(module), level));
        let level: LevelFilter = level.parse().map_err(|_| {
            format!(
                "`{level}` is not a level; write off, error, warn, info, debug or trace, or `module=level`, with commas between"
            )
        })?;
        match module {
            Some(module) => log.modules.push((module.to_owned(), level)),
            None => log.all = level,
        }
    }
    Ok(log)
}

/// For example `blink,update`. `none` permits none of them; an empty value permits all.
pub(super) fn service_verbs(given: &str) -> Result<SortedSet<DeviceAction>, String> {
    let words: Vec<_> = given.split(',').map(str::trim).filter(|it| !it.is_empty()).collect();
    match words.as_slice() {
        [] => Ok(DeviceAction::ALL.into()),
        ["none"] => Ok(SortedSet::new()),
        words => words.iter().map(|word| service_verb(word)).collect(),
    }
}

fn service_verb(word: &str) -> Result<DeviceAction, String> {
    DeviceAction::ALL.into_iter().find(|it| it.name() == word).ok_or_else(|| {
        let all = DeviceAction::ALL.map(DeviceAction::name).join(", ");
        format!("`{word}` is unknown; write some of {all}, with commas between, or `none`")
    })
}

/// Private networks, with commas between. Every mistake is reported.
pub(super) fn private_networks(given: &str) -> Result<Vec<PrivateNetwork>, String> {
    let (mut networks, mut mistakes) = (Vec::new(), Vec::new());
    for text in given.split(',').map(str::trim).filter(|it| !it.is_empty()) {
        match PrivateNetwork::read(text) {
            Ok(network) if networks.contains(&network) => (),
            Ok(network) => networks.push(network),
            Err(why) => mistakes.push(why),
        }
    }
    if mistakes.is_empty() { Ok(networks) } else { Err(mistakes.join("; ")) }
}

/// A number of bytes, with K, M or G after it for powers of 1024.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a size; write one like `64M`, `1G` or a number of bytes");
    let trimmed = text.trim();
    let digits = trimmed.trim_end_matches(|it: char| it.is_ascii_alphabetic());
    let unit: u64 = match trimmed[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        _ => return Err(wrong()),
    };
    digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).ok_or_else(wrong)
}

pub(super) fn docker_host(given: Option<String>) -> Result<Option<String>, String> {
    let Some(host) = given else { return Ok(None) };
    let known = ["unix://", "tcp://", "http://"].iter().any(|it| host.starts_with(it));
    if known {
        return Ok(Some(host));
    }
    Err(format!(
        "DOCKER_HOST: `{host}` is not an engine's address; write one like `unix:///var/run/docker.sock` or `tcp://127.0.0.1:2375`"
    ))
}

/// An API key. The message never repeats it, whatever is wrong with it.
pub(super) fn device_key(given: Option<String>) -> Result<Option<Secret>, String> {
    let Some(key) = given else { return Ok(None) };
    if is_device_key(&key) {
        return Ok(Some(Secret::new(key)));
    }
    let (least, most) = (DEVICE_KEY.start(), DEVICE_KEY.end());
    Err(format!(
        "BOARDKEEPER_API_KEY: it must be {least} to {most} letters, digits or underscores, not all the same; \
        leave it out to have one made"
    ))
}
