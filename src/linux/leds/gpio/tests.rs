use std::sync::{Arc, Mutex};

use rustix::io::Errno;

use super::*;
use crate::board::{LedLocation, Polarity};
use crate::linux::leds::location::find_line;
use crate::port::LedError;
use crate::sorted::SortedMap;

/// A backend that reports what a test sets, and counts how often it was asked.
struct Rung {
    chips: Vec<Chip>,
    hidden: bool,
    lines: SortedMap<(String, u32), LineInfo>,
    refuses: Option<Errno>,
    asked: Arc<Mutex<u32>>,
}

impl Rung {
    fn new() -> Self {
        Self { chips: Vec::new(), hidden: false, lines: SortedMap::new(), refuses: None, asked: Arc::default() }
    }

    fn refusing(errno: Errno) -> Self {
        Self { refuses: Some(errno), ..Self::new().with("gpiochip0", "4804c000.gpio", "gpio-0-31") }
    }

    fn with(mut self, name: &str, device: &str, label: &str) -> Self {
        let path = PathBuf::from("/dev").join(name);
        self.chips.push(Chip { name: name.into(), path, device: device.into(), label: label.into(), lines: 32 });
        self
    }

    fn line(mut self, chip: &str, offset: u32, name: &str, consumer: &str) -> Self {
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let (name, consumer) = (text(name), text(consumer));
        let used = consumer.is_some();
        let info = LineInfo { offset, name, consumer, used, direction: Direction::Input, active_low: None };
        self.lines.insert((chip.to_owned(), offset), info);
        self
    }
}

impl Gpio for Rung {
    fn chips(&self) -> io::Result<Vec<Chip>> {
        if self.hidden { Err(io::ErrorKind::NotFound.into()) } else { Ok(self.chips.clone()) }
    }

    fn line(&self, chip: &Chip, offset: u32) -> io::Result<LineInfo> {
        *self.asked.lock().unwrap() += 1;
        let free = LineInfo { offset, name: None, consumer: None, used: false, direction: Direction::Input, active_low: None };
        let known = self.lines.get(&(chip.name.clone(), offset)).cloned();
        self.refuses.map_or(Ok(known.unwrap_or(free)), |errno| Err(errno.into()))
    }

    fn request(&self, _: &Chip, _: u32, _: LineRequest) -> io::Result<Box<dyn HeldLine>> {
        Err(Errno::IO.into())
    }
}

/// Asks a fallback whose best backend refuses with this error; returns the outcome, and how often the next backend was asked.
fn climb(errno: Errno) -> (Option<i32>, u32) {
    let below = Rung::new().with("gpiochip0", "4804c000.gpio", "gpio-0-31");
    let asked = Arc::clone(&below.asked);
    let ladder = GpioFallback::of(vec![Box::new(Rung::refusing(errno)), Box::new(below)], Box::new(Rung::new()));
    let chip = ladder.chips().unwrap().remove(0);
    let error = ladder.line(&chip, 3).err().and_then(|error| error.raw_os_error());
    let times = *asked.lock().unwrap();
    (error, times)
}

#[test]
fn the_first_abi_serves_only_kernels_that_do_not_know_the_second() {
    assert_eq!(climb(Errno::INVAL), (None, 1));
    assert_eq!(climb(Errno::NOTTY), (None, 1));
    assert_eq!(climb(Errno::BUSY), (Some(Errno::BUSY.raw_os_error()), 0));
    assert_eq!(climb(Errno::PERM), (Some(Errno::PERM.raw_os_error()), 0));
    assert_eq!(climb(Errno::NODEV), (Some(Errno::NODEV.raw_os_error()), 0));
}

#[test]
fn a_line_that_is_known_and_refused_is_refused_on_every_rung() {
    let best = Rung::new().with("gpiochip0", "a.gpio", "a");
    let below = Rung::new();
    let asked = Arc::clone(&below.asked);
    let ladder = GpioFallback::of(vec![Box::new(best), Box::new(below)], Box::new(Rung::new()));
    let chip = ladder.chips().unwrap().remove(0);
    let error = ladder.request(&chip, 3, LineRequest::AsIs).err().unwrap();
    assert_eq!((error.raw_os_error(), *asked.lock().unwrap()), (Some(Errno::IO.raw_os_error()), 0));
}

#[test]
fn sysfs_serves_where_there_is_no_character_device() {
    let without = Rung { hidden: true, ..Rung::new() };
    let mut sysfs = Rung::new().with("gpiochip458", "3f200000.gpio", "pinctrl-bcm2835");
    sysfs.chips[0].path = "/sys/class/gpio/gpiochip458".into();
    let asked = Arc::clone(&sysfs.asked);
    let ladder = GpioFallback::of(vec![Box::new(without)], Box::new(sysfs));
    let chip = ladder.chips().unwrap().remove(0);
    assert!(ladder.line(&chip, 1).is_ok());
    assert_eq!(*asked.lock().unwrap(), 1);
}

