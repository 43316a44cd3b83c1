//! Lists the kernel's LEDs and GPIO chips. Reads only, and decides nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::{StatVfsMountFlags, statvfs};

use crate::board::{AvailableLeds, KernelChip, KernelLed, LedFunction};
use crate::linux::read_small;
use crate::sorted::{SortedMap, sort};

/// Reads `<root>/sys`. What cannot be read is left out.
pub fn read_leds(root: &Path) -> AvailableLeds {
    let class = root.join("sys/class/leds");
    let leds = names(&class).into_iter().map(|name| read_led(root, &class.join(&name), name)).collect();
    AvailableLeds { leds, chips: read_chips(root) }
}

fn read_led(root: &Path, dir: &Path, name: String) -> KernelLed {
    let max_brightness = text(&dir.join("max_brightness")).and_then(|it| it.trim().parse().ok());
    KernelLed {
        max_brightness,
        triggers: text(&dir.join("trigger")).unwrap_or_default().trim().to_owned(),
        driver: link_name(&dir.join("device/driver")),
        owner: owner(root, dir),
        colours: text(&dir.join("multi_index")).unwrap_or_default().split_whitespace().map(str::to_owned).collect(),
        unwritable: unwritable(dir, max_brightness),
        dir: dir.to_owned(),
        name,
    }
}

/// The function of the LED's device, by the subsystems in its path. The path says most: `…/mmc_host/mmc0/leds/mmc0::`.
fn owner(root: &Path, dir: &Path) -> Option<LedFunction> {
    let real_root = root.canonicalize().ok()?;
    let device = dir.join("device");
    let paths = [dir.canonicalize(), device.canonicalize()];
    let mut subsystems: Vec<String> = Vec::new();
    for path in paths.into_iter().flatten() {
        let within = path.strip_prefix(&real_root).unwrap_or(&path);
        subsystems.extend(within.iter().map(|it| it.to_string_lossy().into_owned()));
    }
    subsystems.extend(link_name(&device.join("subsystem")));
    // An Ethernet or wireless chip's LEDs may belong to the chip, which has the interface beneath it.
    subsystems.extend(["net", "ieee80211"].into_iter().filter(|it| device.join(it).is_dir()).map(str::to_owned));
    let within = |names: &[&str]| subsystems.iter().any(|it| names.contains(&it.as_str()));
    // A wireless chip on an SDIO bus lies beneath a card reader, so the network is checked first.
    match () {
        () if within(&["net", "ieee80211", "mdio_bus", "bluetooth"]) => Some(LedFunction::Network),
        () if within(&["input", "hidraw"]) => Some(LedFunction::Input),
        () if within(&["power_supply"]) => Some(LedFunction::PowerSupply),
        () if within(&["mmc_host", "ata_port", "scsi_host", "nvme"]) => Some(LedFunction::Storage),
        () => None,
    }
}

/// Why a LED cannot be written. Root may write despite the mode, but not if it has no `w` at all, and not with a read-only
/// `/sys`.
fn unwritable(dir: &Path, max_brightness: Option<u32>) -> Option<String> {
    let Ok(brightness) = fs::metadata(dir.join("brightness")) else { return Some("it has no `brightness`".to_owned()) };
    if brightness.permissions().mode() & 0o222 == 0 {
        return Some("its `brightness` may be read only".to_owned());
    }
    if max_brightness == Some(0) {
        return Some("its `max_brightness` is 0".to_owned());
    }
    let flags = statvfs(dir).ok()?.f_flag;
    flags.contains(StatVfsMountFlags::RDONLY).then(|| "/sys is mounted read-only; mount it writable".to_owned())
}

/// The GPIO chips, each once, by the device that owns it: newer kernels list a chip up to three times.
fn read_chips(root: &Path) -> Vec<KernelChip> {
    let mut chips: SortedMap<String, Option<String>> = SortedMap::new();
    for class in ["sys/bus/gpio/devices", "sys/class/gpio"] {
        let class = root.join(class);
        for name in names(&class).into_iter().filter(|it| is_chip(it)) {
            let dir = class.join(name);
            let Some(device) = owning_device(&dir) else { continue };
            let label = text(&dir.join("label")).map(|it| it.trim().to_owned()).filter(|it| !it.is_empty());
            let known = chips.entry(device).or_default();
            *known = known.take().or(label);
        }
    }
    chips.into_iter().map(|(device, label)| KernelChip { device, label }).collect()
}

/// The nearest directory above a chip that is neither a chip nor the class: `…/fe200000.gpio/gpio/gpiochip512`.
fn owning_device(chip: &Path) -> Option<String> {
    let real = chip.canonicalize().ok()?;
    let mut above = real.ancestors().filter_map(|it| it.file_name()?.to_str());
    above.find(|it| !is_chip(it) && *it != "gpio").map(str::to_owned)
}

/// Whether this is a chip's name: `gpiochip0`, or `chip0` as Linux 7 has it beside the old name.
fn is_chip(name: &str) -> bool {
    let number = name.strip_prefix("gpiochip").or_else(|| name.strip_prefix("chip"));
    number.is_some_and(|it| !it.is_empty() && it.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The names in a directory, sorted. Names that are not UTF-8 are left out.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    sort(&mut names);
    names
}

/// The last name in a link's target.
fn link_name(link: &Path) -> Option<String> {
    Some(fs::read_link(link).ok()?.file_name()?.to_str()?.to_owned())
}

/// The text of a sysfs file. The list of triggers may be longer than a page.
fn text(path: &Path) -> Option<String> {
    Some(String::from_utf8_lossy(&read_small(path).ok()?).into_owned())
}
