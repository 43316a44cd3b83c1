//! Which of a target's settings concern the file, and what they want in it.

use crate::json;
use crate::sorted::SortedMap;
use crate::state::boot_config::{BootFormat, BootVariables};

/// Prefix of keys of `config.txt`.
const CONFIG: &str = "HOST_CONFIG_";
/// Prefix of what `extlinux.conf` and `uEnv.txt` have.
const EXTLINUX: &str = "HOST_EXTLINUX_";

/// Keys of `config.txt` that decide what is booted. A wrong value would leave a device that nothing but a card reader reaches.
const FORBIDDEN: [&str; 11] = [
    "disable_commandline_tags",
    "cmdline",
    "kernel",
    "kernel_address",
    "kernel_old",
    "ramfsfile",
    "ramfsaddr",
    "initramfs",
    "device_tree_address",
    "init_emmc_clock",
    "avoid_safe_mode",
];
/// Keys of `config.txt` that may be there several times, each with another value.
const LISTS: [&str; 5] = ["dtparam", "dtoverlay", "device_tree_param", "device_tree_overlay", "gpio"];
/// Names after [`EXTLINUX`]: kernel parameter, and device tree.
pub(super) const ISOLCPUS: &str = "isolcpus";
pub(super) const FDT: &str = "fdt";

/// The settings of a target that concern the file, whichever file it is.
#[must_use]
pub fn variables(config: &SortedMap<String, String>) -> BootVariables {
    let ours = |name: &str| name.starts_with(CONFIG) || name.starts_with(EXTLINUX);
    config.iter().filter(|(name, _)| ours(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Values by key, as the file is to have them.
pub(super) struct Wanted(SortedMap<String, Vec<String>>);

impl Wanted {
    /// What these variables want. Those with a problem are left out.
    pub(super) fn read(format: BootFormat, variables: &BootVariables) -> Self {
        let good = variables.iter().filter(|(name, value)| problem(format, name, value).is_none());
        Self(good.filter_map(|(name, value)| Some((key(format, name)?.to_owned(), values(format, name, value)?))).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// Without the keys for which this holds.
    pub(super) fn without(mut self, is_there: impl Fn(&str, &[String]) -> bool) -> Self {
        self.0.retain(|key, values| !is_there(key, values));
        self
    }

    /// The values of a key; none if the key is not wanted.
    pub(super) fn values(&self, key: &str) -> &[String] {
        self.0.get(key).map(Vec::as_slice).unwrap_or_default()
    }

    /// Every key except these, with one of its values.
    pub(super) fn except<'a>(&'a self, keys: &'a [&str]) -> impl Iterator<Item = (&'a String, &'a String)> {
        let others = self.0.iter().filter(|(key, _)| !keys.contains(&key.as_str()));
        others.flat_map(|(key, values)| values.iter().map(move |it| (key, it)))
    }
}

/// What keeps a variable out of such a file, and what to do. `None`: it can be there.
pub(super) fn problem(format: BootFormat, name: &str, value: &str) -> Option<String> {
    let Some(key) = key(format, name) else {
        let (file, prefix) = match format {
            BootFormat::ConfigTxt => ("config.txt", CONFIG),
            BootFormat::UEnv | BootFormat::ExtraUEnv => ("uEnv.txt", EXTLINUX),
            BootFormat::Extlinux => ("extlinux.conf", EXTLINUX),
        };
        return Some(format!("{name}: ignored, this board is configured in {file} with {prefix} variables; remove it"));
    };
    let wrong = match format {
        BootFormat::ConfigTxt => wrong_key(key),
        BootFormat::UEnv | BootFormat::ExtraUEnv | BootFormat::Extlinux => wrong_parameter(key, value),
    };
    let unreadable =
        || values(format, name, value).is_none().then_some("its value must be one line, or texts like \"a\",\"b\"");
    wrong.or_else(unreadable).map(|why| format!("{name}: ignored, {why}; change or remove it"))
}

/// What is wrong with a key of `config.txt`.
fn wrong_key(key: &str) -> Option<&'static str> {
    if FORBIDDEN.contains(&key) {
        return Some("it decides what is booted, so the agent leaves it alone");
    }
    if ["power_mode", "fan_profile"].contains(&key) {
        return Some("it is for other boards");
    }
    (!is_key(key)).then_some("it is no key of config.txt")
}

/// What is wrong with what the boot loader is to be given.
fn wrong_parameter(key: &str, value: &str) -> Option<&'static str> {
    if ![ISOLCPUS, FDT].contains(&key) {
        return Some("only HOST_EXTLINUX_isolcpus and HOST_EXTLINUX_fdt are supported");
    }
    (!is_word(value)).then_some("its value must be one word without `=`")
}

/// The key in the file. `None`: the variable is for another kind of file.
fn key(format: BootFormat, name: &str) -> Option<&str> {
    match format {
        BootFormat::ConfigTxt => name.strip_prefix(CONFIG),
        BootFormat::UEnv | BootFormat::ExtraUEnv | BootFormat::Extlinux => name.strip_prefix(EXTLINUX),
    }
}

/// The values in the file: several, or none, for a key that is a list.
fn values(format: BootFormat, name: &str, value: &str) -> Option<Vec<String>> {
    let value = value.trim();
    let is_list = format == BootFormat::ConfigTxt && LISTS.contains(&key(format, name)?);
    let values = if is_list && value.starts_with('"') {
        let list = json::read(format!("[{value}]").as_bytes()).ok()?;
        list.as_array()?.iter().map(|it| it.as_str().map(|it| it.trim().to_owned())).collect::<Option<Vec<_>>>()?
    } else {
        vec![value.to_owned()]
    };
    let is_line = |it: &String| !it.chars().any(char::is_control);
    let is_left_out = |it: &String| is_list && it.is_empty();
    values.iter().all(is_line).then(|| values.into_iter().filter(|it| !is_left_out(it)).collect())
}

fn is_key(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|it| it.is_ascii_alphanumeric() || b"_:.-".contains(&it))
}

fn is_word(value: &str) -> bool {
    let value = value.trim();
    !value.is_empty() && value.bytes().all(|it| it.is_ascii_graphic() && it != b'=')
}
