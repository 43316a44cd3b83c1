//! Volumes, tmpfs mounts and devices of a service.

use crate::sorted::SortedSet;
use crate::state::ContainerConfig;
use crate::state::config::{Mount, MountMode, Propagation};
use crate::state::service::Feature;
use crate::state::supervisor_mounts::supervisor_paths;

use super::at::{Cursor, quoted};
use super::fields::ObjectFields;
use super::release_names::ReleaseNames;
use super::values;

/// Reads `volumes` and `tmpfs`.
pub(super) fn read(fields: &mut ObjectFields<'_>, known: &ReleaseNames, config: &mut ContainerConfig) {
    let volumes = fields.take("volumes");
    for item in volumes.as_ref().map(Cursor::items).unwrap_or_default() {
        if item.is_object() {
            long(&item, known, config);
        } else {
            config.mounts.extend(short(&item, known));
        }
    }
    for item in fields.take("tmpfs").map(|it| it.one_or_more()).unwrap_or_default() {
        let Some(text) = item.text() else { continue };
        let (path, options) = text.split_once(':').unwrap_or((text, ""));
        tmpfs_words(&item, options);
        if let Some(path) = absolute(&item, path) {
            config.tmpfs.insert(path, options.to_owned());
        }
    }
    if let Some(at) = volumes {
        once_each(&at, config);
    }
}

/// Two mounts at one path are a mistake: no engine would accept them.
fn once_each(at: &Cursor<'_>, config: &ContainerConfig) {
    let mut paths: SortedSet<String> = config.tmpfs.keys().map(|it| clean(it)).collect();
    for mount in &config.mounts {
        if !paths.insert(clean(mount.path())) {
            at.wrong(&format!("two things are mounted at {}", quoted(mount.path())));
        }
    }
}

/// Rejects a mount where the agent mounts something: the update locks, and what the service's labels request.
pub(super) fn leave_room(at: &Cursor<'_>, config: &ContainerConfig, features: &SortedSet<Feature>) {
    let ours: SortedSet<&str> = supervisor_paths(features).collect();
    for path in config.tmpfs.keys().map(String::as_str).chain(config.mounts.iter().map(Mount::path)) {
        if ours.contains(&*clean(path)) {
            at.wrong(&format!(
                "mounts something at {}, where the agent mounts what every service or a label of it asks for",
                quoted(path)
            ));
        }
    }
}