fn usr3(name: Option<&str>) -> LedLocation {
    let (device, label) = ("4804c000.gpio".to_owned(), None);
    LedLocation::Line { device, label, name: name.map(str::to_owned), offset: 24, polarity: Polarity::ActiveHigh }
}

#[test]
fn a_line_is_found_by_the_device_that_owns_its_chip_whatever_its_label_counts() {
    // On newer kernels the label gpio-32-63 is that of GPIO2, and number 0 is GPIO1's.
    let gpio = Rung::new().with("gpiochip0", "4804c000.gpio", "gpio-0-31").with("gpiochip1", "481ac000.gpio", "gpio-32-63");
    assert_eq!(find_line(&gpio, &usr3(None)).unwrap().0.name, "gpiochip0");
    let gpio = Rung::new().with("gpiochip0", "44e07000.gpio", "gpio-0-31").with("gpiochip1", "4804c000.gpio", "gpio-32-63");
    assert_eq!(find_line(&gpio, &usr3(None)).unwrap().0.name, "gpiochip1");
}

#[test]
fn a_line_by_another_name_is_another_line() {
    let moved = Rung::new()
        .with("gpiochip0", "4804c000.gpio", "a")
        .with("gpiochip1", "481ac000.gpio", "b")
        .line("gpiochip0", 24, "EMMC_EN_N", "")
        .line("gpiochip1", 7, "usr3 led", "");
    let (chip, info) = find_line(&moved, &usr3(Some("usr3 led"))).unwrap();
    assert_eq!((chip.name.as_str(), info.offset), ("gpiochip1", 7));
    let gone = Rung::new().with("gpiochip0", "4804c000.gpio", "a").line("gpiochip0", 24, "EMMC_EN_N", "");
    assert!(matches!(find_line(&gone, &usr3(Some("usr3 led"))), Err(LedError::None(_))));
}

#[test]
fn a_name_that_two_lines_have_names_neither() {
    let gpio = Rung::new().with("gpiochip0", "a", "").with("gpiochip1", "b", "");
    let gpio = gpio.line("gpiochip0", 1, "usr3", "").line("gpiochip1", 1, "usr3", "");
    assert!(matches!(find_line(&gpio, &usr3(Some("usr3"))), Err(LedError::None(_))));
}

#[test]
fn a_line_that_is_held_names_its_holder() {
    let gpio = Rung::new().with("gpiochip0", "4804c000.gpio", "a").line("gpiochip0", 24, "", "beaglebone:green:usr3");
    let Err(LedError::Busy(why)) = find_line(&gpio, &usr3(None)) else { panic!("it is held") };
    assert!(why.contains("beaglebone:green:usr3"), "{why}");
}

#[test]
fn the_systems_error_is_found_in_either_crates_words() {
    let number = |text: &str| system_error(text).raw_os_error();
    assert_eq!(number("uAPI get_line returned: Device or resource busy (os error 16)"), Some(16));
    assert_eq!(number("EBUSY: Device or resource busy"), Some(16));
    assert_eq!(number("EINVAL: Invalid argument"), Some(22));
    assert_eq!(number("something else"), None);
}

#[test]
fn sysfs_reads_each_chip_once_with_its_device() {
    let dir = tempfile::tempdir().unwrap();
    let class = dir.path().join("sys/class/gpio");
    let device = dir.path().join("sys/devices/platform/4804c000.gpio");
    std::fs::create_dir_all(&device).unwrap();
    for (name, base) in [("gpiochip512", Some("512\n")), ("chip0", None)] {
        let chip = class.join(name);
        std::fs::create_dir_all(&chip).unwrap();
        std::fs::write(chip.join("ngpio"), "32\n").unwrap();
        std::fs::write(chip.join("label"), "gpio-0-31\n").unwrap();
        std::os::unix::fs::symlink(&device, chip.join("device")).unwrap();
        if let Some(base) = base {
            std::fs::write(chip.join("base"), base).unwrap();
        }
    }
    let chips = SysfsGpio::new(dir.path()).chips().unwrap();
    let seen: Vec<_> = chips.iter().map(|chip| (chip.name.as_str(), chip.device.as_str(), chip.lines)).collect();
    assert_eq!(seen, [("gpiochip512", "4804c000.gpio", 32)]);
}

#[test]
fn chips_are_called_by_name_number_path_or_device() {
    let gpio = Rung::new().with("gpiochip0", "44e07000.gpio", "").with("gpiochip1", "4804c000.gpio", "");
    let chips = gpio.chips().unwrap();
    for name in ["gpiochip1", "1", "/dev/gpiochip1", "4804c000.gpio"] {
        assert_eq!(by_any_name(&chips, name).map(|chip| chip.name.as_str()), Some("gpiochip1"), "{name}");
    }
    assert_eq!(by_any_name(&chips, ""), None);
}
