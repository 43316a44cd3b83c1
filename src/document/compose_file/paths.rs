//! Paths in a compose file: relative ones begin at the file's project directory, `~` is the home of the agent's user.

use std::path::{Component, Path, PathBuf};

use super::yaml::{Node, Yaml};

/// Makes every path of the host in a file absolute. `home`: what `~` stands for.
pub(super) fn make_absolute(file: &mut Node, base: &Path, home: Option<&str>) {
    let place = Base { base, home };
    for (section, node) in file.map_mut().into_iter().flatten() {
        match section.as_str() {
            "services" => node.map_mut().into_iter().flatten().for_each(|(_, it)| place.service(it)),
            "secrets" | "configs" => node.map_mut().into_iter().flatten().for_each(|(_, it)| place.key(it, "file")),
            "volumes" => node.map_mut().into_iter().flatten().for_each(|(_, it)| place.volume(it)),
            "include" => each(node, &|it| {
                if let Yaml::Map(_) = it.value {
                    for key in ["path", "project_directory", "env_file"] {
                        place.key(it, key);
                    }
                } else {
                    place.text(it);
                }
            }),
            _ => {}
        }
    }
}

/// A path from a base, without `.` and `..`.
pub(super) fn join(base: &Path, path: &str) -> PathBuf {
    let mut all = PathBuf::new();
    for part in base.join(path).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(all.pop()),
            part => all.push(part),
        }
    }
    all
}

/// Changes the items of a list, or a value that is none.
fn each(node: &mut Node, change: &dyn Fn(&mut Node)) {
    match &mut node.value {
        Yaml::List(items) => items.iter_mut().for_each(change),
        _ => change(node),
    }
}

struct Base<'b> {
    base: &'b Path,
    home: Option<&'b str>,
}

impl Base<'_> {
    fn absolute(&self, path: &str) -> String {
        let home = self.home.filter(|_| path == "~" || path.starts_with("~/"));
        let path = home.map_or_else(|| path.to_owned(), |home| format!("{home}{}", &path[1..]));
        join(self.base, &path).to_string_lossy().into_owned()
    }

    fn text(&self, node: &mut Node) {
        if let Yaml::Text(path) = &mut node.value
            && !path.is_empty()
        {
            *path = self.absolute(path);
        }
    }

    /// Under a key: a path or a list of paths.
    fn key(&self, node: &mut Node, key: &str) {
        let found = node.map_mut().into_iter().flatten().find(|(it, _)| it == key);
        if let Some((_, value)) = found {
            each(value, &|it| self.text(it));
        }
    }

    fn service(&self, service: &mut Node) {
        for (field, node) in service.map_mut().into_iter().flatten() {
            match field.as_str() {
                "volumes" => each(node, &|it| self.mount(it)),
                "env_file" => each(node, &|it| match it.value {
                    Yaml::Map(_) => self.key(it, "path"),
                    _ => self.text(it),
                }),
                "extends" => self.key(node, "file"),
                _ => {}
            }
        }
    }

    /// `source:target:options`, or an object with `type: bind`.
    fn mount(&self, item: &mut Node) {
        let is_bind = item.key("type").and_then(Node::text) == Some("bind");
        match &mut item.value {
            Yaml::Text(text) => {
                if let Some((source, rest)) = text.split_once(':')
                    && source.starts_with(['.', '~', '/'])
                {
                    *text = format!("{}:{rest}", self.absolute(source));
                }
            }
            Yaml::Map(_) if is_bind => self.key(item, "source"),
            _ => {}
        }
    }

    /// A volume of the local driver that is a directory of the host.
    fn volume(&self, volume: &mut Node) {
        for (_, options) in volume.map_mut().into_iter().flatten().filter(|(it, _)| it == "driver_opts") {
            let is_bind = options.key("o").and_then(Node::text).is_some_and(|it| it.split(',').any(|it| it == "bind"));
            if is_bind {
                self.key(options, "device");
            }
        }
    }
}