/// A path as the engine compares it: without `//`, `.` and `..`.
fn clean(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// `volume:/path[:options]`, or `/path` for an anonymous volume.
fn short(item: &Cursor<'_>, known: &ReleaseNames) -> Option<Mount> {
    let text = item.text()?;
    let Some((source, rest)) = text.split_once(':') else {
        return absolute(item, text).map(|path| Mount::Anonymous { path });
    };
    let (path, options) = rest.split_once(':').unwrap_or((rest, ""));
    let mut access = MountMode::Write;
    let mut propagation = Propagation::default();
    for option in options.split(',').map(str::trim).filter(|it| !it.is_empty()) {
        match option {
            "ro" => access = MountMode::ReadOnly,
            "rw" => access = MountMode::Write,
            // They mean something to other systems than Linux only.
            "cached" | "consistent" | "delegated" if known.is_compose_file() => {}
            _ if known.is_compose_file() && Propagation::named(option).is_some() => {
                propagation = Propagation::named(option).unwrap_or_default();
            }
            _ => item.warn(&format!("the option {} is not supported, ignored", quoted(option))),
        }
    }
    named(item, known, source.trim(), path.trim(), (access, propagation))
}

fn long(item: &Cursor<'_>, known: &ReleaseNames, config: &mut ContainerConfig) {
    let mut fields = ObjectFields::of(item);
    let kind = fields.text("type").unwrap_or_default();
    let source = fields.text("source");
    let target = fields.take("target");
    let access = if fields.flag("read_only").unwrap_or(false) { MountMode::ReadOnly } else { MountMode::Write };
    let size = fields.take("tmpfs");
    let bind = fields.take("bind");
    if known.is_compose_file() {
        // There is one meaning of these for a mount of this kind: the default.
        fields.skip(&["consistency"]);
    }
    fields.rest();
    let Some(target) = target.as_ref().and_then(Cursor::text) else {
        return item.missing("target", "a path in the container");
    };
    match (kind.as_str(), source) {
        ("volume", Some(source)) => config.mounts.extend(named(item, known, &source, target, (access, Propagation::default()))),
        ("volume", None) => config.mounts.extend(absolute(item, target).map(|path| Mount::Anonymous { path })),
        ("bind", Some(source)) if known.is_compose_file() => {
            let propagation = bind.map(|it| propagation(&it)).unwrap_or_default();
            config.mounts.extend(named(item, known, &source, target, (access, propagation)));
        }
        ("bind", _) => dropped(item),
        ("tmpfs", None) => {
            let options = size.map(|it| tmpfs_options(&it)).unwrap_or_default();
            config.tmpfs.extend(absolute(item, target).map(|it| (it, options)));
        }
        ("tmpfs", Some(_)) => item.wrong("a tmpfs has no `source`"),
        (other, _) => item.wrong(&format!("expected `type` volume or tmpfs, found {}", quoted(other))),
    }
}

/// `bind` of a mount in its long form.
fn propagation(at: &Cursor<'_>) -> Propagation {
    let mut fields = ObjectFields::of(at);
    // The engine creates a directory that is missing, whatever this says.
    fields.skip(&["create_host_path"]);
    let found = fields.take("propagation").and_then(|it| {
        let found = Propagation::named(it.text()?);
        if found.is_none() {
            it.expected("private, rprivate, shared, rshared, slave or rslave");
        }
        found
    });
    fields.rest();
    found.unwrap_or_default()
}

fn tmpfs_options(at: &Cursor<'_>) -> String {
    let mut fields = ObjectFields::of(at);
    let mut options = Vec::new();
    if let Some(size) = fields.take("size").and_then(|it| size(&it)) {
        options.push(format!("size={size}"));
    }
    if let Some(mode) = fields.take("mode").and_then(|it| file_mode(&it)) {
        options.push(format!("mode={mode:o}"));
    }
    fields.rest();
    options.join(",")
}

/// A file mode as compose reads it: text is octal, a number is the number itself.
fn file_mode(at: &Cursor<'_>) -> Option<i64> {
    let octal = |text: &str| i64::from_str_radix(text.strip_prefix("0o").unwrap_or(text), 8).ok();
    let mode = if at.is_text() { octal(at.text()?.trim()) } else { at.int() };
    let mode = mode.filter(|it| (0..=0o7777).contains(it));
    if mode.is_none() {
        at.expected("a file mode, octal as text such as \"1777\" or a decimal number such as 1023");
    }
    mode
}

/// A size in bytes, with or without a unit.
pub(super) fn size(at: &Cursor<'_>) -> Option<i64> {
    let text = at.scalar()?;
    let float = || text.parse::<f64>().ok().and_then(super::at::whole).filter(|it| *it >= 0);
    let size = values::size(&text).or_else(float);
    if size.is_none() {
        at.expected("a size such as 64m, 1g or a number of bytes");
    }
    size
}

fn named(
    item: &Cursor<'_>,
    known: &ReleaseNames,
    source: &str,
    path: &str,
    (access, propagation): (MountMode, Propagation),
) -> Option<Mount> {
    if known.is_compose_file() {
        let external = known.external_volumes.get(source).map(String::as_str);
        // The engine takes a source without a slash for a volume of that name.
        if let Some(host) = external.or_else(|| source.starts_with('/').then_some(source)) {
            let path = absolute(item, path)?;
            return Some(Mount::Bind { host: host.to_owned(), path, access, propagation });
        }
    }
    if source.starts_with(['/', '.', '~']) {
        dropped(item);
        return None;
    }
    let path = absolute(item, path)?;
    if !known.volumes.contains(source) {
        item.wrong(&format!("the app has no volume {}; name it under `volumes` of the app", quoted(source)));
    }
    Some(Mount::Volume { name: source.to_owned(), path, access })
}

fn dropped(item: &Cursor<'_>) {
    item.warn("a path of the host cannot be mounted, ignored; use a named volume or a label io.balena.features.*");
}

fn absolute(item: &Cursor<'_>, path: &str) -> Option<String> {
    if !path.starts_with('/') {
        item.wrong(&format!("expected an absolute path in the container, found {}", quoted(path)));
        return None;
    }
    if path.contains(':') || clean(path) == "/" {
        item.wrong(&format!("expected a path in the container without `:`, and not its root, found {}", quoted(path)));
        return None;
    }
    Some(path.trim_end_matches('/').to_owned())
}

/// Accepts only tmpfs options that engines know. Engines reject others when the container is started, and by then the old
/// container is gone.
fn tmpfs_words(item: &Cursor<'_>, options: &str) {
    const FLAGS: [&str; 23] = [
        "defaults",
        "ro",
        "rw",
        "suid",
        "nosuid",
        "dev",
        "nodev",
        "exec",
        "noexec",
        "sync",
        "async",
        "dirsync",
        "remount",
        "mand",
        "nomand",
        "atime",
        "noatime",
        "diratime",
        "nodiratime",
        "relatime",
        "norelatime",
        "strictatime",
        "nostrictatime",
    ];
    const VALUES: [&str; 7] = ["size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"];
    for option in options.split(',').filter(|it| !it.is_empty()) {
        let known = match option.split_once('=') {
            Some((name, _)) => VALUES.contains(&name),
            None => FLAGS.contains(&option),
        };
        if !known {
            item.wrong(&format!(
                "a tmpfs has no option {}; known are ro, noexec, size=64m, mode=1777 and the like",
                quoted(option)
            ));
        }
    }
}

/// Reads devices, as `host:container:permissions`.
pub(super) fn devices(at: &Cursor<'_>) -> SortedSet<String> {
    at.items().iter().filter_map(device).collect()
}

fn device(item: &Cursor<'_>) -> Option<String> {
    if item.is_object() {
        let mut fields = ObjectFields::of(item);
        let source = fields.text("source");
        let target = fields.text("target").or_else(|| source.clone());
        let permissions = fields.text("permissions").unwrap_or_else(|| "rwm".to_owned());
        fields.rest();
        let Some((source, target)) = source.zip(target) else {
            item.missing("source", "a device of the host");
            return None;
        };
        return Some(format!("{source}:{target}:{permissions}"));
    }
    let text = item.text()?;
    match text.split(':').collect::<Vec<_>>()[..] {
        [host] if !host.is_empty() => Some(format!("{host}:{host}:rwm")),
        [host, rights] if !rights.is_empty() && rights.chars().all(|it| "rwm".contains(it)) => {
            Some(format!("{host}:{host}:{rights}"))
        }
        [host, target] if !host.is_empty() && !target.is_empty() => Some(format!("{host}:{target}:rwm")),
        [host, target, rights] if !host.is_empty() && !target.is_empty() => Some(format!("{host}:{target}:{rights}")),
        _ => {
            item.expected("a device such as /dev/ttyS0 or /dev/ttyS0:/dev/ttyS1:rwm");
            None
        }
    }
}
